/* options.c: what the command line says. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOBS_MAX 10000u
#define SECONDS_MAX 1e9

/* Where to put what is said, and where to complain. */
struct parser {
    struct options *opts;
    char *message;
};

/* Those without a letter. */
enum {
    OPT_TAG = 256,
    OPT_LINE_BUFFER,
    OPT_DRY_RUN,
    OPT_TIMEOUT,
    OPT_RETRIES,
    OPT_HALT,
    OPT_PROGRESS,
    OPT_DELAY,
    OPT_MEMORY_FREE,
    OPT_JOBLOG,
    OPT_RESUME,
    OPT_RESUME_FAILED,
};

/* "+": options end at COMMAND, whose own are none of ours.  ":": errors are told by us. */
static const char letters[] = "+:j:P:k0a:n:cuql:hV";

static const struct option known[] = {
    { "jobs", required_argument, NULL, 'j' },
    { "max-procs", required_argument, NULL, 'P' },
    { "keep-order", no_argument, NULL, 'k' },
    { "null", no_argument, NULL, '0' },
    { "arg-file", required_argument, NULL, 'a' },
    { "max-args", required_argument, NULL, 'n' },
    { "shell", no_argument, NULL, 'c' },
    { "tag", no_argument, NULL, OPT_TAG },
    { "ungroup", no_argument, NULL, 'u' },
    { "line-buffer", no_argument, NULL, OPT_LINE_BUFFER },
    { "lb", no_argument, NULL, OPT_LINE_BUFFER },
    { "quiet", no_argument, NULL, 'q' },
    { "dry-run", no_argument, NULL, OPT_DRY_RUN },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "retries", required_argument, NULL, OPT_RETRIES },
    { "halt", required_argument, NULL, OPT_HALT },
    { "progress", no_argument, NULL, OPT_PROGRESS },
    { "delay", required_argument, NULL, OPT_DELAY },
    { "load", required_argument, NULL, 'l' },
    { "memory-free", required_argument, NULL, OPT_MEMORY_FREE },
    { "joblog", required_argument, NULL, OPT_JOBLOG },
    { "resume", no_argument, NULL, OPT_RESUME },
    { "resume-failed", no_argument, NULL, OPT_RESUME_FAILED },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
};

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

static enum options_result take_gate(struct parser *p, int id, const char *value)
{
    struct options *opts = p->opts;

    switch (id) {
    case OPT_DELAY:
        return read_seconds(value, &opts->delay_ns)
                   ? OPTIONS_RUN
                   : bad(p, "--delay %s: not a time; try 0.1 or 5s", value);
    case 'l':
        return read_load(value, &opts->load)
                   ? OPTIONS_RUN
                   : bad(p, "--load %s: not a load average above 0", value);
    default:
        return read_bytes(value, &opts->memory_free)
                   ? OPTIONS_RUN
                   : bad(p, "--memory-free %s: not a number of bytes; try 500M or 2G", value);
    }
}

static enum options_result take(struct parser *p, int id, const char *value)
{
    struct options *opts = p->opts;

    switch (id) {
    case 'j':
    case 'P':
        return read_count(value, 1, JOBS_MAX, &opts->jobs)
                   ? OPTIONS_RUN
                   : bad(p, "-j %s: not a number of jobs from 1 to %u", value, JOBS_MAX);
    case 'n':
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
    case 'a':
        opts->arg_file = value;
        return OPTIONS_RUN;
    case OPT_DELAY:
    case 'l':
    case OPT_MEMORY_FREE:
        return take_gate(p, id, value);
    case OPT_JOBLOG:
        opts->joblog = value;
        return OPTIONS_RUN;
    case 'h':
        return OPTIONS_HELP;
    case 'V':
        return OPTIONS_VERSION;
    default:
        break;
    }
    opts->keep_order |= id == 'k';
    opts->null |= id == '0';
    opts->shell |= id == 'c';
    opts->tag |= id == OPT_TAG;
    opts->ungroup |= id == 'u';
    opts->line_buffer |= id == OPT_LINE_BUFFER;
    opts->quiet |= id == 'q';
    opts->dry_run |= id == OPT_DRY_RUN;
    opts->progress |= id == OPT_PROGRESS;
    opts->resume |= id == OPT_RESUME || id == OPT_RESUME_FAILED;
    opts->resume_failed |= id == OPT_RESUME_FAILED;
    return OPTIONS_RUN;
}

static const struct option *find(int id)
{
    const struct option *at = known;

    while (at->name != NULL && at->val != id) {
        at++;
    }
    return at->name != NULL ? at : NULL;
}

/* A long name that getopt_long() does not know, or that begins more than one. */
static enum options_result bad_name(struct parser *p, const char *name)
{
    const struct option *found = NULL;
    size_t n = strcspn(name, "=");

    for (const struct option *at = known; at->name != NULL; at++) {
        if (n == 0 || strncmp(at->name, name, n) != 0) {
            continue;
        }
        if (found != NULL) {
            return bad(p, "--%.*s: may be --%s or --%s", (int)n, name, found->name, at->name);
        }
        found = at;
    }
    return bad(p, "--%.*s: there is no such option", (int)n, name);
}

/* What getopt_long() found wrong; word is the last one that it looked at. */
static enum options_result refuse(struct parser *p, bool no_value, const char *word)
{
    bool is_long = strncmp(word, "--", 2) == 0;
    const struct option *option = find(optopt);

    if (no_value) {
        return is_long ? bad(p, "--%s needs a value", option->name)
                       : bad(p, "-%c needs a value", optopt);
    }
    if (optopt == 0) {
        return bad_name(p, word + 2);
    }
    return option != NULL ? bad(p, "--%s takes no value", option->name)
                          : bad(p, "-%c: there is no such option", optopt);
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
    if (opts->ungroup && (opts->keep_order || opts->tag || opts->line_buffer)) {
        return bad(p, "-u leaves output as it comes: it does not go with %s",
                   opts->keep_order ? "-k"
                   : opts->tag      ? "--tag"
                                    : "--line-buffer");
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
    struct parser p = { opts, reterr_message };
    enum options_result result = OPTIONS_RUN;
    int own = 1; /* words before the first ":::" */
    int id;

    while (own < argc && strcmp(argv[own], ":::") != 0) {
        own++;
    }
    *opts = (struct options){ 0 };
    reterr_message[0] = '\0';
    opterr = 0;
    optind = 0; /* begin anew, though this may have been called before */
    while (result == OPTIONS_RUN && (id = getopt_long(own, argv, letters, known, NULL)) != -1) {
        result =
            id == ':' || id == '?' ? refuse(&p, id == ':', argv[optind - 1]) : take(&p, id, optarg);
    }
    if (result != OPTIONS_RUN) {
        return result;
    }
    opts->command = argv + optind;
    opts->command_n = (unsigned)(own - optind);
    opts->lists_given = own < argc;
    if (opts->lists_given) {
        opts->lists = argv + own + 1;
        opts->lists_n = (unsigned)(argc - own - 1);
    }
    return check(&p);
}
