/* Plain accesses: data races, use after free; the heap of the code under test; and putting its
 * statics back after each execution. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

#define CELLS (1u << 16) /* a power of two; more 8-byte words than that an execution cannot touch */
#define HEAP_BYTES (64u << 20)
#define SCRATCH_BYTES (256u << 20)
#define UNDO_MAX (1u << 18)

/* Bytes of one word that were always accessed alike. */
struct span {
    uint8_t mask;
    bool freed;
    int8_t writer; /* -1: nobody */
    clk written;
    clk read[MODEL_THREADS];
    const void *write_pc;
    const void *read_pc;
    struct span *next;
};

struct undo {
    uintptr_t addr;
    uint64_t old;
};

static struct cell cells[CELLS];
static unsigned cells_used;
static struct undo undo[UNDO_MAX];
static size_t undo_n;
static unsigned char *heap, *scratch;
static size_t heap_at, heap_used, scratch_at;

/* ---- memory of the explorer and of the code under test --------------------------------------- */

static unsigned char *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

void *run_alloc(size_t size)
{
    void *p = scratch + scratch_at;

    scratch_at += (size + 15) & ~(size_t)15;
    if (scratch_at > SCRATCH_BYTES) {
        abort();
    }
    return memset(p, 0, size);
}

/* A block begins with its size, in the 64 bytes before it. */
void *shadow_alloc(size_t size, size_t align)
{
    align = align < 64 ? 64 : align;
    heap_at = (heap_at + 64 + align - 1) & ~(align - 1);
    unsigned char *p = heap + heap_at;
    if (heap_at + size > HEAP_BYTES) {
        return NULL;
    }
    heap_at += size;
    heap_used += size;
    memcpy(p - sizeof(size), &size, sizeof(size));
    memset(p, 0xa5, size);
    return p;
}

static struct span *cut_span(struct cell *cell, struct span *span, uint8_t mask)
{
    if ((span->mask & ~mask) != 0) { /* the rest keeps its past */
        struct span *rest = run_alloc(sizeof(*rest));
        *rest = *span;
        rest->mask = (uint8_t)(span->mask & ~mask);
        span->mask &= mask;
        rest->next = cell->spans;
        cell->spans = rest;
    }
    return span;
}

void shadow_free(void *p, const void *pc)
{
    if (p == NULL) {
        return;
    }
    size_t size;
    memcpy(&size, (unsigned char *)p - sizeof(size), sizeof(size));
    heap_used -= size;
    if (!sim.parallel) {
        return;
    }
    shadow_access((uintptr_t)p, size, true, pc);
    for (uintptr_t at = (uintptr_t)p; at < (uintptr_t)p + size; at += 8) {
        for (struct span *s = shadow_cell(at)->spans; s != NULL; s = s->next) {
            s->freed = true;
        }
    }
}

size_t model_heap_used(void)
{
    return heap_used;
}

/* ---- statics ---------------------------------------------------------------------------------- */

extern char __data_start, _end; /* the linker's */

void shadow_note_static(uintptr_t addr, size_t size)
{
    if (addr < (uintptr_t)&__data_start || addr >= (uintptr_t)&_end) {
        return;
    }
    for (uintptr_t at = addr & ~(uintptr_t)7; at < addr + size; at += 8) {
        if (undo_n == UNDO_MAX) {
            abort();
        }
        undo[undo_n].addr = at;
        memcpy(&undo[undo_n++].old, (const void *)at, 8);
    }
}

void shadow_reset(void)
{
    if (heap == NULL) {
        heap = map(HEAP_BYTES);
        scratch = map(SCRATCH_BYTES);
    }
    while (undo_n > 0) {
        undo_n--;
        memcpy((void *)undo[undo_n].addr, &undo[undo_n].old, 8);
    }
    heap_at = 0;
    heap_used = 0;
    scratch_at = 0;
    cells_used = 0;
}

/* ---- races ------------------------------------------------------------------------------------ */

struct cell *shadow_cell(uintptr_t addr)
{
    uintptr_t key = addr >> 3;
    size_t at = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (CELLS - 1);

