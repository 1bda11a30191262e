/* plat/plat.h: the port contract, part one: clock, parking, threads, CPUs.  (Part two, memory that
 * processes share: plat/shm.h.  Part three, processes: plat/process.h.)  Each system call of the
 * library is made behind one of these headers. */
#ifndef AURI_PLAT_H
#define AURI_PLAT_H

#include <auriga/base.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- clock --------------------------------------------------------------------------------- */

/* CLOCK_MONOTONIC in nanoseconds: the time base of aur_deadline.  About 30 ns. */
uint64_t aurp_now_ns(void);

/* A counter that runs on evenly, whatever the CPU does; its unit is not known.  A third of the price of the
 * clock, and it does not wait for the instructions before it.  0, always: there is none. */
uint64_t aurp_ticks(void);

/* ---- parking ------------------------------------------------------------------------------- */

typedef enum aurp_scope {
    AURP_PRIVATE = 0, /* threads of this process */
    AURP_SHARED = 1,  /* a word in memory that several processes map */
} aurp_scope;

/* Sleeps while *word == expected.  Returns AUR_OK when woken, when the value differed, or for no
 * reason at all (callers loop), AUR_ETIMEDOUT once the deadline has passed.  Signals do not end it
 * early with an error. */
aur_err aurp_futex_wait(_Atomic(uint32_t) *word, uint32_t expected, aur_deadline deadline,
                        aurp_scope scope);

/* Wakes at most n sleepers; returns how many.  The word's memory may already be reused by then: at
 * worst somebody wakes for nothing. */
int aurp_futex_wake(_Atomic(uint32_t) *word, int n, aurp_scope scope);

/* The same for threads of this process that sleep under a mark, a set of bits: a wake reaches one of
 * those whose marks have a bit in common with its own.  Plain sleepers have all bits. */
aur_err aurp_futex_wait_marked(_Atomic(uint32_t) *word, uint32_t expected, uint32_t mark,
                               aur_deadline deadline);
int aurp_futex_wake_marked(_Atomic(uint32_t) *word, uint32_t mark);

/* ---- threads ------------------------------------------------------------------------------- */

typedef struct aurp_thread {
    pthread_t id;
} aurp_thread;

/* Starts fn(arg) with all signals blocked and the given name (15 bytes used).  Returns 0 or errno. */
int aurp_thread_start(aurp_thread *ret_thread, void *(*fn)(void *), void *arg, const char *name);
void aurp_thread_join(aurp_thread thread);
void aurp_thread_detach(aurp_thread thread);

/* Lets who else wants this CPU have it first. */
void aurp_yield(void);

/* How many threads this process has now (0 if that cannot be told).  One that has been joined may
 * still be counted for a moment. */
unsigned aurp_thread_count(void);
/* The same without threads that are on their way out of the kernel, such as joined ones.  Reads a file
 * per thread. */
unsigned aurp_thread_count_live(void);

/* Lowest usable address of the calling thread's stack, for depth checks.  Slow: ask once a thread. */
uintptr_t aurp_stack_low(void);

/* No function of the library is a cancellation point: its callers hold locks, and others wait for them.  What in
 * here calls one of the C library's that is, says this first; it holds to the end of the block. */
#define AURP_UNCANCELLED                                                                           \
    __attribute__((cleanup(aurp_cancel_as_before), unused)) int cancel_before_ = aurp_cancel_off()
static inline int aurp_cancel_off(void)
{
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}
static inline void aurp_cancel_as_before(int *before)
{
    pthread_setcancelstate(*before, NULL);
}

/* ---- what threads are doing ---------------------------------------------------------------- */

/* The calling thread's number in this process: never 0. */
int aurp_thread_self(void);

#define AURP_NO_CLOCK UINT64_MAX
/* CPU time that a thread of this process has used; AURP_NO_CLOCK if there is no such thread (any
 * more).  About 1.4 us. */
uint64_t aurp_thread_cpu_ns(int tid);
/* The calling thread's, and how often it has slept: it waited for something, and was not only made to
 * leave the CPU to others.  About 0.5 us. */
struct aurp_usage {
    uint64_t cpu_ns;
    uint64_t sleeps;
};
struct aurp_usage aurp_thread_usage(void);
/* For how long the calling thread has had no CPU though it was ready to run; AURP_NO_CLOCK where the
 * kernel does not count that.  About 5 us. */
uint64_t aurp_thread_ready_ns(void);
/* The CPU time of the whole process, all its threads together. */
uint64_t aurp_process_cpu_ns(void);

/* Whether a thread of this process sleeps in the kernel at this moment: it waits for something, and
 * not for a CPU.  False if that cannot be told.  Reads a file: some 5 us. */
bool aurp_thread_sleeps(int tid);

/* ---- memory -------------------------------------------------------------------------------- */

/* Private memory for objects that are never given back: size bytes, a power of two from 2 MiB on, and
 * aligned to it.  The kernel is asked for large pages, so that the first touch costs one fault for
 * 2 MiB instead of 512.  NULL: none is left. */
void *aurp_block_alloc(size_t size);

/* ---- this machine, this process ------------------------------------------------------------ */

/* CPUs by affinity and control-group quota, at least 1.  Reads files: not for hot paths. */
unsigned aurp_cpu_count(void);
/* The same by affinity alone, at the price of a system call. */
unsigned aurp_cpu_count_allowed(void);

/* CPUs that the quotas of our control groups (v1 and v2) make together, rounded up; UINT32_MAX: no quota.
 * root  as of aurp_memory_available() in shm.h. */
unsigned aurp_cpu_quota(const char *root);

/* The CPU that the calling thread runs on now, or -1. */
int aurp_cpu_here(void);

/* A set of CPUs; as many as most machines have.  Where there are more, the three below do nothing. */
struct aurp_cpus {
    uint64_t bits[16];
};

/* Takes one CPU out of those that a thread of this process may run on.  False: it may run on no other,
 * or the system does not allow it; then nothing has changed.  *ret_before: what it was. */
bool aurp_cpus_keep_off(int thread, int cpu, struct aurp_cpus *ret_before);
/* Where the calling thread may run from now on. */
void aurp_cpus_allow(const struct aurp_cpus *cpus);
/* Sends a thread of this process away from a CPU; afterwards it may run where it could before, on that one
 * again, too.  False as of the first.  Nobody else may change where it runs meanwhile. */
bool aurp_cpus_leave(int thread, int cpu);

/* Registers once per process a hook that runs in each child of fork().  Returns 0 or errno. */
int aurp_at_fork_child(void (*hook)(void));

#endif /* AURI_PLAT_H */
