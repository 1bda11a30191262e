/* proc/entry_item.h: one item in a worker process, for calls (entry.c) and for chunks (entry_chunk.c).
 *
 * Called by: the worker's own thread. */
#ifndef AURI_PROC_ENTRY_ITEM_H
#define AURI_PROC_ENTRY_ITEM_H

#include <stdalign.h>
#include <stddef.h>

#include "proc/worker.h"

/* How an item ended.  error may be NULL for want of memory. */
struct auri_item_outcome {
    aur_err err;
    aur_error *error; /* malloc'ed */
};

/* What is run for one item. */
struct auri_item {
    const aur_fn *fn;
    const void *args;
    void *ret;           /* ret of an ordinary function */
    struct aur_out *out; /* not NULL: a byte-string function, args are the size bytes of it */
    uint64_t size;
    uint64_t index;  /* what fn->range is told: 0, or the index for a range body */
    uint64_t number; /* AUR_NO_ITEM: of no map */
};

/* Where a byte-string body puts its result: small ones travel in the answer, if they may. */
struct auri_item_place {
    struct auri_worker_self *self;
    struct auri_extent extent; /* size 0: nothing in the result segment */
    uint64_t room;
    bool inlined; /* the result is in `small` */
    bool may_inline;
    /* Aligned, since bodies may store anything there. */
    alignas(max_align_t) unsigned char small[AURI_COMP_INLINE];
};

/* Runs one item of the entry that desc is. */
struct auri_item_outcome auri_item_run(struct auri_worker_self *self,
                                       const struct auri_sub_desc *desc,
                                       const struct auri_item *item);
/* Runs a byte-string body.  On success *ret_out is the result, INLINE in place->small. */
struct auri_item_outcome auri_item_run_bytes(const struct auri_sub_desc *desc,
                                             struct auri_item *item, struct auri_item_place *place,
                                             struct auri_extent *ret_out);

/* An error of the function that runs; NULL: no memory. */
aur_error *auri_item_error(const struct auri_worker_self *self, aur_err err, const char *text);
/* Moves an error into the result segment; without room, the code alone must do. */
struct auri_extent auri_item_put_error(struct auri_worker_self *self, aur_error *error);

/* Where an extent of the result segment lies; NULL: it has no bytes. */
void *auri_item_result(const struct auri_worker_self *self, struct auri_extent extent);
/* The bytes of `desc->args`: in `small` if they came inline, else where they lie.  NULL: there are
 * none where the entry says. */
const void *auri_item_args(const struct auri_sub_desc *desc, unsigned char small[AURI_SUB_INLINE]);

bool auri_item_is_aligned(const void *at, uint32_t align);
void *auri_item_aligned_new(uint64_t size, uint32_t align); /* free() */

/* Tells the parent where results and codes will lie, and how many items are done.  Only for the entry of the
 * ring: a task that runs in place of a wait has no place to tell of it. */
void auri_item_tell(struct auri_worker_self *self, struct auri_extent out, struct auri_extent errs);
void auri_item_tell_done(struct auri_worker_self *self, uint64_t done);

/* entry_chunk.c: runs a chunk and fills the answer. */
void auri_chunk_run(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                    const aur_fn *fn, struct auri_comp_desc *comp);

#endif /* AURI_PROC_ENTRY_ITEM_H */
