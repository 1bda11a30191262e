/* sync/eventcount.h: how workers go to sleep without missing work, and how few are woken.
 *
 * One 64-bit word, changed by CAS only.  (Three separate words for the same facts lost wakes.)
 *
 *   bits    field      meaning
 *   0-15    tokens     wakes given and not yet taken: each lets one announced sleeper go on
 *   16-31   sleepers   threads that announced sleep and have no token assigned
 *   32-47   searchers  awake threads that look for work
 *   48-63   deficit    signed: workers that the pool should have running and has not, because tasks
 *                      block (positive), or has too many of (negative)
 *
 * sleepers + tokens is the number of threads between auri_ec_announce() and the end of
 * auri_ec_sleep() or auri_ec_retract().  Threads sleep on the low half and take a token by CAS, so
 * it does not matter which thread a futex wake reaches.
 *
 * No lost wake.  Producer: make work visible; seq_cst fence; load the word [E1].  Sleeper: announce by
 * a seq_cst CAS [E2]; seq_cst fence; look for work once more.  Either the producer's load sees the
 * sleeper, or the sleeper's last look sees the work.  A producer that sees a searcher or a token
 * wakes nobody: the searcher has not announced sleep yet in the word's order, so its last look,
 * after its announcement, sees the work; a token's taker becomes a searcher.
 * One searcher may find one task while more are waiting: whoever stops searching because it found
 * work and was the last searcher, looks if more work is visible and notifies (chain of wakes). */
#ifndef AURI_SYNC_EVENTCOUNT_H
#define AURI_SYNC_EVENTCOUNT_H

#include <auriga/base.h>

#include "base/atomic.h"

struct auri_ec {
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) word;
    _Atomic(uint64_t) wake_ns; /* when the last token was given: for learning the wake latency */
};

#define AURI_EC_TOKEN UINT64_C(1)
#define AURI_EC_SLEEPER (UINT64_C(1) << 16)
#define AURI_EC_SEARCHER (UINT64_C(1) << 32)
#define AURI_EC_DEFICIT (UINT64_C(1) << 48)

#define auri_ec_tokens(w) ((unsigned)((w)&0xffffu))
#define auri_ec_sleepers(w) ((unsigned)((w) >> 16) & 0xffffu)
#define auri_ec_searchers(w) ((unsigned)((w) >> 32) & 0xffffu)
#define auri_ec_deficit(w) ((int16_t)((w) >> 48))

/* What a producer should do. */
typedef enum auri_ec_need {
    AURI_EC_NOBODY = 0, /* nothing: all are busy, or somebody looks already */
    AURI_EC_WOKEN,      /* a sleeper was woken */
    AURI_EC_SPARE,      /* nobody sleeps, but a blocked worker is not replaced: start a spare */
} auri_ec_need;

/* The mark of sleepers that are all the same to the producer. */
#define AURI_EC_ANYBODY UINT32_MAX

/* After work was made visible (release store or stronger).  mark: who is to be woken, if he sleeps; it
 * is a wish, and whoever is woken instead serves as well. */
auri_ec_need auri_ec_notify_slow(struct auri_ec *ec, uint64_t word, uint32_t mark);
static inline auri_ec_need auri_ec_notify_marked(struct auri_ec *ec, uint32_t mark)
{
    auri_fence_sc(); /* [E1] */
    uint64_t word = auri_load_rlx(&ec->word);
    if (auri_ec_searchers(word) + auri_ec_tokens(word) != 0 ||
        (auri_ec_sleepers(word) == 0 && auri_ec_deficit(word) <= 0)) {
        return AURI_EC_NOBODY;
    }
    return auri_ec_notify_slow(ec, word, mark);
}
static inline auri_ec_need auri_ec_notify(struct auri_ec *ec)
{
    return auri_ec_notify_marked(ec, AURI_EC_ANYBODY);
}

/* The same after work was made visible by a seq_cst read-modify-write [E3], which orders as the fence
 * does: it comes before the load below in the order of seq_cst operations; so if the load misses the
 * sleeper's announcement, the look after the sleeper's fence finds the work. */
static inline auri_ec_need auri_ec_notify_after_rmw(struct auri_ec *ec)
{
    uint64_t word = auri_load_sc(&ec->word); /* seq_cst [E3] */
    if (auri_ec_searchers(word) + auri_ec_tokens(word) != 0 ||
        (auri_ec_sleepers(word) == 0 && auri_ec_deficit(word) <= 0)) {
        return AURI_EC_NOBODY;
    }
    return auri_ec_notify_slow(ec, word, AURI_EC_ANYBODY);
}

/* Somebody is awake and looking, or about to be. */
static inline bool auri_ec_is_searched(struct auri_ec *ec)
{
    uint64_t word = auri_load_rlx(&ec->word); /* relaxed: a hint */
    return auri_ec_searchers(word) + auri_ec_tokens(word) != 0;
}

/* A worker starts, or stops, looking for work.  stop: true if it was the last one looking. */
void auri_ec_search_start(struct auri_ec *ec);
bool auri_ec_search_stop(struct auri_ec *ec);

/* A searcher announces sleep (and is no searcher any more).  Then it must look for work once more, and
 * either retract (it is a searcher again) or sleep. */
void auri_ec_announce(struct auri_ec *ec);
void auri_ec_retract(struct auri_ec *ec);

/* Sleeps until it has a token; then the caller is a searcher.  AUR_ETIMEDOUT: the deadline passed, the
 * announcement is withdrawn and the caller is a searcher all the same.  mark: not 0. */
aur_err auri_ec_sleep_marked(struct auri_ec *ec, uint32_t mark, aur_deadline deadline);
static inline aur_err auri_ec_sleep(struct auri_ec *ec, aur_deadline deadline)
{
    return auri_ec_sleep_marked(ec, AURI_EC_ANYBODY, deadline);
}

/* Wakes every sleeper (for stopping).  A thread that retracts at this moment may take another one's
 * token: whoever leaves for good after that calls this once more. */
void auri_ec_wake_all(struct auri_ec *ec);

/* deficit += delta; returns the new word. */
uint64_t auri_ec_deficit_add(struct auri_ec *ec, int delta);
/* deficit += 1 if it is below zero: the caller is one worker too many and leaves. */
bool auri_ec_surplus_leave(struct auri_ec *ec);

#endif /* AURI_SYNC_EVENTCOUNT_H */
