/* sync/deque.h: a worker's deque of tasks: the owner pushes and takes at the bottom, thieves steal
 * at the top.  See deque.c for the algorithm and its proof. */
#ifndef AURI_SYNC_DEQUE_H
#define AURI_SYNC_DEQUE_H

#include "base/atomic.h"
#include <stdalign.h>

struct aur_future;

struct auri_deque_array {
    int64_t mask;                        /* capacity - 1, a power of two minus one */
    struct auri_deque_array *older;      /* smaller arrays that thieves may still read */
    _Atomic(struct aur_future *) slot[]; /* task i lives at slot[i & mask] */
};

struct auri_deque {
    alignas(AURI_CACHE_LINE) _Atomic(int64_t) top;    /* A: next index a thief takes */
    alignas(AURI_CACHE_LINE) _Atomic(int64_t) bottom; /* O: one past the newest task */
    _Atomic(struct auri_deque_array *) array;         /* O: release-published when it grows */
};

typedef enum auri_steal { AURI_STEAL_EMPTY = 0, AURI_STEAL_LOST, AURI_STEAL_TOOK } auri_steal;

/* All fields zero is an empty deque without an array.  Returns false: no memory. */
bool auri_deque_init(struct auri_deque *d);
void auri_deque_fini(struct auri_deque *d);

/* Owner only.  push: false if it had to grow and there is no memory. */
bool auri_deque_push(struct auri_deque *d, struct aur_future *task);
struct aur_future *auri_deque_take(struct auri_deque *d);

/* Any thread.  LOST: another thread took a task just now; try again or elsewhere. */
auri_steal auri_deque_steal(struct auri_deque *d, struct aur_future **ret_task);

/* Any thread: whether it looked empty at some moment during the call. */
bool auri_deque_looks_empty(struct auri_deque *d);

#endif /* AURI_SYNC_DEQUE_H */
