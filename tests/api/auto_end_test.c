/* Goal:    AUR_AUTO: the processes inside are not forked at a bad moment, they end with their pool, neither sooner
 *          nor later, and what cannot run in them runs in threads.
 * Method:  the verdicts are made up, as in auto_test.c.  What a process runs waits for a word that it shares
 *          with the test; what has to happen between two steps of the library does so in a task, or in a handler
 *          of fork().
 * Guards:  src/pool/auto.c. */
#include "auto_rig.h"

#include <pthread.h>
#include <signal.h>

static aur_pool *outer;

static aur_pool *auto_pool_of(int32_t start, uint32_t flags)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = AUR_AUTO;
    opts.start = start;
    opts.workers = 3;
    opts.flags = flags;
    outer = aurt_pool_with(&opts);
    return outer;
}

static aur_pool *auto_pool(uint32_t flags)
{
    return auto_pool_of(AUR_START_DEFAULT, flags);
}

/* ---- cheap calls --------------------------------------------------------------------------- */

static _Thread_local bool nests;
static int deepest;

static int deeper_still(int depth);

/* Calls itself in this thread, for as long as that is where it is run. */
static int deeper(int depth)
{
    return nests ? deeper_still(depth) : depth;
}
AUR_FN(int, deeper, int);

static int deeper_still(int depth)
{
    int last = 0;

    deepest = depth;
    AURT_CHECK(aur_apply(outer, &last, deeper, depth + 1) == AUR_OK);
    return last;
}

static void *nest(void *unused)
{
    int last = 0;

    nests = true;
    AURT_CHECK(aur_apply(outer, &last, deeper, 1) == AUR_OK);
    AURT_CHECK(last == deepest + 1); /* that one was run by a worker */
    AURT_CHECK(deepest > 1);
    return unused;
}

/* What is cheap runs on the stack of its submitter, while there is enough of that. */
static void test_stack_used_up(void **state)
{
    aur_pool *pool = auto_pool(0);
    pthread_attr_t attr;
    pthread_t thread;

    (void)state;
    decide(pool, &deeper_aur_fn, AURI_TO_LOOP);
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, 1024 * 1024), 0);
    assert_int_equal(pthread_create(&thread, &attr, nest, NULL), 0);
    pthread_attr_destroy(&attr);
    pthread_join(thread, NULL);
    aurt_pool_end(pool);
}

#ifndef AURT_NO_PROCESSES

/* ---- processes ----------------------------------------------------------------------------- */

/* What the workers share with this program. */
static struct shared {
    aurt_event begun;
    aurt_event go;
} * shared;

static int share(void **state)
{
    (void)state;
    shared = aurt_shared(sizeof(*shared));
    return 0;
}

static int unshare(void **state)
{
    (void)state;
    return munmap(shared, sizeof(*shared));
}

enum { PID, WAIT, DIE, OUTER };

static int64_t nested(aur_pool *pool, int what);

static int64_t where(int what)
{
    if (what == WAIT) {
        aurt_event_set(&shared->begun);
        aurt_event_wait(&shared->go);
    } else if (what == DIE) {
        raise(SIGKILL);
    }
    return what == OUTER ? nested(outer, PID) : getpid();
}
AUR_FN(int64_t, where, int);

static int64_t nested(aur_pool *pool, int what)
{
    int64_t pid = 0;
    aur_err err = aur_apply(pool, &pid, where, what);

    return err == AUR_OK ? pid : -(int64_t)err;
}

/* From here on where() goes to processes, and the next 63 calls of it are not measured in a thread. */
static void decide_where(aur_pool *pool)
{
    decide(pool, &where_aur_fn, AURI_TO_PROCESSES);
    atomic_store(&auri_auto_verdict(pool, &where_aur_fn)->calls, 0);
}

static aur_pool *pool_with_processes(uint32_t flags)
{
    aur_pool *pool = auto_pool(flags);
    int64_t pid = 0;

    decide_where(pool);
    AURT_OK(aur_apply(pool, &pid, where, PID));
    assert_int_not_equal(pid, getpid());
    return pool;
}

