/* Goal:   a loop asks for help when that pays and not before; a pool's memory of costs is used only while
 *         loops keep to it.
 * Method: the decisions are arithmetic; loops with given costs are played against a clock of numbers.
 * Guards: the rules at the head of src/sched/pace.h. */
#include "aurt.h"

#include "sched/pace.h"

static const struct auri_wake_costs wake = { .cost = 12000, .latency = 40000 };

/* A loop, alone: item i takes cost_ps(i).  Returns its age when it first wants help; 0: never. */
struct played {
    struct auri_pace pace;
    uint64_t age_ns;
    uint64_t items; /* done by then */
    unsigned chunks;
};

typedef uint64_t cost_fn(uint64_t i);

static struct played play(struct auri_pace pace, cost_fn *cost_ps, uint64_t n, bool searched)
{
    struct played played = { .pace = pace };
    uint64_t clock_ps = pace.now_ns * 1000;

    for (uint64_t lo = 0; lo < n;) {
        uint64_t take = auri_pace_chunk(&played.pace, n - lo, false);
        AURT_CHECK(take >= 1 && take <= n - lo);
        for (uint64_t i = lo; i < lo + take; i++) {
            clock_ps += cost_ps(i);
        }
        lo += take;
        played.chunks++;
        auri_pace_ran(&played.pace, take, clock_ps / 1000);
        if (auri_pace_wants_help(&played.pace, wake, n - lo, searched)) {
            played.items = lo;
            played.age_ns = clock_ps / 1000 - pace.start_ns;
            return played;
        }
    }
    return played;
}

static uint64_t one_ns(uint64_t i)
{
    (void)i;
    return 1000;
}

static uint64_t ten_us(uint64_t i)
{
    (void)i;
    return 10000000;
}

/* Dear and cheap in turn, so that no two chunks agree until they are long. */
static uint64_t wild(uint64_t i)
{
    return i % 2 == 0 ? 90000000 : 10000000;
}

static void short_loops_wake_nobody(void **state)
{
    static const uint64_t ns[] = { 1, 1000, 10000, 100000, 200000, 300000 };

    (void)state;
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
        assert_int_equal(play((struct auri_pace){ 0 }, one_ns, ns[i], false).age_ns, 0);
    }
    for (uint64_t n = 1; n <= 30; n++) { /* few items: 10 us to 300 us */
        assert_int_equal(play((struct auri_pace){ 0 }, ten_us, n, false).age_ns, 0);
    }
}

static void a_long_loop_wakes_one_after_a_beat(void **state)
{
    (void)state;
    struct played cheap = play((struct auri_pace){ 0 }, one_ns, 1000000, false);
    struct played dear = play((struct auri_pace){ 0 }, ten_us, 100, false);
    assert_in_range(cheap.age_ns, 10 * wake.cost, 10 * wake.cost + AURI_CHUNK_NS);
    assert_in_range(dear.age_ns, 10 * wake.cost, 10 * wake.cost + AURI_CHUNK_NS);
    /* Few looks at the clock: 1, 8, 64, 512, 4096, then 25 us each. */
    assert_in_range(cheap.chunks, 5, 11);
}

static void one_that_varies_waits_longer(void **state)
{
    (void)state;
    struct played played = play((struct auri_pace){ 0 }, wild, 1000, false);
    assert_in_range(played.age_ns, 40 * wake.cost, 40 * wake.cost + 100000);
}

static void a_searcher_is_used_early(void **state)
{
    (void)state;
    struct played played = play((struct auri_pace){ 0 }, one_ns, 100000, true);
    assert_in_range(played.age_ns, AURI_YOUNG_NS, AURI_YOUNG_NS + AURI_BITE_NS);
    assert_int_equal(play((struct auri_pace){ 0 }, one_ns, 3000, true).age_ns, 0);
    assert_int_equal(play((struct auri_pace){ 0 }, ten_us, 1, true).age_ns, 0); /* no rest */
}

