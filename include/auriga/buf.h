/* auriga/buf.h: payloads of any size: byte-string tasks and shared buffers.
 *
 * Byte-string tasks take and give variable-length bytes: the form that bindings use.
 *
 *     static aur_err shout(const void *in, size_t size, aur_out *out)
 *     {
 *         char *to = aur_out_alloc(out, size);
 *         if (to == NULL) return AUR_ENOMEM;
 *         for (size_t i = 0; i < size; i++) to[i] = toupper(((const char *)in)[i]);
 *         return AUR_OK;
 *     }
 *     AUR_BYTES_FN(shout);
 *     aur_apply_bytes(pool, &future, shout, "hello", 5);
 *     aur_future_view(future, &data, &size, AUR_NO_DEADLINE);
 */
#ifndef AURIGA_BUF_H
#define AURIGA_BUF_H

#include <auriga/base.h>
#include <auriga/call.h>
#include <auriga/fn.h>
#include <auriga/future.h>
#include <auriga/pool.h>

AUR_BEGIN_DECLS

typedef struct aur_out aur_out; /* where a byte-string task puts its result */

/* A body.  in is readable until it returns, and must not be written.  A result other than AUR_OK
 * fails the task with that code, or AUR_ETASK if it is none of ours. */
typedef aur_err aur_bytes_body(const void *in, size_t size, aur_out *out);

/* Room for a result of size bytes, aligned as by malloc(), in the place where it will travel from:
 * filling it is the only copy.  At most once per task; a second call replaces the first.  NULL: no
 * memory (the task then fails with AUR_ENOMEM unless it finds another way).  Inside the body only. */
AUR_API void *aur_out_alloc(aur_out *out, size_t size);

/* Keeps the first size bytes of what aur_out_alloc() gave. */
AUR_API void aur_out_truncate(aur_out *out, size_t size);

/* One byte string.  In results of aur_map_bytes the data is owned by the library until
 * aur_bytes_free(). */
typedef struct aur_bytes {
    const void *data;
    size_t size;
} aur_bytes;

/* The record that byte-string descriptors work on. */
struct aur_bytes_call {
    const void *in;
    size_t size;
    aur_out *out;
};

/* Queues body(data, size); the bytes are copied before the return.  The result: aur_future_view().
 * Everything else as aur_fn_submit(); AUR_ENOMEM also when the payload does not fit into the memory
 * that this process may use. */
AUR_API AUR_NODISCARD aur_err aur_fn_submit_bytes(aur_pool *pool, const aur_call_options *opts,
                                                  const aur_fn *fn, const void *data, size_t size,
                                                  aur_future **ret_future, const char *site);

/* out[i] = fn(in[i]); the results are released together by aur_bytes_free(out, n).
 * Failed items get data NULL, size 0.  Otherwise as aur_fn_map(). */
AUR_API AUR_NODISCARD aur_err aur_fn_map_bytes(aur_pool *pool, const aur_call_options *opts,
                                               const aur_fn *fn, const aur_bytes *in, size_t n,
                                               aur_bytes *out, const char *site);
AUR_API void aur_bytes_free(aur_bytes *results, size_t n);

/* ---- shared buffers ------------------------------------------------------------------------ */

typedef struct aur_buf aur_buf; /* opaque, counted */

enum {
    AUR_BUF_INOUT = 1, /* process workers may write it too.  A worker that is killed in the middle
                          leaves it half written. */
};

/* Memory that the workers of the pool see without a copy: made for inputs of many tasks.  In a
 * process worker it is read-only unless AUR_BUF_INOUT is set.  Aligned to 64 bytes; what is in it
 * at first is not defined.  It may outlive its pool.
 *
 * Threads: any.  Blocks: never.
 * Owns:    *ret_buf holds one reference.
 * Errors:  AUR_EINVAL NULL, size 0, unknown flag; AUR_ENOMEM; AUR_ETOOBIG; AUR_EFORKED;
 *          AUR_ESHUTDOWN a process pool that has ended; AUR_ENOTSUP in a process worker */
AUR_API AUR_NODISCARD aur_err aur_buf_new(aur_pool *pool, size_t size, unsigned flags,
                                          aur_buf **ret_buf);
AUR_API aur_buf *aur_buf_ref(aur_buf *buf);
AUR_API aur_buf *aur_buf_unref(aur_buf *buf); /* NULL allowed, returns NULL */
AUR_API void *aur_buf_data(aur_buf *buf);
AUR_API size_t aur_buf_size(const aur_buf *buf);

/* A number that names the buffer in any task of its pool; it travels as a plain argument.  The
 * caller keeps the buffer alive until those tasks are done. */
AUR_API uint64_t aur_buf_id(const aur_buf *buf);

/* Inside a task: the buffer's memory.  Errors: AUR_EINVAL no such buffer in this pool, or NULL;
 * AUR_ENOTASK outside a task.  Threads: any.  Blocks: never. */
AUR_API AUR_NODISCARD aur_err aur_buf_open(uint64_t id, void **ret_data, size_t *ret_size);

AUR_API void aur_buf_scoped_(aur_buf **buf);

AUR_END_DECLS

#define AUR_BYTES_FN(name)                                                                         \
    AUR_UNUSED_ static void name##_aur_range(const void *args_, void *ret_, uint64_t lo_,          \
                                             uint64_t hi_, uint64_t *item_)                        \
    {                                                                                              \
        const struct aur_bytes_call *in_ = (const struct aur_bytes_call *)args_;                   \
        aur_bytes_body *const body_ = name;                                                        \
        for (uint64_t i_ = lo_; i_ < hi_; i_++) {                                                  \
            *item_ = i_;                                                                           \
            AUR_TRY_((aur_err *)ret_)[i_] = body_(in_[i_].in, in_[i_].size, in_[i_].out);          \
            AUR_CATCH_                                                                             \
        }                                                                                          \
    }                                                                                              \
    static const aur_fn name##_aur_fn AUR_UNUSED_ = {                                              \
        AUR_FN_ABI,                                                                                \
        AUR_FN_BYTES,                                                                              \
        sizeof(struct aur_bytes_call),                                                             \
        sizeof(aur_err),                                                                           \
        AUR_ALIGNOF_(struct aur_bytes_call),                                                       \
        AUR_ALIGNOF_(aur_err),                                                                     \
        name##_aur_range,                                                                          \
        #name,                                                                                     \
    };                                                                                             \
    AUR_ASSERT_(sizeof(aur_bytes) > 0, "")

#define aur_apply_bytes(pool, future, fn, data, size)                                              \
    aur_fn_submit_bytes((pool), NULL, &fn##_aur_fn, (data), (size), (future), AUR_SITE_)
#define aur_apply_bytes_with(pool, opts, future, fn, data, size)                                   \
    aur_fn_submit_bytes((pool), (opts), &fn##_aur_fn, (data), (size), (future), AUR_SITE_)
#define aur_map_bytes(pool, fn, in, n, out)                                                        \
    aur_fn_map_bytes((pool), NULL, &fn##_aur_fn, (in), (n), (out), AUR_SITE_)
#define aur_map_bytes_with(pool, opts, fn, in, n, out)                                             \
    aur_fn_map_bytes((pool), (opts), &fn##_aur_fn, (in), (n), (out), AUR_SITE_)

#endif /* AURIGA_BUF_H */
