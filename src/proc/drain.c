/* Taking answers from the rings, with the pool's lock held.
 *
 * What fits into a line is dealt with at once; what needs a copy of more bytes becomes a parcel, which
 * deliver.c opens without the lock.  Nothing that a worker wrote is believed: an answer that no
 * sound worker gives ends the worker. */
#include <stdlib.h>
#include <string.h>

#include "proc/internal.h"

#define COPY_LOCKED_MAX 256u /* bytes of a result that are copied with the lock held */

void auri_done(struct auri_harvest *h, auri_task *task)
{
    struct auri_proc *p = auri_proc_of(task->pool);

    auri_args_free(p, task);
    p->landing += auri_task_map(task) != NULL;
    task->next = NULL;
    *(h->last != NULL ? &h->last->next : &h->first) = task;
    h->last = task;
    h->n++;
}

bool auri_may_retry(const auri_task *task, uint32_t kind, uint32_t attempts)
{
    const struct auri_limits *limits = auri_limits_of(task);
    uint32_t on = limits->retry_on != 0 ? limits->retry_on : AUR_RETRY_WORKER;

    return (on & kind) != 0 && attempts <= limits->retries;
}

aur_error *auri_error_copy(struct auri_segment *segment, struct auri_extent from)
{
    const void *at = auri_extent_seg(from) == AURI_SEG_RESULT && from.size >= sizeof(aur_error)
                         ? auri_window_at(segment->window, auri_extent_off(from), sizeof(aur_error))
                         : NULL;
    aur_error *error = at != NULL ? malloc(sizeof(*error)) : NULL;

    if (error == NULL) {
        return NULL;
    }
    auri_copy_once(error, at, sizeof(*error));
    error->message[sizeof(error->message) - 1] = '\0';
    error->function = error->site = NULL; /* addresses of the worker */
    return error;
}

/* ---- one answer ------------------------------------------------------------------------------------ */

static void give_back(struct auri_worker *w, struct auri_extent extent)
{
    if (extent.size != 0 && auri_extent_seg(extent) == AURI_SEG_RESULT) {
        auri_extent_back(w, extent);
    }
}

static void call_failed(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                        const struct auri_comp_desc *comp, struct auri_harvest *h)
{
    aur_err err = comp->err > 0 && comp->err < AUR_ERR_COUNT_ ? comp->err : AUR_ETASK;
    uint32_t kind = err == AUR_EDEADLINE ? AUR_RETRY_DEADLINE : AUR_RETRY_ERROR;

    if (auri_may_retry(task, kind, task->attempts)) {
        give_back(w, comp->out);
        auri_add_rlx(&p->pool->retried, UINT64_C(1)); /* relaxed: statistics */
        auri_task_requeue(task);
        auri_queue_append(p, task);
        return;
    }
    aur_error *error = auri_error_copy(w->segment, comp->out);
    give_back(w, comp->out);
    free(auri_task_cold(task)->error);
    auri_task_set_error(task, err, error);
    if (error != NULL) {
        error->function = task->fn->name;
        error->site = auri_task_site(task);
        error->item = AUR_NO_ITEM;
        error->attempts = task->attempts;
        error->worker = (int32_t)w->slot;
        error->pid = w->pid;
    } else {
        error = auri_task_fail(task, err, "%s", aur_err_text(err));
        if (error != NULL) {
            error->worker = (int32_t)w->slot;
            error->pid = w->pid;
        }
    }
    auri_done(h, task);
}

/* Takes over a byte string's result.  False: it is not where it should be. */
static bool bytes_result(struct auri_worker *w, auri_task *task, const struct auri_comp_desc *comp)
{
    if (comp->out.size == 0 || auri_extent_seg(comp->out) == AURI_SEG_INLINE) {
        if (comp->out.size > AURI_COMP_INLINE) {
            return false;
        }
        /* Behind args_out, which is read when the task is freed. */
        task->store.ret_out = task->store.late + AURI_LATE_BYTES - AURI_COMP_INLINE;
        memcpy(task->store.ret_out, comp->data, AURI_COMP_INLINE);
    } else {
        void *data =
            auri_extent_seg(comp->out) == AURI_SEG_RESULT
                ? auri_window_at(w->segment->window, auri_extent_off(comp->out), comp->out.size)
                : NULL;
        if (data == NULL) {
            return false;
        }
        if (auri_task_is_sole(task)) {
            give_back(w, comp->out); /* nobody will look at it, and drop() is not for such a task */
            return true;
        }
        auri_view_set(task, w->segment, data);
    }
    task->store.out_size = comp->out.size;
    return true;
}
_Static_assert(sizeof(void *) + AURI_COMP_INLINE <= AURI_LATE_BYTES, "a small result fits");
_Static_assert((AURI_LATE_BYTES - AURI_COMP_INLINE) % 16 == 0, "and is aligned");

static struct auri_parcel *parcel(struct auri_harvest *h, struct auri_worker *w,
                                  const struct auri_flight *flight,
                                  const struct auri_comp_desc *comp)
{
    struct auri_parcel *at = &h->parcels[h->parcel_n++];

    at->worker = w;
    at->segment = w->segment;
    at->flight = *flight;
    at->err = comp->err;
    at->out = comp->out;
    memcpy(&at->end, comp->data, sizeof(at->end));
    w->refs++;
    w->proc->landing += flight->count != 0;
    auri_segment_ref(w->segment);
    return at;
}

