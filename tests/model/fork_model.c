/* Goal:    each branch of a fork is run once, by its owner or by one thief; the join sees what it did
 *          and how it failed; and whoever waits for a thief runs nothing that is no part of the branch.
 * Method:  the real lanes, forks and joins on threads that have a lane each.  A thief looks once or
 *          twice; somebody is said to search, so that no worker is to be woken.  What branches do is
 *          plain memory.  The owner sleeps at once, or helps.
 *          (Compiled with AURI_SPLIT_SHARED=1: a fork inside another one is private.)
 * Guards:  [J1] [J2] [J3] in src/sched/join.c and lane.c, [B1] in src/sync/deque.c; and that who sleeps
 *          has shared its forks. */
#include <stdint.h>

#include "base/err.h"
#include "model.h"
#include "plat/plat.h"
#include "sched/join.h"
#include "sched/run.h"
#include "sched/wait.h"
#include "task/internal.h"

#define THREADS 3u

static const struct auri_backend backend = { .name = "model" };
static aur_pool pool = { .backend = &backend, .holds = 1, .impl = NULL };
static struct auri_team team;
static struct auri_record *record[THREADS];
static auri_task *task; /* which the owner of the branch belongs to */
static unsigned ran[4];
static unsigned stolen, verdicts;

static void setup(void)
{
    pool.impl = &team;
    team.pool = &pool;
    auri_store_rlx(&team.watch, 1u); /* no monitor */
    auri_ec_search_start(&team.ec);
    for (unsigned i = 0; i < THREADS; i++) {
        record[i] = auri_record_take();
        record[i]->random = 0; /* looks at the lanes in their order */
        auri_record_set_lane(record[i], auri_guest_enter(&team));
        MODEL_CHECK(record[i]->lane != NULL);
    }
    auri_self_ = record[0];
    model_name(&record[0]->lane->forks.deque.top, "top0");
    model_name(&record[0]->lane->forks.deque.bottom, "bottom0");
    model_name(&record[1]->lane->forks.deque.top, "top1");
    model_name(&record[1]->lane->forks.deque.bottom, "bottom1");
}

static void setup_running(void)
{
    setup();
    task = auri_task_new(2);
    task->pool = &pool;
    auri_task_queue(task);
    MODEL_CHECK(auri_task_claim(task, record[0]->id));
}

/* Somebody else runs the task. */
static void setup_foreign(void)
{
    setup();
    task = auri_task_new(2);
    task->pool = &pool;
    auri_task_queue(task);
    MODEL_CHECK(auri_task_claim(task, record[2]->id));
}

/* ---- branches ---------------------------------------------------------------------------------- */

static void count(void *arg)
{
    (*(unsigned *)arg)++; /* plain: two runners would race */
}

static void nothing(void *arg)
{
    (void)arg;
}

static void fork_two(void *arg)
{
    unsigned *counts = arg;

    MODEL_CHECK(aur_join(count, &counts[0], count, &counts[1]) == AUR_OK);
    MODEL_CHECK(counts[0] == 1 && counts[1] == 1);
}

static void fork_three(void *arg)
{
    unsigned *counts = arg;

    MODEL_CHECK(aur_join(fork_two, &counts[0], count, &counts[2]) == AUR_OK);
    MODEL_CHECK(counts[2] == 1);
}

static void not_owner(void *arg)
{
    MODEL_CHECK(model_self() != 0);
    count(arg);
}

static void fork_foreign(void *arg)
{
    MODEL_CHECK(model_self() != 0);
    MODEL_CHECK(aur_join(nothing, NULL, not_owner, arg) == AUR_OK);
}

static void fail(void *arg)
{
    count(arg);
    auri_frame_fail(auri_self_->frame, AUR_ETASK, NULL);
}

static void wait_for_owner(void *arg)
{
    count(arg);
    if (model_self() != 0) {
        stolen++;
        MODEL_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_EDEADLK);
        verdicts++;
    }
}

static void signal_event(void *arg)
{
    count(arg);
    model_event_signal(0);
}

static void signal_other_event(void *arg)
{
    count(arg);
    model_event_signal(1);
}

static void finish(void *arg)
{
    count(arg);
    auri_task_finish(task);
}

static _Atomic(uint32_t) said;

