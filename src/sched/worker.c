/* What a worker thread does: find work, run it, or sleep without missing any.
 *
 * Order of looking: own deque (newest first), tasks from outside, other deques (oldest first),
 * published loops.  Every FAIRNESS-th task the outside comes first, so that nested work cannot starve
 * it; but not where what is next in the deque came from outside, since that is older. */
#include <stdlib.h>

#include "base/err.h"
#include "sched/join.h"
#include "sched/run.h"
#include "sched/team.h"
#include "task/internal.h"

/* Reckoned, not swept: a prime, so that no pattern of submits keeps in step with it; and enough for one exchange of
 * the inbox to cost a call next to nothing.  bench/submit shows what a call costs with them. */
#define FAIRNESS 61u
#define BATCH 64u
#define SEARCH_PAUSES 8   /* between two looks of a spinning searcher: bench/handoff */
#define COST_MIN_NS 2000u /* what is learned about wakes, clipped: a sample may be garbage */
#define COST_MAX_NS 400000u

/* ---- tasks from outside -------------------------------------------------------------------- */

static void push(struct auri_team *team, auri_task *task)
{
    auri_task *head = auri_load_rlx(&team->inbox); /* relaxed: the CAS decides */

    do {
        task->next = head;
        /* seq_cst.  release [I1]; pairs with the exchange [I2]: links and tasks are visible.  And the
         * first half of [E3]: see auri_team_notify_pushed(). */
    } while (!auri_cas_sc(&team->inbox, &head, task));
}

void auri_team_push(struct auri_team *team, auri_task *task)
{
    struct auri_record *self = auri_self_;

    if (self != NULL) {
        auri_ahead_note(&self->pushed, task);
    }
    push(team, task);
}

