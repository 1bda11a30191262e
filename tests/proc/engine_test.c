/* The process engine from the outside: calls, results, cancels, ends.  Deaths: deaths_test.c.
 *
 * Method: public API only; what tasks do to their process is done for real (SIGKILL, abort, exit).  A
 * writable shared buffer carries words that tasks and test meet on.  Guards: each outcome is the one
 * that its own task deserves, and nothing of a pool is left after join. */
/* aurt: no-tsan */
#include "engine_rig.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* ---- tasks --------------------------------------------------------------------------------- */

static int empty(int a)
{
    return a;
}
AUR_FN(int, empty, int);

struct big {
    unsigned char bytes[100000];
};
static struct big flip(struct big b)
{
    for (size_t i = 0; i < sizeof(b.bytes); i++) {
        b.bytes[i] ^= 0xff;
    }
    return b;
}
AUR_FN(struct big, flip, struct big);

struct middle {
    unsigned char bytes[40];
};
static struct middle turn(struct middle m)
{
    for (size_t i = 0; i < 20; i++) {
        unsigned char c = m.bytes[i];
        m.bytes[i] = m.bytes[39 - i];
        m.bytes[39 - i] = c;
    }
    return m;
}
AUR_FN(struct middle, turn, struct middle);

static int fails(int code)
{
    return aur_fail(code, "code is %d", code);
}
AUR_FN(int, fails, int);

static int counts(uint64_t id)
{
    return atomic_fetch_add(&words_of(id)->runs, 1);
}
AUR_FN(int, counts, uint64_t);

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

/* ---- calls --------------------------------------------------------------------------------- */

static void calls_on(uint32_t workers)
{
    aur_pool *pool = pool_of(workers);
    aur_future *futures[500];

    for (int i = 0; i < 500; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], add, i, 1000));
    }
    for (int i = 0; i < 500; i++) {
        int v = 0;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i + 1000);
        aur_future_unref(futures[i]);
    }
    aurt_pool_end(pool);
}

static void test_calls(void **state)
{
    (void)state;
    calls_on(1);
    calls_on(2);
    calls_on(16);
}

static void test_many_empty(void **state)
{
    enum { N = 1000000 };
    aur_pool *pool = pool_of(2);
    aur_future **futures = calloc(N, sizeof(*futures));

    (void)state;
    assert_non_null(futures);
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], empty, i));
    }
    for (int i = 0; i < N; i++) {
        int v = -1;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        if (v != i) {
            fail_msg("task %d gave %d", i, v);
        }
        aur_future_unref(futures[i]);
    }
    free(futures);
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.done, N);
    assert_int_equal(stats.workers, 0);
    aur_pool_unref(pool);
}

static void test_sizes(void **state)
{
    aur_pool *pool = pool_of(2);
    struct middle m, n;
    static struct big b, c;

    (void)state;
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 40; i++) {
            m.bytes[i] = (unsigned char)(i + round);
        }
        AURT_OK(aur_apply(pool, &n, turn, m));
        for (int i = 0; i < 40; i++) {
            assert_int_equal(n.bytes[i], (unsigned char)(39 - i + round));
        }
        memset(b.bytes, round, sizeof(b.bytes));
        AURT_OK(aur_apply(pool, &c, flip, b));
        assert_int_equal(c.bytes[0], (unsigned char)~round);
        assert_int_equal(c.bytes[sizeof(c.bytes) - 1], (unsigned char)~round);
    }
    aurt_pool_end(pool);
}

static void test_bytes(void **state)
{
    static const size_t sizes[] = { 0, 1, 31, 32, 33, 48, 49, 4096, 100000, (size_t)64 << 20 };
    aur_pool *pool = pool_of(2);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        unsigned char *in = malloc(n + 1);
        const void *view = NULL;
        size_t size = 99;
        aur_future *future = NULL;
        assert_non_null(in);
        memset(in, 0x5a, n);
        AURT_OK(aur_apply_bytes(pool, &future, invert, in, n));
        AURT_OK(aur_future_view(future, &view, &size, AUR_NO_DEADLINE));
        assert_int_equal(size, n);
        memset(in, 0xa5, n);
        assert_int_equal(memcmp(in, view, n), 0);
        aur_future_unref(future);
        free(in);
    }
    aurt_pool_end(pool);
}

static aur_err refuse(const void *in, size_t size, aur_out *out)
{
    (void)in;
    (void)out;
    return size != 0 ? AUR_EINVAL : AUR_OK;
}
AUR_BYTES_FN(refuse);

/* Arguments that lie in the arena go back to it when the task fails, too. */
static void test_large_failures(void **state)
{
    static unsigned char in[100000];
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int round = 0; round < 50; round++) {
        aur_future *future = NULL;
        AURT_OK(aur_apply_bytes(pool, &future, refuse, in, sizeof(in)));
        AURT_ERR(AUR_EINVAL, aur_future_outcome(future, AUR_NO_DEADLINE));
        aur_future_unref(future);
    }
    aurt_pool_end(pool);
}

