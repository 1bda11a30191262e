/* Goal:    a whole pool of threads: every call submitted is run once and its waiter woken, loops run each
 *          index once, and the pool ends.
 * Method:  the real backend (sched/threads.c, sched/worker.c, sched/range.c, sched/share.c) on logical
 *          threads that it starts itself.  Too large to be searched completely, so by random schedules; the small loops
 *          are bounded by preemptions.
 * Guards:  [I1] [I2] in src/sched/worker.c, [R1] [R2] [R3] [R4] [F1] [F2] in src/sched/share.c, and how
 *          the parts that have models of their own are put together. */
#include <stdint.h>

#include "model.h"
#include "plat/plat.h"
#include "sched/team.h"
#include "sched/threads.h"
#include "sched/wait.h"
#include "task/internal.h"

#define TASKS 4u

static aur_pool pool = { .backend = &auri_backend_threads, .holds = 1, .workers = 1 };
static unsigned ran[TASKS];
static auri_task *task[TASKS];

static void run(auri_task *self)
{
    ran[self->store.bytes[0]]++;
}

static auri_task *task_for(unsigned i)
{
    auri_task *new = auri_task_new(2);

    new->pool = &pool;
    auri_task_set_run(new, run);
    new->store.bytes[0] = (unsigned char)i;
    return new;
}

static void setup(void)
{
    model_name(&pool.state, "state");
    model_name(&pool.finished, "finished");
}

static void start_with(unsigned workers, unsigned spares)
{
    aur_options opts = AUR_OPTIONS_INIT;

    pool.workers = workers;
    pool.opts = opts;
    pool.opts.spares_max = spares;
    MODEL_CHECK(pool.backend->start(&pool, &opts, NULL) == AUR_OK);
}

static void start(unsigned workers)
{
    start_with(workers, 0);
}

static void hand_in(auri_task *new)
{
    auri_task_queue(new);
    auri_add_sc(&pool.submitted, UINT64_C(1));
    MODEL_CHECK(pool.backend->submit(&pool, new) == AUR_OK);
}

static void submit(unsigned i)
{
    task[i] = task_for(i);
    hand_in(task[i]);
}

static void stop(void)
{
    uint32_t open = AURI_OPEN;

    MODEL_CHECK(auri_cas_sc(&pool.state, &open, (uint32_t)AURI_DRAINING));
    pool.backend->close(&pool);
    MODEL_CHECK(pool.backend->join(&pool, AUR_NO_DEADLINE) == AUR_OK);
}

/* ---- calls ----------------------------------------------------------------------------------------- */

