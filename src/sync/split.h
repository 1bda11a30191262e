/* sync/split.h: a deque of which the newest part is its owner's alone.
 *
 * After van Dijk and van de Pol, "Lace: non-blocking split deque for work-stealing" (Euro-Par 2014
 * workshops).  The older part is shared: the deque of sync/deque.h, with all that is said there of thieves,
 * orders and growth.  Above its bottom lies the private part: the owner pushes and takes there with plain
 * loads and stores, and no fence, as nobody else looks at it.
 *
 * Lace moves items from one part to the other when a thief asks for it.  Here the owner keeps the oldest
 * AURI_SPLIT_SHARED items shared all the time: each push and take compares, and shares more when thieves have
 * had some.  So whoever looks finds that many, though the owner runs something long and answers nobody;
 * and what is taken and put back all the time, the newest in a deep nesting, is not among them.
 *
 * Invariant: top <= shared <= head, and shared is the deque's bottom.  Slots from `shared` to `head` are
 * the owner's.  If fewer than AURI_SPLIT_SHARED are shared at the end of a call, nothing is private. */
#ifndef AURI_SYNC_SPLIT_H
#define AURI_SYNC_SPLIT_H

#include "sync/deque.h"

#ifndef AURI_SPLIT_SHARED /* a test makes it small */
/* Shared items that an owner keeps on offer.  In a computation that forks in two at each step they are a
 * half, a quarter and so on down to 1/16 of it.  Each one costs: what lies at such a depth pays the fence.
 * bench/forkjoin with one worker and n=25, instructions per spawn: 97 with 2, 100 with 4, 129 with 8. */
#define AURI_SPLIT_SHARED 4
#endif

struct auri_split {
    struct auri_deque deque; /* what thieves see: the shared part */
    /* The owner's, which reads them alone: */
    alignas(AURI_CACHE_LINE) int64_t head; /* one past the newest */
    int64_t shared;                        /* one past the newest that is shared */
    int64_t low;                           /* a top beyond this leaves too few shared */
    int64_t end;                           /* there is no slot from here on, as far as is known */
};

/* As auri_deque_init() and auri_deque_fini(). */
bool auri_split_init(struct auri_split *s);
void auri_split_fini(struct auri_split *s);

/* All below is for the owner only; thieves use s->deque. */

/* Whether thieves could soon find nothing: a push or a take must share, if there is anything. */
static inline bool auri_split_is_short(struct auri_split *s)
{
    /* relaxed: only a thief moves it, and to see that late costs time only. */
    return auri_load_rlx(&s->deque.top) > s->low;
}

/* Makes a slot for the next push.  False: no memory. */
bool auri_split_make_room(struct auri_split *s);

static inline bool auri_split_has_room(const struct auri_split *s)
{
    return s->head < s->end;
}

static inline bool auri_split_is_private(const struct auri_split *s, int64_t at)
{
    return at >= s->shared;
}

/* Privately; there is room.  Returns the place. */
static inline int64_t auri_split_push(struct auri_split *s, struct aur_future *item)
{
    struct auri_deque_array *array = auri_load_rlx(&s->deque.array); /* relaxed: owner's own */
    int64_t at = s->head;

    s->head = at + 1;
    /* relaxed: published by [P4], or never. */
    auri_store_rlx(&array->slot[at & array->mask], item);
    return at;
}

/* Takes back the newest, which was pushed at `at`.  False: that is not the newest, or it is not private, or
 * more has to be shared; nothing has happened. */
static inline bool auri_split_take_private(struct auri_split *s, int64_t at)
{
    if (s->head != at + 1 || at < s->shared || auri_split_is_short(s)) {
        return false;
    }
    s->head = at;
    return true;
}

/* The newest, or NULL: there is none, or a thief has it. */
struct aur_future *auri_split_take(struct auri_split *s);

/* Shares the oldest private items, if there are any and too few are shared.  True: of those that can be
 * stolen now none could be before. */
bool auri_split_share(struct auri_split *s);
/* The same with all. */
bool auri_split_share_all(struct auri_split *s);

/* auri_deque_pass() for an empty one. */
void auri_split_pass(struct auri_split *s);

#endif /* AURI_SYNC_SPLIT_H */