/* More than the memory of any machine: refused before a byte is read. */
static void test_beyond_memory(void **state)
{
    aur_pool *pool = pool_of(1);
    aur_future *future = NULL;
    int v = 0;

    (void)state;
    AURT_ERR(AUR_ENOMEM, aur_apply_bytes(pool, &future, invert, "x", (size_t)1 << 46));
    assert_null(future);
    AURT_OK(aur_apply(pool, &v, die, DIE_NOT)); /* and the pool goes on */
    aurt_pool_end(pool);
}

/* A view stays readable after its worker and its pool are gone. */
static void test_view_outlives(void **state)
{
    aur_pool *pool = pool_of(1);
    unsigned char in[5000];
    const void *view = NULL;
    size_t size = 0;
    int v;
    aur_future *future = NULL;

    (void)state;
    memset(in, 1, sizeof(in));
    AURT_OK(aur_apply_bytes(pool, &future, invert, in, sizeof(in)));
    AURT_OK(aur_future_view(future, &view, &size, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, DIE_KILL));
    for (int i = 0; i < 20; i++) { /* the successor must not write there */
        aur_future *other = NULL;
        AURT_OK(aur_apply_bytes(pool, &other, invert, "abc", 3));
        AURT_OK(aur_future_wait(other, AUR_NO_DEADLINE));
        aur_future_unref(other);
    }
    aurt_pool_end(pool);
    assert_int_equal(size, sizeof(in));
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(((const unsigned char *)view)[i], 0xfe);
    }
    aur_future_unref(future);
}

static void test_failures(void **state)
{
    aur_pool *pool = pool_of(2);
    int v = 5;

    (void)state;
    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fails, 42));
    assert_int_equal(v, 5);
    const aur_error *error = aur_last_error();
    assert_non_null(error);
    assert_int_equal(error->code, 42);
    assert_string_equal(error->message, "code is 42");
    assert_string_equal(error->function, "fails");
    assert_non_null(strstr(error->site, "engine_test.c"));
    assert_true(error->pid > 0 && error->pid != getpid());
    assert_int_equal(error->attempts, 1);
    aurt_pool_end(pool);
}

/* ---- cancel -------------------------------------------------------------------------------- */

static void test_cancel(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    struct words *words;
    aur_future *futures[400];
    int what = 0, v = 0;

    (void)state;
    aur_pool *pool = pool_with(1, opts);
    aur_buf *buf = words_new(pool, &words);
    for (int i = 0; i < 50; i++) { /* so that many are sent ahead */
        AURT_OK(aur_apply(pool, &v, counts, aur_buf_id(buf)));
    }
    atomic_store(&words->runs, 0);
    AURT_OK(aur_apply_async(pool, &futures[0], wait_go, aur_buf_id(buf)));
    for (int i = 1; i < 400; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], counts, aur_buf_id(buf)));
    }
    aurt_event_wait(&words->begun);
    for (int i = 1; i < 400; i += 2) { /* some of them dispatched, some queued */
        AURT_OK(aur_future_cancel(futures[i], &what));
        assert_int_equal(what, AUR_CANCEL_DROPPED);
    }
    AURT_OK(aur_future_cancel(futures[0], &what));
    assert_int_equal(what, AUR_CANCEL_KILLED);
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(futures[0], AUR_NO_DEADLINE));
    for (int i = 1; i < 400; i++) {
        if (i % 2 == 1) {
            AURT_ERR(AUR_ECANCELED, aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        } else {
            AURT_OK(aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        }
    }
    assert_int_equal(atomic_load(&words->runs), 1 + 199); /* each of the others once */
    AURT_OK(aur_future_cancel(futures[2], &what));
    assert_int_equal(what, AUR_CANCEL_TOO_LATE);
    for (int i = 0; i < 400; i++) {
        aur_future_unref(futures[i]);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_terminate(void **state)
{
    struct words *words;
    aur_future *futures[300];

    (void)state;
    aur_pool *pool = pool_of(2);
    aur_buf *buf = words_new(pool, &words);
    for (int i = 0; i < 300; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], wait_go, aur_buf_id(buf)));
    }
    aurt_event_wait(&words->begun);
    AURT_OK(aur_pool_terminate(pool));
    for (int i = 0; i < 300; i++) {
        AURT_ERR(AUR_ECANCELED, aur_future_outcome(futures[i], AUR_NO_DEADLINE));
        aur_future_unref(futures[i]);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

/* ---- queue limit --------------------------------------------------------------------------- */

static void test_queue_limit(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    struct words *words;
    aur_future *futures[4];
    int v = 0;

    (void)state;
    opts.queue_max = 2;
    opts.queue_policy = AUR_QUEUE_FAIL;
    aur_pool *pool = pool_with(1, opts);
    aur_buf *buf = words_new(pool, &words);
    AURT_OK(aur_apply_async(pool, &futures[0], wait_go, aur_buf_id(buf)));
    aurt_event_wait(&words->begun);
    AURT_OK(aur_apply_async(pool, &futures[1], add, 1, 1));
    AURT_OK(aur_apply_async(pool, &futures[2], add, 2, 2));
    AURT_ERR(AUR_EBUSY, aur_apply_async(pool, &futures[3], add, 3, 3));
    aurt_event_set(&words->go);
    for (int i = 0; i < 3; i++) {
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        aur_future_unref(futures[i]);
    }
    assert_int_equal(v, 4);
    aur_buf_unref(buf);
    aurt_pool_end(pool);

    opts.queue_policy = AUR_QUEUE_BLOCK;
    pool = pool_with(2, opts);
    for (int i = 0; i < 5000; i++) {
        AURT_OK(aur_apply_async(pool, NULL, add, i, i));
    }
    aur_stats stats = { .size = sizeof(stats) };
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.done, 5000);
    aur_pool_unref(pool);
}

/* ---- noticing without waiting ----------------------------------------------------------------- */

static void set_event(void *ctx, aur_future *future)
{
    (void)future;
    aurt_event_set(ctx);
}

static void test_on_done(void **state)
{
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < 300; i++) {
        aurt_event event = { 0 };
        aur_future *future = NULL;
        AURT_OK(aur_apply_async(pool, &future, add, i, 1));
        AURT_OK(aur_future_on_done(future, set_event, &event));
        aurt_event_wait(&event); /* no thread looks after the rings but the guardian */
        assert_true(aur_future_done(future));
        aur_future_unref(future);
    }
    aurt_pool_end(pool);
}

