/* pool/options.h: what callers ask for, checked and with the defaults filled in. */
#ifndef AURI_POOL_OPTIONS_H
#define AURI_POOL_OPTIONS_H

#include <auriga.h>

#include "task/pool.h"

#define AURI_WORKERS_MAX 4096u
#define AURI_RETRIES_MAX 65534u          /* attempts are counted in 16 bits */
#define AURI_RECORD_BYTES_MAX (1u << 20) /* one argument record, one result */
#define AURI_WINDOW_PER_WORKER 4u        /* enough to hide a hand-over behind the items */
#define AURI_WINDOW_BYTES (UINT64_C(256) << 20)

/* Copies *opts (NULL: all defaults) with each default resolved; size is ours.  On error *diag says
 * which field has which value, and why that cannot be.  The errors of aur_pool_new(). */
aur_err auri_options_resolve(const aur_options *opts, aur_options *ret_opts, aur_diag *reterr_diag);

/* One call's options. */
struct auri_call {
    struct auri_limits limits;
    bool own_limits; /* they differ from the pool's */
    bool all_errors;
    aur_err *item_errs;
    uint64_t window_items; /* never 0 */
    uint64_t window_bytes; /* never 0 */
};

/* The same for one call on `pool`.  AUR_EINVAL; *reterr_why is a sentence. */
aur_err auri_call_resolve(const aur_pool *pool, const aur_call_options *opts,
                          struct auri_call *ret_call, const char **reterr_why);

static inline bool auri_align_is_good(uint32_t align)
{
    return align != 0 && align <= 4096 && (align & (align - 1)) == 0;
}

/* True for a function of records or a range body that auri_fn_check() below says nothing about; it is the same in
 * as few lines of code as can be (tests/unit/pool/fn_test). */
static inline bool auri_fn_is_good(const aur_fn *fn, uint32_t flags)
{
    return fn != NULL && fn->abi == AUR_FN_ABI && fn->flags == flags &&
           (flags & ~AUR_FN_RANGE_BODY) == 0 && fn->range != NULL && fn->name != NULL &&
           auri_align_is_good(fn->args_align) && auri_align_is_good(fn->ret_align) &&
           fn->args_size != 0 && (fn->args_size & (fn->args_align - 1)) == 0 &&
           (fn->ret_size & (fn->ret_align - 1)) == 0 && fn->ret_size <= AURI_RECORD_BYTES_MAX &&
           (flags != 0 || fn->args_size <= AURI_RECORD_BYTES_MAX);
}

/* Whether fn may be run by a verb that wants exactly the AUR_FN_* `flags`.  AUR_EINVAL,
 * AUR_ETOOBIG. */
aur_err auri_fn_check(const aur_fn *fn, uint32_t flags, const char **reterr_why);

#endif /* AURI_POOL_OPTIONS_H */
