/* Maps on worker processes: order, chunk borders, failures, retries, large and variable items.
 *
 * Guards: each item is run once and its result lands in its place, whatever the size of the map; what
 * an item does wrong stays with it. */
/* aurt: no-tsan */
#include "pools.h"

#include <signal.h>

static int square(int x)
{
    return (int)((unsigned)x * (unsigned)x);
}
AUR_FN(int, square, int);

static double power(int x, int y)
{
    double v = 1;

    while (y-- > 0) {
        v *= x;
    }
    return v;
}
AUR_FN(double, power, int, int);

static int picky(int x)
{
    if (x % 100 == 37) {
        aur_fail(x, "item value %d", x);
    }
    return x + 1;
}
AUR_FN(int, picky, int);

static int deadly(int x)
{
    if (x % 1000 == 500) {
        kill(getpid(), SIGKILL);
    }
    return x + 1;
}
AUR_FN(int, deadly, int);

struct block {
    unsigned char bytes[65536];
};
static struct block invert(struct block b)
{
    for (size_t i = 0; i < sizeof(b.bytes); i++) {
        b.bytes[i] ^= 0xff;
    }
    return b;
}
AUR_FN(struct block, invert, struct block);

static aur_err repeat(const void *in, size_t size, aur_out *out)
{
    if (size == 13) {
        return AUR_ETASK;
    }
    unsigned char *to = aur_out_alloc(out, size * 2);
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, in, size);
    memcpy(to + size, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(repeat);

struct loop {
    uint64_t buf;
    uint64_t add;
};
static void mark(uint64_t lo, uint64_t hi, struct loop *loop)
{
    void *data = NULL;
    size_t size = 0;

    AURT_CHECK(aur_buf_open(loop->buf, &data, &size) == AUR_OK);
    for (uint64_t i = lo; i < hi; i++) {
        atomic_fetch_add(&((_Atomic(unsigned char) *)data)[i], (unsigned char)loop->add);
    }
}
AUR_RANGE_FN(mark, struct loop);

static int slow_item(int us)
{
    uint64_t end = aurt_now_ns() + (uint64_t)us * 1000;

    while (aurt_now_ns() < end) {
    }
    return us;
}
AUR_FN(int, slow_item, int);

static int flaky(uint64_t id, int number)
{
    void *data = NULL;
    size_t size = 0;

    AURT_CHECK(aur_buf_open(id, &data, &size) == AUR_OK);
    int before = atomic_fetch_add(&((_Atomic(int) *)data)[number], 1);
    if (before == 0 && number % 7 == 3) {
        return aur_fail(1, "the first time");
    }
    if (before < 2 && number % 50 == 11) {
        kill(getpid(), SIGKILL);
    }
    return number;
}
AUR_FN(int, flaky, uint64_t, int);

static aur_pool *pool_of(uint32_t workers)
{
    return aurt_pool_new(AUR_PROCESSES, workers, AUR_START_DEFAULT, 0);
}

static void sizes_on(uint32_t workers)
{
    enum { MAX = 300000 };
    static const int sizes[] = { 0,    1,    2,    3,     4,     5,      7,   8,    9,
                                 15,   16,   17,   31,    33,    63,     64,  65,   127,
                                 128,  129,  255,  256,   257,   511,    513, 1000, 1023,
                                 1025, 4095, 4097, 65535, 65537, 100003, MAX };
    int *in = malloc(MAX * sizeof(*in));
    int *out = malloc(MAX * sizeof(*out));
    aur_pool *pool = pool_of(workers);

    assert_true(in != NULL && out != NULL);
    for (int i = 0; i < MAX; i++) {
        in[i] = i;
    }
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        memset(out, 0xee, MAX * sizeof(*out));
        AURT_OK(aur_map(pool, square, in, (size_t)sizes[s], out));
        for (int i = 0; i < sizes[s]; i++) {
            if (out[i] != square(i)) {
                fail_msg("size %d: item %d is %d", sizes[s], i, out[i]);
            }
        }
        assert_true(sizes[s] == MAX || out[sizes[s]] == (int)0xeeeeeeee);
    }
    aurt_pool_end(pool);
    free(in);
    free(out);
}

static void test_sizes(void **state)
{
    (void)state;
    sizes_on(1);
    sizes_on(2);
    sizes_on(5);
}

