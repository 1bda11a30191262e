/* Goal:    a true cycle of waits is always named, by exactly one waiter of it; waits that only look like
 *          one never are; and no wait sleeps for ever.
 * Method:  each body is the runner of one task and waits for the task of another one, with the real
 *          walk, edges and verdict.  Whoever gets the verdict finishes its own task after all, so that
 *          the others can end.
 * Guards:  [E1] [E2] [V1] [V2] in src/sched/detect.c and src/sched/wait.c. */
#include <stdint.h>

#include "model.h"
#include "plat/plat.h"
#include "sched/detect.h"
#include "sched/wait.h"
#include "task/internal.h"
#include "task/pool.h"

#define THREADS 4u

static const struct auri_backend backend = { .name = "model" };
static aur_pool pool = { .backend = &backend, .holds = 1 };
static struct auri_record *record[THREADS];
static auri_task *task[THREADS]; /* task[i] is run by body i */
static unsigned result[THREADS];
static unsigned verdicts[THREADS];
static unsigned n;

static void setup_n(unsigned count)
{
    n = count;
    for (unsigned i = 0; i < n; i++) {
        record[i] = auri_record_take();
    }
    auri_self_ = record[0];
    for (unsigned i = 0; i < n; i++) {
        static const char *const words[] = { "word0", "word1", "word2", "word3" };
        static const char *const seqs[] = { "seq0", "seq1", "seq2", "seq3" };
        task[i] = auri_task_new(5);
        task[i]->pool = &pool;
        auri_task_queue(task[i]);
        (void)auri_task_claim(task[i], record[i]->id);
        model_name(&task[i]->word, words[i]);
        model_name(&record[i]->wait_seq, seqs[i]);
    }
}
static void setup_two(void)
{
    setup_n(2);
}
static void setup_three(void)
{
    setup_n(3);
}

static void wait_for(unsigned i)
{
    unsigned me = model_self();
    aur_err err = auri_wait_task(task[i], AUR_NO_DEADLINE);

    MODEL_CHECK(err == AUR_OK || err == AUR_EDEADLK);
    MODEL_CHECK(err != AUR_OK || result[i] == 1 + i);
    verdicts[me] += err == AUR_EDEADLK;
}

static void finish_own(void)
{
    unsigned me = model_self();

    result[me] = 1 + me;
    auri_task_finish(task[me]);
}

/* ---- bodies -------------------------------------------------------------------------------------- */

static void wait_next(void)
{
    auri_self_ = record[model_self()];
    wait_for((model_self() + 1) % n);
    finish_own();
}

/* Looks like a cycle, and is none: it is done before it waits. */
static void finish_then_wait_next(void)
{
    auri_self_ = record[model_self()];
    finish_own();
    wait_for((model_self() + 1) % n);
}

static void wait_first(void)
{
    auri_self_ = record[model_self()];
    wait_for(0);
    finish_own();
}

static void wait_second(void)
{
    auri_self_ = record[model_self()];
    wait_for(1);
    finish_own();
}

/* Breaks the cycle by itself. */
static void wait_next_for_a_while(void)
{
    unsigned next = (model_self() + 1) % n;

    auri_self_ = record[model_self()];
    aur_err err = auri_wait_task(task[next], UINT64_C(1000000000) + 5000000);
    MODEL_CHECK(err == AUR_OK || err == AUR_ETIMEDOUT);
    finish_own();
}

/* Waits for any of two, by a word that nobody counts up but the verdict. */
static _Atomic(uint32_t) completions;

static void fire(struct auri_cont *self, auri_task *of)
{
    (void)self;
    (void)of;
    auri_add_acqrel(&completions, 1u);
    aurp_futex_wake(&completions, INT32_MAX, AURP_PRIVATE);
}

static struct auri_cont cont;

static void wait_next_as_any(void)
{
    unsigned next = (model_self() + 1) % n;
    auri_task *all[1] = { task[next] };

    auri_self_ = record[model_self()];
    cont.fire = fire;
    if (!auri_cont_add(task[next], &cont)) {
        fire(&cont, task[next]);
    }
    aur_err err = auri_wait_word(&completions, 0, all, 1, AUR_NO_DEADLINE);
    MODEL_CHECK(err == AUR_OK || err == AUR_EDEADLK);
    verdicts[model_self()] += err == AUR_EDEADLK;
    (void)auri_cont_remove(task[next], &cont);
    finish_own();
}

/* Its first wait ends, its second one closes a cycle. */
static void wait_second_then_third(void)
{
    auri_self_ = record[model_self()];
    wait_for(1);
    wait_for(2);
    finish_own();
}

static void only_finish(void)
{
    auri_self_ = record[model_self()];
    finish_own();
}

/* Two looks at one edge that moves.  Node 1 waits for task 2 from the beginning, as an edge without a
 * thread: it never reacts, which gives the reader all the time there is to see its old wait.  Node 2 ends
 * that task and then waits for task 0, so each look by itself may find 0 -> 1 -> 2 -> 0, of which the middle
 * was over before the last began. */
