/* Goal:    workers come to life, have only what is theirs, end, and are found out about.
 * Method:  each test runs for both starts, in a host process of its own where it changes what is
 *          process-wide.
 * Guards:  src/proc/nursery.c, zygote.c, image.c and plat/linux_process.c; nursery_host_test.c
 *          guards them against what the host does.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "nursery_rig.h"

#include <errno.h>

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif

/* ---- life and death ------------------------------------------------------------------------- */

static void starts_and_stops(void **state)
{
    check_crew(start_of(state), 2);
    check_crew(start_of(state), 16);
}

static void free_without_workers(void **state)
{
    size_t fds = aurt_fd_count();

    assert_null(auri_nursery_free(NULL));
    assert_null(auri_nursery_free(open_nursery(start_of(state))));
    assert_int_equal(aurt_fd_count(), fds);
}

static void exit_status_arrives(void **state)
{
    auri_nursery *n = open_nursery(start_of(state));
    worker w = start_worker(n, 3, 7);

    tell_exit(&w, 42);
    auri_nursery_event event = next_event(n);
    assert_int_equal(event.kind, AURI_NURSERY_EXITED);
    assert_int_equal(event.slot, 3);
    assert_int_equal(event.epoch, 7);
    assert_int_equal(event.pid, w.pid);
    assert_int_equal(event.pidfd, -1);
    assert_true(WIFEXITED(event.status) && WEXITSTATUS(event.status) == 42);
    assert_true(event.maxrss_bytes > 0);
    assert_true(has_ended(w.pidfd));
    auri_nursery_event unused;
    AURT_ERR(AUR_EPENDING, auri_nursery_next(n, &unused));
    drop(&w);
    auri_nursery_free(n);
}

static void killed_worker_is_reported(void **state)
{
    auri_nursery *n = open_nursery(start_of(state));
    worker w = start_worker(n, 0, 1);
    worker other = start_worker(n, 1, 1);

    ask(&w, ASK_WHO);
    assert_int_equal(aurp_pidfd_kill(w.pidfd, SIGKILL), 0);
    await_end(w.pidfd);
    auri_nursery_event event = next_event(n);
    assert_int_equal(event.kind, AURI_NURSERY_EXITED);
    assert_int_equal(event.pid, w.pid);
    assert_true(WIFSIGNALED(event.status) && WTERMSIG(event.status) == SIGKILL);
    drop(&w);
    w = start_worker(n, 0, 2); /* the replacement */
    assert_int_equal(ask(&w, ASK_WHO).epoch, 2);
    assert_int_equal(ask(&other, ASK_WHO).epoch, 1);
    drop(&w);
    drop(&other);
    auri_nursery_free(n);
}

static void nursery_death_takes_workers(void **state)
{
    size_t fds = aurt_fd_count();
    auri_nursery *n = open_nursery(start_of(state));
    worker w[2] = { start_worker(n, 0, 1), start_worker(n, 1, 1) };
    int parent = ask(&w[0], ASK_WHO).parent;
    auri_nursery_event unused;
    aur_err err;

    ask(&w[1], ASK_WHO);
    assert_int_equal(kill(parent, SIGKILL), 0);
    while ((err = auri_nursery_next(n, &unused)) != AUR_EBROKEN) {
        AURT_OK(auri_nursery_wait(n, AUR_NO_DEADLINE));
    }
    await_end(w[0].pidfd);
    await_end(w[1].pidfd);
    AURT_ERR(AUR_EBROKEN, auri_nursery_request(n, 0, 2, NULL, 0));
    AURT_ERR(AUR_EBROKEN, auri_nursery_next(n, &unused));
    drop(&w[0]);
    drop(&w[1]);
    auri_nursery_free(n);
    assert_int_equal(aurt_fd_count(), fds);
}

/* ---- what a worker has ---------------------------------------------------------------------- */

