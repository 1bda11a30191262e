/* Shared memory that was not in use lately goes back to the system.
 *
 * A page that is new costs ten times as much as one that is there, so what was freed is kept for the next
 * call: as much as was in use at most in this period or in the one before, and a little (wire/arena.h).  The rest
 * goes back at the end of the period.  A pool that once had a large result or a large argument is small again
 * after two periods, whether it is idle or not; one that has such again and again never pays for it.
 *
 * Each allocator looks after its own memory.  The arenas here are the guardian's job; a worker is asked to,
 * by a word in its control segment, and does it between two entries.  Nobody waits for that.  It is asked
 * again after each change, twice, since the peak of a period counts for two; not again while it has not
 * answered, as it does not while its task runs.
 *
 * The guardian comes for this alone only while there is something to expect, and its other promises do not
 * depend on when: to those who look whether it has a tick (`guardian_wakes_ns`) this is none. */
#include "plat/shm.h"
#include "proc/internal.h"

#define TURNS 2u /* of a worker in which nothing has changed */

static uint64_t committed(const struct auri_worker *w)
{
    return w->segment->fd >= 0 ? aurp_shm_committed(w->segment->fd) : 0;
}

static bool is_there(const struct auri_worker *w)
{
    return w != NULL && w->ctl != NULL && w->state == AURI_W_LIVE && !w->wild;
}

static bool has_answered(const struct auri_worker *w)
{
    /* relaxed: nothing is read behind it, and an answer that is seen late is seen in the next period. */
    return auri_load_rlx(&((struct auri_ctl *)w->ctl)->shrunk) == w->shrink;
}

/* Changes with whatever may change what the worker's allocator has in use. */
static uint64_t stir_of(const struct auri_worker *w)
{
    return w->tail + w->free_tail;
}

/* Whether a turn to come may find something in its segment: there is much, and it was not asked twice since the
 * last change, or is not through with that, or a view will be given back. */
static bool is_large(const struct auri_worker *w)
{
    bool asks = !has_answered(w) || w->turns < TURNS || w->stirred != stir_of(w);
    /* acquire; pairs with auri_segment_unref(): of a view that is gone the extent is seen, which is read after
     * it.  relaxed, for that: written under the segment's lock. */
    bool waits = auri_load_acq(&w->segment->refs) > 1 || auri_load_rlx(&w->segment->back_n) != 0;

    return (asks || waits) && committed(w) > AURI_ARENA_SPARE_BYTES;
}

static void turn_worker(struct auri_proc *p, struct auri_worker *w)
{
    auri_extents_flush(w);
    if (w->stirred != stir_of(w)) {
        w->stirred = stir_of(w);
        w->turns = 0;
    }
    if (has_answered(w)) {
        if (w->turns == TURNS || committed(w) <= AURI_ARENA_SPARE_BYTES) {
            return;
        }
        w->turns++;
        auri_store_rlx(&w->ctl->shrink, ++w->shrink); /* relaxed: told by the wake */
    }
    /* The worker's second look before it sleeps is for an entry only, so it may go to sleep at this moment all the
     * same.  Then it has not answered at the end of the next period, and is woken again. */
    p->wakes += auri_ring_wake(w->ctl);
}

static void turn(struct auri_proc *p)
{
    pthread_mutex_lock(&p->lock);
    auri_arena_turn(p->args);
    auri_arena_turn(p->shared);
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (is_there(p->slots[i].worker)) {
            turn_worker(p, p->slots[i].worker);
        }
    }
    pthread_mutex_unlock(&p->lock);
    p->shrinking = true;
}

static bool is_anything_large(struct auri_proc *p)
{
    bool large = auri_arena_is_large(p->args) || auri_arena_is_large(p->shared);

    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->slots_end && !large; i++) {
        large = is_there(p->slots[i].worker) && is_large(p->slots[i].worker);
    }
    pthread_mutex_unlock(&p->lock);
    return large;
}

uint64_t auri_shrink(struct auri_proc *p, uint64_t until)
{
    uint64_t now = aurp_now_ns();
    uint64_t end = now + auri_load_rlx(&p->shrink_period_ns); /* relaxed: a number */

    if (p->shrink_ns == 0) {
        p->shrink_ns = end;
    } else if (now >= p->shrink_ns) {
        p->shrink_ns = end;
        turn(p);
    }
    if (p->shrinking) {
        p->shrinking = auri_arena_shrink(p->args) || auri_arena_shrink(p->shared);
    }
    if (p->shrinking || until <= p->shrink_ns) {
        return p->shrinking ? 0 : until;
    }
    if (!is_anything_large(p)) {
        p->shrink_ns = 0;
        return until;
    }
    return p->shrink_ns;
}