static void setup_moving(void)
{
    setup_n(4);
    auri_edge_task(record[1], task[2], false);
}

/* The same, and the place of the task is used again by the time of the second look: by another call, in
 * the same state and with the same owner.  Only the end of node 1's wait tells. */
static void setup_moving_slot(void)
{
    setup_n(2);
    n = 3;
    record[2] = auri_record_take();
    auri_self_ = record[2];
    task[2] = auri_task_new(1);
    task[2]->pool = &pool;
    auri_task_queue(task[2]);
    (void)auri_task_claim(task[2], record[2]->id);
    auri_edge_task(record[1], task[2], false);
}

static void ask_for_a_verdict(void)
{
    aur_error error;

    auri_self_ = record[0];
    auri_edge_task(record[0], task[1], false);
    MODEL_CHECK(auri_detect(record[0], &error) == AUR_OK);
    auri_edge_clear(record[0]);
}

static void move_the_edge(void)
{
    auri_self_ = record[2];
    auri_task_finish(task[2]);
    auri_edge_task(record[2], task[0], false);
}

/* The task is given back for another attempt, which is somebody else's, who does not wait. */
static void move_the_owner(void)
{
    auri_self_ = record[2];
    auri_task_requeue(task[2]);
    (void)auri_task_claim(task[2], record[3]->id);
    auri_edge_task(record[2], task[0], false);
}

static void move_the_edge_and_the_slot(void)
{
    auri_self_ = record[2];
    auri_task_finish(task[2]);
    auri_edge_clear(record[1]); /* as node 1 would, if it were a thread */
    auri_task_unref(task[2]);
    auri_task *next = auri_task_new(1);
    MODEL_CHECK(next == task[2]);
    next->pool = &pool;
    auri_task_queue(next);
    (void)auri_task_claim(next, record[2]->id);
    auri_edge_task(record[2], task[0], false);
}

/* Node 2 waits for task 0 from the beginning, without a thread: the second wait closes a cycle. */
static void setup_waited_for(void)
{
    setup_three();
    auri_edge_task(record[2], task[0], false);
}

/* Task 1 is a map in the hands of worker processes, one of which, node 1, waits inside an item of it. */
static void setup_map(void)
{
    setup_n(1);
    n = 2;
    record[1] = auri_record_take();
    task[1] = auri_task_new(1);
    task[1]->pool = &pool;
    auri_task_queue(task[1]);
    (void)auri_task_claim(task[1], 0);
}

static void ask(unsigned id)
{
    aur_error error;

    verdicts[id] += auri_detect(record[id], &error) == AUR_EDEADLK;
}

static void wait_for_map(void)
{
    auri_self_ = record[0];
    auri_edge_task(record[0], task[1], false);
    ask(0);
}

static void wait_in_item(void)
{
    auri_self_ = record[1];
    auri_edge_maps(record[1], &task[1], 1);
    auri_edge_task(record[1], task[0], false);
    ask(1);
}

static void wait_in_item_of_another(void)
{
    auri_self_ = record[1];
    auri_edge_maps(record[1], &task[0], 1);
    auri_edge_task(record[1], task[0], false);
    ask(1);
}

/* Node 1 is a loop's owner, or who waits for the thief of a branch: it waits for its helper, node 0, and cannot
 * give up.  So if it is the one that closes the cycle, it chooses node 0 and wakes it. */
static struct auri_helpers helpers;

static void wait_for_helper(void)
{
    aur_error error;

    auri_self_ = record[1];
    auri_store_rlx(&helpers.id[0], record[0]->id);
    auri_edge_job(record[1], &helpers);
    (void)auri_detect(record[1], &error);
    model_await_end(0);
    auri_edge_clear(record[1]);
    finish_own();
}

/* Nodes 0 and 2 are worker processes: 0 waits for a call of 2, which waits for the loop's owner, node 1, which
 * waits for node 0: a cycle until process 2 dies.  Then node 0 waits for something else, on no cycle, and
 * whatever the owner has chosen meanwhile is not for that wait. */
static void setup_mortal(void)
{
    setup_n(4);
    auri_edge_task(record[2], task[1], false);
    auri_edge_task(record[0], task[2], false);
    auri_store_rlx(&helpers.id[0], record[0]->id);
}

static void choose_helper(void)
{
    aur_error error;

    auri_self_ = record[1];
    auri_edge_job(record[1], &helpers);
    (void)auri_detect(record[1], &error);
}

/* As the parent of both. */
static void die_and_wait_again(void)
{
    auri_self_ = record[3];
    auri_edge_clear(record[2]);
    auri_task_finish(task[2]);
    auri_edge_clear(record[0]);
    auri_edge_task(record[0], task[3], false);
}

/* POKE changes twice between a victim's look at the word and its sleep, so that the word is as it was: node 1
 * is a loop's owner whose helpers wait for its task, and chooses one after the other.  The first, node 2, is
 * an edge without a thread.  The second, node 0, is woken only because its owner does not go before it has left. */