/* Appends the inbox to the fifo.  fifo_lock held.  Nobody pops single nodes: no ABA. */
static void refill_fifo(struct auri_team *team)
{
    auri_task *newest = auri_xchg_acq(&team->inbox, NULL); /* [I2] */
    auri_task *oldest = NULL;
    struct auri_ahead ahead; /* for who takes them out, from the other end */

    ahead.n = 0;
    while (newest != NULL) {
        auri_task *next = newest->next;
        if (auri_ahead_of(newest) != NULL) {
            auri_task_prefetch(auri_ahead_of(newest));
        }
        /* Another thread may have claimed what this queue names, and then `other` is that thread's.  But
         * nobody has a SOLE task before it is taken out of here. */
        if (auri_task_is_sole(newest)) {
            auri_ahead_note(&ahead, newest);
        }
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    team->fifo = oldest;
    auri_store_rel(&team->fifo_filled, oldest != NULL);
}

static bool begins_in_order(const struct auri_team *team)
{
    return (team->pool->flags & AUR_POOL_FIFO) != 0;
}

/* Takes one task from outside, and moves up to BATCH more to the own deque, where others can steal
 * them; but in order only by one thread, so none where calls begin in order.  NULL: none, or (unless the
 * caller is patient) another worker is at it. */
static auri_task *take_outside(struct auri_team *team, struct auri_record *self, bool patient)
{
    if (auri_load_acq(&team->fifo_filled) == 0 && auri_load_acq(&team->inbox) == NULL) {
        return NULL;
    }
    if (patient) {
        pthread_mutex_lock(&team->fifo_lock);
    } else if (pthread_mutex_trylock(&team->fifo_lock) != 0) {
        return NULL;
    }
    bool refills = team->fifo == NULL;
    if (refills) {
        refill_fifo(team);
    }
    auri_task *batch[BATCH];
    uint32_t most = begins_in_order(team) ? 1 : BATCH;
    uint32_t n = 0;
    while (n < most && team->fifo != NULL) {
        auri_task *task = team->fifo;
        batch[n++] = task;
        team->fifo = task->next;
        /* Only what refill_fifo() wrote names one that comes later. */
        bool hinted = auri_task_is_sole(task) && auri_ahead_of(task) != NULL;
        auri_task_prefetch(hinted ? auri_ahead_of(task) : task);
    }
    bool rest = team->fifo != NULL;
    auri_store_rel(&team->fifo_filled, rest);
    pthread_mutex_unlock(&team->fifo_lock);
    bool several = n > 1;
    /* Newest first, so that the owner, who takes at the bottom, gets the oldest first. */
    while (n > 1) {
        n--;
        if (!auri_deque_push(self->deque, batch[n])) {
            push(team, batch[n]); /* no memory for a longer deque: back to the inbox */
        }
    }
    if (several) {
        self->outside_end = auri_deque_end(self->deque);
    }
    if (several || (refills && rest)) {
        auri_team_notify(team); /* for a moment the others could not see them anywhere */
    }
    return n == 1 ? batch[0] : NULL;
}

/* The oldest task of a deque of another thread, or NULL. */
static auri_task *steal_one(struct auri_deque *deque)
{
    auri_task *task = NULL;
    auri_steal got = AURI_STEAL_LOST;

    while (got == AURI_STEAL_LOST) { /* each LOST is another thread's progress */
        got = auri_deque_steal(deque, &task);
    }
    return got == AURI_STEAL_TOOK ? task : NULL;
}

auri_task *auri_team_drain(struct auri_team *team)
{
    pthread_mutex_lock(&team->fifo_lock);
    if (team->fifo == NULL) {
        refill_fifo(team);
    }
    auri_task *task = team->fifo;
    if (task != NULL) {
        team->fifo = task->next;
    }
    auri_store_rel(&team->fifo_filled, team->fifo != NULL);
    pthread_mutex_unlock(&team->fifo_lock);
    uint32_t end = auri_load_acq(&team->member_end);
    for (uint32_t i = 0; task == NULL && i < end; i++) {
        struct auri_deque *deque = auri_load_acq(&team->member[i].deque);
        task = deque != NULL ? steal_one(deque) : NULL;
    }
    return task;
}

/* ---- stealing ------------------------------------------------------------------------------ */

static uint64_t next_random(struct auri_record *self)
{
    uint64_t x = self->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return self->random = x;
}

/* One round over the other members' deques. */
static auri_task *steal(struct auri_team *team, struct auri_record *self)
{
    uint32_t end = auri_load_acq(&team->member_end);
    uint32_t start = end != 0 ? (uint32_t)(next_random(self) % end) : 0;

    for (uint32_t i = 0; i < end; i++) {
        struct auri_deque *deque = auri_load_acq(&team->member[(start + i) % end].deque);
        auri_task *task = deque != NULL && deque != self->deque ? steal_one(deque) : NULL;
        if (task != NULL) {
            auri_add_rlx(&team->stolen, UINT64_C(1));
            return task;
        }
    }
    return NULL;
}

/* Where calls begin in order: what a task waits for, which is all that the deques hold there
 * (put_first() in wait.c), then the oldest. */
static auri_task *take_in_order(struct auri_team *team, struct auri_record *self, bool patient)
{
    uint32_t end = auri_load_acq(&team->member_end);

    for (uint32_t i = 0; i < end; i++) {
        struct auri_deque *deque = auri_load_acq(&team->member[i].deque);
        bool filled = deque != NULL && !auri_deque_looks_empty(deque);
        auri_task *task = filled ? steal_one(deque) : NULL;
        if (task != NULL) {
            return task;
        }
    }
    return take_outside(team, self, patient);
}

/* The same without loops. */
static bool has_calls(struct auri_team *team)
{
    if (auri_load_acq(&team->inbox) != NULL || auri_load_acq(&team->fifo_filled) != 0) {
        return true;
    }
    uint32_t end = auri_load_acq(&team->member_end);
    for (uint32_t i = 0; i < end; i++) {
        struct auri_deque *deque = auri_load_acq(&team->member[i].deque);
        if (deque != NULL && !auri_deque_looks_empty(deque)) {
            return true;
        }
    }
    return auri_forks_look_open(team);
}

bool auri_team_has_work(struct auri_team *team)
{
    return auri_board_looks_open(&team->board) || has_calls(team);
}

/* ---- waking -------------------------------------------------------------------------------- */

static void notified(struct auri_team *team, auri_ec_need need)
{
    switch (need) {
    case AURI_EC_WOKEN:
        auri_add_rlx(&team->wakes, UINT64_C(1));
        if (auri_self_ != NULL) {
            auri_self_->woke = true;
        }
        break;
    case AURI_EC_SPARE:
        (void)auri_team_add_worker(team, false);
        break;
    case AURI_EC_NOBODY:
        /* seq_cst, after the fence [E1] or the read-modify-write [E3]; see [M1] in sched/monitor.c. */
        if (auri_load_sc(&team->watch) == 0) {
            auri_monitor_arm(team);
        }
        break;
    }
}

void auri_team_notify(struct auri_team *team)
{
    notified(team, auri_ec_notify(&team->ec));
}

void auri_team_notify_pushed(struct auri_team *team)
{
    notified(team, auri_ec_notify_after_rmw(&team->ec));
}

/* Which sleepers are meant: 32 marks for any number of places. */
static uint32_t mark_of(uint32_t index)
{
    return UINT32_C(1) << (index % 32);
}

/* Learns a cost from a sample: a low quantile (down fast, up slowly), clipped. */
static void learn(_Atomic(uint32_t) *cost, uint64_t sample)
{
    uint32_t old = auri_load_rlx(cost); /* relaxed: a hint; a lost update is no loss */
    uint32_t new = (uint32_t)(sample < COST_MIN_NS   ? COST_MIN_NS
                              : sample > COST_MAX_NS ? COST_MAX_NS
                                                     : sample);

    if (old != 0) {
        new = new < old ? old - (old - new) / 4 : old + (new - old) / 16;
    }
    auri_store_rlx(cost, new);
}

void auri_team_notify_elsewhere(struct auri_team *team)
{
    if (auri_ec_is_searched(&team->ec)) {
        auri_team_notify(team);
        return;
    }
    uint64_t start = aurp_now_ns();
    uint32_t end = auri_load_acq(&team->member_end);
    uint32_t mark = AURI_EC_ANYBODY;
    bool sleeps = auri_ec_sleepers(auri_load_rlx(&team->ec.word)) != 0; /* relaxed: a hint */

    for (uint32_t i = 0; sleeps && i < end && mark == AURI_EC_ANYBODY; i++) {
        if (auri_place_elsewhere(&team->member[i].place)) {
            mark = mark_of(i);
        }
    }
    auri_ec_need need = auri_ec_notify_marked(&team->ec, mark);
    notified(team, need);
    if (need == AURI_EC_WOKEN) {
        learn(&team->wake_cost_ns, aurp_now_ns() - start);
    }
}

/* A worker has just been woken. */
static void learn_latency(struct auri_team *team)
{
    uint64_t given = auri_load_rlx(&team->ec.wake_ns);
    uint64_t now = aurp_now_ns();

    if (given != 0) { /* else only auri_ec_wake_all() has woken anybody yet */
        learn(&team->wake_latency_ns, now > given ? now - given : 0);
    }
}

/* The same.  Has it reason to spin, once it has done what it was woken for? */
static void learn_rarity(struct auri_team *team, struct auri_record *self)
{
    /* relaxed, both: hints. */
    self->rests = auri_work_is_rare(auri_load_rlx(&team->parked_ns),
                                    auri_load_rlx(&team->ec.wake_ns), team->spin_ns);
}

/* ---- the loop ------------------------------------------------------------------------------ */

/* A task out of a queue. */
struct taken {
    auri_task *task;
    bool sole;
};

static void drop(struct taken *taken)
{
    auri_task_unref_queued(taken->task, taken->sole);
}

/* Drops the queue's reference, whether the claim is won or a waiter was first; also when the task ends
 * the thread. */
static void run_and_drop(struct auri_record *self, auri_task *task)
{
    if (auri_runs_plain(task)) {
        auri_run_plain(self, task);
        return;
    }
    __attribute__((cleanup(drop))) struct taken held = { task, auri_task_is_sole(task) };

    if (auri_task_claim(held.task, self->id)) {
        auri_run_claimed(held.task, false);
    }
}

/* Work that is at hand without searching. */
static auri_task *find_near(struct auri_team *team, struct auri_record *self)
{
    auri_task *task = NULL;

    if (begins_in_order(team)) {
        return take_in_order(team, self, false);
    }
    if (++self->ticks % FAIRNESS == 0 && auri_deque_end(self->deque) > self->outside_end) {
        task = take_outside(team, self, false);
    }
    if (task == NULL) {
        task = auri_deque_take(self->deque);
        int64_t end = auri_deque_end(self->deque);
        self->outside_end = end < self->outside_end ? end : self->outside_end;
    }
    return task != NULL ? task : take_outside(team, self, false);
}

/* A searcher that found work stops searching; the last one makes sure that more work has a searcher. */
static void found(struct auri_team *team)
{
    if (auri_ec_search_stop(&team->ec) && auri_team_has_work(team)) {
        auri_team_notify(team);
    }
}

/* The same for one who has seen a loop, and is about to take part in it.  A loop needs no more threads
 * than there are CPUs, and ends without any: whoever takes part calls more if it does (share.c). */
static void found_loop(struct auri_team *team)
{
    if (auri_ec_search_stop(&team->ec)) {
        bool room = auri_load_rlx(&team->looping) + 1 < team->cpus; /* relaxed: a hint */
        if (room ? auri_team_has_work(team) : has_calls(team)) {
            auri_team_notify(team);
        }
    }
}

/* Looks everywhere once, as a searcher.  True: it ran something and is no searcher any more. */
static bool search_once(struct auri_team *team, struct auri_record *self, bool patient)
{
    bool in_order = begins_in_order(team);
    auri_task *task =
        in_order ? take_in_order(team, self, patient) : take_outside(team, self, patient);

    if (task == NULL && !in_order) {
        task = steal(team, self);
    }
    if (task != NULL) {
        found(team);
        run_and_drop(self, task);
        return true;
    }
    struct auri_branch *branch = auri_fork_steal(team, self);
    if (branch != NULL) {
        found(team);
        self->rests = false; /* forks come in series */
        auri_branch_run(self, branch);
        return true;
    }
    if (auri_board_looks_open(&team->board)) {
        found_loop(team);
        if (auri_range_steal(team, self)) {
            return true;
        }
        auri_ec_search_start(&team->ec);
    }
    return false;
}

/* Keeps looking for about as long as a wake would take; one thread at a time.  Not where calls are rare: there
 * the spinning thread is in the way of the one that waited for the task, and is to go on on this CPU.  The
 * kernel puts it on another then, and from there on each task wakes an idle CPU for its worker, and another
 * for its waiter. */
static bool search_spinning(struct auri_team *team, struct auri_record *self, bool patient)
{
    uint32_t nobody = 0;

    if (search_once(team, self, patient)) {
        return true;
    }
    if (team->spin_ns == 0 || self->rests || !auri_cas_rlx(&team->spinning, &nobody, 1u)) {
        return false;
    }
    /* Apart: until the waiter has been woken and comes with the next task. */
    uint64_t until = aurp_now_ns() + (self->apart ? 4 * team->spin_ns : team->spin_ns);
    self->apart = false;
    bool ran = false;
    while (!ran && aurp_now_ns() < until && auri_load_rlx(&team->stop) == 0) {
        for (int i = 0; i < SEARCH_PAUSES; i++) {
            auri_cpu_relax();
        }
        if (auri_team_has_work(team)) {
            auri_store_rlx(&team->spinning, 0u);
            ran = search_once(team, self, patient);
            if (ran) {
                return true;
            }
            nobody = 0;
            if (!auri_cas_rlx(&team->spinning, &nobody, 1u)) {
                return false;
            }
        }
    }
    auri_store_rlx(&team->spinning, 0u);
    return ran;
}

/* A searcher goes home.  Its token may have been meant for another sleeper (auri_ec_retract() takes
 * any), who would sleep on: in ordinary life the searcher looks in its place, here it must wake it. */
static void stop_searching(struct auri_team *team)
{
    (void)auri_ec_search_stop(&team->ec);
    auri_ec_wake_all(&team->ec);
}

/* Somebody who sleeps between short tasks says where: if it is here, we are in each other's way. */
static void leave_waiter(struct auri_team *team, struct auri_record *self)
{
    uint32_t cpu = auri_load_rlx(&team->waiter_cpu); /* relaxed: late is allowed */

    if (cpu != 0) {
        auri_store_rlx(&team->waiter_cpu, 0u); /* relaxed: as above */
        if (auri_place_leave(&team->member[self->worker].place, (int)cpu - 1)) {
            self->rests = false;
            self->apart = true;
        }
    }
}

/* Searches, then sleeps.  Returns when something was run or the thread was woken. */
static void search_or_sleep(struct auri_team *team, struct auri_record *self)
{
    struct auri_place *place = &team->member[self->worker].place;
    bool patient = false;

    if (auri_load_rlx(&team->pool->state) != AURI_OPEN) {
        auri_finished_flush(self);
    }
    auri_ec_search_start(&team->ec);
    for (;;) {
        leave_waiter(team, self);
        if (search_spinning(team, self, patient)) {
            return;
        }
        auri_finished_flush(self);
        auri_slab_flush(self);
        auri_ec_announce(&team->ec);
        /* The last look, after the announcement: see sync/eventcount.h.  If the work that it sees lies
         * behind a lock that another worker holds, the next search waits for the lock instead of
         * burning the time that the holder may need. */
        if (auri_team_has_work(team) || auri_load_acq(&team->stop) != 0) {
            auri_ec_retract(&team->ec);
            if (auri_load_acq(&team->stop) != 0) {
                stop_searching(team);
                return;
            }
            auri_cpu_relax();
            patient = true;
            continue;
        }
        patient = false;
        auri_add_rlx(&team->parks, UINT64_C(1));
        auri_place_asleep(place);
        auri_store_rlx(&team->parked_ns, aurp_now_ns()); /* relaxed: a hint */
        (void)auri_ec_sleep_marked(&team->ec, mark_of((uint32_t)self->worker), AUR_NO_DEADLINE);
        learn_latency(team);
        learn_rarity(team, self);
        auri_place_awake(place);
        if (auri_load_acq(&team->stop) != 0) {
            stop_searching(team);
            return;
        }
    }
}

/* One more worker than wanted is running: this one may leave, if it has nothing of its own. */
static bool is_surplus(struct auri_team *team, struct auri_record *self)
{
    /* relaxed: a hint; auri_team_lot_wait() decides. */
    return auri_ec_deficit(auri_load_rlx(&team->ec.word)) < 0 &&
           auri_deque_looks_empty(self->deque);
}

static void work(struct auri_team *team, struct auri_record *self)
{
    for (;;) {
        auri_task *task = find_near(team, self);
        if (task != NULL) {
            run_and_drop(self, task);
        } else if (auri_load_acq(&team->stop) != 0 && !auri_team_has_work(team)) {
            return;
        } else {
            search_or_sleep(team, self);
        }
        if (is_surplus(team, self)) {
            auri_finished_flush(self);
            auri_slab_flush(self);
            if (!auri_team_lot_wait(team)) {
                return;
            }
        }
    }
}

/* A task ended this thread (pthread_exit): settle with the pool, and put another in its place. */
static void worker_end(struct auri_record *self)
{
    aur_pool *pool = self->pool;
    struct auri_team *team = auri_team_of(pool);
    uint32_t index = (uint32_t)self->worker;

    auri_place_end(&team->member[index].place);
    auri_finished_flush(self);
    /* If it ended between aur_blocking_begin() and its end, the pool counts it as missing already. */
    if (!self->blocking_counts) {
        auri_ec_deficit_add(&team->ec, 1);
    }
    self->blocking_counts = false;
    self->pool = NULL;
    auri_store_rlx(&team->member[index].tid, 0);       /* relaxed: for the monitor */
    auri_store_rlx(&team->member[index].record, NULL); /* relaxed: for statistics */
    auri_record_set_lane(self, NULL);
    self->deque = NULL; /* what lies in it is for thieves, and for the next owner */
    auri_own_threads_add(-1);
    auri_team_member_ended(team, index, true);
}

void *auri_worker_thread(void *member_arg)
{
    struct auri_member_arg arg = *(struct auri_member_arg *)member_arg;
    struct auri_team *team = arg.team;
    aur_pool *pool = team->pool;
    struct auri_record *self = auri_self();
    bool ready = self != NULL;

    free(member_arg);
    auri_store_rlx(&team->member[arg.index].away, 0u); /* relaxed: for the monitor, both */
    auri_store_rlx(&team->member[arg.index].tid, aurp_thread_self());
    if (ready) {
        self->pool = pool;
        self->worker = (int)arg.index;
        self->deque =
            auri_load_rlx(&team->member[arg.index].deque); /* relaxed: set before our start */
        self->outside_end = auri_deque_end(self->deque);
        self->worker_end = worker_end;
        auri_store_rel(&team->member[arg.index].record, self);
        if (pool->opts.worker_init != NULL) {
            ready = pool->opts.worker_init(pool->opts.worker_ctx, (int)arg.index) == 0;
        }
    }
    if (!ready) {
        aur_err why = self != NULL ? AUR_EINIT : AUR_ENOMEM;
        auri_store_rlx(&team->init_failed, (uint32_t)why);
        auri_ec_deficit_add(&team->ec, 1); /* a spare that was to stand in, and cannot */
    }
    auri_add_sc(&team->started, 1u);
    aurp_futex_wake(&team->started, INT32_MAX, AURP_PRIVATE);
    if (ready) {
        /* relaxed: as the deque. */
        auri_record_set_lane(self, auri_load_rlx(&team->member[arg.index].lane));
        work(team, self);
        auri_record_set_lane(self, NULL); /* what worker_fini forks runs serially, as in init */
        if (pool->opts.worker_fini != NULL) {
            pool->opts.worker_fini(pool->opts.worker_ctx, (int)arg.index);
        }
        auri_finished_flush(self);
    }
    auri_place_end(&team->member[arg.index].place);
    if (self != NULL) {
        auri_store_rlx(&team->member[arg.index].record, NULL); /* relaxed: for statistics */
        self->pool = NULL;
        auri_self_release();
    }
    auri_store_rlx(&team->member[arg.index].tid, 0); /* relaxed: for the monitor */
    auri_own_threads_add(-1);
    auri_team_member_ended(team, arg.index, false);
    return NULL;
}
