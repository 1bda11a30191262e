/* sched/range.h: loops shared by threads: serial start, publication, stealing by halves.
 *
 * A loop over [0, n) is run by its owner, the calling thread, in chunks of about 25 us.  While it is
 * young it is private: a plain counter, nobody else knows.  Once it is worth it (pace.h), the rest of
 * the range is published as one word (lo:32 | hi:32): the owner takes chunks from the front and thieves take
 * half from the back, both by CAS.  There are no task objects.
 *
 * Why a thief may touch the word at all: slots lie in records, which are immortal.  Why it may use what
 * the slot says after a won CAS: whoever holds items keeps the job alive, because the owner does not
 * return before all n are done; the fields are written before the word is published; and a slot is not
 * used again before each thief has read them (a thief's slot may be free for its next loop while the
 * job goes on).  A stale word can win only if the same word is live again, and then the fields are
 * right as well.
 *
 * A body that ends its thread (pthread_exit) unwinds through the loop: its share is then dropped and
 * counted, so that nobody waits for it, and an owner waits for its thieves before its frame goes. */
#ifndef AURI_SCHED_RANGE_H
#define AURI_SCHED_RANGE_H

#include "sched/board.h"
#include "sched/pace.h"
#include "task/record.h"

/* A body runs items [lo, hi) of the job; it must account for failures itself.  Returns false to stop
 * the loop: items that have not started are then dropped (counted as done, not run). */
typedef bool auri_range_body(void *ctx, uint64_t lo, uint64_t hi);

struct auri_range_job {
    auri_range_body *body;
    void *ctx;
    _Atomic(uint32_t) stop; /* A: bodies asked to stop */
    _Atomic(uint64_t)
        *ran; /* the caller's; each thread adds what it has run at the end of its part */
    /* A: items done by thieves; bit 63: the owner sleeps on the low half.  A line of its own: at the end
     * the owner looks at it all the time. */
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) theirs;
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) their_ns; /* A: how long the thieves took; a hint */
    _Atomic(uint32_t) thieves;                           /* A: who hold items now; a hint */
    _Atomic(uint32_t) waits;     /* A: its items leave their CPU to others; a hint */
    struct auri_helpers helpers; /* A: who holds items, for the deadlock walk */
    /* A: items that thieves have run, told or not; a hint.  A line of its own: written for each chunk,
     * read once in a beat. */
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) progress;
};

struct auri_team;

struct auri_range {
    struct auri_team *team;
    const void *of; /* what it runs, so that costs of earlier loops are remembered; any pointer */
    auri_range_body *body;
    auri_range_body *own; /* the same for the owner, while nobody else knows of the loop */
    void *ctx;
    uint64_t n;
    /* Grows by the items of all calls of both, also if one ends this thread. */
    _Atomic(uint64_t) *ran;
};

/* Runs the loop to its end with the help of the team's workers. */
void auri_range_go(const struct auri_range *loop);
void auri_range_run(struct auri_team *team, const void *of, auri_range_body *body, void *ctx,
                    uint64_t n, _Atomic(uint64_t) *ran);

/* A worker looks for items of published loops, and runs what it gets.  False: there were none. */
bool auri_range_steal(struct auri_team *team, struct auri_record *self);

#endif /* AURI_SCHED_RANGE_H */
