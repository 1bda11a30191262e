/* auriga/call.h: the verbs: apply, map, starmap, imap, for.
 *
 * Each verb is a macro over a plain function (aur_fn_*, for bindings).  The macros take the name of
 * a function that AUR_FN has seen, check the types, and note "file:line".
 *
 *     aur_apply(pool, &v, power, 5, 2)             run one call, wait for its result
 *     aur_apply_async(pool, &future, power, 5, 2)  run one call; the future may be NULL
 *     aur_map(pool, square, in, n, out)            one argument each, results in order
 *     aur_starmap(pool, power, params, n, out)     struct power_args each
 *     aur_map_async, aur_starmap_async             the same with a future
 *     aur_imap(pool, &it, square, in, n)           results one by one, in order, bounded window
 *     aur_imap_unordered, aur_istarmap, aur_istarmap_unordered
 *     aur_for(pool, lo, hi, body, &ctx)            body(lo, hi, ctx) over sub-ranges
 *
 * out may be NULL where the results do not matter, and must be NULL for functions that return
 * nothing.  in and out may be the same array.  With _with, a pointer to aur_call_options (or NULL)
 * follows the pool.
 */
#ifndef AURIGA_CALL_H
#define AURIGA_CALL_H

#include <auriga/base.h>
#include <auriga/fn.h>
#include <auriga/future.h>
#include <auriga/pool.h>

AUR_BEGIN_DECLS

/* aur_call_options.flags */
enum {
    AUR_CALL_ALL_ERRORS = 1, /* maps: a failed item does not stop the others */
};

/* Every field but size may stay zero: then the pool's options hold. */
typedef struct aur_call_options {
    size_t size;              /* sizeof(aur_call_options) as the caller compiled it */
    uint64_t item_timeout_ns; /* as in aur_options */
    uint32_t retries;         /* at most 65534; UINT32_MAX: none although the pool has some */
    uint32_t retry_on;        /* as in aur_options */
    uint32_t flags;           /* AUR_CALL_* */
    uint32_t reserved0;       /* must be zero */
    aur_err *item_errs; /* maps: n codes, one per item; each is written before the end of the call.
                                 Items that were never run get AUR_ECANCELED.  Not for aur_for() */
    uint64_t window_items; /* imap: how many may be started but not yet taken; 0: 4 per worker */
    uint64_t window_bytes; /* imap: the same in bytes of arguments and results; 0: 256 MiB */
} aur_call_options;

#ifdef __cplusplus
static inline aur_call_options aur_call_options_init_(void)
{
    aur_call_options opts = aur_call_options();
    opts.size = sizeof(aur_call_options);
    return opts;
}
#define AUR_CALL_OPTIONS_INIT aur_call_options_init_()
#else
#define AUR_CALL_OPTIONS_INIT                                                                      \
    {                                                                                              \
        .size = sizeof(aur_call_options)                                                           \
    }
#endif

/* ---- one call ------------------------------------------------------------------------------ */

/* Runs fn on one argument record and waits for the outcome.  The calling thread runs it itself, and
 * wakes nobody, unless the pool has processes, AUR_POOL_NO_HELP or a worker_init.  If the wait
 * fails, the call is cancelled.
 *
 * args     copied, or not needed any more, before the call returns.
 * ret_out  where the result goes, fn->ret_size bytes; may be NULL.
 * Threads: any.  Blocks: until the outcome is known.
 * Errors:  those of aur_fn_submit() and aur_future_outcome(); details in aur_last_error(). */
AUR_API AUR_NODISCARD aur_err aur_fn_call(aur_pool *pool, const aur_call_options *opts,
                                          const aur_fn *fn, const void *args, void *ret_out,
                                          const char *site);

/* Queues a call.
 *
 * args        copied before the submit returns.  Pointers in them stay the caller's business; in a
 *             process worker they mean the worker's memory.
 * ret_future  may be NULL: then nobody waits, and a failure is counted and logged as unseen.
 * Threads: any, also inside a task.  Blocks: never, or until there is room (AUR_QUEUE_BLOCK).
 * Owns:    *ret_future holds one reference.
 * Orders:  all writes before this call happen before the task starts (threads).
 * Errors:  AUR_EINVAL     NULL pool, fn or args; a descriptor of another ABI, without range or
 *                         name, or with a bad size or alignment; bad options; fn is a range body or
 *                         a byte-string function
 *          AUR_ESHUTDOWN  the pool is closed
 *          AUR_EBUSY      queue_max reached (AUR_QUEUE_FAIL)
 *          AUR_ENOMEM     no memory for the task or its arguments
 *          AUR_ETOOBIG    the argument record or result exceeds 1 MiB
 *          AUR_ENOFUNC    process pool: fn lies in no loaded module
 *          AUR_ESTALE     process pool: fn's module was loaded after the pool was made (fork), or
 *                         is another build in the worker (spawn)
 *          AUR_EBROKEN, AUR_EFORKED */
