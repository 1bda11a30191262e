/* The life of a task word: queue, claim, finish, cancel; references. */
#include "task/task.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "plat/plat.h"
#include "task/internal.h"
#include "task/pool.h"

/* ---- making -------------------------------------------------------------------------------- */

static size_t round_up(size_t size, size_t align)
{
    return (size + align - 1) & ~(align - 1);
}

aur_err auri_task_fill(auri_task *task, const aur_fn *fn, const void *args)
{
    size_t args_room = round_up(fn->args_size, 16);
    bool args_inline = fn->args_align <= 16 && args_room <= AURI_INLINE_BYTES;
    size_t used = args_inline ? args_room : 0;
    bool ret_inline = fn->ret_align <= 16 && fn->ret_size <= AURI_INLINE_BYTES - used;

    task->fn = fn;
    task->args = task->store;
    task->ret = fn->ret_size == 0 ? NULL : task->store + used;
    if (!args_inline) {
        task->args =
            aligned_alloc(fn->args_align < 16 ? 16 : fn->args_align,
                          round_up(fn->args_size, fn->args_align < 16 ? 16 : fn->args_align));
        if (task->args == NULL) {
            return AUR_ENOMEM;
        }
    }
    if (!ret_inline) {
        task->ret = aligned_alloc(fn->ret_align < 16 ? 16 : fn->ret_align,
                                  round_up(fn->ret_size, fn->ret_align < 16 ? 16 : fn->ret_align));
        if (task->ret == NULL) {
            return AUR_ENOMEM; /* args go with the task */
        }
    }
    memcpy(task->args, args, fn->args_size);
    return AUR_OK;
}

void auri_task_queue(auri_task *task)
{
    uint64_t word = auri_load_rlx(&task->word); /* relaxed: still the creator's alone */

    AURI_ASSERT(auri_word_state(word) == AURI_NEW);
    const struct auri_backend *backend = task->pool->backend;
    uint64_t flags = 0;
    if (backend->progress != NULL) {
        auri_pool_hold(task->pool);
        flags |= AURI_F_HOLDS;
    }
    if (backend->may_help != NULL && backend->may_help(task->pool, task)) {
        flags |= AURI_F_HELP;
    }
    /* release [Q1]; pairs with the acquire of the claim [Q2]: the runner sees fn and args. */
    auri_store_rel(&task->word, (word & (AURI_GEN_MASK | AURI_F_SOLE)) | flags | AURI_QUEUED);
}

/* ---- claiming ------------------------------------------------------------------------------ */

/* Changes QUEUED as seen in *word into RUNNING. */
static bool claim_word(auri_task *task, uint64_t *word, unsigned owner)
{
    uint64_t claimed = (*word & ~(AURI_STATE_MASK | (UINT64_C(0xffff) << AURI_OWNER_SHIFT))) |
                       AURI_RUNNING | ((uint64_t)owner << AURI_OWNER_SHIFT);

    if ((*word & AURI_F_SOLE) != 0) {
        /* relaxed: nobody else has the pointer.  The queue that passed it on, [P1] and [S1] of the deque
         * or [I1] and [I2] of the inbox, has shown us what the creator wrote. */
        auri_store_rlx(&task->word, claimed);
        return true;
    }
    /* acq_rel [Q2] on all 64 bits, generation included: exactly one runner, no ABA.  acquire
     * pairs with [Q1]; release orders whatever the claimer did before (its wait edge). */
    return auri_cas_acqrel(&task->word, word, claimed);
}

bool auri_task_claim(auri_task *task, unsigned owner)
{
    uint64_t word = auri_load_rlx(&task->word); /* relaxed: the CAS decides, or we are alone */

    while (auri_word_state(word) == AURI_QUEUED) {
        if (claim_word(task, &word, owner)) {
            if (task->pool != NULL && task->pool->opts.queue_max != 0) {
                auri_pool_dequeued(task->pool);
            }
            return true;
        }
    }
    return false;
}

void auri_task_requeue(auri_task *task)
{
    uint64_t word = auri_load_rlx(&task->word);
    uint64_t queued;

    do {
        AURI_ASSERT(auri_word_state(word) == AURI_RUNNING);
        queued = (word & ~(AURI_STATE_MASK | (UINT64_C(0xffff) << AURI_OWNER_SHIFT))) | AURI_QUEUED;
        /* release: as [Q1]. */
    } while (!auri_cas_rel(&task->word, &word, queued));
    if (task->pool != NULL && task->pool->opts.queue_max != 0) {
        auri_add_rlx(&task->pool->queued, 1u);
    }
}

/* ---- ending -------------------------------------------------------------------------------- */

/* Counts the outcome.  Before DONE is visible, so that a waiter who then reads the counters sees it;
 * the count that join waits for comes last (auri_pool_finished, by the caller of finish). */
