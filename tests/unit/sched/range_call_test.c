/* Goal:   who takes part in a loop calls one thread more than there are CPUs only if its items leave their CPU
 *         to others; one dear item that computes is no reason to.
 * Method: maybe_call() of src/sched/share.c, compiled here with a clock of CPU time and a notify of its own.
 * Guards: items_wait() and maybe_call() in src/sched/share.c. */
#include "aurt.h"

#include "sched/share.h"

static uint64_t cpu_ns; /* what the thread has used */
static unsigned called;

static uint64_t fake_cpu_ns(int tid)
{
    (void)tid;
    return cpu_ns;
}

static void fake_notify(struct auri_team *team)
{
    (void)team;
    called++;
}

#define aurp_thread_cpu_ns fake_cpu_ns
#define auri_team_notify fake_notify
#define auri_team_notify_elsewhere fake_notify
#include "../../../src/sched/share.c"

#define ITEM_NS UINT64_C(10000000)
#define START_NS UINT64_C(5000000000)

static struct auri_team team;
static struct auri_range_job job;

/* A share of a loop in which a thread for each of two CPUs takes part. */
static struct share share_of(bool waits)
{
    team = (struct auri_team){ .cpus = 2 };
    auri_store_rlx(&team.looping, 2u);
    auri_store_rlx(&job.waits, waits ? 1u : 0u);
    cpu_ns = 1000000;
    called = 0;
    return (struct share){
        .team = &team,
        .job = &job,
        .asked_ns = START_NS,
        .pace = { .start_ns = START_NS,
                  .now_ns = START_NS,
                  .item_ps = ITEM_NS * 1000,
                  .agreed = 3 },
    };
}

/* An item ends, which took ITEM_NS and so much of its CPU. */
static void item_ends(struct share *share, uint64_t used_ns)
{
    share->pace.now_ns += ITEM_NS;
    cpu_ns += used_ns;
    maybe_call(share, 1000);
}

static void a_dear_item_that_computes_calls_nobody(void **state)
{
    struct share share = share_of(false);

    (void)state;
    for (int i = 0; i < 5; i++) {
        item_ends(&share, ITEM_NS);
        assert_int_equal(called, 0);
    }
}

static void items_that_wait_call_one_each(void **state)
{
    struct share share = share_of(false);

    (void)state;
    item_ends(&share, ITEM_NS / 10); /* from here on the CPU time is known */
    assert_int_equal(called, 0);
    for (unsigned i = 1; i < 5; i++) {
        item_ends(&share, ITEM_NS / 10);
        assert_int_equal(called, i);
        assert_int_equal(auri_load_rlx(&job.waits), 1);
    }
}

static void what_others_found_goes_first_what_is_measured_then(void **state)
{
    struct share share = share_of(true);

    (void)state;
    item_ends(&share, ITEM_NS);
    assert_int_equal(called, 1);
    item_ends(&share, ITEM_NS);
    assert_int_equal(called, 1);
    assert_int_equal(auri_load_rlx(&job.waits), 0);
}

static void while_a_cpu_is_left_one_is_called(void **state)
{
    struct share share = share_of(false);

    (void)state;
    auri_store_rlx(&team.looping, 1u);
    item_ends(&share, ITEM_NS);
    assert_int_equal(called, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dear_item_that_computes_calls_nobody),
        cmocka_unit_test(items_that_wait_call_one_each),
        cmocka_unit_test(what_others_found_goes_first_what_is_measured_then),
        cmocka_unit_test(while_a_cpu_is_left_one_is_called),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