static void costs_of_wakes_are_clipped(void **state)
{
    struct auri_pace pace = { .agreed = 3, .chunks = 3 };

    (void)state;
    assert_int_equal(auri_pace_beat(&pace, (struct auri_wake_costs){ 2000, 2000 }),
                     AURI_BEAT_MIN_NS);
    assert_int_equal(auri_pace_beat(&pace, (struct auri_wake_costs){ 400000, 2000 }),
                     AURI_BEAT_MAX_NS);
    pace.agreed = 0;
    assert_int_equal(auri_pace_beat(&pace, (struct auri_wake_costs){ 400000, 2000 }),
                     AURI_BEAT_WILD_MAX_NS);
    assert_true(auri_pace_wake_ns((struct auri_wake_costs){ 0 }) > 0);
}

static void a_habit_lets_a_loop_ask_sooner(void **state)
{
    struct auri_pace pace = { .habit_ps = 1000 };

    (void)state;
    struct played usual = play(pace, one_ns, 1000000, false);
    assert_in_range(usual.age_ns, AURI_YOUNG_NS, AURI_YOUNG_NS + AURI_CHUNK_NS);
    pace.habit_ps = 5000; /* other than the loop turns out to be: as if there were none */
    struct played unusual = play(pace, one_ns, 1000000, false);
    assert_in_range(unusual.age_ns, 10 * wake.cost, 10 * wake.cost + AURI_CHUNK_NS);
    /* Before the first item only where the whole is worth ten wakes: 520 us. */
    assert_true(auri_pace_wants_help_at_once(&pace, wake, 105000));
    assert_false(auri_pace_wants_help_at_once(&pace, wake, 103000));
    assert_false(auri_pace_wants_help_at_once(&pace, wake, 1));
    pace.habit_ps = 0;
    assert_false(auri_pace_wants_help_at_once(&pace, wake, UINT64_MAX));
    pace.habit_ps = 5000;
    assert_true(auri_pace_wants_help_at_once(&pace, wake, UINT64_MAX)); /* no overflow */
}

static void a_series_of_short_loops_wakes_one(void **state)
{
    struct auri_pace pace = { .series_ns = 40 * wake.cost };

    (void)state;
    assert_true(play(pace, one_ns, 100000, false).age_ns != 0);
    assert_int_equal(play(pace, one_ns, 12000, false).age_ns, 0); /* too short to gain from it */
    pace.series_ns = 20 * wake.cost;
    assert_int_equal(play(pace, one_ns, 100000, false).age_ns, 0);
}

static void shared_chunks_get_smaller(void **state)
{
    struct auri_pace pace = { .item_ps = 1000, .chunk = 1000000 };
    unsigned chunks = 0;

    (void)state;
    assert_int_equal(auri_pace_chunk(&pace, 1000000, true), AURI_CHUNK_NS);
    for (uint64_t rest = 40000; rest != 0; chunks++) {
        uint64_t take = auri_pace_chunk(&pace, rest, true);
        uint64_t most = rest / AURI_PIECES > AURI_BITE_NS ? rest / AURI_PIECES : AURI_BITE_NS;
        assert_int_equal(take, rest <= 2 * AURI_BITE_NS ? rest : most);
        rest -= take;
    }
    assert_true(chunks < 20); /* the number grows with the logarithm of the rest */
    pace.item_ps = 10000000;  /* dear ones: one by one at the end */
    assert_int_equal(auri_pace_chunk(&pace, 5, true), 1);
}

static void the_first_helper_begins_where_both_end_together(void **state)
{
    (void)state;
    assert_int_equal(auri_pace_cut(0, 1000, 10000), 500);
    assert_int_equal(auri_pace_cut(30, 1000, 10000), 500); /* few: the middle, again and again */
    assert_int_equal(auri_pace_cut(400, 1000, 0), 700);
    assert_int_equal(auri_pace_cut(400, 1000, AURI_JOIN_NS * 10),
                     750); /* it runs 100 more until then */
    assert_int_equal(auri_pace_cut(950, 1000, AURI_JOIN_NS * 10), 500); /* nothing will be left */
    assert_int_equal(auri_pace_cut(UINT32_MAX - 2, UINT32_MAX, 0), UINT32_MAX - 1);
}

