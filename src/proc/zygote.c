/* The nursery process.  Three things wake it: a request of the host, the end of a worker, the end
 * of the host.  It never waits for anything else: what it owes the host stays in its table until
 * the socket has room, so that a host which does not read its events cannot make it deaf. */
#include "proc/zygote.h"

#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plat/plat.h"
#include "plat/process.h"
#include "proc/image.h"

/* A worker, or a request that failed: a line of the table until the host has heard all about it. */
typedef struct child {
    uint32_t slot;
    uint64_t epoch;
    int pid;    /* 0: never came to life */
    bool alive; /* not reaped: only then pid is surely still this worker */
    int pidfd;  /* >= 0 as long as STARTED is owed */
    bool owes_started;
    bool owes_end; /* EXITED, or FAILED if pid is 0 */
    int status;    /* wait status; FAILED: errno */
    uint64_t maxrss_bytes;
} child;

typedef struct zygote {
    auri_zygote_start start;
    int pid;
    int child_fd; /* readable when a worker has ended */
    int fd_base;  /* numbers from here on were never in use in the host */
    child *list;
    unsigned count;
    unsigned room;
    bool crowded; /* too many descriptors under way: try again soon */
    bool leaving; /* the last call: ends once no worker is left */
} zygote;

/* What a spawned worker is told by its nursery, together with its descriptors. */
typedef struct worker_order {
    auri_zygote_setup setup;
    uint64_t epoch;
    uint32_t slot;
    int32_t parent_pid;
} worker_order;

/* ---- the worker ----------------------------------------------------------------------------- */

/* "name-role" or "name-role-3" in 15 bytes, at the cost of the name. */
static void set_name(const char *prefix, const char *role, const unsigned *slot)
{
    char tail[16];
    char name[48];

    snprintf(tail, sizeof(tail), slot != NULL ? "-%s-%u" : "-%s", role, slot != NULL ? *slot : 0);
    snprintf(name, sizeof(name), "%.*s%s", 15 - (int)strlen(tail), prefix, tail);
    aurp_process_name(name);
}

/* Makes the calling process a worker and runs it. */
static _Noreturn void live_as_worker(const worker_order *order, auri_worker_fn *worker_main,
                                     void *ctx, const int *fds, unsigned n)
{
    unsigned slot = order->slot;

    aurp_die_with_parent();
    if (aurp_parent_pid() != order->parent_pid) {
        _exit(1); /* it died before the kernel knew that we want to follow it */
    }
    set_name(order->setup.name, "worker", &slot);
    aurp_core_none();
    aurp_oom_first(300);
    if (!order->setup.keep_fds) {
        aurp_close_except(fds, n);
    }
    aurp_stdin_null();
    if (order->setup.memory_max_bytes != 0) {
        (void)aurp_private_memory_max(order->setup.memory_max_bytes);
    }
    aurp_signals_as_worker();
    int status = worker_main(ctx, slot, order->epoch, fds, n);
    fflush(NULL); /* its own output: what it inherited was empty, see auri_nursery_new() */
    _exit(status);
}

int auri_worker_image(int socket_fd)
{
    worker_order order;
    int fds[AURP_FDS_MAX];
    unsigned n = 0;
    const void *addr = NULL;
    auri_worker_fn *worker_main;

    if (aurp_fd_wait(socket_fd, AUR_NO_DEADLINE) != AUR_OK ||
        aurp_receive(socket_fd, &order, sizeof(order), fds, AURP_FDS_MAX, &n) != 0) {
        return 1; /* the nursery is gone */
    }
    if (auri_module_decode(&order.setup.worker_main, NULL, &addr) != AUR_OK) {
        return AURI_IMAGE_EXIT_STALE;
    }
    memcpy(&worker_main, &addr, sizeof(worker_main));
    aurp_signals_default(); /* as in a forked one: initialisers may have set handlers */
    live_as_worker(&order, worker_main, NULL, fds, n);
}

/* ---- making workers ------------------------------------------------------------------------- */

