/* Shared buffers.
 *
 * Threads see them where they are: heap memory.  The workers of a process pool map the pool's
 * arena, and the backend says by what number (its key) they find a range there.
 *
 *   thread and serial pools   id = address of the aur_buf | 16 bits of a count << 48: unique
 *                             among the living buffers of the process, and a reused address gets
 *                             another count
 *   process pools             id = the backend's key: whatever auri_remote_buf() needs to find the
 *                             range and its size, and to check both
 *
 * Inside a task of this process an id is looked up in the table of the frame's pool, so a number
 * that names nothing, or a buffer of another pool, is noticed.  A worker process has no table:
 * there auri_remote_buf(id, &data, &size) answers, AUR_EINVAL for a number out of bounds.
 *
 * A buffer holds its pool, so the backend's memory stays until the last one is gone. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "proc/remote.h"

#define ALIGN 64u
#define ADDRESS_BITS 48u

struct aur_buf {
    aur_pool *pool;         /* I */
    void *data;             /* I */
    size_t size;            /* I */
    uint64_t id;            /* I */
    _Atomic(uint32_t) refs; /* A */
    struct aur_buf *next;   /* the face's buf_lock: same bucket */
};

/* ---- the table ----------------------------------------------------------------------------- */

static struct aur_buf **bucket_of(struct auri_face *face, uint64_t id)
{
    /* The low bits of addresses and offsets are alike: multiply, take high ones. */
    return &face->buf[(id * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}
_Static_assert(AURI_BUF_BUCKETS == 64, "six bits");

static void table_add(struct auri_face *face, struct aur_buf *buf)
{
    pthread_mutex_lock(&face->buf_lock);
    if (buf->pool->backend->buf_new == NULL) {
        face->buf_count++;
        buf->id = (uint64_t)(uintptr_t)buf | (uint64_t)face->buf_count << ADDRESS_BITS;
    }
    struct aur_buf **bucket = bucket_of(face, buf->id);
    buf->next = *bucket;
    *bucket = buf;
    pthread_mutex_unlock(&face->buf_lock);
}

static void table_remove(struct auri_face *face, struct aur_buf *buf)
{
    pthread_mutex_lock(&face->buf_lock);
    struct aur_buf **at = bucket_of(face, buf->id);
    while (*at != buf) {
        at = &(*at)->next;
    }
    *at = buf->next;
    pthread_mutex_unlock(&face->buf_lock);
}

static bool table_find(struct auri_face *face, uint64_t id, void **ret_data, size_t *ret_size)
{
    bool found = false;

    pthread_mutex_lock(&face->buf_lock);
    for (struct aur_buf *buf = *bucket_of(face, id); buf != NULL && !found; buf = buf->next) {
        if (buf->id == id) {
            *ret_data = buf->data;
            *ret_size = buf->size;
            found = true;
        }
    }
    pthread_mutex_unlock(&face->buf_lock);
    return found;
}

/* ---- life ---------------------------------------------------------------------------------- */

static aur_err memory_new(aur_pool *pool, struct aur_buf *buf, unsigned flags)
{
    if (pool->backend->buf_new != NULL) {
        return pool->backend->buf_new(pool, buf->size, flags, &buf->data, &buf->id);
    }
    buf->data = aligned_alloc(ALIGN, (buf->size + ALIGN - 1) & ~(size_t)(ALIGN - 1));
    return buf->data != NULL ? AUR_OK : AUR_ENOMEM;
}

aur_err aur_buf_new(aur_pool *pool, size_t size, unsigned flags, aur_buf **ret_buf)
{
    if (size == 0 || ret_buf == NULL || (flags & ~(unsigned)AUR_BUF_INOUT) != 0) {
        return AUR_EINVAL;
    }
    aur_err err = auri_pool_here(&pool);
    if (err != AUR_OK) {
        return err;
    }
    pool = auri_auto_buf_pool(pool);
    struct auri_face *face = auri_face_of(pool);
    if (face == NULL) {
        return AUR_ENOTSUP;
    }
    if (size > PTRDIFF_MAX - ALIGN) {
        return AUR_ETOOBIG;
    }
    struct aur_buf *buf = calloc(1, sizeof(*buf));
    if (buf == NULL) {
        return AUR_ENOMEM;
    }
    buf->pool = pool;
    buf->size = size;
    auri_store_rlx(&buf->refs, 1u); /* relaxed: nobody else knows it yet */
    err = memory_new(pool, buf, flags);
    if (err != AUR_OK) {
        free(buf);
        return err;
    }
    auri_pool_hold(pool);
    auri_auto_pin(pool, 1);
    table_add(face, buf);
    *ret_buf = buf;
    return AUR_OK;
}

aur_buf *aur_buf_ref(aur_buf *buf)
{
    if (buf != NULL) {
        auri_add_rlx(&buf->refs, 1u); /* relaxed: the caller has a reference already */
    }
    return buf;
}

aur_buf *aur_buf_unref(aur_buf *buf)
{
    if (buf == NULL) {
        return NULL;
    }
    /* acq_rel: what each user did with the memory comes before its release. */
    uint32_t before = auri_sub_acqrel(&buf->refs, 1u);
    AURI_ASSERT(before != 0);
    aur_pool *pool = buf->pool;
    if (before != 1 || pool->generation != auri_process_generation()) {
        return NULL; /* the last one, in a forked child: the memory is the parent's */
    }
    table_remove(auri_face_of(pool), buf);
    auri_auto_pin(pool, -1);
    if (pool->backend->buf_free != NULL) {
        pool->backend->buf_free(pool, buf->data, buf->size, buf->id);
    } else {
        free(buf->data);
    }
    free(buf);
    auri_pool_drop(pool);
    return NULL;
}

void aur_buf_scoped_(aur_buf **buf)
{
    *buf = aur_buf_unref(*buf);
}

/* ---- use ----------------------------------------------------------------------------------- */

void *aur_buf_data(aur_buf *buf)
{
    return buf != NULL ? buf->data : NULL;
}

size_t aur_buf_size(const aur_buf *buf)
{
    return buf != NULL ? buf->size : 0;
}

uint64_t aur_buf_id(const aur_buf *buf)
{
    return buf != NULL ? buf->id : 0;
}

aur_err aur_buf_open(uint64_t id, void **ret_data, size_t *ret_size)
{
    const struct auri_record *self = auri_self_;

    if (ret_data == NULL || ret_size == NULL) {
        return AUR_EINVAL;
    }
    if (self == NULL || self->frame == NULL) {
        return AUR_ENOTASK;
    }
    for (const struct auri_frame *frame = self->frame; frame != NULL; frame = frame->up) {
        struct auri_face *face = frame->pool != NULL ? auri_face_of(frame->pool) : NULL;
        if (face != NULL && table_find(face, id, ret_data, ret_size)) {
            return AUR_OK;
        }
        aur_pool *inner = face != NULL ? auri_auto_inner(frame->pool) : NULL;
        if (inner != NULL && table_find(auri_face_of(inner), id, ret_data, ret_size)) {
            return AUR_OK;
        }
    }
    if (auri_remote_pool() == NULL) {
        return AUR_EINVAL;
    }
    return auri_remote_buf(id, ret_data, ret_size);
}
