/* Both sides of an image: the maker, and the constructor that takes over. */
#include "proc/image.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "plat/plat.h"
#include "plat/process.h"
#include "proc/module.h"
#include "proc/zygote.h"
#include "wire/commit.h"

typedef struct role {
    const char *name;
    auri_image_role *run;
    bool runs_program; /* after the program's initialisers, not before */
} role;

/* Any address of this table stands for the module that this library is in. */
static const role roles[] = {
    { "nursery", auri_nursery_image, true },
    { "worker", auri_worker_image, true },
    { "committer", auri_committer_main, false },
};

static const role *role_named(const char *name)
{
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i].name, name) == 0) {
            return &roles[i];
        }
    }
    return NULL;
}

/* What the image says on its ready pipe once it has taken over. */
#define SAYS_READY 'r'
#define SAYS_STALE 's'

/* ---- the order ------------------------------------------------------------------------------ */

#define ID_TEXT_SIZE (2 * AURI_MODULE_ID_MAX + 1)
#define ROLE_SIZE 16
_Static_assert(AURI_IMAGE_ORDER_SIZE >= ROLE_SIZE + 2 * 12 + ID_TEXT_SIZE, "the longest order");

/* The build-id of the module that this library is in, in hex. */
static void own_id(char text[ID_TEXT_SIZE])
{
    auri_module_ref ref = { 0 };

    (void)auri_module_encode(&roles, false, &ref);
    for (unsigned i = 0; i < ref.id_size; i++) {
        snprintf(text + 2 * i, 3, "%02x", ref.id[i]);
    }
    text[2 * ref.id_size] = '\0';
}

void auri_image_order_write(const auri_image_order *order, char text[AURI_IMAGE_ORDER_SIZE])
{
    char id[ID_TEXT_SIZE];

    own_id(id);
    snprintf(text, AURI_IMAGE_ORDER_SIZE, "%s %d %d %s", order->role, order->socket_fd,
             order->ready_fd, id);
}

/* A descriptor, or -1; -2: it is neither. */
static int read_fd(const char *word)
{
    char *end;

    errno = 0;
    long fd = strtol(word, &end, 10);
    return *word != '\0' && *end == '\0' && errno == 0 && fd >= -1 && fd <= INT32_MAX ? (int)fd
                                                                                      : -2;
}

bool auri_image_order_read(const char *text, auri_image_order *ret)
{
    char name[ROLE_SIZE];
    char fds[2][12];
    char id[ID_TEXT_SIZE] = "";
    char mine[ID_TEXT_SIZE];

    _Static_assert(ID_TEXT_SIZE == 65 && ROLE_SIZE == 16, "the widths in the format below");
    if (sscanf(text, "%15s %11s %11s %64s", name, fds[0], fds[1], id) < 3) {
        return false;
    }
    const role *r = role_named(name);
    *ret = (auri_image_order){ .role = r != NULL ? r->name : NULL,
                               .socket_fd = read_fd(fds[0]),
                               .ready_fd = read_fd(fds[1]) };
    own_id(mine);
    ret->stale = strcmp(id, mine) != 0;
    return r != NULL && ret->socket_fd > 2 &&
           (ret->ready_fd == -1 || (ret->ready_fd > 2 && ret->ready_fd != ret->socket_fd));
}

/* ---- the maker ------------------------------------------------------------------------------ */

/* What an image is executed with; freed with free(). */
typedef struct launch {
    char order[sizeof(AURI_IMAGE_VARIABLE) + AURI_IMAGE_ORDER_SIZE];
    char *argv[2];
    char *envp[]; /* the host's, and the order */
} launch;

static launch *launch_new(const role *r, int socket_fd, int ready_fd)
{
    const auri_image_order order = { .role = r->name,
                                     .socket_fd = socket_fd,
                                     .ready_fd = ready_fd };
    size_t count = 0;

    while (environ != NULL && environ[count] != NULL) {
        count++;
    }
    launch *l = malloc(sizeof(*l) + (count + 2) * sizeof(l->envp[0]));
    if (l == NULL) {
        return NULL;
    }
    memcpy(l->order, AURI_IMAGE_VARIABLE "=", sizeof(AURI_IMAGE_VARIABLE));
    auri_image_order_write(&order, l->order + sizeof(AURI_IMAGE_VARIABLE));
    l->argv[0] = program_invocation_name;
    l->argv[1] = NULL;
    l->envp[0] = l->order;
    for (size_t i = 0; i < count; i++) {
        l->envp[i + 1] = environ[i];
    }
    l->envp[count + 1] = NULL;
    return l;
}

