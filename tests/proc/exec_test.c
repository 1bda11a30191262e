/* Goal:    what hosts that load the library late need of a process pool: workers from a program of
 *          their choice, workers that keep descriptors, a pool that a death breaks.
 * Method:  the program of AUR_START_EXEC is this test itself, with an argument.
 *          The program that runs already is a fork of it, with a socket.
 * Guards:  aur_nursery_run(), aur_nursery_serve(), AUR_POOL_KEEP_FDS, AUR_POOL_BREAK_ON_DEATH. */
/* aurt: no-tsan */
#define _GNU_SOURCE
#include "aurt.h"

#include <auriga.h>
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int made_ready; /* set by main() of the program that runs the nursery */

static int ready(int x)
{
    return made_ready + x;
}
AUR_FN(int, ready, int);

static int first_byte(int fd)
{
    char byte = 0;

    return pread(fd, &byte, 1, 0) == 1 ? byte : -1;
}
AUR_FN(int, first_byte, int);

static int is_open(int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return access(path, F_OK) == 0;
}
AUR_FN(int, is_open, int);

static int die(int x)
{
    kill(getpid(), SIGKILL);
    return x;
}
AUR_FN(int, die, int);

static int init_ready(void *ctx, int worker)
{
    (void)worker;
    made_ready += ctx == NULL ? 10 : 0;
    return 0;
}

static int file_with(char byte)
{
    int fd = memfd_create("exec_test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, &byte, 1), 1);
    return fd;
}

static aur_options options(int start, uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = AUR_PROCESSES;
    opts.start = start;
    opts.workers = workers;
    return opts;
}

static const char *const own_program[] = { "/proc/self/exe", "nursery", NULL };

static void test_exec(void **state)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = options(AUR_START_EXEC, 2);
    int given = file_with('a');
    int kept_back = file_with('b');
    int v = 0;

    (void)state;
    opts.exec_argv = own_program;
    opts.exec_fds = &given;
    opts.exec_fds_n = 1;
    opts.worker_init = init_ready;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply(pool, &v, ready, 1));
    assert_int_equal(v, 111); /* 100 of main(), 10 of the init */
    AURT_OK(aur_apply(pool, &v, first_byte, given));
    assert_int_equal(v, 'a');
    AURT_OK(aur_apply(pool, &v, is_open, kept_back));
    assert_int_equal(v, 0);
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 0));
    AURT_OK(aur_apply(pool, &v, ready, 2)); /* in a replacement, perhaps */
    assert_int_equal(v, 112);
    close(given);
    close(kept_back);
}

static void test_exec_of_nothing(void **state)
{
    static const char *const missing[] = { "/nonexistent/program", NULL };
    static const char *const deaf[] = { "/bin/true", NULL };
    aur_options opts = options(AUR_START_EXEC, 1);
    aur_pool *pool = NULL;
    aur_diag diag;

    (void)state;
    opts.exec_argv = missing;
    AURT_ERR(AUR_ESYS, aur_pool_new(&opts, &pool, &diag));
    assert_int_equal(diag.sys_errno, ENOENT);
    opts.exec_argv = deaf; /* it never calls aur_nursery_run() */
    AURT_ERR(AUR_EAGAIN, aur_pool_new(&opts, &pool, &diag));
    AURT_ERR(AUR_EINVAL, aur_nursery_run());
}

#define ROOM_FOR_FDS 8

/* The next request: its descriptors, -1 behind the last; 0 when the other end is closed. */
static int take_request(int socket, int *ret_fds)
{
    char byte;
    struct iovec part = { .iov_base = &byte, .iov_len = 1 };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(ROOM_FOR_FDS * sizeof(int))];
    } room = { 0 };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof(room)
    };
    ssize_t got = recvmsg(socket, &message, 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    size_t n = header != NULL ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

    for (size_t i = 0; i < ROOM_FOR_FDS; i++) {
        ret_fds[i] = -1;
    }
    if (n > 0) {
        memcpy(ret_fds, CMSG_DATA(header), n * sizeof(int));
    }
    return got == 1;
}

/* Never returns. */
static void live_as_resident(int socket)
{
    int fds[ROOM_FOR_FDS];

    signal(SIGCHLD, SIG_IGN); /* nobody takes the statuses */
    while (take_request(socket, fds)) {
        if (fork() == 0) {
            close(socket);
            made_ready += fds[1] >= 0 ? 1000 : 500;
            dup2(fds[1], 100); /* a number that both sides know */
            aur_nursery_serve(fds[0]);
            _exit(1);
        }
        made_ready++; /* what was forked before does not see it */
        for (int i = 0; i < ROOM_FOR_FDS && fds[i] >= 0; i++) {
            close(fds[i]);
        }
    }
    _exit(0);
}

