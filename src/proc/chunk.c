/* Maps: cutting them into chunks, and putting the results together.
 *
 * The arguments are copied once, into the argument arena; a chunk is a range of them.  The first
 * chunks have one item; then the measured time per item says how many make a millisecond.  What comes
 * back (revoked, the rest of a chunk whose worker died, an item to be tried again) is a piece, and
 * goes before what was never dispatched. */
#include <stdlib.h>
#include <string.h>

#include "proc/internal.h"

/* Reckoned, not swept. */
#define CHUNK_NS UINT64_C(1000000)      /* long against a hand-over, short against the whole */
#define CHUNK_MIN_NS UINT64_C(100000)   /* 20 hand-overs of 5 us: they cost 5 % at most */
#define CHUNK_BYTES (UINT64_C(4) << 20) /* a chunk's results should be in the cache when copied */

/* ---- making -------------------------------------------------------------------------------------- */

/* Byte strings: an array of extents, then the payloads, each at a multiple of 16, in one extent. */
static aur_err copy_bytes(struct auri_proc *p, const struct auri_map *map, uint64_t *ret_args)
{
    const aur_bytes *in = map->args;
    uint64_t size = map->n * sizeof(struct auri_extent);

    for (uint64_t i = 0; i < map->n; i++) {
        uint64_t padded = ((uint64_t)in[i].size + 15) & ~UINT64_C(15);
        if (padded < in[i].size || size + padded < size) {
            return AUR_ENOMEM;
        }
        size += padded;
    }
    aur_err err = auri_arena_alloc(p->args, size, ret_args);
    if (err != AUR_OK) {
        return err == AUR_ETOOBIG ? AUR_ENOMEM : err;
    }
    struct auri_extent *extents = auri_arena_at(p->args, *ret_args);
    uint64_t at = *ret_args + map->n * sizeof(struct auri_extent);
    for (uint64_t i = 0; i < map->n; i++) {
        extents[i] = auri_extent_make(AURI_SEG_ARGS, at, in[i].size);
        if (in[i].size != 0) {
            memcpy(auri_arena_at(p->args, at), in[i].data, in[i].size);
        }
        at += ((uint64_t)in[i].size + 15) & ~UINT64_C(15);
    }
    return AUR_OK;
}

static aur_err copy_args(struct auri_proc *p, const struct auri_map *map, uint64_t *ret_args)
{
    if ((map->fn->flags & AUR_FN_BYTES) != 0) {
        return copy_bytes(p, map, ret_args);
    }
    uint64_t n = (map->fn->flags & AUR_FN_RANGE_BODY) != 0 ? 1 : map->n;
    if (n > AURI_ARENA_BYTES_MAX / map->fn->args_size) {
        return AUR_ENOMEM;
    }
    aur_err err = auri_arena_alloc(p->args, n * map->fn->args_size, ret_args);
    if (err == AUR_OK) {
        memcpy(auri_arena_at(p->args, *ret_args), map->args, n * map->fn->args_size);
    }
    return err == AUR_ETOOBIG ? AUR_ENOMEM : err;
}

aur_err auri_mapjob_new(struct auri_proc *p, auri_task *task)
{
    struct auri_map *map = task->store.map;
    struct auri_mapjob *job = calloc(1, sizeof(*job));

    if (job == NULL) {
        return AUR_ENOMEM;
    }
    job->args = AURI_NO_EXTENT;
    job->first_bad = UINT64_MAX;
    if (map->n != 0) {
        aur_err err = copy_args(p, map, &job->args);
        if (err != AUR_OK) {
            free(job);
            return err;
        }
    }
    for (uint64_t i = 0; map->item_errs != NULL && i < map->n; i++) {
        map->item_errs[i] = AUR_ECANCELED; /* until it was run */
    }
    if ((map->fn->flags & AUR_FN_BYTES) != 0 && map->out != NULL) {
        memset(map->out, 0, map->n * sizeof(aur_bytes));
    }
    task->priv = job;
    return AUR_OK;
}

void auri_mapjob_free(struct auri_proc *p, auri_task *task)
{
    struct auri_mapjob *job = auri_mapjob_of(task);

    if (job->args != AURI_NO_EXTENT) {
        auri_arena_free(p->args, job->args);
    }
    while (job->pieces != NULL) {
        struct auri_piece *piece = job->pieces;
        job->pieces = piece->next;
        free(piece);
    }
    free(job->error);
    free(job);
    task->priv = NULL;
}

/* ---- cutting -------------------------------------------------------------------------------------- */

