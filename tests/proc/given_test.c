/* Goal:    a worker that is given its wait's work is on no cycle, not even for a moment.
 * Method:  one task waits for a second, which waits for a third in the queue.  Without spares the worker of
 *          the first is told to run the third in place; a wrapper around auri_queue_take() asks, in the moment
 *          when the third has its new owner, for the verdict on the second.
 * Guards:  auri_wait_hide() in src/proc/place.c, before the task is taken.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "pools.h"

#include "proc/internal.h"
#include "sched/detect.h"

static struct shared {
    aurt_event ready;    /* the id is there */
    aurt_event may_wait; /* the second task */
    aurt_event begun[2];
    uint64_t second;
} * shared;

static unsigned asked; /* verdicts, under the pool's lock */

bool __real_auri_queue_take(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                            struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry);
bool __wrap_auri_queue_take(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                            struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry);

bool __wrap_auri_queue_take(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                            struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry)
{
    bool taken = __real_auri_queue_take(p, w, task, ret_flight, ret_entry);

    for (unsigned i = 0; taken && w->blocked && i < p->slots_end; i++) {
        struct auri_worker *other = p->slots[i].worker;
        if (other != NULL && other != w && other->blocked && other->awaited == task) {
            AURT_CHECK(auri_detect(other->record, NULL) == AUR_OK);
            asked++;
        }
    }
    return taken;
}

static int third(int x)
{
    return x + 1;
}
AUR_FN(int, third, int);

static int second(int x)
{
    int v = 0;

    aurt_event_set(&shared->begun[1]);
    aurt_event_wait(&shared->may_wait);
    aur_err err = aur_apply(aur_pool_current(), &v, third, x);
    return err == AUR_OK ? v + 1 : -err;
}
AUR_FN(int, second, int);

static int first(int x)
{
    aur_future *future = NULL;
    int v = 0;

    aurt_event_set(&shared->begun[0]);
    aurt_event_wait(&shared->ready);
    AURT_CHECK(aur_future_open(shared->second, &future) == AUR_OK);
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_OK ? v + x : -err;
}
AUR_FN(int, first, int);

static void test_given(void **state)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 2, AUR_START_FORK, AUR_NO_SPARES);
    struct auri_proc *p = auri_proc_of(pool);
    aur_future *futures[2];
    unsigned waiting = 0;
    int v = 0;

    (void)state;
    AURT_OK(aur_apply_async(pool, &futures[0], first, 100));
    aurt_event_wait(&shared->begun[0]); /* the first worker has it: that is asked first */
    AURT_OK(aur_apply_async(pool, &futures[1], second, 1));
    aurt_event_wait(&shared->begun[1]);
    shared->second = aur_future_id(futures[1]);
    aurt_event_set(&shared->ready);
    while (waiting != 1) {
        sched_yield();
        pthread_mutex_lock(&p->lock);
        waiting = p->blocked;
        pthread_mutex_unlock(&p->lock);
    }
    aurt_event_set(&shared->may_wait);
    AURT_OK(aur_future_result(futures[1], &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 3);
    AURT_OK(aur_future_result(futures[0], &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 103);
    for (int i = 0; i < 2; i++) {
        aur_future_unref(futures[i]);
    }
    aurt_pool_end(pool);
    assert_int_equal(asked, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given),
    };

    shared = aurt_shared(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
