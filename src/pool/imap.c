/* Results one by one, from a bounded number of calls under way.
 *
 * An item is open from its submit until its result was taken; no more than `window` are open, and
 * the window is filled at the start of each take, so that a caller who looks between two takes
 * never sees more.  Bytes and items come to the same bound, since each record of a function has one
 * size.
 *
 * Ordered: the open items are a queue, and a take waits for the oldest.
 * Unordered: each open item has a continuation that pushes it on a list (by one CAS) and adds to a
 * word; the owner takes the whole list by one exchange.  Each continuation holds a share of the
 * iterator's memory, since it may still be firing when the iterator is freed. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "plat/plat.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "pool/submit.h"
#include "sched/run.h"
#include "sched/wait.h"

struct item {
    struct auri_cont cont; /* first: fire() gets its address */
    aur_imap_iter *iter;
    aur_future *future;
    uint64_t index;
    size_t at;         /* unordered: its place in iter->tasks and iter->items */
    struct item *next; /* in whichever list it is: open (ordered), arrived, ready, spare */
};

struct aur_imap_iter {
    aur_pool *pool; /* held */
    const aur_fn *fn;
    const char *site;
    struct auri_limits limits;
    aur_next_fn *next; /* NULL: records */
    void *ctx;
    const unsigned char *records;
    uint64_t n;    /* of records */
    void *pending; /* a record that next() gave and the pool has not taken yet */
    bool has_pending;
    bool ended; /* there is no further input */
    bool ordered;
    bool untold; /* the futures are */
    uint64_t window;
    uint64_t open;             /* items */
    uint64_t started;          /* the next item's index */
    struct item *first, *last; /* ordered: open items, oldest first */
    struct item *ready;        /* unordered: done, oldest first */
    struct item *spare;        /* free nodes */
    struct item **items;       /* unordered: the open items, in no order */
    auri_task **tasks;         /* their futures, for the deadlock walk */
    size_t tasks_n, tasks_max;
    _Atomic(struct item *) arrived; /* A: done, newest first */
    _Atomic(uint32_t) completions;  /* A: futex of the owner: +1 per arrival */
    _Atomic(uint32_t) shares;       /* A: reasons to keep this memory */
};

/* ---- memory -------------------------------------------------------------------------------- */

static void items_free(struct item *item)
{
    while (item != NULL) {
        struct item *next = item->next;
        if (item->future != NULL) {
            auri_task_unref(item->future);
        }
        free(item);
        item = next;
    }
}

static void share_drop(aur_imap_iter *iter)
{
    /* acq_rel: what each holder did comes before the free. */
    if (auri_sub_acqrel(&iter->shares, 1u) != 1) {
        return;
    }
    items_free(iter->spare);
    items_free(iter->first);
    items_free(iter->ready);
    items_free(auri_load_rlx(&iter->arrived)); /* relaxed: nobody else is left */
    free(iter->items);
    free(iter->tasks);
    free(iter->pending);
    auri_pool_drop(iter->pool);
    free(iter);
}

static struct item *item_new(aur_imap_iter *iter)
{
    struct item *item = iter->spare;

    if (item != NULL) {
        iter->spare = item->next;
    } else {
        item = malloc(sizeof(*item));
    }
    if (item != NULL) {
        *item = (struct item){ .iter = iter };
    }
    return item;
}

static void item_put(aur_imap_iter *iter, struct item *item)
{
    if (item->future != NULL) {
        auri_task_unref(item->future);
        item->future = NULL;
    }
    item->next = iter->spare;
    iter->spare = item;
}

/* Makes room for one more open item. */
static bool tasks_grow(aur_imap_iter *iter)
{
    if (iter->tasks_n < iter->tasks_max) {
        return true;
    }
    size_t max = iter->tasks_max == 0 ? 16 : 2 * iter->tasks_max;
    struct item **items = realloc(iter->items, max * sizeof(struct item *));
    if (items == NULL) {
        return false;
    }
    iter->items = items;
    auri_task **tasks = realloc(iter->tasks, max * sizeof(auri_task *));
    if (tasks == NULL) {
        return false;
    }
    iter->tasks = tasks;
    iter->tasks_max = max;
    return true;
}

