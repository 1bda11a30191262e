/* Goal:   the verdict: every dead wait that is part of a cycle is found, by the node that closes it;
 *         nobody else is told, and no wait that can end.
 * Method: graphs of bare nodes, built edge by edge; then threads that publish and clear random edges
 *         of a graph that never has a cycle.
 * Guards: src/sched/detect.c, src/sched/answers.c. */
#include "aurt.h"

#include <pthread.h>

#include "sched/detect.h"
#include "sched/formula.h"
#include "task/pool.h"

#define NODES 6

static const struct auri_backend backend = { .name = "test" };
static aur_pool pool = {
    .magic = AURI_POOL_MAGIC, .backend = &backend, .holds = 1, .refs = 1, .name = "graph"
};

static void nothing(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    (void)args, (void)ret, (void)lo, (void)hi, (void)item;
}

#define FN(n)                                                                                      \
    {                                                                                              \
        AUR_FN_ABI, 0, 1, 0, 1, 1, nothing, n                                                      \
    }
static const aur_fn fns[NODES] = { FN("f0"), FN("f1"), FN("f2"), FN("f3"), FN("f4"), FN("f5") };

static struct auri_record *node[NODES];
static auri_task *task[NODES]; /* task[i] is run by node[i] */
static auri_task *queued;

static int graph_new(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++) {
        node[i] = auri_record_take();
        task[i] = auri_task_new(1);
        task[i]->pool = &pool;
        task[i]->fn = &fns[i];
        auri_task_set_site(task[i], "here:1");
        auri_task_queue(task[i]);
        AURT_CHECK(auri_task_claim(task[i], node[i]->id));
    }
    queued = auri_task_new(1);
    queued->pool = &pool;
    auri_task_queue(queued);
    return 0;
}

static int graph_free(void **state)
{
    (void)state;
    for (unsigned i = 0; i < NODES; i++) {
        if ((auri_load_rlx(&node[i]->wait_seq) & 1) != 0) {
            auri_edge_clear(node[i]);
        }
        auri_record_give(node[i]);
        auri_task_finish(task[i]);
        auri_task_unref(task[i]);
    }
    auri_task_unref(queued);
    return 0;
}

/* node[from] waits for task[to]; the verdict. */
static aur_err wait_for(unsigned from, unsigned to, aur_error *error)
{
    auri_edge_task(node[from], task[to], false);
    return auri_detect(node[from], error);
}

static void chain_is_alive(void **state)
{
    (void)state;
    for (unsigned i = 0; i + 1 < NODES; i++) {
        AURT_OK(wait_for(i, i + 1, NULL));
    }
    auri_edge_task(node[NODES - 1], queued, false);
    AURT_OK(auri_detect(node[NODES - 1], NULL));
}

static void cycles(void **state)
{
    aur_error error;

    (void)state;
    AURT_ERR(AUR_EDEADLK, wait_for(0, 0, NULL)); /* itself */
    auri_edge_clear(node[0]);
    AURT_OK(wait_for(0, 1, NULL));
    AURT_ERR(AUR_EDEADLK, wait_for(1, 0, &error));
    assert_int_equal(error.err, AUR_EDEADLK);
    assert_non_null(strstr(error.message, "f0"));
    assert_non_null(strstr(error.message, "f1"));
    assert_non_null(strstr(error.message, "here:1"));
    assert_non_null(strstr(error.message, "pool graph"));
    /* One victim is enough: until it has left, it counts as able to go on. */
    AURT_OK(auri_detect(node[0], NULL));
    auri_edge_clear(node[1]);
    AURT_OK(wait_for(1, 2, NULL));
    AURT_ERR(AUR_EDEADLK, wait_for(2, 0, &error));
    assert_non_null(strstr(error.message, "f2"));
}

/* Who only waits for a cycle can go on once its victim has left. */
static void outside_of_the_cycle(void **state)
{
    (void)state;
    AURT_OK(wait_for(0, 1, NULL));
    auri_edge_task(node[1], task[0], false); /* closed; not judged yet */
    AURT_OK(wait_for(2, 0, NULL));
    AURT_ERR(AUR_EDEADLK, auri_detect(node[1], NULL));
}

