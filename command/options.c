/* options.c: what the command line says.  Its own parser, in the manner of getopt_long(): that one keeps its
 * place in variables of the program and prints by itself, and a fuzzer is to call this a million times. */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX 10000u
#define SECONDS_MAX 1e9

/* A place in the command line, and where to complain. */
struct parser {
    struct options *opts;
    int argc, at;
    char **argv;
    char *message;
};

enum option_id {
    OPT_JOBS,
    OPT_KEEP_ORDER,
    OPT_NULL,
    OPT_ARG_FILE,
    OPT_MAX_ARGS,
    OPT_SHELL,
    OPT_TAG,
    OPT_QUIET,
    OPT_DRY_RUN,
    OPT_TIMEOUT,
    OPT_RETRIES,
    OPT_HALT,
    OPT_PROGRESS,
    OPT_DELAY,
    OPT_LOAD,
    OPT_MEMORY_FREE,
    OPT_JOBLOG,
    OPT_RESUME,
    OPT_RESUME_FAILED,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option {
    char letter; /* 0: none */
    const char *name;
    bool takes_value;
    enum option_id id;
} known[] = {
    { 'j', "jobs", true, OPT_JOBS },
    { 'P', "max-procs", true, OPT_JOBS },
    { 'k', "keep-order", false, OPT_KEEP_ORDER },
    { '0', "null", false, OPT_NULL },
    { 'a', "arg-file", true, OPT_ARG_FILE },
    { 'n', "max-args", true, OPT_MAX_ARGS },
    { 'c', "shell", false, OPT_SHELL },
    { 0, "tag", false, OPT_TAG },
    { 'q', "quiet", false, OPT_QUIET },
    { 0, "dry-run", false, OPT_DRY_RUN },
    { 0, "timeout", true, OPT_TIMEOUT },
    { 0, "retries", true, OPT_RETRIES },
    { 0, "halt", true, OPT_HALT },
    { 0, "progress", false, OPT_PROGRESS },
    { 0, "delay", true, OPT_DELAY },
    { 'l', "load", true, OPT_LOAD },
    { 0, "memory-free", true, OPT_MEMORY_FREE },
    { 0, "joblog", true, OPT_JOBLOG },
    { 0, "resume", false, OPT_RESUME },
    { 0, "resume-failed", false, OPT_RESUME_FAILED },
    { 'h', "help", false, OPT_HELP },
    { 'V', "version", false, OPT_VERSION },
};

#define KNOWN_N (sizeof(known) / sizeof(known[0]))

__attribute__((format(printf, 2, 3))) static enum options_result bad(struct parser *p,
                                                                     const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->message, OPTIONS_MESSAGE_MAX, format, args);
    va_end(args);
    return OPTIONS_BAD;
}

/* A number and nothing else. */
static bool read_count(const char *s, unsigned least, unsigned most, unsigned *ret)
{
    char *end;

    if (*s < '0' || *s > '9') {
        return false;
    }
    errno = 0;
    unsigned long value = strtoul(s, &end, 10);
    if (errno != 0 || *end != '\0' || value < least || value > most) {
        return false;
    }
    *ret = (unsigned)value;
    return true;
}

