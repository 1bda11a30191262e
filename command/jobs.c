/* jobs.c: a job from its argument to its end. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plat/plat.h"
#include "run.h"

struct job *run_make_job(struct run *run, struct arguments *args)
{
    struct job *job = memory(NULL, sizeof(*job));

    *job = (struct job){ .seq = ++run->seq, .args = *args, .attempt = 1 };
    if (run->opts->keep_order) {
        output_add(&run->out, job);
    }
    return job;
}

static void show_command(struct run *run, const struct job *job, struct text *text)
{
    template_expand(&run->template, &job->args, job->seq, job->slot, &run->line);
    command_line_show(&run->template, &run->line, text);
}

/* Behind its output: what the log calls done is not done again, so it has to be out by then. */
static void write_log(struct run *run, struct job *job)
{
    struct text command = { 0 };

    if (!job->to_log || run->log.fd == 0 || run->out.sinks[0].failed != 0 || run->reader_gone) {
        return;
    }
    show_command(run, job, &command);
    int failed = joblog_write(&run->log, job, &command);
    text_free(&command);
    if (failed != 0) {
        output_say(&run->out, "%s: %s; no more jobs are started", run->opts->joblog,
                   strerror(failed));
        joblog_close(&run->log);
        run->log = (struct joblog){ 0 };
        run->broken = true;
        run_stop(run, STOP_SOON);
    }
}

bool run_was_done(struct run *run, const struct arguments *args)
{
    const struct joblog_entry *entry = joblog_find(&run->log, run->seq + 1);
    struct job probe = { .seq = run->seq + 1, .args = *args, .slot = 1 };
    struct text command = { 0 };

    if (entry == NULL || (entry->failed && run->opts->resume_failed)) {
        return false;
    }
    show_command(run, &probe, &command);
    bool same =
        run->template.has_slot || joblog_hash(command.bytes, command.used) == entry->command;
    text_free(&command);
    if (!same) {
        output_say(&run->out, "%s: job %llu was another command then; nothing more is started",
                   run->opts->joblog, (unsigned long long)probe.seq);
        run->broken = true;
        run_stop(run, STOP_SOON);
        return true;
    }
    run->skipped++;
    return true;
}

void run_free_job(struct run *run, struct job *job)
{
    write_log(run, job);
    arguments_free(&job->args);
    text_free(&job->message);
    free(job);
}

static void drop_output(struct run *run, struct job *job)
{
    spill_close(&run->out.spills, &job->out[0]);
    spill_close(&run->out.spills, &job->out[1]);
}

/* ---- an end ---- */

static void note_output(struct run *run, struct job *job)
{
    for (int i = 0; i < 2; i++) {
        job->bytes[i] = spill_bytes(&job->out[i]);
        if (job->bytes[i] == 0) { /* with nothing in it, it need not wait for its turn */
            spill_close(&run->out.spills, &job->out[i]);
        }
    }
    job->ended = true;
}

static void queue_again(struct run *run, struct job *job)
{
    job->attempt++;
    job->ended = job->ending = job->timed_out = job->again = false;
    job->start_error = job->exit_code = job->signal = 0;
    memset(job->printed, 0, sizeof(job->printed));
    memset(job->lines, 0, sizeof(job->lines));
    job->next = NULL;
    if (run->again == NULL) {
        run->again = job;
    } else {
        run->again_last->next = job;
    }
    run->again_last = job;
}

/* What it printed in an attempt that failed is not shown: the next one begins anew.  But what is shown line by
 * line is shown to its end. */
static void run_again(struct run *run, struct job *job)
{
    report_failure(run, job, true);
    if (job->listed && run->out.all) {
        note_output(run, job);
        job->again = true;
        return;
    }
    run->out.prints(run);
    sink_put(&run->out.sinks[1], job->message.bytes, job->message.used);
    job->message.used = 0;
    drop_output(run, job);
    queue_again(run, job);
}

void run_job_printed(void *ctx, struct job *job)
{
    if (job->again) {
        queue_again(ctx, job);
    } else {
        run_free_job(ctx, job);
    }
}

static void finish(struct run *run, struct job *job)
{
    bool bad = job_failed(job);

    if (bad && run->opts->ungroup && sink_reader_is_gone(&run->out.sinks[0])) {
        run->reader_gone = true; /* that was why, or will be why of the others */
        run_stop(run, STOP_NOW);
    }
    if (bad && job->attempt <= run->opts->retries && run->stop == STOP_NOT) {
        run_again(run, job);
        return;
    }
    note_output(run, job);
    job->to_log = !run->opts->dry_run && (!job->ending || job->timed_out);
    if (bad) {
        run->failed++;
        report_failure(run, job, false);
        run_look_at_halt(run);
    } else {
        run->succeeded++;
    }
    if (!job->listed) {
        output_add(&run->out, job);
    }
}

/* ---- a start ---- */

