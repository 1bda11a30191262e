/* Goal:   a counter that cannot be relied on is not.
 * Method: arithmetic on moments that are made up; the counter itself is only asked whether it exists.
 * Guards: src/sched/ticks.h. */
#include "aurt.h"

#include "sched/ticks.h"

#define MS UINT64_C(1000000)

static void is_not_known_at_once(void **state)
{
    struct auri_ticks ticks = { .start_ns = 5 * MS, .start = 1 };

    (void)state;
    assert_int_equal(auri_ticks_rate(&ticks, 5 * MS), 0);
    assert_int_equal(auri_ticks_rate(&ticks, 5 * MS + AURI_TICKS_LEARN_NS - 1), 0);
    assert_int_equal(auri_load_rlx(&ticks.rate_), 0);
    ticks.start_ns = 0; /* there are none */
    assert_int_equal(auri_ticks_rate(&ticks, UINT64_MAX), 0);
    assert_int_equal(auri_load_rlx(&ticks.rate_), 0);
}

/* Until both were read at one moment, which another thread may come into again and again. */
static uint64_t learned(struct auri_ticks *ticks)
{
    while (auri_load_rlx(&ticks->rate_) == 0) {
        auri_ticks_learn_(ticks);
    }
    return auri_load_rlx(&ticks->rate_);
}

static void one_that_stands_still_is_broken(void **state)
{
    struct auri_ticks ticks;

    (void)state;
    if (aurp_ticks() == 0) {
        skip();
    }
    ticks = (struct auri_ticks){ .start_ns = aurp_now_ns() - 20 * MS, .start = aurp_ticks() * 2 };
    assert_true(learned(&ticks) == AURI_TICKS_BROKEN); /* it went back */
    ticks = (struct auri_ticks){ .start_ns = 1, .start = aurp_ticks() - 1000 };
    assert_true(learned(&ticks) == AURI_TICKS_BROKEN); /* hours in 1000 ticks */
    assert_int_equal(auri_ticks_rate(&ticks, UINT64_MAX), 0);
}

static void a_long_span_is_not_reckoned(void **state)
{
    (void)state;
    if (aurp_ticks() == 0) {
        skip();
    }
    assert_true(auri_ticks_ns(UINT64_MAX, aurp_ticks() - AURI_TICKS_MAX) == UINT64_MAX);
}

static void the_clock_decides(void **state)
{
    static const struct {
        uint64_t ticks_ns, ns;
        bool broken;
    } looks[] = {
        { 4000, 4100, false },
        { 4000, 900 * 1000, false }, /* the thread was off its CPU between the two looks */
        { 4000, 1900, true },        /* too fast */
        { 4000, 3 * MS, true },      /* far too slow */
        { UINT64_MAX, 2 * MS, false },
        { UINT64_MAX, 90 * 1000, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++) {
        struct auri_ticks ticks = { .rate_ = 1000 };
        auri_ticks_check(&ticks, looks[i].ticks_ns, looks[i].ns);
        assert_int_equal(auri_ticks_rate(&ticks, 1), looks[i].broken ? 0 : 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_not_known_at_once),
        cmocka_unit_test(one_that_stands_still_is_broken),
        cmocka_unit_test(a_long_span_is_not_reckoned),
        cmocka_unit_test(the_clock_decides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