static aur_err refuse(aur_diag *diag, const char *why)
{
    return auri_diag(diag, AUR_ENOTSUP, 0, "start of a fresh image", "%s; use AUR_START_FORK", why);
}

/* Sure signs that an image would run main(): better known before it does. */
static aur_err can_take_over(aur_diag *diag)
{
    if (aurp_secure_mode()) {
        return refuse(diag, "a setuid program does not trust its environment, so that fresh "
                            "images of it cannot be told what to do");
    }
    if (!auri_module_at_start(&roles)) {
        return refuse(diag, "this program did not start with libauriga but loaded it later, so "
                            "that a fresh image of it would run its main() again");
    }
    return AUR_OK;
}

/* Long enough for a loaded machine: a program that cannot be taken over mostly ends at once. */
#define TAKE_OVER_NS 10000000000u

/* Waits for the image's word on the pipe. */
static aur_err taken_over(int ready_fd, aur_diag *diag)
{
    AURP_UNCANCELLED;
    char word = 0;

    if (aurp_fd_wait(ready_fd, aurp_now_ns() + TAKE_OVER_NS) == AUR_OK &&
        read(ready_fd, &word, 1) != 1) {
        word = 0;
    }
    if (word == SAYS_READY) {
        return AUR_OK;
    }
    if (word == SAYS_STALE) {
        return auri_diag(diag, AUR_ESTALE, 0, "start of a fresh image",
                         "the file of libauriga was replaced since this program started");
    }
    return refuse(diag, "a fresh image of this program ended, or went on, without reaching "
                        "libauriga's constructor");
}

static aur_err launch_hidden(const role *r, int socket_fd, int ready_fd, int *ret_pid,
                             int *ret_pidfd, aur_diag *diag)
{
    int fds[2] = { socket_fd, ready_fd };
    launch *l = launch_new(r, socket_fd, ready_fd);

    if (l == NULL) {
        return auri_diag(diag, AUR_ENOMEM, ENOMEM, "malloc", "no memory to start an image");
    }
    aurp_program program = { .argv = l->argv, .envp = l->envp, .fds = fds, .n = 2 };
    int failed = aurp_exec_hidden(&program, ret_pid, ret_pidfd);
    free(l);
    if (failed != 0) {
        return auri_diag(diag, auri_err_of_errno(failed), failed, "exec of /proc/self/exe",
                         "a fresh image of this program could not be started");
    }
    return AUR_OK;
}

aur_err auri_image_start(const char *role_name, int socket_fd, int *ret_pid, int *ret_pidfd,
                         aur_diag *reterr_diag)
{
    const role *r = role_named(role_name);
    int ready[2];
    int pid;
    int pidfd;

    if (r == NULL) {
        return auri_diag(reterr_diag, AUR_EINVAL, 0, "role", "there is no role '%s'", role_name);
    }
    aur_err err = can_take_over(reterr_diag);
    if (err != AUR_OK) {
        return err;
    }
    int failed = aurp_pipe(ready);
    if (failed != 0) {
        return auri_diag(reterr_diag, auri_err_of_errno(failed), failed, "pipe2", "no pipe");
    }
    err = launch_hidden(r, socket_fd, ready[1], &pid, &pidfd, reterr_diag);
    aurp_close(&ready[1]); /* the last copy is the image's: its end ends the wait */
    if (err == AUR_OK) {
        err = taken_over(ready[0], reterr_diag);
        if (err == AUR_OK) {
            *ret_pid = pid;
            *ret_pidfd = pidfd;
        } else {
            aurp_pidfd_kill(pidfd, SIGKILL);
            aurp_close(&pidfd);
        }
    }
    aurp_close(&ready[0]);
    return err;
}

