/* Goal:   a call that its caller runs without a task of the slabs is, for everybody else, a call like any other:
 *         it keeps its pool from ending, its failure is told and counted, its wait is its caller's, and it ends in
 *         order if it fails, ends its thread, forks, or drops the pool.
 * Method: calls of a thread pool without options, from outside and from inside, that do each of these; and calls
 *         that are almost such, which somebody else has to run or whose result needs more room.
 * Guards: run_short() and is_short() in src/pool/call.c, auri_runs_here() in src/pool/submit.h,
 *         auri_here_begin() in src/sched/run.c. */
#include "kinds.h"

#include <pthread.h>
#include <sys/wait.h>

#include "task/record.h"

typedef aur_pool *pool_ptr;

static uint64_t stack_tasks; /* of calls that who_runs() has seen */

/* Whether the caller runs it, and if so, that its task is on the stack. */
static bool who_runs(pthread_t *caller)
{
    bool here = pthread_equal(pthread_self(), *caller) != 0;

    if (here) {
        stack_tasks += (auri_self_->frame->task->traits & AURI_T_STACK) != 0;
    }
    return here;
}
typedef pthread_t *thread_ptr;
AUR_FN(bool, who_runs, thread_ptr);

/* ---- arguments and results ------------------------------------------------------------------- */