    while (cells[at].run == sim.run && cells[at].key != key) {
        at = (at + 1) & (CELLS - 1);
    }
    if (cells[at].run != sim.run) {
        if (++cells_used > CELLS / 4 * 3) {
            abort();
        }
        cells[at] = (struct cell){ .key = key, .run = sim.run };
    }
    return &cells[at];
}

static void race(uintptr_t addr, const char *what, unsigned other, const void *pc,
                 const void *other_pc)
{
    log_event(other_pc, addr, "^ the other side of the race, thread %u", other);
    log_event(pc, addr, "%s", what);
    model_failed("%s: no order between threads %u and %u", what, sim.self, other);
}

/* A plain access against the atomic ones to the same bytes. */
static void against_atomics(struct cell *cell, uintptr_t addr, size_t size, bool write,
                            const void *pc)
{
    const clk *now = memory_clock(sim.self);

    for (struct location *loc = cell->locations; loc != NULL; loc = loc->next) {
        if (addr >= loc->addr + loc->size || addr + size <= loc->addr) {
            continue;
        }
        for (unsigned t = 0; t < sim.threads; t++) {
            if (now[t] < (write ? loc->touched[t] : loc->wrote[t])) {
                race(addr, "data race: plain access against an atomic one", t, pc, NULL);
                return;
            }
        }
        loc->overwritten = loc->overwritten || write;
    }
}

static void check_span(struct span *span, uintptr_t addr, bool write, const void *pc)
{
    const clk *now = memory_clock(sim.self);

    if (span->writer >= 0 && now[span->writer] < span->written) {
        race(addr, span->freed ? "data race with free()" : "data race", (unsigned)span->writer, pc,
             span->write_pc);
    } else if (span->freed) {
        log_event(span->write_pc, addr, "^ freed here");
        log_event(pc, addr, "%s", "use after free");
        model_failed("use after free");
    } else if (write) {
        for (unsigned t = 0; t < sim.threads; t++) {
            if (now[t] < span->read[t]) {
                race(addr, "data race with a read", t, pc, span->read_pc);
                return;
            }
        }
    }
}

static void note(struct span *span, bool write, const void *pc)
{
    clk now = memory_clock(sim.self)[sim.self];

    if (write) {
        span->writer = (int8_t)sim.self;
        span->written = now;
        span->write_pc = pc;
        memset(span->read, 0, sizeof(span->read));
    } else {
        span->read[sim.self] = now;
        span->read_pc = pc;
    }
}

static void access_word(uintptr_t addr, size_t size, bool write, const void *pc)
{
    struct cell *cell = shadow_cell(addr);
    uint8_t mask = (uint8_t)(((1u << size) - 1) << (addr & 7));

    if (cell->locations != NULL) {
        against_atomics(cell, addr, size, write, pc);
    }
    for (struct span *span = cell->spans; span != NULL && mask != 0; span = span->next) {
        if ((span->mask & mask) != 0) {
            span = cut_span(cell, span, mask);
            check_span(span, addr, write, pc);
            note(span, write, pc);
            mask &= (uint8_t)~span->mask;
        }
    }
    if (mask != 0) {
        struct span *span = run_alloc(sizeof(*span));
        span->mask = mask;
        span->writer = -1;
        note(span, write, pc);
        span->next = cell->spans;
        cell->spans = span;
    }
}

void shadow_access(uintptr_t addr, size_t size, bool write, const void *pc)
{
    while (size > 0) {
        size_t part = 8 - (addr & 7);
        part = part < size ? part : size;
        access_word(addr, part, write, pc);
        addr += part;
        size -= part;
    }
}

void shadow_atomic(struct cell *cell, struct location *loc, bool write, const void *pc)
{
    uint8_t mask = (uint8_t)(((1u << loc->size) - 1) << (loc->addr & 7));

    for (struct span *span = cell->spans; span != NULL; span = span->next) {
        if ((span->mask & mask) != 0) {
            check_span(span, loc->addr, write, pc);
        }
    }
}

void model_touch(const void *p, size_t size, bool write)
{
    if (sim.parallel) {
        shadow_access((uintptr_t)p, size, write, __builtin_return_address(0));
    }
}
