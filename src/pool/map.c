/* Maps and loops: one root task, whose items are the backend's business. */
#include <stdlib.h>

#include "base/hot.h"
#include "map/map.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "pool/maps.h"
#include "pool/submit.h"
#include "sched/wait.h"

/* ---- what is asked for --------------------------------------------------------------------- */

static const char *args_complaint(const struct auri_map_ask *ask)
{
    bool bytes = (ask->flags & AUR_FN_BYTES) != 0;
    size_t args_size = bytes ? sizeof(aur_bytes) : ask->fn->args_size;
    size_t ret_size = bytes ? sizeof(aur_bytes) : ask->fn->ret_size;

    if (ask->args == NULL && ask->n != 0) {
        return "no arguments are given";
    }
    if (ask->out != NULL && ret_size == 0) {
        return "the function returns nothing, but there is an array for its results";
    }
    if (ask->n > SIZE_MAX / args_size || (ret_size != 0 && ask->n > SIZE_MAX / ret_size)) {
        return "the number of items times their size overflows";
    }
    return NULL;
}

aur_err auri_map_check(aur_pool **pool, const struct auri_map_ask *ask, struct auri_call *ret_call,
                       const char **reterr_why)
{
    aur_err err = auri_pool_here(pool);

    if (err != AUR_OK) {
        *reterr_why = err == AUR_EINVAL ? "no pool is given" : NULL;
        return err;
    }
    err = auri_fn_check(ask->fn, ask->flags, reterr_why);
    if (err != AUR_OK) {
        return err;
    }
    if ((ask->flags & AUR_FN_RANGE_BODY) == 0) {
        *reterr_why = args_complaint(ask);
    } else if (ask->args == NULL) {
        *reterr_why = "no context is given";
    } else if ((*pool)->kind == AUR_PROCESSES && ask->fn->args_size > AURI_RECORD_BYTES_MAX) {
        *reterr_why = "the context is larger than 1 MiB, and would be copied to each worker";
        return AUR_ETOOBIG;
    }
    if (*reterr_why != NULL) {
        return AUR_EINVAL;
    }
    auri_auto_route(pool, ask->fn);
    return auri_call_resolve(*pool, ask->opts, ret_call, reterr_why);
}

static void fill_map(struct auri_map *map, const struct auri_map_ask *ask,
                     const struct auri_call *call)
{
    *map = (struct auri_map){
        .fn = ask->fn,
        .args = ask->args,
        .out = ask->out,
        .item_errs = (ask->flags & AUR_FN_RANGE_BODY) != 0 ? NULL : call->item_errs,
        .n = ask->n,
        .first = ask->first,
        .limits = &call->limits,
        .site = ask->site,
        .all_errors = call->all_errors,
    };
    for (uint64_t i = 0; map->item_errs != NULL && i < map->n; i++) {
        map->item_errs[i] = AUR_ECANCELED;
    }
}

/* ---- the root ------------------------------------------------------------------------------ */

static void run_nothing(auri_task *root)
{
    (void)root;
}

/* How a thread runs the root; NULL: only the backend can. */
static auri_run_fn *runner_of(const aur_pool *pool, const struct auri_map *map)
{
    if (map->n == 0) {
        return run_nothing;
    }
    return pool->kind == AUR_PROCESSES ? NULL : auri_map_run;
}

/* The limits are the items'; a root is not retried and has no deadline. */
static auri_task *root_new(aur_pool *pool, struct auri_map *map, uint32_t refs)
{
    auri_task *root = auri_task_new(refs);

    if (root != NULL) {
        root->pool = pool;
        auri_task_set_map(root, map, map->site, runner_of(pool, map));
        map->gauge = auri_auto_gauge_of(pool, map->fn);
    }
    return root;
}

aur_err auri_map_sync(aur_pool *pool, const struct auri_map_ask *ask, const struct auri_call *call)
{
    struct auri_map map;
    bool queued;

    fill_map(&map, ask, call);
    if (map.n == 0) {
        aur_err err = auri_pool_closed(pool);
        return err == AUR_OK ? AUR_OK : auri_verb_failed(err, ask->fn, ask->site, NULL);
    }
    auri_task *root = root_new(pool, &map, 2);
    if (root == NULL) {
        return auri_verb_failed(AUR_ENOMEM, ask->fn, ask->site, NULL);
    }
    aur_err err = auri_submit_and_wait(pool, root, &queued);
    /* If the wait has failed: the items still use the caller's arrays and frame.  Cancelled, the map ends as soon as
     * the items that run now do. */
    if (queued && !auri_task_is_done(root)) {
        auri_task_cancel(root);
        auri_wait_out(root);
    }
    auri_task_unref(root);
    return err;
}

