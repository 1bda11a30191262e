/* The life of a pool: new, references, close, terminate, join.
 *
 * refs are the user's references; all of them together are one of `holds`, which keep the memory.
 * The last unref closes the pool and drops that hold; the backend's threads have holds of their own
 * and end once all that was accepted is done.  Whoever drops the last hold frees the backend's part
 * and the struct (auri_pool_drop). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "plat/plat.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "pool/options.h"
#include "pool/serial.h"
#include "proc/engine.h"
#include "sched/run.h"
#include "sched/threads.h"

/* ---- who may use it where ------------------------------------------------------------------ */

static bool is_local_backend(const struct auri_backend *backend)
{
    return backend == &auri_backend_threads || backend == &auri_backend_processes ||
           backend == &auri_backend_serial || backend == &auri_backend_auto;
}

struct auri_face *auri_face_of(aur_pool *pool)
{
    return is_local_backend(pool->backend) ? (struct auri_face *)(void *)pool : NULL;
}

bool auri_pool_inside(const aur_pool *pool)
{
    const struct auri_record *self = auri_self_;
    const struct auri_frame *frame = self != NULL ? self->frame : NULL;

    while (frame != NULL && frame->pool != pool) {
        frame = frame->up;
    }
    return frame != NULL;
}

aur_err auri_pool_closed(aur_pool *pool)
{
    /* seq_cst [A1]: the second half of auri_count_in() in submit.c; elsewhere a hint. */
    switch (auri_load_sc(&pool->state)) {
    case AURI_OPEN:
        return AUR_OK;
    case AURI_DRAINING:
        /* What a running task submits is counted before that task is: the pool is not idle yet. */
        return auri_pool_inside(pool) ? AUR_OK : AUR_ESHUTDOWN;
    case AURI_BROKEN:
        return AUR_EBROKEN;
    default:
        return AUR_ESHUTDOWN;
    }
}

aur_err auri_verb_failed(aur_err err, const aur_fn *fn, const char *site, const char *why)
{
    /* A descriptor of another ABI has no name that we could find. */
    const char *name = fn != NULL && fn->abi == AUR_FN_ABI ? fn->name : NULL;

    return auri_last_error_code(err, name, site, "%s", why != NULL ? why : aur_err_text(err));
}

void auri_task_seen(auri_task *task)
{
    /* relaxed: the caller has seen DONE; the flag only keeps the failure from being counted
     * twice. */
    if (task->err == AUR_OK || (auri_or_rlx(&task->word, AURI_F_SEEN) & AURI_F_SEEN) != 0) {
        return;
    }
    if (task->err != AUR_ECANCELED && task->pool != NULL) {
        auri_add_rlx(&task->pool->seen,
                     UINT64_C(1)); /* relaxed: statistics; the failure holds the pool */
    }
}

/* ---- birth --------------------------------------------------------------------------------- */

static const struct auri_backend *backend_of(int32_t kind)
{
    switch (kind) {
    case AUR_THREADS:
        return &auri_backend_threads;
    case AUR_PROCESSES:
        return &auri_backend_processes;
    case AUR_AUTO:
        return &auri_backend_auto;
    default:
        return &auri_backend_serial;
    }
}

static bool runs_here(aur_pool *pool)
{
    return pool->kind == AUR_THREADS && !auri_limits_each(&pool->limits) &&
           pool->backend->may_help(pool, NULL);
}

static struct auri_face *face_new(const aur_options *opts, bool workers_default)
{
    size_t align = alignof(struct auri_face);
    struct auri_face *face = aligned_alloc(align, (sizeof(*face) + align - 1) & ~(align - 1));

    if (face == NULL) {
        return NULL;
    }
    memset(face, 0, sizeof(*face));
    pthread_mutex_init(&face->buf_lock, NULL);
    face->workers_default = workers_default;