static void test_resident(void **state)
{
    int pair[2];
    int fds[2] = { -1, file_with('r') };
    int v = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    int resident = fork();
    if (resident == 0) {
        close(pair[0]);
        made_ready = 100;
        live_as_resident(pair[1]);
    }
    close(pair[1]);
    fds[0] = pair[0];
    for (int round = 0; round < 3; round++) {
        AUR_SCOPED(aur_pool) *pool = NULL;
        aur_options opts = options(AUR_START_EXEC, 2);
        opts.exec_fds = fds;
        opts.exec_fds_n = round == 2 ? 1 : 2;
        opts.worker_init = init_ready;
        AURT_OK(aur_pool_new(&opts, &pool, NULL));
        AURT_OK(aur_apply(pool, &v, ready, 1));
        assert_int_equal(v, (round == 2 ? 500 : 1000) + 100 + round + 10 + 1);
        AURT_OK(aur_apply(pool, &v, first_byte, 100));
        assert_int_equal(v, round == 2 ? -1 : 'r');
        AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, die, 0));
        AURT_OK(aur_apply(pool, &v, first_byte, 100)); /* in a replacement, perhaps */
    }
    kill(resident, SIGKILL);
    assert_int_equal(waitpid(resident, NULL, 0), resident);
    aur_options opts = options(AUR_START_EXEC, 1);
    aur_pool *pool = NULL;
    aur_diag diag;
    opts.exec_fds = fds;
    opts.exec_fds_n = 1;
    assert_int_not_equal(aur_pool_new(&opts, &pool, &diag), AUR_OK);
    assert_string_equal(diag.step, "sendmsg");
    close(fds[1]);
    close(pair[0]);
}

/* A program that reads the request and ends without an answer: an error, and no wait for ever. */
static void test_resident_that_ends(void **state)
{
    aur_options opts = options(AUR_START_EXEC, 1);
    aur_pool *pool = NULL;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    int resident = fork();
    if (resident == 0) {
        int fds[ROOM_FOR_FDS];
        close(pair[0]);
        (void)take_request(pair[1], fds);
        _exit(0);
    }
    close(pair[1]);
    opts.exec_fds = pair;
    opts.exec_fds_n = 1;
    AURT_ERR(AUR_EAGAIN, aur_pool_new(&opts, &pool, NULL));
    assert_int_equal(waitpid(resident, NULL, 0), resident);
    close(pair[0]);
    AURT_ERR(AUR_EINVAL, aur_nursery_serve(2));
}

/* What a process does that is told to be a nursery, and has no pool: how it ends. */
static int nursery_alone(bool serves, bool nonsense)
{
    char text[16];
    int pair[2];

    AURT_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    AURT_CHECK(!nonsense || send(pair[0], "nonsense", 8, 0) == 8);
    close(pair[0]); /* the pool is gone */
    if (serves) {
        return aur_nursery_serve(pair[1]);
    }
    snprintf(text, sizeof(text), "%d", pair[1]);
    AURT_CHECK(setenv("AURIGA_NURSERY_", text, 1) == 0);
    aur_err err = aur_nursery_run();
    AURT_CHECK(aur_nursery_run() == AUR_EINVAL); /* it is said once */
    return err;
}

static void test_nursery_without_pool(void **state)
{
    (void)state;
    for (int how = 0; how < 4; how++) {
        int status = 0;
        int child = fork();
        if (child == 0) {
            _exit(nursery_alone(how / 2 != 0, how % 2 != 0));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), AUR_ESYS);
    }
}

static void test_keep_fds(void **state)
{
    int fd = file_with('k');
    int v = 0;

    (void)state;
    for (uint32_t keep = 0; keep <= AUR_POOL_KEEP_FDS; keep += AUR_POOL_KEEP_FDS) {
        aur_options opts = options(AUR_START_FORK, 1);
        AUR_SCOPED(aur_pool) *pool = NULL;
        opts.flags = keep;
        AURT_OK(aur_pool_new(&opts, &pool, NULL));
        AURT_OK(aur_apply(pool, &v, first_byte, fd));
        assert_int_equal(v, keep != 0 ? 'k' : -1);
    }
    close(fd);
}

static void test_break_on_death(void **state)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_future) *first = NULL;
    AUR_SCOPED(aur_future) *second = NULL;
    aur_options opts = options(AUR_START_FORK, 1);
    int v;

    (void)state;
    opts.flags = AUR_POOL_BREAK_ON_DEATH;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply_async(pool, &first, die, 1));
    aur_err submitted = aur_apply_async(pool, &second, ready, 1);
    aur_err err = aur_future_outcome(first, AUR_NO_DEADLINE);
    assert_true(err == AUR_EWORKER || err == AUR_EBROKEN);
    if (submitted == AUR_OK) { /* else the death was seen first */
        submitted = aur_future_outcome(second, AUR_NO_DEADLINE);
    }
    assert_int_equal(submitted, AUR_EBROKEN);
    AURT_ERR(AUR_EBROKEN, aur_apply(pool, &v, ready, 1));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_exec_of_nothing),
        cmocka_unit_test(test_resident),
        cmocka_unit_test(test_resident_that_ends),
        cmocka_unit_test(test_keep_fds),
        cmocka_unit_test(test_break_on_death),
        cmocka_unit_test(test_nursery_without_pool),
    };

    if (argc == 2 && strcmp(argv[1], "nursery") == 0) {
        made_ready = 100;
        return aur_nursery_run() == AUR_OK ? 0 : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
