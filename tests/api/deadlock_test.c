/* Goal:   no wait hangs: it gets its result, or AUR_EDEADLK with every edge named, or an error that says
 *         that no worker could be had.  And no wait that can end is refused.
 * Method: programs whose waits form each kind of cycle; their futures are handed over by events, so that
 *         each cycle really closes.  A hang is ended by ctest.
 * Guards: src/sched/wait.c, src/sched/detect.c, the spares of src/sched/threads.c. */
/* aurt: long */
#include "aurt.h"

#include <auriga.h>

/* Most rounds are there for races.  Valgrind looks for none, and runs one thread at a time. */
#ifdef AURT_VALGRIND
#define ROUNDS(n) 8u
#define STORM 60
#define DEEP 5000 /* more than three stacks take */
#else
#define ROUNDS(n) (n)
#define STORM 200
#define DEEP 100000
#endif

static aur_pool *pool_with(uint32_t workers, uint32_t spares, uint32_t flags)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    opts.spares_max = spares;
    opts.flags = flags;
    opts.name = workers == 1 ? "one" : "many";
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

/* ---- one worker, and a task that submits and waits ------------------------------------------ */

static int power(int x, int y)
{
    int v = 1;

    while (y-- > 0) {
        v *= x;
    }
    return v;
}
AUR_FN(int, power, int, int);

enum how { PLAIN, TIMED, ANY };
typedef aur_pool *pool_ptr;

/* AUR_ETASK and worse are passed on through aur_fail(). */
static int nested(pool_ptr pool, int how)
{
    AUR_SCOPED(aur_future) *future = NULL;
    aur_deadline until = how == TIMED ? aur_deadline_in_ms(600000) : AUR_NO_DEADLINE;
    int v = 0;

    aur_err err = aur_apply_async(pool, &future, power, 5, 2);
    if (err == AUR_OK && how == ANY) {
        err = aur_wait_any(&future, 1, NULL, AUR_NO_DEADLINE);
    }
    err = err == AUR_OK ? aur_future_result(future, &v, until) : err;
    return err == AUR_OK ? v : aur_fail(err, "%s", aur_err_name(err));
}
AUR_FN(int, nested, pool_ptr, int);

static void one_worker_and_a_nested_wait(void **state)
{
    (void)state;
    for (int how = PLAIN; how <= ANY; how++) {
        for (uint32_t flags = 0; flags <= AUR_POOL_NO_HELP; flags++) {
            AUR_SCOPED(aur_pool) *pool = pool_with(1, 0, flags);
            AUR_SCOPED(aur_future) *future = NULL;
            int v = 0;
            AURT_OK(aur_apply_async(pool, &future, nested, pool, how));
            AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
            assert_int_equal(v, 25);
            /* A second level: the waiter that helps is a waiter itself. */
            v = 0;
            AURT_OK(aur_apply(pool, &v, nested, pool, how));
            assert_int_equal(v, 25);
        }
    }
}

static void serial_too(void **state)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    int v = 0;

    (void)state;
    opts.kind = AUR_SERIAL;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply(pool, &v, nested, pool, PLAIN));
    assert_int_equal(v, 25);
}

/* Without spares there is still the reserve; if it is not enough, the wait fails. */
static void no_spares(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 2; workers++) {
        for (int how = PLAIN; how <= ANY; how++) {
            for (uint32_t flags = 0; flags <= AUR_POOL_NO_HELP; flags++) {
                AUR_SCOPED(aur_pool) *pool = pool_with(workers, AUR_NO_SPARES, flags);
                aur_future *future[12];
                for (int i = 0; i < 12; i++) {
                    AURT_OK(aur_apply_async(pool, &future[i], nested, pool, how));
                }
                for (int i = 0; i < 12; i++) {
                    int v = 0;
                    aur_err err = aur_future_result(future[i], &v, AUR_NO_DEADLINE);
                    if (err == AUR_OK) {
                        assert_int_equal(v, 25);
                    } else {
                        int32_t code = aur_future_error(future[i])->code;
                        assert_true(code == AUR_EAGAIN || code == AUR_E2DEEP);
                    }
                    aur_future_unref(future[i]);
                }
            }
        }
    }
}

/* ---- cycles -------------------------------------------------------------------------------- */

