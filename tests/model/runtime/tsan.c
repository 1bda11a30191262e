/* What -fsanitize=thread makes of each access of the code under test: calls of these functions.  The
 * compiler's own runtime library is not linked. */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define HERE __builtin_return_address(0)

/* ---- atomic accesses ------------------------------------------------------------------------- */

static const char *const order_names[] = { "relaxed", "consume", "acquire",
                                           "release", "acq_rel", "seq_cst" };

/* Makes the access visible to the scheduler and checks it against the plain ones. */
static struct location *begin(uintptr_t addr, unsigned size, bool write, int order, const void *pc)
{
    struct location *loc = memory_location(addr, size);
    struct op op = { .object = loc->id, .write = write, .sc = order == SEQ_CST, .pc = pc };

    explore_step(op);
    struct cell *cell = shadow_cell(addr);
    if (cell->spans != NULL) {
        shadow_atomic(cell, loc, write, pc);
    }
    if (write && cell->locations->next != NULL) { /* one object's memory used for another */
        for (struct location *other = cell->locations; other != NULL; other = other->next) {
            other->overwritten = other->overwritten || (other != loc && other->addr < addr + size &&
                                                        addr < other->addr + other->size);
        }
    }
    return loc;
}

static uint64_t do_load(uintptr_t addr, unsigned size, int order, const void *pc)
{
    uint64_t value = 0;

    if (!sim.parallel) {
        memcpy(&value, (const void *)addr, size);
        return value;
    }
    struct location *loc = begin(addr, size, false, order, pc);
    value = memory_load(sim.self, loc, (enum order)order);
    if (sim.logging) {
        log_event(pc, addr, "load %s = %#llx%s", order_names[order], (unsigned long long)value,
                  memory_clock(sim.self)[loc->id] + 1u == loc->n ? "" : "  (an old value)");
    }
    return value;
}

static void do_store(uintptr_t addr, unsigned size, uint64_t value, int order, const void *pc)
{
    if (!sim.parallel) {
        shadow_note_static(addr, size);
        memcpy((void *)addr, &value, size);
        return;
    }
    memory_store(sim.self, begin(addr, size, true, order, pc), value, (enum order)order);
    if (sim.logging) {
        log_event(pc, addr, "store %s %#llx", order_names[order], (unsigned long long)value);
    }
}

enum rmw { XCHG, ADD, SUB, AND, OR, XOR };

static uint64_t combine(enum rmw kind, uint64_t old, uint64_t value)
{
    switch (kind) {
    case XCHG:
        return value;
    case ADD:
        return old + value;
    case SUB:
        return old - value;
    case AND:
        return old & value;
    case OR:
        return old | value;
    default:
        return old ^ value;
    }
}

static uint64_t narrow(uint64_t value, unsigned size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << size * 8) - 1);
}

static const char *const rmw_names[] = { "exchange", "add", "sub", "and", "or", "xor" };

static uint64_t do_rmw(uintptr_t addr, uint64_t value, int order, unsigned how, const void *pc)
{
    unsigned size = how & 15u;
    enum rmw kind = (enum rmw)(how >> 4);
    uint64_t old = 0;

    if (!sim.parallel) {
        memcpy(&old, (const void *)addr, size);
        value = combine(kind, old, value);
        shadow_note_static(addr, size);
        memcpy((void *)addr, &value, size);
        return old;
    }
    struct location *loc = begin(addr, size, true, order, pc);
    old = memory_newest(sim.self, loc);
    memory_rmw(sim.self, loc, narrow(combine(kind, old, value), size), (enum order)order);
    if (sim.logging) {
        log_event(pc, addr, "%s %s %#llx: was %#llx", rmw_names[kind], order_names[order],
                  (unsigned long long)narrow(value, size), (unsigned long long)old);
    }
    return old;
}

struct cas {
    uint64_t *expected;
    uint64_t desired;
    int order;
    int order_failed;
};

static bool do_cas(uintptr_t addr, unsigned size, const struct cas *cas, const void *pc)
{
    uint64_t wanted = *cas->expected;

    if (!sim.parallel) {
        uint64_t old = 0;
        memcpy(&old, (const void *)addr, size);
        if (old == wanted) {
            shadow_note_static(addr, size);
            memcpy((void *)addr, &cas->desired, size);
        }
        *cas->expected = old;
        return old == wanted;
    }
    struct location *loc = begin(addr, size, true, cas->order, pc);
    bool won = memory_cas(sim.self, loc, cas->expected, cas->desired, (enum order)cas->order,
                          (enum order)cas->order_failed);
    if (sim.logging) {
        log_event(pc, addr, "cas %s %#llx -> %#llx: %s%#llx", order_names[cas->order],
                  (unsigned long long)wanted, (unsigned long long)cas->desired,
                  won ? "won, was " : "lost, is ", (unsigned long long)*cas->expected);
    }
    return won;
}

