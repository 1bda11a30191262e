/* Command lines, templates and arguments of any bytes: refused with one line, or taken; and then every job has
 * the words that its template says, and shown for a shell they stay on one line.
 *
 * The case is a command line, a word each up to a NUL, then an empty word, then what standard input holds. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "options.h"
#include "template.h"

#define WORDS_MAX 32
#define JOBS_SEEN 64

/* Words up to an empty one; returns what is left behind them. */
static const uint8_t *split(char *bytes, size_t size, char **words, int *ret_n)
{
    char *at = bytes, *end = bytes + size;

    *ret_n = 0;
    while (at < end && *ret_n < WORDS_MAX) {
        size_t n = strlen(at); /* there is a NUL behind the end */
        if (n == 0) {
            at++;
            break;
        }
        words[(*ret_n)++] = at;
        at += n + 1;
    }
    return (const uint8_t *)(at < end ? at : end);
}

static void check_line(const struct template *t, const struct arguments *args,
                       const struct command_line *line)
{
    struct text shown = { 0 };

    FUZZ_CHECK(line->n == 0 || line->argv[line->n] == NULL);
    for (unsigned i = 0; i < line->n; i++) {
        FUZZ_CHECK(line->argv[i] >= line->bytes.bytes &&
                   line->argv[i] + strlen(line->argv[i]) < line->bytes.bytes + line->bytes.used);
    }
    FUZZ_CHECK(!t->shell || (line->n == 3 && strcmp(line->argv[1], "-c") == 0));
    command_line_show(t, line, &shown);
    FUZZ_CHECK(shown.used == 0 || memchr(shown.bytes, '\n', shown.used) == NULL);
    FUZZ_CHECK(args->values[args->n] == NULL);
    text_free(&shown);
}

static int file_with(const uint8_t *bytes, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    FUZZ_CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void run(const struct options *opts, const uint8_t *rest, size_t size)
{
    unsigned per_job = opts->per_job != 0 ? opts->per_job : 1;
    int fd = file_with(rest, size);
    struct command_line line = { 0 };
    struct template t;
    struct input in;
    struct arguments args;
    uint64_t seq = 0;

    template_init(&t, opts->command, opts->command_n, opts->shell);
    if (opts->lists_given) {
        input_lists(&in, opts->lists, opts->lists_n, per_job);
    } else {
        input_stream(&in, fd, opts->null ? '\0' : '\n', per_job);
    }
    while (seq < JOBS_SEEN && input_next(&in, &args) == INPUT_JOB) {
        FUZZ_CHECK(args.n >= 1 && (in.n_lists > 1 || args.n <= per_job));
        template_expand(&t, &args, ++seq, 1, &line);
        check_line(&t, &args, &line);
        arguments_free(&args);
    }
    FUZZ_CHECK(seq == JOBS_SEEN || (in.total_known && in.total == seq));
    command_line_free(&line);
    template_free(&t);
    input_free(&in);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char verb[] = "map";
    char message[OPTIONS_MESSAGE_MAX] = "";
    char *words[WORDS_MAX + 1] = { verb };
    char *bytes = malloc(size + 1);
    struct options opts;
    int n;

    FUZZ_CHECK(bytes != NULL);
    if (size != 0) {
        memcpy(bytes, data, size);
    }
    bytes[size] = '\0';
    const uint8_t *rest = split(bytes, size, words + 1, &n);
    switch (options_parse(&opts, n + 1, words, message)) {
    case OPTIONS_RUN:
        FUZZ_CHECK(opts.command_n >= 1 && message[0] == '\0');
        run(&opts, rest, (size_t)((const uint8_t *)bytes + size - rest));
        break;
    case OPTIONS_BAD:
        FUZZ_CHECK(message[0] != '\0');
        break;
    default:
        break;
    }
    free(bytes);
    return 0;
}