#define RECORD(n)                                                                                  \
    struct record_##n {                                                                            \
        unsigned char at[n];                                                                       \
    };                                                                                             \
    typedef struct record_##n record_##n##_t;                                                      \
    static record_##n##_t give_##n(int first)                                                      \
    {                                                                                              \
        record_##n##_t record;                                                                     \
        for (size_t i = 0; i < (n); i++) {                                                         \
            record.at[i] = (unsigned char)((size_t)first + i);                                     \
        }                                                                                          \
        return record;                                                                             \
    }                                                                                              \
    AUR_FN(record_##n##_t, give_##n, int);                                                         \
    static void check_##n(aur_pool *pool)                                                          \
    {                                                                                              \
        struct {                                                                                   \
            unsigned char before;                                                                  \
            record_##n##_t record;                                                                 \
            unsigned char behind;                                                                  \
        } out = { .before = 0xee, .behind = 0xee };                                                \
        AURT_OK(aur_apply(pool, &out.record, give_##n, 5));                                        \
        for (size_t i = 0; i < (n); i++) {                                                         \
            assert_int_equal(out.record.at[i], 5 + i);                                             \
        }                                                                                          \
        assert_int_equal(out.before, 0xee);                                                        \
        assert_int_equal(out.behind, 0xee);                                                        \
    }

RECORD(1)
RECORD(3)
RECORD(4)
RECORD(8)
RECORD(12)
RECORD(64)
RECORD(65)
RECORD(200)

typedef struct aligned {
    alignas(64) uint64_t value;
} aligned;

typedef struct far_aligned {
    alignas(128) uint64_t value;
} far_aligned;

static aligned give_aligned(aligned x)
{
    AURT_CHECK((uintptr_t)&x % alignof(aligned) == 0);
    x.value++;
    return x;
}
AUR_FN(aligned, give_aligned, aligned);

static far_aligned give_far(int x)
{
    return (far_aligned){ .value = (uint64_t)x };
}
AUR_FN(far_aligned, give_far, int);

static int nothing_given;

static void give_nothing(int x)
{
    nothing_given += x;
}
AUR_FN_VOID(give_nothing, int);

static void results_of_any_size(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    aligned near = { .value = 1 };
    far_aligned far = { .value = 1 };

    (void)state;
    check_1(pool);
    check_3(pool);
    check_4(pool);
    check_8(pool);
    check_12(pool);
    check_64(pool);
    check_65(pool);
    check_200(pool);
    AURT_OK(aur_apply(pool, &near, give_aligned, near));
    assert_int_equal(near.value, 2);
    AURT_OK(aur_apply(pool, &far, give_far, 7));
    assert_int_equal(far.value, 7);
    AURT_OK(aur_apply(pool, NULL, give_nothing, 4));
    AURT_OK(aur_apply(pool, NULL, give_8, 4)); /* nobody wants it */
    assert_int_equal(nothing_given, 4);
    assert_int_equal(aurt_stats(pool).done, 12);
    aur_pool_unref(pool);
}

/* A binding's record may lie anywhere. */
static void add_one(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    aligned record;

    AURT_CHECK(lo == 0 && hi == 1);
    AURT_CHECK((uintptr_t)args % alignof(aligned) == 0 && (uintptr_t)ret % alignof(aligned) == 0);
    *item = 0;
    memcpy(&record, args, sizeof(record));
    record.value++;
    memcpy(ret, &record, sizeof(record));
}

static void records_anywhere(void **state)
{
    static const aur_fn fn = { .abi = AUR_FN_ABI,
                               .name = "add_one",
                               .range = add_one,
                               .args_size = sizeof(aligned),
                               .args_align = alignof(aligned),
                               .ret_size = sizeof(aligned),
                               .ret_align = alignof(aligned) };
    aur_pool *pool = aurt_threads_of(1);
    alignas(64) unsigned char at[3 * sizeof(aligned)];
    aligned record = { .value = 9 };

    (void)state;
    for (size_t offset = 0; offset <= alignof(aligned); offset++) {
        memcpy(at + offset, &record, sizeof(record));
        AURT_OK(aur_fn_call(pool, NULL, &fn, at + offset, &record, NULL));
        assert_int_equal(record.value, 10 + offset);
    }
    aur_pool_unref(pool);
}

/* ---- who runs it ----------------------------------------------------------------------------- */

static int init(void *ctx, int worker)
{
    (void)ctx;
    (void)worker;
    return 0;
}

static bool runs_here(const aur_options *opts, const aur_call_options *call)
{
    pthread_t self = pthread_self();
    aur_pool *pool = aurt_pool_with(opts);
    bool here = false;

    AURT_OK(aur_apply_with(pool, call, &here, who_runs, &self));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).submitted, 1);
    assert_int_equal(aurt_stats(pool).done, 1);
    aur_pool_unref(pool);
    return here;
}

static void the_caller_runs_it(void **state)
{
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    aur_options plain = AUR_OPTIONS_INIT;
    aur_options no_help = AUR_OPTIONS_INIT;
    aur_options with_init = AUR_OPTIONS_INIT;
    aur_options with_retries = AUR_OPTIONS_INIT;
    aur_options measured = AUR_OPTIONS_INIT;

    (void)state;
    no_help.flags = AUR_POOL_NO_HELP;
    with_init.worker_init = init;
    with_retries.retries = 2;
    with_retries.retry_on = AUR_RETRY_ERROR;
    measured.kind = AUR_AUTO;
    assert_true(runs_here(&plain, NULL));
    assert_int_equal(stack_tasks, 1);
    assert_false(runs_here(&no_help, NULL));
    assert_false(runs_here(&with_init, NULL));
    /* These have a task of the slabs: for what the call may do, or to be measured. */
    assert_true(runs_here(&plain, &call));
    assert_true(runs_here(&with_retries, NULL));
    assert_true(runs_here(&measured, NULL));
    assert_int_equal(stack_tasks, 1);
}

static void what_it_sees(pool_ptr pool, thread_ptr caller)
{
    AURT_CHECK(pthread_equal(pthread_self(), *caller));
    AURT_CHECK(aur_pool_current() == pool);
    AURT_CHECK(aur_worker_index() == -1);
    AURT_CHECK(aur_item_index() == AUR_NO_ITEM);
    AURT_CHECK(aur_checkpoint() == AUR_OK);
}
AUR_FN_VOID(what_it_sees, pool_ptr, thread_ptr);

static void it_is_a_task(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    pthread_t self = pthread_self();

    (void)state;
    AURT_OK(aur_apply(pool, NULL, what_it_sees, pool, &self));
    assert_null(aur_pool_current());
    assert_null(auri_self_->running);
    assert_int_equal(auri_self_->depth, 0);
    aur_pool_unref(pool);
}

/* ---- failures -------------------------------------------------------------------------------- */

static int fails_at_40(int x)
{
    return x == 40 ? aur_fail(x, "no %d", x) + aur_fail(41, "nor this") + 1 : 2 * x;
}
AUR_FN(int, fails_at_40, int);

static void a_failure_is_told(void **state)
{
    aur_pool *pool = aurt_threads_of(2);
    int v = 7;

    (void)state;
    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fails_at_40, 40));
    assert_int_equal(v, 7);
    const aur_error *error = aur_last_error();
    assert_int_equal(error->err, AUR_ETASK);
    assert_int_equal(error->code, 40);
    assert_int_equal(error->item, AUR_NO_ITEM);
    assert_int_equal(error->attempts, 1);
    assert_int_equal(error->worker, -1);
    assert_int_equal(error->pid, getpid());
    assert_string_equal(error->message, "no 40");
    assert_string_equal(error->function, "fails_at_40");
    assert_non_null(strstr(error->site, "short_call_test.c:"));
    AURT_OK(aur_apply(pool, &v, fails_at_40, 20));
    assert_int_equal(v, 40);
    assert_string_equal(aur_last_error()->message, "no 40"); /* until the next failure */
    aur_stats stats = aurt_stats(pool);
    assert_int_equal(stats.submitted, 2);
    assert_int_equal(stats.done, 1);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.unseen, 0);
    aur_pool_unref(pool);
}

