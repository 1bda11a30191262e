/* worker_rig.h: a worker process on hand-made segments, and the parent's side of its rings. */
#ifndef AURT_WORKER_RIG_H
#define AURT_WORKER_RIG_H

#include "aurt.h"

#include <signal.h>
#include <sys/wait.h>

#include "plat/process.h"
#include "plat/shm.h"
#include "proc/worker.h"

#define RIG_SLOT 3u
#define RIG_EPOCH 7u
#define RIG_ARGS_BYTES (UINT64_C(1) << 20)

typedef struct rig {
    int fds[AURI_WORKER_FDS];
    int bell; /* the end that is heard */
    struct auri_ctl *ctl;
    unsigned char *args; /* the argument arena, handed out from the start */
    uint64_t args_used;
    unsigned char *result; /* the result segment, read only */
    uint64_t result_bytes;
    unsigned char *shared;
    pid_t pid;
    int pidfd;
    uint64_t tail; /* next entry to put */
    uint32_t freed;
    uint32_t mail;
} rig;

static inline void *rig_map(int fd, uint64_t bytes, unsigned flags)
{
    void *base = NULL;

    AURT_CHECK(aurp_shm_map(fd, bytes, flags, &base) == 0);
    return base;
}

/* Everything but the process. */
static inline void rig_init(rig *r, uint64_t result_bytes)
{
    int args_fd;
    int bell[2];

    memset(r, 0, sizeof(*r));
    r->result_bytes = result_bytes;
    r->tail = 1;
    AURT_CHECK(aurp_shm_new("ctl", AURI_CTL_BYTES, &r->fds[AURI_WORKER_FD_CTL]) == 0);
    AURT_CHECK(aurp_shm_new("args", RIG_ARGS_BYTES, &args_fd) == 0);
    AURT_CHECK(aurp_shm_readonly(args_fd, &r->fds[AURI_WORKER_FD_ARGS]) == 0);
    AURT_CHECK(aurp_shm_new("result", result_bytes, &r->fds[AURI_WORKER_FD_RESULT]) == 0);
    AURT_CHECK(aurp_shm_new("shared", RIG_ARGS_BYTES, &r->fds[AURI_WORKER_FD_SHARED]) == 0);
    AURT_CHECK(aurp_bell_new(bell) == 0);
    r->bell = bell[0];
    r->fds[AURI_WORKER_FD_BELL] = bell[1];
    r->ctl = rig_map(r->fds[AURI_WORKER_FD_CTL], AURI_CTL_BYTES, AURP_MAP_WRITE);
    r->args = rig_map(args_fd, RIG_ARGS_BYTES, AURP_MAP_WRITE);
    r->result = rig_map(r->fds[AURI_WORKER_FD_RESULT], result_bytes, 0);
    r->shared = rig_map(r->fds[AURI_WORKER_FD_SHARED], RIG_ARGS_BYTES, AURP_MAP_WRITE);
    close(args_fd);
    r->ctl->magic = AURI_CTL_MAGIC;
    r->ctl->epoch = RIG_EPOCH;
    r->ctl->abi_size = sizeof(struct auri_ctl);
    r->ctl->slot = RIG_SLOT;
    r->ctl->setup = (struct auri_setup){ .pool = (uintptr_t)r,
                                         .args_bytes = RIG_ARGS_BYTES,
                                         .shared_bytes = RIG_ARGS_BYTES,
                                         .result_bytes = result_bytes,
                                         .workers = 2,
                                         .name = "rig" };
    r->pid = -1;
    r->pidfd = -1;
}

static inline _Noreturn void rig_live(rig *r)
{
    int status = auri_worker_main(NULL, RIG_SLOT, RIG_EPOCH, r->fds, AURI_WORKER_FDS);

    fflush(NULL);
    _exit(status);
}

static inline void rig_start(rig *r)
{
    fflush(NULL);
    r->pid = fork();
    AURT_CHECK(r->pid >= 0);
    if (r->pid == 0) {
        aurp_die_with_parent();
        rig_live(r);
    }
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    AURT_CHECK(r->pidfd >= 0);
}

/* Blocks until the worker rang or died; true if it rang. */
static inline bool rig_listen(rig *r)
{
    aurp_poll polls[2] = { { .fd = r->bell }, { .fd = r->pidfd } };

    aurp_poll_wait(polls, 2, -1);
    if (polls[0].ready) {
        aurp_bell_clear(r->bell);
        return true;
    }
    return false;
}

/* The value of hello, or 0 if the worker died before it. */
static inline uint32_t rig_hello(rig *r)
{
    uint32_t hello = 0;

    while ((hello = auri_load_acq(&r->ctl->hello)) == 0 && rig_listen(r)) {
    }
    return auri_load_acq(&r->ctl->hello);
}

