/* Goal:    running out of memory is an error code, never the end of the requester; and what dies,
 *          by a limit, a kill or an assertion, leaves shared memory as it should be.
 * Method:  made-up budgets and a committer that kills
 *          itself at a chosen step for the protocol; a real memory control group with a real kill
 *          where one can be made; forked children for limits and deaths.
 * Guards:  src/wire/commit.c, arena.c and extent.c; src/plat/linux_shm.c. */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "aurt.h"
#include "memory_group.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "plat/process.h"
#include "plat/shm.h"
#include "wire/arena.h"
#include "wire/commit.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* ---- a committer that the test starts ------------------------------------------------------ */

struct starter {
    int started;
    int pid;            /* the last one */
    uint64_t die_at;    /* the first process kills itself when it gets to this offset; 0: never */
    aur_err refuse;     /* what the starter returns instead of starting anything; AUR_OK: no */
    const int *keep_fd; /* a descriptor that the process keeps, too; NULL: none */
};

static void die_at(void *ctx, uint64_t offset)
{
    const struct starter *starter = ctx;

    if (starter->started == 1 && starter->die_at != 0 && offset >= starter->die_at) {
        raise(SIGKILL);
    }
}

static aur_err start(void *ctx, int socket_fd, int *ret_pid, int *ret_pidfd, aur_diag *diag)
{
    struct starter *starter = ctx;

    (void)diag;
    starter->started++;
    if (starter->refuse != AUR_OK) {
        return starter->refuse;
    }
    int pid = fork();
    AURT_CHECK(pid >= 0);
    if (pid == 0) {
        int keep[] = { socket_fd, starter->keep_fd != NULL ? *starter->keep_fd : socket_fd };
        aurp_close_except(keep, 2);
        _exit(auri_committer_serve(socket_fd, die_at, starter));
    }
    starter->pid = pid;
    *ret_pid = pid;
    *ret_pidfd = aurp_pidfd_open(pid);
    AURT_CHECK(*ret_pidfd >= 0);
    return AUR_OK;
}

static uint64_t fixed_budget(void *ctx)
{
    return *(uint64_t *)ctx;
}

/* A file of 1 GiB, a committer, a budget. */
struct bench {
    struct starter starter;
    uint64_t budget;
    auri_commit_policy policy;
    int fd;
    size_t fds;
};

static void bench_init(struct bench *b, uint64_t budget)
{
    *b = (struct bench){ .budget = budget, .fds = aurt_fd_count() };
    b->policy = (auri_commit_policy){ .budget = fixed_budget, .budget_ctx = &b->budget };
    AURT_OK(auri_committer_new(start, &b->starter, &b->policy.committer));
    assert_int_equal(aurp_shm_new("test", GIB, &b->fd), 0);
}

static void bench_fini(struct bench *b)
{
    auri_committer_delete(b->policy.committer);
    close(b->fd);
    assert_int_equal(aurt_fd_count(), b->fds);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, dead or alive */
    assert_int_equal(errno, ECHILD);
}

static void only_large_requests_need_a_committer(void **state)
{
    (void)state;
    struct bench b;

    bench_init(&b, 64 * MIB);
    AURT_OK(auri_commit(&b.policy, b.fd, 0, 16 * MIB));
    assert_int_equal(b.starter.started, 0);
    AURT_ERR(AUR_ENOMEM, auri_commit(&b.policy, b.fd, 16 * MIB, 64 * MIB + 4096));
    assert_int_equal(b.starter.started, 0);
    AURT_OK(auri_commit(&b.policy, b.fd, 16 * MIB, 17 * MIB));
    AURT_OK(auri_commit(&b.policy, b.fd, 33 * MIB, 64 * MIB));
    assert_int_equal(b.starter.started, 1);
    assert_int_equal(aurp_shm_committed(b.fd), 97 * MIB);
    b.budget = 0;
    AURT_OK(auri_commit(&b.policy, b.fd, 100 * MIB, MIB - 4096)); /* too small to be checked */
    AURT_ERR(AUR_ENOMEM, auri_commit(&b.policy, b.fd, 101 * MIB, MIB));
    bench_fini(&b);
}

static void a_committer_is_the_first_to_be_killed(void **state)
{
    (void)state;
    struct bench b;
    char path[64];
    char line[32] = "";

    bench_init(&b, 8 * MIB);
    AURT_OK(auri_commit(&b.policy, b.fd, 0, 4 * MIB));
    snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", b.starter.pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    fclose(file);
    assert_string_equal(line, "1000\n");
    bench_fini(&b);
}

