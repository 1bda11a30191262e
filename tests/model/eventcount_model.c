/* Goal:    no wake is lost: work that was made visible and notified is done, whatever the workers
 *          were about to do; and a notifier that need not wake does not.
 * Method:  workers search, announce, look again and sleep as sched/worker.c does, each until it has had
 *          its share; a worker that sleeps for ever is what the explorer reports.  The work is a count
 *          with a plain payload behind it.
 * Guards:  [E1] [E2] [E3] and the seq_cst changes of the word in src/sync/eventcount.[hc]. */
#include "model.h"
#include "sync/eventcount.h"

static struct auri_ec ec;
static _Atomic(uint32_t) work;    /* pieces that are visible: added with release, as a queue is */
static _Atomic(uint32_t) flag[3]; /* or each piece on its own: relaxed stores, relaxed looks */
static _Atomic(uint32_t) stop;
static uint32_t payload;
static unsigned done[MODEL_THREADS];
static unsigned spares;
static unsigned woken;

static void setup(void)
{
    model_name(&ec.word, "word");
    model_name(&work, "work");
    model_name(&stop, "stop");
}

static void produce_one(void)
{
    auri_ec_need need;

    payload = 1;
    auri_add_acqrel(&work, 1u);
    need = auri_ec_notify(&ec);
    spares += need == AURI_EC_SPARE;
    woken += need == AURI_EC_WOKEN;
}

static bool take(void)
{
    uint32_t n = auri_load_rlx(&work);

    while (n != 0) {
        if (auri_cas_acq(&work, &n, n - 1)) {
            MODEL_CHECK(payload == 1);
            return true;
        }
    }
    return false;
}

/* Until it has done one piece. */
static void worker_of_one(void)
{
    auri_ec_search_start(&ec);
    for (;;) {
        if (take()) {
            if (auri_ec_search_stop(&ec) && auri_load_acq(&work) != 0) {
                (void)auri_ec_notify(&ec);
            }
            done[model_self()]++;
            return;
        }
        auri_ec_announce(&ec);
        if (auri_load_rlx(&work) != 0) {
            auri_ec_retract(&ec);
            continue;
        }
        (void)auri_ec_sleep(&ec, AUR_NO_DEADLINE);
    }
}

/* The barest form: the word and the work are all there is between the two. */
static void produce_flag(void)
{
    unsigned me = model_self();

    auri_store_rlx(&flag[me], 1u);
    (void)auri_ec_notify(&ec);
}

/* A read-modify-write that is seq_cst stands for the fence. */
static void produce_pushed(void)
{
    unsigned me = model_self();

    (void)auri_xchg_sc(&flag[me], 1u);
    (void)auri_ec_notify_after_rmw(&ec);
}

static bool take_flag(void)
{
    for (unsigned i = 0; i < 3; i++) {
        uint32_t one = 1;
        if (auri_load_rlx(&flag[i]) == 1 && auri_cas_rlx(&flag[i], &one, 2u)) {
            return true;
        }
    }
    return false;
}

static bool see_flag(void)
{
    bool seen = false;

    for (unsigned i = 0; i < 3; i++) {
        seen = seen || auri_load_rlx(&flag[i]) == 1;
    }
    return seen;
}

static void worker_of_flag(void)
{
    auri_ec_search_start(&ec);
    while (!take_flag()) {
        auri_ec_announce(&ec);
        if (see_flag()) {
            auri_ec_retract(&ec);
        } else {
            (void)auri_ec_sleep(&ec, AUR_NO_DEADLINE);
        }
    }
    if (auri_ec_search_stop(&ec) && see_flag()) {
        (void)auri_ec_notify(&ec);
    }
    done[model_self()]++;
}

/* Until it is told to stop: the end of a pool. */
static void worker_until_stop(void)
{
    auri_ec_search_start(&ec);
    for (;;) {
        auri_ec_announce(&ec);
        if (auri_load_acq(&stop) != 0) {
            auri_ec_retract(&ec);
            break;
        }
        (void)auri_ec_sleep(&ec, AUR_NO_DEADLINE);
        if (auri_load_acq(&stop) != 0) {
            break;
        }
    }
    (void)auri_ec_search_stop(&ec);
    auri_ec_wake_all(&ec);
}

