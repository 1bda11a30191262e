/* output.h: what jobs printed, job by job, in the order in which they ended or, with --keep-order, in that
 * of their arguments. */
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
    struct job *first, *last; /* jobs whose output is still to be printed */
    bool tag;                 /* each line begins with the argument */
    bool running_too;         /* the first job's output is printed while it runs */
    bool at_line_start;
    unsigned stage;   /* the stream of the first job that is being printed */
    int blocked;      /* the sink that takes no more now, or -1 */
    bool more;        /* the pump has stopped for others' sake: call it again */
    uint64_t waiting; /* jobs that were added and not printed yet */
    void (*printed)(void *ctx, struct job *job); /* the job is done with */
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
