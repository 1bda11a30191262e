/* starmap.c: starmap calls a function of several arguments: no packing, no unpacking by hand.
 *
 * In Python:   pool.starmap(pow, [(2, 5), (3, 2), (10, 3)])      gives 32 9 1000
 *
 * AUR_FN generates `struct power_args`, and the compiler checks the types of every call.
 */
#include <auriga.h>

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TOTAL 8

static double power(int x, int y)
{
    double result = 1;

    while (y-- > 0) {
        result *= x;
    }
    return result;
}
AUR_FN(double, power, int, int);

static int add(int x, int y)
{
    return x + y;
}
AUR_FN(int, add, int, int);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = AUR_PROCESSES; /* leave this line out, and the same calls run on threads */
    opts.workers = 2;
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK) {
        return 1;
    }

    const struct power_args powers[] = { { 2, 5 }, { 3, 2 }, { 10, 3 } };
    double values[COUNT(powers)];
    if (aur_starmap(pool, power, powers, COUNT(powers), values) != AUR_OK) {
        return 1;
    }
    printf("power: %g %g %g\n", values[0], values[1], values[2]);

    /* params = [(num, 2) for num in range(total)]; asy_res = pool.starmap_async(add, params) */
    struct add_args params[TOTAL];
    int sums[TOTAL];
    for (int num = 0; num < TOTAL; num++) {
        params[num] = (struct add_args){ num, 2 };
    }
    AUR_SCOPED(aur_future) *asy_res = NULL;
    if (aur_starmap_async(pool, &asy_res, add, params, TOTAL, sums) != AUR_OK ||
        aur_future_outcome(asy_res, AUR_NO_DEADLINE) != AUR_OK) { /* asy_res.get() */
        return 1;
    }
    printf("add:");
    for (int num = 0; num < TOTAL; num++) {
        printf(" %d", sums[num]);
    }
    printf("\n");
    return 0;
}
