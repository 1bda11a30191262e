/* sink.h: where output goes, standard output or standard error, without ever waiting for who reads it: a
 * reader that stands still must not keep time limits and Ctrl-C from working. */
#ifndef COMMAND_SINK_H
#define COMMAND_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* More than this is not put, but waits for its turn where it is. */
#define SINK_FULL ((size_t)256 * 1024)

struct sink {
    int fd;    /* 1 or 2, or an opening of our own that does not block */
    bool pipe; /* whole pages may move instead of bytes */
    bool socket;
    bool terminal;
    bool can_block;   /* no more than a pipe has room for is written at a time */
    bool no_sendfile; /* the kernel refused */
    int failed;       /* errno: nothing more goes there */
    struct text put;  /* written next: put.bytes[written, put.used) */
    size_t written;
};

void sink_init(struct sink *sink, int fd);
void sink_free(struct sink *sink);

/* Whether what is written there has no reader any more; a file or a terminal always has one. */
bool sink_reader_is_gone(const struct sink *sink);

/* Takes the bytes in any case. */
void sink_put(struct sink *sink, const char *bytes, size_t n);

/* Writes what was put: true when nothing is left of it (or the sink has failed), false if one has to wait
 * until the sink takes more. */
bool sink_flush(struct sink *sink);

/* Moves a part of a file: after sink_flush() was true.  Returns how many bytes; 0: wait. */
uint64_t sink_send_file(struct sink *sink, int from, uint64_t offset, uint64_t n);

#endif /* COMMAND_SINK_H */
