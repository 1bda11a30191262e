/* auriga/base.h: what every other header needs: error codes, deadlines, diagnoses.
 *
 * Words used in every contract of these headers:
 *   Threads   "any": callable from any thread at any time, concurrently.
 *             "owner": calls on one object must not overlap.
 *   Blocks    "never", "until <event>", or "to deadline".
 *   Owns      who releases what.  No line: nothing changes hands.
 *   Orders    the happens-before edges a caller may rely on.  No line: none.
 *   Errors    the complete list.  ret_* is written on AUR_OK only, reterr_* on error only.
 *
 * No function is a cancellation point: pthread_cancel() takes effect after it, or in a task or function of the
 * program that it calls.
 */
#ifndef AURIGA_BASE_H
#define AURIGA_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define AUR_BEGIN_DECLS extern "C" {
#define AUR_END_DECLS }
#else
#define AUR_BEGIN_DECLS
#define AUR_END_DECLS
#endif

#define AUR_API __attribute__((visibility("default")))
#define AUR_NODISCARD __attribute__((warn_unused_result))
#define AUR_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

AUR_BEGIN_DECLS

#define AUR_VERSION_MAJOR 0
#define AUR_VERSION_MINOR 1
#define AUR_VERSION_PATCH 0

/* One list makes codes, names and messages.  The numbers are part of the ABI: they are never
 * reused, new ones are appended. */
#define AUR_ERR_LIST(X)                                                                            \
    X(AUR_OK, 0, "success")                                                                        \
    X(AUR_EINVAL, 1, "an argument or option is not valid")                                         \
    X(AUR_ENOMEM, 2, "not enough memory")                                                          \
    X(AUR_EAGAIN, 3, "the system refused a thread, a process or a descriptor")                     \
    X(AUR_EBUSY, 4, "the queue of the pool is full")                                               \
    X(AUR_ESHUTDOWN, 5, "the pool is closed")                                                      \
    X(AUR_ECANCELED, 6, "the task was cancelled")                                                  \
    X(AUR_ETIMEDOUT, 7, "the deadline of the wait passed")                                         \
    X(AUR_EDEADLK, 8, "the wait would never end: tasks wait for each other in a cycle")            \
    X(AUR_ETASK, 9, "the task reported a failure")                                                 \
    X(AUR_EWORKER, 10, "the worker process died while it ran the task")                            \
    X(AUR_EDEADLINE, 11, "the task ran past its own deadline")                                     \
    X(AUR_E2DEEP, 12, "tasks are nested too deeply for the stack, and no spare worker is left")    \
    X(AUR_EBROKEN, 13, "the pool cannot start workers any more")                                   \
    X(AUR_EFORKED, 14, "the pool belongs to the parent of this forked process")                    \
    X(AUR_ESTALE, 15, "the function's module is not the one the workers were started with")        \
    X(AUR_ENOFUNC, 16, "the function is in no loaded module")                                      \
    X(AUR_ENOTSUP, 17, "this kind of pool does not support the call")                              \
    X(AUR_ETHREADS, 18, "threads that are not Auriga's run already: fork start is not safe")       \
    X(AUR_EEXITED, 19, "the task ended its thread, or threw through the C boundary")               \
    X(AUR_EPENDING, 20, "not done yet")                                                            \
    X(AUR_END, 21, "no more results")                                                              \
    X(AUR_ESIZE, 22, "the size of the result is not the size of the variable given for it")        \
    X(AUR_ETOOBIG, 23, "the payload is larger than the limits allow")                              \
    X(AUR_ENOTASK, 24, "callable only inside a task")                                              \
    X(AUR_EINIT, 25, "the worker's init function failed")                                          \
    X(AUR_ESYS, 26, "a system call failed; the diagnosis says which")

#define AUR_ERR_ENUM_(name, value, text) name = value,
enum { AUR_ERR_LIST(AUR_ERR_ENUM_) AUR_ERR_COUNT_ };
#undef AUR_ERR_ENUM_

typedef int32_t aur_err;

