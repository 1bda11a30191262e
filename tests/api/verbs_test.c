/* Goal:    each verb gives what the plain call gives, on each kind of pool.
 * Method:  functions of 1 to 12 arguments, of no result, of structs and of large records; maps of
 *          no, one and many items, in place and without results; loops that touch each index once.
 * Guards:  src/pool/call.c, src/pool/map.c, and the engines behind them. */
#include "kinds.h"

#define MANY 10000

/* ---- 1 to 12 arguments: digit i times 10^(i - 1) ------------------------------------------- */

static uint64_t f1(int a)
{
    return (uint64_t)a;
}
AUR_FN(uint64_t, f1, int);
static uint64_t f2(int a, char b)
{
    return f1(a) + 10u * (unsigned)b;
}
AUR_FN(uint64_t, f2, int, char);
static uint64_t f3(int a, char b, short c)
{
    return f2(a, b) + 100u * (unsigned)c;
}
AUR_FN(uint64_t, f3, int, char, short);
static uint64_t f4(int a, char b, short c, double d)
{
    return f3(a, b, c) + 1000u * (uint64_t)d;
}
AUR_FN(uint64_t, f4, int, char, short, double);
static uint64_t f5(int a, char b, short c, double d, long e)
{
    return f4(a, b, c, d) + 10000u * (uint64_t)e;
}
AUR_FN(uint64_t, f5, int, char, short, double, long);
static uint64_t f6(int a, char b, short c, double d, long e, float f)
{
    return f5(a, b, c, d, e) + 100000u * (uint64_t)f;
}
AUR_FN(uint64_t, f6, int, char, short, double, long, float);
static uint64_t f7(int a, char b, short c, double d, long e, float f, uint8_t g)
{
    return f6(a, b, c, d, e, f) + 1000000u * (uint64_t)g;
}
AUR_FN(uint64_t, f7, int, char, short, double, long, float, uint8_t);
static uint64_t f8(int a, char b, short c, double d, long e, float f, uint8_t g, uint64_t h)
{
    return f7(a, b, c, d, e, f, g) + 10000000u * h;
}
AUR_FN(uint64_t, f8, int, char, short, double, long, float, uint8_t, uint64_t);
static uint64_t f9(int a, char b, short c, double d, long e, float f, uint8_t g, uint64_t h, bool i)
{
    return f8(a, b, c, d, e, f, g, h) + 100000000u * (uint64_t)i;
}
AUR_FN(uint64_t, f9, int, char, short, double, long, float, uint8_t, uint64_t, bool);
static uint64_t f10(int a, char b, short c, double d, long e, float f, uint8_t g, uint64_t h,
                    bool i, const char *j)
{
    return f9(a, b, c, d, e, f, g, h, i) + UINT64_C(1000000000) * (uint64_t)(j[0] - '0');
}
AUR_FN(uint64_t, f10, int, char, short, double, long, float, uint8_t, uint64_t, bool, const char *);
static uint64_t f11(int a, char b, short c, double d, long e, float f, uint8_t g, uint64_t h,
                    bool i, const char *j, int k)
{
    return f10(a, b, c, d, e, f, g, h, i, j) + UINT64_C(10000000000) * (uint64_t)k;
}
AUR_FN(uint64_t, f11, int, char, short, double, long, float, uint8_t, uint64_t, bool, const char *,
       int);
static uint64_t f12(int a, char b, short c, double d, long e, float f, uint8_t g, uint64_t h,
                    bool i, const char *j, int k, long l)
{
    return f11(a, b, c, d, e, f, g, h, i, j, k) + UINT64_C(100000000000) * (uint64_t)l;
}
AUR_FN(uint64_t, f12, int, char, short, double, long, float, uint8_t, uint64_t, bool, const char *,
       int, long);

static void test_arguments(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static const char text[] = "4";
    uint64_t v = 0;
    uint64_t w = 0;

#define BOTH(want, fn, ...)                                                                        \
    do {                                                                                           \
        aur_future *future = NULL;                                                                 \
        AURT_OK(aur_apply(pool, &v, fn, __VA_ARGS__));                                             \
        assert_int_equal(v, UINT64_C(want));                                                       \
        AURT_OK(aur_apply_async(pool, &future, fn, __VA_ARGS__));                                  \
        AURT_OK(aur_future_result(future, &w, AUR_NO_DEADLINE));                                   \
        assert_int_equal(w, UINT64_C(want));                                                       \
        assert_null(aur_future_unref(future));                                                     \
    } while (0)

    BOTH(5, f1, 5);
    BOTH(65, f2, 5, 6);
    BOTH(765, f3, 5, 6, 7);
    BOTH(8765, f4, 5, 6, 7, 8.0);
    BOTH(98765, f5, 5, 6, 7, 8.0, 9);
    BOTH(298765, f6, 5, 6, 7, 8.0, 9, 2.0f);
    BOTH(3298765, f7, 5, 6, 7, 8.0, 9, 2.0f, 3);
    BOTH(13298765, f8, 5, 6, 7, 8.0, 9, 2.0f, 3, 1);
    BOTH(113298765, f9, 5, 6, 7, 8.0, 9, 2.0f, 3, 1, true);
    BOTH(4113298765, f10, 5, 6, 7, 8.0, 9, 2.0f, 3, 1, true, text);
    BOTH(74113298765, f11, 5, 6, 7, 8.0, 9, 2.0f, 3, 1, true, text, 7);
    BOTH(274113298765, f12, 5, 6, 7, 8.0, 9, 2.0f, 3, 1, true, text, 7, 2);
#undef BOTH
    aurt_pool_end(pool);
}