/* ---- the end of the pool --------------------------------------------------------------------- */

struct gate {
    aur_pool *pool;
    aurt_event running;
    aurt_event go;
    aur_err seen; /* by the checkpoint */
    aur_err err;
};

static struct gate gate;

static int held(int x)
{
    aurt_event_set(&gate.running);
    aurt_event_wait(&gate.go);
    gate.seen = aur_checkpoint();
    return x;
}
AUR_FN(int, held, int);

static void *run_gate(void *ctx)
{
    int v = 0;

    (void)ctx;
    gate.err = aur_apply(gate.pool, &v, held, 3);
    AURT_CHECK(v == 3);
    return NULL;
}

static pthread_t begin_gate(void)
{
    pthread_t thread;

    gate = (struct gate){ .pool = aurt_threads_of(1) };
    assert_int_equal(pthread_create(&thread, NULL, run_gate, NULL), 0);
    aurt_event_wait(&gate.running);
    return thread;
}

static void a_join_waits_for_it(void **state)
{
    (void)state;
    pthread_t thread = begin_gate();
    int v = 7;
    AURT_OK(aur_pool_close(gate.pool));
    AURT_ERR(AUR_ETIMEDOUT, aur_pool_join(gate.pool, 0));
    assert_int_equal(aurt_stats(gate.pool).done, 0);
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(gate.pool, &v, fails_at_40, 1));
    assert_string_equal(aur_last_error()->function, "fails_at_40");
    assert_int_equal(v, 7);
    aurt_event_set(&gate.go);
    AURT_OK(aur_pool_join(gate.pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(gate.pool).submitted, 1);
    assert_int_equal(aurt_stats(gate.pool).done, 1);
    pthread_join(thread, NULL);
    AURT_OK(gate.err);
    AURT_OK(gate.seen);
    aur_pool_unref(gate.pool);
}

static void it_is_told_of_terminate(void **state)
{
    (void)state;
    pthread_t thread = begin_gate();
    AURT_OK(aur_pool_terminate(gate.pool));
    aurt_event_set(&gate.go);
    AURT_OK(aur_pool_join(gate.pool, AUR_NO_DEADLINE));
    pthread_join(thread, NULL);
    AURT_OK(gate.err); /* it went on all the same, to its end */
    AURT_ERR(AUR_ECANCELED, gate.seen);
    assert_int_equal(aurt_stats(gate.pool).done, 1);
    assert_int_equal(aurt_stats(gate.pool).cancelled, 0);
    aur_pool_unref(gate.pool);
}

static int closes(pool_ptr pool)
{
    int v = 0;

    AURT_CHECK(aur_pool_close(pool) == AUR_OK);
    AURT_CHECK(aur_apply(pool, &v, fails_at_40, 1) == AUR_OK); /* from inside it may */
    AURT_CHECK(aur_pool_terminate(pool) == AUR_OK);
    AURT_CHECK(aur_apply(pool, &v, fails_at_40, 2) == AUR_ESHUTDOWN);
    return v;
}
AUR_FN(int, closes, pool_ptr);

static void it_closes_its_pool(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    int v = 0;

    (void)state;
    AURT_OK(aur_apply(pool, &v, closes, pool));
    assert_int_equal(v, 2);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).submitted, 2);
    assert_int_equal(aurt_stats(pool).done, 2);
    aur_pool_unref(pool);
}

