/* pool/face.h: what the public functions share: the whole pool object, and who may use it where. */
#ifndef AURI_POOL_FACE_H
#define AURI_POOL_FACE_H

#include <pthread.h>

#include "task/pool.h"
#include "task/record.h"

#define AURI_BUF_BUCKETS 64u

/* A pool as aur_pool_new() makes it.  `pool` is the first member, and all that layers below see; a
 * worker process's view of its parent's pool (proc/remote.h) is a bare aur_pool instead. */
struct auri_face {
    struct aur_pool pool;
    struct auri_auto *autos;   /* I: pool/auto.h; NULL: the pool is not AUR_AUTO */
    bool workers_default;      /* I: the number is aur_cpu_count()'s */
    _Atomic(uint64_t) refused; /* A: calls that were counted as submitted, then refused */
    pthread_mutex_t buf_lock;  /* guards the two below */
    struct aur_buf *buf[AURI_BUF_BUCKETS]; /* L: chains, by id */
    uint16_t buf_count;                    /* L: makes ids of buffers at the same address differ */
};

/* The face, or NULL for a worker process's view. */
struct auri_face *auri_face_of(aur_pool *pool);

/* here.c: a worker process sees its parent's objects through proxies.
 *
 * Makes *pool usable in this process: itself, or in a worker process the view that stands for it.
 * AUR_EINVAL: it is NULL.  AUR_EFORKED: neither. */
aur_err auri_pool_here(aur_pool **pool);

/* The same for a future, with a reference in *ret_future: a proxy is a new object.  One that is
 * done serves in every process. */
aur_err auri_future_here(aur_future *future, aur_future **ret_future);

/* The same without a new reference where the caller's own will do, which it keeps across the call.
 * auri_future_return() follows. */
aur_err auri_future_borrow(aur_future *future, aur_future **ret_future);
void auri_future_return(aur_future *borrowed, aur_future *of);

/* Whether the calling thread runs a task of the pool, in any of its frames. */
bool auri_pool_inside(const aur_pool *pool);

/* AUR_OK, or why the pool takes no new calls from this thread now. */
aur_err auri_pool_closed(aur_pool *pool);

/* Notes that somebody was told about the failure of a task that is done. */
void auri_task_seen(auri_task *task);

/* Cancels a call at whatever stage it is; AUR_CANCEL_*. */
int auri_task_cancel(auri_task *task);
/* Only if it has not started: then true. */
bool auri_task_cancel_unstarted(auri_task *task);

/* After a continuation was added: the completion is to be noticed without a waiter's help. */
void auri_task_attend(auri_task *task);

/* Less than this is left of the stack: another call is not begun in this thread. */
#define AURI_STACK_LEFT_MIN (UINT64_C(64) << 10)
static inline bool auri_stack_is_low(const struct auri_record *self)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    return self->stack_low != 0 && here < self->stack_low + AURI_STACK_LEFT_MIN;
}

/* Ends a failing verb: notes the error for aur_last_error() and returns it.  why NULL: the text of
 * the code. */
aur_err auri_verb_failed(aur_err err, const aur_fn *fn, const char *site, const char *why);

#endif /* AURI_POOL_FACE_H */
