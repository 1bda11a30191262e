/* Result segments: the shared file in which a worker leaves its results.  It belongs to the worker
 * and to each view into it; whoever comes last unmaps it.  So a view may outlive worker and pool. */
#include <stdlib.h>

#include "base/err.h"
#include "plat/shm.h"
#include "proc/internal.h"

/* Enough for any result that fits into memory; nothing of it is committed. */
#define SEGMENT_BYTES_MAX (UINT64_C(64) << 30)
#define SEGMENT_BYTES_MIN (UINT64_C(1) << 24)

static aur_err segment_file(uint64_t *ret_bytes, int *ret_fd)
{
    uint64_t bytes = aurp_memory_total() * 2;

    bytes = bytes > SEGMENT_BYTES_MAX || bytes == 0 ? SEGMENT_BYTES_MAX : bytes;
    if (bytes > aurp_shm_bytes_max()) {
        bytes = aurp_shm_bytes_max();
    }
    if (bytes > aurp_address_bytes_left() / 64) { /* the sum of all mappings has to fit */
        bytes = aurp_address_bytes_left() / 64;
    }
    bytes = bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : bytes;
    bytes &= ~(aurp_page_bytes() - 1);
    *ret_bytes = bytes;
    int failed = aurp_shm_new("auriga-results", bytes, ret_fd);
    return failed == 0 ? AUR_OK : auri_err_of_errno(failed);
}

struct auri_segment *auri_segment_new(void)
{
    struct auri_segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL) {
        return NULL;
    }
    if (segment_file(&segment->bytes, &segment->fd) != AUR_OK) {
        free(segment);
        return NULL;
    }
    if (auri_window_open(segment->fd, segment->bytes, AURI_WINDOW_DONTFORK, &segment->window) !=
        AUR_OK) {
        aurp_close(&segment->fd);
        free(segment);
        return NULL;
    }
    pthread_mutex_init(&segment->lock, NULL);
    auri_store_rlx(&segment->refs, 1u); /* relaxed: not shared yet */
    return segment;
}

void auri_segment_ref(struct auri_segment *segment)
{
    auri_add_rlx(&segment->refs, 1u); /* relaxed: the caller has a reference */
}

void auri_segment_unref(struct auri_segment *segment)
{
    /* acq_rel: what every holder did happens before the end. */
    if (segment == NULL || auri_sub_acqrel(&segment->refs, 1u) != 1) {
        return;
    }
    auri_window_close(segment->window);
    aurp_close(&segment->fd);
    pthread_mutex_destroy(&segment->lock);
    free(segment->back);
    free(segment);
}

/* ---- extents ------------------------------------------------------------------------------------ */

/* The places of the free ring and its two ends are lines that the worker holds, and to write one of them takes as
 * long as all else that is done for a small call: bench/payload.  So the worker gets back BACK_MAX at a time, or
 * BACK_BYTES, or what there is when it has nothing to do.  Until then it takes as much from what is free. */
#define BACK_MAX 16u
#define BACK_BYTES (UINT64_C(48) << 10)
#define BACK_PAGED_BYTES (UINT64_C(16) << 10)

/* `size` is what is used of the place, and the place may be larger: if it begins on a page it may be of any size
 * (see auri_arena_alloc()).  Three of these are enough.
 *
 * Without room in memory the extent stays taken until the worker ends. */
static void remember(struct auri_segment *segment, uint64_t offset, uint64_t size)
{
    uint32_t n = auri_load_rlx(&segment->back_n); /* relaxed: under the lock */
    bool paged = offset % aurp_page_bytes() == 0;
    uint64_t least = paged && size < BACK_PAGED_BYTES ? BACK_PAGED_BYTES : size;

    if (n == segment->back_room) {
        uint32_t room = n == 0 ? 16 : n * 2;
        uint64_t *back = realloc(segment->back, room * sizeof(*back));
        if (back == NULL) {
            return;
        }
        segment->back = back;
        segment->back_room = room;
    }
    segment->back[n] = offset;
    segment->back_bytes += least < BACK_BYTES ? least : BACK_BYTES;
    if (n + 1 >= BACK_MAX || segment->back_bytes >= BACK_BYTES) {
        auri_store_rlx(&segment->back_due, 1u); /* relaxed, as what follows: read as a hint */
    }
    auri_store_rlx(&segment->back_n, n + 1);
}

void auri_segment_forget(struct auri_segment *segment)
{
    segment->back_bytes = 0;
    auri_store_rlx(&segment->back_n, 0u); /* relaxed: nobody else has it */
    auri_store_rlx(&segment->back_due, 0u);
}

void auri_extents_flush(struct auri_worker *w)
{
    struct auri_segment *segment = w->segment;

    /* relaxed: late is allowed, the next flush comes with the next entry. */
    if (auri_load_rlx(&segment->back_n) == 0 || w->ctl == NULL ||
        (auri_load_rlx(&segment->back_due) == 0 && auri_unanswered(w) != 0)) {
        return;
    }
    pthread_mutex_lock(&segment->lock);
    uint32_t n = auri_load_rlx(&segment->back_n);
    while (n > 0 && auri_free_put(w->ctl, w->free_tail, segment->back[n - 1])) {
        w->free_tail++;
        n--;
    }
    if (n == 0) {
        segment->back_bytes = 0;
        auri_store_rlx(&segment->back_due, 0u);
    }
    auri_store_rlx(&segment->back_n, n);
    pthread_mutex_unlock(&segment->lock);
}

void auri_extent_back(struct auri_worker *w, struct auri_extent extent)
{
    if (w->ctl == NULL) {
        return; /* its allocator died with it */
    }
    pthread_mutex_lock(&w->segment->lock);
    remember(w->segment, auri_extent_off(extent), extent.size);
    pthread_mutex_unlock(&w->segment->lock);
    auri_extents_flush(w);
}

/* ---- views --------------------------------------------------------------------------------------- */

void auri_view_drop(auri_task *task)
{
    struct auri_segment *segment = task->priv;

    /* Where a byte string was answered, priv is the segment of its result, or NULL; so it is where a thread
     * ran it. */
    if (segment == NULL || task->err != AUR_OK || !auri_task_is_bytes(task)) {
        return;
    }
    const unsigned char *base = auri_window_at(segment->window, 0, 0);
    pthread_mutex_lock(&segment->lock);
    remember(segment, (uint64_t)((const unsigned char *)task->store.ret_out - base),
             task->store.out_size);
    pthread_mutex_unlock(&segment->lock);
    auri_segment_unref(segment);
    task->store.ret_out = NULL;
}

void auri_view_set(auri_task *task, struct auri_segment *segment, void *data)
{
    auri_segment_ref(segment);
    task->priv = segment;
    task->store.ret_out = data;
}
