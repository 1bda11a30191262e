/* The slow half of the split deque: what touches the shared part, and the stack's growth. */
#include "sync/split.h"

#include <stdlib.h>

#include "base/err.h"

#ifndef AURI_SPLIT_FIRST /* a test makes it small */
#define AURI_SPLIT_FIRST 256u
#endif

/* relaxed: see [P5] and [P6]. */
static void set_bounds(struct auri_split *s, void **most, void **low)
{
    auri_store_rlx((_Atomic(void **) *)(void *)&s->open.most_, most);
    auri_store_rlx((_Atomic(void **) *)(void *)&s->open.low_, low);
}

bool auri_split_init(struct auri_split *s)
{
    s->stack = s->floor = s->end = NULL;
    s->open = (aur_lane_){ .low_ = AUR_LANE_TOP_ };
    return auri_deque_init(&s->deque);
}

void auri_split_fini(struct auri_split *s)
{
    while (s->stack != NULL) {
        void **older = s->stack[-1];
        free(s->stack - 1);
        s->stack = older;
    }
    auri_deque_fini(&s->deque);
}

bool auri_split_make_room(struct auri_split *s)
{
    size_t used = (size_t)(s->open.head_ - s->stack);
    size_t shared = (size_t)(s->floor - s->stack);
    size_t room = used != 0 ? 2 * used : AURI_SPLIT_FIRST;

    /* Now, so that all can be shared without memory: a thread that is about to sleep must. */
    (void)auri_deque_has_room(
        &s->deque); /* it may have to look at top, and growth copies from there */
    while (auri_deque_room(&s->deque) < room) {
        if (!auri_deque_grow_(&s->deque, auri_deque_end(&s->deque))) {
            return false;
        }
    }
    void **stack = malloc((1 + room) * sizeof(*stack));
    if (stack == NULL) {
        return false;
    }
    *stack++ = s->stack;
    for (size_t i = 0; i < used; i++) {
        stack[i] = s->stack[i];
    }
    s->stack = stack;
    s->open.head_ = stack + used;
    s->floor = stack + shared;
    s->end = stack + room;
    return true;
}

/* The thief has just had an item. */
static void tell(struct auri_split *s)
{
    auri_fence_sc(); /* [P5]: see split.h */
    set_bounds(s, NULL, AUR_LANE_TOP_);
}

auri_steal auri_split_steal_at(struct auri_split *s, int64_t top, struct aur_future **ret_item)
{
    auri_steal got = auri_deque_steal_at(&s->deque, top, ret_item);

    if (got == AURI_STEAL_TOOK) {
        tell(s);
    }
    return got;
}

auri_steal auri_split_steal(struct auri_split *s, struct aur_future **ret_item)
{
    return auri_split_steal_at(s, auri_deque_top(&s->deque), ret_item);
}

bool auri_split_take(struct auri_split *s)
{
    bool mine = true;

    if (s->open.head_ == s->stack) {
        return false;
    }
    s->open.head_--;
    if (s->open.head_ < s->floor) {
        s->floor = s->open.head_;
        set_bounds(s, NULL, AUR_LANE_TOP_); /* one less can be stolen */
        mine = auri_deque_take(&s->deque) != NULL;
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
        bool pushed = auri_deque_push(&s->deque, *s->floor);
        AURI_ASSERT(pushed); /* auri_split_make_room() */
        s->floor++;
        end++;
    }
    if (auri_split_is_private(s)) {
        set_bounds(s, s->end, s->floor);
        auri_fence_sc(); /* [P6]: see split.h */
        if (auri_load_rlx(&s->deque.top) != top) {
            set_bounds(s, NULL, AUR_LANE_TOP_);
        }
    } else {
        set_bounds(s, NULL, AUR_LANE_TOP_);
    }
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

void auri_split_hold(struct auri_split *s)
{
    auri_store_rlx((_Atomic(void **) *)(void *)&s->open.most_, NULL); /* relaxed: the owner's */
}

void auri_split_pass(struct auri_split *s)
{
    auri_deque_pass(&s->deque);
}