    aur_pool *pool = &face->pool;
    pool->magic = AURI_POOL_MAGIC;
    pool->generation = auri_process_generation();
    pool->backend = backend_of(opts->kind);
    pool->kind = opts->kind == AUR_AUTO ? AUR_THREADS : opts->kind; /* which it is, and more */
    pool->workers = opts->workers;
    pool->flags = opts->flags;
    pool->opts = *opts;
    pool->limits = (struct auri_limits){ opts->item_timeout_ns, opts->retries, opts->retry_on };
    snprintf(pool->name, sizeof(pool->name), "%s", opts->name);
    pool->opts.name = pool->name;
    /* relaxed: nobody else knows the pool yet. */
    auri_store_rlx(&pool->refs, 1u);
    auri_store_rlx(&pool->holds, 1u);
    pool->runs_here = runs_here(pool);
    pool->takes_all = pool->runs_here && !auri_auto_is(pool) && pool->opts.queue_max == 0;
    return face;
}

aur_err aur_pool_new(const aur_options *opts, aur_pool **ret_pool, aur_diag *reterr_diag)
{
    aur_options resolved;

    if (ret_pool == NULL) {
        return auri_diag(reterr_diag, AUR_EINVAL, 0, "arguments", "ret_pool is NULL");
    }
    aur_err err = auri_options_resolve(opts, &resolved, reterr_diag);
    if (err != AUR_OK) {
        return err;
    }
    struct auri_face *face = face_new(&resolved, opts == NULL || opts->workers == 0);
    if (face == NULL) {
        return auri_diag(reterr_diag, AUR_ENOMEM, 0, "aligned_alloc",
                         "no memory for the pool itself (%zu bytes)", sizeof(*face));
    }
    if (resolved.kind == AUR_AUTO) {
        face->autos = auri_auto_new(&resolved, opts != NULL ? opts->spares_max : 0);
        if (face->autos == NULL) {
            free(face);
            return auri_diag(reterr_diag, AUR_ENOMEM, 0, "aligned_alloc",
                             "no memory for what the pool is to learn");
        }
    }
    err = face->pool.backend->start(&face->pool, &face->pool.opts, reterr_diag);
    if (err != AUR_OK) {
        auri_auto_free(face->autos);
        free(face);
        return err;
    }
    auri_pool_enlist(&face->pool);
    *ret_pool = &face->pool;
    return AUR_OK;
}

aur_err aur_nursery_run(void)
{
    return auri_engine_nursery();
}

aur_err aur_nursery_serve(int fd)
{
    return auri_engine_serve(fd);
}

/* ---- references ---------------------------------------------------------------------------- */

aur_pool *aur_pool_ref(aur_pool *pool)
{
    if (pool != NULL) {
        AURI_ASSERT(pool->magic == AURI_POOL_MAGIC);
        auri_add_rlx(&pool->refs, 1u); /* relaxed: the caller has a reference already */
    }
    return pool;
}

aur_pool *aur_pool_unref(aur_pool *pool)
{
    if (pool == NULL) {
        return NULL;
    }
    AURI_ASSERT(pool->magic == AURI_POOL_MAGIC);
    /* acq_rel: what each user did with the pool comes before its end. */
    uint32_t before = auri_sub_acqrel(&pool->refs, 1u);
    AURI_ASSERT(before != 0);
    if (before != 1) {
        return NULL;
    }
    if (pool->generation != auri_process_generation()) {
        return NULL; /* a copy in a forked child: its threads and files are the parent's */
    }
    aur_pool_close(pool);
    if (pool->backend->abandon != NULL) {
        pool->backend->abandon(pool);
    }
    auri_pool_drop(pool);
    return NULL;
}

void aur_pool_scoped_(aur_pool **pool)
{
    if (*pool != NULL) {
        /* Inside a task of the pool, or in a forked child, there is nothing to wait for. */
        (void)aur_pool_join(*pool, AUR_NO_DEADLINE);
        *pool = aur_pool_unref(*pool);
    }
}

/* ---- the end ------------------------------------------------------------------------------- */

