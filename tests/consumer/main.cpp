/* Goal:    as main.c, for C++: the macros compile as C++17, and an exception fails its item.
 * Method:  each verb once on each kind of pool; tests/consumer/run compares the output.
 */
#include <auriga.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

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

static long throw_two(long x)
{
    return x == 2 ? throw std::runtime_error("two is thrown") : x;
}
AUR_FN(long, throw_two, long);

static void mark(uint64_t lo, uint64_t hi, uint32_t *values)
{
    for (uint64_t i = lo; i < hi; i++) {
        values[i] = static_cast<uint32_t>(i);
    }
}
AUR_RANGE_FN(mark, uint32_t);

static void must(aur_err err, const char *what)
{
    if (err != AUR_OK) {
        throw std::runtime_error(std::string(what) + ": " + aur_err_name(err));
    }
}
#define TRY(...) must((__VA_ARGS__), #__VA_ARGS__)

static void show_calls(aur_pool *pool)
{
    const struct power_args params[] = { { 2, 5 }, { 3, 2 }, { 10, 3 } };
    double powers[3];
    double one;
    AUR_SCOPED(aur_future) *future = nullptr;

    TRY(aur_apply_async(pool, &future, power, 5, 2));
    TRY(aur_future_result(future, &one, AUR_NO_DEADLINE));
    TRY(aur_starmap(pool, power, params, 3, powers));
    std::printf("apply %g, starmap %g %g %g", one, powers[0], powers[1], powers[2]);
}

static void show_maps(aur_pool *pool)
{
    const std::vector<long> in = { 1, 2, 3 };
    std::vector<long> out(in.size());
    AUR_SCOPED(aur_imap_iter) *iter = nullptr;

    TRY(aur_map(pool, square, in.data(), in.size(), out.data()));
    std::printf(", map %ld %ld %ld, imap", out[0], out[1], out[2]);
    TRY(aur_imap(pool, &iter, square, in.data(), in.size()));
    for (size_t i = 0; i < in.size(); i++) {
        long next;

        TRY(aur_imap_next(iter, &next, AUR_NO_DEADLINE));
        std::printf(" %ld", next);
    }
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
    ++*static_cast<int *>(value);
}

static int bump_two(int x)
{
    int y = x;

    return aur_join(bump, &x, bump, &y) == AUR_OK ? x + y : -1;
}
AUR_FN(int, bump_two, int);

/* The exception passes an open fork, and the task fails as any other. */
static long throw_past(int n)
{
    aur_fork(never, fib, n);
    throw std::runtime_error("past a fork");
}
AUR_FN(long, throw_past, int);

static void show_forks(aur_pool *pool)
{
    long tenth;
    int sum;

    TRY(aur_apply(pool, &tenth, fib, 10));
    TRY(aur_apply(pool, &sum, bump_two, 4));
    std::printf(", forks %ld %d", tenth, sum);
    if (aur_apply(pool, &tenth, throw_past, 10) != AUR_EEXITED) {
        throw std::runtime_error("the exception did not fail the task");
    }
}

static void show_loop(aur_pool *pool)
{
    std::vector<uint32_t> values(100);
    uint32_t sum = 0;

    TRY(aur_for(pool, 0, values.size(), mark, values.data()));
    for (uint32_t value : values) {
        sum += value;
    }
    std::printf(", for %u", sum);
}

static void show_failure(aur_pool *pool)
{
    const long in[] = { 1, 2, 3 };
    long out[3];

    if (aur_map(pool, throw_two, in, 3, out) != AUR_EEXITED || aur_last_error()->item != 1 ||
        std::string(aur_last_error()->message).find("two is thrown") == std::string::npos) {
        throw std::runtime_error("the exception did not fail its item");
    }
    if (aur_map(pool, refuse_two, in, 3, out) != AUR_ETASK) {
        throw std::runtime_error("aur_fail() did not fail its item");
    }
    std::printf(", item %d failed with %d\n", static_cast<int>(aur_last_error()->item),
                static_cast<int>(aur_last_error()->code));
}

static void show(const char *title, int32_t kind)
{
    AUR_SCOPED(aur_pool) *pool = nullptr;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = kind;
    opts.workers = 2;
    TRY(aur_pool_new(&opts, &pool, nullptr));
    std::printf("%s: ", title);
    show_calls(pool);
    show_maps(pool);
    show_forks(pool);
    if (kind != AUR_PROCESSES) { /* the loop writes to memory that processes do not share */
        show_loop(pool);
    }
    show_failure(pool);
    TRY(aur_pool_join(pool, AUR_NO_DEADLINE));
}

int main()
{
    try {
        show("serial", AUR_SERIAL);
        show("threads", AUR_THREADS);
        show("processes", AUR_PROCESSES);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
