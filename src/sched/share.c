/* What owners and thieves do.  See range.h for the idea and why it is safe.
 *
 * Who is called.  Whoever takes part in a loop may call one more worker per beat (pace.h), if the rest is
 * worth it and there is a CPU for it: fewer threads take part in loops than there are CPUs; or if its
 * items do not use their CPU, because they wait for something: each thread measures that from beat to beat,
 * and until it has, goes by what others have found, or by what an item took when the loop was published.
 * (A single item that takes long says nothing: one thread more than CPUs would take turns with the one
 * that has just run it.)
 *
 * Who is sent away.  If guard.h says that thieves do not help, the owner takes its slot off the board, takes
 * all that is left in theirs, and keeps it for when its own slot is empty.  A thief finds its slot
 * empty after its chunk, and leaves as it always does. */
#include "sched/share.h"

#ifndef AURI_RANGE_GUARD /* a test decides itself */
#define AURI_RANGE_GUARD auri_guard_ran
#endif

/* The time now, at the end of a chunk. */
static uint64_t now(struct share *share)
{
    uint64_t end = aurp_now_ns();

    if (share->tick_rate != 0) {
        auri_ticks_check(&share->team->ticks, auri_ticks_ns(share->tick_rate, share->tick),
                         end - share->tick_ns);
        share->tick_rate = 0;
    }
    return end;
}

void auri_share_run(struct share *share, uint64_t base, uint64_t lo, uint64_t hi, bool last)
{
    struct auri_range_job *job = share->job;

    share->done += hi - lo;
    if (auri_load_rlx(&job->stop) == 0) { /* relaxed: late is allowed */
        share->ran += hi - lo;
        if (!job->body(job->ctx, base + lo, base + hi)) {
            auri_store_rlx(&job->stop, 1u);
        }
        if (last) {
            share->untimed = hi - lo;
        } else {
            auri_pace_ran(&share->pace, hi - lo, now(share));
        }
        if (share->company == NULL) {
            auri_add_rlx(&job->progress, hi - lo);
        }
    }
}

/* The loop's items leave their CPU to others: this thread used less than half of the time since it last
 * looked. */
static bool items_wait(struct share *share, uint64_t past_ns)
{
    uint64_t before = share->cpu_ns;

    uint64_t used = aurp_thread_cpu_ns(aurp_thread_self());
    share->cpu_ns = used != AURP_NO_CLOCK ? used : 0;
    if (before == 0 || used == AURP_NO_CLOCK) {
        return auri_load_rlx(&share->job->waits) != 0; /* relaxed, both accesses: a hint */
    }
    bool waits = used - before < past_ns / 2;
    auri_store_rlx(&share->job->waits, waits ? 1u : 0u);
    return waits;
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
    struct auri_wake_costs wake = auri_team_wake_costs(team);
    if (past < auri_pace_beat(pace, wake) ||
        auri_pace_ns(rest, pace->item_ps) <= 4 * auri_pace_wake_ns(wake)) {
        return;
    }
    bool room = auri_load_rlx(&team->looping) < team->cpus; /* relaxed: a hint */
    if (!room && past < AURI_BEAT_MAX_NS) {
        return; /* what it would ask then is a call into the kernel: a hundredth of the shortest beat */
    }
    share->asked_ns = pace->now_ns;
    if (room) {
        auri_team_notify_elsewhere(team);
    } else if (items_wait(share, past)) {
        auri_team_notify(team);
    }
}

/* The owner's, between two chunks of a published loop. */
static void mind_company(struct share *share, uint64_t ran, uint64_t rest);

/* Puts a range that was taken back into the slot, which is empty.  False: there is none. */
static bool refill(struct share *share)
{
    struct company *company = share->company;
    struct auri_range_slot *slot = share->slot;

    if (company == NULL || company->kept_n == 0) {
        return false;
    }
    uint32_t lo = company->kept[--company->kept_n].lo;
    uint32_t hi = company->kept[company->kept_n].hi;
    slot->given += hi - lo;
    auri_store_rel(&slot->word,
                   auri_slot_word(lo, hi)); /* release [R2]; job and base are the same */
    return true;
}