int auri_image_start_child(const char *role_name, int socket_fd, int *ret_pid)
{
    launch *l = launch_new(role_named(role_name), socket_fd, -1);

    if (l == NULL) {
        return ENOMEM;
    }
    aurp_program program = { .argv = l->argv, .envp = l->envp, .fds = &socket_fd, .n = 1 };
    int failed = aurp_exec_child(&program, ret_pid);
    free(l);
    return failed;
}

/* ---- the image ------------------------------------------------------------------------------ */

/* Reads the variable.  secure_getenv: nobody may make a setuid program run functions by handing it
 * a socket and this variable. */
static bool read_order(auri_image_order *ret)
{
    const char *text = secure_getenv(AURI_IMAGE_VARIABLE);

    return text != NULL && auri_image_order_read(text, ret);
}

/* Instead of main().  Nothing that the program may have opened in its initialisers is kept. */
static _Noreturn void run(const auri_image_order *o)
{
    int keep[2] = { o->socket_fd, o->ready_fd };
    char word = o->stale ? SAYS_STALE : SAYS_READY;

    unsetenv(AURI_IMAGE_VARIABLE);
    aurp_close_except(keep, o->ready_fd >= 0 ? 2 : 1);
    aurp_close_on_exec(o->socket_fd);
    if (o->ready_fd >= 0) {
        if (write(o->ready_fd, &word, 1) != 1) {
            _exit(AURI_IMAGE_EXIT_STALE); /* the maker is gone */
        }
        close(o->ready_fd);
    }
    if (o->stale) {
        _exit(AURI_IMAGE_EXIT_STALE);
    }
    int status = role_named(o->role)->run(o->socket_fd);
    fflush(NULL);
    _exit(status);
}

typedef struct initialisers {
    void (*init)(int argc, char **argv, char **envp);
    void (**list)(int argc, char **argv, char **envp);
    size_t count;
} initialisers;

static int find_initialisers(struct dl_phdr_info *info, size_t size, void *ctx)
{
    initialisers *found = ctx;
    const ElfW(Dyn) *d = NULL;

    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            d = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        }
    }
    for (; d != NULL && d->d_tag != DT_NULL; d++) {
        uintptr_t at = info->dlpi_addr + d->d_un.d_ptr;
        switch (d->d_tag) {
        case DT_INIT:
            memcpy(&found->init, &at, sizeof(at));
            break;
        case DT_INIT_ARRAY:
            memcpy(&found->list, &at, sizeof(at));
            break;
        case DT_INIT_ARRAYSZ:
            found->count = d->d_un.d_val / sizeof(at);
            break;
        default:
            break;
        }
    }
    return 1; /* the first module is the program */
}

/* Does what the C library does between the initialisers of all libraries and main(): runs those of
 * the program.  Needed where this library is a shared one, whose constructor runs before them. */
static void run_initialisers(int argc, char **argv, char **envp)
{
    initialisers found = { 0 };

    dl_iterate_phdr(find_initialisers, &found);
    if (found.init != NULL) {
        found.init(argc, argv, envp);
    }
    for (size_t i = 0; i < found.count; i++) {
        found.list[i](argc, argv, envp);
    }
}

static bool is_in_program(void)
{
    char path[AURI_MODULE_PATH_MAX];

    return auri_module_path(&roles, path, sizeof(path)) == AUR_OK && path[0] == '\0';
}

/* The numbered constructor comes before those of the program if this library is linked into it;
 * the unnumbered one after them, since archives are linked after the program's objects. */
__attribute__((constructor(101))) static void take_over_early(void)
{
    auri_image_order o;

    if (getenv(AURI_IMAGE_VARIABLE) == NULL || !read_order(&o)) {
        return;
    }
    if (!role_named(o.role)->runs_program) {
        run(&o);
    }
    aurp_close_on_exec(o.socket_fd); /* not for processes that an initialiser may start */
}

__attribute__((constructor)) static void take_over_late(int argc, char **argv, char **envp)
{
    auri_image_order o;

    if (getenv(AURI_IMAGE_VARIABLE) == NULL || !read_order(&o)) {
        return;
    }
    if (!is_in_program()) {
        unsetenv(AURI_IMAGE_VARIABLE); /* or an initialiser's child would take over, too */
        run_initialisers(argc, argv, envp);
    }
    run(&o);
}
