/* Goal:    the host may die, wait for any child, ignore its children, start threads, fork and print:
 *          workers neither hinder it nor are harmed, and end with it.
 * Method:  each test runs for both starts, in a host process of its own.
 * Guards:  src/proc/nursery.c, zygote.c, image.c and plat/linux_process.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#define _GNU_SOURCE /* pipe2() */
#include "nursery_rig.h"
#include "task/record.h"

#include <errno.h>

/* ---- threads of the host -------------------------------------------------------------------- */

/* A thread that lives until its line is closed. */
static void *idle_thread(void *arg)
{
    char byte;

    while (read(*(int *)arg, &byte, 1) > 0) {
    }
    return NULL;
}

typedef struct crowd {
    pthread_t threads[2];
    int line[2];
} crowd;

static void crowd_start(crowd *c)
{
    AURT_CHECK(pipe(c->line) == 0);
    for (int i = 0; i < 2; i++) {
        AURT_CHECK(pthread_create(&c->threads[i], NULL, idle_thread, &c->line[0]) == 0);
    }
}

static void crowd_end(crowd *c)
{
    close(c->line[1]);
    for (int i = 0; i < 2; i++) {
        AURT_CHECK(pthread_join(c->threads[i], NULL) == 0);
    }
    close(c->line[0]);
}

/* ---- the host dies -------------------------------------------------------------------------- */

/* A host that makes a nursery and two workers, hands out their pidfds, and never ends by itself.
 * With `heir` it also leaves a forked child behind that holds copies of all its descriptors. */
static _Noreturn void doomed_host(int start, int line, bool threads, bool heir)
{
    crowd others;
    int fds[3];
    char byte = 0;

    if (threads) {
        crowd_start(&others);
    }
    auri_nursery *n = open_nursery(start);
    worker a = start_worker(n, 0, 1);
    worker b = start_worker(n, 1, 1);
    fds[0] = a.pidfd;
    fds[1] = b.pidfd;
    fds[2] = aurp_pidfd_open(ask(&a, ASK_WHO).parent);
    AURT_CHECK(fds[2] >= 0 && ask(&b, ASK_WHO).parent == ask(&a, ASK_WHO).parent);
    if (heir && fork() == 0) {
        AURT_CHECK(prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) == 0);
        while (read(line, &byte, 1) > 0) { /* until the test closes its end */
        }
        _exit(0);
    }
    AURT_CHECK(aurp_send(line, &byte, 1, fds, 3) == 0);
    for (;;) {
        pause();
    }
}

static void check_host_death(int start, bool threads, bool heir)
{
    int pair[2];
    int fds[3];
    unsigned count = 0;
    char byte;

    AURT_CHECK(aurp_socketpair(pair) == 0);
    fflush(NULL);
    pid_t host = fork();
    AURT_CHECK(host >= 0);
    if (host == 0) {
        close(pair[0]);
        doomed_host(start, pair[1], threads, heir);
    }
    close(pair[1]);
    AURT_CHECK(aurp_fd_wait(pair[0], AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(aurp_receive(pair[0], &byte, 1, fds, 3, &count) == 0 && count == 3);
    for (int i = 0; i < 3; i++) {
        AURT_CHECK(!has_ended(fds[i]));
    }
    AURT_CHECK(kill(host, SIGKILL) == 0);
    AURT_CHECK(waitpid(host, NULL, 0) == host);
    for (int i = 0; i < 3; i++) {
        await_end(fds[i]);
        close(fds[i]);
    }
    close(pair[0]);
}

static void host_death_takes_all(void **state)
{
    check_host_death(start_of(state), /* threads= */ false, /* heir= */ false);
    check_host_death(start_of(state), /* threads= */ true, /* heir= */ false);
}

static void host_death_with_a_forked_child(void **state)
{
    check_host_death(start_of(state), /* threads= */ false, /* heir= */ true);
}

/* ---- the host's own business with children --------------------------------------------------- */

static void host_ignores_sigchld(int start)
{
    signal(SIGCHLD, SIG_IGN);
    auri_nursery *n = open_nursery(start);
    worker w = start_worker(n, 0, 1);

    tell_exit(&w, 5);
    auri_nursery_event event = next_event(n);
    AURT_CHECK(event.kind == AURI_NURSERY_EXITED && WEXITSTATUS(event.status) == 5);
    drop(&w);
    auri_nursery_free(n);
}

static void host_waits_for_all(int start)
{
    auri_nursery *n = open_nursery(start);
    worker w = start_worker(n, 0, 1);

    while (wait(NULL) > 0) {
    }
    AURT_CHECK(errno == ECHILD);
    AURT_CHECK(ask(&w, ASK_WHO).pid == w.pid);
    drop(&w);
    auri_nursery_free(n);
    AURT_CHECK(wait(NULL) == -1 && errno == ECHILD);
}

static void host_with_threads(int start)
{
    crowd others;

    crowd_start(&others);
    AURT_CHECK(auri_foreign_threads() == 2);
    auri_own_threads_add(2);
    AURT_CHECK(auri_foreign_threads() == 0);
    auri_own_threads_add(-2);
    host_waits_for_all(start);
    check_crew(start, 2);
    crowd_end(&others);
}

static void threaded_host_ignores_sigchld(int start)
{
    crowd others;

    crowd_start(&others);
    host_ignores_sigchld(start);
    crowd_end(&others);
}

static void host_reaps_everything(int start)
{
    crowd others;

    crowd_start(&others);
    signal(SIGCHLD, reap_everything);
    check_crew(start, 2);
    crowd_end(&others);
}

static void sigchld_ignored(void **state)
{
    in_host(host_ignores_sigchld, start_of(state));
    in_host(threaded_host_ignores_sigchld, start_of(state));
    in_host(host_reaps_everything, start_of(state));
}

static void wait_finds_nothing(void **state)
{
    in_host(host_waits_for_all, start_of(state));
}

static void threads_do_not_matter(void **state)
{
    in_host(host_with_threads, start_of(state));
}

/* The forked child's free must not end the parent's workers. */
static void host_forks_itself(int start)
{
    auri_nursery *n = open_nursery(start);
    worker w = start_worker(n, 0, 1);
    pid_t pid = fork();

    if (pid == 0) {
        auri_nursery_free(n);
        _exit(0);
    }
    AURT_CHECK(waitpid(pid, NULL, 0) == pid);
    AURT_CHECK(ask(&w, ASK_WHO).pid == w.pid);
    drop(&w);
    auri_nursery_free(n);
}

static void free_in_a_forked_child(void **state)
{
    in_host(host_forks_itself, start_of(state));
}

/* ---- stdio ---------------------------------------------------------------------------------- */

static size_t occurrences(const char *path, const char *word)
{
    char text[4096];
    size_t count = 0;
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, text, sizeof(text) - 1);

    AURT_CHECK(size >= 0);
    text[size] = '\0';
    close(fd);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        count++;
    }
    return count;
}