struct waiter {
    aur_pool *pool;
    int from;
    int bad;
};

static void *waiter_main(void *arg)
{
    struct waiter *waiter = arg;

    for (int i = 0; i < 3000; i++) {
        int v = 0;
        waiter->bad += aur_apply(waiter->pool, &v, add, waiter->from, i) != AUR_OK;
        waiter->bad += v != waiter->from + i;
    }
    return NULL;
}

/* Leadership goes from thread to thread. */
static void test_many_waiters(void **state)
{
    enum { N = 6 };
    aur_pool *pool = pool_of(2);
    struct waiter waiters[N];
    pthread_t threads[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        waiters[i] = (struct waiter){ pool, i * 100000, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, waiter_main, &waiters[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(waiters[i].bad, 0);
    }
    aurt_pool_end(pool);
}

/* ---- nothing is left ----------------------------------------------------------------------- */

static void test_nothing_left(void **state)
{
    int v = 0;

    (void)state;
    calls_on(2); /* what the process makes once is made */
    size_t fds = aurt_fd_count();
    size_t threads = aurt_thread_count();
    size_t maps = aurt_map_count();
    for (int i = 0; i < 5; i++) {
        aur_pool *pool = pool_of(3);
        for (int j = 0; j < 20; j++) {
            AURT_OK(aur_apply(pool, &v, add, i, j));
        }
        AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, DIE_KILL));
        assert_int_equal(aurt_files_below("/dev/shm/"), 0);
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        aurt_threads_settle(threads);
        assert_int_equal(aurt_fd_count(), fds);
        assert_int_equal(aurt_child_count(), 0);
        aur_pool_unref(pool);
    }
    assert_true(aurt_map_count() <= maps + 3);
}

/* What the test above rests on: a file there would be seen, by its descriptor and its mapping. */
static void test_files_are_seen(void **state)
{
    char path[] = "/dev/shm/aurt-XXXXXX";

    (void)state;
    int fd = mkstemp(path);
    if (fd < 0) {
        skip(); /* no such folder here */
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(aurt_files_below("/dev/shm/"), 1);
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(page != MAP_FAILED);
    assert_int_equal(aurt_files_below("/dev/shm/"), 2);
    assert_int_equal(munmap(page, 4096), 0);
    close(fd);
}

/* The last unref ends everything by itself. */
static void test_unref_only(void **state)
{
    (void)state;
    size_t fds = aurt_fd_count();
    size_t threads = aurt_thread_count();
    aur_future *future = NULL;
    int v = 0;

    aur_pool *pool = pool_of(2);
    AURT_OK(aur_apply_async(pool, &future, add, 3, 4));
    aur_pool_unref(pool);
    AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    aur_future_unref(future);
    aurt_threads_settle(threads);
    while (aurt_fd_count() > fds) {
        sched_yield();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),          cmocka_unit_test(test_many_empty),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_large_failures), cmocka_unit_test(test_beyond_memory),
        cmocka_unit_test(test_view_outlives),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_cancel),         cmocka_unit_test(test_terminate),
        cmocka_unit_test(test_queue_limit),    cmocka_unit_test(test_on_done),
        cmocka_unit_test(test_many_waiters),   cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_files_are_seen), cmocka_unit_test(test_unref_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