static void say(void *arg)
{
    count(arg);
    auri_store_rel(&said, 1u);
    aurp_futex_wake(&said, 1, AURP_PRIVATE);
}

/* Nobody looks for work: there is one worker, and it may be asleep. */
static void setup_sleeper(void)
{
    setup();
    (void)auri_ec_search_stop(&team.ec);
    model_name(&team.ec.word, "word");
}

/* The same, and the branch is known to be too short for a wake. */
static void setup_short(void)
{
    setup_sleeper();
    struct auri_lane *lane = record[0]->lane;
    for (size_t i = 0; i < sizeof(lane->known) / sizeof(lane->known[0]); i++) {
        lane->known[i].run = signal_event;
    }
}

/* There is room for all that follows: no fork has to make some. */
static void setup_room(void)
{
    unsigned counts[4] = { 0 };

    setup();
    MODEL_CHECK(aur_join(fork_three, counts, count, &counts[3]) == AUR_OK);
}

/* ---- bodies ------------------------------------------------------------------------------------ */

static void own(aur_join_fn *a, void *arg_a, aur_join_fn *b, void *arg_b)
{
    auri_self_ = record[model_self()];
    MODEL_CHECK(aur_join(a, arg_a, b, arg_b) == AUR_OK);
}

static void own_two(void)
{
    own(count, &ran[0], count, &ran[1]);
    MODEL_CHECK(ran[0] == 1 && ran[1] == 1);
}

/* The older branch is the one that thieves get first. */
static void own_nested(void)
{
    own(fork_two, &ran[0], count, &ran[2]);
    MODEL_CHECK(ran[2] == 1);
}

/* The second is private until the oldest is taken, and is shared when the third ends. */
static void own_deep(void)
{
    own(fork_three, &ran[0], count, &ran[3]);
    MODEL_CHECK(ran[3] == 1);
}

/* What the thief runs forks in its turn, and the owner helps it. */
static void own_forking(void)
{
    own(count, &ran[2], fork_two, &ran[0]);
    MODEL_CHECK(ran[0] == 1 && ran[1] == 1 && ran[2] == 1);
}

/* One after the other, at the same place of the stack and of the deque. */
static void own_twice(void)
{
    own_two();
    own(nothing, NULL, count, &ran[2]);
    MODEL_CHECK(ran[2] == 1);
}

/* A thief has the owner's branch, and afterwards takes another one's, which forks in the same lane. */
static aur_fork_ mine, older, newer, foreign;
static aur_fork_spot_ mine_at, older_at, newer_at, foreign_at;
static struct auri_branch *taken;

static void setup_taken(void)
{
    setup();
    mine_at = aur_fork_begin_(&mine, count, &ran[0]);
    taken = auri_fork_steal(&team, record[1]);
    MODEL_CHECK(taken != NULL);
    auri_self_ = record[2];
    foreign_at = aur_fork_begin_(&foreign, fork_foreign, &ran[1]);
}

/* The same moment: the branch is taken, and will wait for its owner. */
static void setup_verdict(void)
{
    setup_running();
    mine_at = aur_fork_begin_(&mine, wait_for_owner, &ran[0]);
    taken = auri_fork_steal(&team, record[1]);
    MODEL_CHECK(taken != NULL);
}

static void own_taken_and_waited_for(void)
{
    auri_self_ = record[0];
    MODEL_CHECK(!aur_fork_end_(&mine, mine_at));
    auri_task_finish(task);
}

static void own_taken(void)
{
    auri_self_ = record[0];
    MODEL_CHECK(!aur_fork_end_(&mine, mine_at));
    MODEL_CHECK(ran[0] == 1);
}

/* The failure of a stolen branch is its owner's. */
static void own_failing(void)
{
    struct auri_frame frame = { .pool = &pool, .item = AUR_NO_ITEM };

    auri_self_ = record[0];
    auri_frame_push(record[0], &frame);
    MODEL_CHECK(aur_join(nothing, NULL, fail, &ran[0]) == AUR_OK);
    MODEL_CHECK(ran[0] == 1 && frame.error == NULL && frame.bare == AUR_ETASK);
    auri_frame_pop(record[0], &frame);
}

/* The owner cannot leave its join; so the branch gets the verdict. */
static void own_waited_for(void)
{
    own(nothing, NULL, wait_for_owner, &ran[0]);
    auri_task_finish(task);
}