#define RMW(bits, name, kind)                                                                      \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v,      \
                                                int order);                                        \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v,      \
                                                int order)                                         \
    {                                                                                              \
        return (uint##bits##_t)do_rmw((uintptr_t)p, v, order, bits / 8 | (kind) << 4, HERE);       \
    }

#define CAS(bits, name)                                                                            \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile uint##bits##_t *p,                  \
                                                      uint##bits##_t *expected, uint##bits##_t v,  \
                                                      int order, int order_failed);                \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile uint##bits##_t *p,                  \
                                                      uint##bits##_t *expected, uint##bits##_t v,  \
                                                      int order, int order_failed)                 \
    {                                                                                              \
        uint64_t value = *expected;                                                                \
        struct cas cas = { &value, v, order, order_failed };                                       \
        bool won = do_cas((uintptr_t)p, bits / 8, &cas, HERE);                                     \
        *expected = (uint##bits##_t)value;                                                         \
        return won;                                                                                \
    }

#define ATOMICS(bits)                                                                              \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order);        \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order)         \
    {                                                                                              \
        return (uint##bits##_t)do_load((uintptr_t)p, bits / 8, order, HERE);                       \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order);     \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order)      \
    {                                                                                              \
        do_store((uintptr_t)p, bits / 8, v, order, HERE);                                          \
    }                                                                                              \
    RMW(bits, exchange, XCHG)                                                                      \
    RMW(bits, fetch_add, ADD)                                                                      \
    RMW(bits, fetch_sub, SUB)                                                                      \
    RMW(bits, fetch_and, AND)                                                                      \
    RMW(bits, fetch_or, OR)                                                                        \
    RMW(bits, fetch_xor, XOR)                                                                      \
    CAS(bits, strong)                                                                              \
    CAS(bits, weak)

ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    if (!sim.parallel) {
        return;
    }
    if (order == SEQ_CST) { /* the only fence that others can notice */
        explore_step((struct op){ .sc = 1, .fence = 1, .pc = HERE });
    }
    memory_fence(sim.self, (enum order)order);
    if (sim.logging) {
        log_event(HERE, 0, "fence %s", order_names[order]);
    }
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}

/* ---- plain accesses -------------------------------------------------------------------------- */

static inline void plain(uintptr_t addr, size_t size, bool write, const void *pc)
{
    if (write) {
        shadow_note_static(addr, size);
    }
    /* Each logical thread has its own of these. */
    if (sim.parallel && addr != (uintptr_t)&aur_self_2_ && addr != (uintptr_t)&errno) {
        shadow_access(addr, size, write, pc);
    }
}

#define PLAIN(name, size, write)                                                                   \
    void __tsan_##name(void *p);                                                                   \
    void __tsan_##name(void *p)                                                                    \
    {                                                                                              \
        plain((uintptr_t)p, size, write, HERE);                                                    \
    }

PLAIN(read1, 1, false)
PLAIN(read2, 2, false)
PLAIN(read4, 4, false)
PLAIN(read8, 8, false)
PLAIN(read16, 16, false)
PLAIN(write1, 1, true)
PLAIN(write2, 2, true)
PLAIN(write4, 4, true)
PLAIN(write8, 8, true)
PLAIN(write16, 16, true)
PLAIN(unaligned_read2, 2, false)
PLAIN(unaligned_read4, 4, false)
PLAIN(unaligned_read8, 8, false)
PLAIN(unaligned_read16, 16, false)
PLAIN(unaligned_write2, 2, true)
PLAIN(unaligned_write4, 4, true)
PLAIN(unaligned_write8, 8, true)
PLAIN(unaligned_write16, 16, true)

void __tsan_read_range(void *p, size_t size);
void __tsan_read_range(void *p, size_t size)
{
    plain((uintptr_t)p, size, false, HERE);
}

void __tsan_write_range(void *p, size_t size);
void __tsan_write_range(void *p, size_t size)
{
    plain((uintptr_t)p, size, true, HERE);
}

void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
    (void)pc;
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

/* ---- functions of the C library that touch memory (names.h) ----------------------------------- */

void *model_memcpy(void *to, const void *from, size_t n);
void *model_memcpy(void *to, const void *from, size_t n)
{
    plain((uintptr_t)from, n, false, HERE);
    plain((uintptr_t)to, n, true, HERE);
    return memcpy(to, from, n);
}

void *model_memset(void *to, int c, size_t n);
void *model_memset(void *to, int c, size_t n)
{
    plain((uintptr_t)to, n, true, HERE);
    return memset(to, c, n);
}

void *model_malloc(size_t n);
void *model_malloc(size_t n)
{
    return shadow_alloc(n, 16);
}

void *model_calloc(size_t n, size_t size);
void *model_calloc(size_t n, size_t size)
{
    void *p = shadow_alloc(n * size, 16);

    return p != NULL ? memset(p, 0, n * size) : NULL;
}

void *model_aligned_alloc(size_t align, size_t n);
void *model_aligned_alloc(size_t align, size_t n)
{
    return shadow_alloc(n, align);
}

void *model_realloc(void *p, size_t n);
void *model_realloc(void *p, size_t n)
{
    size_t size = 0;

    if (p != NULL) {
        memcpy(&size, (unsigned char *)p - sizeof(size),
               sizeof(size)); /* as shadow_free() finds it */
    }
    void *more = shadow_alloc(n, 16);
    if (more != NULL && p != NULL) {
        memcpy(more, p, size < n ? size : n);
        shadow_free(p, HERE);
    }
    return more;
}
void model_free(void *p);
void model_free(void *p)
{
    shadow_free(p, HERE);
}