static void test_starmap_async(void **state)
{
    enum { N = 5000 };
    static struct power_args args[N];
    static double out[N];
    aur_pool *pool = pool_of(2);
    aur_future *future = NULL;

    (void)state;
    for (int i = 0; i < N; i++) {
        args[i] = (struct power_args){ i % 50, i % 4 };
    }
    AURT_OK(aur_starmap_async(pool, &future, power, args, N, out));
    AURT_OK(aur_future_outcome(future, AUR_NO_DEADLINE));
    for (int i = 0; i < N; i++) {
        assert_true(out[i] == power(i % 50, i % 4));
    }
    aur_future_unref(future);
    aurt_pool_end(pool);
}

static void test_errors(void **state)
{
    enum { N = 1000 };
    static int in[N], out[N];
    static aur_err errs[N];
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    call.flags = AUR_CALL_ALL_ERRORS;
    call.item_errs = errs;
    for (int round = 0; round < 20; round++) {
        memset(out, 0xee, sizeof(out));
        AURT_ERR(AUR_ETASK, aur_map_with(pool, &call, picky, in, N, out));
        assert_int_equal(aur_last_error()->item, 37); /* the lowest decides */
        assert_int_equal(aur_last_error()->code, 37);
        assert_string_equal(aur_last_error()->message, "item value 37");
        for (int i = 0; i < N; i++) {
            assert_int_equal(errs[i], i % 100 == 37 ? AUR_ETASK : AUR_OK);
            assert_int_equal(out[i], i % 100 == 37 ? (int)0xeeeeeeee : i + 1);
        }
    }
    /* Without the flag the rest is not run. */
    call.flags = 0;
    AURT_ERR(AUR_ETASK, aur_map_with(pool, &call, picky, in, N, out));
    unsigned not_run = 0;
    for (int i = 0; i < N; i++) {
        assert_true(errs[i] == AUR_OK || errs[i] == AUR_ECANCELED || errs[i] == AUR_ETASK);
        not_run += errs[i] == AUR_ECANCELED;
    }
    assert_true(not_run > 0);
    aurt_pool_end(pool);
}

static void test_deaths(void **state)
{
    enum { N = 5000 };
    static int in[N], out[N];
    static aur_err errs[N];
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    call.flags = AUR_CALL_ALL_ERRORS;
    call.item_errs = errs;
    for (int round = 0; round < 10; round++) {
        memset(out, 0, sizeof(out));
        AURT_ERR(AUR_EWORKER, aur_map_with(pool, &call, deadly, in, N, out));
        assert_int_equal(aur_last_error()->item, 500);
        assert_int_equal(aur_last_error()->signal, SIGKILL);
        assert_true(aur_last_error()->pid > 0);
        for (int i = 0; i < N; i++) {
            assert_int_equal(errs[i], i % 1000 == 500 ? AUR_EWORKER : AUR_OK);
            assert_int_equal(out[i], i % 1000 == 500 ? 0 : i + 1);
        }
    }
    aurt_pool_end(pool);
}