static void print_in_all(int start, bool threads)
{
    char path[AURT_PATH_SIZE];
    crowd others;
    int fd = aurt_temp_file(path);

    if (threads) {
        crowd_start(&others);
    }
    AURT_CHECK(dup2(fd, 1) == 1);
    setvbuf(stdout, NULL, _IOFBF, 4096);
    printf("host text");
    FILE *other = threads ? NULL : fdopen(1, "w"); /* not flushed where there are threads */
    if (other != NULL) {
        fprintf(other, "other text");
    }
    auri_nursery *n = open_nursery(start);
    worker w = start_worker(n, 0, 1);
    AURT_CHECK(ask(&w, ASK_PRINT).good);
    tell_exit(&w, 0);
    AURT_CHECK(next_event(n).kind == AURI_NURSERY_EXITED);
    drop(&w);
    auri_nursery_free(n);
    fflush(NULL);
    AURT_CHECK(occurrences(path, "host text") == 1);
    AURT_CHECK(occurrences(path, "other text") == (other != NULL ? 1 : 0));
    AURT_CHECK(occurrences(path, "worker text") == 1);
    unlink(path);
    if (other != NULL) {
        fclose(other);
    }
    if (threads) {
        crowd_end(&others);
    }
}

static void print_alone(int start)
{
    print_in_all(start, false);
}

static void print_with_threads(int start)
{
    print_in_all(start, true);
}

static void *line_reader(void *arg)
{
    (void)arg;
    flockfile(stdin);
    aurt_event_set(arg);
    AURT_CHECK(fgetc(stdin) == EOF); /* holds the lock of stdin until the pipe is closed */
    funlockfile(stdin);
    return NULL;
}

/* fflush(NULL) would wait for the reader here. */
static void start_beside_a_reader(int start)
{
    aurt_event reading = { 0 };
    pthread_t reader;
    int line[2];

    AURT_CHECK(pipe2(line, O_CLOEXEC) == 0 && dup2(line[0], 0) == 0);
    AURT_CHECK(pthread_create(&reader, NULL, line_reader, &reading) == 0);
    aurt_event_wait(&reading);
    auri_nursery *n = open_nursery(start);
    worker w = start_worker(n, 0, 1);
    AURT_CHECK(ask(&w, ASK_STDIN).good);
    drop(&w);
    auri_nursery_free(n);
    close(line[1]);
    AURT_CHECK(pthread_join(reader, NULL) == 0);
}

static void text_is_printed_once(void **state)
{
    in_host(print_alone, start_of(state));
    in_host(print_with_threads, start_of(state));
}

static void start_while_stdin_is_read(void **state)
{
    in_host(start_beside_a_reader, start_of(state));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(host_death_takes_all),  BOTH(host_death_with_a_forked_child),
        BOTH(sigchld_ignored),       BOTH(wait_finds_nothing),
        BOTH(threads_do_not_matter), BOTH(free_in_a_forked_child),
        BOTH(text_is_printed_once),  BOTH(start_while_stdin_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
