/* See range.h for the idea and why it is safe.
 *
 * When a loop is published.  A wake costs the caller C and its result comes L later, so a loop wakes
 * somebody only after H of serial work and if the rest is predicted to take more than 4 x L: then at
 * most C / H of the time is spent on wakes, whatever the items cost and however wrong the prediction
 * is.  If a worker is awake and looking anyway, an age of 4 us is enough: the thief pays.
 * Chosen by measurement: docs/ARCHITECTURE.md, "loops". */
#include "sched/range.h"

#include "base/err.h"
#include "sched/detect.h"
#include "sched/team.h"
#include "sched/wait.h"

#define CHUNK_NS 25000u     /* time between two looks at the clock and the word */
#define GROWTH 8u           /* a chunk is at most so many times the one before */
#define YOUNG_NS 4000u      /* a younger loop is private: publishing costs more than it brings */
#define BEAT_MIN_NS 100000u /* H, see above */
#define BEAT_MAX_NS 1000000u
#ifndef AURI_RANGE_BLOCK_MAX /* a test makes it small */
#define AURI_RANGE_BLOCK_MAX UINT64_C(0x7fffffff)
#endif
#define LATENCY_GUESS_NS 60000u
#define WAITING (UINT64_C(1) << 63) /* in job->theirs: the owner sleeps on its low half */

#define word_make(lo, hi) (((uint64_t)(lo) << 32) | (uint64_t)(hi))
#define word_lo(w) ((uint32_t)((w) >> 32))
#define word_hi(w) ((uint32_t)(w))

/* ---- the board ----------------------------------------------------------------------------- */

static bool board_add(struct auri_range_board *board, struct auri_range_slot *slot)
{
    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        struct auri_range_slot *nobody = NULL;
        if (auri_load_rlx(&board->slot[i]) == NULL &&
            /* seq_cst; the caller's notify has the fence that pairs with a sleeper's last look. */
            auri_cas_sc(&board->slot[i], &nobody, slot)) {
            auri_add_sc(&board->filled, 1u);
            return true;
        }
    }
    return false; /* more loops at once than places: this one stays its owner's */
}

static void board_remove(struct auri_range_board *board, struct auri_range_slot *slot)
{
    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        if (auri_load_rlx(&board->slot[i]) == slot) {
            auri_store_rel(&board->slot[i], NULL);
            auri_add_sc(&board->filled, UINT32_MAX);
            return;
        }
    }
}

bool auri_range_looks_open_slow(struct auri_range_board *board)
{
    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        struct auri_range_slot *slot = auri_load_acq(&board->slot[i]);
        uint64_t word = slot != NULL ? auri_load_acq(&slot->word) : 0;
        if (word_lo(word) < word_hi(word)) {
            return true;
        }
    }
    return false;
}

/* ---- one participant ----------------------------------------------------------------------- */

