/* pool/maps.h: what the verbs that run many items share. */
#ifndef AURI_POOL_MAPS_H
#define AURI_POOL_MAPS_H

#include "pool/options.h"

/* A map as the caller asked for it. */
struct auri_map_ask {
    const aur_fn *fn;
    uint32_t flags; /* AUR_FN_* that fn must have */
    const void *args;
    uint64_t n;
    uint64_t first;
    void *out;
    const aur_call_options *opts;
    const char *site;
};

/* Checks all of it; *pool becomes the one to use here.  The errors of aur_fn_map() that come from
 * its arguments; *reterr_why may be set to a sentence, and is NULL before. */
aur_err auri_map_check(aur_pool **pool, const struct auri_map_ask *ask, struct auri_call *ret_call,
                       const char **reterr_why);

/* Runs a checked map to its end.  Returns its outcome and notes failures for aur_last_error(). */
aur_err auri_map_sync(aur_pool *pool, const struct auri_map_ask *ask, const struct auri_call *call);

#endif /* AURI_POOL_MAPS_H */
