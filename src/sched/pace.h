/* sched/pace.h: when a loop goes on alone, and when it asks for help: arithmetic only, no clock.
 *
 * A wake costs the caller C, and the woken thread comes L later.  A loop that has to wake somebody
 * does so when it is a beat old, H = 10 C between 100 us and 1 ms, and if the rest is predicted to
 * take more than 4 (C + L).  So wakes take at most C / H of the time whatever the items cost, and
 * however wrong the prediction is; where the speed of the last chunks does not agree, H is 40 C.
 * If a worker is awake and looking, an age of YOUNG is enough: then sharing costs next to nothing.
 *
 * A pool remembers what an item of a function cost in its last loops (struct auri_habit).  If two
 * loops in a row kept to that, or the last one took very long, the next may ask for help at once: at
 * the start, if it should take as long as 10 (C + L); else as soon as its own first chunks agree, and
 * the rest will take more than 3 (C + L).  A loop that did not keep to it costs C once, and the habit
 * is gone: against two loops that were long, or one of AURI_TRUST_NS, so the bound above stands.
 *
 * Loops that follow each other closely are one loop in this: their serial time adds up, and once it is
 * 40 C a loop that is long enough to be shared, though too short to repay a wake, wakes a worker for
 * those that follow, which find it awake.
 *
 * All constants were chosen by bench/granularity.c on two CPUs: see docs/ARCHITECTURE.md, "Loops". */
#ifndef AURI_SCHED_PACE_H
#define AURI_SCHED_PACE_H

#include "base/atomic.h"

#define AURI_CHUNK_NS 25000u /* between two looks at the clock, and at what others want */
#define AURI_GROWTH 8u       /* a chunk is at most so many times the one before, ... */
#define AURI_SOON_NS 1000u   /* ... or what this time is enough for, ... */
#define AURI_LEAP 4u         /* ... but then not more than so many times that */
#define AURI_YOUNG_NS 4000u  /* sharing costs more than a younger loop can gain */
#define AURI_PIECES 3u       /* a chunk of a shared loop is at most such a part of the rest, ... */
#define AURI_JOIN_NS 1200u   /* from publishing a loop to the first item of a thief that is awake */
#define AURI_BITE_NS 500u    /* ... and this at least; twice that is not stolen from */
#define AURI_BEAT_MIN_NS 100000u
#define AURI_BEAT_MAX_NS 1000000u
#define AURI_BEAT_WILD_MAX_NS 4000000u /* the same where the speed varies */
#define AURI_AGREE 3u                  /* so many chunks have to agree: within a factor of two */
#define AURI_TRUST 2u                  /* loops in a row that kept to the habit, ... */
#define AURI_TRUST_NS 10000000u    /* ... or one that took so long: a wake is little beside it */
#define AURI_SERIES_REST_NS 10000u /* a loop that would gain from a worker that is awake */
#define AURI_WAKE_GUESS_NS 15000u  /* C and L before the first wake */
#define AURI_LATENCY_GUESS_NS 50000u

/* What is known about wakes, in nanoseconds.  0: nothing yet. */
struct auri_wake_costs {
    uint32_t cost;    /* C */
    uint32_t latency; /* L */
};

/* What one participant knows about the speed of a loop. */
struct auri_pace {
    uint64_t start_ns;
    uint64_t now_ns;         /* end of the last timed chunk */
    uint64_t series_ns;      /* time that the loops just before took without help */
    uint64_t item_ps;        /* picoseconds per item, of the last chunk; 0: unknown */
    uint64_t habit_ps;       /* the same, as the pool remembers it; 0: it does not */
    uint64_t alone_until_ns; /* help has not helped the function's last loops: none before that */
    uint64_t chunk;          /* size of the last chunk; 0: there was none */
    uint32_t agreed;         /* chunks in a row whose speed was that of the one before */
    uint32_t chunks;         /* timed ones */
};

static inline bool auri_pace_alike(uint64_t a_ps, uint64_t b_ps)
{
    return a_ps <= 2 * b_ps && b_ps <= 2 * a_ps;
}

static inline uint64_t auri_pace_ns(uint64_t items, uint64_t item_ps)
{
    /* Saturating: a prediction. */
    return item_ps != 0 && items > UINT64_MAX / item_ps ? UINT64_MAX / 1000
                                                        : items * item_ps / 1000;
}

/* Items for the next chunk of `rest`: about AURI_CHUNK_NS, but a loop that is young looks up when it no
 * longer is; and once others take part not more than a part of the own rest, so that the end is
 * fine-grained, down to AURI_BITE_NS: a look costs a tenth of that. */
