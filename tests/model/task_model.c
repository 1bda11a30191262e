/* Goal:    a task is run by exactly one, its outcome reaches whoever waits, its continuations fire once,
 *          and its slot is given away only when nobody has it any more.
 * Method:  the real word, slabs, continuations and waits, without any queue: the pointer travels through
 *          a relaxed word, so that all order comes from the task itself.  Arguments and results are
 *          plain memory.
 * Guards:  [Q1] [Q2] [D1] in src/task/task.c, [N1] [H1] [H2] in src/task/slab.c, src/task/cont.c, and
 *          the sleep in src/sched/wait.c. */
#include <stdint.h>

#include "model.h"
#include "plat/plat.h"
#include "sched/wait.h"
#include "task/internal.h"
#include "task/pool.h"
#include "task/record.h"

#define THREADS 3u

static const struct auri_backend backend = { .name = "model" };
static aur_pool pool = { .backend = &backend, .holds = 1 };
static struct auri_record *record[THREADS];
static auri_task *task, *other;
static _Atomic(auri_task *) sent; /* relaxed on purpose */
static uint64_t old_id;
static unsigned args, result;
static unsigned runs, fired, removed, cancelled;
static struct auri_cont cont;

static void be(unsigned i)
{
    auri_self_ = record[i];
}

static void setup(void)
{
    for (unsigned i = 0; i < THREADS; i++) {
        record[i] = auri_record_take();
    }
    be(0);
    auri_task_unref(auri_task_new(1)); /* a slab is there */
    model_name(&sent, "sent");
}

static auri_task *task_for(uint32_t refs)
{
    auri_task *new = auri_task_new(refs);

    new->pool = &pool;
    model_name(&new->word, "word");
    model_name(&new->refs, "refs");
    return new;
}

static void setup_queued(void)
{
    setup();
    task = task_for(3);
    auri_task_queue(task);
}

static void setup_running(void)
{
    setup_queued();
    (void)auri_task_claim(task, record[0]->id);
}

/* Its second line tells the waiter. */
static void setup_telling(void)
{
    static const aur_fn fn = { .args_size = 8, .args_align = 8, .ret_size = 8, .ret_align = 8 };

    setup_running();
    task->fn = &fn;
    MODEL_CHECK(auri_task_tells(task));
    model_name(&task->store.told, "told");
}

/* ---- run once -------------------------------------------------------------------------------------- */

static void run_it(unsigned who)
{
    (void)who;
    runs++; /* plain: two runners would race */
    MODEL_CHECK(args == 5);
    result = 9;
    auri_task_finish(task);
}

static void create(void)
{
    be(0);
    task = task_for(3);
    args = 5;
    auri_task_queue(task);
    auri_store_rlx(&sent, task);
}

static void claim_sent(void)
{
    unsigned me = model_self();
    auri_task *it = auri_load_rlx(&sent);

    be(me);
    if (it != NULL && auri_task_claim(it, record[me]->id)) {
        run_it(me);
    }
}

static void claim(void)
{
    unsigned me = model_self();

    be(me);
    if (auri_task_claim(task, record[me]->id)) {
        run_it(me);
    }
}

static void setup_args(void)
{
    setup_queued();
    args = 5;
}

static void cancel(void)
{
    be(model_self());
    cancelled += auri_task_cancel_queued(task);
}

/* One attempt, another one by whoever comes. */
static void claim_and_requeue(void)
{
    be(0);
    if (auri_task_claim(task, record[0]->id)) {
        args += 5;
        auri_task_requeue(task);
    }
}

static void claim_second(void)
{
    be(1);
    if (auri_task_claim(task, record[1]->id)) {
        args += 5;
        result = args;
        auri_task_requeue(task);
    }
}

static void ran_once(void)
{
    MODEL_CHECK(runs + cancelled <= 1);
    MODEL_CHECK(auri_load_rlx(&pool.finished) == runs + cancelled);
    MODEL_CHECK(task == NULL || runs + cancelled == 0 || auri_task_is_done(task));
}

static void ran_for_sure(void)
{
    ran_once();
    MODEL_CHECK(runs + cancelled == 1);
    MODEL_CHECK(task->err == (cancelled != 0 ? AUR_ECANCELED : AUR_OK));
}

static void attempts_seen(void)
{
    MODEL_CHECK(args == 5 || args == 10); /* each saw what the one before had made of it */
    MODEL_CHECK(result == 0 || result <= args);
}

/* ---- waiting --------------------------------------------------------------------------------------- */

static void finish(void)
{
    be(0);
    result = 9;
    auri_task_finish(task);
}

static void wait_for_it(void)
{
    be(model_self());
    MODEL_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(result == 9);
}

static void wait_for_a_while(void)
{
    be(model_self());
    aur_err err = auri_wait_task(task, UINT64_C(1000000000) + 5000000);
    MODEL_CHECK(err == AUR_OK || err == AUR_ETIMEDOUT);
    MODEL_CHECK(err != AUR_OK || result == 9);
}

