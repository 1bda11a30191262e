/* The arena as its owner sees it: handing out and taking back, what can be asked, making and
 * deleting.  The sizes up to 32 KiB come from small.c, all others from extent.c.
 *
 * Locking: one mutex per arena guards all that changes.  A function takes it itself unless it is
 * called _locked, and gives it up while the system commits or punches.  A second one, outside of it, is
 * held by whoever gives memory back. */
#include "wire/arena_internal.h"

#include <stdlib.h>

#include "base/err.h"
#include "plat/process.h"
#include "plat/shm.h"

static const uint64_t RESERVE_BYTES_MIN = UINT64_C(1) << 20; /* give up shrinking below this */

/* ---- the owner's side ---------------------------------------------------------------------- */

aur_err auri_arena_alloc(auri_arena *a, uint64_t size, uint64_t *ret_offset)
{
    struct extent *e = NULL;

    if (size > a->bytes) {
        return AUR_ETOOBIG;
    }
    /* An arena that is no larger than a few blocks would be eaten by them. */
    if (size <= SLOT_BYTES_MAX && a->bytes / 4 >= BLOCK_BYTES) {
        return auri_small_alloc(a, size, ret_offset);
    }
    uint64_t bytes = (size + (size == 0) + a->page_bytes - 1) / a->page_bytes * a->page_bytes;
    aur_err err = auri_extent_alloc(a, bytes, false, &e);
    if (err == AUR_OK) {
        *ret_offset = e->offset;
    }
    return err;
}

void auri_arena_free(auri_arena *a, uint64_t offset)
{
    AURI_ASSERT(offset < a->bytes);
    pthread_mutex_lock(&a->lock);
    struct extent **entry = auri_page_slot_locked(a, offset / a->page_bytes);
    struct extent *e = entry != NULL ? *entry : NULL;
    AURI_ASSERT(e != NULL); /* else not handed out, or freed twice */
    if (e->block != NULL) {
        auri_small_free_locked(a, e->block, offset);
    } else {
        AURI_ASSERT(e->offset == offset);
        *entry = NULL;
        a->used -= e->bytes;
        auri_extent_release_locked(a, e);
    }
    pthread_mutex_unlock(&a->lock);
}

void *auri_arena_at(const auri_arena *a, uint64_t offset)
{
    AURI_ASSERT(offset < a->bytes);
    return a->base + offset;
}

uint64_t auri_arena_bytes(const auri_arena *a)
{
    return a->bytes;
}
int auri_arena_fd(const auri_arena *a)
{
    return a->fd;
}

int auri_arena_fd_readonly(auri_arena *a)
{
    pthread_mutex_lock(&a->lock);
    if (a->readonly_fd < 0) {
        (void)aurp_shm_readonly(a->fd, &a->readonly_fd);
    }
    int fd = a->readonly_fd;
    pthread_mutex_unlock(&a->lock);
    return fd;
}

static uint64_t read_counter(auri_arena *a, const uint64_t *counter)
{
    pthread_mutex_lock(&a->lock);
    uint64_t value = *counter;
    pthread_mutex_unlock(&a->lock);
    return value;
}

uint64_t auri_arena_used(auri_arena *a)
{
    return read_counter(a, &a->used);
}
uint64_t auri_arena_committed(auri_arena *a)
{
    return read_counter(a, &a->committed);
}
uint64_t auri_arena_extents(auri_arena *a)
{
    return read_counter(a, &a->extents);
}

/* ---- making and deleting ------------------------------------------------------------------- */

/* An arena over `bytes` of fd, a page multiple, the first warm_bytes of them committed.  The
 * descriptor is taken over on success.  *ret_errno says why the mapping failed, else 0. */
static aur_err arena_over(int fd, uint64_t bytes, uint64_t warm_bytes, unsigned map_flags,
                          auri_arena **ret, int *ret_errno)
{
    uint64_t page_bytes = aurp_page_bytes();
    auri_arena *a = calloc(1, sizeof(*a));
    void *base = NULL;

    *ret_errno = 0;
    if (a == NULL) {
        return AUR_ENOMEM;
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->back_lock, NULL);
    a->fd = -1;
    a->readonly_fd = -1;
    a->bytes = bytes;
    a->page_bytes = page_bytes;
    a->random = UINT64_C(0x9e3779b97f4a7c15); /* any but 0 */
    a->committed = warm_bytes;
    if (!auri_extent_add_locked(a, 0, warm_bytes, true) ||
        !auri_extent_add_locked(a, warm_bytes, bytes - warm_bytes, false)) {
        auri_arena_delete(a);
        return AUR_ENOMEM;
    }
    *ret_errno = aurp_shm_map(fd, bytes, AURP_MAP_WRITE | map_flags, &base);
    if (*ret_errno != 0) {
        auri_arena_delete(a);
        return auri_err_of_errno(*ret_errno);
    }
    a->base = base;
    a->fd = fd; /* not before: on failure it stays the caller's */
    a->file = aurp_file_id_of(fd);
    *ret = a;
    return AUR_OK;
}