static void a_committer_killed_midway_is_no_memory(void **state)
{
    (void)state;
    struct bench b;

    bench_init(&b, 256 * MIB);
    AURT_OK(auri_commit(&b.policy, b.fd, 0, 8 * MIB));
    b.starter.die_at = 8 * MIB + 48 * MIB; /* three steps done, the fourth not begun */
    AURT_ERR(AUR_ENOMEM, auri_commit(&b.policy, b.fd, 8 * MIB, 128 * MIB));
    assert_int_equal(b.starter.started, 1);
    assert_int_equal(aurp_shm_committed(b.fd), 8 * MIB); /* what was there before, no more */
    AURT_OK(auri_commit(&b.policy, b.fd, 8 * MIB, 128 * MIB));
    assert_int_equal(b.starter.started, 2);
    assert_int_equal(aurp_shm_committed(b.fd), 136 * MIB);
    bench_fini(&b);
}

static void an_idle_committer_may_die(void **state)
{
    (void)state;
    struct bench b;

    bench_init(&b, 32 * MIB);
    AURT_OK(auri_commit(&b.policy, b.fd, 0, 16 * MIB));
    siginfo_t info;
    kill(b.starter.pid, SIGKILL); /* wait for its end without taking its status */
    assert_int_equal(waitid(P_PID, (id_t)b.starter.pid, &info, WEXITED | WNOWAIT), 0);
    AURT_OK(auri_commit(&b.policy, b.fd, 16 * MIB, 16 * MIB));
    assert_int_equal(b.starter.started, 2);
    bench_fini(&b);
}

static void a_stopped_committer_does_not_block_the_end(void **state)
{
    (void)state;
    struct bench b;
    siginfo_t info;

    bench_init(&b, 32 * MIB);
    AURT_OK(auri_commit(&b.policy, b.fd, 0, 16 * MIB));
    kill(b.starter.pid, SIGSTOP);
    assert_int_equal(waitid(P_PID, (id_t)b.starter.pid, &info, WSTOPPED | WNOWAIT), 0);
    bench_fini(&b);
}

static void without_a_process_the_budget_decides(void **state)
{
    (void)state;
    struct bench b;

    bench_init(&b, 32 * MIB);
    b.starter.refuse = AUR_EAGAIN;
    AURT_OK(auri_commit(&b.policy, b.fd, 0, 16 * MIB));
    AURT_ERR(AUR_ENOMEM, auri_commit(&b.policy, b.fd, 16 * MIB, 33 * MIB));
    assert_int_equal(b.starter.started, 1);
    b.starter.refuse = AUR_ENOTSUP; /* never again: do not ask each time */
    AURT_OK(auri_commit(&b.policy, b.fd, 16 * MIB, 16 * MIB));
    AURT_OK(auri_commit(&b.policy, b.fd, 32 * MIB, 16 * MIB));
    assert_int_equal(b.starter.started, 2);
    bench_fini(&b);
}

static void a_system_error_comes_back(void **state)
{
    (void)state;
    struct bench b;

    bench_init(&b, 4 * GIB);
    AURT_ERR(AUR_ESYS, auri_commit(&b.policy, b.fd, GIB - 16 * MIB, 32 * MIB)); /* here */
    AURT_ERR(AUR_ESYS, auri_commit(&b.policy, b.fd, GIB - 16 * MIB, 2 * GIB));  /* there */
    assert_int_equal(b.starter.started, 1);
    assert_int_equal(aurp_shm_committed(b.fd), 0);
    AURT_OK(auri_commit(NULL, b.fd, 0, 2 * MIB)); /* the default policy */
    bench_fini(&b);
}

/* The pipe is held by the requester and its committer only: its end is the end of both. */
static void a_committer_ends_with_its_requester(void **state)
{
    (void)state;
    int pipe_fds[2];
    int status;
    char byte;

    assert_int_equal(pipe(pipe_fds), 0);
    int pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct bench b;
        close(pipe_fds[0]);
        bench_init(&b, 32 * MIB);
        b.starter.keep_fd = &pipe_fds[1];
        AURT_CHECK(auri_commit(&b.policy, b.fd, 0, 16 * MIB) == AUR_OK);
        raise(SIGKILL);
    }
    close(pipe_fds[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 0);
    close(pipe_fds[0]);
}

static void on_tick(int signal)
{
    (void)signal;
}

