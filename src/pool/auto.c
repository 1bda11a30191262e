/* AUR_AUTO: what is measured, and what is decided from it.
 *
 * A function has an entry in a table, found by its range function; functions that find no place in
 * it stay in threads.  An entry is UNDECIDED while its calls are measured, one by one, until there is
 * enough to go by; after that one call in 64 is, and when those contradict the choice it is measured
 * anew.  All of an entry is atomic and statistics: a sum that misses a call, or that mixes two calls
 * of threads that add at once, makes the choice later or a little different, never a wrong result.
 *
 * The measuring never waits for anybody, since calls of one function may wait for each other. */
#include "pool/auto.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hot.h"
#include "plat/plat.h"
#include "proc/engine.h"
#include "proc/remote.h"
#include "sched/threads.h"

#define TABLE 64u
#define SAMPLE_ONE_IN 64u

struct auri_auto {
    struct auri_verdict fn[TABLE];
    struct auri_measure measure; /* I */
    aur_options opts;            /* I: of the inner pool; its name is the outer pool's */
    pthread_mutex_t lock;        /* guards the making of the inner pool */
    bool making;                 /* L: forks now.  Read without it by children that were forked */
    _Atomic(aur_pool *) inner;   /* A: NULL until it is made, then constant */
    _Atomic(uint32_t) refused;   /* A: it cannot be made; `why` says why */
    _Atomic(uint32_t) pins;      /* A: living buffers of the outer pool */
    aur_diag why;                /* I once refused is set */
};

static struct auri_auto *auto_of(const aur_pool *pool)
{
    return auri_auto_is(pool) ? ((const struct auri_face *)(const void *)pool)->autos : NULL;
}

/* ---- the table ----------------------------------------------------------------------------- */

/* The entry of fn, made if there is none and `make`; NULL: none, or no place. */
static struct auri_verdict *entry_of(struct auri_auto *autos, const aur_fn *fn, bool make)
{
    uintptr_t key = (uintptr_t)fn->range;
    unsigned at = (unsigned)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 58);

    for (unsigned i = 0; i < TABLE; i++, at = (at + 1) % TABLE) {
        struct auri_verdict *entry = &autos->fn[at];
        uintptr_t found = auri_load_rlx(&entry->key); /* relaxed: a key is for ever */
        /* relaxed: what else the entry has is atomic, and the name has a flag of its own. */
        if (found == 0 && make && auri_cas_rlx(&entry->key, &found, key)) {
            auri_verdict_name(entry, fn->name);
            return entry;
        }
        if (found == key) {
            return entry;
        }
        if (found == 0) {
            return NULL;
        }
    }
    return NULL;
}
_Static_assert(TABLE == 64, "six bits");

struct auri_verdict *auri_auto_verdict(aur_pool *pool, const aur_fn *fn)
{
    return entry_of(auto_of(pool), fn, true);
}

/* ---- the inner pool ------------------------------------------------------------------------ */

struct auri_auto *auri_auto_new(const aur_options *resolved, uint32_t spares_max)
{
    struct auri_auto *autos = aligned_alloc(AURI_CACHE_LINE, sizeof(*autos));

    if (autos == NULL) {
        return NULL;
    }
    memset(autos, 0, sizeof(*autos));
    pthread_mutex_init(&autos->lock, NULL);
    autos->opts = *resolved;
    autos->opts.kind = AUR_PROCESSES;
    autos->opts.spares_max = spares_max;
    autos->measure = auri_measure_of_this_machine();
    /* Where a waiter may not run calls for the workers, a submitter may not either. */
    autos->measure.may_loop =
        (resolved->flags & AUR_POOL_NO_HELP) == 0 && resolved->worker_init == NULL;
    autos->measure.side_by_side = resolved->workers > 1 && aurp_thread_ready_ns() != AURP_NO_CLOCK;
    return autos;
}
_Static_assert(sizeof(struct auri_auto) % AURI_CACHE_LINE == 0, "for aligned_alloc()");

void auri_auto_free(struct auri_auto *autos)
{
    if (autos != NULL) {
        pthread_mutex_destroy(&autos->lock);
        free(autos);
    }
}

