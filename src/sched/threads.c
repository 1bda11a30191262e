/* The thread backend: how the workers of a pool start, stand in for each other, and end. */
#include "sched/threads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "sched/detect.h"
#include "sched/join.h"
#include "sched/run.h"
#include "sched/team.h"
#include "sched/wait.h"

#define LOT_IDLE_NS UINT64_C(1000000000) /* a surplus thread that nobody needs so long ends */
#define SPIN_NS 50000u                   /* about one wake: docs/ARCHITECTURE.md, "sleeping" */

/* ---- starting ------------------------------------------------------------------------------ */

/* A slot without a thread; -1: none.  lock held. */
static int free_slot(const struct auri_team *team)
{
    for (uint32_t i = 0; i < team->member_max; i++) {
        if (!team->member[i].started) {
            return (int)i;
        }
    }
    return -1;
}

/* Makes the deque of a place that is used for the first time.  lock held. */
static bool has_deque(struct auri_member *member)
{
    if (auri_load_rlx(&member->deque) != NULL) { /* relaxed: written under the lock */
        return true;
    }
    struct auri_deque *deque = aligned_alloc(alignof(struct auri_deque), sizeof(*deque));
    if (deque == NULL || !auri_deque_init(deque)) {
        free(deque);
        return false;
    }
    auri_store_rel(&member->deque, deque); /* release: thieves see it initialised */
    return true;
}

/* The same for what it forks.  lock held. */
static bool has_lane(struct auri_team *team, struct auri_member *member)
{
    if (auri_load_rlx(&member->lane) != NULL) { /* relaxed: written under the lock */
        return true;
    }
    struct auri_lane *lane = auri_lane_new(team);
    auri_store_rel(&member->lane, lane); /* release: as the deque */
    return lane != NULL;
}

/* Starts one thread.  lock held.  Returns 0 or errno. */
static int start_member(struct auri_team *team)
{
    char name[48];
    int slot = free_slot(team);

    if (slot < 0) {
        return EAGAIN;
    }
    struct auri_member_arg *arg = malloc(sizeof(*arg));
    if (arg == NULL || !has_deque(&team->member[slot]) || !has_lane(team, &team->member[slot])) {
        free(arg);
        return ENOMEM;
    }
    *arg = (struct auri_member_arg){ team, (uint32_t)slot };
    snprintf(name, sizeof(name), "%.9s-%d", team->pool->name, slot);
    if ((uint32_t)slot >= auri_load_rlx(&team->member_end)) { /* relaxed: under the lock */
        auri_store_rel(&team->member_end, (uint32_t)slot + 1);
    }
    auri_pool_hold(team->pool); /* dropped in auri_team_member_ended() */
    auri_own_threads_add(1);
    team->live++;
    int failed = aurp_thread_start(&team->member[slot].thread, auri_worker_thread, arg, name);
    if (failed != 0) {
        team->live--;
        auri_own_threads_add(-1);
        auri_pool_drop(team->pool);
        free(arg);
        return failed;
    }
    team->member[slot].started = true;
    if (team->abandoned) {
        aurp_thread_detach(team->member[slot].thread);
    }
    return 0;
}

