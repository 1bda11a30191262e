/* map.c: runs one command for each argument: the loop.
 *
 * One thread waits for everything at once: ended jobs, arguments, a reader with room for more output, the
 * next time limit.  Nothing in the loop waits for anything else. */
#include "map.h"

#include <auriga.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "plat/plat.h"
#include "run.h"

#define FILES_OWN 64u /* files that are not outputs of jobs, and some for the moment of a start */
#define FILES_WANTED 65536u
#define JOBS_UNPRINTED_MAX 65536u

/* ---- beginning ---- */

/* More files than the usual 1024, if that is allowed: each output that waits for its turn is one. */
static void raise_file_limit(struct run *run, struct rlimit *ret_before)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, ret_before);
    limit = *ret_before;
    if (limit.rlim_cur < FILES_WANTED) {
        limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            limit = *ret_before;
        }
    }
    run->files_max = limit.rlim_cur > FILES_OWN + 4 ? limit.rlim_cur - FILES_OWN : 4;
}

/* Signals come as messages.  What was ignored before stays so, as nohup wants it. */
static bool take_signals(struct run *run, sigset_t *ret_before)
{
    static const int taken[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
    sigset_t set;

    signal(SIGCHLD, SIG_DFL); /* ignored, the ends of jobs would be lost */
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct sigaction now; /* a blocked signal is received even if it is ignored */
        if (sigaction(taken[i], NULL, &now) != 0 || now.sa_handler != SIG_IGN) {
            sigaddset(&set, taken[i]);
        }
    }
    run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    sigaddset(&set, SIGPIPE); /* an errno says it, too, and this one */
    sigaddset(&set, SIGXFSZ);
    sigprocmask(SIG_BLOCK, &set, ret_before);
    return run->signals >= 0;
}

static bool open_input(struct run *run)
{
    const struct options *opts = run->opts;
    unsigned per_job = opts->per_job != 0 ? opts->per_job : 1;
    int fd = STDIN_FILENO;

    if (opts->lists_given) {
        input_lists(&run->input, opts->lists, opts->lists_n, per_job);
        return true;
    }
    if (opts->arg_file != NULL) {
        fd = open(opts->arg_file, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            output_say(&run->out, "%s: %s", opts->arg_file, strerror(errno));
            return false;
        }
    }
    input_stream(&run->input, fd, opts->null ? '\0' : '\n', per_job);
    return true;
}

static bool open_log(struct run *run)
{
    const char *path = run->opts->joblog;
    int failed = path == NULL ? 0 : joblog_open(&run->log, path, run->opts->resume);

    if (failed != 0) {
        output_say(&run->out, "%s: %s", path,
                   failed == EBADMSG ? "this is not a job log" : strerror(failed));
    }
    return failed == 0;
}

