/* Goal:   what the owner put in comes out once, newest first for the owner and oldest first for thieves;
 *         and as long as there is anything, thieves find it, though the owner keeps the newest to itself.
 * Method: one thread in turn as owner and as thief; then an owner that nests and unwinds at random
 *         against three thieves.
 * Guards: src/sync/split.[ch], [P4]; aur_fork_pop_() in auriga/join.h. */
#include "aurt.h"

#include <pthread.h>

#include "sync/split.h"

#define ITEMS 300000u
#define THIEVES 3

static unsigned char places[ITEMS];
static aur_fork_spot_ spots[ITEMS];
static _Atomic(uint32_t) got[ITEMS];
static struct auri_split split;
static _Atomic(uint32_t) over;

static struct aur_future *item_of(uint32_t i)
{
    return (struct aur_future *)(void *)&places[i];
}

static uint32_t number_of(const struct aur_future *item)
{
    return (uint32_t)((const unsigned char *)(const void *)item - places);
}

/* As a fork does. */
static void push(uint32_t i)
{
    AURT_CHECK(auri_split_has_room(&split) || auri_split_make_room(&split));
    auri_split_push(&split, item_of(i));
    spots[i] = (aur_fork_spot_){ &split.open, split.open.head_ };
    (void)auri_split_share(&split);
}

static bool take_private(uint32_t i)
{
    return aur_fork_pop_(spots[i]);
}

/* As a join does.  False: a thief has it. */
static bool take(uint32_t i)
{
    if (take_private(i)) {
        return true;
    }
    AURT_CHECK(auri_split_newest(&split) == item_of(i));
    bool mine = auri_split_take(&split);
    (void)auri_split_share(&split);
    return mine;
}

static uint32_t steal(void)
{
    struct aur_future *item = NULL;

    AURT_CHECK(auri_split_steal(&split, &item) == AURI_STEAL_TOOK);
    return number_of(item);
}

static bool nothing_to_steal(void)
{
    return auri_deque_looks_empty(&split.deque);
}

/* As aur_fork_push_() has it. */
static bool push_is_quick(void)
{
    return split.open.head_ < __atomic_load_n(&split.open.most_, __ATOMIC_RELAXED);
}

/* When too few are on offer the quick way is told so, and leaves it to the long one. */
static void check_told(void)
{
    int64_t left = auri_deque_end(&split.deque) - auri_deque_top(&split.deque);

    assert_int_equal(push_is_quick(), left >= AURI_SPLIT_SHARED && auri_split_is_private(&split));
}

static void order(void **state)
{
    (void)state;
    assert_true(auri_split_init(&split));
    assert_null(auri_split_newest(&split));
    assert_false(auri_split_take(&split));
    for (uint32_t i = 0; i < 1000; i++) { /* the stack grows, with private items on it */
        push(i);
    }
    assert_true(auri_split_is_private(&split));
    assert_true(auri_deque_room(&split.deque) >= 1000); /* for all, when there is no more memory */
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(steal(), i);
        assert_true(take(999 - i));
    }
    for (uint32_t i = 899; i >= 100; i--) {
        assert_false(nothing_to_steal());
        assert_true(take(i));
        check_told();
    }
    assert_true(nothing_to_steal());
    for (uint32_t i = 100; i > 0; i--) {
        assert_false(take(i - 1)); /* stolen */
    }
    assert_null(auri_split_newest(&split));
    assert_false(auri_split_take(&split));
    auri_split_fini(&split);
}

/* Between two calls of the owner, so many can be stolen as it is said, and no more. */
static void so_many_on_offer(void **state)
{
    const uint32_t n = 5 * AURI_SPLIT_SHARED;
    uint32_t stolen = 0;

    (void)state;
    assert_true(auri_split_init(&split));
    for (uint32_t i = 0; i < n; i++) {
        push(i);
        assert_int_equal(auri_split_is_private(&split), i >= AURI_SPLIT_SHARED);
        check_told();
    }
    for (uint32_t i = n - 1; stolen < n / 2; i--) { /* takes share */
        while (!nothing_to_steal()) {
            assert_int_equal(steal(), stolen++);
            check_told();
        }
        assert_int_equal(stolen % AURI_SPLIT_SHARED, 0);
        assert_true(take(i));
    }
    push(0); /* so do pushes */
    assert_false(nothing_to_steal());
    auri_split_fini(&split);
}

/* Also by a take that nothing is shared after. */
static void told_after_take(void **state)
{
    (void)state;
    assert_true(auri_split_init(&split));
    for (uint32_t i = 0; i <= AURI_SPLIT_SHARED; i++) {
        push(i);
    }
    assert_true(take_private(AURI_SPLIT_SHARED));
    assert_true(push_is_quick());
    assert_true(auri_split_take(&split));
    assert_false(push_is_quick());
    auri_split_fini(&split);
}

/* Who holds it back has each push come the long way, until something is shared. */
static void held(void **state)
{
    (void)state;
    assert_true(auri_split_init(&split));
    for (uint32_t i = 0; i <= AURI_SPLIT_SHARED; i++) {
        push(i);
    }
    assert_true(push_is_quick());
    auri_split_hold(&split);
    assert_false(push_is_quick());
    assert_true(take_private(AURI_SPLIT_SHARED));
    assert_false(push_is_quick());
    push(AURI_SPLIT_SHARED);
    assert_true(push_is_quick());
    auri_split_fini(&split);
}

