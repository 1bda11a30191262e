/* Running one entry: decoding it, its items one by one, and what the answer says. */
#include "proc/entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plat/plat.h"
#include "sched/detect.h"
#include "sched/run.h"

#define CHUNK_ITEMS_MAX (UINT64_C(1) << 32)

static void *result_at(const struct auri_worker_self *self, struct auri_extent extent)
{
    return extent.size != 0 ? auri_arena_at(self->results, auri_extent_off(extent)) : NULL;
}

/* ---- what the parent is told meanwhile --------------------------------------------------------- */

/* Only of the entry of the ring: a task that runs in place of a wait has no place to tell of it. */
static void tell_begin(struct auri_worker_self *self, struct auri_extent out,
                       struct auri_extent errs)
{
    if (self->inner == 0) {
        auri_progress_begin(self->ctl, self->head, out, errs);
    }
}

static void tell_item(struct auri_worker_self *self, uint64_t done)
{
    if (self->inner == 0) {
        auri_progress_item(self->ctl, done);
    }
}

static void tell_start(struct auri_worker_self *self, uint64_t now_ns)
{
    if (self->inner == 0) {
        auri_progress_start(self->ctl, now_ns);
    }
}

/* ---- one item ------------------------------------------------------------------------------- */

static bool is_aligned(const void *at, uint32_t align)
{
    return ((uintptr_t)at & (align - 1)) == 0;
}

static void *aligned_new(uint64_t size, uint32_t align)
{
    uint64_t to = align < 64 ? 64 : align;

    return aligned_alloc(to, (size + to - 1) & ~(to - 1));
}

static aur_error *new_error(const struct auri_worker_self *self, aur_err err, const char *text)
{
    const aur_fn *fn = self->task->fn;
    aur_error *error = auri_error_new(err, fn != NULL ? fn->name : NULL, NULL);

    if (error != NULL) {
        snprintf(error->message, sizeof(error->message), "%s", text);
    }
    return error;
}

/* How an item ended.  error may be NULL for want of memory. */
struct outcome {
    aur_err err;
    aur_error *error; /* malloc'ed */
};

/* The error of a frame, which wins over whatever the body returned. */
static struct outcome outcome_of(const struct auri_worker_self *self, struct auri_frame *frame,
                                 aur_err err)
{
    if (frame->deadline_ns != AUR_NO_DEADLINE && aurp_now_ns() >= frame->deadline_ns) {
        free(frame->error);
        frame->error = NULL;
        err = AUR_EDEADLINE;
    } else if (auri_frame_err(frame) != AUR_OK) {
        err = auri_frame_err(frame);
    }
    if (frame->error == NULL && err != AUR_OK) {
        frame->error = new_error(
            self, err, err == AUR_EDEADLINE ? "ran past its deadline" : aur_err_text(err));
    }
    return (struct outcome){ err, frame->error };
}

/* What is run for one item. */
struct item {
    const aur_fn *fn;
    const void *args;
    void *ret;           /* ret of an ordinary function */
    struct aur_out *out; /* not NULL: a byte-string function, args are the size bytes of it */
    uint64_t size;
    uint64_t index;  /* what fn->range is told: 0, or the index for a range body */
    uint64_t number; /* AUR_NO_ITEM: of no map */
};

static struct outcome run_item(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                               const struct item *item)
{
    struct auri_record *record = auri_self();
    struct auri_frame frame = {
        .task = self->task,
        .pool = record->pool,
        .item = item->number,
        .deadline_ns = AUR_NO_DEADLINE,
        .stop = &self->ctl->stop,
        .in_map = item->number != AUR_NO_ITEM,
    };
    aur_err err = AUR_OK;
    uint64_t index;

    if (desc->timeout_ns != 0) {
        frame.deadline_ns = aur_deadline_in_ns(desc->timeout_ns);
        tell_start(self, aurp_now_ns());
    }
    auri_frame_push(record, &frame);
    if (item->out != NULL) {
        struct aur_bytes_call call = { item->args, item->size, item->out };
        item->fn->range(&call, &err, 0, 1, &index);
        if (err == AUR_OK && item->out->failed && item->out->data == NULL) {
            err = AUR_ENOMEM;
        }
    } else {
        item->fn->range(item->args, item->ret, item->index, item->index + 1, &index);
    }
    struct outcome outcome = outcome_of(self, &frame, err);
    auri_frame_pop(record, &frame);
    if (desc->timeout_ns != 0) {
        tell_start(self, 0); /* before the item counts as done: see ring.h */
    }
    return outcome;
}

/* Moves an error into the result segment; without room, the code alone must do. */
static struct auri_extent put_error(struct auri_worker_self *self, aur_error *error)
{
    struct auri_extent extent = { 0, 0 };

