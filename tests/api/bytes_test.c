/* Goal:    byte-string tasks: any length in, any length out, failures, maps.
 * Method:  bodies that change, double, truncate, replace and refuse; lengths around the inline
 *          limit and large ones.
 * Guards:  src/pool/bytes.c. */
#include "huge.h"
#include "kinds.h"

static aur_err invert(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        to[i] = (unsigned char)~((const unsigned char *)in)[i];
    }
    return AUR_OK;
}
AUR_BYTES_FN(invert);

/* What the first byte says. */
static aur_err choose(const void *in, size_t size, aur_out *out)
{
    const char *text = in;

    switch (size == 0 ? 'n' : text[0]) {
    case 'n': /* nothing */
        return AUR_OK;
    case 'z': /* a result of no bytes */
        return aur_out_alloc(out, 0) != NULL ? AUR_OK : AUR_ENOMEM;
    case 't': /* truncates */
        memset(aur_out_alloc(out, 100), 't', 100);
        aur_out_truncate(out, 200); /* longer: no effect */
        aur_out_truncate(out, 3);
        return AUR_OK;
    case 'r': /* replaces */
        memset(aur_out_alloc(out, 1000), 'x', 1000);
        memset(aur_out_alloc(out, 2), 'r', 2);
        return AUR_OK;
    case 'e': /* fails with a code, and a result that nobody gets */
        memset(aur_out_alloc(out, 10), 'e', 10);
        return AUR_ETOOBIG;
    case 'c': /* a code of somebody else's */
        return 256;
    case 'f':
        aur_out_alloc(out, 10);
        return (aur_err)aur_fail(9, "said f");
    case 'h': /* no memory, and no other way */
        aur_out_alloc(out, SIZE_MAX / 2);
        return AUR_OK;
    default: /* no memory, but another way */
        if (aur_out_alloc(out, SIZE_MAX / 2) == NULL) {
            memset(aur_out_alloc(out, 1), 'o', 1);
        }
        return AUR_OK;
    }
}
AUR_BYTES_FN(choose);

static void test_lengths(void **state)
{
    aur_pool *pool = aurt_pool(state);
    const size_t sizes[] = { 0, 1, 31, 32, 33, 47, 48, 49, 64, 4096, 5 << 20 };

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        size_t size = sizes[s];
        AUR_SCOPED(aur_future) *future = NULL;
        unsigned char *in = malloc(size + 1);
        const void *data = NULL;
        size_t got = 77;

        assert_non_null(in);
        memset(in, (int)s, size);
        AURT_OK(aur_apply_bytes(pool, &future, invert, in, size));
        memset(in, 0xee, size); /* it was copied */
        AURT_OK(aur_future_view(future, &data, &got, AUR_NO_DEADLINE));
        assert_int_equal(got, size);
        assert_non_null(data);
        for (size_t i = 0; i < size; i++) {
            assert_int_equal(((const unsigned char *)data)[i], (unsigned char)~s);
        }
        free(in);
    }
    AUR_SCOPED(aur_future) *future = NULL;
    uint32_t word = 0x01020304;
    AURT_OK(aur_apply_bytes(pool, &future, invert, &word, sizeof(word)));
    AURT_OK(aur_future_result(future, &word, AUR_NO_DEADLINE)); /* of the same size: fits */
    assert_int_equal(word, ~UINT32_C(0x01020304));
    uint16_t small;
    AURT_ERR(AUR_ESIZE, aur_future_result(future, &small, AUR_NO_DEADLINE));
    AURT_OK(aur_apply_bytes(pool, NULL, invert, "x", 1));
    aurt_pool_end(pool);
}

/* Answers how far its place is from one that malloc() would give. */
static aur_err misplaced(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, size);

    (void)in;
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memset(to, (int)((uintptr_t)to % _Alignof(max_align_t)), size);
    return AUR_OK;
}
AUR_BYTES_FN(misplaced);

static void test_alignment(void **state)
{
    aur_pool *pool = aurt_pool(state);
    const unsigned char zeros[100] = { 0 };

    for (size_t size = 1; size <= sizeof(zeros); size++) {
        AUR_SCOPED(aur_future) *future = NULL;
        const void *data = NULL;
        size_t got = 0;
        AURT_OK(aur_apply_bytes(pool, &future, misplaced, zeros, size));
        AURT_OK(aur_future_view(future, &data, &got, AUR_NO_DEADLINE));
        assert_int_equal(size, got);
        assert_memory_equal(zeros, data, size);
    }
    aurt_pool_end(pool);
}

