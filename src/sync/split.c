/* The slow half of the split deque: what touches the shared part. */
#include "sync/split.h"

static void set_shared(struct auri_split *s, int64_t shared)
{
    s->shared = shared;
    s->low = shared - AURI_SPLIT_SHARED;
}

bool auri_split_init(struct auri_split *s)
{
    s->head = 0;
    set_shared(s, 0);
    s->end = 0;
    return auri_deque_init(&s->deque);
}

void auri_split_fini(struct auri_split *s)
{
    auri_deque_fini(&s->deque);
}

bool auri_split_make_room(struct auri_split *s)
{
    struct auri_deque *d = &s->deque;

    /* All up to head are copied: the private ones, too. */
    if (!auri_deque_has_slot_(d, s->head) && !auri_deque_grow_(d, s->head)) {
        return false;
    }
    s->end = d->top_seen + auri_load_rlx(&d->array)->mask + 1; /* relaxed: owner's own */
    return true;
}

struct aur_future *auri_split_take(struct auri_split *s)
{
    struct auri_deque_array *array = auri_load_rlx(&s->deque.array); /* relaxed: owner's own */

    if (s->head > s->shared) {
        s->head--;
        return auri_load_rlx(&array->slot[s->head & array->mask]); /* relaxed: the owner wrote it */
    }
    struct aur_future *item = auri_deque_take(&s->deque);
    set_shared(s, auri_deque_end(&s->deque));
    s->head = s->shared;
    return item;
}

static bool share(struct auri_split *s, int64_t top, int64_t end)
{
    bool first = top >= s->shared;

    set_shared(s, end);
    /* release [P4]; pairs with the acquire load of bottom [S1] in auri_deque_steal_at(), as [P1] does: who
     * sees it sees the slots below it, and their items. */
    auri_store_rel(&s->deque.bottom, end);
    return first;
}

bool auri_split_share(struct auri_split *s)
{
    int64_t top = auri_load_rlx(&s->deque.top); /* relaxed: thieves only make it larger */
    int64_t end = s->head - top > AURI_SPLIT_SHARED ? top + AURI_SPLIT_SHARED : s->head;

    return end > s->shared && share(s, top, end);
}

bool auri_split_share_all(struct auri_split *s)
{
    int64_t top = auri_load_rlx(&s->deque.top); /* relaxed: as above */

    return s->head > s->shared && share(s, top, s->head);
}

void auri_split_pass(struct auri_split *s)
{
    auri_deque_pass(&s->deque);
    set_shared(s, auri_deque_end(&s->deque));
    s->head = s->shared;
}
