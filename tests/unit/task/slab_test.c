/* Goal:   a slot's generations never mix, and freed tasks come home.
 * Method: one thread recycles slots while others open the ids that it has just published; tasks freed
 *         by other threads are counted back in by their slots' numbers.
 * Guards: [H1] [H2] [N1] in src/task/slab.c, auri_task_tryref(). */
#include "aurt.h"

#include <pthread.h>

#include "task/pool.h"
#include "task/record.h"

#define MANY 1000u
#define ROUNDS 100000u
#define READERS 3

static auri_task *many[MANY];

static void *free_all(void *unused)
{
    (void)unused;
    AURT_CHECK(auri_self() != NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        auri_task_unref(many[i]);
    }
    return NULL; /* hands back the last chain */
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void allocate(uint32_t *index)
{
    for (uint32_t i = 0; i < MANY; i++) {
        many[i] = auri_task_new(1);
        assert_non_null(many[i]);
        index[i] = many[i]->index;
    }
    qsort(index, MANY, sizeof(index[0]), compare);
    for (uint32_t i = 1; i < MANY; i++) {
        assert_true(index[i] != index[i - 1]); /* each slot once */
    }
}

static void freed_elsewhere_comes_home(void **state)
{
    static uint32_t first[MANY];
    static uint32_t next[MANY];
    pthread_t thread;

    (void)state;
    allocate(first);
    for (int round = 0; round < 20; round++) {
        assert_int_equal(pthread_create(&thread, NULL, free_all, NULL), 0);
        pthread_join(thread, NULL);
        allocate(next);
        /* No slab was added: at most the rest of the first ones was used. */
        assert_true(next[MANY - 1] / 128 <= first[MANY - 1] / 128);
    }
    assert_int_equal(pthread_create(&thread, NULL, free_all, NULL), 0);
    pthread_join(thread, NULL);
}

static void ids_end_with_the_task(void **state)
{
    auri_task *task = auri_task_new(1);
    uint64_t id = auri_task_id(task);

    (void)state;
    auri_task *same = auri_task_from_id(id);
    assert_ptr_equal(same, task);
    auri_task_unref(same);
    auri_task_unref(task);
    assert_null(auri_task_from_id(id));
    assert_false(auri_task_tryref(task));
    task = auri_task_new(1); /* the same slot, its next life */
    assert_int_equal((uint32_t)auri_task_id(task), (uint32_t)id);
    assert_true(auri_task_id(task) != id);
    assert_null(auri_task_from_id(id));
    assert_null(auri_task_from_id(UINT64_MAX));
    auri_task_unref(task);
}

static _Atomic(uint64_t) published;
static _Atomic(uint32_t) over;

static void *reader(void *unused)
{
    (void)unused;
    while (auri_load_acq(&over) == 0) {
        uint64_t id = auri_load_acq(&published);
        auri_task *task = id != 0 ? auri_task_from_id(id) : NULL;
        if (task != NULL) {
            AURT_CHECK(auri_task_id(task) == id);
            /* Written before the id was published, by this life and no other. */
            AURT_CHECK(task->priv == (void *)(uintptr_t)id);
            auri_task_unref(task);
        }
    }
    return NULL;
}

static void no_reference_to_another_life(void **state)
{
    pthread_t threads[READERS];

    (void)state;
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, NULL), 0);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        auri_task *task = auri_task_new(1);
        task->priv = (void *)(uintptr_t)auri_task_id(task);
        auri_store_rel(&published, auri_task_id(task));
        auri_task_unref(task);
    }
    auri_store_rel(&over, 1u);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_end_with_the_task),
        cmocka_unit_test(freed_elsewhere_comes_home),
        cmocka_unit_test(no_reference_to_another_life),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
