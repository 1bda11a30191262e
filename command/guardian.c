/* guardian.c: a process that outlives us, and then kills what our jobs have left. */
#include "guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "plat/process.h"

/* All signals are blocked and the process group is another, so that what ends us does not end it; it keeps no file
 * of ours and no folder; its name is none that `killall -9 auriga` means. */
static void be_apart(int rope)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setpgid(0, 0);
    prctl(PR_SET_NAME, "auriga-guardian");
    aurp_close_except(&rope, 1);
    for (int fd = 0; fd < 3; fd++) {
        close(fd);
    }
    (void)!chdir("/");
}

/* Nobody else writes here any more.  A group whose last process the kernel has killed with us is gone by now, but
 * not its number: that is given out again after all others. */
static void guard(const struct guardian *guardian, int rope)
{
    char none;

    be_apart(rope);
    while (read(rope, &none, 1) < 0 && errno == EINTR) {
    }
    for (unsigned i = 0; i < guardian->n; i++) {
        if (guardian->groups[i] > 0) {
            kill(-guardian->groups[i], SIGKILL);
        }
    }
    _exit(0);
}

void guardian_start(struct guardian *guardian, unsigned n)
{
    void *groups =
        mmap(NULL, n * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ends[2];

    *guardian = (struct guardian){ .n = n };
    if (groups == MAP_FAILED) {
        return;
    }
    guardian->groups = groups;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return;
    }
    int pid = aurp_fork_hidden();
    if (pid == 0) {
        guard(guardian, ends[0]);
    }
    close(ends[0]);
    if (pid > 0) {
        setpgid(pid, pid); /* it does the same, but maybe only after the first job has begun */
        guardian->rope = ends[1];
    } else {
        close(ends[1]);
    }
}

void guardian_end(struct guardian *guardian)
{
    if (guardian->groups != NULL) {
        munmap(guardian->groups, guardian->n * sizeof(int));
    }
    if (guardian->rope > 0) {
        close(guardian->rope);
    }
}
