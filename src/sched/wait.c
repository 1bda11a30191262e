/* Waiting for one task: run it, or what it waits for; else let a spare work, and sleep.
 *
 * Why running the awaited task on the waiter's stack is safe: the waiter depends on it anyway, so
 * whatever it needs (a lock held further down this stack) would have been missing in any case.  The
 * same holds for the tasks that the awaited task waits for, and for nothing else; so the walk follows
 * dependencies only and never picks up unrelated work.
 *
 * Why a wait ends: a thread sleeps only if the chain of waits ends at a node that runs, at a task that
 * others will run (then its pool gets a worker in its place, sched/threads.c), or at nothing that the
 * library knows.  A chain that leads back is found by the last node that joined it (sched/detect.h).
 *
 * Waits with a deadline, and waits for any of several, never run tasks in place: the task could
 * outlast the deadline, or wait for something that the waiter does later.  They compensate only. */
#include "sched/wait.h"

#include <stdlib.h>

#include "base/err.h"
#include "plat/plat.h"
#include "sched/detect.h"
#include "sched/join.h"
#include "sched/team.h"

#define DEPTH_MAX 512u
#define STACK_RESERVE (64u * 1024u)

bool auri_stack_has_room(const struct auri_record *self)
{
    /* Not the address of a variable: a sanitizer may keep those elsewhere. */
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (self->depth >= DEPTH_MAX) {
        return false;
    }
    return self->stack_low == 0 || here > self->stack_low + 2 * STACK_RESERVE;
}

/* ---- spinning ------------------------------------------------------------------------------ */

/* A sleep and its wake cost about 50 us here, an answer from a worker that is awake a fraction of one.
 * So a wait spins first, for SPIN_NS at most; for half as long after each time that it did so in vain,
 * and in the end at every SPIN_REST-th wait only, until it succeeds again: one CPU, or long tasks, soon
 * cost little.  That one is as long as the first: what a shorter one would find, those before had found.
 * After a submit that woke a worker it sleeps at once: the woken thread then starts on this CPU instead of a
 * halted one.  bench/handoff shows what it brings.
 *
 * If calls follow each other closely, and SLEEPS_MAX in a row had a sleep, of the worker or of the wait, both may be on
 * this CPU: the kernel leaves them there (see proc/leader.c).  So workers are told where we are, and go elsewhere before
 * they look for the call: auri_place_leave().  Its wait does not sleep, since it would be woken where its worker is. */
#define SPIN_NS 20000u
#define SPIN_MISSES_MAX 5u
#define SPIN_REST 32u
#define SPIN_PAUSES 4
#define SLEEPS_MAX 4u
#define SLEEPS_FAILS_MAX 4u
#define CLOSE_NS 100000u     /* two wakes */
#define SPIN_LONG_NS 200000u /* until a worker has gone elsewhere */

void auri_note_sleep(struct auri_record *self, aur_pool *pool)
{
    uint64_t now = aurp_now_ns();
    bool close = now - self->slept_ns < CLOSE_NS;

    self->slept_ns = now;
    self->sleeps = close ? self->sleeps + 1u : 0;
    if (self->sleeps >= SLEEPS_MAX << self->sleeps_fails && pool->backend->threaded) {
        /* relaxed: a hint. */
        auri_store_rlx(&auri_team_of(pool)->waiter_cpu, (uint32_t)(aurp_cpu_here() + 1));
        self->sleeps = 0;
        self->sleeps_fails += self->sleeps_fails < SLEEPS_FAILS_MAX;
        self->spin_misses = 0;
        self->spins_long = true;
    }
}

