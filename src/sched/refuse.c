/* Waits that cannot be given up: for the helpers of a loop or a fork, and for a map that uses the caller's arrays.
 *
 * If no worker is left to take what is queued, what the others do may wait for that.  So somebody else of the pool has
 * to give up, as if he had come last: whoever waits for what is queued, and if nobody does, anybody.  He goes on with
 * AUR_EAGAIN, and his worker takes what is queued as soon as his task has ended.
 *
 * Nobody is overlooked: who waits publishes his edge, then counts as one that waits, then looks whether anybody is
 * left; the caller has counted, and then looks at all edges.  So either he sees that wait here, or that one saw that
 * nobody is left. */
#include "plat/plat.h"
#include "sched/detect.h"
#include "sched/join.h"
#include "sched/survey.h"
#include "sched/team.h"
#include "sched/wait.h"

/* ---- another one gives up --------------------------------------------------------------------- */

/* Whether it waits for one of this pool's workers.  With a reference to the task, or to be asked for an edge that
 * cannot change. */
static bool is_queued(const aur_pool *pool, auri_task *task)
{
    return task != NULL && task->pool == pool &&
           auri_word_state(auri_load_sc(&task->word)) == AURI_QUEUED;
}

/* With the graph lock held.  A wait for one task: marks it as a verdict does, but for the code.  *ret_task: a new
 * reference to it, in any case, or NULL. */
static bool refuse_task(const aur_pool *pool, struct auri_record *record, uint64_t seq, bool any,
                        auri_task **ret_task)
{
    auri_task *task = auri_load_sc(&record->wait_task);

    if (task == NULL || !auri_task_tryref(task)) {
        return false;
    }
    *ret_task = task;
    uint64_t word = auri_load_sc(&task->word);
    /* Not if it is led (task/pool.h, progress): such a wait does not sleep on the word. */
    if (auri_load_sc(&record->wait_seq) != seq || auri_word_state(word) == AURI_DONE ||
        (word & AURI_F_HOLDS) != 0 || !(any || is_queued(pool, task))) {
        return false;
    }
    record->victim_error = (aur_error){ .err = AUR_EAGAIN };
    auri_store_rel(&record->victim, seq); /* [V1] */
    /* relaxed: the CAS decides.  So that it is another word than the one that a sleep begins with. */
    while (auri_word_state(word) != AURI_DONE &&
           !auri_cas_acqrel(&task->word, &word, word ^ AURI_F_POKE)) {
    }
    return true;
}

/* With the graph lock held.  A wait for any of several is only ended: it begins anew, and is refused like any other. */
static bool refuse_any(const aur_pool *pool, struct auri_record *record, bool any)
{
    /* acquire: who asks elsewhere does not sleep on the word. */
    if (auri_load_acq(&record->asks) != NULL ||
        auri_load_acq(record->wait_futex) != record->wait_value) {
        return false;
    }
    for (size_t i = 0; i < record->wait_any_n && !any; i++) {
        any = is_queued(pool, record->wait_any[i]);
    }
    if (any) {
        auri_add_acqrel(record->wait_futex, 1u); /* its users only compare it */
        aurp_futex_wake(record->wait_futex, INT32_MAX, AURP_PRIVATE);
    }
    return any;
}

/* Whether it was: then it has left its wait, or is about to. */
static bool refuse(const aur_pool *pool, struct auri_record *record, bool any)
{
    auri_task *task = NULL;
    bool done = false;

    auri_graph_lock();
    uint64_t seq = auri_load_sc(&record->wait_seq);
    uint32_t kind = auri_load_sc(&record->wait_kind);
    /* relaxed: as [V2]. */
    if ((seq & 1) != 0 && auri_load_rlx(&record->victim) != seq) {
        if (kind == AURI_WAIT_TASK || kind == AURI_WAIT_TIMED) {
            done = refuse_task(pool, record, seq, any, &task);
        } else if (kind == AURI_WAIT_ANY || kind == AURI_WAIT_TIMED_ANY) {
            done = refuse_any(pool, record, any);
        }
    }
    auri_graph_unlock();
    if (task != NULL && done) {
        auri_await_leave(record, seq, auri_task_futex(task));
    }
    if (task != NULL) { /* without the lock: it may be the last one, and its pool has a lock */
        auri_task_unref(task);
    }
    return done;
}

void auri_team_refuse_one(struct auri_team *team, const struct auri_record *self)
{
    uint32_t end = auri_load_acq(&team->member_end);
    bool done = false;

    for (uint32_t i = 0; i < 2 * end && !done; i++) {
        struct auri_record *record = auri_load_acq(&team->member[i % end].record);
        done = record != NULL && record != self && refuse(team->pool, record, i >= end);
    }
}

/* ---- who cannot ------------------------------------------------------------------------------- */

void auri_block_owner(struct auri_record *self)
{
    aur_pool *pool = self->pool;

    if (!pool->backend->threaded) {
        (void)auri_block(self); /* refuses nobody */
        return;
    }
    auri_finished_flush(self);
    auri_lane_share(self); /* before the look for work */
    auri_team_block_owner(auri_team_of(pool), self);
}

/* Until the word of the task is another one. */
static void sleep_on(auri_task *task, uint64_t word)
{
    uint64_t with = word | AURI_F_WAITERS;

    /* acq_rel; pairs with the exchange [D1] in task/task.c: it sees the flag, or this fails. */
    if (word == with || auri_cas_acqrel(&task->word, &word, with)) {
        (void)aurp_futex_wait(auri_task_futex(task), (uint32_t)with, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
}

/* The same with an edge to the thread that runs it. */
static void sleep_for_runner(struct auri_record *self, auri_task *task, uint64_t word)
{
    struct auri_helpers helpers = { 0 };
    bool compensate = auri_needs_substitute(self);

    auri_store_rlx(&helpers.id[0], auri_word_owner(word)); /* relaxed: published by the edge */
    auri_edge_job(self, &helpers);
    auri_detect_owner(self);
    if (compensate) {
        auri_block_owner(self);
    }
    sleep_on(task, word);
    if (compensate) {
        auri_unblock(self);
    }
    auri_edge_clear(self);
}

void auri_wait_out(auri_task *task)
{
    struct auri_record *self = auri_self();
    uint64_t word;

    /* acquire: as auri_task_is_done() */
    while (auri_word_state(word = auri_load_acq(&task->word)) != AURI_DONE) {
        if ((word & AURI_F_HOLDS) != 0) {
            task->pool->backend->progress(task->pool, task, AUR_NO_DEADLINE);
        } else if (self != NULL) {
            sleep_for_runner(self, task, word);
        } else {
            sleep_on(task, word); /* there was no memory for a record */
        }
    }
}
