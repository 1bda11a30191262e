/* sched/share.h: one thread's part of a shared loop: what range.c (the owner) and share.c (everybody)
 * have in common. */
#ifndef AURI_SCHED_SHARE_H
#define AURI_SCHED_SHARE_H

#include "sched/guard.h"
#include "sched/range.h"
#include "sched/team.h"

#define AURI_RANGE_WAITING                                                                         \
    (UINT64_C(1) << 63) /* in job->theirs: the owner sleeps on its low half */

/* A loop whose items take so long is taken for one whose items wait, until that is measured. */
#define AURI_LONG_ITEM_PS UINT64_C(1000000000)

/* What the owner of a published loop knows about the others. */
struct company {
    struct auri_guard guard;
    unsigned kept_n; /* what was taken back, and is not in the slot again */
    struct {
        uint32_t lo, hi;
    } kept[AURI_BOARD_SLOTS];
};

/* What a thread knows about the loop it takes part in. */
struct share {
    struct auri_team *team;
    struct auri_range_job *job;
    struct auri_range_slot *slot;
    struct company *company; /* the owner's; NULL: a thief's share */
    const void *of;          /* what the loop runs; the owner's */
    struct auri_pace pace;
    uint64_t asked_ns;  /* when it last thought of calling somebody ... */
    uint64_t cpu_ns;    /* ... and the CPU time that it had used by then; 0: unknown */
    uint64_t done;      /* items that this thread accounts for, with the chunk that it runs */
    uint64_t ran;       /* of these, items that were given to the body; told at the end */
    uint64_t untimed;   /* items behind the last look at the clock */
    uint64_t tick_rate; /* it was timed by ticks, to be compared with the clock; or 0 */
    uint64_t tick;      /* ... from here on, ... */
    uint64_t tick_ns;   /* ... when it was so late */
    uint32_t cut;       /* where the owner's first thief should begin; 0: unknown */
    bool published;     /* ever */
};

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

static inline struct auri_wake_costs auri_team_wake_costs(struct auri_team *team)
{
    return (struct auri_wake_costs){
        .cost = auri_load_rlx(&team->wake_cost_ns), /* relaxed, both: hints */
        .latency = auri_load_rlx(&team->wake_latency_ns),
    };
}

/* Runs items [lo, hi) of the share, and learns from it unless it is the last. */
void auri_share_run(struct share *share, uint64_t base, uint64_t lo, uint64_t hi, bool last);

/* What nobody else knows of. */
void auri_share_run_unshared(struct share *share, uint64_t base, uint64_t lo, uint64_t hi);

/* Makes [lo, hi) of the job stealable in a slot of this thread.  False: there is no slot, or no place on
 * the board. */
bool auri_share_publish(struct auri_record *self, struct share *share, uint64_t base, uint32_t lo,
                        uint32_t hi);
void auri_share_unpublish(struct auri_record *self, struct share *share);

/* Takes chunks from the front of the own slot until it is empty, and nothing is kept. */
void auri_share_run_front(struct share *share);

/* The rest of the thread's share is dropped: counted, not run. */
void auri_share_drop(struct stint *stint);

/* Takes items from a published slot, of this job or (NULL) of any, and runs them.  False: there were
 * none. */
bool auri_share_steal(struct auri_team *team, struct auri_record *self,
                      struct auri_range_job *only);

#endif /* AURI_SCHED_SHARE_H */
