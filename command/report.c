/* report.c: what is said about jobs: which arguments, what happened, after how long, with how much memory. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "run.h"

#define SHOWN_WORDS 4u
#define SHOWN_BYTES ((size_t)80)

const char *signal_name(int signal_number, char buffer[24])
{
    const char *name = sigabbrev_np(signal_number);

    if (name != NULL) {
        snprintf(buffer, 24, "SIG%s", name);
    } else {
        snprintf(buffer, 24, "signal %d", signal_number);
    }
    return buffer;
}

static void add_name(struct text *text, const struct job *job)
{
    text_printf(text, "auriga: job %llu (", (unsigned long long)job->seq);
    for (unsigned i = 0; i < job->args.n && i < SHOWN_WORDS; i++) {
        text_puts(text, i > 0 ? " " : "");
        text_show(text, job->args.values[i], strlen(job->args.values[i]), SHOWN_BYTES);
    }
    text_puts(text, job->args.n > SHOWN_WORDS ? " ...)" : ")");
}

static const char *why_not_started(const struct job *job)
{
    switch (job->start_error) {
    case E2BIG:
        return "the argument is too long for a program";
    case EILSEQ:
        return "the argument contains a NUL, which no program can be given";
    default:
        return strerror(job->start_error);
    }
}

static void add_reason(struct text *text, const struct run *run, const struct job *job)
{
    char name[24];

    if (job->start_error != 0) {
        text_printf(text, " could not be started: %s", why_not_started(job));
        return;
    }
    if (job->timed_out) {
        text_printf(text, " took longer than %g s: it was ended",
                    (double)run->opts->timeout_ns / 1e9);
    } else if (job->ending) {
        text_puts(text, " was ended");
    } else if (job->signal != 0) {
        text_printf(text, " was killed by %s", signal_name(job->signal, name));
    } else {
        text_printf(text, " failed: exit code %d", job->exit_code);
    }
    text_printf(text, ", after %.3g s, peak memory %.3g MiB", job->seconds,
                (double)job->peak_bytes / (1024 * 1024));
}

void report_failure(struct run *run, struct job *job, bool again)
{
    unsigned attempts = run->opts->retries + 1;

    if (run->opts->quiet || run->signal_got != 0 || run->reader_gone) {
        return;
    }
    add_name(&job->message, job);
    add_reason(&job->message, run, job);
    if (again) {
        text_printf(&job->message, "; it is run again (attempt %u of %u)", job->attempt + 1,
                    attempts);
    } else if (attempts > 1) {
        text_printf(&job->message, " (attempt %u of %u)", job->attempt, attempts);
    }
    text_puts(&job->message, "\n");
}

void report_stopped(struct run *run, const struct job *job, int signal_number)
{
    struct text text = { 0 };
    char name[24];

    if (run->opts->quiet) {
        return;
    }
    add_name(&text, job);
    text_printf(&text, " was stopped by %s", signal_name(signal_number, name));
    if (signal_number == SIGTTIN || signal_number == SIGTTOU) {
        text_puts(&text, ": it wants the terminal, which jobs do not get, and is ended\n");
    } else {
        text_printf(&text, "; it goes on after: kill -CONT -%d\n", job->pid);
    }
    run->out.prints(run);
    sink_put(&run->out.sinks[1], text.bytes, text.used);
    text_free(&text);
}

void report_end(struct run *run)
{
    unsigned long long failed = run->failed, done = run->failed + run->succeeded;
    char name[24];

    if (run->opts->quiet || run->reader_gone) {
        return;
    }
    if (run->signal_got != 0) {
        output_say(&run->out, "ended by %s; %llu jobs were done",
                   signal_name(run->signal_got, name), (unsigned long long)run->succeeded);
    } else if (failed != 0) {
        output_say(&run->out, "%llu of %llu jobs failed%s", failed, done,
                   run->stop != STOP_NOT ? "; no more were started" : "");
    }
}
