/* Costs of one function's calls, and the choice that follows.
 *
 * Time that a call spends off the CPU is either its own waiting, or that of a thread which is ready
 * but has no CPU.  The kernel counts them apart.  The second says how busy the machine is and nothing
 * of the call, so it is left out: a call is busy while it has a CPU, and what never slept (no
 * voluntary switch) was busy all of its own time.  So on a machine with too few CPUs, or busy ones,
 * computing still looks like computing, and a short sleep with a long way back to a CPU like a sleep.
 * Where the kernel has no such count, nothing goes to processes.
 *
 * A function that computes alone, and sleeps beside others of its kind, waits for them: for a lock
 * that all take, or the lock of an interpreter.  What waits for a disk or a peer sleeps alone too.
 * Where calls are never alone, one that got through without any sleep shows the same; and that a CPU
 * was kept busy all the time by one or the other tells such a lock from a cache that often hits. */
#include "pool/verdict.h"

#include <stdio.h>

#define ENOUGH 16u         /* samples for a first choice */
#define ENOUGH_ALONE 4u    /* of these alone ... */
#define ENOUGH_TOGETHER 8u /* ... and beside others, or ... */
#define ENOUGH_ANYWAY 64u  /* ... so many of any sort */
#define DOUBTS_MAX 4u
/* Samples after which a choice is looked at anew; a cheap one would pay for it. */
#define REVIEW 128u
#define CHEAP_NS UINT64_C(1000)
/* Of CPU time: cheaper calls gain nothing from going to a process. */
#define DEAR_NS UINT64_C(20000)
#define BEGUN (UINT64_C(1) << 32)

/* Everything here is relaxed: sums of numbers, read by whoever happens to decide. */

/* ---- the clocks ---------------------------------------------------------------------------- */

struct auri_measure auri_measure_of_this_machine(void)
{
    struct auri_measure m = { .clock_ns = UINT64_MAX, .usage_ns = UINT64_MAX };

    for (int i = 0; i < 16; i++) {
        struct aurp_usage usage = aurp_thread_usage();
        uint64_t start = aurp_now_ns();
        uint64_t wall = aurp_now_ns() - start;
        uint64_t cpu = aurp_thread_usage().cpu_ns - usage.cpu_ns;
        m.clock_ns = wall < m.clock_ns ? wall : m.clock_ns;
        m.usage_ns = cpu < m.usage_ns ? cpu : m.usage_ns;
    }
    /* In an emulator, where reading a clock takes long, handing over takes long as well. */
    m.cheap_ns = 8 * m.clock_ns > CHEAP_NS ? 8 * m.clock_ns : CHEAP_NS;
    return m;
}

