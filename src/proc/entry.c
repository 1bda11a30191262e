/* Running one entry: what it names, one call, and what the answer says.  Chunks are run in
 * entry_chunk.c. */
#include "proc/entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proc/entry_item.h"
#include "sched/detect.h"
#include "sched/run.h"

/* ---- answers of calls ----------------------------------------------------------------------- */

static void answer_error(struct auri_worker_self *self, struct auri_comp_desc *comp,
                         struct auri_item_outcome outcome)
{
    comp->err = outcome.err;
    comp->out = auri_item_put_error(self, outcome.error);
}

static void answer_refusal(struct auri_worker_self *self, struct auri_comp_desc *comp, aur_err err,
                           const char *text)
{
    answer_error(self, comp, (struct auri_item_outcome){ err, auri_item_error(self, err, text) });
}

/* ---- one call ------------------------------------------------------------------------------- */

/* A record in place, or, if it needs more alignment than it has, in memory that *ret_heap owns. */
static const void *aligned_args(const aur_fn *fn, const void *args, void **ret_heap)
{
    *ret_heap = NULL;
    if (auri_item_is_aligned(args, fn->args_align)) {
        return args;
    }
    *ret_heap = auri_item_aligned_new(fn->args_size, fn->args_align);
    if (*ret_heap != NULL) {
        memcpy(*ret_heap, args, fn->args_size);
    }
    return *ret_heap;
}

static void run_call_to(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                        struct auri_comp_desc *comp, const struct auri_item *item,
                        struct auri_extent out)
{
    struct auri_item_outcome outcome = auri_item_run(self, desc, item);

    if (outcome.err != AUR_OK) {
        if (auri_extent_seg(out) == AURI_SEG_RESULT) {
            auri_worker_free(self, out);
        }
        answer_error(self, comp, outcome);
        return;
    }
    comp->out = out;
    if (out.size == 0) {
        return;
    }
    void *to = auri_extent_seg(out) == AURI_SEG_INLINE ? comp->data : auri_item_result(self, out);
    if (to != item->ret) {
        memcpy(to, item->ret, out.size);
    }
}

static void run_call(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                     const aur_fn *fn, struct auri_comp_desc *comp)
{
    alignas(64) unsigned char small_args[AURI_SUB_INLINE];
    alignas(64) unsigned char small_ret[AURI_COMP_INLINE];
    void *args_heap = NULL;
    void *ret_heap = NULL;
    struct auri_extent out = auri_extent_make(AURI_SEG_INLINE, 0, fn->ret_size);
    struct auri_item item = { .fn = fn, .ret = small_ret, .number = AUR_NO_ITEM };

    item.args = auri_item_args(desc, small_args);
    if (item.args == NULL || desc->args.size < fn->args_size) {
        answer_refusal(self, comp, AUR_EINVAL, "the arguments are not where the entry says");
        return;
    }
    item.args = aligned_args(fn, item.args, &args_heap);
    if (fn->ret_size > AURI_COMP_INLINE) {
        item.ret = auri_worker_alloc(self, fn->ret_size, &out) == AUR_OK
                       ? auri_item_result(self, out)
                       : NULL;
    }
    if (item.ret != NULL && !auri_item_is_aligned(item.ret, fn->ret_align)) {
        item.ret = ret_heap = auri_item_aligned_new(fn->ret_size, fn->ret_align);
    }
    if (item.args != NULL && item.ret != NULL) {
        run_call_to(self, desc, comp, &item, out);
    } else {
        if (auri_extent_seg(out) == AURI_SEG_RESULT) {
            auri_worker_free(self, out);
        }
        answer_refusal(self, comp, AUR_ENOMEM, "no memory for the arguments or the result");
    }
    free(args_heap);
    free(ret_heap);
}

