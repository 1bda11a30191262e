/* Goal:    a fresh image of this program runs a role, not main(), and nobody's wait() sees it.
 * Method:  this program is full of constructors of its own that count, open, and print; workers of
 *          a spawn nursery tell what they saw of them.  Images are started from a threaded host.
 * Guards:  src/proc/image.c; aurp_exec_hidden() in plat/linux_process.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#define _GNU_SOURCE /* pipe2(), program_invocation_name */
#include "aurt.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "plat/process.h"
#include "proc/image.h"
#include "proc/nursery.h"

/* ---- what the program does before main() ----------------------------------------------------- */

static int initialised; /* one bit per constructor */
static int maker;       /* the process that the constructors ran in */
static char *block;     /* from malloc */
static int leaked_fd;   /* an inheritable descriptor */
static bool main_reached;

__attribute__((constructor(102))) static void first_constructor(void)
{
    initialised |= 1;
    maker = getpid();
    block = malloc(100);
}

__attribute__((constructor)) static void second_constructor(int argc, char **argv)
{
    initialised |= argc >= 1 && argv[0] != NULL ? 2 : 0;
    leaked_fd = open("/dev/null", O_RDONLY);
    setenv("AURT_IMAGE_CONSTRUCTED", "1", 1);
}

/* ---- images --------------------------------------------------------------------------------- */

static void await_end(int pidfd)
{
    AURT_OK(aurp_pidfd_wait(pidfd, AUR_NO_DEADLINE));
}

static void check_committer(void)
{
    int pair[2];
    int pid = 0;
    int pidfd = -1;
    aur_diag diag = { 0 };
    size_t fds = aurt_fd_count();

    AURT_CHECK(aurp_socketpair(pair) == 0);
    aur_err err = auri_image_start("committer", pair[1], &pid, &pidfd, &diag);
    if (err != AUR_OK) {
        print_error("%s: %s\n", diag.step, diag.text);
    }
    AURT_OK(err);
    close(pair[1]);
    assert_true(pid > 0 && pid != getpid());
    assert_true(wait(NULL) == -1 && errno == ECHILD);
    assert_true(waitpid(pid, NULL, __WALL) == -1 && errno == ECHILD);
    AURT_ERR(AUR_ETIMEDOUT, aurp_pidfd_wait(pidfd, 0));
    close(pair[0]); /* its end: the committer serves until then */
    await_end(pidfd);
    close(pidfd);
    assert_int_equal(aurt_fd_count(), fds);
}

static void an_image_runs_its_role(void **state)
{
    (void)state;
    check_committer();
}

static void *read_to_end(void *arg)
{
    char byte;

    while (read(*(int *)arg, &byte, 1) > 0) {
    }
    return NULL;
}

static void from_a_threaded_host(void **state)
{
    (void)state;
    pthread_t thread;
    int line[2];
    sigset_t before;
    sigset_t after;

    assert_int_equal(pipe2(line, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_to_end, &line[0]), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    check_committer();
    check_committer();
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < 32; signal++) {
        assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
    }
    close(line[1]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(line[0]);
}

static void unknown_roles_are_refused(void **state)
{
    (void)state;
    int pid = 0;
    int pidfd = -1;
    aur_diag diag = { 0 };

    AURT_ERR(AUR_EINVAL, auri_image_start("nobody", 0, &pid, &pidfd, &diag));
    assert_non_null(strstr(diag.text, "nobody"));
    assert_int_equal(pidfd, -1);
}

static void the_variable_alone_does_nothing(void **state)
{
    (void)state;
    int status = 0;

    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* malformed: the program runs as ever */
        char self[] = "/proc/self/exe";
        char quiet[] = "--nothing";
        setenv(AURI_IMAGE_VARIABLE, "worker", 1);
        execv(self, (char *[]){ self, quiet, NULL });
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- a worker in an image ------------------------------------------------------------------- */

typedef struct sight {
    int initialised;
    bool has_block;
    bool main_reached;
    bool forked; /* of the process that the constructors ran in */
    bool leak_is_closed;
    bool has_variable;
    bool has_environment;
    char argv0[256];
} sight;

static int look_around(void *ctx, unsigned slot, uint64_t epoch, const int *fds, unsigned nfds)
{
    const char *marker = getenv("AURT_IMAGE_MARK");
    sight s = { .initialised = initialised, .has_block = block != NULL };

    AURT_CHECK(ctx == NULL && slot == 0 && epoch == 1 && nfds == 1);
    s.main_reached = main_reached;
    s.forked = maker == getppid();
    s.leak_is_closed = leaked_fd == fds[0] || fcntl(leaked_fd, F_GETFD) == -1;
    s.has_variable = getenv(AURI_IMAGE_VARIABLE) != NULL;
    s.has_environment = marker != NULL && strcmp(marker, "kept") == 0;
    snprintf(s.argv0, sizeof(s.argv0), "%s", program_invocation_name);
    AURT_CHECK(write(fds[0], &s, sizeof(s)) == sizeof(s));
    return 0;
}

static void workers_come_after_the_constructors(void **state)
{
    (void)state;
    auri_nursery_options opts = { .start = AUR_START_SPAWN, .worker_main = look_around };
    auri_nursery *n = NULL;
    int pair[2];
    sight s;

    setenv("AURT_IMAGE_MARK", "kept", 1);
    AURT_OK(auri_nursery_new(&opts, &n, NULL));
    AURT_OK(auri_nursery_hello(n, NULL));
    assert_int_equal(aurp_socketpair(pair), 0);
    AURT_OK(auri_nursery_request(n, 0, 1, &pair[1], 1));
    close(pair[1]);
    assert_int_equal(read(pair[0], &s, sizeof(s)), sizeof(s));
    assert_int_equal(s.initialised, 3);
    assert_true(s.has_block);
    assert_false(s.main_reached);
    assert_true(s.forked);
    assert_true(s.leak_is_closed);
    assert_false(s.has_variable);
    assert_true(s.has_environment);
    assert_string_equal(s.argv0, program_invocation_name);
    close(pair[0]);
    auri_nursery_free(n);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_runs_its_role),
        cmocka_unit_test(from_a_threaded_host),
        cmocka_unit_test(unknown_roles_are_refused),
        cmocka_unit_test(the_variable_alone_does_nothing),
        cmocka_unit_test(workers_come_after_the_constructors),
    };

    main_reached = true;
    if (argc > 1 && strcmp(argv[1], "--nothing") == 0) {
        free(block);
        return 0;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(block);
    return failed;
}
