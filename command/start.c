/* start.c: starts a program as a process of its own.
 *
 * The new process runs in our memory, on a stack of its own, while we stand still (as with vfork()), until
 * it has become the program: so the price does not depend on our size, and an error is told by a variable.
 * It makes system calls only, by their numbers: what sanitizers put around the C library's functions is not
 * meant for a process like this. */
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)64 * 1024)
#define SIGNAL_SET_BYTES 8 /* of the kernel's sigset_t */

struct plan {
    const struct starter *starter;
    const char *path;
    char *const *argv;
    const struct outfit *outfit;
    int parent;
    int failed;
};

void starter_init(struct starter *starter, const sigset_t *mask, const struct rlimit *files)
{
    *starter = (struct starter){ .mask = *mask, .files = *files };
    starter->in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    starter->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (starter->stack == MAP_FAILED) {
        starter->stack = memory(NULL, STACK_BYTES);
    }
}

void starter_free(struct starter *starter)
{
    free(starter->path);
    close(starter->in);
    munmap(starter->stack, STACK_BYTES);
}

/* A file that may be executed: 0, or why not. */
static int try_path(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0) {
        return errno;
    }
    if (!S_ISREG(status.st_mode)) {
        return EACCES;
    }
    return access(path, X_OK) == 0 ? 0 : errno;
}

int starter_find(const char *name, char **ret_path)
{
    const char *at = getenv("PATH");
    int failed = ENOENT;

    if (strchr(name, '/') != NULL) {
        failed = try_path(name);
        if (failed == 0) {
            *ret_path = strcpy(memory(NULL, strlen(name) + 1), name);
        }
        return failed;
    }
    if (*name == '\0') {
        return ENOENT;
    }
    at = at != NULL ? at : "/bin:/usr/bin";
    for (;;) {
        size_t n = strcspn(at, ":");
        char *path = memory(NULL, n + strlen(name) + 3);
        sprintf(path, "%.*s/%s", (int)(n != 0 ? n : 1), n != 0 ? at : ".", name);
        int tried = try_path(path);
        if (tried == 0) {
            *ret_path = path;
            return 0;
        }
        free(path);
        failed = tried == EACCES ? EACCES : failed;
        if (at[n] == '\0') {
            return failed;
        }
        at += n + 1;
    }
}

#define CHILD                                                                                      \
    __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

/* With the parent dead already, nobody would be told: the signal of its death comes once. */
CHILD static int child(void *ctx)
{
    struct plan *plan = ctx;
    const struct starter *starter = plan->starter;
    const struct outfit *outfit = plan->outfit;

    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 ||
        syscall(SYS_setpgid, 0, 0) != 0 || syscall(SYS_dup3, starter->in, 0, 0) < 0 ||
        (outfit->out != 1 && syscall(SYS_dup3, outfit->out, 1, 0) < 0) ||
        (outfit->err != 2 && syscall(SYS_dup3, outfit->err, 2, 0) < 0) ||
        syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &starter->files, NULL) != 0 ||
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &starter->mask, NULL, SIGNAL_SET_BYTES) != 0) {
        plan->failed = errno;
    } else if (syscall(SYS_getppid) == plan->parent) {
        if (outfit->group != NULL) {
            *outfit->group = (int)syscall(SYS_getpid);
        }
        syscall(SYS_execve, plan->path, plan->argv, environ);
        plan->failed = errno;
    }
    syscall(SYS_exit_group, 127);
    return 0;
}

static int run(struct starter *starter, struct plan *plan, int *ret_pid)
{
    int pid = clone(child, starter->stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, plan);

    if (pid < 0) {
        return errno;
    }
    if (plan->failed != 0) {
        if (plan->outfit->group != NULL) {
            *plan->outfit->group = 0;
        }
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return plan->failed;
    }
    *ret_pid = pid;
    return 0;
}

int starter_run(struct starter *starter, struct command_line *line, const struct outfit *outfit,
                int *ret_pid)
{
    struct plan plan = { .starter = starter, .outfit = outfit, .parent = (int)getpid() };
    char *found = NULL;
    int failed = 0;

    plan.path = starter->path;
    plan.argv = line->argv;
    if (plan.path == NULL) {
        failed = starter_find(line->argv[0], &found);
        if (failed != 0) {
            return failed;
        }
        plan.path = found;
    }
    if (!starter->script) {
        failed = run(starter, &plan, ret_pid);
    }
    if (starter->script || failed == ENOEXEC) { /* as execvp() does it */
        starter->script = starter->path != NULL;
        line->argv[-1] = (char *)(uintptr_t) "/bin/sh";
        line->argv[0] = (char *)(uintptr_t)plan.path;
        plan.argv = line->argv - 1;
        plan.path = "/bin/sh";
        plan.failed = 0;
        failed = run(starter, &plan, ret_pid);
    }
    free(found);
    return failed;
}