static void setup_poked_twice(void)
{
    setup_n(2);
    record[0]->woke = true; /* it does not spin first: each pause would let the other body go on */
    record[2] = auri_record_take();
    auri_edge_task(record[2], task[1], false);
}

static void choose_two_helpers(void)
{
    auri_self_ = record[1];
    auri_store_rlx(&helpers.id[0], record[2]->id);
    auri_edge_job(record[1], &helpers);
    (void)auri_detect(record[1], NULL);
    auri_edge_clear(record[1]);
    auri_edge_clear(record[2]); /* as node 2 would, if it were a thread */
    auri_store_rlx(&helpers.id[0], record[0]->id);
    auri_edge_job(record[1], &helpers);
    auri_detect_owner(record[1]);
    model_await_end(0);
    auri_edge_clear(record[1]);
    finish_own();
}

/* ---- at the end ------------------------------------------------------------------------------------ */

static unsigned total(void)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < THREADS; i++) {
        sum += verdicts[i];
    }
    return sum;
}

static void one_verdict(void)
{
    MODEL_CHECK(total() == 1);
}

static void no_verdict(void)
{
    MODEL_CHECK(total() == 0);
}

static void not_this_wait(void)
{
    MODEL_CHECK(!auri_record_is_victim(record[0]));
}

/* A waiter outside the cycle never gets it. */
static void one_verdict_inside(void)
{
    MODEL_CHECK(total() == 1 && verdicts[2] == 0);
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define CLIENT(name_, begin, end, ...)                                                             \
    {                                                                                              \
        .name = name_, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                      \
        .clock_step_ns = 1000000, .quick = ALL, .full = ALL                                        \
    }
#define BY_CHANCE(name_, begin, end, ...)                                                          \
    {                                                                                              \
        .name = name_, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                      \
        .clock_step_ns = 1000000, .quick = { .search = MODEL_PCT, .depth = 4, .runs = 15000 },     \
        .full = {                                                                                  \
            .search = MODEL_PCT,                                                                   \
            .depth = 6,                                                                            \
            .runs = 500000                                                                         \
        }                                                                                          \
    }

#define LARGE(name_, begin, end, ...)                                                              \
    {                                                                                              \
        .name = name_, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                      \
        .clock_step_ns = 1000000, .quick = { .search = MODEL_PCT, .depth = 4, .runs = 15000 },     \
        .full = ALL                                                                                \
    }

/* A body waits in a loop. */
#define SPINS(name_, begin, end, ...)                                                              \
    {                                                                                              \
        .name = name_, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                      \
        .clock_step_ns = 1000000, .must_end = true,                                                \
        .quick = { .search = MODEL_PLAIN, .preemptions = 2 }, .full = {                            \
            .search = MODEL_PLAIN,                                                                 \
            .preemptions = 3                                                                       \
        }                                                                                          \
    }

static const struct model_client clients[] = {
    LARGE("chain/two", setup_two, one_verdict, wait_next, wait_next),
    CLIENT("chain/none", setup_two, no_verdict, wait_next, finish_then_wait_next),
    CLIENT("chain/deadline", setup_two, no_verdict, wait_next, wait_next_for_a_while),
    CLIENT("chain/any-and-task", setup_two, one_verdict, wait_next_as_any, wait_next),
    BY_CHANCE("chain/three", setup_three, one_verdict, wait_next, wait_next, wait_next),
    BY_CHANCE("chain/two-and-one", setup_three, one_verdict_inside, wait_second, wait_first,
              wait_first),
    CLIENT("chain/second-edge", setup_waited_for, one_verdict, wait_second_then_third, only_finish),
    CLIENT("chain/helper", setup_two, one_verdict, wait_next, wait_for_helper),
    CLIENT("chain/helper-none", setup_two, no_verdict, only_finish, wait_for_helper),
    CLIENT("chain/helper-freed", setup_mortal, not_this_wait, choose_helper, die_and_wait_again),
    SPINS("chain/poked-twice", setup_poked_twice, one_verdict, wait_next, choose_two_helpers),
    CLIENT("chain/map", setup_map, one_verdict, wait_for_map, wait_in_item),
    CLIENT("chain/other-map", setup_map, no_verdict, wait_for_map, wait_in_item_of_another),
    CLIENT("chain/moving-edge", setup_moving, no_verdict, ask_for_a_verdict, move_the_edge),
    CLIENT("chain/moving-owner", setup_moving, no_verdict, ask_for_a_verdict, move_the_owner),
    CLIENT("chain/moving-slot", setup_moving_slot, no_verdict, ask_for_a_verdict,
           move_the_edge_and_the_slot),
    CLIENT("chain/any-and-deadline", setup_two, no_verdict, wait_next_as_any,
           wait_next_for_a_while),
    BY_CHANCE("chain/second-wait", setup_three, one_verdict, wait_second_then_third, only_finish,
              wait_first),
    BY_CHANCE("chain/any-none", setup_three, no_verdict, wait_next_as_any, wait_next,
              finish_then_wait_next),
    BY_CHANCE("chain/three-none", setup_three, no_verdict, wait_next, wait_next,
              finish_then_wait_next),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
