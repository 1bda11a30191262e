/* Commits: the budget, the requester's side of the committer, and the committer. */
#include "wire/commit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/err.h"
#include "plat/process.h"
#include "plat/shm.h"

/* Below this a commit is not worth reading ten files for: 256 cold pages cost about 1 ms. */
static const uint64_t DIRECT_BYTES = UINT64_C(1) << 20;

/* Kept back for everything else that allocates between the check and the commit. */
static const uint64_t MARGIN_BYTES = UINT64_C(64) << 20;

/* One piece of the committer's work: small enough that the end of a requester is soon seen. */
static const uint64_t STEP_BYTES = UINT64_C(16) << 20;

uint64_t aur_memory_available(void)
{
    return aurp_memory_available("");
}

uint64_t auri_memory_budget(void)
{
    uint64_t available = aurp_memory_available("");

    return available > MARGIN_BYTES ? available - MARGIN_BYTES : 0;
}

uint64_t auri_commit_budget(const auri_commit_policy *policy)
{
    return policy != NULL && policy->budget != NULL ? policy->budget(policy->budget_ctx)
                                                    : auri_memory_budget();
}

/* ---- what travels -------------------------------------------------------------------------- */

/* Both ends are the same library, so a message has no more of a frame than a mark to be asserted:
 * SOCK_SEQPACKET keeps the borders.  The descriptor travels beside each request. */
enum { MARK_READY = 0x61757230, MARK_REQUEST, MARK_DONE };

struct message {
    uint32_t mark;
    int32_t sys_errno; /* MARK_DONE: 0 or why not */
    uint64_t offset;   /* MARK_REQUEST */
    uint64_t bytes;
};

/* ---- the committer, seen by the requester -------------------------------------------------- */

/* Field keys: I constant, L guarded by lock. */
struct auri_committer {
    pthread_mutex_t lock;          /* the last in any order: nothing is locked under it */
    auri_committer_starter *start; /* I */
    void *ctx;                     /* I */
    int socket_fd;                 /* L: -1 while no process runs */
    int pidfd;                     /* L: the same */
    bool hopeless;                 /* L: this program cannot have one, says the starter */
};

aur_err auri_committer_new(auri_committer_starter *start, void *ctx, auri_committer **ret_committer)
{
    auri_committer *c = malloc(sizeof(*c));

    if (c == NULL) {
        return AUR_ENOMEM;
    }
    *c = (auri_committer){ .start = start, .ctx = ctx, .socket_fd = -1, .pidfd = -1 };
    pthread_mutex_init(&c->lock, NULL);
    *ret_committer = c;
    return AUR_OK;
}

/* Ends the process, if there is one, and waits until it is gone: until then it may still be adding
 * pages.  It has no state that a kill could harm, and unlike a polite word the kill also ends one
 * that is stopped. */
static void stop_locked(auri_committer *c)
{
    if (c->socket_fd < 0) {
        return;
    }
    aurp_hang_up(c->socket_fd); /* which ends it too, where we may not kill it */
    aurp_close(&c->socket_fd);
    (void)aurp_pidfd_kill(c->pidfd, SIGKILL);
    (void)aurp_pidfd_wait(c->pidfd, AUR_NO_DEADLINE);
    aurp_pidfd_reap(c->pidfd);
    aurp_close(&c->pidfd);
}

