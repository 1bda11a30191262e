/* The C11 memory model, by views; README.md has the argument.
 *
 *   cur[t]      what thread t must have seen: clocks (happens-before) and oldest readable stores
 *   pending[t]  what its relaxed loads could make it see at its next acquire fence
 *   fenced[t]   cur[t] at its last release fence: what its relaxed stores publish
 *   order       the stores that sequentially consistent operations have made common knowledge */
#include <string.h>

#include "internal.h"

static struct {
    clk cur[MODEL_THREADS][VIEW_MAX];
    clk pending[MODEL_THREADS][VIEW_MAX];
    clk fenced[MODEL_THREADS][VIEW_MAX];
    bool has_fence[MODEL_THREADS];
    clk order[VIEW_MAX];
    unsigned n; /* entries in use, a multiple of 16 */
    unsigned locations;
    struct location *location[LOCATIONS_MAX];
} m;

/* ---- views --------------------------------------------------------------------------------- */

static void join(clk *restrict into, const clk *restrict from, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        into[i] = into[i] > from[i] ? into[i] : from[i];
    }
}

static clk *copy_view(const clk *view)
{
    clk *copy = run_alloc(m.n * sizeof(clk));

    memcpy(copy, view, m.n * sizeof(clk));
    return copy;
}

void memory_reset(void)
{
    size_t used = (m.n == 0 ? VIEW_MAX : m.n) * sizeof(clk);

    for (unsigned t = 0; t < MODEL_THREADS; t++) {
        memset(m.cur[t], 0, used);
        memset(m.pending[t], 0, used);
        memset(m.fenced[t], 0, used);
        m.has_fence[t] = false;
        m.cur[t][t] = 1;
    }
    memset(m.order, 0, used);
    m.n = 16;
    m.locations = 0;
}

void memory_fork(unsigned parent, unsigned child)
{
    join(m.cur[child], m.cur[parent], m.n);
    m.cur[parent][parent]++;
}

void memory_join(unsigned thread, unsigned ended)
{
    join(m.cur[thread], m.cur[ended], m.n);
}

void memory_publish(unsigned thread, clk *object)
{
    join(object, m.cur[thread], m.n);
    m.cur[thread][thread]++;
}

void memory_learn(unsigned thread, const clk *object)
{
    join(m.cur[thread], object, m.n);
}

const clk *memory_clock(unsigned thread)
{
    return m.cur[thread];
}

/* ---- locations ----------------------------------------------------------------------------- */

static uint64_t peek(uintptr_t addr, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, (const void *)addr, size); /* little endian */
    return value;
}

static void append(struct location *loc, uint64_t value, clk *view)
{
    if (loc->n == loc->room) {
        uint16_t room = (uint16_t)(loc->room * 2);
        struct store *wide = run_alloc(room * sizeof(*wide));
        memcpy(wide, loc->history, loc->n * sizeof(*wide));
        loc->history = wide;
        loc->room = room;
    }
    loc->history[loc->n++] =
        (struct store){ .value = value, .view = view, .view_n = (uint16_t)m.n };
}

struct location *memory_location(uintptr_t addr, unsigned size)
{
    struct cell *cell = shadow_cell(addr);
    struct location *loc = cell->locations;

    while (loc != NULL && (loc->addr != addr || loc->size != size)) {
        loc = loc->next;
    }
    if (loc != NULL) {
        return loc;
    }
    if (m.locations == LOCATIONS_MAX) {
        model_failed("more than %u atomic objects", LOCATIONS_MAX);
        return NULL;
    }
    loc = run_alloc(sizeof(*loc));
    loc->addr = addr;
    loc->size = (uint8_t)size;
    loc->id = (uint16_t)(MODEL_THREADS + m.locations);
    m.location[m.locations++] = loc;
    m.n = (loc->id + 16u) & ~15u;
    loc->room = 4;
    loc->history = run_alloc(loc->room * sizeof(struct store));
    append(loc, peek(addr, size), NULL);
    loc->next = cell->locations;
    cell->locations = loc;
    return loc;
}

/* The oldest store that the thread may read.  Takes a plain store in first: whoever may not see that
 * one has raced with it. */
static unsigned oldest(unsigned thread, struct location *loc)
{
    if (loc->overwritten) {
        loc->overwritten = false;
        append(loc, peek(loc->addr, loc->size), NULL);
        for (unsigned t = 0; t < MODEL_THREADS; t++) {
            m.cur[t][loc->id] = (clk)(loc->n - 1);
        }
    }
    return m.cur[thread][loc->id];
}

static void take_view(unsigned thread, const struct store *store, enum order order)
{
    if (store->view != NULL) {
        bool acquires = order == ACQUIRE || order == ACQ_REL || order == SEQ_CST;
        join(acquires ? m.cur[thread] : m.pending[thread], store->view, store->view_n);
    }
}

static void observe(unsigned thread, struct location *loc, unsigned at, enum order order)
{
    m.cur[thread][loc->id] = (clk)at;
    take_view(thread, &loc->history[at], order);
    if (order == SEQ_CST && m.order[loc->id] < at) {
        m.order[loc->id] = (clk)at;
    }
    loc->touched[thread] = m.cur[thread][thread];
}