/* ---- structs, large records, nothing ------------------------------------------------------- */

struct pair {
    double low, high;
};
static struct pair swapped(struct pair p)
{
    return (struct pair){ p.high, p.low };
}
AUR_FN(struct pair, swapped, struct pair);

struct big {
    uint64_t word[8192]; /* 64 KiB */
};
static struct big doubled(struct big b)
{
    for (size_t i = 0; i < 8192; i++) {
        b.word[i] *= 2;
    }
    return b;
}
AUR_FN(struct big, doubled, struct big);

/* A descriptor of our own: records that want 256 bytes of alignment. */
struct wide {
    _Alignas(256) uint64_t word[32];
};
static void wide_range(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    for (uint64_t i = lo; i < hi; i++) {
        const struct wide *in = (const struct wide *)args + i;
        struct wide *out = (struct wide *)ret + i;
        *item = i;
        if ((uintptr_t)in % 256 != 0 || (uintptr_t)out % 256 != 0) {
            aur_fail(1, "not aligned");
            continue;
        }
        out->word[0] = in->word[0] + 1;
        out->word[31] = in->word[31] + 1;
    }
}
static const aur_fn wide_fn = { AUR_FN_ABI, 0,   sizeof(struct wide), sizeof(struct wide),
                                256,        256, wide_range,          "wide" };

static void test_alignment(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static struct wide in[20];
    static struct wide out[20];

    in[3].word[31] = 7;
    AURT_OK(aur_fn_call(pool, NULL, &wide_fn, &in[3], &out[3], NULL));
    assert_int_equal(out[3].word[31], 8);
    AURT_OK(aur_fn_map(pool, NULL, &wide_fn, in, 20, out, NULL));
    assert_int_equal(out[3].word[31], 8);
    assert_int_equal(out[19].word[0], 1);
    AURT_OK(aur_fn_map(pool, NULL, &wide_fn, in, 20, NULL, NULL));
    aurt_pool_end(pool);
}

static void test_records(void **state)
{
    aur_pool *pool = aurt_pool(state);
    struct pair p = { 1, 2 };
    struct big *b = calloc(4, sizeof(*b));

    assert_non_null(b);
    AURT_OK(aur_apply(pool, &p, swapped, p));
    assert_true(p.low == 2 && p.high == 1);
    AURT_OK(aur_apply(pool, NULL, swapped, p));
    for (size_t i = 0; i < 4 * 8192; i++) {
        b[i / 8192].word[i % 8192] = i;
    }
    AURT_OK(aur_map(pool, doubled, b, 4, b));
    AURT_OK(aur_apply(pool, &b[0], doubled, b[0]));
    for (size_t i = 0; i < 4 * 8192; i++) {
        assert_int_equal(b[i / 8192].word[i % 8192], i < 8192 ? 4 * i : 2 * i);
    }
    AURT_OK(aur_map(pool, doubled, b, 4, NULL));
    free(b);
    aurt_pool_end(pool);
}

static void add_to(_Atomic(uint64_t) *sum, uint64_t x)
{
    atomic_fetch_add(sum, x);
}
typedef _Atomic(uint64_t) *counter;
AUR_FN_VOID(add_to, counter, uint64_t);

static void test_void(void **state)
{
    aur_pool *pool = aurt_pool(state);
    _Atomic(uint64_t) sum = 0;
    struct add_to_args args[100];
    aur_future *future = NULL;

    AURT_OK(aur_apply(pool, NULL, add_to, &sum, 7));
    AURT_OK(aur_apply_async(pool, &future, add_to, &sum, 10));
    AURT_OK(aur_future_outcome(future, AUR_NO_DEADLINE));
    aur_future_unref(future);
    AURT_OK(aur_apply_async(pool, NULL, add_to, &sum, 20)); /* nobody waits: join does */
    for (size_t i = 0; i < 100; i++) {
        args[i] = (struct add_to_args){ &sum, i };
    }
    AURT_OK(aur_starmap(pool, add_to, args, 100, NULL));
    aurt_pool_end(pool);
    assert_int_equal(sum, 7 + 10 + 20 + 4950);
}

/* ---- maps ---------------------------------------------------------------------------------- */

static int64_t square(int64_t x)
{
    return x * x;
}
AUR_FN(int64_t, square, int64_t);
static double mean(double x, double y)
{
    return (x + y) / 2;
}
AUR_FN(double, mean, double, double);
static uint64_t where_am_i(char unused)
{
    (void)unused;
    return aur_item_index();
}
AUR_FN(uint64_t, where_am_i, char);

