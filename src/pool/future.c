/* Futures: a thin layer over tasks. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "plat/process.h"
#include "pool/face.h"
#include "proc/remote.h"
#include "sched/run.h"
#include "sched/wait.h"

/* ---- references ---------------------------------------------------------------------------- */

aur_future *aur_future_ref(aur_future *future)
{
    if (future != NULL) {
        auri_task_ref(future);
    }
    return future;
}

aur_future *aur_future_unref(aur_future *future)
{
    if (future != NULL) {
        auri_task_unref(future);
    }
    return NULL;
}

void aur_future_scoped_(aur_future **future)
{
    *future = aur_future_unref(*future);
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* The wait itself, on a future of this process. */
static aur_err wait_here(aur_future *future, aur_deadline deadline)
{
    aur_err err = auri_wait_task(future, deadline);

    /* A poll that finds nothing is no failure; the edges of a deadlock are noted already. */
    if (err == AUR_OK || err == AUR_EDEADLK || (err == AUR_ETIMEDOUT && deadline == 0)) {
        return err;
    }
    return auri_verb_failed(err, NULL, NULL, NULL);
}

static aur_err outcome_here(aur_future *future, aur_deadline deadline)
{
    aur_err err = wait_here(future, deadline);

    if (err == AUR_OK && future->err != AUR_OK) {
        auri_task_seen(future);
        err = auri_last_error_of(future);
    }
    return err;
}

aur_err aur_future_wait(aur_future *future, aur_deadline deadline)
{
    aur_future *here;
    aur_err err = auri_future_borrow(future, &here);

    if (err != AUR_OK) {
        return auri_verb_failed(err, NULL, NULL, NULL);
    }
    err = wait_here(here, deadline);
    auri_future_return(here, future);
    return err;
}

aur_err aur_future_outcome(aur_future *future, aur_deadline deadline)
{
    aur_future *here;
    aur_err err = auri_future_borrow(future, &here);

    if (err != AUR_OK) {
        return auri_verb_failed(err, NULL, NULL, NULL);
    }
    err = outcome_here(here, deadline);
    auri_future_return(here, future);
    return err;
}

/* Whether the result lies in a window, as a byte string of a worker process does that is not short, and this
 * process is a fork of the one whose window it is: forks do not inherit them (AURP_MAP_DONTFORK). */
static bool is_left_behind(const aur_future *future)
{
    uint32_t generation = auri_process_generation_now();

    /* relaxed: the flag is constant.  With it the pool is there. */
    if (generation == 0 || !auri_task_is_bytes(future) ||
        (auri_load_rlx(&((aur_future *)future)->word) & AURI_F_HOLDS) == 0) {
        return false;
    }
    const aur_pool *pool = future->pool;
    bool has_windows =
        pool->kind == AUR_PROCESSES && pool->backend->pids != NULL; /* no view of it */
    return has_windows && pool->generation != generation && future->priv != NULL &&
           !auri_task_is_in_store(future, future->store.ret_out);
}

/* Of a call that is done, and was successful: whether its result can be read here. */
static aur_err result_here(const aur_future *future)
{
    if (!is_left_behind(future)) {
        return AUR_OK;
    }
    return auri_verb_failed(auri_remote_pool() != NULL ? AUR_ENOTSUP : AUR_EFORKED, NULL, NULL,
                            NULL);
}

/* Bytes of the result; of a byte string only once it is done. */
static size_t result_size(const aur_future *future)
{
    if (auri_task_is_bytes(future)) {
        return future->store.out_size;
    }
    return future->fn != NULL ? future->fn->ret_size : 0;
}

aur_err aur_future_result_sized(aur_future *future, void *ret_value, size_t size,
                                aur_deadline deadline)
{
    if (future == NULL || ret_value == NULL) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL,
                                future == NULL ? "no future is given" : "ret_value is NULL");
    }
    aur_future *here;
    aur_err err = auri_future_borrow(future, &here);
    if (err != AUR_OK) {
        return auri_verb_failed(err, NULL, NULL, NULL);
    }
    err = outcome_here(here, deadline);
    err = err == AUR_OK ? result_here(here) : err;
    if (err == AUR_OK && result_size(here) != size) {
        err = auri_verb_failed(AUR_ESIZE, here->fn, auri_task_site(here), NULL);
    }
    if (err == AUR_OK) {
        memcpy(ret_value, auri_task_ret(here), size);
    }
    auri_future_return(here, future);
    return err;
}

