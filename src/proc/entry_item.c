/* One item in a worker process: its frame, its outcome, where its bytes lie. */
#include "proc/entry_item.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plat/plat.h"
#include "sched/run.h"

void *auri_item_result(const struct auri_worker_self *self, struct auri_extent extent)
{
    return extent.size != 0 ? auri_arena_at(self->results, auri_extent_off(extent)) : NULL;
}

/* The bytes of `desc->args`: in `small` if they came inline, else where they lie.  NULL: there are
 * none where the entry says. */
const void *auri_item_args(const struct auri_sub_desc *desc, unsigned char small[AURI_SUB_INLINE])
{
    if (auri_extent_seg(desc->args) == AURI_SEG_INLINE) {
        bool in_first = desc->form == AURI_FORM_SHORT;
        if (desc->args.size > (in_first ? AURI_SUB_SMALL : AURI_SUB_INLINE)) {
            return NULL;
        }
        if (in_first) {
            memcpy(small, desc->small, AURI_SUB_SMALL);
        } else {
            memcpy(small, desc->data, AURI_SUB_INLINE);
        }
        return small;
    }
    return auri_worker_at(desc->args);
}

/* ---- what the parent is told meanwhile --------------------------------------------------------- */

/* Only of the entry of the ring: a task that runs in place of a wait has no place to tell of it. */
void auri_item_tell(struct auri_worker_self *self, struct auri_extent out, struct auri_extent errs)
{
    if (self->inner == 0) {
        auri_progress_begin(self->ctl, self->head, out, errs);
    }
}

void auri_item_tell_done(struct auri_worker_self *self, uint64_t done)
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

bool auri_item_is_aligned(const void *at, uint32_t align)
{
    return ((uintptr_t)at & (align - 1)) == 0;
}

void *auri_item_aligned_new(uint64_t size, uint32_t align)
{
    uint64_t to = align < 64 ? 64 : align;

    return aligned_alloc(to, (size + to - 1) & ~(to - 1));
}

aur_error *auri_item_error(const struct auri_worker_self *self, aur_err err, const char *text)
{
    const aur_fn *fn = self->task->fn;
    aur_error *error = auri_error_new(err, fn != NULL ? fn->name : NULL, NULL);

    if (error != NULL) {
        snprintf(error->message, sizeof(error->message), "%s", text);
    }
    return error;
}

/* The error of a frame, which wins over whatever the body returned. */
static struct auri_item_outcome outcome_of(const struct auri_worker_self *self,
                                           struct auri_frame *frame, aur_err err)
{
    if (frame->deadline_ns != AUR_NO_DEADLINE && aurp_now_ns() >= frame->deadline_ns) {
        free(frame->error);
        frame->error = NULL;
        err = AUR_EDEADLINE;
    } else if (auri_frame_err(frame) != AUR_OK) {
        err = auri_frame_err(frame);
    }
    if (frame->error == NULL && err != AUR_OK) {
        frame->error = auri_item_error(
            self, err, err == AUR_EDEADLINE ? "ran past its deadline" : aur_err_text(err));
    }
    return (struct auri_item_outcome){ err, frame->error };
}

struct auri_item_outcome auri_item_run(struct auri_worker_self *self,
                                       const struct auri_sub_desc *desc,
                                       const struct auri_item *item)
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
    struct auri_item_outcome outcome = outcome_of(self, &frame, err);
    auri_frame_pop(record, &frame);
    if (desc->timeout_ns != 0) {
        tell_start(self, 0); /* before the item counts as done: see ring.h */
    }
    return outcome;
}

struct auri_extent auri_item_put_error(struct auri_worker_self *self, aur_error *error)
{
    struct auri_extent extent = { 0, 0 };

    if (error != NULL && auri_worker_alloc(self, sizeof(*error), &extent) == AUR_OK) {
        memcpy(auri_item_result(self, extent), error, sizeof(*error));
    }
    free(error);
    return extent;
}

/* ---- byte strings --------------------------------------------------------------------------- */

static void place_release(struct aur_out *out)
{
    struct auri_item_place *place = out->ctx;

    auri_worker_free(place->self, place->extent);
    place->extent.size = 0;
    place->inlined = false;
    place->room = 0;
}

static void *place_alloc(struct aur_out *out, size_t size)
{
    struct auri_item_place *place = out->ctx;

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
    return auri_item_result(place->self, place->extent);
}

struct auri_item_outcome auri_item_run_bytes(const struct auri_sub_desc *desc,
                                             struct auri_item *item, struct auri_item_place *place,
                                             struct auri_extent *ret_out)
{
    struct aur_out out = { .alloc = place_alloc, .release = place_release, .ctx = place };

    item->out = &out;
    struct auri_item_outcome outcome = auri_item_run(place->self, desc, item);
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
