/* Goal:   a shared loop runs each index exactly once and returns when all are done, whatever its size,
 *         its company, its nesting, its items' costs and what its counter says; a stopped one runs none
 *         twice.
 * Method: loops on real teams of 1, 2 and 16 workers, a counter per index.
 * Guards: [R1] to [R4], [F1] [F2] in src/sched/share.c, auri_range_go() in src/sched/range.c. */
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>

#include "sched/range.h"
#include "sched/team.h"
#include "task/pool.h"

#define MOST 200000u
#define INNER 5u /* items of a nested loop: each of them may be a chunk with loops of its own */

struct loop {
    _Atomic(uint32_t) *ran;
    uint64_t n;
    uint64_t stop_at; /* a body that meets this index asks to stop; UINT64_MAX: none does */
    unsigned cost;    /* of an item: so many additions ... */
    uint64_t dear;    /* ... and a thousand times that for this one */
    unsigned depth;   /* loops to nest inside each chunk */
    struct auri_team *team;
    _Atomic(uint64_t) sum;
};

static void burn(unsigned rounds)
{
    for (volatile unsigned i = 0; i < rounds; i++) {
    }
}

static void run_loop(struct loop *loop);

static bool count(void *ctx, uint64_t lo, uint64_t hi)
{
    struct loop *loop = ctx;
    bool go_on = true;

    AURT_CHECK(lo < hi && hi <= loop->n);
    for (uint64_t i = lo; i < hi; i++) {
        auri_add_rlx(&loop->ran[i], 1u);
        burn(i == loop->dear ? loop->cost * 1000 : loop->cost);
        go_on = go_on && i != loop->stop_at;
    }
    if (loop->depth > 0) {
        _Atomic(uint32_t) ran[INNER];
        struct loop inner = *loop;
        inner.ran = ran;
        inner.n = INNER;
        inner.depth = loop->depth - 1;
        run_loop(&inner);
    }
    return go_on;
}

/* The owner's counter: there is none; it stands still; a nanosecond each; it says that any loop is old. */
static const uint64_t rates[] = { AURI_TICKS_BROKEN, 1, UINT64_C(1) << AURI_TICKS_SHIFT,
                                  UINT64_C(1) << 40 };

static void run_loop(struct loop *loop)
{
    static _Atomic(uint32_t) turn;
    _Atomic(uint64_t) told = 0;
    uint64_t in_all = 0;

    memset(loop->ran, 0, loop->n * sizeof(loop->ran[0]));
    auri_store_rlx(&loop->team->ticks.rate_, rates[auri_add_rlx(&turn, 1u) % 4]);
    auri_range_run(loop->team, loop->team, count, loop, loop->n, &told);
    for (uint64_t i = 0; i < loop->n; i++) {
        uint32_t times = auri_load_rlx(&loop->ran[i]);
        in_all += times;
        AURT_CHECK(times == 1 || (times == 0 && loop->stop_at != UINT64_MAX));
    }
    AURT_CHECK(auri_load_rlx(&told) == in_all);
}

static const unsigned teams[] = { 1, 2, 16 };

static aur_pool *pool_of(unsigned workers)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

static struct loop loop_on(aur_pool *pool, uint64_t n)
{
    struct loop loop = {
        .ran = calloc(n + 1, sizeof(loop.ran[0])),
        .n = n,
        .stop_at = UINT64_MAX,
        .dear = UINT64_MAX,
        .team = pool->impl,
    };

    AURT_CHECK(loop.ran != NULL);
    return loop;
}

static void every_size(void **state)
{
    static const uint64_t sizes[] = { 0, 1, 2, 3, 7, 31, 32, 33, 64, 1000, 4097, MOST };

    (void)state;
    for (size_t t = 0; t < 3; t++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(teams[t]);
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            struct loop loop = loop_on(pool, sizes[s]);
            for (loop.cost = 0; loop.cost <= 400; loop.cost += 200) {
                if (loop.n * loop.cost < 10000000) {
                    run_loop(&loop);
                }
            }
            free(loop.ran);
        }
    }
}

