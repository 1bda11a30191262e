/* auto.c: threads, processes, or no pool at all?  AUR_AUTO measures each function and decides.
 *
 * The calls look as for any other pool, and have to be as self-contained as for AUR_PROCESSES.  What the
 * pool has found goes to standard error, since it differs from machine to machine.
 */
#include <auriga.h>

#include <pthread.h>
#include <stdio.h>

#define CALLS 200
#define BELOW 20000

static int square(int x)
{
    return x * x; /* costs less than to hand it over */
}
AUR_FN(int, square, int);

static int count_primes(int below)
{
    int count = 0;

    for (int n = 2; n < below; n++) {
        int d = 2;

        while (d * d <= n && n % d != 0) {
            d++;
        }
        count += d * d > n;
    }
    return count;
}
AUR_FN(int, count_primes, int);

/* An old library that is not made for threads: one lock around all of it. */
static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

static int count_under_lock(int below)
{
    pthread_mutex_lock(&library);
    int count = count_primes(below);
    pthread_mutex_unlock(&library);
    return count;
}
AUR_FN(int, count_under_lock, int);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    int in[CALLS], out[CALLS];
    long sum = 0;

    opts.kind = AUR_AUTO;
    opts.workers = 2;
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK) {
        return 1;
    }
    for (int i = 0; i < CALLS; i++) {
        int value;

        if (aur_apply(pool, &value, square, i) != AUR_OK) {
            return 1;
        }
        sum += value;
    }
    printf("%d squares: %ld in all\n", CALLS, sum);

    for (int i = 0; i < CALLS; i++) {
        in[i] = BELOW;
    }
    if (aur_map(pool, count_primes, in, CALLS, out) != AUR_OK) {
        return 1;
    }
    printf("%d primes below %d\n", out[CALLS - 1], BELOW);
    for (int round = 0; round < 3; round++) {
        if (aur_map(pool, count_under_lock, in, CALLS, out) != AUR_OK) {
            return 1;
        }
    }
    printf("%d with the lock\n", out[CALLS - 1]);

    char text[2000];
    aur_pool_explain(pool, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
    return 0;
}
