/* The host's side of a nursery. */
#include "proc/nursery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "plat/plat.h"
#include "plat/process.h"
#include "proc/image.h"
#include "proc/zygote.h"
#include "task/record.h"

struct auri_nursery {
    int socket;
    int pidfd;           /* the nursery's, -1 before its hello */
    int child_pid;       /* the nursery's, if it is a (hidden) child of this process, else 0 */
    int owner_pid;       /* the process that made it */
    unsigned unanswered; /* requests without STARTED or FAILED */
    bool greeted;        /* its hello has been taken, or will never come */
    bool dead;
};

/* ---- the fork start ------------------------------------------------------------------------- */

/* Everything the host has printed goes out before a copy of the buffers exists.  fflush(NULL)
 * waits for the lock of each stream, and another thread may hold stdin's for ever while it reads a
 * line; so with threads around only the streams that everybody shares are flushed, and not if they
 * are busy.  The nursery empties its copy of those, and other streams have no descriptor there
 * (but for a second stream that the host made on descriptor 1 or 2). */
static void flush_output(bool alone)
{
    AURP_UNCANCELLED;
    FILE *const shared[] = { stdout, stderr };

    if (alone) {
        fflush(NULL);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        if (ftrylockfile(shared[i]) == 0) {
            fflush_unlocked(shared[i]);
            funlockfile(shared[i]);
        }
    }
}

/* Forks twice, so that the nursery is an orphan.  With other threads about, malloc's lock may be
 * held by one of them at this moment: only the C library's fork() leaves the child a usable malloc,
 * but its children are ordinary ones, which wait() sees.  The child between is reaped by its pid;
 * if the host reaps all its children, or ignores SIGCHLD, somebody else has done that. */
static int fork_orphan(const auri_zygote_start *start)
{
    int between = (int)fork();

    if (between < 0) {
        return errno;
    }
    if (between > 0) {
        aurp_reap(between, NULL);
        return 0;
    }
    int pid = (int)fork();
    if (pid == 0) {
        auri_zygote_run(start);
    }
    if (pid < 0) { /* say so in the nursery's place */
        auri_zygote_message hello = { .kind = AURI_ZYGOTE_HELLO, .status = errno };
        (void)aurp_send(start->socket, &hello, sizeof(hello), NULL, 0);
    }
    _exit(0);
}

/* In the calling thread, for its stack and thread-locals are those that every worker will have.
 * With one thread no lock can be held: one fork is enough then, as a child that wait() does not
 * see.  All signals are blocked meanwhile: a handler of the host must not run in the nursery. */
static int fork_nursery(const auri_zygote_start *start, int *ret_child_pid)
{
    bool alone = aurp_thread_count() == 1;
    sigset_t before;
    int failed = 0;

    flush_output(alone);
    aurp_signals_block(&before);
    if (alone) {
        int pid = aurp_fork_hidden();
        if (pid == 0) {
            auri_zygote_run(start);
        }
        failed = pid < 0 ? -pid : 0;
        *ret_child_pid = pid > 0 ? pid : 0;
    } else {
        failed = fork_orphan(start);
    }
    aurp_signals_restore(&before);
    return failed;
}

/* ---- both starts ---------------------------------------------------------------------------- */

static aur_err failed_call(aur_diag *diag, int sys_errno, const char *step, const char *text)
{
    return auri_diag(diag, auri_err_of_errno(sys_errno), sys_errno, step, "%s", text);
}

static aur_err spawn_nursery(auri_nursery *n, const auri_zygote_start *start, aur_diag *diag)
{
    int pid;
    int pidfd;

    aur_err err = auri_image_start("nursery", start->socket, &pid, &pidfd, diag);
    if (err != AUR_OK) {
        return err;
    }
    aurp_close(&pidfd); /* the hello brings another */
    int failed = aurp_send(n->socket, &start->setup, sizeof(start->setup), &start->host_pidfd, 1);
    if (failed != 0) {
        return failed_call(diag, failed, "sendmsg", "the helper process could not be set up");
    }
    return AUR_OK;
}

/* What a program is executed with: the host's environment, and where its socket is. */
static char **exec_environment(char *order)
{
    size_t count = 0;

    while (environ != NULL && environ[count] != NULL) {
        count++;
    }
    char **envp = malloc((count + 2) * sizeof(*envp));
    if (envp != NULL) {
        envp[0] = order;
        for (size_t i = 0; i < count; i++) {
            envp[i + 1] = environ[i];
        }
        envp[count + 1] = NULL;
    }
    return envp;
}