static bool spin_until_done(struct auri_record *self, auri_task *task, aur_deadline deadline)
{
    bool woke = self->woke;
    bool rests = self->spin_misses >= SPIN_MISSES_MAX;
    uint64_t spin_ns = rests ? SPIN_NS : SPIN_NS >> self->spin_misses;

    self->woke = false;
    if (self->spins_long) {
        spin_ns = SPIN_LONG_NS;
        aurp_yield(); /* to a worker that is on this CPU, and about to leave it */
    } else if (woke || (rests && ++self->spin_rests < SPIN_REST)) {
        /* relaxed: the flag is constant for who has a reference. */
        if (!woke ||
            (auri_load_rlx(&task->word) & AURI_F_HELP) != 0) { /* else the submit has noted it */
            auri_note_sleep(self, task->pool);
        }
        return false;
    }
    self->spin_rests = 0;
    self->spins_long = false;
    /* relaxed, both loads: the generation is constant for who has a reference, the other is a hint. */
    uint8_t told = auri_word_told(auri_load_rlx(&task->word));
    bool tells = auri_task_tells(task);
    uint64_t until = aurp_now_ns() + spin_ns;
    until = until < deadline ? until : deadline;
    do {
        for (int i = 0; i < SPIN_PAUSES; i++) {
            auri_cpu_relax();
            if ((!tells || auri_load_rlx(&task->store.told) == told) && auri_task_is_done(task)) {
                self->spin_misses = self->sleeps = self->sleeps_fails = 0;
                return true;
            }
        }
    } while (aurp_now_ns() < until);
    self->spin_misses += self->spin_misses < SPIN_MISSES_MAX;
    auri_note_sleep(self, task->pool);
    return false;
}

/* ---- the walk ------------------------------------------------------------------------------ */

typedef enum walk_end {
    WALK_DONE,  /* the awaited task is done */
    WALK_AGAIN, /* something has changed: start over */
    WALK_HELP,  /* the chain ends at a task that this thread may run */
    WALK_PARK,  /* the chain ends at somebody who makes progress */
    WALK_CYCLE, /* it may lead back here: ask for a verdict */
} walk_end;

/* One link of the chain: a task, and the wait through which it is part of the chain. */
struct link {
    auri_task *task;
    struct auri_record *waiter; /* who waits for it; NULL: the walker, which holds a reference */
    uint64_t seq;               /* the waiter's wait_seq */
};

/* A queued task at the end of the chain.  WALK_HELP: *ret_task carries a new reference. */
static walk_end offer_help(const struct auri_record *self, const struct link *link, uint64_t word,
                           auri_task **ret_task)
{
    if ((word & AURI_F_HELP) == 0 || !auri_stack_has_room(self)) {
        return WALK_PARK;
    }
    if (!auri_task_tryref(link->task)) {
        return WALK_AGAIN;
    }
    /* While its waiter waits, the slot cannot have changed hands: so this is the call that the chain
     * needs, and not another one that has moved in. */
    if (link->waiter != NULL && auri_load_sc(&link->waiter->wait_seq) != link->seq) {
        auri_task_unref(link->task);
        return WALK_AGAIN;
    }
    *ret_task = link->task;
    return WALK_HELP;
}

/* The task that the runner of link->task waits for becomes the new link, if it waits for just one. */
static walk_end follow(const struct auri_record *self, struct link *link, uint64_t word)
{
    auri_task *task = link->task;
    unsigned owner = auri_word_owner(word);

    if (owner == 0) { /* a map in the hands of worker processes; who is in no task is on no cycle */
        return self->frame != NULL ? WALK_CYCLE : WALK_PARK;
    }
    if (owner == self->id) {
        return WALK_CYCLE;
    }
    struct auri_record *runner = auri_record_at(owner);
    uint64_t seq = auri_load_sc(&runner->wait_seq); /* pairs with [E1] in sched/edge.c */
    if ((seq & 1) == 0) {
        /* Without an edge it may wait for somebody elsewhere, who has a graph of his own, and is told by auri_detect().
         * seq_cst [E2]; pairs with mark() in proc/turns.c: this sees it, or that question sees our edge. */
        return auri_load_sc(&runner->asks) != NULL ? WALK_CYCLE : WALK_PARK;
    }
    uint32_t kind = auri_load_sc(&runner->wait_kind);
    if (kind != AURI_WAIT_TASK) {
        return kind == AURI_WAIT_ANY || kind == AURI_WAIT_JOB ? WALK_CYCLE : WALK_PARK;
    }
    auri_task *next = auri_load_sc(&runner->wait_task);
    /* The same odd number again: the runner waited for `next`, and held a reference to it, all the
     * while.  And it still runs `task`: flags may have changed, another waiter sets them. */
    if (auri_load_sc(&runner->wait_seq) != seq ||
        ((auri_load_sc(&task->word) ^ word) & ~AURI_FLAGS_MASK) != 0) {
        return auri_word_state(auri_load_sc(&task->word)) == AURI_RUNNING ? WALK_PARK : WALK_AGAIN;
    }
    *link = (struct link){ next, runner, seq };
    return WALK_DONE;
}

