/* Goal:    the life of a pool: close, terminate, join, scopes, references; and where it may be
 * used. Method:  each end with work that runs, waits and submits more; calls from inside tasks, and
 *          from a forked child.
 * Guards:  src/pool/pool.c, src/pool/here.c, src/pool/serial.c. */
#include "kinds.h"

#include <sys/wait.h>

static aurt_event go;
static aurt_event running;

static int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);

static int gate(int x)
{
    aurt_event_set(&running);
    aurt_event_wait(&go);
    return x;
}
AUR_FN(int, gate, int);

static int until_told(int x)
{
    aurt_event_set(&running);
    while (aur_checkpoint() == AUR_OK) {
    }
    return x;
}
AUR_FN(int, until_told, int);

static void reset(void)
{
    atomic_store(&go.set, 0);
    atomic_store(&running.set, 0);
}

static void test_closed(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = (aur_future *)(uintptr_t)1;
    aur_imap_iter *iter = (aur_imap_iter *)(uintptr_t)1;
    int in = 1;
    int v = 0;

    AURT_OK(aur_apply(pool, &v, twice, 2));
    AURT_OK(aur_pool_close(pool));
    AURT_OK(aur_pool_close(pool));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &v, twice, 2));
    assert_int_equal(aur_last_error()->err, AUR_ESHUTDOWN);
    AURT_ERR(AUR_ESHUTDOWN, aur_apply_async(pool, &future, twice, 2));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply_async(pool, NULL, twice, 2));
    AURT_ERR(AUR_ESHUTDOWN, aur_map(pool, twice, &in, 1, &v));
    AURT_ERR(AUR_ESHUTDOWN, aur_map(pool, twice, &in, 0, &v));
    AURT_ERR(AUR_ESHUTDOWN, aur_map_async(pool, &future, twice, &in, 1, &v));
    AURT_ERR(AUR_ESHUTDOWN, aur_imap(pool, &iter, twice, &in, 1));
    assert_ptr_equal(future, (aur_future *)(uintptr_t)1);
    assert_ptr_equal(iter, (aur_imap_iter *)(uintptr_t)1);
    assert_int_equal(v, 4);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &v, twice, 2));
    AURT_OK(aur_pool_terminate(pool)); /* too late to matter */
    AURT_OK(aur_pool_close(pool));
    aurt_pool_end(pool);
}

/* After the gate: goes on submitting, to a pool that is closed by then. */
static int submits_late(int n)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int x = 0;
    int y = 0;

    gate(0);
    if (aur_apply_async(aur_pool_current(), &future, twice, n) != AUR_OK ||
        aur_apply(aur_pool_current(), &x, twice, n) != AUR_OK ||
        aur_apply_async(aur_pool_current(), NULL, twice, n) != AUR_OK ||
        aur_future_result(future, &y, AUR_NO_DEADLINE) != AUR_OK) {
        return aur_fail(1, "nested work was refused");
    }
    return x + y;
}
AUR_FN(int, submits_late, int);

static void test_close_drains(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = NULL;
    aur_future *queued[50];
    int v = 0;

    reset();
    AURT_OK(aur_apply_async(pool, &future, submits_late, 10));
    aurt_event_wait(&running);
    for (int i = 0; i < 50; i++) {
        AURT_OK(aur_apply_async(pool, &queued[i], twice, i));
    }
    AURT_OK(aur_pool_close(pool));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &v, twice, 1));
    AURT_ERR(AUR_ETIMEDOUT, aur_pool_join(pool, aur_deadline_in_ms(1)));
    AURT_ERR(AUR_ETIMEDOUT, aur_pool_join(pool, 0));
    aurt_event_set(&go);
    aurt_pool_end(pool);
    AURT_OK(aur_future_result(future, &v, 0));
    assert_int_equal(v, 40);
    for (int i = 0; i < 50; i++) {
        AURT_OK(aur_future_result(queued[i], &v, 0));
        assert_int_equal(v, 2 * i);
        aur_future_unref(queued[i]);
    }
    aur_future_unref(future);
}

