/* What is done with answers once the lock is released: bytes are copied, tasks are finished. */
#include <stdlib.h>
#include <string.h>

#include "proc/internal.h"

/* ---- results of calls ------------------------------------------------------------------------------- */

static void deliver_call(struct auri_proc *p, struct auri_parcel *parcel, struct auri_harvest *h)
{
    auri_task *task = parcel->flight.task;
    uint64_t size = task->fn->ret_size;
    /* Checked by whoever made the parcel. */
    const void *data = auri_window_at(parcel->segment->window, auri_extent_off(parcel->out), size);

    memcpy(auri_task_ret(task), data, size);
    pthread_mutex_lock(&p->lock);
    auri_extent_back(parcel->worker, parcel->out);
    auri_done(h, task);
    pthread_mutex_unlock(&p->lock);
}

/* ---- results of chunks ------------------------------------------------------------------------------ */

/* The codes of a chunk's items, private; NULL: no memory. */
static aur_err *codes_copy(const struct auri_parcel *parcel)
{
    uint64_t count = parcel->flight.count;
    uint64_t size = count * sizeof(aur_err);
    aur_err *errs = malloc(size);
    const void *from = NULL;

    if (errs == NULL) {
        return NULL;
    }
    if (auri_extent_seg(parcel->end.errs) == AURI_SEG_RESULT && parcel->end.errs.size >= size) {
        from = auri_window_at(parcel->segment->window, auri_extent_off(parcel->end.errs), size);
    }
    if (from != NULL) {
        auri_copy_once(errs, from, size);
        return errs;
    }
    for (uint64_t i = 0; i < count; i++) {
        /* No codes: none was run, for that reason. */
        errs[i] = parcel->err != AUR_OK ? (i == 0 ? parcel->err : AUR_EPENDING) : AUR_EWORKER;
    }
    return errs;
}

static void describe(const auri_task *task, const struct auri_parcel *parcel, uint64_t item,
                     aur_error *error, aur_err err)
{
    error->err = err;
    error->function = task->store.map->fn->name;
    error->site = auri_task_site(task);
    error->item = task->store.map->first + item;
    error->worker = (int32_t)parcel->worker->slot;
    error->pid = parcel->worker->pid;
    error->attempts = parcel->flight.attempt + 1;
}

/* A failed item: again, or for good.  *error: the details if this is the first of the chunk. */
static void item_failed(struct auri_proc *p, struct auri_parcel *parcel, uint64_t i, aur_err err,
                        aur_error **error)
{
    auri_task *task = parcel->flight.task;
    struct auri_mapjob *job = auri_mapjob_of(task);
    uint64_t item = parcel->flight.item + i;
    uint32_t attempts = parcel->flight.count == 1 ? parcel->flight.attempt + 1 : 1;
    uint32_t kind = err == AUR_EDEADLINE ? AUR_RETRY_DEADLINE : AUR_RETRY_ERROR;

    if (!job->stopped && (err == AUR_ETASK || err == AUR_EEXITED || err == AUR_EDEADLINE) &&
        auri_may_retry(task, kind, attempts)) {
        auri_add_rlx(&p->pool->retried, UINT64_C(1)); /* relaxed: statistics */
        auri_mapjob_back(p, task, item, 1, attempts);
        free(*error);
        *error = NULL;
        return;
    }
    if (*error != NULL) {
        describe(task, parcel, item, *error, err);
    }
    auri_mapjob_fail_item(job, task, item, err, *error);
    *error = NULL;
}

static void account_chunk(struct auri_proc *p, struct auri_parcel *parcel, const aur_err *errs,
                          aur_error *error, struct auri_harvest *h)
{
    auri_task *task = parcel->flight.task;
    struct auri_mapjob *job = auri_mapjob_of(task);
    uint64_t count = parcel->flight.count;

    for (uint64_t i = 0; i < count; i++) {
        if (errs[i] == AUR_OK) {
            job->done++;
        } else if (errs[i] != AUR_EPENDING) {
            aur_err err = errs[i] > 0 && errs[i] < AUR_ERR_COUNT_ ? errs[i] : AUR_ETASK;
            item_failed(p, parcel, i, err, &error);
        }
    }
    free(error);
    for (uint64_t i = count; i-- > 0;) { /* not run: backwards, so that they come in order */
        uint64_t end = i + 1;
        while (errs[i] == AUR_EPENDING && i > 0 && errs[i - 1] == AUR_EPENDING) {
            i--;
        }
        if (errs[i] == AUR_EPENDING) {
            auri_mapjob_back(p, task, parcel->flight.item + i, end - i, 0);
        }
    }
    auri_mapjob_landed(p, task, h);
}

