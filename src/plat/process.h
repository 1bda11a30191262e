/* plat/process.h: the port contract, part three: processes, what they pass each other, and the
 * descriptors that wake them.
 *
 * A process is named by a pidfd; a bare pid is used only by the parent that has not reaped it yet.
 * Every descriptor made here is close-on-exec and is never 0, 1 or 2, even if the host closed
 * those.  Functions that make a descriptor return it, or a negative errno; the other int functions
 * return 0 or an errno, unless they say otherwise. */
#ifndef AURI_PLAT_PROCESS_H
#define AURI_PLAT_PROCESS_H

#include <auriga/base.h>
#include <signal.h>
#include <sys/types.h>

/* ---- which file a descriptor names --------------------------------------------------------- */

/* In a process where somebody else's code closes and opens descriptors, a number may come to mean
 * another file.  Two files that exist at the same time never have the same identity, except those
 * without one of their own (eventfd, epoll, timerfd and the like). */
typedef struct aurp_file_id {
    uint64_t device;
    uint64_t inode; /* both 0: of no file */
} aurp_file_id;

aurp_file_id aurp_file_id_of(int fd);
/* Whether fd names that file now.  About 0.3 us. */
bool aurp_file_is(int fd, aurp_file_id id);

/* ---- descriptors that wake ----------------------------------------------------------------- */

/* An eventfd, initially 0, non-blocking.  ring adds 1 and never blocks; clear sets it to 0. */
int aurp_eventfd_new(void);
void aurp_eventfd_ring(int fd);
void aurp_eventfd_clear(int fd);

/* A bell whose other end can be given to processes that may lose it: unlike an eventfd it has an
 * identity, and ringing is done by a call that works on pipes only: no file or socket can take notice of
 * it, even if the number means one of those by then.  (Where a sandbox refuses that call it is a plain
 * write.)  ret_ends[0] is heard (readable once it was rung), ret_ends[1] is rung.  ring never blocks;
 * clear forgets all rings so far. */
int aurp_bell_new(int ret_ends[2]);
void aurp_bell_ring(int fd);
void aurp_bell_clear(int fd);

typedef struct aurp_ready {
    uint64_t token; /* what the descriptor was added with */
    bool hung_up;   /* the other end is gone; there may still be something to read */
} aurp_ready;

#define AURP_READY_MAX 64

/* Level-triggered epoll for reading.  wait fills at most max (<= AURP_READY_MAX) entries and
 * returns how many, 0 when the deadline has passed, or at any time: callers look at their own
 * state again. */
int aurp_epoll_new(void);
int aurp_epoll_add(int epoll, int fd, uint64_t token);
int aurp_epoll_remove(int epoll, int fd);
unsigned aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned max, aur_deadline deadline);

/* Blocks until fd can be read, its other end is gone, or the deadline passes: AUR_OK or
 * AUR_ETIMEDOUT (AUR_ESYS for a descriptor that cannot be waited for). */
aur_err aurp_fd_wait(int fd, aur_deadline deadline);

/* Becomes readable when a child of this process ends.  SIGCHLD must be blocked. */
int aurp_child_fd_new(void);
void aurp_child_fd_clear(int fd);

/* Blocks until at least one of n <= AURP_POLL_MAX descriptors is ready, or the time has passed.
 * timeout_ms -1: no limit. */
typedef struct aurp_poll {
    int fd;
    bool write; /* in: end the wait when there is room to write, too */
    bool ready; /* out: readable or hung up */
} aurp_poll;
#define AURP_POLL_MAX 4
void aurp_poll_wait(aurp_poll *polls, unsigned n, int timeout_ms);

/* ---- messages and descriptors between processes -------------------------------------------- */

#define AURP_FDS_MAX 8

/* A connected pair that keeps the borders of messages. */
int aurp_socketpair(int ret_fds[2]);
/* A pipe: ret_fds[0] is read, ret_fds[1] written. */
int aurp_pipe(int ret_fds[2]);

/* Sends one message with copies of n descriptors.  Never blocks, raises no SIGPIPE: EAGAIN if there
 * is no room, ETOOMANYREFS if too many descriptors are on their way, EPIPE or ECONNRESET if nobody
 * is there. */
int aurp_send(int fd, const void *data, size_t size, const int *fds, unsigned n);