/* Signals undo what fallocate() has done so far; a busy timer must not make it go on for ever. */
static void signals_do_not_stop_a_commit(void **state)
{
    (void)state;
    struct sigaction action = { .sa_handler = on_tick };
    struct itimerval fast = { { 0, 200 }, { 0, 200 } };
    struct itimerval off = { { 0, 0 }, { 0, 0 } };
    struct bench b;

    bench_init(&b, GIB);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &fast, NULL);
    aur_err err = auri_commit(&b.policy, b.fd, 0, 128 * MIB);
    setitimer(ITIMER_REAL, &off, NULL);
    AURT_OK(err);
    assert_int_equal(aurp_shm_committed(b.fd), 128 * MIB);
    bench_fini(&b);
}

/* ---- a real control group ------------------------------------------------------------------ */

static const uint64_t GROUP_BYTES = 256 * MIB;

/* Runs in the group.  Whatever fails here ends this process with a signal, and so does a kill. */
static void live_in_group(void)
{
    struct starter starter = { .started = 0 };
    auri_commit_policy policy = { .committer = NULL };
    uint64_t lie = GIB;
    uint64_t offset;
    auri_arena *a = NULL;

    AURT_CHECK(group_write("cgroup.procs", "0"));
    AURT_CHECK(auri_committer_new(start, &starter, &policy.committer) == AUR_OK);
    AURT_CHECK(auri_arena_new(GIB, "test", 0, &a, NULL) == AUR_OK);
    auri_arena_set_policy(a, &policy);

    /* The honest budget: nobody is harmed. */
    uint64_t budget = auri_memory_budget();
    AURT_CHECK(budget <= GROUP_BYTES - 64 * MIB && budget > 96 * MIB);
    AURT_CHECK(auri_arena_alloc(a, GROUP_BYTES - 32 * MIB, &offset) == AUR_ENOMEM);
    AURT_CHECK(starter.started == 0);
    AURT_CHECK(auri_arena_alloc(a, 64 * MIB, &offset) == AUR_OK); /* by the committer */
    memset(auri_arena_at(a, offset), 1, 64 * MIB);
    AURT_CHECK(starter.started == 1 && group_kills() <= 0);

    /* A budget that lies, as if somebody else had taken the memory since: the kernel kills, and it
     * takes the committer. */
    policy.budget = fixed_budget;
    policy.budget_ctx = &lie;
    auri_arena_set_policy(a, &policy);
    uint64_t before = aurp_shm_committed(auri_arena_fd(a));
    uint64_t none;
    AURT_CHECK(auri_arena_alloc(a, 512 * MIB, &none) == AUR_ENOMEM);
    AURT_CHECK(group_kills() >= 1);
    AURT_CHECK(aurp_shm_committed(auri_arena_fd(a)) == before);
    AURT_CHECK(auri_arena_committed(a) == before);

    /* And life goes on, with a new one. */
    policy.budget = NULL;
    auri_arena_set_policy(a, &policy);
    AURT_CHECK(auri_arena_alloc(a, 64 * MIB, &none) == AUR_OK);
    AURT_CHECK(starter.started == 2);
    memset(auri_arena_at(a, none), 2, 64 * MIB);
    AURT_CHECK(*(unsigned char *)auri_arena_at(a, offset) == 1);
    auri_arena_delete(a);
    auri_committer_delete(policy.committer);
}

