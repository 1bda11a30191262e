/* Goal:   an ordinary call that a worker has out of a queue, with a handle and without, ends in order if it fails,
 *         ends its thread, leaves something open or is too late; and what is almost ordinary is told apart.
 * Method: calls of a pool with one worker, which are waited for with a deadline or by the join: so the worker runs
 *         them.  What depends on the moment is one call of the worker's own function, on a pool without threads.
 * Guards: aur_fn_submit() in src/pool/call.c, auri_run_plain() in src/sched/run.c. */
#include "kinds.h"

#include <pthread.h>

#include "sched/run.h"
#include "sched/threads.h"

/* The worker runs what is waited for, since the wait could end before the call does. */
static aur_deadline late(void)
{
    return aur_deadline_in_ms(600000);
}

/* ---- records of any size ---------------------------------------------------------------------- */

#define RECORD(n)                                                                                  \
    struct record_##n {                                                                            \
        unsigned char at[n];                                                                       \
    };                                                                                             \
    typedef struct record_##n record_##n##_t;                                                      \
    static record_##n##_t back_##n(record_##n##_t x, unsigned char more)                           \
    {                                                                                              \
        for (size_t i = 0; i < (n); i++) {                                                         \
            x.at[i] = (unsigned char)(x.at[i] + more);                                             \
        }                                                                                          \
        return x;                                                                                  \
    }                                                                                              \
    AUR_FN(record_##n##_t, back_##n, record_##n##_t, unsigned char);                               \
    static void check_##n(aur_pool *pool)                                                          \
    {                                                                                              \
        AUR_SCOPED(aur_future) *future = NULL;                                                     \
        record_##n##_t x, y;                                                                       \
        for (size_t i = 0; i < (n); i++) {                                                         \
            x.at[i] = (unsigned char)i;                                                            \
        }                                                                                          \
        AURT_OK(aur_apply_async(pool, NULL, back_##n, x, 1));                                      \
        AURT_OK(aur_apply_async(pool, &future, back_##n, x, 3));                                   \
        AURT_OK(aur_future_result(future, &y, late()));                                            \
        for (size_t i = 0; i < (n); i++) {                                                         \
            assert_int_equal(y.at[i], i + 3);                                                      \
        }                                                                                          \
    }

RECORD(3)
RECORD(7)
RECORD(35)
RECORD(36)
RECORD(37)
RECORD(71)
RECORD(72)
RECORD(200)

typedef struct aligned {
    alignas(16) uint64_t value[2];
} aligned;

static aligned add(aligned x, int y)
{
    AURT_CHECK((uintptr_t)&x % alignof(aligned) == 0);
    x.value[1] += (uint64_t)y;
    return x;
}
AUR_FN(aligned, add, aligned, int);

static void records_of_any_size(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    AUR_SCOPED(aur_future) *future = NULL;
    aligned x = { { 1, 2 } };

    (void)state;
    check_3(pool);
    check_7(pool);
    check_35(pool);
    check_36(pool);
    check_37(pool);
    check_71(pool);
    check_72(pool);
    check_200(pool);
    AURT_OK(aur_apply_async(pool, &future, add, x, 40));
    AURT_OK(aur_future_result(future, &x, late()));
    assert_int_equal(x.value[1], 42);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).done, 2 * 8 + 1);
    aur_pool_unref(pool);
}

/* ---- failures ---------------------------------------------------------------------------------- */

static int fails(int x)
{
    return x == 40 ? aur_fail(x, "no %d", x) + 1 : 2 * x;
}
AUR_FN(int, fails, int);

static void a_failure_is_told(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    AUR_SCOPED(aur_future) *future = NULL;

    (void)state;
    AURT_OK(aur_apply_async(pool, NULL, fails, 40));
    AURT_OK(aur_apply_async(pool, NULL, fails, 4));
    AURT_OK(aur_apply_async(pool, &future, fails, 40));
    AURT_ERR(AUR_ETASK, aur_future_outcome(future, late()));
    const aur_error *error = aur_future_error(future);
    assert_int_equal(error->code, 40);
    assert_int_equal(error->worker, 0);
    assert_int_equal(error->attempts, 1);
    assert_string_equal(error->message, "no 40");
    assert_string_equal(error->function, "fails");
    assert_non_null(strstr(error->site, "plain_call_test.c:"));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).failed, 2);
    assert_int_equal(aurt_stats(pool).unseen, 1); /* that without a handle */
    assert_int_equal(aurt_stats(pool).done, 1);
    aur_pool_unref(pool);
}

/* ---- the end of the thread ---------------------------------------------------------------------- */

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

static void it_ends_its_thread(void **state)
{
    aur_pool *pool = aurt_threads_of(1);

    (void)state;
    for (int x = 0; x < 4; x++) {
        AUR_SCOPED(aur_future) *future = NULL;
        AURT_OK(aur_apply_async(pool, NULL, leaves, x));
        AURT_OK(aur_apply_async(pool, &future, leaves, x));
        AURT_ERR(x < 2 ? AUR_EEXITED : AUR_OK, aur_future_outcome(future, late()));
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(pool).submitted, 8);
    assert_int_equal(aurt_stats(pool).failed, 4);
    assert_int_equal(aurt_stats(pool).done, 4);
    aur_pool_unref(pool);
}

/* ---- what a call leaves open ---------------------------------------------------------------------- */

static void leaves_blocking_open(int x)
{
    (void)x;
    aur_blocking_begin(); /* and does not say that it is over */
}
AUR_FN_VOID(leaves_blocking_open, int);

static int what_is_open(int x)
{
    const struct auri_record *self = auri_self_;

    AURT_CHECK(self->depth == 1 && self->running == self->frame->task && self->frame->up == NULL);
    return x + (int)self->blocking;
}
AUR_FN(int, what_is_open, int);

static void nothing_stays_open(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    int v = 0;

    (void)state;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES; /* so that the same thread runs all */
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    for (int handle = 0; handle < 2; handle++) {
        AUR_SCOPED(aur_future) *open = NULL;
        AUR_SCOPED(aur_future) *future = NULL;
        AURT_OK(aur_apply_async(pool, handle ? &open : NULL, leaves_blocking_open, 0));
        AURT_OK(aur_apply_async(pool, &future, what_is_open, 5));
        AURT_OK(aur_future_result(future, &v, late()));
        assert_int_equal(v, 5);
    }
    aur_pool_unref(pool);
}

/* ---- one that slips through a terminate ------------------------------------------------------------ */

static void it_is_too_late(void **state)
{
    static aur_pool pool = {
        .magic = AURI_POOL_MAGIC, .backend = &auri_backend_threads, .holds = 1, .takes_all = true
    };
    struct auri_record *self = auri_self();
    int x = 7, y = 0;

    (void)state;
    assert_non_null(self);
    self->pool = &pool;
    for (uint32_t refs = 0; refs <= 2; refs += 2) { /* without a handle, and with one */
        auri_task *task = auri_task_new(refs);
        assert_non_null(task);
        task->pool = &pool;
        auri_task_fill_small(task, &fails_aur_fn, &x);
        auri_task_queue_as(task, AURI_F_HELP);
        assert_true(auri_runs_plain(task));
        auri_store_rlx(&pool.state, (uint32_t)AURI_STOPPING);
        auri_run_plain(self, task);
        auri_store_rlx(&pool.state, (uint32_t)AURI_OPEN);
        assert_int_equal(auri_load_rlx(&pool.cancelled), refs / 2 + 1);
        if (refs != 0) {
            assert_true(auri_task_is_done(task));
            assert_int_equal(task->err, AUR_ECANCELED);
            auri_task_unref(task);
        }
    }
    /* One that somebody else has claimed is left to him. */
    auri_task *task = auri_task_new(2);
    assert_non_null(task);
    task->pool = &pool;
    auri_task_fill_small(task, &fails_aur_fn, &x);
    auri_task_queue_as(task, AURI_F_HELP);
    assert_true(auri_task_claim(task, self->id));
    auri_run_plain(self, task);
    auri_run_claimed(task, false);
    memcpy(&y, auri_task_ret(task), sizeof(y));
    assert_int_equal(y, 14);
    auri_task_unref(task);
    auri_finished_flush(self);
    self->pool = NULL;
    assert_int_equal(auri_load_rlx(&pool.finished), 3);
    assert_int_equal(auri_load_rlx(&pool.failed), 0);
}

/* ---- what is not ordinary --------------------------------------------------------------------------- */

static int init(void *ctx, int worker)
{
    (void)ctx;
    (void)worker;
    return 0;
}

static bool takes_all(const aur_options *opts)
{
    aur_pool *pool = NULL;

    AURT_OK(aur_pool_new(opts, &pool, NULL));
    bool all = pool->takes_all;
    aur_pool_unref(pool);
    return all;
}

static void some_pools_refuse_or_retry(void **state)
{
    aur_options plain = AUR_OPTIONS_INIT;
    aur_options queue = AUR_OPTIONS_INIT;
    aur_options no_help = AUR_OPTIONS_INIT;
    aur_options with_init = AUR_OPTIONS_INIT;
    aur_options retries = AUR_OPTIONS_INIT;
    aur_options timeout = AUR_OPTIONS_INIT;
    aur_options serial = AUR_OPTIONS_INIT;
    aur_options measured = AUR_OPTIONS_INIT;

    (void)state;
    queue.queue_max = 5;
    no_help.flags = AUR_POOL_NO_HELP;
    with_init.worker_init = init;
    retries.retries = 2;
    retries.retry_on = AUR_RETRY_ERROR;
    timeout.item_timeout_ns = 1000000000;
    serial.kind = AUR_SERIAL;
    measured.kind = AUR_AUTO;
    assert_true(takes_all(&plain));
    assert_false(takes_all(&queue));
    assert_false(takes_all(&no_help));
    assert_false(takes_all(&with_init));
    assert_false(takes_all(&retries));
    assert_false(takes_all(&timeout));
    assert_false(takes_all(&serial));
    assert_false(takes_all(&measured));
}

static void some_calls_have_options(void **state)
{
    aur_pool *pool = aurt_threads_of(1);
    AUR_SCOPED(aur_future) *future = NULL;
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    int x = 40;

    (void)state;
    call.retries = 2;
    call.retry_on = AUR_RETRY_ERROR;
    AURT_OK(aur_fn_submit(pool, &call, &fails_aur_fn, &x, &future, NULL));
    AURT_ERR(AUR_ETASK, aur_future_outcome(future, late()));
    assert_int_equal(aur_future_error(future)->attempts, 3);
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_any_size),     cmocka_unit_test(a_failure_is_told),
        cmocka_unit_test(it_ends_its_thread),      cmocka_unit_test(nothing_stays_open),
        cmocka_unit_test(it_is_too_late),          cmocka_unit_test(some_pools_refuse_or_retry),
        cmocka_unit_test(some_calls_have_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
