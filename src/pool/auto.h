/* pool/auto.h: AUR_AUTO, the measured kind.
 *
 * Such a pool is a thread pool that measures the calls of each function, and that has a process pool
 * inside it, made when a function is found to need one.  Where a call goes is decided before its task
 * is made: by putting the inner pool in the place of the outer one (auri_auto_route), or by running
 * the call in the thread that submits it (auri_auto_runs_here).  docs/ARCHITECTURE.md says how it is
 * decided, and why. */
#ifndef AURI_POOL_AUTO_H
#define AURI_POOL_AUTO_H

#include "pool/face.h"
#include "pool/text.h"
#include "pool/verdict.h"
#include "sched/run.h"

struct auri_auto;

/* That of thread pools, whose end is also the end of the inner pool. */
extern const struct auri_backend auri_backend_auto;

/* NULL: no memory.  spares_max: as the user gave it, since its default depends on the kind. */
struct auri_auto *auri_auto_new(const aur_options *resolved, uint32_t spares_max);
void auri_auto_free(struct auri_auto *autos);

/* For pools of all kinds from here on; those that are not AUR_AUTO are left alone, at the price of
 * this comparison. */
static inline bool auri_auto_is(const aur_pool *pool)
{
    return pool->backend == &auri_backend_auto;
}

/* Makes *pool the one that is to run this call. */
void auri_auto_route_(aur_pool **pool, const aur_fn *fn);
static inline void auri_auto_route(aur_pool **pool, const aur_fn *fn)
{
    if (auri_auto_is(*pool)) {
        auri_auto_route_(pool, fn);
    }
}

/* How a thread is to run a call: NULL: as every call; else measured. */
auri_run_fn *auri_auto_runner_(aur_pool *pool, const aur_fn *fn);
static inline auri_run_fn *auri_auto_runner(aur_pool *pool, const aur_fn *fn)
{
    return auri_auto_is(pool) ? auri_auto_runner_(pool, fn) : NULL;
}

/* The same for the pieces of a map: auri_map.gauge; NULL: none is measured. */
typedef bool auri_gauge_fn(const auri_task *root, const struct auri_stretch *piece);
auri_gauge_fn *auri_auto_gauge_of_(aur_pool *pool, const aur_fn *fn);
static inline auri_gauge_fn *auri_auto_gauge_of(aur_pool *pool, const aur_fn *fn)
{
    return auri_auto_is(pool) && (fn->flags & AUR_FN_RANGE_BODY) == 0
               ? auri_auto_gauge_of_(pool, fn)
               : NULL;
}

/* Whether the submitter, this thread, is to run the task at once. */
bool auri_auto_runs_here_(aur_pool *pool, const auri_task *task, const struct auri_record *self);
static inline bool auri_auto_runs_here(aur_pool *pool, const auri_task *task,
                                       const struct auri_record *self)
{
    return auri_auto_is(pool) && auri_auto_runs_here_(pool, task, self);
}

/* Whether a map, or a call that waits, goes the short way of thread pools, where nothing is measured. */
bool auri_auto_is_short_(aur_pool *pool, const aur_fn *fn);
static inline bool auri_auto_is_short(aur_pool *pool, const aur_fn *fn)
{
    return !auri_auto_is(pool) || auri_auto_is_short_(pool, fn);
}

/* What is known of a function, in an AUR_AUTO pool; NULL: it has no place in the table. */
struct auri_verdict *auri_auto_verdict(aur_pool *pool, const aur_fn *fn);

/* The inner pool, or NULL.  It lives as long as the outer one. */
aur_pool *auri_auto_inner(aur_pool *pool);

/* In a forked child: the child is the beginning of the pool's own worker processes. */
bool auri_auto_forks(const aur_pool *inherited);

/* Shared buffers: of the inner pool if there is one; those of the outer one are counted, since while
 * there are any no call may go to processes, which could not open them. */
aur_pool *auri_auto_buf_pool(aur_pool *pool);
void auri_auto_pin(aur_pool *pool, int n);

/* The outer pool is closed and idle: the same for the inner one. */
aur_err auri_auto_join(aur_pool *pool, aur_deadline deadline);

/* A sentence for each function, and one about the processes.  AUR_AUTO only. */
void auri_auto_explain(aur_pool *pool, struct auri_text *text);

#endif /* AURI_POOL_AUTO_H */
