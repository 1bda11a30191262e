/* The slow half of the split deque: what touches the shared part, and the stack's growth. */
#include "sync/split.h"

#include <stdlib.h>

#include "base/err.h"

#ifndef AURI_SPLIT_FIRST /* a test makes it small */
#define AURI_SPLIT_FIRST 256u
#endif

/* After the deque's bottom has changed. */
static void set_low(struct auri_split *s)
{
    s->open.low_ = auri_deque_end(&s->deque) - AURI_SPLIT_SHARED;
}

bool auri_split_init(struct auri_split *s)
{
    s->stack = NULL;
    s->open = (aur_lane_){ .top_ = (const int64_t *)(const void *)&s->deque.top };
    if (!auri_deque_init(&s->deque)) {
        return false;
    }
    set_low(s);
    return true;
}

void auri_split_fini(struct auri_split *s)
{
    free(s->stack);
    auri_deque_fini(&s->deque);
}

bool auri_split_make_room(struct auri_split *s)
{
    size_t used = (size_t)(s->open.head_ - s->stack);
    size_t shared = (size_t)(s->open.floor_ - s->stack);
    size_t room = used != 0 ? 2 * used : AURI_SPLIT_FIRST;

    /* Now, so that all can be shared without memory: a thread that is about to sleep must. */
    (void)auri_deque_has_room(
        &s->deque); /* it may have to look at top, and growth copies from there */
    while (auri_deque_room(&s->deque) < room) {
        if (!auri_deque_grow_(&s->deque, auri_deque_end(&s->deque))) {
            return false;
        }
    }
    void **stack = realloc(s->stack, room * sizeof(*stack));
    if (stack == NULL) {
        return false;
    }
    s->stack = stack;
    s->open.head_ = stack + used;
    s->open.floor_ = stack + shared;
    s->open.end_ = stack + room;
    return true;
}

bool auri_split_take(struct auri_split *s)
{
    bool mine = true;

    if (s->open.head_ == s->stack) {
        return false;
    }
    s->open.head_--;
    if (s->open.head_ < s->open.floor_) {
        s->open.floor_ = s->open.head_;
        mine = auri_deque_take(&s->deque) != NULL;
        set_low(s);
    }
    return mine;
}

/* Until thieves can have `many`. */
static bool share(struct auri_split *s, int64_t many)
{
    int64_t top = auri_load_rlx(&s->deque.top); /* relaxed: thieves only make it larger */
    int64_t bottom = auri_deque_end(&s->deque);
    int64_t end = bottom;

    /* [P4], which is [P1] in auri_deque_push(): who sees the deque's bottom sees the items below it. */
    while (end - top < many && auri_split_is_private(s)) {
        bool pushed = auri_deque_push(&s->deque, *s->open.floor_);
        AURI_ASSERT(pushed); /* auri_split_make_room() */
        s->open.floor_++;
        end++;
    }
    set_low(s);
    return end != bottom && top >= bottom;
}

bool auri_split_share(struct auri_split *s)
{
    return share(s, AURI_SPLIT_SHARED);
}

bool auri_split_share_all(struct auri_split *s)
{
    return share(s, INT64_MAX);
}

void auri_split_pass(struct auri_split *s)
{
    auri_deque_pass(&s->deque);
    set_low(s);
}