aur_pool *auri_auto_inner(aur_pool *pool)
{
    struct auri_auto *autos = auto_of(pool);

    /* seq_cst; pairs with the store in make_inner(): whoever closes the outer pool and sees no inner
     * one has changed the state before the maker looks at it. */
    return autos != NULL ? auri_load_sc(&autos->inner) : NULL;
}

static void make_inner(aur_pool *pool, struct auri_auto *autos)
{
    aur_options opts = autos->opts;
    aur_pool *inner = NULL;

    opts.name = pool->name;
    autos->making = true;
    aur_err err = aur_pool_new(&opts, &inner, &autos->why);
    autos->making = false;
    if (err != AUR_OK) {
        auri_store_rel(&autos->refused, 1u); /* release: `why`; pairs with is_refused() */
        return;
    }
    auri_store_sc(&autos->inner, inner); /* seq_cst; pairs with auri_auto_inner() */
    if (auri_load_sc(&pool->state) >= AURI_STOPPING) {
        (void)aur_pool_terminate(inner);
    }
    /* Closed meanwhile: the last call of the outer pool, or its join, closes this one. */
}

static bool is_refused(struct auri_auto *autos)
{
    return auri_load_acq(&autos->refused) != 0; /* acquire: `why` */
}

/* The inner pool, made now if that is possible now.
 *
 * A fork copies the locks that other threads hold, and a call of this pool may hold any: so a fork
 * waits for a moment in which none is under way, and for a submitter that is in no task itself.  A
 * fresh image copies nothing.  Nobody waits for somebody else who is at it. */
static aur_pool *inner_for(aur_pool *pool, struct auri_auto *autos)
{
    aur_pool *inner = auri_load_sc(&autos->inner);
    const struct auri_record *self = auri_self_;

    if (inner != NULL || is_refused(autos)) {
        return inner;
    }
    bool calm = (self == NULL || self->frame == NULL) && auri_pool_is_idle(pool);
    if ((autos->opts.start == AUR_START_SPAWN || calm) &&
        pthread_mutex_trylock(&autos->lock) == 0) {
        if (auri_load_sc(&autos->inner) == NULL && !is_refused(autos)) {
            make_inner(pool, autos);
        }
        inner = auri_load_sc(&autos->inner);
        pthread_mutex_unlock(&autos->lock);
    }
    return inner;
}

bool auri_auto_forks(const aur_pool *inherited)
{
    const struct auri_auto *autos = auto_of(inherited);

    return autos != NULL && autos->making && auri_remote_pool() != NULL;
}

aur_err auri_auto_join(aur_pool *pool, aur_deadline deadline)
{
    struct auri_auto *autos = auto_of(pool);

    if (autos == NULL) {
        return AUR_OK;
    }
    pthread_mutex_lock(&autos->lock); /* another thread may be making it */
    aur_pool *inner = auri_load_sc(&autos->inner);
    pthread_mutex_unlock(&autos->lock);
    return inner != NULL ? aur_pool_join(inner, deadline) : AUR_OK;
}

/* ---- where a call goes --------------------------------------------------------------------- */

static bool is_sample(uint32_t calls)
{
    return calls % SAMPLE_ONE_IN == SAMPLE_ONE_IN - 1;
}

static bool is_due(struct auri_verdict *entry)
{
    uint32_t calls = auri_load_rlx(&entry->calls); /* relaxed: a count, and one lost is no loss */

    auri_store_rlx(&entry->calls, calls + 1);
    return is_sample(calls);
}

void auri_auto_route_(aur_pool **pool, const aur_fn *fn)
{
    struct auri_auto *autos = auto_of(*pool);

    if ((fn->flags & AUR_FN_RANGE_BODY) != 0) {
        return;
    }
    struct auri_verdict *entry = entry_of(autos, fn, false);
    /* relaxed, both: a call more or less that goes elsewhere. */
    if (entry == NULL || auri_load_rlx(&entry->choice) != AURI_TO_PROCESSES ||
        auri_load_rlx(&autos->pins) != 0 || auri_pool_closed(*pool) != AUR_OK || is_due(entry)) {
        return;
    }
    aur_pool *inner = inner_for(*pool, autos);
    if (inner != NULL && auri_load_acq(&inner->state) != AURI_BROKEN &&
        auri_engine_knows(inner, fn)) {
        *pool = inner;
    }
}

