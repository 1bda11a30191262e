/* run.h: one `auriga map` while it runs: what its parts share. */
#ifndef COMMAND_RUN_H
#define COMMAND_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "guardian.h"
#include "input.h"
#include "job.h"
#include "joblog.h"
#include "options.h"
#include "output.h"
#include "start.h"
#include "template.h"

/* Between TERM and KILL. */
#define GRACE_NS UINT64_C(2000000000)

enum stop {
    STOP_NOT,
    STOP_SOON, /* nothing more is started */
    STOP_NOW,  /* and what runs is being ended */
};

struct run {
    const struct options *opts;
    struct template template;
    struct starter starter;
    struct guardian guardian;
    struct input input;
    struct output out;
    struct command_line line;
    struct joblog log;
    uint64_t skipped; /* jobs that were done according to it */

    struct job **slots; /* [jobs]: what runs */
    unsigned running;
    struct job *again, *again_last; /* jobs to be run once more */
    uint64_t gate_ns;               /* a closed gate is looked at again then; 0: none is closed */
    uint64_t last_start_ns;         /* for --delay */
    bool told_memory;
    struct job *held;   /* could not be started now: waits until another has ended */
    uint64_t files_max; /* no job is started with more files in use */
    bool input_ended;
    bool input_waits; /* the stream has nothing now */
    uint64_t seq;     /* of the last job that was made */
    uint64_t failed, succeeded;

    uint64_t begun_ns, progress_ns; /* when the progress was shown last */
    bool progress_shown;
    int signals; /* a signalfd */
    enum stop stop;
    int signal_got;   /* 0, or what ends us */
    bool reader_gone; /* nobody reads standard output any more */
    bool broken;      /* arguments could not be read, or output not be written */
};

/* jobs.c: from an argument to an end */
struct job *run_make_job(struct run *run, struct arguments *args);
void run_start_job(struct run *run, struct job *job);
void run_free_job(struct run *run, struct job *job);
void run_job_printed(void *run, struct job *job);
/* Whether the job log says that these arguments, the next ones, were dealt with; if it speaks of another
 * command, nothing more is started. */
bool run_was_done(struct run *run, const struct arguments *args);
/* Takes what has ended or was stopped. */
void run_reap(struct run *run);

/* gates.c: whether the next job may be started now; if not, run->gate_ns is set */
bool run_gate_is_open(struct run *run);

/* stop.c: ends */
void run_stop(struct run *run, enum stop stop);
void run_kill_now(struct run *run);
void run_suspend(struct run *run);
void run_look_at_halt(struct run *run);
/* Sends what is due to jobs whose time is up; returns when the next is due (0: none is). */
uint64_t run_time_limits(struct run *run);

/* progress.c: the line of --progress; hidden when something is going to be printed */
#define PROGRESS_MS 100
void progress_show(struct run *run);
void progress_hide(void *run);

/* report.c: what is said */
void report_failure(struct run *run, struct job *job, bool again);
void report_stopped(struct run *run, const struct job *job, int signal_number);
void report_end(struct run *run);
const char *signal_name(int signal_number, char buffer[24]);

#endif /* COMMAND_RUN_H */