static worker_order order_of(const zygote *z, const auri_zygote_message *request)
{
    return (worker_order){ .setup = z->start.setup,
                           .epoch = request->epoch,
                           .slot = request->slot,
                           .parent_pid = z->pid };
}

/* In a forked worker: the nursery's own descriptors are not a worker's business, and a copy of its
 * socket would hide its death from the host. */
static void leave_nursery(zygote *z)
{
    aurp_close(&z->start.socket);
    aurp_close(&z->start.host_pidfd);
    aurp_close(&z->child_fd);
    for (unsigned i = 0; i < z->count; i++) {
        aurp_close(&z->list[i].pidfd);
    }
}

/* glibc's fork(), not a bare system call: the worker must know its own thread id, and the host's
 * at-fork handlers must run in it.  Returns 0 or an errno. */
static int fork_worker(zygote *z, const auri_zygote_message *request, const int *fds, unsigned n,
                       int *ret_pid)
{
    worker_order order = order_of(z, request);
    int pid = (int)fork();

    if (pid == 0) {
        aurp_yield(); /* the next worker is made, and the host told, before this one takes the CPU */
        leave_nursery(z);
        live_as_worker(&order, z->start.worker_main, z->start.ctx, fds, n);
    }
    *ret_pid = pid;
    return pid < 0 ? errno : 0;
}

/* The order waits in the worker's socket until its image has taken over.  Returns 0 or an errno. */
static int spawn_worker(zygote *z, const auri_zygote_message *request, const int *fds, unsigned n,
                        int *ret_pid)
{
    worker_order order = order_of(z, request);
    int pair[2];

    int failed = aurp_socketpair(pair);
    if (failed != 0) {
        return failed;
    }
    failed = aurp_send(pair[0], &order, sizeof(order), fds, n);
    if (failed == 0) {
        failed = auri_image_start_child("worker", pair[1], ret_pid);
    }
    aurp_close(&pair[0]); /* what was sent stays readable */
    aurp_close(&pair[1]);
    return failed;
}

/* A place for one more line; without memory for it the nursery cannot go on. */
static child *add_child(zygote *z, const auri_zygote_message *request)
{
    if (z->count == z->room) {
        unsigned room = z->room == 0 ? 64 : z->room * 2;
        child *list = realloc(z->list, room * sizeof(*list));
        if (list == NULL) {
            return NULL;
        }
        z->list = list;
        z->room = room;
    }
    child *c = &z->list[z->count++];
    *c = (child){ .slot = request->slot, .epoch = request->epoch, .pidfd = -1 };
    return c;
}

/* The pidfd is opened before anything can reap the worker, so it names the right process. */
static void bear(zygote *z, child *c, const auri_zygote_message *request, const int *fds,
                 unsigned n)
{
    int pid = 0;
    int failed = z->start.worker_main != NULL ? fork_worker(z, request, fds, n, &pid)
                                              : spawn_worker(z, request, fds, n, &pid);

    if (failed == 0) {
        c->pidfd = aurp_pidfd_open(pid);
        if (c->pidfd < 0) {
            failed = -c->pidfd;
            aurp_kill_child(pid, SIGKILL);
            aurp_reap(pid, NULL);
        }
    }
    if (failed != 0) {
        c->status = failed;
        c->owes_end = true;
        return;
    }
    c->pid = pid;
    c->alive = true;
    c->owes_started = true;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Takes all workers along.  The host, if there is one, waits for our end and then knows that they
 * are gone. */
static _Noreturn void finish(zygote *z)
{
    for (unsigned i = 0; i < z->count; i++) {
        if (z->list[i].alive) {
            aurp_kill_child(z->list[i].pid, SIGKILL);
        }
    }
    for (unsigned i = 0; i < z->count; i++) {
        if (z->list[i].alive) {
            aurp_reap(z->list[i].pid, NULL);
        }
    }
    _exit(0);
}

/* Takes the statuses of all workers that have ended. */
static void note_ends(zygote *z)
{
    int status = 0;
    uint64_t maxrss = 0;
    int pid;

    aurp_child_fd_clear(z->child_fd); /* first: an end after the loop makes it readable again */
    while ((pid = aurp_reap_any(&status, &maxrss)) != 0) {
        for (unsigned i = 0; i < z->count; i++) {
            child *c = &z->list[i];
            if (c->alive && c->pid == pid) {
                c->alive = false;
                c->status = status;
                c->maxrss_bytes = maxrss;
                c->owes_end = true;
            }
        }
    }
}

/* ---- talking to the host -------------------------------------------------------------------- */

static void kill_unwanted(zygote *z, const auri_zygote_message *message)
{
    for (unsigned i = 0; i < z->count; i++) {
        child *c = &z->list[i];
        if (c->alive && c->slot == message->slot && c->epoch == message->epoch) {
            aurp_kill_child(c->pid, SIGKILL);
        }
    }
}

/* Moves received descriptors out of the range of numbers that the host had in use: a stale FILE or
 * number that the program still holds in the worker must not reach them. */
static void lift_all(const zygote *z, int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int lifted = aurp_fd_lift(fds[i], z->fd_base);
        fds[i] = lifted >= 0 ? lifted : fds[i];
    }
}

