/* Goal:    a wait for any of several in a worker process leaves nothing behind in the parent.
 * Method:  a task waits for two calls, and the second ends first, once the parent has served the wait.  The first
 *          still runs when the pool is asked how many continuations it has given out; how many references the
 *          calls have is looked at after the pool's end.
 * Guards:  src/proc/any.c: fire(), disarm(), drop().
 */
/* aurt: no-tsan */
#include "pools.h"

#include "proc/internal.h"

static struct shared {
    aurt_event ready;  /* the ids are there */
    aurt_event end[2]; /* the calls may end */
    uint64_t ids[2];
} * shared;

static int ends_when_told(int which)
{
    aurt_event_wait(&shared->end[which]);
    return which;
}
AUR_FN(int, ends_when_told, int);

static int waits_any(int ms)
{
    aur_future *futures[2] = { NULL, NULL };
    size_t index = 9;

    aurt_event_wait(&shared->ready);
    for (int i = 0; i < 2; i++) {
        AURT_CHECK(aur_future_open(shared->ids[i], &futures[i]) == AUR_OK);
    }
    aur_err err = aur_wait_any(futures, 2, &index,
                               ms != 0 ? aur_deadline_in_ms((uint64_t)ms) : AUR_NO_DEADLINE);
    for (int i = 0; i < 2; i++) {
        aur_future_unref(futures[i]);
    }
    return err == AUR_OK ? (int)index : -err;
}
AUR_FN(int, waits_any, int);

/* Until one worker waits, and the parent has done all that it does for that. */
static void await_served(struct auri_proc *p)
{
    bool served = false;

    while (!served) {
        sched_yield();
        pthread_mutex_lock(&p->lock);
        for (unsigned i = 0; i < p->slots_end; i++) {
            const struct auri_worker *w = p->slots[i].worker;
            served |= w != NULL && w->blocked && !w->serving;
        }
        pthread_mutex_unlock(&p->lock);
    }
}

static unsigned continuations(struct auri_proc *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned n = (unsigned)p->firing;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* The wait ends with the second call, or at its deadline. */
static void leaves_nothing(int ms)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 3, AUR_START_FORK, 0);
    struct auri_proc *p = auri_proc_of(pool);
    aur_future *calls[2];
    aur_future *waiter;
    int v = 9;

    memset(shared, 0, sizeof(*shared));
    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_apply_async(pool, &calls[i], ends_when_told, i));
        shared->ids[i] = aur_future_id(calls[i]);
    }
    AURT_OK(aur_apply_async(pool, &waiter, waits_any, ms));
    aurt_event_set(&shared->ready);
    if (ms == 0) {
        await_served(p);
        assert_int_equal(continuations(p), 2);
        aurt_event_set(&shared->end[1]);
    }
    AURT_OK(aur_future_result(waiter, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, ms == 0 ? 1 : -AUR_ETIMEDOUT);
    assert_int_equal(continuations(p), 0);
    assert_false(aur_future_done(calls[0]));

    aurt_event_set(&shared->end[0]);
    aurt_event_set(&shared->end[1]);
    aur_future_unref(waiter);
    aurt_pool_end(pool);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(auri_load_acq(&calls[i]->refs), 1); /* ours */
        aur_future_unref(calls[i]);
    }
}

static void test_first(void **state)
{
    (void)state;
    leaves_nothing(0);
}

static void test_deadline(void **state)
{
    (void)state;
    leaves_nothing(20);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_first),
                                        cmocka_unit_test(test_deadline) };

    shared = aurt_shared(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
