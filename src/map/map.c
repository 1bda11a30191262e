/* A map is a range job whose body runs items and keeps book of their failures.
 *
 * The plain way runs a whole chunk by one call of fn->range, so that the compiler's loop over an
 * inlined function stays a loop.  A failing item marks itself (aur_fail) through the frame's `failed`
 * hook, which knows the item from the cursor that the loop keeps.  Where items have deadlines or
 * retries, or are byte strings, they run one by one. */
#include "map/map.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hot.h"
#include "sched/range.h"
#include "sched/run.h"
#include "sched/threads.h"

#define SCRATCH_BYTES 4096u
#define PIECE_NS 50000u /* a cancel waits so long: long against the clock that is read for it */

struct map_run {
    auri_task *root;
    struct auri_map *map;
    _Atomic(uint64_t) offered;  /* A: items of the chunks that were begun ... */
    _Atomic(uint64_t) skipped;  /* A: ... and of these, those that were not run */
    _Atomic(uint32_t) failures; /* A */
    pthread_mutex_t lock;
    /* lock: the failure with the lowest index */
    aur_err first_err;
    uint64_t first_item;
    aur_error *first; /* NULL: no memory */
    /* Of auri_map_here(): the owner, its frame, and whether a chunk runs under it. */
    struct auri_record *self;
    struct auri_frame *frame;
    bool in_chunk;
};

static uint64_t item_of(const struct auri_frame *frame)
{
    return frame->item_base + frame->item;
}

/* Takes over the failure of the frame's item.  error may be NULL for want of memory. */
static void note_failure(struct map_run *run, uint64_t item, aur_err err, aur_error *error)
{
    struct auri_map *map = run->map;

    if (error != NULL) {
        error->function = map->fn->name;
        error->site = map->site;
    }
    if (map->item_errs != NULL && item - map->first < map->n) {
        map->item_errs[item - map->first] = err;
    }
    auri_add_rlx(&run->failures, 1u);
    pthread_mutex_lock(&run->lock);
    if (run->first_err == AUR_OK || item < run->first_item) {
        aur_error *older = run->first;
        run->first = error;
        run->first_err = err;
        run->first_item = item;
        error = older;
    }
    pthread_mutex_unlock(&run->lock);
    free(error);
}

/* ---- items one by one ---------------------------------------------------------------------- */

static void fail_here(aur_err err, const char *text)
{
    struct auri_frame *frame = auri_self_->frame;

    if (auri_frame_err(frame) == AUR_OK) {
        frame->error = auri_error_new(err, NULL, NULL);
        frame->bare = frame->error == NULL ? err : AUR_OK;
        if (frame->error != NULL) {
            strncpy(frame->error->message, text, sizeof(frame->error->message) - 1);
        }
    }
}

static void call_bytes(const struct auri_map *map, uint64_t i, uint64_t *item)
{
    const aur_bytes *in = (const aur_bytes *)map->args + i;
    aur_bytes *result = map->out != NULL ? (aur_bytes *)map->out + i : NULL;
    struct aur_out out = { 0 };
    struct aur_bytes_call call = { in->data, in->size, &out };
    aur_err err = AUR_OK;

    map->fn->range(&call, &err, 0, 1, item);
    if (err != AUR_OK) {
        fail_here(err, aur_err_text(err));
    } else if (out.failed && out.data == NULL) {
        fail_here(AUR_ENOMEM, "no memory for the result");
    }
    if (auri_frame_err(auri_self_->frame) == AUR_OK && result != NULL) {
        *result = (aur_bytes){ out.data, out.size };
    } else {
        free(out.data);
    }
}

static void call_one(const struct auri_map *map, void *scratch, uint64_t i, uint64_t *item)
{
    const aur_fn *fn = map->fn;

    if ((fn->flags & AUR_FN_RANGE_BODY) != 0) {
        fn->range(map->args, NULL, map->first + i, map->first + i + 1, item);
        *item = 0;
    } else if ((fn->flags & AUR_FN_BYTES) != 0) {
        call_bytes(map, i, item);
    } else {
        /* Not straight to out[i]: that may be the argument of the next attempt. */
        fn->range((const char *)map->args + i * fn->args_size, scratch, 0, 1, item);
    }
}

