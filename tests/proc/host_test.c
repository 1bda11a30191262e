/* A process pool is a good guest: its host's children, signals, output and threads stay its own.
 *
 * Guards: wait() of the host sees no process of the pool; SIGCHLD may be ignored; buffered output is
 * not doubled; default start is refused while foreign threads run, and a big host is warned. */
/* aurt: no-tsan */
#include "aurt.h"

#include <auriga.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static int add(int a, int b)
{
    return a + b;
}
AUR_FN(int, add, int, int);

static int die(int x)
{
    kill(getpid(), SIGKILL);
    return x;
}
AUR_FN(int, die, int);

static int pid_of(int x)
{
    (void)x;
    return getpid();
}
AUR_FN(int, pid_of, int);

/* The nursery: workers are its children. */
static int parent_of(int x)
{
    (void)x;
    return getppid();
}
AUR_FN(int, parent_of, int);

static int table[4]; /* filled at run time: fork start hands it on */

static int entry(int i)
{
    return table[i];
}
AUR_FN(int, entry, int);

static aur_pool *pool_start(int start, aur_log_fn *log, void *log_ctx)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };

    opts.kind = AUR_PROCESSES;
    opts.start = start;
    opts.workers = 2;
    opts.log = log;
    opts.log_ctx = log_ctx;
    aur_err err = aur_pool_new(&opts, &pool, &diag);
    if (err != AUR_OK) {
        fail_msg("aur_pool_new: %s, %s: %s", aur_err_name(err), diag.step, diag.text);
    }
    return pool;
}

static void end(aur_pool *pool)
{
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_pool_unref(pool);
}

static void test_wait_sees_nothing(void **state)
{
    int v = 0;

    (void)state;
    for (int start = AUR_START_FORK; start <= AUR_START_SPAWN; start++) {
        aur_pool *pool = pool_start(start, NULL, NULL);
        AURT_OK(aur_apply(pool, &v, add, 1, 2));
        errno = 0;
        assert_int_equal(wait(NULL), -1);
        assert_int_equal(errno, ECHILD);
        AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 2));
        assert_int_equal(aur_last_error()->signal, SIGKILL);
        assert_int_equal(wait(NULL), -1);
        end(pool);
    }
}

static void test_own_children(void **state)
{
    aur_pool *pool = pool_start(AUR_START_FORK, NULL, NULL);
    int v = 0;
    int status = 0;

    (void)state;
    int pid = fork();
    if (pid == 0) {
        /* The pool is the parent's: its use here is refused and its end is not ours. */
        _exit(aur_apply(pool, &v, add, 1, 2) == AUR_EFORKED ? 9 : 10);
    }
    AURT_OK(aur_apply(pool, &v, add, 1, 2));
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 2));
    assert_int_equal(wait(&status), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9);
    AURT_OK(aur_apply(pool, &v, add, 1, 2));
    end(pool);
}

static void test_sigchld_ignored(void **state)
{
    int v = 0;

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    aur_pool *pool = pool_start(AUR_START_FORK, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 2));
        assert_int_equal(aur_last_error()->signal, SIGKILL);
        AURT_OK(aur_apply(pool, &v, add, i, 2));
    }
    end(pool);
    signal(SIGCHLD, SIG_DFL);
}

static void test_output_once(void **state)
{
    char path[AURT_PATH_SIZE];
    char text[64] = { 0 };
    int v = 0;

    (void)state;
    int fd = aurt_temp_file(path);
    FILE *file = fdopen(fd, "w+");
    assert_non_null(file);
    fprintf(file, "once\n"); /* buffered when the pool is made */
    aur_pool *pool = pool_start(AUR_START_FORK, NULL, NULL);
    AURT_OK(aur_apply(pool, &v, add, 1, 2));
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 2));
    end(pool);
    fflush(file);
    rewind(file);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    unlink(path);
    assert_int_equal(n, 5);
    assert_string_equal(text, "once\n");
}

static void test_fork_sees_state(void **state)
{
    int v = 0;

    (void)state;
    table[2] = 42;
    aur_pool *pool = pool_start(AUR_START_FORK, NULL, NULL);
    table[2] = 43; /* too late */
    AURT_OK(aur_apply(pool, &v, entry, 2));
    assert_int_equal(v, 42);
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 1));
    AURT_OK(aur_apply(pool, &v, entry, 2)); /* the replacement sees the same */
    assert_int_equal(v, 42);
    end(pool);
}

static void *idle_main(void *arg)
{
    aurt_event_wait(arg);
    return NULL;
}

static void test_foreign_threads(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aurt_event event = { 0 };
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };
    pthread_t thread;
    int v = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, idle_main, &event), 0);
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    AURT_ERR(AUR_ETHREADS, aur_pool_new(&opts, &pool, &diag));
    assert_non_null(strstr(diag.text, "AUR_START_SPAWN"));
    assert_non_null(strstr(diag.text, "AUR_START_FORK"));
    pool = pool_start(AUR_START_SPAWN, NULL, NULL);
    AURT_OK(aur_apply(pool, &v, add, 1, 2));
    end(pool);
    pool = pool_start(AUR_START_FORK, NULL, NULL); /* an explicit choice is obeyed */
    AURT_OK(aur_apply(pool, &v, add, 1, 2));
    end(pool);
    aurt_event_set(&event);
    pthread_join(thread, NULL);
    /* The library's own threads do not count. */
    aur_options threads = AUR_OPTIONS_INIT;
    aur_pool *other = NULL;
    threads.workers = 2;
    AURT_OK(aur_pool_new(&threads, &other, NULL));
    aur_pool *first = pool_start(AUR_START_DEFAULT, NULL, NULL);
    aur_pool *second = pool_start(AUR_START_DEFAULT, NULL, NULL);
    AURT_OK(aur_apply(second, &v, add, 1, 2));
    end(first);
    AURT_OK(aur_apply(second, &v, add, 1, 2));
    end(second);
    end(other);
}