/* Follows the chain of waits from `awaited`.  The caller has published its own edge. */
static walk_end walk(const struct auri_record *self, auri_task *awaited, auri_task **ret_help)
{
    struct link link = { .task = awaited };

    for (unsigned steps = auri_record_end() + 1; steps > 0; steps--) {
        uint64_t word = auri_load_sc(&link.task->word);
        switch (auri_word_state(word)) {
        case AURI_DONE:
            /* Another one's: its waiter is about to go on.  To walk until it has would be to spin. */
            return link.task == awaited ? WALK_DONE : WALK_PARK;
        case AURI_QUEUED:
            return offer_help(self, &link, word, ret_help);
        case AURI_RUNNING:
            break;
        default:
            return WALK_AGAIN; /* the slot has moved on to another call */
        }
        walk_end end = follow(self, &link, word);
        if (end != WALK_DONE) {
            return end;
        }
    }
    return WALK_CYCLE;
}

/* ---- blocking ------------------------------------------------------------------------------ */

/* The calling worker is about to sleep: its pool may need another one. */
aur_err auri_block(struct auri_record *self)
{
    aur_pool *pool = self->pool;

    auri_finished_flush(self);
    auri_lane_share(self); /* before the look for work in block() */
    return pool->backend->block != NULL ? pool->backend->block(pool) : AUR_OK;
}

void auri_unblock(struct auri_record *self)
{
    aur_pool *pool = self->pool;

    if (pool->backend->unblock != NULL) {
        pool->backend->unblock(pool);
    }
}

bool auri_is_worker_in_task(const struct auri_record *self)
{
    return self->pool != NULL && self->frame != NULL;
}

/* Inside aur_blocking_begin() a substitute was asked for already. */
bool auri_needs_substitute(const struct auri_record *self)
{
    return auri_is_worker_in_task(self) && self->blocking == 0;
}

/* Where calls begin in order, what a task waits for comes first (take_in_order() in worker.c): a stand-in
 * that began the next in line might have to wait as well, and so on until there is none left.  True: it
 * is queued.  Whoever finds its other pointer, in the inbox, finds it claimed. */
static bool put_first(struct auri_record *self, auri_task *task)
{
    aur_pool *pool = self->pool;

    if (task->pool != pool || (pool->flags & AUR_POOL_FIFO) == 0 ||
        auri_word_state(auri_load_acq(&task->word)) != AURI_QUEUED) {
        return false;
    }
    auri_task_ref(task);
    if (!auri_deque_push(self->deque, task)) {
        auri_task_unref(task); /* no memory: it comes in its turn; not the last reference */
    }
    return true;
}

/* Sleeps on the task's futex until it is done, once. */
static aur_err sleep_on(struct auri_record *self, auri_task *task, aur_deadline deadline)
{
    uint64_t word = auri_load_acq(&task->word);

    while (auri_word_state(word) != AURI_DONE) {
        uint64_t with = word | AURI_F_WAITERS;
        /* acq_rel; pairs with the exchange [D1] in task/task.c: it sees the flag, or we see DONE. */
        if (word != with && !auri_cas_acqrel(&task->word, &word, with)) {
            continue;
        }
        /* After the word was read: see interrupt() in sched/detect.c. */
        if (auri_record_is_victim(self)) {
            return AUR_OK;
        }
        return aurp_futex_wait(auri_task_futex(task), (uint32_t)with, deadline, AURP_PRIVATE);
    }
    return AUR_OK;
}