/* Puts the result of an item that succeeded in its place. */
static void keep_result(const struct auri_map *map, const void *scratch, uint64_t i)
{
    const aur_fn *fn = map->fn;

    if (map->out != NULL && (fn->flags & AUR_FN_BYTES) == 0 && fn->ret_size != 0) {
        memcpy((char *)map->out + i * fn->ret_size, scratch, fn->ret_size);
    }
}

static bool deserves_retry(const struct auri_map *map, aur_err err, uint32_t attempt)
{
    uint32_t on = map->limits != NULL ? map->limits->retry_on : 0;
    bool counts =
        err == AUR_EDEADLINE ? (on & AUR_RETRY_DEADLINE) != 0 : (on & AUR_RETRY_ERROR) != 0;

    return counts && attempt <= map->limits->retries;
}

/* One item with its attempts.  The failure that stands is left in the frame. */
static aur_err run_item(struct map_run *run, struct auri_frame *frame, void *scratch, uint64_t i)
{
    struct auri_map *map = run->map;
    uint64_t limit = map->limits != NULL ? map->limits->item_timeout_ns : 0;

    for (uint32_t attempt = 1;; attempt++) {
        frame->error = NULL;
        frame->bare = AUR_OK;
        frame->item_base = map->first + i;
        frame->item = 0;
        frame->deadline_ns = limit != 0 ? aur_deadline_in_ns(limit) : AUR_NO_DEADLINE;
        call_one(map, scratch, i, &frame->item);
        frame->item = 0;
        if (limit != 0 && aurp_now_ns() >= frame->deadline_ns) {
            free(frame->error);
            frame->error = NULL;
            frame->bare = AUR_OK;
            fail_here(AUR_EDEADLINE, "ran past its deadline");
        }
        aur_err err = auri_frame_err(frame);
        if (err == AUR_OK) {
            keep_result(map, scratch, i);
            return AUR_OK;
        }
        if (frame->error != NULL) {
            frame->error->attempts = attempt;
        }
        if (!deserves_retry(map, err, attempt)) {
            return err;
        }
        free(frame->error);
        auri_add_rlx(&run->root->pool->retried, UINT64_C(1));
    }
}

static void run_items(struct map_run *run, struct auri_frame *frame, void *scratch, uint64_t lo,
                      uint64_t hi)
{
    struct auri_map *map = run->map;

    for (uint64_t i = lo; i < hi; i++) {
        if (aur_checkpoint() == AUR_ECANCELED) {
            auri_add_rlx(&run->skipped, hi - i);
            return;
        }
        if (map->item_errs != NULL) {
            map->item_errs[i] = AUR_OK;
        }
        aur_err err = run_item(run, frame, scratch, i);
        if (err != AUR_OK) {
            note_failure(run, item_of(frame), err, frame->error);
            frame->error = NULL;
            frame->bare = AUR_OK;
            if (!map->all_errors) {
                auri_add_rlx(&run->skipped, hi - i - 1);
                return;
            }
        }
    }
}

/* ---- a whole chunk ------------------------------------------------------------------------- */

static void failed_in_chunk(struct auri_frame *frame, aur_err err, aur_error *error)
{
    struct map_run *run = frame->failed_ctx;
    uint64_t index = item_of(frame) - run->map->first;

    /* One mark per item: a second aur_fail() for the same item does not count. */
    if (run->map->item_errs != NULL && index < run->map->n &&
        run->map->item_errs[index] != AUR_OK) {
        free(error);
        return;
    }
    note_failure(run, item_of(frame), err, error);
}