#define RING_MAX 3
struct ring {
    uint32_t n;
    aurt_event made; /* future[] is filled */
    aur_future *future[RING_MAX];
    _Atomic(uint32_t) deadlocks;
    char message[512];
};
typedef struct ring *ring_ptr;

static int wait_next(ring_ptr ring, uint32_t me)
{
    int v = 0;

    aurt_event_wait(&ring->made);
    aur_err err = aur_future_result(ring->future[(me + 1) % ring->n], &v, AUR_NO_DEADLINE);
    if (err == AUR_EDEADLK) {
        atomic_fetch_add(&ring->deadlocks, 1);
        memcpy(ring->message, aur_last_error()->message, sizeof(ring->message));
        return aur_fail((int)me, "gave up");
    }
    return err == AUR_OK ? v : aur_fail((int)me, "the next one failed");
}
static int wait_on_b(ring_ptr ring)
{
    return wait_next(ring, 0);
}
static int wait_on_c(ring_ptr ring)
{
    return wait_next(ring, 1);
}
static int wait_on_a(ring_ptr ring)
{
    return wait_next(ring, 2);
}
AUR_FN(int, wait_on_b, ring_ptr);
AUR_FN(int, wait_on_c, ring_ptr);
AUR_FN(int, wait_on_a, ring_ptr);

/* n tasks (2 or 3), each of which waits for the next; pools: one for each. */
static void run_ring(uint32_t n, aur_pool *const *pools)
{
    struct ring ring = { .n = n };

    AURT_OK(aur_apply_async(pools[0], &ring.future[0], wait_on_b, &ring));
    AURT_OK(aur_apply_async(pools[1], &ring.future[1], wait_on_c, &ring));
    if (n > 2) {
        AURT_OK(aur_apply_async(pools[2], &ring.future[2], wait_on_a, &ring));
    }
    aurt_event_set(&ring.made);
    for (uint32_t i = 0; i < n; i++) {
        AURT_ERR(AUR_ETASK, aur_future_outcome(ring.future[i], AUR_NO_DEADLINE));
    }
    assert_int_equal(atomic_load(&ring.deadlocks), 1);
    assert_non_null(strstr(ring.message, "wait_on_b"));
    assert_non_null(strstr(ring.message, "wait_on_c"));
    assert_true(n < 3 || strstr(ring.message, "wait_on_a") != NULL);
    const char *site = strstr(ring.message, "deadlock_test.c:");
    assert_non_null(site);
    assert_non_null(strstr(site + 1, "deadlock_test.c:"));
    for (uint32_t i = 0; i < n; i++) {
        aur_future_unref(ring.future[i]);
    }
}

static void mutual_wait(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 3; workers++) {
        for (uint32_t round = 0; round < ROUNDS(100u); round++) {
            AUR_SCOPED(aur_pool) *pool = pool_with(workers, 0, 0);
            aur_pool *pools[] = { pool, pool, pool };
            run_ring(2, pools);
            run_ring(3, pools);
            aur_stats stats = { .size = sizeof(stats) };
            AURT_OK(aur_pool_stats(pool, &stats));
            assert_int_equal(stats.deadlocks, 2);
        }
    }
}

static void cycle_across_pools(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS(50u); round++) {
        AUR_SCOPED(aur_pool) *a = pool_with(1, 0, 0);
        AUR_SCOPED(aur_pool) *b = pool_with(2, 0, AUR_POOL_NO_HELP);
        aur_pool *pools[] = { a, b, a };
        run_ring(2, pools);
        run_ring(3, pools);
    }
}

static int wait_self(ring_ptr ring)
{
    aurt_event_wait(&ring->made);
    aur_err err = aur_future_wait(ring->future[0], AUR_NO_DEADLINE);
    memcpy(ring->message, aur_last_error()->message, sizeof(ring->message));
    return err;
}
AUR_FN(int, wait_self, ring_ptr);

static void self_wait(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_with(1, 0, 0);
    struct ring ring = { .n = 1 };
    int v = 0;

    (void)state;
    AURT_OK(aur_apply_async(pool, &ring.future[0], wait_self, &ring));
    aurt_event_set(&ring.made);
    AURT_OK(aur_future_result(ring.future[0], &v, AUR_NO_DEADLINE));
    assert_int_equal(v, AUR_EDEADLK);
    assert_non_null(strstr(ring.message, "wait_self waits for wait_self"));
    aur_future_unref(ring.future[0]);
}