static void test_retries(void **state)
{
    enum { N = 1000 };
    static struct flaky_args args[N];
    static int out[N];
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    aur_pool *pool = pool_of(2);
    aur_buf *buf = NULL;

    (void)state;
    AURT_OK(aur_buf_new(pool, N * sizeof(int), AUR_BUF_INOUT, &buf));
    memset(aur_buf_data(buf), 0, N * sizeof(int));
    for (int i = 0; i < N; i++) {
        args[i] = (struct flaky_args){ aur_buf_id(buf), i };
    }
    call.retries = 3;
    call.retry_on = AUR_RETRY_ERROR | AUR_RETRY_WORKER;
    AURT_OK(aur_starmap_with(pool, &call, flaky, args, N, out));
    for (int i = 0; i < N; i++) {
        assert_int_equal(out[i], i);
        int runs = ((int *)aur_buf_data(buf))[i];
        int want = i % 50 == 11 ? 3 : i % 7 == 3 ? 2 : 1;
        assert_int_equal(runs, want);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_large(void **state)
{
    enum { N = 1024 }; /* 64 MiB in, 64 MiB out */
    struct block *blocks = malloc(N * sizeof(*blocks));
    aur_pool *pool = pool_of(2);

    (void)state;
    assert_non_null(blocks);
    for (int i = 0; i < N; i++) {
        memset(&blocks[i], i, sizeof(blocks[i]));
    }
    for (int round = 0; round < 2; round++) {
        AURT_OK(aur_map(pool, invert, blocks, N, blocks)); /* in place */
    }
    AURT_OK(aur_map(pool, invert, blocks, N, blocks));
    for (int i = 0; i < N; i++) {
        assert_int_equal(blocks[i].bytes[0], (unsigned char)~i);
        assert_int_equal(blocks[i].bytes[65535], (unsigned char)~i);
    }
    free(blocks);
    aurt_pool_end(pool);
}

static void test_bytes(void **state)
{
    enum { N = 2000 };
    static aur_bytes in[N], out[N];
    static unsigned char data[N];
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < N; i++) {
        data[i] = (unsigned char)i;
    }
    for (int i = 0; i < N; i++) {
        in[i] = (aur_bytes){ data, (size_t)i };
    }
    call.flags = AUR_CALL_ALL_ERRORS;
    AURT_ERR(AUR_ETASK, aur_map_bytes_with(pool, &call, repeat, in, N, out));
    assert_int_equal(aur_last_error()->item, 13);
    for (int i = 0; i < N; i++) {
        if (i == 13) {
            assert_null(out[i].data);
            continue;
        }
        assert_int_equal(out[i].size, 2 * i);
        assert_int_equal(memcmp(out[i].data, data, (size_t)i), 0);
        assert_int_equal(memcmp((const char *)out[i].data + i, data, (size_t)i), 0);
    }
    aur_bytes_free(out, N);
    aurt_pool_end(pool);
}

static void test_loop(void **state)
{
    enum { N = 100000, LO = 17 };
    aur_pool *pool = pool_of(2);
    aur_buf *buf = NULL;

    (void)state;
    AURT_OK(aur_buf_new(pool, N, AUR_BUF_INOUT, &buf));
    memset(aur_buf_data(buf), 0, N);
    struct loop loop = { aur_buf_id(buf), 5 };
    AURT_OK(aur_for(pool, LO, N, mark, &loop));
    AURT_OK(aur_for(pool, LO, LO, mark, &loop));
    for (int i = 0; i < N; i++) {
        assert_int_equal(((unsigned char *)aur_buf_data(buf))[i], i < LO ? 0 : 5);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_time_limit(void **state)
{
    enum { N = 200 };
    static int in[N], out[N];
    static aur_err errs[N];
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < N; i++) {
        in[i] = i == 77 ? 1000000000 : 10;
    }
    call.flags = AUR_CALL_ALL_ERRORS;
    call.item_errs = errs;
    call.item_timeout_ns =
        UINT64_C(2000000000); /* much more than an item of 10 ns is ever kept waiting */
    AURT_ERR(AUR_EDEADLINE, aur_map_with(pool, &call, slow_item, in, N, out));
    assert_int_equal(aur_last_error()->item, 77);
    for (int i = 0; i < N; i++) {
        assert_int_equal(errs[i], i == 77 ? AUR_EDEADLINE : AUR_OK);
    }
    aurt_pool_end(pool);
}

static void test_cancel(void **state)
{
    enum { N = 1000 };
    static int in[N], out[N];
    aur_pool *pool = pool_of(2);
    aur_future *future = NULL;
    int what = 0;
    int v = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        in[i] = 1000000000;
    }
    for (int round = 0; round < 5; round++) {
        AURT_OK(aur_map_async(pool, &future, slow_item, in, N, out));
        AURT_OK(aur_future_cancel(future, &what));
        assert_true(what == AUR_CANCEL_KILLED || what == AUR_CANCEL_DROPPED);
        AURT_ERR(AUR_ECANCELED, aur_future_outcome(future, AUR_NO_DEADLINE));
        aur_future_unref(future);
        AURT_OK(aur_apply(pool, &v, square, 9));
        assert_int_equal(v, 81);
    }
    aurt_pool_end(pool);
}

static void test_iterators(void **state)
{
    enum { N = 3000 };
    static int in[N];
    aur_pool *pool = pool_of(2);
    aur_imap_iter *it = NULL;
    int v = 0;
    uint64_t sum = 0;

    (void)state;
    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    AURT_OK(aur_imap(pool, &it, square, in, N));
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_imap_next(it, &v, AUR_NO_DEADLINE));
        assert_int_equal(v, square(i));
    }
    AURT_ERR(AUR_END, aur_imap_next(it, &v, AUR_NO_DEADLINE));
    it = aur_imap_free(it);
    AURT_OK(aur_imap_unordered(pool, &it, square, in, 1000));
    for (int i = 0; i < 1000; i++) {
        AURT_OK(aur_imap_next(it, &v, AUR_NO_DEADLINE));
        sum += (uint64_t)v;
    }
    assert_int_equal(sum, 332833500);
    aur_imap_free(it);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_starmap_async),
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_deaths),
        cmocka_unit_test(test_retries),    cmocka_unit_test(test_large),
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_loop),
        cmocka_unit_test(test_time_limit), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_iterators),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