/* Takes chunks from the front of the own slot until it is empty. */
static void run_slot(struct share *share)
{
    struct auri_range_slot *slot = share->slot;
    uint64_t word = auri_load_acq(&slot->word);

    while (auri_slot_lo(word) < auri_slot_hi(word)) {
        uint32_t lo = auri_slot_lo(word);
        uint64_t rest = auri_slot_hi(word) - lo;
        bool stop = auri_load_rlx(&share->job->stop) != 0;
        uint64_t take = stop ? rest : auri_pace_chunk(&share->pace, rest, true);
        /* acq_rel [R1] on both sides: the two ends never meet, each item has one taker. */
        if (!auri_cas_acqrel(&slot->word, &word, auri_slot_word(lo + take, auri_slot_hi(word)))) {
            continue;
        }
        slot->given -= take;
        auri_share_run(share, slot->base, lo, lo + take, false);
        auri_store_rlx(&slot->item_ps, share->pace.item_ps);
        if (share->company == NULL) {
            maybe_call(share, rest - take);
        } else if (!stop) {
            mind_company(share, take, rest - take);
        }
        word = auri_load_acq(&slot->word);
    }
}

void auri_share_run_front(struct share *share)
{
    /* Whoever emptied the slot, the owner or a thief. */
    do {
        run_slot(share);
    } while (refill(share));
}

void auri_share_run_unshared(struct share *share, uint64_t base, uint64_t lo, uint64_t hi)
{
    while (lo < hi) {
        uint64_t take = auri_pace_chunk(&share->pace, hi - lo, false);
        auri_share_run(share, base, lo, lo + take, false);
        lo += take;
    }
}

bool auri_share_publish(struct auri_record *self, struct share *share, uint64_t base, uint32_t lo,
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
    auri_store_rlx(&slot->cut, share->cut);
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

void auri_share_unpublish(struct auri_record *self, struct share *share)
{
    auri_board_remove(&share->team->board, share->slot);
    auri_store_rlx(&share->slot->job_hint, NULL);
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

void auri_share_drop(struct stint *stint)
{
    struct share *share = stint->share;

    stint->self->frame = stint->frame; /* the frames further in are gone */
    auri_store_rlx(&share->job->stop, 1u);
    if (share->slot != NULL) {
        auri_share_run_front(share);
        auri_share_unpublish(stint->self, share);
    }
}

/* Tells the owner what the thief has done.  After that the job may be gone. */
static void tell_owner(struct stint *stint)
{
    struct auri_range_job *job = stint->share->job;
    _Atomic(uint32_t) *futex = (_Atomic(uint32_t) *)(void *)&job->theirs;

    if (!stint->ended) {
        bool shared = stint->share->slot != NULL;
        auri_share_drop(stint);
        stint->share->done = shared ? stint->share->done : stint->n;
    }
    auri_add_rlx(&stint->share->team->looping, UINT32_MAX);
    auri_add_rlx(&job->thieves, UINT32_MAX);
    auri_add_rlx(job->ran, stint->share->ran);
    auri_add_rlx(&job->their_ns, stint->share->pace.now_ns - stint->share->pace.start_ns);
    if (stint->entry < AURI_HELPERS_MAX) {
        auri_store_sc(&job->helpers.id[stint->entry], 0u);
    }
    /* acq_rel [R4]; pairs with the owner's acquire loads: it sees what the items did.  The job may be
     * gone right after; a futex wake on its old address wakes nobody or somebody who looks again. */
    uint64_t before = auri_add_acqrel(&job->theirs, stint->share->done);
    if ((before & AURI_RANGE_WAITING) != 0) {
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

    auri_add_rlx(&share->job->thieves, 1u);
    auri_add_rlx(&team->stolen, UINT64_C(1));
    auri_add_rlx(&team->looping, 1u);
    /* The first chunk is never offered to others: if they took all of it, the thief would hold no items,
     * and the job could end before the thief has told its owner. */
    uint32_t first = (uint32_t)auri_pace_chunk(&share->pace, hi - lo, true);
    if (hi - lo > first && self->range_depth < AURI_RANGE_DEPTH &&
        auri_share_publish(self, share, base, lo + first, hi)) {
        maybe_call(share, hi - lo - first);
        auri_share_run(share, base, lo, lo + first, false);
        auri_share_run_front(share);
        auri_share_unpublish(self, share);
    } else {
        auri_share_run_unshared(share, base, lo, hi);
    }
    stint.ended = true;
}

/* Runs items [lo, hi) that the thread has just taken from the slot. */
static void run_stolen(struct auri_team *team, struct auri_record *self,
                       struct auri_range_slot *slot, uint32_t lo, uint32_t hi)
{
    /* Only now, holding items, may the other fields be read. */
    uint64_t base = slot->base;
    uint64_t start = aurp_now_ns();
    struct share share = {
        .team = team,
        .job = slot->job,
        .pace = { .start_ns = start, .now_ns = start, .item_ps = auri_load_rlx(&slot->item_ps) },
    };

    share.pace.chunk = share.pace.item_ps != 0 ? UINT32_MAX : 0;
    auri_add_acqrel(&slot->fetched, (uint64_t)(hi - lo)); /* release [F1]; pairs with [F2] */
    run_taken(&share, self, base, lo, hi);
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
            run_stolen(team, self, slot, mid, hi);
            return true;
        }
    }
    return false;
}

bool auri_share_steal(struct auri_team *team, struct auri_record *self, struct auri_range_job *only)
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
    return auri_share_steal(team, self, NULL);
}