/* Two tasks, each of which waits for any of both. */
static int wait_any_of_both(ring_ptr ring)
{
    aurt_event_wait(&ring->made);
    aur_err err = aur_wait_any(ring->future, 2, NULL, AUR_NO_DEADLINE);
    if (err == AUR_EDEADLK) {
        atomic_fetch_add(&ring->deadlocks, 1);
    }
    return err;
}
AUR_FN(int, wait_any_of_both, ring_ptr);

static void wait_any_cycle(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS(100u); round++) {
        AUR_SCOPED(aur_pool) *pool = pool_with(2, 0, 0);
        struct ring ring = { .n = 2 };
        for (int i = 0; i < 2; i++) {
            AURT_OK(aur_apply_async(pool, &ring.future[i], wait_any_of_both, &ring));
        }
        aurt_event_set(&ring.made);
        for (int i = 0; i < 2; i++) {
            AURT_OK(aur_future_outcome(ring.future[i], AUR_NO_DEADLINE));
        }
        assert_int_equal(atomic_load(&ring.deadlocks), 1);
        aur_future_unref(ring.future[0]);
        aur_future_unref(ring.future[1]);
    }
}

/* ---- maps ---------------------------------------------------------------------------------- */

struct item {
    struct ring *ring;
    int number;
};
typedef struct item *item_ptr;

static int wait_for_the_map(item_ptr item)
{
    if (item->number % 16 != 0) { /* items long enough for the loop to be shared */
        for (volatile int i = 0; i < 20000; i++) {
        }
        return 0;
    }
    aurt_event_wait(&item->ring->made);
    aur_err err = aur_future_wait(item->ring->future[0], AUR_NO_DEADLINE);
    if (err == AUR_EDEADLK) {
        atomic_fetch_add(&item->ring->deadlocks, 1);
        return 1;
    }
    return aur_fail(err, "the wait ended with %s", aur_err_name(err));
}
AUR_FN(int, wait_for_the_map, item_ptr);

static int map_in_a_task(item_ptr items)
{
    item_ptr in[64];
    int out[64];
    int sum = 0;

    for (int i = 0; i < 64; i++) {
        items[i] = (struct item){ items[0].ring, i };
        in[i] = &items[i];
    }
    aur_err err = aur_map(aur_pool_current(), wait_for_the_map, in, 64, out);
    if (err != AUR_OK) {
        return aur_fail(err, "the map failed: %s", aur_last_error()->message);
    }
    for (int i = 0; i < 64; i++) {
        sum += out[i];
    }
    return sum;
}
AUR_FN(int, map_in_a_task, item_ptr);

static void map_body_waits_for_its_map(void **state)
{
    (void)state;
    for (uint32_t workers = 1; workers <= 4; workers++) {
        for (uint32_t round = 0; round < ROUNDS(20u); round++) {
            AUR_SCOPED(aur_pool) *pool = pool_with(workers, 0, 0);
            struct ring ring = { .n = 1 };
            struct item items[64] = { { &ring, 0 } };
            int v = 0;
            AURT_OK(aur_apply_async(pool, &ring.future[0], map_in_a_task, items));
            aurt_event_set(&ring.made);
            AURT_OK(aur_future_result(ring.future[0], &v, AUR_NO_DEADLINE));
            assert_int_equal(v, 4);
            assert_int_equal(atomic_load(&ring.deadlocks), 4);
            aur_future_unref(ring.future[0]);
        }
    }
}

/* ---- no false alarm ------------------------------------------------------------------------ */

struct storm {
    aurt_event made;
    aur_future *future[STORM];
};
typedef struct storm *storm_ptr;

