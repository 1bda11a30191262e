/* The backend of process pools: what the layers above call.  README.md says how it works. */
#include "proc/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proc/internal.h"

/* ---- functions ------------------------------------------------------------------------------------------- */

aur_err auri_fn_known(struct auri_proc *p, const aur_fn *fn)
{
    auri_module_ref ref;

    /* relaxed: a cache; what it holds was checked by somebody. */
    if (auri_load_rlx(&p->checked) == fn) {
        return AUR_OK;
    }
    aur_err err;
    if (p->spawn) {
        err = auri_module_encode(fn, false, &ref);
    } else {
        err = auri_modules_check(p->modules, fn, false);
    }
    if (err == AUR_OK) {
        const void *range = (const void *)(uintptr_t)fn->range;
        err = p->spawn ? auri_module_encode(range, true, &ref)
                       : auri_modules_check(p->modules, range, true);
    }
    if (err == AUR_OK) {
        auri_store_rlx(&p->checked, fn); /* relaxed: as above */
    }
    return err;
}

bool auri_engine_knows(aur_pool *pool, const aur_fn *fn)
{
    return auri_fn_known(auri_proc_of(pool), fn) == AUR_OK;
}

/* A place in the table of functions: its number + 1, or 0. */
static uint32_t fn_place(struct auri_proc *p, const aur_fn *fn)
{
    uint32_t at = (uint32_t)(((uintptr_t)fn >> 4) % AURI_FNS_MAX);

    for (uint32_t i = 0; i < AURI_FNS_MAX; i++, at = (at + 1) % AURI_FNS_MAX) {
        if (p->fn_table[at] == fn) {
            return at + 1;
        }
        if (p->fn_table[at] != NULL) {
            continue;
        }
        struct auri_fn_entry *entry = (struct auri_fn_entry *)auri_arena_at(p->args, p->fns) + at;
        auri_module_ref ref;
        char path[AURI_MODULE_PATH_MAX];
        uint64_t offset;
        if (p->fn_n == AURI_FNS_MAX - 1 || auri_module_encode(fn, false, &ref) != AUR_OK) {
            return 0;
        }
        memset(entry, 0, sizeof(*entry));
        memcpy(entry->ref, &ref, sizeof(ref));
        if (!auri_module_at_start(fn) && auri_module_path(fn, path, sizeof(path)) == AUR_OK &&
            path[0] != '\0' && auri_arena_alloc(p->args, strlen(path), &offset) == AUR_OK) {
            memcpy(auri_arena_at(p->args, offset), path, strlen(path));
            entry->path = auri_extent_make(AURI_SEG_ARGS, offset, strlen(path));
        }
        p->fn_table[at] = fn;
        p->fn_n++;
        return at + 1;
    }
    return 0;
}

void auri_fn_encode(struct auri_proc *p, const aur_fn *fn, struct auri_sub_desc *entry)
{
    entry->fn = (uint64_t)(uintptr_t)fn;
    entry->fn_ref = p->spawn ? fn_place(p, fn) : 0;
}

/* ---- arguments --------------------------------------------------------------------------------------------- */

aur_err auri_args_place(struct auri_proc *p, auri_task *task)
{
    uint64_t size = auri_task_is_bytes(task) ? task->store.in_size : task->fn->args_size;
    uint64_t offset;

    if (size <= AURI_SUB_INLINE) {
        return AUR_OK;
    }
    aur_err err = auri_arena_alloc(p->args, size, &offset);
    if (err != AUR_OK) {
        return err == AUR_ETOOBIG ? AUR_ENOMEM : err;
    }
    memcpy(auri_arena_at(p->args, offset), auri_task_args(task), size);
    if (auri_task_args_kind(task) == AURI_ARGS_OUT && !auri_task_is_bytes(task)) {
        free(task->store.args_out); /* a byte string is the caller's: borrows_bytes */
    }
    /* The place of a result that is in the task depends on it, but is none the worse. */
    auri_task_set_args_out(task, auri_arena_at(p->args, offset));
    return AUR_OK;
}

void auri_args_free(struct auri_proc *p, auri_task *task)
{
    if (auri_task_map(task) == NULL && auri_in_arena(p, auri_task_args(task))) {
        auri_arena_free(p->args, auri_arena_offset(p, task->store.args_out));
        task->store.args_out = NULL; /* nothing to free with the task */
    }
}

/* ---- submit ------------------------------------------------------------------------------------------------- */

/* Nobody has room: what has been answered meanwhile makes some. */
static void make_room(struct auri_proc *p, struct auri_harvest *h)
{
    auri_drain(p, h);
    auri_dispatch(p);
}

/* The worker that is being filled seems to hold much, but has answered the half of it that nobody has taken
 * yet: then it keeps up, and gets the next call too.  A second worker that is woken for calls as short as
 * these takes its CPU from the caller, who is what all wait for: bench/submit. */
