/* Goal:   helpers are sent away where they hurt and only there, and come back when they may help again.
 * Method: the decisions are arithmetic; loops with given speeds are played against a clock of numbers.
 * Guards: the rules at the head of src/sched/guard.h. */
#include "aurt.h"

#include "sched/guard.h"

/* How fast things go: nanoseconds per item, for the owner alone, for it in company, and for its one helper;
 * 0: the helper finishes nothing. */
struct world {
    uint64_t alone_ns;
    uint64_t own_ns;
    uint64_t theirs_ns;
};

struct played {
    struct auri_guard guard;
    uint64_t now_ns;
    uint64_t own;
    uint64_t theirs_ps; /* the helper's work so far, in time */
    uint64_t theirs;
    bool company;
    unsigned sent_away;
    unsigned offered;
    uint64_t alone_time_ns;
};

static struct played begin(uint64_t alone_ps)
{
    struct played played = { .guard = auri_guard_begin(alone_ps, 0, 1000), .now_ns = 1000 };

    played.company = true;
    return played;
}

/* So much time in chunks of 25 us. */
static void play(struct played *played, struct world world, uint64_t span_ns)
{
    uint64_t end = played->now_ns + span_ns;

    while (played->now_ns < end) {
        bool company = played->company;
        uint64_t item_ns = company ? world.own_ns : world.alone_ns;
        uint64_t n = 25000 / item_ns != 0 ? 25000 / item_ns : 1;
        played->now_ns += n * item_ns;
        played->alone_time_ns += company ? 0 : n * item_ns;
        if (company && world.theirs_ns != 0) {
            played->theirs_ps += n * item_ns * 1000;
            played->theirs += played->theirs_ps / (world.theirs_ns * 1000);
            played->theirs_ps %= world.theirs_ns * 1000;
        }
        switch (auri_guard_ran(&played->guard, played->now_ns, n, played->theirs, company)) {
        case AURI_GUARD_TAKE_BACK:
            played->sent_away += company;
            played->company = false;
            break;
        case AURI_GUARD_OFFER:
            AURT_CHECK(!played->company);
            played->offered++;
            played->company = true;
            break;
        case AURI_GUARD_GO_ON:
            break;
        }
    }
}

#define MS UINT64_C(1000000)

static void helpers_that_help_stay(void **state)
{
    static const struct world good[] = {
        { 100, 100, 100 },  /* twice as fast */
        { 100, 150, 150 },  /* 1.33 times */
        { 100, 180, 180 },  /* 1.11 times */
        { 100, 100, 9000 }, /* they hold the dear items, and slow nobody down */
        { 100, 120, 9000 }, /* hardly anybody */
        { 100, 200, 0 },    /* in an item that is longer than the rest */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct played played = begin(100000);
        play(&played, good[i], 100 * MS);
        assert_int_equal(played.sent_away, 0);
        assert_int_equal(auri_guard_flat(&played.guard), 0);
    }
}

