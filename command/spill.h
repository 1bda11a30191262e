/* spill.h: unnamed files that take what jobs print until it is their turn.
 *
 * A new file costs 50 us, as much as a tenth of the shortest job, so files are used again.  But a job may
 * leave a process behind that still has its output open, and would then write into the output of another
 * job.  So each job gets an opening of its own, and a file is used again only if the kernel grants a write
 * lease on it: which it does if nobody else has it open for writing. */
#ifndef COMMAND_SPILL_H
#define COMMAND_SPILL_H

#include <stdint.h>

struct spill {
    int fd;     /* 0: none */
    int writer; /* the job's opening, until it was started; 0: none */
};

/* The files of one run. */
struct spills {
    const char *folder; /* $TMPDIR */
    int *idle;
    unsigned n_idle, room;
    unsigned open; /* files that are in use */
};

void spills_init(struct spills *spills);
void spills_free(struct spills *spills);

/* A file with nothing in it: 0 or an errno. */
int spill_open(struct spills *spills, struct spill *ret_spill);
/* The job has been started: its opening is its own now. */
void spill_started(struct spill *spill);
uint64_t spill_bytes(const struct spill *spill);
/* Nothing in it is needed any more. */
void spill_close(struct spills *spills, struct spill *spill);

#endif /* COMMAND_SPILL_H */
