/* Goal:   a loop is joined by no more threads than there are CPUs, unless its items wait: who joins one does
 *         not wake the next for it, and still does for anything else that is to be done.
 * Method: the sources of the workers, compiled here; a team without threads, of which one searcher has
 *         seen a loop while another worker sleeps.
 * Guards: found_loop() in src/sched/worker.c. */
#include "aurt.h"

#include "../../../src/sched/worker.c"

static struct auri_team team;
static struct auri_range_slot slot;

/* looping: threads that take part already.  Returns how many were woken. */
static unsigned woken(uint32_t cpus, uint32_t looping, bool call)
{
    static auri_task task;

    memset(&team, 0, sizeof(team));
    team.cpus = cpus;
    auri_store_rlx(&team.watch, 1u); /* no monitor */
    auri_store_rlx(&team.looping, looping);
    auri_store_rlx(&slot.word, auri_slot_word(0, 1000));
    assert_true(auri_board_add(&team.board, &slot));
    auri_ec_search_start(&team.ec);
    auri_ec_announce(&team.ec); /* the one who sleeps */
    auri_ec_search_start(&team.ec);
    auri_store_rlx(&team.inbox, call ? &task : NULL);
    found_loop(&team);
    assert_int_equal(auri_ec_searchers(auri_load_rlx(&team.ec.word)), 0);
    return auri_ec_tokens(auri_load_rlx(&team.ec.word));
}

static void a_loop_with_a_thread_for_each_cpu_gets_no_more(void **state)
{
    (void)state;
    assert_int_equal(woken(2, 1, false), 0);
    assert_int_equal(woken(2, 2, false), 0);
    assert_int_equal(woken(8, 7, false), 0);
}

static void one_with_fewer_does(void **state)
{
    (void)state;
    assert_int_equal(woken(8, 1, false), 1);
    assert_int_equal(woken(8, 6, false), 1);
}

static void a_call_is_not_forgotten(void **state)
{
    (void)state;
    assert_int_equal(woken(2, 1, true), 1);
    assert_int_equal(woken(8, 7, true), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_with_a_thread_for_each_cpu_gets_no_more),
        cmocka_unit_test(one_with_fewer_does),
        cmocka_unit_test(a_call_is_not_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
