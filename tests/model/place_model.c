/* Goal:    a worker's affinity is touched by one thread at a time, is put back as it was, and is never
 *          changed for a thread that has ended.
 * Method:  the real word of sched/place.c; the worker sleeps and wakes whenever it likes, as one does
 *          that somebody else wakes.  `before` is plain memory; the port fails when a set is changed
 *          twice, is not put back, or belongs to nobody any more.
 * Guards:  [P1] [P2] [P3] in src/sched/place.c. */
#include "model.h"
#include "sched/place.h"

static struct auri_place place;

static void setup(void)
{
    model_name(&place.state, "state");
}

static void sleep_once(void)
{
    auri_place_asleep(&place);
    auri_place_awake(&place);
}

static void worker_once(void)
{
    sleep_once();
    auri_place_end(&place);
}

static void worker_twice(void)
{
    sleep_once();
    sleep_once();
    auri_place_end(&place);
}

static void waker(void)
{
    (void)auri_place_elsewhere(&place);
}

static void waker_twice(void)
{
    waker();
    waker();
}

static void is_awake(void)
{
    MODEL_CHECK(auri_load_rlx(&place.state) == 0);
}

/* auri_place_end() waits in a loop for a waker: so not without a bound. */
#define PREEMPT_(n)                                                                                \
    {                                                                                              \
        .search = MODEL_PLAIN, .preemptions = n                                                    \
    }
#define CLIENT(n, few, many, ...)                                                                  \
    {                                                                                              \
        .name = n, .setup = setup, .body = { __VA_ARGS__ }, .check = is_awake,                     \
        .quick = PREEMPT_(few), .full = PREEMPT_(many)                                             \
    }

static const struct model_client clients[] = {
    CLIENT("place/end", 8, MODEL_ANY_PREEMPTIONS, worker_once, waker),
    CLIENT("place/again", 3, 6, worker_twice, waker_twice),
    CLIENT("place/two-wakers", 2, 4, worker_twice, waker, waker),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