static void test_map(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static int64_t in[MANY];
    static int64_t out[MANY + 1];
    const size_t sizes[] = { 0, 1, 2, 3, 100, MANY };

    for (size_t i = 0; i < MANY; i++) {
        in[i] = (int64_t)i - 50;
    }
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t n = sizes[s];
        memset(out, 0x55, sizeof(out));
        AURT_OK(aur_map(pool, square, in, n, out));
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(out[i], square(in[i]));
        }
        assert_int_equal(out[n], 0x5555555555555555);
        AURT_OK(aur_map(pool, square, in, n, NULL));
    }
    AURT_OK(aur_map(pool, square, (int64_t *)NULL, 0, out));
    AURT_OK(aur_map(pool, square, in, MANY, in)); /* in place */
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(in[i], square((int64_t)i - 50));
    }
    aurt_pool_end(pool);
}

static void test_map_async(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static struct mean_args in[MANY];
    static double out[MANY];
    int64_t base[3] = { 3, 4, 5 };
    int64_t squares[3];
    aur_future *many = NULL;
    aur_future *few = NULL;
    aur_future *none = NULL;

    for (size_t i = 0; i < MANY; i++) {
        in[i] = (struct mean_args){ (double)i, 3 };
    }
    AURT_OK(aur_starmap_async(pool, &many, mean, in, MANY, out));
    AURT_OK(aur_map_async(pool, &few, square, base, 3, squares));
    AURT_OK(aur_map_async(pool, &none, square, base, 0, squares));
    AURT_OK(aur_future_outcome(none, AUR_NO_DEADLINE));
    AURT_OK(aur_future_outcome(few, AUR_NO_DEADLINE));
    assert_int_equal(squares[2], 25);
    AURT_OK(aur_future_outcome(many, AUR_NO_DEADLINE));
    for (size_t i = 0; i < MANY; i++) {
        assert_true(out[i] == ((double)i + 3) / 2);
    }
    aur_future_unref(many);
    aur_future_unref(few);
    aur_future_unref(none);
    static int64_t nobody_waits[MANY];
    AURT_OK(aur_map_async(pool, NULL, square, nobody_waits, MANY, nobody_waits));
    aurt_pool_end(pool);
}

static void test_item_index(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static char in[MANY];
    static uint64_t out[MANY];
    uint64_t alone = 0;

    AURT_OK(aur_map(pool, where_am_i, in, MANY, out));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(out[i], i);
    }
    AURT_OK(aur_apply(pool, &alone, where_am_i, 0));
    assert_int_equal(alone, AUR_NO_ITEM);
    assert_int_equal(aur_item_index(), AUR_NO_ITEM);
    aurt_pool_end(pool);
}

/* ---- loops --------------------------------------------------------------------------------- */

struct touched {
    _Atomic(uint8_t) times[MANY];
};
static void touch(uint64_t lo, uint64_t hi, struct touched *t)
{
    for (uint64_t i = lo; i < hi; i++) {
        atomic_fetch_add(&t->times[i - 1000], 1);
    }
}
AUR_RANGE_FN(touch, struct touched);

static void test_for(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static struct touched t;

    memset(&t, 0, sizeof(t));
    AURT_OK(aur_for(pool, 1000, 1000, touch, &t));
    AURT_OK(aur_for(pool, 1000, 1001, touch, &t));
    AURT_OK(aur_for(pool, 1001, 1000 + MANY, touch, &t));
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(t.times[i], 1);
    }
    aurt_pool_end(pool);
}

/* ---- nesting ------------------------------------------------------------------------------- */

static uint64_t fib(unsigned n);
AUR_FN(uint64_t, fib, unsigned);

static uint64_t fib(unsigned n)
{
    aur_pool *pool = aur_pool_current();
    AUR_SCOPED(aur_future) *future = NULL;
    uint64_t x = 0;
    uint64_t y = 0;

    if (n < 2) {
        return n;
    }
    AURT_CHECK(aur_apply_async(pool, &future, fib, n - 1) == AUR_OK);
    AURT_CHECK(aur_apply(pool, &y, fib, n - 2) == AUR_OK);
    AURT_CHECK(aur_future_result(future, &x, AUR_NO_DEADLINE) == AUR_OK);
    return x + y;
}

static void test_nested(void **state)
{
    aur_pool *pool = aurt_pool(state);
    /* Each level that waits in a worker process takes a process: spares are few. */
    bool processes = ((const aurt_kind *)*state)->kind == AUR_PROCESSES;
    unsigned in[5] = { 1, 2, 3, processes ? 4 : 12, processes ? 5 : 15 };
    uint64_t out[5];

    assert_null(aur_pool_current());
    AURT_OK(aur_map(pool, fib, in, 5, out));
    assert_int_equal(out[0], 1);
    assert_int_equal(out[2], 2);
    assert_int_equal(out[4], processes ? 5 : 610);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_SHARED(test_arguments), AURT_EACH(test_records), AURT_EACH(test_alignment),
        AURT_SHARED(test_void),      AURT_EACH(test_map),     AURT_EACH(test_map_async),
        AURT_EACH(test_item_index),  AURT_SHARED(test_for),   AURT_EACH(test_nested),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
