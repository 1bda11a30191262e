/* Goal:    what calls cost is learned from what two takings of answers agree on; that they are short from one.
 * Method:  the engine is told what answers took, as if it had taken them.
 * Guards:  auri_cost_learn() in src/proc/dispatch.c.
 */
/* aurt: no-tsan */
#include "engine_rig.h"

enum { TOGETHER = 30, SHORT_NS = 1000, LONG_NS = 33000, LONGER_NS = 50000 };

static int one(int x)
{
    return x;
}
AUR_FN(int, one, int);

/* TOGETHER answers that were taken at `now`, and took `ns` each. */
static uint64_t learn(struct auri_proc *p, uint64_t ns, uint64_t now)
{
    for (int i = 0; i < TOGETHER; i++) {
        auri_cost_learn(p, &one_aur_fn, ns, now);
    }
    return auri_cost_of(p, &one_aur_fn);
}

static void test_once_is_no_news(void **state)
{
    aur_pool *pool = pool_of(1);
    struct auri_proc *p = auri_proc_of(pool);

    (void)state;
    pthread_mutex_lock(&p->lock);
    assert_int_equal(AURI_UNKNOWN_NS, auri_cost_of(p, &one_aur_fn));
    assert_int_equal(SHORT_NS, learn(p, SHORT_NS, 1));
    for (uint64_t now = 2; now < 20; now += 2) {
        assert_int_equal(SHORT_NS, learn(p, LONG_NS, now));
        assert_int_equal(SHORT_NS, learn(p, SHORT_NS, now + 1));
    }
    pthread_mutex_unlock(&p->lock);
    aurt_pool_end(pool);
}

static void test_twice_is(void **state)
{
    aur_pool *pool = pool_of(1);
    struct auri_proc *p = auri_proc_of(pool);

    (void)state;
    pthread_mutex_lock(&p->lock);
    assert_int_equal(SHORT_NS, learn(p, SHORT_NS, 1));
    assert_int_equal(SHORT_NS, learn(p, LONG_NS, 2));
    assert_in_range(learn(p, LONGER_NS, 3), LONG_NS - 10, LONG_NS); /* what both say at the least */
    assert_in_range(learn(p, SHORT_NS, 4), SHORT_NS, SHORT_NS + 10);
    pthread_mutex_unlock(&p->lock);
    aurt_pool_end(pool);
}

/* Answers that come one by one, as long ones do. */
static void test_one_by_one(void **state)
{
    aur_pool *pool = pool_of(1);
    struct auri_proc *p = auri_proc_of(pool);
    uint64_t now = 1;

    (void)state;
    pthread_mutex_lock(&p->lock);
    auri_cost_learn(p, &one_aur_fn, SHORT_NS, now++);
    auri_cost_learn(p, &one_aur_fn, LONG_NS, now++);
    assert_int_equal(SHORT_NS, auri_cost_of(p, &one_aur_fn));
    auri_cost_learn(p, &one_aur_fn, LONG_NS, now++);
    assert_int_equal(auri_cost_mix(SHORT_NS, LONG_NS), auri_cost_of(p, &one_aur_fn));
    pthread_mutex_unlock(&p->lock);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_is_no_news),
        cmocka_unit_test(test_twice_is),
        cmocka_unit_test(test_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
