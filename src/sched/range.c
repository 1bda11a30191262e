/* The owner's side of a loop.  See range.h for the idea and why it is safe. */
#include "sched/share.h"

#include <string.h>

#include "base/hot.h"
#include "sched/detect.h"
#include "sched/wait.h"

#ifndef AURI_RANGE_BLOCK_MAX /* a test makes it small */
#define AURI_RANGE_BLOCK_MAX UINT64_C(0x7fffffff)
#endif

#define AWAIT_PAUSES 8 /* between two looks for items to take back */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The private part, by the clock: until the loop is worth publishing.  Returns the first item not run. */
static uint64_t run_private(struct share *share, uint64_t base, uint64_t lo, uint64_t n)
{
    struct auri_team *team = share->team;
    bool alone = team->cpus == 1; /* nobody could help */

    while (lo < n) {
        uint64_t take = auri_pace_chunk(&share->pace, n - lo, false);
        auri_share_run(share, base, lo, lo + take, lo + take == n);
        lo += take;
        if (auri_load_rlx(&share->job->stop) != 0) {
            share->done = n;
            return n;
        }
        if (lo < n && !alone &&
            auri_pace_wants_help(&share->pace, auri_team_wake_costs(team), n - lo,
                                 auri_ec_is_searched(&team->ec))) {
            break;
        }
    }
    return lo;
}

/* Sleeps until a thief has reported.  `seen` is the value of theirs that was not enough. */
static void sleep_for_helpers(struct auri_record *self, struct auri_range_job *job, uint64_t seen)
{
    bool compensate = auri_needs_substitute(self);

    auri_edge_job(self, &job->helpers);
    /* A verdict here has chosen another waiter of the cycle: this one cannot leave its items. */
    auri_detect_owner(self);
    if (compensate) {
        auri_block_owner(self);
    }
    /* acq_rel: pairs with [R4]: the thief sees AURI_RANGE_WAITING, or we see its count. */
    uint64_t before = auri_or_acqrel(&job->theirs, AURI_RANGE_WAITING);
    if ((before & ~AURI_RANGE_WAITING) == seen) {
        (void)aurp_futex_wait((_Atomic(uint32_t) *)(void *)&job->theirs, (uint32_t)seen,
                              AUR_NO_DEADLINE, AURP_PRIVATE);
    }
    if (compensate) {
        auri_unblock(self);
    }
    auri_edge_clear(self);
}

/* A moment; less if a thief tells.  Each look for items to take back moves lines of the thieves. */
static void pause_for_thieves(struct auri_range_job *job, uint64_t seen)
{
    /* relaxed: the caller looks again [R4]. */
    for (int i = 0; i < AWAIT_PAUSES && (auri_load_rlx(&job->theirs) & ~AURI_RANGE_WAITING) == seen;
         i++) {
        auri_cpu_relax();
    }
}

/* The end: all items are taken; takes some back, else waits until the thieves are done. */
static void await_thieves(struct auri_record *self, struct share *share, uint64_t n)
{
    struct auri_team *team = share->team;
    struct auri_range_job *job = share->job;
    uint64_t spin_until = aurp_now_ns() + team->spin_ns;

    for (;;) {
        uint64_t theirs = auri_load_acq(&job->theirs) & ~AURI_RANGE_WAITING; /* [R4] */
        if (share->done + theirs == n) {
            return;
        }
        if (auri_share_steal(team, self, job)) {
            continue; /* counted in theirs, like any thief's */
        }
        if (aurp_now_ns() < spin_until) {
            pause_for_thieves(job, theirs);
            continue;
        }
        sleep_for_helpers(self, job, theirs);
        spin_until = aurp_now_ns() + team->spin_ns;
    }
}

