/* nursery_rig.h: workers that answer questions, hosts for them, and the two starts.
 *
 * The workers are attendants: they answer on their first descriptor and end when told to, so that
 * nothing waits by time. */
#ifndef AURT_NURSERY_RIG_H
#define AURT_NURSERY_RIG_H

#include "aurt.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "plat/process.h"
#include "proc/nursery.h"

/* ---- the worker ----------------------------------------------------------------------------- */

enum { ASK_WHO, ASK_FDS, ASK_SIGNALS, ASK_LIMITS, ASK_NAME, ASK_PRINT, ASK_STDIN, ASK_EXIT };

typedef struct question {
    int kind;
    int arg;
} question;

typedef struct answer {
    int pid;
    int parent;
    unsigned slot;
    uint64_t epoch;
    unsigned nfds;
    int good; /* what was asked for holds */
    uint64_t value;
    char text[16];
} answer;

static inline bool only_own_fds(const int *fds, unsigned nfds)
{
    bool good = true;
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    AURT_CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);
        bool own = entry->d_name[0] == '.' || fd <= 2 || fd == dirfd(dir);
        for (unsigned i = 0; i < nfds; i++) {
            own = own || fds[i] == fd;
        }
        good = good && own;
    }
    closedir(dir);
    for (unsigned i = 0; i < nfds; i++) {
        good = good && fds[i] > 2 && fcntl(fds[i], F_GETFD) == FD_CLOEXEC;
    }
    return good;
}

static inline bool signals_are_set(void)
{
    sigset_t blocked;
    bool good = pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0;

    for (int signal = 1; signal < 32; signal++) {
        struct sigaction action;
        bool ignored = signal == SIGINT || signal == SIGQUIT;
        good = good && sigaction(signal, NULL, &action) == 0 &&
               sigismember(&blocked, signal) == 0 &&
               action.sa_handler == (ignored ? SIG_IGN : SIG_DFL);
    }
    return good;
}

static inline void reply(const question *q, answer *a, const int *fds, unsigned nfds)
{
    struct rlimit core;
    struct rlimit space;
    char byte;

    switch (q->kind) {
    case ASK_FDS:
        a->good = only_own_fds(fds, nfds);
        a->value = (uint64_t)fds[0];
        break;
    case ASK_SIGNALS:
        a->good = signals_are_set();
        break;
    case ASK_LIMITS:
        a->good = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 &&
                  getrlimit(RLIMIT_DATA, &space) == 0;
        a->value = space.rlim_cur;
        break;
    case ASK_NAME:
        a->good = prctl(PR_GET_NAME, a->text, 0, 0, 0) == 0;
        break;
    case ASK_PRINT:
        a->good = printf("worker text") > 0; /* left in the buffer */
        break;
    case ASK_STDIN:
        a->good = read(0, &byte, 1) == 0;
        break;
    default:
        break;
    }
}

/* Its result: what ASK_EXIT says, or 0 when nobody asks any more. */
static inline int attend(void *ctx, unsigned slot, uint64_t epoch, const int *fds, unsigned nfds)
{
    question q;

    (void)ctx;
    while (nfds > 0 && read(fds[0], &q, sizeof(q)) == sizeof(q)) {
        if (q.kind == ASK_EXIT) {
            return q.arg;
        }
        answer a = {
            .pid = getpid(), .parent = getppid(), .slot = slot, .epoch = epoch, .nfds = nfds
        };
        reply(&q, &a, fds, nfds);
        AURT_CHECK(write(fds[0], &a, sizeof(a)) == sizeof(a));
    }
    return 0;
}

/* ---- helpers: AURT_CHECK throughout, as they run in forked hosts, too ------------------------ */

typedef struct worker {
    int line; /* questions and answers */
    int pid;
    int pidfd;
} worker;

static inline auri_nursery *open_nursery(int start)
{
    auri_nursery_options opts = { .start = start, .worker_main = attend };
    auri_nursery *n = NULL;
    aur_diag diag = { 0 };

    if (auri_nursery_new(&opts, &n, &diag) != AUR_OK || auri_nursery_hello(n, &diag) != AUR_OK) {
        fprintf(stderr, "%s: %s\n", diag.step, diag.text);
        abort();
    }
    return n;
}

