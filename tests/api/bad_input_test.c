/* Goal:    bad input gets the error that the headers promise, the details can be read, nothing is
 *          written, and the pool works as before.
 * Method:  one block per public function; the kind is the parameter.  What a closed pool and a
 *          forked child get is in pool_test.c, queues are in queue_test.c, options in
 *          options_test.c, buffers in buf_test.c.
 * Guards:  the Errors lines of include/auriga. */
#include "kinds.h"

#include <sys/eventfd.h>

static int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);
static void nothing(int x)
{
    (void)x;
}
AUR_FN_VOID(nothing, int);
static void range_body(uint64_t lo, uint64_t hi, int *ctx)
{
    (void)lo;
    (void)hi;
    (void)ctx;
}
AUR_RANGE_FN(range_body, int);
static aur_err bytes_body(const void *in, size_t size, aur_out *out)
{
    (void)in;
    (void)size;
    (void)out;
    return AUR_OK;
}
AUR_BYTES_FN(bytes_body);

static bool no_input(void *ctx, void *args)
{
    (void)ctx;
    (void)args;
    return false;
}

#define UNTOUCHED ((void *)(uintptr_t)0x5a5a)

/* Each verb that takes one record, with whatever fn. */
static void all_refuse(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                       const void *args, aur_err want)
{
    aur_future *future = UNTOUCHED;
    aur_imap_iter *iter = UNTOUCHED;
    int v = 5;

    AURT_ERR(want, aur_fn_submit(pool, opts, fn, args, &future, "here:1"));
    assert_int_equal(aur_last_error()->err, want);
    assert_string_equal(aur_last_error()->site, "here:1");
    assert_string_not_equal(aur_last_error()->message, "");
    AURT_ERR(want, aur_fn_submit(pool, opts, fn, args, NULL, NULL));
    AURT_ERR(want, aur_fn_call(pool, opts, fn, args, &v, "here:2"));
    assert_string_equal(aur_last_error()->site, "here:2");
    AURT_ERR(want, aur_fn_map(pool, opts, fn, args, 1, &v, "here:3"));
    assert_string_equal(aur_last_error()->site, "here:3");
    AURT_ERR(want, aur_fn_map_async(pool, opts, fn, args, 1, &v, &future, "here:4"));
    assert_string_equal(aur_last_error()->site, "here:4");
    AURT_ERR(want, aur_fn_imap_array(pool, opts, fn, args, 1, true, &iter, "here:5"));
    assert_string_equal(aur_last_error()->site, "here:5");
    if (args != NULL) {
        AURT_ERR(want, aur_fn_imap(pool, opts, fn, no_input, NULL, true, &iter, "here:6"));
        assert_string_equal(aur_last_error()->site, "here:6");
    }
    assert_ptr_equal(future, UNTOUCHED);
    assert_ptr_equal(iter, UNTOUCHED);
    assert_int_equal(v, 5);
}

static void still_works(aur_pool *pool)
{
    int v = 0;

    AURT_OK(aur_apply(pool, &v, twice, 4));
    assert_int_equal(v, 8);
}

static void test_calls(void **state)
{
    aur_pool *pool = aurt_pool(state);
    int in = 1;

    all_refuse(NULL, NULL, &twice_aur_fn, &in, AUR_EINVAL);
    all_refuse(pool, NULL, NULL, &in, AUR_EINVAL);
    all_refuse(pool, NULL, &twice_aur_fn, NULL, AUR_EINVAL);
    all_refuse(pool, NULL, &range_body_aur_fn, &in, AUR_EINVAL);
    all_refuse(pool, NULL, &bytes_body_aur_fn, &in, AUR_EINVAL);
    still_works(pool);
    aurt_pool_end(pool);
}