/* ---- while a call is under way ------------------------------------------------------------- */

static aurt_barrier meeting;

/* In a thread, on either side of what main() does between the two. */
static int64_t calls_later(int what)
{
    aurt_barrier_wait(&meeting);
    aurt_barrier_wait(&meeting);
    return nested(aur_pool_current(), what);
}
AUR_FN(int64_t, calls_later, int);

/* A call of where(), once the pool needs processes for it, while another call is under way.  Returns who ran it,
 * and whether there are processes then. */
static int64_t call_beside(aur_pool *pool, bool *ret_made)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int64_t pid = 0;
    int64_t later = 0;

    decide_where(pool);
    meeting = (aurt_barrier){ .parties = 2 };
    AURT_OK(aur_apply_async(pool, &future, calls_later, PID));
    aurt_barrier_wait(&meeting);
    AURT_OK(aur_apply(pool, &pid, where, PID));
    *ret_made = auri_auto_inner(pool) != NULL;
    aurt_barrier_wait(&meeting);
    AURT_OK(aur_future_result(future, &later, AUR_NO_DEADLINE));
    return pid;
}

/* No fork while a call may hold a lock. */
static void test_fork_waits(void **state)
{
    aur_pool *pool = auto_pool(0);
    bool made = true;

    (void)state;
    assert_int_equal(call_beside(pool, &made), getpid());
    assert_false(made);
    assert_null(auri_auto_inner(pool));
    aurt_pool_end(pool);
}

/* Nor by a task of another pool, which may hold one itself. */
static void test_task_does_not_fork(void **state)
{
    aur_pool *pool = auto_pool(0);
    aur_options opts = AUR_OPTIONS_INIT;
    int64_t pid = 0;

    (void)state;
    opts.kind = AUR_THREADS;
    opts.workers = 1;
    aur_pool *other = aurt_pool_with(&opts);
    decide_where(pool);
    AURT_OK(aur_apply(other, &pid, where, OUTER));
    assert_int_equal(pid, getpid());
    assert_null(auri_auto_inner(pool));
    aurt_pool_end(other);
    aurt_pool_end(pool);
}

/* A fresh image has none of the locks. */
static void test_spawn_does_not_wait(void **state)
{
    aur_pool *pool = auto_pool_of(AUR_START_SPAWN, 0);
    bool made = false;

    (void)state;
    assert_int_not_equal(call_beside(pool, &made), getpid());
    assert_true(made);
    aurt_pool_end(pool);
}

/* ---- what cannot run in processes ---------------------------------------------------------- */

/* A descriptor that the processes do not have. */
static void test_unknown_function(void **state)
{
    aur_pool *pool = pool_with_processes(0);
    aur_fn *made = malloc(sizeof(*made));
    struct where_args args = { PID };
    int64_t pid = 0;

    (void)state;
    assert_non_null(made);
    *made = where_aur_fn;
    AURT_OK(aur_fn_call(pool, NULL, made, &args, &pid, NULL));
    assert_int_equal(pid, getpid());
    AURT_OK(aur_apply(pool, &pid, where, PID));
    assert_int_not_equal(pid, getpid());
    aurt_pool_end(pool);
    free(made);
}

/* Processes that are broken are done without. */
static void test_broken(void **state)
{
    aur_pool *pool = pool_with_processes(AUR_POOL_BREAK_ON_DEATH);
    int64_t pid = 0;

    (void)state;
    aur_err err = aur_apply(pool, &pid, where, DIE);
    assert_true(err == AUR_EWORKER || err == AUR_EBROKEN);
    while (atomic_load(&auri_auto_inner(pool)->state) != AURI_BROKEN) {
        sched_yield();
    }
    for (int i = 0; i < 3; i++) {
        AURT_OK(aur_apply(pool, &pid, where, PID));
        assert_int_equal(pid, getpid());
    }
    aurt_pool_end(pool);
}

/* A worker process of another pool is no beginning of this pool's processes: what it asks of this pool is done by
 * this pool. */