/* All that wait.  After each the descriptors are closed here: the worker has its own copies. */
static void take_requests(zygote *z)
{
    for (;;) {
        auri_zygote_message message;
        int fds[AURP_FDS_MAX];
        unsigned n = 0;

        int failed =
            aurp_receive(z->start.socket, &message, sizeof(message), fds, AURP_FDS_MAX, &n);
        if (failed == EAGAIN) {
            return;
        }
        if (failed != 0 && failed != EMFILE) {
            finish(z); /* the host hung up, or something else writes to our socket */
        }
        if (message.kind == AURI_ZYGOTE_KILL) {
            kill_unwanted(z, &message);
            continue;
        }
        if (message.kind == AURI_ZYGOTE_LAST_CALL) {
            z->leaving = true;
            continue;
        }
        child *c = add_child(z, &message);
        if (c == NULL) {
            finish(z);
        }
        if (failed != 0) {
            c->status = failed;
            c->owes_end = true;
            continue;
        }
        lift_all(z, fds, n);
        bear(z, c, &message, fds, n);
        for (unsigned i = 0; i < n; i++) {
            aurp_close(&fds[i]);
        }
    }
}

/* Sends what is owed about one worker; false if there is no room now. */
static bool report(zygote *z, child *c)
{
    auri_zygote_message message = { .slot = c->slot, .epoch = c->epoch, .pid = c->pid };

    if (c->owes_started) {
        message.kind = AURI_NURSERY_STARTED;
        int failed = aurp_send(z->start.socket, &message, sizeof(message), &c->pidfd, 1);
        z->crowded = failed == ETOOMANYREFS;
        if (failed != 0) {
            return false;
        }
        c->owes_started = false;
        aurp_close(&c->pidfd);
    }
    if (c->owes_end) {
        message.kind = c->pid != 0 ? AURI_NURSERY_EXITED : AURI_NURSERY_FAILED;
        message.status = c->status;
        message.maxrss_bytes = c->maxrss_bytes;
        if (aurp_send(z->start.socket, &message, sizeof(message), NULL, 0) != 0) {
            return false;
        }
        c->owes_end = false;
    }
    return true;
}

/* True if something is still owed.  Lines that nothing more can be said about are dropped. */
static bool report_all(zygote *z)
{
    unsigned i = 0;

    z->crowded = false;
    while (i < z->count) {
        child *c = &z->list[i];
        if (!report(z, c)) {
            return true;
        }
        if (c->alive) {
            i++;
        } else {
            *c = z->list[--z->count];
        }
    }
    return false;
}