    if (error != NULL && auri_worker_alloc(self, sizeof(*error), &extent) == AUR_OK) {
        memcpy(result_at(self, extent), error, sizeof(*error));
    }
    free(error);
    return extent;
}

static void answer_error(struct auri_worker_self *self, struct auri_comp_desc *comp,
                         struct outcome outcome)
{
    comp->err = outcome.err;
    comp->out = put_error(self, outcome.error);
}

static void answer_refusal(struct auri_worker_self *self, struct auri_comp_desc *comp, aur_err err,
                           const char *text)
{
    answer_error(self, comp, (struct outcome){ err, new_error(self, err, text) });
}

/* ---- one call ------------------------------------------------------------------------------- */

/* The bytes of `desc->args`: in `small` if they came inline, else where they lie.  NULL: there are
 * none where the entry says. */
static const void *args_of(const struct auri_sub_desc *desc, unsigned char small[AURI_SUB_INLINE])
{
    if (auri_extent_seg(desc->args) == AURI_SEG_INLINE) {
        if (desc->args.size > AURI_SUB_INLINE) {
            return NULL;
        }
        memcpy(small, desc->data, AURI_SUB_INLINE);
        return small;
    }
    return auri_worker_at(desc->args);
}

/* A record in place, or, if it needs more alignment than it has, in memory that *ret_heap owns. */
static const void *aligned_args(const aur_fn *fn, const void *args, void **ret_heap)
{
    *ret_heap = NULL;
    if (is_aligned(args, fn->args_align)) {
        return args;
    }
    *ret_heap = aligned_new(fn->args_size, fn->args_align);
    if (*ret_heap != NULL) {
        memcpy(*ret_heap, args, fn->args_size);
    }
    return *ret_heap;
}

static void run_call_to(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                        struct auri_comp_desc *comp, const struct item *item,
                        struct auri_extent out)
{
    struct outcome outcome = run_item(self, desc, item);

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
    void *to = auri_extent_seg(out) == AURI_SEG_INLINE ? comp->data : result_at(self, out);
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
    struct item item = { .fn = fn, .ret = small_ret, .number = AUR_NO_ITEM };

