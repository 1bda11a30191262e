/* sched/place.h: a loop's helper wakes up on another CPU than the loop's.
 *
 * A kernel may put a woken thread on the CPU of the thread that wakes it, though others are idle:
 * where it packs threads to save power, or holds the waker to be about to sleep.  A loop goes on
 * running, so its helper would only take turns with it, or wait for it.  So the thread that wakes takes
 * its own CPU out of those where the sleeper may run, and the sleeper, once awake, puts it back.
 *
 * One word per worker says who may touch its affinity:
 *
 *   AWAKE       nobody else                                         -> ASLEEP by the worker
 *   ASLEEP + t  whoever wins the CAS; t is the thread's number      -> AWAKE, CHANGING
 *   CHANGING    a waker is in the system call                       -> CHANGED, or as it was
 *   CHANGED     the worker has to restore `before`                  -> AWAKE by the worker
 *
 * A worker that wakes up in CHANGING (somebody else woke it) goes on and restores later.  Thread
 * numbers are reused by the system: a worker ends only while nobody is in CHANGING, see
 * auri_place_end(). */
#ifndef AURI_SCHED_PLACE_H
#define AURI_SCHED_PLACE_H

#include "base/atomic.h"
#include "plat/plat.h"

struct auri_place {
    alignas(AURI_CACHE_LINE) _Atomic(uint32_t) state; /* A: see above */
    struct aurp_cpus before;                          /* whoever may touch the affinity */
};

/* The worker itself: before it sleeps, after it woke, before its thread ends. */
void auri_place_asleep(struct auri_place *place);
void auri_place_awake(struct auri_place *place);
void auri_place_end(struct auri_place *place);

/* The worker itself, awake: leaves a CPU, if it is there and may run elsewhere, for as long as the kernel likes. */
bool auri_place_leave(struct auri_place *place, int cpu);

/* Makes a sleeper wake up elsewhere than on the calling thread's CPU.  False: it does not sleep, or
 * may run nowhere else; then nothing has changed. */
bool auri_place_elsewhere(struct auri_place *place);

#endif /* AURI_SCHED_PLACE_H */
