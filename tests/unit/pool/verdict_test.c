/* Goal:    where the calls of a function are to run, by what they cost.
 * Method:  made-up measures, call by call; no time that a clock tells is looked at.
 * Guards:  src/pool/verdict.c. */
#include "aurt.h"

#include "pool/verdict.h"

static const struct auri_measure measure = { .cheap_ns = 1000,
                                             .may_loop = true,
                                             .side_by_side = true };

static void feed(struct auri_verdict *v, const struct auri_measure *m, int n, struct auri_outcome o)
{
    for (int i = 0; i < n; i++) {
        auri_verdict_count(v, m, &o);
    }
}

static uint32_t choice_of(struct auri_verdict *v)
{
    return atomic_load(&v->choice);
}

#define ALONE(wall_, cpu_, slept_) ((struct auri_outcome){ wall_, cpu_, 0, 0, slept_ })
#define BESIDE(n_, wall_, cpu_, slept_) ((struct auri_outcome){ wall_, cpu_, 0, n_, slept_ })

static void test_cheap(void **state)
{
    struct auri_verdict v = { 0 };

    (void)state;
    feed(&v, &measure, 15, ALONE(200, 200, false));
    assert_int_equal(choice_of(&v), AURI_UNDECIDED);
    feed(&v, &measure, 1, ALONE(4000000, 200, false)); /* lost its CPU once */
    assert_int_equal(choice_of(&v), AURI_TO_LOOP);

    struct auri_measure forbidden = measure;
    forbidden.may_loop = false;
    v = (struct auri_verdict){ 0 };
    feed(&v, &forbidden, 64, ALONE(200, 200, false));
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
}

/* The time is all that is asked of a cheap call; one that was not cheap has the next one asked for more. */
static void test_cheap_is_measured_cheaply(void **state)
{
    struct auri_verdict v = { .choice = AURI_TO_LOOP };
    struct auri_measure m = { .cheap_ns = UINT64_MAX, .may_loop = true };
    struct auri_sample sample;

    (void)state;
    auri_sample_begin(&v, &sample, 1);
    assert_true(sample.wall_only);
    auri_sample_end(&v, &m, &sample);
    assert_int_equal(atomic_load(&v.doubts), 0);
    m.cheap_ns = 0;
    auri_sample_begin(&v, &sample, 1);
    assert_true(sample.wall_only);
    while (aurp_now_ns() == sample.start_ns) {
    }
    auri_sample_end(&v, &m, &sample);
    assert_int_equal(atomic_load(&v.doubts), 1);
    auri_sample_begin(&v, &sample, 1);
    assert_false(sample.wall_only);
    m.cheap_ns = UINT64_MAX;
    auri_sample_end(&v, &m, &sample);
    assert_int_equal(atomic_load(&v.doubts), 0);
    auri_sample_begin(&v, &sample, 1);
    assert_true(sample.wall_only);
    atomic_store(&v.choice, AURI_UNDECIDED); /* by another thread, meanwhile */
    auri_sample_end(&v, &m, &sample);
    assert_int_equal(atomic_load(&v.alone.n), 3);
}

/* Cheap as a rule, but not if it has ever slept, nor if the rest costs much. */
static void test_not_cheap(void **state)
{
    struct auri_verdict v = { 0 };

    (void)state;
    feed(&v, &measure, 1, ALONE(900, 200, true));
    feed(&v, &measure, 63, ALONE(200, 200, false));
    assert_int_not_equal(choice_of(&v), AURI_TO_LOOP);
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 2, ALONE(1000000, 1000000, false));
    feed(&v, &measure, 62, ALONE(200, 200, false));
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 3, ALONE(2000, 2000, false)); /* more than one in eight */
    feed(&v, &measure, 13, ALONE(200, 200, false));
    assert_int_equal(choice_of(&v), AURI_UNDECIDED);
}

/* To look again would cost more than the calls: only what contradicts the choice ends it. */
static void test_stays_cheap(void **state)
{
    struct auri_verdict v = { 0 };

    (void)state;
    feed(&v, &measure, 16, ALONE(200, 200, false));
    for (int i = 0; i < 300; i++) {
        assert_int_equal(choice_of(&v), AURI_TO_LOOP);
        feed(&v, &measure, 1, ALONE(200, 200, false));
    }
}

