/* sched/guard.h: whether a loop's helpers help: arithmetic only, no clock.
 *
 * Some loops do not get faster by more threads: their bodies wait for memory or for a lock, or the
 * other CPU is somebody else's.  Helpers then slow the owner down by as much as they add.  That shows
 * in numbers that the owner has: what an item took it alone, and takes it now, and how many items the
 * others have done.  A beat looks bad if the owner's own items take at least 5/4 of the time that they
 * took alone, and all together deliver less than 1.05 times what the owner did.  Helpers that add
 * little but do not slow the owner (they hold the dear end of a triangular loop, say) are left alone.
 *
 * The same numbers come out if the items have become dearer.  So after three beats that look bad, the
 * owner takes everything back and runs one beat alone: if it is as slow as before, the items are
 * dearer; then that is the new speed of one thread, the loop is shared again, and the next suspicion
 * needs twice as many beats.  If all together were no faster than the owner alone (less than 1.02
 * times), it goes on alone for REST, twice as long each time, since what was in the way may have
 * gone.  A beat in which no helper has finished anything says nothing: it may be in a long item.
 *
 * What this costs where threads do help: one beat without them after three, then after six ... of
 * suspicion.  What it costs where they do not: three beats at the beginning, and after each rest. */
#ifndef AURI_SCHED_GUARD_H
#define AURI_SCHED_GUARD_H

#include "base/atomic.h"

/* Tried with bench/memory and with loops whose items take one lock, not swept. */
#define AURI_GUARD_BEAT_NS 200000u
#define AURI_GUARD_CHUNKS 4u    /* so many of the owner's are a beat at least */
#define AURI_GUARD_BEATS 3u     /* that look bad in a row, before helpers are sent away */
#define AURI_GUARD_DOUBT 105u   /* percent of the owner's speed: less looks bad ... */
#define AURI_GUARD_VERDICT 102u /* ... and less than this, against the beat alone, is bad */
#define AURI_GUARD_BEATS_MAX 192u
#define AURI_GUARD_REST_NS UINT64_C(50000000)
#define AURI_GUARD_REST_DOUBLINGS 5u

enum auri_guard_state {
    AURI_GUARD_SHARED,  /* helpers are welcome */
    AURI_GUARD_LEAVING, /* they were sent away, and some have not gone yet */
    AURI_GUARD_ALONE,   /* they have: the owner's speed is measured */
    AURI_GUARD_RESTING, /* they had hurt: the owner goes on alone */
};

/* What the owner of the loop is to do. */
enum auri_guard_says {
    AURI_GUARD_GO_ON,
    AURI_GUARD_TAKE_BACK, /* let nobody take items, and take back what others hold; may be repeated */
    AURI_GUARD_OFFER,     /* let others take items again */
};

/* Items in a span of time. */
struct auri_guard_span {
    uint64_t ns;
    uint64_t own;
    uint64_t theirs;
};

struct auri_guard {
    enum auri_guard_state state;
    uint64_t alone_ps; /* an item's time for the owner alone, last measured; 0: never */
    uint64_t since_ns; /* the beat: when it began, ... */
    uint64_t own;      /* ... the owner's items in it, ... */
    uint64_t theirs;   /* ... and the others' when it began */
    uint32_t chunks;   /* the owner's in this beat */
    uint32_t bad;      /* beats in a row in which helpers seem to hurt */
    uint32_t patience; /* so many are enough */
    uint32_t helped;   /* beats in which they did not */
    uint32_t flat;     /* times in a row that they were found to hurt */
    struct auri_guard_span suspect; /* the bad beats */
    uint64_t rest_until_ns;
};

static inline void auri_guard_beat_(struct auri_guard *guard, uint64_t now_ns, uint64_t theirs)
{
    guard->since_ns = now_ns;
    guard->own = 0;
    guard->theirs = theirs;
    guard->chunks = 0;
}

/* alone_ps: 0: not known; then helpers are never suspected.  flat: as the last loop left it. */
static inline struct auri_guard auri_guard_begin(uint64_t alone_ps, uint32_t flat, uint64_t now_ns)
{
    return (struct auri_guard){
        .alone_ps = alone_ps, .flat = flat, .since_ns = now_ns, .patience = AURI_GUARD_BEATS
    };
}

/* Whether helpers slow the owner down and bring less than so many percent of its speed.  own > 0. */
static inline bool auri_guard_hurts_(uint64_t alone_ps, struct auri_guard_span span,
                                     uint64_t percent)
{
    uint64_t own_ps = span.ns * 1000 / span.own;
    uint64_t together_ps = span.ns * 1000 / (span.own + span.theirs);

    return own_ps / 5 >= alone_ps / 4 && together_ps / 100 * percent >= alone_ps;
}