static void test_descriptors(void **state)
{
    aur_pool *pool = aurt_pool(state);
    static char args[4096];

#define BAD(want, field_, value_)                                                                  \
    do {                                                                                           \
        aur_fn fn = twice_aur_fn;                                                                  \
        fn.field_ = value_;                                                                        \
        all_refuse(pool, NULL, &fn, args, want);                                                   \
    } while (0)

    BAD(AUR_EINVAL, abi, 0);
    BAD(AUR_EINVAL, abi, AUR_FN_ABI + 1);
    BAD(AUR_EINVAL, flags, 4);
    BAD(AUR_EINVAL, flags, AUR_FN_RANGE_BODY | AUR_FN_BYTES);
    BAD(AUR_EINVAL, args_size, 0);
    BAD(AUR_EINVAL, args_size, 5);
    BAD(AUR_EINVAL, ret_size, 6);
    BAD(AUR_EINVAL, args_align, 0);
    BAD(AUR_EINVAL, args_align, 3);
    BAD(AUR_EINVAL, args_align, 8192);
    BAD(AUR_EINVAL, ret_align, 0);
    BAD(AUR_EINVAL, ret_align, 12);
    BAD(AUR_EINVAL, ret_align, 8192);
    BAD(AUR_EINVAL, range, NULL);
    BAD(AUR_EINVAL, name, NULL);
    BAD(AUR_ETOOBIG, args_size, (1u << 20) + 4);
    BAD(AUR_ETOOBIG, ret_size, (1u << 20) + 4);
#undef BAD
    still_works(pool);
    aurt_pool_end(pool);
}

/* A context is copied to each worker process, and to nobody else. */
struct big {
    char bytes[(1u << 20) + 64];
};
static void touch(uint64_t lo, uint64_t hi, struct big *ctx)
{
    for (uint64_t i = lo; i < hi; i++) {
        ctx->bytes[i] = 1;
    }
}
AUR_RANGE_FN(touch, struct big);

static void test_big_context(void **state)
{
    static struct big big;
    aur_pool *pool = aurt_pool(state);
    bool copies = ((aurt_kind *)*state)->kind == AUR_PROCESSES;

    AURT_ERR(copies ? AUR_ETOOBIG : AUR_OK, aur_for(pool, 0, 4, touch, &big));
    assert_true(copies || big.bytes[3] == 1);
    still_works(pool);
    aurt_pool_end(pool);
}