/* What a thread knows about the loop it takes part in. */
struct share {
    struct auri_range_job *job;
    struct auri_range_slot *slot;
    uint64_t item_ps; /* picoseconds per item, of the last chunk; 0: unknown */
    uint64_t chunk;   /* size of the last chunk */
    uint64_t done;    /* items that this thread accounts for, with the chunk that it runs */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Items for the next chunk: about CHUNK_NS, and never more than a quarter of the rest once others take
 * part, so that the end is fine-grained. */
static uint64_t next_chunk(const struct share *share, uint64_t rest, bool shared)
{
    uint64_t most = share->chunk * GROWTH;
    uint64_t by_time = share->item_ps != 0 ? CHUNK_NS * UINT64_C(1000) / share->item_ps : most;
    uint64_t chunk = min_u64(most, by_time);

    if (shared) {
        chunk = min_u64(chunk, rest / 4);
    }
    chunk = min_u64(chunk, rest);
    return chunk == 0 ? 1 : chunk;
}

/* Runs [lo, hi) and learns from it. */
static void run_chunk(struct share *share, uint64_t base, uint64_t lo, uint64_t hi)
{
    struct auri_range_job *job = share->job;

    share->done += hi - lo;
    if (auri_load_rlx(&job->stop) == 0) { /* relaxed: late is allowed */
        uint64_t start = aurp_now_ns();
        if (!job->body(job->ctx, base + lo, base + hi)) {
            auri_store_rlx(&job->stop, 1u);
        }
        uint64_t spent = aurp_now_ns() - start;
        share->item_ps = spent * 1000 / (hi - lo);
        share->chunk = hi - lo;
    }
}

/* Takes chunks from the front of the own slot until it is empty. */
static void run_front(struct share *share)
{
    struct auri_range_slot *slot = share->slot;
    uint64_t word = auri_load_acq(&slot->word);

    while (word_lo(word) < word_hi(word)) {
        uint32_t lo = word_lo(word);
        uint64_t rest = word_hi(word) - lo;
        uint64_t take =
            auri_load_rlx(&share->job->stop) != 0 ? rest : next_chunk(share, rest, true);
        /* acq_rel [R1] on both sides: the two ends never meet, each item has one taker. */
        if (auri_cas_acqrel(&slot->word, &word, word_make(lo + take, word_hi(word)))) {
            slot->given -= take;
            run_chunk(share, slot->base, lo, lo + take);
            word = auri_load_acq(&slot->word);
        }
    }
}

/* A slot that is not published, and whose job and base no thief is about to read. */
static struct auri_range_slot *free_slot(struct auri_record *self)
{
    for (unsigned i = 0; i < AURI_RANGE_DEPTH; i++) {
        struct auri_range_slot *slot = &self->range[i];
        /* acquire [F2]; pairs with [F1] in steal_from(): the reads come before our writes. */
        if (!slot->busy && auri_load_acq(&slot->fetched) == slot->given) {
            return slot;
        }
    }
    return NULL;
}

/* Makes [lo, hi) of the job stealable in a slot of this thread.  False: there is no slot, or no place on
 * the board. */
static bool publish(struct auri_team *team, struct auri_record *self, struct share *share,
                    uint64_t base, uint32_t lo, uint32_t hi)
{
    struct auri_range_slot *slot = free_slot(self);

    /* The board first: once the word is set, others may have taken items. */
    if (slot == NULL || !board_add(&team->board, slot)) {
        return false;
    }
    slot->busy = true;
    slot->given += hi - lo;
    slot->job = share->job;
    slot->base = base;
    auri_store_rlx(&slot->item_ps, share->item_ps);
    auri_store_rlx(&slot->job_hint, share->job);
    auri_store_rel(&slot->open_ns, aurp_now_ns());
    /* release [R2]; pairs with the acquire of a thief's winning CAS [R3]: it sees job and base.  The
     * caller then notifies, which orders it before the look at the sleepers. */
    auri_store_rel(&slot->word, word_make(lo, hi));
    self->range_depth++;
    share->slot = slot;
    return true;
}

static void unpublish(struct auri_team *team, struct auri_record *self, struct share *share)
{
    auri_store_rel(&share->slot->open_ns, 0u);
    board_remove(&team->board, share->slot);
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

/* Items that a thread took part in running, until they are accounted for. */
struct stint {
    struct auri_team *team;
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
        unpublish(stint->team, stint->self, share);
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
static void run_taken(struct auri_team *team, struct auri_record *self, struct auri_range_job *job,
                      uint64_t base, uint32_t lo, uint32_t hi, uint64_t item_ps)
{
    struct share share = { .job = job, .item_ps = item_ps, .chunk = 1 };
    __attribute__((cleanup(tell_owner))) struct stint stint = {
        .team = team,
        .self = self,
        .share = &share,
        .n = hi - lo,
        .entry = helper_enter(job, self->id),
        .frame = self->frame,
    };

    auri_add_rlx(&team->stolen, UINT64_C(1));
    share.chunk = item_ps != 0 ? next_chunk(&share, hi - lo, true) : 1;
    /* The first chunk is never offered to others: if they took all of it, the thief would hold no items,
     * and the job could end before the thief has told its owner. */
    uint32_t first = (uint32_t)share.chunk;
    if (hi - lo > first && self->range_depth < AURI_RANGE_DEPTH &&
        publish(team, self, &share, base, lo + first, hi)) {
        if ((hi - lo) * item_ps / 1000 > 2 * BEAT_MIN_NS) {
            auri_team_notify_elsewhere(team); /* enough for one more */
        }
        run_chunk(&share, base, lo, lo + first);
        run_front(&share);
        unpublish(team, self, &share);
    } else {
        while (lo < hi) {
            uint32_t take = (uint32_t)next_chunk(&share, hi - lo, false);
            run_chunk(&share, base, lo, lo + take);
            lo += take;
        }
    }
    stint.ended = true;
}

/* Tries to take the back half of one slot, and runs it.  only: of this job, or NULL for any. */
static bool steal_from(struct auri_team *team, struct auri_record *self,
                       struct auri_range_slot *slot, struct auri_range_job *only)
{
    uint64_t open = auri_load_acq(&slot->open_ns);

    if (open == 0 || (only != NULL && auri_load_rlx(&slot->job_hint) != only) ||
        aurp_now_ns() - open < YOUNG_NS) {
        return false;
    }
    uint64_t word = auri_load_acq(&slot->word);
    while (word_lo(word) < word_hi(word)) {
        uint32_t lo = word_lo(word);
        uint32_t hi = word_hi(word);
        uint32_t mid = lo + (hi - lo) / 2;
        /* acq_rel [R3]; see [R1], [R2]. */
        if (auri_cas_acqrel(&slot->word, &word, word_make(lo, mid))) {
            /* Only now, holding items, may the other fields be read. */
            struct auri_range_job *job = slot->job;
            uint64_t base = slot->base;
            uint64_t item_ps = auri_load_rlx(&slot->item_ps);
            auri_add_acqrel(&slot->fetched,
                            (uint64_t)(hi - mid)); /* release [F1]; pairs with [F2] */
            run_taken(team, self, job, base, mid, hi, item_ps);
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

static uint64_t beat_ns(struct auri_team *team)
{
    uint64_t latency = auri_load_rlx(&team->wake_latency_ns);
    uint64_t beat = 4 * (latency != 0 ? latency : LATENCY_GUESS_NS);

    return beat < BEAT_MIN_NS ? BEAT_MIN_NS : beat > BEAT_MAX_NS ? BEAT_MAX_NS : beat;
}

/* Whether a loop of this age and rest should be published now. */
static bool should_publish(struct auri_team *team, const struct share *share, uint64_t age,
                           uint64_t rest)
{
    if (age < YOUNG_NS || rest < 2 || team->spin_ns == 0) {
        return false; /* one CPU: nobody could help */
    }
    if (auri_ec_is_searched(&team->ec)) {
        return true;
    }
    uint64_t latency = auri_load_rlx(&team->wake_latency_ns);
    uint64_t rest_ns = rest * share->item_ps / 1000;
    return age >= beat_ns(team) && rest_ns > 4 * (latency != 0 ? latency : LATENCY_GUESS_NS);
}

/* The private part: from 0 until the loop is worth publishing.  Returns the first item not run. */
static uint64_t run_private(struct auri_team *team, struct share *share, uint64_t base, uint64_t n)
{
    struct auri_range_job *job = share->job;
    uint64_t start = aurp_now_ns();
    uint64_t lo = 0;

    while (lo < n) {
        uint64_t take = share->chunk == 0 ? 1 : next_chunk(share, n - lo, false);
        run_chunk(share, base, lo, lo + take);
        lo += take;
        if (auri_load_rlx(&job->stop) != 0) {
            share->done = n;
            return n;
        }
        if (lo < n && should_publish(team, share, aurp_now_ns() - start, n - lo)) {
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
static void await_thieves(struct auri_team *team, struct auri_record *self, struct share *share,
                          uint64_t n)
{
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
            await_thieves(stint->team, stint->self, stint->share, stint->n);
        }
    }
}

static void run_block(struct auri_team *team, struct auri_record *self, struct auri_range_job *job,
                      uint64_t base, uint64_t n)
{
    struct share share = { .job = job };
    __attribute__((cleanup(end_block))) struct stint stint = {
        .team = team, .self = self, .share = &share, .n = n, .frame = self->frame
    };
    uint64_t lo = run_private(team, &share, base, n);

    if (lo >= n) {
        stint.ended = true;
        return;
    }
    if (!publish(team, self, &share, base, (uint32_t)lo, (uint32_t)n)) {
        while (lo < n) {
            uint64_t take = next_chunk(&share, n - lo, false);
            run_chunk(&share, base, lo, lo + take);
            lo += take;
        }
        stint.ended = true;
        return;
    }
    stint.shared = true;
    auri_team_notify_elsewhere(team);
    run_front(&share);
    unpublish(team, self, &share);
    await_thieves(team, self, &share, n);
    stint.ended = true;
}

void auri_range_run(struct auri_team *team, auri_range_body *body, void *ctx, uint64_t n)
{
    struct auri_record *self = auri_self();
    struct auri_range_job job = { .body = body, .ctx = ctx };

    if (self == NULL || self->range_depth >= AURI_RANGE_DEPTH) {
        (void)body(ctx, 0, n);
        return;
    }
    for (uint64_t base = 0; base < n && auri_load_rlx(&job.stop) == 0;
         base += AURI_RANGE_BLOCK_MAX) {
        auri_store_rlx(&job.theirs, 0u);
        run_block(team, self, &job, base, min_u64(n - base, AURI_RANGE_BLOCK_MAX));
    }
}