static void run_chunk(struct map_run *run, struct auri_frame *frame, void *scratch,
                      uint64_t scratch_items, uint64_t lo, uint64_t hi)
{
    struct auri_map *map = run->map;
    const aur_fn *fn = map->fn;

    frame->failed = failed_in_chunk;
    frame->failed_ctx = run;
    if (map->item_errs != NULL) {
        memset(map->item_errs + lo, 0, (hi - lo) * sizeof(map->item_errs[0]));
    }
    if ((fn->flags & AUR_FN_RANGE_BODY) != 0) {
        fn->range(map->args, NULL, map->first + lo, map->first + hi, &frame->item);
        return;
    }
    uint64_t step = map->out != NULL || fn->ret_size == 0 ? hi - lo : scratch_items;
    for (uint64_t i = lo; i < hi; i += step) {
        uint64_t count = hi - i < step ? hi - i : step;
        void *ret = map->out != NULL ? (char *)map->out + i * fn->ret_size : scratch;
        frame->item_base = map->first + i;
        fn->range((const char *)map->args + i * fn->args_size, ret, 0, count, &frame->item);
    }
}

/* ---- the range body ------------------------------------------------------------------------ */

static bool runs_one_by_one(const struct auri_map *map)
{
    return (map->fn->flags & AUR_FN_BYTES) != 0 ||
           (map->limits != NULL && auri_limits_each(map->limits));
}

/* What run_framed() has to undo, also when an item ends its thread and unwinds through it. */
struct stay {
    struct map_run *run;
    struct auri_record *self;
    struct auri_frame *frame;
    uint64_t hi; /* the end of its items */
    bool ended;  /* the way it should */
};

static void leave(struct stay *stay)
{
    if (!stay->ended) {
        stay->self->frame = stay->frame; /* the frames further in are gone */
        stay->frame->error = NULL;
        stay->frame->bare = AUR_OK;
        fail_here(AUR_EEXITED, "the item ended its thread");
        note_failure(stay->run, item_of(stay->frame), AUR_EEXITED, stay->frame->error);
        if (runs_one_by_one(stay->run->map)) {
            uint64_t next = item_of(stay->frame) - stay->run->map->first + 1;
            auri_add_rlx(&stay->run->skipped, stay->hi - next);
        }
    }
    auri_frame_pop(stay->self, stay->frame);
}

static void note_no_memory(struct map_run *run, uint64_t i)
{
    struct auri_frame frame = {
        .task = run->root,
        .pool = run->root->pool,
        .deadline_ns = AUR_NO_DEADLINE,
        .in_map = true,
        .item_base = run->map->first + i,
    };

    auri_frame_push(auri_self_, &frame);
    fail_here(AUR_ENOMEM, "no memory for a result");
    note_failure(run, item_of(&frame), AUR_ENOMEM, frame.error);
    auri_frame_pop(auri_self_, &frame);
}

/* Runs items [lo, hi) in a frame of their own.  scratch: room for results that are not kept, for so many
 * items; or NULL. */
static bool run_framed(struct map_run *run, void *scratch, uint64_t scratch_items, uint64_t lo,
                       uint64_t hi)
{
    struct auri_map *map = run->map;
    struct auri_record *self = auri_self_;
    struct auri_frame frame = {
        .task = run->root,
        .pool = run->root->pool,
        .deadline_ns = AUR_NO_DEADLINE,
        .in_map = true,
    };

    auri_frame_push(self, &frame);
    __attribute__((
        cleanup(leave))) struct stay stay = { .run = run, .self = self, .frame = &frame, .hi = hi };
    if (aur_checkpoint() == AUR_ECANCELED) {
        auri_add_rlx(&run->skipped, hi - lo);
    } else {
        if (runs_one_by_one(map)) {
            run_items(run, &frame, scratch, lo, hi);
        } else {
            run_chunk(run, &frame, scratch, scratch_items, lo, hi);
        }
    }
    stay.ended = true;
    return aur_checkpoint() != AUR_ECANCELED &&
           (map->all_errors || auri_load_rlx(&run->failures) == 0);
}

static void free_scratch(void **scratch)
{
    free(*scratch);
}

/* Results larger than the small scratch, one after the other. */
static bool run_in_large_scratch(struct map_run *run, uint64_t lo, uint64_t hi)
{
    const aur_fn *fn = run->map->fn;
    size_t align = fn->ret_align < 64 ? 64 : fn->ret_align;
    __attribute__((cleanup(free_scratch))) void *scratch =
        aligned_alloc(align, (fn->ret_size + align - 1) & ~(align - 1));

    if (scratch == NULL) {
        note_no_memory(run, lo);
        auri_add_rlx(&run->skipped, hi - lo);
        return run->map->all_errors;
    }
    return run_framed(run, scratch, 1, lo, hi);
}

