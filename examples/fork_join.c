/* fork_join.c: recursion in parallel, without futures and without the heap.
 *
 * aur_fork() offers a call to other workers while the caller goes on; aur_joined() is its result, from
 * whoever ran it.  aur_join() does the same for two plain functions.  Nobody has to choose how far
 * down it pays: a branch that no worker takes costs a few nanoseconds more than the call alone.
 */
#include <auriga.h>

#include <stdio.h>
#include <stdlib.h>

static long fib(int n);
AUR_FN(long, fib, int); /* before the function, which forks itself */

static long fib(int n)
{
    if (n < 2) {
        return n;
    }
    aur_fork(left, fib, n - 1);
    long right = fib(n - 2);
    return aur_joined(left, fib) + right;
}

struct part {
    unsigned *first, *end;
};

static void sort(void *arg)
{
    struct part *part = arg;

    if (part->end - part->first < 2) {
        return;
    }
    unsigned pivot = part->first[(part->end - part->first) / 2];
    unsigned *lo = part->first;
    unsigned *hi = part->end - 1;
    while (lo <= hi) {
        if (*lo < pivot) {
            lo++;
        } else if (*hi > pivot) {
            hi--;
        } else {
            unsigned swapped = *lo;
            *lo++ = *hi;
            *hi-- = swapped;
        }
    }
    struct part below = { part->first, hi + 1 };
    struct part above = { lo, part->end };
    if (aur_join(sort, &below, sort, &above) != AUR_OK) {
        abort(); /* a function was NULL */
    }
}

typedef struct part *part_ptr;
static int sort_all(part_ptr part)
{
    sort(part);
    return 0;
}
AUR_FN(int, sort_all, part_ptr);

#define N 200000

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    unsigned *values = malloc(N * sizeof(*values));
    unsigned random = 1;
    size_t in_order = 1;
    long result;
    int unused;

    if (values == NULL || aur_pool_new(NULL, &pool, NULL) != AUR_OK) {
        return 1;
    }
    /* Inside a task: the calling thread runs it, and idle workers take what it forks. */
    if (aur_apply(pool, &result, fib, 27) != AUR_OK) {
        return 1;
    }
    printf("fib(27) = %ld\n", result);

    for (size_t i = 0; i < N; i++) {
        values[i] = random = random * 1664525u + 1013904223u;
    }
    struct part all = { values, values + N };
    if (aur_apply(pool, &unused, sort_all, &all) != AUR_OK) {
        return 1;
    }
    while (in_order < N && values[in_order - 1] <= values[in_order]) {
        in_order++;
    }
    printf("%zu values in order\n", in_order);
    free(values);
    return 0;
}