/* The name of a code ("AUR_EINVAL"), and its sentence.  Unknown codes get a fixed text.
 * Threads: any.  Blocks: never. */
AUR_API const char *aur_err_name(aur_err err);
AUR_API const char *aur_err_text(aur_err err);

/* "0.1.0": the version of the library that is loaded, not of the header. */
AUR_API const char *aur_version(void);

/* An absolute point of CLOCK_MONOTONIC in nanoseconds.  0 has always passed: it polls. */
typedef uint64_t aur_deadline;
#define AUR_NO_DEADLINE UINT64_MAX

/* The deadline that lies ns nanoseconds (ms milliseconds) after now; saturates at
 * AUR_NO_DEADLINE.  Threads: any.  Blocks: never. */
AUR_API aur_deadline aur_deadline_in_ns(uint64_t ns);
AUR_API aur_deadline aur_deadline_in_ms(uint64_t ms);

/* Says which step of a call failed.  Caller-owned and optional: functions that take one accept
 * NULL, and write it on error only. */
typedef struct aur_diag {
    aur_err err;       /* what the function returned */
    int32_t sys_errno; /* errno of the step, or 0 */
    char step[32];     /* the step, e.g. "pthread_create" */
    char text[288];    /* one sentence for a person */
} aur_diag;

/* Everything that is known about one failed task. */
#define AUR_NO_ITEM UINT64_MAX
typedef struct aur_error {
    aur_err err;          /* AUR_ETASK, AUR_EWORKER, AUR_EDEADLINE, ... */
    int32_t code;         /* AUR_ETASK: the code given to aur_fail(); else 0 */
    uint64_t item;        /* index within the map, or AUR_NO_ITEM */
    const char *function; /* name of the function; lives as long as the program's module */
    const char *site;     /* "file:line" of the submitting call, or NULL */
    int32_t worker;       /* index of the worker that ran it last, or -1 */
    int32_t pid;          /* process that ran it last, or 0 if it never started */
    int32_t signal;       /* AUR_EWORKER: the signal that ended the worker, or 0 */
    int32_t exit_status;  /* AUR_EWORKER: its exit status if no signal ended it, or -1 unknown */
    uint32_t attempts;    /* how often it was started */
    uint32_t reserved0;
    uint64_t peak_rss; /* AUR_EWORKER: peak memory of the worker in bytes, 0 if unknown */
    char message[512]; /* one sentence or, for a deadlock, one line per edge of the cycle */
} aur_error;

/* The error of the last verb that failed on this thread (submits, aur_apply, aur_map, aur_for,
 * waits; a poll that finds nothing is no failure): details for calls that return only a code.  NULL
 * if none failed yet.  The pointer stays valid until the next failing call on this thread.
 * Threads: any.  Blocks: never. */
AUR_API const aur_error *aur_last_error(void);

/* CPUs this process may really use: the smallest of the affinity mask and the CPU quotas of its
 * control groups (v1 and v2, every level), rounded up, at least 1.
 * Threads: any.  Blocks: never (reads /proc and /sys once per call). */
AUR_API unsigned aur_cpu_count(void);

/* Bytes that this process may still use before the kernel has to take memory from somebody: the smallest
 * of what the machine has left and what its control groups (v1 and v2, every level) leave.  Swap does
 * not count, nor do limits of the process itself (setrlimit()).  UINT64_MAX: nobody knows.
 * Threads: any.  Blocks: never (reads /proc and /sys once per call). */
AUR_API uint64_t aur_memory_available(void);

/* Declares a variable that is released when its scope ends, on every way out:
 *     AUR_SCOPED(aur_pool) *pool = NULL;      closed and joined
 *     AUR_SCOPED(aur_future) *f = NULL;       released
 * Works for every type T that has a function T_scoped_(T **): aur_pool, aur_future, aur_imap_iter,
 * aur_completed, aur_buf. */
#define AUR_SCOPED(type) __attribute__((cleanup(type##_scoped_))) type

AUR_END_DECLS

#endif /* AURIGA_BASE_H */