static void worker_is_clean(int start)
{
    auri_nursery_options opts = { .start = start, .worker_main = attend };
    auri_nursery *n = NULL;
    int pair[2];
    int fds[8];
    sigset_t all;

#ifndef UNDER_ASAN
    opts.memory_max_bytes = UINT64_C(1) << 34;
#endif
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, reap_everything);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    int inherited = open("/dev/zero", O_RDONLY); /* not close-on-exec, and it stays open */
    AURT_CHECK(inherited >= 0 && dup2(inherited, 100) == 100);
    AURT_CHECK(auri_nursery_new(&opts, &n, NULL) == AUR_OK);
    AURT_CHECK(auri_nursery_hello(n, NULL) == AUR_OK);
    AURT_CHECK(open("/dev/zero", O_RDONLY) >= 0);
    AURT_CHECK(aurp_socketpair(pair) == 0);
    for (int i = 0; i < 8; i++) {
        fds[i] = pair[1];
    }
    AURT_CHECK(auri_nursery_request(n, 12, 1, fds, 8) == AUR_OK);
    AURT_CHECK(auri_nursery_request(n, 12, 1, fds, 9) == AUR_EINVAL);
    close(pair[1]);
    worker w = take_started(n, pair[0]);
    answer a = ask(&w, ASK_FDS);
    AURT_CHECK(a.good && a.nfds == 8);
    /* A number that a forked worker remembers from the host does not lead to its descriptors. */
    AURT_CHECK(start == AUR_START_SPAWN || a.value > 100);
    AURT_CHECK(ask(&w, ASK_SIGNALS).good);
    a = ask(&w, ASK_LIMITS);
    AURT_CHECK(a.good && (opts.memory_max_bytes == 0 || a.value == opts.memory_max_bytes));
    AURT_CHECK(strcmp(ask(&w, ASK_NAME).text, "aur-worker-12") == 0);
    AURT_CHECK(ask(&w, ASK_STDIN).good);
    drop(&w);
    auri_nursery_free(n);
}

static void worker_has_only_its_own(void **state)
{
    in_host(worker_is_clean, start_of(state));
}

static void host_without_stdio(int start)
{
    close(0);
    close(1);
    auri_nursery *n = open_nursery(start);
    worker w = start_worker(n, 0, 1);

    AURT_CHECK(auri_nursery_fd(n) > 2);
    AURT_CHECK(ask(&w, ASK_FDS).good);
    drop(&w);
    auri_nursery_free(n);
}

static void closed_stdio_is_not_reused(void **state)
{
    in_host(host_without_stdio, start_of(state));
}

/* ---- limits and misuse ---------------------------------------------------------------------- */

static void requests_are_limited(void **state)
{
    auri_nursery *n = open_nursery(start_of(state));
    unsigned accepted = 0;
    aur_err err;

    while ((err = auri_nursery_request(n, accepted, 1, NULL, 0)) == AUR_OK) {
        accepted++;
    }
    assert_int_equal(err, AUR_EAGAIN);
    assert_int_equal(accepted, AURI_NURSERY_REQUESTS_MAX);
    for (unsigned started = 0, exited = 0; exited < accepted;) {
        auri_nursery_event event = next_event(n);
        if (event.kind == AURI_NURSERY_STARTED) {
            started++;
            close(event.pidfd);
        } else {
            assert_int_equal(event.kind, AURI_NURSERY_EXITED);
            assert_true(started > exited);
            exited++;
        }
    }
    AURT_OK(auri_nursery_request(n, 0, 2, NULL, 0));
    auri_nursery_free(n); /* with an answer under way */
}

static void set_fd_limit(rlim_t limit)
{
    struct rlimit now;

    AURT_CHECK(getrlimit(RLIMIT_NOFILE, &now) == 0);
    now.rlim_cur = limit;
    AURT_CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
}

/* The nursery inherits the limit and has no room for what a request brings. */
static void crowded_nursery(int start)
{
    int fds[8];

    set_fd_limit(12);
    auri_nursery *n = open_nursery(start);
    for (int i = 0; i < 8; i++) {
        fds[i] = 2;
    }
    AURT_CHECK(auri_nursery_request(n, 4, 9, fds, 8) == AUR_OK);
    auri_nursery_event event = next_event(n);
    AURT_CHECK(event.kind == AURI_NURSERY_FAILED && event.sys_errno == EMFILE);
    AURT_CHECK(event.slot == 4 && event.epoch == 9 && event.pidfd == -1);
    worker w = start_worker(n, 4, 10); /* it goes on */
    AURT_CHECK(ask(&w, ASK_WHO).epoch == 10);
    drop(&w);
    auri_nursery_free(n);
}

/* The host has no room for the pidfd: the worker is not left behind. */
static void crowded_host(int start)
{
    auri_nursery *n = open_nursery(start);
    int line = request(n, 4, 9);

    AURT_CHECK(auri_nursery_wait(n, AUR_NO_DEADLINE) == AUR_OK);
    set_fd_limit(3);
    auri_nursery_event event = next_event(n);
    AURT_CHECK(event.kind == AURI_NURSERY_FAILED && event.sys_errno == EMFILE);
    event = next_event(n);
    AURT_CHECK(event.kind == AURI_NURSERY_EXITED && WTERMSIG(event.status) == SIGKILL);
    AURT_CHECK(event.slot == 4 && event.epoch == 9);
    close(line);
    auri_nursery_free(n);
}

static void no_descriptors_left(void **state)
{
    in_host(crowded_nursery, start_of(state));
    in_host(crowded_host, start_of(state));
}

