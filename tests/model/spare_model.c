/* Goal:    a worker that blocks is replaced if there is work, whoever of the two comes first; whoever is
 *          too many leaves for the lot, and is found there; and nobody is told that there is nobody left while
 *          another one's wait for any of several is over.
 * Method:  the real calls on a team without threads: what would wake or start one leaves a token in
 *          the lot, or fails; and the inbox by itself.  Small enough to be searched completely; the same parts at work in a whole
 *          pool are pool/spares and pool/block.
 * Guards:  threads_block(), auri_team_add_worker() and auri_team_lot_wait() in src/sched/threads.c;
 *          auri_wait_word() in src/sched/wait.c; [I1] [I2] in src/sched/worker.c. */
#include <stdint.h>

#include "model.h"
#include "plat/plat.h"
#include "sched/team.h"
#include "sched/threads.h"
#include "sched/wait.h"
#include "task/internal.h"

static aur_pool pool = { .backend = &auri_backend_threads, .holds = 1, .workers = 1 };
static struct auri_team team;
static struct auri_record *record[3];
static auri_task *task;
static aur_err blocked[3]; /* what body i was told */
static bool goes_on;

/* No thread can be started: the team has no places. */
static void setup_team(void)
{
    pool.impl = &team;
    team.pool = &pool;
    auri_store_rlx(&team.watch, 1u); /* no monitor */
    for (unsigned i = 0; i < 3; i++) {
        record[i] = auri_record_take();
    }
    auri_self_ = record[0];
    task = auri_task_new(2);
    task->pool = &pool;
    auri_task_queue(task);
    model_name(&team.inbox, "inbox");
    model_name(&team.ec.word, "word");
}

/* One worker, and one in the lot. */
static void setup_one_in_the_lot(void)
{
    setup_team();
    team.lot_idle = 1;
}

static void setup_two_in_the_lot(void)
{
    setup_team();
    team.lot_idle = 2;
}

static void setup_two_and_one_in_the_lot(void)
{
    setup_one_in_the_lot();
    pool.workers = 2;
}

/* One worker, and another one that is too many. */
static void setup_one_too_many(void)
{
    setup_team();
    auri_ec_deficit_add(&team.ec, -1);
}

/* Two workers, of whom one waits for what the other one ends. */
static struct auri_member member[2];
static struct auri_frame frame;
static _Atomic(uint32_t) completions;
static auri_task *awaited;

static void setup_one_that_waits(void)
{
    setup_team();
    pool.workers = 2;
    team.member = member;
    auri_store_rlx(&team.member_end, 2u);
    for (unsigned i = 0; i < 2; i++) {
        auri_store_rlx(&member[i].record, record[i]);
        record[i]->pool = &pool;
        record[i]->worker = (int)i;
    }
    record[0]->frame = &frame;
    awaited = auri_task_new(2);
    awaited->pool = &pool;
    auri_task_queue(awaited);
    (void)auri_task_claim(awaited, record[1]->id);
    model_name(&completions, "completions");
}

static int deficit(void)
{
    return auri_ec_deficit(auri_load_sc(&team.ec.word));
}

/* ---- bodies -------------------------------------------------------------------------------------- */

static void blocks(void)
{
    auri_self_ = record[model_self()];
    blocked[model_self()] = pool.backend->block(&pool);
}

static void submits(void)
{
    auri_self_ = record[model_self()];
    auri_team_push(&team, task);
    auri_team_notify_pushed(&team);
}

static void submits_then_blocks(void)
{
    submits();
    blocks();
}

static void blocks_and_goes_on(void)
{
    blocks();
    MODEL_CHECK(blocked[model_self()] == AUR_OK);
    pool.backend->unblock(&pool);
}

/* The work that is queued is the other one's: here nobody needs to be replaced for it. */
static void waits_for_any(void)
{
    auri_self_ = record[0];
    MODEL_CHECK(auri_wait_word(&completions, 0, &awaited, 1, AUR_NO_DEADLINE) == AUR_OK);
}

static void ends_it_then_blocks(void)
{
    auri_self_ = record[1];
    auri_add_acqrel(&completions, 1u); /* as a continuation does */
    aurp_futex_wake(&completions, INT32_MAX, AURP_PRIVATE);
    auri_team_push(&team, task);
    blocked[1] = pool.backend->block(&pool);
}

static void leaves(void)
{
    auri_self_ = record[model_self()];
    goes_on = auri_team_lot_wait(&team);
}

/* The inbox by itself: each pusher two tasks, which must come out once and in its order. */
static auri_task *pushed[2][2];
static unsigned taken[2];

