/* deadlock_one_worker.c: a task waits for a task that is queued behind it, on the only worker.
 *
 * In Python this program hangs:
 *
 *     def wait_on_future():
 *         f = executor.submit(pow, 5, 2)
 *         print(f.result())   # never completes: the only worker thread runs this function
 *     executor = ThreadPoolExecutor(max_workers=1)
 *     executor.submit(wait_on_future)
 *
 * Here it prints 25: a thread that waits for a task which nobody runs yet, runs it.
 */
#include <auriga.h>

#include <stdio.h>

static double power(int x, int y)
{
    double result = 1;

    while (y-- > 0) {
        result *= x;
    }
    return result;
}
AUR_FN(double, power, int, int);

static int wait_on_future(int unused)
{
    aur_pool *executor = aur_pool_current(); /* the pool that runs this task */
    AUR_SCOPED(aur_future) *f = NULL;
    double value;

    (void)unused;
    if (aur_apply_async(executor, &f, power, 5, 2) != AUR_OK ||
        aur_future_result(f, &value, AUR_NO_DEADLINE) != AUR_OK) {
        return aur_fail(1, "no result");
    }
    printf("%g\n", value);
    return 0;
}
AUR_FN(int, wait_on_future, int);

int main(void)
{
    AUR_SCOPED(aur_pool) *executor = NULL;
    AUR_SCOPED(aur_future) *f = NULL;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES; /* not even a second thread in need */
    if (aur_pool_new(&opts, &executor, NULL) != AUR_OK ||
        aur_apply_async(executor, &f, wait_on_future, 0) != AUR_OK) {
        return 1;
    }
    return aur_future_outcome(f, AUR_NO_DEADLINE) != AUR_OK;
}