/* Whether this call, which is to run in a thread, is. */
static bool is_measured(struct auri_verdict *entry)
{
    uint32_t choice = auri_load_rlx(&entry->choice); /* relaxed: as above */

    /* One that is for processes is here because its turn has come, or because none can have it. */
    return choice == AURI_UNDECIDED || choice == AURI_TO_PROCESSES || is_due(entry);
}

struct measured {
    struct auri_verdict *entry; /* NULL: not measured */
    const struct auri_measure *measure;
    struct auri_sample sample;
};

static void measured_begin(struct measured *measured, uint64_t items)
{
    if (measured->entry != NULL) {
        auri_sample_begin(measured->entry, &measured->sample, items);
    }
}

/* Also when the call ends its thread. */
static void measured_end(struct measured *measured)
{
    if (measured->entry != NULL) {
        auri_sample_end(measured->entry, measured->measure, &measured->sample);
    }
}

/* A call in a thread, with its measures taken.  Its task, which is not done yet, keeps the pool. */
static void run_measured(auri_task *task)
{
    struct auri_auto *autos = auto_of(task->pool);
    __attribute__((cleanup(measured_end))) struct measured measured = {
        .entry = entry_of(autos, task->fn, true), .measure = &autos->measure
    };

    measured_begin(&measured, 1);
    auri_run_call(task);
}

auri_run_fn *auri_auto_runner_(aur_pool *pool, const aur_fn *fn)
{
    struct auri_verdict *entry = entry_of(auto_of(pool), fn, true);

    return entry != NULL && is_measured(entry) ? run_measured : NULL;
}

static bool is_for_loop(struct auri_verdict *entry)
{
    return auri_load_rlx(&entry->choice) == AURI_TO_LOOP; /* relaxed: as above */
}

/* A piece of a map is a call that costs its share for each item. */
static bool gauge(const auri_task *root, const struct auri_stretch *piece)
{
    struct auri_auto *autos = auto_of(root->pool);
    struct auri_verdict *entry = entry_of(autos, root->store.map->fn, true);
    bool due = entry != NULL && (is_for_loop(entry) || is_measured(entry));
    __attribute__((cleanup(measured_end))) struct measured measured = { .entry = due ? entry : NULL,
                                                                        .measure =
                                                                            &autos->measure };

    measured_begin(&measured, piece->hi - piece->lo);
    return piece->body(piece->ctx, piece->lo, piece->hi);
}

/* Cheap items: to ask for each piece would cost as much as a short one.  One map in 64 is measured. */
auri_gauge_fn *auri_auto_gauge_of_(aur_pool *pool, const aur_fn *fn)
{
    struct auri_verdict *entry = entry_of(auto_of(pool), fn, true);

    return entry == NULL || (is_for_loop(entry) && !is_due(entry)) ? NULL : gauge;
}

/* Cheap calls only: for others the short way is no gain.  One that is due is left for the long way to count. */
AURI_HOT bool auri_auto_is_short_(aur_pool *pool, const aur_fn *fn)
{
    if ((fn->flags & AUR_FN_RANGE_BODY) != 0) {
        return true; /* never measured */
    }
    struct auri_verdict *entry = entry_of(auto_of(pool), fn, false);

    if (entry == NULL || !is_for_loop(entry)) {
        return false;
    }
    uint32_t calls = auri_load_rlx(&entry->calls); /* relaxed: as in is_due() */
    if (is_sample(calls)) {
        return false;
    }
    auri_store_rlx(&entry->calls, calls + 1);
    return true;
}

bool auri_auto_runs_here_(aur_pool *pool, const auri_task *task, const struct auri_record *self)
{
    struct auri_verdict *entry = task->fn != NULL ? entry_of(auto_of(pool), task->fn, false) : NULL;

    return entry != NULL && is_for_loop(entry) && !auri_stack_is_low(self);
}

/* ---- shared buffers ------------------------------------------------------------------------ */

aur_pool *auri_auto_buf_pool(aur_pool *pool)
{
    aur_pool *inner = auri_auto_inner(pool);

    return inner != NULL ? inner : pool;
}

void auri_auto_pin(aur_pool *pool, int n)
{
    struct auri_auto *autos = auto_of(pool);

    if (autos != NULL) {
        /* relaxed: the thread that made the buffer sees its own count, and whoever got the buffer from
         * it does so in order. */
        auri_add_rlx(&autos->pins, (uint32_t)n);
    }
}