static void test_other_worker(void **state)
{
    aur_pool *pool = auto_pool(0);
    aur_options opts = AUR_OPTIONS_INIT;
    int64_t pid = 0;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    aur_pool *other = aurt_pool_with(&opts);
    AURT_OK(aur_apply(other, &pid, where, OUTER));
    assert_int_equal(pid, getpid());
    aurt_pool_end(other);
    aurt_pool_end(pool);
}

/* ---- the end ------------------------------------------------------------------------------- */

/* A call that runs in a thread of a closed pool still has the processes. */
static void test_close(void **state)
{
    aur_pool *pool = pool_with_processes(0);
    AUR_SCOPED(aur_future) *future = NULL;
    int64_t pid = 0;

    (void)state;
    meeting = (aurt_barrier){ .parties = 2 };
    AURT_OK(aur_apply_async(pool, &future, calls_later, PID));
    aurt_barrier_wait(&meeting);
    AURT_OK(aur_pool_close(pool));
    aurt_barrier_wait(&meeting);
    AURT_OK(aur_future_result(future, &pid, AUR_NO_DEADLINE));
    assert_true(pid > 0);
    assert_int_not_equal(pid, getpid());
    aurt_pool_end(pool);
}

/* What hangs in a process ends with the pool. */
static void test_terminate(void **state)
{
    aur_pool *pool = pool_with_processes(0);
    AUR_SCOPED(aur_future) *future = NULL;

    (void)state;
    AURT_OK(aur_apply_async(pool, &future, where, WAIT));
    aurt_event_wait(&shared->begun);
    AURT_OK(aur_pool_terminate(pool));
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(future, AUR_NO_DEADLINE));
    aurt_pool_end(pool);
}

/* The pool has not ended before the processes have, when its threads have long. */
static void test_join(void **state)
{
    aur_pool *pool = pool_with_processes(0);
    AUR_SCOPED(aur_future) *future = NULL;
    int64_t pid = 0;

    (void)state;
    AURT_OK(aur_apply_async(pool, &future, where, WAIT));
    aurt_event_wait(&shared->begun);
    AURT_OK(aur_pool_close(pool));
    aurt_threads_settle(2); /* this one, and the one that looks after the processes */
    AURT_ERR(AUR_ETIMEDOUT, aur_pool_join(pool, 1));
    aurt_event_set(&shared->go);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_true(aur_future_done(future));
    AURT_OK(aur_future_result(future, &pid, AUR_NO_DEADLINE));
    assert_int_not_equal(pid, getpid());
    aurt_pool_end(pool);
}

static aur_pool *to_terminate; /* at the next fork */

static void before_fork(void)
{
    aur_pool *pool = to_terminate;

    to_terminate = NULL;
    if (pool != NULL) {
        AURT_CHECK(aur_pool_terminate(pool) == AUR_OK);
    }
}

/* It ends while the call forks that makes the processes: they end as well, and the call finds that out. */
static void test_terminated_while_made(void **state)
{
    aur_pool *pool = auto_pool(0);
    int64_t pid = 0;

    (void)state;
    decide_where(pool);
    assert_int_equal(pthread_atfork(before_fork, NULL, NULL), 0);
    to_terminate = pool;
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &pid, where, PID));
    assert_null(to_terminate);
    assert_non_null(auri_auto_inner(pool));
    aurt_pool_end(pool);
}

#define WITH_SHARED(test) cmocka_unit_test_setup_teardown(test, share, unshare)

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef AURT_NO_PROCESSES
        WITH_SHARED(test_join), /* first: it counts threads, and a test that fails leaves some */
        cmocka_unit_test(test_fork_waits),
        cmocka_unit_test(test_task_does_not_fork),
        cmocka_unit_test(test_spawn_does_not_wait),
        cmocka_unit_test(test_unknown_function),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_other_worker),
        cmocka_unit_test(test_close),
        WITH_SHARED(test_terminate),
        cmocka_unit_test(test_terminated_while_made),
#endif
        cmocka_unit_test(test_stack_used_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