aur_err aur_future_view(aur_future *future, const void **ret_data, size_t *ret_size,
                        aur_deadline deadline)
{
    if (future == NULL || ret_data == NULL || ret_size == NULL) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "an argument is NULL");
    }
    aur_future *here;
    aur_err err = auri_future_here(future, &here);
    if (err != AUR_OK) {
        return auri_verb_failed(err, NULL, NULL, NULL);
    }
    /* A view of a proxy would end with it, before the caller has seen it. */
    err = here == future ? outcome_here(future, deadline)
                         : auri_verb_failed(AUR_ENOTSUP, NULL, NULL, NULL);
    err = err == AUR_OK ? result_here(here) : err;
    if (err == AUR_OK) {
        *ret_size = result_size(future);
        *ret_data = *ret_size != 0 || auri_task_is_bytes(future) ? auri_task_ret(future) : NULL;
    }
    auri_task_unref(here);
    return err;
}

/* ---- looking ------------------------------------------------------------------------------- */

bool aur_future_done(aur_future *future)
{
    if (future == NULL) {
        return false;
    }
    if (auri_task_is_done(future)) {
        return true;
    }
    if (auri_future_here(future, &future) != AUR_OK) {
        return false;
    }
    /* A poll also takes in what has arrived from processes. */
    bool done = auri_wait_task(future, 0) == AUR_OK;
    auri_task_unref(future);
    return done;
}

/* For failures without a record of their own: cancelled in bulk, or no memory for one. */
static const aur_error *bare_error(aur_err err)
{
#define BARE(name, value, text)                                                                    \
    [value] = {                                                                                    \
        .err = (value), .item = AUR_NO_ITEM, .worker = -1, .exit_status = -1, .message = text      \
    },
    static const aur_error bare[] = { AUR_ERR_LIST(BARE) };
#undef BARE
    return &bare[err > 0 && err < AUR_ERR_COUNT_ ? err : AUR_ETASK];
}

const aur_error *aur_future_error(aur_future *future)
{
    if (future == NULL || !auri_task_is_done(future) || future->err == AUR_OK) {
        return NULL;
    }
    auri_task_seen(future);
    const aur_error *error = auri_task_error(future);
    return error != NULL ? error : bare_error(future->err);
}

/* ---- cancelling ---------------------------------------------------------------------------- */

bool auri_task_cancel_unstarted(auri_task *task)
{
    if (!auri_task_claim(task, 0)) {
        return false;
    }
    /* Ours to finish, so its pool is there; and stays until the count is paid. */
    aur_pool *pool = task->pool;
    auri_pool_hold(pool);
    auri_task_fail(task, AUR_ECANCELED, "it was cancelled before it started");
    auri_task_finish(task);
    auri_pool_drop(pool);
    return true;
}

int auri_task_cancel(auri_task *task)
{
    /* relaxed: each case is decided by a CAS. */
    uint64_t word = auri_load_rlx(&task->word);

    for (;;) {
        if (auri_word_state(word) == AURI_DONE) {
            return AUR_CANCEL_TOO_LATE;
        }
        if (auri_word_state(word) == AURI_QUEUED) {
            if (auri_task_cancel_unstarted(task)) {
                return AUR_CANCEL_DROPPED;
            }
            word = auri_load_rlx(&task->word);
        } else if ((word & AURI_F_HOLDS) != 0) {
            return task->pool->backend->cancel(task->pool, task, true);
        } else if (auri_cas_rlx(&task->word, &word, word | AURI_F_CANCEL)) {
            /* It runs in a thread, and a flag is all there is to do: the pool, which may be gone as
             * soon as the task is done, need not be asked. */
            return AUR_CANCEL_SIGNALLED;
        }
    }
}