static void a_pool_remembers_what_keeps_to_itself(void **state)
{
    static struct auri_habit habits[AURI_HABITS];
    int of;
    int other;
    struct auri_habit *habit = auri_habit_of(habits, &of);

    (void)state;
    for (unsigned loop = 0; loop < AURI_TRUST + 1; loop++) {
        assert_int_equal(auri_habit_cost(habit, &of), 0);
        auri_habit_learn(habit, &of, 1000, 50000 + loop);
    }
    assert_int_equal(auri_habit_cost(habit, &of), 50002);
    assert_int_equal(auri_habit_cost(habit, &other), 0);
    auri_habit_learn(habit, &of, 1000, 5000); /* one that did not keep to it */
    assert_int_equal(auri_habit_cost(habit, &of), 0);
    auri_habit_learn(habit, &of, 1000, 5000);
    assert_int_equal(auri_habit_cost(habit, &of), 0);
    auri_habit_learn(habit, &of, 1000, 5000);
    assert_int_equal(auri_habit_cost(habit, &of), 5000);
    auri_habit_learn(habit, &other, 1000, 5000); /* the place is another's now */
    assert_int_equal(auri_habit_cost(habit, &of), 0);
    assert_int_equal(auri_habit_cost(habit, &other), 0);
}

/* A single loop, if it was so long that a wrong guess about the next one costs little beside it. */
static void one_very_long_loop_is_enough(void **state)
{
    static struct auri_habit habits[AURI_HABITS];
    int of;
    struct auri_habit *habit = auri_habit_of(habits, &of);

    (void)state;
    auri_habit_learn(habit, &of, 1000, AURI_TRUST_NS - 1);
    assert_int_equal(auri_habit_cost(habit, &of), 0);
    auri_habit_learn(habit, &of, 2, AURI_TRUST_NS);
    assert_int_equal(auri_habit_cost(habit, &of), AURI_TRUST_NS * UINT64_C(500));
    auri_habit_learn(habit, &of, 2, 1000); /* one that did not keep to it */
    assert_int_equal(auri_habit_cost(habit, &of), 0);
}

/* A function whose loops threads do not make faster: its loops stay alone until that is to be tried again. */
static void what_did_not_help_is_not_asked(void **state)
{
    static struct auri_habit habits[AURI_HABITS];
    int of, other;
    struct auri_habit *habit = auri_habit_of(habits, &of);
    struct auri_pace pace = { .start_ns = 1000, .now_ns = 1000, .habit_ps = 100000 };

    (void)state;
    assert_int_equal(auri_habit_flat_until(habit, &of), 0);
    auri_habit_learn(habit, &of, 1000, 50000);
    auri_habit_learn_flat(habit, 50000, 1, 5001000);
    assert_int_equal(auri_habit_flat_until(habit, &of), 5001000);
    assert_int_equal(auri_habit_flat_until(habit, &other), 0);

    assert_true(auri_pace_wants_help_at_once(&pace, wake, 1000000));
    pace.alone_until_ns = auri_habit_flat_until(habit, &of);
    assert_false(auri_pace_wants_help_at_once(&pace, wake, 1000000));
    struct played played = play(pace, ten_us, 100000, true);
    assert_true(played.age_ns >= 5000000 && played.age_ns < 5100000);

    auri_habit_learn_flat(habit, 50000, 0, 5001000); /* helpers helped */
    assert_int_equal(auri_habit_flat_until(habit, &of), 0);
    auri_habit_learn_flat(habit, 50000, 2, 5001000);
    auri_habit_learn(habit, &other, 1000, 50000); /* the place is another's now */
    auri_habit_learn(habit, &of, 1000, 50000);
    assert_int_equal(auri_habit_flat_until(habit, &of), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_loops_wake_nobody),
        cmocka_unit_test(a_long_loop_wakes_one_after_a_beat),
        cmocka_unit_test(one_that_varies_waits_longer),
        cmocka_unit_test(a_searcher_is_used_early),
        cmocka_unit_test(costs_of_wakes_are_clipped),
        cmocka_unit_test(a_habit_lets_a_loop_ask_sooner),
        cmocka_unit_test(a_series_of_short_loops_wakes_one),
        cmocka_unit_test(one_very_long_loop_is_enough),
        cmocka_unit_test(what_did_not_help_is_not_asked),
        cmocka_unit_test(the_first_helper_begins_where_both_end_together),
        cmocka_unit_test(shared_chunks_get_smaller),
        cmocka_unit_test(a_pool_remembers_what_keeps_to_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
