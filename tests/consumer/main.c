/* Goal:    a user's program finds the installed library and gets the right answers from it.
 * Method:  each verb once on each kind of pool; tests/consumer/run compares the output.
 */
#include <auriga.h>

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define TRY(call)                                                                                  \
    do {                                                                                           \
        aur_err err_ = (call);                                                                     \
        if (err_ != AUR_OK) {                                                                      \
            fprintf(stderr, "%s: %s\n", #call, aur_err_name(err_));                                \
            return err_;                                                                           \
        }                                                                                          \
    } while (0)

static double power(int x, int y)
{
    double result = 1;

    while (y-- > 0) {
        result *= x;
    }
    return result;
}
AUR_FN(double, power, int, int);

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

static long refuse_two(long x)
{
    return x == 2 ? aur_fail(7, "%ld is refused", x) : x;
}
AUR_FN(long, refuse_two, long);

static void mark(uint64_t lo, uint64_t hi, uint32_t *values)
{
    for (uint64_t i = lo; i < hi; i++) {
        values[i] = (uint32_t)i;
    }
}
AUR_RANGE_FN(mark, uint32_t);

static aur_err show_calls(aur_pool *pool)
{
    const struct power_args params[] = { { 2, 5 }, { 3, 2 }, { 10, 3 } };
    double powers[COUNT(params)];
    double one;
    AUR_SCOPED(aur_future) *future = NULL;

    TRY(aur_apply_async(pool, &future, power, 5, 2));
    TRY(aur_future_result(future, &one, AUR_NO_DEADLINE));
    TRY(aur_starmap(pool, power, params, COUNT(params), powers));
    printf("apply %g, starmap %g %g %g", one, powers[0], powers[1], powers[2]);
    return AUR_OK;
}

static aur_err show_maps(aur_pool *pool)
{
    const long in[] = { 1, 2, 3 };
    long out[COUNT(in)];
    AUR_SCOPED(aur_imap_iter) *iter = NULL;

    TRY(aur_map(pool, square, in, COUNT(in), out));
    printf(", map %ld %ld %ld, imap", out[0], out[1], out[2]);
    TRY(aur_imap(pool, &iter, square, in, COUNT(in)));
    for (size_t i = 0; i < COUNT(in); i++) {
        long next;

        TRY(aur_imap_next(iter, &next, AUR_NO_DEADLINE));
        printf(" %ld", next);
    }
    return AUR_OK;
}

static long fib(int n);
AUR_FN(long, fib, int);
static long fib(int n)
{
    if (n < 2) {
        return n;
    }
    aur_fork(left, fib, n - 1);
    long right = fib(n - 2);
    return aur_joined(left, fib) + right;
}

static void bump(void *value)
{
    ++*(int *)value;
}

static int bump_two(int x)
{
    int y = x;

    return aur_join(bump, &x, bump, &y) == AUR_OK ? x + y : -1;
}
AUR_FN(int, bump_two, int);

static aur_err show_forks(aur_pool *pool)
{
    long tenth;
    int sum;

    TRY(aur_apply(pool, &tenth, fib, 10));
    TRY(aur_apply(pool, &sum, bump_two, 4));
    printf(", forks %ld %d", tenth, sum);
    return AUR_OK;
}

static aur_err show_loop(aur_pool *pool)
{
    uint32_t values[100];
    uint32_t sum = 0;

    TRY(aur_for(pool, 0, COUNT(values), mark, values));
    for (size_t i = 0; i < COUNT(values); i++) {
        sum += values[i];
    }
    printf(", for %u", (unsigned)sum);
    return AUR_OK;
}

static aur_err show_failure(aur_pool *pool)
{
    const long in[] = { 1, 2, 3 };
    long out[COUNT(in)];

    if (aur_map(pool, refuse_two, in, COUNT(in), out) != AUR_ETASK) {
        return AUR_EINVAL;
    }
    printf(", item %d failed with %d\n", (int)aur_last_error()->item, (int)aur_last_error()->code);
    return AUR_OK;
}

static aur_err show(const char *title, int32_t kind)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = kind;
    opts.workers = 2;
    TRY(aur_pool_new(&opts, &pool, NULL));
    printf("%s: ", title);
    TRY(show_calls(pool));
    TRY(show_maps(pool));
    TRY(show_forks(pool));
    if (kind != AUR_PROCESSES) { /* the loop writes to memory that processes do not share */
        TRY(show_loop(pool));
    }
    TRY(show_failure(pool));
    return aur_pool_join(pool, AUR_NO_DEADLINE);
}

int main(void)
{
    return show("serial", AUR_SERIAL) != AUR_OK || show("threads", AUR_THREADS) != AUR_OK ||
           show("processes", AUR_PROCESSES) != AUR_OK;
}
