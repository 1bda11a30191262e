/* The Linux port of plat.h, "what threads are doing": CPU clocks and states of threads, by number. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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

bool aurp_thread_sleeps(int tid)
{
    char path[64];
    char text[256];

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0) {
        return false;
    }
    text[got] = '\0';
    /* "12 (any name, with brackets too) S ...": the state follows the last bracket. */
    const char *state = strrchr(text, ')');
    return state != NULL && state[1] == ' ' && (state[2] == 'S' || state[2] == 'D');
}
