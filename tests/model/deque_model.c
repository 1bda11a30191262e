/* Goal:    of owner and thieves exactly one gets each task, with all that was written into it.
 * Method:  the owner's and the thieves' calls are listed, without loops.  The payload of a task is plain
 *          memory: a task that is got twice, or before it is written, is a data race.
 * Guards:  [P1] [P2] [T1] [T2] [S1] [S2] [G1] [G2] [B1] in src/sync/deque.[hc].
 *          (Compiled with AURI_DEQUE_FIRST=2, so that the array wraps and grows early.) */
#include "model.h"
#include "sync/deque.h"

#define TASKS 6u

static struct auri_deque deque;
static struct {
    unsigned written; /* by the owner, before it pushes */
    unsigned got;     /* by whoever gets it */
} task[TASKS];
static unsigned pushed;
static bool over; /* stop counting: the owner takes back what is left */

static void setup(void)
{
    MODEL_CHECK(auri_deque_init(&deque));
    model_name(&deque.top, "top");
    model_name(&deque.bottom, "bottom");
    model_name(&deque.array, "array");
}

static void push(void)
{
    task[pushed].written = 1 + pushed;
    MODEL_CHECK(auri_deque_push(&deque, (struct aur_future *)(void *)&task[pushed]));
    pushed++;
}

static void got(struct aur_future *future)
{
    unsigned i = (unsigned)((char *)future - (char *)task) / (unsigned)sizeof(task[0]);

    MODEL_CHECK(i < TASKS && task[i].written == 1 + i);
    task[i].got++;
}

static void take(void)
{
    struct aur_future *future = auri_deque_take(&deque);

    if (future != NULL) {
        got(future);
    }
}

static void steal(void)
{
    struct aur_future *future = NULL;

    if (auri_deque_steal(&deque, &future) == AURI_STEAL_TOOK) {
        got(future);
    }
}

/* Out of its turn: a waiter takes back what it pushed. */
static void forget(unsigned i)
{
    if (auri_deque_forget(&deque, (struct aur_future *)(void *)&task[i])) {
        got((struct aur_future *)(void *)&task[i]);
    }
}

/* Everything was got once, or is still there. */
static void check(void)
{
    struct aur_future *future;

    over = true;
    while ((future = auri_deque_take(&deque)) != NULL) {
        got(future);
    }
    for (unsigned i = 0; i < pushed; i++) {
        MODEL_CHECK(task[i].got == 1);
    }
    MODEL_CHECK(auri_deque_looks_empty(&deque));
    auri_deque_fini(&deque);
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
/* top and bottom are past the first round of the array. */
static void setup_wrapped(void)
{
    setup_two();
    steal();
    push();
}

static void push_take(void)
{
    push();
    take();
}
static void push_push_take_take(void)
{
    push();
    push();
    take();
    take();
}
static void take_push_take(void)
{
    take();
    push();
    take();
}
static void push_twice(void)
{
    push();
    push();
}
static void take_twice(void)
{
    take();
    take();
}
static void steal_twice(void)
{
    steal();
    steal();
}
/* A thief that sees its loss tries again. */
static void steal_until_not_lost(void)
{
    struct aur_future *future = NULL;
    auri_steal what = AURI_STEAL_LOST;

    while (what == AURI_STEAL_LOST) {
        what = auri_deque_steal(&deque, &future);
    }
    if (what == AURI_STEAL_TOOK) {
        got(future);
    }
}

static void forget_oldest(void)
{
    forget(0);
}
static void forget_newest(void)
{
    forget(1);
}
static void forget_both(void)
{
    forget(1);
    forget(0);
}

/* Task 0 is pushed while a condition holds, task 1 after it has ended; in between all that look are
 * passed.  `ended` is released, as a branch's DONE is. */
static _Atomic(uint32_t) ended;

static void pass(void)
{
    push();
    take();
    if (!auri_deque_is_clear(&deque)) {
        return;
    }
    auri_store_rel(&ended, 1u);
    auri_deque_pass(&deque);
    push();
}
static void pass_and_take(void)
{
    pass();
    take();
}
static void steal_while(void)
{
    struct aur_future *future = NULL;
    int64_t top = auri_deque_top(&deque);

    if (auri_load_acq(&ended) == 0 &&
        auri_deque_steal_at(&deque, top, &future) == AURI_STEAL_TOOK) {
        got(future);
        MODEL_CHECK(future == (struct aur_future *)(void *)&task[0]);
    }
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define CLIENT(n, begin, ...)                                                                      \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = check, .quick = ALL,          \
        .full = ALL                                                                                \
    }
/* Too large for ./dev test: by chance there, completely in ./dev check model. */
#define LARGE(n, begin, ...)                                                                       \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = check,                        \
        .quick = { .search = MODEL_PCT, .depth = 4, .runs = 30000 }, .full = ALL                   \
    }

static const struct model_client clients[] = {
    CLIENT("deque/last-task", setup_one, take, steal),
    CLIENT("deque/publish", setup, push_take, steal),
    CLIENT("deque/two-tasks", setup_two, take_twice, steal),
    CLIENT("deque/two-steals", setup_two, take, steal_twice),
    CLIENT("deque/two-thieves", setup_one, take, steal, steal),
    CLIENT("deque/retry", setup_two, take, steal_until_not_lost, steal),
    CLIENT("deque/grow", setup_two, push, steal_twice),
    CLIENT("deque/wrap", setup_wrapped, take_push_take, steal),
    CLIENT("deque/wrap-grow", setup_wrapped, push_twice, steal),
    CLIENT("deque/grow-take", setup_two, push_take, steal),
    CLIENT("deque/four-calls", setup, push_push_take_take, steal),
    CLIENT("deque/forget-oldest", setup_two, forget_oldest, steal_twice),
    CLIENT("deque/forget-newest", setup_two, forget_newest, steal_twice),
    CLIENT("deque/forget-both", setup_two, forget_both, steal),
    CLIENT("deque/pass", setup, pass, steal_while),
    CLIENT("deque/pass-steal", setup, pass_and_take, steal),
    LARGE("deque/pass-two", setup, pass_and_take, steal_while, steal),
    LARGE("deque/forget-two-thieves", setup_two, forget_both, steal, steal),
    LARGE("deque/grow-two-thieves", setup_two, push_twice, steal, steal),
    LARGE("deque/four-and-two", setup, push_push_take_take, steal_twice),
    LARGE("deque/thieves-and-wrap", setup_wrapped, take_push_take, steal, steal),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