/* ---- the short way -------------------------------------------------------------------------- */

/* Most maps: of a thread pool (or of cheap items, of an AUR_AUTO pool), with no options, of a function that has a
 * place for its results.  The caller runs it, and nobody has a handle of it: so there is no root to make, to claim
 * and to finish.  What is wrong is said by the long way. */
AURI_HOT static bool is_short(aur_pool *pool, const struct auri_map_ask *ask)
{
    return auri_runs_here(pool, ask->opts) && auri_fn_is_good(ask->fn, ask->flags) &&
           ask->args != NULL && (ask->out != NULL) == (ask->fn->ret_size != 0) &&
           ask->n - 1 < INT32_MAX && auri_auto_is_short(pool, ask->fn);
}

AURI_HOT static aur_err run_short(aur_pool *pool, const struct auri_map_ask *ask)
{
    aur_err err = auri_count_in(pool, auri_self_);
    struct auri_map map = { .fn = ask->fn,
                            .args = ask->args,
                            .out = ask->out,
                            .n = ask->n,
                            .first = ask->first,
                            .limits = &pool->limits,
                            .site = ask->site };

    return err == AUR_OK ? auri_map_here(pool, &map)
                         : auri_verb_failed(err, ask->fn, ask->site, NULL);
}

/* ---- the verbs ----------------------------------------------------------------------------- */

AURI_APART static aur_err run_long(aur_pool *pool, const struct auri_map_ask *ask)
{
    struct auri_call call;
    const char *why = NULL;
    aur_err err = auri_map_check(&pool, ask, &call, &why);
    if (err != AUR_OK) {
        return auri_verb_failed(err, ask->fn, ask->site, why);
    }
    return auri_map_sync(pool, ask, &call);
}

AURI_HOT static aur_err run_ask(aur_pool *pool, const struct auri_map_ask *ask)
{
    return is_short(pool, ask) ? run_short(pool, ask) : run_long(pool, ask);
}

AURI_HOT aur_err aur_fn_map(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                            const void *args, size_t n, void *out, const char *site)
{
    struct auri_map_ask ask = {
        .fn = fn, .args = args, .n = n, .out = out, .opts = opts, .site = site
    };

    return run_ask(pool, &ask);
}

AURI_HOT aur_err aur_fn_for(aur_pool *pool, const aur_call_options *opts, uint64_t lo, uint64_t hi,
                            const aur_fn *fn, void *ctx, const char *site)
{
    struct auri_map_ask ask = { .fn = fn,
                                .flags = AUR_FN_RANGE_BODY,
                                .args = ctx,
                                .n = hi - lo,
                                .first = lo,
                                .opts = opts,
                                .site = site };

    if (lo > hi) {
        return auri_verb_failed(AUR_EINVAL, fn, site,
                                "the loop's lower bound is above its upper bound");
    }
    return run_ask(pool, &ask);
}

/* A map that outlives its caller's frame: freed with the root, as its argument record. */
struct own_map {
    struct auri_map map;
    struct auri_limits limits;
};

static aur_err map_async(aur_pool *pool, const struct auri_map_ask *ask,
                         const struct auri_call *call, aur_future **ret_future)
{
    uint32_t refs = ret_future != NULL ? 2 : 1;
    struct own_map *own = malloc(sizeof(*own));

    if (own == NULL) {
        return AUR_ENOMEM;
    }
    fill_map(&own->map, ask, call);
    own->limits = call->limits;
    own->map.limits = &own->limits;
    auri_task *root = root_new(pool, &own->map, refs);
    if (root == NULL) {
        free(own);
        return AUR_ENOMEM;
    }
    auri_task_set_args_out(root, own);
    aur_err err = auri_submit(pool, root, AURI_ROOM_POLICY, AUR_NO_DEADLINE);
    if (err != AUR_OK) {
        auri_task_discard(root, refs);
        return err;
    }
    if (ret_future != NULL) {
        *ret_future = root;
    }
    return AUR_OK;
}

aur_err aur_fn_map_async(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                         const void *args, size_t n, void *out, aur_future **ret_future,
                         const char *site)
{
    struct auri_map_ask ask = {
        .fn = fn, .args = args, .n = n, .out = out, .opts = opts, .site = site
    };
    struct auri_call call;
    const char *why = NULL;
    aur_err err = auri_map_check(&pool, &ask, &call, &why);

    if (err == AUR_OK) {
        err = map_async(pool, &ask, &call, ret_future);
    }
    return err == AUR_OK ? AUR_OK : auri_verb_failed(err, fn, site, why);
}