/* ---- words --------------------------------------------------------------------------------- */

static const char *processes_note(struct auri_auto *autos, bool made)
{
    if (is_refused(autos)) {
        return ", but there are none";
    }
    if (auri_load_rlx(&autos->pins) != 0) { /* relaxed: words */
        return ", which has to wait until the buffers made before are gone";
    }
    return made ? "" : ", as soon as no call is under way when one is submitted";
}

void auri_auto_explain(aur_pool *pool, struct auri_text *text)
{
    struct auri_auto *autos = auto_of(pool);
    bool made = auri_load_sc(&autos->inner) != NULL;
    bool wanted = false;

    for (unsigned i = 0; i < TABLE; i++) {
        /* relaxed: words */
        uint32_t choice = auri_load_rlx(&autos->fn[i].choice);
        bool processes = choice == AURI_TO_PROCESSES;
        wanted = wanted || processes;
        auri_verdict_say(&autos->fn[i], text, processes ? processes_note(autos, made) : "");
    }
    if (made) {
        auri_say(text, "\nWorker processes were started: %u.", (unsigned)pool->workers);
    } else if (is_refused(autos)) {
        auri_say(text,
                 "\nWorker processes could not be started (%s): %s. All calls stay in threads.",
                 aur_err_name(autos->why.err), autos->why.text);
    } else {
        auri_say(text, "\nNo worker processes were %s.", wanted ? "started yet" : "needed so far");
    }
}

/* ---- the backend --------------------------------------------------------------------------- */

static aur_err auto_start(aur_pool *pool, const aur_options *opts, aur_diag *diag)
{
    return auri_backend_threads.start(pool, opts, diag);
}

static aur_err auto_submit(aur_pool *pool, auri_task *task)
{
    return auri_backend_threads.submit(pool, task);
}

static int auto_cancel(aur_pool *pool, auri_task *task, bool kill)
{
    return auri_backend_threads.cancel(pool, task, kill);
}

static bool auto_may_help(aur_pool *pool, auri_task *task)
{
    return auri_backend_threads.may_help(pool, task);
}

static aur_err auto_block(aur_pool *pool)
{
    return auri_backend_threads.block(pool);
}

static void auto_unblock(aur_pool *pool)
{
    auri_backend_threads.unblock(pool);
}

/* A running task may still want the inner pool; an idle pool has none. */
static void auto_close(aur_pool *pool)
{
    aur_pool *inner = auri_auto_inner(pool);

    if (inner != NULL && auri_pool_is_idle(pool)) {
        (void)aur_pool_close(inner);
    }
    auri_backend_threads.close(pool);
}

static void auto_terminate(aur_pool *pool)
{
    aur_pool *inner = auri_auto_inner(pool);

    if (inner != NULL) {
        (void)aur_pool_terminate(inner);
    }
    auri_backend_threads.terminate(pool);
}

static aur_err auto_join(aur_pool *pool, aur_deadline deadline)
{
    return auri_backend_threads.join(pool, deadline);
}

static void auto_abandon(aur_pool *pool)
{
    auri_backend_threads.abandon(pool);
}

static void auto_destroy(aur_pool *pool)
{
    struct auri_auto *autos = auto_of(pool);

    auri_backend_threads.destroy(pool);
    aur_pool_unref(auri_load_rlx(&autos->inner)); /* relaxed: nobody else is left */
    auri_auto_free(autos);
}

static void auto_stats(aur_pool *pool, aur_stats *stats)
{
    auri_backend_threads.stats(pool, stats);
}

static size_t auto_explain(aur_pool *pool, char *text, size_t size)
{
    return auri_backend_threads.explain(pool, text, size);
}

const struct auri_backend auri_backend_auto = {
    .name = "measured choice for each function",
    .threaded = true,
    .sole = true,
    .start = auto_start,
    .submit = auto_submit,
    .cancel = auto_cancel,
    .may_help = auto_may_help,
    .block = auto_block,
    .unblock = auto_unblock,
    .close = auto_close,
    .terminate = auto_terminate,
    .join = auto_join,
    .abandon = auto_abandon,
    .destroy = auto_destroy,
    .stats = auto_stats,
    .explain = auto_explain,
};