/* One sleep, by whatever means the task's pool has. */
static aur_err sleep_once(struct auri_record *self, auri_task *task, aur_deadline deadline)
{
    uint64_t word = auri_load_acq(&task->word);

    if (auri_word_state(word) == AURI_DONE) {
        return AUR_OK;
    }
    if ((word & AURI_F_HOLDS) != 0) {
        task->pool->backend->progress(task->pool, task, deadline);
        return deadline != AUR_NO_DEADLINE && aurp_now_ns() >= deadline ? AUR_ETIMEDOUT : AUR_OK;
    }
    return sleep_on(self, task, deadline);
}

static aur_err deadlocked(struct auri_record *self, const aur_error *error)
{
    aur_pool *pool = self->frame != NULL ? self->frame->pool : NULL;

    auri_last_error_set(error);
    if (pool != NULL) {
        auri_add_rlx(&pool->deadlocks, UINT64_C(1));
        auri_pool_log(pool, AUR_LOG_WARN, "deadlock: %s", error->message);
    }
    return AUR_EDEADLK;
}

/* Sleeps until the task is done, with a published edge. */
static aur_err sleep_until_done(struct auri_record *self, auri_task *task, aur_deadline deadline)
{
    bool compensate = auri_needs_substitute(self);
    auri_lane_share(self); /* a guest's, too */
    if (compensate) {
        (void)put_first(self, task);
    }
    aur_err err = compensate ? auri_block(self) : AUR_OK;

    if (err != AUR_OK) {
        return auri_stack_has_room(self) ? err : AUR_E2DEEP;
    }
    while (err == AUR_OK && !auri_task_is_done(task)) {
        err = sleep_once(self, task, deadline);
        if (auri_record_is_victim(self)) {
            err = self->victim_error.err; /* AUR_EDEADLK, or AUR_EAGAIN: sched/refuse.c */
        }
    }
    if (compensate) {
        auri_unblock(self);
    }
    return auri_task_is_done(task) ? AUR_OK : err;
}

/* Runs a claimed task in place of the wait for `awaited`. */
static void help(struct auri_record *self, auri_task *task, auri_task *awaited)
{
    struct auri_frame *frame = self->frame;

    if (frame != NULL) {
        frame->awaits = awaited;
    }
    auri_run_claimed(task, true);
    if (frame != NULL) {
        frame->awaits = NULL;
    }
}

/* The short way: the awaited task itself still waits for a runner. */
static bool try_own(struct auri_record *self, auri_task *task)
{
    uint64_t word = auri_load_acq(&task->word);

    if (auri_word_state(word) != AURI_QUEUED || (word & AURI_F_HELP) == 0 ||
        !auri_stack_has_room(self) || !auri_task_claim(task, self->id)) {
        return false;
    }
    /* A queue's pointer to it would keep the task and its place until this task ends.  Only the ends are
     * looked at: waits go from the newest or from the oldest. */
    if (self->deque != NULL && auri_deque_forget(self->deque, task)) {
        auri_task_unref(task); /* not the last reference: the waiter has one */
    }
    help(self, task, task);
    return true;
}

/* The ways that need no edge: running it, or waiting for so short a time that nobody need know. */
static bool done_at_once(struct auri_record *self, auri_task *task, aur_deadline deadline)
{
    if (deadline == AUR_NO_DEADLINE && try_own(self, task)) {
        return true;
    }
    /* With HOLDS a process runs it, and the answer has to be fetched. */
    return (auri_load_rlx(&task->word) & AURI_F_HOLDS) == 0 &&
           spin_until_done(self, task, deadline);
}