static void any_of_several(void **state)
{
    auri_task *both[] = { task[1], NULL, task[2] };
    _Atomic(uint32_t) word = 0;

    (void)state;
    auri_edge_any(node[0], both, 3, &word, false);
    AURT_OK(auri_detect(node[0], NULL));
    AURT_OK(wait_for(1, 0, NULL)); /* task[2] may still end it */
    auri_edge_task(node[2], queued, false);
    AURT_OK(auri_detect(node[2], NULL));
    auri_edge_clear(node[2]);
    aur_error error;
    AURT_ERR(AUR_EDEADLK, wait_for(2, 0, &error)); /* now every alternative leads back */
    assert_non_null(strstr(error.message, "f0"));
    auri_edge_clear(node[2]);
    auri_edge_clear(node[0]);
    /* The other way round: the node with alternatives closes the cycle. */
    AURT_OK(wait_for(2, 0, NULL));
    auri_edge_any(node[0], both, 3, &word, false);
    AURT_ERR(AUR_EDEADLK, auri_detect(node[0], &error));
    auri_edge_clear(node[0]);
    auri_task *alive[] = { task[1], queued };
    auri_edge_any(node[0], alive, 2, &word, false);
    AURT_OK(auri_detect(node[0], NULL));
}

static void deadlines_break_themselves(void **state)
{
    auri_task *one[] = { task[0] };
    _Atomic(uint32_t) word = 0;

    (void)state;
    auri_edge_task(node[0], task[1], true);
    AURT_OK(wait_for(1, 0, NULL));
    auri_edge_clear(node[1]);
    AURT_OK(auri_detect(node[0], NULL));
    auri_edge_any(node[1], one, 1, &word, true);
    auri_edge_clear(node[0]);
    AURT_OK(wait_for(0, 1, NULL));
}

static void helpers_of_a_map(void **state)
{
    static struct auri_helpers helpers;

    (void)state;
    memset(&helpers, 0, sizeof(helpers));
    auri_store_sc(&helpers.id[3], node[1]->id);
    auri_store_sc(&helpers.id[60], node[2]->id);
    auri_edge_job(node[0], &helpers);
    AURT_OK(auri_detect(node[0], NULL));
    /* One helper that cannot go on is enough. */
    AURT_ERR(AUR_EDEADLK, wait_for(2, 0, NULL));
    auri_edge_clear(node[2]);
    auri_edge_clear(node[0]);
    /* The owner comes last and cannot leave its items: the helper is chosen. */
    AURT_OK(wait_for(2, 0, NULL));
    auri_edge_job(node[0], &helpers);
    uint32_t before = (uint32_t)auri_load_rlx(&task[0]->word);
    AURT_ERR(AUR_EDEADLK, auri_detect(node[0], NULL));
    assert_false(auri_record_is_victim(node[0]));
    assert_true(auri_record_is_victim(node[2]));
    /* The word that it sleeps on has changed: it cannot fall asleep on what it read before. */
    assert_true((uint32_t)auri_load_rlx(&task[0]->word) != before);
    aur_error error;
    auri_victim_error(node[2], &error);
    assert_non_null(strstr(error.message, "f0"));
    auri_edge_clear(node[2]);
    assert_false(auri_record_is_victim(node[2]));
    /* The mark was for that wait, and not for the next one, which gets a verdict of its own. */
    AURT_ERR(AUR_EDEADLK, wait_for(2, 0, NULL));
    assert_true(auri_record_is_victim(node[2]));
    auri_edge_clear(node[2]);
}

/* ---- formulas ------------------------------------------------------------------------------ */

static struct auri_formula *formula_of(const uint32_t *words, size_t n, uint32_t ids)
{
    struct auri_formula *formula = NULL;

    AURT_OK(auri_formula_read(words, n, ids, &formula));
    return formula;
}

