/* aurt.h: what the tests share.  One include: cmocka and its headers come with it.
 *
 * Nothing here sleeps, and no wait has a time limit of its own: a test that hangs is ended by
 * ctest.  A failed cmocka assertion leaves the test by longjmp(), which only the thread that
 * runs the test may do; AURT_CHECK is for everywhere else.
 */
#ifndef AURT_H
#define AURT_H

#include <dirent.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <auriga/base.h>

/* ---- assertions ------------------------------------------------------------------------- */

static inline void aurt_expect_err_(aur_err want, aur_err got, const char *expr, const char *file,
                                    int line)
{
    if (got != want) {
        print_error("%s\n    is %s (%s), not %s\n", expr, aur_err_name(got), aur_err_text(got),
                    aur_err_name(want));
        _fail(file, line);
    }
}

/* On the test's own thread: the call returns AUR_OK, or the given code. */
#define AURT_OK(...) aurt_expect_err_(AUR_OK, (__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
#define AURT_ERR(code, ...) aurt_expect_err_(code, (__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

static inline void aurt_check_(bool holds, const char *expr, const char *file, int line)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, expr);
        abort();
    }
}

/* On any thread, in any process: ends the program if the condition does not hold. */
#define AURT_CHECK(...) aurt_check_((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

/* ---- threads that meet ------------------------------------------------------------------ */

static inline void aurt_futex_wait_(_Atomic(uint32_t) *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static inline void aurt_futex_wake_(_Atomic(uint32_t) *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Happens once.  Zero bytes are a valid start; it works between processes in shared memory.
 * What is written before aurt_event_set() is seen after aurt_event_wait(). */
typedef struct aurt_event {
    _Atomic(uint32_t) set;
} aurt_event;

static inline bool aurt_event_is_set(aurt_event *event)
{
    return atomic_load_explicit(&event->set, memory_order_acquire) != 0;
}

static inline void aurt_event_set(aurt_event *event)
{
    atomic_store_explicit(&event->set, 1, memory_order_release);
    aurt_futex_wake_(&event->set);
}

static inline void aurt_event_wait(aurt_event *event)
{
    while (!aurt_event_is_set(event)) {
        aurt_futex_wait_(&event->set, 0);
    }
}

/* Lets nobody pass until `parties` have arrived, round after round: start it as
 * { .parties = n }.  It works between processes in shared memory.  What any party wrote before
 * it arrived is seen by all when they leave. */
typedef struct aurt_barrier {
    uint32_t parties;
    _Atomic(uint32_t) arrived;
    _Atomic(uint32_t) round;
} aurt_barrier;

static inline void aurt_barrier_wait(aurt_barrier *barrier)
{
    /* The round cannot end before this party has arrived, so it is read in time. */
    uint32_t round = atomic_load_explicit(&barrier->round, memory_order_acquire);
    uint32_t before = atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel);

    if (before + 1 == barrier->parties) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->round, round + 1, memory_order_release);
        aurt_futex_wake_(&barrier->round);
        return;
    }
    while (atomic_load_explicit(&barrier->round, memory_order_acquire) == round) {
        aurt_futex_wait_(&barrier->round, round);
    }
}

/* Memory, all zero, that this process and those forked from it share. */
static inline void *aurt_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    AURT_CHECK(memory != MAP_FAILED);
    return memory;
}

static inline uint64_t aurt_now_ns(void)
{
    struct timespec now;

    AURT_CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what a process holds: to be compared before and after ------------------------------- */

static inline size_t aurt_dir_count_(const char *path)
{
    size_t count = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);

    AURT_CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count;
}

/* Open descriptors, without the one that this function opens to count them. */
static inline size_t aurt_fd_count(void)
{
    return aurt_dir_count_("/proc/self/fd") - 1;
}

/* Memory mappings.  Allocators and sanitizers make some of their own. */
static inline size_t aurt_map_count(void)
{
    size_t count = 0;
    int c;
    FILE *maps = fopen("/proc/self/maps", "re");

    AURT_CHECK(maps != NULL);
    while ((c = getc(maps)) != EOF) {
        count += c == '\n';
    }
    fclose(maps);
    return count;
}

/* Descriptors and mappings of this process that are files below a folder, as "/dev/shm/"; what other
 * programs keep there does not count. */
static inline size_t aurt_files_below(const char *folder)
{
    size_t count = 0;
    struct dirent *entry;
    char text[4096];
    DIR *fds = opendir("/proc/self/fd");
    FILE *maps = fopen("/proc/self/maps", "re");

    AURT_CHECK(fds != NULL && maps != NULL);
    while ((entry = readdir(fds)) != NULL) {
        ssize_t n = readlinkat(dirfd(fds), entry->d_name, text, sizeof(text) - 1);

        text[n > 0 ? n : 0] = '\0';
        count += strncmp(text, folder, strlen(folder)) == 0;
    }
    while (fgets(text, sizeof(text), maps) != NULL) {
        count += strstr(text, folder) != NULL;
    }
    closedir(fds);
    fclose(maps);
    return count;
}

/* The thread sanitizer starts a thread of its own with the first one that a program starts. */
#if defined(__SANITIZE_THREAD__)
#define AURT_EXTRA_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define AURT_EXTRA_THREADS 1
#endif
#endif
#ifndef AURT_EXTRA_THREADS
#define AURT_EXTRA_THREADS 0
#endif

/* Threads; under the thread sanitizer there may be one more. */
static inline size_t aurt_thread_count(void)
{
    return aurt_dir_count_("/proc/self/task");
}

/* Returns once at most `most` threads of the program are left.  A joined thread may still be
 * listed for a moment, as the kernel wakes the joiner before it removes the thread. */
static inline void aurt_threads_settle(size_t most)
{
    while (aurt_thread_count() > most + AURT_EXTRA_THREADS) {
        sched_yield();
    }
}

/* Child processes of every thread, zombies too. */
static inline size_t aurt_child_count(void)
{
    size_t count = 0;
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");

    AURT_CHECK(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        char path[sizeof("/proc/self/task//children") + sizeof(entry->d_name)];
        int c;
        FILE *children;

        snprintf(path, sizeof(path), "/proc/self/task/%s/children", entry->d_name);
        if (entry->d_name[0] == '.' || (children = fopen(path, "re")) == NULL) {
            continue; /* the thread has just ended */
        }
        while ((c = getc(children)) != EOF) {
            count += c == ' ';
        }
        fclose(children);
    }
    closedir(tasks);
    return count;
}

/* Creates an empty file and returns its descriptor; the caller closes and unlinks it. */
#define AURT_PATH_SIZE 32

static inline int aurt_temp_file(char ret_path[AURT_PATH_SIZE])
{
    int fd;

    snprintf(ret_path, AURT_PATH_SIZE, "/tmp/aurt-XXXXXX");
    fd = mkstemp(ret_path);
    AURT_CHECK(fd >= 0);
    return fd;
}

#endif /* AURT_H */