void auri_committer_delete(auri_committer *c)
{
    if (c == NULL) {
        return;
    }
    stop_locked(c);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Waits for a message or for the end of the process.  The end of the socket alone would not do:
 * any fork of the host at a bad moment holds a copy of the other end. */
static bool answer_locked(auri_committer *c, uint32_t mark, struct message *ret_message)
{
    aurp_poll from[2] = { { .fd = c->socket_fd }, { .fd = c->pidfd } };
    int no_fds[1];
    unsigned n;

    for (;;) {
        int failed = aurp_receive(c->socket_fd, ret_message, sizeof(*ret_message), no_fds, 0, &n);
        if (failed != EAGAIN) {
            return failed == 0 && ret_message->mark == mark;
        }
        if (from[1].ready) { /* it ended before this last look */
            return false;
        }
        aurp_poll_wait(from, 2, -1);
    }
}

/* True if a committer runs and is ready to be killed. */
static bool start_locked(auri_committer *c)
{
    struct message ready;
    int ends[2];
    int pid;

    if (c->socket_fd >= 0) {
        return true;
    }
    if (c->hopeless || aurp_socketpair(ends) != 0) {
        return false;
    }
    aur_err err = c->start(c->ctx, ends[1], &pid, &c->pidfd, NULL);
    aurp_close(&ends[1]);
    if (err != AUR_OK) {
        c->hopeless = err == AUR_ENOTSUP || err == AUR_ESTALE;
        aurp_close(&ends[0]);
        return false;
    }
    c->socket_fd = ends[0];
    if (answer_locked(c, MARK_READY, &ready)) {
        return true;
    }
    stop_locked(c);
    return false;
}

static aur_err commit_here(int fd, uint64_t offset, uint64_t bytes)
{
    return auri_err_of_errno(aurp_shm_commit(fd, offset, bytes));
}

/* An idle committer may have been killed since the last request (that is what it is there for), so
 * a request that cannot be handed over is tried once more with a new one. */
static aur_err commit_there_locked(auri_committer *c, int fd, uint64_t offset, uint64_t bytes)
{
    struct message request = { .mark = MARK_REQUEST, .offset = offset, .bytes = bytes };
    struct message done;

    for (int attempt = 0; attempt < 2 && start_locked(c); attempt++) {
        bool sent = aurp_send(c->socket_fd, &request, sizeof(request), &fd, 1) == 0;
        if (sent && answer_locked(c, MARK_DONE, &done)) {
            return auri_err_of_errno(done.sys_errno);
        }
        stop_locked(c);
        if (sent) {
            (void)aurp_shm_punch(fd, offset, bytes);
            return AUR_ENOMEM;
        }
    }
    /* No process is to be had: what is within the budget most likely works. */
    return commit_here(fd, offset, bytes);
}

aur_err auri_commit(const auri_commit_policy *policy, int fd, uint64_t offset, uint64_t bytes)
{
    auri_committer *c = policy != NULL ? policy->committer : NULL;
    aur_err err;

    if (bytes < DIRECT_BYTES) {
        return commit_here(fd, offset, bytes);
    }
    if (c != NULL) {
        pthread_mutex_lock(&c->lock);
    }
    uint64_t budget = auri_commit_budget(policy);
    if (bytes > budget) {
        err = AUR_ENOMEM;
    } else if (c != NULL && bytes > budget / 4) {
        err = commit_there_locked(c, fd, offset, bytes);
    } else {
        err = commit_here(fd, offset, bytes);
    }
    if (c != NULL) {
        pthread_mutex_unlock(&c->lock);
    }
    return err;
}

aur_err auri_commit_mapped(const auri_commit_policy *policy, void *at, uint64_t bytes)
{
    if (bytes >= DIRECT_BYTES && bytes > auri_commit_budget(policy)) {
        return AUR_ENOMEM;
    }
    return auri_err_of_errno(aurp_shm_populate(at, bytes));
}

/* ---- the committer itself ------------------------------------------------------------------ */

/* Has the other end gone?  Nobody sends anything while a request is being served. */
static bool abandoned(int socket_fd)
{
    aurp_poll from = { .fd = socket_fd };

    aurp_poll_wait(&from, 1, 0);
    return from.ready;
}

int auri_committer_main(int socket_fd)
{
    return auri_committer_serve(socket_fd, NULL, NULL);
}

/* Does one request, all or nothing.  Returns 0 or an errno. */
static int serve(int socket_fd, int fd, const struct message *request,
                 void (*step)(void *ctx, uint64_t offset), void *ctx)
{
    int failed = 0;

    for (uint64_t done = 0; done < request->bytes && failed == 0 && !abandoned(socket_fd);) {
        uint64_t rest = request->bytes - done;
        uint64_t now = rest < STEP_BYTES ? rest : STEP_BYTES;
        if (step != NULL) {
            step(ctx, request->offset + done);
        }
        failed = aurp_shm_commit(fd, request->offset + done, now);
        done += now;
    }
    if (failed != 0) {
        (void)aurp_shm_punch(fd, request->offset, request->bytes);
    }
    return failed;
}

int auri_committer_serve(int socket_fd, void (*step)(void *ctx, uint64_t offset), void *ctx)
{
    struct message message = { .mark = MARK_READY };
    sigset_t before;
    int fd;
    unsigned n;

    /* Signals that are meant for the host (Ctrl-C reaches the whole group) must not end a commit. */
    aurp_signals_block(&before);
    aurp_process_name("aur-committer");
    aurp_oom_first(2000); /* from wherever the host is, to the top of the list */
    if (aurp_send(socket_fd, &message, sizeof(message), NULL, 0) != 0) {
        return 1;
    }
    for (;;) {
        if (aurp_fd_wait(socket_fd, AUR_NO_DEADLINE) != AUR_OK) {
            return 1;
        }
        int failed = aurp_receive(socket_fd, &message, sizeof(message), &fd, 1, &n);
        if (failed == EAGAIN) {
            continue;
        }
        if (failed != 0 || n != 1 || message.mark != MARK_REQUEST) {
            return failed == EPIPE ? 0 : 1;
        }
        failed = serve(socket_fd, fd, &message, step, ctx);
        aurp_close(&fd);
        message = (struct message){ .mark = MARK_DONE, .sys_errno = failed };
        if (aurp_send(socket_fd, &message, sizeof(message), NULL, 0) != 0) {
            return 0;
        }
    }
}
