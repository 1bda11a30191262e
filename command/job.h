/* job.h: one run of the command, from its arguments to its last byte of output. */
#ifndef COMMAND_JOB_H
#define COMMAND_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "spill.h"
#include "template.h"
#include "text.h"

/* What was found in an output that grows. */
struct lines {
    uint64_t seen; /* no line ends between `end` and here */
    uint64_t end;  /* behind the last whole line */
};

struct job {
    struct job *next; /* in the list that it is in: to be retried, or to be printed */
    uint64_t seq;     /* from 1, in the order of the arguments */
    struct arguments args;
    unsigned attempt; /* from 1 */
    unsigned slot;    /* {%}: from 1 */

    int pid;             /* 0: it does not run */
    bool ended;          /* nothing more comes: it can be printed to its end */
    bool ending;         /* TERM was sent: KILL follows at kill_ns, or when it has ended */
    bool timed_out;      /* that was for --timeout */
    uint64_t kill_ns;    /* 0: no limit; TERM, or with `ending` KILL, is due then */
    uint64_t started_ns; /* monotonic */
    double started_at;   /* seconds since 1970 */
    double seconds;      /* how long it ran */
    double cpu_seconds;
    uint64_t peak_bytes; /* its memory, or the largest of its children that it waited for */
    int start_error;     /* errno: it could not be started */
    int exit_code,
        signal; /* how it ended; a job that was not started has 126 or 127, as in a shell */

    struct spill out[2]; /* what it prints on 1 and 2 */
    uint64_t printed[2]; /* so many bytes of them were printed */
    struct lines lines[2];
    bool listed;         /* it is in the list of those to be printed */
    bool again;          /* once what it has printed is out, it is run again */
    bool to_log;         /* it ended by itself: --joblog is to say so once it is printed */
    uint64_t bytes[2];   /* that it had written to its standard output and error when it ended */
    struct text message; /* what there is to say about it, behind its output */
};

static inline bool job_failed(const struct job *job)
{
    return job->exit_code != 0 || job->signal != 0;
}

#endif /* COMMAND_JOB_H */