AUR_API AUR_NODISCARD aur_err aur_fn_submit(aur_pool *pool, const aur_call_options *opts,
                                            const aur_fn *fn, const void *args,
                                            aur_future **ret_future, const char *site);

/* ---- many calls ---------------------------------------------------------------------------- */

/* out[i] = fn(args[i]) for i in [0, n), in any order, on the workers and the calling thread.
 *
 * out      fn->ret_size * n bytes, or NULL.  What is in the place of an item that failed or did not
 *          run is not defined.
 * Returns: AUR_OK, or the error of the failed item with the lowest index among those that ran;
 *          aur_last_error() has the details.  Unless AUR_CALL_ALL_ERRORS is set, items that have
 *          not started when the first failure is seen are not run.
 * Threads: any.  Blocks: until every started item has ended.
 * Errors:  those of aur_fn_submit() and of the items; AUR_EINVAL also for args NULL with n > 0, out
 *          for a function that returns nothing, and n * size overflow (args may be NULL for no
 *          items) */
AUR_API AUR_NODISCARD aur_err aur_fn_map(aur_pool *pool, const aur_call_options *opts,
                                         const aur_fn *fn, const void *args, size_t n, void *out,
                                         const char *site);

/* The same as a future, whose outcome is the return value of aur_fn_map().  args and out stay the
 * caller's: they must live until the future is done. */
AUR_API AUR_NODISCARD aur_err aur_fn_map_async(aur_pool *pool, const aur_call_options *opts,
                                               const aur_fn *fn, const void *args, size_t n,
                                               void *out, aur_future **ret_future,
                                               const char *site);

/* fn->range over sub-ranges of [lo, hi), each index exactly once; ctx is shared by thread workers,
 * and copied (fn->args_size bytes) into each process worker.  Errors: as aur_fn_map(); AUR_EINVAL
 * also if lo > hi, ctx is NULL or fn is no range body; AUR_ETOOBIG for ctx only if it is copied. */
AUR_API AUR_NODISCARD aur_err aur_fn_for(aur_pool *pool, const aur_call_options *opts, uint64_t lo,
                                         uint64_t hi, const aur_fn *fn, void *ctx,
                                         const char *site);

/* ---- iterators ----------------------------------------------------------------------------- */

typedef struct aur_imap_iter aur_imap_iter; /* opaque; owner use */

/* Fills one argument record; false when there is none left. */
typedef bool aur_next_fn(void *ctx, void *args);

/* Starts a bounded map whose results are taken one by one.  The window is filled at the start of
 * each aur_imap_next(), so no more than that are ever started and not taken; an array's is filled
 * here, too.
 *
 * next      called in aur_imap_next(), by the thread that takes results; not again once it was
 *           false.
 * ordered   results in input order, else as they complete.
 * Errors:   those of aur_fn_submit(); AUR_EINVAL also if next or ret_iter is NULL.
 * Owns:     *ret_iter is released with aur_imap_free(), which cancels what is left. */
AUR_API AUR_NODISCARD aur_err aur_fn_imap(aur_pool *pool, const aur_call_options *opts,
                                          const aur_fn *fn, aur_next_fn *next, void *ctx,
                                          bool ordered, aur_imap_iter **ret_iter, const char *site);

/* The same over an array of n records, which must live as long as the iterator. */
AUR_API AUR_NODISCARD aur_err aur_fn_imap_array(aur_pool *pool, const aur_call_options *opts,
                                                const aur_fn *fn, const void *args, size_t n,
                                                bool ordered, aur_imap_iter **ret_iter,
                                                const char *site);

/* The next result.  A failed item returns its error and the iterator goes on.
 *
 * ret_value  may be NULL if the result does not matter; size is not looked at then.
 * ret_index  may be NULL; written for failed items too.
 * Blocks: to deadline.
 * Errors: AUR_END; AUR_EINVAL iter is NULL; AUR_ESIZE; those of aur_future_wait(); those of submit,
 *         once no result is under way (the input is then at the same place as before: call again);
 *         and those of the item. */
AUR_API AUR_NODISCARD aur_err aur_imap_next_sized(aur_imap_iter *iter, void *ret_value, size_t size,
                                                  uint64_t *ret_index, aur_deadline deadline);
#define aur_imap_next(iter, out, deadline)                                                         \
    aur_imap_next_sized((iter), (out), sizeof(*(out)), NULL, (deadline))

/* NULL is allowed; returns NULL.  Calls that have not started are cancelled, running ones are
 * left to finish, and their failures count as unseen.  Blocks: never. */
AUR_API aur_imap_iter *aur_imap_free(aur_imap_iter *iter);
AUR_API void aur_imap_iter_scoped_(aur_imap_iter **iter);

