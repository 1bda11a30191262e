/* Goal:    a thread may call the library in the destructors of its thread-specific data, before and after the library
 *          has given up what it knew of the thread, and may leave futures to others.
 * Method:  destructors of keys that are older and younger than the library's call it, and set their value again, so
 *          that the C library runs them for as many rounds as it does that.
 * Guards:  key_destroy() and auri_self_slow_() in src/task/record.c, slab_put() in src/task/slab.c. */
/* That sanitizer ends its own account of a thread in the last round: */
/* aurt: no-tsan */
#include "kinds.h"

#include <pthread.h>

enum { N = 50, THREADS = 20 };

static aur_pool *the_pool;
static pthread_key_t older, younger;
static _Atomic(int) destructions;

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static void call(int x)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int in[N];
    int out[N];
    int value = 0;

    for (int i = 0; i < N; i++) {
        in[i] = i;
    }
    AURT_CHECK(aur_apply(the_pool, &value, square, x) == AUR_OK && value == x * x);
    AURT_CHECK(aur_map(the_pool, square, in, N, out) == AUR_OK && out[N - 1] == (N - 1) * (N - 1));
    AURT_CHECK(aur_apply_async(the_pool, &future, square, x) == AUR_OK);
    AURT_CHECK(aur_future_result(future, &value, AUR_NO_DEADLINE) == AUR_OK && value == x * x);
    AURT_CHECK(aur_future_wait(NULL, 0) == AUR_EINVAL && aur_last_error() != NULL);
}

static void destroy(void *key)
{
    call(3);
    atomic_fetch_add(&destructions, 1);
    AURT_CHECK(pthread_setspecific(*(pthread_key_t *)key, key) == 0);
}

static void *end_with(void *ret_future)
{
    AURT_CHECK(pthread_setspecific(older, &older) == 0);
    AURT_CHECK(pthread_setspecific(younger, &younger) == 0);
    AURT_CHECK(aur_apply_async(the_pool, ret_future, square, 5) == AUR_OK);
    call(4);
    return NULL;
}

static void test_destructors(void **state)
{
    the_pool = aurt_pool(state);
    atomic_store(&destructions, 0);
    for (int i = 0; i < THREADS; i++) {
        aur_future *future = NULL;
        pthread_t thread;
        int value = 0;

        assert_int_equal(pthread_create(&thread, NULL, end_with, &future), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        AURT_OK(aur_future_result(future, &value, AUR_NO_DEADLINE));
        assert_int_equal(value, 25);
        aur_future_unref(future);
    }
    assert_true(atomic_load(&destructions) >= 4 * THREADS); /* two keys, more than one round */
    aurt_pool_end(the_pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { AURT_EACH(test_destructors) };
    aur_pool *pool = NULL;

    AURT_CHECK(pthread_key_create(&older, destroy) == 0);
    pool = aurt_threads_of(1); /* makes the library's key */
    aurt_pool_end(pool);
    AURT_CHECK(pthread_key_create(&younger, destroy) == 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
