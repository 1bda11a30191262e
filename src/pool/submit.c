/* From a filled task to a queued one.
 *
 * Close and submit.  A submitter counts itself first (submitted, seq_cst), then reads the state
 * [A1]; close stores the state, then compares submitted with finished [A2].  In the single order of
 * these either the submitter sees the pool closed and takes its count back, or the closer sees the
 * count and waits for the call.  "Takes back" means that the call is counted as finished too, since
 * joiners sleep on that word; face->refused corrects the statistics. */
#include "pool/submit.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hot.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "sched/run.h"
#include "sched/wait.h"

/* ---- making -------------------------------------------------------------------------------- */

aur_err auri_task_make(aur_pool *pool, const struct auri_call *call, const aur_fn *fn,
                       const char *site, uint32_t refs, auri_task **ret_task)
{
    auri_task *task = auri_task_new(refs == 1 && pool->backend->sole ? 0 : refs);

    if (task == NULL) {
        return AUR_ENOMEM;
    }
    task->pool = pool;
    task->fn = fn;
    auri_task_set_site(task, site);
    auri_run_fn *run = auri_auto_runner(pool, fn);
    if (run != NULL) {
        auri_task_set_run(task, run);
    }
    if (call->own_limits) {
        struct auri_limits *limits = malloc(sizeof(*limits));
        if (limits == NULL) {
            auri_task_discard(task, refs);
            return AUR_ENOMEM;
        }
        *limits = call->limits;
        auri_task_set_limits(task, limits);
    }
    *ret_task = task;
    return AUR_OK;
}

void auri_task_discard(auri_task *task, uint32_t n)
{
    if (auri_task_is_sole(task)) {
        auri_task_unref_queued(task, true);
        return;
    }
    while (n-- > 0) {
        auri_task_unref(task);
    }
}

/* ---- counting ------------------------------------------------------------------------------ */

static void take_back(aur_pool *pool)
{
    struct auri_face *face = auri_face_of(pool);

    if (face != NULL) {
        auri_add_rlx(&face->refused, UINT64_C(1)); /* relaxed: statistics */
    }
    auri_pool_finished(pool, 1);
}

/* Calls that a worker counts at once when a task of the pool submits: bench/inside. */
#define CREDIT 64u

/* A task submits to its own pool: out of the worker's credit.
 *
 * The call that is being run has not been counted as finished, so the pool is not idle and needs not be
 * told of each call that it makes; `submitted` only must never be less than what was submitted.  What is
 * left is counted as finished when the worker finds nothing to do (auri_finished_flush): until then nobody
 * takes the pool for idle. */
static aur_err count_in_credit(aur_pool *pool, struct auri_record *self)
{
    uint32_t credit = auri_load_rlx(&self->credit); /* relaxed: the thread's own */

    if (credit == 0) {
        auri_add_sc(&pool->submitted, (uint64_t)CREDIT); /* seq_cst [A1] */
        credit = CREDIT;
    }
    aur_err err = auri_pool_closed(pool);
    auri_store_rlx(&self->credit, err == AUR_OK ? credit - 1 : credit);
    return err;
}

AURI_HOT aur_err auri_count_in(aur_pool *pool, struct auri_record *self)
{
    if (self->pool == pool && self->frame != NULL && pool->backend->threaded) {
        return count_in_credit(pool, self);
    }
    auri_add_sc(&pool->submitted, UINT64_C(1));    /* seq_cst [A1]; pairs with [A2] in pool.c */
    if (auri_load_sc(&pool->state) == AURI_OPEN) { /* the usual answer of what follows */
        return AUR_OK;
    }
    aur_err err = auri_pool_closed(pool);
    if (err != AUR_OK) {
        take_back(pool);
    }
    return err;
}

/* ---- room in the queue --------------------------------------------------------------------- */

/* Takes one of queue_max places, if there is one. */
static bool room_try(aur_pool *pool, uint32_t *ret_seen)
{
    /* seq_cst; pairs with auri_pool_dequeued(): we add to queue_waits, then read queued, then
     * sleep; it subtracts from queued, then reads queue_waits. */
    uint32_t queued = auri_load_sc(&pool->queued);

    while (queued < pool->opts.queue_max) {
        if (auri_cas_sc(&pool->queued, &queued, queued + 1)) {
            return true;
        }
    }
    *ret_seen = queued;
    return false;
}

static aur_err room_wait(aur_pool *pool, aur_deadline deadline)
{
    aur_err err = AUR_OK;
    uint32_t seen;

    auri_add_sc(&pool->queue_waits, 1u);
    while (err == AUR_OK && !room_try(pool, &seen)) {
        /* Once the pool is closed its queue only empties, so this wait ends. */
        err = auri_pool_closed(pool);
        if (err == AUR_OK) {
            err = auri_wait_word(&pool->queued, seen, NULL, 0, deadline);
        }
    }
    auri_add_sc(&pool->queue_waits, UINT32_MAX);
    return err;
}

