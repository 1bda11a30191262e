/* The Linux port of process.h, first part: descriptors, waiting for them, and the messages that
 * carry them.  Kernel 5.10 is the floor; close_range (5.9) and epoll_pwait2 (5.11) have substitutes,
 * since containers like to refuse system calls that they do not know. */
#include "plat/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "plat/linux_fd.h"
#include "plat/plat.h"

/* Newer than some C library headers; the number is the same on every architecture. */
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

/* ---- descriptors ---------------------------------------------------------------------------- */

void aurp_close(int *fd)
{
    AURP_UNCANCELLED;

    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void aurp_close_on_exec(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

int aurp_fd_lift(int fd, int least)
{
    AURP_UNCANCELLED;
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, least > 3 ? least : 3);

    if (lifted < 0 && least > 3) {
        lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    if (lifted < 0) {
        return -errno;
    }
    close(fd);
    return lifted;
}

int aurp_fd_own(long fd)
{
    AURP_UNCANCELLED;

    if (fd < 0) {
        return -errno;
    }
    if (fd > 2) {
        return (int)fd;
    }
    int lifted = aurp_fd_lift((int)fd, 3);
    if (lifted < 0) {
        close((int)fd);
    }
    return lifted;
}

/* The same for both ends of something; on failure (an errno) both are closed. */
static int own_pair(int fds[2])
{
    AURP_UNCANCELLED;

    for (int i = 0; i < 2; i++) {
        int own = aurp_fd_own(fds[i]);
        if (own < 0) {
            close(fds[1 - i]);
            return -own;
        }
        fds[i] = own;
    }
    return 0;
}

int aurp_socketpair(int ret_fds[2])
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        return errno;
    }
    int failed = own_pair(fds);
    if (failed == 0) {
        memcpy(ret_fds, fds, sizeof(fds));
    }
    return failed;
}

int aurp_pipe(int ret_fds[2])
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) != 0) {
        return errno;
    }
    int failed = own_pair(fds);
    if (failed == 0) {
        memcpy(ret_fds, fds, sizeof(fds));
    }
    return failed;
}

/* Calls visit for each open descriptor >= 3, but for the one that lists them. */
static void each_fd(void (*visit)(int fd, void *ctx), void *ctx)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    if (dir == NULL) { /* no /proc: try all numbers that can be */
        long end = sysconf(_SC_OPEN_MAX);
        for (int fd = 3; fd < (end > 0 && end < 65536 ? end : 65536); fd++) {
            if (fcntl(fd, F_GETFD) >= 0) {
                visit(fd, ctx);
            }
        }
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);
        if (fd >= 3 && fd != dirfd(dir)) {
            visit(fd, ctx);
        }
    }
    closedir(dir);
}

static void raise_end(int fd, void *ctx)
{
    int *end = ctx;

    *end = fd >= *end ? fd + 1 : *end;
}

int aurp_fd_end(void)
{
    int end = 3;

    each_fd(raise_end, &end);
    return end;
}

typedef struct keep_list {
    int fds[AURP_KEEP_MAX];
    unsigned n;
} keep_list;

static void close_unless_kept(int fd, void *ctx)
{
    const keep_list *keep = ctx;

    for (unsigned i = 0; i < keep->n; i++) {
        if (keep->fds[i] == fd) {
            return;
        }
    }
    close(fd);
}

