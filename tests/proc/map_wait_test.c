/* Items of maps in worker processes that wait for maps.
 *
 * Guards: a map is done only when its last item is, so an item that waits for its own map, directly or
 * over others, can never go on: it is refused, and the map ends.  The numbers of the futures travel in a
 * shared buffer. */
/* aurt: no-tsan */
#include "pools.h"

struct words {
    aurt_event ready;
    uint64_t ids[2];
};

typedef struct job {
    uint64_t buf;
    int awaits; /* which of the two futures; -1: none */
} job_t;

typedef struct words *words_ptr;

static words_ptr words_of(uint64_t id)
{
    void *data = NULL;
    size_t size = 0;

    AURT_CHECK(aur_buf_open(id, &data, &size) == AUR_OK);
    return data;
}

static aur_err wait_as_told(words_ptr words, int awaits)
{
    aur_future *future = NULL;

    aurt_event_wait(&words->ready);
    aur_err err = awaits < 0 ? AUR_OK : aur_future_open(words->ids[awaits], &future);
    if (err == AUR_OK && future != NULL) {
        err = aur_future_outcome(future, AUR_NO_DEADLINE);
        aur_future_unref(future);
    }
    return err;
}

static int item(job_t job)
{
    return wait_as_told(words_of(job.buf), job.awaits);
}
AUR_FN(int, item, job_t);

/* The same as one call. */
static int call(uint64_t id, int awaits)
{
    return wait_as_told(words_of(id), awaits);
}
AUR_FN(int, call, uint64_t, int);

/* ... of a thread. */
static int call_here(words_ptr words, int awaits)
{
    return wait_as_told(words, awaits);
}
AUR_FN(int, call_here, words_ptr, int);

static int item_of_any(job_t job)
{
    size_t index = 0;
    aur_future *futures[1] = { NULL };

    words_ptr words = words_of(job.buf);

    aurt_event_wait(&words->ready);
    AURT_CHECK(aur_future_open(words->ids[0], &futures[0]) == AUR_OK);
    aur_err err = aur_wait_any(futures, 1, &index, AUR_NO_DEADLINE);
    aur_future_unref(futures[0]);
    return err;
}
AUR_FN(int, item_of_any, job_t);

static aur_buf *words_new(aur_pool *pool, struct words **ret_words)
{
    aur_buf *buf = NULL;

    AURT_OK(aur_buf_new(pool, sizeof(struct words), AUR_BUF_INOUT, &buf));
    *ret_words = aur_buf_data(buf);
    memset(*ret_words, 0, sizeof(**ret_words));
    return buf;
}

/* ---- one map -------------------------------------------------------------------------------------- */

#define ITEMS 40

/* Every `step`-th item waits for its own map. */
static void own_map(int start, uint32_t workers, uint32_t spares, int n, int step)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, workers, start, spares);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    aur_future *future;
    job_t in[ITEMS];
    int out[ITEMS];

    for (int i = 0; i < n; i++) {
        in[i] = (job_t){ aur_buf_id(buf), i % step == 0 ? 0 : -1 };
        out[i] = -1;
    }
    AURT_OK(aur_map_async(pool, &future, item, in, (size_t)n, out));
    words->ids[0] = aur_future_id(future);
    aurt_event_set(&words->ready);
    AURT_OK(aur_future_outcome(future, AUR_NO_DEADLINE));
    for (int i = 0; i < n; i++) {
        assert_int_equal(out[i], i % step == 0 ? AUR_EDEADLK : AUR_OK);
    }
    aur_future_unref(future);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_own_map(void **state)
{
    (void)state;
    own_map(AUR_START_FORK, 2, 0, 2, 2);
    own_map(AUR_START_FORK, 1, 0, 1, 1);
    own_map(AUR_START_FORK, 1, AUR_NO_SPARES, 2, 2);
    own_map(AUR_START_FORK, 1, AUR_NO_SPARES, ITEMS, 1);
    own_map(AUR_START_FORK, 2, AUR_NO_SPARES, ITEMS, 3);
    own_map(AUR_START_FORK, 3, 0, ITEMS, 1);
    own_map(AUR_START_SPAWN, 2, 0, ITEMS, 2);
}

/* A call waits for a map, of which each item waits for the map, and the only worker runs these in place of the
 * call's wait: so the worker is inside the map by what lies on top, and not by what it took from its ring. */
