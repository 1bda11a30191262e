/* Goal:    a pool that may use one CPU only does not spin, though the start did not know it yet.
 * Method:  a wrapper around aurp_cpu_count() says that there is one CPU.  The guardian asks it by itself;
 *          what it then does is done once more here, and looked at.
 * Guards:  auri_count_cpus() in src/proc/nurse.c, and that auri_guardian() calls it.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "pools.h"

#include "proc/internal.h"

static aurt_event counted; /* by the guardian */

unsigned __wrap_aurp_cpu_count(void);

unsigned __wrap_aurp_cpu_count(void)
{
    aurt_event_set(&counted);
    return 1;
}

static void test_quota(void **state)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 2, AUR_START_FORK, AUR_NO_SPARES);
    struct auri_proc *p = auri_proc_of(pool);

    (void)state;
    aurt_event_wait(&counted);
    pthread_mutex_lock(&p->lock);
    p->cpus = 2;
    for (unsigned i = 0; i < 2; i++) {
        assert_non_null(p->slots[i].worker);
        auri_store_rlx(&p->slots[i].worker->ctl->setup.spin_ns, 1u);
    }
    pthread_mutex_unlock(&p->lock);
    auri_count_cpus(p);
    pthread_mutex_lock(&p->lock);
    assert_int_equal(p->cpus, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(auri_load_rlx(&p->slots[i].worker->ctl->setup.spin_ns), 0);
    }
    pthread_mutex_unlock(&p->lock);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