/* Seconds, or with a unit: 0.5, 90s, 10m, 2h, 1d. */
static bool read_seconds(const char *s, uint64_t *ret_ns)
{
    static const struct {
        char unit;
        double seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    char *end;

    if ((*s < '0' || *s > '9') && *s != '.') {
        return false;
    }
    double value = strtod(s, &end);
    for (size_t i = 0; *end != '\0' && i < sizeof(units) / sizeof(units[0]); i++) {
        if (end[0] == units[i].unit && end[1] == '\0') {
            value *= units[i].seconds;
            end++;
        }
    }
    if (end == s || *end != '\0' || !isfinite(value) || value < 0 || value > SECONDS_MAX) {
        return false;
    }
    *ret_ns = (uint64_t)(value * 1e9);
    return true;
}

/* never, soon, now; soon,fail=3; now,fail=10% */
static bool read_halt(const char *s, struct options *opts)
{
    static const char *const whens[] = { "never", "soon", "now" };
    size_t n = strcspn(s, ",");
    char digits[16];

    for (unsigned i = 0; i < 3; i++) {
        if (strlen(whens[i]) != n || strncmp(s, whens[i], n) != 0) {
            continue;
        }
        opts->halt = (enum halt_when)i;
        opts->halt_fails = 1;
        opts->halt_percent = false;
        if (s[n] == '\0') {
            return true;
        }
        if (i == HALT_NEVER || strncmp(s + n, ",fail=", 6) != 0) {
            return false;
        }
        s += n + 6;
        n = strcspn(s, "%");
        opts->halt_percent = s[n] == '%';
        if (n >= sizeof(digits) || (opts->halt_percent && s[n + 1] != '\0')) {
            return false;
        }
        memcpy(digits, s, n);
        digits[n] = '\0';
        return read_count(digits, 1, opts->halt_percent ? 100 : UINT_MAX, &opts->halt_fails);
    }
    return false;
}

/* Bytes: 500M, 1.5G; the units of 1024. */
static bool read_bytes(const char *s, uint64_t *ret)
{
    static const char units[] = "KMGT";
    char *end;

    if ((*s < '0' || *s > '9') && *s != '.') {
        return false;
    }
    double value = strtod(s, &end);
    const char *unit = *end != '\0' ? strchr(units, *end & ~0x20) : NULL;
    if (unit != NULL) {
        value = ldexp(value, 10 * (int)(unit - units + 1));
        end++;
    }
    if (end == s || *end != '\0' || !(value >= 1 && value < 0x1p60)) {
        return false;
    }
    *ret = (uint64_t)value;
    return true;
}

static bool read_load(const char *s, double *ret)
{
    char *end;

    if ((*s < '0' || *s > '9') && *s != '.') {
        return false;
    }
    *ret = strtod(s, &end);
    return end != s && *end == '\0' && *ret > 0 && *ret <= 1e6;
}

static enum options_result take_gate(struct parser *p, enum option_id id, const char *value)
{
    struct options *opts = p->opts;

    switch (id) {
    case OPT_DELAY:
        return read_seconds(value, &opts->delay_ns)
                   ? OPTIONS_RUN
                   : bad(p, "--delay %s: not a time; try 0.1 or 5s", value);
    case OPT_LOAD:
        return read_load(value, &opts->load)
                   ? OPTIONS_RUN
                   : bad(p, "--load %s: not a load average above 0", value);
    default:
        return read_bytes(value, &opts->memory_free)
                   ? OPTIONS_RUN
                   : bad(p, "--memory-free %s: not a number of bytes; try 500M or 2G", value);
    }
}

static enum options_result take(struct parser *p, enum option_id id, const char *value)
{
    struct options *opts = p->opts;

    switch (id) {
    case OPT_JOBS:
        return read_count(value, 1, JOBS_MAX, &opts->jobs)
                   ? OPTIONS_RUN
                   : bad(p, "-j %s: not a number of jobs from 1 to %u", value, JOBS_MAX);
    case OPT_MAX_ARGS:
        return read_count(value, 1, 1000000, &opts->per_job)
                   ? OPTIONS_RUN
                   : bad(p, "-n %s: not a number of arguments from 1 to 1000000", value);
    case OPT_RETRIES:
        return read_count(value, 0, 1000000, &opts->retries)
                   ? OPTIONS_RUN
                   : bad(p, "--retries %s: not a number from 0 to 1000000", value);
    case OPT_TIMEOUT:
        return read_seconds(value, &opts->timeout_ns) && opts->timeout_ns != 0
                   ? OPTIONS_RUN
                   : bad(p, "--timeout %s: not a time; try 10, 0.5, 5m or 2h", value);
    case OPT_HALT:
        return read_halt(value, opts)
                   ? OPTIONS_RUN
                   : bad(p, "--halt %s: not one of never, soon, now, soon,fail=3, now,fail=10%%",
                         value);
    case OPT_ARG_FILE:
        opts->arg_file = value;
        return OPTIONS_RUN;
    case OPT_DELAY:
    case OPT_LOAD:
    case OPT_MEMORY_FREE:
        return take_gate(p, id, value);
    case OPT_JOBLOG:
        opts->joblog = value;
        return OPTIONS_RUN;
    case OPT_HELP:
        return OPTIONS_HELP;
    case OPT_VERSION:
        return OPTIONS_VERSION;
    default:
        break;
    }
    opts->keep_order |= id == OPT_KEEP_ORDER;
    opts->null |= id == OPT_NULL;
    opts->shell |= id == OPT_SHELL;
    opts->tag |= id == OPT_TAG;
    opts->quiet |= id == OPT_QUIET;
    opts->dry_run |= id == OPT_DRY_RUN;
    opts->progress |= id == OPT_PROGRESS;
    opts->resume |= id == OPT_RESUME || id == OPT_RESUME_FAILED;
    opts->resume_failed |= id == OPT_RESUME_FAILED;
    return OPTIONS_RUN;
}

static const char *next_word(struct parser *p)
{
    return p->at < p->argc && strcmp(p->argv[p->at], ":::") != 0 ? p->argv[p->at++] : NULL;
}

/* --name, --name=value or --name value; a name may be shortened as long as it is the only one. */
static enum options_result take_long(struct parser *p, const char *word)
{
    size_t n = strcspn(word, "=");
    const struct option *found = NULL;
    const char *value = NULL;

    for (size_t i = 0; i < KNOWN_N; i++) {
        if (strncmp(known[i].name, word, n) != 0) {
            continue;
        }
        if (known[i].name[n] == '\0') {
            found = &known[i];
            break;
        }
        if (found != NULL) {
            return bad(p, "--%s: may be --%s or --%s", word, found->name, known[i].name);
        }
        found = &known[i];
    }
    if (found == NULL || n == 0) {
        return bad(p, "--%.*s: there is no such option", (int)n, word);
    }
    if (!found->takes_value) {
        return word[n] == '\0' ? take(p, found->id, NULL)
                               : bad(p, "--%s takes no value", found->name);
    }
    value = word[n] == '=' ? word + n + 1 : next_word(p);
    return value != NULL ? take(p, found->id, value) : bad(p, "--%s needs a value", found->name);
}

/* Letters may be joined: -k0j4, -k0j 4. */
static enum options_result take_letters(struct parser *p, const char *word)
{
    for (; *word != '\0'; word++) {
        const struct option *found = NULL;
        enum options_result result;
        for (size_t i = 0; i < KNOWN_N; i++) {
            found = known[i].letter == *word ? &known[i] : found;
        }
        if (found == NULL) {
            return bad(p, "-%c: there is no such option", *word);
        }
        if (found->takes_value) {
            const char *value = word[1] != '\0' ? word + 1 : next_word(p);
            return value != NULL ? take(p, found->id, value) : bad(p, "-%c needs a value", *word);
        }
        result = take(p, found->id, NULL);
        if (result != OPTIONS_RUN) {
            return result;
        }
    }
    return OPTIONS_RUN;
}

static enum options_result check(struct parser *p)
{
    struct options *opts = p->opts;
    bool several = false;

    for (unsigned i = 0; i < opts->lists_n; i++) {
        several |= strcmp(opts->lists[i], ":::") == 0;
    }
    if (opts->command_n == 0) {
        return bad(p, "there is no command; see auriga map --help");
    }
    if (opts->lists_given && opts->arg_file != NULL) {
        return bad(p, "arguments come from --arg-file or from behind ':::', not from both");
    }
    if (opts->lists_given && opts->null) {
        return bad(p, "-0 is for arguments that are read, not for those behind ':::'");
    }
    if (opts->resume && opts->joblog == NULL) {
        return bad(p, "--resume needs --joblog FILE, which says what was done");
    }
    if (several && opts->per_job != 0) {
        return bad(p, "-n does not go with several ':::'");
    }
    return OPTIONS_RUN;
}

enum options_result options_parse(struct options *opts, int argc, char **argv,
                                  char reterr_message[OPTIONS_MESSAGE_MAX])
{
    struct parser p = { opts, argc, 1, argv, reterr_message };
    enum options_result result = OPTIONS_RUN;

    *opts = (struct options){ 0 };
    reterr_message[0] = '\0';
    while (result == OPTIONS_RUN && p.at < argc && argv[p.at][0] == '-' && argv[p.at][1] != '\0') {
        const char *word = argv[p.at++];
        if (strcmp(word, "--") == 0) {
            break;
        }
        result = word[1] == '-' ? take_long(&p, word + 2) : take_letters(&p, word + 1);
    }
    if (result != OPTIONS_RUN) {
        return result;
    }
    opts->command = argv + p.at;
    while (p.at < argc && strcmp(argv[p.at], ":::") != 0) {
        p.at++;
        opts->command_n++;
    }
    opts->lists_given = p.at < argc;
    if (opts->lists_given) {
        opts->lists = argv + p.at + 1;
        opts->lists_n = (unsigned)(argc - p.at - 1);
    }
    return check(&p);
}