static void the_kernel_kills_the_committer_only(void **state)
{
    (void)state;
    int status = 0;
    const char *missing = group_make(GROUP_BYTES);

    if (missing != NULL) {
        print_message("skipped: %s\n", missing);
        skip();
    }
    int pid = fork();
    if (pid == 0) {
        live_in_group();
        _exit(0);
    }
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    group_remove();
    assert_true(ended);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- limits and deaths, in children -------------------------------------------------------- */

/* Runs body in a child and returns how that ended. */
static int in_child(void (*body)(void *), void *arg)
{
    int status = 0;
    int pid = fork();

    AURT_CHECK(pid >= 0);
    if (pid == 0) {
        body(arg);
        _exit(0);
    }
    AURT_CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

static void set_limit(int resource, uint64_t bytes)
{
    struct rlimit limit;

    AURT_CHECK(getrlimit(resource, &limit) == 0);
    limit.rlim_cur = (rlim_t)bytes;
    AURT_CHECK(setrlimit(resource, &limit) == 0);
}

static void under_file_size_limit(void *arg)
{
    auri_arena *a = NULL;
    aur_diag diag;
    uint64_t offset;
    int fd;

    (void)arg;
    set_limit(RLIMIT_FSIZE, 8 * MIB + 100);
    AURT_CHECK(auri_arena_new(0, "test", 0, &a, NULL) == AUR_OK);
    AURT_CHECK(auri_arena_bytes(a) == 8 * MIB);
    AURT_CHECK(auri_arena_alloc(a, 8 * MIB + 1, &offset) == AUR_ETOOBIG);
    AURT_CHECK(auri_arena_alloc(a, 8 * MIB, &offset) == AUR_OK);
    memset(auri_arena_at(a, offset), 1, 8 * MIB);
    set_limit(RLIMIT_FSIZE, 100); /* later limits do not concern a file of fixed size */
    auri_arena_free(a, offset);
    auri_arena_trim(a, 0);
    AURT_CHECK(auri_arena_alloc(a, 8 * MIB, &offset) == AUR_OK);
    auri_arena_delete(a);
    AURT_CHECK(auri_arena_new(0, "test", 0, &a, &diag) == AUR_ENOMEM);
    AURT_CHECK(strstr(diag.text, "RLIMIT_FSIZE") != NULL);
    AURT_CHECK(aurp_shm_new("test", 101, &fd) == EFBIG);
}

static void a_file_size_limit_caps_the_reserve(void **state)
{
    (void)state;
    assert_int_equal(in_child(under_file_size_limit, NULL), 0);
}

static void under_address_limit(void *arg)
{
    auri_arena *a = NULL;
    aur_diag diag;
    uint64_t left = aurp_address_bytes_left();

    AURT_CHECK(left == UINT64_MAX);
    set_limit(RLIMIT_AS, *(uint64_t *)arg);
    left = aurp_address_bytes_left();
    AURT_CHECK(left < *(uint64_t *)arg);
    AURT_CHECK(auri_arena_new(0, "test", 0, &a, NULL) == AUR_OK);
    AURT_CHECK(auri_arena_bytes(a) <= left / 2 + 4096 && auri_arena_bytes(a) >= left / 4);
    auri_arena_delete(a);
    /* What was asked for is not made smaller. */
    AURT_CHECK(auri_arena_new(*(uint64_t *)arg, "test", 0, &a, &diag) == AUR_ENOMEM);
    AURT_CHECK(strcmp(diag.step, "mmap") == 0 && diag.sys_errno == ENOMEM);
}

static void an_address_space_limit_caps_the_reserve(void **state)
{
    (void)state;
    unsigned long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");

    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%llu", &pages), 1);
    fclose(statm);
    uint64_t taken = pages * aurp_page_bytes();
    if (taken > 64 * GIB) {
        print_message("skipped: this build has reserved all address space already\n");
        skip();
    }
    uint64_t limit = taken + 4 * GIB;
    assert_int_equal(in_child(under_address_limit, &limit), 0);
}

struct misuse {
    uint64_t size;
    uint64_t beside; /* added to the offset at the second free */
};

static void free_wrongly(void *arg)
{
    const struct misuse *misuse = arg;
    struct rlimit none = { 0, 0 };
    auri_arena *a = NULL;
    uint64_t offset;
    uint64_t other;

    setrlimit(RLIMIT_CORE, &none);
    AURT_CHECK(freopen("/dev/null", "we", stderr) != NULL); /* the assertion speaks */
    if (auri_arena_new(64 * MIB, "test", 0, &a, NULL) != AUR_OK ||
        auri_arena_alloc(a, misuse->size, &offset) != AUR_OK ||
        auri_arena_alloc(a, misuse->size, &other) != AUR_OK) {
        _exit(1);
    }
    if (misuse->beside == 0) {
        auri_arena_free(a, offset);
    }
    auri_arena_free(a, offset + misuse->beside);
}

static void wrong_frees_are_asserted(void **state)
{
    (void)state;
    struct misuse cases[] = { { 64, 0 },        { 5000, 0 },         { 100 * KIB, 0 },
                              { 64, 1 },        { 5000, 64 },        { 100 * KIB, 64 },
                              { 64, 100 * 64 }, { 100 * KIB, 4096 }, { 64, 63 * MIB },
                              { 64, GIB } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int status = in_child(free_wrongly, &cases[i]);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

struct segment {
    int fd;
    uint64_t bytes;
    aurt_event *stuck; /* in shared memory */
};

/* A worker that leaves a result, holds another range, and dies in the middle of writing it. */
static void work_and_die(void *arg)
{
    const struct segment *segment = arg;
    auri_arena *a = NULL;
    uint64_t offset;

    AURT_CHECK(auri_arena_attach(segment->fd, segment->bytes, 0, &a) == AUR_OK);
    AURT_CHECK(auri_arena_alloc(a, 2 * MIB, &offset) == AUR_OK && offset == 0);
    memset(auri_arena_at(a, offset), 0x5a, 2 * MIB);
    AURT_CHECK(auri_arena_alloc(a, MIB, &offset) == AUR_OK);
    memset(auri_arena_at(a, offset), 0x77, MIB / 2);
    raise(SIGKILL);
}

static void succeed(void *arg)
{
    const struct segment *segment = arg;
    auri_arena *a = NULL;
    uint64_t offset;

    AURT_CHECK(auri_arena_attach(segment->fd, segment->bytes, AURI_WARM_FIND, &a) == AUR_OK);
    AURT_CHECK(auri_arena_committed(a) >= 2 * MIB + MIB / 2);
    AURT_CHECK(auri_arena_committed(a) <= 3 * MIB);
    AURT_CHECK(auri_arena_used(a) == 0);
    uint64_t committed = aurp_shm_committed(segment->fd);
    AURT_CHECK(auri_arena_alloc(a, 2 * MIB, &offset) == AUR_OK && offset == 0);
    memset(auri_arena_at(a, offset), 0x11, 2 * MIB);
    AURT_CHECK(aurp_shm_committed(segment->fd) == committed); /* all of it was warm */
    auri_arena_free(a, offset);
    auri_arena_trim(a, 0);
    AURT_CHECK(auri_arena_extents(a) == 1);
    auri_arena_delete(a);
}

static void a_successor_takes_over_the_segment(void **state)
{
    (void)state;
    struct segment segment = { .bytes = 64 * MIB };
    int readonly;
    auri_window *w = NULL;

    assert_int_equal(aurp_shm_new("test", segment.bytes, &segment.fd), 0);
    assert_int_equal(aurp_shm_readonly(segment.fd, &readonly), 0);
    AURT_OK(auri_window_open(readonly, segment.bytes, 0, &w));
    int status = in_child(work_and_die, &segment);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    const unsigned char *result = auri_window_at(w, 0, 2 * MIB);
    assert_int_equal(result[0], 0x5a); /* the view outlives the worker */
    assert_int_equal(result[2 * MIB - 1], 0x5a);
    assert_int_equal(in_child(succeed, &segment), 0);
    auri_window_close(w);
    close(readonly);
    close(segment.fd);
}

static void look_at(void *arg)
{
    struct rlimit none = { 0, 0 };

    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would report it */
    _exit(*(volatile char *)arg);
}

static void mappings_stay_at_home(void **state)
{
    (void)state;
    auri_arena *a = NULL;
    uint64_t offset;

    AURT_OK(auri_arena_new(16 * MIB, "test", AURI_ARENA_DONTFORK, &a, NULL));
    AURT_OK(auri_arena_alloc(a, MIB, &offset));
    *(char *)auri_arena_at(a, offset) = 7;
    int status = in_child(look_at, auri_arena_at(a, offset));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    auri_arena_delete(a);

    AURT_OK(auri_arena_new(16 * MIB, "test", 0, &a, NULL));
    AURT_OK(auri_arena_alloc(a, MIB, &offset));
    *(char *)auri_arena_at(a, offset) = 7;
    status = in_child(look_at, auri_arena_at(a, offset));
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    auri_arena_delete(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_large_requests_need_a_committer),
        cmocka_unit_test(a_committer_is_the_first_to_be_killed),
        cmocka_unit_test(a_committer_killed_midway_is_no_memory),
        cmocka_unit_test(an_idle_committer_may_die),
        cmocka_unit_test(a_stopped_committer_does_not_block_the_end),
        cmocka_unit_test(without_a_process_the_budget_decides),
        cmocka_unit_test(a_system_error_comes_back),
        cmocka_unit_test(a_committer_ends_with_its_requester),
        cmocka_unit_test(signals_do_not_stop_a_commit),
        cmocka_unit_test(the_kernel_kills_the_committer_only),
        cmocka_unit_test(a_file_size_limit_caps_the_reserve),
        cmocka_unit_test(an_address_space_limit_caps_the_reserve),
        cmocka_unit_test(wrong_frees_are_asserted),
        cmocka_unit_test(a_successor_takes_over_the_segment),
        cmocka_unit_test(mappings_stay_at_home),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