/* Takes all that is left in a thief's slot. */
static void take_back_from(struct share *share, struct auri_range_slot *slot)
{
    struct company *company = share->company;
    uint64_t word = auri_load_acq(&slot->word);

    while (auri_slot_lo(word) < auri_slot_hi(word)) {
        uint32_t lo = auri_slot_lo(word);
        uint32_t hi = auri_slot_hi(word);
        /* acq_rel [R3], as a thief. */
        if (!auri_cas_acqrel(&slot->word, &word, auri_slot_word(lo, lo))) {
            continue;
        }
        if (slot->job != share->job) { /* the slot is in another loop by now */
            run_stolen(share->team, auri_self_, slot, lo, hi);
            return;
        }
        auri_add_acqrel(&slot->fetched, (uint64_t)(hi - lo)); /* release [F1]; pairs with [F2] */
        company->kept[company->kept_n].lo = lo;
        company->kept[company->kept_n++].hi = hi;
        return;
    }
}

static void take_back(struct share *share)
{
    struct auri_range_board *board = &share->team->board;

    auri_board_remove(board, share->slot);
    for (unsigned i = 0; i < AURI_BOARD_SLOTS && share->company->kept_n < AURI_BOARD_SLOTS; i++) {
        struct auri_range_slot *slot = auri_load_acq(&board->slot[i]);
        if (slot != NULL && slot != share->slot && auri_load_rlx(&slot->job_hint) == share->job) {
            take_back_from(share, slot);
        }
    }
}

static void mind_company(struct share *share, uint64_t ran, uint64_t rest)
{
    struct auri_range_job *job = share->job;
    struct auri_guard *guard = &share->company->guard;

    /* relaxed, both: hints.  The thieves write the first for each of their chunks: it is left in their
     * caches while it does not matter. */
    uint32_t others = auri_load_rlx(&job->thieves);
    bool matters = others == 0 || auri_guard_is_over(guard, share->pace.now_ns);
    uint64_t theirs = matters ? auri_load_rlx(&job->progress) : guard->theirs;
    switch (AURI_RANGE_GUARD(guard, share->pace.now_ns, ran, theirs, others)) {
    case AURI_GUARD_TAKE_BACK:
        take_back(share);
        break;
    case AURI_GUARD_OFFER:
        if (auri_board_add(&share->team->board, share->slot)) { /* else it stays alone */
            auri_team_notify_elsewhere(share->team);
            share->asked_ns = share->pace.now_ns;
        }
        break;
    case AURI_GUARD_GO_ON:
        if (guard->state == AURI_GUARD_SHARED) {
            maybe_call(share, rest);
        }
        break;
    }
}
