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

/* Chooses the places of argument record and result, as far as they fit into the task.  The first answer is also
 * that of auri_fn_is_small(). */
static unsigned traits_of(const aur_fn *fn)
{
    bool args_aligned = fn->args_align <= 16 && fn->args_size <= AURI_INLINE_BYTES;
    bool ret_aligned = fn->ret_align <= 16 && fn->ret_size <= AURI_INLINE_BYTES;
    unsigned kind = fn->args_align > alignof(uint64_t) ? AURI_ARGS_LINE : AURI_ARGS_FIRST;

    if (args_aligned && ret_aligned && auri_ret_at(fn, kind) + fn->ret_size <= sizeof(auri_task)) {
        return kind;
    }
    if (args_aligned && fn->args_size <= AURI_LATE_BYTES) {
        return AURI_ARGS_LATE | AURI_T_RET_OUT;
    }
    bool ret_fits =
        ret_aligned && auri_ret_at(fn, AURI_ARGS_OUT) + fn->ret_size <= sizeof(auri_task);
    return AURI_ARGS_OUT | (ret_fits ? 0 : AURI_T_RET_OUT);
}

static void *room(uint64_t size, uint32_t align)
{
    size_t at_least = align < 16 ? 16 : align;

    return aligned_alloc(at_least, (size + at_least - 1) & ~(at_least - 1));
}

aur_err auri_task_fill(auri_task *task, const aur_fn *fn, const void *args)
{
    unsigned traits = traits_of(fn);

    task->fn = fn;
    if ((traits & AURI_T_RET_OUT) != 0) {
        task->store.ret_out = room(fn->ret_size, fn->ret_align);
        if (task->store.ret_out == NULL) {
            return AUR_ENOMEM;
        }
        task->traits |= AURI_T_RET_OUT; /* from here on it goes with the task */
    }
    if ((traits & AURI_T_ARGS_MASK) == AURI_ARGS_OUT) {
        task->store.args_out = room(fn->args_size, fn->args_align);
        if (task->store.args_out == NULL) {
            return AUR_ENOMEM;
        }
    }
    task->traits |= (uint8_t)traits;
    memcpy(auri_task_args(task), args, fn->args_size);
    return AUR_OK;
}

/* ---- what few tasks have ------------------------------------------------------------------- */

void auri_task_set_map(auri_task *task, struct auri_map *map, const char *site, auri_run_fn *run)
{
    task->store.map = map;
    task->store.map_site = site;
    task->store.map_run = run;
    task->traits |= AURI_T_MAP;
}

const char *auri_task_site(const auri_task *task)
{
    if ((task->traits & AURI_T_MAP) != 0) {
        return task->store.map_site;
    }
    if ((task->traits & AURI_T_STACK) != 0) {
        return task->store.here_site;
    }
    if ((task->traits & AURI_T_SITE) != 0) {
        return auri_task_cold(task)->site;
    }
    return task->site != 0 ? (const char *)((uintptr_t)task->fn + (uintptr_t)task->site) : NULL;
}

void auri_task_set_site_far_(auri_task *task, const char *site)
{
    if (site != NULL) {
        auri_task_cold(task)->site = site;
        task->traits |= AURI_T_SITE;
    }
}

void auri_task_set_run(auri_task *task, auri_run_fn *run)
{
    auri_task_cold(task)->run = run;
    task->traits |= AURI_T_RUN;
}

void auri_task_set_limits(auri_task *task, const struct auri_limits *limits)
{
    auri_task_cold(task)->limits = limits;
    task->traits |= AURI_T_LIMITS;
}

/* ---- queueing ------------------------------------------------------------------------------ */

void auri_task_queue(auri_task *task)
{
    uint64_t word = auri_load_rlx(&task->word); /* relaxed: still the creator's alone */

    AURI_ASSERT(auri_word_state(word) == AURI_NEW);
    const struct auri_backend *backend = task->pool->backend;
    uint64_t flags = 0;
    if (backend->progress != NULL && (word & AURI_F_SOLE) == 0) {
        auri_pool_hold(task->pool);
        flags |= AURI_F_HOLDS;
    }
    if (backend->may_help != NULL && backend->may_help(task->pool, task)) {
        flags |= AURI_F_HELP;
    }
    auri_task_queue_as(task, flags);
}

