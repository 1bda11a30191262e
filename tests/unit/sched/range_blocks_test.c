/* Goal:   a loop longer than one block (2^31 - 1 items) runs each index once, and stops between blocks.
 * Method: the loops of src/sched/range.c, compiled here with blocks of 1000 items; this copy takes the
 *         place of the library's in the program.
 * Guards: auri_range_run() in src/sched/range.c. */
#include "aurt.h"

#define AURI_RANGE_BLOCK_MAX UINT64_C(1000)
#include "../../../src/sched/range.c"

#define MOST 20001u

static _Atomic(uint32_t) ran[MOST];

struct blocks {
    uint64_t n;
    uint64_t stop_at;
};

static bool count(void *ctx, uint64_t lo, uint64_t hi)
{
    struct blocks *blocks = ctx;
    bool go_on = true;

    AURT_CHECK(lo < hi && hi <= blocks->n && lo / 1000 == (hi - 1) / 1000);
    for (uint64_t i = lo; i < hi; i++) {
        auri_add_rlx(&ran[i], 1u);
        for (volatile unsigned k = 0; k < 200; k++) {
        }
        go_on = go_on && i != blocks->stop_at;
    }
    return go_on;
}

static void every_border(void **state)
{
    static const uint64_t sizes[] = { 999, 1000, 1001, 1999, 2000, 2001, MOST };
    AUR_SCOPED(aur_pool) *pool = NULL;

    (void)state;
    AURT_OK(aur_pool_new(NULL, &pool, NULL));
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct blocks blocks = { sizes[s], UINT64_MAX };
        memset(ran, 0, sizeof(ran));
        _Atomic(uint64_t) told = 0;
        auri_range_run(pool->impl, pool, count, &blocks, blocks.n, &told);
        for (uint64_t i = 0; i < MOST; i++) {
            assert_int_equal(auri_load_rlx(&ran[i]), i < blocks.n);
        }
        assert_int_equal(auri_load_rlx(&told), blocks.n);
    }
}

static void no_block_after_a_stop(void **state)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    struct blocks blocks = { MOST, 1500 };
    _Atomic(uint64_t) told = 0;
    uint64_t in_all = 0;

    (void)state;
    AURT_OK(aur_pool_new(NULL, &pool, NULL));
    memset(ran, 0, sizeof(ran));
    auri_range_run(pool->impl, pool, count, &blocks, blocks.n, &told);
    assert_int_equal(auri_load_rlx(&ran[1500]), 1);
    for (uint64_t i = 0; i < MOST; i++) {
        assert_true(auri_load_rlx(&ran[i]) <= (i < 2000));
        in_all += auri_load_rlx(&ran[i]);
    }
    assert_int_equal(auri_load_rlx(&told), in_all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_border),
        cmocka_unit_test(no_block_after_a_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
