/* Goal:    each id is that of the process that runs this worker's tasks, also after deaths and at the end;
 *          and it is told how each worker ended.
 * Method:  tasks tell who they are, and end their workers; a worker is killed; pools are closed.
 * Guards:  aur_pool_pids(), aur_pool_exit_status(). */
/* aurt: no-tsan */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pools.h"

/* Negative: in another worker than the first. */
static int who(int unused)
{
    (void)unused;
    return aur_worker_index() == 0 ? getpid() : -getpid();
}
AUR_FN(int, who, int);

static void test_those_of_its_workers(void **state)
{
    (void)state;
    for (int start = AUR_START_FORK; start <= AUR_START_SPAWN; start++) {
        aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 2, start, 0);
        int32_t pids[3] = { -1, -1, -1 };
        size_t n;
        int pid;
        AURT_OK(aur_pool_pids(pool, pids, 3, AUR_NO_DEADLINE, &n));
        assert_int_equal(2, n);
        assert_true(pids[0] > 0 && pids[1] > 0 && pids[0] != pids[1] && pids[2] == -1);
        for (int i = 0; i < 20; i++) {
            AURT_OK(aur_apply(pool, &pid, who, 0));
            assert_int_equal(pid > 0 ? pids[0] : -pids[1], pid);
        }
        AURT_OK(aur_pool_pids(pool, NULL, 0, 0, &n));
        assert_int_equal(2, n);
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        AURT_OK(aur_pool_pids(pool, pids, 2, AUR_NO_DEADLINE, &n));
        assert_true(n == 2 && pids[0] == 0 && pids[1] == 0);
        aur_pool_unref(pool);
    }
}

static void test_the_next_one(void **state)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    int32_t first;
    int32_t next;
    size_t n;
    int pid;

    (void)state;
    AURT_OK(aur_pool_pids(pool, &first, 1, AUR_NO_DEADLINE, &n));
    assert_int_equal(0, kill(first, SIGKILL));
    do { /* its end takes the pool a moment to notice */
        AURT_OK(aur_pool_pids(pool, &next, 1, AUR_NO_DEADLINE, &n));
    } while (next == first);
    assert_true(next > 0);
    AURT_OK(aur_apply(pool, &pid, who, 0));
    assert_int_equal(next, pid);
    aurt_pool_end(pool);
}

static int end(int status)
{
    _exit(status);
}
AUR_FN(int, end, int);

static void test_how_they_ended(void **state)
{
    (void)state;
    for (int start = AUR_START_FORK; start <= AUR_START_SPAWN; start++) {
        aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 2, start, 0);
        int32_t pids[2];
        int32_t status = -1;
        int result;
        size_t n;
        AURT_OK(aur_pool_pids(pool, pids, 2, AUR_NO_DEADLINE, &n));
        AURT_ERR(AUR_EPENDING, aur_pool_exit_status(pool, pids[1], 0, &status));
        AURT_ERR(AUR_EINVAL, aur_pool_exit_status(pool, getpid(), 0, &status));
        AURT_ERR(AUR_EINVAL, aur_pool_exit_status(pool, 0, 0, &status));
        AURT_ERR(AUR_EINVAL, aur_pool_exit_status(pool, -1, AUR_NO_DEADLINE, &status));
        assert_int_equal(-1, status);
        assert_int_equal(0, kill(pids[1], SIGKILL));
        AURT_OK(aur_pool_exit_status(pool, pids[1], AUR_NO_DEADLINE, &status));
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        AURT_ERR(AUR_EWORKER, aur_apply(pool, &result, end, 7));
        int32_t dead = aur_last_error()->pid;
        AURT_OK(aur_pool_exit_status(pool, dead, AUR_NO_DEADLINE, &status));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);

        AURT_OK(aur_pool_pids(pool, pids, 2, AUR_NO_DEADLINE, &n));
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        for (int i = 0; i < 2; i++) {
            AURT_OK(aur_pool_exit_status(pool, pids[i], 0, &status));
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        AURT_ERR(AUR_EINVAL,
                 aur_pool_exit_status(pool, dead, 0, &status)); /* another was in its place */
        aur_pool_unref(pool);
    }
}

static void test_who_has_none(void **state)
{
    int32_t status;
    int32_t pid;
    size_t n;

    (void)state;
    for (int kind = AUR_THREADS; kind <= AUR_AUTO; kind++) {
        if (kind != AUR_PROCESSES) {
            aur_pool *pool = aurt_pool_new(kind, 1, AUR_START_DEFAULT, 0);
            AURT_ERR(AUR_ENOTSUP, aur_pool_pids(pool, &pid, 1, AUR_NO_DEADLINE, &n));
            AURT_ERR(AUR_ENOTSUP, aur_pool_exit_status(pool, 1, AUR_NO_DEADLINE, &status));
            aurt_pool_end(pool);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_of_its_workers),
        cmocka_unit_test(test_the_next_one),
        cmocka_unit_test(test_how_they_ended),
        cmocka_unit_test(test_who_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
