/* sched/ticks.h: the time of a loop that is young, without the clock.
 *
 * A look at the clock takes 20 to 30 ns, waits for the instructions before it, and touches two pages that
 * nothing else here does: three of them are a third of a microsecond where neighbouring items overlap.  So a
 * loop of less than AURI_TICKS_NS that nobody else takes part in looks at the processor's counter, and at the
 * clock not once.  How fast the counter runs is found out once by each pool, from two moments at which both
 * were read.  What it says is a hint about the beginning of a loop.  A loop that goes on by the clock compares
 * the two between its next looks, and the counter is forgotten if they disagree: one that stands still while
 * its CPU sleeps, or that went on while the machine was suspended, makes one loop start late to be shared, or
 * early. */
#ifndef AURI_SCHED_TICKS_H
#define AURI_SCHED_TICKS_H

#include "base/atomic.h"
#include "plat/plat.h"

#define AURI_TICKS_SHIFT 24u
#define AURI_TICKS_MAX (UINT64_C(1) << 22) /* a longer span is not asked for: milliseconds */
#define AURI_TICKS_NS 100000u              /* a loop that is older looks at the clock */
#define AURI_TICKS_LEARN_NS 10000000u      /* between the two moments: to a ten-thousandth */
#define AURI_TICKS_BROKEN UINT64_MAX

struct auri_ticks {
    uint64_t start_ns; /* I: when both were read; 0: they could not be, or there are no ticks */
    uint64_t start;    /* I */
    _Atomic(uint64_t) rate_; /* A: ns << AURI_TICKS_SHIFT per tick; 0: not known yet */
};

/* Both at the same moment, or false: something came between them. */
static inline bool auri_ticks_pair_(uint64_t *ns, uint64_t *ticks)
{
    uint64_t before = aurp_now_ns();

    *ticks = aurp_ticks();
    *ns = aurp_now_ns();
    return *ticks != 0 && *ns - before < AURI_TICKS_LEARN_NS / 10000;
}

static inline void auri_ticks_begin(struct auri_ticks *ticks)
{
    if (!auri_ticks_pair_(&ticks->start_ns, &ticks->start)) {
        ticks->start_ns = 0;
    }
}

static inline void auri_ticks_learn_(struct auri_ticks *ticks)
{
    uint64_t ns;
    uint64_t now;

    if (!auri_ticks_pair_(&ns, &now)) {
        return; /* next time */
    }
    uint64_t rate = AURI_TICKS_BROKEN;
    if (now > ticks->start) {
        double exact = (double)(ns - ticks->start_ns) * (1u << AURI_TICKS_SHIFT) /
                       (double)(now - ticks->start);
        /* Between 20 GHz and 1 MHz. */
        rate = exact > (1u << AURI_TICKS_SHIFT) / 20.0 && exact < (1u << AURI_TICKS_SHIFT) * 1000.0
                   ? (uint64_t)exact
                   : AURI_TICKS_BROKEN;
    }
    auri_store_rlx(&ticks->rate_, rate);
}

/* For auri_ticks_ns(); 0: use the clock. */
static inline uint64_t auri_ticks_rate(struct auri_ticks *ticks, uint64_t now_ns)
{
    uint64_t rate = auri_load_rlx(&ticks->rate_); /* relaxed, always: a hint, and one word */

    if (rate == 0 && ticks->start_ns != 0 && now_ns - ticks->start_ns >= AURI_TICKS_LEARN_NS) {
        auri_ticks_learn_(ticks);
    }
    return rate != AURI_TICKS_BROKEN ? rate : 0;
}

/* The same, if it is known already. */
static inline uint64_t auri_ticks_known(struct auri_ticks *ticks)
{
    uint64_t rate = auri_load_rlx(&ticks->rate_);

    return rate != AURI_TICKS_BROKEN ? rate : 0;
}

/* How long so many ticks take, up to years; 0: the counter went back. */
static inline uint64_t auri_ticks_span(uint64_t rate, uint64_t ticks)
{
    if (ticks < AURI_TICKS_MAX) {
        return ticks * rate >> AURI_TICKS_SHIFT;
    }
    uint64_t whole = ticks >> AURI_TICKS_SHIFT;
    uint64_t part = ticks & ((UINT64_C(1) << AURI_TICKS_SHIFT) - 1);
    return ticks <= INT64_MAX ? whole * rate + (part * rate >> AURI_TICKS_SHIFT) : 0;
}

/* The time since the counter was `first`; UINT64_MAX: long ago. */
static inline uint64_t auri_ticks_ns(uint64_t rate, uint64_t first)
{
    uint64_t ticks = aurp_ticks() - first;

    return ticks < AURI_TICKS_MAX ? ticks * rate >> AURI_TICKS_SHIFT : UINT64_MAX;
}

/* A loop was young for so long by its ticks (UINT64_MAX: too long to say), and so long by the clock. */
static inline void auri_ticks_check(struct auri_ticks *ticks, uint64_t ticks_ns, uint64_t ns)
{
    bool alike =
        ticks_ns == UINT64_MAX ? ns >= 100000 : ns >= ticks_ns / 2 && ns <= 2 * ticks_ns + 1000000;

    if (!alike) {
        auri_store_rlx(&ticks->rate_, AURI_TICKS_BROKEN);
    }
}

#endif /* AURI_SCHED_TICKS_H */
