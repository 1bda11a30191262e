/* output.h: what jobs printed, job by job, in the order in which they ended or, with --keep-order, in that
 * of their arguments; or, with --line-buffer, line by line. */
#ifndef COMMAND_OUTPUT_H
#define COMMAND_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "job.h"
#include "sink.h"
#include "spill.h"

struct output {
    struct sink sinks[2]; /* standard output, standard error */
    struct spills spills;
    struct job *first, **end; /* jobs whose output is still to be printed */
    bool tag;                 /* each line begins with the argument */
    bool running_too;         /* jobs are printed while they run: the first one, or */
    bool all;                 /* every one, so that their order says nothing */
    bool lines;               /* and of a job that runs, whole lines */
    bool at_line_start;
    struct job **at;        /* the one that is being printed; NULL: none is */
    unsigned stage;         /* and its stream */
    int blocked;            /* the sink that takes no more now, or -1 */
    bool more;              /* the pump has stopped for others' sake: call it again */
    uint64_t waiting;       /* jobs that were added and not printed yet */
    uint64_t look_ns;       /* what running jobs have printed is looked at again then, */
    uint64_t look_every_ns; /* and so long after that */
    bool looking, found;
    void (*printed)(void *ctx, struct job *job); /* the job is done with */
    void (*prints)(void *ctx);                   /* something is going to be printed */
    void *ctx;
};

void output_init(struct output *out);
void output_free(struct output *out);
void output_add(struct output *out, struct job *job);

/* Prints what can be printed without waiting. */
void output_pump(struct output *out);

/* Whether everything that was put or added is printed. */
bool output_is_empty(const struct output *out);

/* A message of the program itself, among the jobs' standard error. */
__attribute__((format(printf, 2, 3))) void output_say(struct output *out, const char *format, ...);

#endif /* COMMAND_OUTPUT_H */
