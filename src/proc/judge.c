/* What becomes of the entries of a worker that has died.
 *
 * Only the words DISPATCHED in its ring, and what this process knows itself, speak for an entry.  One
 * that was not begun is queued again, in front and in order; one that was being run is lost: it is
 * tried again if its limits say so, else it fails with the way the worker ended, which arrives one
 * message later (auri_bury). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "plat/shm.h"
#include "proc/internal.h"
#include "proc/worker.h"

/* ---- the verdict on what was being run ----------------------------------------------------------------- */

enum fate {
    FATE_AGAIN, /* not its fault, and not an attempt */
    FATE_RETRY,
    FATE_FAIL, /* with the code in *ret_err */
};

static enum fate fate_of(struct auri_proc *p, const struct auri_worker *w, uint64_t seq,
                         const auri_task *task, uint32_t attempts, aur_err *ret_err)
{
    struct auri_progress_copy progress = { 0 };
    uint64_t timeout = auri_limits_of(task)->item_timeout_ns;

    *ret_err = AUR_EWORKER;
    if (p->stopping) {
        *ret_err = AUR_ECANCELED;
        return FATE_FAIL;
    }
    bool bystander = seq != w->kill_seq && (seq >= AURI_INNER_SEQ_MIN || w->inner_n != 0);
    /* Tasks on top of each other have all begun: whichever of them the kill was for, for the others it is a
     * death like any other. */
    switch (bystander ? AURI_KILL_NONE : w->kill_reason) {
    case AURI_KILL_CANCEL:
        *ret_err = AUR_ECANCELED;
        return seq == w->kill_seq ? FATE_FAIL : FATE_AGAIN;
    case AURI_KILL_DEADLINE:
        if (seq < AURI_INNER_SEQ_MIN &&
            (seq != w->kill_seq || !auri_progress_read(w->ctl, seq, &progress) ||
             progress.start_ns == 0 || progress.start_ns + timeout > w->killed_ns)) {
            return FATE_AGAIN; /* the late one ended just before the kill */
        }
        *ret_err = AUR_EDEADLINE;
        return auri_may_retry(task, AUR_RETRY_DEADLINE, attempts) ? FATE_RETRY : FATE_FAIL;
    default:
        return auri_may_retry(task, AUR_RETRY_WORKER, attempts) ? FATE_RETRY : FATE_FAIL;
    }
}

/* ---- the error ------------------------------------------------------------------------------------------ */

static const char *signal_name(int number)
{
    const char *name = sigabbrev_np(number);

    return name != NULL ? name : "?";
}

static void say_end(const struct auri_worker *w, char *text, size_t size)
{
    if (!w->exited) {
        snprintf(text, size, "ended, how is not known,");
    } else if (WIFSIGNALED(w->status)) {
        snprintf(text, size, "was killed by signal %d (SIG%s)", WTERMSIG(w->status),
                 signal_name(WTERMSIG(w->status)));
    } else if (WEXITSTATUS(w->status) == AURI_WORKER_EXIT_FDS) {
        snprintf(text, size, "ended since a task had closed its descriptors,");
    } else {
        snprintf(text, size, "ended with exit status %d", WEXITSTATUS(w->status));
    }
}

static void fill_error(aur_error *error, const struct auri_worker *w, aur_err err,
                       uint32_t attempts)
{
    char end[64];

    error->err = err;
    error->worker = (int32_t)w->slot;
    error->pid = w->pid;
    error->attempts = attempts;
    error->exit_status = -1;
    if (err == AUR_EDEADLINE) {
        snprintf(error->message, sizeof(error->message),
                 "%s ran past its time limit: worker %u (process %d) was killed", error->function,
                 w->slot, w->pid);
        return;
    }
    if (w->exited) {
        error->signal = WIFSIGNALED(w->status) ? WTERMSIG(w->status) : 0;
        error->exit_status = WIFEXITED(w->status) ? WEXITSTATUS(w->status) : -1;
        error->peak_rss = w->maxrss_bytes;
    }
    say_end(w, end, sizeof(end));
    snprintf(error->message, sizeof(error->message),
             w->wild ? "worker %u (process %d) gave an answer that makes no sense, and %s after %s"
                     : "worker %u (process %d) %s while it ran %s",
             w->slot, w->pid, end, error->function);
}

static void fail_call(struct auri_worker *w, auri_task *task, aur_err err, struct auri_harvest *h)
{
    auri_task_set_err(task, err);
    if (err != AUR_ECANCELED) {
        aur_error *error = auri_task_fail(task, err, "%s", aur_err_text(err));
        if (error != NULL) {
            fill_error(error, w, err, task->attempts);
        }
    }
    auri_args_free(w->proc, task);
    auri_done(h, task);
}

