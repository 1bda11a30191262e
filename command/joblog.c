/* joblog.c: the record of jobs.  Tab-separated: Seq Host Starttime JobRuntime Send Receive Exitval Signal
 * Command; Host is ":" (this one), Send is 0, Receive are the bytes of standard output. */
#include "joblog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char header[] =
    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

uint64_t joblog_hash(const char *command, size_t n)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (unsigned char)command[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static int write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno != EINTR) {
            return errno;
        }
        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
        }
    }
    return 0;
}

/* ---- reading ---- */

/* The number in a column, or false. */
static bool column(const char *line, const char *end, unsigned which, uint64_t *ret)
{
    char *stop;

    for (; which > 0; which--) {
        line = memchr(line, '\t', (size_t)(end - line));
        if (line == NULL) {
            return false;
        }
        line++;
    }
    if (*line < '0' || *line > '9') {
        return false;
    }
    *ret = strtoull(line, &stop, 10);
    return *stop == '\t';
}

static void read_line(struct joblog *log, const char *line, const char *end, size_t number)
{
    uint64_t seq, exit_code, signal_number;
    const char *command = line;

    for (int i = 0; i < 8 && command != NULL; i++) {
        command = memchr(command, '\t', (size_t)(end - command));
        command = command != NULL ? command + 1 : NULL;
    }
    if (command == NULL || !column(line, end, 0, &seq) || !column(line, end, 6, &exit_code) ||
        !column(line, end, 7, &signal_number)) {
        return; /* not one of ours: what it speaks of is run */
    }
    if ((log->n & (log->n - 1)) == 0) {
        log->entries = memory(log->entries, (log->n != 0 ? log->n * 2 : 1) * sizeof(*log->entries));
    }
    log->entries[log->n++] = (struct joblog_entry){
        .seq = seq,
        .command = joblog_hash(command, (size_t)(end - command)),
        .line = number,
        .failed = exit_code != 0 || signal_number != 0,
    };
}

static int by_seq(const void *a, const void *b)
{
    const struct joblog_entry *x = a, *y = b;

    if (x->seq != y->seq) {
        return x->seq < y->seq ? -1 : 1;
    }
    return x->line < y->line ? -1 : 1;
}

static int read_file(int fd, struct text *text)
{
    for (;;) {
        text_reserve(text, 65536);
        ssize_t got = read(fd, text->bytes + text->used, 65536);
        if (got < 0 && errno != EINTR) {
            return errno;
        }
        if (got == 0) {
            return 0;
        }
        text->used += got > 0 ? (size_t)got : 0;
    }
}

/* A last line without an end was being written when the machine or the disk gave up: its job is run, and
 * what there is of the line goes. */
static int read_entries(struct joblog *log)
{
    struct text text = { 0 };
    size_t whole = 0;
    int failed = read_file(log->fd, &text);

    if (failed == 0 && text.used >= sizeof(header) - 1 &&
        memcmp(text.bytes, header, sizeof(header) - 1) != 0) {
        failed = EBADMSG;
    } else if (failed == 0 && text.used < sizeof(header) - 1 &&
               memcmp(text.bytes, header, text.used) != 0) {
        failed = EBADMSG;
    }
    for (size_t number = 0; failed == 0 && whole < text.used; number++) {
        const char *line = text.bytes + whole;
        const char *end = memchr(line, '\n', text.used - whole);
        if (end == NULL) {
            break;
        }
        if (number > 0) {
            read_line(log, line, end, number);
        }
        whole += (size_t)(end - line) + 1;
    }
    if (failed == 0 && whole < text.used && ftruncate(log->fd, (off_t)whole) != 0) {
        failed = errno;
    }
    if (log->n > 1) {
        qsort(log->entries, log->n, sizeof(*log->entries), by_seq);
    }
    text_free(&text);
    return failed;
}

const struct joblog_entry *joblog_find(const struct joblog *log, uint64_t seq)
{
    size_t low = 0, high = log->n;

    while (low < high) { /* the first one behind */
        size_t middle = low + (high - low) / 2;
        if (log->entries[middle].seq <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 && log->entries[low - 1].seq == seq ? &log->entries[low - 1] : NULL;
}

/* ---- writing ---- */

int joblog_open(struct joblog *log, const char *path, bool resume)
{
    struct stat status;
    int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (resume ? 0 : O_TRUNC);
    int fd = open(path, flags, 0666);
    int failed = 0;

    if (fd < 0 && !resume) { /* such as a pipe or /dev/stderr, which cannot be read */
        fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    }
    if (fd < 0) {
        return errno;
    }
    *log = (struct joblog){ .fd = fd };
    if (resume) {
        failed = read_entries(log);
    }
    if (failed == 0 && (fstat(fd, &status) != 0 || status.st_size == 0)) {
        failed = write_all(fd, header, sizeof(header) - 1);
    }
    return failed;
}

void joblog_close(struct joblog *log)
{
    if (log->fd > 0) {
        close(log->fd);
    }
    free(log->entries);
}

int joblog_write(struct joblog *log, const struct job *job, const struct text *command)
{
    struct text line = { 0 };

    text_printf(&line, "%llu\t:\t%.3f\t%10.3f\t0\t%llu\t%d\t%d\t", (unsigned long long)job->seq,
                job->started_at, job->seconds, (unsigned long long)job->bytes[0], job->exit_code,
                job->signal);
    text_add(&line, command->bytes, command->used);
    text_puts(&line, "\n");
    int failed = write_all(log->fd, line.bytes, line.used);
    text_free(&line);
    return failed;
}
