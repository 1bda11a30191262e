/* The Linux port of process.h, second part: processes, what they execute, and what one makes of
 * itself.  Kernel 5.10 is the floor; close_range (5.9) has a substitute, since containers like to
 * refuse system calls that they do not know. */
#include "plat/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/linux_fd.h"
#include "plat/plat.h"

/* Newer than some C library headers; the numbers are the same on every architecture. */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

/* ---- processes ------------------------------------------------------------------------------ */

int aurp_pid(void)
{
    return (int)getpid();
}

int aurp_parent_pid(void)
{
    return (int)getppid();
}

int aurp_pidfd_open(int pid)
{
    return aurp_fd_own(syscall(SYS_pidfd_open, pid, 0));
}

aur_err aurp_pidfd_wait(int pidfd, aur_deadline deadline)
{
    return aurp_fd_wait(pidfd, deadline);
}

int aurp_pidfd_kill(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 ? 0 : errno;
}

void aurp_pidfd_reap(int pidfd)
{
    AURP_UNCANCELLED;
    siginfo_t info;

    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) != 0 && errno == EINTR) {
    }
}

int aurp_fork_hidden(void)
{
    /* The low byte of the flags is the signal of the end: 0, none.  The older clone is used, not
     * clone3, because sandboxes that know only the older one are common; with no flags its
     * arguments are zero, in whatever order the architecture takes them. */
    long pid = syscall(SYS_clone, 0ul, NULL, NULL, NULL, 0ul);

    return pid < 0 ? -errno : (int)pid;
}

/* __WALL: also children whose end sends no signal, which plain waits do not see. */
bool aurp_reap(int pid, int *ret_status)
{
    AURP_UNCANCELLED;
    int status = 0;
    pid_t got;

    do {
        got = waitpid(pid, &status, __WALL);
    } while (got < 0 && errno == EINTR);
    if (got == pid && ret_status != NULL) {
        *ret_status = status;
    }
    return got == pid;
}

int aurp_reap_any(int *ret_status, uint64_t *ret_maxrss_bytes)
{
    struct rusage usage;
    int status = 0;
    pid_t pid;

    do {
        pid = wait4(-1, &status, WNOHANG | __WALL, &usage);
    } while (pid < 0 && errno == EINTR);
    if (pid <= 0) {
        return 0;
    }
    *ret_status = status;
    *ret_maxrss_bytes = (uint64_t)usage.ru_maxrss * 1024;
    return (int)pid;
}

void aurp_kill_child(int pid, int signal)
{
    kill(pid, signal);
}

bool aurp_secure_mode(void)
{
    return getauxval(AT_SECURE) != 0;
}

/* ---- exec ----------------------------------------------------------------------------------- */

/* What the two children of aurp_exec_hidden() and their maker share: they run in its memory. */
typedef struct exec_plan {
    aurp_program program;
    char *inner_stack; /* its top */
    int pid;
    int pidfd;
    int failed; /* errno of the step that failed */
} exec_plan;

/* Room for frames of unoptimised and instrumented builds. */
#define EXEC_STACK_SIZE ((size_t)128 * 1024)

/* Leaves only stdio and the plan's descriptors to the new program.  Runs in a child that shares our
 * memory: system calls only. */
