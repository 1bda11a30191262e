/* Options: sizes and tails first, then field by field, then what does not go together.
 *
 * A struct of an older header is shorter than ours if fields were appended since: they are zero then.
 * One of a newer header is longer: it is taken if what we do not know is zero. */
#include "pool/options.h"

#include <string.h>

#include "base/err.h"

#define EXEC_FDS_MAX 65536u
#define EXEC_FDS_RESIDENT_MAX 8u /* one message; the first makes room for the pool's socket */

enum { OPTIONS_BYTES_FIRST = 112, CALL_OPTIONS_BYTES_FIRST = 56 };
_Static_assert(offsetof(aur_options, exec_argv) == OPTIONS_BYTES_FIRST,
               "fields are only ever appended");
_Static_assert(sizeof(aur_call_options) == CALL_OPTIONS_BYTES_FIRST,
               "fields are only ever appended");

#define FLAGS_SHARED ((uint32_t)(AUR_POOL_NO_HELP | AUR_POOL_FIXED))
#define FLAGS_PROCESSES ((uint32_t)(AUR_POOL_KEEP_FDS | AUR_POOL_BREAK_ON_DEATH))
#define FLAGS_ALL (FLAGS_SHARED | FLAGS_PROCESSES | (uint32_t)AUR_POOL_FIFO)
#define RETRY_ALL ((uint32_t)(AUR_RETRY_WORKER | AUR_RETRY_DEADLINE | AUR_RETRY_ERROR))

/* No struct of options will ever be longer: a size beyond it was never set, and what it says must not
 * be read. */
#define STRUCT_BYTES_MAX 4096u

