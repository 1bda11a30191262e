/* The owner's side of a loop.  See range.h for the idea and why it is safe. */
#include "sched/share.h"

#include <string.h>

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

/* The private part: from 0 until the loop is worth publishing.  Returns the first item not run. */
static uint64_t run_private(struct share *share, uint64_t base, uint64_t n)
{
    struct auri_team *team = share->team;
    bool alone = team->cpus == 1; /* nobody could help */
    uint64_t lo = 0;

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
        compensate = auri_block(self) == AUR_OK;
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
    auri_team_notify_elsewhere(team);
    share->asked_ns = share->pace.now_ns;
    auri_share_run_front(share);
    auri_share_unpublish(stint->self, share);
    await_thieves(stint->self, share, stint->n);
}

static void run_block(struct share *share, struct auri_record *self, uint64_t base, uint64_t n)
{
    __attribute__((cleanup(end_block))) struct stint stint = {
        .self = self, .share = share, .n = n, .frame = self->frame
    };
    struct auri_pace *pace = &share->pace;
    uint64_t lo = 0;

    if (share->team->cpus > 1 &&
        auri_pace_wants_help_at_once(pace, auri_team_wake_costs(share->team), n)) {
        pace->item_ps = pace->habit_ps;
        pace->chunk = UINT32_MAX;
    } else {
        lo = run_private(share, base, n);
    }
    if (lo < n) {
        run_shared(&stint, base, lo);
    }
    stint.ended = true;
}

/* The time that loops of this thread have taken without help, up to this one. */
static uint64_t series_before(const struct auri_team *team, const struct auri_record *self,
                              uint64_t start_ns)
{
    /* The end of the last one is an estimate, and may lie in the future. */
    return start_ns < self->loop_end_ns + team->spin_ns ? self->loop_series_ns : 0;
}

static void series_after(struct auri_record *self, const struct share *share, uint64_t start_ns,
                         uint64_t end_ns)
{
    self->loop_end_ns = end_ns;
    self->loop_series_ns = share->published ? 0 : share->pace.series_ns + end_ns - start_ns;
}

/* The loop is over. */
static void learn(const struct share *share, struct auri_habit *habit, uint64_t n, uint64_t start)
{
    uint64_t end = share->pace.now_ns + auri_pace_ns(share->untimed, share->pace.item_ps);

    series_after(auri_self_, share, start, end);
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

void auri_range_run(struct auri_team *team, const void *of, auri_range_body *body, void *ctx,
                    uint64_t n, _Atomic(uint64_t) *ran)
{
    struct auri_record *self = auri_self();
    struct auri_range_job job; /* what thieves need is set when it is published */
    struct auri_habit *habit = auri_habit_of(team->habit, of);

    if (self == NULL || self->range_depth >= AURI_RANGE_DEPTH) {
        auri_add_rlx(ran, n);
        (void)body(ctx, 0, n);
        return;
    }
    job.body = body;
    job.ctx = ctx;
    job.ran = ran;
    auri_store_rlx(&job.stop, 0u);
    uint64_t start = aurp_now_ns();
    struct company company; /* set when the loop is published */
    struct share share = { .team = team,
                           .job = &job,
                           .company = &company,
                           .of = of,
                           .tick_rate = auri_ticks_rate(&team->ticks, start),
                           .first_tick = aurp_ticks() };
    uint64_t alone_until = auri_habit_flat_until(habit, of);
    for (uint64_t base = 0; base < n && auri_load_rlx(&job.stop) == 0;
         base += AURI_RANGE_BLOCK_MAX) {
        uint64_t now = base == 0 ? start : aurp_now_ns();
        share.tick_rate = base == 0 ? share.tick_rate : 0;
        share.pace = (struct auri_pace){ .start_ns = now, .now_ns = now };
        share.pace.habit_ps = auri_habit_cost(habit, of);
        share.pace.alone_until_ns = alone_until;
        share.pace.series_ns = series_before(team, self, start);
        share.done = 0;
        run_block(&share, self, base, min_u64(n - base, AURI_RANGE_BLOCK_MAX));
    }
    learn(&share, habit, n, start);
}