    item.args = args_of(desc, small_args);
    if (item.args == NULL || desc->args.size < fn->args_size) {
        answer_refusal(self, comp, AUR_EINVAL, "the arguments are not where the entry says");
        return;
    }
    item.args = aligned_args(fn, item.args, &args_heap);
    if (fn->ret_size > AURI_COMP_INLINE) {
        item.ret =
            auri_worker_alloc(self, fn->ret_size, &out) == AUR_OK ? result_at(self, out) : NULL;
    }
    if (item.ret != NULL && !is_aligned(item.ret, fn->ret_align)) {
        item.ret = ret_heap = aligned_new(fn->ret_size, fn->ret_align);
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

/* ---- byte strings --------------------------------------------------------------------------- */

/* Where a byte-string body puts its result: small ones travel in the answer, if they may. */
struct place {
    struct auri_worker_self *self;
    struct auri_extent extent; /* size 0: nothing in the result segment */
    uint64_t room;
    bool inlined; /* the result is in `small` */
    bool may_inline;
    unsigned char small[AURI_COMP_INLINE];
};

static void place_release(struct aur_out *out)
{
    struct place *place = out->ctx;

    auri_worker_free(place->self, place->extent);
    place->extent.size = 0;
    place->inlined = false;
    place->room = 0;
}

static void *place_alloc(struct aur_out *out, size_t size)
{
    struct place *place = out->ctx;

    place_release(out);
    if (place->may_inline && size <= sizeof(place->small)) {
        place->inlined = true;
        place->room = size;
        return place->small;
    }
    if (auri_worker_alloc(place->self, size == 0 ? 1 : size, &place->extent) != AUR_OK) {
        place->extent.size = 0;
        return NULL;
    }
    place->room = size;
    return result_at(place->self, place->extent);
}

/* Runs a byte-string body.  On success *ret_out is the result, INLINE in place->small. */
static struct outcome run_bytes(const struct auri_sub_desc *desc, struct item *item,
                                struct place *place, struct auri_extent *ret_out)
{
    struct aur_out out = { .alloc = place_alloc, .release = place_release, .ctx = place };

    item->out = &out;
    struct outcome outcome = run_item(place->self, desc, item);
    uint64_t size = out.data == NULL ? 0 : out.size;
    if (size > place->room) {
        size = place->room;
    }
    if (outcome.err != AUR_OK || size == 0) {
        place_release(&out);
        size = 0;
    }
    *ret_out = place->extent;
    ret_out->size = size;
    if (place->inlined || size == 0) {
        *ret_out = auri_extent_make(AURI_SEG_INLINE, 0, size);
    }
    return outcome;
}

static void run_bytes_call(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                           const aur_fn *fn, struct auri_comp_desc *comp)
{
    alignas(64) unsigned char small_args[AURI_SUB_INLINE];
    struct place place = { .self = self, .may_inline = true };
    struct item item = { .fn = fn, .size = desc->args.size, .number = AUR_NO_ITEM };

    item.args = args_of(desc, small_args);
    if (item.args == NULL) {
        answer_refusal(self, comp, AUR_EINVAL, "the arguments are not where the entry says");
        return;
    }
    struct outcome outcome = run_bytes(desc, &item, &place, &comp->out);
    if (outcome.err != AUR_OK) {
        answer_error(self, comp, outcome);
    } else {
        memcpy(comp->data, place.small, sizeof(place.small));
    }
}

/* ---- chunks --------------------------------------------------------------------------------- */

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

static struct outcome run_record(struct auri_worker_self *self, const struct chunk *c, uint64_t i)
{
    const aur_fn *fn = c->fn;
    struct item item = { .fn = fn, .number = c->desc->item + i };

    if (c->desc->op == AURI_OP_FOR) {
        item.args = c->args_heap;
        item.index = c->desc->item + i;
        return run_item(self, c->desc, &item);
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
        return run_item(self, c->desc, &item);
    }
    void *to = item.ret;
    item.ret = c->ret_heap;
    struct outcome outcome = run_item(self, c->desc, &item);
    memcpy(to, c->ret_heap, fn->ret_size);
    return outcome;
}

static struct outcome run_string(struct auri_worker_self *self, const struct chunk *c, uint64_t i)
{
    struct place place = { .self = self };
    struct auri_extent in;
    struct item item = { .fn = c->fn, .args = "", .number = c->desc->item + i };

    memcpy(&in, c->args + i * sizeof(in), sizeof(in));
    item.size = in.size;
    if (in.size != 0 && (item.args = auri_worker_at(in)) == NULL) {
        return (struct outcome){ AUR_EINVAL, new_error(self, AUR_EINVAL,
                                                       "the bytes are not where the entry says") };
    }
    struct auri_extent out;
    struct outcome outcome = run_bytes(c->desc, &item, &place, &out);
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
    if (c->desc->op == AURI_OP_FOR || !is_aligned(c->args, fn->args_align)) {
        c->args_heap = aligned_new(fn->args_size, fn->args_align);
        if (c->args_heap == NULL) {
            return AUR_ENOMEM;
        }
        memcpy(c->args_heap, c->args, fn->args_size);
    }
    if (c->out != NULL && !is_aligned(c->out, fn->ret_align)) {
        c->ret_heap = aligned_new(fn->ret_size, fn->ret_align);
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
            tell_item(self, i + 1);
        }
        struct outcome outcome =
            desc->op == AURI_OP_MAPB ? run_string(self, c, i) : run_record(self, c, i);
        c->errs[i] = outcome.err;
        if (outcome.err != AUR_OK && first == AUR_OK) {
            first = outcome.err;
            ret_end->error = put_error(self, outcome.error);
            if (self->inner == 0) {
                self->ctl->progress.error = ret_end->error;
            }
        } else {
            free(outcome.error);
        }
        tell_item(self, i + 1);
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
        c->out = result_at(self, out);
        c->errs = result_at(self, errs);
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

static void run_chunk(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                      const aur_fn *fn, struct auri_comp_desc *comp)
{
    alignas(64) unsigned char small_args[AURI_SUB_INLINE];
    struct auri_chunk_end end = { { 0, 0 }, { 0, 0 } };
    struct chunk c = { .desc = desc, .fn = fn, .args = args_of(desc, small_args) };

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
        tell_begin(self, comp->out, end.errs);
        comp->err = chunk_items(self, &c, &end);
    }
    memcpy(comp->data, &end, sizeof(end));
    free(c.args_heap);
    free(c.ret_heap);
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
        run_chunk(self, desc, fn, comp);
        return;
    }
    if (desc->timeout_ns != 0) {
        tell_begin(self, (struct auri_extent){ 0, 0 }, (struct auri_extent){ 0, 0 });
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
    /* relaxed: written by this thread only. */
    bool waits = (auri_load_rlx(&record->wait_seq) & 1) != 0;
    auri_task *awaited = auri_load_rlx(&record->wait_task);
    int saved_errno = errno;

    if (waits) {
        auri_edge_clear(record); /* a node that runs something does not wait */
    }
    memset(comp, 0, sizeof(*comp));
    comp->op = AURI_COMP_DONE;
    self->inner++;
    record->depth++;
    auri_entry_run(self, desc, comp);
    record->depth--;
    self->inner--;
    self->task->fn = fn;
    self->task->attempts = attempts;
    if (waits) {
        auri_edge_task(record, awaited, false);
    }
    errno = saved_errno;
}