/* A command that is the same for every job is looked up once, and found out to be missing once. */
static int find_command(struct run *run)
{
    const struct word *first = &run->template.words[0];
    const char *name = run->template.shell ? "/bin/sh" : run->opts->command[0];

    if (!run->template.shell && (first->n != 1 || first->parts[0].kind != PART_TEXT)) {
        return 0;
    }
    int failed = starter_find(name, &run->starter.path);
    if (failed == 0) {
        return 0;
    }
    output_say(&run->out, "%s: %s", name,
               failed == ENOENT ? "command not found" : strerror(failed));
    return failed == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

static int begin(struct run *run, struct options *opts)
{
    struct rlimit files;
    sigset_t mask;

    if (opts->jobs == 0) {
        opts->jobs = aur_cpu_count();
    }
    run->opts = opts;
    run->begun_ns = aurp_now_ns();
    run->slots = memory(NULL, opts->jobs * sizeof(*run->slots));
    memset(run->slots, 0, opts->jobs * sizeof(*run->slots));
    run->out = (struct output){ .tag = opts->tag, .lines = opts->line_buffer, .ctx = run };
    run->out.printed = run_job_printed;
    run->out.prints = progress_hide;
    run->out.all = opts->line_buffer && !opts->keep_order;
    run->out.running_too = run->out.all || (opts->keep_order && opts->retries == 0);
    output_init(&run->out);
    raise_file_limit(run, &files);
    template_init(&run->template, opts->command, opts->command_n, opts->shell);
    if (!take_signals(run, &mask)) {
        output_say(&run->out, "signals cannot be received: %s", strerror(errno));
        return EXIT_BROKEN;
    }
    starter_init(&run->starter, &mask, &files);
    if (!open_input(run) || !open_log(run)) {
        return EXIT_BROKEN;
    }
    return find_command(run);
}

/* ---- jobs ---- */

static struct job *take_again(struct run *run)
{
    struct job *job = run->held;

    if (job != NULL) {
        run->held = NULL;
    } else {
        job = run->again;
        run->again = job != NULL ? job->next : NULL;
    }
    return job;
}

static struct job *next_job(struct run *run)
{
    struct arguments args;
    struct job *job = take_again(run);

    run->input_waits = false;
    if (job != NULL || run->input_ended) {
        return job;
    }
    enum input_state state = input_next(&run->input, &args);
    while (state == INPUT_JOB && run_was_done(run, &args)) {
        run->seq++;
        arguments_free(&args);
        if (run->stop != STOP_NOT) {
            return NULL;
        }
        state = input_next(&run->input, &args);
    }
    switch (state) {
    case INPUT_JOB:
        return run_make_job(run, &args);
    case INPUT_WAIT:
        run->input_waits = true;
        return NULL;
    case INPUT_ERROR:
        output_say(&run->out, "arguments cannot be read: %s", strerror(errno));
        run->broken = true;
        /* fall through */
    default:
        run->input_ended = true;
        return NULL;
    }
}

/* Outputs that wait for their turn must not grow without end.  But the turn may be that of a job which is
 * to run again: that one has to be started then. */
static bool may_start(const struct run *run)
{
    bool room = run->out.spills.open + 2 <= run->files_max &&
                run->out.waiting < JOBS_UNPRINTED_MAX && run->out.sinks[0].put.used < SINK_FULL;

    return run->stop == STOP_NOT && run->running < run->opts->jobs &&
           (room || (run->running == 0 && (run->again != NULL || run->held != NULL)));
}

static void start_jobs(struct run *run)
{
    while (may_start(run)) {
        struct job *job = next_job(run);
        if (job == NULL) {
            return;
        }
        if (!run_gate_is_open(run)) {
            run->held = job;
            return;
        }
        run_start_job(run, job);
        if (run->held != NULL) {
            return;
        }
    }
}

/* What was never started is not printed; with --keep-order it is in the line already. */
static void drop_unstarted(struct run *run)
{
    struct job *job;

    while ((job = take_again(run)) != NULL) {
        run->failed += job->attempt > 1; /* it was to be run again */
        if (run->opts->keep_order) {
            job->ended = true;
        } else {
            run_free_job(run, job);
        }
    }
    run->input_ended = true;
}

/* ---- the loop ---- */

static void take_signal(struct run *run, int signal_number)
{
    switch (signal_number) {
    case SIGCHLD:
        run_reap(run);
        break;
    case SIGTSTP:
        run_suspend(run);
        break;
    default:
        if (run->signal_got != 0) {
            run_kill_now(run); /* asked twice */
        }
        run->signal_got = signal_number;
        run_stop(run, STOP_NOW);
    }
}

static void read_signals(struct run *run)
{
    struct signalfd_siginfo infos[8];
    ssize_t n = read(run->signals, infos, sizeof(infos));

    for (ssize_t i = 0; i < n / (ssize_t)sizeof(infos[0]); i++) {
        take_signal(run, (int)infos[i].ssi_signo);
    }
}

/* Once an output takes nothing any more, nothing can be done for it. */
static void look_at_sinks(struct run *run)
{
    int failed = run->out.sinks[0].failed;

    if (failed == 0 || run->reader_gone || run->broken) {
        return;
    }
    run->reader_gone = failed == EPIPE;
    run->broken = !run->reader_gone;
    if (run->broken) {
        output_say(&run->out, "output cannot be written: %s", strerror(failed));
    }
    run_stop(run, STOP_NOW);
}

/* Printing has made room for jobs. */
static bool can_start(const struct run *run)
{
    return may_start(run) && run->held == NULL &&
           (run->again != NULL || (!run->input_ended && !run->input_waits));
}

static int ms_until(uint64_t at_ns)
{
    uint64_t now_ns = aurp_now_ns();
    uint64_t left = at_ns > now_ns ? (at_ns - now_ns) / 1000000 + 1 : 0;

    return left < 3600000 ? (int)left : 3600000;
}

static int wait_ms(struct run *run)
{
    uint64_t next_ns = run_time_limits(run);
    int ms = -1;

    if (run->out.more || can_start(run)) {
        return 0;
    }
    if (next_ns != 0) {
        ms = ms_until(next_ns);
    }
    if (run->held != NULL && run->gate_ns != 0 && run->stop == STOP_NOT) {
        int gate_ms = ms_until(run->gate_ns);
        ms = ms < 0 || gate_ms < ms ? gate_ms : ms;
    }
    if (run->opts->progress && (ms < 0 || ms > PROGRESS_MS)) {
        ms = PROGRESS_MS;
    }
    if (run->out.running_too && run->out.first != NULL && run->out.blocked < 0) {
        int look_ms = ms_until(run->out.look_ns);
        ms = ms < 0 || look_ms < ms ? look_ms : ms;
    }
    return ms;
}

static void wait_for_something(struct run *run)
{
    struct pollfd fds[3] = { { .fd = run->signals, .events = POLLIN } };
    nfds_t n = 1;

    if (run->input_waits && may_start(run)) {
        fds[n++] = (struct pollfd){ .fd = run->input.fd, .events = POLLIN };
    }
    if (run->out.blocked >= 0) {
        fds[n++] = (struct pollfd){ .fd = run->out.sinks[run->out.blocked].fd, .events = POLLOUT };
    }
    if (poll(fds, n, wait_ms(run)) > 0 && fds[0].revents != 0) {
        read_signals(run);
    }
}

/* Ended by a signal, we do not wait for a reader. */
static bool is_done(const struct run *run)
{
    return run->running == 0 && run->input_ended && run->again == NULL && run->held == NULL &&
           (output_is_empty(&run->out) || (run->signal_got != 0 && run->out.blocked >= 0));
}

static void loop(struct run *run)
{
    for (;;) {
        start_jobs(run);
        output_pump(&run->out);
        look_at_sinks(run);
        if (run->stop != STOP_NOT) {
            drop_unstarted(run);
            output_pump(&run->out);
        }
        if (is_done(run)) {
            progress_hide(run);
            return;
        }
        progress_show(run);
        wait_for_something(run);
    }
}

static int result(const struct run *run)
{
    if (run->signal_got != 0) {
        return -run->signal_got;
    }
    if (run->reader_gone) {
        return -SIGPIPE;
    }
    if (run->broken) {
        return EXIT_BROKEN;
    }
    return run->failed <= EXIT_FAILED_MAX ? (int)run->failed : EXIT_FAILED_MORE;
}

static void end(struct run *run)
{
    guardian_end(&run->guardian);
    while (run->out.first != NULL) {
        struct job *job = run->out.first;
        run->out.first = job->next;
        spill_close(&run->out.spills, &job->out[0]);
        spill_close(&run->out.spills, &job->out[1]);
        job->to_log = false;
        run_free_job(run, job);
    }
    joblog_close(&run->log);
    output_free(&run->out);
    template_free(&run->template);
    command_line_free(&run->line);
    input_free(&run->input);
    free(run->slots);
    if (run->starter.stack != NULL) {
        starter_free(&run->starter);
    }
    if (run->signals > 0) {
        close(run->signals);
    }
}

int map_run(const struct options *given)
{
    struct options opts = *given;
    struct run run = { 0 };
    int status = begin(&run, &opts);

    if (status == 0) {
        loop(&run);
        report_end(&run);
        (void)sink_flush(&run.out.sinks[1]);
        status = result(&run);
    }
    end(&run);
    return status;
}
