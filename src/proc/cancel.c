/* Ending what runs: cancelled calls and maps, and the kill that this may take. */
#include "proc/internal.h"

void auri_kill(struct auri_worker *w, int reason, uint64_t seq)
{
    if (w->state == AURI_W_DEAD || w->kill_reason != AURI_KILL_NONE) {
        return;
    }
    w->kill_reason = reason;
    w->kill_seq = seq;
    w->killed_ns = aurp_now_ns();
    if (w->state == AURI_W_LIVE) {
        w->state = AURI_W_QUITTING;
    }
    if (w->pidfd >= 0 && aurp_pidfd_kill(w->pidfd, SIGKILL) != 0) {
        auri_nursery_kill(w->proc->nursery, w->slot, w->epoch); /* it has ended, or we may not */
    }
}

struct auri_worker *auri_runner_of(struct auri_proc *p, unsigned owner)
{
    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && w->record->id == owner) {
            return w;
        }
    }
    return NULL;
}

/* Takes a call or chunk at seq back, or, if `kill`, kills the worker that runs it: AUR_CANCEL_*. */
static int stop_entry(struct auri_proc *p, struct auri_worker *w, uint64_t seq, bool kill)
{
    struct auri_flight *flight = auri_flight_at(w, seq);

    if (auri_ring_revoke(w->ctl, seq)) {
        auri_flight_taken(w, flight);
        return AUR_CANCEL_DROPPED;
    }
    if (!kill || auri_answered(w, seq)) {
        return AUR_CANCEL_TOO_LATE;
    }
    /* What comes after it must not be begun, or the kill would hit that too. */
    auri_revoke_from(p, w, seq + 1);
    if (auri_answered(w, seq)) {
        return AUR_CANCEL_TOO_LATE;
    }
    auri_kill(w, AURI_KILL_CANCEL, seq);
    return AUR_CANCEL_KILLED;
}

static int cancel_call(struct auri_proc *p, auri_task *task, bool kill, struct auri_harvest *h)
{
    /* acquire: pairs with the CAS of whoever moved it. */
    uint64_t word = auri_load_acq(&task->word);

    if (auri_word_state(word) == AURI_QUEUED && auri_task_claim(task, 0)) {
        auri_queue_remove(p, task); /* it came back to the queue meanwhile */
        auri_task_set_err(task, AUR_ECANCELED);
        auri_done(h, task);
        return AUR_CANCEL_DROPPED;
    }
    struct auri_worker *w = auri_runner_of(p, auri_word_owner(word));
    for (uint64_t seq = w != NULL && w->ctl != NULL ? w->head : 0;
         w != NULL && w->ctl != NULL && seq < w->tail; seq++) {
        struct auri_flight *flight = auri_flight_at(w, seq);
        if (flight->task != task || flight->revoked) {
            continue;
        }
        int what = stop_entry(p, w, seq, kill);
        if (what == AUR_CANCEL_DROPPED) {
            auri_task_set_err(task, AUR_ECANCELED);
            auri_done(h, task);
        }
        return what;
    }
    return AUR_CANCEL_TOO_LATE;
}

static int cancel_map(struct auri_proc *p, auri_task *task, struct auri_harvest *h)
{
    struct auri_mapjob *job = auri_mapjob_of(task);
    int what = AUR_CANCEL_DROPPED;

    if (job == NULL) {
        return AUR_CANCEL_TOO_LATE; /* its last chunk has landed */
    }
    if (!job->claimed) {
        if (!auri_task_claim(task, 0)) {
            return AUR_CANCEL_TOO_LATE;
        }
        job->claimed = true;
    }
    job->stopped = job->cancelled = true;
    if (job->queued) {
        auri_queue_remove(p, task);
    }
    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        for (uint64_t seq = w != NULL && w->ctl != NULL ? w->tail : 0;
             seq > (w != NULL ? w->head : 0); seq--) {
            struct auri_flight *flight = auri_flight_at(w, seq - 1);
            if (flight->task != task || flight->revoked) {
                continue;
            }
            int one = stop_entry(p, w, seq - 1, true);
            if (one == AUR_CANCEL_DROPPED) {
                job->flying--;
            } else if (one == AUR_CANCEL_KILLED) {
                what = one;
            }
        }
    }
    auri_mapjob_settle(p, task, h);
    return what;
}

int auri_cancel(aur_pool *pool, auri_task *task, bool kill)
{
    struct auri_proc *p = auri_proc_of(pool);
    struct auri_harvest h;
    int what = AUR_CANCEL_TOO_LATE;

    AURI_HARVEST_INIT(&h);
    pthread_mutex_lock(&p->lock);
    auri_drain(p, &h);
    if (!auri_task_is_done(task) && auri_task_map(task) == NULL) {
        what = cancel_call(p, task, kill, &h);
    } else if (!auri_task_is_done(task) && kill) {
        what = cancel_map(p, task, &h);
    }
    auri_dispatch(p);
    auri_listen(p);
    pthread_mutex_unlock(&p->lock);
    auri_deliver(p, &h);
    return what;
}