static int ascending(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Closes the gaps between the kept ones, each by one call; without close_range one by one. */
void aurp_close_except(const int *keep, unsigned n)
{
    keep_list sorted = { .n = n < AURP_KEEP_MAX ? n : AURP_KEEP_MAX };
    unsigned from = 3;

    memcpy(sorted.fds, keep, sorted.n * sizeof(*keep));
    qsort(sorted.fds, sorted.n, sizeof(*keep), ascending);
    for (unsigned i = 0; i <= sorted.n; i++) {
        if (i < sorted.n && sorted.fds[i] < (int)from) {
            continue;
        }
        unsigned last = i < sorted.n ? (unsigned)sorted.fds[i] - 1 : UINT_MAX;
        if (last >= from && syscall(SYS_close_range, from, last, 0) != 0) {
            each_fd(close_unless_kept, &sorted);
            return;
        }
        from = last + 2; /* behind the kept one; not used after the last gap */
    }
}

void aurp_stdin_null(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (fd > 0) {
        dup2(fd, 0);
        close(fd);
    } else if (fd == 0) { /* it was closed; it should survive an exec like any stdin */
        fcntl(0, F_SETFD, 0);
    }
}

aurp_file_id aurp_file_id_of(int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 ? (aurp_file_id){ file.st_dev, file.st_ino }
                                 : (aurp_file_id){ 0, 0 };
}

bool aurp_file_is(int fd, aurp_file_id id)
{
    aurp_file_id now = aurp_file_id_of(fd);

    return id.inode != 0 && now.inode == id.inode && now.device == id.device;
}

/* ---- waiting -------------------------------------------------------------------------------- */

int aurp_eventfd_new(void)
{
    return aurp_fd_own(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

void aurp_eventfd_ring(int fd)
{
    AURP_UNCANCELLED;
    uint64_t one = 1;

    /* EAGAIN means that the counter is full: whoever waits is awake already. */
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

void aurp_eventfd_clear(int fd)
{
    AURP_UNCANCELLED;
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR) {
    }
}

/* A pipe: it has an identity, and wakes its reader as fast as an eventfd does.  (A socket does not: the
 * reader was found on the other CPU twice as often, 45 us instead of 25.) */
int aurp_bell_new(int ret_ends[2])
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return errno;
    }
    int failed = own_pair(fds);
    if (failed == 0) {
        memcpy(ret_ends, fds, sizeof(fds));
    }
    return failed;
}

void aurp_bell_ring(int fd)
{
    AURP_UNCANCELLED;
    struct iovec ring = { .iov_base = (void *)(uintptr_t) "", .iov_len = 1 };

    /* EAGAIN means that it is full of rings: whoever hears it is awake already. */
    while (vmsplice(fd, &ring, 1, SPLICE_F_NONBLOCK) < 0) {
        if (errno == ENOSYS || errno == EPERM) { /* a sandbox does not know the call */
            while (write(fd, "", 1) < 0 && errno == EINTR) {
            }
            return;
        }
        if (errno != EINTR) {
            return;
        }
    }
}

void aurp_bell_clear(int fd)
{
    AURP_UNCANCELLED;
    char rings[256]; /* more than a pipe holds, if each is a page of its own */

    while (read(fd, rings, sizeof(rings)) < 0 && errno == EINTR) {
    }
}

int aurp_epoll_new(void)
{
    return aurp_fd_own(epoll_create1(EPOLL_CLOEXEC));
}

int aurp_epoll_add(int epoll, int fd, uint64_t token)
{
    struct epoll_event event = { .events = EPOLLIN, .data = { .u64 = token } };

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int aurp_epoll_remove(int epoll, int fd)
{
    return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) == 0 ? 0 : errno;
}

/* Time left until the deadline; NULL for "no limit". */
static const struct timespec *time_left(aur_deadline deadline, struct timespec *left)
{
    if (deadline == AUR_NO_DEADLINE) {
        return NULL;
    }
    uint64_t now = deadline == 0 ? 0 : aurp_now_ns();
    uint64_t ns = deadline > now ? deadline - now : 0;
    left->tv_sec = (time_t)(ns / 1000000000u);
    left->tv_nsec = (long)(ns % 1000000000u);
    return left;
}

/* Rounded up, so that a wait never ends before its time. */
static int milliseconds(const struct timespec *left)
{
    if (left == NULL) {
        return -1;
    }
    if (left->tv_sec >= INT_MAX / 1000) {
        return INT_MAX;
    }
    return (int)left->tv_sec * 1000 + (int)((left->tv_nsec + 999999) / 1000000);
}

/* epoll_wait counts in milliseconds: a deadline of 50 us would take twenty times as long. */
unsigned aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned max, aur_deadline deadline)
{
    AURP_UNCANCELLED;
    struct epoll_event events[AURP_READY_MAX];
    struct timespec left;
    const struct timespec *limit = time_left(deadline, &left);
    int room = max < AURP_READY_MAX ? (int)max : AURP_READY_MAX;

    long got = syscall(SYS_epoll_pwait2, epoll, events, room, limit, NULL, (size_t)0);
    if (got < 0 && (errno == ENOSYS || errno == EPERM)) {
        got = epoll_wait(epoll, events, room, milliseconds(limit));
    }
    for (long i = 0; i < got; i++) {
        ret_ready[i].token = events[i].data.u64;
        ret_ready[i].hung_up = (events[i].events & (EPOLLHUP | EPOLLERR)) != 0;
    }
    return got > 0 ? (unsigned)got : 0;
}