/* Takes one message of exactly size bytes.  Descriptors beyond max are closed.  Never blocks.
 * EAGAIN: none waits; EPIPE: the other end is gone; EPROTO: a message of another size (its
 * descriptors are closed); EMFILE: the data is there, but this process has no room for the
 * descriptors, and *ret_n is 0. */
int aurp_receive(int fd, void *data, size_t size, int *ret_fds, unsigned max, unsigned *ret_n);

/* Makes every other copy of this socket useless too, also those in forked children. */
void aurp_hang_up(int socket);

/* Closes *fd unless it is negative, and makes it -1. */
void aurp_close(int *fd);

/* An inherited descriptor is not inherited further. */
void aurp_close_on_exec(int fd);

/* The same descriptor under a number >= least if the limit allows, else >= 3.  The old number is
 * closed.  Negative errno: nothing changed. */
int aurp_fd_lift(int fd, int least);

/* One more than the highest descriptor that is open now; 3 at least. */
int aurp_fd_end(void);

/* Closes every descriptor from 3 on that is not among the n (<= AURP_KEEP_MAX) of keep. */
#define AURP_KEEP_MAX 16
void aurp_close_except(const int *keep, unsigned n);

/* Makes stdin read from /dev/null. */
void aurp_stdin_null(void);

/* ---- processes ----------------------------------------------------------------------------- */

int aurp_pid(void);
int aurp_parent_pid(void);
int aurp_pidfd_open(int pid);
/* Blocks until the process has ended: AUR_OK or AUR_ETIMEDOUT. */
aur_err aurp_pidfd_wait(int pidfd, aur_deadline deadline);
int aurp_pidfd_kill(int pidfd, int signal);
/* Takes the status of a child that has ended, of any kind; nothing happens if it is nobody's, or
 * somebody took it already. */
void aurp_pidfd_reap(int pidfd);

/* Forks a child whose end sends no signal, so that wait() and waitpid(-1) do not see it.  Only for
 * a process with one thread: nothing is done for the locks that other threads may hold, and the C
 * library's note of the thread's id stays that of the parent.  The child must not use what depends
 * on that (recursive or error-checking mutexes); children that it makes with fork() are whole.
 * Returns the pid, 0 in the child, or a negative errno. */
int aurp_fork_hidden(void);

/* Waits for the end of a child of any kind and takes its status: true if there was such a child,
 * false if somebody else took it or it is not ours. */
bool aurp_reap(int pid, int *ret_status);

/* Takes one ended child of this process: its pid, or 0 if none has ended. */
int aurp_reap_any(int *ret_status, uint64_t *ret_maxrss_bytes);

void aurp_kill_child(int pid, int signal);

typedef struct aurp_program {
    const char *path; /* NULL: this program's own file */
    char *const *argv;
    char *const *envp;
    const int *fds; /* descriptors that it gets, under their numbers */
    unsigned n;
} aurp_program;

/* Executes a program in a new process, which is nobody's child for wait(): its parent is gone when
 * this returns.  It starts with stdin from /dev/null, with every signal blocked, and with no
 * descriptor but 0, 1, 2 and those of the program.  Safe with any number of threads, and its price
 * does not depend on the size of this process.  Returns 0 or an errno; ret_pidfd belongs to the
 * caller. */
int aurp_exec_hidden(const aurp_program *program, int *ret_pid, int *ret_pidfd);

/* The same as an ordinary child of a process with one thread. */
int aurp_exec_child(const aurp_program *program, int *ret_pid);

/* True if the program got rights by its file (setuid, capabilities): its environment is not to be
 * trusted then. */
bool aurp_secure_mode(void);

/* ---- this process -------------------------------------------------------------------------- */

void aurp_signals_block(sigset_t *ret_before);
void aurp_signals_restore(const sigset_t *before);
void aurp_signals_default(void);   /* every handler becomes the default one */
void aurp_signals_as_worker(void); /* terminal signals ignored, nothing blocked */

/* This process gets SIGKILL when the thread that made it ends.  Race: check the parent after. */
void aurp_die_with_parent(void);
void aurp_process_name(const char *name); /* 15 bytes used */
void aurp_core_none(void);
int aurp_private_memory_max(uint64_t bytes); /* RLIMIT_DATA: shared maps do not count */
void aurp_oom_first(int more); /* adds to the readiness of the kernel to kill this process */

/* Bytes of private memory that this process has touched (RssAnon), 0 if that cannot be told. */
uint64_t aurp_anon_bytes(void);

#endif /* AURI_PLAT_PROCESS_H */