/* The stack has moved, and moved again: a spot of before is not quick, whatever lies where. */
static void spots_of_before(void **state)
{
    uint32_t n = 0;

    (void)state;
    assert_true(auri_split_init(&split));
    do {
        push(n++);
    } while (auri_split_has_room(&split));
    aur_fork_spot_ full = spots[n - 1];
    for (uint32_t i = n; i < 20 * n; i++) {
        push(i);
        assert_false(aur_fork_pop_(full));
        assert_true(take_private(i));
        push(i);
    }
    for (uint32_t i = 20 * n; i > 0; i--) {
        assert_true(take(i - 1));
    }
    auri_split_fini(&split);
}

/* What it says about those that could be stolen before. */
static void shared_first(void **state)
{
    (void)state;
    assert_true(auri_split_init(&split));
    assert_true(auri_split_make_room(&split));
    auri_split_push(&split, item_of(0));
    assert_true(auri_split_share(&split));
    auri_split_push(&split, item_of(1));
    assert_false(auri_split_share(&split)); /* there is one */
    assert_false(auri_split_share(&split)); /* nothing is left to share */
    assert_int_equal(steal(), 0);
    assert_int_equal(steal(), 1);
    auri_split_push(&split, item_of(2));
    assert_true(auri_split_share(&split));
    auri_split_fini(&split);
}

static void all_at_once(void **state)
{
    (void)state;
    assert_true(auri_split_init(&split));
    assert_false(auri_split_share_all(&split));
    for (uint32_t i = 0; i < 100; i++) {
        push(i);
    }
    assert_false(auri_split_share_all(&split)); /* some could be stolen before */
    assert_false(auri_split_is_private(&split));
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(steal(), i);
    }
    for (uint32_t i = 99; i >= 50; i--) {
        assert_true(take(i));
    }
    assert_false(take(49)); /* stolen */
    assert_true(nothing_to_steal());
    auri_split_fini(&split);
}

static void not_the_newest(void **state)
{
    (void)state;
    assert_true(auri_split_init(&split));
    for (uint32_t i = 0; i < 20; i++) {
        push(i);
    }
    assert_false(take_private(18));
    assert_false(take_private(20));
    assert_true(take_private(19));
    for (uint32_t i = 0; i < 19 - AURI_SPLIT_SHARED; i++) {
        assert_true(take_private(18 - i));
    }
    assert_false(take_private(AURI_SPLIT_SHARED - 1)); /* a thief may have it */
    assert_int_equal(steal(), 0);
    auri_split_fini(&split);
}

static void passed(void **state)
{
    struct aur_future *item = NULL;

    (void)state;
    assert_true(auri_split_init(&split));
    int64_t top = auri_deque_top(&split.deque);
    auri_split_pass(&split);
    push(0);
    assert_int_equal(auri_split_steal_at(&split, top, &item), AURI_STEAL_LOST);
    assert_true(take(0));
    assert_null(auri_split_newest(&split));
    assert_false(auri_split_take(&split));
    auri_split_fini(&split);
}

/* ---- against thieves ------------------------------------------------------------------------ */

static void note(uint32_t i)
{
    AURT_CHECK(i < ITEMS);
    auri_add_rlx(&got[i], 1u);
}

static void *thief(void *unused)
{
    (void)unused;
    for (;;) {
        bool last = auri_load_acq(&over) != 0;
        struct aur_future *item = NULL;
        auri_steal how = auri_split_steal(&split, &item);
        if (how == AURI_STEAL_TOOK) {
            note(number_of(item));
        } else if (how == AURI_STEAL_EMPTY && last) {
            return NULL;
        }
    }
}

static uint32_t pushed;
static uint32_t random_state = 12345;

/* Forks in strict nesting, as deep as it comes, some beyond the first array. */
static void nest(unsigned depth)
{
    while (depth != 0 && pushed < ITEMS) {
        random_state = random_state * 1664525u + 1013904223u;
        uint32_t how = random_state >> 24;
        uint32_t i = pushed++;
        push(i);
        if (how < 200) {
            nest(depth - 1);
        }
        if (how == 7) {
            (void)auri_split_share_all(&split);
        }
        if (take(i)) {
            note(i);
        }
        if (how % 4 == 0) {
            return;
        }
    }
}

static void each_item_once(void **state)
{
    pthread_t threads[THIEVES];

    (void)state;
    assert_true(auri_split_init(&split));
    auri_store_rlx(&over, 0u);
    memset(got, 0, sizeof(got));
    for (int i = 0; i < THIEVES; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, thief, NULL), 0);
    }
    while (pushed < ITEMS) {
        nest(600);
    }
    auri_store_rel(&over, 1u);
    for (int i = 0; i < THIEVES; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_int_equal(auri_load_rlx(&got[i]), 1);
    }
    assert_true(nothing_to_steal());
    auri_split_fini(&split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),           cmocka_unit_test(so_many_on_offer),
        cmocka_unit_test(told_after_take), cmocka_unit_test(held),
        cmocka_unit_test(spots_of_before), cmocka_unit_test(shared_first),
        cmocka_unit_test(all_at_once),     cmocka_unit_test(not_the_newest),
        cmocka_unit_test(passed),          cmocka_unit_test(each_item_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
