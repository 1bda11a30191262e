/* Waits of tasks in workers for any of several.
 *
 * The worker names all of them; the parent answers with the first that is done.  Each has a continuation: one
 * that fires while the worker waits for this set ends the wait, and gives the others up.  The set goes with the
 * last of those that could not be given up, since they fire in that moment.  There is no limit but memory to how
 * many there may be; each question costs one reference and one continuation for each.
 *
 * No such wait is helped, as in sched/wait.c: what would be run could wait for something that comes after the
 * wait.  Only where nobody else can run anything (auri_run_dry) one of them is run in place, since it, or
 * another one, must be. */
#include <stdlib.h>

#include "proc/internal.h"
#include "sched/formula.h"

struct way {
    struct auri_cont cont; /* first: found again from it */
    struct auri_any *any;
    bool armed; /* L: cont is in its task's list, or will be, or is firing */
};

struct auri_any {
    struct auri_worker *worker;   /* I: a reference for each way that is armed */
    unsigned refs;                /* L: the wait, whoever serves it, each way that is armed */
    size_t n;                     /* I */
    auri_task **tasks;            /* I: with references; what the edge points to */
    struct auri_formula *formula; /* I: what its first tasks have to be for that; NULL: any one */
    struct way ways[];
};

/* With the lock held. */
static void drop(struct auri_any *any)
{
    if (--any->refs != 0) {
        return;
    }
    for (size_t i = 0; i < any->n; i++) {
        auri_task_unref(any->tasks[i]);
    }
    auri_formula_free(any->formula);
    free(any->tasks);
    free(any);
}

/* With the lock held: gives the continuations up, but for those that are on their way.  The caller has a
 * reference to the set, and one to the worker. */
static void disarm(struct auri_any *any)
{
    for (size_t i = 0; i < any->n; i++) {
        if (any->ways[i].armed && auri_cont_remove(any->tasks[i], &any->ways[i].cont)) {
            any->ways[i].armed = false;
            any->refs--;
            any->worker->refs--;
            any->worker->proc->firing--;
        }
    }
}

/* One of them is done.  Called without the pool's lock. */
static void fire(struct auri_cont *cont, auri_task *task)
{
    struct way *way = (struct way *)(void *)cont;
    struct auri_any *any = way->any;
    struct auri_worker *w = any->worker;
    struct auri_proc *p = w->proc;

    pthread_mutex_lock(&p->lock);
    way->armed = false;
    if (w->any == any) {
        auri_wait_end(w);
        auri_reply_outcome(w, task, (uint64_t)(way - any->ways));
    }
    drop(any);
    auri_worker_unref(p, w);
    p->firing--;
    if (p->firing == 0 && p->quitting) {
        auri_kick(p);
    }
    pthread_mutex_unlock(&p->lock);
}

/* The words behind the numbers. */
static aur_err read_formula(struct auri_worker *w, const struct auri_request *r, size_t n,
                            struct auri_formula **ret_formula)
{
    size_t bytes = r->formula * sizeof(uint32_t);
    const void *at = auri_window_at(w->req_segment->window,
                                    auri_extent_off(r->in) + n * sizeof(uint64_t), bytes);

    if (at == NULL || r->needs == 0 || r->needs > n || r->unsure != 0) {
        return AUR_EINVAL;
    }
    uint32_t *words = malloc(bytes);
    aur_err err = AUR_ENOMEM;
    if (words != NULL) {
        auri_copy_once(words, at, bytes);
        err = auri_formula_read(words, r->formula, r->needs, ret_formula);
    }
    free(words);
    return err;
}

/* Takes references to the futures whose numbers are in the worker's segment.  *reterr_index: the one that there is
 * not. */
static aur_err any_new(struct auri_worker *w, const struct auri_request *r,
                       struct auri_any **ret_any, uint64_t *reterr_index)
{
    size_t n = r->in.size / sizeof(uint64_t);
    const void *at = auri_window_at(w->req_segment->window, auri_extent_off(r->in), r->in.size);
    aur_err err = AUR_OK;