static void await_started(struct auri_team *team, uint32_t n)
{
    for (;;) {
        uint32_t started = auri_load_acq(&team->started);
        if (started >= n) {
            return;
        }
        (void)aurp_futex_wait(&team->started, started, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
}

static void join_members(struct auri_team *team)
{
    if (team->monitor_started) {
        aurp_thread_join(team->monitor);
        team->monitor_started = false;
    }
    for (uint32_t i = 0; i < team->member_max; i++) {
        if (team->member[i].started) {
            aurp_thread_join(team->member[i].thread);
            team->member[i].started = false;
        }
    }
}

static void team_free(struct auri_team *team)
{
    pthread_mutex_destroy(&team->lock);
    pthread_mutex_destroy(&team->fifo_lock);
    for (uint32_t i = 0; i < team->member_max; i++) {
        struct auri_deque *deque =
            auri_load_rlx(&team->member[i].deque); /* relaxed: nobody is left */
        if (deque != NULL) {
            auri_deque_fini(deque);
            free(deque);
        }
        auri_lane_free(auri_load_rlx(&team->member[i].lane));
    }
    for (uint32_t i = 0; i < AURI_GUESTS_MAX; i++) {
        auri_lane_free(auri_load_rlx(&team->guest[i]));
    }
    free(team->member);
    free(team);
}

static struct auri_team *team_new(aur_pool *pool)
{
    size_t size = (sizeof(struct auri_team) + AURI_CACHE_LINE - 1) & ~(size_t)(AURI_CACHE_LINE - 1);
    struct auri_team *team = aligned_alloc(AURI_CACHE_LINE, size);

    if (team == NULL) {
        return NULL;
    }
    *team = (struct auri_team){ .pool = pool };
    uint32_t spares = pool->opts.spares_max;    /* resolved: 0 means none */
    uint32_t most = pool->workers + spares + 1; /* and the reserve */
    team->member_max = most < AURI_TEAM_HARD_MAX ? most : AURI_TEAM_HARD_MAX;
    size_t members = team->member_max * sizeof(*team->member);
    team->member = aligned_alloc(AURI_CACHE_LINE, members);
    if (team->member == NULL) {
        free(team);
        return NULL;
    }
    memset(team->member, 0, members);
    team->cpus = aurp_cpu_count();
    team->spin_ns = team->cpus > 1 ? SPIN_NS : 0;
    auri_ticks_begin(&team->ticks);
    /* On already, so that nobody arms it: there is no monitor. */
    team->watch = spares == 0 || (pool->flags & AUR_POOL_FIXED) != 0;
    pthread_mutex_init(&team->lock, NULL);
    pthread_mutex_init(&team->fifo_lock, NULL);
    return team;
}

static aur_err threads_start(aur_pool *pool, const aur_options *opts, aur_diag *diag)
{
    (void)opts;
    struct auri_team *team = team_new(pool);
    if (team == NULL) {
        return auri_diag(diag, AUR_ENOMEM, 0, "team", "no memory for %u workers", pool->workers);
    }
    pool->impl = team;
    pthread_mutex_lock(&team->lock);
    int failed = 0;
    uint32_t started = 0;
    while (started < pool->workers && failed == 0) {
        failed = start_member(team);
        started += failed == 0;
    }
    pthread_mutex_unlock(&team->lock);
    await_started(team, started);
    aur_err init_failed = (aur_err)auri_load_rlx(&team->init_failed);
    if (failed == 0 && init_failed == AUR_OK) {
        pthread_mutex_lock(&team->lock);
        team->settled = true;
        pthread_mutex_unlock(&team->lock);
        return AUR_OK;
    }
    auri_team_stop(team);
    join_members(team);
    pool->impl = NULL;
    team_free(team);
    if (init_failed == AUR_ENOMEM) {
        return auri_diag(diag, AUR_ENOMEM, ENOMEM, "record", "no memory for a thread's record");
    }
    if (init_failed != AUR_OK) {
        return auri_diag(diag, AUR_EINIT, 0, "worker_init",
                         "worker_init returned a value other than 0");
    }
    return auri_diag(diag, failed == ENOMEM ? AUR_ENOMEM : AUR_EAGAIN, failed, "pthread_create",
                     "thread %u of %u could not be started", started + 1, pool->workers);
}

/* ---- spares -------------------------------------------------------------------------------- */

static void lot_changed(struct auri_team *team)
{
    auri_add_sc(&team->lot_word, 1u);
    aurp_futex_wake(&team->lot_word, INT32_MAX, AURP_PRIVATE);
}

/* How many workers are missing.  Under the lock it cannot be put right by anybody else. */
static int missing(struct auri_team *team)
{
    return auri_ec_deficit(auri_load_sc(&team->ec.word));
}

/* Whether every worker waits, as far as the pool knows: what the monitor saw does not count, those go on
 * by themselves.  lock held. */
static bool nobody_active(struct auri_team *team)
{
    return missing(team) - team->extra >= (int)team->pool->workers;
}

bool auri_team_add_worker(struct auri_team *team, bool must)
{
    uint32_t spares = team->pool->opts.spares_max;
    bool added = true;

    pthread_mutex_lock(&team->lock);
    /* A worker that a task ended is replaced whatever the limit says: live is below workers then. */
    bool replaces = team->live < team->pool->workers;
    /* Nobody is active: whatever lies in the queues may be what all of them wait for. */
    must = must || nobody_active(team);
    if (missing(team) <= 0) {
        pthread_mutex_unlock(&team->lock);
        return true; /* somebody else has done it */
    }
    if (team->lot_idle > team->lot_tokens) {
        team->lot_tokens++;
        lot_changed(team);
    } else if (replaces || team->spares_live < spares || must) {
        added = start_member(team) == 0;
        if (added && !replaces) {
            team->spares_live++;
            team->spares_started++;
        }
    } else {
        added = false;
    }
    /* Only now: a count taken before and given back would make others believe meanwhile that somebody
     * is active. */
    if (added) {
        auri_ec_deficit_add(&team->ec, -1);
    }
    pthread_mutex_unlock(&team->lock);
    return added;
}

/* For the monitor: the calling worker waits, and the pool knows. */
static void set_away(struct auri_team *team, uint32_t away)
{
    struct auri_record *self = auri_self_;

    if (self != NULL && self->pool == team->pool && self->worker >= 0) {
        auri_store_rlx(&team->member[self->worker].away, away); /* relaxed: it may see it late */
    }
}

bool auri_team_lot_wait(struct auri_team *team)
{
    aur_deadline until = aur_deadline_in_ns(LOT_IDLE_NS);
    bool go_on = false;

    pthread_mutex_lock(&team->lock);
    /* Under the lock: whoever needs a worker after this CAS finds the caller in the lot. */
    if (!auri_ec_surplus_leave(&team->ec)) {
        pthread_mutex_unlock(&team->lock);
        return true;
    }
    team->lot_idle++;
    set_away(team, 1);
    for (;;) {
        if (team->lot_tokens != 0) {
            team->lot_tokens--;
            go_on = true;
            break;
        }
        if (auri_load_acq(&team->stop) != 0 || aurp_now_ns() >= until) {
            break;
        }
        uint32_t seen = auri_load_acq(&team->lot_word);
        pthread_mutex_unlock(&team->lock);
        (void)aurp_futex_wait(&team->lot_word, seen, until, AURP_PRIVATE);
        pthread_mutex_lock(&team->lock);
    }
    team->lot_idle--;
    set_away(team, 0);
    pthread_mutex_unlock(&team->lock);
    return go_on;
}

/* Whether the wait of a worker that still counts as one that waits is over: what it waits for is done. */
static bool returns(struct auri_record *record)
{
    /* seq_cst, all: the same odd number twice means the same wait, in which the task is kept; pairs with [E1]
     * in sched/edge.c.  Before that records and tasks are readable even if stale. */
    uint64_t seq = auri_load_sc(&record->wait_seq);
    uint32_t kind = auri_load_sc(&record->wait_kind);

    if ((seq & 1) == 0) {
        return false;
    }
    if (kind != AURI_WAIT_TASK && kind != AURI_WAIT_TIMED) {
        return auri_edge_any_is_over(record);
    }
    auri_task *task = auri_load_sc(&record->wait_task);
    return task != NULL && auri_word_state(auri_load_sc(&task->word)) == AURI_DONE &&
           auri_load_sc(&record->wait_seq) == seq;
}

static bool somebody_returns(struct auri_team *team)
{
    uint32_t end = auri_load_acq(&team->member_end);

    for (uint32_t i = 0; i < end; i++) {
        struct auri_record *record = auri_load_acq(&team->member[i].record);
        if (record != NULL && returns(record)) {
            return true;
        }
    }
    return false;
}

/* Whether there is nobody left who could take what is queued.  lock held.
 *
 * When nobody_active() looks first, each worker counts as one that waits.  Whoever of them can go on waits for a
 * task that was finished before its runner began to wait, too: so the second look sees DONE, or that worker is
 * back, and the third look counts it.  Who is told that somebody is there may sleep: that worker goes on by itself,
 * and looks for work, or waits and comes here, after the caller. */
static bool nobody_left(struct auri_team *team)
{
    return nobody_active(team) && !somebody_returns(team) && nobody_active(team);
}

/* A worker of this team is about to sleep inside a task.  True: nobody is left; then it does not count as one that
 * waits, but if it does all the same. */
static bool block(struct auri_team *team, bool all_the_same)
{
    set_away(team, 1);
    /* seq_cst, then the look at the queues; pairs with push, fence, look at the word in
     * auri_ec_notify(): one of us sees the other's, and replaces this worker. */
    auri_ec_deficit_add(&team->ec, 1);
    auri_fence_sc();
    if (!auri_team_has_work(team)) {
        return false;
    }
    switch (auri_ec_notify(&team->ec)) {
    case AURI_EC_WOKEN:
    case AURI_EC_NOBODY:
        return false;
    case AURI_EC_SPARE:
        break;
    }
    if (auri_team_add_worker(team, false)) {
        return false;
    }
    /* Under the lock: of several that block at once, each but the last may leave it to another. */
    pthread_mutex_lock(&team->lock);
    bool none = nobody_left(team);
    if (none && !all_the_same) {
        auri_ec_deficit_add(&team->ec, -1);
        set_away(team, 0);
    }
    pthread_mutex_unlock(&team->lock);
    return none;
}

static aur_err threads_block(aur_pool *pool)
{
    return block(auri_team_of(pool), false) ? AUR_EAGAIN : AUR_OK;
}

void auri_team_block_owner(struct auri_team *team, const struct auri_record *self)
{
    if (block(team, true)) {
        auri_team_refuse_one(team, self);
    }
}

static void threads_unblock(aur_pool *pool)
{
    set_away(auri_team_of(pool), 0);
    auri_ec_deficit_add(&auri_team_of(pool)->ec, -1);
}

/* ---- the monitor's thread ------------------------------------------------------------------ */

bool auri_team_start_monitor(struct auri_team *team, void *(*thread)(void *))
{
    char name[48];

    pthread_mutex_lock(&team->lock);
    if (team->monitor_started || team->monitor_live) {
        pthread_mutex_unlock(&team->lock);
        return false;
    }
    snprintf(name, sizeof(name), "%.9s-mon", team->pool->name);
    auri_pool_hold(team->pool); /* dropped in auri_team_monitor_ended() */
    auri_own_threads_add(1);
    int failed = auri_load_rlx(&team->stop) != 0
                     ? ESHUTDOWN
                     : aurp_thread_start(&team->monitor, thread, team, name);
    if (failed != 0) { /* `watch` stays on: nobody tries again, blocked workers are not replaced */
        auri_own_threads_add(-1);
        pthread_mutex_unlock(&team->lock);
        auri_pool_drop(team->pool);
        return true;
    }
    team->monitor_live = true;
    team->monitor_started = !team->abandoned;
    if (team->abandoned) {
        aurp_thread_detach(team->monitor);
    }
    pthread_mutex_unlock(&team->lock);
    return true;
}

void auri_team_monitor_ended(struct auri_team *team)
{
    aur_pool *pool = team->pool;

    pthread_mutex_lock(&team->lock);
    team->monitor_live = false;
    auri_add_sc(&team->ended, 1u);
    aurp_futex_wake(&team->ended, INT32_MAX, AURP_PRIVATE);
    pthread_mutex_unlock(&team->lock);
    auri_pool_drop(pool); /* the last one frees the team */
}

/* ---- work ---------------------------------------------------------------------------------- */

static bool threads_may_help(aur_pool *pool, auri_task *task)
{
    (void)task;
    /* A worker with an init has state of its own that a waiting outsider lacks. */
    return (pool->flags & AUR_POOL_NO_HELP) == 0 && pool->opts.worker_init == NULL;
}

static aur_err threads_submit(aur_pool *pool, auri_task *task)
{
    struct auri_team *team = auri_team_of(pool);
    struct auri_record *self = auri_self_;

    if (self != NULL) {
        self->woke = false; /* until the notice below does */
    }
    /* A task that submits more than a deque holds is ahead of the thieves.  They take what is in the inbox
     * all at once, while for each single steal from a deque that grows they and its owner would take the
     * lines of its ends from each other: bench/inside.  So it does not grow. */
    if (self == NULL || self->pool != pool || (pool->flags & AUR_POOL_FIFO) != 0 ||
        !auri_deque_has_room(self->deque) || !auri_deque_push(self->deque, task)) {
        auri_team_push(team, task);
        auri_team_notify_pushed(team);
    } else {
        auri_team_notify(team);
    }
    /* The worker may have run it before anybody waits for it; else whoever waits may run it. */
    if (self != NULL && self->woke && !threads_may_help(pool, task)) {
        auri_note_sleep(self, pool);
    }
    return AUR_OK;
}

static int threads_cancel(aur_pool *pool, auri_task *task, bool kill)
{
    (void)pool;
    if (!kill) {
        return AUR_CANCEL_TOO_LATE;
    }
    uint64_t word = auri_load_rlx(&task->word);

    while (auri_word_state(word) == AURI_RUNNING) {
        /* relaxed: a request. */
        if (auri_cas_rlx(&task->word, &word, word | AURI_F_CANCEL)) {
            return AUR_CANCEL_SIGNALLED;
        }
    }
    return AUR_CANCEL_TOO_LATE;
}

/* ---- ending -------------------------------------------------------------------------------- */

void auri_team_stop(struct auri_team *team)
{
    auri_store_sc(&team->stop, 1u);
    auri_ec_wake_all(&team->ec);
    pthread_mutex_lock(&team->lock);
    lot_changed(team);
    if (team->monitor_live) {
        auri_monitor_ring(team);
    }
    pthread_mutex_unlock(&team->lock);
}

void auri_team_member_ended(struct auri_team *team, uint32_t index, bool replace)
{
    aur_pool *pool = team->pool;

    pthread_mutex_lock(&team->lock);
    team->live--;
    if (team->live >= pool->workers && team->spares_live != 0) {
        team->spares_live--;
    }
    if (team->abandoned) {
        team->member[index].started = false; /* detached already */
    } else if (team->settled && !team->joined && auri_load_rlx(&team->stop) == 0) {
        /* A spare that was idle, or a thread that a task ended: free its place now. */
        aurp_thread_detach(team->member[index].thread);
        team->member[index].started = false;
    }
    auri_add_sc(&team->ended, 1u);
    aurp_futex_wake(&team->ended, INT32_MAX, AURP_PRIVATE);
    pthread_mutex_unlock(&team->lock);
    if (replace && auri_team_has_work(team)) { /* else the next notify finds the deficit */
        (void)auri_team_add_worker(team, true);
    }
    auri_pool_drop(pool); /* the last one frees the team */
}

/* Called first when the pool closes, again whenever everything accepted is done. */
static void threads_close(aur_pool *pool)
{
    if (auri_pool_is_idle(pool)) {
        auri_team_stop(auri_team_of(pool));
    } else {
        auri_team_notify(auri_team_of(pool));
    }
}

static void threads_terminate(aur_pool *pool)
{
    struct auri_team *team = auri_team_of(pool);

    /* What slips through is cancelled by the worker that takes it: see auri_run_claimed(). */
    for (auri_task *task = auri_team_drain(team); task != NULL; task = auri_team_drain(team)) {
        bool sole = auri_task_is_sole(task);
        (void)auri_task_cancel_queued(task);
        auri_task_unref_queued(task, sole);
    }
    threads_close(pool);
}

static aur_err threads_join(aur_pool *pool, aur_deadline deadline)
{
    struct auri_team *team = auri_team_of(pool);

    for (;;) {
        uint32_t ended = auri_load_acq(&team->ended);
        pthread_mutex_lock(&team->lock);
        bool gone = team->live == 0 && !team->monitor_live;
        bool first = gone && !team->joined && !team->abandoned;
        team->joined = team->joined || first;
        pthread_mutex_unlock(&team->lock);
        if (first) {
            join_members(team);
        }
        if (gone) {
            return AUR_OK;
        }
        if (aurp_futex_wait(&team->ended, ended, deadline, AURP_PRIVATE) == AUR_ETIMEDOUT) {
            return AUR_ETIMEDOUT;
        }
    }
}

static void threads_abandon(aur_pool *pool)
{
    struct auri_team *team = auri_team_of(pool);

    pthread_mutex_lock(&team->lock);
    if (!team->joined && !team->abandoned) {
        team->abandoned = true;
        if (team->monitor_started) {
            aurp_thread_detach(team->monitor);
            team->monitor_started = false;
        }
        for (uint32_t i = 0; i < team->member_max; i++) {
            if (team->member[i].started) {
                aurp_thread_detach(team->member[i].thread);
            }
        }
    }
    pthread_mutex_unlock(&team->lock);
}

static void threads_destroy(aur_pool *pool)
{
    team_free(auri_team_of(pool));
    pool->impl = NULL;
}

/* ---- telling ------------------------------------------------------------------------------- */

static void threads_stats(aur_pool *pool, aur_stats *stats)
{
    struct auri_team *team = auri_team_of(pool);

    stats->stolen += auri_load_rlx(&team->stolen);
    stats->parks += auri_load_rlx(&team->parks);
    stats->wakes += auri_load_rlx(&team->wakes);
    uint32_t end = auri_load_acq(&team->member_end);
    for (uint32_t i = 0; i < end; i++) {
        struct auri_record *record = auri_load_acq(&team->member[i].record);
        uint32_t credit = record != NULL ? auri_load_rlx(&record->credit) : 0;
        /* relaxed: it lags; exact when the pool is idle, see auri_finished_flush(). */
        stats->submitted -= credit < stats->submitted ? credit : stats->submitted;
    }
    /* Under the lock a thread is started and counted at once: who has seen its work finds it here. */
    pthread_mutex_lock(&team->lock);
    stats->spares += team->spares_started;
    stats->workers += team->live;
    pthread_mutex_unlock(&team->lock);
}

static size_t threads_explain(aur_pool *pool, char *text, size_t size)
{
    struct auri_team *team = auri_team_of(pool);
    uint32_t latency = auri_load_rlx(&team->wake_latency_ns);
    uint32_t cost = auri_load_rlx(&team->wake_cost_ns);
    pthread_mutex_lock(&team->lock);
    int extra = team->extra;
    pthread_mutex_unlock(&team->lock);
    int wrote = snprintf(text, size,
                         "%u threads; a searcher spins %u us before it sleeps; a woken worker runs "
                         "after about %.1f us (%s), and to wake one costs a loop %.1f us (%s); "
                         "%d more stand in for workers that were seen to block.",
                         pool->workers, (unsigned)(team->spin_ns / 1000), latency / 1000.0,
                         latency != 0 ? "learned" : "nobody was woken yet", cost / 1000.0,
                         cost != 0 ? "learned" : "no loop has", extra);
    return wrote > 0 ? (size_t)wrote : 0;
}

const struct auri_backend auri_backend_threads = {
    .name = "threads",
    .threaded = true,
    .sole = true,
    .start = threads_start,
    .submit = threads_submit,
    .cancel = threads_cancel,
    .may_help = threads_may_help,
    .block = threads_block,
    .unblock = threads_unblock,
    .close = threads_close,
    .terminate = threads_terminate,
    .join = threads_join,
    .abandon = threads_abandon,
    .destroy = threads_destroy,
    .stats = threads_stats,
    .explain = threads_explain,
};