/* Apart, since most maps need no scratch, and a stack that is deeper is colder. */
AURI_APART static bool run_in_scratch(struct map_run *run, uint64_t lo, uint64_t hi)
{
    const aur_fn *fn = run->map->fn;
    alignas(64) unsigned char small[SCRATCH_BYTES];

    if (fn->ret_size > SCRATCH_BYTES || fn->ret_align > 64) {
        return run_in_large_scratch(run, lo, hi);
    }
    return run_framed(run, small, fn->ret_size != 0 ? SCRATCH_BYTES / fn->ret_size : 1, lo, hi);
}

static bool body(void *ctx, uint64_t lo, uint64_t hi)
{
    struct map_run *run = ctx;
    const struct auri_map *map = run->map;
    bool has_place = map->out != NULL || map->fn->ret_size == 0;

    return has_place && !runs_one_by_one(map) ? run_framed(run, NULL, 0, lo, hi)
                                              : run_in_scratch(run, lo, hi);
}

static bool gauged_body(void *ctx, uint64_t lo, uint64_t hi)
{
    struct map_run *run = ctx;
    const struct auri_stretch piece = { .body = body, .ctx = run, .lo = lo, .hi = hi };

    return run->map->gauge(run->root, &piece);
}

/* The first failure, or that not all was run, in `error`, which is zero. */
static aur_err describe(struct map_run *run, uint64_t started, aur_error *error)
{
    const struct auri_map *map = run->map;
    aur_err err = run->first_err != AUR_OK ? run->first_err : AUR_ECANCELED;

    if (run->first != NULL) {
        *error = *run->first;
        free(run->first);
        return err;
    }
    *error = (aur_error){ .err = err,
                          .function = map->fn->name,
                          .site = map->site,
                          .item = AUR_NO_ITEM,
                          .worker = -1,
                          .exit_status = -1,
                          .attempts = 1 };
    if (run->first_err != AUR_OK) {
        error->item = run->first_item;
        snprintf(error->message, sizeof(error->message), "%s", aur_err_text(err));
    } else {
        snprintf(error->message, sizeof(error->message), "cancelled after %llu of %llu items",
                 (unsigned long long)started, (unsigned long long)map->n);
    }
    return err;
}

/* The outcome of the whole, in the root; also when the calling thread is being ended by an item. */
static void settle(struct map_run *run)
{
    struct auri_map *map = run->map;
    auri_task *root = run->root;
    /* relaxed: the loop is over */
    uint64_t started = auri_load_rlx(&run->offered) - auri_load_rlx(&run->skipped);

    auri_add_rlx(&root->pool->items, started);
    pthread_mutex_destroy(&run->lock);
    if (run->first_err != AUR_OK) {
        aur_error *error = run->first;
        auri_task_set_error(root, run->first_err, error);
        if (error == NULL) {
            error = auri_task_fail(root, run->first_err, "%s", aur_err_text(run->first_err));
            if (error != NULL) {
                error->item = run->first_item;
            }
        }
    } else if (started < map->n) {
        (void)auri_task_fail(root, AUR_ECANCELED, "cancelled after %llu of %llu items",
                             (unsigned long long)started, (unsigned long long)map->n);
    }
}

/* Without workers: pieces of about PIECE_NS, so that a cancel or a first failure is seen in between. */
static void run_alone(struct map_run *run)
{
    uint64_t n = run->map->n;
    uint64_t step = 1;

    for (uint64_t lo = 0; lo < n;) {
        uint64_t hi = n - lo < step ? n : lo + step;
        uint64_t start = aurp_now_ns();
        auri_add_rlx(&run->offered, hi - lo);
        if (!body(run, lo, hi)) {
            return;
        }
        step = aurp_now_ns() - start < PIECE_NS / 2 ? step * 2 : step > 1 ? step / 2 : 1;
        lo = hi;
    }
}