static void poll_it(void)
{
    be(model_self());
    if (auri_task_is_done(task)) {
        MODEL_CHECK(result == 9);
    }
}

/* As pool/several.c: completions count in a word. */
static _Atomic(uint32_t) completions;
static struct auri_cont each[2];

static void count_completion(struct auri_cont *self, auri_task *of)
{
    (void)self;
    (void)of;
    auri_add_acqrel(&completions, 1u);
    aurp_futex_wake(&completions, INT32_MAX, AURP_PRIVATE);
}

static void wait_for_either(void)
{
    auri_task *both[2] = { other, task };

    be(model_self());
    for (unsigned i = 0; i < 2; i++) {
        each[i].fire = count_completion;
        if (!auri_cont_add(both[i], &each[i])) {
            count_completion(&each[i], both[i]);
        }
    }
    MODEL_CHECK(auri_wait_word(&completions, 0, both, 2, AUR_NO_DEADLINE) == AUR_OK);
    MODEL_CHECK(auri_task_is_done(task) && result == 9);
}

static void setup_two(void)
{
    setup_running();
    other = task_for(2);
    auri_task_queue(other);
    (void)auri_task_claim(other, record[2]->id);
}

static void is_done(void)
{
    MODEL_CHECK(auri_task_is_done(task));
}

/* ---- continuations ----------------------------------------------------------------------------------- */

static void fire(struct auri_cont *self, auri_task *of)
{
    MODEL_CHECK(self == &cont && of == task && result == 9);
    fired++;
}

static void add_cont(void)
{
    be(1);
    cont.fire = fire;
    if (!auri_cont_add(task, &cont)) {
        fire(&cont, task);
    }
}

static void add_and_remove_cont(void)
{
    be(1);
    cont.fire = fire;
    if (!auri_cont_add(task, &cont)) {
        fire(&cont, task);
    } else {
        removed += auri_cont_remove(task, &cont);
    }
}

static void fired_once(void)
{
    MODEL_CHECK(fired + removed == 1);
}

/* ---- the end of a pool --------------------------------------------------------------------------------- */

static unsigned closes;

static void close_pool(aur_pool *of)
{
    (void)of;
    closes++;
}

static const struct auri_backend closing = { .name = "closing", .close = close_pool };

static void setup_closing(void)
{
    setup_running();
    pool.backend = &closing;
    auri_store_rlx(&pool.submitted, UINT64_C(1));
    model_name(&pool.state, "state");
    model_name(&pool.finished, "finished");
}

/* As aur_pool_join(): the state first, then a look, then a sleep on the count. */
static void join_pool(void)
{
    _Atomic(uint32_t) *futex = (_Atomic(uint32_t) *)(void *)&pool.finished;
    uint32_t open = AURI_OPEN;

    (void)auri_cas_sc(&pool.state, &open, (uint32_t)AURI_DRAINING);
    for (;;) {
        uint32_t seen = auri_load_acq(futex);
        if (auri_pool_is_idle(&pool)) {
            break;
        }
        (void)aurp_futex_wait(futex, seen, AUR_NO_DEADLINE, AURP_PRIVATE);
    }
    MODEL_CHECK(result == 9);
}

static void join_done(void)
{
    MODEL_CHECK(closes <= 1);
}

/* ---- references, slabs ---------------------------------------------------------------------------------- */

static void unref(void)
{
    be(model_self());
    MODEL_CHECK(task->next == NULL); /* whoever frees it writes that */
    auri_task_unref_queued(task, auri_task_is_sole(task));
}

/* The last unref gives the slot away, and its next life writes all fields. */
static void unref_and_new(void)
{
    be(0);
    auri_task_unref(task);
    other = task_for(1);
    MODEL_CHECK(auri_task_id(other) != old_id);
}

static void look_up_old(void)
{
    be(1);
    auri_task *found = auri_task_from_id(old_id);
    if (found != NULL) {
        MODEL_CHECK(found == task && auri_task_id(found) == old_id);
        auri_task_unref(found);
    }
}

/* ---- a call without a handle ----------------------------------------------------------------------- */

static void setup_sole(void)
{
    setup();
    task = task_for(1);
    old_id = auri_task_id(task); /* of the call before it in that place */
    auri_task_unref(task);
    task = NULL;
}

static void create_sole(void)
{
    be(0);
    auri_task *new = task_for(0);
    args = 5;
    auri_task_queue(new);
    auri_store_rel(&sent, new); /* as a queue does */
}

static void run_sole(void)
{
    unsigned me = model_self();
    auri_task *it = auri_xchg_acq(&sent, NULL);

    be(me);
    if (it == NULL) {
        return;
    }
    MODEL_CHECK(auri_task_claim(it, record[me]->id));
    runs++;
    MODEL_CHECK(args == 5);
    auri_task_finish(it);
    auri_task_unref_queued(it, true);
}

/* Nobody can get at it by its number, or by an older one. */
static void look_up_sole(void)
{
    be(model_self());
    MODEL_CHECK(auri_task_from_id(old_id) == NULL);
    MODEL_CHECK(auri_task_from_id(old_id + (UINT64_C(1) << AURI_GEN_SHIFT)) == NULL);
}

