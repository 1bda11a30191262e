/* The part of a pool that all kinds share: holds, counters, the queue limit, the log. */
#include "task/pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/hot.h"
#include "plat/plat.h"
#include "task/internal.h"

/* ---- all pools of this process ----------------------------------------------------------------- */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static aur_pool *list_first; /* list_lock */
static uint64_t list_last;   /* list_lock: the highest number so far */

/* What is listed belongs to the parent. */
void auri_pools_after_fork(void)
{
    list_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    list_first = NULL;
}

void auri_pool_enlist(aur_pool *pool)
{
    pthread_mutex_lock(&list_lock);
    pool->number = ++list_last;
    pool->next_listed = list_first;
    list_first = pool;
    pthread_mutex_unlock(&list_lock);
}

static void unlist(aur_pool *pool)
{
    pthread_mutex_lock(&list_lock);
    for (aur_pool **at = &list_first; *at != NULL; at = &(*at)->next_listed) {
        if (*at == pool) {
            *at = pool->next_listed;
            break;
        }
    }
    pthread_mutex_unlock(&list_lock);
}

/* A hold, unless the last one is gone already. */
static bool try_hold(aur_pool *pool)
{
    uint32_t holds = auri_load_rlx(&pool->holds); /* relaxed: the CAS decides */

    while (holds != 0) {
        if (auri_cas_rlx(&pool->holds, &holds, holds + 1)) {
            return true;
        }
    }
    return false;
}

aur_pool *auri_pool_by_number(uint64_t number)
{
    pthread_mutex_lock(&list_lock);
    aur_pool *pool = list_first;
    while (pool != NULL && pool->number != number) {
        pool = pool->next_listed;
    }
    if (pool != NULL && !try_hold(pool)) {
        pool = NULL;
    }
    pthread_mutex_unlock(&list_lock);
    return pool;
}

/* ---- holds ------------------------------------------------------------------------------------- */

AURI_HOT void auri_pool_hold(aur_pool *pool)
{
    auri_add_rlx(&pool->holds, 1u); /* relaxed: the caller has a reason already */
}

/* The last hold is gone. */
AURI_APART static void end(aur_pool *pool)
{
    if (pool->generation != auri_process_generation_now()) {
        return; /* a copy in a forked child: where it has mappings, the child may have its own */
    }
    unlist(pool); /* from here on nobody finds it */
    if (pool->impl != NULL) {
        pool->backend->destroy(pool);
    }
    pool->magic = 0;
    free(pool);
}

AURI_HOT void auri_pool_drop(aur_pool *pool)
{
    uint32_t before = auri_sub_acqrel(&pool->holds, 1u); /* acq_rel: as auri_task_unref() */

    AURI_ASSERT(before != 0);
    if (before == 1) {
        end(pool);
    }
}

void auri_pool_log(aur_pool *pool, int level, const char *format, ...)
{
    char text[768];
    va_list args;

    if (pool->opts.log == NULL) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    pool->opts.log(pool->opts.log_ctx, level, text);
}

bool auri_pool_is_idle(aur_pool *pool)
{
    /* finished first: if it equals a later submitted, nothing was open in between.
     * seq_cst; acquire pairs with the addition in auri_pool_finished(): join sees what the tasks did.
     * Sequential, because close stores the state and then looks here, and the last runner adds to
     * finished and then looks at the state: one of them sees the other. */
    uint64_t finished = auri_load_sc(&pool->finished);
    return finished == auri_load_sc(&pool->submitted);
}

/* Calls are finished of a pool that is closed. */
AURI_APART static void finished_late(aur_pool *pool)
{
    if (auri_pool_is_idle(pool)) {
        pool->backend->close(pool); /* again: now everything is done */
        aurp_futex_wake((_Atomic(uint32_t) *)(void *)&pool->finished, INT32_MAX, AURP_PRIVATE);
    }
}

AURI_HOT void auri_pool_finished(aur_pool *pool, uint64_t n)
{
    /* seq_cst; pairs with the store of `state` in close and the re-check in join: either the joiner
     * sees this count, or we see that somebody may wait for it. */
    auri_add_sc(&pool->finished, n);
    if (auri_load_sc(&pool->state) != AURI_OPEN) {
        finished_late(pool);
    }
}

void auri_pool_dequeued(aur_pool *pool)
{
    /* seq_cst on both; a submitter adds to queue_waits, then re-reads queued, then sleeps on it. */
    auri_add_sc(&pool->queued, UINT32_MAX);
    if (auri_load_sc(&pool->queue_waits) != 0) {
        aurp_futex_wake(&pool->queued, INT32_MAX, AURP_PRIVATE);
    }
}
