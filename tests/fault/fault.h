/* fault.h: what the tests of failing calls share: which use of what fails, runs in processes of
 * their own, and what has to be as before after each. */
#ifndef AURT_FAULT_H
#define AURT_FAULT_H

#include "aurt.h"

#include <auriga.h>
#include <errno.h>
#include <sys/wait.h>

/* ---- the fault ------------------------------------------------------------------------------- */

/* Uses at .. at + times - 1 of a call fail, counted over all threads and all processes that are
 * forked from this one: it lies in shared memory.  Spawned workers do not see it. */
typedef struct fault {
    _Atomic(uint32_t) call; /* 0: not armed */
    _Atomic(uint32_t) calls;
    _Atomic(uint32_t) hits;
    uint32_t at, times;
    int number;             /* errno */
    _Atomic(uint32_t) note; /* for the test's own use */
} fault;

static fault *the_fault;

static inline void fault_init(void)
{
    the_fault = aurt_shared(sizeof(*the_fault));
}

static inline bool fault_now(uint32_t call)
{
    fault *f = the_fault;

    if (f == NULL || atomic_load_explicit(&f->call, memory_order_acquire) != call) {
        return false;
    }
    uint32_t n = atomic_fetch_add_explicit(&f->calls, 1, memory_order_relaxed) + 1;
    if (n < f->at || n - f->at >= f->times) {
        return false;
    }
    atomic_fetch_add_explicit(&f->hits, 1, memory_order_relaxed);
    errno = f->number;
    return true;
}

static inline void fault_arm(uint32_t call, int number, uint32_t at, uint32_t times)
{
    the_fault->number = number;
    the_fault->at = at;
    the_fault->times = times;
    atomic_store_explicit(&the_fault->calls, 0, memory_order_relaxed);
    atomic_store_explicit(&the_fault->hits, 0, memory_order_relaxed);
    atomic_store_explicit(&the_fault->call, call, memory_order_release);
}

static inline void fault_disarm(void)
{
    atomic_store_explicit(&the_fault->call, 0, memory_order_release);
}

static inline uint32_t fault_hits(void)
{
    return atomic_load_explicit(&the_fault->hits, memory_order_relaxed);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static const char *run_name = "";
static bool run_processes;

static inline void broken(const char *file, int line, const char *what, aur_err err)
{
    fault_disarm();
    fprintf(stderr, "%s:%d: %s, use %u, %u times: %s (%s)\n", file, line, run_name, the_fault->at,
            the_fault->times, what, aur_err_name(err));
    abort();
}

#define BROKEN(what, err) broken(__FILE__, __LINE__, what, err)
#define HOLDS(...)                                                                                 \
    do {                                                                                           \
        if (!(__VA_ARGS__)) {                                                                      \
            BROKEN(#__VA_ARGS__, AUR_OK);                                                          \
        }                                                                                          \
    } while (0)

/* In a child, where nothing is started or cached yet. */
static inline void run_apart(void (*run)(const void *ctx), const void *ctx)
{
    int status = 0;
    pid_t pid = fork();

    AURT_CHECK(pid >= 0);
    if (pid == 0) {
        run(ctx);
        _exit(0);
    }
    AURT_CHECK(waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

typedef struct held {
    size_t fds, threads, children;
} held;

static inline held hold_now(void)
{
    return (held){ aurt_fd_count(), aurt_thread_count(), aurt_child_count() };
}

static inline void expect_held(const held *before)
{
    aurt_threads_settle(before->threads);
    held after = hold_now();
    HOLDS(after.fds == before->fds && after.children == before->children);
}

/* Nothing was lost, and nothing keeps the pool from ending. */
static inline void end_pool(aur_pool *pool)
{
    aur_stats stats = { .size = sizeof(stats) };

    HOLDS(aur_pool_join(pool, AUR_NO_DEADLINE) == AUR_OK);
    HOLDS(aur_pool_stats(pool, &stats) == AUR_OK);
    HOLDS(stats.submitted == stats.done + stats.failed + stats.cancelled);
    aur_pool_unref(pool);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

/* Submits to its own pool: a process worker asks its parent for that.  -1: refused. */
static int nested(int x)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int value;

    if (aur_apply_async(aur_pool_current(), &future, square, x) != AUR_OK ||
        aur_future_result(future, &value, AUR_NO_DEADLINE) != AUR_OK) {
        return -1;
    }
    return value;
}
AUR_FN(int, nested, int);

static aur_err twice(const void *in, size_t size, aur_out *out)
{
    char *to = aur_out_alloc(out, 2 * size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, in, size);
    memcpy(to + size, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(twice);

static uint64_t first_word(uint64_t id)
{
    void *data;
    size_t size;

    if (aur_buf_open(id, &data, &size) != AUR_OK) {
        aur_fail(1, "no such buffer");
        return 0;
    }
    return *(uint64_t *)data;
}
AUR_FN(uint64_t, first_word, uint64_t);

#endif /* AURT_FAULT_H */