static void catch_up(struct auri_proc *p, struct auri_harvest *h)
{
    struct auri_worker *w = p->slots[p->cursor].worker;

    if (w == NULL || w->ctl == NULL || w->wild) {
        return;
    }
    uint64_t held = auri_unanswered(w);
    bool much = held >= AURI_RING / 2 || (held != 0 && w->queued_ns >= AURI_FILL_NS);
    if (much && auri_answered(w, w->head + held / 2)) {
        auri_drain_worker(p, w, h);
    }
}

aur_err auri_engine_submit(aur_pool *pool, auri_task *task)
{
    struct auri_proc *p = auri_proc_of(pool);
    struct auri_harvest h;
    const struct auri_map *map = auri_task_map(task);
    aur_err err = auri_fn_known(p, map != NULL ? map->fn : task->fn);

    if (err != AUR_OK) {
        return err;
    }
    if (map != NULL && map->n == 0) {
        if (auri_task_claim(task, 0)) {
            auri_task_finish(task); /* no item would ever end it */
        }
        auri_task_unref(task);
        return AUR_OK;
    }
    err = map != NULL ? auri_mapjob_new(p, task) : auri_args_place(p, task);
    if (err != AUR_OK) {
        return err;
    }
    AURI_HARVEST_INIT(&h);
    pthread_mutex_lock(&p->lock);
    if (p->broken || p->stopping) {
        err = p->broken ? AUR_EBROKEN : AUR_ESHUTDOWN;
        if (map != NULL) {
            auri_mapjob_free(p, task);
        }
        auri_args_free(p, task);
        pthread_mutex_unlock(&p->lock);
        return err;
    }
    auri_queue_append(p, task);
    catch_up(p, &h);
    auri_dispatch(p);
    if (p->queue_first != NULL) {
        make_room(p, &h);
    }
    if (p->queue_first != NULL && p->blocked != 0) {
        auri_kick(p); /* for auri_relieve(): it may be what those wait for */
    }
    auri_listen(p);
    pthread_mutex_unlock(&p->lock);
    if (h.n != 0 || h.parcel_n != 0 || h.asking_n != 0) {
        (void)auri_deliver(p, &h);
    }
    return AUR_OK;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

static void engine_close(aur_pool *pool)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    auri_kick(p);
    pthread_mutex_unlock(&p->lock);
}

static void engine_terminate(aur_pool *pool)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    auri_kick(p);
    pthread_mutex_unlock(&p->lock);
}

static aur_err engine_join(aur_pool *pool, aur_deadline deadline)
{
    struct auri_proc *p = auri_proc_of(pool);

    while (auri_load_acq(&p->ended) == 0) { /* acquire; pairs with the guardian's release */
        if (aurp_futex_wait(&p->ended, 0, deadline, AURP_PRIVATE) == AUR_ETIMEDOUT) {
            return AUR_ETIMEDOUT;
        }
    }
    pthread_mutex_lock(&p->lock);
    bool first = !p->joined;
    p->joined = true;
    pthread_mutex_unlock(&p->lock);
    if (first) {
        aurp_thread_join(p->guardian);
    }
    return AUR_OK;
}

static void engine_destroy(aur_pool *pool)
{
    struct auri_proc *p = auri_proc_of(pool);

    if (!p->joined) {
        if (pthread_equal(p->guardian.id, pthread_self())) {
            aurp_thread_detach(p->guardian); /* its hold was the last one */
        } else {
            aurp_thread_join(p->guardian);
        }
    }
    auri_engine_free(p);
}

/* ---- what it says about itself ------------------------------------------------------------------------------- */

/* With the lock held: shared memory that has pages behind it. */
static uint64_t args_bytes(struct auri_proc *p)
{
    return p->args != NULL ? auri_arena_committed(p->args) + auri_arena_committed(p->shared) : 0;
}

static uint64_t segment_bytes(const struct auri_segment *segment)
{
    return segment != NULL && segment->fd >= 0 ? aurp_shm_committed(segment->fd) : 0;
}

static uint64_t results_bytes(const struct auri_proc *p)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < p->slots_end; i++) {
        const struct auri_slot *slot = &p->slots[i];
        bytes += slot->worker != NULL ? segment_bytes(slot->worker->segment) : 0;
        bytes += segment_bytes(slot->warm);
    }
    return bytes;
}

static void engine_stats(aur_pool *pool, aur_stats *stats)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->slots_end; i++) {
        stats->workers += p->slots[i].worker != NULL;
    }
    stats->deaths += p->deaths;
    stats->spares += p->spares;
    stats->parks += p->parks;
    stats->wakes += p->wakes;
    stats->stolen += p->revoked;
    stats->shared_bytes += args_bytes(p) + results_bytes(p);
    pthread_mutex_unlock(&p->lock);
}