static inline uint64_t auri_pace_chunk(const struct auri_pace *pace, uint64_t rest, bool shared)
{
    uint64_t chunk = pace->chunk == 0 ? 1 : pace->chunk * AURI_GROWTH;

    if (pace->item_ps != 0) {
        uint64_t soon = AURI_SOON_NS * UINT64_C(1000) / pace->item_ps;
        soon = soon < chunk * AURI_LEAP ? soon : chunk * AURI_LEAP;
        chunk = soon > chunk ? soon : chunk;
        uint64_t age = pace->now_ns - pace->start_ns;
        uint64_t ns = AURI_CHUNK_NS;
        if (!shared && age < AURI_YOUNG_NS) {
            ns = AURI_YOUNG_NS - age + AURI_BITE_NS;
        }
        uint64_t by_time = ns * UINT64_C(1000) / pace->item_ps;
        chunk = by_time < chunk ? by_time : chunk;
    }
    if (shared) {
        uint64_t bite = pace->item_ps != 0 ? AURI_BITE_NS * UINT64_C(1000) / pace->item_ps : 0;
        uint64_t most = rest / AURI_PIECES > bite ? rest / AURI_PIECES : bite;
        chunk = rest <= 2 * bite ? rest : most < chunk ? most : chunk;
    }
    if (chunk > rest) {
        chunk = rest;
    }
    return chunk == 0 ? 1 : chunk;
}

/* Where the first helper of a loop of n items should begin, if its owner has run `lo` of them alone and one is
 * awake: then both end together.  If those are few, in the middle of the whole: a loop that is run again and
 * again then gives each thread the same half, whose data it may have in its caches. */
static inline uint64_t auri_pace_cut(uint64_t lo, uint64_t n, uint64_t item_ps)
{
    uint64_t alone = lo + (item_ps != 0 ? AURI_JOIN_NS * UINT64_C(1000) / item_ps : 0);

    return lo < n / 32 || alone >= n ? n / 2 : alone + (n - alone) / 2;
}

/* A chunk of n items has ended now. */
static inline void auri_pace_ran(struct auri_pace *pace, uint64_t n, uint64_t now_ns)
{
    uint64_t spent = now_ns > pace->now_ns ? now_ns - pace->now_ns : 0; /* two clocks: ticks.h */
    uint64_t item_ps = spent * 1000 / n;

    pace->agreed =
        pace->chunks != 0 && !auri_pace_alike(item_ps, pace->item_ps) ? 0 : pace->agreed + 1;
    pace->item_ps = item_ps != 0 ? item_ps : 1;
    pace->chunk = n;
    pace->chunks++;
    pace->now_ns += spent;
}

