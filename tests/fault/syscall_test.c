/* Goal:    a system call that fails costs one call or the start of a pool, and leaves nothing behind;
 *          a pool whose replacement worker cannot be started for a while goes on afterwards.
 * Method:  the program has its own wrappers over those of the C library.  The n-th use of one of
 *          them in all threads and forked processes fails, for n = 1, 2, ... until a run does not
 *          get so far; each run is a process of its own.  Limits on descriptors and address space
 *          are lowered until a pool can start.
 * Guards:  src/plat, and the error paths of src/proc, src/wire and src/sched above it. */
/* The sanitizers have wrappers of their own, which these would replace; so has Valgrind: */
/* aurt: no-asan */
/* aurt: no-tsan */
/* aurt: no-valgrind */
/* aurt: long */
#define _GNU_SOURCE
#include "fault.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

/* ---- the wrappers ---------------------------------------------------------------------------- */

enum call {
    CALL_NONE,
    CALL_pthread_create,
    CALL_memfd_create,
    CALL_eventfd,
    CALL_epoll_create1,
    CALL_epoll_ctl,
    CALL_socketpair,
    CALL_signalfd,
    CALL_fallocate,
    CALL_ftruncate,
    CALL_mmap,
    CALL_madvise,
    CALL_open,
    CALL_clone,
    CALL_fork,
    CALL_sendmsg,
    CALL_recvmsg,
    CALL_ppoll,
    CALL_pipe2,
    CALL_vmsplice,
    CALL_syscall_clone,
    CALL_syscall_pidfd_open,
};

/* The C library's.  Looked up on first use: a spawned worker never reaches main(). */
static void *look_up(_Atomic(void *) *found, const char *name)
{
    void *at = atomic_load_explicit(found, memory_order_acquire);

    if (at == NULL) {
        at = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(found, at, memory_order_release);
    }
    return at;
}

#define REAL(name)                                                                                 \
    static _Atomic(void *) found;                                                                  \
    void *at_ = look_up(&found, #name);                                                            \
    __typeof__(&name) real;                                                                        \
    memcpy(&real, &at_, sizeof(real));

#define WRAP(type, name, params, args)                                                             \
    type name params                                                                               \
    {                                                                                              \
        REAL(name)                                                                                 \
        return fault_now(CALL_##name) ? (type)-1 : real args;                                      \
    }

WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, eventfd, (unsigned count, int flags), (count, flags))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int epfd, int op, int fd, struct epoll_event *event), (epfd, op, fd, event))
WRAP(int, socketpair, (int domain, int type, int protocol, int fds[2]),
     (domain, type, protocol, fds))
WRAP(int, signalfd, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t bytes), (fd, mode, at, bytes))
WRAP(int, ftruncate, (int fd, off_t bytes), (fd, bytes))
WRAP(void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t off),
     (at, size, prot, flags, fd, off))
WRAP(int, madvise, (void *at, size_t size, int advice), (at, size, advice))
WRAP(pid_t, fork, (void), ())
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(int, ppoll,
     (struct pollfd * polls, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
     (polls, n, timeout, mask))
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags))
WRAP(ssize_t, vmsplice, (int fd, const struct iovec *parts, size_t n, unsigned flags),
     (fd, parts, n, flags))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))

int pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    REAL(pthread_create)
    return fault_now(CALL_pthread_create) ? errno : real(id, attr, fn, arg);
}

int open(const char *path, int flags, ...)
{
    REAL(open)
    va_list args;

    va_start(args, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fault_now(CALL_open) ? -1 : real(path, flags, mode);
}

int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
    REAL(clone)
    va_list args;

    va_start(args, arg);
    void *parent_tid = va_arg(args, void *); /* only looked at if the flags say so */
    va_end(args);
    return fault_now(CALL_clone) ? -1 : real(fn, stack, flags, arg, parent_tid, NULL, NULL);
}

