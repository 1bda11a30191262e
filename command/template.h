/* template.h: the command with its placeholders, and what it becomes for one job. */
#ifndef COMMAND_TEMPLATE_H
#define COMMAND_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

/* The arguments of one job.  They lie in one piece of memory, each with a NUL behind it. */
struct arguments {
    char **values;
    unsigned n;
    int flaw; /* 0, or why they cannot be given to a program: E2BIG, EILSEQ (a NUL inside) */
};

enum part_kind {
    PART_TEXT,    /* itself */
    PART_WHOLE,   /* {}    the argument */
    PART_NO_EXT,  /* {.}   without its extension */
    PART_BASE,    /* {/}   without its folders */
    PART_FOLDER,  /* {//}  the folder */
    PART_BASE_NO, /* {/.}  without either */
    PART_SEQ,     /* {#}   the number of the job */
    PART_SLOT,    /* {%}   the number of its place, 1 to -j */
};

struct part {
    enum part_kind kind;
    unsigned which; /* 0: all arguments; n: the n-th, as in {2} and {2/.} */
    const char *text;
    size_t n;
};

struct word {
    struct part *parts;
    unsigned n;
};

struct template
{
    struct word *words;
    unsigned n;
    bool shell;     /* one text for sh -c, arguments quoted */
    bool has_slot;  /* {%} makes the same job look different in another run */
    char *own_text; /* the joined command of a shell template */
};

/* argv stays whole as long as the template: it is pointed to.  Without any placeholder the arguments
 * come last. */
void template_init(struct template *t, char *const *argv, unsigned n, bool shell);
void template_free(struct template *t);

/* The words of one job, ready for execve().  Reused from job to job. */
struct command_line {
    struct text bytes;
    size_t *starts;
    unsigned n, room;
    char **argv; /* [n] is NULL; there is room for two more words in front: argv[-2], argv[-1] */
    char **block;
};

void template_expand(const struct template *t, const struct arguments *args, uint64_t seq,
                     unsigned slot, struct command_line *line);
void command_line_free(struct command_line *line);

/* The command as one line that a shell would take, for logs and --dry-run. */
void command_line_show(const struct template *t, const struct command_line *line,
                       struct text *text);

#endif /* COMMAND_TEMPLATE_H */
