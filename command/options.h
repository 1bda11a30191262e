/* options.h: what the command line says. */
#ifndef COMMAND_OPTIONS_H
#define COMMAND_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum halt_when {
    HALT_NEVER, /* every argument gets its turn */
    HALT_SOON,  /* no more is started */
    HALT_NOW,   /* and what runs is ended */
};

struct options {
    unsigned jobs;
    unsigned per_job; /* -n; 0: not given */
    unsigned retries; /* how often a failed job is run again */
    bool keep_order;
    bool null;
    bool tag;
    bool ungroup;
    bool line_buffer;
    bool quiet;
    bool progress;
    bool dry_run;
    bool shell;
    uint64_t timeout_ns;  /* 0: none */
    uint64_t delay_ns;    /* between starts */
    double load;          /* 0: none is set */
    uint64_t memory_free; /* bytes */
    const char *arg_file;
    const char *joblog; /* NULL: none */
    bool resume;        /* jobs that it names are not run again */
    bool resume_failed; /* but for those that failed */
    enum halt_when halt;
    unsigned halt_fails; /* so many, or with halt_percent so many per cent */
    bool halt_percent;

    char *const *command;
    unsigned command_n;
    bool lists_given; /* there was a ":::" */
    char *const *lists;
    unsigned lists_n;
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_BAD, /* reterr_message says why */
};

#define OPTIONS_MESSAGE_MAX 512

/* argv[0] is the verb.  What it points to must stay. */
enum options_result options_parse(struct options *opts, int argc, char **argv,
                                  char reterr_message[OPTIONS_MESSAGE_MAX]);

extern const char help_text[];

#endif /* COMMAND_OPTIONS_H */