/* waitpid() status. */
static inline int rig_reap(rig *r)
{
    int status = -1;

    AURT_CHECK(waitpid(r->pid, &status, 0) == r->pid);
    r->pid = -1;
    return status;
}

static inline void rig_fini(rig *r)
{
    if (r->pid > 0) {
        kill(r->pid, SIGKILL);
        rig_reap(r);
    }
    aurp_shm_unmap(r->ctl, AURI_CTL_BYTES);
    aurp_shm_unmap(r->args, RIG_ARGS_BYTES);
    aurp_shm_unmap(r->result, r->result_bytes);
    aurp_shm_unmap(r->shared, RIG_ARGS_BYTES);
    for (int i = 0; i < AURI_WORKER_FDS; i++) {
        aurp_close(&r->fds[i]);
    }
    aurp_close(&r->bell);
    aurp_close(&r->pidfd);
}

/* ---- entries ------------------------------------------------------------------------------------ */

/* Bytes in the argument arena, at a multiple of 64 plus `shift`. */
static inline struct auri_extent rig_bytes(rig *r, const void *bytes, uint64_t size, uint64_t shift)
{
    uint64_t offset = ((r->args_used + 63) & ~UINT64_C(63)) + shift;

    AURT_CHECK(offset + size <= RIG_ARGS_BYTES);
    memcpy(r->args + offset, bytes, size);
    r->args_used = offset + size;
    return auri_extent_make(AURI_SEG_ARGS, offset, size);
}

static inline struct auri_sub_desc rig_desc(uint32_t op, const aur_fn *fn)
{
    return (struct auri_sub_desc){
        .fn = (uintptr_t)fn, .op = (uint8_t)op, .attempt = 1, .task_id = 99
    };
}

static inline void rig_inline(struct auri_sub_desc *desc, const void *args, size_t size)
{
    AURT_CHECK(size <= sizeof(desc->data));
    memcpy(desc->data, args, size);
    desc->args = auri_extent_make(AURI_SEG_INLINE, 0, size);
}

/* An entry of one line. */
static inline void rig_short(struct auri_sub_desc *desc, const void *args, size_t size)
{
    AURT_CHECK(size <= sizeof(desc->small));
    memcpy(desc->small, args, size);
    desc->args = auri_extent_make(AURI_SEG_INLINE, 0, size);
    desc->form = AURI_FORM_SHORT;
}

/* Puts without a wake. */
static inline uint64_t rig_put(rig *r, const struct auri_sub_desc *desc)
{
    auri_ring_put(r->ctl, r->tail, desc);
    return r->tail++;
}

static inline uint64_t rig_send(rig *r, const struct auri_sub_desc *desc)
{
    uint64_t seq = rig_put(r, desc);

    auri_ring_wake(r->ctl);
    return seq;
}

/* Waits for the answer; false if the worker died without one. */
static inline bool rig_answer(rig *r, uint64_t seq, struct auri_comp_desc *ret_comp)
{
    auri_ring_wake_at(r->ctl, seq);
    while (!auri_ring_take(r->ctl, seq, ret_comp)) {
        if (!rig_listen(r)) {
            return auri_ring_take(r->ctl, seq, ret_comp);
        }
    }
    auri_ring_wake_at(r->ctl, 0);
    return true;
}

static inline struct auri_comp_desc rig_do(rig *r, const struct auri_sub_desc *desc)
{
    struct auri_comp_desc comp;

    AURT_CHECK(rig_answer(r, rig_send(r, desc), &comp));
    return comp;
}

/* The bytes of an answer, checked as a parent does. */
static inline const void *rig_at(rig *r, const struct auri_extent *extent, const void *inlined)
{
    if (auri_extent_seg(*extent) == AURI_SEG_INLINE) {
        AURT_CHECK(extent->size <= AURI_COMP_INLINE);
        return inlined;
    }
    AURT_CHECK(auri_extent_seg(*extent) == AURI_SEG_RESULT);
    AURT_CHECK(auri_extent_off(*extent) <= r->result_bytes);
    AURT_CHECK(extent->size <= r->result_bytes - auri_extent_off(*extent));
    return r->result + auri_extent_off(*extent);
}

static inline void rig_give_back(rig *r, struct auri_extent extent)
{
    if (auri_extent_seg(extent) == AURI_SEG_RESULT && extent.size != 0) {
        AURT_CHECK(auri_free_put(r->ctl, r->freed, auri_extent_off(extent)));
        r->freed++;
    }
}

/* Sends QUIT; the exit status of the worker. */
static inline int rig_quit(rig *r)
{
    struct auri_sub_desc desc = rig_desc(AURI_OP_QUIT, NULL);
    struct auri_comp_desc comp = rig_do(r, &desc);

    AURT_CHECK(comp.op == AURI_COMP_DONE && comp.err == AUR_OK);
    return rig_reap(r);
}

#endif /* AURT_WORKER_RIG_H */