static inline auri_nursery_event next_event(auri_nursery *n)
{
    auri_nursery_event event;
    aur_err err;

    while ((err = auri_nursery_next(n, &event)) == AUR_EPENDING) {
        AURT_CHECK(auri_nursery_wait(n, AUR_NO_DEADLINE) == AUR_OK);
    }
    AURT_CHECK(err == AUR_OK);
    return event;
}

static inline int request(auri_nursery *n, unsigned slot, uint64_t epoch)
{
    int pair[2];

    AURT_CHECK(aurp_socketpair(pair) == 0);
    AURT_CHECK(auri_nursery_request(n, slot, epoch, &pair[1], 1) == AUR_OK);
    close(pair[1]);
    return pair[0];
}

static inline worker take_started(auri_nursery *n, int line)
{
    auri_nursery_event event = next_event(n);

    AURT_CHECK(event.kind == AURI_NURSERY_STARTED);
    AURT_CHECK(event.pid > 0 && event.pidfd > 2);
    return (worker){ .line = line, .pid = event.pid, .pidfd = event.pidfd };
}

static inline worker start_worker(auri_nursery *n, unsigned slot, uint64_t epoch)
{
    return take_started(n, request(n, slot, epoch));
}

static inline answer ask(const worker *w, int kind)
{
    question q = { .kind = kind };
    answer a;

    AURT_CHECK(write(w->line, &q, sizeof(q)) == sizeof(q));
    AURT_CHECK(read(w->line, &a, sizeof(a)) == sizeof(a));
    return a;
}

static inline void tell_exit(const worker *w, int status)
{
    question q = { .kind = ASK_EXIT, .arg = status };

    AURT_CHECK(write(w->line, &q, sizeof(q)) == sizeof(q));
}

static inline void drop(worker *w)
{
    close(w->line);
    close(w->pidfd);
}

static inline bool has_ended(int pidfd)
{
    return aurp_pidfd_wait(pidfd, 0) == AUR_OK;
}

static inline void await_end(int pidfd)
{
    AURT_CHECK(aurp_pidfd_wait(pidfd, AUR_NO_DEADLINE) == AUR_OK);
}

/* Runs body(start) as the only thread of a process of its own, which must end with status 0. */
static inline void in_host(void (*body)(int start), int start)
{
    int status = 0;

    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body(start);
        fflush(NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static inline void reap_everything(int signal)
{
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

/* The whole life of a nursery, of which nothing is left. */
static inline void check_crew(int start, unsigned count)
{
    worker crew[16];
    int lines[16];
    size_t fds = aurt_fd_count();
    auri_nursery *n = open_nursery(start);

    for (unsigned i = 0; i < count; i++) {
        lines[i] = request(n, i, 1000 + i);
    }
    for (unsigned i = 0; i < count; i++) {
        crew[i] = take_started(n, lines[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        answer a = ask(&crew[i], ASK_WHO);
        AURT_CHECK(a.pid == crew[i].pid && a.slot == i && a.epoch == 1000 + i && a.nfds == 1);
        AURT_CHECK(!has_ended(crew[i].pidfd));
    }
    auri_nursery_free(n);
    for (unsigned i = 0; i < count; i++) {
        AURT_CHECK(has_ended(crew[i].pidfd));
        drop(&crew[i]);
    }
    AURT_CHECK(aurt_fd_count() == fds);
    AURT_CHECK(aurt_child_count() == 0);
}

/* ---- the two starts ------------------------------------------------------------------------- */

static int with_fork = AUR_START_FORK;
static int with_spawn = AUR_START_SPAWN;

static inline int start_of(void **state)
{
    return *(int *)*state;
}

#define WITH(test, start)                                                                          \
    {                                                                                              \
        .name = #test "/" #start, .test_func = test, .initial_state = &with_##start                \
    }
/* Entries of a group: the test with each start. */
#define BOTH(test) WITH(test, fork), WITH(test, spawn)

#endif /* AURT_NURSERY_RIG_H */
