/* Goal:    the explorer bites: each of these small protocols is wrong in a way that has cost real
 *          programs a hang or a task, and the explorer must say so.
 * Method:  must_fail: a client that passes is a failure of this test. */
#include "base/atomic.h"
#include "model.h"
#include "plat/plat.h"

/* ---- a deque of one task whose owner has no fence ------------------------------------------------ */

static _Atomic(int64_t) top, bottom;
static unsigned got;

static void setup_deque(void)
{
    auri_store_rlx(&bottom, 1);
    model_name(&top, "top");
    model_name(&bottom, "bottom");
}

static void take_without_fence(void)
{
    int64_t b = auri_load_rlx(&bottom) - 1;

    auri_store_rlx(&bottom, b);
    int64_t t = auri_load_rlx(&top);
    if (t < b || (t == b && auri_cas_sc(&top, &t, t + 1))) {
        got++;
    }
}

static void take_and_believe(void)
{
    int64_t b = auri_load_rlx(&bottom) - 1;

    auri_store_rlx(&bottom, b);
    auri_fence_sc();
    got += auri_load_rlx(&top) <= b; /* the last one needs a CAS */
}

static void steal(void)
{
    int64_t t = auri_load_acq(&top);

    auri_fence_sc();
    if (t < auri_load_acq(&bottom) && auri_cas_sc(&top, &t, t + 1)) {
        got++;
    }
}

/* With two tasks the fence matters: both may believe that they have the last but one. */
static void setup_deque_two(void)
{
    setup_deque();
    auri_store_rlx(&bottom, 2);
}
static void take_two_without_fence(void)
{
    take_without_fence();
    take_without_fence();
}
static void steal_two(void)
{
    steal();
    steal();
}

/* ---- sleeping without a second look --------------------------------------------------------------- */

static _Atomic(uint32_t) sleepers, searchers, epoch, work;

static void setup_sleep(void)
{
    model_name(&sleepers, "sleepers");
    model_name(&epoch, "epoch");
    model_name(&work, "work");
    model_name(&searchers, "searchers");
}

static void notify(void)
{
    auri_store_rlx(&work, 1u);
    auri_fence_sc();
    if (auri_load_rlx(&sleepers) != 0) {
        auri_add_sc(&epoch, 1u);
        aurp_futex_wake(&epoch, 1, AURP_PRIVATE);
    }
}

static void sleep_without_a_look(void)
{
    uint32_t seen = auri_load_acq(&epoch);

    if (auri_load_acq(&work) == 0) {
        auri_add_sc(&sleepers, 1u);
        (void)aurp_futex_wait(&epoch, seen, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
}

/* A second look, but no fence between the announcement and it. */
static void sleep_without_a_fence(void)
{
    uint32_t seen = auri_load_acq(&epoch);

    auri_add_rlx(&sleepers, 1u);
    if (auri_load_rlx(&work) == 0) {
        (void)aurp_futex_wait(&epoch, seen, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
}

/* ---- the same facts in three words ------------------------------------------------------------------ */

/* Sleepers, searchers and an epoch apart: between the last look and the change of the second word the
 * worker counts as a searcher, and a producer relies on it. */
static void notify_three(void)
{
    auri_store_rlx(&work, 1u);
    auri_fence_sc();
    if (auri_load_rlx(&searchers) == 0 && auri_load_rlx(&sleepers) != 0) {
        auri_add_sc(&epoch, 1u);
        aurp_futex_wake(&epoch, 1, AURP_PRIVATE);
    }
}

static void worker_three(void)
{
    uint32_t seen = auri_load_acq(&epoch);

    auri_add_sc(&sleepers, 1u);
    auri_fence_sc();
    if (auri_load_rlx(&work) == 0) {
        auri_sub_acqrel(&searchers, 1u);
        (void)aurp_futex_wait(&epoch, seen, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
}

static void setup_three(void)
{
    setup_sleep();
    auri_store_rlx(&searchers, 1u);
}

/* ---- an answer told before it is written; a claim that is a load and a store ------------------------- */

static uint32_t answer;
static _Atomic(uint32_t) told, claim;

static void answer_early(void)
{
    auri_store_rel(&told, 1u);
    answer = 1;
}

static void ask(void)
{
    if (auri_load_acq(&told) != 0) {
        MODEL_CHECK(answer == 1);
    }
}

static void claim_by_store(void)
{
    if (auri_load_acq(&claim) == 0) {
        auri_store_rel(&claim, 1u);
        got++;
    }
}

static void claim_by_cas(void)
{
    uint32_t nobody = 0;

    if (auri_cas_acqrel(&claim, &nobody, 2u)) {
        got++;
    }
}

/* ---- a process that dies between its answer and its bell --------------------------------------------- */

static void dying(void)
{
    auri_store_rel(&told, 1u);
    model_event_signal(0);
}

static void believing(void)
{
    (void)model_event_wait(0, MODEL_THREADS); /* does not look at the death */
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define CHANCE                                                                                     \
    {                                                                                              \
        .search = MODEL_PCT, .depth = 4, .runs = 20000                                             \
    }
#define FAULT(n, begin, message, ...)                                                              \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .quick = ALL, .full = ALL,             \
        .must_fail = message                                                                       \
    }

static const struct model_client clients[] = {
    FAULT("faults/deque-no-fence", setup_deque_two, "data race", take_two_without_fence, steal_two),
    FAULT("faults/deque-no-cas", setup_deque, "data race", take_and_believe, steal),
    FAULT("faults/no-second-look", setup_sleep, "for ever", sleep_without_a_look, notify),
    FAULT("faults/no-fence", setup_sleep, "for ever", sleep_without_a_fence, notify),
    FAULT("faults/three-words", setup_three, "for ever", worker_three, notify_three),
    { .name = "faults/three-words-chance",
      .setup = setup_three,
      .body = { worker_three, notify_three },
      .quick = CHANCE,
      .full = CHANCE,
      .must_fail = "for ever" },
    FAULT("faults/answer-early", NULL, "data race", answer_early, ask),
    FAULT("faults/claim-by-store", NULL, "data race", claim_by_store, claim_by_cas),
    { .name = "faults/deaf-parent",
      .body = { dying, believing },
      .killable = 1,
      .quick = ALL,
      .full = ALL,
      .must_fail = "for ever" },
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
