/* map.c: map calls a function of one argument for each item; the results come back in order.
 *
 * In Python:   pool.map(square, values)
 *              pool.map(add_worker, params)      where add_worker(x) unpacks x by hand
 *
 * Unpacking by hand is possible here too: the one argument can be a struct.  starmap.c shows the
 * form that needs none.
 */
#include <auriga.h>

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

struct pair {
    int x, y;
};

static int add_worker(struct pair p) /* unpacks by hand */
{
    return p.x + p.y;
}
AUR_FN(int, add_worker, struct pair);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    const long values[] = { 1, 2, 3, 4, 5 };
    const struct pair params[] = { { 0, 2 }, { 1, 2 }, { 2, 2 } };
    long squares[COUNT(values)];
    int sums[COUNT(params)];

    if (aur_pool_new(NULL, &pool, NULL) != AUR_OK || /* threads, one per CPU */
        aur_map(pool, square, values, COUNT(values), squares) != AUR_OK) {
        return 1;
    }
    printf("square:");
    for (size_t i = 0; i < COUNT(values); i++) {
        printf(" %ld", squares[i]);
    }

    /* map_async gives one future for the whole map; get the outcome, or nothing is known. */
    AUR_SCOPED(aur_future) *res = NULL;
    if (aur_map_async(pool, &res, add_worker, params, COUNT(params), sums) != AUR_OK ||
        aur_future_outcome(res, AUR_NO_DEADLINE) != AUR_OK) {
        return 1;
    }
    printf("\nadd_worker:");
    for (size_t i = 0; i < COUNT(params); i++) {
        printf(" %d", sums[i]);
    }
    printf("\n");
    return 0;
}
