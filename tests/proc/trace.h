/* trace.h: a process, one machine instruction at a time.  x86-64 only: the borders of system calls are
 * found in its code. */
#ifndef AURT_TRACE_H
#define AURT_TRACE_H

#include "aurt.h"

#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

static inline void trace_on_one_cpu(void)
{
    cpu_set_t set;

    /* Two CPUs would make each step a wake on the other one, 30 times slower. */
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

/* Waits for the next stop; the worker must not end. */
static inline int trace_wait(pid_t pid)
{
    int status;

    AURT_CHECK(waitpid(pid, &status, 0) == pid);
    AURT_CHECK(WIFSTOPPED(status));
    return WSTOPSIG(status);
}

static inline struct user_regs_struct trace_regs(pid_t pid)
{
    struct user_regs_struct regs;

    AURT_CHECK(ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0);
    return regs;
}

/* True if the next instruction is a futex call. */
static inline bool trace_before_futex(pid_t pid)
{
    struct user_regs_struct regs = trace_regs(pid);

    if (regs.rax != SYS_futex) {
        return false;
    }
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, pid, (void *)(uintptr_t)regs.rip, NULL);
    return errno == 0 && (text & 0xffff) == 0x050f;
}

static inline void trace_step(pid_t pid)
{
    AURT_CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
    AURT_CHECK(trace_wait(pid) == SIGTRAP);
}

/* Runs to the next border of a system call. */
static inline void trace_to_syscall(pid_t pid)
{
    AURT_CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
    AURT_CHECK(trace_wait(pid) == (SIGTRAP | 0x80));
}

/* Runs from outside of a system call to the entry of the next futex call. */
static inline void trace_to_futex(pid_t pid)
{
    for (;;) {
        trace_to_syscall(pid);
        if (trace_regs(pid).orig_rax == SYS_futex) {
            return;
        }
        trace_to_syscall(pid); /* its end */
    }
}

#endif /* AURT_TRACE_H */