static void tasks_put(aur_imap_iter *iter, size_t at, struct item *item)
{
    item->at = at;
    iter->items[at] = item;
    iter->tasks[at] = item->future;
}

/* The last one fills the gap. */
static void tasks_remove(aur_imap_iter *iter, struct item *item)
{
    iter->tasks_n--;
    tasks_put(iter, item->at, iter->items[iter->tasks_n]);
}

/* ---- completions --------------------------------------------------------------------------- */

static void item_fire(struct auri_cont *cont, auri_task *task)
{
    struct item *item = (struct item *)(void *)cont;
    aur_imap_iter *iter = item->iter;
    struct item *head = auri_load_rlx(&iter->arrived); /* relaxed: the CAS publishes */

    (void)task;
    do {
        item->next = head;
        /* release [I1]; pairs with the acquire exchange [I2] in collect(). */
    } while (!auri_cas_rel(&iter->arrived, &head, item));
    /* seq_cst; pairs with the load in take_unordered(): the owner sees the new number, or the
     * item. */
    auri_add_sc(&iter->completions, 1u);
    aurp_futex_wake(&iter->completions, 1, AURP_PRIVATE);
    share_drop(iter);
}

/* Moves what has arrived to `ready`, which is empty, oldest first. */
static void collect(aur_imap_iter *iter)
{
    struct item *item = auri_xchg_acq(&iter->arrived, NULL); /* acquire [I2] */

    while (item != NULL) {
        struct item *next = item->next;
        item->next = iter->ready;
        iter->ready = item;
        item = next;
    }
}

static void watch(aur_imap_iter *iter, struct item *item)
{
    item->cont.fire = item_fire;
    auri_add_rlx(&iter->shares, 1u); /* relaxed: the owner has a share already */
    tasks_put(iter, iter->tasks_n++, item);
    iter->untold |= auri_task_is_untold(item->future);
    if (auri_cont_add(item->future, &item->cont)) {
        auri_task_attend(item->future);
    } else {
        item_fire(&item->cont, item->future);
    }
}

/* ---- filling the window -------------------------------------------------------------------- */

/* The next argument record, or NULL if there is none left. */
static const void *peek(aur_imap_iter *iter)
{
    if (iter->next == NULL) {
        return iter->started < iter->n ? iter->records + iter->started * iter->fn->args_size : NULL;
    }
    if (!iter->has_pending && !iter->ended) {
        iter->has_pending = iter->next(iter->ctx, iter->pending);
        iter->ended = !iter->has_pending;
    }
    return iter->has_pending ? iter->pending : NULL;
}

static aur_err start_task(aur_imap_iter *iter, const void *args, enum auri_room room,
                          aur_deadline deadline, auri_task **ret_task)
{
    struct auri_call call = { .limits = iter->limits };
    aur_pool *pool = iter->pool;

    call.own_limits = memcmp(&call.limits, &pool->limits, sizeof(call.limits)) != 0;
    aur_err err = auri_task_make(pool, &call, iter->fn, iter->site, 2, ret_task);
    if (err != AUR_OK) {
        return err;
    }
    err = auri_task_fill(*ret_task, iter->fn, args);
    if (err == AUR_OK) {
        err = auri_submit(pool, *ret_task, room, deadline);
    }
    if (err != AUR_OK) {
        auri_task_discard(*ret_task, 2);
    }
    return err;
}

static aur_err start_item(aur_imap_iter *iter, const void *args, enum auri_room room,
                          aur_deadline deadline)
{
    struct item *item = !iter->ordered && !tasks_grow(iter) ? NULL : item_new(iter);

    if (item == NULL) {
        return AUR_ENOMEM;
    }
    aur_err err = start_task(iter, args, room, deadline, &item->future);
    if (err != AUR_OK) {
        item->future = NULL;
        item_put(iter, item);
        return err;
    }
    item->index = iter->started++;
    iter->has_pending = false;
    iter->open++;
    if (!iter->ordered) {
        watch(iter, item);
    } else if (iter->first == NULL) {
        iter->first = iter->last = item;
    } else {
        iter->last->next = item;
        iter->last = item;
    }
    return AUR_OK;
}