static void setup_inbox(void)
{
    setup_team();
    for (unsigned i = 0; i < 4; i++) {
        auri_task *new = auri_task_new(2);
        new->pool = &pool;
        new->store.bytes[0] = (unsigned char)i;
        auri_task_queue(new);
        pushed[i / 2][i % 2] = new;
    }
}

static void push_two(void)
{
    unsigned me = model_self();

    auri_self_ = record[me];
    auri_team_push(&team, pushed[me][0]);
    auri_team_push(&team, pushed[me][1]);
}

static void push_one(void)
{
    auri_self_ = record[model_self()];
    auri_team_push(&team, pushed[model_self()][0]);
}

static void take_one(void)
{
    auri_task *got = auri_team_drain(&team);

    if (got != NULL) {
        unsigned from = got->store.bytes[0] / 2;
        MODEL_CHECK(got == pushed[from][taken[from]]);
        taken[from]++;
    }
}

static void take_two(void)
{
    auri_self_ = record[2];
    take_one();
    take_one();
}

/* ---- at the end ------------------------------------------------------------------------------------ */

/* One goes on in place of the blocked one: no more, and not fewer. */
static void let_one_go_on(void)
{
    MODEL_CHECK(blocked[0] == AUR_OK && team.lot_tokens == 1 && deficit() == 0);
}

/* Two blocked ones of two, and one in the lot: that one goes on, and one is missing still. */
static void let_one_go_on_of_two(void)
{
    MODEL_CHECK(blocked[0] == AUR_OK && blocked[1] == AUR_OK);
    MODEL_CHECK(team.lot_tokens == 1 && deficit() == 1);
}

/* Whoever left had not been needed; whoever is needed has not left, or is back, or had grown tired of
 * waiting before, and then the blocked one was told that nobody is left to do the work. */
static void somebody_is_left(void)
{
    MODEL_CHECK(team.lot_idle == 0 && team.lot_tokens == 0);
    MODEL_CHECK((blocked[1] == (goes_on ? AUR_OK : AUR_EAGAIN)) && deficit() == 0);
}

/* Whether it has gone on already, or is about to. */
static void who_waits_is_left(void)
{
    MODEL_CHECK(blocked[1] == AUR_OK && deficit() == 1);
}

/* Both work, so one is too many, unless it has left; the one who left may have come back. */
static void count_is_right(void)
{
    MODEL_CHECK(team.lot_idle == 0 && team.lot_tokens == 0);
    MODEL_CHECK(deficit() == (goes_on ? -1 : 0));
}

static void all_came_out(unsigned first, unsigned second)
{
    for (unsigned i = 0; i < 4; i++) {
        take_one();
    }
    MODEL_CHECK(taken[0] == first && taken[1] == second);
}

static void three_came_out(void)
{
    all_came_out(2, 1);
}

static void two_came_out(void)
{
    all_came_out(1, 1);
}

#define CLIENT(name_, begin, end, ...)                                                             \
    {                                                                                              \
        .name = name_, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                      \
        .clock_step_ns = 100000000, .quick = { .search = MODEL_DPOR }, .full = {                   \
            .search = MODEL_DPOR                                                                   \
        }                                                                                          \
    }

static const struct model_client clients[] = {
    CLIENT("spare/block", setup_one_in_the_lot, let_one_go_on, blocks, submits),
    CLIENT("spare/one-of-two", setup_two_in_the_lot, let_one_go_on, blocks, submits),
    { .name = "spare/block-two",
      .setup = setup_two_and_one_in_the_lot,
      .body = { blocks, blocks, submits },
      .check = let_one_go_on_of_two,
      .quick = { .search = MODEL_PCT, .depth = 4, .runs = 10000 },
      .full = { .search = MODEL_DPOR } },
    CLIENT("inbox/two", setup_inbox, two_came_out, push_one, push_one, take_two),
    CLIENT("inbox/three", setup_inbox, three_came_out, push_two, push_one, take_two),
    CLIENT("spare/leave", setup_one_too_many, somebody_is_left, leaves, submits_then_blocks),
    CLIENT("spare/back", setup_one_too_many, count_is_right, leaves, blocks_and_goes_on),
    { .name = "spare/returns",
      .setup = setup_one_that_waits,
      .body = { waits_for_any, ends_it_then_blocks },
      .check = who_waits_is_left,
      .quick = { .search = MODEL_PLAIN, .preemptions = 2 },
      .full = { .search = MODEL_PLAIN, .preemptions = 3 } },
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
