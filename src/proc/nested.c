/* Submits of tasks in workers: to their own pool, or to another one of this process. */
#include <stdlib.h>
#include <string.h>

#include "proc/internal.h"
#include "sched/run.h"

static aur_err find_fn(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r,
                       const aur_fn **ret_fn)
{
    const void *addr = (const void *)(uintptr_t)r->fn;

    if (r->fn_ref != 0) {
        const struct auri_fn_entry *at =
            auri_window_at(w->req_segment->window, r->fn, sizeof(struct auri_fn_entry));
        struct auri_fn_entry entry;
        auri_module_ref ref;
        if (at == NULL) {
            return AUR_EINVAL;
        }
        auri_copy_once(&entry, at, sizeof(entry));
        memcpy(&ref, entry.ref, sizeof(ref));
        aur_err err = auri_module_decode(&ref, NULL, &addr);
        if (err != AUR_OK) {
            return err;
        }
    }
    if (addr == NULL) {
        return AUR_EINVAL;
    }
    aur_err err = auri_fn_known(p, addr);
    if (err != AUR_OK) {
        return err;
    }
    *ret_fn = addr;
    return (*ret_fn)->abi == AUR_FN_ABI ? AUR_OK : AUR_EINVAL;
}

/* Short byte strings lie in the task, as in pool/bytes.c. */
_Static_assert(AURI_LATE_BYTES >= AURI_SUB_INLINE,
               "what does not lie in the task goes to the arena");

static aur_err make_task(aur_pool *pool, struct auri_worker *w, const struct auri_request *r,
                         const aur_fn *fn, auri_task **ret_task)
{
    const void *in = auri_window_at(w->req_segment->window, auri_extent_off(r->in), r->in.size);
    bool bytes = (fn->flags & AUR_FN_BYTES) != 0;

    if (in == NULL || bytes != (r->bytes != 0) || (!bytes && r->in.size != fn->args_size) ||
        (fn->flags & AUR_FN_RANGE_BODY) != 0) {
        return AUR_EINVAL;
    }
    auri_task *task = auri_task_new(2);
    if (task == NULL) {
        return AUR_ENOMEM;
    }
    task->pool = pool;
    task->fn = fn;
    aur_err err = AUR_OK;
    if (r->limits != 0) {
        struct auri_limits *limits = malloc(sizeof(*limits));
        if (limits != NULL) {
            *limits = (struct auri_limits){ r->timeout_ns, r->retries, r->retry_on };
            auri_task_set_limits(task, limits);
        } else {
            err = AUR_ENOMEM;
        }
    }
    if (err == AUR_OK && bytes) {
        bool fits = r->in.size <= AURI_LATE_BYTES;
        void *room = fits ? NULL : malloc(r->in.size);
        err = fits || room != NULL ? AUR_OK : AUR_ENOMEM;
        if (err == AUR_OK) {
            auri_task_set_bytes(task, room, r->in.size);
            auri_copy_once(auri_task_args(task), in, r->in.size);
        }
    } else if (err == AUR_OK) {
        err = auri_task_fill(task, fn, in);
    }
    if (err != AUR_OK) {
        auri_task_unref(task);
        auri_task_unref(task);
        return err;
    }
    *ret_task = task;
    return AUR_OK;
}

/* A submitter is counted first, and looks at the state after that: as in pool/submit.c [A1].  The worker's
 * own pool is not idle while one of its tasks submits, so it accepts that while it drains. */
static aur_err count_in(struct auri_proc *p, aur_pool *pool)
{
    auri_add_sc(&pool->submitted, UINT64_C(1)); /* seq_cst [A1] */
    uint32_t state = auri_load_sc(&pool->state);
    if (state == AURI_OPEN || (state == AURI_DRAINING && pool == p->pool)) {
        if (pool->opts.queue_max != 0) {
            /* Beyond the limit, if it must be: waiting here could wait for ever. */
            auri_add_sc(&pool->queued, 1u);
        }
        return AUR_OK;
    }
    auri_add_rlx(&pool->cancelled, UINT64_C(1)); /* relaxed: statistics */
    auri_pool_finished(pool, 1);
    return state == AURI_BROKEN ? AUR_EBROKEN : AUR_ESHUTDOWN;
}

/* Without the lock. */
static aur_err hand_over(struct auri_proc *p, aur_pool *pool, auri_task *task)
{
    /* A pool of processes takes a long byte string for its caller's, and copies it (auri_args_place). */
    bool copied = auri_task_is_bytes(task) && pool->backend->borrows_bytes &&
                  task->store.in_size > AURI_LATE_BYTES;
    void *borrowed = copied ? task->store.args_out : NULL;
    aur_err err = count_in(p, pool);

    if (err != AUR_OK) {
        return err;
    }
    auri_task_queue(task);
    err = pool->backend->submit(pool, task);
    if (err == AUR_OK || auri_task_args(task) != borrowed) { /* else it goes with the task */
        free(borrowed);
    }
    if (err != AUR_OK) {
        bool claimed = auri_task_claim(task, 0); /* gives its place in the queue back */
        (void)claimed;
        auri_pool_finished(pool, 1);
    }
    return err;
}

/* The pool that a request is for, with a hold. */
static aur_err pool_of(struct auri_proc *p, const struct auri_request *r, aur_pool **ret_pool)
{
    if (r->pool == 0) {
        auri_pool_hold(p->pool);
        *ret_pool = p->pool;
        return AUR_OK;
    }
    aur_pool *pool = auri_pool_by_number(r->pool);
    if (pool == NULL) {
        return AUR_ESHUTDOWN; /* it was closed, and is gone */
    }
    if (pool->kind == AUR_SERIAL) { /* a worker runs such calls itself, and asks nobody */
        auri_pool_drop(pool);
        return AUR_EINVAL;
    }
    *ret_pool = pool;
    return AUR_OK;
}

/* Without the lock. */
void auri_serve_submit(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
{
    auri_task *task = NULL;
    const aur_fn *fn = NULL;
    aur_pool *pool = NULL;
    uint64_t id = 0;
    aur_err err = pool_of(p, r, &pool);

    if (err == AUR_OK) {
        err = find_fn(p, w, r, &fn);
        err = err == AUR_OK ? make_task(pool, w, r, fn, &task) : err;
    }
    if (err == AUR_OK) {
        id = auri_task_id(task);
        err = hand_over(p, pool, task);
        if (err != AUR_OK) {
            auri_task_unref(task);
            auri_task_unref(task);
        }
    }
    if (pool != NULL) {
        auri_pool_drop(pool);
    }
    pthread_mutex_lock(&p->lock);
    if (err == AUR_OK && (w->ctl == NULL || !auri_request_hold(w, task))) {
        auri_task_unref(task); /* the call goes on; its future is nobody's */
        err = AUR_ENOMEM;
    }
    w->serving = false;
    auri_reply_code(w, err, id);
    pthread_mutex_unlock(&p->lock);
}