/* Takes a place in the queue, or sets *ret_here: the caller is to run the call. */
static aur_err take_room(aur_pool *pool, enum auri_room room, aur_deadline deadline, bool *ret_here)
{
    uint32_t seen;

    *ret_here = false;
    if (pool->opts.queue_max == 0 || pool->kind == AUR_SERIAL || room_try(pool, &seen)) {
        return AUR_OK;
    }
    if (room == AURI_ROOM_TRY || pool->opts.queue_policy == AUR_QUEUE_FAIL) {
        return AUR_EBUSY;
    }
    if (pool->opts.queue_policy == AUR_QUEUE_CALLER_RUNS ||
        (pool->kind == AUR_THREADS && auri_pool_inside(pool))) {
        *ret_here = true;
        return AUR_OK;
    }
    return room_wait(pool, deadline);
}

static void give_room_back(aur_pool *pool)
{
    if (pool->opts.queue_max != 0 && pool->kind != AUR_SERIAL) {
        auri_pool_dequeued(pool);
    }
}

/* ---- handing over -------------------------------------------------------------------------- */

/* Claims a queued task that nobody else knows, and that has no place in the queue. */
static bool claim_unseen(aur_pool *pool, auri_task *task, unsigned owner)
{
    task->pool = NULL; /* a claim gives the task's place in its pool's queue back: it has none */
    bool claimed = auri_task_claim(task, owner);
    task->pool = pool;
    return claimed;
}

static void run_here(aur_pool *pool, auri_task *task, struct auri_record *self)
{
    auri_task_queue(task);
    bool claimed = claim_unseen(pool, task, self->id);
    AURI_ASSERT(claimed);
    auri_run_claimed(task, false);
}

aur_err auri_submit(aur_pool *pool, auri_task *task, enum auri_room room, aur_deadline deadline)
{
    struct auri_record *self = auri_self();
    bool here;

    if (self == NULL) {
        return AUR_ENOMEM;
    }
    aur_err err = auri_pool_closed(pool);
    here = err == AUR_OK && auri_auto_runs_here(pool, task, self);
    if (err == AUR_OK && !here) {
        err = take_room(pool, room, deadline, &here);
    }
    if (err != AUR_OK) {
        return err;
    }
    err = auri_count_in(pool, self);
    if (err != AUR_OK) {
        if (!here) {
            give_room_back(pool);
        }
        return err;
    }
    if (here) {
        bool sole = auri_task_is_sole(task);
        run_here(pool, task, self);
        auri_task_unref_queued(task, sole);
        return AUR_OK;
    }
    auri_task_queue(task);
    err = pool->backend->submit(pool, task);
    if (err != AUR_OK) {
        claim_unseen(pool, task, 0);
        give_room_back(pool);
        take_back(pool);
    }
    return err;
}

bool auri_may_run_here(aur_pool *pool)
{
    const struct auri_backend *backend = pool->backend;
    const struct auri_record *self = auri_self();

    return self != NULL && backend->may_help != NULL && backend->may_help(pool, NULL) &&
           !auri_stack_is_low(self);
}

aur_err auri_submit_and_wait(aur_pool *pool, auri_task *task, bool *ret_queued)
{
    const struct auri_map *map = auri_task_map(task);
    const aur_fn *fn = map != NULL ? map->fn : task->fn;
    bool sole = auri_task_is_sole(task);
    struct auri_record *self = auri_self();
    aur_err err;

    *ret_queued = false;
    if (sole || ((map == NULL || task->store.map_run != NULL) && auri_may_run_here(pool))) {
        err = auri_pool_closed(pool);
        if (err == AUR_OK) {
            err = auri_count_in(pool, self);
        }
        if (err == AUR_OK) {
            run_here(pool, task, self);
        }
        if (!sole) {
            auri_task_unref(task);
        }
        if (err != AUR_OK) {
            return auri_verb_failed(err, fn, auri_task_site(task), NULL);
        }
    } else {
        err = auri_submit(pool, task, AURI_ROOM_POLICY, AUR_NO_DEADLINE);
        if (err != AUR_OK) {
            auri_task_unref(task);
            return auri_verb_failed(err, fn, auri_task_site(task), NULL);
        }
        *ret_queued = true;
        err = auri_wait_task(task, AUR_NO_DEADLINE);
        if (err != AUR_OK) {
            /* The edges of a deadlock are noted already. */
            return err == AUR_EDEADLK ? err : auri_verb_failed(err, fn, auri_task_site(task), NULL);
        }
    }
    if (task->err != AUR_OK) {
        auri_task_seen(task);
        auri_last_error_of(task);
    }
    return task->err;
}
