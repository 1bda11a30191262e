/* Fork and join: all but the quick way, which is in auriga/join.h.
 *
 * A fork puts a pointer to a branch, which lies on the owner's stack, into the split deque of the owner's
 * lane; a join takes the newest out again.  Forks of one thread nest, so what it takes out is the
 * branch it wants, or nothing: then a thief has it.  (A lane is not the deque of tasks, where others
 * may lie on top.)  The right to run a branch is having got it out of the deque, so no word has to be
 * claimed, and a thief has to be waited for: nothing points to a branch that its owner has left.
 *
 * Waiting for a thief.  The owner takes from the thief's lane what was put there since the thief began:
 * while a thief runs a stolen branch, its lane holds nothing older, as a thread steals only when its own
 * lane is empty, or when everything in it has been stolen.  So all that is found there is a part of the
 * awaited branch, and running it on top of the wait is as safe as running the branch itself: nothing
 * unrelated ever gets on this stack.  The race at the end of the branch: the owner reads the thief's top,
 * then finds the branch not DONE [J3], then steals at that top.  The thief says DONE [J2], and then moves
 * its top [B1] before it can fork for anybody else: so either the owner's top is older, and its CAS
 * fails; or it is newer, and then DONE is visible.
 *
 * Most forks of a deep recursion are private and stay so (sync/split.h): aur_fork_push_() and
 * aur_fork_pop_() are all that they cost, so each instruction there counts.
 *
 * Sleepers.  A branch is run by its owner in any case, so a wake that comes late, or never, costs time
 * and no liveness; but a branch that is alone on offer is seen by whoever looks.  See offer_first(). */
#include "sched/join.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "sched/detect.h"
#include "sched/run.h"
#include "sched/wait.h"

/* Reckoned after the numbers of loops (sched/range.c), not swept.  bench/forkjoin shows what a fork costs
 * with them. */
#define LATENCY_GUESS_NS 50000u /* until one was measured; as for loops */
#define WORTH 2u                /* a branch is worth a wake from so many latencies on */
#define BEAT_MIN_NS 100000u     /* and a computation of short branches after this time */
#define BEAT_MAX_NS 1000000u
#define SKIP_MAX 64u
#define SKIP_NS 1000u /* looks for sleepers are about so far apart */

/* ---- waking -------------------------------------------------------------------------------- */

static uint64_t latency_of(struct auri_team *team)
{
    uint64_t latency = auri_load_rlx(&team->wake_latency_ns); /* relaxed: learned, a hint */

    return latency != 0 ? latency : LATENCY_GUESS_NS;
}

static size_t place_of(const struct auri_lane *lane, aur_join_fn *run)
{
    return ((uintptr_t)run >> 4) % (sizeof(lane->known) / sizeof(lane->known[0]));
}

static bool has_sleepers(uint64_t word)
{
    return (word & (UINT64_C(0xffff) * AURI_EC_SLEEPER)) != 0;
}

/* Further in a wake is due each time that the computation has run for a beat, as for loops
 * (sched/range.c): what was wasted is then a bounded share.  The clock is looked at only so often that
 * this costs little. */
static __attribute__((noinline)) void offer_more(struct auri_lane *lane)
{
    uint64_t now = aurp_now_ns();
    uint64_t beat = 4 * latency_of(lane->team);
    uint32_t next = 2 * lane->skip_next < SKIP_MAX ? 2 * lane->skip_next : SKIP_MAX;

    beat = beat < BEAT_MIN_NS ? BEAT_MIN_NS : beat > BEAT_MAX_NS ? BEAT_MAX_NS : beat;
    lane->skip_next = now - lane->seen_ns >= SKIP_NS ? 1 : next;
    lane->skip = lane->skip_next;
    lane->seen_ns = now;
    if (now - lane->beat_ns >= beat) {
        lane->beat_ns = now;
        auri_team_notify(lane->team);
    }
}

/* The only branch on offer in its lane: the first of a computation, or thieves have the older ones.  NULL:
 * thieves had all that was shared, and older ones than the newest are shared now.
 *
 * A wake costs the caller as much as thousands of forks, and a small computation never gets it back.  So
 * a sleeper is woken at once only if what ran beside this function took long the last time, or if that
 * is not known; and its time is taken.  Whoever looks for work already finds it: hence the fence. */
static __attribute__((noinline)) void offer_first(struct auri_lane *lane,
                                                  struct auri_branch *branch)
{
    struct auri_ec *ec = &lane->team->ec;

    auri_fence_sc(); /* as [E1] in sync/eventcount.h */
    uint64_t word = auri_load_rlx(&ec->word);
    if (auri_ec_searchers(word) + auri_ec_tokens(word) != 0 ||
        (!has_sleepers(word) && auri_ec_deficit(word) <= 0)) {
        return;
    }
    if (branch == NULL) {
        offer_more(lane);
        return;
    }
    size_t place = place_of(lane, branch->run);
    uint64_t ns = lane->known[place].run == branch->run ? lane->known[place].ns : UINT64_MAX;
    uint64_t now = aurp_now_ns();
    if (lane->timed == NULL) {
        lane->timed = branch;
        lane->timed_ns = now;
        auri_or_rlx(&branch->state, AURI_BRANCH_TIMED); /* relaxed: only the owner reads it */
    }
    lane->beat_ns = now;
    lane->seen_ns = now;
    lane->skip = 0;
    lane->skip_next = 1;
    if (ns >= WORTH * latency_of(lane->team)) {
        auri_team_notify(lane->team);
    }
}

