/* pool/submit.h: the way of a call into its pool: counted, admitted, handed to the backend. */
#ifndef AURI_POOL_SUBMIT_H
#define AURI_POOL_SUBMIT_H

#include "pool/face.h"
#include "pool/options.h"
#include "task/record.h"

/* What to do when the queue is full. */
enum auri_room {
    AURI_ROOM_POLICY, /* as the pool's options say */
    AURI_ROOM_TRY,    /* AUR_EBUSY */
};

/* A task for one record of fn, in state NEW with `refs` references; 0: a SOLE one.  AUR_ENOMEM. */
aur_err auri_task_make(aur_pool *pool, const struct auri_call *call, const aur_fn *fn,
                       const char *site, uint32_t refs, auri_task **ret_task);

/* One call as the caller asked for it. */
struct auri_one {
    const aur_fn *fn;
    uint32_t flags; /* AUR_FN_* that fn must have */
    uint32_t refs;
    bool fused; /* for auri_submit_and_wait(): a SOLE task if the caller may run it */
    bool has_args;
    const aur_call_options *opts;
    const char *site;
};

/* Checks all of it and makes the task, not filled yet; *pool becomes the one to use here.  Notes
 * failures for aur_last_error().  The errors of aur_fn_submit() that come from its arguments. */
aur_err auri_one_new(aur_pool **pool, const struct auri_one *one, auri_task **ret_task);

/* Hands over a NEW task that is filled; on success the queue has used up one of its references.  On
 * error the task was never seen by anybody and all its references are the caller's to drop.
 * deadline: of a wait for room; AUR_ETIMEDOUT.  Other errors: those of aur_fn_submit(). */
aur_err auri_submit(aur_pool *pool, auri_task *task, enum auri_room room, aur_deadline deadline);

/* Counts a call of the calling thread, before it is begun: the pool is not idle until it is counted as
 * finished.  Errors: the pool is closed, and nothing was counted. */
aur_err auri_count_in(aur_pool *pool, struct auri_record *self);

/* Whether the calling thread may run a call instead of handing it over. */
bool auri_may_run_here(aur_pool *pool);

/* Whether it does so without a task of the slabs (auri_here_begin): most calls that wait, and most maps.  For what is
 * wrong with a call, and where it is not this process's pool, the long way has to be gone. */
static inline bool auri_runs_here(const aur_pool *pool, const aur_call_options *opts)
{
    if (pool == NULL || !pool->runs_here || opts != NULL ||
        pool->generation != auri_process_generation_now()) {
        return false;
    }
    const struct auri_record *self = auri_self();

    return self != NULL && !auri_stack_is_low(self);
}

/* The same, then waits for the outcome: runs the task in the calling thread, before anybody else
 * could have seen it, if the pool allows that; then nobody is woken.  A SOLE one was made for that, and
 * stays the caller's; else it uses up one reference.
 * Returns the outcome, and notes failures for aur_last_error().  *ret_queued: the task was handed
 * over, and if it is not done now, the wait has failed and it goes on. */
aur_err auri_submit_and_wait(aur_pool *pool, auri_task *task, bool *ret_queued);

/* Drops all `n` references of a task that was never handed over, or the one of a SOLE task. */
void auri_task_discard(auri_task *task, uint32_t n);

#endif /* AURI_POOL_SUBMIT_H */
