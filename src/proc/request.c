/* Requests of tasks in workers: who has one, its reply, and the futures that a worker holds.  Submits are
 * served in nested.c, waits in waits.c and any.c.  A worker has at most one request at a time. */
#include <stdlib.h>
#include <string.h>

#include "proc/internal.h"

bool auri_request_waits(const struct auri_worker *w)
{
    /* acquire: as auri_mail_take() [C9]. */
    return w->ctl != NULL && auri_load_acq(&w->ctl->mailbox.req_seq) != w->req_seen;
}

void auri_request_look(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    (void)p;
    if (w->blocked && !w->serving && w->ctl != NULL &&
        auri_mail_is_recalled(w->ctl, w->req_seen)) { /* while one serves: auri_wait_settle() */
        auri_wait_refuse(w, AUR_EAGAIN);
    }
    if (w->serving || w->blocked || w->cont_armed || w->state == AURI_W_DEAD ||
        h->asking_n == AURI_PARCELS || !auri_request_waits(w)) {
        return;
    }
    w->serving = true;
    w->refs++;
    h->asking[h->asking_n++] = w;
}

/* ---- replies --------------------------------------------------------------------------------------------- */

/* With the lock held.  data: bytes that come with it. */
void auri_reply(struct auri_worker *w, struct auri_reply *r, const void *data, uint64_t size)
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

void auri_reply_code(struct auri_worker *w, aur_err err, uint64_t value)
{
    struct auri_reply r = { .err = err, .value = value };

    auri_reply(w, &r, NULL, 0);
}

/* The outcome of a task that is done. */
void auri_reply_outcome(struct auri_worker *w, auri_task *task, uint64_t index)
{
    struct auri_reply r = { .err = task->err, .task_failed = task->err != AUR_OK, .value = index };

    if (task->err != AUR_OK) {
        /* relaxed, both: as in auri_task_seen(), which is not for this layer. */
        bool seen = (auri_or_rlx(&task->word, AURI_F_SEEN) & AURI_F_SEEN) != 0;
        if (!seen && task->err != AUR_ECANCELED && task->pool != NULL) {
            auri_add_rlx(&task->pool->seen, UINT64_C(1));
        }
        const aur_error *error = auri_task_error(task);
        auri_reply(w, &r, error, error != NULL ? sizeof(*error) : 0);
    } else if (task->fn == NULL) {
        auri_reply(w, &r, NULL, 0);
    } else if (auri_task_is_bytes(task)) {
        auri_reply(w, &r, auri_task_ret(task), task->store.out_size);
    } else {
        auri_reply(w, &r, auri_task_ret(task), task->fn->ret_size);
    }
}

/* ---- what it holds ----------------------------------------------------------------------------------------- */

bool auri_request_hold(struct auri_worker *w, auri_task *task)
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

/* ---- all requests ------------------------------------------------------------------------------------------------ */

void auri_request_abandon(struct auri_proc *p, struct auri_worker *w)
{
    (void)p;
    auri_wait_abandon(w);
    if (w->reply_extent != AURI_NO_EXTENT) {
        auri_arena_free(w->proc->args, w->reply_extent);
        w->reply_extent = AURI_NO_EXTENT;
    }
    while (w->held_n != 0) {
        auri_task_unref(w->held[--w->held_n]);
    }
}

void auri_request_finish(struct auri_proc *p, struct auri_worker *w, aur_err err, uint64_t value)
{
    pthread_mutex_lock(&p->lock);
    w->serving = false;
    auri_reply_code(w, err, value);
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
    } else if (auri_holds_pool(task)) {
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
        auri_reply_code(w, AUR_OK, 0);
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
        auri_serve_submit(p, w, &r);
    } else if (r.op == AURI_REQ_WAIT || r.op == AURI_REQ_POLL) {
        auri_serve_wait(p, w, &r);
    } else if (r.op == AURI_REQ_WAIT_ANY) {
        auri_serve_wait_any(p, w, &r);
    } else if (r.op == AURI_REQ_CANCEL) {
        serve_cancel(p, w, &r);
    } else if (r.op == AURI_REQ_RAN) {
        auri_serve_ran(p, w, &r);
    } else {
        auri_request_finish(p, w, AUR_EINVAL, 0);
    }
    auri_segment_unref(segment);
}
