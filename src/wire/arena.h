/* wire/arena.h: memory that travels by offset.
 *
 * An arena hands out ranges of one sparse shared file.  All that it knows about them lives in the
 * private memory of the one process that owns it; the shared pages hold payload and nothing else,
 * so another process can spoil bytes but never the allocator.  The others see the file through a
 * window, and name ranges by (offset, size), which a window checks.
 *
 * The same code serves the parent (arguments, shared buffers) and each worker (its results). */
#ifndef AURI_WIRE_ARENA_H
#define AURI_WIRE_ARENA_H

#include <auriga/base.h>
#include <stdint.h>

#include "plat/shm.h"
#include "wire/commit.h"

/* ---- the owner's side ---------------------------------------------------------------------- */

typedef struct auri_arena auri_arena;

enum {
    AURI_ARENA_DONTFORK = AURP_MAP_DONTFORK, /* children of fork() do not get the mapping */
};

/* Offsets travel in 48 bits. */
#define AURI_ARENA_BYTES_MAX (UINT64_C(1) << 48)

/* Makes a shared file and an arena over the whole of it.  Nothing is committed yet.
 *
 * reserve_bytes  0: the smallest of 64 GiB, twice the RAM, RLIMIT_FSIZE, and half of what RLIMIT_AS
 *                leaves, and less if the system refuses that much.  Else as asked, but never above
 *                RLIMIT_FSIZE: see auri_arena_bytes().
 * name           as seen in /proc/PID/maps; read during the call only.
 * Threads: any.  Blocks: on the system.
 * Errors:  AUR_EINVAL unknown flag, reserve above 2^48; AUR_ENOMEM no memory, no address space, or
 *          a file size limit below one page; AUR_EAGAIN descriptors; AUR_ESYS */
AUR_NODISCARD aur_err auri_arena_new(uint64_t reserve_bytes, const char *name, unsigned flags,
                                     auri_arena **ret_arena, aur_diag *reterr_diag);

/* An arena over an existing file, all of it free, such as the result segment of a dead worker.  The
 * mapping is not inherited over fork().  What is in the pages stays until they are written; pages behind
 * the warm prefix go back to the system, since the arena would not know of them.
 *
 * fd          open for writing; the arena's on success, which closes it at once where the kernel can
 *             commit through a mapping (5.14): this process may run code that closes descriptors and
 *             gets their numbers for files of its own.
 * warm_bytes  committed prefix, which is used first; never believed beyond what the file holds.
 * Errors:  AUR_EINVAL the file is smaller than bytes, or may shrink; AUR_ENOMEM; AUR_ESYS */
#define AURI_WARM_FIND UINT64_MAX /* as far as the file was written without a gap */
AUR_NODISCARD aur_err auri_arena_attach(int fd, uint64_t bytes, uint64_t warm_bytes,
                                        auri_arena **ret_arena);

/* How this arena commits; copied.  Before the first allocation, or the default stays. */
void auri_arena_set_policy(auri_arena *arena, const auri_commit_policy *policy);

/* Unmaps and closes; outstanding ranges die.  NULL allowed.  Not in a child of fork(). */
void auri_arena_delete(auri_arena *arena);

/* Hands out `size` bytes (0 counts as 64), aligned to 64, and to a page from 64 KiB up.  Memory is
 * committed before the return: touching it cannot fault.  The contents are what the last user left.
 *
 * Threads: any.  Blocks: never if the memory is warm; else as auri_commit(), without the lock.
 * Errors:  AUR_ETOOBIG larger than the arena; AUR_ENOMEM over the budget, or no gap is large
 *          enough, or no private memory; AUR_ESYS the descriptor means another file by now */
AUR_NODISCARD aur_err auri_arena_alloc(auri_arena *arena, uint64_t size, uint64_t *ret_offset);

/* Takes a range back; it stays committed and is handed out first next time.  An offset that is not
 * handed out (a second free too) is asserted.  Threads: any.  Blocks: never. */
void auri_arena_free(auri_arena *arena, uint64_t offset);

/* Gives committed free memory back to the system until at most keep_bytes of it are left, from the
 * high end down.  Threads: any.  Blocks: on the system, about 0.1 s per GiB, without the lock. */
void auri_arena_trim(auri_arena *arena, uint64_t keep_bytes);

/* The same little by little, of what was not in use lately: beyond the most that was in use in this period
 * and in the one before, and beyond AURI_ARENA_SPARE_BYTES.  So memory that comes and goes stays, whatever
 * its size, as long as it comes once in a period.
 *
 * turn    begins a new period.  Threads: any.  Blocks: never.
 * shrink  gives back AURI_ARENA_PIECE_BYTES at most, the largest ranges first.  False: nothing is left to
 *         do in this period, or the system refuses.  Threads: any.  Blocks: on the system, 0.4 ms or so,
 *         without the lock.
 * large   whether turns to come may find something: more than AURI_ARENA_SPARE_BYTES are free and
 *         committed, or handed out.  Threads: any.  Blocks: never. */
#define AURI_ARENA_SPARE_BYTES (UINT64_C(16) << 20)
#define AURI_ARENA_PIECE_BYTES (UINT64_C(4) << 20)
void auri_arena_turn(auri_arena *arena);
bool auri_arena_shrink(auri_arena *arena);
bool auri_arena_is_large(auri_arena *arena);

/* Where a range is in this process. */
void *auri_arena_at(const auri_arena *arena, uint64_t offset);

uint64_t auri_arena_bytes(const auri_arena *arena);
int auri_arena_fd(const auri_arena *arena); /* -1: it was attached, and keeps none */

/* A descriptor that cannot be mapped writable, for windows of other processes.  Opened once, and
 * the arena's.  -1: the system refused.  Threads: any. */
int auri_arena_fd_readonly(auri_arena *arena);

/* Bytes handed out (rounded up as above); bytes that have pages behind them; extents, free ones and
 * handed out ones: 1 means that all is free and in one piece.  Threads: any; a snapshot. */
uint64_t auri_arena_used(auri_arena *arena);
uint64_t auri_arena_committed(auri_arena *arena);
uint64_t auri_arena_extents(auri_arena *arena);

/* ---- everybody else's side ----------------------------------------------------------------- */

typedef struct auri_window {
    unsigned char *base;
    uint64_t bytes;
} auri_window;

enum {
    AURI_WINDOW_WRITE = AURP_MAP_WRITE,       /* needs a descriptor that is open for writing */
    AURI_WINDOW_DONTFORK = AURP_MAP_DONTFORK, /* children of fork() do not get the mapping */
};

/* Maps somebody else's file.  The descriptor stays the caller's and may be closed at once.
 * Threads: any.  Blocks: never.
 * Errors:  AUR_EINVAL bytes 0, unknown flag, the file is smaller or may shrink; AUR_ENOMEM;
 *          AUR_ESYS (no descriptor, not open for writing) */
AUR_NODISCARD aur_err auri_window_open(int fd, uint64_t bytes, unsigned flags,
                                       auri_window **ret_window);

/* The bytes [offset, offset + size), or NULL if not all of them are inside.  The numbers may come
 * from a hostile process; so may the bytes, which can change while they are read. */
static inline void *auri_window_at(const auri_window *window, uint64_t offset, uint64_t size)
{
    return offset <= window->bytes && size <= window->bytes - offset ? window->base + offset : NULL;
}

void auri_window_close(auri_window *window); /* NULL allowed */

#endif /* AURI_WIRE_ARENA_H */