/* Finds the pool for a verb about its life: those of a worker process's parent are not its to
 * end. */
static aur_err find_own(aur_pool **pool)
{
    aur_err err = auri_pool_here(pool);

    if (err != AUR_OK) {
        return err;
    }
    return auri_face_of(*pool) != NULL ? AUR_OK : AUR_ENOTSUP;
}

/* Moves the state on to `to`; never back.  True: this call did it. */
static bool advance(aur_pool *pool, uint32_t to)
{
    uint32_t state = auri_load_sc(&pool->state);

    while (state < to) {
        /* seq_cst [A2]; pairs with [A1] in submit.c. */
        if (auri_cas_sc(&pool->state, &state, to)) {
            return true;
        }
    }
    return false;
}

aur_err aur_pool_close(aur_pool *pool)
{
    aur_err err = find_own(&pool);

    if (err == AUR_OK && advance(pool, AURI_DRAINING)) {
        pool->backend->close(pool);
    }
    return err;
}

aur_err aur_pool_terminate(aur_pool *pool)
{
    aur_err err = find_own(&pool);

    if (err == AUR_OK && advance(pool, AURI_STOPPING)) {
        pool->backend->terminate(pool);
    }
    return err;
}

/* Calls that other threads run in the place of workers may still be under way after the workers. */
static aur_err wait_idle(aur_pool *pool, aur_deadline deadline)
{
    _Atomic(uint32_t) *futex = (_Atomic(uint32_t) *)(void *)&pool->finished;

    for (;;) {
        /* acquire; pairs with auri_pool_finished(), which wakes us: the state is not OPEN. */
        uint32_t seen = auri_load_acq(futex);
        if (auri_pool_is_idle(pool)) {
            return AUR_OK;
        }
        if (aurp_futex_wait(futex, seen, deadline, AURP_PRIVATE) == AUR_ETIMEDOUT) {
            return auri_pool_is_idle(pool) ? AUR_OK : AUR_ETIMEDOUT;
        }
    }
}

static void report_unseen(aur_pool *pool)
{
    /* relaxed, all: the pool is idle, and what its tasks did is visible (wait_idle). */
    uint64_t failed = auri_load_rlx(&pool->failed);
    uint64_t seen = auri_load_rlx(&pool->seen);

    if (failed > seen && auri_xchg_rlx(&pool->reported, 1u) == 0) {
        auri_pool_log(pool, AUR_LOG_WARN,
                      "pool \"%s\": %llu of %llu failed calls: nobody asked for "
                      "the error",
                      pool->name, (unsigned long long)(failed - seen), (unsigned long long)failed);
    }
}

aur_err aur_pool_join(aur_pool *pool, aur_deadline deadline)
{
    aur_err err = auri_pool_here(&pool);

    if (err != AUR_OK) {
        return err;
    }
    if (auri_face_of(pool) == NULL || auri_pool_inside(pool)) {
        return auri_verb_failed(AUR_EDEADLK, NULL, NULL,
                                "a task of the pool waits for the end of its "
                                "own pool: aur_pool_join() inside a task");
    }
    if (auri_load_acq(&pool->state) == AURI_STOPPED) { /* acquire; pairs with advance() below */
        return AUR_OK;
    }
    if (advance(pool, AURI_DRAINING)) {
        pool->backend->close(pool);
    }
    err = pool->backend->join(pool, deadline);
    if (err == AUR_OK) {
        err = wait_idle(pool, deadline);
    }
    if (err == AUR_OK) {
        err = auri_auto_join(pool, deadline);
    }
    if (err == AUR_OK) {
        report_unseen(pool);
        if (auri_load_rlx(&pool->state) != AURI_BROKEN) { /* relaxed: broken is for ever */
            advance(pool, AURI_STOPPED);
        }
    }
    return err;
}

/* ---- the calling thread -------------------------------------------------------------------- */

int aur_worker_index(void)
{
    const struct auri_record *self = auri_self_;

    return self != NULL ? self->worker : -1;
}
