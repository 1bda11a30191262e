/* Shared buffers: extents of the argument arena (read-only in workers) or of the shared arena.
 *
 * A buffer's key is where it is, as in struct auri_extent.  Its size stands in a header before it, so
 * that the key alone travels; the header of a writable buffer may be spoilt, and is checked. */
#include <string.h>

#include "proc/internal.h"
#include "proc/remote.h"
#include "proc/worker.h"

#define HEADER_BYTES 64u
#define HEADER_MAGIC UINT64_C(0x6675626172697561)

struct header {
    uint64_t magic;
    uint64_t size;
};

aur_err auri_buf_new(aur_pool *pool, size_t size, unsigned flags, void **ret_data,
                     uint64_t *ret_key)
{
    struct auri_proc *p = auri_proc_of(pool);
    bool inout = (flags & AUR_BUF_INOUT) != 0;
    uint64_t offset;
    aur_err err = AUR_ESHUTDOWN;

    pthread_mutex_lock(&p->lock);
    bool open = p->args != NULL;
    p->bufs += open; /* keeps the arenas */
    pthread_mutex_unlock(&p->lock);
    if (open) {
        err = size > SIZE_MAX - HEADER_BYTES
                  ? AUR_ETOOBIG
                  : auri_arena_alloc(inout ? p->shared : p->args, size + HEADER_BYTES, &offset);
    }
    if (err != AUR_OK) {
        pthread_mutex_lock(&p->lock);
        p->bufs -= open;
        pthread_mutex_unlock(&p->lock);
        return err;
    }
    unsigned char *at = auri_arena_at(inout ? p->shared : p->args, offset);
    struct header header = { HEADER_MAGIC, size };
    memcpy(at, &header, sizeof(header));
    *ret_data = at + HEADER_BYTES;
    *ret_key = auri_extent_make(inout ? AURI_SEG_SHARED : AURI_SEG_ARGS, offset, 0).where;
    return AUR_OK;
}

void auri_buf_free(aur_pool *pool, void *data, size_t size, uint64_t key)
{
    struct auri_proc *p = auri_proc_of(pool);
    struct auri_extent extent = { key, size };

    (void)data;
    auri_arena_free(auri_extent_seg(extent) == AURI_SEG_SHARED ? p->shared : p->args,
                    auri_extent_off(extent));
    pthread_mutex_lock(&p->lock);
    p->bufs--;
    /* acquire; pairs with the release of the guardian. */
    if (p->bufs == 0 && auri_load_acq(&p->ended) != 0) {
        auri_arenas_close(p);
    }
    pthread_mutex_unlock(&p->lock);
}

/* In a worker. */
aur_err auri_remote_buf(uint64_t key, void **ret_data, size_t *ret_size)
{
    const struct auri_worker_self *self = auri_worker_self();
    struct auri_extent extent = { key, 0 };
    struct header header;

    if (self == NULL) {
        return AUR_EINVAL;
    }
    const auri_window *window = auri_extent_seg(extent) == AURI_SEG_SHARED ? self->shared
                                : auri_extent_seg(extent) == AURI_SEG_ARGS ? self->args
                                                                           : NULL;
    const void *at =
        window != NULL ? auri_window_at(window, auri_extent_off(extent), HEADER_BYTES) : NULL;
    if (at == NULL) {
        return AUR_EINVAL;
    }
    auri_copy_once(&header, at, sizeof(header));
    void *data = header.magic == HEADER_MAGIC
                     ? auri_window_at(window, auri_extent_off(extent) + HEADER_BYTES, header.size)
                     : NULL;
    if (data == NULL) {
        return AUR_EINVAL;
    }
    *ret_data = data;
    *ret_size = header.size;
    return AUR_OK;
}