/* Starts items up to the window.  Only the first of all waits for room in the pool's queue: with
 * another under way there is a result to come.  An error: nothing is open. */
static aur_err fill(aur_imap_iter *iter, aur_deadline deadline)
{
    while (iter->open < iter->window) {
        const void *args = peek(iter);
        if (args == NULL) {
            return AUR_OK;
        }
        enum auri_room room = iter->open == 0 ? AURI_ROOM_POLICY : AURI_ROOM_TRY;
        aur_err err = start_item(iter, args, room, deadline);
        if (err != AUR_OK) {
            return iter->open == 0 ? err : AUR_OK;
        }
    }
    return AUR_OK;
}

/* ---- making -------------------------------------------------------------------------------- */

static uint64_t window_of(const struct auri_call *call, const aur_fn *fn)
{
    uint64_t by_bytes = call->window_bytes / (fn->args_size + fn->ret_size);
    uint64_t window = call->window_items < by_bytes ? call->window_items : by_bytes;

    return window != 0 ? window : 1; /* an item larger than the window goes alone */
}

/* What both forms have in common; *ret_why as in the checks. */
static aur_err iter_new(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                        aur_imap_iter **ret_iter, const char **reterr_why)
{
    struct auri_call call;
    aur_err err = auri_pool_here(&pool);

    if (err != AUR_OK) {
        *reterr_why = err == AUR_EINVAL ? "no pool is given" : NULL;
        return err;
    }
    err = auri_fn_check(fn, 0, reterr_why);
    if (err == AUR_OK) {
        auri_auto_route(&pool, fn);
        err = auri_call_resolve(pool, opts, &call, reterr_why);
    }
    if (err == AUR_OK) {
        err = auri_pool_closed(pool);
    }
    if (err != AUR_OK) {
        return err;
    }
    aur_imap_iter *iter = calloc(1, sizeof(*iter));
    if (iter == NULL) {
        return AUR_ENOMEM;
    }
    iter->fn = fn;
    iter->limits = call.limits;
    iter->window = window_of(&call, fn);
    iter->pool = pool;
    auri_pool_hold(pool);
    auri_store_rlx(&iter->shares, 1u); /* relaxed: nobody else knows it yet */
    *ret_iter = iter;
    return AUR_OK;
}

aur_err aur_fn_imap(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                    aur_next_fn *next, void *ctx, bool ordered, aur_imap_iter **ret_iter,
                    const char *site)
{
    if (next == NULL || ret_iter == NULL) {
        return auri_verb_failed(AUR_EINVAL, fn, site, "next or ret_iter is NULL");
    }
    aur_imap_iter *iter;
    const char *why = NULL;
    aur_err err = iter_new(pool, opts, fn, &iter, &why);
    if (err != AUR_OK) {
        return auri_verb_failed(err, fn, site, why);
    }
    iter->next = next;
    iter->ctx = ctx;
    iter->ordered = ordered;
    iter->site = site;
    size_t align = fn->args_align < 16 ? 16 : fn->args_align;
    iter->pending = aligned_alloc(align, (fn->args_size + align - 1) & ~(align - 1));
    if (iter->pending == NULL) {
        share_drop(iter);
        return auri_verb_failed(AUR_ENOMEM, fn, site, NULL);
    }
    *ret_iter = iter;
    return AUR_OK;
}

aur_err aur_fn_imap_array(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                          const void *args, size_t n, bool ordered, aur_imap_iter **ret_iter,
                          const char *site)
{
    if (ret_iter == NULL || (args == NULL && n != 0)) {
        return auri_verb_failed(AUR_EINVAL, fn, site, "args or ret_iter is NULL");
    }
    aur_imap_iter *iter;
    const char *why = NULL;
    aur_err err = iter_new(pool, opts, fn, &iter, &why);
    if (err != AUR_OK) {
        return auri_verb_failed(err, fn, site, why);
    }
    iter->records = args;
    iter->n = n;
    iter->ordered = ordered;
    iter->site = site;
    err = n > SIZE_MAX / fn->args_size ? AUR_EINVAL : fill(iter, AUR_NO_DEADLINE);
    if (err != AUR_OK) {
        share_drop(iter);
        return auri_verb_failed(err, fn, site, NULL);
    }
    *ret_iter = iter;
    return AUR_OK;
}