static void mark_descriptors(const exec_plan *plan)
{
    if (syscall(SYS_close_range, 3u, UINT_MAX, CLOSE_RANGE_CLOEXEC) != 0) {
        struct rlimit limit = { .rlim_cur = 1024 };
        getrlimit(RLIMIT_NOFILE, &limit);
        for (int fd = 3; fd < 65536 && (rlim_t)fd < limit.rlim_cur; fd++) {
            fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    for (unsigned i = 0; i < plan->program.n; i++) {
        fcntl(plan->program.fds[i], F_SETFD, 0);
    }
}

/* The address sanitizer would look for the end of a stack that it does not know. */
#define ON_FOREIGN_STACK __attribute__((no_sanitize_address))

ON_FOREIGN_STACK static int exec_inner(void *ctx)
{
    exec_plan *plan = ctx;

    aurp_stdin_null();
    mark_descriptors(plan);
    execve(plan->program.path != NULL ? plan->program.path : "/proc/self/exe", plan->program.argv,
           plan->program.envp);
    plan->failed = errno;
    _exit(127);
}

/* The child between: makes the real one, leaves its pid and pidfd behind, and ends, which makes the
 * real one an orphan.  An exec turns any child into one that wait() sees, whatever signal it was
 * made with; an orphan belongs to init. */
ON_FOREIGN_STACK static int exec_outer(void *ctx)
{
    exec_plan *plan = ctx;
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    int pid = clone(exec_inner, plan->inner_stack, flags, plan, &plan->pidfd);

    if (pid < 0) {
        plan->failed = errno;
    } else {
        plan->pid = pid;
    }
    _exit(0);
}

int aurp_exec_hidden(const aurp_program *program, int *ret_pid, int *ret_pidfd)
{
    AURP_UNCANCELLED; /* in the children, too: they share this thread's state */
    exec_plan plan = { .program = *program, .pid = -1, .pidfd = -1 };
    char *stacks = mmap(NULL, 2 * EXEC_STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    sigset_t before;

    if (stacks == MAP_FAILED) {
        return errno;
    }
    /* CLONE_VFORK: this thread sleeps until the child between has ended, which in turn sleeps until
     * the real one has its own memory.  CLONE_FILES: the pidfd lands in our own table.  No signal
     * may run a handler of the host in a child that shares its memory. */
    plan.inner_stack = stacks + EXEC_STACK_SIZE;
    aurp_signals_block(&before);
    int outer = clone(exec_outer, stacks + 2 * EXEC_STACK_SIZE,
                      CLONE_VM | CLONE_VFORK | CLONE_FILES, &plan);
    int failed = outer < 0 ? errno : plan.failed;
    if (outer >= 0) {
        aurp_reap(outer, NULL);
    }
    aurp_signals_restore(&before);
    munmap(stacks, 2 * EXEC_STACK_SIZE);
    if (failed == 0 && (plan.pidfd = aurp_fd_own(plan.pidfd)) < 0) {
        failed = -plan.pidfd;
    }
    if (failed != 0) {
        aurp_close(&plan.pidfd);
        return failed;
    }
    *ret_pid = plan.pid;
    *ret_pidfd = plan.pidfd;
    return 0;
}

/* What posix_spawn() does, by the same last step as a hidden one, so that there is one to trust. */
int aurp_exec_child(const aurp_program *program, int *ret_pid)
{
    AURP_UNCANCELLED;
    exec_plan plan = { .program = *program };
    char *stack = mmap(NULL, EXEC_STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    sigset_t before;

    if (stack == MAP_FAILED) {
        return errno;
    }
    aurp_signals_block(&before);
    int pid = clone(exec_inner, stack + EXEC_STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, &plan);
    int failed = pid < 0 ? errno : plan.failed;
    if (pid >= 0 && failed != 0) {
        aurp_reap(pid, NULL);
    }
    aurp_signals_restore(&before);
    munmap(stack, EXEC_STACK_SIZE);
    if (failed == 0) {
        *ret_pid = pid;
    }
    return failed;
}

/* ---- this process --------------------------------------------------------------------------- */

void aurp_signals_block(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void aurp_signals_restore(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void aurp_signals_default(void)
{
    struct sigaction standard = { .sa_handler = SIG_DFL };

    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        sigaction(signal, &standard, NULL); /* refused for KILL and STOP, and rightly so */
    }
}

void aurp_signals_as_worker(void)
{
    struct sigaction ignored = { .sa_handler = SIG_IGN };
    sigset_t none;

    sigaction(SIGINT, &ignored, NULL);
    sigaction(SIGQUIT, &ignored, NULL);
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

void aurp_die_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

void aurp_process_name(const char *name)
{
    prctl(PR_SET_NAME, name, 0, 0, 0);
}

void aurp_core_none(void)
{
    struct rlimit none = { 0, 0 };

    setrlimit(RLIMIT_CORE, &none);
}

/* The hard limit, too: a worker cannot raise it again. */
int aurp_private_memory_max(uint64_t bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_DATA, &limit) != 0) {
        return errno;
    }
    limit.rlim_cur = bytes < limit.rlim_max ? (rlim_t)bytes : limit.rlim_max;
    limit.rlim_max = limit.rlim_cur;
    return setrlimit(RLIMIT_DATA, &limit) == 0 ? 0 : errno;
}

/* Raising the score needs no rights.  It is relative to what the host was given, 1000 at most. */
void aurp_oom_first(int more)
{
    char text[32];
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return;
    }
    ssize_t size = read(fd, text, sizeof(text) - 1);
    text[size > 0 ? size : 0] = '\0';
    int now = atoi(text) + more;
    size = snprintf(text, sizeof(text), "%d", now < 1000 ? now : 1000);
    if (pwrite(fd, text, (size_t)size, 0) < 0) {
        /* Only a hint to the kernel: a worker without it is as good. */
    }
    close(fd);
}

uint64_t aurp_anon_bytes(void)
{
    AURP_UNCANCELLED;
    char line[256];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");

    if (status == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), status) != NULL) {
        if (sscanf(line, "RssAnon: %llu", &kib) == 1) {
            break;
        }
    }
    fclose(status);
    return (uint64_t)kib * 1024;
}