aur_err aur_future_cancel(aur_future *future, int *ret_what)
{
    aur_err err = auri_future_here(future, &future);

    if (err != AUR_OK) {
        return err;
    }
    int what = auri_task_cancel(future);
    auri_task_unref(future);
    if (ret_what != NULL) {
        *ret_what = what;
    }
    return AUR_OK;
}

/* A proxy is not asked: what it stands for may start before the answer is here. */
static bool is_here(aur_future *future)
{
    return future != NULL && (auri_process_generation() == 0 || auri_task_is_done(future) ||
                              future->pool->generation == auri_process_generation());
}

bool aur_future_withdraw(aur_future *future)
{
    if (!is_here(future) || auri_task_is_done(future)) {
        return false;
    }
    if (auri_task_cancel_unstarted(future)) {
        return true;
    }
    /* relaxed: the flag is constant. */
    return (auri_load_rlx(&future->word) & AURI_F_HOLDS) != 0 &&
           future->pool->backend->cancel(future->pool, future, false) == AUR_CANCEL_DROPPED;
}

bool aur_future_running(aur_future *future)
{
    /* relaxed: what it says may be over when the caller sees it. */
    return is_here(future) && auri_word_state(auri_load_rlx(&future->word)) == AURI_RUNNING;
}

/* ---- callbacks ----------------------------------------------------------------------------- */

struct callback {
    struct auri_cont cont;
    aur_done_fn *fn; /* NULL: ring fd */
    void *ctx;
    int fd;
};

static void callback_fire(struct auri_cont *cont, auri_task *task)
{
    struct callback *callback = (struct callback *)(void *)cont;

    if (callback->fn != NULL) {
        callback->fn(callback->ctx, task);
    } else {
        aurp_eventfd_ring(callback->fd);
    }
    free(callback);
    auri_task_unref(task);
}

/* Adds a callback, or runs it now.  It has a reference of the future. */
static aur_err add_callback(aur_future *future, struct callback init)
{
    aur_err err = auri_future_here(future, &future); /* the callback's reference */

    if (err != AUR_OK) {
        return err;
    }
    struct callback *callback = malloc(sizeof(*callback));
    if (callback == NULL) {
        auri_task_unref(future);
        return AUR_ENOMEM;
    }
    *callback = init;
    callback->cont.fire = callback_fire;
    auri_task_ref(future); /* for attend(): the callback may be gone by then */
    if (!auri_cont_add(future, &callback->cont)) {
        callback_fire(&callback->cont, future);
    } else if (auri_task_is_untold(future)) {
        (void)auri_wait_task(future, AUR_NO_DEADLINE); /* refused: left to a later wait */
    } else {
        auri_task_attend(future);
    }
    auri_task_unref(future);
    return AUR_OK;
}

void auri_task_attend(auri_task *task)
{
    /* relaxed: the flag is constant. */
    if ((auri_load_rlx(&task->word) & AURI_F_HOLDS) != 0 && task->pool->backend->attend != NULL) {
        task->pool->backend->attend(task->pool, task);
    }
}

aur_err aur_future_on_done(aur_future *future, aur_done_fn *fn, void *ctx)
{
    if (fn == NULL) {
        return AUR_EINVAL;
    }
    return add_callback(future, (struct callback){ .fn = fn, .ctx = ctx, .fd = -1 });
}

aur_err aur_future_eventfd(aur_future *future, int fd)
{
    if (fd < 0) {
        return AUR_EINVAL;
    }
    return add_callback(future, (struct callback){ .fd = fd });
}
