/* Goal:    no function of the library is a cancellation point: a thread that pthread_cancel() was called for gets
 *          through all that it does here, and the pools, whose locks it takes, serve others afterwards.
 * Method:  a thread cancels itself, which stays pending, uses what waits, wakes, opens and closes, and meets the
 *          cancel only where it asks for it.  The functions that run in it have no cancellation point either.
 * Guards:  AURP_UNCANCELLED in src/plat. */
#include "kinds.h"

#include <pthread.h>

enum { N = 100 };

struct visit {
    aur_pool *pool;  /* made by a thread that is not cancelled: a fork would copy what is pending */
    aur_options own; /* of a pool that the thread makes itself */
    bool through;
};

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static aur_err twice(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, 2 * size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, in, size);
    memcpy(to + size, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(twice);

static void single_calls(aur_pool *pool)
{
    static unsigned char bytes[100000];
    aur_future *futures[4] = { NULL };
    const void *data;
    size_t size = 0;
    int value = 0;

    AURT_CHECK(aur_apply(pool, &value, square, 7) == AUR_OK && value == 49);
    for (int i = 0; i < 4; i++) {
        AURT_CHECK(aur_apply_async(pool, &futures[i], square, i) == AUR_OK);
    }
    AURT_CHECK(aur_wait_any(futures, 4, NULL, AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(aur_wait_all(futures, 4, AUR_NO_DEADLINE) == AUR_OK);
    for (int i = 0; i < 4; i++) {
        AURT_CHECK(aur_future_result(futures[i], &value, AUR_NO_DEADLINE) == AUR_OK &&
                   value == i * i);
        futures[i] = aur_future_unref(futures[i]);
    }
    AURT_CHECK(aur_apply_bytes(pool, &futures[0], twice, bytes, sizeof(bytes)) == AUR_OK);
    AURT_CHECK(aur_future_view(futures[0], &data, &size, AUR_NO_DEADLINE) == AUR_OK &&
               size == 2 * sizeof(bytes));
    aur_future_unref(futures[0]);
}

static void many_calls(aur_pool *pool)
{
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    int in[N];
    int out[N];
    int n = 0;

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    AURT_CHECK(aur_map(pool, square, in, N, out) == AUR_OK && out[N - 1] == (N - 1) * (N - 1));
    AURT_CHECK(aur_imap_unordered(pool, &iter, square, in, N) == AUR_OK);
    while (aur_imap_next(iter, &out[0], AUR_NO_DEADLINE) == AUR_OK) {
        n++;
    }
    AURT_CHECK(n == N);
}

static void looks(aur_pool *pool)
{
    AUR_SCOPED(aur_buf) *buf = NULL;
    aur_stats stats = { .size = sizeof(stats) };
    char text[1024];

    AURT_CHECK(aur_cpu_count() > 0);
    AURT_CHECK(aur_pool_stats(pool, &stats) == AUR_OK && stats.done != 0);
    AURT_CHECK(aur_pool_explain(pool, text, sizeof(text)) != 0);
    AURT_CHECK(aur_buf_new(pool, 1 << 20, 0, &buf) == AUR_OK);
}

static void *visit(void *arg)
{
    struct visit *v = arg;
    aur_pool *own = NULL;

    AURT_CHECK(pthread_cancel(pthread_self()) == 0);
    single_calls(v->pool);
    many_calls(v->pool);
    looks(v->pool);
    AURT_CHECK(aur_pool_new(&v->own, &own, NULL) == AUR_OK);
    single_calls(own);
    AURT_CHECK(aur_pool_join(own, AUR_NO_DEADLINE) == AUR_OK);
    aur_pool_unref(own);
    v->through = true;
    pthread_testcancel();
    return NULL;
}

static void test_gets_through(void **state)
{
    struct visit v = { .own = aurt_options(state) };
    pthread_t thread;
    void *end = NULL;
    int value = 0;

    v.pool = aurt_pool(state);
    v.own.start = v.own.kind == AUR_PROCESSES ? AUR_START_SPAWN : AUR_START_DEFAULT;
    assert_int_equal(pthread_create(&thread, NULL, visit, &v), 0);
    assert_int_equal(pthread_join(thread, &end), 0);
    assert_ptr_equal(end, PTHREAD_CANCELED);
    assert_true(v.through);
    AURT_OK(aur_apply(v.pool, &value, square, 9));
    assert_int_equal(value, 81);
    aurt_pool_end(v.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { AURT_EACH(test_gets_through) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