static void test_terminate(void **state)
{
    aur_options opts = aurt_options(state);
    aur_future *future = NULL;
    aur_future *queued[50];
    int v = 0;

    reset();
    opts.workers = 1;
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply_async(pool, &future, until_told, 10));
    aurt_event_wait(&running);
    for (int i = 0; i < 50; i++) {
        AURT_OK(aur_apply_async(pool, &queued[i], twice, i));
    }
    AURT_OK(aur_pool_terminate(pool));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &v, twice, 1));
    aurt_pool_end(pool);
    for (int i = 0; i < 50; i++) { /* each gets an answer */
        AURT_ERR(AUR_ECANCELED, aur_future_outcome(queued[i], 0));
        assert_int_equal(aur_future_error(queued[i])->err, AUR_ECANCELED);
        aur_future_unref(queued[i]);
    }
    AURT_OK(aur_future_wait(future, 0));
    aur_future_unref(future);
}

static void test_scoped(void **state)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int v = 0;
    {
        AUR_SCOPED(aur_pool) *pool = aurt_pool(state);
        AUR_SCOPED(aur_pool) *none = NULL;
        assert_null(none);
        AURT_OK(aur_apply_async(pool, &future, twice, 21));
    }
    assert_true(aur_future_done(future)); /* the scope has joined */
    AURT_OK(aur_future_result(future, &v, 0));
    assert_int_equal(v, 42);
}

static void test_references(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = NULL;
    int v = 0;

    assert_ptr_equal(aur_pool_ref(pool), pool);
    assert_null(aur_pool_unref(pool));
    AURT_OK(aur_apply(pool, &v, twice, 1)); /* still open */
    reset();
    aurt_event_set(&go);
    AURT_OK(aur_apply_async(pool, &future, gate, 7));
    assert_null(aur_pool_unref(pool)); /* the last one: closes, and does not wait */
    AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    assert_ptr_equal(aur_future_ref(future), future);
    assert_null(aur_future_unref(future));
    assert_null(aur_future_unref(future));
    assert_null(aur_pool_ref(NULL));
    assert_null(aur_pool_unref(NULL));
    assert_null(aur_future_ref(NULL));
    assert_null(aur_future_unref(NULL));
}

/* Sets and callbacks take what is done, though its pool is no more: under the address sanitizer and Valgrind. */
static void note_done(void *ctx, aur_future *future)
{
    assert_true(aur_future_done(future));
    *(bool *)ctx = true;
}

static void test_set_outlives(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = NULL;
    aur_completed *set = NULL;
    size_t index = 9;
    bool told = false;

    AURT_OK(aur_apply_async(pool, &future, twice, 4));
    AURT_OK(aur_future_wait(future, AUR_NO_DEADLINE));
    aurt_pool_end(pool);
    AURT_OK(aur_wait_any(&future, 1, &index, 0));
    assert_int_equal(index, 0);
    AURT_OK(aur_as_completed(&future, 1, &set));
    AURT_OK(aur_completed_next(set, &index, 0));
    assert_int_equal(index, 0);
    AURT_ERR(AUR_END, aur_completed_next(set, &index, 0));
    aur_completed_free(set);
    AURT_OK(aur_future_on_done(future, note_done, &told));
    assert_true(told);
    aur_future_unref(future);
}

/* ---- inside ---------------------------------------------------------------------------------- */

static aur_pool *shared; /* of the test that runs */

static int ends_itself(int what)
{
    switch (what) {
    case 0:
        return aur_pool_join(shared, AUR_NO_DEADLINE);
    case 1:
        return aur_pool_join(aur_pool_current(), 0);
    default:
        return aur_pool_current() == shared ? AUR_OK : AUR_EINVAL;
    }
}
AUR_FN(int, ends_itself, int);