static void options_are_checked(void **state)
{
    int here = 0;
    auri_nursery *n = NULL;
    auri_nursery_options opts = { .start = start_of(state) };
    aur_diag diag = { 0 };

    AURT_ERR(AUR_EINVAL, auri_nursery_new(&opts, &n, &diag));
    assert_int_equal(diag.err, AUR_EINVAL);
    opts.worker_main = attend;
    opts.start = 77;
    AURT_ERR(AUR_EINVAL, auri_nursery_new(&opts, &n, NULL));
    opts.start = AUR_START_SPAWN;
    opts.ctx = &here;
    AURT_ERR(AUR_EINVAL, auri_nursery_new(&opts, &n, NULL));
    assert_null(n);
}

static void parent_size_is_known(void **state)
{
    (void)state;
    size_t size = 16u << 20;
    char *block = malloc(size);
    assert_non_null(block);
    memset(block, 1, size);
    assert_true(auri_parent_anon_bytes() >= size);
    free(block);
}

/* ---- fork only: the worker sees the host as it was ------------------------------------------- */

static int set_before; /* in the host, before the nursery; a spawned worker sees 0 */

static int tell_state(void *ctx, unsigned slot, uint64_t epoch, const int *fds, unsigned nfds)
{
    (void)slot;
    (void)epoch;
    (void)fds;
    (void)nfds;
    return set_before + (ctx != NULL ? *(int *)ctx : 0);
}

static void worker_sees_the_past(void **state)
{
    int heap_like = 20;
    auri_nursery_options opts = { .start = start_of(state), .worker_main = tell_state };
    auri_nursery *n = NULL;
    bool fork_start = opts.start == AUR_START_FORK;

    set_before = 10;
    opts.ctx = fork_start ? &heap_like : NULL;
    AURT_OK(auri_nursery_new(&opts, &n, NULL));
    set_before = 1;
    heap_like = 2;
    AURT_OK(auri_nursery_request(n, 0, 1, NULL, 0)); /* waits until there is somebody to read it */
    AURT_OK(auri_nursery_hello(n, NULL));
    auri_nursery_event event = next_event(n);
    assert_int_equal(event.kind, AURI_NURSERY_STARTED);
    close(event.pidfd);
    event = next_event(n);
    assert_int_equal(event.kind, AURI_NURSERY_EXITED);
    assert_int_equal(WEXITSTATUS(event.status), fork_start ? 30 : 0);
    auri_nursery_free(n);
}

/* After the last call the nursery serves what was asked for, and ends with its last worker. */
static void last_call_ends_it(void **state)
{
    auri_nursery *n = open_nursery(start_of(state));
    int first = request(n, 0, 1);
    int second = request(n, 1, 2);
    auri_nursery_event event;

    auri_nursery_last_call(n);
    worker w[2] = { take_started(n, first), take_started(n, second) };
    assert_int_equal(ask(&w[1], ASK_WHO).slot, 1);
    drop(&w[1]);
    event = next_event(n);
    assert_int_equal(event.kind, AURI_NURSERY_EXITED);
    assert_int_equal(event.epoch, 2);
    assert_int_equal(ask(&w[0], ASK_WHO).slot, 0); /* it is still there, and so is its worker */
    drop(&w[0]);
    event = next_event(n);
    assert_int_equal(event.kind, AURI_NURSERY_EXITED);
    assert_int_equal(event.epoch, 1);
    AURT_OK(auri_nursery_wait(n, AUR_NO_DEADLINE));
    AURT_ERR(AUR_EBROKEN, auri_nursery_next(n, &event));
    auri_nursery_free(n);
}

static void freed_before_its_hello(void **state)
{
    auri_nursery_options opts = { .start = start_of(state), .worker_main = attend };
    auri_nursery *n = NULL;

    AURT_OK(auri_nursery_new(&opts, &n, NULL));
    int line = request(n, 0, 1);
    auri_nursery_free(n);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1); /* none is left, of whatever kind */
    assert_int_equal(errno, ECHILD);
    char byte;
    assert_int_equal(read(line, &byte, 1), 0); /* nor the worker */
    close(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(starts_and_stops),
        BOTH(free_without_workers),
        BOTH(exit_status_arrives),
        BOTH(killed_worker_is_reported),
        BOTH(nursery_death_takes_workers),
        BOTH(worker_has_only_its_own),
        BOTH(closed_stdio_is_not_reused),
        BOTH(requests_are_limited),
        BOTH(no_descriptors_left),
        BOTH(options_are_checked),
        BOTH(worker_sees_the_past),
        BOTH(last_call_ends_it),
        BOTH(freed_before_its_hello),
        cmocka_unit_test(parent_size_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