static void extent_back(struct auri_worker *w, struct auri_extent extent)
{
    if (extent.size != 0 && auri_extent_seg(extent) == AURI_SEG_RESULT) {
        auri_extent_back(w, extent);
    }
}

static void deliver_chunk(struct auri_proc *p, struct auri_parcel *parcel, struct auri_harvest *h)
{
    auri_task *task = parcel->flight.task;
    const struct auri_map *map = task->store.map;
    aur_err none[1] = { AUR_ENOMEM };
    aur_err *errs = codes_copy(parcel);
    aur_error *error = auri_error_copy(parcel->segment, parcel->end.error);
    bool bytes = (map->fn->flags & AUR_FN_BYTES) != 0;

    if (errs != NULL) {
        auri_chunk_copy(task, parcel->segment, &parcel->flight, parcel->out, errs);
        for (uint64_t i = 0; map->item_errs != NULL && i < parcel->flight.count; i++) {
            if (errs[i] == AUR_OK) {
                map->item_errs[parcel->flight.item + i] = AUR_OK;
            }
        }
    }
    pthread_mutex_lock(&p->lock);
    if (bytes) {
        auri_chunk_strings_back(parcel->worker, parcel->segment, &parcel->flight, parcel->out);
    }
    extent_back(parcel->worker, parcel->out);
    extent_back(parcel->worker, parcel->end.errs);
    extent_back(parcel->worker, parcel->end.error);
    if (errs == NULL) {
        parcel->flight.count = 1; /* no memory even for the codes: one failure says so */
    }
    account_chunk(p, parcel, errs != NULL ? errs : none, error, h);
    pthread_mutex_unlock(&p->lock);
    free(errs);
}

/* ---- all of it --------------------------------------------------------------------------------------- */

/* Returns how many of them were maps. */
static uint64_t finish_all(struct auri_proc *p, struct auri_harvest *h)
{
    auri_task *task = h->first;
    uint64_t n = h->n;
    uint64_t maps = 0;

    h->first = h->last = NULL;
    h->n = 0;
    while (task != NULL) {
        auri_task *next = task->next;
        task->next = NULL;
        bool sole = auri_task_is_sole(task);
        maps += auri_task_map(task) != NULL;
        auri_task_finish_uncounted(task);
        auri_task_unref_queued(task, sole);
        task = next;
    }
    auri_pool_finished(p->pool, n);
    /* fence; pairs with the one in the leader's sleep (leader.c): either it sees its task done, or
     * we see it asleep and ring. */
    auri_fence_sc();
    if (auri_load_rlx(&p->asleep) != 0) { /* relaxed: ordered by the fence */
        pthread_mutex_lock(&p->lock);
        if (p->bell >= 0) {
            aurp_bell_ring(p->rope);
        }
        pthread_mutex_unlock(&p->lock);
    }
    return maps;
}

/* They are done, or what is left of them is in the queue again: a pool that was not dry because of them may be. */
static void landed(struct auri_proc *p, uint64_t n)
{
    pthread_mutex_lock(&p->lock);
    p->landing -= n;
    if (p->landing == 0 && p->blocked != 0) {
        auri_kick(p);
    }
    pthread_mutex_unlock(&p->lock);
}

bool auri_deliver(struct auri_proc *p, struct auri_harvest *h)
{
    bool any = h->parcel_n != 0 || h->n != 0 || h->asking_n != 0;
    uint64_t n = 0;

    for (unsigned i = 0; i < h->parcel_n; i++) {
        struct auri_parcel *parcel = &h->parcels[i];
        if (parcel->flight.count == 0) {
            deliver_call(p, parcel, h);
        } else {
            deliver_chunk(p, parcel, h);
            n++;
        }
        auri_segment_unref(parcel->segment);
        pthread_mutex_lock(&p->lock);
        auri_worker_unref(p, parcel->worker);
        pthread_mutex_unlock(&p->lock);
    }
    h->parcel_n = 0;
    if (h->n != 0) {
        n += finish_all(p, h);
    }
    if (n != 0) {
        landed(p, n);
    }
    for (unsigned i = 0; i < h->asking_n; i++) {
        auri_request_serve(p, h->asking[i]);
        pthread_mutex_lock(&p->lock);
        auri_worker_unref(p, h->asking[i]);
        pthread_mutex_unlock(&p->lock);
    }
    h->asking_n = 0;
    return any || h->more;
}

bool auri_pump(struct auri_proc *p)
{
    struct auri_harvest h;
    bool any = false;

    AURI_HARVEST_INIT(&h);
    pthread_mutex_lock(&p->lock);
    auri_drain(p, &h);
    auri_dispatch(p);
    any = h.n != 0 || h.parcel_n != 0;
    pthread_mutex_unlock(&p->lock);
    any = auri_deliver(p, &h) || any;
    return any;
}
