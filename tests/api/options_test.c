/* Goal:    aur_options and aur_call_options: sizes, tails and each field, with a diagnosis that
 *          names the field and the value.
 * Method:  one table of good values, one of bad ones; pools are serial where the kind does not
 *          matter.
 * Guards:  src/pool/options.c. */
#include "kinds.h"

static int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);

/* A struct of a header that knows one field more. */
struct newer_options {
    aur_options known;
    uint64_t unknown;
};
struct newer_call_options {
    aur_call_options known;
    uint64_t unknown;
};

static void refused(const aur_options *opts, aur_err want, const char *field, const char *value)
{
    aur_pool *pool = (aur_pool *)(uintptr_t)1;
    aur_diag diag;

    AURT_ERR(want, aur_pool_new(opts, &pool, &diag));
    assert_ptr_equal(pool, (aur_pool *)(uintptr_t)1);
    assert_int_equal(diag.err, want);
    assert_string_not_equal(diag.step, "");
    if (strstr(diag.text, field) == NULL || strstr(diag.text, value) == NULL) {
        fail_msg("\"%s\" does not name %s and %s", diag.text, field, value);
    }
    AURT_ERR(want, aur_pool_new(opts, &pool, NULL));
}

static aur_options with_kind(int32_t kind)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = kind;
    opts.workers = 1;
    return opts;
}

static void test_sizes_and_tails(void **state)
{
    (void)state;
    struct newer_options newer = { .known = with_kind(AUR_SERIAL) };
    aur_pool *pool = NULL;

    newer.known.size = sizeof(newer);
    AURT_OK(aur_pool_new(&newer.known, &pool, NULL));
    aur_pool_scoped_(&pool);
    assert_null(pool);
    newer.unknown = 1;
    refused(&newer.known, AUR_EINVAL, "size", "144");
    newer.known.size = sizeof(aur_options);
    AURT_OK(aur_pool_new(&newer.known, &pool, NULL)); /* what lies behind is none of our business */
    aur_pool_scoped_(&pool);
    newer.known.size = offsetof(aur_options, exec_argv); /* a program of the first version */
    newer.known.exec_fds_n = 7;
    AURT_OK(aur_pool_new(&newer.known, &pool, NULL));
    aur_pool_scoped_(&pool);
    newer.known.size = offsetof(aur_options, exec_argv) - 1;
    refused(&newer.known, AUR_EINVAL, "size", "111");
    newer.known.size = 0;
    refused(&newer.known, AUR_EINVAL, "size", "0");
    newer.known.size = SIZE_MAX; /* never set: what it promises is not read */
    refused(&newer.known, AUR_EINVAL, "size", "18446744073709551615");
}

static void test_null(void **state)
{
    (void)state;
    aur_diag diag;
    aur_options opts = with_kind(AUR_SERIAL);
    aur_pool *pool = NULL;

    AURT_ERR(AUR_EINVAL, aur_pool_new(&opts, NULL, &diag));
    assert_non_null(strstr(diag.text, "ret_pool"));
    AURT_ERR(AUR_EINVAL, aur_pool_new(&opts, NULL, NULL));
    AURT_OK(aur_pool_new(NULL, &pool, NULL)); /* all defaults: threads */
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.workers, aur_cpu_count());
    aur_pool_scoped_(&pool);
}

