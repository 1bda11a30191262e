/* The Linux port of plat.h: clock, futex, threads, CPU count. */
#include "plat/plat.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

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

uint64_t aurp_ticks(void)
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
    pthread_join(thread.id, NULL);
}

void aurp_thread_detach(aurp_thread thread)
{
    pthread_detach(thread.id);
}

unsigned aurp_thread_count(void)
{
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

uintptr_t aurp_stack_low(void)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t size = 0;

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

/* ---- CPU count ----------------------------------------------------------------------------- */

static unsigned affinity_count(void)
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

/* quota / period rounded up, or UINT32_MAX for "no limit". */
static unsigned quota_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) {
        return UINT32_MAX;
    }
    long long cpus = (quota + period - 1) / period;
    return cpus < 1 ? 1 : cpus > 1 << 20 ? UINT32_MAX : (unsigned)cpus;
}

static bool read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        return false;
    }
    bool got = fgets(line, size, file) != NULL;
    fclose(file);
    return got;
}

/* The quota of one group directory. */
static unsigned group_cpus(const char *dir, bool v2)
{
    char path[4352];
    char line[128];
    long long quota = -1;
    long long period = -1;

    if (v2) {
        snprintf(path, sizeof(path), "%s/cpu.max", dir);
        if (!read_line(path, line, sizeof(line)) ||
            sscanf(line, "%lld %lld", &quota, &period) != 2) {
            return UINT32_MAX;
        }
        return quota_cpus(quota, period);
    }
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", dir);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%lld", &quota) != 1) {
        return UINT32_MAX;
    }
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%lld", &period) != 1) {
        return UINT32_MAX;
    }
    return quota_cpus(quota, period);
}

/* The smallest quota from the group at root+path up to root: a child cannot have more than its
 * parents, but its own file may say "max". */
static unsigned hierarchy_cpus(const char *root, const char *path, bool v2)
{
    char dir[4224];
    unsigned least = UINT32_MAX;

    snprintf(dir, sizeof(dir), "%s%s", root, strcmp(path, "/") == 0 ? "" : path);
    for (;;) {
        unsigned here = group_cpus(dir, v2);
        least = here < least ? here : least;
        char *slash = strrchr(dir, '/');
        if (slash == NULL || strlen(dir) <= strlen(root)) {
            return least;
        }
        *slash = '\0';
    }
}

static bool lists_cpu(const char *controllers)
{
    size_t length = strlen(controllers);
    const char *at = controllers;

    while (at <= controllers + length) {
        size_t word = strcspn(at, ",");
        if (word == 3 && strncmp(at, "cpu", 3) == 0) {
            return true;
        }
        at += word + 1;
    }
    return false;
}

static unsigned cgroup_count(void)
{
    char line[4352];
    unsigned least = UINT32_MAX;
    FILE *groups = fopen("/proc/self/cgroup", "re");

    if (groups == NULL) {
        return least;
    }
    while (fgets(line, sizeof(line), groups) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL) {
            continue;
        }
        *controllers++ = '\0';
        *path++ = '\0';
        unsigned here = UINT32_MAX;
        if (*controllers == '\0') {
            here = hierarchy_cpus("/sys/fs/cgroup", path, true);
        } else if (lists_cpu(controllers)) {
            here = hierarchy_cpus("/sys/fs/cgroup/cpu", path, false);
            if (here == UINT32_MAX) { /* in a container the path may lie outside the mount */
                here = group_cpus("/sys/fs/cgroup/cpu", false);
            }
        }
        least = here < least ? here : least;
    }
    fclose(groups);
    return least;
}

unsigned aurp_cpu_count(void)
{
    unsigned by_affinity = affinity_count();
    unsigned by_quota = cgroup_count();

    return by_quota < by_affinity ? by_quota : by_affinity;
}
