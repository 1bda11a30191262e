/* Copies of large payloads.
 *
 * A payload of 64 MB is copied four times on its way there and back, one copy at a time, while the
 * other CPUs mostly wait for it.  So a long copy is one of two threads.  The second lives for the
 * copy only: a resident one would make every later fork() of the program one with threads. */
#include "core.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((uintptr_t)4096)
#define HUGE_PAGE ((uintptr_t)2 << 20)
#define HUGE_BYTES ((size_t)4 << 20)
#define SHARED_BYTES ((size_t)8 << 20) /* takes a millisecond, a thread some 50 us */
#define STACK_BYTES ((size_t)128 << 10)

void core_prefer_huge(const void *data, size_t size)
{
    if (size >= HUGE_BYTES) {
        uintptr_t from = ((uintptr_t)data + PAGE - 1) & ~(PAGE - 1);
        uintptr_t to = ((uintptr_t)data + size) & ~(PAGE - 1);
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* a hint: it may fail */
    }
}

void core_no_memory(const char *what, size_t size)
{
    PyErr_Format(PyExc_MemoryError,
                 "no memory for %s of %zu bytes: machine and control groups have %llu left", what,
                 size, (unsigned long long)aur_memory_available());
}

/* The library has looked before it gave the memory that is copied from, and kept 64 MiB back: what is
 * smaller than half of that fits into them.  A look takes some 0.3 ms, such a copy 10 and more. */
#define VAST_BYTES ((size_t)32 << 20)
#define SLACK_BYTES ((uint64_t)16 << 20) /* for whoever else allocates meanwhile */

bool core_has_memory(const char *what, size_t size)
{
    if (size < VAST_BYTES || size + SLACK_BYTES <= aur_memory_available()) {
        return true;
    }
    core_no_memory(what, size);
    return false;
}

struct span {
    char *to;
    const char *from;
    size_t size;
};

static void *copy_span(void *arg)
{
    const struct span *span = arg;

    memcpy(span->to, span->from, span->size);
    return NULL;
}

/* A thread that runs no handlers of signals; fails where there may be no more of them. */
static bool start_helper(struct span *span, pthread_t *ret)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;

    if (pthread_attr_init(&attr) != 0) {
        return false;
    }
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES); /* else the default */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(ret, &attr, copy_span, span);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed == 0;
}

void core_copy(void *to, const void *from, size_t size)
{
    /* Up to a huge page's edge, so that no two threads clear the same one. */
    uintptr_t middle = ((uintptr_t)to + size / 2) & ~(HUGE_PAGE - 1);
    pthread_t helper;

    if (size < SHARED_BYTES) {
        memcpy(to, from, size);
        return;
    }
    size_t first = middle - (uintptr_t)to;
    struct span second = { (char *)to + first, (const char *)from + first, size - first };
    bool helped = start_helper(&second, &helper);
    memcpy(to, from, helped ? first : size);
    if (helped) {
        pthread_join(helper, NULL);
    }
}