static uint64_t least(uint64_t x, uint64_t y)
{
    return x < y ? x : y;
}

static aur_err arena_try(uint64_t bytes, const char *name, unsigned map_flags, auri_arena **ret,
                         aur_diag *diag)
{
    const char *step = "memfd_create";
    int fd = -1;
    int failed = aurp_shm_new(name, bytes, &fd);
    aur_err err = auri_err_of_errno(failed);

    if (failed == 0) {
        err = arena_over(fd, bytes, 0, map_flags, ret, &failed);
        step = failed != 0 ? "mmap" : "malloc";
    }
    if (err != AUR_OK) {
        aurp_close(&fd);
        auri_diag(diag, err, failed, step, "no arena of %llu MiB can be reserved",
                  (unsigned long long)(bytes >> 20));
    }
    return err;
}

aur_err auri_arena_new(uint64_t reserve_bytes, const char *name, unsigned flags,
                       auri_arena **ret_arena, aur_diag *reterr_diag)
{
    uint64_t page_bytes = aurp_page_bytes();
    uint64_t bytes = reserve_bytes != 0 ? reserve_bytes : aurp_shm_reserve_default();

    if ((flags & ~(unsigned)AURI_ARENA_DONTFORK) != 0 || bytes > AURI_ARENA_BYTES_MAX) {
        return auri_diag(reterr_diag, AUR_EINVAL, 0, "arena", "unknown flag, or above 2^48 bytes");
    }
    bytes = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    bytes = least(bytes, aurp_shm_bytes_max()) / page_bytes * page_bytes;
    if (bytes == 0) {
        return auri_diag(reterr_diag, AUR_ENOMEM, 0, "arena",
                         "RLIMIT_FSIZE or RLIMIT_AS is too low");
    }
    for (;;) {
        aur_err err = arena_try(bytes, name, flags, ret_arena, reterr_diag);
        if (err != AUR_ENOMEM || reserve_bytes != 0 || bytes < 2 * RESERVE_BYTES_MIN) {
            return err;
        }
        bytes = bytes / 2 / page_bytes * page_bytes;
    }
}

aur_err auri_arena_attach(int fd, uint64_t bytes, uint64_t warm_bytes, auri_arena **ret_arena)
{
    uint64_t page_bytes = aurp_page_bytes();
    int failed;

    if (bytes == 0 || bytes % page_bytes != 0 || bytes > AURI_ARENA_BYTES_MAX) {
        return AUR_EINVAL;
    }
    aur_err err = auri_file_check(fd, bytes);
    if (err != AUR_OK) {
        return err;
    }
    uint64_t warm = warm_bytes == AURI_WARM_FIND ? aurp_shm_written_prefix(fd)
                                                 : least(warm_bytes, aurp_shm_committed(fd));
    warm = least(warm, bytes) / page_bytes * page_bytes;
    if (aurp_shm_committed(fd) > warm) {
        (void)aurp_shm_punch(fd, warm, bytes - warm); /* or they stay until they are used */
    }
    err = arena_over(fd, bytes, warm, AURP_MAP_DONTFORK, ret_arena, &failed);
    if (err == AUR_OK && aurp_shm_can_populate()) {
        aurp_close(&(*ret_arena)->fd);
    }
    return err;
}

void auri_arena_set_policy(auri_arena *a, const auri_commit_policy *policy)
{
    a->policy = *policy;
}

void auri_arena_delete(auri_arena *a)
{
    if (a == NULL) {
        return;
    }
    for (struct extent *e = a->first; e != NULL;) {
        struct extent *next = e->next;
        free(e->block);
        free(e);
        e = next;
    }
    for (uint64_t i = 0; i < a->leaves; i++) {
        free(a->pages[i]);
    }
    free(a->pages);
    if (a->base != NULL) {
        aurp_shm_unmap(a->base, a->bytes);
    }
    aurp_close(&a->fd);
    aurp_close(&a->readonly_fd);
    pthread_mutex_destroy(&a->back_lock);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
