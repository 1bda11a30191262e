/* plat/shm.h: the port contract, part two: memory that processes share, and how much there is.
 *
 * The memory is an unnamed file (memfd): sparse, of a size that is fixed and sealed at creation, so
 * that nobody who holds the descriptor can make a mapping of it fault by truncation.  A range of it
 * is "committed" once pages stand behind it; a range that is not, costs nothing.
 *
 * Where a function returns int, that is 0 or an errno.  All of them: any thread, and they block on
 * the system only.  Descriptors are close-on-exec. */
#ifndef AURI_PLAT_SHM_H
#define AURI_PLAT_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the file ------------------------------------------------------------------------------ */

/* A new file of that many bytes, nothing committed, sealed against shrinking, growing and further
 * seals; not executable where the kernel knows how.  The name shows up in /proc/PID/maps.
 * EFBIG: more than aurp_shm_bytes_max(), beyond which the kernel would kill the caller. */
int aurp_shm_new(const char *name, uint64_t bytes, int *ret_fd);

/* A second descriptor of the same file, through which it cannot be mapped writable, or be made
 * writable later.  Needs /proc. */
int aurp_shm_readonly(int fd, int *ret_fd);

/* Is this a file that cannot shrink, of at least that many bytes?  0, EINVAL if not, or an errno. */
int aurp_shm_check(int fd, uint64_t bytes);

/* Puts pages behind [offset, offset + bytes).  All or nothing: on failure the whole range is a
 * hole, whatever it was before.  EINTR does not come out.  With memory short, the kernel may kill
 * the caller (or another process) instead of refusing: wire/commit.h guards against that. */
int aurp_shm_commit(int fd, uint64_t offset, uint64_t bytes);

/* Makes the range a hole: its pages go back to the system, and it reads as zeros. */
int aurp_shm_punch(int fd, uint64_t offset, uint64_t bytes);

/* The same two through a writable mapping of a file from aurp_shm_new(), page multiples: for a process
 * that has no descriptor of it, or cannot trust the one it has.  populate: ENOSYS if the kernel is older
 * than 5.14; aurp_shm_can_populate() says so before. */
bool aurp_shm_can_populate(void);
int aurp_shm_populate(void *at, uint64_t bytes);
int aurp_shm_depopulate(void *at, uint64_t bytes);

/* Committed bytes in all; and from the start up to the first page that is a hole or was never
 * written.  0 if that cannot be told. */
uint64_t aurp_shm_committed(int fd);
uint64_t aurp_shm_written_prefix(int fd);

/* ---- mappings ------------------------------------------------------------------------------ */

enum {
    AURP_MAP_WRITE = 1,    /* needs a descriptor that is open for writing */
    AURP_MAP_DONTFORK = 2, /* the mapping does not exist in children of fork() */
};

/* Maps the first bytes of the file, shared, kept out of core dumps.  No page is touched. */
int aurp_shm_map(int fd, uint64_t bytes, unsigned flags, void **ret_base);
void aurp_shm_unmap(void *base, uint64_t bytes);

/* ---- limits -------------------------------------------------------------------------------- */

uint64_t aurp_page_bytes(void);

/* RLIMIT_FSIZE, which holds for these files too; UINT64_MAX if there is none. */
uint64_t aurp_shm_bytes_max(void);

/* What RLIMIT_AS still leaves to this process; UINT64_MAX if there is none. */
uint64_t aurp_address_bytes_left(void);

/* How much to reserve when nobody said: the smallest of 64 GiB, twice the RAM, aurp_shm_bytes_max()
 * and half of aurp_address_bytes_left(). */
uint64_t aurp_shm_reserve_default(void);

/* RAM of the machine. */
uint64_t aurp_memory_total(void);

/* Bytes that can still be allocated before somebody gets killed: the smallest of MemAvailable and
 * of limit - usage + inactive page cache in each memory control group (v1 and v2) from ours up.
 *
 * root  where /proc and /sys are looked for: "" for this system; a test may make its own.
 * Reads about ten small files: 50 to 200 us. */
uint64_t aurp_memory_available(const char *root);

#endif /* AURI_PLAT_SHM_H */
