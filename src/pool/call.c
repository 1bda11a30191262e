/* One call: submit, and submit with the wait in it. */
#include <string.h>

#include "pool/auto.h"
#include "pool/face.h"
#include "pool/submit.h"

static aur_err one_new(aur_pool **pool, const struct auri_one *one, auri_task **ret_task,
                       const char **reterr_why)
{
    struct auri_call call = { 0 }; /* the pool's options hold */
    aur_err err = auri_pool_here(pool);

    if (err != AUR_OK) {
        *reterr_why = err == AUR_EINVAL ? "no pool is given" : NULL;
        return err;
    }
    err = auri_fn_check(one->fn, one->flags, reterr_why);
    if (err == AUR_OK && !one->has_args) {
        *reterr_why = "no arguments are given";
        err = AUR_EINVAL;
    }
    if (err == AUR_OK) {
        auri_auto_route(pool, one->fn);
    }
    if (err == AUR_OK && one->opts != NULL) {
        err = auri_call_resolve(*pool, one->opts, &call, reterr_why);
    }
    if (err != AUR_OK) {
        return err;
    }
    uint32_t refs = one->fused && auri_may_run_here(*pool) ? 0 : one->refs;
    return auri_task_make(*pool, &call, one->fn, one->site, refs, ret_task);
}

aur_err auri_one_new(aur_pool **pool, const struct auri_one *one, auri_task **ret_task)
{
    const char *why = NULL;
    aur_err err = one_new(pool, one, ret_task, &why);

    return err == AUR_OK ? AUR_OK : auri_verb_failed(err, one->fn, one->site, why);
}

/* The same for one record of arguments. */
static aur_err filled_new(aur_pool **pool, const struct auri_one *one, const void *args,
                          auri_task **ret_task)
{
    aur_err err = auri_one_new(pool, one, ret_task);

    if (err != AUR_OK) {
        return err;
    }
    err = auri_task_fill(*ret_task, one->fn, args);
    if (err != AUR_OK) {
        auri_task_discard(*ret_task, one->refs);
        return auri_verb_failed(err, one->fn, one->site, NULL);
    }
    return AUR_OK;
}

aur_err aur_fn_submit(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                      const void *args, aur_future **ret_future, const char *site)
{
    struct auri_one one = { .fn = fn,
                            .opts = opts,
                            .site = site,
                            .refs = ret_future != NULL ? 2 : 1,
                            .has_args = args != NULL };
    auri_task *task;
    aur_err err = filled_new(&pool, &one, args, &task);

    if (err != AUR_OK) {
        return err;
    }
    err = auri_submit(pool, task, AURI_ROOM_POLICY, AUR_NO_DEADLINE);
    if (err != AUR_OK) {
        auri_task_discard(task, one.refs);
        return auri_verb_failed(err, fn, site, NULL);
    }
    if (ret_future != NULL) {
        *ret_future = task;
    }
    return AUR_OK;
}

aur_err aur_fn_call(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                    const void *args, void *ret_out, const char *site)
{
    struct auri_one one = {
        .fn = fn, .opts = opts, .site = site, .refs = 2, .fused = true, .has_args = args != NULL
    };
    auri_task *task;
    bool queued;
    aur_err err = filled_new(&pool, &one, args, &task);

    if (err != AUR_OK) {
        return err;
    }
    err = auri_submit_and_wait(pool, task, &queued);
    if (queued && !auri_task_is_done(task)) {
        (void)auri_task_cancel(task); /* the wait failed, and nobody else can ask for the outcome */
    }
    if (err == AUR_OK && ret_out != NULL && fn->ret_size != 0) {
        memcpy(ret_out, auri_task_ret(task), fn->ret_size);
    }
    auri_task_discard(task, 1);
    return err;
}
