/* Orphans: calls of a process pool that run, or will, while nobody has their object any more. */
#include "core.h"

#include <string.h>

struct orphan {
    aur_future *future;
    aur_buf **bufs;
    size_t bufs_n;
};

static void drop_orphan(struct orphan *orphan)
{
    for (size_t i = 0; i < orphan->bufs_n; i++) {
        aur_buf_unref(orphan->bufs[i]);
    }
    PyMem_Free(orphan->bufs);
    aur_future_unref(orphan->future);
}

static void drop_done_orphans(pool *self)
{
    size_t kept = 0;

    for (size_t i = 0; i < self->orphans_n; i++) {
        if (aur_future_done(self->orphans[i].future)) {
            drop_orphan(&self->orphans[i]);
        } else {
            self->orphans[kept++] = self->orphans[i];
        }
    }
    self->orphans_n = kept;
}

void orphans_add(task *one)
{
    pool *self = one->pool;

    if (one->future == NULL || aur_future_done(one->future)) {
        return;
    }
    if (self->orphans_n == self->orphans_room) {
        drop_done_orphans(self);
    }
    if (self->orphans_n * 2 >= self->orphans_room) {
        size_t room = self->orphans_room == 0 ? 64 : self->orphans_room * 2;
        struct orphan *orphans = PyMem_Realloc(self->orphans, room * sizeof(*orphans));
        if (orphans != NULL) {
            self->orphans = orphans;
            self->orphans_room = room;
        } else if (self->orphans_n == self->orphans_room) {
            return; /* it runs all the same, and cannot be cancelled any more */
        }
    }
    self->orphans[self->orphans_n++] = (struct orphan){ one->future, one->bufs, one->bufs_n };
    one->future = NULL;
    one->bufs = NULL;
    one->bufs_n = 0;
}

bool orphans_run(pool *self)
{
    drop_done_orphans(self);
    return self->orphans_n != 0;
}

void orphans_withdraw(pool *self)
{
    for (size_t i = 0; i < self->orphans_n; i++) {
        (void)aur_future_withdraw(self->orphans[i].future);
    }
}

/* ---- without the pool's object ------------------------------------------------------------------- */

struct args {
    size_t bufs_n;
    aur_buf *bufs[];
};

static void drop_args(void *ctx, aur_future *future)
{
    struct args *args = ctx;

    (void)future;
    for (size_t i = 0; i < args->bufs_n; i++) {
        aur_buf_unref(args->bufs[i]);
    }
    free(args);
}

static void leave_orphan(struct orphan *orphan)
{
    size_t size = orphan->bufs_n * sizeof(*orphan->bufs);
    struct args *args = size != 0 ? malloc(sizeof(*args) + size) : NULL;
    aur_err err = AUR_ENOMEM;

    if (args != NULL) {
        args->bufs_n = orphan->bufs_n;
        memcpy(args->bufs, orphan->bufs, size);
        err = aur_future_on_done(orphan->future, drop_args, args);
    }
    if (err != AUR_OK) {
        free(args);
    }
    if (err != AUR_EFORKED) {
        orphan->bufs_n = 0; /* without memory they are never dropped */
    }
    drop_orphan(orphan);
}

void orphans_leave(pool *self)
{
    for (size_t i = 0; i < self->orphans_n; i++) {
        leave_orphan(&self->orphans[i]);
    }
    PyMem_Free(self->orphans);
}