AUR_END_DECLS

/* ---- the typed macros ---------------------------------------------------------------------- */

#define aur_apply(pool, out, fn, ...) aur_apply_with(pool, NULL, out, fn, __VA_ARGS__)
#define aur_apply_with(pool, opts, out, fn, ...)                                                   \
    aur_fn_call((pool), (opts), &fn##_aur_fn, AUR_ARGS_(fn, __VA_ARGS__), AUR_OUT_(fn, out),       \
                AUR_SITE_)

#define aur_apply_async(pool, future, fn, ...)                                                     \
    aur_apply_async_with(pool, NULL, future, fn, __VA_ARGS__)
#define aur_apply_async_with(pool, opts, future, fn, ...)                                          \
    aur_fn_submit((pool), (opts), &fn##_aur_fn, AUR_ARGS_(fn, __VA_ARGS__), (future), AUR_SITE_)

#define aur_map(pool, fn, in, n, out) aur_map_with(pool, NULL, fn, in, n, out)
#define aur_map_with(pool, opts, fn, in, n, out)                                                   \
    aur_fn_map((pool), (opts), &fn##_aur_fn, AUR_IN1_(fn, in), (n), AUR_OUT_(fn, out), AUR_SITE_)
#define aur_starmap(pool, fn, in, n, out) aur_starmap_with(pool, NULL, fn, in, n, out)
#define aur_starmap_with(pool, opts, fn, in, n, out)                                               \
    aur_fn_map((pool), (opts), &fn##_aur_fn, AUR_IN_(fn, in), (n), AUR_OUT_(fn, out), AUR_SITE_)

#define aur_map_async(pool, future, fn, in, n, out)                                                \
    aur_map_async_with(pool, NULL, future, fn, in, n, out)
#define aur_map_async_with(pool, opts, future, fn, in, n, out)                                     \
    aur_fn_map_async((pool), (opts), &fn##_aur_fn, AUR_IN1_(fn, in), (n), AUR_OUT_(fn, out),       \
                     (future), AUR_SITE_)
#define aur_starmap_async(pool, future, fn, in, n, out)                                            \
    aur_starmap_async_with(pool, NULL, future, fn, in, n, out)
#define aur_starmap_async_with(pool, opts, future, fn, in, n, out)                                 \
    aur_fn_map_async((pool), (opts), &fn##_aur_fn, AUR_IN_(fn, in), (n), AUR_OUT_(fn, out),        \
                     (future), AUR_SITE_)

#define aur_for(pool, lo, hi, fn, ctx) aur_for_with(pool, NULL, lo, hi, fn, ctx)
#define aur_for_with(pool, opts, lo, hi, fn, ctx)                                                  \
    aur_fn_for((pool), (opts), (lo), (hi), &fn##_aur_fn,                                           \
               (AUR_CHECKED_(fn##_aur_ctx(ctx)), (void *)(ctx)), AUR_SITE_)

#define aur_imap(pool, iter, fn, in, n) aur_imap_with(pool, NULL, iter, fn, in, n)
#define aur_imap_with(pool, opts, iter, fn, in, n)                                                 \
    aur_fn_imap_array((pool), (opts), &fn##_aur_fn, AUR_IN1_(fn, in), (n), true, (iter), AUR_SITE_)
#define aur_imap_unordered(pool, iter, fn, in, n)                                                  \
    aur_imap_unordered_with(pool, NULL, iter, fn, in, n)
#define aur_imap_unordered_with(pool, opts, iter, fn, in, n)                                       \
    aur_fn_imap_array((pool), (opts), &fn##_aur_fn, AUR_IN1_(fn, in), (n), false, (iter), AUR_SITE_)
#define aur_istarmap(pool, iter, fn, in, n) aur_istarmap_with(pool, NULL, iter, fn, in, n)
#define aur_istarmap_with(pool, opts, iter, fn, in, n)                                             \
    aur_fn_imap_array((pool), (opts), &fn##_aur_fn, AUR_IN_(fn, in), (n), true, (iter), AUR_SITE_)
#define aur_istarmap_unordered(pool, iter, fn, in, n)                                              \
    aur_istarmap_unordered_with(pool, NULL, iter, fn, in, n)
#define aur_istarmap_unordered_with(pool, opts, iter, fn, in, n)                                   \
    aur_fn_imap_array((pool), (opts), &fn##_aur_fn, AUR_IN_(fn, in), (n), false, (iter), AUR_SITE_)
/* Arguments from a generator: bool next(void *ctx, void *args) fills a struct fn_args. */
#define aur_imap_from(pool, opts, iter, fn, next, ctx, ordered)                                    \
    aur_fn_imap((pool), (opts), &fn##_aur_fn, (next), (ctx), (ordered), (iter), AUR_SITE_)

#endif /* AURIGA_CALL_H */
