/* When a pool may be closed: what a chunk of a map has still to submit was accepted with the chunk.
 *
 * The library refuses calls to a closed pool.  So one that is closed while chunks are under way stays
 * open in the library until the last of them has submitted its rest; whoever joins it waits for that
 * first.  New calls and chunks are refused by Python code and by gate_enter() at once. */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "core.h"

struct gate {
    _Atomic(int) refs;
    pid_t by; /* forked children have no part in it, and its lock may be held there for ever */
    aur_pool *core;
    pthread_mutex_t lock; /* guards what follows; nothing is called under it */
    pthread_cond_t shut;  /* closed has become true */
    uint64_t inside;      /* chunks that may submit more */
    bool closing;
    bool closed;
};

struct gate *gate_new(aur_pool *core)
{
    struct gate *gate = calloc(1, sizeof(*gate));
    pthread_condattr_t attr;

    if (gate == NULL) {
        return NULL;
    }
    gate->refs = 1;
    gate->by = getpid();
    gate->core = aur_pool_ref(core);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->shut, &attr);
    pthread_condattr_destroy(&attr);
    return gate;
}

struct gate *gate_ref(struct gate *gate)
{
    __atomic_add_fetch((int *)&gate->refs, 1, __ATOMIC_RELAXED);
    return gate;
}

void gate_unref(struct gate *gate)
{
    if (gate == NULL || __atomic_sub_fetch((int *)&gate->refs, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    aur_pool_unref(gate->core);
    if (gate->by == getpid()) {
        pthread_cond_destroy(&gate->shut);
        pthread_mutex_destroy(&gate->lock);
    }
    free(gate);
}

static void shut(struct gate *gate)
{
    (void)aur_pool_close(gate->core);
    pthread_mutex_lock(&gate->lock);
    gate->closed = true;
    pthread_cond_broadcast(&gate->shut);
    pthread_mutex_unlock(&gate->lock);
}

bool gate_enter(struct gate *gate)
{
    if (gate->by != getpid()) {
        return true; /* the library says what is wrong with that */
    }
    pthread_mutex_lock(&gate->lock);
    bool entered = !gate->closing;
    gate->inside += entered;
    pthread_mutex_unlock(&gate->lock);
    return entered;
}

void gate_leave(struct gate *gate)
{
    if (gate->by != getpid()) {
        return;
    }
    pthread_mutex_lock(&gate->lock);
    bool last = --gate->inside == 0 && gate->closing;
    pthread_mutex_unlock(&gate->lock);
    if (last) {
        shut(gate);
    }
}

void gate_close(struct gate *gate)
{
    if (gate->by != getpid()) {
        (void)aur_pool_close(gate->core);
        return;
    }
    pthread_mutex_lock(&gate->lock);
    bool first = !gate->closing && gate->inside == 0;
    gate->closing = true;
    pthread_mutex_unlock(&gate->lock);
    if (first) {
        shut(gate);
    }
}

bool gate_wait(struct gate *gate, aur_deadline deadline)
{
    struct timespec until = { (time_t)(deadline / 1000000000), (long)(deadline % 1000000000) };
    int failed = 0;

    if (gate->by != getpid()) {
        return true;
    }
    pthread_mutex_lock(&gate->lock);
    while (gate->closing && !gate->closed && failed != ETIMEDOUT) {
        failed = pthread_cond_timedwait(&gate->shut, &gate->lock, &until);
    }
    bool waits = gate->closing && !gate->closed;
    pthread_mutex_unlock(&gate->lock);
    return !waits;
}