/* ---- taking -------------------------------------------------------------------------------- */

static aur_err take_ordered(aur_imap_iter *iter, aur_deadline deadline, struct item **ret_item)
{
    struct item *item = iter->first;
    aur_err err = auri_wait_task(item->future, deadline);

    if (err != AUR_OK) {
        return err;
    }
    iter->first = item->next;
    *ret_item = item;
    return AUR_OK;
}

static aur_err take_unordered(aur_imap_iter *iter, aur_deadline deadline, struct item **ret_item)
{
    while (iter->ready == NULL) {
        /* seq_cst: before the look, so that an arrival after the look changes the word. */
        uint32_t seen = auri_load_sc(&iter->completions);
        collect(iter);
        if (iter->ready == NULL) {
            aur_err err = (iter->untold ? auri_wait_word_asking : auri_wait_word)(
                &iter->completions, seen, iter->tasks, iter->tasks_n, deadline);
            if (err != AUR_OK) {
                return err;
            }
        }
    }
    struct item *item = iter->ready;
    iter->ready = item->next;
    tasks_remove(iter, item);
    *ret_item = item;
    return AUR_OK;
}

/* Hands out what was taken. */
static aur_err give(aur_imap_iter *iter, struct item *item, void *ret_value, uint64_t *ret_index)
{
    auri_task *task = item->future;
    aur_err err = task->err;

    if (ret_index != NULL) {
        *ret_index = item->index;
    }
    if (err != AUR_OK) {
        auri_task_seen(task);
        aur_error *error = auri_task_error(task);
        if (error != NULL) {
            error->item = item->index; /* the owner is the only one who has this future */
        }
        auri_last_error_of(task);
    } else if (ret_value != NULL && iter->fn->ret_size != 0) {
        memcpy(ret_value, auri_task_ret(task), iter->fn->ret_size);
    }
    iter->open--;
    item_put(iter, item);
    return err;
}

aur_err aur_imap_next_sized(aur_imap_iter *iter, void *ret_value, size_t size, uint64_t *ret_index,
                            aur_deadline deadline)
{
    struct item *item;

    if (iter == NULL) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "no iterator is given");
    }
    if (ret_value != NULL && size != iter->fn->ret_size) {
        return auri_verb_failed(AUR_ESIZE, iter->fn, iter->site, NULL);
    }
    aur_err err = fill(iter, deadline);
    if (err != AUR_OK) {
        return auri_verb_failed(err, iter->fn, iter->site, NULL);
    }
    if (iter->open == 0) {
        return AUR_END;
    }
    err =
        iter->ordered ? take_ordered(iter, deadline, &item) : take_unordered(iter, deadline, &item);
    if (err == AUR_OK) {
        return give(iter, item, ret_value, ret_index);
    }
    if (err == AUR_EDEADLK || (err == AUR_ETIMEDOUT && deadline == 0)) {
        return err; /* noted already; or a poll, which is no failure */
    }
    return auri_verb_failed(err, iter->fn, iter->site, NULL);
}

/* ---- the end ------------------------------------------------------------------------------- */

aur_imap_iter *aur_imap_free(aur_imap_iter *iter)
{
    if (iter == NULL) {
        return NULL;
    }
    for (struct item *item = iter->first; item != NULL; item = item->next) {
        (void)auri_task_cancel_unstarted(item->future);
    }
    for (size_t i = 0; i < iter->tasks_n; i++) {
        struct item *item = iter->items[i];
        (void)auri_task_cancel_unstarted(item->future);
        /* One that has fired, or is firing, is on a list or soon will be; the last share frees
         * it. */
        if (auri_cont_remove(item->future, &item->cont)) {
            item_put(iter, item);
            share_drop(iter);
        }
    }
    share_drop(iter);
    return NULL;
}

void aur_imap_iter_scoped_(aur_imap_iter **iter)
{
    *iter = aur_imap_free(*iter);
}