/* How many stores, from the newest back, the thread may read. */
static unsigned readable(unsigned thread, struct location *loc, enum order order)
{
    unsigned from = oldest(thread, loc);

    if (order == SEQ_CST && m.order[loc->id] > from) {
        from = m.order[loc->id];
    }
    unsigned most = sim.client->stale_max != 0 ? sim.client->stale_max : 3;
    if (loc->stale_n[thread] >= most && loc->stale_at[thread] == from) {
        from++; /* in the end each store is seen */
    }
    return loc->n - from;
}

static void note_stale(unsigned thread, struct location *loc, unsigned at)
{
    if (at + 1u == loc->n) {
        loc->stale_n[thread] = 0;
    } else if (loc->stale_n[thread] != 0 && loc->stale_at[thread] == at) {
        loc->stale_n[thread]++;
    } else {
        loc->stale_at[thread] = (uint16_t)at;
        loc->stale_n[thread] = 1;
    }
}

/* After model_yield(): the stores made so far are visible, as they are at some time. */
void memory_catch_up(unsigned thread)
{
    for (unsigned i = 0; i < m.locations; i++) {
        (void)oldest(thread, m.location[i]);
        m.cur[thread][m.location[i]->id] = (clk)(m.location[i]->n - 1);
    }
}

uint64_t memory_load(unsigned thread, struct location *loc, enum order order)
{
    unsigned n = readable(thread, loc, order);
    unsigned at = loc->n - 1u - (n > 1 ? explore_value(n) : 0);

    note_stale(thread, loc, at);
    observe(thread, loc, at, order);
    return loc->history[at].value;
}

/* ---- stores -------------------------------------------------------------------------------- */

static bool releases(enum order order)
{
    return order == RELEASE || order == ACQ_REL || order == SEQ_CST;
}

static void put(unsigned thread, struct location *loc, uint64_t value, enum order order,
                const struct store *continues)
{
    clk *view = NULL;

    m.cur[thread][loc->id] = loc->n;
    if (releases(order)) {
        view = copy_view(m.cur[thread]);
    } else if (m.has_fence[thread]) {
        view = copy_view(m.fenced[thread]);
    }
    if (continues != NULL && continues->view != NULL) { /* a release sequence */
        if (view == NULL) {
            view = run_alloc(m.n * sizeof(clk));
        }
        join(view, continues->view, continues->view_n);
    }
    append(loc, value, view);
    if (order == SEQ_CST) {
        m.order[loc->id] = (clk)(loc->n - 1);
    }
    loc->touched[thread] = m.cur[thread][thread];
    loc->wrote[thread] = m.cur[thread][thread];
    m.cur[thread][thread] += view != NULL; /* what comes later is not published by this */
    shadow_note_static(loc->addr, loc->size);
    memcpy((void *)loc->addr, &value, loc->size);
}

void memory_store(unsigned thread, struct location *loc, uint64_t value, enum order order)
{
    (void)oldest(thread, loc);
    put(thread, loc, value, order, NULL);
}

uint64_t memory_newest(unsigned thread, struct location *loc)
{
    (void)oldest(thread, loc);
    return loc->history[loc->n - 1].value;
}

void memory_rmw(unsigned thread, struct location *loc, uint64_t value, enum order order)
{
    struct store read = loc->history[loc->n - 1];

    observe(thread, loc, loc->n - 1u, order);
    put(thread, loc, value, order, &read);
}

/* A compare and swap that fails is a load, and may find an old value. */
bool memory_cas(unsigned thread, struct location *loc, uint64_t *expected, uint64_t desired,
                enum order order, enum order order_failed)
{
    unsigned n = readable(thread, loc, order_failed);
    unsigned at[64];
    unsigned choices = 0;

    at[choices++] = loc->n - 1u;
    for (unsigned i = 1; i < n && choices < 64; i++) {
        if (loc->history[loc->n - 1u - i].value != *expected) {
            at[choices++] = loc->n - 1u - i;
        }
    }
    unsigned choice = choices > 1 ? explore_value(choices) : 0;
    uint64_t found = loc->history[at[choice]].value;
    if (choice == 0 && found == *expected) {
        note_stale(thread, loc, loc->n - 1u);
        memory_rmw(thread, loc, desired, order);
        return true;
    }
    note_stale(thread, loc, at[choice]);
    observe(thread, loc, at[choice], order_failed);
    *expected = found;
    return false;
}

void memory_fence(unsigned thread, enum order order)
{
    if (order != RELEASE) {
        join(m.cur[thread], m.pending[thread], m.n);
    }
    if (order == SEQ_CST) {
        /* Views only: fences are ordered, but do not synchronise by themselves. */
        join(m.cur[thread] + MODEL_THREADS, m.order + MODEL_THREADS, m.n - MODEL_THREADS);
        join(m.order + MODEL_THREADS, m.cur[thread] + MODEL_THREADS, m.n - MODEL_THREADS);
    }
    if (order != ACQUIRE) {
        memcpy(m.fenced[thread], m.cur[thread], m.n * sizeof(clk));
        m.has_fence[thread] = true;
        m.cur[thread][thread]++;
    }
}