aur_err auri_wait_task(auri_task *task, aur_deadline deadline)
{
    if (auri_task_is_done(task)) {
        return AUR_OK;
    }
    struct auri_record *self = auri_self();
    if (self == NULL) {
        return AUR_EAGAIN;
    }
    bool timed = deadline != AUR_NO_DEADLINE;
    if (timed && aurp_now_ns() >= deadline) {
        if ((auri_load_acq(&task->word) & AURI_F_HOLDS) != 0) {
            task->pool->backend->progress(task->pool, task, deadline); /* what has arrived counts */
        }
        return auri_task_is_done(task) ? AUR_OK : AUR_ETIMEDOUT;
    }
    if (done_at_once(self, task, deadline)) {
        return AUR_OK;
    }
    for (;;) {
        aur_error error;
        auri_task *target = NULL;
        walk_end end = WALK_PARK;
        aur_err err = AUR_OK;

        if (!timed && try_own(self, task)) {
            return AUR_OK;
        }
        auri_edge_task(self, task, timed);
        if (!timed) {
            end = walk(self, task, &target);
            if (end == WALK_CYCLE) {
                err = auri_detect(self, &error);
                end = WALK_PARK;
            }
        }
        if (err == AUR_OK && end == WALK_PARK) {
            err = sleep_until_done(self, task, deadline);
            end = WALK_DONE;
            if (err == AUR_EDEADLK) {
                auri_victim_error(self, &error);
            }
        }
        /* Before anything is run here: a node that runs something does not wait. */
        auri_edge_clear(self);
        if (err == AUR_EDEADLK) {
            return deadlocked(self, &error);
        }
        if (err != AUR_OK || end == WALK_DONE) {
            return err;
        }
        if (end == WALK_HELP) {
            if (auri_task_claim(target, self->id)) {
                help(self, target, task);
            }
            auri_task_unref(target);
        }
    }
}

/* ---- several ------------------------------------------------------------------------------- */

aur_err auri_wait_word(_Atomic(uint32_t) *word, uint32_t value, auri_task *const *tasks, size_t n,
                       aur_deadline deadline)
{
    struct auri_record *self = auri_self();
    aur_err err = AUR_OK;

    if (auri_load_acq(word) != value) {
        return AUR_OK;
    }
    if (self == NULL) {
        return AUR_EAGAIN;
    }
    bool timed = deadline != AUR_NO_DEADLINE;
    bool compensate = auri_needs_substitute(self);
    aur_error error;
    auri_lane_share(self); /* a guest's, too */
    auri_edge_any(self, tasks, n, word, timed);
    /* If it had changed before there was an edge, nobody could tell by that: auri_edge_any_is_over(). */
    bool over = auri_load_acq(word) != value;
    if (!over && !timed && n != 0) {
        err = auri_detect(self, &error);
    }
    if (!over && err == AUR_OK && compensate) {
        for (size_t i = 0; i < n && !put_first(self, tasks[i]); i++) {
        }
        err = auri_block(self);
        compensate = err == AUR_OK;
    } else {
        compensate = false;
    }
    while (err == AUR_OK && auri_load_acq(word) == value) {
        err = aurp_futex_wait(word, value, deadline, AURP_PRIVATE);
        if (auri_record_is_victim(self)) {
            err = AUR_EDEADLK;
            auri_victim_error(self, &error);
        }
    }
    if (compensate) {
        auri_unblock(self);
    }
    auri_edge_clear(self);
    if (auri_load_acq(word) != value) {
        return AUR_OK;
    }
    return err == AUR_EDEADLK ? deadlocked(self, &error) : err;
}

void auri_blocking_leave(struct auri_record *self, unsigned depth)
{
    bool over = self->blocking > 0 && depth == 0;

    self->blocking = depth;
    if (over && self->blocking_counts) {
        self->blocking_counts = false;
        auri_unblock(self);
    }
}

void aur_blocking_begin(void)
{
    struct auri_record *self = auri_self_;

    if (self == NULL) {
        return;
    }
    if (auri_is_worker_in_task(self)) {
        if (self->blocking++ == 0) {
            /* Without a spare to be had the pool goes on with fewer. */
            self->blocking_counts = auri_block(self) == AUR_OK;
        }
    } else if (self->lane != NULL) {
        auri_lane_blocks(self); /* no worker, so none is missing; but it may have forked */
    }
}

void aur_blocking_end(void)
{
    struct auri_record *self = auri_self_;

    if (self != NULL && auri_is_worker_in_task(self) && self->blocking > 0) {
        auri_blocking_leave(self, self->blocking - 1);
    }
}