static void thief(void)
{
    struct auri_record *self = record[model_self()];
    struct auri_branch *branch;

    auri_self_ = self;
    branch = auri_fork_steal(&team, self);
    if (branch != NULL) {
        auri_branch_run(self, branch);
    }
}

/* What the owner does beside its branch needs the branch to have run. */
static void own_needed(void)
{
    auri_self_ = record[0];
    mine_at = aur_fork_begin_(&mine, signal_event, &ran[0]);
    (void)model_event_wait(0, MODEL_THREADS);
    MODEL_CHECK(!aur_fork_end_(&mine, mine_at) && ran[0] == 1);
}

static void own_needed_and_says_so(void)
{
    auri_self_ = record[0];
    mine_at = aur_fork_begin_(&mine, signal_event, &ran[0]);
    aur_blocking_begin();
    (void)model_event_wait(0, MODEL_THREADS);
    aur_blocking_end();
    MODEL_CHECK(!aur_fork_end_(&mine, mine_at) && ran[0] == 1);
}

/* The same with a second fork, which is private until then. */
static void two_forks(aur_join_fn *second)
{
    auri_self_ = record[0];
    older_at = aur_fork_begin_(&older, count, &ran[1]);
    mine_at = aur_fork_begin_(&mine, second, &ran[0]);
}

static void two_joins(void)
{
    MODEL_CHECK(!aur_fork_end_(&mine, mine_at) && ran[0] == 1);
    MODEL_CHECK(!aur_fork_end_(&older, older_at) && ran[1] == 1);
}

static void own_two_and_blocks(void)
{
    two_forks(signal_event);
    aur_blocking_begin();
    (void)model_event_wait(0, MODEL_THREADS);
    aur_blocking_end();
    two_joins();
}

static void own_two_and_blocks_as_worker(void)
{
    struct auri_frame frame = { .pool = &pool, .item = AUR_NO_ITEM };

    record[0]->pool = &pool;
    auri_frame_push(record[0], &frame);
    own_two_and_blocks();
    auri_frame_pop(record[0], &frame);
    record[0]->pool = NULL;
}

/* When a thief has the only one that was shared, the next join or fork shares the next one. */
static void own_three(bool joins)
{
    auri_self_ = record[0];
    older_at = aur_fork_begin_(&older, signal_other_event, &ran[1]);
    mine_at = aur_fork_begin_(&mine, signal_event, &ran[0]);
    if (joins) {
        newer_at = aur_fork_begin_(&newer, nothing, NULL);
    }
    (void)model_event_wait(1, MODEL_THREADS);
    if (joins) {
        MODEL_CHECK(aur_fork_end_(&newer, newer_at));
    } else {
        newer_at = aur_fork_begin_(&newer, nothing, NULL);
    }
    (void)model_event_wait(0, MODEL_THREADS);
    MODEL_CHECK(joins || aur_fork_end_(&newer, newer_at));
    two_joins();
}

static void own_three_and_joins(void)
{
    own_three(true);
}

static void own_three_and_forks(void)
{
    own_three(false);
}

static void own_two_and_waits(void)
{
    two_forks(finish);
    MODEL_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_OK);
    two_joins();
}

static void own_two_and_waits_for_any(void)
{
    two_forks(say);
    while (auri_load_acq(&said) == 0) {
        (void)auri_wait_word(&said, 0, NULL, 0, AUR_NO_DEADLINE);
    }
    two_joins();
}

/* A worker, as sched/worker.c, that has nothing but forks to find. */
static void sleeper(void)
{
    struct auri_branch *branch;

    auri_self_ = record[1];
    auri_ec_search_start(&team.ec);
    while ((branch = auri_fork_steal(&team, record[1])) == NULL) {
        auri_ec_announce(&team.ec);
        if (auri_forks_look_open(&team)) {
            auri_ec_retract(&team.ec);
        } else {
            (void)auri_ec_sleep(&team.ec, AUR_NO_DEADLINE);
        }
    }
    (void)auri_ec_search_stop(&team.ec);
    auri_branch_run(record[1], branch);
}

static void thief_twice(void)
{
    thief();
    thief();
}