static void test_inside(void **state)
{
    int v = 0;

    shared = aurt_pool(state);
    AURT_OK(aur_apply(shared, &v, ends_itself, 0));
    assert_int_equal(v, AUR_EDEADLK);
    AURT_OK(aur_apply(shared, &v, ends_itself, 1));
    assert_int_equal(v, AUR_EDEADLK);
    AURT_OK(aur_apply(shared, &v, ends_itself, 2)); /* and the pool is still open */
    assert_int_equal(v, AUR_OK);
    assert_null(aur_pool_current());
    assert_int_equal(aur_worker_index(), -1);
    aurt_pool_end(shared);
}

static int index_of_worker(int x)
{
    return aur_worker_index() + 0 * x;
}
AUR_FN(int, index_of_worker, int);

static int init_nothing(void *ctx, int worker)
{
    (void)ctx;
    (void)worker;
    return 0;
}

static void test_worker_index(void **state)
{
    aur_options opts = aurt_options(state);
    int v = -5;

    opts.worker_init = init_nothing; /* then nobody but a worker runs calls */
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply(pool, &v, index_of_worker, 0));
    assert_in_range(v, 0, 2);
    aurt_pool_end(pool);
}

/* ---- depth ----------------------------------------------------------------------------------- */

static uint64_t deeper(uint64_t n);
AUR_FN(uint64_t, deeper, uint64_t);

static uint64_t deeper(uint64_t n)
{
    uint64_t below = 0;
    aur_err err = aur_apply(aur_pool_current(), &below, deeper, n + 1);

    if (err != AUR_OK && err != AUR_E2DEEP) {
        aur_fail(err, "%s", aur_err_name(err));
    }
    return err == AUR_OK ? below : n;
}

static void test_depth(void **state)
{
    aur_options opts = aurt_options(state);
    uint64_t depth = 0;

    opts.spares_max = 2;
    aur_pool *pool = aurt_pool_with(&opts);
    AURT_OK(aur_apply(pool, &depth, deeper, 0));
    assert_true(depth > 100);
    AURT_OK(aur_apply(pool, &depth, deeper, 0)); /* and again */
    aurt_pool_end(pool);
}

/* ---- an init that refuses -------------------------------------------------------------------- */

struct lives {
    _Atomic(int) inits;
    _Atomic(int) finis;
};

static int init_but_last(void *ctx, int worker)
{
    struct lives *lives = ctx;

    return worker == 2 ? 7 : atomic_fetch_add(&lives->inits, 1) * 0;
}

static void count_fini(void *ctx, int worker)
{
    struct lives *lives = ctx;

    (void)worker;
    atomic_fetch_add(&lives->finis, 1);
}

static void test_init_refuses(void **state)
{
    aur_options opts = aurt_options(state);
    struct lives lives = { 0 };
    size_t threads = aurt_thread_count();
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };

    opts.worker_init = init_but_last;
    opts.worker_fini = count_fini;
    opts.worker_ctx = &lives;
    AURT_ERR(AUR_EINIT, aur_pool_new(&opts, &pool, &diag));
    assert_null(pool);
    assert_string_equal(diag.step, "worker_init");
    /* Those that came so far ended as they should, and nothing is left. */
    assert_int_equal(atomic_load(&lives.finis), atomic_load(&lives.inits));
    aurt_threads_settle(threads);
}

/* ---- a forked child -------------------------------------------------------------------------- */

static void never_done(void *ctx, aur_future *future)
{
    (void)ctx;
    (void)future;
    AURT_CHECK(false);
}