static void note(void *ctx, int level, const char *text)
{
    if (level == AUR_LOG_WARN) {
        snprintf(ctx, 1000, "%s", text);
    }
}

static void test_big_parent(void **state)
{
    char text[1000] = "";
    size_t size = (size_t)96 << 20;

    (void)state;
    end(pool_start(AUR_START_FORK, note, text));
#if !defined(__SANITIZE_ADDRESS__)
    assert_string_equal(text, "");
#endif
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, size);
    end(pool_start(AUR_START_FORK, note, text));
    assert_non_null(strstr(text, "AUR_START_SPAWN"));
    text[0] = '\0';
    end(pool_start(AUR_START_SPAWN, note, text));
    assert_string_equal(text, "");
    munmap(memory, size);
}

/* A host that is killed leaves nobody behind. */
static void test_host_dies(void **state)
{
    int ends[2];
    int worker = 0;
    int status = 0;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    int pid = fork();
    if (pid == 0) {
        aur_options opts = AUR_OPTIONS_INIT;
        aur_pool *pool = NULL;
        opts.kind = AUR_PROCESSES;
        opts.workers = 1;
        if (aur_pool_new(&opts, &pool, NULL) != AUR_OK ||
            aur_apply(pool, &worker, pid_of, 1) != AUR_OK ||
            write(ends[1], &worker, sizeof(worker)) != (ssize_t)sizeof(worker)) {
            _exit(1);
        }
        kill(getpid(), SIGKILL);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &worker, sizeof(worker)), sizeof(worker));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    while (kill(worker, 0) == 0) { /* ends as soon as the kernel has told the nursery */
        sched_yield();
    }
    /* The pipe had no other writers but host and worker: this is the end of both. */
    assert_int_equal(read(ends[0], &status, 1), 0);
    close(ends[0]);
}

/* ---- threads that have just ended ---------------------------------------------------------- */

static void *nothing(void *arg)
{
    return arg;
}

/* A process pool of the default start right after threads were joined, and after a thread pool was dropped
 * whose workers are still on their way out: none of them counts as foreign. */
static void test_threads_just_ended(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        aur_options opts = AUR_OPTIONS_INIT;
        aur_pool *threads = NULL;
        aur_pool *pool = NULL;
        pthread_t thread;
        int v = 0;

        AURT_CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
        opts.workers = 3;
        AURT_OK(aur_pool_new(&opts, &threads, NULL));
        AURT_OK(aur_apply(threads, &v, add, 4, 4));
        AURT_CHECK(pthread_join(thread, NULL) == 0);
        aur_pool_unref(threads); /* not joined */
        opts.kind = AUR_PROCESSES;
        opts.workers = 1;
        AURT_OK(aur_pool_new(&opts, &pool, NULL));
        AURT_OK(aur_apply(pool, &v, add, 4, 5));
        assert_int_equal(v, 9);
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        aur_pool_unref(pool);
    }
}

/* The process that makes workers is killed while they work, and with a worker to be replaced: the pool is
 * broken, and every call has an answer. */
static void test_nursery_dies(void **state)
{
    enum { N = 300, ROUNDS = 20 };
    static aur_future *futures[N];

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        aur_pool *pool = pool_start(round % 4 == 3 ? AUR_START_SPAWN : AUR_START_FORK, NULL, NULL);
        int nursery = 0, worker = 0, v = 0;
        AURT_OK(aur_apply(pool, &nursery, parent_of, 0));
        AURT_OK(aur_apply(pool, &worker, pid_of, 0));
        assert_true(nursery > 1 && nursery != getpid());
        int n = 0;
        for (; n < N; n++) {
            if (n == N / 2) {
                AURT_OK(aur_future_wait(futures[0], AUR_NO_DEADLINE)); /* they are at work */
                if (round % 2 == 0) {
                    kill(worker, SIGKILL); /* its replacement is asked for just now */
                }
                kill(nursery, SIGKILL);
            }
            aur_err err = aur_apply_async(pool, &futures[n], add, n, 1);
            if (err != AUR_OK) {
                AURT_ERR(AUR_EBROKEN, err);
                break;
            }
        }
        for (int i = 0; i < n; i++) {
            aur_err err = aur_future_result(futures[i], &v, AUR_NO_DEADLINE);
            assert_true(err == AUR_OK || err == AUR_EWORKER || err == AUR_EBROKEN);
            assert_true(err != AUR_OK || v == i + 1);
            aur_future_unref(futures[i]);
        }
        while (aur_apply(pool, &v, add, 1, 1) != AUR_EBROKEN) { /* a moment later at the latest */
        }
        AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
        aur_pool_unref(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wait_sees_nothing),  cmocka_unit_test(test_own_children),
        cmocka_unit_test(test_sigchld_ignored),    cmocka_unit_test(test_output_once),
        cmocka_unit_test(test_fork_sees_state),    cmocka_unit_test(test_foreign_threads),
        cmocka_unit_test(test_threads_just_ended), cmocka_unit_test(test_big_parent),
        cmocka_unit_test(test_host_dies),          cmocka_unit_test(test_nursery_dies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
