/* Goal:    a call in the ring of a worker that does not get on is not left there while another one waits.
 * Method:  both functions are known to be short, so that calls lie behind others in the rings.  One of two
 *          workers does not end its call before the test has the result of a third; the other waits for that
 *          call.  So the third is in a ring, no worker is idle, and the queue is empty: only a spare can run it.
 * Guards:  src/proc/spare.c: auri_relieve(); src/proc/dispatch.c: auri_rebalance().
 */
/* aurt: no-tsan */
#include "engine_rig.h"

enum { SHORT = 50 };

static int wait_for(uint64_t id)
{
    aur_future *future = NULL;
    int v = 0;

    AURT_CHECK(aur_future_open(id, &future) == AUR_OK);
    AURT_CHECK(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK);
    aur_future_unref(future);
    return v;
}
AUR_FN(int, wait_for, uint64_t);

/* Until the parent knows that so many workers wait. */
static void await_blocked(aur_pool *pool, unsigned n)
{
    struct auri_proc *p = auri_proc_of(pool);
    unsigned blocked;

    do {
        sched_yield();
        pthread_mutex_lock(&p->lock);
        blocked = p->blocked;
        pthread_mutex_unlock(&p->lock);
    } while (blocked != n);
}

static void test_behind(void **state)
{
    aur_pool *pool = pool_of(2);
    struct words *stays;
    struct words *third;
    aur_buf *stays_buf = words_new(pool, &stays);
    aur_buf *third_buf = words_new(pool, &third);
    aur_future *first = NULL;
    aur_future *second = NULL;
    aur_future *last = NULL;
    int v = 0;

    (void)state;
    aurt_event_set(&third->go);
    AURT_OK(aur_apply_async(pool, &first, wait_go, aur_buf_id(third_buf)));
    AURT_OK(aur_future_result(first, &v, AUR_NO_DEADLINE));
    for (int i = 0; i < SHORT; i++) { /* so that they are known to be */
        AURT_OK(aur_apply(pool, &v, wait_go, aur_buf_id(third_buf)));
        AURT_OK(aur_apply(pool, &v, wait_for, aur_future_id(first)));
    }
    aur_future_unref(first);

    AURT_OK(aur_apply_async(pool, &first, wait_go, aur_buf_id(stays_buf)));
    aurt_event_wait(&stays->begun);
    AURT_OK(aur_apply_async(pool, &second, wait_for, aur_future_id(first)));
    await_blocked(pool, 1);
    AURT_OK(aur_apply_async(pool, &last, wait_go, aur_buf_id(third_buf)));
    AURT_OK(aur_future_result(last, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    assert_false(aur_future_done(second));

    aurt_event_set(&stays->go);
    AURT_OK(aur_future_result(second, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    aur_future_unref(first);
    aur_future_unref(second);
    aur_future_unref(last);
    aur_buf_unref(stays_buf);
    aur_buf_unref(third_buf);
    aurt_pool_end(pool);
}

/* The same where the other worker is idle: what was taken back is for that one, and not put behind the first
 * call again and again, until the ring is full. */
static void test_idle(void **state)
{
    aur_pool *pool = pool_of(2);
    struct auri_proc *p = auri_proc_of(pool);
    struct words *stays;
    struct words *other;
    aur_buf *stays_buf = words_new(pool, &stays);
    aur_buf *other_buf = words_new(pool, &other);
    aur_future *first = NULL;
    int v = 0;

    (void)state;
    aurt_event_set(&other->go);
    for (int i = 0; i < SHORT; i++) {
        AURT_OK(aur_apply(pool, &v, wait_go, aur_buf_id(other_buf)));
    }
    pthread_mutex_lock(&p->lock);
    uint64_t before = p->revoked;
    pthread_mutex_unlock(&p->lock);

    AURT_OK(aur_apply_async(pool, &first, wait_go, aur_buf_id(stays_buf)));
    aurt_event_wait(&stays->begun);
    AURT_OK(aur_apply(pool, &v, wait_go, aur_buf_id(other_buf)));
    assert_int_equal(v, 7);
    pthread_mutex_lock(&p->lock);
    assert_true(p->revoked - before <= 1);
    pthread_mutex_unlock(&p->lock);

    aurt_event_set(&stays->go);
    AURT_OK(aur_future_result(first, &v, AUR_NO_DEADLINE));
    aur_future_unref(first);
    aur_buf_unref(stays_buf);
    aur_buf_unref(other_buf);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_behind),
                                        cmocka_unit_test(test_idle) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
