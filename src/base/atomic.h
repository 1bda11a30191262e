/* base/atomic.h: every access to shared memory in the library goes through these names.
 *
 * The name carries the order; there is no default.  AURI_STEP(p) runs before each access, so that a
 * model explorer or a kill-point sweep can be put in at compile time (-DAURI_STEP_HEADER="...");
 * in a normal build it is nothing.
 *
 * ThreadSanitizer does not follow fences: under it auri_fence_sc() becomes a seq_cst
 * read-modify-write of one dummy word, which orders at least as much. */
#ifndef AURI_BASE_ATOMIC_H
#define AURI_BASE_ATOMIC_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef AURI_STEP_HEADER
#include AURI_STEP_HEADER
#endif
#ifndef AURI_STEP
#define AURI_STEP(p) ((void)0)
#endif

#define AURI_CACHE_LINE 64

#define auri_load_rlx(p) (AURI_STEP(p), atomic_load_explicit((p), memory_order_relaxed))
#define auri_load_acq(p) (AURI_STEP(p), atomic_load_explicit((p), memory_order_acquire))
#define auri_load_sc(p) (AURI_STEP(p), atomic_load_explicit((p), memory_order_seq_cst))

#define auri_store_rlx(p, v) (AURI_STEP(p), atomic_store_explicit((p), (v), memory_order_relaxed))
#define auri_store_rel(p, v) (AURI_STEP(p), atomic_store_explicit((p), (v), memory_order_release))
#define auri_store_sc(p, v) (AURI_STEP(p), atomic_store_explicit((p), (v), memory_order_seq_cst))

#define auri_xchg_rlx(p, v) (AURI_STEP(p), atomic_exchange_explicit((p), (v), memory_order_relaxed))
#define auri_xchg_acq(p, v) (AURI_STEP(p), atomic_exchange_explicit((p), (v), memory_order_acquire))
#define auri_xchg_acqrel(p, v)                                                                     \
    (AURI_STEP(p), atomic_exchange_explicit((p), (v), memory_order_acq_rel))
#define auri_xchg_sc(p, v) (AURI_STEP(p), atomic_exchange_explicit((p), (v), memory_order_seq_cst))

#define auri_add_rlx(p, v) (AURI_STEP(p), atomic_fetch_add_explicit((p), (v), memory_order_relaxed))
#define auri_add_acqrel(p, v)                                                                      \
    (AURI_STEP(p), atomic_fetch_add_explicit((p), (v), memory_order_acq_rel))
#define auri_add_sc(p, v) (AURI_STEP(p), atomic_fetch_add_explicit((p), (v), memory_order_seq_cst))
#define auri_sub_rel(p, v) (AURI_STEP(p), atomic_fetch_sub_explicit((p), (v), memory_order_release))
#define auri_sub_acqrel(p, v)                                                                      \
    (AURI_STEP(p), atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel))
#define auri_and_rlx(p, v) (AURI_STEP(p), atomic_fetch_and_explicit((p), (v), memory_order_relaxed))
#define auri_or_rlx(p, v) (AURI_STEP(p), atomic_fetch_or_explicit((p), (v), memory_order_relaxed))
#define auri_or_acqrel(p, v)                                                                       \
    (AURI_STEP(p), atomic_fetch_or_explicit((p), (v), memory_order_acq_rel))

/* Compare and swap, strong.  On failure *expected holds the value seen, loaded with the weaker
 * order of the pair: acquire for acq, acqrel and sc forms, relaxed for rel and rlx. */
#define auri_cas_rlx(p, expected, v)                                                               \
    (AURI_STEP(p), atomic_compare_exchange_strong_explicit(                                        \
                       (p), (expected), (v), memory_order_relaxed, memory_order_relaxed))
#define auri_cas_acq(p, expected, v)                                                               \
    (AURI_STEP(p), atomic_compare_exchange_strong_explicit(                                        \
                       (p), (expected), (v), memory_order_acquire, memory_order_acquire))
#define auri_cas_rel(p, expected, v)                                                               \
    (AURI_STEP(p), atomic_compare_exchange_strong_explicit(                                        \
                       (p), (expected), (v), memory_order_release, memory_order_relaxed))
#define auri_cas_acqrel(p, expected, v)                                                            \
    (AURI_STEP(p), atomic_compare_exchange_strong_explicit(                                        \
                       (p), (expected), (v), memory_order_acq_rel, memory_order_acquire))
#define auri_cas_sc(p, expected, v)                                                                \
    (AURI_STEP(p), atomic_compare_exchange_strong_explicit(                                        \
                       (p), (expected), (v), memory_order_seq_cst, memory_order_acquire))

#if defined(AURI_MODEL) /* tests/model/runtime takes ThreadSanitizer's place, and follows fences */
#elif defined(__SANITIZE_THREAD__)
#define AURI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AURI_TSAN 1
#endif
#endif

#ifdef AURI_TSAN
extern _Atomic(uint32_t) auri_fence_word; /* src/base/err.c */
#define auri_fence_sc() ((void)auri_add_sc(&auri_fence_word, 0u))
#define auri_fence_acq() ((void)auri_add_sc(&auri_fence_word, 0u))
#else
#define auri_fence_sc() (AURI_STEP(0), atomic_thread_fence(memory_order_seq_cst))
#define auri_fence_acq() (AURI_STEP(0), atomic_thread_fence(memory_order_acquire))
#endif

/* Asks for the cache line at p, to be written: it comes over while something else is done.  Only a hint.
 * (__builtin_prefetch(p, 1) asks for it to be read, unless the compiler is told of a newer CPU.) */
static inline void auri_prefetch_write(const void *p)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* Tells the CPU that this is a spin loop. */
#ifdef AURI_MODEL
void model_yield(void);
#endif
static inline void auri_cpu_relax(void)
{
#if defined(AURI_MODEL)
    model_yield();
#elif defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield" ::: "memory");
#endif
}

#endif /* AURI_BASE_ATOMIC_H */
