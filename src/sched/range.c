/* See range.h for the idea and why it is safe.
 *
 * Who is called.  Whoever takes part in a loop may call one more worker per beat (pace.h), if the rest is
 * worth it and there is a CPU for it: fewer threads take part in loops than there are CPUs; or if its
 * items do not use their CPU, because they wait for something; items of LONG_ITEM_PS and more are
 * taken for such. */
#include "sched/range.h"

#include <string.h>

#include "base/err.h"
#include "sched/detect.h"
#include "sched/team.h"
#include "sched/wait.h"

#define LONG_ITEM_PS UINT64_C(1000000000)
#ifndef AURI_RANGE_BLOCK_MAX /* a test makes it small */
#define AURI_RANGE_BLOCK_MAX UINT64_C(0x7fffffff)
#endif
#define WAITING (UINT64_C(1) << 63) /* in job->theirs: the owner sleeps on its low half */

/* ---- one participant ----------------------------------------------------------------------- */

/* What a thread knows about the loop it takes part in. */
struct share {
    struct auri_team *team;
    struct auri_range_job *job;
    struct auri_range_slot *slot;
    struct auri_pace pace;
    uint64_t asked_ns; /* when it last thought of calling somebody ... */
    uint64_t cpu_ns;   /* ... and the CPU time that it had used by then; 0: unknown */
    uint64_t done;     /* items that this thread accounts for, with the chunk that it runs */
    uint64_t untimed;  /* items behind the last look at the clock */
    bool published;    /* ever */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static struct auri_wake_costs wake_costs(struct auri_team *team)
{
    return (struct auri_wake_costs){
        .cost = auri_load_rlx(&team->wake_cost_ns), /* relaxed, both: hints */
        .latency = auri_load_rlx(&team->wake_latency_ns),
    };
}

/* Runs [lo, hi), and learns from it unless it is the last. */
static void run_chunk(struct share *share, uint64_t base, uint64_t lo, uint64_t hi, bool last)
{
    struct auri_range_job *job = share->job;

    share->done += hi - lo;
    if (auri_load_rlx(&job->stop) == 0) { /* relaxed: late is allowed */
        if (!job->body(job->ctx, base + lo, base + hi)) {
            auri_store_rlx(&job->stop, 1u);
        }
        if (last) {
            share->untimed = hi - lo;
        } else {
            auri_pace_ran(&share->pace, hi - lo, aurp_now_ns());
        }
    }
}

/* The thread's items leave its CPU to others: it used less than half of the time since it last looked. */
static bool items_wait(struct share *share, uint64_t past_ns)
{
    uint64_t before = share->cpu_ns;

    uint64_t now = aurp_thread_cpu_ns(aurp_thread_self());
    share->cpu_ns = now != AURP_NO_CLOCK ? now : 0;
    return before != 0 && now != AURP_NO_CLOCK && now - before < past_ns / 2;
}

/* Between two chunks of a published loop: calls one more worker, at most once a beat. */
static void maybe_call(struct share *share, uint64_t rest)
{
    struct auri_team *team = share->team;
    struct auri_pace *pace = &share->pace;
    uint64_t past = pace->now_ns - share->asked_ns;

    if (past < AURI_BEAT_MIN_NS) {
        return;
    }
    struct auri_wake_costs wake = wake_costs(team);
    if (past < auri_pace_beat(pace, wake) ||
        auri_pace_ns(rest, pace->item_ps) <= 4 * auri_pace_wake_ns(wake)) {
        return;
    }
    bool room = auri_load_rlx(&team->looping) < team->cpus; /* relaxed: a hint */
    share->asked_ns = pace->now_ns;
    if (room) {
        auri_team_notify_elsewhere(team);
    } else if (pace->item_ps >= LONG_ITEM_PS || items_wait(share, past)) {
        auri_team_notify(team);
    }
}

/* Takes chunks from the front of the own slot until it is empty. */
static void run_front(struct share *share)
{
    struct auri_range_slot *slot = share->slot;
    uint64_t word = auri_load_acq(&slot->word);

    while (auri_slot_lo(word) < auri_slot_hi(word)) {
        uint32_t lo = auri_slot_lo(word);
        uint64_t rest = auri_slot_hi(word) - lo;
        uint64_t take = auri_load_rlx(&share->job->stop) != 0
                            ? rest
                            : auri_pace_chunk(&share->pace, rest, true);
        /* acq_rel [R1] on both sides: the two ends never meet, each item has one taker. */
        if (auri_cas_acqrel(&slot->word, &word, auri_slot_word(lo + take, auri_slot_hi(word)))) {
            slot->given -= take;
            run_chunk(share, slot->base, lo, lo + take, false);
            auri_store_rlx(&slot->item_ps, share->pace.item_ps);
            maybe_call(share, rest - take);
            word = auri_load_acq(&slot->word);
        }
    }
}

/* What nobody else knows of. */
static void run_unshared(struct share *share, uint64_t base, uint64_t lo, uint64_t hi)
{
    while (lo < hi) {
        uint64_t take = auri_pace_chunk(&share->pace, hi - lo, false);
        run_chunk(share, base, lo, lo + take, false);
        lo += take;
    }
}

/* Makes [lo, hi) of the job stealable in a slot of this thread.  False: there is no slot, or no place on
 * the board. */
static bool publish(struct auri_record *self, struct share *share, uint64_t base, uint32_t lo,
                    uint32_t hi)
{
    struct auri_range_slot *slot = auri_slot_free(self);

    /* The board first: once the word is set, others may have taken items. */
    if (slot == NULL || !auri_board_add(&share->team->board, slot)) {
        return false;
    }
    slot->busy = true;
    slot->given += hi - lo;
    slot->job = share->job;
    slot->base = base;
    auri_store_rlx(&slot->item_ps, share->pace.item_ps);
    auri_store_rlx(&slot->job_hint, share->job);
    /* release [R2]; pairs with the acquire of a thief's winning CAS [R3]: it sees job and base.  The
     * caller then notifies, which orders it before the look at the sleepers. */
    auri_store_rel(&slot->word, auri_slot_word(lo, hi));
    self->range_depth++;
    share->slot = slot;
    share->published = true;
    return true;
}

static void unpublish(struct auri_record *self, struct share *share)
{
    auri_board_remove(&share->team->board, share->slot);
    auri_store_rlx(&share->slot->job_hint, NULL);
    auri_store_rlx(&share->slot->middle, 0u);
    share->slot->busy = false;
    share->slot = NULL;
    self->range_depth--;
}

/* ---- the thief ----------------------------------------------------------------------------- */

static uint32_t helper_enter(struct auri_range_job *job, unsigned id)
{
    for (uint32_t i = 0; i < AURI_HELPERS_MAX; i++) {
        uint32_t nobody = 0;
        if (auri_load_rlx(&job->helpers.id[i]) == 0 &&
            auri_cas_sc(&job->helpers.id[i], &nobody, id)) {
            return i;
        }
    }
    return AURI_HELPERS_MAX; /* unseen by the deadlock walk: counts as progress */
}

/* Items that a thread took part in running, until they are accounted for. */
struct stint {
    struct auri_record *self;
    struct share *share;
    uint64_t n;               /* a thief's: how many it took; the owner's: how many the block has */
    uint32_t entry;           /* a thief's: among the job's helpers */
    struct auri_frame *frame; /* the innermost call outside */
    bool shared;              /* the owner's: thieves may have taken items */
    bool ended;               /* the way it should; else a body ends the thread and unwinds */
};

/* The rest of the thread's share is dropped: counted, not run. */
static void drop_rest(struct stint *stint)
{
    struct share *share = stint->share;

    stint->self->frame = stint->frame; /* the frames further in are gone */
    auri_store_rlx(&share->job->stop, 1u);
    if (share->slot != NULL) {
        run_front(share);
        unpublish(stint->self, share);
    }
}

/* Tells the owner what the thief has done.  After that the job may be gone. */
static void tell_owner(struct stint *stint)
{
    struct auri_range_job *job = stint->share->job;
    _Atomic(uint32_t) *futex = (_Atomic(uint32_t) *)(void *)&job->theirs;

    if (!stint->ended) {
        bool shared = stint->share->slot != NULL;
        drop_rest(stint);
        stint->share->done = shared ? stint->share->done : stint->n;
    }
    auri_add_rlx(&stint->share->team->looping, UINT32_MAX);
    auri_add_rlx(&job->their_ns, stint->share->pace.now_ns - stint->share->pace.start_ns);
    if (stint->entry < AURI_HELPERS_MAX) {
        auri_store_sc(&job->helpers.id[stint->entry], 0u);
    }
    /* acq_rel [R4]; pairs with the owner's acquire loads: it sees what the items did.  The job may be
     * gone right after; a futex wake on its old address wakes nobody or somebody who looks again. */
    uint64_t before = auri_add_acqrel(&job->theirs, stint->share->done);
    if ((before & WAITING) != 0) {
        aurp_futex_wake(futex, INT32_MAX, AURP_PRIVATE);
    }
}

/* Runs items [lo, hi) that were just taken from a slot of `job`, letting others take from them, and
 * tells the owner. */
static void run_taken(struct share *share, struct auri_record *self, uint64_t base, uint32_t lo,
                      uint32_t hi)
{
    struct auri_team *team = share->team;
    __attribute__((cleanup(tell_owner))) struct stint stint = {
        .self = self,
        .share = share,
        .n = hi - lo,
        .entry = helper_enter(share->job, self->id),
        .frame = self->frame,
    };

    auri_add_rlx(&team->stolen, UINT64_C(1));
    auri_add_rlx(&team->looping, 1u);
    /* The first chunk is never offered to others: if they took all of it, the thief would hold no items,
     * and the job could end before the thief has told its owner. */
    uint32_t first = (uint32_t)auri_pace_chunk(&share->pace, hi - lo, true);
    if (hi - lo > first && self->range_depth < AURI_RANGE_DEPTH &&
        publish(self, share, base, lo + first, hi)) {
        maybe_call(share, hi - lo - first);
        run_chunk(share, base, lo, lo + first, false);
        run_front(share);
        unpublish(self, share);
    } else {
        run_unshared(share, base, lo, hi);
    }
    stint.ended = true;
}

/* Tries to take the back half of one slot, and runs it.  only: of this job, or NULL for any. */
static bool steal_from(struct auri_team *team, struct auri_record *self,
                       struct auri_range_slot *slot, struct auri_range_job *only)
{
    if (only != NULL && auri_load_rlx(&slot->job_hint) != only) {
        return false;
    }
    uint64_t word = auri_load_acq(&slot->word);
    while (auri_slot_is_worth(slot, word)) {
        uint32_t lo = auri_slot_lo(word);
        uint32_t hi = auri_slot_hi(word);
        uint32_t mid = auri_slot_cut(slot, lo, hi);
        /* acq_rel [R3]; see [R1], [R2]. */
        if (auri_cas_acqrel(&slot->word, &word, auri_slot_word(lo, mid))) {
            /* Only now, holding items, may the other fields be read. */
            uint64_t base = slot->base;
            uint64_t now = aurp_now_ns();
            struct share share = {
                .team = team,
                .job = slot->job,
                .pace = { .start_ns = now,
                          .now_ns = now,
                          .item_ps = auri_load_rlx(&slot->item_ps) },
            };
            share.pace.chunk = share.pace.item_ps != 0 ? UINT32_MAX : 0;
            auri_add_acqrel(&slot->fetched,
                            (uint64_t)(hi - mid)); /* release [F1]; pairs with [F2] */
            run_taken(&share, self, base, mid, hi);
            return true;
        }
    }
    return false;
}

static bool steal_some(struct auri_team *team, struct auri_record *self,
                       struct auri_range_job *only)
{
    unsigned start = (unsigned)(self->random % AURI_BOARD_SLOTS);

    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        struct auri_range_slot *slot =
            auri_load_acq(&team->board.slot[(start + i) % AURI_BOARD_SLOTS]);
        if (slot != NULL && steal_from(team, self, slot, only)) {
            return true;
        }
    }
    return false;
}