/* Whether a worker is on its way; writes the ids of the others. */
static bool list_pids(const struct auri_proc *p, int32_t *pids, size_t room)
{
    bool coming = false;

    for (unsigned i = 0; i < p->slots_end; i++) {
        const struct auri_worker *w = p->slots[i].worker;
        bool lives = w != NULL && (w->state == AURI_W_LIVE || w->state == AURI_W_QUITTING);
        coming = coming || (p->slots[i].wanted && !p->slots[i].refused && !lives);
        if (i < room) {
            pids[i] = lives ? w->pid : 0;
        }
    }
    return coming && !p->stopping && !p->broken && !p->quitting && !p->nursery_dead;
}

/* Until the guardian has looked again; false: the deadline passed. */
static bool await_look_locked(struct auri_proc *p, aur_deadline deadline)
{
    uint32_t looks = auri_load_rlx(&p->looks); /* relaxed: under the lock, as its changes */

    p->asking++;
    pthread_mutex_unlock(&p->lock);
    bool late = aurp_futex_wait(&p->looks, looks, deadline, AURP_PRIVATE) == AUR_ETIMEDOUT;
    pthread_mutex_lock(&p->lock);
    p->asking--;
    return !late;
}

static size_t engine_pids(aur_pool *pool, int32_t *pids, size_t room, aur_deadline deadline)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    while (list_pids(p, pids, room) && await_look_locked(p, deadline)) {
    }
    size_t n = p->slots_end;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* AUR_EPENDING: it lives, or its status is still to come. */
static aur_err find_status(const struct auri_proc *p, int pid, int32_t *ret_status)
{
    aur_err err = AUR_EINVAL;

    for (unsigned i = 0; i < p->slots_end; i++) {
        const struct auri_slot *slot = &p->slots[i];
        if (slot->worker != NULL && slot->worker->pid == pid && !slot->worker->exited) {
            return AUR_EPENDING;
        }
        if (slot->ended_pid == pid) {
            *ret_status = slot->ended_status;
            err = AUR_OK;
        }
    }
    for (const struct auri_worker *w = p->dead; w != NULL && err != AUR_OK; w = w->next) {
        err = w->pid == pid ? AUR_EPENDING : err;
    }
    return err;
}

static aur_err engine_exit_status(aur_pool *pool, int32_t pid, aur_deadline deadline,
                                  int32_t *ret_status)
{
    struct auri_proc *p = auri_proc_of(pool);
    aur_err err = AUR_EINVAL;

    if (pid <= 0) {
        return err;
    }
    pthread_mutex_lock(&p->lock);
    while ((err = find_status(p, pid, ret_status)) == AUR_EPENDING &&
           await_look_locked(p, deadline)) {
    }
    pthread_mutex_unlock(&p->lock);
    return err;
}

static size_t engine_explain(aur_pool *pool, char *text, size_t size)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    int n = snprintf(
        text, size,
        "Workers are %s.\n"
        "A worker has up to %u us of work, or 2 calls, in its ring; a second one is woken once the "
        "first holds %u us.\n"
        "%llu workers died unasked and %llu spares were started; %llu entries were taken back.\n"
        "The waiting thread looks after the rings itself; it did so %llu times and slept %llu "
        "times; "
        "workers were woken %llu times.\n"
        "Shared memory: %llu KiB of arguments and buffers, %llu KiB of results; that includes "
        "what is kept for those to come.\n",
        p->pool->opts.start == AUR_START_EXEC ? "forks of another program (AUR_START_EXEC)"
        : p->spawn ? "forks of a fresh image of the program (AUR_START_SPAWN)"
                   : "forks of the program as it was when the pool was made (AUR_START_FORK)",
        (unsigned)(AURI_QUEUE_AHEAD_NS / 1000), (unsigned)(AURI_FILL_NS / 1000),
        (unsigned long long)p->deaths, (unsigned long long)p->spares,
        (unsigned long long)p->revoked, (unsigned long long)p->leads, (unsigned long long)p->parks,
        (unsigned long long)p->wakes, (unsigned long long)args_bytes(p) / 1024,
        (unsigned long long)results_bytes(p) / 1024);
    pthread_mutex_unlock(&p->lock);
    return n > 0 ? (size_t)n : 0;
}

static bool engine_may_help(aur_pool *pool, auri_task *task)
{
    (void)pool;
    (void)task;
    return false; /* a crash must not hit the host */
}

const struct auri_backend auri_backend_processes = {
    .name = "processes",
    .borrows_bytes = true,
    .sole = true,
    .start = auri_engine_start,
    .submit = auri_engine_submit,
    .progress = auri_progress,
    .attend = auri_attend,
    .cancel = auri_cancel,
    .drop = auri_view_drop,
    .may_help = engine_may_help,
    .close = engine_close,
    .terminate = engine_terminate,
    .join = engine_join,
    .destroy = engine_destroy,
    .stats = engine_stats,
    .explain = engine_explain,
    .pids = engine_pids,
    .exit_status = engine_exit_status,
    .buf_new = auri_buf_new,
    .buf_free = auri_buf_free,
};
