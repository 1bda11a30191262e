/* input.h: where arguments come from: the lists after ":::", or a stream of lines.
 *
 * A stream is read when a job can be started, and no more than a block ahead. */
#ifndef COMMAND_INPUT_H
#define COMMAND_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "template.h"
#include "text.h"

/* The longest single argument that Linux takes, with its NUL: MAX_ARG_STRLEN, 32 pages. */
#define ARGUMENT_MAX ((size_t)32 * 4096)

struct input {
    unsigned per_job; /* -n; 1 for lists */
    /* lists */
    char *const **lists;
    unsigned *lengths, *at;
    unsigned n_lists;
    uint64_t total; /* jobs, when that is known: lists, or a stream that has ended */
    bool total_known;
    /* a stream: unread bytes are block[from, until) */
    int fd;
    char delimiter;
    char *block;
    size_t from, until;
    struct text partial; /* the argument whose end has not been read */
    bool overlong;       /* some of its bytes were dropped */
    bool begun;          /* there is a partial argument, if only an empty one */
    bool ended;
    struct text gathered; /* complete arguments of the next job, each with its NUL */
    unsigned gathered_n;
    int flaw;
    uint64_t given;
};

enum input_state {
    INPUT_JOB,   /* *ret_args is filled, and belongs to the caller (arguments_free) */
    INPUT_WAIT,  /* the stream has nothing now: wait until fd can be read */
    INPUT_END,   /* no more jobs */
    INPUT_ERROR, /* errno says why the stream cannot be read */
};

/* argv: what follows the first ":::", with more of these between the lists. */
void input_lists(struct input *in, char *const *argv, unsigned n, unsigned per_job);
void input_stream(struct input *in, int fd, char delimiter, unsigned per_job);
enum input_state input_next(struct input *in, struct arguments *ret_args);
void input_free(struct input *in);
void arguments_free(struct arguments *args);

#endif /* COMMAND_INPUT_H */