static void test_maps(void **state)
{
    aur_pool *pool = aurt_pool(state);
    int in = 1;
    int v = 5;
    aur_future *future = UNTOUCHED;

    AURT_ERR(AUR_EINVAL, aur_map(pool, twice, (int *)NULL, 1, &v));
    AURT_OK(aur_map(pool, twice, (int *)NULL, 0, &v));
    AURT_ERR(AUR_EINVAL, aur_map(pool, twice, &in, SIZE_MAX, &v));
    AURT_ERR(AUR_EINVAL, aur_map(pool, twice, &in, SIZE_MAX / 4 + 1, NULL));
    AURT_ERR(AUR_EINVAL, aur_map_async(pool, &future, twice, &in, SIZE_MAX, &v));
    AURT_ERR(AUR_EINVAL,
             aur_fn_map(pool, NULL, &nothing_aur_fn, &in, 1, &v, NULL)); /* no results */
    AURT_ERR(AUR_EINVAL, aur_fn_map(NULL, NULL, &twice_aur_fn, &in, 0, &v, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_for(pool, NULL, 2, 1, &range_body_aur_fn, &in, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_for(pool, NULL, 0, 1, &twice_aur_fn, &in, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_for(pool, NULL, 0, 1, &range_body_aur_fn, NULL, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_for(NULL, NULL, 0, 1, &range_body_aur_fn, &in, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_for(pool, NULL, 0, 1, NULL, &in, NULL));
    assert_ptr_equal(future, UNTOUCHED);
    assert_int_equal(v, 5);
    still_works(pool);
    aurt_pool_end(pool);
}

static void test_imap(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    int in[2] = { 1, 2 };
    int v = 5;
    char small = 6;
    uint64_t index = 7;

    AURT_ERR(AUR_EINVAL, aur_fn_imap(pool, NULL, &twice_aur_fn, NULL, NULL, true, &iter, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_imap(pool, NULL, &twice_aur_fn, no_input, NULL, true, NULL, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_imap_array(pool, NULL, &twice_aur_fn, in, 2, true, NULL, NULL));
    AURT_ERR(AUR_EINVAL,
             aur_fn_imap_array(pool, NULL, &twice_aur_fn, in, SIZE_MAX, true, &iter, NULL));
    assert_null(iter);
    AURT_ERR(AUR_EINVAL, aur_imap_next(iter, &v, 0));
    AURT_OK(aur_imap(pool, &iter, twice, in, 2));
    AURT_ERR(AUR_ESIZE, aur_imap_next(iter, &small, AUR_NO_DEADLINE));
    AURT_ERR(AUR_ESIZE, aur_imap_next_sized(iter, &v, 0, &index, AUR_NO_DEADLINE));
    assert_int_equal(small, 6);
    assert_int_equal(index, 7);
    AURT_OK(aur_imap_next_sized(iter, NULL, 0, &index, AUR_NO_DEADLINE)); /* nothing was lost */
    assert_int_equal(index, 0);
    AURT_OK(aur_imap_next(iter, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 4);
    AURT_ERR(AUR_END, aur_imap_next(iter, &v, AUR_NO_DEADLINE));
    aurt_pool_end(pool);
}

static void test_bytes(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = UNTOUCHED;
    aur_bytes in = { "x", 1 };
    aur_bytes out = { "y", 1 };
    aur_fn fn = bytes_body_aur_fn;

    AURT_ERR(AUR_EINVAL, aur_apply_bytes(NULL, &future, bytes_body, "x", 1));
    AURT_ERR(AUR_EINVAL, aur_apply_bytes(pool, &future, bytes_body, NULL, 1));
    AURT_ERR(AUR_EINVAL, aur_fn_submit_bytes(pool, NULL, NULL, "x", 1, &future, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_submit_bytes(pool, NULL, &twice_aur_fn, "x", 1, &future, NULL));
    fn.args_size = 8;
    AURT_ERR(AUR_EINVAL, aur_fn_submit_bytes(pool, NULL, &fn, "x", 1, &future, NULL));
    AURT_ERR(AUR_EINVAL, aur_map_bytes(NULL, bytes_body, &in, 1, &out));
    AURT_ERR(AUR_EINVAL, aur_map_bytes(pool, bytes_body, NULL, 1, &out));
    AURT_ERR(AUR_EINVAL, aur_map_bytes(pool, bytes_body, &in, SIZE_MAX / 8, &out));
    AURT_ERR(AUR_EINVAL, aur_fn_map_bytes(pool, NULL, &twice_aur_fn, &in, 1, &out, NULL));
    assert_ptr_equal(future, UNTOUCHED);
    assert_int_equal(out.size, 1);
    AURT_OK(aur_apply_bytes(pool, NULL, bytes_body, NULL, 0));
    still_works(pool);
    aurt_pool_end(pool);
}

static void done_fn(void *ctx, aur_future *future)
{
    (void)ctx;
    (void)future;
}

static void test_futures(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *future = NULL;
    const void *data = UNTOUCHED;
    size_t size = 7;
    int v = 5;
    long wrong = 6;
    int what = 8;

    AURT_ERR(AUR_EINVAL, aur_future_wait(NULL, 0));
    AURT_ERR(AUR_EINVAL, aur_future_outcome(NULL, 0));
    AURT_ERR(AUR_EINVAL, aur_future_result(NULL, &v, 0));
    AURT_ERR(AUR_EINVAL, aur_future_view(NULL, &data, &size, 0));
    AURT_ERR(AUR_EINVAL, aur_future_cancel(NULL, &what));
    AURT_ERR(AUR_EINVAL, aur_future_on_done(NULL, done_fn, NULL));
    AURT_ERR(AUR_EINVAL, aur_future_eventfd(NULL, 1));
    AURT_ERR(AUR_EINVAL, aur_future_open(0, NULL));
    assert_false(aur_future_done(NULL));
    assert_null(aur_future_error(NULL));
    assert_int_equal(aur_future_id(NULL), UINT64_MAX);

    AURT_OK(aur_apply_async(pool, &future, twice, 2));
    AURT_ERR(AUR_EINVAL, aur_future_result_sized(future, NULL, 4, AUR_NO_DEADLINE));
    AURT_ERR(AUR_ESIZE, aur_future_result(future, &wrong, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EINVAL, aur_future_view(future, NULL, &size, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EINVAL, aur_future_view(future, &data, NULL, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EINVAL, aur_future_on_done(future, NULL, NULL));
    AURT_ERR(AUR_EINVAL, aur_future_eventfd(future, -1));
    assert_true(v == 5 && wrong == 6 && size == 7 && data == UNTOUCHED && what == 8);
    AURT_OK(aur_future_view(future, &data, &size, AUR_NO_DEADLINE));
    assert_int_equal(*(const int *)data, 4);
    assert_int_equal(size, sizeof(int));
    int fd = eventfd(0, EFD_CLOEXEC);
    uint64_t rung = 0;
    AURT_OK(aur_future_eventfd(future, fd));
    assert_int_equal(read(fd, &rung, sizeof(rung)), sizeof(rung));
    assert_int_equal(rung, 1);
    close(fd);
    aur_future_unref(future);

    /* A call that returns nothing has no result of any size. */
    AURT_OK(aur_apply_async(pool, &future, nothing, 2));
    AURT_ERR(AUR_ESIZE, aur_future_result(future, &v, AUR_NO_DEADLINE));
    AURT_OK(aur_future_view(future, &data, &size, AUR_NO_DEADLINE));
    assert_null(data);
    assert_int_equal(size, 0);
    aur_future_unref(future);
    aurt_pool_end(pool);
}

static void test_several(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_future *none[2] = { NULL, NULL };
    aur_future *future = NULL;
    aur_completed *c = UNTOUCHED;
    size_t index = 9;

    AURT_ERR(AUR_EINVAL, aur_wait_all(NULL, 1, 0));
    AURT_OK(aur_wait_all(NULL, 0, 0));
    AURT_OK(aur_wait_all(none, 2, 0));
    AURT_ERR(AUR_EINVAL, aur_wait_any(NULL, 1, &index, 0));
    AURT_ERR(AUR_EINVAL, aur_wait_any(none, 0, &index, 0));
    AURT_ERR(AUR_EINVAL, aur_wait_any(none, 2, &index, 0));
    AURT_ERR(AUR_EINVAL, aur_wait_first_error(NULL, 1, &index, 0));
    AURT_ERR(AUR_EINVAL, aur_as_completed(NULL, 1, &c));
    AURT_ERR(AUR_EINVAL, aur_as_completed(none, 1, NULL));
    assert_ptr_equal(c, UNTOUCHED);
    AURT_ERR(AUR_EINVAL, aur_completed_next(NULL, &index, 0));
    assert_int_equal(index, 9);
    AURT_OK(aur_as_completed(NULL, 0, &c));
    AURT_ERR(AUR_END, aur_completed_next(c, &index, 0));
    AURT_OK(aur_apply_async(pool, &future, twice, 2));
    AURT_ERR(AUR_EINVAL, aur_completed_add(NULL, future));
    AURT_ERR(AUR_EINVAL, aur_completed_add(c, NULL));
    AURT_OK(aur_completed_add(c, future));
    AURT_OK(aur_completed_next(c, &index, AUR_NO_DEADLINE));
    assert_int_equal(index, 0);
    assert_null(aur_completed_free(c));
    assert_null(aur_completed_free(NULL));
    aur_future_unref(future);
    aurt_pool_end(pool);
}

static void test_pools(void **state)
{
    aur_pool *pool = aurt_pool(state);
    aur_stats stats = { 0 };
    struct {
        aur_stats known;
        uint64_t unknown;
    } newer = { { .size = sizeof(newer) }, 3 };

    AURT_ERR(AUR_EINVAL, aur_pool_close(NULL));
    AURT_ERR(AUR_EINVAL, aur_pool_terminate(NULL));
    AURT_ERR(AUR_EINVAL, aur_pool_join(NULL, 0));
    AURT_ERR(AUR_EINVAL, aur_pool_stats(pool, NULL));
    AURT_ERR(AUR_EINVAL, aur_pool_stats(pool, &stats)); /* size 0 */
    AURT_ERR(AUR_EINVAL, aur_pool_stats(pool, &newer.known));
    stats.size = sizeof(stats);
    AURT_ERR(AUR_EINVAL, aur_pool_stats(NULL, &stats));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.size, sizeof(stats));
    int32_t pid;
    size_t n;
    AURT_ERR(AUR_EINVAL, aur_pool_pids(NULL, &pid, 1, 0, &n));
    AURT_ERR(AUR_EINVAL, aur_pool_pids(pool, NULL, 1, 0, &n));
    AURT_ERR(AUR_EINVAL, aur_pool_pids(pool, &pid, 1, 0, NULL));
    AURT_ERR(AUR_EINVAL, aur_pool_exit_status(NULL, 1, 0, &pid));
    AURT_ERR(AUR_EINVAL, aur_pool_exit_status(pool, 1, 0, NULL));
    AURT_OK(aur_checkpoint());
    aur_blocking_begin(); /* outside a task: nothing */
    aur_blocking_end();
    aur_blocking_end();
    still_works(pool);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_EACH(test_calls),       AURT_EACH(test_descriptors), AURT_EACH(test_maps),
        AURT_EACH(test_big_context), AURT_EACH(test_imap),        AURT_EACH(test_bytes),
        AURT_EACH(test_futures),     AURT_EACH(test_several),     AURT_EACH(test_pools),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
