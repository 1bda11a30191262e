/* output.c: what jobs printed, job by job. */
#include "output.h"

#include "plat/plat.h"

#include <string.h>
#include <unistd.h>

void output_init(struct output *out)
{
    sink_init(&out->sinks[0], STDOUT_FILENO);
    sink_init(&out->sinks[1], STDERR_FILENO);
    spills_init(&out->spills);
    out->at_line_start = true;
    out->blocked = -1;
    out->end = &out->first;
}

void output_free(struct output *out)
{
    sink_free(&out->sinks[0]);
    sink_free(&out->sinks[1]);
    spills_free(&out->spills);
}

void output_add(struct output *out, struct job *job)
{
    job->next = NULL;
    job->listed = true;
    *out->end = job;
    out->end = &job->next;
    out->waiting++;
}

void output_say(struct output *out, const char *format, ...)
{
    struct text line = { 0 };
    va_list args;

    text_puts(&line, "auriga: ");
    va_start(args, format);
    text_vprintf(&line, format, args);
    va_end(args);
    text_puts(&line, "\n");
    out->prints(out->ctx);
    sink_put(&out->sinks[1], line.bytes, line.used);
    (void)sink_flush(&out->sinks[1]);
    text_free(&line);
}

/* ---- lines that begin with the argument ---- */

static void put_tag(struct sink *sink, const struct job *job)
{
    for (unsigned i = 0; i < job->args.n; i++) {
        sink_put(sink, " ", i > 0 ? 1 : 0);
        sink_put(sink, job->args.values[i], strlen(job->args.values[i]));
    }
    sink_put(sink, "\t", 1);
}

static uint64_t print_tagged(struct output *out, struct job *job, struct sink *sink, uint64_t left)
{
    char bytes[16384];
    size_t size = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
    ssize_t got = pread(job->out[out->stage].fd, bytes, size, (off_t)job->printed[out->stage]);

    if (got <= 0) {
        return left;
    }
    for (const char *at = bytes, *end = bytes + got; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop != NULL ? stop + 1 : end;
        if (out->at_line_start) {
            put_tag(sink, job);
        }
        sink_put(sink, at, (size_t)(stop - at));
        out->at_line_start = stop[-1] == '\n';
        at = stop;
    }
    return (uint64_t)got;
}

/* ---- files ---- */

/* So much is printed between two looks at everything else. */
#define PUMP_BYTES ((uint64_t)32 * 1024 * 1024)
/* Files do not tell when they grow.  So often they are looked at: soon after something was found, ever more
 * seldom while nothing is. */
#define LOOK_SOONEST_NS UINT64_C(10000000)
#define LOOK_LATEST_NS UINT64_C(100000000)

/* Behind the last whole line that a running job has written.  What was looked through before is not read
 * again; what was found is printed before more is looked for, so that no job keeps the others waiting. */
static uint64_t end_of_lines(struct output *out, struct job *job)
{
    struct lines *lines = &job->lines[out->stage];
    char bytes[4096];

    if (job->printed[out->stage] < lines->end) {
        return lines->end;
    }
    uint64_t size = spill_bytes(&job->out[out->stage]);
    for (uint64_t end = size; end > lines->seen;) {
        size_t n = end - lines->seen < sizeof(bytes) ? (size_t)(end - lines->seen) : sizeof(bytes);
        if (pread(job->out[out->stage].fd, bytes, n, (off_t)(end - n)) != (ssize_t)n) {
            break; /* it was cut off by who wrote it */
        }
        const char *last = memrchr(bytes, '\n', n);
        if (last != NULL) {
            lines->end = end - n + (uint64_t)(last - bytes) + 1;
            break;
        }
        end -= n;
    }
    lines->seen = size;
    return lines->end;
}

/* Of one that has ended, what was there then; what a process that it has left behind writes later is no
 * part of it. */
static uint64_t printable(struct output *out, struct job *job)
{
    if (job->ended) {
        return job->bytes[out->stage];
    }
    return out->lines ? end_of_lines(out, job) : spill_bytes(&job->out[out->stage]);
}

static bool ends_in_line_feed(int fd, uint64_t bytes)
{
    char last = '\n';

    return pread(fd, &last, 1, (off_t)bytes - 1) != 1 || last == '\n';
}

