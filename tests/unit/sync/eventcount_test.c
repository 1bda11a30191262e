/* Goal:   no wake is lost, and the four fields of the word stay in step.
 * Method: producers hand over one item at a time and wait for its end, so that consumers sleep all the
 *         time: a lost wake hangs.  Then every transition alone, with the fields read back.
 * Guards: [E1] [E2] and the fence of auri_ec_search_stop() in src/sync/eventcount.c. */
#include "aurt.h"

#include <pthread.h>

#include "sync/eventcount.h"

#define PRODUCERS 3
#define CONSUMERS 4
#define ROUNDS 5000u

static struct auri_ec ec;
static _Atomic(uint32_t) items;
static _Atomic(uint32_t) consumed;
static _Atomic(uint32_t) stop;

static void check_word(unsigned tokens, unsigned sleepers, unsigned searchers, int deficit)
{
    uint64_t word = auri_load_rlx(&ec.word);

    assert_int_equal(auri_ec_tokens(word), tokens);
    assert_int_equal(auri_ec_sleepers(word), sleepers);
    assert_int_equal(auri_ec_searchers(word), searchers);
    assert_int_equal(auri_ec_deficit(word), deficit);
}

static bool item_take(void)
{
    uint32_t seen = auri_load_acq(&items);

    while (seen != 0) {
        if (auri_cas_acqrel(&items, &seen, seen - 1)) {
            return true;
        }
    }
    return false;
}

/* As a searcher: becomes none, and consumes. */
static void found(void)
{
    if (auri_ec_search_stop(&ec) && auri_load_acq(&items) != 0) {
        (void)auri_ec_notify(&ec);
    }
    auri_add_acqrel(&consumed, 1u);
    aurt_futex_wake_(&consumed);
    while (item_take()) { /* what a worker does: near work first */
        auri_add_acqrel(&consumed, 1u);
        aurt_futex_wake_(&consumed);
    }
}

static void *consumer(void *unused)
{
    (void)unused;
    while (auri_load_acq(&stop) == 0) {
        auri_ec_search_start(&ec);
        for (;;) {
            if (item_take()) {
                found();
                break;
            }
            auri_ec_announce(&ec);
            if (auri_load_acq(&items) != 0 || auri_load_acq(&stop) != 0) {
                auri_ec_retract(&ec);
            } else {
                AURT_CHECK(auri_ec_sleep(&ec, AUR_NO_DEADLINE) == AUR_OK);
            }
            if (auri_load_acq(&stop) != 0) {
                (void)auri_ec_search_stop(&ec);
                break;
            }
        }
    }
    return NULL;
}

static void *producer(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t before = auri_load_acq(&consumed);
        auri_add_acqrel(&items, 1u);
        (void)auri_ec_notify(&ec);
        while (auri_load_acq(&consumed) == before) { /* somebody's item; each of them gets there */
            aurt_futex_wait_(&consumed, before);
        }
    }
    return NULL;
}

static void no_wake_is_lost(void **state)
{
    pthread_t producers[PRODUCERS];
    pthread_t consumers[CONSUMERS];

    (void)state;
    memset(&ec, 0, sizeof(ec));
    for (int i = 0; i < CONSUMERS; i++) {
        assert_int_equal(pthread_create(&consumers[i], NULL, consumer, NULL), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_create(&producers[i], NULL, producer, NULL), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(producers[i], NULL);
    }
    for (uint32_t seen = auri_load_acq(&consumed); seen != PRODUCERS * ROUNDS;
         seen = auri_load_acq(&consumed)) {
        aurt_futex_wait_(&consumed, seen);
    }
    auri_store_sc(&stop, 1u);
    auri_ec_wake_all(&ec);
    for (int i = 0; i < CONSUMERS; i++) {
        pthread_join(consumers[i], NULL);
    }
    assert_int_equal(auri_load_rlx(&items), 0);
    check_word(0, 0, 0, 0);
}

static void token_or_retract(void **state)
{
    (void)state;
    memset(&ec, 0, sizeof(ec));
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_NOBODY);
    auri_ec_search_start(&ec);
    auri_ec_announce(&ec);
    check_word(0, 1, 0, 0);
    auri_ec_retract(&ec); /* no token: it is a sleeper no more */
    check_word(0, 0, 1, 0);
    assert_true(auri_ec_is_searched(&ec));
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_NOBODY);
    auri_ec_announce(&ec);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_WOKEN);
    check_word(1, 0, 0, 0);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_NOBODY); /* one wake at a time */
    auri_ec_retract(&ec);                                  /* takes the token along */
    check_word(0, 0, 1, 0);
    auri_ec_announce(&ec);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_WOKEN);
    assert_int_equal(auri_ec_sleep(&ec, AUR_NO_DEADLINE), AUR_OK);
    check_word(0, 0, 1, 0);
    auri_ec_announce(&ec);
    assert_int_equal(auri_ec_sleep(&ec, 1), AUR_ETIMEDOUT);
    check_word(0, 0, 1, 0);
    auri_ec_search_start(&ec);
    assert_false(auri_ec_search_stop(&ec));
    assert_true(auri_ec_search_stop(&ec));
    check_word(0, 0, 0, 0);
}

static void wake_all_gives_each_a_token(void **state)
{
    (void)state;
    memset(&ec, 0, sizeof(ec));
    for (int i = 0; i < 3; i++) {
        auri_ec_search_start(&ec);
        auri_ec_announce(&ec);
    }
    auri_ec_wake_all(&ec);
    check_word(3, 0, 0, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(auri_ec_sleep(&ec, AUR_NO_DEADLINE), AUR_OK);
        (void)auri_ec_search_stop(&ec);
    }
    check_word(0, 0, 0, 0);
}

static void deficit_asks_for_a_spare(void **state)
{
    (void)state;
    memset(&ec, 0, sizeof(ec));
    assert_int_equal(auri_ec_deficit(auri_ec_deficit_add(&ec, 2)), 2);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_SPARE);
    auri_ec_search_start(&ec);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_NOBODY); /* it is being looked for */
    auri_ec_announce(&ec);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_WOKEN); /* a sleeper is cheaper than a spare */
    auri_ec_retract(&ec);
    (void)auri_ec_search_stop(&ec);
    assert_int_equal(auri_ec_deficit(auri_ec_deficit_add(&ec, -2)), 0);
    assert_false(auri_ec_surplus_leave(&ec));
    check_word(0, 0, 0, 0);
    assert_int_equal(auri_ec_deficit(auri_ec_deficit_add(&ec, -1)), -1);
    assert_int_equal(auri_ec_notify(&ec), AURI_EC_NOBODY);
    assert_true(auri_ec_surplus_leave(&ec));
    assert_false(auri_ec_surplus_leave(&ec));
    check_word(0, 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_or_retract),
        cmocka_unit_test(wake_all_gives_each_a_token),
        cmocka_unit_test(deficit_asks_for_a_spare),
        cmocka_unit_test(no_wake_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