/* One that needs all is dead by one; one that is dead by another cycle is on none. */
static void what_a_formula_lacks(void **state)
{
    /* all of: any of 0 and 1; 2 */
    static const uint32_t words[] = { 2, 2, 2, 4, 2, 1, 2, 0, 1 };
    struct auri_formula *f = formula_of(words, sizeof(words) / sizeof(words[0]), 3);
    auri_task *tasks[] = { task[1], task[2], task[3] };
    _Atomic(uint32_t) word = 0;

    (void)state;
    auri_edge_needs(node[0], tasks, f, &word);
    AURT_OK(auri_detect(node[0], NULL));
    AURT_OK(wait_for(1, 0, NULL)); /* node 2 goes on */
    AURT_ERR(AUR_EDEADLK, wait_for(3, 0, NULL));
    auri_edge_clear(node[3]);
    /* Nodes 3 and 4 close a cycle.  So node 0 is dead, and node 1 waits for it; but it does not need that. */
    auri_edge_task(node[3], task[4], false);
    auri_edge_task(node[4], task[3], false);
    AURT_OK(auri_detect(node[0], NULL));
    AURT_OK(auri_detect(node[1], NULL));
    AURT_ERR(AUR_EDEADLK, auri_detect(node[4], NULL));
    auri_edge_clear(node[4]);
    auri_edge_clear(node[3]);
    /* The third of its tasks is on the cycle, the first one, which is dead as well, is not. */
    auri_edge_clear(node[0]);
    AURT_OK(wait_for(3, 0, NULL));
    auri_edge_needs(node[0], tasks, f, &word);
    AURT_ERR(AUR_EDEADLK, auri_detect(node[0], NULL));
    assert_int_equal(auri_victim_at(node[0]), 2);
    auri_edge_clear(node[0]);
    auri_formula_free(f);
}

/* ---- answers from elsewhere ---------------------------------------------------------------- */

static void asks(unsigned id, bool whether)
{
    auri_store_rel(&node[id]->asks, whether ? &backend : NULL);
}

/* The words of what node 0 needs, if node i is answered by task i: true with these answers? */
static bool frees(const struct auri_needs *needs, unsigned answers)
{
    bool live[32] = { false };

    AURT_CHECK(needs->gates <= 32);
    for (size_t round = 0; round < needs->gates; round++) {
        for (size_t g = 0; g < needs->gates; g++) {
            const struct auri_need *gate = &needs->gate[g];
            uint32_t n = 0;
            for (uint32_t k = 0; k < gate->n; k++) {
                n += live[needs->input[gate->first + k]];
            }
            for (unsigned id = 0; id < NODES && gate->asks != NULL; id++) {
                n += gate->asks == node[id] && (answers >> id & 1) != 0;
            }
            live[g] = live[g] || n >= gate->need;
        }
    }
    return live[0];
}

static void helpers_that_ask(void **state)
{
    static struct auri_helpers helpers;
    struct auri_needs needs;

    (void)state;
    memset(&helpers, 0, sizeof(helpers));
    for (unsigned id = 1; id <= 3; id++) {
        auri_store_sc(&helpers.id[id], node[id]->id);
    }
    auri_edge_job(node[0], &helpers);
    assert_false(auri_detect_needs_answer(node[0], &needs));
    asks(1, true);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    assert_int_equal(needs.gates, 0); /* nothing to say about one */
    asks(2, true);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    assert_true(node[1]->needed && node[2]->needed && !node[3]->needed && !node[4]->needed);
    for (unsigned answers = 0; answers < 16; answers++) {
        assert_int_equal(frees(&needs, answers), (answers & 6) == 6);
    }
    auri_needs_free(&needs);
    /* The third waits for one of two that ask, and may also get an answer itself. */
    auri_task *tasks[] = { task[4], task[5] };
    _Atomic(uint32_t) word = 0;
    auri_edge_any(node[3], tasks, 2, &word, false);
    asks(3, true);
    asks(4, true);
    asks(5, true);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    for (unsigned answers = 0; answers < 64; answers++) {
        assert_int_equal(frees(&needs, answers), (answers & 6) == 6 && (answers & 0x38) != 0);
    }
    auri_needs_free(&needs);
    asks(3, false);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    for (unsigned answers = 0; answers < 64; answers++) {
        assert_int_equal(frees(&needs, answers), (answers & 6) == 6 && (answers & 0x30) != 0);
    }
    auri_needs_free(&needs);
    /* Of node 5 nothing is known: node 3 goes on. */
    asks(5, false);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    assert_false(node[3]->needed || node[4]->needed);
    auri_needs_free(&needs);
    for (unsigned id = 0; id < NODES; id++) {
        asks(id, false);
    }
}

