/* Goal:    who collects results in turn gets each, whatever the calls behind it do.
 * Method:  as many workers as CPUs, and calls that are known to be short.  Then calls of the same function
 *          wait for something that the caller does after it got the result of the call before: in the same
 *          ring, and in another one.
 * Guards:  later() and sleep_on_bell() in src/proc/leader.c, (A) in src/proc/README.md.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "pools.h"

#include <stdatomic.h>

struct gate {
    int number;
    _Atomic(int) *passed; /* in memory that workers share with the parent */
};

/* Ends once the caller has the results of all before. */
static int pass(struct gate gate)
{
    while (gate.passed != NULL &&
           atomic_load_explicit(gate.passed, memory_order_acquire) < gate.number) {
        aur_checkpoint();
    }
    return gate.number;
}
AUR_FN(int, pass, struct gate);

static void collect(aur_pool *pool, aur_future **futures, int n, _Atomic(int) *passed)
{
    int v = -1;

    for (int i = 0; i < n; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], pass, (struct gate){ i, passed }));
    }
    for (int i = 0; i < n; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i);
        if (passed != NULL) {
            atomic_store_explicit(passed, i + 1, memory_order_release);
        }
        aur_future_unref(futures[i]);
    }
}

static void test_what_lies_behind(void **state)
{
    enum { N = 100, GATES = 20 };
    aur_future *futures[N];
    _Atomic(int) *passed = aurt_shared(sizeof(*passed));
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 0, AUR_START_FORK, AUR_NO_SPARES);

    (void)state;
    for (int i = 0; i < 10; i++) { /* short calls: much of what follows fits into a ring */
        collect(pool, futures, N, NULL);
    }
    collect(pool, futures, GATES, passed);
    aurt_pool_end(pool);
    munmap(passed, sizeof(*passed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_lies_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
