/* Spare workers, tasks that run in place of waits, and the one worker that is kept for what others wait for. */
#include "proc/internal.h"

/* Moves a task of our queue that a worker waits for to its front.  False: there is none. */
static bool hurry_awaited(struct auri_proc *p)
{
    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && w->blocked && auri_wait_hurry(p, w)) {
            return true;
        }
    }
    return false;
}

/* Whether the system gave us the last one that we asked for, or enough time has passed. */
static bool spares_to_be_had(const struct auri_proc *p)
{
    return p->spares_ns == 0 || aurp_now_ns() >= p->spares_ns;
}

static bool spare_left(const struct auri_proc *p)
{
    if (!spares_to_be_had(p)) {
        return false;
    }
    for (unsigned i = p->slots_max; i > p->pool->workers; i--) {
        if (!p->slots[i - 1].wanted && p->slots[i - 1].worker == NULL) {
            return true;
        }
    }
    return false;
}

/* Whether somebody who does not wait, or our queue, can end this. */
static bool can_end(struct auri_proc *p, auri_task *task)
{
    uint64_t word = auri_load_acq(&task->word);

    if (auri_word_state(word) != AURI_RUNNING) {
        return true;
    }
    struct auri_worker *runner =
        task->pool == p->pool ? auri_runner_of(p, auri_word_owner(word)) : NULL;
    return task->pool == p->pool && (runner == NULL || !runner->blocked);
}

/* Nothing in our queue can end the waits: all of them wait, in the end, for somebody else. */
static bool all_wait_for_others(struct auri_proc *p)
{
    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        size_t n = 0;
        auri_task *const *tasks = w != NULL && w->blocked ? auri_wait_tasks(w, &n) : NULL;
        for (size_t k = 0; k < n; k++) {
            if (can_end(p, tasks[k])) {
                return false;
            }
        }
    }
    return true;
}

/* Any task may wait, so once no spare is left, one worker must be kept free of tasks that nobody
 * waits for: else all could wait for what is still in the queue.  README.md. */
struct auri_worker *auri_reserve(struct auri_proc *p, bool *ret_awaited)
{
    struct auri_worker *reserve = NULL;
    unsigned free = 0;
    unsigned active = 0;

    *ret_awaited = false;
    if (!p->nests || spare_left(p)) {
        return NULL;
    }
    *ret_awaited = hurry_awaited(p);
    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        bool is_active = w != NULL && w->state == AURI_W_LIVE && !w->blocked;
        active += is_active;
        if (is_active && w->general == 0) {
            free++;
            reserve = w;
        }
    }
    if (free != 1 || (active == 1 && p->blocked == 0) ||
        (active == 1 && auri_unanswered(reserve) == 0 && all_wait_for_others(p))) {
        return NULL;
    }
    return reserve;
}

/* Workers that may run something else, now or soon.  *ret_leaving: a place will be free in a moment. */
static unsigned active_workers(const struct auri_proc *p, bool *ret_leaving)
{
    unsigned active = 0;

    *ret_leaving = false;
    for (unsigned i = 0; i < p->slots_end; i++) {
        const struct auri_worker *w = p->slots[i].worker;
        active += w == NULL || w->state == AURI_W_ASKED ? p->slots[i].wanted && !p->slots[i].refused
                                                        : w->state == AURI_W_LIVE && !w->blocked;
        /* One that waits itself will not, unless it is killed: it answers its QUIT after its task. */
        *ret_leaving |= w != NULL && w->state == AURI_W_QUITTING &&
                        (!w->blocked || w->kill_reason != AURI_KILL_NONE);
    }
    return active;
}

/* A worker that has been at one entry for a tick may be at it for ever: perhaps until the caller has the
 * result of an entry behind it.  Takes back what it has not begun.  False: there is nothing. */
static bool take_from_stuck(struct auri_proc *p)
{
    uint64_t now = aurp_now_ns();

    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && w->state == AURI_W_LIVE && !w->blocked &&
            auri_unanswered(w) - w->revoked > 1 && now > w->busy_since_ns + AURI_TICK_NS &&
            auri_revoke_from(p, w, w->head + 1) != 0) {
            return true;
        }
    }
    return false;
}

/* A map may have all its answers, though it is not done: it needs no worker, and auri_detect_dry() cannot tell.
 * Whoever delivers them kicks us. */
static bool is_landing(struct auri_proc *p)
{
    bool lands = p->landing != 0 || p->settled != NULL;

    for (unsigned i = 0; i < p->slots_end && !lands; i++) {
        struct auri_worker *w = p->slots[i].worker;
        uint64_t seq = w != NULL && w->ctl != NULL ? w->head : 0;
        while (seq != 0 && seq < w->tail && !lands && auri_answered(w, seq)) {
            lands = auri_flight_at(w, seq++)->count != 0; /* nobody has taken it */
        }
    }
    return lands;
}

void auri_relieve(struct auri_proc *p)
{
    bool leaving;

    if (p->blocked == 0 || p->stopping || p->broken) {
        return;
    }
    unsigned active = active_workers(p, &leaving);
    if (p->queue_first == NULL && (active >= p->pool->workers || !take_from_stuck(p))) {
        return;
    }
    if (active != 0) {
        auri_dry_mark(p, false);
    }
    if (active >= p->pool->workers) {
        return;
    }
    for (unsigned i = p->pool->workers; i < p->slots_max && spares_to_be_had(p); i++) {
        if (!p->slots[i].wanted && p->slots[i].worker == NULL) {
            p->spares++;
            auri_want(p, i, 0);
            auri_kick(p);
            return;
        }
    }
    for (unsigned i = 0; i < p->slots_end && p->queue_first != NULL; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && auri_run_in_place(p, w)) {
            active++;
        }
    }
    if (active == 0 && !leaving && p->queue_first != NULL && !is_landing(p)) {
        auri_dry_mark(p, true);
        auri_run_dry(p);
    }
}
