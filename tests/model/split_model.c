/* Goal:    of owner and thieves exactly one gets each item, with all that was written into it, and the
 *          owner gets back the newest.
 * Method:  the owner's and the thieves' calls are listed, without loops.  The payload of an item is plain
 *          memory, and so is what the owner keeps to itself: an item that is got twice, or before it is
 *          shared, is a data race.
 * Guards:  [P4] [P5] [P6] in src/sync/split.c, the private part of split.h, and aur_fork_pop_() in
 *          auriga/join.h.
 *          (Compiled with AURI_SPLIT_SHARED=1, AURI_SPLIT_FIRST=2 and AURI_DEQUE_FIRST=2: the second item is
 *          private, the stack grows and the array wraps and grows early.) */
#include "model.h"
#include "sync/split.h"

#define ITEMS 6u

static struct auri_split split;
static struct {
    unsigned written; /* by the owner, before it pushes */
    unsigned got;     /* by whoever gets it */
} item[ITEMS];
static unsigned nested[ITEMS]; /* the owner's: those that it has not taken back yet */
static aur_fork_spot_ spots[ITEMS];
static unsigned pushed, depth;

static void setup(void)
{
    MODEL_CHECK(auri_split_init(&split));
    model_name(&split.deque.top, "top");
    model_name(&split.deque.bottom, "bottom");
    model_name(&split.deque.array, "array");
}

/* As a fork. */
static void push(void)
{
    unsigned i = pushed++;

    item[i].written = 1 + i;
    bool quick = split.open.head_ < __atomic_load_n(&split.open.most_, __ATOMIC_RELAXED);
    MODEL_CHECK(auri_split_has_room(&split) || (!quick && auri_split_make_room(&split)));
    auri_split_push(&split, &item[i]);
    spots[i] = (aur_fork_spot_){ &split.open, split.open.head_ };
    nested[depth++] = i;
    if (!quick) {
        (void)auri_split_share(&split);
    }
}

static void got(void *future)
{
    unsigned i = (unsigned)((char *)future - (char *)item) / (unsigned)sizeof(item[0]);

    MODEL_CHECK(i < ITEMS && item[i].written == 1 + i);
    item[i].got++;
}

/* As a join: of the newest that it has not taken back. */
static void take(void)
{
    unsigned i = nested[--depth];
    void *newest = &item[i];

    MODEL_CHECK(depth == 0 || !aur_fork_pop_(spots[nested[depth - 1]])); /* not before */
    if (!aur_fork_pop_(spots[i])) {
        MODEL_CHECK(auri_split_newest(&split) == newest);
        if (!auri_split_take(&split)) {
            return;
        }
        (void)auri_split_share(&split);
    }
    got(newest);
}

static void share_all(void)
{
    (void)auri_split_share_all(&split);
    MODEL_CHECK(!auri_split_is_private(&split));
}

static void steal(void)
{
    struct aur_future *future = NULL;

    if (auri_split_steal(&split, &future) == AURI_STEAL_TOOK) {
        got(future);
    }
}

/* Everything was got once, or is still there; and what is there could be stolen. */
static void check(void)
{
    while (depth != 0) {
        take();
        MODEL_CHECK(!auri_split_is_private(&split) || !auri_deque_looks_empty(&split.deque));
    }
    for (unsigned i = 0; i < pushed; i++) {
        MODEL_CHECK(item[i].got == 1);
    }
    MODEL_CHECK(auri_deque_looks_empty(&split.deque) && !auri_split_is_private(&split));
    auri_split_fini(&split);
    MODEL_CHECK(model_heap_used() == 0);
}

/* ---- bodies ------------------------------------------------------------------------------------ */

static void setup_one(void)
{
    setup();
    push();
}
static void setup_two(void)
{
    setup_one();
    push();
}
static void setup_three(void)
{
    setup_two();
    push();
}
/* The ends are past the first round of the array. */
static void setup_wrapped(void)
{
    setup_two();
    steal();
    take();
    take();
    push();
}

static void push_push_take_take(void)
{
    push();
    push();
    take();
    take();
}
static void push_take(void)
{
    push();
    take();
}
static void take_push_take(void)
{
    take();
    push();
    take();
}
static void take_twice(void)
{
    take();
    take();
}
static void take_all(void)
{
    take_twice();
    take();
}
static void push_twice(void)
{
    push();
    push();
}
static void share_and_take(void)
{
    share_all();
    take_twice();
}
static void share_push_share(void)
{
    share_all();
    take();
    push();
    share_all();
    take_twice();
}
static void push_and_share(void)
{
    push_twice();
    share_all();
    take();
}
static void steal_twice(void)
{
    steal();
    steal();
}

/* Item 0 is put in while a condition holds, item 1 after it has ended, as by a thief that forks for somebody
 * else; in between all that look are passed. */
static _Atomic(uint32_t) ended;

static void pass(void)
{
    push();
    take();
    auri_store_rel(&ended, 1u);
    auri_split_pass(&split);
    push();
}
static void steal_while(void)
{
    struct aur_future *future = NULL;
    int64_t top = auri_deque_top(&split.deque);

    if (auri_load_acq(&ended) == 0 &&
        auri_split_steal_at(&split, top, &future) == AURI_STEAL_TOOK) {
        got(future);
        MODEL_CHECK(future == (struct aur_future *)(void *)&item[0]);
    }
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
/* Minutes if it is complete. */
#define LONG_CLIENT(n, begin, ...)                                                                 \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = check,                        \
        .quick = { .search = MODEL_PCT, .depth = 4, .runs = 20000 }, .full = ALL                   \
    }
#define CLIENT(n, begin, ...)                                                                      \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = check, .quick = ALL,          \
        .full = ALL                                                                                \
    }
static const struct model_client clients[] = {
    CLIENT("split/publish", setup, push_take, steal),
    CLIENT("split/four-calls", setup, push_push_take_take, steal),
    CLIENT("split/private", setup_two, take_twice, steal),
    CLIENT("split/two-steals", setup_two, take_twice, steal_twice),
    CLIENT("split/take-shares", setup_three, take_all, steal_twice),
    CLIENT("split/push-shares", setup_one, push_twice, steal_twice),
    CLIENT("split/grow", setup_two, push_twice, steal),
    CLIENT("split/wrap", setup_wrapped, take_push_take, steal),
    CLIENT("split/wrap-grow", setup_wrapped, push_twice, steal),
    CLIENT("split/all", setup_two, share_and_take, steal_twice),
    LONG_CLIENT("split/all-twice", setup_two, share_push_share, steal_twice),
    CLIENT("split/all-and-more", setup, push_and_share, steal),
    CLIENT("split/pass", setup, pass, steal_while),
    CLIENT("split/two-thieves", setup_two, take_twice, steal, steal),
    CLIENT("split/four-and-two", setup, push_push_take_take, steal_twice),
    CLIENT("split/three-and-two-thieves", setup_three, take_all, steal, steal),
    LONG_CLIENT("split/grow-two-thieves", setup_two, push_twice, steal, steal),
    LONG_CLIENT("split/all-two-thieves", setup_two, share_and_take, steal, steal),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