static void count_outcome(auri_task *task)
{
    aur_pool *pool = task->pool;

    if (task->err == AUR_OK || pool == NULL) {
        return;
    }
    /* relaxed: statistics. */
    if (task->err == AUR_ECANCELED) {
        auri_add_rlx(&pool->cancelled, UINT64_C(1));
    } else {
        auri_add_rlx(&pool->failed, UINT64_C(1));
        auri_pool_hold(
            pool); /* until the error was seen or the task is gone: see auri_task_unref */
        if (task->error == NULL) {
            auri_task_fail(task, task->err, "%s", aur_err_text(task->err));
        }
    }
}

static void publish_done(auri_task *task)
{
    uint64_t word = auri_load_rlx(&task->word); /* relaxed: only flags can still change */
    uint64_t done = (word & (AURI_GEN_MASK | AURI_F_HOLDS | AURI_F_SOLE)) | AURI_DONE;

    if ((word & AURI_F_SOLE) != 0) {
        auri_store_rlx(&task->word, done); /* relaxed: only this thread will look */
        return;
    }
    /* acq_rel [D1]; release pairs with the acquire loads of waiters (auri_task_is_done): outcome and
     * result are visible.  acquire pairs with the CAS that set WAITERS or CONTS: we see the request.
     * Flags set after this exchange find DONE and are not needed. */
    uint64_t before = auri_xchg_acqrel(&task->word, done);
    if ((before & AURI_F_WAITERS) != 0) {
        aurp_futex_wake(auri_task_futex(task), INT32_MAX, AURP_PRIVATE);
    }
    if ((before & AURI_F_CONTS) != 0) {
        auri_conts_run(task);
    }
}

void auri_task_finish_uncounted(auri_task *task)
{
    count_outcome(task);
    publish_done(task);
}

void auri_task_finish(auri_task *task)
{
    aur_pool *pool = task->pool;

    auri_task_finish_uncounted(task);
    if (pool != NULL) {
        auri_pool_finished(pool, 1);
    }
}

bool auri_task_cancel_queued(auri_task *task)
{
    if (!auri_task_claim(task, 0)) {
        return false;
    }
    task->err = AUR_ECANCELED;
    auri_task_finish(task);
    return true;
}

aur_error *auri_task_fail(auri_task *task, aur_err err, const char *format, ...)
{
    task->err = err;
    if (task->error == NULL) {
        task->error = calloc(1, sizeof(*task->error));
        if (task->error == NULL) {
            return NULL; /* the code alone must do */
        }
        task->error->item = AUR_NO_ITEM;
        task->error->worker = -1;
        task->error->exit_status = -1;
    }
    aur_error *error = task->error;
    error->err = err;
    error->function = task->fn != NULL    ? task->fn->name
                      : task->map != NULL ? task->map->fn->name
                                          : NULL;
    error->site = task->site;
    error->attempts = task->attempts;
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    return error;
}

/* ---- references ---------------------------------------------------------------------------- */

void auri_task_ref(auri_task *task)
{
    /* relaxed: the caller has a reference, so the count cannot reach zero meanwhile. */
    auri_add_rlx(&task->refs, 1u);
}

bool auri_task_tryref(auri_task *task)
{
    uint32_t refs = auri_load_rlx(&task->refs); /* relaxed: the CAS decides */

    while (refs != 0) {
        /* acquire: what we read next is of the call that this count belongs to, or later. */
        if (auri_cas_acq(&task->refs, &refs, refs + 1)) {
            return true;
        }
    }
    return false;
}

static bool in_store(const auri_task *task, const void *pointer)
{
    const unsigned char *at = pointer;

    return at >= task->store && at < task->store + AURI_INLINE_BYTES;
}

static void task_free(auri_task *task)
{
    aur_pool *pool = task->pool;

    if (task->drop != NULL) {
        task->drop(task);
    } else {
        if (!in_store(task, task->args)) {
            free(task->args);
        }
        if (task->ret != NULL && !in_store(task, task->ret)) {
            free(task->ret);
        }
    }
    bool holds =
        (auri_load_rlx(&task->word) & AURI_F_HOLDS) != 0; /* relaxed: nobody else is left */
    if (task->limits != NULL && (pool == NULL || task->limits != &pool->limits)) {
        free((void *)task->limits);
    }
    /* What count_outcome() did, also where it found no memory for the error. */
    bool counted = auri_word_state(auri_load_rlx(&task->word)) == AURI_DONE &&
                   task->err != AUR_OK && task->err != AUR_ECANCELED && pool != NULL;
    if (task->err != AUR_OK) {
        free(task->error); /* else there is none, and its line is left alone */
    }
    auri_slab_put(task);
    if (counted) {
        auri_pool_drop(pool);
    }
    if (holds) {
        auri_pool_drop(pool);
    }
}

void auri_task_unref(auri_task *task)
{
    /* release, and acquire on the last: everything every holder did happens before the reuse.
     * acq_rel instead of a fence on zero: ThreadSanitizer follows it. */
    uint32_t before = auri_sub_acqrel(&task->refs, 1u);

    AURI_ASSERT(before != 0);
    if (before == 1) {
        task_free(task);
    }
}

void auri_task_unref_queued(auri_task *task, bool sole)
{
    if (sole) {
        task_free(task);
    } else {
        auri_task_unref(task);
    }
}