static void skewed_items(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(teams[t]);
        struct loop loop = loop_on(pool, 3000);
        loop.cost = 300;
        for (loop.dear = 0; loop.dear < loop.n; loop.dear += 749) {
            run_loop(&loop);
        }
        free(loop.ran);
    }
}

static void bodies_that_stop(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(teams[t]);
        struct loop loop = loop_on(pool, 5000);
        loop.cost = 300;
        for (loop.stop_at = 0; loop.stop_at < loop.n; loop.stop_at += 499) {
            run_loop(&loop);
            assert_int_equal(auri_load_rlx(&loop.ran[0]), 1); /* the first chunk always runs */
        }
        free(loop.ran);
    }
}

/* Up to the number of slots that a thread has, and past it. */
static void nested(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(teams[t]);
        for (unsigned depth = 1; depth <= AURI_RANGE_DEPTH + 1; depth++) {
            struct loop loop = loop_on(pool, INNER);
            loop.cost = 3000; /* chunks of one item, and a loop old enough to be shared */
            loop.depth = depth;
            run_loop(&loop);
            free(loop.ran);
        }
    }
}

struct several {
    aur_pool *pool;
    aurt_barrier *barrier;
};

/* Many short loops: a thief's slot serves the next loop while others still take from the last. */
static void *many_loops(void *ctx)
{
    struct several *several = ctx;
    struct loop loop = loop_on(several->pool, 600);

    aurt_barrier_wait(several->barrier);
    for (unsigned round = 0; round < 150; round++) {
        loop.cost = 100 + 100 * (round % 3);
        loop.n = 600 - round % 7;
        run_loop(&loop);
    }
    free(loop.ran);
    return NULL;
}

static void several_at_once(void **state)
{
    (void)state;
    for (size_t t = 0; t < 3; t++) {
        AUR_SCOPED(aur_pool) *pool = pool_of(teams[t]);
        aurt_barrier barrier = { .parties = 4 };
        struct several several = { pool, &barrier };
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, many_loops, &several), 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
    }
}

/* Spins, so that nobody takes its worker for blocked. */
static aurt_event gate_begun;
static aurt_event gate_go;
static void gate(int x)
{
    (void)x;
    aurt_event_set(&gate_begun);
    while (!aurt_event_is_set(&gate_go)) {
        sched_yield();
    }
}
AUR_FN_VOID(gate, int);

/* Work is not rare for who is woken by a loop that is shared, however long ago it parked. */
static void helpers_have_reason_to_spin(void **state)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(1);
    struct auri_team *team = pool->impl;
    aur_future *held = NULL;

    (void)state;
    if (team->cpus == 1) {
        pool = aur_pool_unref(pool);
        skip(); /* no loop is shared */
    }
    AURT_OK(aur_apply_async(pool, &held, gate, 1)); /* from here on the worker does not park */
    aurt_event_wait(&gate_begun);
    uint64_t start = aurp_now_ns();
    struct loop loop = loop_on(pool, MOST / 10);
    _Atomic(uint64_t) told = 0;
    loop.cost = 400;
    auri_store_rlx(&team->ticks.rate_, AURI_TICKS_BROKEN); /* by the clock */
    auri_range_run(team, team, count, &loop, loop.n, &told);
    assert_true(auri_load_rlx(&team->parked_ns) >= start);
    aurt_event_set(&gate_go);
    AURT_OK(aur_future_wait(held, AUR_NO_DEADLINE));
    aur_future_unref(held);
    free(loop.ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size),       cmocka_unit_test(skewed_items),
        cmocka_unit_test(bodies_that_stop), cmocka_unit_test(nested),
        cmocka_unit_test(several_at_once),  cmocka_unit_test(helpers_have_reason_to_spin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
