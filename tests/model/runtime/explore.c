/* Who goes next, and what else is a choice: one execution after another until all are done.
 *
 * An execution is a list of choices (nodes): who goes, and which value a load finds.  The next one
 * repeats a prefix of the list and changes its last choice.  README.md explains the reduction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

struct sim sim;
struct search search;

/* ---- nodes ------------------------------------------------------------------------------------ */

static struct node *node_new(bool is_sched)
{
    if (search.depth == NODES_MAX) {
        explore_stop(V_CUT);
    }
    struct node *node = &search.node[search.depth++];
    search.nodes = search.depth;
    *node = (struct node){ .is_sched = is_sched };
    return node;
}

unsigned explore_value(unsigned n)
{
    if (search.depth < search.fixed) {
        return search.node[search.depth++].chosen;
    }
    struct node *node = node_new(false);
    node->n = (uint8_t)(n < 255 ? n : 255);
    if (search.bound->search == MODEL_PCT && !search.replays) {
        node->chosen = pct_value(node->n);
    }
    return node->chosen;
}

static unsigned lowest(uint32_t mask)
{
    return (unsigned)__builtin_ctz(mask);
}

/* Whoever went last goes on, if it can; kills and timeouts come last. */
static unsigned usual(uint32_t mask)
{
    uint32_t threads = mask & ALL_THREADS;

    if ((threads >> search.last & 1) != 0) {
        return search.last;
    }
    if (threads != 0) {
        return lowest(threads);
    }
    return lowest((mask & ALL_TIMEOUTS) != 0 ? mask & ALL_TIMEOUTS : mask);
}

/* What may befall instead of the chosen step: races that no later step would show. */
static uint32_t befalls(const struct node *node)
{
    uint32_t mask = ALL_TIMEOUTS;

    if (node->chosen < MODEL_THREADS) {
        mask |= ACTOR_KILL(node->chosen);
    }
    for (unsigned t = 0; t < sim.threads; t++) {
        mask |= sim.thread[t].state == T_FUTEX ? ACTOR_KILL(t) : 0;
    }
    return node->enabled & mask;
}

/* Chooses for a node that is new; returns false if nothing new can come of it. */
static bool choose_new(struct node *node)
{
    uint32_t open = node->enabled & ~node->sleep;
    bool can_stay = (node->enabled >> search.last & 1) != 0;

    if (search.bound->search == MODEL_PCT) {
        node->chosen = pct_actor(node->enabled);
        return true;
    }
    if ((open & ~ALL_KILLS) == 0) {
        return false;
    }
    node->chosen = (uint8_t)usual(open);
    if (search.bound->search == MODEL_DPOR) {
        node->backtrack = 1u << node->chosen | befalls(node);
    } else {
        bool may = !can_stay || search.preemptions < search.bound->preemptions;
        node->backtrack =
            may ? node->enabled : node->enabled & ~(ALL_THREADS & ~(1u << search.last));
    }
    return true;
}

static unsigned choose_actor(uint32_t enabled)
{
    struct node *node;
    bool can_stay = (enabled >> search.last & 1) != 0;

    if (search.depth < search.fixed) {
        node = &search.node[search.depth++];
        node->enabled = enabled;
        if (search.bound->search == MODEL_DPOR) {
            node->backtrack |= befalls(node);
        }
        if ((enabled >> node->chosen & 1) == 0) {
            model_failed("this replay is of another program: %u cannot go", node->chosen);
        }
    } else {
        uint32_t sleep = inherited_sleep();
        node = node_new(true);
        node->enabled = enabled;
        node->sleep = sleep;
        if (!choose_new(node)) {
            search.depth--;
            search.nodes--;
            explore_stop(V_PRUNED);
        }
    }
    if (can_stay && node->chosen < MODEL_THREADS && node->chosen != search.last) {
        search.preemptions++;
    }
    return node->chosen;
}

/* ---- going on --------------------------------------------------------------------------------- */

void explore_stop(enum verdict verdict)
{
    sim.verdict = verdict;
    fiber_switch(sim.self, FIBER_MAIN);
    abort(); /* a stopped execution is never resumed */
}

void model_failed(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(sim.message, sizeof(sim.message), format, args);
    va_end(args);
    explore_stop(V_FAILED);
}

void model_abort(void);
void model_abort(void)
{
    model_failed("abort() was called: see above");
}

static void everybody_stopped(void)
{
    char text[400] = "";

    for (unsigned t = 0; t < sim.threads; t++) {
        static const char *const doing[] = { "lock", "unlock", "await an end", "await an event" };
        const struct thread *thread = &sim.thread[t];
        const char *what = thread->state == T_FUTEX ? "sleeps on a futex" : doing[0];
        if (thread->state == T_OVER) {
            continue;
        }
        if (thread->state == T_READY) {
            what = thread->op.kind == OP_LOCK   ? "waits for a mutex"
                   : thread->op.kind == OP_JOIN ? "waits for an end"
                                                : "waits for an event";
        }
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%s thread %u %s", used != 0 ? "," : "", t,
                 what);
    }
    if (text[0] == '\0') {
        explore_stop(V_DONE);
    }
    model_failed("for ever:%s", text);
}

