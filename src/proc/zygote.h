/* proc/zygote.h: the inside of a nursery process, and what it and the host say to each other.
 *
 * One socket that keeps messages apart.  Host to nursery: SETUP (spawn only, once), REQUEST, KILL, LAST_CALL.
 * Nursery to host: HELLO (once, with the nursery's pidfd), then events.  Both sides run the same
 * library, so the structures go as they are. */
#ifndef AURI_PROC_ZYGOTE_H
#define AURI_PROC_ZYGOTE_H

#include "proc/module.h"
#include "proc/nursery.h"

enum {
    AURI_ZYGOTE_HELLO = 16, /* next to AURI_NURSERY_*; status: errno if there is no nursery */
    AURI_ZYGOTE_REQUEST,    /* with the worker's descriptors */
    AURI_ZYGOTE_KILL,       /* the worker of (slot, epoch) is to be killed */
    AURI_ZYGOTE_LAST_CALL,  /* no request will follow: the nursery ends with its last worker */
};

typedef struct auri_zygote_message {
    uint32_t kind;
    uint32_t slot;
    uint64_t epoch;
    int32_t pid;
    int32_t status; /* EXITED: wait status; FAILED, HELLO: errno */
    uint64_t maxrss_bytes;
} auri_zygote_message;

/* What all workers of a nursery have in common; also the SETUP message, with the host's pidfd. */
typedef struct auri_zygote_setup {
    uint64_t memory_max_bytes;
    char name[16];
    auri_module_ref worker_main; /* spawn only */
    bool keep_fds;               /* the nursery and its workers keep what they inherited */
} auri_zygote_setup;

/* What the caller of auri_zygote_run() hands over. */
typedef struct auri_zygote_start {
    auri_zygote_setup setup;
    int socket;
    int host_pidfd;
    auri_worker_fn *worker_main; /* NULL: workers are images of their own */
    void *ctx;
} auri_zygote_start;

/* The whole life of a nursery process, entered with all signals blocked; closes every descriptor
 * but its own and stdio's, unless it is to keep them.  Ends with the host, or when the host hangs
 * up. */
_Noreturn void auri_zygote_run(const auri_zygote_start *start);

/* The name of the environment variable with the socket's number, for AUR_START_EXEC. */
#define AURI_NURSERY_VARIABLE "AURIGA_NURSERY_"

/* Hears from the host what to be, then is the nursery; returns if that fails.  worker_main as in
 * auri_zygote_start. */
void auri_zygote_hear(int socket_fd, auri_worker_fn *worker_main);

/* Roles of images (image.c): the nursery of AUR_START_SPAWN, and one of its workers. */
int auri_nursery_image(int socket_fd);
int auri_worker_image(int socket_fd);

#endif /* AURI_PROC_ZYGOTE_H */
