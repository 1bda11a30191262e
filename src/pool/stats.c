/* What a pool says about itself. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pool/auto.h"
#include "pool/face.h"
#include "pool/text.h"

static void add(aur_stats *stats, const aur_stats *more)
{
    stats->submitted += more->submitted;
    stats->done += more->done;
    stats->failed += more->failed;
    stats->cancelled += more->cancelled;
    stats->unseen += more->unseen;
    stats->items += more->items;
    stats->retried += more->retried;
    stats->helped += more->helped;
    stats->stolen += more->stolen;
    stats->parks += more->parks;
    stats->wakes += more->wakes;
    stats->deadlocks += more->deadlocks;
    stats->deaths += more->deaths;
    stats->workers += more->workers;
    stats->spares += more->spares;
    stats->shared_bytes += more->shared_bytes;
}

aur_err aur_pool_stats(aur_pool *pool, aur_stats *ret_stats)
{
    if (pool == NULL || ret_stats == NULL || ret_stats->size != sizeof(*ret_stats)) {
        return AUR_EINVAL;
    }
    aur_err err = auri_pool_here(&pool);
    if (err != AUR_OK) {
        return err;
    }
    struct auri_face *face = auri_face_of(pool);
    aur_stats stats = { .size = sizeof(stats) };
    /* relaxed, all: they may lag.  Those that are subtracted are read first, so that no difference
     * is negative. */
    uint64_t refused = face != NULL ? auri_load_rlx(&face->refused) : 0;
    refused += auri_load_rlx(&pool->unused);
    uint64_t seen = auri_load_rlx(&pool->seen);
    stats.failed = auri_load_rlx(&pool->failed);
    stats.cancelled = auri_load_rlx(&pool->cancelled);
    uint64_t not_good = refused + stats.failed + stats.cancelled;
    uint64_t finished = auri_load_rlx(&pool->finished);
    stats.done = finished > not_good ? finished - not_good : 0;
    stats.submitted = auri_load_rlx(&pool->submitted) - refused;
    stats.unseen = stats.failed > seen ? stats.failed - seen : 0;
    stats.items = auri_load_rlx(&pool->items);
    stats.retried = auri_load_rlx(&pool->retried);
    stats.helped = auri_load_rlx(&pool->helped);
    stats.deadlocks = auri_load_rlx(&pool->deadlocks);
    if (pool->backend->stats != NULL) {
        pool->backend->stats(pool, &stats);
    }
    uint64_t ended = stats.done + stats.failed + stats.cancelled;
    stats.submitted =
        stats.submitted < ended ? ended : stats.submitted; /* it lags: see threads_stats() */
    aur_pool *inner = auri_auto_inner(pool);
    if (inner != NULL) {
        aur_stats more = { .size = sizeof(more) };
        (void)aur_pool_stats(inner, &more);
        add(&stats, &more);
    }
    *ret_stats = stats;
    return AUR_OK;
}

void auri_say(struct auri_text *sink, const char *format, ...)
{
    size_t used = sink->length < sink->size ? sink->length : sink->size;
    va_list args;

    va_start(args, format);
    int more =
        vsnprintf(used < sink->size ? sink->at + used : NULL, sink->size - used, format, args);
    va_end(args);
    sink->length += more > 0 ? (size_t)more : 0;
}

static void say_limits(struct auri_text *sink, const aur_pool *pool)
{
    static const char *const policies[] = { "a submit waits for room", "a submit gets AUR_EBUSY",
                                            "a submit runs the call itself" };

    if (pool->opts.queue_max != 0) {
        auri_say(sink, "At most %u calls wait; beyond that %s.\n", (unsigned)pool->opts.queue_max,
                 policies[pool->opts.queue_policy]);
    }
    if (pool->limits.item_timeout_ns != 0) {
        auri_say(sink, "An item may run for %.6g s.\n", (double)pool->limits.item_timeout_ns / 1e9);
    }
    if (pool->limits.retries != 0) {
        auri_say(sink, "A failed item gets up to %u further attempts.\n",
                 (unsigned)pool->limits.retries);
    }
    if (pool->opts.tasks_per_worker_max != 0) {
        auri_say(sink, "A worker is replaced after %u items.\n",
                 (unsigned)pool->opts.tasks_per_worker_max);
    }
    if (pool->opts.memory_max_bytes != 0) {
        auri_say(sink, "A worker may map %llu bytes.\n",
                 (unsigned long long)pool->opts.memory_max_bytes);
    }
}

aur_err aur_pool_pids(aur_pool *pool, int32_t *pids, size_t room, aur_deadline deadline,
                      size_t *ret_n)
{
    if (ret_n == NULL || (pids == NULL && room != 0)) {
        return AUR_EINVAL;
    }
    aur_err err = auri_pool_here(&pool);
    if (err != AUR_OK) {
        return err;
    }
    if (pool->backend->pids == NULL) {
        return AUR_ENOTSUP;
    }
    *ret_n = pool->backend->pids(pool, pids, room, deadline);
    return AUR_OK;
}

aur_err aur_pool_exit_status(aur_pool *pool, int32_t pid, aur_deadline deadline,
                             int32_t *ret_status)
{
    if (ret_status == NULL) {
        return AUR_EINVAL;
    }
    aur_err err = auri_pool_here(&pool);
    if (err != AUR_OK) {
        return err;
    }
    return pool->backend->exit_status != NULL
               ? pool->backend->exit_status(pool, pid, deadline, ret_status)
               : AUR_ENOTSUP;
}

size_t aur_pool_explain(aur_pool *pool, char *text, size_t size)
{
    struct auri_text sink = { text, text != NULL ? size : 0, 0 };

    if (sink.size != 0) {
        text[0] = '\0';
    }
    if (auri_pool_here(&pool) != AUR_OK) {
        return 0;
    }
    struct auri_face *face = auri_face_of(pool);
    if (pool->kind == AUR_SERIAL) {
        auri_say(&sink, "Pool \"%s\": serial, each call runs at once in its caller.\n", pool->name);
    } else {
        auri_say(&sink, "Pool \"%s\": %s, %u workers (%s), at most %u spares.\n", pool->name,
                 pool->backend->name, (unsigned)pool->workers,
                 face != NULL && face->workers_default ? "what aur_cpu_count() said"
                                                       : "as asked for",
                 (unsigned)pool->opts.spares_max);
    }
    say_limits(&sink, pool);
    if (pool->backend->explain != NULL) {
        size_t used = sink.length < sink.size ? sink.length : sink.size;
        sink.length +=
            pool->backend->explain(pool, used < sink.size ? text + used : NULL, sink.size - used);
    }
    if (face != NULL && face->autos != NULL) {
        auri_auto_explain(pool, &sink);
    }
    return sink.length;
}
