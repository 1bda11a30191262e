/* Goal:    the low end of a stack is known, of the first thread, of another, and after a fork from either.
 * Method:  compared with what the C library finds out, which for the first thread reads the list of mappings.  A
 *          limit that is large, or none, makes it ask the C library.
 * Guards:  aurp_stack_low() in src/plat/linux.c.
 */
#define _GNU_SOURCE
#include "aurt.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/plat.h"

static void *same(void *arg)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;

    (void)arg;
    AURT_CHECK(pthread_getattr_np(pthread_self(), &attr) == 0);
    AURT_CHECK(pthread_attr_getstack(&attr, &low, &size) == 0);
    pthread_attr_destroy(&attr);
    AURT_CHECK(aurp_stack_low() == (uintptr_t)low);
    return NULL;
}

static void *same_in_a_fork(void *arg)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        same(arg);
        _exit(0);
    }
    AURT_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    return NULL;
}

static void in_a_thread(void *(*body)(void *))
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, body, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void it_is_what_the_c_library_finds(void **state)
{
    (void)state;
    same(NULL);
    same_in_a_fork(NULL);
    in_a_thread(same);
    in_a_thread(same_in_a_fork);
}

static void it_follows_the_limit(void **state)
{
    static const rlim_t limits[] = { 4 << 20, 512 << 20, RLIM_INFINITY };
    struct rlimit before;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_STACK, &before), 0);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct rlimit limit = { limits[i], before.rlim_max };
        if (limits[i] <= before.rlim_max) {
            assert_int_equal(setrlimit(RLIMIT_STACK, &limit), 0);
            same(NULL);
        }
    }
    assert_int_equal(setrlimit(RLIMIT_STACK, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_the_c_library_finds),
        cmocka_unit_test(it_follows_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