static bool is_shortage(int error)
{
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

static int open_outputs(struct run *run, struct job *job)
{
    if (run->opts->ungroup) {
        return 0;
    }
    int failed = spill_open(&run->out.spills, &job->out[0]);

    return failed != 0 ? failed : spill_open(&run->out.spills, &job->out[1]);
}

static int try_start(struct run *run, struct job *job)
{
    struct timespec wall;

    if (job->args.flaw != 0) {
        return job->args.flaw;
    }
    template_expand(&run->template, &job->args, job->seq, job->slot, &run->line);
    if (run->line.n == 0 || run->line.argv[0][0] == '\0') {
        return ENOENT;
    }
    if (run->guardian.n == 0) {
        guardian_start(&run->guardian, run->opts->jobs);
    }
    int failed = open_outputs(run, job);
    if (failed != 0) {
        return failed;
    }
    clock_gettime(CLOCK_REALTIME, &wall);
    job->started_at = (double)wall.tv_sec + (double)wall.tv_nsec / 1e9;
    job->started_ns = aurp_now_ns();
    struct outfit outfit = { job->out[0].writer, job->out[1].writer,
                             guardian_group(&run->guardian, job->slot - 1) };
    if (run->opts->ungroup) {
        outfit.out = STDOUT_FILENO;
        outfit.err = STDERR_FILENO;
    }
    failed = starter_run(&run->starter, &run->line, &outfit, &job->pid);
    spill_started(&job->out[0]);
    spill_started(&job->out[1]);
    return failed;
}

static unsigned free_slot(const struct run *run)
{
    unsigned slot = 0;

    while (run->slots[slot] != NULL) {
        slot++;
    }
    return slot;
}

static void show_only(struct run *run, struct job *job)
{
    struct text text = { 0 };

    show_command(run, job, &text);
    text_puts(&text, "\n");
    sink_put(&run->out.sinks[0], text.bytes, text.used);
    text_free(&text);
    finish(run, job);
}

void run_start_job(struct run *run, struct job *job)
{
    unsigned slot = free_slot(run);

    job->slot = slot + 1;
    if (run->opts->dry_run) {
        show_only(run, job);
        return;
    }
    int failed = try_start(run, job);
    if (failed == 0) {
        job->kill_ns = run->opts->timeout_ns != 0 ? job->started_ns + run->opts->timeout_ns : 0;
        run->slots[slot] = job;
        run->running++;
        if (run->out.all) {
            output_add(&run->out, job);
        }
        return;
    }
    drop_output(run, job);
    if (is_shortage(failed) && run->running > 0) {
        run->held = job; /* the next end of a job makes room */
        return;
    }
    job->pid = 0;
    job->start_error = failed;
    job->exit_code = failed == ENOENT ? 127 : 126;
    finish(run, job);
}

/* ---- the end of a process ---- */

static void note_end(struct job *job, int status, const struct rusage *usage)
{
    job->seconds = (double)(aurp_now_ns() - job->started_ns) / 1e9;
    job->cpu_seconds = (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
                       (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
    job->peak_bytes = (uint64_t)usage->ru_maxrss * 1024;
    job->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    job->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (job->timed_out && !job_failed(job)) {
        job->signal = SIGTERM; /* it ended well after TERM, but without its work done */
    }
}

/* While the ended process is not taken, nobody else can have its number, nor its group: so what is left of
 * a job that had to be ended is killed before. */
static void take_ended(struct run *run, unsigned slot)
{
    struct job *job = run->slots[slot];
    struct rusage usage;
    int *group = guardian_group(&run->guardian, slot);
    int status = 0;

    if (job->ending) {
        kill(-job->pid, SIGKILL);
    }
    if (group != NULL) {
        *group = 0;
    }
    while (wait4(job->pid, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    run->slots[slot] = NULL;
    run->running--;
    note_end(job, status, &usage);
    job->pid = 0;
    finish(run, job);
}

static void take_stopped(struct run *run, struct job *job, int signal_number)
{
    siginfo_t info;

    if (waitid(P_PID, (id_t)job->pid, &info, WSTOPPED | WNOHANG) != 0 || job->ending) {
        return;
    }
    report_stopped(run, job, signal_number);
    if (signal_number == SIGTTIN || signal_number == SIGTTOU) {
        kill(-job->pid, SIGKILL);
    }
}

void run_reap(struct run *run)
{
    for (;;) {
        siginfo_t info = { 0 };
        unsigned slot = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) != 0 ||
            info.si_pid == 0) {
            return;
        }
        while (slot < run->opts->jobs &&
               (run->slots[slot] == NULL || run->slots[slot]->pid != info.si_pid)) {
            slot++;
        }
        if (slot ==
            run->opts->jobs) { /* a child that our own program was given by who started it */
            waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WSTOPPED | WNOHANG);
        } else if (info.si_code == CLD_STOPPED || info.si_code == CLD_TRAPPED) {
            take_stopped(run, run->slots[slot], info.si_status);
        } else {
            take_ended(run, slot);
        }
    }
}