/* Calls that overlap at any time were beside each other; this one reads clocks, but looks at counts only. */
static void test_overlap(void **state)
{
    struct auri_verdict v = { 0 };
    struct auri_sample first;
    struct auri_sample second;

    (void)state;
    auri_sample_begin(&v, &first, 1);
    auri_sample_end(&v, &measure, &first);
    assert_int_equal(atomic_load(&v.alone.n), 1);
    auri_sample_begin(&v, &first, 1);
    auri_sample_begin(&v, &second, 1);
    auri_sample_end(&v, &measure, &second);
    auri_sample_end(&v, &measure, &first); /* alone again at its end */
    assert_int_equal(atomic_load(&v.alone.n), 1);
    assert_int_equal(atomic_load(&v.together.n), 2);
}

static void test_computes(void **state)
{
    struct auri_verdict v = { 0 };

    (void)state;
    /* Three on one CPU: each has a third of it, and none has slept. */
    feed(&v, &measure, 8, ALONE(100000, 100000, false));
    feed(&v, &measure, 8, BESIDE(3, 300000, 100000, false));
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
}

/* On a busy machine: each call also meets a short lock, but for the rest of the time it is ready. */
static void test_starved(void **state)
{
    struct auri_verdict v = { 0 };
    const struct auri_outcome o = {
        .wall_ns = 900000, .cpu_ns = 100000, .ready_ns = 780000, .beside = 3, .slept = true
    };

    (void)state;
    feed(&v, &measure, 4, ALONE(100000, 100000, false));
    feed(&v, &measure, 60, o);
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
    feed(&v, &measure, 63, o); /* and it stays so */
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
    feed(&v, &measure, 1, o); /* but not for ever: those four may not have come in a row */
    assert_int_equal(choice_of(&v), AURI_UNDECIDED);
    /* The same, had the kernel not counted it. */
    struct auri_measure blind = measure;
    blind.side_by_side = false;
    v = (struct auri_verdict){ 0 };
    feed(&v, &blind, 4, ALONE(100000, 100000, false));
    feed(&v, &blind, 12, BESIDE(3, 900000, 100000, true));
    assert_int_equal(choice_of(&v), AURI_UNCLEAR);
}

/* On a busy machine what has slept for a moment waits long for a CPU: that is no computing. */
static void test_wakes_late(void **state)
{
    struct auri_verdict v = { 0 };
    struct auri_outcome o = {
        .wall_ns = 5000000, .cpu_ns = 20000, .ready_ns = 4000000, .slept = true
    };

    (void)state;
    feed(&v, &measure, 64, o);
    assert_int_equal(choice_of(&v), AURI_WAITS);
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 64, ALONE(1000000, 1000000, false)); /* it computed before */
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
    feed(&v, &measure, 3, o);
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
    feed(&v, &measure, 1, o);
    assert_int_equal(choice_of(&v), AURI_UNDECIDED);

    o.beside = 3;
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 64, o);
    assert_int_equal(choice_of(&v), AURI_WAITS);

    /* A cache that often hits: neither the hits that lost their CPU nor the others kept one busy. */
    o.wall_ns = 20000000;
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 32, BESIDE(3, 4000000, 20000, false));
    feed(&v, &measure, 32, o);
    assert_int_equal(choice_of(&v), AURI_UNCLEAR);
}

static void test_waits(void **state)
{
    struct auri_verdict v = { 0 };

    (void)state;
    feed(&v, &measure, 64, ALONE(100000, 3000, true));
    assert_int_equal(choice_of(&v), AURI_WAITS);
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 64, BESIDE(3, 100000, 3000, true)); /* never seen alone */
    assert_int_equal(choice_of(&v), AURI_WAITS);
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 64, ALONE(100000, 60000, true));
    assert_int_equal(choice_of(&v), AURI_UNCLEAR);
}

