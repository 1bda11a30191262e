/* Requests of tasks in workers: futures of nested calls.
 *
 * A worker has at most one request at a time.  While it waits for another task it takes no entries,
 * so what it has not begun goes back to the queue, the awaited task goes to its front, and, if no
 * other worker is free for it, a spare worker is started. */
#include <stdlib.h>
#include <string.h>

#include "proc/internal.h"
#include "sched/detect.h"
#include "sched/run.h"

void auri_request_look(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    (void)p;
    /* acquire: as auri_mail_take() [C9]. */
    if (w->serving || w->blocked || w->cont_armed || w->state == AURI_W_DEAD ||
        h->asking_n == AURI_PARCELS || auri_load_acq(&w->ctl->mailbox.req_seq) == w->req_seen) {
        return;
    }
    w->serving = true;
    w->refs++;
    h->asking[h->asking_n++] = w;
}

/* ---- replies --------------------------------------------------------------------------------------------- */

/* With the lock held.  data: bytes that come with it. */
static void reply(struct auri_worker *w, struct auri_reply *r, const void *data, uint64_t size)
{
    struct auri_proc *p = w->proc;

    if (w->ctl == NULL) {
        return; /* it died meanwhile */
    }
    if (w->reply_extent != AURI_NO_EXTENT) {
        auri_arena_free(p->args, w->reply_extent);
        w->reply_extent = AURI_NO_EXTENT;
    }
    if (size != 0) {
        if (auri_arena_alloc(p->args, size, &w->reply_extent) == AUR_OK) {
            memcpy(auri_arena_at(p->args, w->reply_extent), data, size);
            r->out = auri_extent_make(AURI_SEG_ARGS, w->reply_extent, size);
        } else {
            w->reply_extent = AURI_NO_EXTENT;
            if (!r->task_failed) {
                r->err = AUR_ENOMEM;
            }
        }
    }
    auri_mail_reply(w->ctl, w->req_seen, r);
}

static void reply_code(struct auri_worker *w, aur_err err, uint64_t value)
{
    struct auri_reply r = { .err = err, .value = value };

    reply(w, &r, NULL, 0);
}

/* The outcome of a task that is done. */
static void reply_outcome(struct auri_worker *w, auri_task *task)
{
    struct auri_reply r = { .err = task->err, .task_failed = task->err != AUR_OK };

    if (task->err != AUR_OK) {
        /* relaxed, both: as in auri_task_seen(), which is not for this layer. */
        bool seen = (auri_or_rlx(&task->word, AURI_F_SEEN) & AURI_F_SEEN) != 0;
        if (!seen && task->err != AUR_ECANCELED && task->pool != NULL) {
            auri_add_rlx(&task->pool->seen, UINT64_C(1));
        }
        reply(w, &r, task->error, task->error != NULL ? sizeof(*task->error) : 0);
    } else if (task->map != NULL || task->fn == NULL) {
        reply(w, &r, NULL, 0);
    } else if (auri_task_is_bytes(task)) {
        reply(w, &r, task->ret, auri_bytes_of(task)->out_size);
    } else {
        reply(w, &r, task->ret, task->fn->ret_size);
    }
}

/* ---- what it holds ----------------------------------------------------------------------------------------- */

static bool hold(struct auri_worker *w, auri_task *task)
{
    if (w->held_n == w->held_room) {
        uint32_t room = w->held_room == 0 ? 16 : w->held_room * 2;
        auri_task **held = realloc(w->held, room * sizeof(auri_task *));
        if (held == NULL) {
            return false;
        }
        w->held = held;
        w->held_room = room;
    }
    w->held[w->held_n++] = task;
    return true;
}

/* Takes the worker's reference to the task named id; NULL: it has none. */
static auri_task *unhold(struct auri_worker *w, uint64_t id)
{
    for (uint32_t i = w->held_n; i-- > 0;) {
        if (auri_task_id(w->held[i]) == id) {
            auri_task *task = w->held[i];
            w->held[i] = w->held[--w->held_n];
            return task;
        }
    }
    return NULL;
}

