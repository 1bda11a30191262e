/* output.c: what jobs printed, job by job. */
#include "output.h"

#include <string.h>
#include <unistd.h>

void output_init(struct output *out)
{
    sink_init(&out->sinks[0], STDOUT_FILENO);
    sink_init(&out->sinks[1], STDERR_FILENO);
    spills_init(&out->spills);
    out->at_line_start = true;
    out->blocked = -1;
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
    if (out->first == NULL) {
        out->first = job;
    } else {
        out->last->next = job;
    }
    out->last = job;
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

/* One stream of the first job, up to what is there now: false if there is still more.  Of one that has ended, what was
 * there then; what a process that it has left behind writes later is no part of it. */
static bool print_stream(struct output *out, struct job *job)
{
    struct sink *sink = &out->sinks[out->stage];
    uint64_t *printed = &job->printed[out->stage];
    uint64_t bytes = job->ended ? job->bytes[out->stage] : spill_bytes(&job->out[out->stage]);

    for (uint64_t done = 0;;) {
        if (!sink_flush(sink)) {
            out->blocked = (int)out->stage;
            return false;
        }
        if (*printed >= bytes) {
            return true;
        }
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
    }
}

/* The line has to end before the next one begins with another argument. */
static void end_line(struct output *out)
{
    if (!out->at_line_start) {
        sink_put(&out->sinks[out->stage], "\n", 1);
        out->at_line_start = true;
    }
}

static void finish_first(struct output *out)
{
    struct job *job = out->first;

    sink_put(&out->sinks[1], job->message.bytes, job->message.used);
    spill_close(&out->spills, &job->out[0]);
    spill_close(&out->spills, &job->out[1]);
    out->first = job->next;
    out->stage = 0;
    out->waiting--;
    out->printed(out->ctx, job);
}

static bool flush(struct output *out, unsigned sink)
{
    bool done = sink_flush(&out->sinks[sink]);

    if (!done) {
        out->blocked = (int)sink;
    }
    return done;
}

/* The two streams of a job go one after the other: both may be the same terminal. */
void output_pump(struct output *out)
{
    out->blocked = -1;
    out->more = false;
    while (out->first != NULL && (out->first->ended || out->running_too)) {
        struct job *job = out->first;
        if (out->stage == 0 && !flush(out, 1)) { /* what was said about the one before */
            return;
        }
        if (!print_stream(out, job)) {
            return;
        }
        if (!job->ended) {
            break;
        }
        end_line(out);
        if (!flush(out, out->stage)) {
            return;
        }
        if (out->stage == 0) {
            out->stage = 1;
        } else {
            finish_first(out);
        }
    }
    if (flush(out, 0)) {
        (void)flush(out, 1);
    }
}

bool output_is_empty(const struct output *out)
{
    return out->first == NULL && out->sinks[0].put.used == 0 && out->sinks[1].put.used == 0;
}
