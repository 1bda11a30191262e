/* guardian.h: a process that outlives us, and then kills what our jobs have left.
 *
 * The kernel kills our children with us (start.c), but not theirs.  The guardian knows the process group of
 * each job that runs, by a page that we share, and waits for the end of a pipe that only we hold. */
#ifndef COMMAND_GUARDIAN_H
#define COMMAND_GUARDIAN_H

#include <stddef.h>

struct guardian {
    int *groups; /* [n]: of the jobs by their slots; 0: none; NULL: there is no memory for them */
    unsigned n;
    int rope; /* while it is open, we live; 0: there is no guardian */
};

/* Before the first job.  Without memory or a process for it, jobs run unguarded. */
void guardian_start(struct guardian *guardian, unsigned n);
/* With all groups 0 it goes without having done anything. */
void guardian_end(struct guardian *guardian);

/* Where the group of the job in that slot is noted, or NULL.  The job notes it itself before it becomes its
 * program, and it is cleared before the job is reaped: so no job is missed, and no number is anybody else's. */
static inline int *guardian_group(struct guardian *guardian, unsigned slot)
{
    return guardian->groups != NULL ? &guardian->groups[slot] : NULL;
}

#endif /* COMMAND_GUARDIAN_H */