/* Such a fork ends: remembers how long it took until the join. */
static void timed_end(struct auri_lane *lane, struct auri_branch *branch)
{
    size_t place = place_of(lane, branch->run);

    lane->known[place].run = branch->run;
    lane->known[place].ns = aurp_now_ns() - lane->timed_ns;
    lane->timed = NULL;
}

/* ---- the owner ----------------------------------------------------------------------------- */

/* The lane to fork into when the thread has none yet, or NULL. */
static __attribute__((noinline)) struct auri_lane *lane_for(struct auri_record *self,
                                                            struct auri_branch *branch)
{
    aur_pool *pool = self != NULL && self->frame != NULL ? self->frame->pool : NULL;
    struct auri_lane *lane = NULL;

    if (pool != NULL && pool->kind == AUR_THREADS && self->pool == NULL &&
        pool->generation == auri_process_generation_now()) {
        lane = auri_guest_enter(auri_team_of(pool));
        auri_record_set_lane(self, lane);
    }
    if (lane != NULL) {
        auri_store_rlx(&branch->state, AURI_BRANCH_GUEST);
    }
    return lane;
}

/* Shares what too few are shared of.  While workers sleep, each fork comes by put(), which looks for them now and
 * then.  Nobody else has to tell the lane that one goes to sleep: its last look has found nothing here, so
 * what was on offer is gone, and who took it has told.  True: as auri_split_share(). */
static bool share(struct auri_lane *lane)
{
    bool first = auri_split_share(&lane->forks);

    if (has_sleepers(auri_load_rlx(&lane->team->ec.word))) { /* relaxed: a hint */
        auri_split_hold(&lane->forks);
    }
    return first;
}

/* Puts the branch into the lane.  Shares, makes room, and looks for sleepers where that has to be.  False: no
 * memory. */
static bool put(struct auri_lane *lane, struct auri_branch *branch)
{
    struct auri_split *forks = &lane->forks;

    if (!auri_split_has_room(forks) && !auri_split_make_room(forks)) {
        return false;
    }
    auri_split_push(forks, branch);
    if (share(lane)) {
        offer_first(lane, auri_split_is_private(forks) ? NULL : branch);
    } else if (has_sleepers(auri_load_rlx(&lane->team->ec.word))) { /* relaxed: a hint */
        if (lane->skip == 0) {
            offer_more(lane);
        } else {
            lane->skip--;
        }
    }
    return true;
}

aur_lane_ *aur_fork_begin_slow_(aur_fork_ *fork, aur_join_fn *run, void *arg)
{
    struct auri_branch *branch = (struct auri_branch *)(void *)fork;
    struct auri_record *self = auri_self_;
    struct auri_lane *lane = self != NULL ? self->lane : NULL;

    branch->run = run;
    branch->arg = arg;
    auri_store_rlx(&branch->state, 0u); /* relaxed, as all here: published by [P4] */
    if (lane == NULL) {
        lane = lane_for(self, branch);
    }
    if (lane != NULL) {
        branch->frame = self->frame;
    }
    if (lane == NULL || !put(lane, branch)) {
        auri_or_rlx(&branch->state, AURI_BRANCH_ALONE); /* relaxed: only the owner reads it */
        return (aur_lane_ *)&auri_no_lane;
    }
    return &lane->forks.open;
}

/* Takes and runs a part of the awaited branch.  False: there is none. */
static bool help_thief(struct auri_record *self, struct auri_branch *branch)
{
    struct auri_split *forks = &branch->thief_lane->forks;
    struct aur_future *item = NULL;
    int64_t top = auri_deque_top(&forks->deque);

    /* acquire [J3]; the order of the two looks matters: see the top of this file. */
    if ((auri_load_acq(&branch->state) & AURI_BRANCH_DONE) != 0 || !auri_stack_has_room(self) ||
        auri_split_steal_at(forks, top, &item) != AURI_STEAL_TOOK) {
        return false;
    }
    auri_add_rlx(&self->lane->team->stolen, UINT64_C(1));
    auri_branch_run(self, auri_branch_taken(self, item));
    return true;
}

