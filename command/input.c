/* input.c: lists and streams of arguments. */
#include "input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK ((size_t)64 * 1024)

/* ---- lists ---- */

static void count_jobs(struct input *in)
{
    in->total = 1;
    for (unsigned i = 0; i < in->n_lists; i++) {
        in->total *= in->lengths[i];
    }
    if (in->n_lists == 1) {
        in->total = (in->total + in->per_job - 1) / in->per_job;
    }
    in->total_known = true;
}

void input_lists(struct input *in, char *const *argv, unsigned n, unsigned per_job)
{
    *in = (struct input){ .per_job = per_job, .fd = -1 };
    for (unsigned from = 0; from <= n;) {
        unsigned end = from;
        while (end < n && strcmp(argv[end], ":::") != 0) {
            end++;
        }
        in->lists = memory(in->lists, (in->n_lists + 1) * sizeof(*in->lists));
        in->lengths = memory(in->lengths, (in->n_lists + 1) * sizeof(*in->lengths));
        in->lists[in->n_lists] = argv + from;
        in->lengths[in->n_lists++] = end - from;
        from = end + 1;
    }
    in->at = memory(NULL, in->n_lists * sizeof(*in->at));
    memset(in->at, 0, in->n_lists * sizeof(*in->at));
    count_jobs(in);
}

/* The next combination: the last list changes fastest. */
static void step(struct input *in)
{
    if (in->n_lists == 1) {
        in->at[0] += in->per_job;
        return;
    }
    for (unsigned i = in->n_lists; i-- > 0;) {
        if (++in->at[i] < in->lengths[i] || i == 0) {
            return;
        }
        in->at[i] = 0;
    }
}

static void gather(struct input *in, const char *bytes, size_t n)
{
    text_add(&in->gathered, bytes, n);
    text_add(&in->gathered, "", 1);
    in->gathered_n++;
}

/* Hands over what was gathered: an array of pointers with the bytes behind it. */
static void hand_over(struct input *in, struct arguments *ret_args)
{
    size_t table = (in->gathered_n + 1) * sizeof(char *);
    char **values = memory(NULL, table + in->gathered.used);
    char *bytes = (char *)values + table;

    memcpy(bytes, in->gathered.bytes, in->gathered.used);
    for (unsigned i = 0; i < in->gathered_n; i++) {
        values[i] = bytes;
        bytes += strlen(bytes) + 1;
    }
    values[in->gathered_n] = NULL;
    *ret_args = (struct arguments){ values, in->gathered_n, in->flaw };
    in->gathered.used = 0;
    in->gathered_n = 0;
    in->flaw = 0;
    in->given++;
}

static enum input_state next_of_lists(struct input *in, struct arguments *ret_args)
{
    if (in->given >= in->total) {
        return INPUT_END;
    }
    for (unsigned i = 0; i < in->n_lists; i++) {
        unsigned end = in->n_lists == 1 ? in->at[i] + in->per_job : in->at[i] + 1;
        for (unsigned k = in->at[i]; k < end && k < in->lengths[i]; k++) {
            gather(in, in->lists[i][k], strlen(in->lists[i][k]));
        }
    }
    step(in);
    hand_over(in, ret_args);
    return INPUT_JOB;
}

/* ---- a stream ---- */

void input_stream(struct input *in, int fd, char delimiter, unsigned per_job)
{
    *in = (struct input){ .per_job = per_job, .fd = fd, .delimiter = delimiter };
    in->block = memory(NULL, BLOCK);
}

/* What is too long for any program is cut, so that a stream without an end of line takes no memory
 * without end, and marked, so that nobody runs what is left of it. */
static void keep(struct input *in, const char *bytes, size_t n)
{
    size_t room = ARGUMENT_MAX - in->partial.used;

    if (n > room) {
        in->overlong = true;
        n = room;
    }
    text_add(&in->partial, bytes, n);
}

static void finish_argument(struct input *in)
{
    if (in->overlong) {
        in->flaw = E2BIG;
    } else if (memchr(in->partial.bytes, '\0', in->partial.used) != NULL) {
        in->flaw = EILSEQ;
        for (size_t i = 0; i < in->partial.used; i++) {
            if (in->partial.bytes[i] == '\0') {
                in->partial.bytes[i] = '?'; /* only to be shown */
            }
        }
    }
    gather(in, in->partial.bytes, in->partial.used);
    in->partial.used = 0;
    in->overlong = false;
    in->begun = false;
}

/* Takes one argument out of the block: false if its end is not there. */
static bool scan(struct input *in)
{
    const char *from = in->block + in->from;
    size_t n = in->until - in->from;
    const char *end = memchr(from, in->delimiter, n);

    text_reserve(&in->partial, 1); /* so that bytes is never NULL */
    if (end == NULL) {
        keep(in, from, n);
        in->begun |= n != 0;
        in->from = in->until;
        return false;
    }
    keep(in, from, (size_t)(end - from));
    in->from += (size_t)(end - from) + 1;
    finish_argument(in);
    return true;
}

static enum input_state refill(struct input *in)
{
    struct pollfd ready = { .fd = in->fd, .events = POLLIN };
    ssize_t got;

    if (poll(&ready, 1, 0) == 0) {
        return INPUT_WAIT;
    }
    do {
        got = read(in->fd, in->block, BLOCK);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? INPUT_WAIT : INPUT_ERROR;
    }
    in->from = 0;
    in->until = (size_t)got;
    in->ended = got == 0;
    return INPUT_JOB;
}

static enum input_state next_of_stream(struct input *in, struct arguments *ret_args)
{
    while (in->gathered_n < in->per_job) {
        if (in->from < in->until && scan(in)) {
            continue;
        }
        if (in->ended) {
            break;
        }
        enum input_state state = refill(in);
        if (state != INPUT_JOB) {
            return state;
        }
        if (in->ended && in->begun) {
            finish_argument(in); /* the last line need not end in the delimiter */
        }
    }
    if (in->gathered_n == 0) {
        in->total = in->given;
        in->total_known = true;
        return INPUT_END;
    }
    hand_over(in, ret_args);
    return INPUT_JOB;
}

/* ---- both ---- */

enum input_state input_next(struct input *in, struct arguments *ret_args)
{
    return in->fd < 0 ? next_of_lists(in, ret_args) : next_of_stream(in, ret_args);
}

void input_free(struct input *in)
{
    free(in->lists);
    free(in->lengths);
    free(in->at);
    free(in->block);
    text_free(&in->partial);
    text_free(&in->gathered);
}

void arguments_free(struct arguments *args)
{
    free(args->values);
    *args = (struct arguments){ 0 };
}
