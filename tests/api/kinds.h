/* kinds.h: the same test for each kind of pool.
 *
 * A test gets its kind as cmocka's state.  Pools of processes join the table but where the build says
 * -DAURT_NO_PROCESSES: ThreadSanitizer and Valgrind do not follow forked workers. */
#ifndef AURT_KINDS_H
#define AURT_KINDS_H

#include "aurt.h"

#include <auriga.h>

typedef struct aurt_kind {
    const char *name;
    int32_t kind;
    uint32_t workers;
} aurt_kind;

__attribute__((unused)) static aurt_kind aurt_serial = { "serial", AUR_SERIAL, 0 };
__attribute__((unused)) static aurt_kind aurt_threads = { "threads", AUR_THREADS, 3 };
#ifndef AURT_NO_PROCESSES
__attribute__((unused)) static aurt_kind aurt_processes = { "processes", AUR_PROCESSES, 2 };
#endif

/* One entry of a group for a test of one kind, or of all of them. */
#define AURT_OF(test, kind_)                                                                       \
    {                                                                                              \
#test "/" #kind_, test, NULL, NULL, &aurt_##kind_                                          \
    }
#ifndef AURT_NO_PROCESSES
#define AURT_EACH(test) AURT_OF(test, serial), AURT_OF(test, threads), AURT_OF(test, processes)
#else
#define AURT_EACH(test) AURT_OF(test, serial), AURT_OF(test, threads)
#endif
/* Where memory is shared with the tasks. */
#define AURT_SHARED(test) AURT_OF(test, serial), AURT_OF(test, threads)

static inline aur_options aurt_options(void **state)
{
    const aurt_kind *kind = *state;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = kind->kind;
    opts.workers = kind->workers;
    return opts;
}

static inline aur_pool *aurt_pool_with(const aur_options *opts)
{
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };

    if (aur_pool_new(opts, &pool, &diag) != AUR_OK) {
        fail_msg("aur_pool_new: %s at %s: %s", aur_err_name(diag.err), diag.step, diag.text);
    }
    return pool;
}

/* Of threads, and with no options. */
static inline aur_pool *aurt_threads_of(uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.workers = workers;
    return aurt_pool_with(&opts);
}

static inline aur_stats aurt_stats(aur_pool *pool)
{
    aur_stats stats = { .size = sizeof(stats) };

    AURT_OK(aur_pool_stats(pool, &stats));
    return stats;
}

static inline aur_pool *aurt_pool(void **state)
{
    aur_options opts = aurt_options(state);

    return aurt_pool_with(&opts);
}

/* Joins, which shows that nothing was lost, and drops the reference. */
static inline void aurt_pool_end(aur_pool *pool)
{
    aur_stats stats = { .size = sizeof(stats) };

    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.submitted, stats.done + stats.failed + stats.cancelled);
    assert_null(aur_pool_unref(pool));
}

#endif /* AURT_KINDS_H */