bool auri_range_steal(struct auri_team *team, struct auri_record *self)
{
    return steal_some(team, self, NULL);
}

/* ---- the owner ----------------------------------------------------------------------------- */

/* The private part: from 0 until the loop is worth publishing.  Returns the first item not run. */
static uint64_t run_private(struct share *share, uint64_t base, uint64_t n)
{
    struct auri_team *team = share->team;
    bool alone = team->cpus == 1; /* nobody could help */
    uint64_t lo = 0;

    while (lo < n) {
        uint64_t take = auri_pace_chunk(&share->pace, n - lo, false);
        run_chunk(share, base, lo, lo + take, lo + take == n);
        lo += take;
        if (auri_load_rlx(&share->job->stop) != 0) {
            share->done = n;
            return n;
        }
        if (lo < n && !alone &&
            auri_pace_wants_help(&share->pace, wake_costs(team), n - lo,
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
    (void)auri_detect(self, NULL);
    if (compensate) {
        compensate = auri_block(self) == AUR_OK;
    }
    /* acq_rel: pairs with [R4]: the thief sees WAITING, or we see its count. */
    uint64_t before = auri_or_acqrel(&job->theirs, WAITING);
    if ((before & ~WAITING) == seen) {
        (void)aurp_futex_wait((_Atomic(uint32_t) *)(void *)&job->theirs, (uint32_t)seen,
                              AUR_NO_DEADLINE, AURP_PRIVATE);
    }
    if (compensate) {
        auri_unblock(self);
    }
    auri_edge_clear(self);
}

/* The end: all items are taken; takes some back, else waits until the thieves are done. */
static void await_thieves(struct auri_record *self, struct share *share, uint64_t n)
{
    struct auri_team *team = share->team;
    struct auri_range_job *job = share->job;
    uint64_t spin_until = aurp_now_ns() + team->spin_ns;

    for (;;) {
        uint64_t theirs = auri_load_acq(&job->theirs) & ~WAITING; /* [R4] */
        if (share->done + theirs == n) {
            return;
        }
        if (steal_some(team, self, job)) {
            continue; /* counted in theirs, like any thief's */
        }
        if (aurp_now_ns() < spin_until) {
            auri_cpu_relax();
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
        drop_rest(stint);
        if (stint->shared) {
            await_thieves(stint->self, stint->share, stint->n);
        }
    }
    if (stint->shared) {
        auri_add_rlx(&stint->share->team->looping, UINT32_MAX);
    }
}

/* [lo, n) with whoever comes. */
static void run_shared(struct stint *stint, uint64_t base, uint64_t lo)
{
    struct share *share = stint->share;
    struct auri_team *team = share->team;

    auri_store_rlx(&share->job->theirs, 0u);
    auri_store_rlx(&share->job->their_ns, UINT64_C(0));
    memset(&share->job->helpers, 0, sizeof(share->job->helpers));
    if (!publish(stint->self, share, base, (uint32_t)lo, (uint32_t)stint->n)) {
        run_unshared(share, base, lo, stint->n);
        return;
    }
    auri_store_rlx(&share->slot->middle, (uint32_t)(stint->n / 2));
    stint->shared = true;
    auri_add_rlx(&team->looping, 1u);
    auri_team_notify_elsewhere(team);
    share->asked_ns = share->pace.now_ns;
    run_front(share);
    unpublish(stint->self, share);
    await_thieves(stint->self, share, stint->n);
}

static void run_block(struct share *share, struct auri_record *self, uint64_t base, uint64_t n)
{
    __attribute__((cleanup(end_block))) struct stint stint = {
        .self = self, .share = share, .n = n, .frame = self->frame
    };
    struct auri_pace *pace = &share->pace;
    uint64_t lo = 0;

    if (share->team->cpus > 1 && auri_pace_wants_help_at_once(pace, wake_costs(share->team), n)) {
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

void auri_range_run(struct auri_team *team, const void *of, auri_range_body *body, void *ctx,
                    uint64_t n)
{
    struct auri_record *self = auri_self();
    struct auri_range_job job; /* what thieves need is set when it is published */
    struct auri_habit *habit = auri_habit_of(team->habit, of);

    if (self == NULL || self->range_depth >= AURI_RANGE_DEPTH) {
        (void)body(ctx, 0, n);
        return;
    }
    job.body = body;
    job.ctx = ctx;
    auri_store_rlx(&job.stop, 0u);
    uint64_t start = aurp_now_ns();
    struct share share = { .team = team, .job = &job };
    for (uint64_t base = 0; base < n && auri_load_rlx(&job.stop) == 0;
         base += AURI_RANGE_BLOCK_MAX) {
        uint64_t now = base == 0 ? start : aurp_now_ns();
        share.pace = (struct auri_pace){ .start_ns = now, .now_ns = now };
        share.pace.habit_ps = auri_habit_cost(habit, of);
        share.pace.series_ns = series_before(team, self, start);
        share.done = 0;
        run_block(&share, self, base, min_u64(n - base, AURI_RANGE_BLOCK_MAX));
    }
    uint64_t end = share.pace.now_ns + auri_pace_ns(share.untimed, share.pace.item_ps);
    series_after(self, &share, start, end);
    if ((share.published || end - start >= AURI_HABIT_MIN_NS) && auri_load_rlx(&job.stop) == 0) {
        /* relaxed: all thieves have told. */
        uint64_t theirs = share.published ? auri_load_rlx(&job.their_ns) : 0;
        auri_habit_learn(habit, of, n, end - start + theirs);
    }
}