/* Waits for up to three tasks with lower numbers, in different ways. */
static int wait_below(storm_ptr storm, uint32_t me)
{
    uint32_t random = me * 2654435761u;

    aurt_event_wait(&storm->made);
    for (int i = 0; i < 3 && me > 0; i++) {
        random = random * 1664525u + 1013904223u;
        aur_future *two[] = { storm->future[(random >> 8) % me],
                              storm->future[(random >> 20) % me] };
        aur_err err = (random & 3) == 0   ? aur_wait_any(two, 2, NULL, AUR_NO_DEADLINE)
                      : (random & 3) == 1 ? aur_future_wait(two[0], aur_deadline_in_ms(600000))
                                          : aur_wait_all(two, 2, AUR_NO_DEADLINE);
        if (err != AUR_OK) {
            return aur_fail(err, "%s", aur_last_error()->message);
        }
    }
    return (int)me;
}
AUR_FN(int, wait_below, storm_ptr, uint32_t);

static void storm_of_acyclic_waits(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < ROUNDS(24u); round++) {
        AUR_SCOPED(aur_pool) *a = pool_with(1 + round % 4, 0, round % 8 < 4 ? 0 : AUR_POOL_NO_HELP);
        AUR_SCOPED(aur_pool) *b = pool_with(2, 0, 0);
        struct storm *storm = calloc(1, sizeof(*storm));
        for (uint32_t i = 0; i < STORM; i++) {
            uint32_t number = round % 2 == 0 ? i : STORM - 1 - i; /* waiters first, or last */
            AURT_OK(aur_apply_async(number % 3 == 0 ? b : a, &storm->future[number], wait_below,
                                    storm, number));
        }
        aurt_event_set(&storm->made);
        for (uint32_t i = 0; i < STORM; i++) {
            int v = -1;
            AURT_OK(aur_future_result(storm->future[i], &v, AUR_NO_DEADLINE));
            assert_int_equal(v, i);
        }
        for (uint32_t i = 0; i < STORM; i++) {
            aur_future_unref(storm->future[i]);
        }
        free(storm);
    }
}

/* ---- depth --------------------------------------------------------------------------------- */

static _Atomic(uint32_t) too_deep;
static _Atomic(uint32_t) no_spare;

static int descend(pool_ptr pool, int depth);
AUR_FN(int, descend, pool_ptr, int);
static int descend(pool_ptr pool, int depth)
{
    AUR_SCOPED(aur_future) *next = NULL;
    int v = 0;

    if (depth == 0) {
        return 0;
    }
    aur_err err = aur_apply_async(pool, &next, descend, pool, depth - 1);
    err = err == AUR_OK ? aur_future_wait(next, AUR_NO_DEADLINE) : err;
    if (err == AUR_E2DEEP) {
        atomic_fetch_add(&too_deep, 1);
    } else if (err == AUR_EAGAIN) {
        atomic_fetch_add(&no_spare, 1);
    }
    err = err == AUR_OK ? aur_future_result(next, &v, AUR_NO_DEADLINE) : err;
    if (err == AUR_OK) {
        return v + 1;
    }
    return aur_fail(err, "%s", aur_err_name(err));
}

static void deep_recursion(void **state)
{
    static const uint32_t spares[] = { 0, 2, AUR_NO_SPARES };

    (void)state;
    for (int i = 0; i < 3; i++) {
        AUR_SCOPED(aur_pool) *pool = pool_with(2, spares[i], 0);
        AUR_SCOPED(aur_future) *top = NULL;
        int v = 0;
        atomic_store(&too_deep, 0);
        atomic_store(&no_spare, 0);
        AURT_OK(aur_apply_async(pool, &top, descend, pool, DEEP));
        aur_err err = aur_future_result(top, &v, AUR_NO_DEADLINE);
        if (err == AUR_OK) {
            assert_int_equal(v, DEEP);
        } else {
            AURT_ERR(AUR_ETASK, err);
            assert_true(atomic_load(&too_deep) + atomic_load(&no_spare) > 0);
        }
        if (spares[i] == AUR_NO_SPARES) {
            AURT_ERR(AUR_ETASK, err);
            assert_true(atomic_load(&too_deep) > 0 && atomic_load(&no_spare) == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_and_a_nested_wait),
        cmocka_unit_test(serial_too),
        cmocka_unit_test(no_spares),
        cmocka_unit_test(mutual_wait),
        cmocka_unit_test(cycle_across_pools),
        cmocka_unit_test(self_wait),
        cmocka_unit_test(wait_any_cycle),
        cmocka_unit_test(map_body_waits_for_its_map),
        cmocka_unit_test(storm_of_acyclic_waits),
        cmocka_unit_test(deep_recursion),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