static void test_lock(void **state)
{
    struct auri_verdict v = { 0 };
    struct auri_measure one_worker = measure;

    (void)state;
    feed(&v, &measure, 4, ALONE(100000, 100000, false));
    feed(&v, &measure, 12, BESIDE(3, 300000, 100000, true));
    assert_int_equal(choice_of(&v), AURI_TO_PROCESSES);

    /* Never alone, but some got the lock at once. */
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 10, BESIDE(3, 100000, 100000, false));
    feed(&v, &measure, 54, BESIDE(3, 400000, 100000, true));
    assert_int_equal(choice_of(&v), AURI_TO_PROCESSES);

    /* A cache that often hits looks so too, but leaves the CPU idle. */
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 32, BESIDE(3, 20000, 20000, false));
    feed(&v, &measure, 32, BESIDE(3, 5000000, 20000, true));
    assert_int_equal(choice_of(&v), AURI_UNCLEAR);

    /* It costs less than to ask a process. */
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 4, ALONE(10000, 10000, false));
    feed(&v, &measure, 12, BESIDE(3, 30000, 10000, true));
    assert_int_equal(choice_of(&v), AURI_UNCLEAR);

    /* On a busy machine, where who has the lock, and who had it before, wait for a CPU. */
    v = (struct auri_verdict){ 0 };
    feed(&v, &measure, 4, ALONE(300000, 100000, false));
    feed(&v, &measure, 12,
         (struct auri_outcome){
             .wall_ns = 900000, .cpu_ns = 100000, .ready_ns = 500000, .beside = 3, .slept = true });
    assert_int_equal(choice_of(&v), AURI_TO_PROCESSES);

    one_worker.side_by_side = false;
    v = (struct auri_verdict){ 0 };
    feed(&v, &one_worker, 4, ALONE(100000, 100000, false));
    feed(&v, &one_worker, 12, BESIDE(3, 300000, 100000, true));
    assert_int_not_equal(choice_of(&v), AURI_TO_PROCESSES);
}

/* What contradicts the choice four times in a row begins anew, and ends in another choice. */
static void test_revised(void **state)
{
    struct auri_verdict v = { 0 };

    (void)state;
    feed(&v, &measure, 16, ALONE(200, 200, false));
    assert_int_equal(choice_of(&v), AURI_TO_LOOP);
    feed(&v, &measure, 3, ALONE(100000, 2000, true));
    feed(&v, &measure, 1, ALONE(200, 200, false)); /* as before after all */
    feed(&v, &measure, 3, ALONE(100000, 2000, true));
    assert_int_equal(choice_of(&v), AURI_TO_LOOP);
    feed(&v, &measure, 1, ALONE(100000, 2000, true));
    assert_int_equal(choice_of(&v), AURI_UNDECIDED);
    feed(&v, &measure, 64, ALONE(100000, 2000, true));
    assert_int_equal(choice_of(&v), AURI_WAITS);
    feed(&v, &measure, 4 + 64, ALONE(100000, 100000, false));
    assert_int_equal(choice_of(&v), AURI_TO_THREADS);
    feed(&v, &measure, 4, BESIDE(3, 300000, 100000, true)); /* a lock has been put in */
    feed(&v, &measure, 4, ALONE(100000, 100000, false));
    feed(&v, &measure, 12, BESIDE(3, 300000, 100000, true));
    assert_int_equal(choice_of(&v), AURI_TO_PROCESSES);
    feed(&v, &measure, 4 + 16, ALONE(200, 200, false)); /* and it has become cheap */
    assert_int_equal(choice_of(&v), AURI_TO_LOOP);
}

static void test_words(void **state)
{
    struct auri_verdict v = { 0 };
    char at[400];
    struct auri_text text = { at, sizeof(at), 0 };

    (void)state;
    auri_verdict_name(&v, "f");
    auri_verdict_say(&v, &text, "");
    assert_int_equal(text.length, 0); /* nothing is decided */
    feed(&v, &measure, 64, ALONE(100000, 25000, true));
    auri_verdict_say(&v, &text, ", maybe");
    assert_int_equal(text.length, strlen(at));
    assert_string_equal(at,
                        "\nf: 100 us a call, 25 in 100 of it on a CPU (64 calls measured): it runs "
                        "in threads: it waits most of the time, and while calls are queued more "
                        "threads come, maybe.");

    /* It tells all of the time, though it does not decide by all of it. */
    v = (struct auri_verdict){ 0 };
    text.length = 0;
    auri_verdict_name(&v, "f");
    feed(&v, &measure, 64,
         (struct auri_outcome){
             .wall_ns = 4000000, .cpu_ns = 1000000, .ready_ns = 2500000, .slept = true });
    auri_verdict_say(&v, &text, "");
    assert_string_equal(at,
                        "\nf: 4 ms a call, 25 in 100 of it on a CPU (64 calls measured): it runs "
                        "in threads: it computes for a part of the time and waits for another.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cheap),       cmocka_unit_test(test_cheap_is_measured_cheaply),
        cmocka_unit_test(test_not_cheap),   cmocka_unit_test(test_computes),
        cmocka_unit_test(test_starved),     cmocka_unit_test(test_waits),
        cmocka_unit_test(test_lock),        cmocka_unit_test(test_revised),
        cmocka_unit_test(test_words),       cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_stays_cheap), cmocka_unit_test(test_wakes_late),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