long syscall(long number, ...)
{
    REAL(syscall)
    long a[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(args, long); /* some are not there: whatever the registers hold */
    }
    va_end(args);
    if ((number == SYS_clone && fault_now(CALL_syscall_clone)) ||
        (number == SYS_pidfd_open && fault_now(CALL_syscall_pidfd_open))) {
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- what a call may answer ------------------------------------------------------------------ */

static bool run_strict; /* nothing may fail */
static bool went_well(aur_err err, int line)
{
    bool known = err == AUR_OK || err == AUR_ENOMEM || err == AUR_EAGAIN ||
                 (run_processes && err == AUR_EWORKER);

    if (!known || (run_strict && err != AUR_OK)) {
        broken(__FILE__, line, "not a documented answer", err);
    }
    return err == AUR_OK;
}

#define WELL(...) went_well(__VA_ARGS__, __LINE__)

/* ---- the work -------------------------------------------------------------------------------- */

static int die(int signal)
{
    raise(signal);
    return 0;
}
AUR_FN(int, die, int);

#define MANY 300
#define LARGE ((size_t)6 * 1024 * 1024)
static int numbers[MANY];
static int results[MANY];
static char large[LARGE];

static void work(aur_pool *pool)
{
    aur_future *future = NULL;
    aur_buf *buf = NULL;
    const void *data;
    size_t size;
    uint64_t word = 0;
    int value = 0;

    if (WELL(aur_apply(pool, &value, square, 5))) {
        HOLDS(value == 25);
    }
    if (WELL(aur_map(pool, square, numbers, MANY, results))) {
        for (int i = 0; i < MANY; i++) {
            HOLDS(results[i] == i * i);
        }
    }
    if (WELL(aur_apply_bytes(pool, &future, twice, large, LARGE))) {
        if (WELL(aur_future_view(future, &data, &size, AUR_NO_DEADLINE))) {
            HOLDS(size == 2 * LARGE && memcmp(data, large, LARGE) == 0);
        }
        aur_future_unref(future);
    }
    if (WELL(aur_buf_new(pool, LARGE, AUR_BUF_INOUT, &buf))) {
        *(uint64_t *)aur_buf_data(buf) = 4711;
        aur_err err = aur_apply(pool, &word, first_word, aur_buf_id(buf));
        /* The task says so if its process cannot map the buffer. */
        if (!(run_processes && !run_strict && err == AUR_ETASK) && WELL(err)) {
            HOLDS(word == 4711);
        }
        aur_buf_unref(buf);
    }
}

/* A call that calls: through the parent, and with a spare in its place. */
static void work_nested(aur_pool *pool)
{
    aur_future *future = NULL;
    int value = 0;

    if (WELL(aur_apply_async(pool, &future, nested, 9))) {
        if (WELL(aur_future_result(future, &value, AUR_NO_DEADLINE))) {
            HOLDS(value == 81 || (value == -1 && !run_strict));
        }
        aur_future_unref(future);
    }
}

/* ---- a run ----------------------------------------------------------------------------------- */

typedef struct plan {
    const aur_options *opts;
    uint32_t call, at, times;
    int number;
} plan;

static void start_and_work(const void *ctx)
{
    const plan *p = ctx;
    held before = hold_now();
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };
    int value = 0;

    fault_arm(p->call, p->number, p->at, p->times);
    aur_err err = aur_pool_new(p->opts, &pool, &diag);
    HOLDS((pool != NULL) == (err == AUR_OK));
    if (pool == NULL) {
        fault_disarm();
        HOLDS(!run_strict && diag.err == err && diag.step[0] != '\0' && diag.text[0] != '\0');
        HOLDS(err == AUR_ENOMEM || err == AUR_EAGAIN || err == AUR_ESYS);
        expect_held(&before);
        return;
    }
    work(pool);
    work_nested(pool);
    fault_disarm();
    err = aur_apply(pool, &value, square, 12);
    if (err != AUR_OK || value != 144) {
        BROKEN("the pool works no more", err);
    }
    end_pool(pool);
    expect_held(&before);
}

static const struct {
    const char *name;
    uint32_t call;
    int number;
    uint32_t times;
    bool strict;
} cases[] = {
    { "pthread_create", CALL_pthread_create, EAGAIN, 1, false },
    { "memfd_create", CALL_memfd_create, EMFILE, 1, false },
    { "eventfd", CALL_eventfd, EMFILE, 1, false },
    { "epoll_create1", CALL_epoll_create1, EMFILE, 1, false },
    { "epoll_ctl", CALL_epoll_ctl, ENOSPC, 1, false },
    { "socketpair", CALL_socketpair, EMFILE, 1, false },
    { "signalfd", CALL_signalfd, EMFILE, 1, false },
    { "fallocate, full", CALL_fallocate, ENOSPC, 1, false },
    { "fallocate, interrupted", CALL_fallocate, EINTR, 3, true },
    { "ftruncate", CALL_ftruncate, ENOSPC, 1, false },
    { "mmap", CALL_mmap, ENOMEM, 1, false },
    { "madvise", CALL_madvise, ENOMEM, 1, false },
    { "open", CALL_open, EMFILE, 1, false },
    { "clone", CALL_clone, EAGAIN, 1, false },
    { "fork", CALL_fork, EAGAIN, 1, false },
    { "sendmsg", CALL_sendmsg, ENOBUFS, 1, false },
    { "sendmsg, interrupted", CALL_sendmsg, EINTR, 3, true },
    { "recvmsg, interrupted", CALL_recvmsg, EINTR, 3, true },
    { "ppoll, interrupted", CALL_ppoll, EINTR, 3, true },
    { "pipe2", CALL_pipe2, EMFILE, 1, false },
    { "vmsplice, interrupted", CALL_vmsplice, EINTR, 3, true },
    { "vmsplice, refused", CALL_vmsplice, EPERM, 3, true },
    { "bare clone", CALL_syscall_clone, EAGAIN, 1, false },
    { "pidfd_open", CALL_syscall_pidfd_open, EMFILE, 1, false },
};

static void all_calls(void **state)
{
    plan p = { .opts = *state };

    run_processes = p.opts->kind == AUR_PROCESSES;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_name = cases[i].name;
        run_strict = cases[i].strict;
        p.call = cases[i].call;
        p.number = cases[i].number;
        p.times = cases[i].times;
        p.at = 0;
        do {
            p.at++;
            run_apart(start_and_work, &p);
        } while (fault_hits() > 0);
        print_message("%s: %u\n", run_name, p.at - 1);
    }
    run_strict = false;
}