/* Sleeps until the state is no longer `seen`, with an edge to the thief. */
static void sleep_for_thief(struct auri_record *self, struct auri_branch *branch, uint32_t seen)
{
    struct auri_helpers helpers = { 0 };
    bool compensate = auri_needs_substitute(self);
    uint32_t word = seen;

    if ((seen & AURI_BRANCH_TAKEN) != 0) {
        auri_store_rlx(&helpers.id[0], branch->thief); /* relaxed: published by the edge */
    }
    auri_edge_job(self, &helpers);
    /* A verdict has chosen another waiter of the cycle: this one cannot leave its branch. */
    auri_detect_owner(self);
    if (compensate) {
        auri_block_owner(self);
    }
    /* acq_rel; pairs with [J1] and [J2]: the thief sees WAITS, or this fails. */
    if ((seen & AURI_BRANCH_WAITS) != 0 ||
        auri_cas_acqrel(&branch->state, &word, seen | AURI_BRANCH_WAITS)) {
        (void)aurp_futex_wait(&branch->state, seen | AURI_BRANCH_WAITS, AUR_NO_DEADLINE,
                              AURP_PRIVATE);
    }
    if (compensate) {
        auri_unblock(self);
    }
    auri_edge_clear(self);
}

/* Until the thief is done. */
static void await(struct auri_record *self, struct auri_lane *lane, struct auri_branch *branch)
{
    uint64_t spin_ns = lane->team->spin_ns;
    uint64_t until = aurp_now_ns() + spin_ns;

    for (;;) {
        uint32_t state = auri_load_acq(&branch->state); /* acquire [J3], and of [J1] */
        if ((state & AURI_BRANCH_DONE) != 0) {
            return;
        }
        if ((state & AURI_BRANCH_TAKEN) != 0 && help_thief(self, branch)) {
            until = aurp_now_ns() + spin_ns;
        } else if (spin_ns != 0 && aurp_now_ns() < until) {
            auri_cpu_relax();
        } else {
            sleep_for_thief(self, branch, state);
            until = aurp_now_ns() + spin_ns;
        }
    }
}

bool aur_fork_end_slow_(aur_fork_ *fork)
{
    struct auri_branch *branch = (struct auri_branch *)(void *)fork;
    struct auri_record *self = auri_self_;
    struct auri_lane *lane = self != NULL ? self->lane : NULL;
    bool mine = true;

    AURI_ASSERT(branch != NULL); /* else aur_joined() came twice */
    if (lane == NULL) {
        return true; /* serial; or in a child that a branch has forked, where nobody else is */
    }
    /* relaxed: the bits that matter here are the owner's own. */
    uint32_t state = auri_load_rlx(&branch->state);
    if ((state & AURI_BRANCH_ALONE) == 0) {
        AURI_ASSERT(auri_split_newest(&lane->forks) == branch);
        mine = auri_split_take(&lane->forks);
        if (mine && share(lane)) {
            offer_first(lane, NULL);
        }
    }
    if (!mine) {
        int saved_errno = errno;
        await(self, lane, branch);
        if ((branch->error != NULL || branch->bare != AUR_OK) && self->frame != NULL) {
            aur_err err = branch->error != NULL ? branch->error->err : branch->bare;
            auri_frame_fail(self->frame, err, branch->error);
        } else {
            free(branch->error);
        }
        errno = saved_errno;
    }
    if ((state & AURI_BRANCH_TIMED) != 0) {
        timed_end(lane, branch);
    }
    if ((state & AURI_BRANCH_GUEST) != 0) {
        auri_record_set_lane(self, NULL);
        auri_guest_leave(lane);
    }
    return mine;
}

/* ---- the pointer form ------------------------------------------------------------------------ */

/* What has to happen when the first branch returns, throws, or ends the thread. */
struct pair { /* nobody points to it: it lies in registers */
    aur_fork_ *fork;
    aur_fork_spot_ spot;
    bool mine;
};

static inline void pair_end(struct pair **pair)
{
    (*pair)->mine = aur_fork_end_((*pair)->fork, (*pair)->spot);
}

static inline void pair_end_any(struct pair **pair)
{
    (*pair)->mine = aur_fork_end_slow_((*pair)->fork);
}

static __attribute__((noinline)) aur_err join(aur_join_fn *a, void *arg_a, aur_join_fn *b,
                                              void *arg_b)
{
    aur_fork_ fork;
    struct pair pair = { .fork = &fork };

    (void)aur_fork_begin_slow_(&fork, b, arg_b);
    {
        __attribute__((unused, cleanup(pair_end_any))) struct pair *closing = &pair;
        a(arg_a);
    }
    if (pair.mine) {
        b(arg_b);
    }
    return AUR_OK;
}

aur_err(aur_join)(aur_join_fn *a, void *arg_a, aur_join_fn *b, void *arg_b)
{
    aur_fork_ fork;
    struct pair pair = { .fork = &fork };

    if (a == NULL || b == NULL) {
        return AUR_EINVAL;
    }
    pair.spot = aur_fork_push_(&fork, b, arg_b);
    if (pair.spot.lane_ == NULL) {
        return join(a, arg_a, b, arg_b);
    }
    {
        __attribute__((unused, cleanup(pair_end))) struct pair *closing = &pair;
        a(arg_a);
    }
    if (pair.mine) {
        fork.run_(fork.arg_); /* from there: no register has to be kept for them */
    }
    return AUR_OK;
}
