/* Goal:   a map that its caller runs without a task of its own is, for everybody else, a call like any other:
 *         it keeps its pool from ending, its failures are told and counted, and it ends in order if an item
 *         fails, ends its thread, forks, or drops the pool.
 * Method: maps of a thread pool without options, from outside and from inside, that do each of these.
 * Guards: auri_map_here() in src/map/map.c, auri_here_begin() in src/sched/run.c, is_short() in
 *         src/pool/map.c, auri_range_go() in src/sched/range.c. */
#include "kinds.h"

#include <pthread.h>
#include <sys/wait.h>

#include "sched/team.h"

#define N 100

static aur_pool *pool_of(uint32_t workers)
{
    aur_pool *pool = aurt_threads_of(workers);
    struct auri_ticks *ticks = &auri_team_of(pool)->ticks;
    while (ticks->start_ns != 0 && auri_ticks_rate(ticks, aurp_now_ns()) == 0 &&
           auri_load_rlx(&ticks->rate_) != AURI_TICKS_BROKEN) {
        /* until then a loop goes by the clock, and its chunks are as those that others take */
    }
    return pool;
}

static int numbers[N];

static void number(int first)
{
    for (int i = 0; i < N; i++) {
        numbers[i] = first + i;
    }
}

/* ---- failures -------------------------------------------------------------------------------- */

static int fails_at_40(int x)
{
    return x == 40 ? aur_fail(x, "no %d", x) : 2 * x;
}
AUR_FN(int, fails_at_40, int);

static void a_failure_is_told(void **state)
{
    aur_pool *pool = pool_of(2);
    int out[N];

    (void)state;
    number(0);
    AURT_OK(aur_map(pool, fails_at_40, numbers, 40, out));
    AURT_ERR(AUR_ETASK, aur_map(pool, fails_at_40, numbers, N, out));
    const aur_error *error = aur_last_error();
    assert_int_equal(error->err, AUR_ETASK);
    assert_int_equal(error->code, 40);
    assert_int_equal(error->item, 40);
    assert_int_equal(error->attempts, 1);
    assert_string_equal(error->message, "no 40");
    assert_string_equal(error->function, "fails_at_40");
    assert_non_null(strstr(error->site, "short_map_test.c:"));
    aur_stats stats = aurt_stats(pool);
    assert_int_equal(stats.submitted, 2);
    assert_int_equal(stats.done, 1);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.unseen, 0);
    assert_in_range(stats.items, 40 + 41, 40 + N);
    aur_pool_unref(pool);
}

static uint64_t touched[N];

static void touch(uint64_t lo, uint64_t hi, uint64_t *first)
{
    for (uint64_t i = lo; i < hi; i++) {
        touched[i - *first]++;
        if (aur_item_index() != lo) {
            aur_fail(1, "the index of a range is not its beginning");
        }
        if (i == *first + 70) {
            aur_fail(70, "no");
        }
    }
}
AUR_RANGE_FN(touch, uint64_t);

static void a_range_fails(void **state)
{
    aur_pool *pool = pool_of(2);
    uint64_t first = 1000;

    (void)state;
    memset(touched, 0, sizeof(touched));
    AURT_OK(aur_for(pool, first, first + 70, touch, &first));
    for (int i = 0; i < 70; i++) {
        assert_int_equal(touched[i], 1);
    }
    AURT_ERR(AUR_ETASK, aur_for(pool, first, first + N, touch, &first));
    assert_int_equal(aur_last_error()->code, 70);
    assert_in_range(aur_last_error()->item, first, first + 70);
    aur_pool_unref(pool);
}

/* ---- the end of the pool --------------------------------------------------------------------- */

struct gate {
    aur_pool *pool;
    aurt_event running;
    aurt_event go;
    bool stops; /* the pool is terminated meanwhile */
    aur_err err;
    char text[64];
};

static struct gate gate;

static int held(int x)
{
    if (x == 0) {
        aurt_event_set(&gate.running);
        aurt_event_wait(&gate.go);
        AURT_CHECK(aur_checkpoint() == (gate.stops ? AUR_ECANCELED : AUR_OK));
    }
    return x;
}
AUR_FN(int, held, int);