static inline enum auri_guard_says auri_guard_shared_(struct auri_guard *guard,
                                                      struct auri_guard_span beat)
{
    if (!auri_guard_hurts_(guard->alone_ps, beat, AURI_GUARD_DOUBT)) {
        guard->bad = 0;
        guard->helped++;
        return AURI_GUARD_GO_ON;
    }
    if (guard->bad++ == 0) {
        guard->suspect = (struct auri_guard_span){ 0 };
    }
    guard->suspect.ns += beat.ns;
    guard->suspect.own += beat.own;
    guard->suspect.theirs += beat.theirs;
    if (guard->bad < guard->patience) {
        return AURI_GUARD_GO_ON;
    }
    guard->state = AURI_GUARD_LEAVING;
    return AURI_GUARD_TAKE_BACK;
}

/* A beat alone has ended: the verdict on the suspect ones. */
static inline enum auri_guard_says auri_guard_alone_(struct auri_guard *guard, uint64_t now_ns)
{
    guard->bad = 0;
    if (auri_guard_hurts_(guard->alone_ps, guard->suspect, AURI_GUARD_VERDICT)) {
        uint32_t doublings =
            guard->flat < AURI_GUARD_REST_DOUBLINGS ? guard->flat : AURI_GUARD_REST_DOUBLINGS;
        guard->flat++;
        guard->rest_until_ns = now_ns + (AURI_GUARD_REST_NS << doublings);
        guard->state = AURI_GUARD_RESTING;
        return AURI_GUARD_GO_ON;
    }
    if (guard->patience < AURI_GUARD_BEATS_MAX) {
        guard->patience *= 2;
    }
    guard->state = AURI_GUARD_SHARED;
    return AURI_GUARD_OFFER;
}

/* The beat has lasted. */
static inline bool auri_guard_is_over(const struct auri_guard *guard, uint64_t now_ns)
{
    return now_ns - guard->since_ns >= AURI_GUARD_BEAT_NS;
}

/* The owner has run a chunk of n items, until now.  others: how many threads hold items beside the
 * owner; theirs: all items that others have run in this loop, which only matters if there are none, or
 * the beat is over. */
static inline enum auri_guard_says auri_guard_ran(struct auri_guard *guard, uint64_t now_ns,
                                                  uint64_t n, uint64_t theirs, uint32_t others)
{
    enum auri_guard_says says = AURI_GUARD_GO_ON;

    guard->own += n;
    guard->chunks++;
    if (guard->state == AURI_GUARD_LEAVING) {
        if (others != 0) {
            return AURI_GUARD_TAKE_BACK; /* one may just have come */
        }
        guard->state = AURI_GUARD_ALONE;
        auri_guard_beat_(guard, now_ns, theirs);
        return AURI_GUARD_GO_ON;
    }
    uint64_t ns = now_ns - guard->since_ns;
    bool over = auri_guard_is_over(guard, now_ns) && guard->chunks >= AURI_GUARD_CHUNKS;
    if (guard->state == AURI_GUARD_SHARED) {
        if (others != 0 && !over) {
            return AURI_GUARD_GO_ON;
        }
        if (others != 0 && theirs != guard->theirs && guard->alone_ps != 0) {
            struct auri_guard_span beat = { ns, guard->own, theirs - guard->theirs };
            says = auri_guard_shared_(guard, beat);
        }
        auri_guard_beat_(guard, now_ns, theirs);
        return says;
    }
    if (!over || (guard->state == AURI_GUARD_RESTING && now_ns < guard->rest_until_ns)) {
        return AURI_GUARD_GO_ON;
    }
    guard->alone_ps = ns * 1000 / guard->own + 1;
    if (guard->state == AURI_GUARD_ALONE) {
        says = auri_guard_alone_(guard, now_ns);
    } else {
        guard->state = AURI_GUARD_SHARED;
        guard->patience = AURI_GUARD_BEATS;
        says = AURI_GUARD_OFFER;
    }
    auri_guard_beat_(guard, now_ns, theirs);
    return says;
}

/* The loop is over: what is left of the verdict.  Helpers who helped for as long as it takes to
 * doubt them have disproved it. */
static inline uint32_t auri_guard_flat(const struct auri_guard *guard)
{
    return guard->state == AURI_GUARD_SHARED && guard->helped >= AURI_GUARD_BEATS ? 0 : guard->flat;
}

#endif /* AURI_SCHED_GUARD_H */
