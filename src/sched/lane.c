/* Lanes, and what thieves do with the branches in them.  The whole argument is at the top of join.c. */
#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "sched/join.h"
#include "sched/run.h"
#include "sched/wait.h"

/* ---- lanes --------------------------------------------------------------------------------- */

struct auri_lane *auri_lane_new(struct auri_team *team)
{
    struct auri_lane *lane = aligned_alloc(alignof(struct auri_lane), sizeof(*lane));

    if (lane == NULL) {
        return NULL;
    }
    *lane = (struct auri_lane){ .team = team };
    if (!auri_split_init(&lane->forks)) {
        free(lane);
        return NULL;
    }
    return lane;
}

void auri_lane_free(struct auri_lane *lane)
{
    if (lane != NULL) {
        auri_split_fini(&lane->forks);
        free(lane);
    }
}

struct auri_lane *auri_guest_enter(struct auri_team *team)
{
    struct auri_lane *lane = NULL;

    pthread_mutex_lock(&team->lock);
    for (uint32_t i = 0; i < AURI_GUESTS_MAX && lane == NULL; i++) {
        if ((team->guests & (1u << i)) != 0) {
            continue;
        }
        lane = auri_load_rlx(&team->guest[i]); /* relaxed: written under the lock */
        if (lane == NULL) {
            lane = auri_lane_new(team);
            if (lane == NULL) {
                break;
            }
            lane->index = i;
            auri_store_rel(&team->guest[i], lane); /* release: thieves see it initialised */
            auri_store_rel(&team->guest_end, i + 1);
        }
        team->guests |= 1u << i;
    }
    pthread_mutex_unlock(&team->lock);
    return lane;
}

void auri_guest_leave(struct auri_lane *lane)
{
    struct auri_team *team = lane->team;

    pthread_mutex_lock(&team->lock);
    team->guests &= ~(1u << lane->index);
    pthread_mutex_unlock(&team->lock);
}

/* ---- thieves ------------------------------------------------------------------------------- */

static struct auri_lane *lane_at(struct auri_team *team, uint32_t members, uint32_t i)
{
    return auri_load_acq(i < members ? &team->member[i].lane : &team->guest[i - members]);
}

bool auri_forks_look_open(struct auri_team *team)
{
    uint32_t members = auri_load_acq(&team->member_end);
    uint32_t end = members + auri_load_acq(&team->guest_end);

    for (uint32_t i = 0; i < end; i++) {
        struct auri_lane *lane = lane_at(team, members, i);
        if (lane != NULL && !auri_deque_looks_empty(&lane->forks.deque)) {
            return true;
        }
    }
    return false;
}

void auri_lane_blocks(struct auri_record *self)
{
    auri_lane_share(self);
    if (!auri_deque_looks_empty(&self->lane->forks.deque)) {
        auri_team_notify(self->lane->team);
    }
}

struct auri_branch *auri_branch_taken(struct auri_record *self, struct aur_future *item)
{
    struct auri_branch *branch = (struct auri_branch *)(void *)item;

    branch->thief = self->id;
    branch->thief_lane = self->lane;
    /* acq_rel [J1]; release pairs with the acquire loads of state in await() in join.c: the two above are visible.
     * acquire: we see WAITS. */
    if ((auri_or_acqrel(&branch->state, AURI_BRANCH_TAKEN) & AURI_BRANCH_WAITS) != 0) {
        aurp_futex_wake(&branch->state, 1, AURP_PRIVATE); /* it sleeps without an edge to us */
    }
    return branch;
}

struct auri_branch *auri_fork_steal(struct auri_team *team, struct auri_record *self)
{
    uint32_t members = auri_load_acq(&team->member_end);
    uint32_t end = members + auri_load_acq(&team->guest_end);
    uint32_t start = end != 0 ? (uint32_t)(self->random % end) : 0;

    for (uint32_t i = 0; i < end; i++) {
        uint32_t at = start + i < end ? start + i : start + i - end;
        struct auri_lane *lane = lane_at(team, members, at);
        struct aur_future *item = NULL;
        auri_steal got = AURI_STEAL_LOST;

        while (lane != NULL && lane != self->lane && got == AURI_STEAL_LOST) {
            got = auri_split_steal(&lane->forks, &item); /* LOST: another thread's progress */
        }
        if (item != NULL) {
            auri_add_rlx(&team->stolen, UINT64_C(1));
            return auri_branch_taken(self, item);
        }
    }
    return NULL;
}

/* A stolen branch that this thread runs, until its owner is told. */
struct stint {
    struct auri_record *self;
    struct auri_branch *branch;
    struct auri_frame frame;
    unsigned blocking; /* self->blocking outside */
    int saved_errno;
    bool ended; /* the way it should; else it ends the thread and unwinds */
};

static void stint_end(struct stint *stint)
{
    struct auri_record *self = stint->self;
    struct auri_branch *branch = stint->branch;

    if (!stint->ended) {
        self->frame = &stint->frame; /* the frames further in are gone */
        auri_frame_fail(&stint->frame, AUR_EEXITED,
                        auri_error_new(AUR_EEXITED, "a branch of it", NULL));
    }
    auri_blocking_leave(self, stint->blocking);
    self->depth--;
    auri_frame_pop(self, &stint->frame);
    branch->error = stint->frame.error;
    branch->bare = stint->frame.bare;
    /* acq_rel [J2]; release pairs with the acquire [J3] of the owner: it sees what the branch did.
     * acquire: we see WAITS.  After it the branch is gone; a wake of its old address wakes nobody, or
     * somebody who looks again. */
    if ((auri_or_acqrel(&branch->state, AURI_BRANCH_DONE) & AURI_BRANCH_WAITS) != 0) {
        aurp_futex_wake(&branch->state, 1, AURP_PRIVATE);
    }
    auri_split_pass(&self->lane->forks); /* [B1]: see the top of this file */
    errno = stint->saved_errno;
}

void auri_branch_run(struct auri_record *self, struct auri_branch *branch)
{
    const struct auri_frame *owner = branch->frame;
    __attribute__((cleanup(stint_end))) struct stint stint = {
        .self = self,
        .branch = branch,
        .frame = { .pool = self->lane->team->pool,
                   .item = AUR_NO_ITEM,
                   .deadline_ns = AUR_NO_DEADLINE },
        .blocking = self->blocking,
        .saved_errno = errno,
    };

    if (owner != NULL) { /* it stays as it is until the join */
        stint.frame.task = owner->task;
        stint.frame.pool = owner->pool;
        stint.frame.item = owner->item;
        stint.frame.item_base = owner->item_base;
        stint.frame.in_map = owner->in_map;
        stint.frame.deadline_ns = owner->deadline_ns;
        stint.frame.stop = owner->stop;
    }
    self->depth++;
    auri_frame_push(self, &stint.frame);
    branch->run(branch->arg);
    stint.ended = true;
}