static void befall(unsigned actor)
{
    struct thread *thread = &sim.thread[thread_of(actor)];

    if (actor < 2 * MODEL_THREADS) {
        sim.kills_left--;
        thread->killed = true;
        thread->state = T_OVER;
        log_event(NULL, 0, "thread %u is KILLED", thread_of(actor));
    } else {
        thread->timed_out = true;
        thread->state = T_READY;
        thread->op = (struct op){ .kind = OP_LOCAL };
        thread->now_ns =
            thread->deadline_ns > thread->now_ns ? thread->deadline_ns : thread->now_ns;
        log_event(NULL, 0, "the time of thread %u runs out", thread_of(actor));
    }
}

/* The thread that goes next: one that has only local business, or the choice. */
static unsigned next_thread(void)
{
    for (;;) {
        for (unsigned t = 0; t < sim.threads; t++) {
            if (sim.thread[t].state == T_READY && sim.thread[t].op.kind == OP_LOCAL) {
                return t;
            }
        }
        uint32_t enabled = enabled_actors();
        if ((enabled & ~ALL_KILLS) == 0) {
            everybody_stopped();
        }
        unsigned limit = sim.client->steps_max != 0 ? sim.client->steps_max : 5000;
        if (search.steps >= limit) {
            if (sim.cut_fails || sim.client->must_end || search.bound->search != MODEL_PCT) {
                model_failed("more than %u steps", limit);
            }
            explore_stop(V_CUT);
        }
        unsigned actor = choose_actor(enabled);
        record_step(actor);
        if (actor < MODEL_THREADS) {
            search.last = actor;
            for (unsigned t = 0; t < sim.threads; t++) {
                sim.thread[t].yielded = sim.thread[t].yielded && t == actor;
            }
            return actor;
        }
        befall(actor);
    }
}

__attribute__((weak)) _Thread_local void *aur_self_2_;

static void go_on(void)
{
    unsigned from = sim.self;
    unsigned to = next_thread();

    if (to == from && sim.thread[from].state == T_READY) {
        return;
    }
    sim.thread[from].self_record = aur_self_2_;
    aur_self_2_ = sim.thread[to].self_record;
    sim.self = to;
    fiber_switch(from, to);
}

void explore_step(struct op op)
{
    struct thread *thread = &sim.thread[sim.self];

    thread->op = op;
    go_on();
}

bool explore_sleep(uintptr_t futex, bool timed)
{
    struct thread *thread = &sim.thread[sim.self];

    thread->state = T_FUTEX;
    thread->futex = futex;
    thread->timed = timed;
    thread->timed_out = false;
    go_on();
    return thread->timed_out;
}

void explore_wake(unsigned t)
{
    struct thread *thread = &sim.thread[t];

    thread->state = T_READY;
    thread->op = (struct op){ .kind = OP_LOCAL };
    max_into(search.clock[t], search.clock[sim.self]);
}

void explore_end(void)
{
    struct thread *thread = &sim.thread[sim.self];

    explore_step((struct op){ .object = sim.end_object[sim.self], .write = 1, .kind = OP_END });
    thread->state = T_OVER;
    go_on();
    abort();
}

uint16_t explore_object(void)
{
    return (uint16_t)(VIEW_MAX + ++sim.objects);
}

static void thread_main(void)
{
    struct thread *thread = &sim.thread[sim.self];

    thread->ret = thread->fn(thread->arg);
    port_thread_ends();
    explore_end();
}

unsigned explore_spawn(void *(*fn)(void *), void *arg)
{
    unsigned t = sim.threads++;
    struct thread *thread = &sim.thread[t];

    *thread = (struct thread){ .state = T_READY, .op.kind = OP_LOCAL, .fn = fn, .arg = arg };
    sim.end_object[t] = explore_object();
    pct_thread(t);
    fiber_start(t, thread_main);
    return t;
}

/* ---- one execution ---------------------------------------------------------------------------- */

static void *body_main(void *arg)
{
    sim.client->body[(uintptr_t)arg]();
    return NULL;
}

static void alone_main(void)
{
    void (*fn)(void) = sim.thread[0].fn != NULL ? sim.client->check : sim.client->setup;

    if (fn != NULL) {
        fn();
    }
    fiber_switch(0, FIBER_MAIN);
}

/* Setup or check: on a fiber, so that it can be stopped. */
static void run_alone(void)
{
    sim.parallel = false;
    sim.self = 0;
    aur_self_2_ = NULL;
    fiber_start(0, alone_main);
    fiber_switch(FIBER_MAIN, 0);
}