static void fail_item(struct auri_worker *w, const struct auri_flight *flight, aur_err err)
{
    auri_task *task = flight->task;
    aur_error *error = calloc(1, sizeof(*error));

    if (error != NULL) {
        error->function = task->store.map->fn->name;
        error->site = auri_task_site(task);
        error->item = task->store.map->first + flight->item;
        fill_error(error, w, err, flight->attempt);
    }
    auri_mapjob_fail_item(auri_mapjob_of(task), task, flight->item, err, error);
}

/* ---- lost entries ----------------------------------------------------------------------------------------- */

/* seq: of its entry, or AURI_INNER_SEQ(). */
static void lose_call(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight,
                      uint64_t seq, struct auri_harvest *h)
{
    auri_task *task = flight->task;
    aur_err err;
    enum fate fate = fate_of(p, w, seq, task, task->attempts + 1u, &err);

    task->priv = NULL;
    if (fate != FATE_AGAIN) {
        task->attempts++;
    }
    if (fate != FATE_FAIL) {
        if (fate == FATE_RETRY) {
            auri_add_rlx(&p->pool->retried, UINT64_C(1)); /* relaxed: statistics */
        }
        auri_task_requeue(task);
        auri_queue_prepend(p, task);
    } else if (err == AUR_EWORKER) {
        flight->lost = true;
    } else {
        fail_call(w, task, err, h);
    }
}

/* The items before the one that was being run are done: their bytes are in the segment. */
static void save_items(struct auri_worker *w, const struct auri_flight *flight, uint64_t done,
                       const struct auri_progress_copy *progress, struct auri_harvest *h)
{
    struct auri_parcel *at = &h->parcels[h->parcel_n++];

    *at = (struct auri_parcel){ .worker = w,
                                .segment = w->segment,
                                .flight = *flight,
                                .out = progress->out,
                                .end = { progress->errs, progress->error } };
    at->flight.count = done;
    w->refs++;
    w->proc->landing++;
    auri_segment_ref(w->segment);
    auri_mapjob_of(flight->task)->flying++;
}

static void lose_chunk(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight,
                       uint64_t seq, struct auri_harvest *h)
{
    auri_task *task = flight->task;
    struct auri_mapjob *job = auri_mapjob_of(task);
    struct auri_progress_copy progress = { 0 };
    uint64_t done = 0;
    aur_err err;

    if (seq < AURI_INNER_SEQ_MIN && !w->wild && auri_progress_read(w->ctl, seq, &progress)) {
        done = progress.item < flight->count ? progress.item : flight->count;
    }
    if (done != 0 && h->parcel_n <= AURI_PARCELS) {
        save_items(w, flight, done, &progress, h);
    } else {
        done = 0;
    }
    if (done < flight->count) {
        uint32_t before = done == 0 ? flight->attempt : 0;
        uint64_t rest = flight->count - done - 1;
        enum fate fate = fate_of(p, w, seq, task, before + 1, &err);
        auri_mapjob_back(p, task, flight->item + done + 1, rest, 0);
        flight->item += done;
        flight->count = 1;
        flight->attempt = before + 1;
        if (fate == FATE_AGAIN) {
            auri_mapjob_back(p, task, flight->item, 1, before);
        } else if (fate == FATE_RETRY && !job->stopped) {
            auri_add_rlx(&p->pool->retried, UINT64_C(1)); /* relaxed: statistics */
            auri_mapjob_back(p, task, flight->item, 1, before + 1);
        } else if (err == AUR_EWORKER) {
            flight->lost = true;
            job->flying++;
        } else if (err == AUR_ECANCELED) {
            job->stopped = job->cancelled = true;
        } else {
            fail_item(w, flight, err);
        }
    }
    auri_mapjob_landed(p, task, h);
}

/* The oldest entry was not begun.  If that happens again and again, it is what kills. */
static bool is_deadly(struct auri_proc *p, uint64_t task_id, uint64_t item)
{
    for (unsigned i = 0; i < AURI_SUSPECTS; i++) {
        struct auri_suspect *s = &p->suspects[i];
        if (s->task_id == task_id && s->item == item && s->deaths != 0) {
            return ++s->deaths >= AURI_UNCLAIMED_MAX;
        }
    }
    p->suspects[p->suspect_next++ % AURI_SUSPECTS] = (struct auri_suspect){ task_id, item, 1 };
    return false;
}

static void requeue(struct auri_proc *p, struct auri_worker *w, uint64_t seq, bool suspect,
                    struct auri_harvest *h)
{
    struct auri_flight *flight = auri_flight_at(w, seq);
    auri_task *task = flight->task;