static void run_bytes_call(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                           const aur_fn *fn, struct auri_comp_desc *comp)
{
    alignas(64) unsigned char small_args[AURI_SUB_INLINE];
    struct auri_item_place place = { .self = self, .may_inline = true };
    struct auri_item item = { .fn = fn, .size = desc->args.size, .number = AUR_NO_ITEM };

    item.args = auri_item_args(desc, small_args);
    if (item.args == NULL) {
        answer_refusal(self, comp, AUR_EINVAL, "the arguments are not where the entry says");
        return;
    }
    struct auri_item_outcome outcome = auri_item_run_bytes(desc, &item, &place, &comp->out);
    if (outcome.err != AUR_OK) {
        answer_error(self, comp, outcome);
    } else {
        memcpy(comp->data, place.small, sizeof(place.small));
    }
}

/* ---- entries -------------------------------------------------------------------------------- */

static aur_err find_fn(struct auri_worker_self *self, uint32_t number, const aur_fn **ret_fn)
{
    const struct auri_fn_entry *table = auri_worker_at(self->ctl->setup.fns);
    uint64_t entries = self->ctl->setup.fns.size / sizeof(*table);

    if (table == NULL || number >= entries || entries > UINT32_MAX) {
        return AUR_ENOFUNC;
    }
    if (self->fns == NULL) {
        self->fns = calloc(entries, sizeof(*self->fns));
        if (self->fns == NULL) {
            return AUR_ENOMEM;
        }
        self->fns_n = (uint32_t)entries;
    }
    if (self->fns[number] == NULL) {
        const void *addr = NULL;
        aur_err err = auri_worker_find(&table[number], &addr);
        if (err != AUR_OK) {
            return err;
        }
        self->fns[number] = addr;
    }
    *ret_fn = self->fns[number];
    return AUR_OK;
}

/* The descriptor that an entry names. */
static aur_err fn_of(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                     const aur_fn **ret_fn)
{
    aur_err err = AUR_OK;

    if (desc->fn_ref != 0) {
        err = find_fn(self, desc->fn_ref - 1, ret_fn);
    } else {
        *ret_fn = (const aur_fn *)(uintptr_t)desc->fn;
    }
    if (err == AUR_OK && (*ret_fn == NULL || (*ret_fn)->abi != AUR_FN_ABI)) {
        err = AUR_ESTALE;
    }
    return err;
}

static bool is_chunk(uint32_t op)
{
    return op == AURI_OP_MAP || op == AURI_OP_FOR || op == AURI_OP_MAPB;
}

void auri_entry_run(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                    struct auri_comp_desc *comp)
{
    const aur_fn *fn = NULL;

    self->task->fn = NULL;
    self->task->attempts = (uint16_t)desc->attempt;
    aur_err err = fn_of(self, desc, &fn);
    if (err != AUR_OK || desc->op == 0 || desc->op > AURI_OP_MAPB) {
        err = err != AUR_OK ? err : AUR_EINVAL;
        if (is_chunk(desc->op)) {
            comp->err = err;
        } else {
            answer_refusal(self, comp, err, aur_err_text(err));
        }
        return;
    }
    self->task->fn = fn;
    if (is_chunk(desc->op)) {
        auri_chunk_run(self, desc, fn, comp);
        return;
    }
    if (desc->timeout_ns != 0) {
        auri_item_tell(self, (struct auri_extent){ 0, 0 }, (struct auri_extent){ 0, 0 });
    }
    if (desc->op == AURI_OP_BYTES) {
        run_bytes_call(self, desc, fn, comp);
    } else {
        run_call(self, desc, fn, comp);
    }
}

void auri_entry_run_inner(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                          struct auri_comp_desc *comp)
{
    struct auri_record *record = auri_self();
    const aur_fn *fn = self->task->fn;
    uint16_t attempts = self->task->attempts;
    int saved_errno = errno;
    struct auri_edge edge = auri_edge_take(record); /* a node that runs something does not wait */

    memset(comp, 0, sizeof(*comp));
    comp->op = AURI_COMP_DONE;
    self->inner++;
    record->depth++;
    auri_entry_run(self, desc, comp);
    record->depth--;
    self->inner--;
    self->task->fn = fn;
    self->task->attempts = attempts;
    auri_edge_put(record, &edge);
    errno = saved_errno;
}