static inline uint64_t auri_pace_between(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* C, and C + L. */
static inline uint64_t auri_pace_cost(struct auri_wake_costs wake)
{
    return wake.cost != 0 ? wake.cost : AURI_WAKE_GUESS_NS;
}
static inline uint64_t auri_pace_wake_ns(struct auri_wake_costs wake)
{
    return auri_pace_cost(wake) + (wake.latency != 0 ? wake.latency : AURI_LATENCY_GUESS_NS);
}

/* The loop goes as its function's loops use to: then its prediction can be relied on. */
static inline bool auri_pace_as_usual(const struct auri_pace *pace)
{
    return pace->habit_ps != 0 && pace->agreed != 0 &&
           auri_pace_alike(pace->item_ps, pace->habit_ps);
}

/* H of this loop now. */
static inline uint64_t auri_pace_beat(const struct auri_pace *pace, struct auri_wake_costs wake)
{
    uint64_t cost = auri_pace_cost(wake);
    bool steady = pace->agreed >= AURI_AGREE || pace->agreed == pace->chunks;

    if (auri_pace_as_usual(pace)) {
        return AURI_YOUNG_NS;
    }
    return steady ? auri_pace_between(10 * cost, AURI_BEAT_MIN_NS, AURI_BEAT_MAX_NS)
                  : auri_pace_between(40 * cost, AURI_BEAT_MIN_NS, AURI_BEAT_WILD_MAX_NS);
}

/* Whether the loop should be shared now.  searched: a worker is awake and looks for work. */
static inline bool auri_pace_wants_help(const struct auri_pace *pace, struct auri_wake_costs wake,
                                        uint64_t rest, bool searched)
{
    uint64_t age = pace->now_ns - pace->start_ns;
    uint64_t rest_ns = auri_pace_ns(rest, pace->item_ps);

    if (rest < 2 || age < AURI_YOUNG_NS || pace->now_ns < pace->alone_until_ns) {
        return false;
    }
    uint64_t worth = (auri_pace_as_usual(pace) ? 3 : 4) * auri_pace_wake_ns(wake);
    if (searched || (age >= auri_pace_beat(pace, wake) && rest_ns > worth)) {
        return true;
    }
    return rest_ns >= AURI_SERIES_REST_NS && pace->series_ns + age >= 40 * auri_pace_cost(wake);
}

/* The same before the first item. */
static inline bool auri_pace_wants_help_at_once(const struct auri_pace *pace,
                                                struct auri_wake_costs wake, uint64_t n)
{
    return n >= 2 && pace->habit_ps != 0 && pace->now_ns >= pace->alone_until_ns &&
           auri_pace_ns(n, pace->habit_ps) > 10 * auri_pace_wake_ns(wake);
}

/* ---- what a pool remembers of a function ---------------------------------------------------- */

#define AURI_HABITS 16u
#define AURI_HABIT_MIN_NS 100000u /* shorter loops that were not shared are not remembered */

/* One line.  The fields are hints, and not in step with each other: a mixture of two functions' costs is a
 * wrong prediction, no more. */
struct auri_habit {
    alignas(AURI_CACHE_LINE) _Atomic(const void *) of; /* A: the function; NULL: nobody's */
    _Atomic(uint64_t) item_ps;                         /* A: over its last loop */
    _Atomic(uint32_t) trust; /* A: loops in a row that were like the one before */
    _Atomic(uint32_t) flat;  /* A: times in a row that helpers did not help (sched/guard.h) */
    _Atomic(uint64_t) flat_until_ns; /* A: until when that is believed */
    _Atomic(uint64_t) alone_ps;      /* A: of an item without helpers, last measured; 0: never */
};

static inline struct auri_habit *auri_habit_of(struct auri_habit *habits, const void *of)
{
    uintptr_t hash = (uintptr_t)of;

    hash = (hash >> 4) ^ (hash >> 9) ^ (hash >> 15);
    return &habits[hash % AURI_HABITS];
}

/* What an item of the function costs, if that can be relied on; else 0. */
static inline uint64_t auri_habit_cost(struct auri_habit *habit, const void *of)
{
    return auri_load_rlx(&habit->of) == of && auri_load_rlx(&habit->trust) >= AURI_TRUST
               ? auri_load_rlx(&habit->item_ps)
               : 0;
}

/* Until when the function's loops are not to be shared, since threads did not make them faster; may
 * be in the past. */
static inline uint64_t auri_habit_flat_until(struct auri_habit *habit, const void *of)
{
    return auri_load_rlx(&habit->of) == of && auri_load_rlx(&habit->flat) != 0
               ? auri_load_rlx(&habit->flat_until_ns)
               : 0;
}

/* A loop of the function was shared, and this is what its guard says.  After auri_habit_learn(). */
static inline void auri_habit_learn_flat(struct auri_habit *habit, uint64_t alone_ps, uint32_t flat,
                                         uint64_t until_ns)
{
    auri_store_rlx(&habit->alone_ps, alone_ps);
    auri_store_rlx(&habit->flat_until_ns, until_ns);
    auri_store_rlx(&habit->flat, flat);
}

/* A loop of the function ran n items in so much CPU time. */
static inline void auri_habit_learn(struct auri_habit *habit, const void *of, uint64_t n,
                                    uint64_t cpu_ns)
{
    uint64_t item_ps = n != 0 && cpu_ns <= UINT64_MAX / 1000 ? cpu_ns * 1000 / n : 0;
    bool same =
        auri_load_rlx(&habit->of) == of && auri_pace_alike(auri_load_rlx(&habit->item_ps), item_ps);
    uint32_t before = auri_load_rlx(&habit->trust);
    uint32_t trust = !same ? 0 : before < AURI_TRUST ? before + 1 : before;

    if (cpu_ns >= AURI_TRUST_NS) {
        trust = AURI_TRUST;
    }
    if (trust != before) {
        auri_store_rlx(&habit->trust, trust);
    }
    if (!same) {
        if (auri_load_rlx(&habit->of) != of) {
            auri_habit_learn_flat(habit, 0, 0, 0);
            auri_store_rlx(&habit->of, of);
        }
    }
    auri_store_rlx(&habit->item_ps, item_ps);
}

#endif /* AURI_SCHED_PACE_H */