    if (suspect && is_deadly(p, auri_task_id(task), flight->item)) {
        flight->lost = true; /* stays as it is until the status is known */
        if (flight->count == 0) {
            task->attempts++;
        } else {
            auri_mapjob_back(p, task, flight->item + 1, flight->count - 1, 0);
            flight->count = 1;
            flight->attempt++;
        }
        return;
    }
    if (p->stopping) {
        if (flight->count == 0) {
            fail_call(w, task, AUR_ECANCELED, h);
            return;
        }
        auri_mapjob_of(task)->stopped = auri_mapjob_of(task)->cancelled = true;
    }
    if (flight->count != 0) {
        auri_mapjob_back(p, task, flight->item, flight->count, flight->attempt);
        auri_mapjob_landed(p, task, h);
    } else {
        auri_task_requeue(task);
        auri_queue_prepend(p, task);
    }
}

/* ---- the whole worker ---------------------------------------------------------------------------------------- */

static void unmap(struct auri_proc *p, struct auri_worker *w)
{
    struct auri_slot *slot = &p->slots[w->slot];

    aurp_shm_unmap(w->ctl, AURI_CTL_BYTES);
    w->ctl = NULL;
    /* relaxed: only holders of a reference could add one, and with 1 we are the only. */
    if (auri_load_rlx(&w->segment->refs) == 1 && slot->warm == NULL && !w->wild) {
        slot->warm = w->segment;
        w->segment = NULL;
    } else {
        pthread_mutex_lock(&w->segment->lock);
        aurp_close(&w->segment->fd);
        pthread_mutex_unlock(&w->segment->lock);
    }
}

void auri_judge(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    /* relaxed: it is dead.  What it left by itself, between two entries, speaks against none. */
    bool fell =
        auri_load_rlx(&w->ctl->hello) == AURI_HELLO_READY && w->kill_reason == AURI_KILL_NONE;

    auri_request_abandon(p, w);
    if (!w->wild) {
        auri_drain_worker(p, w, h);
    }
    if (auri_unanswered(w) != 0) {
        p->busy--;
    }
    if (w->armed != 0) {
        w->armed = 0;
        p->armed_n--;
    }
    p->flying -= auri_unanswered(w);
    w->state = AURI_W_DEAD;
    for (uint64_t seq = w->tail; seq-- > w->head;) { /* backwards: each goes to the front */
        struct auri_flight *flight = auri_flight_at(w, seq);
        if (flight->task == NULL) {
            continue;
        }
        switch (auri_ring_judge(w->ctl, seq, flight->revoked)) {
        case AURI_VERDICT_DROPPED:
            break;
        case AURI_VERDICT_REQUEUE:
            requeue(p, w, seq, fell && seq == w->head, h);
            break;
        case AURI_VERDICT_LOST:
            (flight->count != 0 ? lose_chunk : lose_call)(p, w, flight, seq, h);
            break;
        }
    }
    for (uint32_t i = 0; i < w->inner_n; i++) { /* what others wait for goes before what waits */
        struct auri_flight *flight = &w->inner[i].flight;
        (flight->count != 0 ? lose_chunk : lose_call)(p, w, flight, AURI_INNER_SEQ(i), h);
    }
    unmap(p, w);
    p->slots[w->slot].worker = NULL;
    w->next = p->dead;
    p->dead = w;
}

static void fail_if_lost(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight,
                         struct auri_harvest *h)
{
    if (!flight->lost) {
        return;
    }
    if (flight->count != 0) {
        fail_item(w, flight, AUR_EWORKER);
        auri_mapjob_landed(p, flight->task, h);
    } else {
        fail_call(w, flight->task, AUR_EWORKER, h);
    }
}

void auri_bury(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    for (uint64_t seq = w->head; seq < w->tail; seq++) {
        fail_if_lost(p, w, auri_flight_at(w, seq), h);
    }
    for (uint32_t i = w->inner_n; i-- > 0;) {
        fail_if_lost(p, w, &w->inner[i].flight, h);
    }
    struct auri_worker **at = &p->dead;
    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
    auri_worker_unref(p, w);
}

void auri_worker_unref(struct auri_proc *p, struct auri_worker *w)
{
    if (--w->refs != 0) {
        return;
    }
    if (w->pidfd >= 0) {
        if (p->epoll >= 0) {
            aurp_epoll_remove(p->epoll, w->pidfd);
        }
        aurp_close(&w->pidfd);
    }
    auri_segment_unref(w->segment);
    auri_record_give(w->record);
    free(w->held);
    free(w->inner);
    free(w);
}