static void *run_gate(void *ctx)
{
    int out[N];

    (void)ctx;
    gate.err = aur_map(gate.pool, held, numbers, N, out);
    if (gate.err != AUR_OK) {
        snprintf(gate.text, sizeof(gate.text), "%.60s", aur_last_error()->message);
    }
    return NULL;
}

static pthread_t begin_gate(bool stops)
{
    pthread_t thread;

    number(0);
    gate = (struct gate){ .pool = pool_of(1), .stops = stops };
    assert_int_equal(pthread_create(&thread, NULL, run_gate, NULL), 0);
    aurt_event_wait(&gate.running);
    return thread;
}

static void a_join_waits_for_it(void **state)
{
    (void)state;
    pthread_t thread = begin_gate(false);
    int v;
    AURT_OK(aur_pool_close(gate.pool));
    AURT_ERR(AUR_ETIMEDOUT, aur_pool_join(gate.pool, 0));
    assert_int_equal(aurt_stats(gate.pool).done, 0);
    AURT_ERR(AUR_ESHUTDOWN, aur_map(gate.pool, held, numbers + 1, 1, &v));
    aurt_event_set(&gate.go);
    AURT_OK(aur_pool_join(gate.pool, AUR_NO_DEADLINE));
    assert_int_equal(aurt_stats(gate.pool).done, 1);
    pthread_join(thread, NULL);
    AURT_OK(gate.err);
    aur_pool_unref(gate.pool);
}

static void it_is_cancelled_by_terminate(void **state)
{
    (void)state;
    pthread_t thread = begin_gate(true);
    AURT_OK(aur_pool_terminate(gate.pool));
    aurt_event_set(&gate.go);
    AURT_OK(aur_pool_join(gate.pool, AUR_NO_DEADLINE));
    pthread_join(thread, NULL);
    AURT_ERR(AUR_ECANCELED, gate.err);
    assert_string_equal(gate.text, "cancelled after 1 of 100 items");
    assert_int_equal(aurt_stats(gate.pool).cancelled, 1);
    aur_pool_unref(gate.pool);
}

static int ends_the_pool(int x)
{
    if (x == 0) {
        AURT_CHECK(aur_pool_terminate(aur_pool_current()) == AUR_OK);
    }
    return x;
}
AUR_FN(int, ends_the_pool, int);

static void it_is_cancelled_by_an_item(void **state)
{
    aur_pool *pool = pool_of(1);
    int out[N];

    (void)state;
    number(0);
    auri_store_rlx(&auri_team_of(pool)->ticks.rate_, UINT64_C(1)); /* the loop stays young */
    AURT_ERR(AUR_ECANCELED, aur_map(pool, ends_the_pool, numbers, N, out));
    assert_string_equal(aur_last_error()->message, "cancelled after 1 of 100 items");
    aur_pool_unref(pool);
}

static aur_pool *dropped;

static int drops_the_pool(int x)
{
    if (x == 0) {
        dropped = aur_pool_unref(dropped);
    }
    return x + (aur_pool_current() == NULL);
}
AUR_FN(int, drops_the_pool, int);

static void an_item_drops_the_pool(void **state)
{
    int out[N];

    (void)state;
    number(0);
    dropped = pool_of(2);
    AURT_OK(aur_map(dropped, drops_the_pool, numbers, N, out));
    assert_memory_equal(out, numbers, sizeof(out));
}

/* ---- ends of threads and processes ----------------------------------------------------------- */

static uint64_t leaves_at; /* this index ends its thread */

static int leaves(uint64_t x)
{
    if (x == leaves_at) {
        pthread_exit(NULL);
    }
    return (int)x;
}
AUR_FN(int, leaves, uint64_t);

static void *map_that_ends(void *ctx)
{
    uint64_t in[N];
    int out[N];

    for (int i = 0; i < N; i++) {
        in[i] = (uint64_t)i;
    }
    aur_err err = aur_map((aur_pool *)ctx, leaves, in, N, out);
    AURT_CHECK(err == AUR_OK && leaves_at >= N); /* else it does not come back */
    return NULL;
}