static aur_future *submit(aur_pool *pool, const char *text)
{
    aur_future *future = NULL;

    AURT_OK(aur_apply_bytes(pool, &future, choose, text, strlen(text)));
    return future;
}

static void test_results(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static const struct {
        const char *text;
        const char *result; /* NULL: fails */
        aur_err err;
    } cases[] = {
        { "", "", AUR_OK },        { "z", "", AUR_OK },        { "t", "ttt", AUR_OK },
        { "r", "rr", AUR_OK },     { "e", NULL, AUR_ETOOBIG }, { "f", NULL, AUR_ETASK },
        { "h", NULL, AUR_ENOMEM }, { "o", "o", AUR_OK },       { "c", NULL, AUR_ETASK },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUR_SCOPED(aur_future) *future = submit(pool, cases[i].text);
        const void *data = &cases;
        size_t size = 99;
        AURT_ERR(cases[i].err, aur_future_view(future, &data, &size, AUR_NO_DEADLINE));
        if (cases[i].result == NULL) {
            assert_ptr_equal(data, &cases);
            assert_int_equal(size, 99);
            assert_int_equal(aur_future_error(future)->err, cases[i].err);
            assert_string_equal(aur_future_error(future)->function, "choose");
            continue;
        }
        assert_int_equal(size, strlen(cases[i].result));
        assert_memory_equal(size != 0 ? data : "", cases[i].result, size);
    }
    aurt_pool_end(pool);
}

static void test_map(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static aur_bytes in[1000];
    static aur_bytes out[1000];
    static char text[1000][8];

    for (int i = 0; i < 1000; i++) {
        in[i] = (aur_bytes){ text[i], (size_t)snprintf(text[i], sizeof(text[i]), "%d", i) };
    }
    AURT_OK(aur_map_bytes(pool, invert, in, 1000, out));
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(out[i].size, in[i].size);
        for (size_t k = 0; k < in[i].size; k++) {
            assert_int_equal(((const unsigned char *)out[i].data)[k], (unsigned char)~text[i][k]);
        }
    }
    /* In place: `in` is replaced, and its data stays the caller's. */
    AURT_OK(aur_map_bytes(pool, invert, out, 0, out));
    static aur_bytes again[1000];
    memcpy(again, out, sizeof(again));
    AURT_OK(aur_map_bytes(pool, invert, again, 1000, again));
    assert_memory_equal(again[123].data, "123", 3);
    aur_bytes_free(again, 1000);
    assert_null(again[0].data);
    assert_int_equal(again[0].size, 0);
    AURT_OK(aur_map_bytes(pool, invert, out, 1000, NULL));
    aur_bytes_free(out, 1000);
    aur_bytes_free(out, 1000); /* nothing left to free */
    aur_bytes_free(NULL, 5);
    aurt_pool_end(pool);
}

static void test_map_errors(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_bytes in[6] = { { "t", 1 }, { "e", 1 }, { "r", 1 }, { NULL, 0 }, { "f", 1 }, { "h", 1 } };
    aur_bytes out[6];
    aur_err errs[6];
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;

    memset(out, 0x77, sizeof(out));
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    AURT_ERR(AUR_ETOOBIG, aur_map_bytes_with(pool, &opts, choose, in, 6, out));
    assert_int_equal(aur_last_error()->item, 1);
    const aur_err want[6] = { AUR_OK, AUR_ETOOBIG, AUR_OK, AUR_OK, AUR_ETASK, AUR_ENOMEM };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(errs[i], want[i]);
        if (want[i] != AUR_OK) {
            assert_null(out[i].data);
            assert_int_equal(out[i].size, 0);
        }
    }
    assert_int_equal(out[0].size, 3);
    assert_int_equal(out[2].size, 2);
    aur_bytes_free(out, 6);
    aurt_pool_end(pool);
}

static void test_outside(void **state)
{
    (void)state;
    assert_null(aur_out_alloc(NULL, 5));
    aur_out_truncate(NULL, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_EACH(test_lengths),    AURT_EACH(test_results),   AURT_EACH(test_map),
        AURT_EACH(test_map_errors), AURT_EACH(test_alignment), cmocka_unit_test(test_outside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
