/* One call: submit, and submit with the wait in it. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hot.h"
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

AURI_APART static aur_err submit_long(aur_pool *pool, const aur_call_options *opts,
                                      const aur_fn *fn, const void *args, aur_future **ret_future,
                                      const char *site)
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

/* Most of them: of a thread pool without a limit of its queue, with no options and a small record.  Checked, made
 * and filled in one go: the functions of the long way are most of what such a call costs (bench/submit). */
AURI_HOT static bool is_plain(const aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                              const void *args)
{
    return pool != NULL && pool->takes_all && pool->magic == AURI_POOL_MAGIC && opts == NULL &&
           pool->generation == auri_process_generation_now() && auri_fn_is_good(fn, 0) &&
           auri_fn_is_small(fn) && args != NULL;
}

AURI_HOT aur_err aur_fn_submit(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                               const void *args, aur_future **ret_future, const char *site)
{
    if (!is_plain(pool, opts, fn, args)) {
        return submit_long(pool, opts, fn, args, ret_future, site);
    }
    uint32_t refs = ret_future != NULL ? 2 : 0;
    auri_task *task = auri_task_new(refs);
    if (task == NULL) {
        return auri_verb_failed(AUR_ENOMEM, fn, site, NULL);
    }
    task->pool = pool;
    auri_task_fill_small(task, fn, args);
    auri_task_set_site(task, site);
    aur_err err = auri_count_in(pool, auri_self_);
    if (err != AUR_OK) {
        auri_task_discard(task, refs);
        return auri_verb_failed(err, fn, site, NULL);
    }
    auri_task_queue_as(task, AURI_F_HELP); /* since the pool runs_here */
    err = pool->backend->submit(pool, task);
    AURI_ASSERT(err == AUR_OK); /* a thread pool refuses nothing once it is counted */
    if (ret_future != NULL) {
        *ret_future = task;
    }
    return AUR_OK;
}

/* ---- the call that waits ------------------------------------------------------------------- */

AURI_APART static aur_err call_long(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
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

/* Most of them: of a thread pool, with no options; of an AUR_AUTO pool, cheap ones.  The caller runs it, and nobody has
 * a handle of it: so the task lies on the stack, and is not claimed and not finished.  Arguments are read where the
 * caller has them. */
AURI_HOT static bool is_short(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                              const void *args)
{
    return auri_runs_here(pool, opts) && auri_fn_is_good(fn, 0) &&
           fn->ret_size <= AURI_HERE_RET_BYTES && args != NULL &&
           ((uintptr_t)args & (fn->args_align - 1)) == 0 && auri_auto_is_short(pool, fn);
}

struct short_call {
    struct auri_call_here here;
    bool over;
};

/* The body marked its call as failed. */
AURI_APART static aur_err fail_short(struct auri_call_here *here)
{
    aur_error *error = here->frame.error;
    const aur_error bare = { .err = here->frame.bare,
                             .function = here->task.fn->name,
                             .site = auri_task_site(&here->task),
                             .item = AUR_NO_ITEM,
                             .worker = here->self->worker,
                             .exit_status = -1,
                             .attempts = 1 };
    aur_err err = auri_frame_err(&here->frame);

    auri_here_fail(here, err, error != NULL ? error : &bare);
    free(error);
    return err;
}

/* The body ends its thread, and unwinds. */
static void unwind_short(struct short_call *call)
{
    if (call->over) {
        return;
    }
    struct auri_call_here *here = &call->here;
    here->self->frame = &here->frame; /* the frames further in are gone */
    free(here->frame.error);
    auri_here_fail(here, AUR_EEXITED, NULL);
    auri_here_end(here);
}

/* Not by a call into the C library where the size is known: its code is not among what is near after a pause. */
AURI_HOT static void copy_result(void *out, const void *ret, size_t size)
{
    if (size == sizeof(uint64_t)) {
        memcpy(out, ret, sizeof(uint64_t));
    } else if (size == sizeof(uint32_t)) {
        memcpy(out, ret, sizeof(uint32_t));
    } else {
        memcpy(out, ret, size);
    }
}

AURI_HOT static aur_err run_short(aur_pool *pool, const aur_fn *fn, const void *args, void *ret_out,
                                  const char *site)
{
    __attribute__((cleanup(unwind_short))) struct short_call call;
    uint64_t item = 0;

    auri_here_begin(&call.here, pool, fn, site);
    call.over = false;
    fn->range(args, auri_here_ret(&call.here), 0, 1, &item);
    aur_err err = auri_frame_err(&call.here.frame);
    call.over = true;
    if (err != AUR_OK) {
        err = fail_short(&call.here);
    } else if (ret_out != NULL && fn->ret_size != 0) {
        copy_result(ret_out, auri_here_ret(&call.here), fn->ret_size);
    }
    auri_here_end(&call.here);
    return err;
}

AURI_HOT aur_err aur_fn_call(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                             const void *args, void *ret_out, const char *site)
{
    if (!is_short(pool, opts, fn, args)) {
        return call_long(pool, opts, fn, args, ret_out, site);
    }
    aur_err err = auri_count_in(pool, auri_self_);

    return err == AUR_OK ? run_short(pool, fn, args, ret_out, site)
                         : auri_verb_failed(err, fn, site, NULL);
}
