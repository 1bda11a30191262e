/* progress.c: one line on the terminal that says how far the run is; gone whenever something is printed. */
#include "plat/plat.h"
#include "run.h"

void progress_hide(void *ctx)
{
    struct run *run = ctx;

    if (run->progress_shown) {
        sink_put(&run->out.sinks[1], "\r\033[K", 4);
        (void)sink_flush(&run->out.sinks[1]);
        run->progress_shown = false;
    }
}

static void add_time_left(struct text *line, const struct run *run, uint64_t done, double seconds)
{
    uint64_t total = run->input.total - run->skipped;

    if (done > 0 && total > done) {
        unsigned long long left =
            (unsigned long long)(seconds / (double)done * (double)(total - done));
        text_printf(line, ", %llu:%02llu:%02llu left", left / 3600, left / 60 % 60, left % 60);
    }
}

/* Ten times a second is as often as anybody reads. */
void progress_show(struct run *run)
{
    uint64_t now_ns = aurp_now_ns(), done = run->failed + run->succeeded;
    struct text line = { 0 };

    if (!run->opts->progress || !run->out.sinks[1].terminal || run->out.sinks[1].put.used > 0 ||
        now_ns - run->progress_ns < PROGRESS_MS * UINT64_C(1000000)) {
        return;
    }
    double seconds = (double)(now_ns - run->begun_ns) / 1e9;
    run->progress_ns = now_ns;
    run->progress_shown = true;
    text_printf(&line, "\r%llu", (unsigned long long)done);
    if (run->input.total_known) {
        text_printf(&line, " of %llu", (unsigned long long)(run->input.total - run->skipped));
    }
    text_printf(&line, " done, %llu failed, %u running, %.3g/s", (unsigned long long)run->failed,
                run->running, seconds > 0 ? (double)done / seconds : 0);
    if (run->input.total_known) {
        add_time_left(&line, run, done, seconds);
    }
    text_puts(&line, "\033[K");
    sink_put(&run->out.sinks[1], line.bytes, line.used);
    (void)sink_flush(&run->out.sinks[1]);
    text_free(&line);
}
