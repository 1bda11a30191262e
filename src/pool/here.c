/* Objects of another process.  A worker process has copies of its parent's pools and futures (fork)
 * or numbers of them (spawn); what it does with them is done by the parent (proc/remote.h).  Any
 * other forked child is told so. */
#include "base/err.h"
#include "plat/plat.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "pool/serial.h"
#include "proc/remote.h"

aur_err auri_pool_here(aur_pool **pool)
{
    if (*pool == NULL) {
        return AUR_EINVAL;
    }
    AURI_ASSERT((*pool)->magic == AURI_POOL_MAGIC);
    if ((*pool)->generation == auri_process_generation_now()) {
        return AUR_OK;
    }
    aur_pool *remote = auri_auto_forks(*pool)
                           ? auri_remote_pool()
                           : auri_remote_pool_for(*pool, &auri_backend_serial_view);
    if (remote == NULL) {
        return AUR_EFORKED;
    }
    *pool = remote;
    return AUR_OK;
}

aur_err auri_future_borrow(aur_future *future, aur_future **ret_future)
{
    if (future == NULL) {
        return AUR_EINVAL;
    }
    uint32_t generation = auri_process_generation_now();
    /* In a process that nobody forked every future is its own, and the pool, which may be gone as
     * soon as the future is done, need not be asked. */
    if (generation == 0 || auri_task_is_done(future) || future->pool->generation == generation) {
        *ret_future = future;
        return AUR_OK;
    }
    return auri_remote_future(auri_task_id(future), ret_future) == AUR_OK ? AUR_OK : AUR_EFORKED;
}

void auri_future_return(aur_future *borrowed, aur_future *of)
{
    if (borrowed != of) {
        auri_task_unref(borrowed);
    }
}

aur_err auri_future_here(aur_future *future, aur_future **ret_future)
{
    aur_err err = auri_future_borrow(future, ret_future);

    if (err == AUR_OK && *ret_future == future) {
        auri_task_ref(future);
    }
    return err;
}

aur_pool *aur_pool_current(void)
{
    const struct auri_record *self = auri_self_;

    return self != NULL && self->frame != NULL ? self->frame->pool : auri_remote_pool();
}

uint64_t aur_future_id(aur_future *future)
{
    if (future == NULL) {
        return UINT64_MAX;
    }
    /* Only a worker process has proxies; elsewhere the future's pool may be gone. */
    return auri_remote_pool() != NULL ? auri_remote_id(future) : auri_task_id(future);
}

aur_err aur_future_open(uint64_t id, aur_future **ret_future)
{
    if (ret_future == NULL) {
        return AUR_EINVAL;
    }
    if (auri_remote_pool() != NULL) {
        return auri_remote_future(id, ret_future);
    }
    aur_future *future = auri_task_from_id(id);
    if (future == NULL) {
        return AUR_EINVAL;
    }
    *ret_future = future;
    return AUR_OK;
}