static void test_bad_fields(void **state)
{
    (void)state;
    aur_options opts;

#define BAD(kind_, field_, value_, text_)                                                          \
    opts = with_kind(kind_);                                                                       \
    opts.field_ = value_;                                                                          \
    refused(&opts, AUR_EINVAL, "aur_options." #field_, text_)

    BAD(AUR_SERIAL, kind, 4, "4");
    BAD(AUR_SERIAL, kind, -1, "-1");
    BAD(AUR_THREADS, start, 4, "4");
    BAD(AUR_THREADS, start, -1, "-1");
    BAD(AUR_THREADS, start, AUR_START_FORK, "1");
    BAD(AUR_SERIAL, start, AUR_START_SPAWN, "2");
    BAD(AUR_THREADS, workers, 4097, "4097");
    BAD(AUR_PROCESSES, workers, UINT32_MAX, "4294967295");
    BAD(AUR_THREADS, spares_max, 4097, "4097");
    BAD(AUR_SERIAL, queue_policy, 3, "3");
    BAD(AUR_SERIAL, queue_policy, -1, "-1");
    BAD(AUR_PROCESSES, queue_policy, AUR_QUEUE_CALLER_RUNS, "CALLER_RUNS");
    BAD(AUR_AUTO, start, AUR_START_EXEC, "AUR_START_EXEC");
    BAD(AUR_AUTO, queue_policy, AUR_QUEUE_CALLER_RUNS, "CALLER_RUNS");
    BAD(AUR_SERIAL, retries, 65535, "65535");
    BAD(AUR_SERIAL, retry_on, 8, "0x8");
    BAD(AUR_SERIAL, flags, AUR_POOL_KEEP_FDS, "0x4");
    BAD(AUR_THREADS, flags, AUR_POOL_BREAK_ON_DEATH, "0x8");
    BAD(AUR_PROCESSES, flags, AUR_POOL_FIFO, "0x10");
    BAD(AUR_AUTO, flags, AUR_POOL_FIFO | AUR_POOL_FIXED, "0x12");
    BAD(AUR_THREADS, flags, 32, "0x20");
    BAD(AUR_THREADS, tasks_per_worker_max, 7, "7");
    BAD(AUR_THREADS, memory_max_bytes, 77, "77");
    BAD(AUR_SERIAL, memory_max_bytes, 1, "1");
#undef BAD
    opts = with_kind(AUR_PROCESSES);
    opts.start = AUR_START_SPAWN;
    opts.worker_ctx = &opts;
    refused(&opts, AUR_EINVAL, "aur_options.worker_ctx", "SPAWN");
    opts = with_kind(AUR_PROCESSES);
    opts.start = AUR_START_SPAWN;
    opts.flags = AUR_POOL_KEEP_FDS;
    refused(&opts, AUR_EINVAL, "aur_options.flags", "KEEP_FDS");
    opts = with_kind(AUR_PROCESSES);
    opts.start = AUR_START_EXEC;
    refused(&opts, AUR_EINVAL, "aur_options.exec_argv", "AUR_START_EXEC");
    static const int fds[9] = { 0 };
    opts.exec_fds = fds;
    opts.exec_fds_n = 9; /* to a program that runs already */
    refused(&opts, AUR_EINVAL, "aur_options.exec_fds_n", "9");
    opts.exec_fds = NULL;
    static const char *const argv[] = { "/bin/true", NULL };
    opts.exec_argv = argv;
    opts.exec_fds_n = 1;
    refused(&opts, AUR_EINVAL, "aur_options.exec_fds_n", "1");
    opts.start = AUR_START_FORK;
    opts.exec_fds_n = 0;
    refused(&opts, AUR_EINVAL, "aur_options.exec_argv", "AUR_START_EXEC");
    opts = with_kind(AUR_AUTO);
    opts.start = AUR_START_SPAWN;
    opts.worker_ctx = &opts;
    refused(&opts, AUR_EINVAL, "aur_options.worker_ctx", "SPAWN");
}

static void test_good_fields(void **state)
{
    aur_options opts;
    int out = 0;

#define GOOD(field_, value_)                                                                       \
    do {                                                                                           \
        AUR_SCOPED(aur_pool) *pool = NULL;                                                         \
        opts = aurt_options(state);                                                                \
        opts.field_ = value_;                                                                      \
        AURT_OK(aur_pool_new(&opts, &pool, NULL));                                                 \
        AURT_OK(aur_apply(pool, &out, twice, 21));                                                 \
        assert_int_equal(out, 42);                                                                 \
    } while (0)

    GOOD(workers, 1);
    GOOD(spares_max, 1);
    GOOD(spares_max, AUR_NO_SPARES);
    GOOD(queue_max, 1);
    GOOD(queue_policy, AUR_QUEUE_FAIL);
    GOOD(queue_policy, AUR_QUEUE_CALLER_RUNS);
    GOOD(retries, 65534);
    GOOD(retry_on, AUR_RETRY_WORKER | AUR_RETRY_DEADLINE | AUR_RETRY_ERROR);
    GOOD(flags, AUR_POOL_NO_HELP);
    GOOD(flags, AUR_POOL_FIXED);
    GOOD(flags, AUR_POOL_FIFO);
    GOOD(item_timeout_ns, UINT64_MAX);
    GOOD(worker_ctx, &out);
    GOOD(name, "");
    GOOD(name, "a name that is much longer than what a thread may be called");
#undef GOOD
}

static void test_call_options(void **state)
{
    AUR_SCOPED(aur_pool) *pool = aurt_pool(state);
    struct newer_call_options newer = { .known = AUR_CALL_OPTIONS_INIT };
    aur_call_options *opts = &newer.known;
    int out = 0;

    newer.known.size = sizeof(newer);
    AURT_OK(aur_apply_with(pool, opts, &out, twice, 4));
    assert_int_equal(out, 8);
    newer.unknown = 1;
    AURT_ERR(AUR_EINVAL, aur_apply_with(pool, opts, &out, twice, 4));
    assert_non_null(strstr(aur_last_error()->message, "does not know"));

#define BAD(field_, value_)                                                                        \
    *opts = (aur_call_options)AUR_CALL_OPTIONS_INIT;                                               \
    opts->field_ = value_;                                                                         \
    AURT_ERR(AUR_EINVAL, aur_apply_with(pool, opts, &out, twice, 5));                              \
    AURT_ERR(AUR_EINVAL, aur_map_with(pool, opts, twice, &out, 1, &out));                          \
    assert_non_null(strstr(aur_last_error()->message, "aur_call_options." #field_));               \
    assert_int_equal(aur_last_error()->err, AUR_EINVAL)

    BAD(size, sizeof(*opts) - 1);
    BAD(size, 0);
    BAD(size, SIZE_MAX);
    BAD(retries, 65535);
    BAD(retry_on, 16);
    BAD(flags, 2);
    BAD(reserved0, 1);
#undef BAD
    assert_int_equal(out, 8);

#define GOOD(field_, value_)                                                                       \
    *opts = (aur_call_options)AUR_CALL_OPTIONS_INIT;                                               \
    opts->field_ = value_;                                                                         \
    AURT_OK(aur_apply_with(pool, opts, &out, twice, 6));                                           \
    assert_int_equal(out, 12)

    GOOD(item_timeout_ns, UINT64_MAX);
    GOOD(retries, 3);
    GOOD(retries, UINT32_MAX);
    GOOD(retry_on, AUR_RETRY_ERROR);
    GOOD(flags, AUR_CALL_ALL_ERRORS);
    GOOD(window_items, 1);
    GOOD(window_bytes, 1);
#undef GOOD
}

static void test_explain(void **state)
{
    aur_options opts = aurt_options(state);
    char text[1024];
    char small[10];

    opts.name = "orion";
    opts.queue_max = 17;
    opts.queue_policy = AUR_QUEUE_FAIL;
    opts.retries = 5;
    opts.item_timeout_ns = 1500000000;
    AUR_SCOPED(aur_pool) *pool = aurt_pool_with(&opts);
    size_t length = aur_pool_explain(pool, text, sizeof(text));
    assert_int_equal(length, strlen(text));
    assert_non_null(strstr(text, "orion"));
    assert_non_null(strstr(text, "17"));
    assert_non_null(strstr(text, "1.5 s"));
    if (opts.kind == AUR_THREADS) { /* what loops go by */
        assert_non_null(strstr(text, "to wake one costs a loop"));
    }
    assert_int_equal(aur_pool_explain(pool, NULL, 0), length);
    memset(small, 'x', sizeof(small));
    assert_int_equal(aur_pool_explain(pool, small, sizeof(small)), length);
    assert_int_equal(strlen(small), sizeof(small) - 1);
    assert_memory_equal(small, text, sizeof(small) - 1);
    assert_int_equal(aur_pool_explain(NULL, text, sizeof(text)), 0);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_tails), cmocka_unit_test(test_null),
        cmocka_unit_test(test_bad_fields),      AURT_SHARED(test_good_fields),
        AURT_EACH(test_call_options),           AURT_EACH(test_explain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
