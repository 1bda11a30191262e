/* sched/join.h: forks: branches on the stacks of those who offer them, taken by idle workers. */
#ifndef AURI_SCHED_JOIN_H
#define AURI_SCHED_JOIN_H

#include <auriga/join.h>

#include "sched/team.h"
#include "sync/split.h"

/* auri_branch.state */
enum {
    AURI_BRANCH_GUEST = 1,  /* the outermost fork of a guest, who leaves with it */
    AURI_BRANCH_TIMED = 2,  /* its time is taken */
    AURI_BRANCH_TAKEN = 4,  /* the thief's fields can be read */
    AURI_BRANCH_WAITS = 8,  /* the owner may sleep on the word; set in vain, never missing */
    AURI_BRANCH_DONE = 16,  /* by the thief; then the owner may leave */
    AURI_BRANCH_ALONE = 32, /* the owner's: it lies in no lane */
};

/* A branch that is on offer, or was: what the library sees of an aur_fork_. */
struct auri_branch {
    aur_join_fn *run;         /* I */
    void *arg;                /* I */
    struct auri_frame *frame; /* I: the innermost call of the owner, or NULL */
    _Atomic(uint32_t) state;  /* A: AURI_BRANCH_*; futex */
    /* The thief's: written before AURI_BRANCH_TAKEN ... */
    uint32_t thief;               /* its record */
    struct auri_lane *thief_lane; /* lives as long as the team */
    /* ... and before AURI_BRANCH_DONE. */
    aur_error *error; /* how it failed, or NULL */
    aur_err bare;     /* the code of a failure that no memory was left to describe */
};
_Static_assert(sizeof(struct auri_branch) == sizeof(aur_fork_) &&
                   alignof(struct auri_branch) == alignof(aur_fork_) &&
                   offsetof(struct auri_branch, run) == offsetof(aur_fork_, run_) &&
                   offsetof(struct auri_branch, arg) == offsetof(aur_fork_, arg_) &&
                   offsetof(struct auri_branch, frame) == offsetof(aur_fork_, frame_) &&
                   offsetof(struct auri_branch, state) == offsetof(aur_fork_, state_),
               "aur_fork_push_() fills it");

/* The forks of one thread.  It holds branches in strict nesting: each is taken back, or has been stolen,
 * before the fork that it lies above ends.  Memory of the team, freed with it. */
struct auri_lane {
    struct auri_split forks; /* first: an aur_lane_ * is a pointer to the lane */
    struct auri_team *team;  /* I */
    uint32_t index;          /* I: a guest's: which one it is */
    /* The owner's, for waking: see offer_first() in join.c. */
    uint32_t skip; /* forks that need not look for sleepers */
    uint32_t skip_next;
    uint64_t seen_ns;          /* when it last looked */
    uint64_t beat_ns;          /* when it last woke one, or the first fork began */
    struct auri_branch *timed; /* the fork whose time is taken, or NULL */
    uint64_t timed_ns;         /* from when */
    struct {                   /* how long functions took beside which one was offered */
        aur_join_fn *run;
        uint64_t ns;
    } known[8];
};

_Static_assert(offsetof(struct auri_lane, forks.open) == 0, "as aur_fork_push_() sees it");

/* NULL: no memory. */
struct auri_lane *auri_lane_new(struct auri_team *team);
void auri_lane_free(struct auri_lane *lane);

/* A lane for an outside thread that runs a task of the pool, until its outermost join.  NULL: all are
 * in use, or no memory. */
struct auri_lane *auri_guest_enter(struct auri_team *team);
void auri_guest_leave(struct auri_lane *lane);
/* The calling thread is about to sleep: all that it has forked is shared now. */
static inline void auri_lane_share(struct auri_record *self)
{
    if (self->lane != NULL) {
        (void)auri_split_share_all(&self->lane->forks);
    }
}
/* The same for a guest that sleeps for as long as the program likes; and somebody should look for it. */
void auri_lane_blocks(struct auri_record *self);

/* Something is on offer, to a worker that looks. */
bool auri_forks_look_open(struct auri_team *team);
/* Takes the oldest branch of some lane, or NULL; the caller must run it. */
struct auri_branch *auri_fork_steal(struct auri_team *team, struct auri_record *self);
/* The calling thread got the item out of a lane: from now on it has to run it. */
struct auri_branch *auri_branch_taken(struct auri_record *self, struct aur_future *item);
void auri_branch_run(struct auri_record *self, struct auri_branch *branch);

#endif /* AURI_SCHED_JOIN_H */