static void sole_is_free(void)
{
    MODEL_CHECK(auri_load_rlx(&pool.finished) == runs);
    if (runs == 1) {
        be(0);
        auri_slab_flush(record[1]);
        auri_slab_flush(record[2]);
        look_up_sole();
    }
}

static void setup_one_ref(void)
{
    setup();
    task = task_for(1);
    auri_task_queue(task);
    old_id = auri_task_id(task);
}

static void setup_three_refs(void)
{
    setup_queued();
    result = 9;
}

#define SLAB 128u
static auri_task *mine[2];

/* All of the home's tasks are handed out but one; the others hold two each. */
static void setup_handback(void)
{
    setup();
    for (unsigned i = 0; i < SLAB - 1; i++) {
        auri_task *new = task_for(1);
        auri_task_queue(new);
        mine[i % 2] = new;
    }
    task = mine[0];
    other = mine[1];
}

static void give_one_back(void)
{
    unsigned me = model_self();

    be(me);
    auri_task *it = me == 1 ? task : other;
    it->priv = &args;
    auri_task_unref(it);
    auri_slab_flush(record[me]);
}

static void take_two(void)
{
    be(0);
    for (unsigned i = 0; i < 2; i++) {
        auri_task *new = auri_task_new(1);
        MODEL_CHECK(new != NULL &&new->priv == NULL);
        new->priv = &result;
    }
}

static unsigned length(const auri_task *list)
{
    unsigned n = 0;

    for (; list != NULL; list = list->next) {
        n++;
    }
    return n;
}

/* No task is lost: what was free, and came back, and was not taken; and perhaps a new slab. */
static void all_there(unsigned back)
{
    unsigned free_now = length(record[0]->slab_free) + length(auri_load_rlx(&record[0]->handback));

    MODEL_CHECK(free_now % SLAB == (1 + back - 2) % SLAB);
}
static void one_came_back(void)
{
    all_there(1);
}
static void two_came_back(void)
{
    all_there(2);
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define CLIENT(n, begin, end, ...)                                                                 \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                          \
        .clock_step_ns = 1000000, .quick = ALL, .full = ALL                                        \
    }
#define LARGE(n, begin, end, ...)                                                                  \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                          \
        .clock_step_ns = 1000000, .quick = { .search = MODEL_PCT, .depth = 4, .runs = 20000 },     \
        .full = ALL                                                                                \
    }

/* Too large to be searched completely. */
#define VAST(n, begin, end, ...)                                                                   \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end,                          \
        .clock_step_ns = 1000000, .quick = { .search = MODEL_PCT, .depth = 4, .runs = 20000 },     \
        .full = {                                                                                  \
            .search = MODEL_PCT,                                                                   \
            .depth = 6,                                                                            \
            .runs = 500000                                                                         \
        }                                                                                          \
    }

static const struct model_client clients[] = {
    CLIENT("task/create-claim", setup, ran_once, create, claim_sent),
    CLIENT("task/create-two-claims", setup, ran_once, create, claim_sent, claim_sent),
    CLIENT("task/three-claims", setup_args, ran_for_sure, claim, claim, claim),
    CLIENT("task/cancel-run", setup_args, ran_for_sure, claim, cancel),
    CLIENT("task/cancel-run-run", setup_args, ran_for_sure, claim, cancel, claim),
    CLIENT("task/requeue", setup_queued, attempts_seen, claim_and_requeue, claim_second),
    CLIENT("task/poll", setup_running, is_done, finish, poll_it),
    CLIENT("task/wait", setup_running, is_done, finish, wait_for_it),
    CLIENT("task/wait-told", setup_telling, is_done, finish, wait_for_it),
    VAST("task/wait-told-two", setup_telling, is_done, finish, wait_for_it, wait_for_it),
    LARGE("task/wait-two", setup_running, is_done, finish, wait_for_it, wait_for_it),
    CLIENT("task/wait-deadline", setup_running, is_done, finish, wait_for_a_while),
    CLIENT("task/wait-any", setup_two, is_done, finish, wait_for_either),
    CLIENT("task/continuation", setup_running, fired_once, finish, add_cont),
    CLIENT("task/continuation-removed", setup_running, fired_once, finish, add_and_remove_cont),
    CLIENT("task/join", setup_closing, join_done, finish, join_pool),
    CLIENT("task/unref-three", setup_three_refs, NULL, unref, unref, unref),
    CLIENT("task/sole", setup_sole, sole_is_free, create_sole, run_sole, run_sole),
    CLIENT("task/sole-id", setup_sole, sole_is_free, create_sole, run_sole, look_up_sole),
    CLIENT("task/stale-id", setup_one_ref, NULL, unref_and_new, look_up_old),
    CLIENT("task/hand-back", setup_handback, one_came_back, take_two, give_one_back),
    CLIENT("task/hand-back-two", setup_handback, two_came_back, take_two, give_one_back,
           give_one_back),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