/* A map ends when all have that wait inside an item of it, but nobody asks for one with a deadline. */
static void map_that_asks(void **state)
{
    auri_task *map = auri_task_new(1);
    struct auri_needs needs;

    (void)state;
    map->pool = &pool;
    auri_task_queue(map);
    AURT_CHECK(auri_task_claim(map, 0));
    for (unsigned id = 3; id < NODES; id++) {
        auri_edge_maps(node[id], &map, 1);
        auri_edge_task(node[id], task[id - 3], id == 3);
    }
    asks(1, true);
    asks(2, true);
    auri_edge_task(node[0], map, false);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    for (unsigned answers = 0; answers < 16; answers++) {
        assert_int_equal(frees(&needs, answers), (answers & 6) == 6);
    }
    auri_needs_free(&needs);
    asks(1, false);
    asks(2, false);
    for (unsigned id = 3; id < NODES; id++) {
        auri_edge_maps(node[id], NULL, 0);
    }
    auri_edge_clear(node[0]);
    auri_task_finish(map);
    auri_task_unref(map);
}

/* What waits on a cycle of this process is about to be freed by its verdict. */
static void cycle_beside_answers(void **state)
{
    static struct auri_helpers helpers;
    struct auri_needs needs;
    auri_task *tasks[] = { task[1], task[2] };
    _Atomic(uint32_t) word = 0;

    (void)state;
    memset(&helpers, 0, sizeof(helpers));
    asks(1, true);
    auri_edge_task(node[2], task[3], false);
    auri_edge_task(node[3], task[2], false);
    auri_edge_any(node[0], tasks, 2, &word, false);
    assert_false(auri_detect_needs_answer(node[0], &needs));
    assert_int_equal(needs.gates, 0);
    auri_edge_clear(node[0]);
    auri_store_sc(&helpers.id[0], node[1]->id);
    auri_store_sc(&helpers.id[1], node[2]->id);
    auri_edge_job(node[0], &helpers);
    assert_false(auri_detect_needs_answer(node[0], &needs)); /* the verdict comes first */
    auri_edge_clear(node[3]);
    assert_true(auri_detect_needs_answer(node[0], &needs));
    assert_int_equal(needs.gates, 0);
    assert_true(node[1]->needed && !node[2]->needed);
    asks(1, false);
}

/* A worker process of this one, which needs all of two or a third; who holds these asks. */
static void formula_that_asks(void **state)
{
    static const uint32_t words[] = { 2, 1, 2, 4, 2, 2, 2, 0, 1 };
    struct auri_formula *f = formula_of(words, sizeof(words) / sizeof(words[0]), 3);
    auri_task *tasks[] = { task[1], task[2], task[3] };
    _Atomic(uint32_t) word = 0;
    struct auri_needs needs;

    (void)state;
    auri_edge_needs(node[4], tasks, f, &word);
    auri_edge_task(node[0], task[4], false);
    for (unsigned id = 1; id <= 3; id++) {
        asks(id, true);
    }
    assert_true(auri_detect_needs_answer(node[0], &needs));
    for (unsigned answers = 0; answers < 16; answers++) {
        assert_int_equal(frees(&needs, answers), (answers & 6) == 6 || (answers & 8) != 0);
    }
    auri_needs_free(&needs);
    asks(3, false); /* it goes on */
    assert_false(auri_detect_needs_answer(node[0], &needs));
    asks(1, false);
    asks(2, false);
    auri_edge_clear(node[4]);
    auri_formula_free(f);
}

/* ---- dry pools ----------------------------------------------------------------------------- */

static bool takes_any(const void *of, const auri_task *which)
{
    (void)of;
    return which == queued;
}

static enum auri_dry_verdict ask_dry(unsigned id, struct auri_stuck *ret_stuck)
{
    *ret_stuck = (struct auri_stuck){ .takes = takes_any };
    return auri_detect_dry(node[id], ret_stuck);
}

static void serves_dry_pool(unsigned id, bool room)
{
    auri_store_sc(&node[id]->dry_room, room ? 1u : 0u);
    auri_store_sc(&node[id]->dry, &pool);
}

/* Who has to run what is in the queue; and whoever cannot, gives up only if nobody can. */
static void queue_of_a_dry_pool(void **state)
{
    struct auri_stuck stuck;

    (void)state;
    auri_edge_task(node[0], queued, false);
    assert_int_equal(ask_dry(0, &stuck), AURI_DRY_LIVE); /* not dry */
    serves_dry_pool(0, true);
    assert_int_equal(ask_dry(0, &stuck), AURI_DRY_RUN);
    assert_ptr_equal(stuck.task, queued);
    assert_ptr_equal(stuck.waiter, node[0]);
    serves_dry_pool(1, true);
    assert_int_equal(ask_dry(0, &stuck), AURI_DRY_LIVE); /* one that does not wait will */
    auri_edge_task(node[1], task[0], false);
    assert_int_equal(ask_dry(1, &stuck), AURI_DRY_RUN); /* it comes down to the same */
    assert_ptr_equal(stuck.task, queued);
    serves_dry_pool(0, false);
    assert_int_equal(ask_dry(0, &stuck), AURI_DRY_OTHERS);
    serves_dry_pool(1, false);
    assert_int_equal(ask_dry(0, &stuck), AURI_DRY_NOBODY);
}

