/* Goal:   each continuation fires exactly once, or was removed, or was refused because the task was
 *         done: never two of these, never none.
 * Method: adders, a remover and the finisher race for the same task, many rounds.
 * Guards: the argument at the top of src/task/cont.c. */
#include "aurt.h"

#include <pthread.h>

#include "task/pool.h"
#include "task/record.h"

#define ROUNDS 3000u
#define ADDERS 2
#define CONTS 4

static const struct auri_backend backend = { .name = "test" };
static aur_pool pool = { .magic = AURI_POOL_MAGIC, .backend = &backend, .holds = 1, .refs = 1 };

struct node {
    struct auri_cont cont;
    _Atomic(uint32_t) fired;
    uint32_t order;
};

static uint32_t fired_so_far;

static void fire(struct auri_cont *cont, auri_task *task)
{
    struct node *node = (struct node *)(void *)cont;

    AURT_CHECK(auri_task_is_done(task));
    auri_add_rlx(&node->fired, 1u);
}

static void fire_in_order(struct auri_cont *cont, auri_task *task)
{
    (void)task;
    ((struct node *)(void *)cont)->order = fired_so_far++;
}

static aurt_barrier barrier = { .parties = ADDERS + 1 };
static auri_task *task;

static auri_task *task_running(void)
{
    auri_task *made = auri_task_new(1);

    AURT_CHECK(made != NULL);
    made->pool = &pool;
    auri_task_queue(made);
    AURT_CHECK(auri_task_claim(made, auri_self()->id));
    return made;
}

/* Adds its nodes, and takes every second one back. */
static void *adder(void *unused)
{
    (void)unused;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct node nodes[CONTS] = { 0 };
        uint32_t ends[CONTS] = { 0 };

        aurt_barrier_wait(&barrier);
        for (int i = 0; i < CONTS; i++) {
            nodes[i].cont.fire = fire;
            if (!auri_cont_add(task, &nodes[i].cont)) {
                ends[i]++;
            } else if (i % 2 == 1 && auri_cont_remove(task, &nodes[i].cont)) {
                ends[i]++;
            }
        }
        aurt_barrier_wait(&barrier); /* the finisher has run all of them */
        for (int i = 0; i < CONTS; i++) {
            AURT_CHECK(ends[i] + auri_load_acq(&nodes[i].fired) == 1);
        }
        aurt_barrier_wait(&barrier);
    }
    return NULL;
}

static void once_each(void **state)
{
    pthread_t threads[ADDERS];

    (void)state;
    for (int i = 0; i < ADDERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, adder, NULL), 0);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        task = task_running();
        aurt_barrier_wait(&barrier);
        auri_task_finish(task);
        aurt_barrier_wait(&barrier);
        aurt_barrier_wait(&barrier);
        auri_task_unref(task);
    }
    for (int i = 0; i < ADDERS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void in_the_order_they_were_added(void **state)
{
    struct node nodes[5];

    (void)state;
    task = task_running();
    fired_so_far = 0;
    for (int i = 0; i < 5; i++) {
        nodes[i].cont.fire = fire_in_order;
        nodes[i].order = 99;
        assert_true(auri_cont_add(task, &nodes[i].cont));
    }
    assert_true(auri_cont_remove(task, &nodes[2].cont));
    assert_false(auri_cont_remove(task, &nodes[2].cont));
    auri_task_finish(task);
    assert_int_equal(fired_so_far, 4);
    assert_int_equal(nodes[0].order, 0);
    assert_int_equal(nodes[1].order, 1);
    assert_int_equal(nodes[2].order, 99);
    assert_int_equal(nodes[4].order, 3);
    assert_false(auri_cont_remove(task, &nodes[0].cont));
    assert_false(auri_cont_add(task, &nodes[2].cont));
    auri_task_unref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_order_they_were_added),
        cmocka_unit_test(once_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
