/* wire/commit.h: putting memory behind a shared file without being killed for it.
 *
 * When memory runs out in a control group, fallocate() does not fail: the kernel kills somebody,
 * most likely the caller.  So a large range is checked against a budget first, and what takes a
 * good part of the budget is left to a "committer", a small child process that volunteers to be
 * the one who is killed.
 *
 *     below 1 MiB      fallocate() here
 *     above budget     AUR_ENOMEM
 *     above budget/4   the committer does it; if it is killed, the range is punched out again,
 *                      the requester gets AUR_ENOMEM, and the next request starts a new one
 *     else             fallocate() here */
#ifndef AURI_WIRE_COMMIT_H
#define AURI_WIRE_COMMIT_H

#include <auriga/base.h>
#include <stdint.h>

/* Bytes that may still be allocated, with 64 MiB kept back; 0 if less than that is left.
 * Threads: any.  Blocks: never (reads about ten small files, 50 to 200 us). */
uint64_t auri_memory_budget(void);

/* ---- the committer, seen by the requester -------------------------------------------------- */

typedef struct auri_committer auri_committer;

/* Starts a small process that runs auri_committer_main() on a duplicate of socket_fd, and that the
 * host's wait() does not see.  socket_fd stays the caller's.  On success *ret_pidfd becomes the
 * caller's, who also reaps the process through it. */
typedef aur_err auri_committer_starter(void *ctx, int socket_fd, int *ret_pid, int *ret_pidfd,
                                       aur_diag *reterr_diag);

/* No process is started before the first request that needs one.  Locks: one of its own, held for
 * the length of each commit of 1 MiB and more, so that two threads cannot both take the budget that
 * only one of them can have.
 * Owns: the caller keeps ctx alive until auri_committer_delete(), which kills the process. */
aur_err auri_committer_new(auri_committer_starter *start, void *ctx,
                           auri_committer **ret_committer);
void auri_committer_delete(auri_committer *committer); /* NULL allowed; no commit is under way */

/* How commits are judged.  Zero bytes are the default. */
typedef struct auri_commit_policy {
    auri_committer *committer;     /* NULL: what is within the budget is done by the caller */
    uint64_t (*budget)(void *ctx); /* NULL: auri_memory_budget() */
    void *budget_ctx;
} auri_commit_policy;

/* The budget that a policy sees now; NULL is the default policy. */
uint64_t auri_commit_budget(const auri_commit_policy *policy);

/* Puts memory behind [offset, offset + bytes), page multiples.  The range must hold nothing that is
 * needed: on any error it is a hole.
 * Threads: any.  Blocks: on the system, 0.2 to 1 s per GiB; behind other large commits.
 * Errors: AUR_ENOMEM; AUR_ESYS (a bad descriptor). */
aur_err auri_commit(const auri_commit_policy *policy, int fd, uint64_t offset, uint64_t bytes);

/* The same through a writable mapping, without a committer: for a process that has no descriptor.
 * Errors: AUR_ENOMEM; AUR_ESYS (the kernel cannot: aurp_shm_can_populate()). */
aur_err auri_commit_mapped(const auri_commit_policy *policy, void *at, uint64_t bytes);

/* ---- the committer itself ------------------------------------------------------------------ */

/* The whole life of a committer: volunteers for the out-of-memory killer, serves requests on the
 * socket until its other end is closed, and returns the exit status of the process.  It blocks all
 * signals of the calling thread.  Called by: the image that a starter starts, and nobody else. */
int auri_committer_main(int socket_fd);

/* The same; step(ctx, offset) is called before each piece of work.  For tests, which die in it. */
int auri_committer_serve(int socket_fd, void (*step)(void *ctx, uint64_t offset), void *ctx);

#endif /* AURI_WIRE_COMMIT_H */
