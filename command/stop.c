/* stop.c: how jobs are ended: TERM, and KILL after a moment; always the whole process group. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "plat/plat.h"
#include "run.h"

/* A job that was not reaped yet still owns its number, and so does its group. */
static void signal_group(const struct job *job, int signal_number)
{
    kill(-job->pid, signal_number);
}

static void end_job(struct job *job, uint64_t now_ns)
{
    if (!job->ending) {
        job->ending = true;
        job->kill_ns = now_ns + GRACE_NS;
        signal_group(job, SIGTERM);
        signal_group(job, SIGCONT); /* one that stands still does not hear it otherwise */
    }
}

void run_stop(struct run *run, enum stop stop)
{
    uint64_t now_ns = aurp_now_ns();

    if (stop > run->stop) {
        run->stop = stop;
    }
    for (unsigned i = 0; stop == STOP_NOW && i < run->opts->jobs; i++) {
        if (run->slots[i] != NULL) {
            end_job(run->slots[i], now_ns);
        }
    }
}

void run_kill_now(struct run *run)
{
    for (unsigned i = 0; i < run->opts->jobs; i++) {
        if (run->slots[i] != NULL) {
            signal_group(run->slots[i], SIGKILL);
        }
    }
}

/* By SIGTSTP and not by SIGSTOP: where no shell could let us go on (our process group is orphaned), the kernel
 * leaves it out, and we go on at once. */
static void stop_here(void)
{
    sigset_t one;

    sigemptyset(&one);
    sigaddset(&one, SIGTSTP);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &one, NULL); /* until SIGCONT */
    sigprocmask(SIG_BLOCK, &one, NULL);
}

/* Ctrl-Z is for the jobs as well, which are not in our group.  The time until we go on counts for nobody. */
void run_suspend(struct run *run)
{
    uint64_t begin_ns = aurp_now_ns();

    for (unsigned i = 0; i < run->opts->jobs; i++) {
        if (run->slots[i] != NULL) {
            signal_group(run->slots[i], SIGSTOP);
        }
    }
    stop_here();
    uint64_t stopped_ns = aurp_now_ns() - begin_ns;
    run->begun_ns += stopped_ns;
    for (unsigned i = 0; i < run->opts->jobs; i++) {
        struct job *job = run->slots[i];
        if (job != NULL) {
            job->started_ns += stopped_ns;
            job->kill_ns += job->kill_ns != 0 ? stopped_ns : 0;
            signal_group(job, SIGCONT);
        }
    }
}

/* Per cent are of the jobs that have ended; two failures say nothing yet. */
void run_look_at_halt(struct run *run)
{
    const struct options *opts = run->opts;
    uint64_t ended = run->failed + run->succeeded;
    bool reached = opts->halt_percent
                       ? run->failed >= 3 && run->failed * 100 >= ended * opts->halt_fails
                       : run->failed >= opts->halt_fails;

    if (opts->halt != HALT_NEVER && reached && run->stop == STOP_NOT) {
        run_stop(run, opts->halt == HALT_NOW ? STOP_NOW : STOP_SOON);
    }
}

uint64_t run_time_limits(struct run *run)
{
    uint64_t next = 0, now_ns = 0;

    if (run->opts->timeout_ns == 0 && run->stop != STOP_NOW) {
        return 0;
    }
    now_ns = aurp_now_ns();
    for (unsigned i = 0; i < run->opts->jobs; i++) {
        struct job *job = run->slots[i];
        if (job == NULL || job->kill_ns == 0) {
            continue;
        }
        if (job->kill_ns <= now_ns && job->ending) {
            signal_group(job, SIGKILL);
            job->kill_ns = 0;
            continue;
        }
        if (job->kill_ns <= now_ns) {
            job->timed_out = true;
            end_job(job, now_ns);
        }
        next = next == 0 || job->kill_ns < next ? job->kill_ns : next;
    }
    return next;
}