static aur_err exec_nursery(auri_nursery *n, const auri_nursery_options *opts,
                            const auri_zygote_start *start, aur_diag *diag)
{
    char order[sizeof(AURI_NURSERY_VARIABLE) + 16];
    int *fds = malloc((opts->exec_fds_n + 1) * sizeof(*fds));
    char **envp = exec_environment(order);
    int failed = ENOMEM;
    int pid;
    int pidfd;

    snprintf(order, sizeof(order), "%s=%d", AURI_NURSERY_VARIABLE, start->socket);
    if (fds != NULL && envp != NULL) {
        for (unsigned i = 0; i < opts->exec_fds_n; i++) {
            fds[i] = opts->exec_fds[i];
        }
        fds[opts->exec_fds_n] = start->socket;
        aurp_program program = { .path = opts->exec_argv[0],
                                 .argv = (char *const *)opts->exec_argv,
                                 .envp = envp,
                                 .fds = fds,
                                 .n = opts->exec_fds_n + 1 };
        failed = aurp_exec_hidden(&program, &pid, &pidfd);
    }
    free(fds);
    free(envp);
    if (failed == 0) {
        aurp_close(&pidfd); /* the hello brings another */
        failed = aurp_send(n->socket, &start->setup, sizeof(start->setup), &start->host_pidfd, 1);
    }
    return failed == 0 ? AUR_OK
                       : failed_call(diag, failed, "exec", "the program of exec_argv did not run");
}

/* A program that runs already is given the socket, and forks; the setup waits in the socket for that
 * child.  If the program dies before, the kernel drops the message and with it the socket's last copy,
 * which auri_nursery_hello() sees. */
static aur_err ask_nursery(auri_nursery *n, const auri_nursery_options *opts,
                           const auri_zygote_start *start, aur_diag *diag)
{
    int fds[AURP_FDS_MAX] = { start->socket };
    unsigned count = 1;

    for (; count < opts->exec_fds_n && count < AURP_FDS_MAX; count++) {
        fds[count] = opts->exec_fds[count];
    }
    int failed = aurp_send(n->socket, &start->setup, sizeof(start->setup), &start->host_pidfd, 1);
    if (failed == 0) {
        failed = aurp_send(opts->exec_fds[0], "", 1, fds, count);
    }
    return failed == 0 ? AUR_OK
                       : failed_call(diag, failed, "sendmsg",
                                     "the program behind exec_fds[0] could not be asked");
}

/* No time limit is needed: either its first message comes, or the nursery is dead and its end of the
 * socket closed, as ours is the only other copy. */
aur_err auri_nursery_hello(auri_nursery *nursery, aur_diag *reterr_diag)
{
    auri_zygote_message hello = { 0 };
    aur_diag *diag = reterr_diag;
    unsigned fds = 0;

    nursery->greeted = true;
    (void)aurp_fd_wait(nursery->socket, AUR_NO_DEADLINE);
    int failed = aurp_receive(nursery->socket, &hello, sizeof(hello), &nursery->pidfd, 1, &fds);
    if (failed == 0 && hello.status != 0) {
        failed = hello.status;
    }
    if (failed == EPIPE) {
        return auri_diag(diag, AUR_EAGAIN, 0, "hello",
                         "the helper process of the pool died at its "
                         "start");
    }
    if (failed != 0) {
        return failed_call(diag, failed, "hello", "the helper process of the pool did not start");
    }
    return hello.kind == AURI_ZYGOTE_HELLO && fds == 1
               ? AUR_OK
               : auri_diag(diag, AUR_ESYS, 0, "hello",
                           "the helper process of the pool said "
                           "something else than hello");
}

/* Checks the options and gathers what the nursery is given, but for its socket.  The host's pidfd
 * is opened here, by the host: it names the right process even if the host dies a moment later. */
static aur_err prepare(const auri_nursery_options *opts, auri_zygote_start *ret, aur_diag *diag)
{
    bool spawn = opts->start == AUR_START_SPAWN;
    bool fork = opts->start == AUR_START_FORK;
    bool exec = opts->start == AUR_START_EXEC && (opts->exec_argv != NULL || opts->exec_fds_n != 0);
    const void *addr;

    if ((!spawn && !fork && !exec) || opts->worker_main == NULL || (!fork && opts->ctx != NULL)) {
        return auri_diag(diag, AUR_EINVAL, 0, "options",
                         "a nursery needs a start, a worker "
                         "function, and no ctx to spawn");
    }
    *ret = (auri_zygote_start){ .socket = -1, .host_pidfd = -1 };
    ret->setup.memory_max_bytes = opts->memory_max_bytes;
    ret->setup.keep_fds = opts->keep_fds || exec;
    snprintf(ret->setup.name, sizeof(ret->setup.name), "%s",
             opts->name != NULL ? opts->name : "aur");
    if (spawn) {
        memcpy(&addr, &opts->worker_main, sizeof(addr));
        aur_err err = auri_module_encode(addr, true, &ret->setup.worker_main);
        if (err != AUR_OK) {
            return auri_diag(diag, err, 0, "worker function", "it is in no module");
        }
    } else {
        ret->worker_main = opts->worker_main;
        ret->ctx = opts->ctx;
    }
    ret->host_pidfd = aurp_pidfd_open(aurp_pid());
    if (ret->host_pidfd < 0) {
        return failed_call(diag, -ret->host_pidfd, "pidfd_open", "no descriptor for this process");
    }
    return AUR_OK;
}

