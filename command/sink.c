/* sink.c: where output goes.
 *
 * Standard output belongs to others, too: making it non-blocking would do that to them.  A pipe or a
 * terminal can be opened once more through /proc, and that opening is ours.  Where that is refused, no more
 * is written than a pipe that says it is ready has room for. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIPE_BYTES                                                                                 \
    (1024 * 1024) /* asked for, for large outputs: fewer turns between us and the reader */
#define COPY_BYTES ((size_t)64 * 1024)
#define SEND_BYTES ((uint64_t)8 * 1024 * 1024) /* between two looks at everything else */

void sink_init(struct sink *sink, int fd)
{
    struct stat status;
    char path[64];

    *sink = (struct sink){ .fd = fd };
    if (fstat(fd, &status) != 0) {
        return;
    }
    sink->pipe = S_ISFIFO(status.st_mode);
    sink->socket = S_ISSOCK(status.st_mode);
    sink->terminal = isatty(fd) != 0;
    if (sink->pipe || sink->terminal) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        sink->can_block = own < 0;
        sink->fd = own >= 0 ? own : fd;
    }
}

void sink_free(struct sink *sink)
{
    if (sink->fd > 2) {
        close(sink->fd);
    }
    text_free(&sink->put);
}

bool sink_reader_is_gone(const struct sink *sink)
{
    struct pollfd state = { .fd = sink->fd };

    return (sink->pipe || sink->socket) && poll(&state, 1, 0) == 1 &&
           (state.revents & (POLLERR | POLLHUP)) != 0;
}

void sink_put(struct sink *sink, const char *bytes, size_t n)
{
    if (sink->failed == 0) {
        text_add(&sink->put, bytes, n);
    }
}

static void fail(struct sink *sink, int error)
{
    sink->failed = error;
    sink->put.used = 0;
    sink->written = 0;
}

static bool is_ready(const struct sink *sink)
{
    struct pollfd ready = { .fd = sink->fd, .events = POLLOUT };

    return poll(&ready, 1, 0) != 0;
}

static ssize_t write_some(struct sink *sink, const char *bytes, size_t n)
{
    if (sink->socket) {
        return send(sink->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (sink->can_block) {
        if (!is_ready(sink)) {
            errno = EAGAIN;
            return -1;
        }
        n = n < PIPE_BUF ? n : PIPE_BUF;
    }
    return write(sink->fd, bytes, n);
}

bool sink_flush(struct sink *sink)
{
    while (sink->failed == 0 && sink->written < sink->put.used) {
        ssize_t n =
            write_some(sink, sink->put.bytes + sink->written, sink->put.used - sink->written);
        if (n >= 0) {
            sink->written += (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return false;
        } else if (errno != EINTR) {
            fail(sink, errno);
        }
    }
    sink->put.used = 0;
    sink->written = 0;
    return true;
}

/* The plain way: through our memory. */
static uint64_t copy(struct sink *sink, int from, uint64_t offset, uint64_t n)
{
    size_t size = n < COPY_BYTES ? (size_t)n : COPY_BYTES;

    text_reserve(&sink->put, size);
    ssize_t got = pread(from, sink->put.bytes, size, (off_t)offset);
    if (got <= 0) { /* it was cut off by who wrote it: there is no such part any more */
        return n;
    }
    sink->put.used = (size_t)got;
    (void)sink_flush(sink);
    return (uint64_t)got;
}

static ssize_t move(struct sink *sink, int from, off_t offset, size_t n)
{
    if (sink->pipe) {
        loff_t at = offset;
        ssize_t moved = splice(from, &at, sink->fd, NULL, n, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (moved < 0 && errno == EAGAIN && fcntl(sink->fd, F_GETPIPE_SZ) < PIPE_BYTES) {
            (void)fcntl(sink->fd, F_SETPIPE_SZ, PIPE_BYTES); /* only for speed */
        }
        return moved;
    }
    return sendfile(sink->fd, from, &offset, n);
}

uint64_t sink_send_file(struct sink *sink, int from, uint64_t offset, uint64_t n)
{
    if (sink->failed != 0) {
        return n;
    }
    if (n < COPY_BYTES || sink->no_sendfile || sink->socket || sink->terminal) {
        return copy(sink, from, offset, n);
    }
    for (;;) {
        ssize_t moved = move(sink, from, (off_t)offset, (size_t)(n < SEND_BYTES ? n : SEND_BYTES));
        if (moved >= 0) {
            return moved == 0 ? n : (uint64_t)moved;
        }
        if (errno == EAGAIN) {
            return 0;
        }
        if (errno == EINVAL || errno == ENOSYS) { /* such as a file that is only appended to */
            sink->no_sendfile = true;
            return copy(sink, from, offset, n);
        }
        if (errno != EINTR) {
            fail(sink, errno);
            return n;
        }
    }
}