static void helpers_that_hurt_go_in_three_beats(void **state)
{
    static const struct world bad[] = {
        { 100, 200, 200 }, /* nothing gained */
        { 100, 210, 210 }, /* a little lost */
        { 100, 400, 400 }, /* a lock that passes from hand to hand */
        { 100, 130, 900 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct played played = begin(100000);
        play(&played, bad[i], 1 * MS);
        assert_int_equal(played.sent_away, 1);
        play(&played, bad[i], 40 * MS);
        assert_int_equal(played.sent_away, 1);
        assert_int_equal(played.offered, 0);
        assert_int_equal(played.guard.state, AURI_GUARD_RESTING);
        assert_int_equal(auri_guard_flat(&played.guard), 1);
    }
}

/* The rests double, and what they cost shrinks. */
static void what_hurts_is_tried_again(void **state)
{
    struct world bad = { 100, 400, 400 };
    struct played played = begin(100000);

    (void)state;
    play(&played, bad, 54 * MS);
    assert_int_equal(played.offered, 1);
    play(&played, bad, 60 * MS);
    assert_int_equal(played.offered, 1);
    assert_int_equal(played.sent_away, 2);
    play(&played, bad, 60 * MS);
    assert_int_equal(played.offered, 2);
    play(&played, bad, 20000 * MS);
    assert_true(played.sent_away < 20);
    assert_true(played.alone_time_ns > 20100 * MS);

    struct world good = { 100, 100, 100 };
    play(&played, good, 2000 * MS);
    assert_int_equal(played.guard.state, AURI_GUARD_SHARED);
    assert_int_equal(auri_guard_flat(&played.guard), 0);
}

/* The trap: the rate falls to less than it was alone, because each item takes longer now. */
static void dearer_items_are_no_reason(void **state)
{
    struct played played = begin(100000);

    (void)state;
    play(&played, (struct world){ 100, 100, 100 }, 10 * MS);
    play(&played, (struct world){ 1000, 1000, 1000 }, 100 * MS);
    assert_int_equal(played.sent_away, 1); /* one beat to look ... */
    assert_int_equal(played.offered, 1);   /* ... and they are back */
    assert_true(played.alone_time_ns <= 2 * AURI_GUARD_BEAT_NS);
    assert_int_equal(auri_guard_flat(&played.guard), 0);
}

/* A gain of 3 % is doubted, and left when the beat alone has shown it. */
static void a_small_gain_is_left(void **state)
{
    struct played played = begin(100000);

    (void)state;
    play(&played, (struct world){ 100, 194, 194 }, 100 * MS);
    assert_true(played.sent_away >= 1 && played.sent_away <= 7);
    assert_int_equal(played.sent_away, played.offered);
    assert_int_equal(played.guard.state, AURI_GUARD_SHARED);
}

/* Ever dearer ones: each doubt takes twice as long as the one before. */
static void items_that_grow_cost_little(void **state)
{
    struct played played = begin(10000);

    (void)state;
    for (uint64_t ns = 10; ns < 20000; ns += ns / 20 + 1) {
        play(&played, (struct world){ ns, ns, ns }, 10 * MS);
    }
    assert_true(played.sent_away == played.offered);
    assert_true(played.sent_away <= 12);
    assert_true(played.alone_time_ns < 20 * MS);
}

static void an_unknown_speed_accuses_nobody(void **state)
{
    struct played played = begin(0);

    (void)state;
    play(&played, (struct world){ 100, 400, 400 }, 100 * MS);
    assert_int_equal(played.sent_away, 0);
}

/* The beat alone begins when the last of them has gone. */
static void stragglers_are_waited_for(void **state)
{
    struct auri_guard guard = auri_guard_begin(100000, 0, 0);
    uint64_t now = 0;
    uint64_t theirs = 0;
    enum auri_guard_says says = AURI_GUARD_GO_ON;

    (void)state;
    while (says == AURI_GUARD_GO_ON) {
        now += 50000;
        theirs += 250;
        says = auri_guard_ran(&guard, now, 250, theirs, 1);
    }
    assert_int_equal(says, AURI_GUARD_TAKE_BACK);
    for (unsigned i = 0; i < 100; i++) {
        now += 50000;
        theirs += 250;
        assert_int_equal(auri_guard_ran(&guard, now, 250, theirs, 2), AURI_GUARD_TAKE_BACK);
    }
    now += 50000;
    assert_int_equal(auri_guard_ran(&guard, now, 250, theirs, 0), AURI_GUARD_GO_ON);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(guard.state, AURI_GUARD_ALONE);
        now += 50000;
        assert_int_equal(auri_guard_ran(&guard, now, 500, theirs, 0), AURI_GUARD_GO_ON);
    }
    assert_int_equal(guard.state, AURI_GUARD_RESTING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(helpers_that_help_stay),
        cmocka_unit_test(helpers_that_hurt_go_in_three_beats),
        cmocka_unit_test(what_hurts_is_tried_again),
        cmocka_unit_test(dearer_items_are_no_reason),
        cmocka_unit_test(a_small_gain_is_left),
        cmocka_unit_test(items_that_grow_cost_little),
        cmocka_unit_test(an_unknown_speed_accuses_nobody),
        cmocka_unit_test(stragglers_are_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