/* ---- claiming ------------------------------------------------------------------------------ */

/* Changes QUEUED as seen in *word into RUNNING. */
static bool claim_word(auri_task *task, uint64_t *word, unsigned owner)
{
    if ((*word & AURI_F_SOLE) != 0) {
        auri_task_claim_sole(task, owner);
        return true;
    }
    /* acq_rel [Q2] on all 64 bits, generation included: exactly one runner, no ABA.  acquire
     * pairs with [Q1]; release orders whatever the claimer did before (its wait edge). */
    return auri_cas_acqrel(&task->word, word, auri_word_claimed(*word, owner));
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

void auri_task_disown(auri_task *task)
{
    /* relaxed: whoever calls publishes the edge that makes it matter with seq_cst, after this, or shows it to
     * who does by a lock; a look that sees the edge sees this.  Of a sole one nobody can ask. */
    if (!auri_task_is_sole(task)) {
        auri_and_rlx(&task->word, ~(UINT64_C(0xffff) << AURI_OWNER_SHIFT));
    }
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
        if (auri_task_error(task) == NULL) {
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
    if ((word & AURI_F_HOLDS) == 0 && auri_task_tells(task)) { /* with HOLDS nobody spins for it */
        /* relaxed: a hint, and the word decides.  Before it, so that one trip of line 1 brings both. */
        auri_store_rlx(&task->store.told, auri_word_told(word));
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
    auri_task_set_err(task, AUR_ECANCELED);
    auri_task_finish(task);
    return true;
}

void auri_task_set_error(auri_task *task, aur_err err, aur_error *error)
{
    auri_task_set_err(task, err);
    auri_task_cold(task)->error = error;
    if (error != NULL) {
        error->err = task->err;
    }
}

aur_error *auri_task_fail(auri_task *task, aur_err err, const char *format, ...)
{
    struct auri_cold *cold = auri_task_cold(task);
    const struct auri_map *map = auri_task_map(task);

    auri_task_set_err(task, err);
    if (cold->error == NULL) {
        cold->error = calloc(1, sizeof(*cold->error));
        if (cold->error == NULL) {
            return NULL; /* the code alone must do */
        }
        cold->error->item = AUR_NO_ITEM;
        cold->error->worker = -1;
        cold->error->exit_status = -1;
    }
    aur_error *error = cold->error;
    error->err = err;
    error->function = task->fn != NULL ? task->fn->name : map != NULL ? map->fn->name : NULL;
    error->site = auri_task_site(task);
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

bool auri_task_is_in_store(const auri_task *task, const void *at)
{
    return (uintptr_t)at - (uintptr_t)task->store.bytes < AURI_INLINE_BYTES;
}

/* What the task has beside its two lines. */
static void free_rest(auri_task *task)
{
    if (auri_task_args_kind(task) == AURI_ARGS_OUT) {
        free(task->store.args_out);
    }
    if ((task->traits & AURI_T_RET_OUT) != 0 && !auri_task_is_in_store(task, task->store.ret_out)) {
        free(task->store.ret_out);
    }
    if ((task->traits & (AURI_T_LIMITS | AURI_T_RUN | AURI_T_SITE)) != 0 || task->err != AUR_OK) {
        struct auri_cold *cold = auri_task_cold(task);
        free((void *)cold->limits);
        free(cold->error);
        memset(cold, 0, sizeof(*cold));
    }
}

static void task_free(auri_task *task)
{
    aur_pool *pool = task->pool;
    bool holds =
        (auri_load_rlx(&task->word) & AURI_F_HOLDS) != 0; /* relaxed: nobody else is left */

    if (holds && pool->generation != auri_process_generation_now()) {
        return; /* a copy in a forked child: its place, its result and its pool are the parent's */
    }
    if (holds && pool->backend->drop != NULL) {
        pool->backend->drop(task);
    }
    if (task->traits != 0 || task->err != AUR_OK) {
        free_rest(task);
    }
    /* What count_outcome() did, also where it found no memory for the error. */
    bool counted = auri_word_state(auri_load_rlx(&task->word)) == AURI_DONE &&
                   task->err != AUR_OK && task->err != AUR_ECANCELED && pool != NULL;
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