aur_err aurp_fd_wait(int fd, aur_deadline deadline)
{
    AURP_UNCANCELLED;

    for (;;) {
        struct pollfd wish = { .fd = fd, .events = POLLIN };
        struct timespec left;
        int got = ppoll(&wish, 1, time_left(deadline, &left), NULL);

        if (got > 0) {
            return (wish.revents & POLLNVAL) != 0 ? AUR_ESYS : AUR_OK;
        }
        if (got == 0) {
            return AUR_ETIMEDOUT;
        }
        if (errno != EINTR && errno != EAGAIN) {
            return AUR_ESYS;
        }
    }
}

void aurp_poll_wait(aurp_poll *polls, unsigned n, int timeout_ms)
{
    struct pollfd wishes[AURP_POLL_MAX];

    for (unsigned i = 0; i < n; i++) {
        wishes[i].fd = polls[i].fd;
        wishes[i].events = (short)(POLLIN | (polls[i].write ? POLLOUT : 0));
        wishes[i].revents = 0;
    }
    int got = poll(wishes, n, timeout_ms);
    for (unsigned i = 0; i < n; i++) {
        polls[i].ready = got > 0 && (wishes[i].revents & ~POLLOUT) != 0;
    }
}

int aurp_child_fd_new(void)
{
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    return aurp_fd_own(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
}

void aurp_child_fd_clear(int fd)
{
    struct signalfd_siginfo info;

    while (read(fd, &info, sizeof(info)) > 0) {
    }
}

/* ---- messages ------------------------------------------------------------------------------- */

typedef union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(AURP_FDS_MAX * sizeof(int))];
} control;

/* The kernel copies the descriptors while it queues the message, or fails as a whole. */
int aurp_send(int fd, const void *data, size_t size, const int *fds, unsigned n)
{
    AURP_UNCANCELLED;
    struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    control room;

    if (n > AURP_FDS_MAX) {
        return EINVAL;
    }
    if (n > 0) {
        memset(&room, 0, sizeof(room));
        message.msg_control = &room;
        message.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(header), fds, n * sizeof(int));
    }
    for (;;) {
        ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            return (size_t)sent == size ? 0 : EPROTO;
        }
        if (errno != EINTR) {
            return errno;
        }
    }
}

/* Hands out the first max descriptors of a message, outside of stdio's numbers. */
static unsigned take_fds(struct msghdr *message, int *fds, unsigned max)
{
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    unsigned n = 0;

    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
        return 0;
    }
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
        if (n < max && (fd = aurp_fd_own(fd)) >= 0) {
            fds[n++] = fd;
        } else if (fd >= 0) {
            close(fd);
        }
    }
    return n;
}

/* There is always room for AURP_FDS_MAX descriptors, so MSG_CTRUNC has one meaning: the process has
 * reached its limit.  What was installed before that is closed. */
int aurp_receive(int fd, void *data, size_t size, int *ret_fds, unsigned max, unsigned *ret_n)
{
    AURP_UNCANCELLED;
    struct iovec part = { .iov_base = data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    control room;
    int fds[AURP_FDS_MAX];
    ssize_t got;

    message.msg_control = &room;
    message.msg_controllen = sizeof(room);
    do {
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return got == 0 || errno == ECONNRESET ? EPIPE : errno;
    }
    bool broken = (size_t)got != size || (message.msg_flags & MSG_TRUNC) != 0;
    bool full = (message.msg_flags & MSG_CTRUNC) != 0;
    unsigned n = take_fds(&message, fds, broken || full ? 0 : max);
    memcpy(ret_fds, fds, n * sizeof(int));
    *ret_n = n;
    return broken ? EPROTO : full ? EMFILE : 0;
}

void aurp_hang_up(int socket)
{
    shutdown(socket, SHUT_RDWR);
}
