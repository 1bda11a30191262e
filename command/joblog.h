/* joblog.h: the record of jobs in the form of GNU parallel's, and what was done according to one. */
#ifndef COMMAND_JOBLOG_H
#define COMMAND_JOBLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "job.h"

struct joblog_entry {
    uint64_t seq;
    uint64_t command; /* a hash of its text */
    size_t line;      /* later lines count */
    bool failed;
};

struct joblog {
    int fd;                       /* 0: there is none */
    struct joblog_entry *entries; /* of the file as it was found, by seq */
    size_t n;
};

/* Opens path for one line a job; with resume, behind what is there, which is read.  0, an errno, or
 * EBADMSG: the file holds something else, and was not touched. */
int joblog_open(struct joblog *log, const char *path, bool resume);
void joblog_close(struct joblog *log);

/* What the file said of that job, or NULL. */
const struct joblog_entry *joblog_find(const struct joblog *log, uint64_t seq);

/* One write a line, so that whoever reads along sees whole ones: 0 or an errno. */
int joblog_write(struct joblog *log, const struct job *job, const struct text *command);

uint64_t joblog_hash(const char *command, size_t n);

#endif /* COMMAND_JOBLOG_H */