/* For ever: say what is owed, sleep, hear what is new. */
static _Noreturn void serve(zygote *z)
{
    for (;;) {
        bool owing = report_all(z);
        if (z->leaving && z->count == 0) {
            _exit(0); /* the socket keeps what the host has not read yet */
        }
        aurp_poll polls[3] = {
            /* Where descriptors under way are the limit there is room to write: wait for time. */
            { .fd = z->start.socket, .write = owing && !z->crowded },
            { .fd = z->start.host_pidfd },
            { .fd = z->child_fd },
        };
        aurp_poll_wait(polls, 3, z->crowded ? 1 : -1);
        if (polls[1].ready) {
            finish(z);
        }
        if (polls[2].ready) {
            note_ends(z);
        }
        if (polls[0].ready) {
            take_requests(z);
        }
    }
}

/* ---- the start ------------------------------------------------------------------------------ */

/* Tells the host that the nursery is there, or which step of its start failed. */
static void say_hello(zygote *z)
{
    auri_zygote_message hello = { .kind = AURI_ZYGOTE_HELLO, .pid = z->pid };
    int pidfd = aurp_pidfd_open(z->pid);

    if (pidfd < 0 || z->child_fd < 0) {
        hello.status = pidfd < 0 ? -pidfd : -z->child_fd;
        (void)aurp_send(z->start.socket, &hello, sizeof(hello), NULL, 0);
        _exit(1);
    }
    if (aurp_send(z->start.socket, &hello, sizeof(hello), &pidfd, 1) != 0) {
        _exit(1); /* nobody listens */
    }
    aurp_close(&pidfd);
}

/* Drops what the host's other threads may have put into stdio's buffers since they were flushed,
 * and what it had read ahead: both are the host's. */
static void forget_stdio(void)
{
    __fpurge(stdin);
    __fpurge(stdout);
    __fpurge(stderr);
}

_Noreturn void auri_zygote_run(const auri_zygote_start *start)
{
    zygote z = { .start = *start, .pid = aurp_pid() };
    int keep[2];

    /* A SIGCHLD that the host ignores would hide the statuses; and workers inherit this. */
    aurp_signals_default();
    set_name(start->setup.name, "zygote", NULL);
    z.fd_base = aurp_fd_end();
    lift_all(&z, &z.start.socket, 1);
    lift_all(&z, &z.start.host_pidfd, 1);
    keep[0] = z.start.socket;
    keep[1] = z.start.host_pidfd;
    if (!start->setup.keep_fds) {
        aurp_close_except(keep, 2);
    }
    forget_stdio();
    z.child_fd = aurp_child_fd_new();
    if (z.child_fd >= 0) {
        lift_all(&z, &z.child_fd, 1);
    }
    say_hello(&z);
    serve(&z);
}

/* decode: what workers run is named in the setup.  Without worker_main, and if it cannot be found here, they
 * are images. */
static void hear(int socket_fd, auri_worker_fn *worker_main, bool decode)
{
    const void *addr = NULL;
    auri_zygote_start start = { .socket = socket_fd, .host_pidfd = -1, .worker_main = worker_main };
    sigset_t before;
    unsigned n = 0;

    aurp_signals_block(&before);
    if (aurp_fd_wait(socket_fd, AUR_NO_DEADLINE) == AUR_OK &&
        aurp_receive(socket_fd, &start.setup, sizeof(start.setup), &start.host_pidfd, 1, &n) == 0 &&
        n == 1) {
        if (decode && auri_module_decode(&start.setup.worker_main, NULL, &addr) == AUR_OK) {
            memcpy(&start.worker_main, &addr, sizeof(addr));
        }
        auri_zygote_run(&start);
    }
    aurp_signals_restore(&before);
}

void auri_zygote_hear(int socket_fd, auri_worker_fn *worker_main)
{
    hear(socket_fd, worker_main, false);
}

/* Its workers are forks, which share no more with the host than images would, and save a start of the program
 * each.  Unless an initialiser of the program has started a thread: forks would lack it, and could copy a lock
 * that it holds.  Then they are images. */
int auri_nursery_image(int socket_fd)
{
    hear(socket_fd, NULL, aurp_thread_count() == 1);
    return 1; /* the host is gone */
}
