/* proc/nursery.h: the birth and death of worker processes, seen by the host.
 *
 * A nursery is the small single-threaded helper process of one pool.  It makes all workers and
 * every replacement, is their parent, and reports their ends, so that the host has no ordinary
 * child: its wait() finds nothing, and its SIGCHLD may be ignored or handled as it likes.
 *
 *     host ----- socket: requests ----> nursery ---- fork, rarely exec of the program ---> workers
 *          <---- STARTED + pidfd, FAILED, EXITED ---
 *
 * Who dies with whom: workers with the nursery (the kernel kills them), the nursery and so the
 * workers with the host (the nursery watches the host's pidfd and the socket).  A dead nursery
 * cannot be replaced under AUR_START_FORK: what it was a copy of is gone.
 *
 * A worker starts with: default signal handlers and no signal blocked, except that it ignores
 * SIGINT and SIGQUIT, since what is typed at a terminal is the host's to answer; stdin from
 * /dev/null, the host's stdout and stderr, its own descriptors, nothing else open; no core dumps;
 * 300 points more likely than the host to be killed when memory runs out; the name "aur-worker-3".
 *
 * Where this process is init (pid 1) or a "child subreaper", every orphan is its child by law of
 * the kernel: there wait() sees the nursery of a spawn start, or of a fork start beside other
 * threads.
 *
 * A nursery object is for one thread at a time but where it says so, and for the process that made it. */
#ifndef AURI_PROC_NURSERY_H
#define AURI_PROC_NURSERY_H

#include <auriga/base.h>
#include <auriga/pool.h>

/* A worker's life.  Its result is the exit status; stdio is flushed after it, and no other exit
 * handler runs.
 *
 * fds  what the request gave, in that order, under other numbers, close-on-exec; its own */
typedef int auri_worker_fn(void *ctx, unsigned slot, uint64_t epoch, const int *fds, unsigned nfds);

typedef struct auri_nursery_options {
    int start; /* AUR_START_FORK, AUR_START_SPAWN or AUR_START_EXEC */
    auri_worker_fn *worker_main;
    void *ctx;                    /* given to worker_main; must be NULL unless forked */
    bool keep_fds;                /* AUR_START_FORK: AUR_POOL_KEEP_FDS */
    const char *const *exec_argv; /* AUR_START_EXEC: as in aur_options */
    const int *exec_fds;
    unsigned exec_fds_n;
    uint64_t memory_max_bytes; /* private memory of each worker, 0: no limit */
    const char *name;          /* prefix of process names, NULL: "aur" */
} auri_nursery_options;

typedef struct auri_nursery auri_nursery;

enum {
    AURI_NURSERY_STARTED = 1,
    AURI_NURSERY_FAILED = 2, /* no worker came to life for this request */
    AURI_NURSERY_EXITED = 3,
};

typedef struct auri_nursery_event {
    int kind; /* AURI_NURSERY_* */
    unsigned slot;
    uint64_t epoch;
    int pid;               /* STARTED, EXITED */
    int pidfd;             /* STARTED: the receiver's; else -1 */
    int sys_errno;         /* FAILED */
    int status;            /* EXITED: as by waitpid() */
    uint64_t maxrss_bytes; /* EXITED: peak of its memory */
} auri_nursery_event;

/* Requests that may wait for their answer (STARTED or FAILED).  64 requests with 8 descriptors each
 * stay below the usual limit of 1024 descriptors under way. */
#define AURI_NURSERY_REQUESTS_MAX 64

/* Starts the nursery; it has no workers yet.  It comes to life while the caller goes on: requests may be
 * made at once, and auri_nursery_hello() must be called before events are taken.
 *
 * AUR_START_FORK copies the calling thread and nothing of the others: it is the caller's business
 * whether that is safe.  Buffered output is written first.
 * Blocks: while this process is copied (0.1 ms and 10 to 20 ms per GiB of it); spawn: until the image
 *         has taken over (about 1 ms).
 * Errors: AUR_EINVAL    bad start, no worker_main, spawn with a ctx
 *         AUR_ENOTSUP, AUR_ESTALE  spawn: see auri_image_start(), AUR_ENOFUNC: worker_main is in no
 *                       module
 *         AUR_EAGAIN, AUR_ENOMEM, AUR_ESYS */
aur_err auri_nursery_new(const auri_nursery_options *opts, auri_nursery **ret_nursery,
                         aur_diag *reterr_diag);

/* Once: whether it came to life.  After an error it can only be freed.
 * Blocks: until it says hello, or is dead (0.2 ms from its start).
 * Errors: AUR_EAGAIN, AUR_ENOMEM, AUR_ESYS */
aur_err auri_nursery_hello(auri_nursery *nursery, aur_diag *reterr_diag);

/* Asks for one worker, which gets copies of at most 8 descriptors; the caller keeps its own.  It
 * may close them at once.  The answer is an event.
 * Blocks: never.
 * Errors: AUR_EINVAL  more than 8; AUR_EBROKEN  the nursery is dead
 *         AUR_EAGAIN  AURI_NURSERY_REQUESTS_MAX are unanswered, or the kernel has no room: take
 *                     events, then ask again
 *         AUR_ESYS    a bad descriptor */
aur_err auri_nursery_request(auri_nursery *nursery, unsigned slot, uint64_t epoch, const int *fds,
                             unsigned nfds);

/* For epoll: readable when an event waits or the nursery is dead. */
int auri_nursery_fd(const auri_nursery *nursery);

/* The next event.  The events of one worker come in order; its EXITED comes a moment after its
 * pidfd has become readable.  A FAILED with EMFILE may be followed by an EXITED of the same epoch:
 * this process had no room for the pidfd, and the worker is killed.
 * Blocks: never.  Errors: AUR_EPENDING none; AUR_EBROKEN none, and the nursery is dead. */
aur_err auri_nursery_next(auri_nursery *nursery, auri_nursery_event *ret_event);

/* Blocks: until auri_nursery_next() has something to say, to deadline (AUR_ETIMEDOUT). */
aur_err auri_nursery_wait(auri_nursery *nursery, aur_deadline deadline);

/* Has a worker killed by its parent, the nursery: by a host that may not, since it has given up its rights or a sandbox
 * refuses the call.  Threads: any, beside all of these but free.  Blocks: never. */
void auri_nursery_kill(auri_nursery *nursery, unsigned slot, uint64_t epoch);

/* No request will follow: it ends by itself once its last worker has ended and all is reported.
 * Blocks: never. */
void auri_nursery_last_call(auri_nursery *nursery);

/* Kills all workers and the nursery.  In a forked child of the host it only closes descriptors.
 * Blocks: until all have ended: about a millisecond, and 20 ms per GiB that they had. */
auri_nursery *auri_nursery_free(auri_nursery *nursery); /* NULL allowed, returns NULL */

/* ---- what speaks for or against a fork ------------------------------------------------------ */

/* Threads of this process beyond the calling one and the library's own.  Threads that are just ending
 * do not count.
 * Blocks: if there are some, until no thread of the library has ended for two seconds. */
unsigned auri_foreign_threads(void);

/* Private memory of this process in bytes, 0 if unknown.  Each fork from it costs about 20 ms per
 * GiB, and so does each page (4 KiB) that the host writes later: 7 to 14 us. */
uint64_t auri_parent_anon_bytes(void);

#endif /* AURI_PROC_NURSERY_H */
