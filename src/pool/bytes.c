/* Byte-string tasks: payloads of any length in, results of any length out. */
#include <stdlib.h>
#include <string.h>

#include "pool/face.h"
#include "pool/maps.h"
#include "pool/submit.h"
#include "sched/run.h"

/* ---- inside a body ------------------------------------------------------------------------- */

static void out_release(aur_out *out)
{
    if (out->data != NULL && out->release != NULL) {
        out->release(out);
    } else {
        free(out->data);
    }
    out->data = NULL;
    out->size = 0;
}

void *aur_out_alloc(aur_out *out, size_t size)
{
    if (out == NULL) {
        return NULL;
    }
    out_release(out);
    size_t bytes =
        size != 0 ? size : 1; /* a result of no bytes is a place, too: NULL means failure */
    out->data = out->alloc != NULL ? out->alloc(out, bytes) : malloc(bytes);
    out->failed = out->data == NULL;
    out->size = out->failed ? 0 : size;
    return out->data;
}

void aur_out_truncate(aur_out *out, size_t size)
{
    if (out != NULL && size < out->size) {
        out->size = size;
    }
}

/* ---- one byte string ----------------------------------------------------------------------- */

/* Short payloads lie in the task. */
static aur_err fill_bytes(auri_task *task, const void *data, size_t size)
{
    void *args = NULL;

    if (size > AURI_LATE_BYTES && task->pool->backend->borrows_bytes) {
        /* the submit copies it once, to where the workers see it */
        auri_task_set_bytes(task, (void *)data, size);
        return AUR_OK;
    }
    if (size > AURI_LATE_BYTES) {
        args = malloc(size);
        if (args == NULL) {
            return AUR_ENOMEM;
        }
    }
    auri_task_set_bytes(task, args, size);
    if (size != 0) {
        memcpy(auri_task_args(task), data, size);
    }
    return AUR_OK;
}

aur_err aur_fn_submit_bytes(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                            const void *data, size_t size, aur_future **ret_future,
                            const char *site)
{
    struct auri_one one = { .fn = fn,
                            .flags = AUR_FN_BYTES,
                            .opts = opts,
                            .site = site,
                            .refs = ret_future != NULL ? 2 : 1,
                            .has_args = data != NULL || size == 0 };
    auri_task *task;
    aur_err err = auri_one_new(&pool, &one, &task);

    if (err != AUR_OK) {
        return err;
    }
    err = fill_bytes(task, data, size);
    if (err == AUR_OK) {
        err = auri_submit(pool, task, AURI_ROOM_POLICY, AUR_NO_DEADLINE);
    }
    if (err != AUR_OK) {
        if (auri_task_args(task) == data) {
            task->store.args_out = NULL; /* nothing to free with the task */
        }
        auri_task_discard(task, one.refs);
        return auri_verb_failed(err, fn, site, NULL);
    }
    if (ret_future != NULL) {
        *ret_future = task;
    }
    return AUR_OK;
}

/* ---- many ---------------------------------------------------------------------------------- */

/* The engines leave the place of a failed item as it was.  So `out` starts out empty, and `in` is
 * put aside if it is the same array. */
aur_err aur_fn_map_bytes(aur_pool *pool, const aur_call_options *opts, const aur_fn *fn,
                         const aur_bytes *in, size_t n, aur_bytes *out, const char *site)
{
    struct auri_map_ask ask = {
        .fn = fn, .flags = AUR_FN_BYTES, .args = in, .n = n, .out = out, .opts = opts, .site = site
    };
    struct auri_call call;
    aur_bytes *copy = NULL;
    const char *why = NULL;
    aur_err err = auri_map_check(&pool, &ask, &call, &why);

    if (err == AUR_OK && n != 0 && out == in) {
        copy = malloc(n * sizeof(*copy));
        if (copy == NULL) {
            err = AUR_ENOMEM;
        } else {
            memcpy(copy, in, n * sizeof(*copy));
            ask.args = copy;
        }
    }
    if (err != AUR_OK) {
        return auri_verb_failed(err, fn, site, why);
    }
    for (size_t i = 0; out != NULL && i < n; i++) {
        out[i] = (aur_bytes){ NULL, 0 };
    }
    err = auri_map_sync(pool, &ask, &call);
    free(copy);
    return err;
}

void aur_bytes_free(aur_bytes *results, size_t n)
{
    for (size_t i = 0; results != NULL && i < n; i++) {
        free((void *)results[i].data);
        results[i] = (aur_bytes){ NULL, 0 };
    }
}
