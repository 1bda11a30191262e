/* Random executions after Burckhardt, Kothari, Musuvathi and Nagarakatte, "A randomized scheduler with
 * probabilistic guarantees of finding bugs" (ASPLOS 2010): random priorities, lowered at depth - 1
 * random steps.  Kills, timeouts and old values come at random too. */
#include "explore.h"

static uint64_t state;
static unsigned change[16];
static unsigned change_n;
static unsigned kill_at;
static uint32_t lowest_priority;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

void pct_seed(uint64_t seed)
{
    state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

void pct_begin(void)
{
    change_n = search.bound->depth > 1 ? search.bound->depth - 1 : 0;
    change_n = change_n < 16 ? change_n : 16;
    for (unsigned i = 0; i < change_n; i++) {
        change[i] = (unsigned)(next() % search.steps_longest);
    }
    kill_at = next() % 4 != 0 ? (unsigned)(next() % search.steps_longest) : UINT32_MAX;
    lowest_priority = 1000;
}

void pct_thread(unsigned t)
{
    sim.thread[t].priority = 1001 + (uint32_t)(next() % 100000);
}

static unsigned best(uint32_t threads)
{
    unsigned found = (unsigned)__builtin_ctz(threads);

    for (unsigned t = found + 1; t < MODEL_THREADS; t++) {
        if ((threads >> t & 1) != 0 && sim.thread[t].priority > sim.thread[found].priority) {
            found = t;
        }
    }
    return found;
}

uint8_t pct_actor(uint32_t enabled)
{
    uint32_t threads = enabled & ALL_THREADS;
    uint32_t kills = enabled & ALL_KILLS;
    uint32_t timeouts = enabled & ALL_TIMEOUTS;

    if (kills != 0 && search.steps >= kill_at) {
        return (uint8_t)__builtin_ctz(kills);
    }
    if (timeouts != 0 && (threads == 0 || next() % 32 == 0)) {
        return (uint8_t)__builtin_ctz(timeouts);
    }
    unsigned t = best(threads);
    for (unsigned i = 0; i < change_n; i++) {
        if (change[i] == search.steps) {
            sim.thread[t].priority = lowest_priority--;
            t = best(threads);
        }
    }
    if (sim.thread[t].op.kind == OP_YIELD) { /* it waits for others: let them */
        sim.thread[t].priority = lowest_priority--;
    }
    return (uint8_t)t;
}

uint8_t pct_value(unsigned n)
{
    return next() % 2 == 0 ? 0 : (uint8_t)(next() % n);
}

bool pct_spurious(void)
{
    return search.bound->search == MODEL_PCT && explore_value(16) == 15;
}
