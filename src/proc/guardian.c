/* The guardian thread: whatever happens when nobody waits.
 *
 * It hears deaths, the nursery, and the bell while no waiting thread does (README.md), and gives memory
 * back (shrink.c).  It also ends the pool: once the pool is closed and idle it sends the workers home,
 * and when the last one is gone it closes all that they shared. */
#include <string.h>

#include "proc/internal.h"
#include "task/internal.h"

#define IDLE_TICKS_NS                                                                              \
    UINT64_C(1000000000) /* keeps its tick so long after the last entry: no kicks */

void auri_kick(struct auri_proc *p)
{
    if (p->kick >= 0) {
        p->guardian_wakes_ns = 0; /* it is awake, or soon will be */
        aurp_eventfd_ring(p->kick);
    }
}

/* ---- time limits ----------------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Kills workers whose item is late; returns when the next one could be. */
static uint64_t item_deadlines(struct auri_proc *p, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w == NULL || w->ctl == NULL || auri_unanswered(w) == 0 ||
            w->kill_reason != AURI_KILL_NONE) {
            continue;
        }
        next = earlier(next, auri_inner_deadlines(w, now));
        struct auri_flight *flight = auri_flight_at(w, w->head);
        struct auri_progress_copy progress = { 0 };
        uint64_t timeout = flight->task != NULL && !flight->revoked
                               ? auri_limits_of(flight->task)->item_timeout_ns
                               : 0;
        if (timeout == 0) {
            continue;
        }
        if (!auri_progress_read(w->ctl, w->head, &progress) || progress.start_ns == 0) {
            next = earlier(next, now + timeout); /* not begun */
            continue;
        }
        if (progress.start_ns + timeout > now) {
            next = earlier(next, progress.start_ns + timeout);
            continue;
        }
        auri_revoke_from(p, w, w->head + 1); /* so that the kill can hit nothing else */
        if (!auri_answered(w, w->head)) {
            auri_kill(w, AURI_KILL_DEADLINE, w->head);
        }
    }
    return next;
}

/* ---- breaking ---------------------------------------------------------------------------------------------- */

static void fail_queue(struct auri_proc *p, aur_err err, struct auri_harvest *h)
{
    while (p->queue_first != NULL) {
        auri_task *task = p->queue_first;
        struct auri_mapjob *job = auri_mapjob_of(task);
        auri_queue_remove(p, task);
        if (job != NULL && job->claimed) {
            job->stopped = true;
            if (err == AUR_ECANCELED) {
                job->cancelled = true;
            } else if (job->first_bad == UINT64_MAX) {
                job->first_bad =
                    job->next < task->store.map->n ? job->next : task->store.map->n - 1;
                job->first_err = err;
            }
            auri_mapjob_settle(p, task, h);
        } else if (auri_task_claim(task, 0)) {
            auri_args_free(p, task);
            if (job != NULL) {
                auri_mapjob_free(p, task);
            }
            auri_task_set_err(task, err);
            auri_done(h, task);
        } else {
            auri_forget(p, task);
        }
    }
}

void auri_break(struct auri_proc *p, struct auri_harvest *h, const char *why)
{
    if (p->broken) {
        return;
    }
    p->broken = true;
    auri_store_sc(&p->pool->state, (uint32_t)AURI_BROKEN); /* seq_cst: as all changes of it */
    p->broken_why = why; /* the guardian says so, without the lock: a log hook may ask the pool */
    fail_queue(p, AUR_EBROKEN, h);
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (p->slots[i].worker != NULL) {
            auri_kill(p->slots[i].worker, AURI_KILL_NONE, 0);
        }
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

/* Spares that are not needed any more go home. */
static bool retire_spares(struct auri_proc *p)
{
    unsigned active = 0;
    bool any = false;

    for (unsigned i = 0; i < p->slots_end; i++) {
        const struct auri_worker *w = p->slots[i].worker;
        active += w != NULL && w->state == AURI_W_LIVE && !w->blocked;
    }
    for (unsigned i = p->slots_end; i > p->pool->workers; i--) {
        struct auri_worker *w = p->slots[i - 1].worker;
        any |= w != NULL;
        if (active > p->pool->workers && w != NULL && w->state == AURI_W_LIVE && !w->blocked &&
            auri_unanswered(w) == 0) {
            p->slots[i - 1].wanted = false;
            auri_quit(p, w);
            active--;
        }
    }
    return any;
}

static void stop(struct auri_proc *p, struct auri_harvest *h)
{
    fail_queue(p, AUR_ECANCELED, h);
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (p->slots[i].worker != NULL) {
            auri_kill(p->slots[i].worker, AURI_KILL_STOP, 0);
        }
    }
}

/* True: no worker is left, and none will come. */
static bool going_home(struct auri_proc *p)
{
    bool closed = auri_load_sc(&p->pool->state) != AURI_OPEN;
    bool gone = p->dead == NULL && p->firing == 0;

    if (!closed || !auri_pool_is_idle(p->pool)) {
        return false;
    }
    bool first = !p->quitting;
    p->quitting = true;
    for (unsigned i = 0; i < p->slots_end; i++) {
        p->slots[i].wanted = false;
        if (p->slots[i].worker != NULL) {
            auri_quit(p, p->slots[i].worker);
            gone = false;
        }
    }
    if (first) { /* so that it goes as soon as they have gone, and not one message later */
        auri_nursery_last_call(p->nursery);
    }
    return gone;
}

