/* The Linux port of plat.h, "what threads are doing": CPU clocks and states of threads, by number. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "plat/plat.h"

int aurp_thread_self(void)
{
    return (int)syscall(SYS_gettid);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec used;

    if (clock_gettime(clock, &used) != 0) {
        return AURP_NO_CLOCK;
    }
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

uint64_t aurp_thread_cpu_ns(int tid)
{
    /* The kernel's own number for "CPU time of that thread": the inverse of the thread's number above
     * three bits, 4 for "one thread", 2 for "as the scheduler counts".  pthread_getcpuclockid() makes
     * the same number, but reads the thread's descriptor, which is gone when the thread is. */
    return clock_ns((clockid_t)(((unsigned)~tid << 3) | 6u));
}

uint64_t aurp_process_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

struct aurp_usage aurp_thread_usage(void)
{
    struct aurp_usage usage = { .cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) };
    struct rusage rusage;

    if (getrusage(RUSAGE_THREAD, &rusage) == 0) {
        usage.sleeps = (uint64_t)rusage.ru_nvcsw; /* voluntary switches; preemptions are others */
    }
    return usage;
}

uint64_t aurp_thread_ready_ns(void)
{
    AURP_UNCANCELLED;
    char text[96];
    unsigned long long ready = 0;
    unsigned long long turns = 0;
    int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return AURP_NO_CLOCK;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    /* Time on a CPU, time ready, turns on a CPU: who runs this has had one, if they are counted. */
    return sscanf(text, "%*s %llu %llu", &ready, &turns) == 2 && turns != 0 ? ready : AURP_NO_CLOCK;
}

/* What the kernel says of a thread, from the state letter on; NULL: there is no such thread. */
static const char *thread_stat(int tid, char *text, size_t size)
{
    AURP_UNCANCELLED;
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    ssize_t got = read(fd, text, size - 1);
    close(fd);
    if (got <= 0) {
        return NULL;
    }
    text[got] = '\0';
    /* "12 (any name, with brackets too) S ...": the state follows the last bracket. */
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' ? name_end + 2 : NULL;
}

bool aurp_thread_sleeps(int tid)
{
    char text[512];
    const char *stat = thread_stat(tid, text, sizeof(text));

    return stat != NULL && (*stat == 'S' || *stat == 'D');
}

/* The sixth number after the state, the flags, has the bit "is exiting". */
static bool is_exiting(const char *stat)
{
    unsigned flags = 0;

    return *stat == 'X' || *stat == 'Z' ||
           (sscanf(stat, "%*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & 4u) != 0);
}

unsigned aurp_thread_count_live(void)
{
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");

    if (tasks == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        char text[512];
        int tid = atoi(entry->d_name); /* 0 for "." and ".." */
        const char *stat = tid > 0 ? thread_stat(tid, text, sizeof(text)) : NULL;
        count += stat != NULL && !is_exiting(stat);
    }
    closedir(tasks);
    return count;
}