static int drops(pool_ptr pool)
{
    AURT_CHECK(aur_pool_unref(pool) == NULL);
    return aur_pool_current() == pool;
}
AUR_FN(int, drops, pool_ptr);

static void it_drops_its_pool(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        aur_pool *pool = aurt_threads_of(2);
        int v = 0;
        AURT_OK(aur_apply(pool, &v, drops, pool));
        assert_int_equal(v, 1);
    }
}

/* ---- ends of threads and processes ----------------------------------------------------------- */

static int leaves(int x)
{
    if (x == 1) {
        aur_fail(1, "and then");
    }
    if (x <= 1) {
        pthread_exit(NULL);
    }
    return x;
}
AUR_FN(int, leaves, int);

struct leaver {
    aur_pool *pool;
    int x;
};

static int leaves_inside(pool_ptr pool, int x)
{
    int v = 0;

    AURT_CHECK(aur_apply(pool, &v, leaves, x) == AUR_OK);
    return v;
}
AUR_FN(int, leaves_inside, pool_ptr, int);

static void *call_that_ends(void *ctx)
{
    const struct leaver *leaver = ctx;
    int v = 0;
    aur_err err = aur_apply(leaver->pool, &v, leaves_inside, leaver->pool, leaver->x);

    AURT_CHECK(err == AUR_OK && leaver->x > 1); /* else it does not come back */
    return NULL;
}

static void it_ends_the_callers_thread(void **state)
{
    aur_pool *pool = aurt_threads_of(1);

    (void)state;
    for (int x = 0; x < 4; x++) {
        struct leaver leaver = { pool, x };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, call_that_ends, &leaver), 0);
        pthread_join(thread, NULL);
        uint64_t ended = x < 2 ? (uint64_t)x + 1 : 2;
        assert_int_equal(aurt_stats(pool).submitted, 2 * (x + 1));
        assert_int_equal(aurt_stats(pool).failed, 2 * ended);
        assert_int_equal(aurt_stats(pool).unseen, 2 * ended);
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE)); /* nothing is left open */
    aur_pool_unref(pool);
}

static void it_ends_a_worker(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    int v = 0;

    (void)state;
    for (int x = 0; x < 4; x++) {
        AUR_SCOPED(aur_future) *future = NULL;
        AURT_OK(aur_apply_async(pool, &future, leaves_inside, pool, x));
        /* With a deadline: the worker runs it, and not this thread. */
        AURT_ERR(x < 2 ? AUR_EEXITED : AUR_OK,
                 aur_future_outcome(future, aur_deadline_in_ms(600000)));
    }
    AURT_OK(aur_apply(pool, &v, leaves, 7));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).submitted, 9);
    assert_int_equal(aurt_stats(pool).failed, 4);
    aur_pool_unref(pool);
}

static struct shared {
    _Atomic(uint32_t) in_child;
    int status;
} * shared;

static int forks(int fails)
{
    if (fails) {
        aur_fail(1, "before the fork");
    }
    pid_t child = fork();
    AURT_CHECK(child >= 0);
    if (child > 0) {
        AURT_CHECK(waitpid(child, &shared->status, 0) == child);
    }
    return 1;
}
AUR_FN(int, forks, int);

static void the_child_of_a_call_ends_with_it(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    pid_t self = getpid();

    (void)state;
    shared = aurt_shared(sizeof(*shared));
    for (int fails = 0; fails < 2; fails++) {
        int v = 0;
        shared->status = -1;
        aur_err err = aur_apply(pool, &v, forks, fails);
        if (getpid() != self) {
            shared->in_child++;
            _exit(1);
        }
        AURT_ERR(fails ? AUR_ETASK : AUR_OK, err);
        assert_int_equal(v, !fails);
        assert_true(WIFEXITED(shared->status) && WEXITSTATUS(shared->status) == 0);
        assert_int_equal(shared->in_child, 0);
    }
    munmap(shared, sizeof(*shared));
    aur_pool_unref(pool);
}

/* ---- inside a task --------------------------------------------------------------------------- */

static int leaves_blocking_open(int x)
{
    aur_blocking_begin(); /* and does not say that it is over */
    return x + 1;
}
AUR_FN(int, leaves_blocking_open, int);