static void map_on_top(int n)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    aur_future *below, *map;
    job_t in[ITEMS];
    int out[ITEMS];
    int v = -1;

    for (int i = 0; i < n; i++) {
        in[i] = (job_t){ aur_buf_id(buf), 0 };
    }
    AURT_OK(aur_apply_async(pool, &below, call, aur_buf_id(buf), 0));
    AURT_OK(aur_map_async(pool, &map, item, in, (size_t)n, out));
    words->ids[0] = aur_future_id(map);
    aurt_event_set(&words->ready);
    AURT_OK(aur_future_result(below, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, AUR_OK);
    AURT_OK(aur_future_outcome(map, AUR_NO_DEADLINE));
    for (int i = 0; i < n; i++) {
        assert_int_equal(out[i], AUR_EDEADLK);
    }
    aur_future_unref(below);
    aur_future_unref(map);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_map_on_top(void **state)
{
    (void)state;
    map_on_top(1);
    map_on_top(ITEMS);
}

static void test_any(void **state)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 2, AUR_START_FORK, 0);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    aur_future *future;
    job_t in[1] = { { aur_buf_id(buf), 0 } };
    int out[1] = { -1 };

    (void)state;
    AURT_OK(aur_map_async(pool, &future, item_of_any, in, 1, out));
    words->ids[0] = aur_future_id(future);
    aurt_event_set(&words->ready);
    AURT_OK(aur_future_outcome(future, AUR_NO_DEADLINE));
    assert_int_equal(out[0], AUR_EDEADLK);
    aur_future_unref(future);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

/* ---- two ------------------------------------------------------------------------------------------ */

/* One of them closed the cycle and was refused; or both were, if the second one asked before the first
 * had ended. */
static void check_two(const int *out)
{
    assert_true(out[0] == AUR_EDEADLK || out[1] == AUR_EDEADLK);
    assert_true(out[0] == AUR_OK || out[0] == AUR_EDEADLK);
    assert_true(out[1] == AUR_OK || out[1] == AUR_EDEADLK);
}

static void two_maps(uint32_t workers, uint32_t spares)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, workers, AUR_START_FORK, spares);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    aur_future *futures[2];
    job_t in[2] = { { aur_buf_id(buf), 1 }, { aur_buf_id(buf), 0 } };
    int out[2] = { -1, -1 };

    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_map_async(pool, &futures[i], item, &in[i], 1, &out[i]));
        words->ids[i] = aur_future_id(futures[i]);
    }
    aurt_event_set(&words->ready);
    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        aur_future_unref(futures[i]);
    }
    check_two(out);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_two_maps(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        two_maps(2, 0);
        two_maps(1, 0);
        two_maps(1, AUR_NO_SPARES);
        two_maps(2, AUR_NO_SPARES);
    }
}

/* A map and a call, in the same pool or in a pool of threads; which of the two waits
 * first is chance. */
static void map_and_call(aur_pool *maps, aur_pool *calls)
{
    struct words *words;
    aur_buf *buf = words_new(maps, &words);
    aur_future *futures[2];
    job_t in[1] = { { aur_buf_id(buf), 1 } };
    int out[2] = { -1, -1 };

    AURT_OK(aur_map_async(maps, &futures[0], item, in, 1, &out[0]));
    words->ids[0] = aur_future_id(futures[0]);
    AURT_OK(calls == maps ? aur_apply_async(calls, &futures[1], call, aur_buf_id(buf), 0)
                          : aur_apply_async(calls, &futures[1], call_here, words, 0));
    words->ids[1] = aur_future_id(futures[1]);
    aurt_event_set(&words->ready);
    AURT_OK(aur_future_outcome(futures[0], AUR_NO_DEADLINE));
    AURT_OK(aur_future_result(futures[1], &out[1], AUR_NO_DEADLINE));
    check_two(out);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    aur_buf_unref(buf);
}

static void test_map_and_call(void **state)
{
    aur_pool *maps = aurt_pool_new(AUR_PROCESSES, 2, AUR_START_FORK, 0);
    aur_pool *threads = aurt_pool_new(AUR_THREADS, 1, 0, 0);

    (void)state;
    for (int i = 0; i < 20; i++) {
        map_and_call(maps, maps);
        map_and_call(maps, threads);
    }
    aurt_pool_end(maps);
    aurt_pool_end(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_map),      cmocka_unit_test(test_map_on_top),
        cmocka_unit_test(test_any),          cmocka_unit_test(test_two_maps),
        cmocka_unit_test(test_map_and_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
