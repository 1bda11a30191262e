/* pool/verdict.h: what the calls of one function cost in threads, and where they had better run. */
#ifndef AURI_POOL_VERDICT_H
#define AURI_POOL_VERDICT_H

#include "plat/plat.h"
#include "pool/text.h"
#include "task/pool.h"

enum auri_choice {
    AURI_UNDECIDED = 0,
    AURI_TO_LOOP,      /* costs less than to hand it over */
    AURI_TO_THREADS,   /* computes, and side by side as well as alone */
    AURI_WAITS,        /* threads: sleeps most of the time */
    AURI_UNCLEAR,      /* threads: neither */
    AURI_TO_PROCESSES, /* computes alone, and waits beside others of its kind */
};

/* How this machine and pool measure. */
struct auri_measure {
    uint64_t clock_ns; /* what the wall clock shows for nothing */
    uint64_t usage_ns; /* what the CPU clock shows for nothing */
    uint64_t cheap_ns; /* a call that takes less costs less than to hand it over */
    bool may_loop;     /* AURI_TO_LOOP is allowed */
    bool side_by_side; /* processes are allowed: several workers, and sleep can be told from a lack
                        * of CPUs */
};

/* Sums of calls of one sort. */
struct auri_sum {
    _Atomic(uint64_t) n;
    _Atomic(uint64_t) own_ns; /* on a CPU, or asleep: not ready for a CPU, which is the machine's */
    _Atomic(uint64_t) cpu_ns;
};

/* All A: statistics, but for the name, which `named` publishes. */
struct auri_verdict {
    alignas(AURI_CACHE_LINE) _Atomic(uintptr_t) key; /* 0: free */
    _Atomic(uint32_t) choice;
    _Atomic(uint32_t) calls;  /* since it was decided, for sampling */
    _Atomic(uint32_t) doubts; /* samples that contradict the choice, less those that agree */
    _Atomic(uint32_t) named;
    char name[48];
    _Atomic(uint64_t) running; /* measured calls under way : 32 | begun so far : 32 */
    struct auri_sum alone;     /* no other measured call of the function at any time of theirs */
    struct auri_sum together;  /* the others */
    _Atomic(uint64_t) beside;  /* sum over `together`: how many were under way */
    _Atomic(uint64_t) unslept; /* of `together`: those that never slept */
    _Atomic(uint64_t) slow;    /* of all: those above cheap_ns */
    _Atomic(uint64_t) slept;   /* of all: those that slept */
    _Atomic(uint64_t) wall_ns; /* of all, as the clock says */
};

/* One call, or a piece of a map, being measured; in its frame. */
struct auri_sample {
    uint64_t start_ns;
    struct aurp_usage usage;
    uint64_t ready_ns; /* AURP_NO_CLOCK: not asked */
    uint64_t running;  /* as it was before */
    uint64_t items;    /* of a map; else 1 */
    bool wall_only;    /* of a function whose calls are all cheap: only start_ns is set */
};

struct auri_measure auri_measure_of_this_machine(void);
void auri_verdict_name(struct auri_verdict *v, const char *name);
void auri_sample_begin(struct auri_verdict *v, struct auri_sample *sample, uint64_t items);
/* Counts the call, and decides or revises if there is reason to. */
void auri_sample_end(struct auri_verdict *v, const struct auri_measure *measure,
                     const struct auri_sample *sample);

/* What one measured call was, or an item of a piece on the average, for auri_verdict_count(). */
struct auri_outcome {
    uint64_t wall_ns;
    uint64_t cpu_ns;
    uint64_t ready_ns; /* without a CPU though it was ready; only looked at if it slept as well */
    uint64_t beside;   /* calls under way with it; 0: alone */
    bool slept;
};
/* The part of auri_sample_end() that reads no clock. */
void auri_verdict_count(struct auri_verdict *v, const struct auri_measure *measure,
                        const struct auri_outcome *outcome);

/* One sentence, with `note` at its end, if the function is decided. */
void auri_verdict_say(struct auri_verdict *v, struct auri_text *text, const char *note);

#endif /* AURI_POOL_VERDICT_H */