static int calls(int n)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        AURT_CHECK(aur_apply(aur_pool_current(), &v, leaves_blocking_open, v) == AUR_OK);
        AURT_CHECK(auri_self_->blocking == 0);
    }
    return v;
}
AUR_FN(int, calls, int);

static void calls_of_tasks_are_counted(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    int v = 0;

    (void)state;
    AURT_OK(aur_apply(pool, &v, calls, 10));
    assert_int_equal(v, 10);
    for (int i = 0; i < 7; i++) {
        AURT_OK(aur_apply_async(pool, NULL, calls, 10)); /* for the worker */
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).submitted, 8 * 11);
    assert_int_equal(aurt_stats(pool).done, 8 * 11);
    aur_pool_unref(pool);
}

/* A call far down a small stack is the workers', whose stacks are others. */
static int deeper(pool_ptr pool, int n);
AUR_FN(int, deeper, pool_ptr, int);

static int deeper(pool_ptr pool, int n)
{
    int v = 0;

    if (n == 0) {
        return 0;
    }
    aur_err err = aur_apply(pool, &v, deeper, pool, n - 1);
    return err == AUR_OK ? v + 1 : aur_fail(err, "%s", aur_err_name(err));
}
static void *call_from_a_small_stack(void *ctx)
{
    int v = 0;

    AURT_CHECK(aur_apply((aur_pool *)ctx, &v, deeper, (aur_pool *)ctx, 1000) == AUR_OK);
    AURT_CHECK(v == 1000);
    return NULL;
}

static void a_small_stack(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    pthread_attr_t attr;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, (size_t)256 << 10), 0);
    assert_int_equal(pthread_create(&thread, &attr, call_from_a_small_stack, pool), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    aur_pool_unref(pool);
}

/* ---- waits ----------------------------------------------------------------------------------- */

struct loop {
    aurt_event made;
    aur_future *future;
    char message[512];
};
typedef struct loop *loop_ptr;

static int waits_for_it(loop_ptr loop)
{
    aurt_event_wait(&loop->made);
    aur_err err = aur_future_wait(loop->future, AUR_NO_DEADLINE);
    if (err == AUR_EDEADLK) {
        memcpy(loop->message, aur_last_error()->message, sizeof(loop->message));
    }
    return err;
}
AUR_FN(int, waits_for_it, loop_ptr);

static int calls_who_waits(loop_ptr loop)
{
    int v = 0;

    AURT_CHECK(aur_apply(aur_pool_current(), &v, waits_for_it, loop) == AUR_OK);
    return v;
}
AUR_FN(int, calls_who_waits, loop_ptr);

/* The call waits for the task that called it. */
static void its_wait_is_its_callers(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    struct loop loop = { .future = NULL };
    int v = 0;

    (void)state;
    AURT_OK(aur_apply_async(pool, &loop.future, calls_who_waits, &loop));
    aurt_event_set(&loop.made);
    AURT_OK(aur_future_result(loop.future, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, AUR_EDEADLK);
    assert_non_null(strstr(loop.message, "waits_for_it waits for calls_who_waits (submitted at "));
    assert_non_null(strstr(loop.message, "calls_who_waits waits for waits_for_it (submitted at "));
    const char *site = strstr(loop.message, "short_call_test.c:");
    assert_non_null(site);
    assert_non_null(strstr(site + 1, "short_call_test.c:"));
    aur_future_unref(loop.future);
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_of_any_size),
        cmocka_unit_test(records_anywhere),
        cmocka_unit_test(the_caller_runs_it),
        cmocka_unit_test(it_is_a_task),
        cmocka_unit_test(a_failure_is_told),
        cmocka_unit_test(a_join_waits_for_it),
        cmocka_unit_test(it_is_told_of_terminate),
        cmocka_unit_test(it_closes_its_pool),
        cmocka_unit_test(it_drops_its_pool),
        cmocka_unit_test(it_ends_the_callers_thread),
        cmocka_unit_test(it_ends_a_worker),
        cmocka_unit_test(the_child_of_a_call_ends_with_it),
        cmocka_unit_test(calls_of_tasks_are_counted),
        cmocka_unit_test(a_small_stack),
        cmocka_unit_test(its_wait_is_its_callers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