static void run_parallel(void)
{
    for (unsigned i = 0; i < MODEL_THREADS && sim.client->body[i] != NULL; i++) {
        (void)explore_spawn(body_main, (void *)(uintptr_t)i);
    }
    sim.parallel = true;
    aur_self_2_ = NULL;
    sim.self = next_thread();
    fiber_switch(FIBER_MAIN, sim.self);
    sim.parallel = false;
}

static void run_once(void)
{
    sim.run++;
    sim.threads = 0;
    sim.objects = 0;
    sim.mutexes = NULL;
    sim.kills_left = 1;
    sim.verdict = V_GOING;
    sim.message[0] = '\0';
    memset(sim.event, 0, sizeof(sim.event));
    memset(sim.thread, 0, sizeof(sim.thread));
    memset(search.clock, 0, sizeof(search.clock));
    search.depth = 0;
    search.steps = 0;
    search.last = 0;
    search.preemptions = 0;
    shadow_reset();
    memory_reset();
    log_reset();
    port_reset();
    run_alone();
    if (sim.verdict == V_GOING) {
        run_parallel();
    }
    if (sim.verdict == V_DONE) {
        sim.verdict = V_GOING;
        run_alone();
        sim.verdict = sim.verdict == V_GOING ? V_DONE : sim.verdict;
    }
    search.nodes = search.depth;
}

/* Changes the last choice that has an alternative.  False: all are done. */
static bool next_prefix(void)
{
    while (search.nodes > 0) {
        struct node *node = &search.node[search.nodes - 1];
        if (!node->is_sched) {
            if (node->chosen + 1u < node->n) {
                node->chosen++;
                break;
            }
        } else {
            node->done |= 1u << node->chosen;
            uint32_t left = node->backtrack & ~node->done & ~node->sleep;
            if (left != 0) {
                node->chosen = (uint8_t)usual(left & ~ALL_KILLS ? left & ~ALL_KILLS : left);
                break;
            }
        }
        search.nodes--;
    }
    search.fixed = search.nodes;
    search.steps_kept = 0;
    if (search.nodes > 0) {
        unsigned changed = search.nodes - (search.node[search.nodes - 1].is_sched ? 1u : 0u);
        while (search.steps_kept < search.steps && search.step[search.steps_kept].node < changed) {
            search.steps_kept++;
        }
    }
    return search.nodes > 0;
}

static void count(struct result *result)
{
    result->steps += search.steps;
    result->executions += sim.verdict == V_DONE || sim.verdict == V_FAILED;
    result->pruned += sim.verdict == V_PRUNED;
    result->cut += sim.verdict == V_CUT;
    result->failed = sim.verdict == V_FAILED;
}

static void run_replay(const char *replay, struct result *result)
{
    unsigned value;

    search.replays = true;
    search.fixed = 0;
    for (const char *at = replay; sscanf(at, "%2x", &value) == 1; at += 2) {
        search.node[search.fixed++] = (struct node){ .chosen = (uint8_t)value };
    }
    sim.logging = true;
    run_once();
    sim.logging = false;
    search.replays = false;
    count(result);
}

static bool may_go_on(const struct result *result)
{
    uint64_t all = result->executions + result->pruned + result->cut;

    if (result->failed) {
        return false;
    }
    if (search.bound->search == MODEL_PCT) {
        search.fixed = 0;
        search.steps_kept = 0;
        return all < search.bound->runs;
    }
    return search.bound->runs == 0 || all < search.bound->runs;
}

void explore_client(const struct model_client *client, const struct model_bound *bound,
                    const char *replay, uint64_t seed, struct result *ret_result)
{
    struct result result = { 0 };

    sim.client = client;
    sim.bound = bound;
    sim.outcomes = 0;
    search.bound = bound;
    search.fixed = 0;
    search.steps_kept = 0;
    search.steps_longest = 30;
    pct_seed(seed);
    if (replay != NULL) {
        run_replay(replay, &result);
        *ret_result = result;
        return;
    }
    for (;;) {
        if (bound->search == MODEL_PCT) {
            pct_begin();
        }
        run_once();
        count(&result);
        search.steps_longest =
            search.steps > search.steps_longest ? search.steps : search.steps_longest;
        if (!may_go_on(&result)) {
            break;
        }
        if (bound->search != MODEL_PCT && !next_prefix()) {
            result.complete = result.cut == 0;
            break;
        }
    }
    *ret_result = result;
}

const char *explore_choices(void)
{
    static char text[2 * NODES_MAX + 1];

    for (unsigned i = 0; i < search.nodes; i++) {
        snprintf(text + 2 * i, 3, "%02x", search.node[i].chosen);
    }
    text[2 * search.nodes] = '\0';
    return text;
}