bool auri_mapjob_has_work(const struct auri_mapjob *job, const struct auri_map *map)
{
    return !job->stopped && (job->pieces != NULL || job->next < map->n);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many items the next fresh chunk has. */
static uint64_t chunk_items(const struct auri_proc *p, const auri_task *task)
{
    const struct auri_mapjob *job = auri_mapjob_of(task);
    const struct auri_map *map = task->store.map;
    uint64_t rest = map->n - job->next;

    if (job->item_ns == 0) {
        return 1;
    }
    uint64_t count = max_u64(CHUNK_NS / job->item_ns, 1);
    uint64_t least = max_u64(CHUNK_MIN_NS / job->item_ns, 1);
    uint64_t share = rest / (2 * (uint64_t)p->pool->workers);
    count = min_u64(count, max_u64(share, least));
    uint64_t bytes = max_u64(map->fn->ret_size, map->fn->args_size);
    if ((map->fn->flags & AUR_FN_RANGE_BODY) == 0) {
        count = min_u64(count, max_u64(CHUNK_BYTES / bytes, 1));
    }
    return min_u64(max_u64(count, 1), rest);
}

uint64_t auri_mapjob_chunk_ns(const struct auri_proc *p, const auri_task *task)
{
    const struct auri_mapjob *job = auri_mapjob_of(task);

    if (job->item_ns == 0) {
        return AURI_UNKNOWN_NS;
    }
    uint64_t count = job->pieces != NULL              ? job->pieces->count
                     : job->next < task->store.map->n ? chunk_items(p, task)
                                                      : 1;
    return min_u64(count * job->item_ns, UINT32_MAX);
}

static void describe(const auri_task *task, const struct auri_flight *flight,
                     struct auri_sub_desc *ret)
{
    const struct auri_mapjob *job = auri_mapjob_of(task);
    const struct auri_map *map = task->store.map;
    uint64_t record = map->fn->args_size;
    uint64_t at = flight->item;
    uint64_t n = flight->count;
    const struct auri_limits *limits = auri_limits_of(task);

    ret->op = AURI_OP_MAP;
    if ((map->fn->flags & AUR_FN_RANGE_BODY) != 0) {
        ret->op = AURI_OP_FOR;
        at = 0;
        n = 1;
    } else if ((map->fn->flags & AUR_FN_BYTES) != 0) {
        ret->op = AURI_OP_MAPB;
        record = sizeof(struct auri_extent);
    }
    ret->args = auri_extent_make(AURI_SEG_ARGS, job->args + at * record, n * record);
    ret->item = map->first + flight->item;
    ret->count = flight->count;
    ret->attempt = (uint16_t)(flight->attempt + 1);
    ret->task_id = auri_task_id(task);
    ret->timeout_ns = limits->item_timeout_ns;
    bool retries = (limits->retry_on & AUR_RETRY_ERROR) != 0 && limits->retries != 0;
    ret->flags = map->all_errors || retries ? 0 : AURI_SUB_STOP_ON_ERROR;
}

bool auri_mapjob_take(struct auri_proc *p, auri_task *task, uint64_t most,
                      struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry)
{
    struct auri_mapjob *job = auri_mapjob_of(task);
    struct auri_piece *piece = job->pieces;

    if (!auri_mapjob_has_work(job, task->store.map)) {
        return false;
    }
    *ret_flight = (struct auri_flight){ .task = task };
    if (piece != NULL) {
        ret_flight->item = piece->item;
        ret_flight->attempt = piece->attempt;
        ret_flight->count = min_u64(piece->count, most);
        piece->item += ret_flight->count;
        piece->count -= ret_flight->count;
        if (piece->count == 0) {
            job->pieces = piece->next;
            free(piece);
        }
    } else {
        ret_flight->item = job->next;
        ret_flight->count = min_u64(chunk_items(p, task), most);
        job->next += ret_flight->count;
    }
    uint64_t ns = job->item_ns == 0 ? AURI_UNKNOWN_NS : job->item_ns;
    ret_flight->cost_ns = (uint32_t)min_u64(ret_flight->count * ns, UINT32_MAX);
    job->flying++;
    describe(task, ret_flight, ret_entry);
    return true;
}

/* ---- coming back ----------------------------------------------------------------------------------- */

/* Items that are to be run (again); the chunk they were in is still counted as flying. */
void auri_mapjob_back(struct auri_proc *p, auri_task *task, uint64_t item, uint64_t count,
                      uint32_t attempt)
{
    struct auri_mapjob *job = auri_mapjob_of(task);

    if (count == 0 || job->stopped) {
        return;
    }
    if (attempt == 0 && item + count == job->next && job->pieces == NULL) {
        job->next = item;
    } else if (attempt == 0 && job->pieces != NULL && job->pieces->attempt == 0 &&
               item + count == job->pieces->item) {
        job->pieces->item = item;
        job->pieces->count += count;
    } else {
        struct auri_piece *piece = malloc(sizeof(*piece));
        if (piece == NULL) {
            auri_mapjob_fail_item(job, task, item, AUR_ENOMEM, NULL);
            job->stopped = true;
            return;
        }
        *piece = (struct auri_piece){ job->pieces, item, count, attempt };
        job->pieces = piece;
    }
    if (!job->queued) {
        auri_queue_prepend(p, task);
    }
}

/* error: malloc'ed details or NULL; taken over. */
void auri_mapjob_fail_item(struct auri_mapjob *job, auri_task *task, uint64_t item, aur_err err,
                           aur_error *error)
{
    if (task->store.map->item_errs != NULL) {
        task->store.map->item_errs[item] = err;
    }
    job->done++;
    job->failures++;
    if (item < job->first_bad) {
        job->first_bad = item;
        job->first_err = err;
        free(job->error);
        job->error = error;
    } else {
        free(error);
    }
    if (!task->store.map->all_errors) {
        job->stopped = true;
    }
}

/* Finishes the map if nothing of it is under way or left to do. */
void auri_mapjob_settle(struct auri_proc *p, auri_task *task, struct auri_harvest *h)
{
    struct auri_mapjob *job = auri_mapjob_of(task);

    if (!job->claimed || job->flying != 0 || auri_mapjob_has_work(job, task->store.map)) {
        return;
    }
    if (job->queued) {
        auri_queue_remove(p, task);
    }
    auri_add_rlx(&p->pool->items, job->done); /* relaxed: statistics */
    task->attempts = 1;
    if (job->cancelled) {
        auri_task_set_err(task, AUR_ECANCELED);
    } else if (job->first_bad != UINT64_MAX) {
        aur_error *error = job->error;
        auri_task_set_error(task, job->first_err, error);
        job->error = NULL;
        if (error == NULL) {
            error = auri_task_fail(task, job->first_err, "%s", aur_err_text(job->first_err));
            if (error != NULL) {
                error->item = task->store.map->first + job->first_bad;
            }
        }
    }
    auri_mapjob_free(p, task);
    auri_done(h, task);
}

void auri_mapjob_landed(struct auri_proc *p, auri_task *task, struct auri_harvest *h)
{
    auri_mapjob_of(task)->flying--;
    auri_mapjob_settle(p, task, h);
}

/* ---- results --------------------------------------------------------------------------------------- */

/* One byte string's result.  False: it is not where it should be. */
static bool copy_string(struct auri_segment *segment, const struct auri_extent *from, aur_bytes *to)
{
    const void *data = NULL;

    if (from->size != 0) {
        data = auri_extent_seg(*from) == AURI_SEG_RESULT
                   ? auri_window_at(segment->window, auri_extent_off(*from), from->size)
                   : NULL;
        if (data == NULL) {
            return false;
        }
    }
    void *copy = malloc(from->size != 0 ? from->size : 1);
    if (copy == NULL) {
        return false;
    }
    if (from->size != 0) {
        memcpy(copy, data, from->size);
    }
    to->data = copy;
    to->size = from->size;
    return true;
}

/* Copies the results of the items whose code is AUR_OK.  Without the lock: nobody else writes these
 * places.  *errs: `count` codes, private; what cannot be copied gets one. */
void auri_chunk_copy(const auri_task *task, struct auri_segment *segment,
                     const struct auri_flight *flight, struct auri_extent out, aur_err *errs)
{
    const struct auri_map *map = task->store.map;
    bool bytes = (map->fn->flags & AUR_FN_BYTES) != 0;
    uint64_t size = bytes ? sizeof(struct auri_extent) : map->fn->ret_size;
    bool wanted = map->out != NULL && size != 0 && (map->fn->flags & AUR_FN_RANGE_BODY) == 0;
    const unsigned char *from = NULL;

    if (!wanted) {
        return;
    }
    if (auri_extent_seg(out) == AURI_SEG_RESULT && out.size >= flight->count * size) {
        from = auri_window_at(segment->window, auri_extent_off(out), flight->count * size);
    }
    for (uint64_t i = 0; i < flight->count;) {
        uint64_t end = i;
        while (end < flight->count && errs[end] == AUR_OK && from != NULL && !bytes) {
            end++;
        }
        if (end > i) {
            memcpy((unsigned char *)map->out + (flight->item + i) * size, from + i * size,
                   (end - i) * size);
            i = end;
            continue;
        }
        if (errs[i] == AUR_OK) {
            struct auri_extent one = { 0, 0 };
            if (from == NULL) {
                errs[i] = AUR_EWORKER;
            } else {
                auri_copy_once(&one, from + i * size, sizeof(one));
                if (!copy_string(segment, &one, &((aur_bytes *)map->out)[flight->item + i])) {
                    errs[i] = AUR_ENOMEM;
                }
            }
        }
        i++;
    }
}

/* With the lock held: gives back what a chunk of byte strings left in the segment. */
void auri_chunk_strings_back(struct auri_worker *w, struct auri_segment *segment,
                             const struct auri_flight *flight, struct auri_extent out)
{
    const unsigned char *from =
        auri_window_at(segment->window, auri_extent_off(out), flight->count * 16);

    for (uint64_t i = 0; from != NULL && out.size >= flight->count * 16 && i < flight->count; i++) {
        struct auri_extent one;
        auri_copy_once(&one, from + i * sizeof(one), sizeof(one));
        if (one.size != 0 && auri_extent_seg(one) == AURI_SEG_RESULT) {
            auri_extent_back(w, one);
        }
    }
}
