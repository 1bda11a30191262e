/* Waits of tasks in workers: for one task here, for any of several in any.c.
 *
 * While a worker waits for another task it takes no entries, so what it has not begun goes back to the
 * queue, the awaited task goes to its front, and, if no other worker is free for it, a spare worker is
 * started. */
#include "proc/internal.h"
#include "sched/detect.h"

void auri_wait_hide(struct auri_worker *w)
{
    if (w->edge) {
        auri_edge_clear(w->record);
        auri_edge_maps(w->record, NULL, 0);
        w->edge = false;
    }
}

auri_task *const *auri_wait_tasks(const struct auri_worker *w, size_t *ret_n)
{
    *ret_n = 1;
    return w->any != NULL ? auri_any_tasks(w->any, ret_n) : &w->awaited;
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

auri_task *auri_wait_end(struct auri_worker *w)
{
    auri_task *task = w->awaited;

    w->blocked = false;
    w->proc->blocked--;
    w->awaited = NULL;
    w->wait_deadline = AUR_NO_DEADLINE;
    auri_wait_hide(w); /* before what the edge points to can go */
    if (w->any != NULL) {
        auri_any_stop(w);
    } else {
        disconnect(w, task);
    }
    return task;
}

/* With the lock held: the same, where the task may go at once. */
static void end_wait(struct auri_worker *w)
{
    auri_task *task = auri_wait_end(w);

    if (task != NULL) {
        auri_task_unref(task);
    }
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
        waited = auri_wait_end(w);
        auri_reply_outcome(w, task, 0);
    }
    auri_worker_unref(p, w);
    p->firing--;
    if (waited == NULL || (p->firing == 0 && p->quitting)) {
        auri_kick(p); /* the next request was not looked at as long as this one could fire */
    }
    pthread_mutex_unlock(&p->lock);
    if (waited != NULL) {
        auri_task_unref(waited);
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
    bool queued = auri_task_map(task) != NULL ? job != NULL && job->queued : task->priv != NULL;
    if (queued) { /* else its submit is still on the way */
        auri_queue_remove(p, task);
        auri_queue_prepend(p, task);
    }
}

/* Only then may its pool be looked at without a look at whether it is done. */
bool auri_holds_pool(auri_task *task)
{
    return (auri_load_rlx(&task->word) & AURI_F_HOLDS) != 0; /* relaxed: the flag is constant */
}

/* Without the lock.  A worker of ours waits for a task of another pool of processes: that pool may have to
 * run it in place of a wait, and could not see this one's edge before. */
static void tell_its_pool(const struct auri_proc *p, auri_task *task)
{
    if (!auri_holds_pool(task) || task->pool == p->pool ||
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

/* With the lock held: which of what the wait needs is the first that is in our queue; SIZE_MAX: none. */
static size_t first_queued(const struct auri_proc *p, const struct auri_worker *w)
{
    size_t n;
    auri_task *const *tasks = auri_wait_tasks(w, &n);

    for (size_t i = 0; i < n; i++) {
        /* relaxed: moves only under the lock, but for a cancellation. */
        if (tasks[i]->pool == p->pool &&
            auri_word_state(auri_load_rlx(&tasks[i]->word)) == AURI_QUEUED) {
            return i;
        }
    }
    return SIZE_MAX;
}

bool auri_wait_hurry(struct auri_proc *p, struct auri_worker *w)
{
    size_t n;
    size_t at = first_queued(p, w);

    if (at != SIZE_MAX) {
        auri_hurry(p, auri_wait_tasks(w, &n)[at]);
    }
    return at != SIZE_MAX;
}

/* With the lock held: publishes what the worker's task waits for. */
static void show(struct auri_worker *w)
{
    size_t n;
    auri_task *const *tasks = auri_wait_tasks(w, &n);
    struct auri_formula *formula = w->any != NULL ? auri_any_formula(w->any) : NULL;

    publish_maps(w);
    if (w->unsure) {
        auri_edge_perhaps(w->record, tasks, w->needs);
    } else if (formula != NULL) {
        auri_edge_needs(w->record, tasks, formula, &w->any_word);
    } else if (w->needs > 1) {
        auri_edge_any(w->record, tasks, w->needs, &w->any_word, false);
    } else {
        auri_edge_task(w->record, tasks[0], w->needs == 0);
    }
    w->edge = true;
}

auri_task *auri_wait_needed(const struct auri_worker *w)
{
    size_t n;

    return w->blocked && w->needs == 1 && !w->unsure ? auri_wait_tasks(w, &n)[0] : NULL;
}

/* With the lock held: which of the numbers the refusal of a wait is about.  More than one of them may be of the same
 * future, so it is the place that counts. */
static uint64_t refused_index(const struct auri_worker *w, aur_err err)
{
    if (err == AUR_E2DEEP && auri_unanswered(w) == 0) { /* is_left() in place.c */
        size_t at = first_queued(w->proc, w);
        return at != SIZE_MAX ? at : 0;
    }
    return err == AUR_EDEADLK || err == AUR_E2DEEP ? auri_victim_at(w->record) : 0;
}

/* With the lock held: what the worker has answered, and nobody has taken, does not wait for it. */
static void disown_answered(struct auri_worker *w)
{
    for (uint64_t seq = w->head; seq < w->tail && auri_answered(w, seq); seq++) {
        const struct auri_flight *flight = auri_flight_at(w, seq);
        if (flight->task != NULL && flight->count == 0 && !flight->revoked) {
            auri_task_disown(flight->task);
        }
    }
}

void auri_wait_begin(struct auri_worker *w, const struct auri_request *r)
{
    struct auri_proc *p = w->proc;

    w->blocked = true;
    p->blocked++;
    p->nests = true;
    w->wait_deadline = r->deadline;
    size_t n;
    (void)auri_wait_tasks(w, &n);
    w->needs = r->needs < n ? r->needs : (uint32_t)n;
    w->unsure = w->needs != 0 && r->unsure != 0;
    w->room = r->room == 1 && w->needs != 0 && !w->unsure;
    auri_revoke_from(p, w, w->head + 1);
    (void)auri_wait_hurry(p, w);
    disown_answered(w);
    show(w);
}

void auri_wait_settle(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r,
                      auri_task *const *tasks, size_t n)
{
    bool timed = r->deadline != AUR_NO_DEADLINE;
    aur_error error;
    /* If the wait is over already its node is live. */
    aur_err err = r->needs == 0 || r->unsure != 0 ? AUR_OK : auri_detect(w->record, &error);

    for (size_t i = 0; i < n && (!timed || i < r->needs); i++) {
        tell_its_pool(p, tasks[i]);
    }
    pthread_mutex_lock(&p->lock);
    auri_task *waited = NULL;
    w->serving = false; /* from here on the node of the continuation is settled */
    if (!w->blocked) {
        disconnect(w, tasks[0]); /* the wait ended before the continuation was there */
        if (auri_request_waits(w)) {
            auri_kick(p); /* whoever heard that bell saw us serve, and left it */
        }
    }
    /* While we serve there is no other wait: it is the same one. */
    bool refused = err == AUR_EDEADLK && w->blocked;
    if (refused) {
        struct auri_reply answer = { .err = AUR_EDEADLK, .value = refused_index(w, AUR_EDEADLK) };
        auri_add_rlx(&p->pool->deadlocks, UINT64_C(1)); /* relaxed: statistics */
        waited = auri_wait_end(w);
        auri_reply(w, &answer, &error, sizeof(error));
    } else if (w->blocked && w->ctl != NULL && auri_mail_is_recalled(w->ctl, w->req_seen)) {
        auri_wait_refuse(w, AUR_EAGAIN); /* the bell was heard while we served */
    }
    auri_dispatch(p);
    auri_relieve(p);
    auri_listen(p);
    if (timed && r->deadline < p->guardian_wakes_ns) {
        auri_kick(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (refused) {
        auri_pool_log(p->pool, AUR_LOG_WARN, "deadlock: %s", error.message);
    }
    if (waited != NULL) {
        auri_task_unref(waited);
    }
}

void auri_serve_wait(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
{
    auri_task *task = auri_task_from_id(r->id);
    aur_err err = AUR_OK;
    bool polls = r->op == AURI_REQ_POLL;

    if (task != NULL && polls && auri_holds_pool(task)) {
        task->pool->backend->progress(task->pool, task, 0); /* what has arrived counts */
    }
    pthread_mutex_lock(&p->lock);
    if (w->ctl == NULL || w->state == AURI_W_DEAD) {
        err = AUR_ECANCELED; /* nobody to answer */
    } else if (task == NULL) {
        auri_reply_code(w, AUR_EINVAL, 0);
        err = AUR_EINVAL;
    } else if (auri_task_is_done(task)) {
        auri_reply_outcome(w, task, 0);
        err = AUR_END;
    } else if (polls || (r->deadline != AUR_NO_DEADLINE && aurp_now_ns() >= r->deadline)) {
        auri_reply_code(w, AUR_ETIMEDOUT, 0);
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
    w->awaited = task;
    auri_wait_begin(w, r);
    w->refs++;
    p->firing++;
    w->cont_armed = true;
    w->cont.fire = awaited_done;
    auri_task_ref(task); /* ours: from here on the wait can end at any time, and drop its own */
    pthread_mutex_unlock(&p->lock);

    if (!auri_cont_add(task, &w->cont)) {
        awaited_done(&w->cont, task);
    }
    auri_wait_settle(p, w, r, &task, 1);
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
        bool victim = auri_record_is_victim(w->record);
        if (!victim && w->wait_deadline > now) {
            next = w->wait_deadline < next ? w->wait_deadline : next;
            continue;
        }
        struct auri_reply answer = { .err = victim ? AUR_EDEADLK : AUR_ETIMEDOUT };
        aur_error why;
        if (victim) {
            answer.value = refused_index(w, AUR_EDEADLK);
            auri_victim_error(w->record, &why);
        }
        end_wait(w);
        auri_reply(w, &answer, victim ? &why : NULL, victim ? sizeof(why) : 0);
    }
    return next;
}

void auri_wait_abandon(struct auri_worker *w)
{
    if (w->blocked) {
        end_wait(w);
    }
}

/* Ends the wait of a worker with an error. */
void auri_wait_refuse(struct auri_worker *w, aur_err err)
{
    uint64_t index = refused_index(w, err);

    end_wait(w);
    auri_reply_code(w, err, index);
}

void auri_wait_show(struct auri_worker *w)
{
    show(w);
    /* Whoever asked for a verdict meanwhile took the worker for one that goes on. */
    if (auri_detect(w->record, NULL) == AUR_EDEADLK) {
        auri_add_rlx(&w->proc->pool->deadlocks, UINT64_C(1)); /* relaxed: statistics */
        auri_wait_refuse(w, AUR_EDEADLK);
    }
}

bool auri_wait_entry(struct auri_worker *w, const struct auri_sub_desc *entry)
{
    struct auri_reply r = { .err = AUR_EPENDING };

    end_wait(w);
    auri_reply(w, &r, entry, sizeof(*entry));
    return r.err == AUR_EPENDING;
}