/* On failure whatever was made so far is left to auri_nursery_free(). */
static aur_err start_nursery(auri_nursery *n, const auri_nursery_options *opts,
                             auri_zygote_start *start, aur_diag *diag)
{
    int pair[2];
    aur_err err;

    int failed = aurp_socketpair(pair);
    if (failed != 0) {
        return failed_call(diag, failed, "socketpair", "no socket for the helper process");
    }
    n->socket = pair[0];
    start->socket = pair[1];
    if (opts->start == AUR_START_EXEC && opts->exec_argv == NULL) {
        err = ask_nursery(n, opts, start, diag);
    } else if (opts->start == AUR_START_EXEC) {
        err = exec_nursery(n, opts, start, diag);
    } else if (opts->start == AUR_START_SPAWN) {
        err = spawn_nursery(n, start, diag);
    } else {
        failed = fork_nursery(start, &n->child_pid);
        err = failed == 0 ? AUR_OK
                          : failed_call(diag, failed, "fork", "the helper process did not start");
    }
    aurp_close(&start->socket); /* before the wait for hello: the nursery's must be the last one */
    n->greeted = err != AUR_OK;
    return err;
}

aur_err auri_nursery_new(const auri_nursery_options *opts, auri_nursery **ret_nursery,
                         aur_diag *reterr_diag)
{
    auri_zygote_start start;

    aur_err err = prepare(opts, &start, reterr_diag);
    if (err != AUR_OK) {
        return err;
    }
    auri_nursery *n = malloc(sizeof(*n));
    if (n == NULL) {
        aurp_close(&start.host_pidfd);
        return failed_call(reterr_diag, ENOMEM, "malloc", "no memory for a nursery");
    }
    *n = (auri_nursery){ .socket = -1, .pidfd = -1, .owner_pid = aurp_pid(), .greeted = true };
    err = start_nursery(n, opts, &start, reterr_diag);
    aurp_close(&start.host_pidfd);
    if (err != AUR_OK) {
        auri_nursery_free(n);
        return err;
    }
    *ret_nursery = n;
    return AUR_OK;
}

/* ---- requests and events -------------------------------------------------------------------- */

aur_err auri_nursery_request(auri_nursery *nursery, unsigned slot, uint64_t epoch, const int *fds,
                             unsigned nfds)
{
    auri_zygote_message message = { .kind = AURI_ZYGOTE_REQUEST, .slot = slot, .epoch = epoch };

    if (nfds > AURP_FDS_MAX) {
        return AUR_EINVAL;
    }
    if (nursery->dead) {
        return AUR_EBROKEN;
    }
    if (nursery->unanswered >= AURI_NURSERY_REQUESTS_MAX) {
        return AUR_EAGAIN;
    }
    int failed = aurp_send(nursery->socket, &message, sizeof(message), fds, nfds);
    switch (failed) {
    case 0:
        nursery->unanswered++;
        return AUR_OK;
    case EPIPE:
    case ECONNRESET:
        return AUR_EBROKEN; /* not yet `dead`: its last events may still wait to be read */
    case ETOOMANYREFS:
    case ENOBUFS:
        return AUR_EAGAIN;
    default:
        return auri_err_of_errno(failed);
    }
}

int auri_nursery_fd(const auri_nursery *nursery)
{
    return nursery->socket;
}

aur_err auri_nursery_wait(auri_nursery *nursery, aur_deadline deadline)
{
    return aurp_fd_wait(nursery->socket, deadline);
}

void auri_nursery_kill(auri_nursery *nursery, unsigned slot, uint64_t epoch)
{
    auri_zygote_message message = { .kind = AURI_ZYGOTE_KILL, .slot = slot, .epoch = epoch };

    (void)aurp_send(nursery->socket, &message, sizeof(message), NULL, 0);
}

/* A started worker whose pidfd found no room here: the host could not watch it. */
static void give_up(auri_nursery *n, auri_nursery_event *event)
{
    auri_nursery_kill(n, event->slot, event->epoch);
    event->kind = AURI_NURSERY_FAILED;
    event->pid = 0;
    event->sys_errno = EMFILE;
}

