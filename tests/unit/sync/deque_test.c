/* Goal:   each task that the owner pushed is got exactly once, by the owner or by a thief, also while
 *         the array grows.
 * Method: the owner pushes and takes in bursts of random length (some longer than the first array),
 *         three thieves steal; a counter per task.  Then the single-threaded order, and the ends.
 * Guards: [P1] [P2] [S1] [S2] [T1] [T2] [G1] [G2] [B1] in src/sync/deque.[ch]. */
#include "aurt.h"

#include <pthread.h>

#include "sync/deque.h"

#define TASKS 300000u
#define THIEVES 3

/* The deque never looks into a task: any address does. */
static unsigned char places[TASKS];
static _Atomic(uint32_t) got[TASKS];
static struct auri_deque deque;
static _Atomic(uint32_t) over;

static struct aur_future *task_of(uint32_t i)
{
    return (struct aur_future *)(void *)&places[i];
}

static void note(struct aur_future *task)
{
    size_t i = (size_t)((unsigned char *)(void *)task - places);

    AURT_CHECK(i < TASKS);
    auri_add_rlx(&got[i], 1u);
}

static void *thief(void *unused)
{
    (void)unused;
    for (;;) {
        bool last = auri_load_acq(&over) != 0;
        struct aur_future *task = NULL;
        auri_steal how = auri_deque_steal(&deque, &task);
        AURT_CHECK((how == AURI_STEAL_TOOK) == (task != NULL)); /* no write on failure */
        if (task != NULL) {
            note(task);
        } else if (how == AURI_STEAL_EMPTY && last) {
            return NULL;
        }
    }
}

static void owner(void)
{
    uint32_t pushed = 0;
    uint32_t random = 12345;

    while (pushed < TASKS) {
        random = random * 1664525u + 1013904223u;
        uint32_t burst = (random >> 16) % ((random & 0xf00) == 0 ? 3000 : 8) + 1;
        for (uint32_t i = 0; i < burst && pushed < TASKS; i++) {
            AURT_CHECK(auri_deque_push(&deque, task_of(pushed++)));
        }
        if (random % 3 == 0 && auri_deque_forget(&deque, task_of(pushed - 1))) {
            note(task_of(pushed - 1));
        }
        uint32_t takes = (random >> 8) % (burst + 2);
        for (uint32_t i = 0; i < takes; i++) {
            struct aur_future *task = auri_deque_take(&deque);
            if (task != NULL) {
                note(task);
            }
        }
    }
    for (struct aur_future *task = auri_deque_take(&deque); task != NULL;
         task = auri_deque_take(&deque)) {
        note(task);
    }
}

static void each_task_once(void **state)
{
    pthread_t threads[THIEVES];

    (void)state;
    assert_true(auri_deque_init(&deque));
    auri_store_rlx(&over, 0u);
    memset(got, 0, sizeof(got));
    for (int i = 0; i < THIEVES; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, thief, NULL), 0);
    }
    owner();
    auri_store_rel(&over, 1u);
    for (int i = 0; i < THIEVES; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t i = 0; i < TASKS; i++) {
        assert_int_equal(auri_load_rlx(&got[i]), 1);
    }
    assert_true(auri_deque_looks_empty(&deque));
    auri_deque_fini(&deque);
}

static void newest_for_owner_oldest_for_thief(void **state)
{
    struct aur_future *task = NULL;

    (void)state;
    assert_true(auri_deque_init(&deque));
    assert_null(auri_deque_take(&deque));
    assert_int_equal(auri_deque_steal(&deque, &task), AURI_STEAL_EMPTY);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(auri_deque_push(&deque, task_of(i)));
    }
    assert_ptr_equal(auri_deque_take(&deque), task_of(999));
    assert_int_equal(auri_deque_steal(&deque, &task), AURI_STEAL_TOOK);
    assert_ptr_equal(task, task_of(0));
    for (uint32_t i = 998; i >= 1; i--) {
        assert_false(auri_deque_looks_empty(&deque));
        assert_ptr_equal(auri_deque_take(&deque), task_of(i));
    }
    assert_null(auri_deque_take(&deque));
    assert_true(auri_deque_looks_empty(&deque));
    auri_deque_fini(&deque);
}

static void forgotten(void **state)
{
    struct aur_future *task = NULL;

    (void)state;
    assert_true(auri_deque_init(&deque));
    assert_false(auri_deque_forget(&deque, task_of(0)));
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(auri_deque_push(&deque, task_of(i)));
    }
    assert_false(auri_deque_forget(&deque, task_of(2)));
    assert_true(auri_deque_forget(&deque, task_of(4)));
    assert_false(auri_deque_forget(&deque, task_of(4)));
    assert_true(auri_deque_forget(&deque, task_of(0)));
    assert_int_equal(auri_deque_steal(&deque, &task), AURI_STEAL_TOOK);
    assert_ptr_equal(task, task_of(1));
    assert_ptr_equal(auri_deque_take(&deque), task_of(3));
    assert_true(auri_deque_forget(&deque, task_of(2))); /* both ends at once */
    assert_true(auri_deque_looks_empty(&deque));
    auri_deque_fini(&deque);
}

/* A thief that has read top before the owner passed on gets nothing that is pushed later. */
static void passed(void **state)
{
    struct aur_future *task = NULL;

    (void)state;
    assert_true(auri_deque_init(&deque));
    for (uint32_t i = 0; i < 2; i++) { /* never used, and used */
        int64_t top = auri_deque_top(&deque);
        auri_deque_pass(&deque);
        assert_true(auri_deque_looks_empty(&deque));
        assert_int_equal(auri_deque_steal(&deque, &task), AURI_STEAL_EMPTY);
        assert_true(auri_deque_push(&deque, task_of(i)));
        assert_int_equal(auri_deque_steal_at(&deque, top, &task), AURI_STEAL_LOST);
        assert_null(task);
        assert_ptr_equal(auri_deque_take(&deque), task_of(i));
        assert_null(auri_deque_take(&deque));
    }
    auri_deque_fini(&deque);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_for_owner_oldest_for_thief),
        cmocka_unit_test(passed),
        cmocka_unit_test(forgotten),
        cmocka_unit_test(each_task_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