void auri_map_run(auri_task *root)
{
    struct auri_map *map = root->store.map;
    aur_pool *pool = root->pool;
    __attribute__((cleanup(settle))) struct map_run run = { .root = root,
                                                            .map = map,
                                                            .lock = PTHREAD_MUTEX_INITIALIZER };

    if (pool->kind == AUR_THREADS) {
        auri_range_run(pool->impl, map->fn, map->gauge != NULL ? gauged_body : body, &run, map->n,
                       &run.offered);
    } else {
        run_alone(&run);
    }
}

/* ---- without a root that others know --------------------------------------------------------- */

struct map_here {
    struct map_run run;
    bool over;
    struct auri_call_here call;
};

/* A chunk of the owner's, while nobody else takes part: under the frame of the whole call. */
AURI_HOT static bool own_chunk(void *ctx, uint64_t lo, uint64_t hi)
{
    struct map_run *run = ctx;
    const struct auri_map *map = run->map;
    const aur_fn *fn = map->fn;
    struct auri_frame *frame = run->frame;

    run->in_chunk = true;
    if ((fn->flags & AUR_FN_RANGE_BODY) != 0) {
        fn->range(map->args, NULL, map->first + lo, map->first + hi, &frame->item);
    } else {
        frame->item_base = map->first + lo;
        frame->item = 0;
        fn->range((const char *)map->args + lo * fn->args_size,
                  (char *)map->out + lo * fn->ret_size, 0, hi - lo, &frame->item);
    }
    run->in_chunk = false;
    if (run->self->forked) {
        auri_child_end();
    }
    /* relaxed, both: late is allowed.  The same as aur_checkpoint() here: nobody can cancel the call. */
    return auri_load_rlx(&frame->pool->state) != AURI_STOPPING &&
           (map->all_errors || auri_load_rlx(&run->failures) == 0);
}

AURI_APART static aur_err fail_map_here(struct map_here *here, uint64_t started)
{
    aur_error error = { 0 };
    aur_err err = describe(&here->run, started, &error);

    auri_here_fail(&here->call, err, here->over ? &error : NULL);
    return err;
}

AURI_HOT static aur_err settle_here(struct map_here *here)
{
    struct map_run *run = &here->run;
    /* relaxed: the loop is over */
    uint64_t started = auri_load_rlx(&run->offered) - auri_load_rlx(&run->skipped);
    aur_err err = AUR_OK;

    auri_add_rlx(&here->call.task.pool->items, started);
    if (auri_load_rlx(&run->failures) != 0) {
        pthread_mutex_destroy(&run->lock); /* it was used */
    }
    if (run->first_err != AUR_OK || started < run->map->n) {
        err = fail_map_here(here, started);
    }
    auri_here_end(&here->call);
    return err;
}

/* An item ends its thread, and unwinds. */
static void unwind_here(struct map_here *here)
{
    if (here->over) {
        return;
    }
    here->call.self->frame = &here->call.frame; /* the frames further in are gone */
    if (here->run.in_chunk) {
        fail_here(AUR_EEXITED, "the item ended its thread");
        note_failure(&here->run, item_of(here->run.frame), AUR_EEXITED, here->call.frame.error);
    }
    (void)settle_here(here);
}

AURI_HOT aur_err auri_map_here(aur_pool *pool, struct auri_map *map)
{
    __attribute__((cleanup(unwind_here))) struct map_here here;

    auri_here_begin(&here.call, pool, map->fn, map->site);
    here.call.frame.item = 0;
    here.call.frame.in_map = true;
    here.call.frame.failed = failed_in_chunk;
    here.call.frame.failed_ctx = &here.run;
    here.over = false;
    here.run = (struct map_run){ .root = &here.call.task,
                                 .map = map,
                                 .lock = PTHREAD_MUTEX_INITIALIZER,
                                 .self = here.call.self,
                                 .frame = &here.call.frame };
    const struct auri_range loop = { .team = pool->impl,
                                     .of = map->fn,
                                     .body = body,
                                     .own = own_chunk,
                                     .ctx = &here.run,
                                     .n = map->n,
                                     .ran = &here.run.offered };
    auri_range_go(&loop);
    here.over = true;
    return settle_here(&here);
}