static void stopper(void)
{
    auri_store_sc(&stop, 1u);
    auri_ec_wake_all(&ec);
}

/* Gives up at its deadline if nobody brings work: no announcement may be left behind. */
static void worker_with_deadline(void)
{
    aur_err err = AUR_OK;

    auri_ec_search_start(&ec);
    while (err == AUR_OK && !take()) {
        auri_ec_announce(&ec);
        if (auri_load_rlx(&work) != 0) {
            auri_ec_retract(&ec);
            continue;
        }
        err = auri_ec_sleep(&ec, 1);
    }
    (void)auri_ec_search_stop(&ec);
}

/* A worker blocks: its place is filled by whoever sees both the work and the gap. */
static void block(void)
{
    auri_ec_deficit_add(&ec, 1);
    auri_fence_sc();
    if (auri_load_rlx(&flag[1]) != 0) {
        spares += auri_ec_notify(&ec) == AURI_EC_SPARE;
    }
}

static void submit(void)
{
    auri_store_rlx(&flag[1], 1u);
    woken += auri_ec_notify(&ec) == AURI_EC_SPARE;
}

static void leave_surplus(void)
{
    done[model_self()] = auri_ec_surplus_leave(&ec);
}

/* ---- at the end --------------------------------------------------------------------------------- */

static void nothing_left(void)
{
    uint64_t word = auri_load_rlx(&ec.word);

    MODEL_CHECK(auri_ec_sleepers(word) == 0 && auri_ec_searchers(word) == 0);
    MODEL_CHECK(auri_ec_tokens(word) == 0);
}

static void all_done(void)
{
    nothing_left();
    MODEL_CHECK(auri_load_rlx(&work) == 0);
}

static void all_awake(void)
{
    nothing_left();
}

static void somebody_stands_in(void)
{
    MODEL_CHECK(spares + woken >= 1);
    MODEL_CHECK(auri_ec_deficit(auri_load_rlx(&ec.word)) == 1);
}

static void setup_surplus(void)
{
    setup();
    auri_ec_deficit_add(&ec, -1);
}

static void one_left(void)
{
    MODEL_CHECK(done[0] + done[1] == 1);
    MODEL_CHECK(auri_ec_deficit(auri_load_rlx(&ec.word)) == 0);
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define CLIENT(n, begin, end, ...)                                                                 \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end, .quick = ALL,            \
        .full = ALL                                                                                \
    }
#define LARGE(n, begin, end, ...)                                                                  \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                          \
        .quick = { .search = MODEL_PCT, .depth = 4, .runs = 40000 }, .full = ALL                   \
    }
#define BY_CHANCE(n, begin, end, ...)                                                              \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                          \
        .quick = { .search = MODEL_PCT, .depth = 4, .runs = 40000 }, .full = {                     \
            .search = MODEL_PCT,                                                                   \
            .depth = 5,                                                                            \
            .runs = 1500000                                                                        \
        }                                                                                          \
    }

static const struct model_client clients[] = {
    CLIENT("eventcount/one-one", setup, all_done, produce_one, worker_of_one),
    CLIENT("eventcount/barest", setup, nothing_left, produce_flag, worker_of_flag),
    CLIENT("eventcount/surplus", setup_surplus, one_left, leave_surplus, leave_surplus),
    CLIENT("eventcount/block", setup, somebody_stands_in, block, submit),
    CLIENT("eventcount/stop-one", setup, all_awake, worker_until_stop, stopper),
    CLIENT("eventcount/deadline", setup, nothing_left, worker_with_deadline, produce_one),
    CLIENT("eventcount/pushed", setup, nothing_left, produce_pushed, worker_of_flag),
    LARGE("eventcount/two-pushed", setup, nothing_left, produce_pushed, produce_flag,
          worker_of_flag),
    LARGE("eventcount/two-producers", setup, nothing_left, produce_flag, produce_flag,
          worker_of_flag),
    BY_CHANCE("eventcount/stop-two", setup, all_awake, worker_until_stop, worker_until_stop,
              stopper),
    BY_CHANCE("eventcount/two-two", setup, nothing_left, produce_flag, produce_flag, worker_of_flag,
              worker_of_flag),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