static void an_item_ends_the_callers_thread(void **state)
{
    aur_pool *pool = pool_of(1);
    aur_pool *others = aur_pool_ref(pool);
    int v = 0;

    (void)state;
    for (leaves_at = 0; leaves_at < 3; leaves_at++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, map_that_ends, pool), 0);
        pthread_join(thread, NULL);
        assert_int_equal(aurt_stats(pool).failed, leaves_at + 1);
        assert_int_equal(aurt_stats(pool).submitted, leaves_at + 1);
        assert_in_range(aurt_stats(pool).items, leaves_at + 1, (leaves_at + 1) * N);
    }
    leaves_at = UINT64_MAX;
    AURT_OK(aur_apply(pool, &v, leaves, 7));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE)); /* nothing is left open */
    aur_pool_unref(others);
    aur_pool_unref(pool);
}

static struct shared {
    _Atomic(uint32_t) in_child;
    int status;
    bool forks;
} * shared;

static int forks(int x)
{
    static pid_t parent;

    if (x == 0) {
        parent = getpid();
        pid_t child = fork();
        AURT_CHECK(child >= 0);
        if (child > 0) {
            AURT_CHECK(waitpid(child, &shared->status, 0) == child);
        }
    }
    if (getpid() != parent) {
        shared->in_child++;
    }
    return x;
}
AUR_FN(int, forks, int);

static void the_child_of_an_item_ends_with_it(void **state)
{
    aur_pool *pool = pool_of(1);
    int out[N];

    (void)state;
    shared = aurt_shared(sizeof(*shared));
    number(0);
    AURT_OK(aur_map(pool, forks, numbers, N, out));
    assert_true(WIFEXITED(shared->status) && WEXITSTATUS(shared->status) == 0);
    assert_int_equal(shared->in_child, 1); /* of item 0's chunk, which is that item */
    assert_memory_equal(out, numbers, sizeof(out));
    munmap(shared, sizeof(*shared));
    aur_pool_unref(pool);
}

/* ---- inside a task --------------------------------------------------------------------------- */

static int inner(int x)
{
    if (x == 3) {
        aur_blocking_begin(); /* and does not say that it is over */
    }
    return x + 1;
}
AUR_FN(int, inner, int);

static int sum(int n)
{
    int out[N];
    int v = 0;

    if (aur_map(aur_pool_current(), inner, numbers, (size_t)n, out) != AUR_OK) {
        return aur_fail(1, "%s", aur_last_error()->message);
    }
    for (int i = 0; i < n; i++) {
        v += out[i];
    }
    return v;
}
AUR_FN(int, sum, int);

static void maps_of_tasks_are_counted(void **state)
{
    aur_pool *pool = pool_of(1);
    int in[70];
    int out[70];

    (void)state;
    number(0);
    for (int i = 0; i < 70; i++) {
        in[i] = 10;
    }
    AURT_OK(aur_map(pool, sum, in, 70, out)); /* maps in a map, in its caller */
    for (int i = 0; i < 70; i++) {
        assert_int_equal(out[i], 55);
        AURT_OK(aur_apply_async(pool, NULL, sum,
                                10)); /* for the worker: nobody waits for one of them */
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_stats stats = aurt_stats(pool);
    assert_int_equal(stats.submitted, 1 + 70 + 70 + 70);
    assert_int_equal(stats.done, 1 + 70 + 70 + 70);
    assert_int_equal(stats.items, 70 + 140 * 10);
    aur_pool_unref(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_is_told),
        cmocka_unit_test(a_range_fails),
        cmocka_unit_test(a_join_waits_for_it),
        cmocka_unit_test(it_is_cancelled_by_terminate),
        cmocka_unit_test(it_is_cancelled_by_an_item),
        cmocka_unit_test(an_item_drops_the_pool),
        cmocka_unit_test(an_item_ends_the_callers_thread),
        cmocka_unit_test(the_child_of_an_item_ends_with_it),
        cmocka_unit_test(maps_of_tasks_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
