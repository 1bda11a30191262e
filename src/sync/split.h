/* sync/split.h: a deque of which the newest part is its owner's alone.
 *
 * After van Dijk and van de Pol, "Lace: non-blocking split deque for work-stealing" (Euro-Par 2014
 * workshops).  The owner has a stack of all its items, and a deque (sync/deque.h, with all that is said there of
 * thieves, orders and growth) has copies of the older ones, which are shared.  What is above them on the
 * stack is private: the owner pushes and takes there with plain loads and stores, and no fence, as nobody else
 * looks at it.
 *
 * Lace moves items from one part to the other when a thief asks for it.  Here the owner keeps
 * AURI_SPLIT_SHARED items shared all the time: each push and take compares, and shares more when thieves have
 * had some.  So whoever looks finds that many, though the owner runs something long and answers nobody;
 * and what is taken and put back all the time, the newest in a deep nesting, is not among them.
 *
 * Invariant: stack <= floor <= head <= end.  The items below `floor` are those of the deque, in its order, the
 * newest last, and above them on the stack lie none that thieves have had.  At the end of a call nothing is
 * private if fewer than AURI_SPLIT_SHARED can be stolen.  The deque has room for all that the stack has room for.
 *
 * The quick push and the quick take compare the head with one bound each: the owner sets these to `end` and
 * `floor` where something is private, else so that none is quick, and a thief that has had an item then moves both
 * to where none is: the owner comes the long way next, and shares more.
 * The thief's steal, fence, stores to the bounds [P5]; the owner's stores to the bounds, fence, load of top [P6].
 * If that load misses the steal, the owner's fence came before the thief's in the order of seq_cst operations, so
 * the thief's stores are the later ones, and stay.  No steal is missed by both; one that both see costs a long way.
 *
 * A stack that became too small is kept until the end: so a head says which stack it is in, too.
 *
 * The quick push and the quick take are in auriga/join.h, and compiled into programs. */
#ifndef AURI_SYNC_SPLIT_H
#define AURI_SYNC_SPLIT_H

#include <auriga/join.h>

#include "sync/deque.h"

#ifndef AURI_SPLIT_SHARED /* a test makes it small */
/* Shared items that an owner keeps on offer.  In a computation that forks in two at each step they are a
 * half, a quarter and so on down to 1/16 of it.  Each one costs: what lies at such a depth pays the fence.
 * bench/forkjoin with one worker and n=25, instructions per spawn: 97 with 2, 100 with 4, 129 with 8. */
#define AURI_SPLIT_SHARED 4
#endif

struct auri_split {
    aur_lane_ open;          /* O, but for the bounds, A: what the quick way needs */
    void **floor;            /* O: thieves may have those below it */
    void **end;              /* O: there is no room from here on */
    void **stack;            /* O: where it begins; NULL until the first push */
    struct auri_deque deque; /* what thieves see: the shared part */
};

/* As auri_deque_init() and auri_deque_fini().  It must not be moved. */
bool auri_split_init(struct auri_split *s);
void auri_split_fini(struct auri_split *s);

/* For thieves, as auri_deque_steal() and auri_deque_steal_at().  What else they want is in s->deque. */
auri_steal auri_split_steal(struct auri_split *s, struct aur_future **ret_item);
auri_steal auri_split_steal_at(struct auri_split *s, int64_t top, struct aur_future **ret_item);

/* All below is for the owner only. */

/* Makes room for the next push.  False: no memory. */
bool auri_split_make_room(struct auri_split *s);

static inline bool auri_split_has_room(const struct auri_split *s)
{
    return s->open.head_ != s->end;
}

/* The newest item that was not taken back yet, wherever it is, or NULL. */
static inline void *auri_split_newest(const struct auri_split *s)
{
    return s->open.head_ != s->stack ? s->open.head_[-1] : NULL;
}

/* Whether that is private. */
static inline bool auri_split_is_private(const struct auri_split *s)
{
    return s->open.head_ != s->floor;
}

/* Privately; there is room. */
static inline void auri_split_push(struct auri_split *s, void *item)
{
    *s->open.head_++ = item;
}

/* Takes back the newest.  False: there is none, or a thief has it. */
bool auri_split_take(struct auri_split *s);

/* Shares the oldest private items, if there are any and too few are shared, and sets the bounds: after each of the
 * calls above.  True: of those that can be stolen now none could be before. */
bool auri_split_share(struct auri_split *s);
/* The same with all. */
bool auri_split_share_all(struct auri_split *s);

/* No push is quick until the next auri_split_share(). */
void auri_split_hold(struct auri_split *s);

/* auri_deque_pass() for an empty one: all that was pushed is taken back, or a thief has it. */
void auri_split_pass(struct auri_split *s);

#endif /* AURI_SYNC_SPLIT_H */