/* Whether the bytes [known, size) of a caller's struct are all zero, and there are not too many. */
static bool tail_is_zero(const void *start, size_t known, size_t size)
{
    const unsigned char *bytes = start;

    if (size > STRUCT_BYTES_MAX) {
        return false;
    }
    for (size_t i = known; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* ---- pools --------------------------------------------------------------------------------- */

#define REFUSE(diag, ...) auri_diag((diag), AUR_EINVAL, 0, "options", __VA_ARGS__)

static aur_err check_choices(const aur_options *opts, aur_diag *diag)
{
    if (opts->kind < AUR_THREADS || opts->kind > AUR_AUTO) {
        return REFUSE(diag,
                      "aur_options.kind is %d, which is no AUR_THREADS, AUR_PROCESSES, "
                      "AUR_SERIAL or AUR_AUTO",
                      (int)opts->kind);
    }
    if (opts->start < AUR_START_DEFAULT || opts->start > AUR_START_EXEC) {
        return REFUSE(diag, "aur_options.start is %d, which is no AUR_START_*", (int)opts->start);
    }
    if (opts->queue_policy < AUR_QUEUE_BLOCK || opts->queue_policy > AUR_QUEUE_CALLER_RUNS) {
        return REFUSE(diag, "aur_options.queue_policy is %d, which is no AUR_QUEUE_*",
                      (int)opts->queue_policy);
    }
    if ((opts->retry_on & ~RETRY_ALL) != 0) {
        return REFUSE(diag, "aur_options.retry_on is 0x%x, which has bits that are no AUR_RETRY_*",
                      (unsigned)opts->retry_on);
    }
    if ((opts->flags & ~FLAGS_ALL) != 0) {
        return REFUSE(diag, "aur_options.flags is 0x%x, which has bits that are no AUR_POOL_*",
                      (unsigned)opts->flags);
    }
    return AUR_OK;
}

static aur_err check_numbers(const aur_options *opts, aur_diag *diag)
{
    if (opts->workers > AURI_WORKERS_MAX) {
        return REFUSE(diag, "aur_options.workers is %u; at most %u are allowed",
                      (unsigned)opts->workers, AURI_WORKERS_MAX);
    }
    if (opts->spares_max > AURI_WORKERS_MAX && opts->spares_max != AUR_NO_SPARES) {
        return REFUSE(diag,
                      "aur_options.spares_max is %u; at most %u are allowed, or AUR_NO_SPARES",
                      (unsigned)opts->spares_max, AURI_WORKERS_MAX);
    }
    if (opts->retries > AURI_RETRIES_MAX) {
        return REFUSE(diag, "aur_options.retries is %u; at most %u are allowed",
                      (unsigned)opts->retries, AURI_RETRIES_MAX);
    }
    return AUR_OK;
}

/* What only pools of processes have, and what only they have not. */
static aur_err check_together(const aur_options *opts, aur_diag *diag)
{
    if (opts->kind == AUR_PROCESSES || opts->kind == AUR_AUTO) {
        if ((opts->flags & AUR_POOL_FIFO) != 0) {
            return REFUSE(diag,
                          "aur_options.flags is 0x%x, and AUR_POOL_FIFO is for pools of threads",
                          (unsigned)opts->flags);
        }
        if (opts->queue_policy == AUR_QUEUE_CALLER_RUNS) {
            return REFUSE(diag,
                          "aur_options.queue_policy is AUR_QUEUE_CALLER_RUNS, but a call of a "
                          "pool with processes never has to run in the caller");
        }
        if (opts->kind == AUR_AUTO && opts->start == AUR_START_EXEC) {
            return REFUSE(diag, "aur_options.start is AUR_START_EXEC, whose program would have to "
                                "live until an AUR_AUTO pool needs processes");
        }
        if (opts->start >= AUR_START_SPAWN && opts->worker_ctx != NULL) {
            return REFUSE(diag, "aur_options.worker_ctx is set, but a pointer means nothing in "
                                "workers of AUR_START_SPAWN and AUR_START_EXEC");
        }
        if (opts->start >= AUR_START_SPAWN && (opts->flags & AUR_POOL_KEEP_FDS) != 0) {
            return REFUSE(diag, "aur_options.flags has AUR_POOL_KEEP_FDS, but only workers of "
                                "AUR_START_FORK inherit descriptors");
        }
        return AUR_OK;
    }
    if ((opts->flags & FLAGS_PROCESSES) != 0) {
        return REFUSE(diag, "aur_options.flags is 0x%x, which is for pools of processes",
                      (unsigned)opts->flags);
    }
    if (opts->start != AUR_START_DEFAULT) {
        return REFUSE(diag, "aur_options.start is %d, but the pool has no processes to start",
                      (int)opts->start);
    }
    if (opts->tasks_per_worker_max != 0) {
        return REFUSE(diag,
                      "aur_options.tasks_per_worker_max is %u, but the pool has no processes "
                      "to replace",
                      (unsigned)opts->tasks_per_worker_max);
    }
    if (opts->memory_max_bytes != 0) {
        return REFUSE(diag,
                      "aur_options.memory_max_bytes is %llu, but the pool has no processes to "
                      "limit",
                      (unsigned long long)opts->memory_max_bytes);
    }
    return AUR_OK;
}

static aur_err check_exec(const aur_options *opts, aur_diag *diag)
{
    bool resident = opts->exec_argv == NULL && opts->exec_fds_n != 0;
    bool given = resident || (opts->exec_argv != NULL && opts->exec_argv[0] != NULL);

    if (opts->start == AUR_START_EXEC && !given) {
        return REFUSE(diag, "aur_options.exec_argv names no program for AUR_START_EXEC");
    }
    if (resident && opts->exec_fds_n > EXEC_FDS_RESIDENT_MAX) {
        return REFUSE(diag,
                      "aur_options.exec_fds_n is %llu, and a program that runs already gets at "
                      "most %u",
                      (unsigned long long)opts->exec_fds_n, EXEC_FDS_RESIDENT_MAX);
    }
    if (opts->start != AUR_START_EXEC && (opts->exec_argv != NULL || opts->exec_fds_n != 0)) {
        return REFUSE(diag, "aur_options.exec_argv or exec_fds_n is set without AUR_START_EXEC");
    }
    if ((opts->exec_fds_n != 0 && opts->exec_fds == NULL) || opts->exec_fds_n > EXEC_FDS_MAX) {
        return REFUSE(diag, "aur_options.exec_fds_n is %llu, with no list or with more than %u",
                      (unsigned long long)opts->exec_fds_n, EXEC_FDS_MAX);
    }
    return AUR_OK;
}

/* 292 years are as good as more, and no sum of them and a time of the clock overflows. */
static uint64_t within_clock(uint64_t ns)
{
    return ns < INT64_MAX ? ns : INT64_MAX;
}

static void fill_defaults(aur_options *opts)
{
    opts->item_timeout_ns = within_clock(opts->item_timeout_ns);
    if (opts->kind == AUR_SERIAL) {
        opts->workers = 0;
        opts->spares_max = 0;
    } else if (opts->workers == 0) {
        opts->workers = aur_cpu_count();
        if (opts->workers > AURI_WORKERS_MAX) {
            opts->workers = AURI_WORKERS_MAX;
        }
    }
    if (opts->spares_max == AUR_NO_SPARES) {
        opts->spares_max = 0;
    } else if (opts->spares_max == 0 && opts->kind != AUR_SERIAL) {
        opts->spares_max = opts->kind == AUR_PROCESSES ? 16 : 256;
    }
    if (opts->retry_on == 0) {
        opts->retry_on = AUR_RETRY_WORKER;
    }
    if (opts->name == NULL) {
        opts->name = "aur";
    }
}

aur_err auri_options_resolve(const aur_options *opts, aur_options *ret_opts, aur_diag *reterr_diag)
{
    aur_options copy = AUR_OPTIONS_INIT;

    if (opts != NULL) {
        if (opts->size < OPTIONS_BYTES_FIRST) {
            return REFUSE(reterr_diag,
                          "aur_options.size is %zu, less than the %zu of the first "
                          "version: start from AUR_OPTIONS_INIT",
                          opts->size, (size_t)OPTIONS_BYTES_FIRST);
        }
        if (!tail_is_zero(opts, sizeof(copy), opts->size)) {
            return REFUSE(reterr_diag,
                          "aur_options.size is %zu, which is no size of such a struct, or a field "
                          "that this library (%s, %zu bytes) does not know is set",
                          opts->size, aur_version(), sizeof(copy));
        }
        memcpy(&copy, opts, opts->size < sizeof(copy) ? opts->size : sizeof(copy));
        copy.size = sizeof(copy);
    }
    aur_err err = check_choices(&copy, reterr_diag);
    if (err == AUR_OK) {
        err = check_numbers(&copy, reterr_diag);
    }
    if (err == AUR_OK) {
        err = check_together(&copy, reterr_diag);
    }
    if (err == AUR_OK) {
        err = check_exec(&copy, reterr_diag);
    }
    if (err != AUR_OK) {
        return err;
    }
    fill_defaults(&copy);
    *ret_opts = copy;
    return AUR_OK;
}

/* ---- calls --------------------------------------------------------------------------------- */

static aur_err refuse_call(const char **reterr_why, const char *why)
{
    *reterr_why = why;
    return AUR_EINVAL;
}

static void call_defaults(const aur_pool *pool, struct auri_call *call)
{
    uint64_t workers = pool->workers != 0 ? pool->workers : 1;

    *call = (struct auri_call){
        .limits = pool->limits,
        .window_items = AURI_WINDOW_PER_WORKER * workers,
        .window_bytes = AURI_WINDOW_BYTES,
    };
}

aur_err auri_call_resolve(const aur_pool *pool, const aur_call_options *opts,
                          struct auri_call *ret_call, const char **reterr_why)
{
    struct auri_call call;

    call_defaults(pool, &call);
    if (opts == NULL) {
        *ret_call = call;
        return AUR_OK;
    }
    if (opts->size < CALL_OPTIONS_BYTES_FIRST) {
        return refuse_call(reterr_why, "aur_call_options.size is less than that of the first "
                                       "version: start from AUR_CALL_OPTIONS_INIT");
    }
    if (!tail_is_zero(opts, sizeof(*opts), opts->size)) {
        return refuse_call(reterr_why,
                           "aur_call_options.size is no size of such a struct, or a field that "
                           "this library does not know is set");
    }
    if ((opts->flags & ~(uint32_t)AUR_CALL_ALL_ERRORS) != 0) {
        return refuse_call(reterr_why, "aur_call_options.flags has bits that are no AUR_CALL_*");
    }
    if ((opts->retry_on & ~RETRY_ALL) != 0) {
        return refuse_call(reterr_why,
                           "aur_call_options.retry_on has bits that are no AUR_RETRY_*");
    }
    if (opts->retries > AURI_RETRIES_MAX && opts->retries != UINT32_MAX) {
        return refuse_call(reterr_why, "aur_call_options.retries is more than 65534");
    }
    if (opts->reserved0 != 0) {
        return refuse_call(reterr_why, "aur_call_options.reserved0 is not zero");
    }
    if (opts->item_timeout_ns != 0) {
        call.limits.item_timeout_ns = within_clock(opts->item_timeout_ns);
    }
    if (opts->retries != 0) {
        call.limits.retries = opts->retries == UINT32_MAX ? 0 : opts->retries;
    }
    if (opts->retry_on != 0) {
        call.limits.retry_on = opts->retry_on;
    }
    call.own_limits = memcmp(&call.limits, &pool->limits, sizeof(call.limits)) != 0;
    call.all_errors = (opts->flags & AUR_CALL_ALL_ERRORS) != 0;
    call.item_errs = opts->item_errs;
    if (opts->window_items != 0) {
        call.window_items = opts->window_items;
    }
    if (opts->window_bytes != 0) {
        call.window_bytes = opts->window_bytes;
    }
    *ret_call = call;
    return AUR_OK;
}

/* ---- functions ----------------------------------------------------------------------------- */

static const char *kind_complaint(uint32_t flags, uint32_t want)
{
    if ((flags & AUR_FN_RANGE_BODY) != (want & AUR_FN_RANGE_BODY)) {
        return want & AUR_FN_RANGE_BODY ? "the function is no range body (AUR_RANGE_FN)"
                                        : "the function is a range body, which only aur_for() runs";
    }
    return want & AUR_FN_BYTES ? "the function is no byte-string function (AUR_BYTES_FN)"
                               : "the function is a byte-string function (AUR_BYTES_FN)";
}

aur_err auri_fn_check(const aur_fn *fn, uint32_t flags, const char **reterr_why)
{
    const char *why = NULL;

    if (fn == NULL) {
        why = "no function is given";
    } else if (fn->abi != AUR_FN_ABI) {
        why = "the function's descriptor is of another ABI than this library";
    } else if ((fn->flags & ~(AUR_FN_RANGE_BODY | AUR_FN_BYTES)) != 0) {
        why = "the function's descriptor has unknown flags";
    } else if (fn->flags != flags) {
        why = kind_complaint(fn->flags, flags);
    } else if (fn->range == NULL || fn->name == NULL) {
        why = "the function's descriptor has no range function or no name";
    } else if (!auri_align_is_good(fn->args_align) || !auri_align_is_good(fn->ret_align)) {
        why = "the function's descriptor has an alignment that is no power of two up to 4096";
    } else if (fn->args_size == 0 || fn->args_size % fn->args_align != 0 ||
               fn->ret_size % fn->ret_align != 0) {
        why = "the function's descriptor has a size of 0, or one that is no multiple of its "
              "alignment";
    } else if ((flags & AUR_FN_BYTES) != 0 && (fn->args_size != sizeof(struct aur_bytes_call) ||
                                               fn->ret_size != sizeof(aur_err))) {
        why = "the descriptor's sizes are not those of a byte-string function";
    }
    if (why != NULL) {
        *reterr_why = why;
        return AUR_EINVAL;
    }
    /* The context of a range body is not copied between threads: its size is the engine's
     * business. */
    bool big = (flags & AUR_FN_RANGE_BODY) == 0 && fn->args_size > AURI_RECORD_BYTES_MAX;
    if (big || fn->ret_size > AURI_RECORD_BYTES_MAX) {
        *reterr_why = "the argument record or the result is larger than 1 MiB";
        return AUR_ETOOBIG;
    }
    return AUR_OK;
}