/* The frame of the owner must not go while thieves use the job. */
static void end_block(struct stint *stint)
{
    if (!stint->ended) {
        auri_share_drop(stint);
        if (stint->shared) {
            await_thieves(stint->self, stint->share, stint->n);
        }
    }
    if (stint->shared) {
        auri_add_rlx(&stint->share->team->looping, UINT32_MAX);
    }
    auri_add_rlx(stint->share->job->ran, stint->share->ran);
    stint->share->ran = 0;
}

/* alone: the owner has run some of the items by itself. */
static void begin_company(struct share *share, bool alone)
{
    struct auri_habit *habit = auri_habit_of(share->team->habit, share->of);
    bool known = auri_load_rlx(&habit->of) == share->of; /* relaxed, all of them: hints */
    uint64_t alone_ps = known ? auri_load_rlx(&habit->alone_ps) : 0;
    uint32_t flat = known ? auri_load_rlx(&habit->flat) : 0;

    share->company->kept_n = 0;
    share->company->guard =
        auri_guard_begin(alone ? share->pace.item_ps : alone_ps, flat, share->pace.now_ns);
}

/* [lo, n) with whoever comes. */
static void run_shared(struct stint *stint, uint64_t base, uint64_t lo)
{
    struct share *share = stint->share;
    struct auri_team *team = share->team;

    auri_store_rlx(&share->job->theirs, 0u);
    auri_store_rlx(&share->job->their_ns, UINT64_C(0));
    auri_store_rlx(&share->job->progress, UINT64_C(0));
    auri_store_rlx(&share->job->thieves, 0u);
    auri_store_rlx(&share->job->waits, share->pace.item_ps >= AURI_LONG_ITEM_PS ? 1u : 0u);
    memset(&share->job->helpers, 0, sizeof(share->job->helpers));
    begin_company(share, lo != 0);
    share->cut = (uint32_t)auri_pace_cut(lo, stint->n, share->pace.item_ps);
    if (!auri_share_publish(stint->self, share, base, (uint32_t)lo, (uint32_t)stint->n)) {
        auri_share_run_unshared(share, base, lo, stint->n);
        return;
    }
    stint->shared = true;
    auri_add_rlx(&team->looping, 1u);
    /* relaxed: a hint.  Whoever is woken spins when it has done its part, as if it had just parked: loops that
     * follow each other closely find it awake, and are mostly too short for a wake each. */
    auri_store_rlx(&team->parked_ns, share->pace.now_ns);
    auri_team_notify_elsewhere(team);
    share->asked_ns = share->pace.now_ns;
    auri_share_run_front(share);
    auri_share_unpublish(stint->self, share);
    await_thieves(stint->self, share, stint->n);
}

/* [lo, n) of a block whose owner has run what lies before.  shared: from here on. */
static void run_block(struct share *share, struct auri_record *self, uint64_t base, uint64_t lo,
                      uint64_t n, bool shared)
{
    __attribute__((cleanup(end_block))) struct stint stint = {
        .self = self, .share = share, .n = n, .frame = self->frame
    };

    if (!shared) {
        lo = run_private(share, base, lo, n);
    }
    if (lo < n) {
        run_shared(&stint, base, lo);
    }
    stint.ended = true;
}

/* The loop would be shared before its first item, if the function's loops went on as they use to. */
static bool is_shared_at_once(struct auri_team *team, const struct auri_pace *pace, uint64_t n)
{
    return team->cpus > 1 && auri_pace_wants_help_at_once(pace, auri_team_wake_costs(team), n);
}

/* ---- what is left of a loop for the next ones ----------------------------------------------- */

/* The time that loops of this thread have taken without help, up to this one.  In ticks if there are
 * any, since a young loop does not look at the clock. */
static uint64_t series_before(const struct auri_team *team, const struct auri_record *self,
                              uint64_t tick_rate, uint64_t tick, uint64_t start_ns)
{
    /* The end of the last one is an estimate, and may lie in the future. */
    bool close = tick_rate != 0 ? auri_ticks_span(tick_rate, tick - self->loop_tick) <
                                      self->loop_tail_ns + team->spin_ns
                                : start_ns < self->loop_end_ns + team->spin_ns;

    return close ? self->loop_series_ns : 0;
}