/* The last node of a cycle without a queue gets AUR_EDEADLK.  Before it has asked for that, none of them is
 * to hear that nobody can run what it waits for. */
static void cycle_in_a_dry_pool(void **state)
{
    struct auri_stuck stuck;

    (void)state;
    for (unsigned room = 0; room < 2; room++) {
        for (unsigned id = 0; id < 2; id++) {
            serves_dry_pool(id, room != 0);
            auri_edge_task(node[id], task[1 - id], false);
        }
        assert_int_equal(ask_dry(0, &stuck), AURI_DRY_OTHERS);
        assert_int_equal(ask_dry(1, &stuck), AURI_DRY_OTHERS);
        AURT_ERR(AUR_EDEADLK, auri_detect(node[1], NULL));
        auri_edge_clear(node[1]);
        auri_edge_clear(node[0]);
    }
}

/* ---- while it changes ---------------------------------------------------------------------- */

static _Atomic(uint32_t) seed = 1;

/* Waits only for nodes with a higher number: no cycle, ever. */
static void *restless(void *number)
{
    unsigned me = (unsigned)(uintptr_t)number;
    uint32_t random = auri_add_rlx(&seed, 1u) * 2654435761u;
    _Atomic(uint32_t) word = 0;
    auri_task *some[NODES];

    for (uint32_t round = 0; round < 6000; round++) {
        random = random * 1664525u + 1013904223u;
        unsigned other = me + 1 + (random >> 16) % (NODES - me);
        auri_task *target = other < NODES ? task[other] : queued;
        if ((random & 0x300) == 0) {
            size_t n = 0;
            for (unsigned i = me + 1; i < NODES; i++) {
                some[n++] = task[i];
            }
            auri_edge_any(node[me], some, n, &word, false);
        } else {
            auri_edge_task(node[me], target, (random & 0xc00) == 0);
        }
        AURT_CHECK(auri_detect(node[me], NULL) == AUR_OK);
        auri_edge_clear(node[me]);
    }
    return NULL;
}

static void no_false_alarm(void **state)
{
    pthread_t threads[NODES];

    (void)state;
    for (uintptr_t i = 0; i < NODES; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, restless, (void *)i), 0);
    }
    for (unsigned i = 0; i < NODES; i++) {
        pthread_join(threads[i], NULL);
    }
}

static aurt_barrier barrier = { .parties = 3 };
static _Atomic(uint32_t) verdicts;

static void *closer(void *number)
{
    unsigned me = (unsigned)(uintptr_t)number;

    for (uint32_t round = 0; round < 3000; round++) {
        aurt_barrier_wait(&barrier);
        if (wait_for(me, (me + 1) % 3, NULL) == AUR_EDEADLK) {
            auri_add_rlx(&verdicts, 1u);
        }
        aurt_barrier_wait(&barrier);
        AURT_CHECK(auri_load_rlx(&verdicts) == round + 1); /* exactly one of the three */
        aurt_barrier_wait(&barrier);
        auri_edge_clear(node[me]);
    }
    return NULL;
}

static void one_victim_however_it_closes(void **state)
{
    pthread_t threads[3];

    (void)state;
    for (uintptr_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, closer, (void *)i), 0);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void)
{
#define GRAPH(test) cmocka_unit_test_setup_teardown(test, graph_new, graph_free)
    const struct CMUnitTest tests[] = {
        GRAPH(chain_is_alive),
        GRAPH(cycles),
        GRAPH(outside_of_the_cycle),
        GRAPH(any_of_several),
        GRAPH(deadlines_break_themselves),
        GRAPH(helpers_of_a_map),
        GRAPH(what_a_formula_lacks),
        GRAPH(helpers_that_ask),
        GRAPH(map_that_asks),
        GRAPH(cycle_beside_answers),
        GRAPH(formula_that_asks),
        GRAPH(queue_of_a_dry_pool),
        GRAPH(cycle_in_a_dry_pool),
        GRAPH(no_false_alarm),
        GRAPH(one_victim_however_it_closes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