/* False: the answer makes no sense. */
static bool call_answered(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight,
                          const struct auri_comp_desc *comp, struct auri_harvest *h)
{
    auri_task *task = flight->task;
    uint64_t size = task->fn->ret_size;
    bool bytes = auri_task_is_bytes(task);
    const void *data = comp->data;

    task->attempts++;
    task->priv = NULL;
    auri_task_disown(task); /* the worker may wait for something else while the result is copied */
    if (comp->err != AUR_OK) {
        call_failed(p, w, task, comp, h);
        return true;
    }
    if (bytes) {
        if (!bytes_result(w, task, comp)) {
            task->attempts--;
            return false;
        }
        auri_done(h, task);
        return true;
    }
    if (size != 0 && auri_extent_seg(comp->out) == AURI_SEG_RESULT) {
        data = auri_window_at(w->segment->window, auri_extent_off(comp->out), size);
    } else if (size > AURI_COMP_INLINE) {
        data = NULL;
    }
    if (data == NULL || comp->out.size != size) {
        task->attempts--;
        return false;
    }
    if (size > COPY_LOCKED_MAX) {
        parcel(h, w, flight, comp);
        return true;
    }
    if (size != 0) {
        memcpy(auri_task_ret(task), data, size);
        give_back(w, comp->out);
    }
    auri_done(h, task);
    return true;
}

bool auri_inner_answered(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight,
                         const struct auri_comp_desc *comp, struct auri_harvest *h)
{
    if (!auri_ring_plausible(comp, false)) {
        return false;
    }
    if (flight->count != 0) {
        parcel(h, w, flight, comp);
        return true;
    }
    return call_answered(p, w, flight, comp, h);
}

/* ---- one worker ------------------------------------------------------------------------------------ */

/* Learns from answers that came together how wrong their costs were. */
static double learn_scale(struct auri_proc *p, struct auri_worker *w, uint64_t ready, uint64_t now)
{
    uint64_t cost = 0;

    for (uint64_t seq = w->head; seq < w->head + ready; seq++) {
        const struct auri_flight *flight = auri_flight_at(w, seq);
        cost += flight->revoked ? 0 : flight->cost_ns;
    }
    if (cost == 0 || now <= w->busy_since_ns) {
        return 0;
    }
    double scale = (double)(now - w->busy_since_ns) / (double)cost;
    /* A worker that is idle now may have been so for long, if nobody looked. */
    bool exact = ready < auri_unanswered(w) || w->armed != 0 ||
                 (p->leading && auri_load_rlx(&p->asleep) == 0);
    return scale > 1 && !exact ? 0 : scale;
}

static void learn(struct auri_proc *p, const struct auri_flight *flight, double scale, uint64_t now)
{
    uint64_t ns = (uint64_t)((double)flight->cost_ns * scale) + 1;

    if (flight->count == 0) {
        auri_cost_learn(p, flight->task->fn, ns, now);
    } else {
        struct auri_mapjob *job = auri_mapjob_of(flight->task);
        ns = ns / flight->count + 1;
        job->item_ns = job->item_ns == 0 ? ns : auri_cost_mix(job->item_ns, ns);
    }
}

/* Takes the answer to the head, which is there.  False: it makes no sense. */
static bool take_head(struct auri_proc *p, struct auri_worker *w, double scale, uint64_t now,
                      struct auri_harvest *h)
{
    struct auri_flight *flight = auri_flight_at(w, w->head);
    struct auri_comp_desc comp;

    if (!auri_ring_take(w->ctl, w->head, &comp) || !auri_ring_plausible(&comp, flight->revoked)) {
        return false;
    }
    if (flight->revoked) {
        w->revoked--;
    } else if (flight->task != NULL) {
        if (scale > 0) {
            learn(p, flight, scale, now);
        }
        if (flight->count != 0) {
            parcel(h, w, flight, &comp);
        } else if (!call_answered(p, w, flight, &comp, h)) {
            return false;
        }
        w->queued_ns -= flight->cost_ns < w->queued_ns ? flight->cost_ns : w->queued_ns;
        w->general -= !flight->awaited;
    }
    w->head++;
    p->flying--;
    return true;
}

void auri_drain_worker(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    uint64_t ready = 0;
    uint64_t open = auri_unanswered(w);

    while (ready < open && auri_answered(w, w->head + ready)) {
        ready++;
    }
    if (ready == 0) {
        return;
    }
    uint64_t now = aurp_now_ns();
    double scale = learn_scale(p, w, ready, now);
    for (uint64_t i = 0; i < ready; i++) {
        if (h->parcel_n >= AURI_PARCELS) {
            h->more = true;
            break;
        }
        if (!take_head(p, w, scale, now, h)) {
            w->wild = true;
            auri_kill(w, AURI_KILL_WILD, w->head);
            break;
        }
    }
    p->deaths_in_row = 0; /* workers can be made, and work */
    w->busy_since_ns = now;
    w->rang = w->told = false;
    if (w->armed != 0 && w->head > w->armed) {
        w->armed = 0;
        p->armed_n--;
    }
    if (auri_unanswered(w) == 0) {
        p->busy--;
        w->queued_ns = 0;
    }
}

void auri_drain(struct auri_proc *p, struct auri_harvest *h)
{
    while (p->settled != NULL) {
        auri_task *task = p->settled;
        p->settled = task->next;
        auri_mapjob_settle(p, task, h);
    }
    for (unsigned i = 0; i < p->slots_end && p->flying != 0; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w == NULL || w->ctl == NULL || w->wild) {
            continue;
        }
        if (auri_unanswered(w) != 0) {
            auri_drain_worker(p, w, h);
        }
        if (auri_unanswered(w) != 0) {
            auri_request_look(p, w, h);
        }
    }
    if (p->flying == 0 && p->queue_first == NULL) {
        p->attended = false;
    }
}
