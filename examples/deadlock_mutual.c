/* deadlock_mutual.c: two tasks that wait for each other, on two threads.
 *
 * In Python this program hangs:
 *
 *     def wait_on_b(): time.sleep(5); print(b.result()); return 5
 *     def wait_on_a(): time.sleep(5); print(a.result()); return 6
 *     executor = ThreadPoolExecutor(max_workers=2)
 *     a = executor.submit(wait_on_b)
 *     b = executor.submit(wait_on_a)
 *
 * Here one of the two waits ends with AUR_EDEADLK, and the error shows the cycle.  Which one, is a
 * matter of timing, so the lines are printed in alphabetical order.  The sleep(5) of the original makes sure that both
 * futures exist before anybody waits; a barrier says the same without a clock.
 */
#include <auriga.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static aur_future *a, *b;
static pthread_barrier_t submitted; /* both tasks, and main */

/* Waits for the other one; fails as the wait fails. */
static int wait_on(aur_future *other, int result)
{
    int value;
    aur_err err = aur_future_result(other, &value, AUR_NO_DEADLINE);

    if (err == AUR_EDEADLK) { /* this wait closed the cycle */
        return aur_fail(AUR_EDEADLK, "%s", aur_last_error()->message);
    }
    if (err != AUR_OK) { /* the other task failed: pass it on, as an exception would be */
        return aur_fail(aur_future_error(other)->code, "the task it waited for failed");
    }
    return result;
}

static int wait_on_b(int result)
{
    pthread_barrier_wait(&submitted);
    return wait_on(b, result);
}
AUR_FN(int, wait_on_b, int);

static int wait_on_a(int result)
{
    pthread_barrier_wait(&submitted);
    return wait_on(a, result);
}
AUR_FN(int, wait_on_a, int);

/* Prints how a future ended.  True if its error shows the cycle: one line for each edge. */
static bool report(const char *name, const aur_error *error)
{
    printf("%s: %s\n", name, aur_err_name(error->code));
    return strstr(error->message, "waits for") != NULL;
}

static void print_cycle(const char *text)
{
    const char *second = strchr(text, '\n');
    int first_length = second != NULL ? (int)(second - text) : (int)strlen(text);

    second = second != NULL ? second + 1 : "";
    if (strcmp(text, second) < 0) {
        printf("%.*s\n%s\n", first_length, text, second);
    } else {
        printf("%s\n%.*s\n", second, first_length, text);
    }
}

int main(void)
{
    AUR_SCOPED(aur_pool) *executor = NULL;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.workers = 2;
    pthread_barrier_init(&submitted, NULL, 3);
    if (aur_pool_new(&opts, &executor, NULL) != AUR_OK ||
        aur_apply_async(executor, &a, wait_on_b, 5) != AUR_OK ||
        aur_apply_async(executor, &b, wait_on_a, 6) != AUR_OK) {
        return 1;
    }
    pthread_barrier_wait(&submitted);

    if (aur_future_outcome(a, AUR_NO_DEADLINE) != AUR_ETASK ||
        aur_future_outcome(b, AUR_NO_DEADLINE) != AUR_ETASK) {
        return 1;
    }
    bool in_a = report("a", aur_future_error(a));
    bool in_b = report("b", aur_future_error(b));
    if (in_a == in_b) { /* one cycle, one victim */
        return 1;
    }
    print_cycle(aur_future_error(in_a ? a : b)->message);
    aur_future_unref(a);
    aur_future_unref(b);
    return 0;
}