    if (at == NULL || n == 0 || r->in.size % sizeof(uint64_t) != 0) {
        return AUR_EINVAL;
    }
    struct auri_any *any = malloc(sizeof(*any) + n * sizeof(any->ways[0]));
    uint64_t *ids = malloc(n * sizeof(*ids));
    auri_task **tasks = malloc(n * sizeof(*tasks));
    if (any == NULL || ids == NULL || tasks == NULL) {
        err = AUR_ENOMEM;
        n = 0;
    } else {
        auri_copy_once(ids, at, n * sizeof(*ids));
        *any = (struct auri_any){ .worker = w, .refs = 1, .tasks = tasks };
    }
    for (size_t i = 0; i < n && err == AUR_OK; i++) {
        auri_task *task = auri_task_from_id(ids[i]);
        if (task == NULL) {
            err = AUR_EINVAL;
            *reterr_index = i;
        } else {
            tasks[any->n] = task;
            any->ways[any->n++] = (struct way){ .cont = { .fire = fire }, .any = any };
        }
    }
    free(ids);
    if (err == AUR_OK && r->formula != 0) {
        err = read_formula(w, r, n, &any->formula);
    }
    if (err == AUR_OK) {
        *ret_any = any;
    } else if (any != NULL && tasks != NULL && any->n != 0) {
        drop(any);
    } else {
        free(tasks);
        free(any);
    }
    return err;
}

/* With the lock held: the answer, if there is one at once.  AUR_OK: there is none yet. */
static aur_err answer(struct auri_worker *w, const struct auri_any *any,
                      const struct auri_request *r)
{
    if (w->ctl == NULL || w->state == AURI_W_DEAD) {
        return AUR_ECANCELED; /* nobody to answer */
    }
    for (size_t i = 0; i < any->n; i++) {
        if (auri_task_is_done(any->tasks[i])) {
            auri_reply_outcome(w, any->tasks[i], i);
            return AUR_END;
        }
    }
    if (r->deadline != AUR_NO_DEADLINE && aurp_now_ns() >= r->deadline) {
        auri_reply_code(w, AUR_ETIMEDOUT, 0);
        return AUR_ETIMEDOUT;
    }
    return AUR_OK;
}

/* With the lock held. */
static void arm(struct auri_any *any)
{
    for (size_t i = 0; i < any->n; i++) {
        any->ways[i].armed = true;
    }
    any->refs += (unsigned)any->n;
    any->worker->refs += (unsigned)any->n;
    any->worker->proc->firing += (unsigned)any->n;
}

void auri_serve_wait_any(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
{
    struct auri_any *any = NULL;
    uint64_t index = 0;
    aur_err err = any_new(w, r, &any, &index);

    if (err != AUR_OK) {
        auri_request_finish(p, w, err, index);
        return;
    }
    for (size_t i = 0; i < any->n && r->deadline == 0; i++) {
        if (auri_holds_pool(any->tasks[i])) { /* what has arrived counts */
            any->tasks[i]->pool->backend->progress(any->tasks[i]->pool, any->tasks[i], 0);
        }
    }
    pthread_mutex_lock(&p->lock);
    if (answer(w, any, r) != AUR_OK) {
        w->serving = false;
        drop(any);
        pthread_mutex_unlock(&p->lock);
        return;
    }
    arm(any);
    any->refs++; /* ours is the second: the wait may be over at any time */
    w->any = any;
    auri_wait_begin(w, r);
    pthread_mutex_unlock(&p->lock);

    for (size_t i = 0; i < any->n; i++) {
        if (!auri_cont_add(any->tasks[i], &any->ways[i].cont)) {
            fire(&any->ways[i].cont, any->tasks[i]);
        }
    }
    auri_wait_settle(p, w, r, any->tasks, any->n);
    pthread_mutex_lock(&p->lock);
    if (w->any != any) {
        disarm(any); /* those that came after the wait was over */
    }
    drop(any);
    pthread_mutex_unlock(&p->lock);
}

void auri_any_stop(struct auri_worker *w)
{
    struct auri_any *any = w->any;

    w->any = NULL;
    disarm(any);
    drop(any);
}

auri_task *const *auri_any_tasks(const struct auri_any *any, size_t *ret_n)
{
    *ret_n = any->n;
    return any->tasks;
}

struct auri_formula *auri_any_formula(const struct auri_any *any)
{
    return any->formula;
}