/* One stream of a job, up to what can be printed now: false if there is still more. */
static bool print_stream(struct output *out, struct job *job)
{
    struct sink *sink = &out->sinks[out->stage];
    uint64_t *printed = &job->printed[out->stage];
    uint64_t bytes = printable(out, job);

    for (uint64_t done = 0;;) {
        if (!sink_flush(sink)) {
            out->blocked = (int)out->stage;
            return false;
        }
        if (*printed >= bytes) {
            return true;
        }
        out->prints(out->ctx);
        out->more = done >= PUMP_BYTES;
        if (out->more) {
            return false;
        }
        uint64_t left = bytes - *printed;
        uint64_t n = out->tag ? print_tagged(out, job, sink, left)
                              : sink_send_file(sink, job->out[out->stage].fd, *printed, left);
        if (n == 0) {
            out->blocked = (int)out->stage;
            return false;
        }
        *printed += n;
        done += n;
        out->found |= !job->ended;
        if (job->ended && out->lines && !out->tag && *printed == bytes) {
            out->at_line_start = ends_in_line_feed(job->out[out->stage].fd, bytes);
        }
    }
}

/* The line has to end before one of another job begins. */
static void end_line(struct output *out)
{
    if (!out->at_line_start) {
        sink_put(&out->sinks[out->stage], "\n", 1);
        out->at_line_start = true;
    }
}

static bool flush(struct output *out, unsigned sink)
{
    bool done = sink_flush(&out->sinks[sink]);

    if (!done) {
        out->blocked = (int)sink;
    }
    return done;
}

/* ---- jobs ---- */

/* What can be printed of a job now; false if there is still more.  Its two streams go one after the other:
 * both may be the same terminal. */
static bool print_job(struct output *out, struct job *job)
{
    if (out->stage == 0 && !flush(out, 1)) { /* what was said about the one before */
        return false;
    }
    for (;;) {
        if (!print_stream(out, job)) {
            return false;
        }
        if (job->ended) {
            end_line(out);
            if (!flush(out, out->stage)) {
                return false;
            }
        } else if (!out->lines) {
            return true;
        }
        if (out->stage == 1 && !(job->ended && job->printed[0] < job->bytes[0])) {
            out->stage = 0;
            return true;
        }
        out->stage = 1 - out->stage; /* back to the first if the job has ended since then */
    }
}

/* Takes the job out of the list. */
static void finish(struct output *out)
{
    struct job *job = *out->at;

    if (job->message.used > 0) {
        out->prints(out->ctx);
        sink_put(&out->sinks[1], job->message.bytes, job->message.used);
        job->message.used = 0;
    }
    spill_close(&out->spills, &job->out[0]);
    spill_close(&out->spills, &job->out[1]);
    *out->at = job->next;
    if (out->end == &job->next) {
        out->end = out->at;
    }
    job->listed = false;
    out->waiting--;
    out->printed(out->ctx, job);
}

static void begin_round(struct output *out)
{
    out->at = &out->first;
    out->looking = out->running_too && aurp_now_ns() >= out->look_ns;
    out->found = false;
}

static void end_round(struct output *out)
{
    out->at = NULL;
    if (out->looking) {
        uint64_t later_ns = out->found ? LOOK_SOONEST_NS : out->look_every_ns * 2;
        later_ns = later_ns < LOOK_LATEST_NS ? later_ns : LOOK_LATEST_NS;
        out->look_every_ns = later_ns > LOOK_SOONEST_NS ? later_ns : LOOK_SOONEST_NS;
        out->look_ns = aurp_now_ns() + out->look_every_ns;
    }
}

/* A round over the jobs, begun here or where the last one had to stop. */
void output_pump(struct output *out)
{
    out->blocked = -1;
    out->more = false;
    if (out->at == NULL) {
        begin_round(out);
    }
    while (*out->at != NULL) {
        struct job *job = *out->at;
        if ((job->ended || out->looking) && !print_job(out, job)) {
            return;
        }
        if (job->ended) {
            finish(out);
        } else if (out->all) {
            out->at = &job->next;
        } else {
            break;
        }
    }
    end_round(out);
    if (flush(out, 0)) {
        (void)flush(out, 1);
    }
}

bool output_is_empty(const struct output *out)
{
    return out->first == NULL && out->sinks[0].put.used == 0 && out->sinks[1].put.used == 0;
}
