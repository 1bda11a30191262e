/* proc/image.h: fresh images of the running program that never reach its main().
 *
 * An image is a new process that executes the program's own file.  The environment variable
 * AURIGA_IMAGE_ tells a constructor of this library (the only one it has) to take over: it removes
 * the variable and runs a role instead of main().  In every other process the constructor sees no
 * variable and returns at once.
 *
 * What an image has: the host's argv[0], environment, working directory, stdout and stderr; stdin
 * reads from /dev/null.  What it lacks: everything that main() would have set up, and every
 * descriptor but its socket.  Roles that run the program's functions (workers, and nurseries, which
 * workers are forked from) start after the program's own initialisers (C++ objects, constructor
 * functions), all others before them.
 *
 * An image is possible only if the program brings this library along when it starts.  A program
 * that got it by dlopen(), such as an interpreter, would just run its main() again: that is found
 * out before anything is started. */
#ifndef AURI_PROC_IMAGE_H
#define AURI_PROC_IMAGE_H

#include <auriga/base.h>
#include <stdbool.h>

#define AURI_IMAGE_VARIABLE "AURIGA_IMAGE_"

/* An image that runs this is told to wait for its first message on the socket. */
typedef int auri_image_role(int socket_fd);

/* Starts an image that runs the role's function and ends with its result as exit status.
 *
 * role       a name from the table in image.c: "nursery", "committer"
 * socket_fd  stays the caller's; the image has it under the same number
 * *ret_pid, *ret_pidfd  the process, which is not a child of this one; the pidfd is the caller's
 *
 * Where this process is init (pid 1) or a "child subreaper", the kernel makes it the parent of
 * every orphan: there, and only there, wait() sees the image.
 * Threads: any.  Blocks: until the image has taken over (about 1 ms, and what initialisers take), at most 10 s.
 * Errors: AUR_ENOTSUP  the program does not start with this library; or it is setuid; or the image
 *                      did not take over
 *         AUR_ESTALE   the library's file was replaced since this program started
 *         AUR_EINVAL   no such role
 *         AUR_EAGAIN, AUR_ENOMEM, AUR_ESYS */
aur_err auri_image_start(const char *role, int socket_fd, int *ret_pid, int *ret_pidfd,
                         aur_diag *reterr_diag);

/* The same for a nursery, which is an image itself and has one thread: an ordinary child, and no
 * wait for its take-over.  Returns 0 or an errno. */
int auri_image_start_child(const char *role, int socket_fd, int *ret_pid);

/* What the variable says: "role socket ready-pipe build-id". */
typedef struct auri_image_order {
    const char *role; /* of the table in image.c */
    int socket_fd;    /* > 2 */
    int ready_fd;     /* another one; -1: nobody listens */
    bool stale;       /* this library is not the one that its maker has */
} auri_image_order;

#define AURI_IMAGE_ORDER_SIZE 112u /* of any that is written, with its zero */

/* Writes it; `stale` is not looked at. */
void auri_image_order_write(const auri_image_order *order, char text[AURI_IMAGE_ORDER_SIZE]);
/* Whether the text is one, whoever wrote it. */
bool auri_image_order_read(const char *text, auri_image_order *ret);

/* Exit status of an image whose library or function is not the one that its maker has. */
#define AURI_IMAGE_EXIT_STALE 119

#endif /* AURI_PROC_IMAGE_H */