static void host_waits(void)
{
    (void)auri_self();
    start(1);
    submit(0);
    submit(1);
    MODEL_CHECK(auri_wait_task(task[1], AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(ran[1] == 1);
    MODEL_CHECK(auri_wait_task(task[0], AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(ran[0] == 1);
    auri_task_unref(task[0]);
    auri_task_unref(task[1]);
    stop();
}

/* Ordinary calls, which the worker runs by auri_run_plain(): one that the host may run instead, and one that
 * nobody has a handle of, whose slot the host gets again. */
static void range(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    (void)ret;
    MODEL_CHECK(lo == 0 && hi == 1 && *item == 0);
    ran[*(const unsigned char *)args]++;
}

static auri_task *hand_in_plain(unsigned char i, uint32_t refs)
{
    static const aur_fn fn = { .abi = AUR_FN_ABI,
                               .name = "ran",
                               .range = range,
                               .args_size = 1,
                               .args_align = 1,
                               .ret_align = 1 };
    auri_task *new = auri_task_new(refs);

    new->pool = &pool;
    auri_task_fill_small(new, &fn, &i);
    hand_in(new);
    return new;
}

static void host_plain(void)
{
    (void)auri_self();
    pool.takes_all = true;
    start(1);
    (void)hand_in_plain(0, 0);
    auri_task *handle = hand_in_plain(1, 2);
    MODEL_CHECK(auri_wait_task(handle, AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(ran[1] == 1);
    auri_task_unref(handle);
    (void)hand_in_plain(2, 0);
    stop();
    MODEL_CHECK(ran[0] == 1 && ran[1] == 1 && ran[2] == 1);
}

static void host_waits_two_workers(void)
{
    (void)auri_self();
    start(2);
    submit(0);
    submit(1);
    submit(2);
    for (unsigned i = 0; i < 3; i++) {
        MODEL_CHECK(auri_wait_task(task[i], AUR_NO_DEADLINE) == AUR_OK);
        MODEL_CHECK(ran[i] == 1);
        auri_task_unref(task[i]);
    }
    stop();
}

/* Only the worker can run it. */
static void host_cannot_help(void)
{
    (void)auri_self();
    pool.flags = AUR_POOL_NO_HELP;
    start(1);
    for (unsigned i = 0; i < 2; i++) {
        submit(i);
        MODEL_CHECK(auri_wait_task(task[i], AUR_NO_DEADLINE) == AUR_OK);
        MODEL_CHECK(ran[i] == 1);
        auri_task_unref(task[i]);
    }
    stop();
}

/* The first call blocks in a way that nobody announced, until the second one, queued behind it, has
 * run: the monitor must see that, and let a spare run it. */
static void run_event(auri_task *self)
{
    if (self->store.bytes[0] == 0) {
        (void)model_event_wait(0, MODEL_THREADS);
    } else {
        model_event_signal(0);
    }
    ran[self->store.bytes[0]]++;
}

static void host_blocks_unseen(void)
{
    (void)auri_self();
    pool.flags = AUR_POOL_NO_HELP;
    start_with(1, 1);
    for (unsigned i = 0; i < 2; i++) {
        task[i] = task_for(i);
        auri_task_set_run(task[i], run_event);
        hand_in(task[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        MODEL_CHECK(auri_wait_task(task[i], AUR_NO_DEADLINE) == AUR_OK);
        MODEL_CHECK(ran[i] == 1);
        auri_task_unref(task[i]);
    }
    stop();
}

/* Nobody waits for the calls: the end of the pool does. */
static void host_joins(void)
{
    (void)auri_self();
    start(1);
    submit(0);
    submit(1);
    auri_task_unref(task[0]);
    auri_task_unref(task[1]);
    stop();
    MODEL_CHECK(ran[0] == 1 && ran[1] == 1);
}

static void submit_one_that(void (*does)(auri_task *), unsigned i)
{
    task[i] = task_for(i);
    auri_task_set_run(task[i], does);
    hand_in(task[i]);
}

static void host_awaits(unsigned i)
{
    MODEL_CHECK(auri_wait_task(task[i], AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(ran[i] == 1);
    auri_task_unref(task[i]);
}

/* A worker submits to its own deque, and another one steals. */
static void run_nesting(auri_task *self)
{
    (void)self;
    submit(1);
    submit(2);
    ran[0]++;
}

static void host_nests(void)
{
    (void)auri_self();
    start(2);
    task[0] = task_for(0);
    auri_task_set_run(task[0], run_nesting);
    hand_in(task[0]);
    MODEL_CHECK(auri_wait_task(task[0], AUR_NO_DEADLINE) == AUR_OK);
    for (unsigned i = 1; i < 3; i++) {
        MODEL_CHECK(auri_wait_task(task[i], AUR_NO_DEADLINE) == AUR_OK);
        MODEL_CHECK(ran[i] == 1);
        auri_task_unref(task[i]);
    }
    auri_task_unref(task[0]);
    stop();
}

/* The same where calls begin in order: all of them come by the inbox, and are taken one at a time. */
static void host_keeps_order(void)
{
    (void)auri_self();
    pool.flags = AUR_POOL_NO_HELP | AUR_POOL_FIXED | AUR_POOL_FIFO;
    start(2);
    submit_one_that(run_nesting, 0);
    submit(3);
    for (unsigned i = 0; i < TASKS; i++) {
        host_awaits(i);
    }
    stop();
}

/* The first call blocks until the second one has run, which another worker must see, although it lay with the
 * first one when a worker took that. */
static void host_blocks_in_order(void)
{
    (void)auri_self();
    pool.flags = AUR_POOL_NO_HELP | AUR_POOL_FIXED |
                 AUR_POOL_FIFO; /* no monitor to make good what was missed */
    start(2);
    submit_one_that(run_event, 0);
    submit_one_that(run_event, 1);
    host_awaits(0);
    host_awaits(1);
    stop();
}

/* A call waits for the next one, which only another worker can run: a spare.  When the wait is over one of
 * the two is too many, and goes to the lot. */
static void run_waiting(auri_task *self)
{
    unsigned next = self->store.bytes[0] + 1u;

    MODEL_CHECK(auri_wait_task(task[next], AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(ran[next] == 1);
    ran[self->store.bytes[0]]++;
}

static void run_submitting(auri_task *self)
{
    submit(self->store.bytes[0] + 1u);
    run_waiting(self);
    auri_task_unref(task[self->store.bytes[0] + 1u]);
}

/* Twice: the second spare comes out of the lot, or is a new thread if the first one did not want to
 * wait any longer.  The end of the pool finds it there, or not yet there. */
static void host_needs_spares(void)
{
    (void)auri_self();
    pool.flags = AUR_POOL_NO_HELP | AUR_POOL_FIXED; /* no monitor to make good what was missed */
    start_with(1, 1);
    submit_one_that(run_submitting, 0);
    host_awaits(0);
    submit_one_that(run_submitting, 2);
    host_awaits(2);
    stop();
}

/* The awaited call is handed in while its waiter goes to sleep: one of the two must see the other. */
static void host_submits_beside_a_wait(void)
{
    (void)auri_self();
    pool.flags = AUR_POOL_NO_HELP | AUR_POOL_FIXED; /* no monitor to make good what was missed */
    start_with(1, 1);
    task[1] = task_for(1);
    auri_task_queue(task[1]);
    submit_one_that(run_waiting, 0);
    auri_add_sc(&pool.submitted, UINT64_C(1));
    MODEL_CHECK(pool.backend->submit(&pool, task[1]) == AUR_OK);
    host_awaits(0);
    auri_task_unref(task[1]);
    stop();
}

/* ---- loops ------------------------------------------------------------------------------------------ */

#define ITEMS 16u
static struct auri_team team;
static unsigned items[2][ITEMS];
static _Atomic(uint64_t) told[2]; /* items that were run, as the loop says */
static struct auri_record *record[4];

static bool body(void *ctx, uint64_t lo, uint64_t hi)
{
    unsigned *count = ctx;

    for (uint64_t i = lo; i < hi; i++) {
        count[i]++; /* plain: two runners would race */
    }
    return true;
}

static void setup_loop(void)
{
    aur_options opts = AUR_OPTIONS_INIT;

    pool.opts = opts;
    pool.impl = &team;
    team.pool = &pool;
    team.spin_ns = 1;
    team.cpus = 8;                   /* as many as like may take part */
    auri_store_rlx(&team.watch, 1u); /* no monitor */
    auri_ec_search_start(&team.ec);  /* somebody looks: a loop is published at once */
    for (unsigned i = 0; i < 4; i++) {
        record[i] = auri_record_take();
    }
    auri_self_ = record[0];
}

static bool body_waits(void *ctx, uint64_t lo, uint64_t hi);

static void own(unsigned which, unsigned n)
{
    auri_self_ = record[model_self()];
    auri_range_run(&team, items, task[0] != NULL ? body_waits : body, items[which], n,
                   &told[which]);
    MODEL_CHECK(auri_load_rlx(&told[which]) == n);
    for (unsigned i = 0; i < n; i++) {
        MODEL_CHECK(items[which][i] == 1);
    }
}

static void own_three(void)
{
    own(0, 3);
}
static void own_four(void)
{
    own(0, 4);
}
static void own_other(void)
{
    own(1, 3);
}
static void own_twice(void)
{
    own(0, 3);
    own(1, 3);
}

static void own_many(void)
{
    own(0, ITEMS);
}

static void thief(void)
{
    auri_self_ = record[model_self()];
    (void)auri_range_steal(&team, record[model_self()]);
}

static void thief_twice(void)
{
    thief();
    thief();
}

/* An item in the hands of a thief waits for the very task that the loop belongs to.  The owner cannot
 * give up its wait for helpers: whoever looks last, it is the thief that gets the verdict. */
static unsigned stolen, verdicts;

static bool body_waits(void *ctx, uint64_t lo, uint64_t hi)
{
    if (model_self() == 1 && stolen++ == 0) {
        aur_err err = auri_wait_task(task[0], AUR_NO_DEADLINE);
        MODEL_CHECK(err == AUR_EDEADLK);
        verdicts++;
    }
    return body(ctx, lo, hi);
}

static void setup_waiting_loop(void)
{
    setup_loop();
    task[0] = task_for(0);
    auri_task_queue(task[0]);
    MODEL_CHECK(auri_task_claim(task[0], record[0]->id));
    model_name(&record[0]->wait_seq, "owner's seq");
    model_name(&record[1]->wait_seq, "thief's seq");
    model_name(&record[1]->victim, "victim");
}

static void own_waited_for(void)
{
    own_three();
    auri_task_finish(task[0]);
}

static void one_verdict(void)
{
    MODEL_CHECK(verdicts == (stolen != 0));
}

#define RANDOM_(d, n)                                                                              \
    {                                                                                              \
        .search = MODEL_PCT, .depth = d, .runs = n                                                 \
    }
#define PREEMPT_(n)                                                                                \
    {                                                                                              \
        .search = MODEL_PLAIN, .preemptions = n                                                    \
    }
/* One CPU: nobody spins, so that what happens on the way to sleep happens often. */
#define POOL(n, main)                                                                              \
    {                                                                                              \
        .name = n, .setup = setup, .body = { main }, .cpus = 1, .quick = RANDOM_(6, 3000),         \
        .full = RANDOM_(8, 400000)                                                                 \
    }
#define SPARES(n, main)                                                                            \
    {                                                                                              \
        .name = n, .setup = setup, .body = { main }, .cpus = 1, .quick = RANDOM_(6, 3000),         \
        .full = RANDOM_(8, 60000)                                                                  \
    }
#define SPINNING(n, main)                                                                          \
    {                                                                                              \
        .name = n, .setup = setup, .body = { main }, .quick = RANDOM_(4, 1000),                    \
        .full = RANDOM_(6, 100000)                                                                 \
    }
#define LOOP(n, few, many, ...)                                                                    \
    {                                                                                              \
        .name = n, .setup = setup_loop, .body = { __VA_ARGS__ }, .clock_step_ns = 1000000,         \
        .quick = few, .full = many                                                                 \
    }

static const struct model_client clients[] = {
    { .name = "loop/deadlock",
      .setup = setup_waiting_loop,
      .body = { own_waited_for, thief },
      .check = one_verdict,
      .must_end = true,
      .clock_step_ns = 1000000,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(6, 500000) },
    LOOP("loop/one-thief", { .search = MODEL_DPOR }, { .search = MODEL_DPOR }, own_three, thief),
    LOOP("loop/two-steals", RANDOM_(4, 10000), RANDOM_(5, 500000), own_four, thief_twice),
    LOOP("loop/two-thieves", RANDOM_(4, 10000), RANDOM_(5, 500000), own_four, thief, thief),
    LOOP("loop/two-loops", RANDOM_(4, 10000), RANDOM_(5, 500000), own_three, thief_twice,
         own_other),
    LOOP("loop/slot-again", RANDOM_(4, 10000), RANDOM_(5, 500000), own_twice, thief_twice, thief),
    LOOP("loop/thieves-of-thieves", RANDOM_(6, 15000), RANDOM_(6, 500000), own_many, thief_twice,
         thief_twice, thief),
    POOL("pool/no-help", host_cannot_help),
    POOL("pool/monitor", host_blocks_unseen),
    SPARES("pool/spares", host_needs_spares),
    SPARES("pool/block", host_submits_beside_a_wait),
    POOL("pool/wait", host_waits),
    POOL("pool/plain", host_plain),
    POOL("pool/join", host_joins),
    SPINNING("pool/spinning", host_waits_two_workers),
    POOL("pool/two-workers", host_waits_two_workers),
    POOL("pool/nested", host_nests),
    POOL("pool/fifo", host_keeps_order),
    POOL("pool/fifo-blocks", host_blocks_in_order),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