static void thief_until_two(void)
{
    struct auri_branch *branch;

    auri_self_ = record[1];
    for (unsigned i = 0; i < 2;) {
        branch = auri_fork_steal(&team, record[1]);
        if (branch != NULL) {
            auri_branch_run(record[1], branch);
            i++;
        } else {
            auri_cpu_relax();
        }
    }
}

static void thief_goes_on(void)
{
    auri_self_ = record[1];
    auri_branch_run(record[1], taken);
    thief();
}

static void thief_runs(void)
{
    auri_self_ = record[1];
    auri_branch_run(record[1], taken);
}

static void nothing_open(void)
{
    MODEL_CHECK(!auri_forks_look_open(&team));
}

static void foreign_once(void)
{
    auri_self_ = record[2];
    MODEL_CHECK(!aur_fork_end_(&foreign, foreign_at));
    MODEL_CHECK(ran[1] == 1);
    nothing_open();
}

static void one_verdict(void)
{
    nothing_open();
    MODEL_CHECK(ran[0] == 1 && verdicts == stolen);
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define RANDOM_(d, n)                                                                              \
    {                                                                                              \
        .search = MODEL_PCT, .depth = d, .runs = n                                                 \
    }
#define CLIENT(n, few, many, ...)                                                                  \
    {                                                                                              \
        .name = n, .setup = setup, .body = { __VA_ARGS__ }, .check = nothing_open, .quick = few,   \
        .full = many                                                                               \
    }

static const struct model_client clients[] = {
    CLIENT("fork/one-thief", RANDOM_(4, 20000), ALL, own_two, thief),
    CLIENT("fork/failure", RANDOM_(4, 20000), ALL, own_failing, thief),
    CLIENT("fork/again", RANDOM_(4, 10000), RANDOM_(5, 300000), own_twice, thief_twice),
    CLIENT("fork/two-thieves", RANDOM_(4, 10000), RANDOM_(5, 300000), own_two, thief, thief),
    CLIENT("fork/nested", RANDOM_(4, 10000), RANDOM_(5, 300000), own_nested, thief_twice, thief),
    CLIENT("fork/deep", RANDOM_(4, 10000), RANDOM_(5, 300000), own_deep, thief_twice),
    CLIENT("fork/help", RANDOM_(4, 10000), RANDOM_(5, 300000), own_forking, thief),
    { .name = "fork/sleeper",
      .setup = setup_sleeper,
      .body = { own_needed, sleeper },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = ALL },
    { .name = "fork/blocks",
      .setup = setup_short,
      .body = { own_needed_and_says_so, sleeper },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = ALL },
    { .name = "fork/all-blocks",
      .setup = setup,
      .body = { own_two_and_blocks, thief_until_two },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(5, 300000) },
    { .name = "fork/all-waits",
      .setup = setup_foreign,
      .body = { own_two_and_waits, thief_until_two },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 4000),
      .full = RANDOM_(5, 50000) },
    { .name = "fork/all-waits-any",
      .setup = setup,
      .body = { own_two_and_waits_for_any, thief_until_two },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(5, 300000) },
    { .name = "fork/all-blocks-worker",
      .setup = setup,
      .body = { own_two_and_blocks_as_worker, thief_until_two },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(5, 300000) },
    { .name = "fork/join-shares",
      .setup = setup_room,
      .body = { own_three_and_joins, thief_until_two },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(5, 300000) },
    { .name = "fork/fork-shares",
      .setup = setup_room,
      .body = { own_three_and_forks, thief_until_two },
      .check = nothing_open,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(5, 300000) },
    { .name = "fork/foreign",
      .setup = setup_taken,
      .body = { own_taken, thief_goes_on },
      .check = foreign_once,
      .quick = RANDOM_(5, 20000),
      .full = ALL },
    { .name = "fork/verdict",
      .setup = setup_verdict,
      .body = { own_taken_and_waited_for, thief_runs },
      .check = one_verdict,
      .clock_step_ns = 1000000,
      .quick = RANDOM_(4, 20000),
      .full = { .search = MODEL_PLAIN, .preemptions = 4 } },
    { .name = "fork/deadlock",
      .setup = setup_running,
      .body = { own_waited_for, thief },
      .check = one_verdict,
      .must_end = true,
      .quick = RANDOM_(4, 10000),
      .full = RANDOM_(6, 300000) },
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