/* ---- a worker that cannot be replaced -------------------------------------------------------- */

static void replace(const void *ctx)
{
    const plan *p = ctx;
    held before = hold_now();
    aur_pool *pool = NULL;
    int value = 0;

    HOLDS(aur_pool_new(p->opts, &pool, NULL) == AUR_OK);
    work(pool);
    fault_arm(p->call, p->number, 1, p->times);
    HOLDS(aur_apply(pool, &value, die, SIGKILL) == AUR_EWORKER);
    aur_err err = aur_apply(pool, &value, square, 12);
    if (p->times == UINT32_MAX) {
        HOLDS(err == AUR_EBROKEN && aur_apply(pool, &value, square, 12) == AUR_EBROKEN);
    } else {
        HOLDS(err == AUR_OK && value == 144);
    }
    fault_disarm();
    HOLDS(p->times == UINT32_MAX ? fault_hits() >= 10 : fault_hits() == p->times);
    end_pool(pool);
    expect_held(&before);
}

static void test_replacement(void **state)
{
    static const uint32_t calls[] = { CALL_fork, CALL_syscall_pidfd_open, CALL_memfd_create };
    plan p = { .opts = *state, .number = EMFILE };

    run_processes = true;
    run_name = "replacement";
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        p.call = calls[i];
        p.times = 3;
        run_apart(replace, &p);
        p.times = UINT32_MAX;
        run_apart(replace, &p);
    }
}

/* ---- limits ---------------------------------------------------------------------------------- */

typedef struct limited {
    const aur_options *opts;
    int resource;
    rlim_t limit;
} limited;

static void start_limited(const void *ctx)
{
    const limited *l = ctx;
    held before = hold_now();
    struct rlimit all;
    aur_pool *pool = NULL;

    AURT_CHECK(getrlimit(l->resource, &all) == 0);
    struct rlimit few = { l->limit, all.rlim_max };
    AURT_CHECK(setrlimit(l->resource, &few) == 0);
    aur_err err = aur_pool_new(l->opts, &pool, NULL);
    if (err == AUR_OK) {
        int value = 0;
        err = aur_apply(pool, &value, square, 12);
        HOLDS(err == AUR_ENOMEM || err == AUR_EAGAIN || (err == AUR_OK && value == 144));
        the_fault->note = err == AUR_OK;
    }
    AURT_CHECK(setrlimit(l->resource, &all) == 0);
    HOLDS(err == AUR_OK || err == AUR_ENOMEM || err == AUR_EAGAIN || err == AUR_ESYS);
    if (pool != NULL) {
        end_pool(pool);
    }
    expect_held(&before);
}

static void test_descriptors(void **state)
{
    limited l = { *state, RLIMIT_NOFILE, 3 };

    run_name = "descriptors";
    for (the_fault->note = 0; the_fault->note == 0; l.limit++) {
        run_apart(start_limited, &l);
    }
    print_message("with %u\n", (unsigned)l.limit - 1);
}

static void test_address_space(void **state)
{
    limited l = { *state, RLIMIT_AS, (rlim_t)8 << 20 };

    run_name = "address space";
    for (the_fault->note = 0; the_fault->note == 0; l.limit += l.limit / 4) {
        run_apart(start_limited, &l);
    }
    print_message("with less than %u MiB\n", (unsigned)(l.limit >> 20));
}

static aur_options threads = { .size = sizeof(threads), .kind = AUR_THREADS, .workers = 3 };
static aur_options forked = {
    .size = sizeof(forked), .kind = AUR_PROCESSES, .start = AUR_START_FORK, .workers = 2
};
static aur_options spawned = {
    .size = sizeof(spawned), .kind = AUR_PROCESSES, .start = AUR_START_SPAWN, .workers = 2
};
static aur_options one = { .size = sizeof(one), .kind = AUR_PROCESSES, .workers = 1 };

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "threads", all_calls, NULL, NULL, &threads },
        { "forked", all_calls, NULL, NULL, &forked },
        { "spawned", all_calls, NULL, NULL, &spawned },
        { "replacement", test_replacement, NULL, NULL, &one },
        { "descriptors/forked", test_descriptors, NULL, NULL, &forked },
        { "descriptors/spawned", test_descriptors, NULL, NULL, &spawned },
        { "address_space/threads", test_address_space, NULL, NULL, &threads },
        { "address_space/forked", test_address_space, NULL, NULL, &forked },
    };

    for (int i = 0; i < MANY; i++) {
        numbers[i] = i;
    }
    memset(large, 'x', sizeof(large));
    fault_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
