/* start.h: starts a program as a process of its own. */
#ifndef COMMAND_START_H
#define COMMAND_START_H

#include <signal.h>
#include <sys/resource.h>

#include "template.h"

/* What is the same for all jobs. */
struct starter {
    char *path;          /* of the program, looked up once; NULL: word 0 is a placeholder */
    bool script;         /* it has no format that the kernel knows: /bin/sh reads it */
    int in;              /* what a job reads: /dev/null */
    sigset_t mask;       /* of signals, as this program found it */
    struct rlimit files; /* the same of RLIMIT_NOFILE */
    char *stack;         /* for the moment between the start and the exec */
};

void starter_init(struct starter *starter, const sigset_t *mask, const struct rlimit *files);
void starter_free(struct starter *starter);

/* Looks a program up in $PATH as execvp() does: 0 and its path (to be freed), or an errno. */
int starter_find(const char *name, char **ret_path);

/* What one process gets. */
struct outfit {
    int out, err; /* become its 1 and 2 */
    int *group;   /* where it notes its process group; NULL: nowhere */
};

/* In a process group of its own, to be killed when this program dies.  Returns 0, or an errno of what could not
 * be done. */
int starter_run(struct starter *starter, struct command_line *line, const struct outfit *outfit,
                int *ret_pid);

#endif /* COMMAND_START_H */
