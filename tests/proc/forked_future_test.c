/* A future in a child that the host forks: to drop it there touches nothing that is the host's or the child's, and
 * its result is there or refused.
 *
 * Goal:    the child may have mapped something where the host's pool has its windows, which it does not
 *          inherit; and the memory of a result stays the future's in the host.
 * Method:  a result so large that it lies in a window.  The child maps a page of its own there, drops the
 *          future, and looks at the page: with the pool in use, and with the future as the last that is
 *          left of it.  Other children, and a worker of a younger pool, ask for the results of calls that were
 *          done before they were forked.
 * Guards:  task_free() of task/task.c, end() of task/pool.c, result_here() of pool/future.c. */
/* aurt: no-tsan */
#include "aurt.h"

#include <auriga.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define SIZE ((size_t)300000)

static aur_err letters(const void *in, size_t size, aur_out *out)
{
    char *to = size == 1 ? aur_out_alloc(out, SIZE) : NULL;

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memset(to, *(const char *)in, SIZE);
    return AUR_OK;
}
AUR_BYTES_FN(letters);

static aur_future *call(aur_pool *pool, char letter)
{
    aur_future *future = NULL;

    AURT_OK(aur_apply_bytes(pool, &future, letters, &letter, 1));
    return future;
}

static bool has(aur_future *future, char letter)
{
    const void *data;
    size_t size;

    AURT_OK(aur_future_view(future, &data, &size, AUR_NO_DEADLINE));
    const char *text = data;
    return size == SIZE && text[0] == letter && memcmp(text, text + 1, SIZE - 1) == 0;
}

/* 0: the page of the child is as it was left. */
static int in_child(aur_future *future, const void *data)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    char *at = (char *)(((uintptr_t)data + page) & ~(page - 1));
    void *mine = mmap(at, page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    if (mine != at) {
        return 2; /* the window was inherited */
    }
    *at = 'c';
    (void)aur_future_unref(future);
    return *(volatile char *)at == 'c' ? 0 : 3;
}

static void drop_in_child(aur_future *future)
{
    const void *data;
    size_t size;
    int status = -1;

    AURT_OK(aur_future_view(future, &data, &size, AUR_NO_DEADLINE));
    pid_t child = fork();
    if (child == 0) {
        _exit(in_child(future, data));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_dropped_in_a_child(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    aur_future *kept = call(pool, 'k');
    assert_true(has(kept, 'k'));
    drop_in_child(kept);
    for (int i = 0; i < 20; i++) { /* nobody else has got its memory */
        aur_future *other = call(pool, 'o');
        assert_true(has(other, 'o'));
        (void)aur_future_unref(other);
    }
    assert_true(has(kept, 'k'));

    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    (void)aur_pool_unref(pool);
    drop_in_child(kept);
    assert_true(has(kept, 'k'));
    (void)aur_future_unref(kept);
}

/* ---- results of calls that were done at the fork ------------------------------------------------- */

static aur_err echo(const void *in, size_t size, aur_out *out)
{
    char *to = aur_out_alloc(out, size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(echo);

static aur_err exhausted(const void *in, size_t size, aur_out *out)
{
    (void)in;
    (void)size;
    (void)out;
    return AUR_ESIZE;
}
AUR_BYTES_FN(exhausted);

static aur_future *large, *small, *failed;
struct eight {
    char of[8];
};

/* The errors of all of them, in decimal digits. */
static int try_all(int unused)
{
    char as_large[SIZE];
    struct eight as_small = { "" };
    const void *data = NULL;
    size_t size = 0;

    (void)unused;
    int viewed = (int)aur_future_view(large, &data, &size, 0);
    int copied = (int)aur_future_result(large, &as_large, 0);

    if (aur_future_view(small, &data, &size, 0) != AUR_OK || memcmp(data, "smaller", size) != 0 ||
        aur_future_result(small, &as_small, 0) != AUR_OK || memcmp(&as_small, "smaller", 8) != 0 ||
        aur_future_view(failed, &data, &size, 0) != AUR_ESIZE || !aur_future_done(large) ||
        aur_future_outcome(large, 0) != AUR_OK) {
        return 1;
    }
    return viewed * 100 + copied;
}
AUR_FN(int, try_all, int);

static int tried_in_child(void)
{
    int ends[2];
    int got = 0;
    int status = -1;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        got = try_all(0);
        _exit(write(ends[1], &got, sizeof(got)) == sizeof(got) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &got, sizeof(got)), sizeof(got));
    close(ends[0]);
    close(ends[1]);
    return got;
}

static void test_results_of_calls_that_were_done(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_pool *younger = NULL;
    int got = 0;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    large = call(pool, 'l');
    AURT_OK(aur_apply_bytes(pool, &small, echo, "smaller", 8));
    AURT_OK(aur_apply_bytes(pool, &failed, exhausted, "", 1));
    assert_true(has(large, 'l'));
    AURT_OK(aur_future_wait(small, AUR_NO_DEADLINE));
    AURT_OK(aur_future_wait(failed, AUR_NO_DEADLINE));

    assert_int_equal(tried_in_child(), AUR_EFORKED * 100 + AUR_EFORKED);
    AURT_OK(aur_pool_new(&opts, &younger, NULL));
    AURT_OK(aur_apply(younger, &got, try_all, 0));
    assert_int_equal(got, AUR_ENOTSUP * 100 + AUR_ENOTSUP);
    AURT_OK(aur_pool_join(younger, AUR_NO_DEADLINE));
    (void)aur_pool_unref(younger);

    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    (void)aur_pool_unref(pool);
    assert_int_equal(tried_in_child(), AUR_EFORKED * 100 + AUR_EFORKED);
    assert_true(has(large, 'l'));
    (void)aur_future_unref(large);
    (void)aur_future_unref(small);
    (void)aur_future_unref(failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dropped_in_a_child),
        cmocka_unit_test(test_results_of_calls_that_were_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
