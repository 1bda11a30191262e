/* Goal:    shared buffers: tasks of the pool find them by number, others do not.
 * Method:  numbers of living, released and foreign buffers, and numbers that were never given out,
 *          opened inside and outside of tasks.
 * Guards:  src/pool/buf.c. */
#include "huge.h"
#include "kinds.h"

/* The sum of the buffer's bytes, or minus the error. */
static int64_t sum_of(uint64_t id)
{
    void *data = NULL;
    size_t size = 0;
    int64_t sum = 0;
    aur_err err = aur_buf_open(id, &data, &size);

    for (size_t i = 0; i < size; i++) {
        sum += ((unsigned char *)data)[i];
    }
    return err == AUR_OK ? sum : -err;
}
AUR_FN(int64_t, sum_of, uint64_t);

static int fill(uint64_t id, int byte)
{
    void *data;
    size_t size;

    if (aur_buf_open(id, &data, &size) != AUR_OK) {
        return aur_fail(1, "no buffer");
    }
    memset(data, byte, size);
    return 0;
}
AUR_FN(int, fill, uint64_t, int);

static int64_t sum_nested(uint64_t id)
{
    int64_t sum = 0;

    return aur_apply(aur_pool_current(), &sum, sum_of, id) == AUR_OK ? sum : -1000;
}
AUR_FN(int64_t, sum_nested, uint64_t);

static void test_use(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_buf) *buf = NULL;
    int64_t sum = 0;

    AURT_OK(aur_buf_new(pool, 1000, AUR_BUF_INOUT, &buf));
    assert_int_equal(aur_buf_size(buf), 1000);
    assert_int_equal((uintptr_t)aur_buf_data(buf) % 64, 0);
    memset(aur_buf_data(buf), 3, 1000);
    AURT_OK(aur_apply(pool, &sum, sum_of, aur_buf_id(buf)));
    assert_int_equal(sum, 3000);
    AURT_OK(aur_apply(pool, NULL, fill, aur_buf_id(buf), 7));
    AURT_OK(aur_apply(pool, &sum, sum_nested, aur_buf_id(buf)));
    assert_int_equal(sum, 7000);
    assert_int_equal(((unsigned char *)aur_buf_data(buf))[999], 7);
    uint64_t ids[100];
    int64_t sums[100];
    for (int i = 0; i < 100; i++) {
        ids[i] = aur_buf_id(buf);
    }
    AURT_OK(aur_map(pool, sum_of, ids, 100, sums));
    assert_int_equal(sums[99], 7000);
    assert_ptr_equal(aur_buf_ref(buf), buf);
    assert_null(aur_buf_unref(buf));
    assert_int_equal(aur_buf_size(buf), 1000);
    aurt_pool_end(pool);
    memset(aur_buf_data(buf), 1, 1000); /* it outlives its pool */
}

static void test_many(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_buf *buf[300];
    int64_t sum = 0;

    for (size_t i = 0; i < 300; i++) {
        AURT_OK(aur_buf_new(pool, i + 1, 0, &buf[i]));
        memset(aur_buf_data(buf[i]), 1, i + 1);
    }
    for (size_t i = 0; i < 300; i++) {
        AURT_OK(aur_apply(pool, &sum, sum_of, aur_buf_id(buf[i])));
        assert_int_equal(sum, i + 1);
    }
    for (size_t i = 0; i < 300; i += 2) {
        buf[i] = aur_buf_unref(buf[i]);
    }
    for (size_t i = 1; i < 300; i += 2) {
        AURT_OK(aur_apply(pool, &sum, sum_of, aur_buf_id(buf[i])));
        assert_int_equal(sum, i + 1);
        aur_buf_unref(buf[i]);
    }
    aurt_pool_end(pool);
}

static void test_wrong_numbers(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_pool *other = aurt_pool(state);
    AUR_SCOPED(aur_buf) *foreign = NULL;
    aur_buf *buf = NULL;
    int64_t sum = 0;

    AURT_OK(aur_buf_new(other, 10, 0, &foreign));
    AURT_OK(aur_buf_new(pool, 10, 0, &buf));
    uint64_t id = aur_buf_id(buf);
    buf = aur_buf_unref(buf);
    const uint64_t wrong[] = { id, aur_buf_id(foreign), 0, 1, UINT64_MAX, id + 1 };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        AURT_OK(aur_apply(pool, &sum, sum_of, wrong[i]));
        assert_int_equal(sum, -AUR_EINVAL);
    }
    /* The same address again gets another number. */
    AURT_OK(aur_buf_new(pool, 10, 0, &buf));
    assert_int_not_equal(aur_buf_id(buf), id);
    aur_buf_unref(buf);
    aurt_pool_end(pool);
    aurt_pool_end(other);
}

static void test_bad_input(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_buf *buf = (aur_buf *)(uintptr_t)1;
    void *data = &data;
    size_t size = 5;

    AURT_ERR(AUR_EINVAL, aur_buf_new(NULL, 10, 0, &buf));
    AURT_ERR(AUR_EINVAL, aur_buf_new(pool, 0, 0, &buf));
    AURT_ERR(AUR_EINVAL, aur_buf_new(pool, 10, 2, &buf));
    AURT_ERR(AUR_EINVAL, aur_buf_new(pool, 10, 0, NULL));
    AURT_ERR(AUR_ETOOBIG, aur_buf_new(pool, SIZE_MAX, 0, &buf));
    AURT_ERR(AUR_ENOMEM, aur_buf_new(pool, (size_t)1 << 60, 0, &buf));
    assert_ptr_equal(buf, (aur_buf *)(uintptr_t)1);
    assert_null(aur_buf_unref(NULL));
    assert_null(aur_buf_ref(NULL));
    assert_null(aur_buf_data(NULL));
    assert_int_equal(aur_buf_size(NULL), 0);
    assert_int_equal(aur_buf_id(NULL), 0);
    AURT_ERR(AUR_ENOTASK, aur_buf_open(0, &data, &size));
    AURT_ERR(AUR_EINVAL, aur_buf_open(0, NULL, &size));
    AURT_ERR(AUR_EINVAL, aur_buf_open(0, &data, NULL));
    assert_ptr_equal(data, &data);
    assert_int_equal(size, 5);
    aurt_pool_end(pool);
}

/* Its memory is gone; pools without processes take the heap's. */
static void test_after_the_end(void **state)
{
    aur_pool *pool = aurt_pool(state);
    const aurt_kind *kind = *state;
    aur_buf *buf = NULL;

    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_ERR(kind->kind == AUR_PROCESSES ? AUR_ESHUTDOWN : AUR_OK, aur_buf_new(pool, 10, 0, &buf));
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_EACH(test_use),         AURT_EACH(test_many),          AURT_SHARED(test_wrong_numbers),
        AURT_SHARED(test_bad_input), AURT_EACH(test_after_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