static uint32_t clip(uint64_t ns)
{
    return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* The loop is over. */
static void learn(const struct share *share, struct auri_habit *habit, uint64_t n, uint64_t start)
{
    struct auri_record *self = auri_self_;
    uint64_t end = share->pace.now_ns + auri_pace_ns(share->untimed, share->pace.item_ps);

    self->loop_end_ns = end;
    self->loop_tick = aurp_ticks();
    self->loop_tail_ns = 0;
    self->loop_series_ns = share->published ? 0 : clip(share->pace.series_ns + end - start);
    if (auri_load_rlx(&share->job->stop) != 0) {
        return;
    }
    if (share->published) {
        const struct auri_guard *guard = &share->company->guard;
        /* relaxed: all thieves have told. */
        auri_habit_learn(habit, share->of, n, end - start + auri_load_rlx(&share->job->their_ns));
        auri_habit_learn_flat(habit, guard->alone_ps, auri_guard_flat(guard), guard->rest_until_ns);
    } else if (end - start >= AURI_HABIT_MIN_NS) {
        auri_habit_learn(habit, share->of, n, end - start);
    }
}

/* ---- the whole loop -------------------------------------------------------------------------- */

/* Thieves need no more of the job before it is published. */
static void job_begin(struct auri_range_job *job, const struct auri_range *loop)
{
    job->body = loop->body;
    job->ctx = loop->ctx;
    job->ran = loop->ran;
    auri_store_rlx(&job->stop, 0u);
}

/* By the clock from the first item on, in blocks. */
AURI_APART static void run_by_clock(const struct auri_range *loop, struct auri_record *self)
{
    struct auri_team *team = loop->team;
    struct auri_habit *habit = auri_habit_of(team->habit, loop->of);
    uint64_t start = aurp_now_ns();
    struct auri_range_job job;
    struct company company; /* set when the loop is published */
    struct share share = { .team = team, .job = &job, .company = &company, .of = loop->of };
    uint64_t alone_until = auri_habit_flat_until(habit, loop->of);
    uint64_t series =
        series_before(team, self, auri_ticks_rate(&team->ticks, start), aurp_ticks(), start);

    job_begin(&job, loop);
    for (uint64_t base = 0; base < loop->n && auri_load_rlx(&job.stop) == 0;
         base += AURI_RANGE_BLOCK_MAX) {
        uint64_t n = min_u64(loop->n - base, AURI_RANGE_BLOCK_MAX);
        uint64_t now = base == 0 ? start : aurp_now_ns();
        share.pace = (struct auri_pace){ .start_ns = now,
                                         .now_ns = now,
                                         .habit_ps = auri_habit_cost(habit, loop->of),
                                         .alone_until_ns = alone_until,
                                         .series_ns = series };
        share.done = 0;
        bool at_once = is_shared_at_once(team, &share.pace, n);
        if (at_once) {
            share.pace.item_ps = share.pace.habit_ps;
            share.pace.chunk = UINT32_MAX;
        }
        run_block(&share, self, base, 0, n, at_once);
    }
    learn(&share, habit, loop->n, start);
}

/* A loop of which items [0, lo) are done goes on by the clock.  pace: its time so far, from 0. */
AURI_APART static void grow_up(const struct auri_range *loop, struct auri_record *self,
                               const struct auri_pace *pace, uint64_t tick_rate, uint64_t lo,
                               bool shared)
{
    struct auri_team *team = loop->team;
    uint64_t now = aurp_now_ns();
    struct auri_range_job job;
    struct company company; /* set when the loop is published */
    struct share share = { .team = team,
                           .job = &job,
                           .company = &company,
                           .of = loop->of,
                           .pace = *pace,
                           .done = lo,
                           .tick_rate = tick_rate,
                           .tick = aurp_ticks(),
                           .tick_ns = now };

    job_begin(&job, loop);
    share.pace.start_ns = now - min_u64(pace->now_ns, now);
    share.pace.now_ns = now;
    run_block(&share, self, 0, lo, loop->n, shared);
    learn(&share, auri_habit_of(team->habit, loop->of), loop->n, share.pace.start_ns);
}

/* What the pool remembers of the function, for a loop that begins at 0.  False: it has to begin by the clock. */
AURI_APART static bool recall(const struct auri_range *loop, struct auri_habit *habit,
                              struct auri_pace *pace)
{
    pace->habit_ps = auri_habit_cost(habit, loop->of);
    return auri_habit_flat_until(habit, loop->of) == 0 &&
           !is_shared_at_once(loop->team, pace, loop->n);
}

/* A look at a loop that is no longer young: whether it should be shared. */
AURI_APART static bool wants_help(struct auri_team *team, const struct auri_pace *pace,
                                  uint64_t rest)
{
    return team->cpus > 1 && auri_pace_wants_help(pace, auri_team_wake_costs(team), rest,
                                                  auri_ec_is_searched(&team->ec));
}

/* Most loops end young.  So all that belongs to sharing, and the clock, waits until this one does not: up to
 * there it is a counter, and its time begins at 0 and is told by ticks. */
AURI_HOT void auri_range_go(const struct auri_range *loop)
{
    struct auri_team *team = loop->team;
    struct auri_record *self = auri_self();
    struct auri_habit *habit = auri_habit_of(team->habit, loop->of);
    struct auri_pace pace = { 0 };
    uint64_t rate = auri_ticks_known(&team->ticks);

    if (self == NULL || self->range_depth >= AURI_RANGE_DEPTH) {
        auri_add_rlx(loop->ran, loop->n);
        (void)loop->own(loop->ctx, 0, loop->n);
        return;
    }
    if (rate == 0 || loop->n - 1 >= AURI_RANGE_BLOCK_MAX ||
        (auri_load_rlx(&habit->of) == loop->of && !recall(loop, habit, &pace))) {
        run_by_clock(loop, self);
        return;
    }
    uint64_t first = aurp_ticks();
    uint64_t tick = first;
    uint64_t before = auri_load_rlx(loop->ran); /* relaxed, as the stores below: nobody else adds */
    uint64_t lo = 0;
    uint64_t take;
    bool go_on;

    pace.series_ns = series_before(team, self, rate, first, 0);
    for (;;) {
        take = auri_pace_chunk(&pace, loop->n - lo, false);
        auri_store_rlx(loop->ran, before + lo + take); /* before it may end this thread */
        go_on = loop->own(loop->ctx, lo, lo + take);
        lo += take;
        if (!go_on || lo == loop->n) {
            break;
        }
        tick = aurp_ticks();
        auri_pace_ran(&pace, take, auri_ticks_span(rate, tick - first));
        bool shared = pace.now_ns >= AURI_YOUNG_NS && wants_help(team, &pace, loop->n - lo);
        if (shared || pace.now_ns >= AURI_TICKS_NS) {
            grow_up(loop, self, &pace, rate, lo, shared);
            return;
        }
    }
    uint64_t tail = auri_pace_ns(take, pace.item_ps);
    self->loop_tick = tick;
    self->loop_tail_ns = clip(tail);
    self->loop_series_ns = clip(pace.series_ns + pace.now_ns + tail);
    if (go_on && pace.now_ns + tail >= AURI_HABIT_MIN_NS) {
        auri_habit_learn(habit, loop->of, loop->n, pace.now_ns + tail);
    }
}

void auri_range_run(struct auri_team *team, const void *of, auri_range_body *body, void *ctx,
                    uint64_t n, _Atomic(uint64_t) *ran)
{
    const struct auri_range loop = {
        .team = team, .of = of, .body = body, .own = body, .ctx = ctx, .n = n, .ran = ran
    };

    auri_range_go(&loop);
}
