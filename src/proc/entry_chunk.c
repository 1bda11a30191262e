/* Running a chunk of a map or loop: its items one by one, and the table of how each ended. */
#include <stdlib.h>
#include <string.h>

#include "proc/entry_item.h"

#define CHUNK_ITEMS_MAX (UINT64_C(1) << 32)

struct chunk {
    const struct auri_sub_desc *desc;
    const aur_fn *fn;
    const unsigned char *args; /* records, extents, or the one context (private) */
    unsigned char *out;        /* results or extents */
    aur_err *errs;
    uint64_t out_stride;
    void *args_heap; /* one record, where those in place are not aligned; or the context */
    void *ret_heap;  /* one result, likewise */
};

static struct auri_item_outcome run_record(struct auri_worker_self *self, const struct chunk *c,
                                           uint64_t i)
{
    const aur_fn *fn = c->fn;
    struct auri_item item = { .fn = fn, .number = c->desc->item + i };

    if (c->desc->op == AURI_OP_FOR) {
        item.args = c->args_heap;
        item.index = c->desc->item + i;
        return auri_item_run(self, c->desc, &item);
    }
    item.args = c->args + i * fn->args_size;
    if (c->out != NULL) {
        item.ret = c->out + i * c->out_stride;
    }
    if (c->args_heap != NULL) {
        memcpy(c->args_heap, item.args, fn->args_size);
        item.args = c->args_heap;
    }
    if (c->ret_heap == NULL) {
        return auri_item_run(self, c->desc, &item);
    }
    void *to = item.ret;
    item.ret = c->ret_heap;
    struct auri_item_outcome outcome = auri_item_run(self, c->desc, &item);
    memcpy(to, c->ret_heap, fn->ret_size);
    return outcome;
}

static struct auri_item_outcome run_string(struct auri_worker_self *self, const struct chunk *c,
                                           uint64_t i)
{
    struct auri_item_place place = { .self = self };
    struct auri_extent in;
    struct auri_item item = { .fn = c->fn, .args = "", .number = c->desc->item + i };

    memcpy(&in, c->args + i * sizeof(in), sizeof(in));
    item.size = in.size;
    if (in.size != 0 && (item.args = auri_worker_at(in)) == NULL) {
        return (struct auri_item_outcome){
            AUR_EINVAL, auri_item_error(self, AUR_EINVAL, "the bytes are not where the entry says")
        };
    }
    struct auri_extent out;
    struct auri_item_outcome outcome = auri_item_run_bytes(c->desc, &item, &place, &out);
    memcpy(c->out + i * sizeof(out), &out, sizeof(out));
    return outcome;
}

/* Private memory that a chunk needs.  A range body may write its context: it gets a copy. */
static aur_err chunk_heap(struct chunk *c)
{
    const aur_fn *fn = c->fn;

    if (c->desc->op == AURI_OP_MAPB) {
        return AUR_OK;
    }
    if (c->desc->op == AURI_OP_FOR || !auri_item_is_aligned(c->args, fn->args_align)) {
        c->args_heap = auri_item_aligned_new(fn->args_size, fn->args_align);
        if (c->args_heap == NULL) {
            return AUR_ENOMEM;
        }
        memcpy(c->args_heap, c->args, fn->args_size);
    }
    if (c->out != NULL && !auri_item_is_aligned(c->out, fn->ret_align)) {
        c->ret_heap = auri_item_aligned_new(fn->ret_size, fn->ret_align);
        if (c->ret_heap == NULL) {
            return AUR_ENOMEM;
        }
    }
    return AUR_OK;
}

/* Runs the items; errs is filled up to where it stopped, and *ret_end. */
static aur_err chunk_items(struct auri_worker_self *self, struct chunk *c,
                           struct auri_chunk_end *ret_end)
{
    const struct auri_sub_desc *desc = c->desc;
    aur_err first = AUR_OK;

    for (uint64_t i = 0; i < desc->count && !auri_worker_should_stop(); i++) {
        if (AURI_RING_FAULT(AURI_FAULT_ITEM_EARLY)) {
            auri_item_tell_done(self, i + 1);
        }
        struct auri_item_outcome outcome =
            desc->op == AURI_OP_MAPB ? run_string(self, c, i) : run_record(self, c, i);
        c->errs[i] = outcome.err;
        if (outcome.err != AUR_OK && first == AUR_OK) {
            first = outcome.err;
            ret_end->error = auri_item_put_error(self, outcome.error);
            if (self->inner == 0) {
                self->ctl->progress.error = ret_end->error;
            }
        } else {
            free(outcome.error);
        }
        auri_item_tell_done(self, i + 1);
        if (outcome.err != AUR_OK && (desc->flags & AURI_SUB_STOP_ON_ERROR) != 0) {
            break;
        }
    }
    return first;
}

/* The extents of a chunk; nothing is kept on error. */
static aur_err chunk_alloc(struct auri_worker_self *self, struct chunk *c,
                           struct auri_extent *ret_out, struct auri_extent *ret_errs)
{
    uint64_t count = c->desc->count;
    struct auri_extent out = { 0, 0 };
    struct auri_extent errs = { 0, 0 };
    aur_err err = AUR_OK;

    if (c->out_stride != 0) {
        err = auri_worker_alloc(self, count * c->out_stride, &out);
    }
    if (err == AUR_OK) {
        err = auri_worker_alloc(self, count * sizeof(aur_err), &errs);
    }
    if (err == AUR_OK) {
        c->out = auri_item_result(self, out);
        c->errs = auri_item_result(self, errs);
        err = chunk_heap(c);
    }
    if (err != AUR_OK) {
        auri_worker_free(self, out);
        auri_worker_free(self, errs);
        return err;
    }
    *ret_out = out;
    *ret_errs = errs;
    return AUR_OK;
}

static bool chunk_is_sound(const struct chunk *c)
{
    const struct auri_sub_desc *desc = c->desc;
    uint64_t record = desc->op == AURI_OP_MAPB ? sizeof(struct auri_extent) : c->fn->args_size;
    uint64_t records = desc->op == AURI_OP_FOR ? 1 : desc->count;

    return c->args != NULL && desc->count != 0 && desc->count <= CHUNK_ITEMS_MAX &&
           desc->args.size / record >= records;
}

void auri_chunk_run(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                    const aur_fn *fn, struct auri_comp_desc *comp)
{
    alignas(64) unsigned char small_args[AURI_SUB_INLINE];
    struct auri_chunk_end end = { { 0, 0 }, { 0, 0 } };
    struct chunk c = { .desc = desc, .fn = fn, .args = auri_item_args(desc, small_args) };

    if (desc->op == AURI_OP_MAPB) {
        c.out_stride = sizeof(struct auri_extent);
    } else if (desc->op == AURI_OP_MAP) {
        c.out_stride = fn->ret_size;
    }
    if (!chunk_is_sound(&c)) {
        comp->err = AUR_EINVAL;
    } else if ((comp->err = chunk_alloc(self, &c, &comp->out, &end.errs)) == AUR_OK) {
        for (uint64_t i = 0; i < desc->count; i++) {
            c.errs[i] = AUR_EPENDING;
        }
        if (desc->op == AURI_OP_MAPB) {
            memset(c.out, 0, desc->count * c.out_stride);
        }
        auri_item_tell(self, comp->out, end.errs);
        comp->err = chunk_items(self, &c, &end);
    }
    memcpy(comp->data, &end, sizeof(end));
    free(c.args_heap);
    free(c.ret_heap);
}