/* What waits for a future of the parent that is not done.  set: made before the fork, of that future. */
static void in_child_pending(aur_future *pending, aur_completed *set)
{
    aur_completed *own = NULL;
    size_t index;
    int v;

    AURT_CHECK(!aur_future_done(pending));
    AURT_CHECK(aur_future_wait(pending, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_future_outcome(pending, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_future_result(pending, &v, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_future_view(pending, &(const void *){ NULL }, &index, AUR_NO_DEADLINE) ==
               AUR_EFORKED);
    AURT_CHECK(aur_future_cancel(pending, NULL) == AUR_EFORKED);
    AURT_CHECK(aur_future_on_done(pending, never_done, NULL) == AUR_EFORKED);
    AURT_CHECK(aur_future_eventfd(pending, 1) == AUR_EFORKED);
    AURT_CHECK(aur_wait_all(&pending, 1, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_wait_any(&pending, 1, &index, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_wait_first_error(&pending, 1, &index, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_as_completed(&pending, 1, &own) == AUR_EFORKED);
    AURT_CHECK(aur_as_completed(NULL, 0, &own) == AUR_OK);
    AURT_CHECK(aur_completed_add(own, pending) == AUR_EFORKED);
    AURT_CHECK(aur_completed_next(own, &index, AUR_NO_DEADLINE) == AUR_END);
    aur_completed_free(own);
    /* The inherited set hands out what was done at the fork, then nothing. */
    AURT_CHECK(aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_OK && index == 0);
    AURT_CHECK(aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_completed_next(set, &index, 0) == AUR_EFORKED);
    aur_completed_free(set);
    aur_future_unref(pending);
}

static void in_child(aur_pool *pool, aur_future *done, aur_future *pending, aur_completed *set)
{
    aur_future *future = NULL;
    aur_imap_iter *iter = NULL;
    aur_buf *buf = NULL;
    aur_stats stats = { .size = sizeof(stats) };
    int in = 1;
    int v = 0;

    AURT_CHECK(aur_apply(pool, &v, twice, 1) == AUR_EFORKED);
    AURT_CHECK(aur_apply_async(pool, &future, twice, 1) == AUR_EFORKED);
    AURT_CHECK(aur_map(pool, twice, &in, 1, &v) == AUR_EFORKED);
    AURT_CHECK(aur_map_async(pool, &future, twice, &in, 1, &v) == AUR_EFORKED);
    AURT_CHECK(aur_imap(pool, &iter, twice, &in, 1) == AUR_EFORKED);
    AURT_CHECK(aur_buf_new(pool, 10, 0, &buf) == AUR_EFORKED);
    AURT_CHECK(aur_pool_close(pool) == AUR_EFORKED);
    AURT_CHECK(aur_pool_terminate(pool) == AUR_EFORKED);
    AURT_CHECK(aur_pool_join(pool, AUR_NO_DEADLINE) == AUR_EFORKED);
    AURT_CHECK(aur_pool_stats(pool, &stats) == AUR_EFORKED);
    AURT_CHECK(aur_future_result(done, &v, AUR_NO_DEADLINE) == AUR_OK && v == 8);
    if (pending != NULL) {
        in_child_pending(pending, set);
    }
    aur_pool_scoped_(&pool); /* harmless, too */
    AURT_CHECK(pool == NULL);

    /* A pool of its own works. */
    aur_options opts = AUR_OPTIONS_INIT;
    opts.kind = AUR_SERIAL;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    AURT_CHECK(aur_apply(pool, &v, twice, 8) == AUR_OK && v == 16);
    aur_pool_scoped_(&pool);
}

static void test_forked(void **state)
{
    aur_pool *pool = aurt_pool(state);
    bool serial = ((aurt_kind *)*state)->kind == AUR_SERIAL;
    aur_future *done = NULL;
    aur_future *pending = NULL;
    aur_completed *set = NULL;
    int status = 0;

    reset();
    AURT_OK(aur_apply_async(pool, &done, twice, 4));
    AURT_OK(aur_future_wait(done, AUR_NO_DEADLINE));
    if (!serial) {
        AURT_OK(aur_apply_async(pool, &pending, gate, 4));
        aurt_event_wait(&running);
        AURT_OK(aur_as_completed((aur_future *[]){ done, pending }, 2, &set));
    }
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        in_child(pool, done, pending, set);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    aurt_event_set(&go);
    aur_completed_free(set);
    aur_future_unref(done);
    aur_future_unref(pending);
    aurt_pool_end(pool);
}

static int order[500];
static atomic_int order_n;

static int note(int x)
{
    order[atomic_fetch_add(&order_n, 1)] = x;
    return x;
}
AUR_FN(int, note, int);

/* One worker runs what comes from outside in the order of its submission, also what comes while it does. */
static void test_order(void **state)
{
    enum { N = sizeof(order) / sizeof(order[0]) };
    aur_options opts = aurt_options(state);
    aur_future *futures[N];
    int v = 0;

    opts.workers = 1;
    opts.flags = AUR_POOL_FIXED; /* no spare that stands in for the gate */
    aur_pool *pool = aurt_pool_with(&opts);
    reset();
    atomic_store(&order_n, 0);
    AURT_OK(aur_apply_async(pool, NULL, gate, 0));
    aurt_event_wait(&running);
    for (int i = 0; i < N; i++) {
        if (i == N / 2) {
            aurt_event_set(&go);
        }
        AURT_OK(aur_apply_async(pool, &futures[i], note, i));
    }
    AURT_OK(aur_pool_close(pool));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE)); /* no wait that could run one of them here */
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(order[i], i);
        aur_future_unref(futures[i]);
    }
    aurt_pool_end(pool);
}

static aurt_event holds_begun[2];
static aurt_event holds_go[2];
static aurt_event all_counted;

enum { COUNTED = 300 };

/* Two such hold both workers of a pool; the next one, the worker that takes it. */
static int hold(int which)
{
    static atomic_int held;

    if (which == 0 && atomic_fetch_add(&held, 1) == 1) {
        aurt_event_set(&holds_begun[0]);
    }
    if (which == 1) {
        aurt_event_set(&holds_begun[1]);
    }
    aurt_event_wait(&holds_go[which]);
    return which;
}
AUR_FN(int, hold, int);

static int count(int x)
{
    if (atomic_fetch_add(&order_n, 1) == COUNTED - 1) {
        aurt_event_set(&all_counted);
    }
    return x;
}
AUR_FN(int, count, int);

/* A worker takes many calls from outside at once.  If it blocks in the first of them, the other one runs the rest:
 * nobody waits here, and there are no spares. */
static void test_none_left_behind(void **state)
{
    aur_options opts = aurt_options(state);

    opts.workers = 2;
    opts.flags = AUR_POOL_FIXED;
    aur_pool *pool = aurt_pool_with(&opts);
    atomic_store(&order_n, 0);
    AURT_OK(aur_apply_async(pool, NULL, hold, 0));
    AURT_OK(aur_apply_async(pool, NULL, hold, 0));
    aurt_event_wait(&holds_begun[0]);
    AURT_OK(aur_apply_async(pool, NULL, hold, 1));
    for (int i = 0; i < COUNTED; i++) {
        AURT_OK(aur_apply_async(pool, NULL, count, i));
    }
    aurt_event_set(&holds_go[0]);
    aurt_event_wait(&holds_begun[1]);
    aurt_event_wait(&all_counted); /* while that one is blocked */
    aurt_event_set(&holds_go[1]);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_EACH(test_closed),
        AURT_OF(test_close_drains, threads),
        AURT_OF(test_terminate, threads),
        AURT_EACH(test_scoped),
        AURT_EACH(test_references),
        AURT_OF(test_init_refuses, threads),
        AURT_SHARED(test_inside),
        AURT_OF(test_worker_index, threads),
        AURT_SHARED(test_depth),
        AURT_SHARED(test_forked),
        AURT_OF(test_order, threads),
        AURT_EACH(test_set_outlives),
        AURT_OF(test_none_left_behind, threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