void auri_sample_begin(struct auri_verdict *v, struct auri_sample *sample, uint64_t items)
{
    bool loops = auri_load_rlx(&v->choice) == AURI_TO_LOOP;

    sample->items = items;
    sample->wall_only = loops && auri_load_rlx(&v->doubts) == 0;
    if (sample->wall_only) {
        sample->start_ns = aurp_now_ns();
        return;
    }
    sample->running = auri_add_rlx(&v->running, BEGUN + 1);
    /* relaxed: a hint.  What is cheap either way, or has slept, needs no more; and this costs as much
     * as fifty cheap calls. */
    sample->ready_ns = loops ? AURP_NO_CLOCK : aurp_thread_ready_ns();
    sample->usage = aurp_thread_usage();
    sample->start_ns = aurp_now_ns();
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

void auri_sample_end(struct auri_verdict *v, const struct auri_measure *measure,
                     const struct auri_sample *sample)
{
    uint64_t wall = less(aurp_now_ns(), sample->start_ns);

    if (sample->wall_only) {
        /* As if it had computed all the time: the first doubt, after which the next samples are whole. */
        uint64_t each = less(wall, measure->clock_ns) / sample->items;
        struct auri_outcome seen = { .wall_ns = each, .cpu_ns = each };
        if (auri_load_rlx(&v->choice) == AURI_TO_LOOP) { /* else it says too little */
            auri_verdict_count(v, measure, &seen);
        }
        return;
    }
    struct aurp_usage usage = aurp_thread_usage();
    uint64_t running = auri_add_rlx(&v->running, UINT64_MAX);
    uint64_t before = (uint32_t)sample->running;
    uint64_t begun = (uint32_t)((running >> 32) - (sample->running >> 32)); /* this one included */
    struct auri_outcome outcome = {
        .wall_ns = less(wall, measure->clock_ns) / sample->items,
        .cpu_ns = less(less(usage.cpu_ns, sample->usage.cpu_ns), measure->usage_ns) / sample->items,
        .slept = usage.sleeps != sample->usage.sleeps,
    };

    if (outcome.slept && sample->ready_ns != AURP_NO_CLOCK) {
        outcome.ready_ns = less(aurp_thread_ready_ns(), sample->ready_ns) / sample->items;
    }
    if (before != 0 || begun > 1) {
        uint64_t at_end = (uint32_t)running;
        outcome.beside = before + 1 > at_end ? before + 1 : at_end;
        outcome.beside = outcome.beside < 2 ? 2 : outcome.beside;
    }
    auri_verdict_count(v, measure, &outcome);
}

/* ---- choosing ------------------------------------------------------------------------------ */

/* Parts of 100. */
static unsigned share(uint64_t part, uint64_t of)
{
    return part >= of ? 100 : (unsigned)(100.0 * (double)part / (double)of);
}

static unsigned share_of(struct auri_sum *sum)
{
    return share(auri_load_rlx(&sum->cpu_ns), auri_load_rlx(&sum->own_ns));
}

static uint64_t cpu_ns(struct auri_verdict *v)
{
    return auri_load_rlx(&v->alone.cpu_ns) + auri_load_rlx(&v->together.cpu_ns);
}

static uint32_t choose_slow(struct auri_verdict *v, const struct auri_measure *m)
{
    uint64_t alone_n = auri_load_rlx(&v->alone.n);
    uint64_t together_n = auri_load_rlx(&v->together.n);
    bool known = alone_n >= ENOUGH_ALONE;
    unsigned alone = share_of(&v->alone);
    unsigned together = share_of(&v->together);

    if (!known && auri_load_rlx(&v->unslept) >= ENOUGH_ALONE) {
        alone = 100;
        known = true;
    }
    if (!known) {
        return together < 50 ? AURI_WAITS : together >= 80 ? AURI_TO_THREADS : AURI_UNCLEAR;
    }
    if (alone < 50) {
        return AURI_WAITS;
    }
    if (alone < 80) {
        return AURI_UNCLEAR;
    }
    if (together_n < ENOUGH_TOGETHER || together >= 60) {
        return AURI_TO_THREADS;
    }
    /* How much of one CPU all of them kept busy. */
    uint64_t kept = together * auri_load_rlx(&v->beside) / together_n;
    bool dear = cpu_ns(v) / (alone_n + together_n) >= DEAR_NS;
    return m->side_by_side && dear && kept >= 20 ? AURI_TO_PROCESSES : AURI_UNCLEAR;
}

static uint32_t choose(struct auri_verdict *v, const struct auri_measure *m)
{
    uint64_t alone_n = auri_load_rlx(&v->alone.n);
    uint64_t together_n = auri_load_rlx(&v->together.n);
    uint64_t n = alone_n + together_n;

    if (n < ENOUGH) {
        return AURI_UNDECIDED;
    }
    /* Nearly all are cheap, the rest does not cost much, and none has ever waited. */
    if (m->may_loop && auri_load_rlx(&v->slow) <= n / 8 && auri_load_rlx(&v->slept) == 0 &&
        cpu_ns(v) / n <= m->cheap_ns) {
        return AURI_TO_LOOP;
    }
    if ((alone_n < ENOUGH_ALONE || together_n < ENOUGH_TOGETHER) && n < ENOUGH_ANYWAY) {
        return AURI_UNDECIDED;
    }
    return choose_slow(v, m);
}

/* The time on a CPU and asleep: without that in which it was ready. */
static uint64_t own_ns(const struct auri_outcome *o)
{
    uint64_t own = o->slept ? less(o->wall_ns, o->ready_ns) : 0;

    return own > o->cpu_ns ? own : o->cpu_ns;
}

static bool is_busy_less_than(const struct auri_outcome *o, unsigned percent)
{
    return share(o->cpu_ns, own_ns(o)) < percent;
}

/* Whether this call is not what the choice was made for. */
static bool contradicts(uint32_t choice, const struct auri_measure *m, const struct auri_outcome *o)
{
    bool cheap = m->may_loop && !o->slept && o->wall_ns <= m->cheap_ns;

    switch (choice) {
    case AURI_TO_LOOP:
        return o->slept || (o->wall_ns > m->cheap_ns && o->cpu_ns > m->cheap_ns);
    case AURI_TO_THREADS:
        return cheap || is_busy_less_than(o, 60);
    case AURI_WAITS:
        return !o->slept;
    case AURI_TO_PROCESSES:
        return cheap || (o->beside == 0 && is_busy_less_than(o, 50));
    default:
        return true; /* unclear: to be looked at again */
    }
}

/* ---- counting ------------------------------------------------------------------------------ */

static void sum_clear(struct auri_sum *sum)
{
    auri_store_rlx(&sum->n, UINT64_C(0));
    auri_store_rlx(&sum->own_ns, UINT64_C(0));
    auri_store_rlx(&sum->cpu_ns, UINT64_C(0));
}

static void start_anew(struct auri_verdict *v)
{
    sum_clear(&v->alone);
    sum_clear(&v->together);
    auri_store_rlx(&v->beside, UINT64_C(0));
    auri_store_rlx(&v->unslept, UINT64_C(0));
    auri_store_rlx(&v->slow, UINT64_C(0));
    auri_store_rlx(&v->slept, UINT64_C(0));
    auri_store_rlx(&v->wall_ns, UINT64_C(0));
    auri_store_rlx(&v->doubts, 0u);
    auri_store_rlx(&v->choice, (uint32_t)AURI_UNDECIDED);
}

static void add_up(struct auri_verdict *v, const struct auri_measure *m,
                   const struct auri_outcome *o)
{
    struct auri_sum *sum = o->beside != 0 ? &v->together : &v->alone;

    auri_add_rlx(&sum->n, UINT64_C(1));
    auri_add_rlx(&sum->own_ns, own_ns(o));
    auri_add_rlx(&sum->cpu_ns, o->cpu_ns);
    auri_add_rlx(&v->wall_ns, o->wall_ns);
    auri_add_rlx(&v->slow, (uint64_t)(o->wall_ns > m->cheap_ns));
    auri_add_rlx(&v->slept, (uint64_t)o->slept);
    if (o->beside != 0) {
        auri_add_rlx(&v->beside, o->beside);
        auri_add_rlx(&v->unslept, (uint64_t)!o->slept);
    }
}

void auri_verdict_count(struct auri_verdict *v, const struct auri_measure *measure,
                        const struct auri_outcome *outcome)
{
    uint32_t choice = auri_load_rlx(&v->choice);

    add_up(v, measure, outcome);
    if (choice == AURI_UNDECIDED) {
        uint32_t chosen = choose(v, measure);
        if (chosen != AURI_UNDECIDED) {
            auri_store_rlx(&v->doubts, 0u);
            (void)auri_cas_rlx(&v->choice, &choice, chosen);
        }
    } else if (choice != AURI_TO_LOOP &&
               auri_load_rlx(&v->alone.n) + auri_load_rlx(&v->together.n) >= REVIEW) {
        start_anew(v);
    } else if (contradicts(choice, measure, outcome)) {
        if (auri_add_rlx(&v->doubts, 1u) + 1 >= DOUBTS_MAX) {
            start_anew(v);
        }
    } else {
        auri_store_rlx(&v->doubts, 0u);
    }
}

/* ---- words --------------------------------------------------------------------------------- */

void auri_verdict_name(struct auri_verdict *v, const char *name)
{
    snprintf(v->name, sizeof(v->name), "%s", name);
    auri_store_rel(&v->named, 1u); /* release: the name; pairs with auri_verdict_say() */
}

static const char *reason(uint32_t choice)
{
    switch (choice) {
    case AURI_TO_LOOP:
        return "runs in the thread that submits it: to hand it over would cost more";
    case AURI_TO_THREADS:
        return "runs in threads: it computes, and its calls were not seen to keep each other "
               "waiting";
    case AURI_WAITS:
        return "runs in threads: it waits most of the time, and while calls are queued more "
               "threads come";
    case AURI_TO_PROCESSES:
        return "runs in processes: alone it computes, but in threads its calls keep each other "
               "waiting";
    default:
        return "runs in threads: it computes for a part of the time and waits for another";
    }
}

void auri_verdict_say(struct auri_verdict *v, struct auri_text *text, const char *note)
{
    uint32_t choice = auri_load_rlx(&v->choice);
    uint64_t n = auri_load_rlx(&v->alone.n) + auri_load_rlx(&v->together.n);

    if (auri_load_acq(&v->named) == 0 || choice == AURI_UNDECIDED || n == 0) {
        return; /* acquire: the name */
    }
    uint64_t wall = auri_load_rlx(&v->wall_ns);
    double ns = (double)wall / (double)n;
    bool long_ones = ns >= 1e6;
    auri_say(text, "\n%s: %.3g %s a call, %u in 100 of it on a CPU (%llu calls measured): it %s%s.",
             v->name, ns / (long_ones ? 1e6 : 1e3), long_ones ? "ms" : "us", share(cpu_ns(v), wall),
             (unsigned long long)n, reason(choice), note);
}