/* pidfd: what came with the message, or -1. */
static void fill_event(auri_nursery *n, const auri_zygote_message *message, int pidfd,
                       auri_nursery_event *ret)
{
    *ret = (auri_nursery_event){ .kind = (int)message->kind,
                                 .slot = message->slot,
                                 .epoch = message->epoch,
                                 .pid = message->pid,
                                 .pidfd = pidfd };
    if (message->kind == AURI_NURSERY_EXITED) {
        ret->status = message->status;
        ret->maxrss_bytes = message->maxrss_bytes;
        return;
    }
    n->unanswered--;
    if (message->kind == AURI_NURSERY_FAILED) {
        ret->sys_errno = message->status;
    } else if (pidfd < 0) {
        give_up(n, ret);
    }
}

/* Whether a nursery that follows the protocol could have said this now.  Whoever says something else is
 * none: its words must not become workers, nor spoil the count of requests. */
static bool is_event(const auri_nursery *n, const auri_zygote_message *message, unsigned fds)
{
    switch (message->kind) {
    case AURI_NURSERY_STARTED: /* fds may be 0: there was no room here */
        return n->unanswered != 0;
    case AURI_NURSERY_FAILED:
        return n->unanswered != 0 && fds == 0;
    default:
        return message->kind == AURI_NURSERY_EXITED && fds == 0;
    }
}

aur_err auri_nursery_next(auri_nursery *nursery, auri_nursery_event *ret_event)
{
    auri_zygote_message message;
    int pidfd = -1;
    unsigned fds = 0;

    if (nursery->dead) {
        return AUR_EBROKEN;
    }
    int failed = aurp_receive(nursery->socket, &message, sizeof(message), &pidfd, 1, &fds);
    if (failed == EAGAIN) {
        return AUR_EPENDING;
    }
    /* EMFILE: the message is there, its pidfd is lost */
    if ((failed != 0 && failed != EMFILE) || !is_event(nursery, &message, fds)) {
        aurp_close(&pidfd);
        nursery->dead = true;
        return AUR_EBROKEN;
    }
    fill_event(nursery, &message, fds == 1 ? pidfd : -1, ret_event);
    return AUR_OK;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* A nursery that was stopped (SIGSTOP), or whose worker cannot be torn down, is killed: then the
 * kernel kills the workers, and init reaps them. */
#define GOODBYE_NS 5000000000u

static void bury(auri_nursery *n)
{
    if (aurp_pidfd_wait(n->pidfd, aurp_now_ns() + GOODBYE_NS) != AUR_OK) {
        aurp_pidfd_kill(n->pidfd, SIGKILL);
        (void)aurp_pidfd_wait(n->pidfd, AUR_NO_DEADLINE);
    }
    aurp_pidfd_reap(n->pidfd);
}

/* If the socket is full the end is that of auri_nursery_free(). */
void auri_nursery_last_call(auri_nursery *nursery)
{
    auri_zygote_message message = { .kind = AURI_ZYGOTE_LAST_CALL };

    (void)aurp_send(nursery->socket, &message, sizeof(message), NULL, 0);
}

auri_nursery *auri_nursery_free(auri_nursery *nursery)
{
    if (nursery == NULL) {
        return NULL;
    }
    bool ours = nursery->owner_pid == aurp_pid();
    if (ours && !nursery->greeted) {
        (void)auri_nursery_hello(nursery, NULL); /* for its pidfd: its end is waited for */
    }
    if (ours && nursery->socket >= 0) {
        aurp_hang_up(nursery->socket);
    }
    if (ours && nursery->pidfd >= 0) {
        bury(nursery);
    } else if (ours && nursery->child_pid > 0) {
        aurp_reap(nursery->child_pid, NULL); /* it died, or dies now, before its hello */
    }
    aurp_close(&nursery->socket);
    aurp_close(&nursery->pidfd);
    free(nursery);
    return NULL;
}

/* ---- what speaks for or against a fork ------------------------------------------------------ */

#define LEAVING_NS UINT64_C(2000000000) /* no thread takes so long from its last act to its end */

static unsigned foreign_now(void)
{
    unsigned own = auri_own_threads() + 1;
    unsigned all = aurp_thread_count();

    if (all > own) { /* among them may be some that were joined a moment ago */
        all = aurp_thread_count_live();
    }
    return all > own ? all - own : 0;
}

/* Our own threads are counted off as their last act, and take a moment from there to their end: longer
 * where the CPUs are busy.  So as long as one has just done so, what seems foreign is looked at again.
 * The kernel has no event for it. */
unsigned auri_foreign_threads(void)
{
    unsigned foreign = foreign_now();

    while (foreign > 0 && auri_own_threads_leaving(aurp_now_ns(), LEAVING_NS)) {
        _Atomic(uint32_t) nothing = 0; /* nobody wakes this: a pause */
        aurp_futex_wait(&nothing, 0, aurp_now_ns() + 1000000, AURP_PRIVATE);
        foreign = foreign_now();
    }
    return foreign;
}

uint64_t auri_parent_anon_bytes(void)
{
    return aurp_anon_bytes();
}
