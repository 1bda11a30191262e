/* The Linux port of plat.h: clock, futex, threads, CPU count. */
#include "plat/plat.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/hot.h"

void *aurp_block_alloc(size_t size)
{
    void *block = aligned_alloc(size, size);

    if (block != NULL) {
        (void)madvise(block, size, MADV_HUGEPAGE); /* a wish: small pages work as well */
    }
    return block;
}

uint64_t aurp_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

AURI_HOT uint64_t aurp_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}

static aur_err futex_wait(_Atomic(uint32_t) *word, int op, uint32_t expected, uint32_t mark,
                          aur_deadline deadline)
{
    struct timespec until;
    struct timespec *limit = NULL;

    if (deadline != AUR_NO_DEADLINE) {
        until.tv_sec = (time_t)(deadline / 1000000000u);
        until.tv_nsec = (long)(deadline % 1000000000u);
        limit = &until;
    }
    /* WAIT_BITSET takes an absolute CLOCK_MONOTONIC time, so a signal or a spurious return does not
     * stretch the wait. */
    long got = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | op, expected, limit, NULL, mark);
    return got == -1 && errno == ETIMEDOUT ? AUR_ETIMEDOUT : AUR_OK;
}

aur_err aurp_futex_wait(_Atomic(uint32_t) *word, uint32_t expected, aur_deadline deadline,
                        aurp_scope scope)
{
    int op = scope == AURP_PRIVATE ? FUTEX_PRIVATE_FLAG : 0;

    return futex_wait(word, op, expected, FUTEX_BITSET_MATCH_ANY, deadline);
}

aur_err aurp_futex_wait_marked(_Atomic(uint32_t) *word, uint32_t expected, uint32_t mark,
                               aur_deadline deadline)
{
    return futex_wait(word, FUTEX_PRIVATE_FLAG, expected, mark, deadline);
}

int aurp_futex_wake(_Atomic(uint32_t) *word, int n, aurp_scope scope)
{
    int op = FUTEX_WAKE | (scope == AURP_PRIVATE ? FUTEX_PRIVATE_FLAG : 0);
    long woken = syscall(SYS_futex, word, op, n, NULL, NULL, 0);

    return woken > 0 ? (int)woken : 0;
}

int aurp_futex_wake_marked(_Atomic(uint32_t) *word, uint32_t mark)
{
    int op = FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG;
    long woken = syscall(SYS_futex, word, op, 1, NULL, NULL, mark);

    return woken > 0 ? (int)woken : 0;
}

int aurp_thread_start(aurp_thread *ret_thread, void *(*fn)(void *), void *arg, const char *name)
{
    sigset_t all;
    sigset_t before;
    pthread_t id;

    /* The new thread inherits the mask: the host's signals stay with the host's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&id, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        return failed;
    }
    char short_name[16];
    snprintf(short_name, sizeof(short_name), "%s", name);
    pthread_setname_np(id, short_name);
    ret_thread->id = id;
    return 0;
}

void aurp_thread_join(aurp_thread thread)
{
    AURP_UNCANCELLED;

    pthread_join(thread.id, NULL);
}

void aurp_thread_detach(aurp_thread thread)
{
    pthread_detach(thread.id);
}

void aurp_yield(void)
{
    (void)sched_yield();
}

unsigned aurp_thread_count(void)
{
    AURP_UNCANCELLED;
    char text[1024];
    unsigned count = 0;
    FILE *status = fopen("/proc/self/status", "re");

    if (status == NULL) {
        return 0;
    }
    while (fgets(text, sizeof(text), status) != NULL) {
        if (sscanf(text, "Threads: %u", &count) == 1) {
            break;
        }
    }
    fclose(status);
    return count;
}

#define STACK_GAP_BYTES (UINT64_C(128) << 20)

/* The first thread's stack as the kernel makes it: the path of the program lies at its upper end, and below
 * it at least STACK_GAP_BYTES are left to it alone.  0: this is not it, or it may have more. */
static uintptr_t first_stack_low(void)
{
    const char *path = (const char *)getauxval(AT_EXECFN);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    struct rlimit limit;

    if (path == NULL || getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur > STACK_GAP_BYTES) {
        return 0;
    }
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t top = ((uintptr_t)path + strlen(path) + page) & ~(page - 1);
    return here < top && top - here < limit.rlim_cur ? top - limit.rlim_cur : 0;
}

/* The C library reads /proc/self/maps for the first thread, which takes longer than the start of a worker. */
uintptr_t aurp_stack_low(void)
{
    pthread_attr_t attr;
    void *low = (void *)first_stack_low();
    size_t size = 0;

    if (low != NULL) {
        return (uintptr_t)low;
    }
    if (pthread_getattr_np(pthread_self(), &attr) != 0) {
        return 0;
    }
    pthread_attr_getstack(&attr, &low, &size);
    pthread_attr_destroy(&attr);
    return (uintptr_t)low;
}

int aurp_at_fork_child(void (*hook)(void))
{
    return pthread_atfork(NULL, NULL, hook);
}

/* ---- where threads run --------------------------------------------------------------------- */

int aurp_cpu_here(void)
{
    return sched_getcpu();
}

/* By system call: the C library's functions want its own type. */
bool aurp_cpus_keep_off(int thread, int cpu, struct aurp_cpus *ret_before)
{
    struct aurp_cpus fewer;
    uint64_t left = 0;

    memset(ret_before, 0, sizeof(*ret_before));
    if (cpu < 0 || (size_t)cpu >= sizeof(fewer) * 8 ||
        syscall(SYS_sched_getaffinity, thread, sizeof(*ret_before), ret_before) < 0) {
        return false;
    }
    fewer = *ret_before;
    fewer.bits[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
    for (size_t i = 0; i < sizeof(fewer.bits) / sizeof(fewer.bits[0]); i++) {
        left |= fewer.bits[i];
    }
    return left != 0 && syscall(SYS_sched_setaffinity, thread, sizeof(fewer), &fewer) == 0;
}

void aurp_cpus_allow(const struct aurp_cpus *cpus)
{
    (void)syscall(SYS_sched_setaffinity, 0, sizeof(*cpus), cpus);
}

bool aurp_cpus_leave(int thread, int cpu)
{
    struct aurp_cpus before;

    if (!aurp_cpus_keep_off(thread, cpu, &before)) {
        return false;
    }
    (void)syscall(SYS_sched_setaffinity, thread, sizeof(before), &before);
    return true;
}

/* ---- CPU count ----------------------------------------------------------------------------- */

unsigned aurp_cpu_count_allowed(void)
{
    /* A machine may have more CPUs than cpu_set_t has bits: grow until the kernel is content. */
    for (int bits = 1024; bits <= 1 << 20; bits *= 2) {
        cpu_set_t *set = CPU_ALLOC(bits);
        if (set == NULL) {
            return 1;
        }
        size_t size = CPU_ALLOC_SIZE(bits);
        if (sched_getaffinity(0, size, set) == 0) {
            int count = CPU_COUNT_S(size, set);
            CPU_FREE(set);
            return count > 0 ? (unsigned)count : 1;
        }
        int failed = errno;
        CPU_FREE(set);
        if (failed != EINVAL) {
            return 1;
        }
    }
    return 1;
}

unsigned aurp_cpu_count(void)
{
    unsigned by_affinity = aurp_cpu_count_allowed();
    unsigned by_quota = aurp_cpu_quota("");

    return by_quota < by_affinity ? by_quota : by_affinity;
}