/* ---- submit ------------------------------------------------------------------------------------------------ */

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
#define BYTES_ROOM (AURI_INLINE_BYTES - sizeof(struct auri_bytes_store))
_Static_assert(BYTES_ROOM >= AURI_SUB_INLINE, "what does not lie in the task goes to the arena");

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
    task->run = auri_run_call;
    task->limits = &pool->limits;
    aur_err err = AUR_OK;
    if (r->limits != 0) {
        struct auri_limits *limits = malloc(sizeof(*limits));
        if (limits != NULL) {
            *limits = (struct auri_limits){ r->timeout_ns, r->retries, r->retry_on };
            task->limits = limits;
        } else {
            err = AUR_ENOMEM;
        }
    }
    if (err == AUR_OK && bytes) {
        auri_bytes_of(task)->in_size = r->in.size;
        task->args = r->in.size <= BYTES_ROOM ? task->store + sizeof(struct auri_bytes_store)
                                              : malloc(r->in.size);
        err = task->args != NULL ? AUR_OK : AUR_ENOMEM;
        if (err == AUR_OK) {
            auri_copy_once(task->args, in, r->in.size);
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
                  auri_bytes_of(task)->in_size > BYTES_ROOM;
    void *borrowed = copied ? task->args : NULL;
    aur_err err = count_in(p, pool);

    if (err != AUR_OK) {
        return err;
    }
    auri_task_queue(task);
    err = pool->backend->submit(pool, task);
    if (err == AUR_OK || task->args != borrowed) { /* else it goes with the task */
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
static void serve_submit(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
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
    if (err == AUR_OK && (w->ctl == NULL || !hold(w, task))) {
        auri_task_unref(task); /* the call goes on; its future is nobody's */
        err = AUR_ENOMEM;
    }
    w->serving = false;
    reply_code(w, err, id);
    pthread_mutex_unlock(&p->lock);
}

/* ---- wait ---------------------------------------------------------------------------------------------------- */

/* With the lock held: the wait is over, one way or another; the caller replies. */
static auri_task *end_wait(struct auri_worker *w)
{
    auri_task *task = w->awaited;

    w->blocked = false;
    w->proc->blocked--;
    w->awaited = NULL;
    w->wait_deadline = AUR_NO_DEADLINE;
    if (w->edge) {
        auri_edge_clear(w->record);
        auri_edge_maps(w->record, NULL, 0);
        w->edge = false;
    }
    return task;
}

/* The awaited task is done.  Called without the pool's lock. */
static void awaited_done(struct auri_cont *cont, auri_task *task)
{
    struct auri_worker *w =
        (struct auri_worker *)(void *)((char *)cont - offsetof(struct auri_worker, cont));
    struct auri_proc *p = w->proc;
    auri_task *waited = NULL;

    pthread_mutex_lock(&p->lock);
    w->cont_armed = false;
    if (w->blocked && w->awaited == task) {
        waited = end_wait(w);
        reply_outcome(w, task);
    }
    auri_worker_unref(p, w);
    p->firing--;
    if (p->firing == 0 && p->quitting) {
        auri_kick(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (waited != NULL) {
        auri_task_unref(waited);
    }
}

/* With the lock held: gives the continuation up, unless it is on its way. */
static void disconnect(struct auri_worker *w, auri_task *task)
{
    if (w->cont_armed && auri_cont_remove(task, &w->cont)) {
        w->cont_armed = false;
        w->refs--; /* the caller has another */
        w->proc->firing--;
    }
}

/* With the lock held: moves an awaited task of this pool to the front of the queue. */
void auri_hurry(struct auri_proc *p, auri_task *task)
{
    /* relaxed: moves only under the lock, but for a cancellation, which leaves it in the queue. */
    if (task->pool != p->pool || p->queue_first == task ||
        auri_word_state(auri_load_rlx(&task->word)) != AURI_QUEUED) {
        return;
    }
    const struct auri_mapjob *job = auri_mapjob_of(task);
    bool queued = task->map != NULL ? job != NULL && job->queued : task->priv != NULL;
    if (queued) { /* else its submit is still on the way */
        auri_queue_remove(p, task);
        auri_queue_prepend(p, task);
    }
}

/* Only then may its pool be looked at without a look at whether it is done. */
static bool holds_pool(auri_task *task)
{
    return (auri_load_rlx(&task->word) & AURI_F_HOLDS) != 0; /* relaxed: the flag is constant */
}

/* Without the lock.  A worker of ours waits for a task of another pool of processes: that pool may have to
 * run it in place of a wait, and could not see this one's edge before. */
static void tell_its_pool(const struct auri_proc *p, auri_task *task)
{
    if (!holds_pool(task) || task->pool == p->pool ||
        task->pool->backend != &auri_backend_processes) {
        return;
    }
    struct auri_proc *its = auri_proc_of(task->pool);
    pthread_mutex_lock(&its->lock);
    if (its->blocked != 0 && its->queue_first != NULL) {
        auri_hurry(its, task);
        auri_kick(its);
    }
    pthread_mutex_unlock(&its->lock);
}

/* With the lock held: of which maps the worker runs items now, the innermost first. */
static void publish_maps(struct auri_worker *w)
{
    auri_task *maps[AURI_WAIT_MAPS];
    size_t n = 0;
    uint64_t seq = w->head;

    for (uint32_t i = w->inner_n; i-- > 0 && n < AURI_WAIT_MAPS;) {
        if (w->inner[i].flight.count != 0) {
            maps[n++] = w->inner[i].flight.task;
        }
    }
    while (seq < w->tail && auri_answered(w, seq)) { /* not taken yet */
        seq++;
    }
    if (seq < w->tail && auri_flight_at(w, seq)->count != 0 && n < AURI_WAIT_MAPS) {
        maps[n++] = auri_flight_at(w, seq)->task;
    }
    auri_edge_maps(w->record, maps, n);
}

static void serve_wait(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
{
    auri_task *task = auri_task_from_id(r->id);
    aur_error error;
    aur_err err = AUR_OK;
    bool polls = r->op == AURI_REQ_POLL;

    if (task != NULL && polls && holds_pool(task)) {
        task->pool->backend->progress(task->pool, task, 0); /* what has arrived counts */
    }
    pthread_mutex_lock(&p->lock);
    if (w->ctl == NULL || w->state == AURI_W_DEAD) {
        err = AUR_ECANCELED; /* nobody to answer */
    } else if (task == NULL) {
        reply_code(w, AUR_EINVAL, 0);
        err = AUR_EINVAL;
    } else if (auri_task_is_done(task)) {
        reply_outcome(w, task);
        err = AUR_END;
    } else if (polls || (r->deadline != AUR_NO_DEADLINE && aurp_now_ns() >= r->deadline)) {
        reply_code(w, AUR_ETIMEDOUT, 0);
        err = AUR_ETIMEDOUT;
    }
    if (err != AUR_OK) {
        w->serving = false;
        pthread_mutex_unlock(&p->lock);
        if (task != NULL) {
            auri_task_unref(task);
        }
        return;
    }
    bool timed = r->deadline != AUR_NO_DEADLINE;
    w->blocked = true;
    p->blocked++;
    p->nests = true;
    w->awaited = task;
    w->wait_deadline = r->deadline;
    w->room = r->room == 1 && !timed;
    auri_revoke_from(p, w, w->head + 1);
    auri_hurry(p, task);
    publish_maps(w);
    auri_edge_task(w->record, task, timed);
    w->edge = true;
    w->refs++;
    p->firing++;
    w->cont_armed = true;
    w->cont.fire = awaited_done;
    auri_task_ref(task); /* ours: from here on the wait can end at any time, and drop its own */
    pthread_mutex_unlock(&p->lock);

    bool added = auri_cont_add(task, &w->cont);
    if (!added) {
        awaited_done(&w->cont, task);
    } else if (!timed) {
        err = auri_detect(w->record, &error);
    }
    if (!timed) {
        tell_its_pool(p, task);
    }
    pthread_mutex_lock(&p->lock);
    auri_task *waited = NULL;
    w->serving = false; /* from here on the node of the continuation is settled */
    if (!w->blocked) {
        disconnect(w, task); /* the wait ended before the continuation was there */
    }
    if (err == AUR_EDEADLK && w->blocked && w->awaited == task) {
        struct auri_reply answer = { .err = AUR_EDEADLK };
        auri_add_rlx(&p->pool->deadlocks, UINT64_C(1)); /* relaxed: statistics */
        disconnect(w, task);
        waited = end_wait(w);
        reply(w, &answer, &error, sizeof(error));
    }
    auri_dispatch(p);
    auri_relieve(p);
    auri_listen(p);
    if (timed && r->deadline < p->guardian_wakes_ns) {
        auri_kick(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (waited != NULL) {
        auri_pool_log(p->pool, AUR_LOG_WARN, "deadlock: %s", error.message);
        auri_task_unref(waited);
    }
    auri_task_unref(task);
}

uint64_t auri_request_deadlines(struct auri_proc *p, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w == NULL || !w->blocked || w->serving) {
            continue; /* serving: whoever asked for a verdict has it, and answers */
        }
        bool victim = auri_load_acq(&w->record->victim) != 0;
        if (!victim && w->wait_deadline > now) {
            next = w->wait_deadline < next ? w->wait_deadline : next;
            continue;
        }
        struct auri_reply answer = { .err = victim ? AUR_EDEADLK : AUR_ETIMEDOUT };
        aur_error why;
        if (victim) {
            auri_victim_error(w->record, &why);
        }
        disconnect(w, w->awaited);
        auri_task *task = end_wait(w);
        reply(w, &answer, victim ? &why : NULL, victim ? sizeof(why) : 0);
        auri_task_unref(task);
    }
    return next;
}

void auri_request_abandon(struct auri_proc *p, struct auri_worker *w)
{
    (void)p;
    if (w->blocked) {
        disconnect(w, w->awaited);
        auri_task_unref(end_wait(w));
    }
    if (w->reply_extent != AURI_NO_EXTENT) {
        auri_arena_free(w->proc->args, w->reply_extent);
        w->reply_extent = AURI_NO_EXTENT;
    }
    while (w->held_n != 0) {
        auri_task_unref(w->held[--w->held_n]);
    }
}

/* Ends the wait of a worker with an error. */
void auri_wait_refuse(struct auri_worker *w, aur_err err)
{
    auri_task *task = w->awaited;

    disconnect(w, task);
    end_wait(w);
    reply_code(w, err, 0);
    auri_task_unref(task);
}

bool auri_wait_entry(struct auri_worker *w, const struct auri_sub_desc *entry)
{
    struct auri_reply r = { .err = AUR_EPENDING };
    auri_task *task = w->awaited;

    disconnect(w, task);
    end_wait(w);
    reply(w, &r, entry, sizeof(*entry));
    auri_task_unref(task);
    return r.err == AUR_EPENDING;
}

/* ---- all requests ------------------------------------------------------------------------------------------------ */

void auri_request_finish(struct auri_proc *p, struct auri_worker *w, aur_err err, uint64_t value)
{
    pthread_mutex_lock(&p->lock);
    w->serving = false;
    reply_code(w, err, value);
    pthread_mutex_unlock(&p->lock);
}

static void serve_cancel(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
{
    auri_task *task = auri_task_from_id(r->id);
    int what = AUR_CANCEL_TOO_LATE;

    if (task == NULL) {
        auri_request_finish(p, w, AUR_EINVAL, 0);
        return;
    }
    if (auri_task_cancel_queued(task)) {
        what = AUR_CANCEL_DROPPED;
    } else if (holds_pool(task)) {
        if (!auri_task_is_done(task)) {
            what = task->pool->backend->cancel(task->pool, task, true);
        }
    } else {
        /* It runs in a thread: a flag is all there is to do (as auri_task_cancel()). */
        uint64_t word = auri_load_rlx(&task->word);
        while (auri_word_state(word) == AURI_RUNNING && what == AUR_CANCEL_TOO_LATE) {
            if (auri_cas_rlx(&task->word, &word, word | AURI_F_CANCEL)) {
                what = AUR_CANCEL_SIGNALLED;
            }
        }
    }
    auri_task_unref(task);
    auri_request_finish(p, w, AUR_OK, (uint64_t)what);
}

void auri_request_serve(struct auri_proc *p, struct auri_worker *w)
{
    struct auri_request r;
    auri_task *dropped = NULL;

    pthread_mutex_lock(&p->lock);
    bool there = w->ctl != NULL && auri_mail_take(w->ctl, w->req_seen, &w->req_seen, &r);
    struct auri_segment *segment = w->segment;
    if (there) {
        auri_segment_ref(segment); /* so that no successor gets it while we read */
        w->req_segment = segment;
    }
    if (!there) {
        w->serving = false;
    } else if (r.op == AURI_REQ_DROP) {
        dropped = unhold(w, r.id);
        w->serving = false;
        reply_code(w, AUR_OK, 0);
    }
    pthread_mutex_unlock(&p->lock);
    if (dropped != NULL) {
        auri_task_unref(dropped);
    }
    if (!there) {
        return;
    }
    if (r.op == AURI_REQ_DROP) {
        /* answered above */
    } else if (r.op == AURI_REQ_SUBMIT) {
        serve_submit(p, w, &r);
    } else if (r.op == AURI_REQ_WAIT || r.op == AURI_REQ_POLL) {
        serve_wait(p, w, &r);
    } else if (r.op == AURI_REQ_CANCEL) {
        serve_cancel(p, w, &r);
    } else if (r.op == AURI_REQ_RAN) {
        auri_serve_ran(p, w, &r);
    } else {
        auri_request_finish(p, w, AUR_EINVAL, 0);
    }
    auri_segment_unref(segment);
}
