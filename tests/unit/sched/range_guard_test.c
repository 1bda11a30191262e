/* Goal:   a loop whose helpers are sent away and called again, at any time, runs each index exactly once.
 * Method: the sharing of src/sched/share.c, compiled here with a guard that sends them away and calls them again by a
 *         script of chunks instead of by the clock; this copy takes the place of the library's.
 * Guards: take_back(), refill() and mind_company() in src/sched/share.c. */
#include "aurt.h"

#include <pthread.h>

#include "sched/guard.h"

static enum auri_guard_says script(struct auri_guard *guard, uint64_t now_ns, uint64_t n,
                                   uint64_t theirs, uint32_t others);

#define AURI_RANGE_GUARD script
#include "../../../src/sched/share.c"

#define MOST 4000u

static _Atomic(uint32_t) away; /* times that helpers were sent away while there were some */
static _Atomic(uint32_t) keeps;

/* Away for some chunks, then back for some, in patterns that drift against each other. */
static enum auri_guard_says script(struct auri_guard *guard, uint64_t now_ns, uint64_t n,
                                   uint64_t theirs, uint32_t others)
{
    (void)now_ns;
    (void)n;
    (void)theirs;
    guard->chunks++;
    if (guard->chunks % 11 == 3 || (guard->state == AURI_GUARD_LEAVING && others != 0)) {
        guard->state = AURI_GUARD_LEAVING;
        auri_add_rlx(&away, others != 0 ? 1u : 0u);
        return AURI_GUARD_TAKE_BACK;
    }
    if (guard->state == AURI_GUARD_LEAVING && guard->chunks % 7 == 0 &&
        auri_load_rlx(&keeps) == 0) {
        guard->state = AURI_GUARD_SHARED;
        return AURI_GUARD_OFFER;
    }
    return AURI_GUARD_GO_ON;
}

struct loop {
    aur_pool *pool;
    aurt_barrier *barrier;
    _Atomic(uint32_t) ran[MOST];
    uint64_t n;
    uint64_t stop_at;
};

static bool count(void *ctx, uint64_t lo, uint64_t hi)
{
    struct loop *loop = ctx;
    bool go_on = true;

    AURT_CHECK(lo < hi && hi <= loop->n);
    for (uint64_t i = lo; i < hi; i++) {
        auri_add_rlx(&loop->ran[i], 1u);
        for (volatile unsigned k = 0; k < 2000; k++) {
        }
        go_on = go_on && i != loop->stop_at;
    }
    return go_on;
}

static void run_loop(struct loop *loop)
{
    _Atomic(uint64_t) told = 0;
    uint64_t in_all = 0;

    memset(loop->ran, 0, sizeof(loop->ran));
    auri_range_run(loop->pool->impl, loop->pool, count, loop, loop->n, &told);
    for (uint64_t i = 0; i < MOST; i++) {
        uint32_t times = auri_load_rlx(&loop->ran[i]);
        in_all += times;
        AURT_CHECK(i < loop->n ? times == 1 || (times == 0 && loop->stop_at != UINT64_MAX)
                               : times == 0);
    }
    AURT_CHECK(auri_load_rlx(&told) == in_all);
}

static aur_pool *pool_of(unsigned workers)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

static void every_index_once(void **state)
{
    static struct loop loop = { .stop_at = UINT64_MAX };

    (void)state;
    for (unsigned workers = 1; workers <= 16; workers *= 4) {
        AUR_SCOPED(aur_pool) *pool = pool_of(workers);
        loop.pool = pool;
        for (loop.n = MOST; loop.n > MOST / 2; loop.n -= 97) {
            auri_store_rlx(&keeps, (uint32_t)(loop.n % 2)); /* odd: they are never called again */
            run_loop(&loop);
        }
    }
}

static void bodies_that_stop(void **state)
{
    static struct loop loop = { .n = MOST };
    AUR_SCOPED(aur_pool) *pool = pool_of(4);

    (void)state;
    loop.pool = pool;
    for (loop.stop_at = 0; loop.stop_at < MOST; loop.stop_at += 131) {
        auri_store_rlx(&keeps, (uint32_t)(loop.stop_at % 2));
        run_loop(&loop);
    }
}

static void *many_loops(void *ctx)
{
    struct loop *loop = ctx;

    aurt_barrier_wait(loop->barrier);
    for (unsigned round = 0; round < 30; round++) {
        loop->n = MOST / 2 - round;
        run_loop(loop);
    }
    return NULL;
}

/* Thieves' slots change hands while owners take back from them. */
static void several_at_once(void **state)
{
    static struct loop loops[4];
    AUR_SCOPED(aur_pool) *pool = pool_of(4);
    aurt_barrier barrier = { .parties = 4 };
    pthread_t threads[4];

    (void)state;
    auri_store_rlx(&keeps, 0u);
    for (unsigned i = 0; i < 4; i++) {
        loops[i].pool = pool;
        loops[i].barrier = &barrier;
        loops[i].stop_at = UINT64_MAX;
        assert_int_equal(pthread_create(&threads[i], NULL, many_loops, &loops[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    print_message("sent away: %u\n", auri_load_rlx(&away));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_once),
        cmocka_unit_test(bodies_that_stop),
        cmocka_unit_test(several_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