/* The nursery last: it ends meanwhile. */
static void close_all(struct auri_proc *p)
{
    pthread_mutex_lock(&p->lock);
    aurp_close(&p->epoll);
    aurp_close(&p->kick);
    aurp_close(&p->bell);
    aurp_close(&p->rope);
    for (unsigned i = 0; i < p->slots_end; i++) {
        auri_segment_unref(p->slots[i].warm);
        p->slots[i].warm = NULL;
    }
    auri_arenas_close(p);
    pthread_mutex_unlock(&p->lock);
    p->nursery = auri_nursery_free(p->nursery);
}

/* ---- the loop ------------------------------------------------------------------------------------------------- */

static void hear(struct auri_proc *p, uint64_t until, struct auri_harvest *h)
{
    aurp_ready ready[AURP_READY_MAX];
    unsigned n = aurp_epoll_wait(p->epoll, ready, AURP_READY_MAX, until);
    int failed;

    pthread_mutex_lock(&p->lock);
    p->guardian_wakes_ns = 0; /* awake: it looks at everything before it sleeps again */
    for (unsigned i = 0; i < n; i++) {
        if (ready[i].token == AURI_TOKEN_KICK) {
            aurp_eventfd_clear(p->kick);
        } else if (ready[i].token == AURI_TOKEN_BELL) {
            if (auri_load_rlx(&p->asleep) == 0) { /* else it is the leader's, since a moment ago */
                aurp_bell_clear(p->bell);
            }
        } else if (ready[i].token == AURI_TOKEN_NURSERY) {
            auri_nursery_events(p, h, &failed);
        } else {
            struct auri_worker *w = auri_worker_by_epoch(p, ready[i].token - AURI_TOKEN_EPOCH);
            if (w != NULL) {
                auri_worker_died(p, w, h);
            }
        }
    }
    pthread_mutex_unlock(&p->lock);
}

/* One look at everything.  Returns how long to sleep; 0: look again.  *ret_end: all is over. */
static uint64_t look(struct auri_proc *p, struct auri_harvest *h, bool *ret_end)
{
    uint64_t now = aurp_now_ns();
    uint64_t until = UINT64_MAX;

    auri_drain(p, h);
    for (unsigned i = 0; i < p->slots_end; i++) { /* threads of tasks may ask at any time */
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && w->ctl != NULL && auri_unanswered(w) == 0) {
            auri_request_look(p, w, h);
        }
    }
    if (p->stopping) {
        stop(p, h);
    }
    if (p->broken) {
        fail_queue(p, AUR_EBROKEN, h);
    }
    until = earlier(until, item_deadlines(p, now));
    until = earlier(until, auri_request_deadlines(p, now));
    until = earlier(until, auri_nurse_ask(p, now));
    auri_nurse_despair(p, h);
    auri_dispatch(p);
    auri_rebalance(p, now);
    auri_relieve(p);
    bool spares = retire_spares(p);
    *ret_end = going_home(p);
    if (p->flying != 0 || spares) {
        p->flew_ns = now;
    }
    if (now - p->flew_ns < IDLE_TICKS_NS) {
        until = earlier(until, now + AURI_TICK_NS);
    }
    if (h->n != 0 || h->parcel_n != 0 || h->asking_n != 0 || h->more) {
        until = 0;
    }
    p->guardian_wakes_ns = until;
    auri_listen(p);
    if (p->asking != 0) { /* who is there may have changed */
        /* relaxed: what it counts is read with the lock */
        auri_store_rlx(&p->looks, auri_load_rlx(&p->looks) + 1);
        aurp_futex_wake(&p->looks, INT32_MAX, AURP_PRIVATE);
    }
    return p->guardian_wakes_ns == 0 ? 0 : until;
}

void *auri_guardian(void *proc)
{
    struct auri_proc *p = proc;
    struct auri_harvest h;
    uint64_t count_at = aurp_now_ns() + AURI_TICK_NS; /* its first tick */
    bool end = false;

    while (!end) {
        AURI_HARVEST_INIT(&h);
        pthread_mutex_lock(&p->lock);
        uint64_t until = look(p, &h, &end);
        const char *why = p->broken_why;
        p->broken_why = NULL;
        pthread_mutex_unlock(&p->lock);
        if (why != NULL) {
            auri_pool_log(p->pool, AUR_LOG_WARN,
                          "pool \"%s\" is broken: %s; what it had to do fails with AUR_EBROKEN",
                          p->pool->name, why);
        }
        bool any = auri_deliver(p, &h);
        if (end) {
            break;
        }
        until = auri_shrink(p, any ? 0 : until);
        if (until != 0) {
            struct auri_record *self = auri_self_;
            if (self != NULL) {
                auri_slab_flush(self);
            }
        }
        AURI_HARVEST_INIT(&h);
        hear(p, until, &h);
        (void)auri_deliver(p, &h);
        if (aurp_now_ns() >= count_at) {
            auri_count_cpus(p);
            count_at = UINT64_MAX;
        }
    }
    close_all(p);
    auri_self_release();
    auri_own_threads_add(-1);
    auri_store_rel(&p->ended, 1u); /* release; pairs with the acquire in join() */
    aurp_futex_wake(&p->ended, INT32_MAX, AURP_PRIVATE);
    auri_pool_drop(p->pool);
    return NULL;
}
