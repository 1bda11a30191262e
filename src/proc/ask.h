/* proc/ask.h: what a worker process asks its parent, for the files of proc/remote.h only. */
#ifndef AURI_PROC_ASK_H
#define AURI_PROC_ASK_H

#include <pthread.h>

#include "proc/worker.h"

/* A pool that stands for one of the parent. */
struct auri_view {
    aur_pool pool;
    struct auri_view *next;
    uint64_t number;           /* I: what the parent calls it; 0: the worker's own pool */
    const aur_pool *inherited; /* I: the copy that it stands for, or NULL */
};

/* Keys: I constant, L guarded by lock. */
struct auri_remote {
    pthread_mutex_t lock;     /* held from a request to the end of its reply */
    uint32_t seq;             /* L: requests sent */
    struct auri_view *own;    /* I */
    struct auri_view *others; /* L: of inherited pools */
};

uint64_t auri_view_number(const aur_pool *pool);

/* Asks, with the lock held.  The bytes of the reply are valid until the next request. */
void auri_parent_ask_locked(struct auri_worker_self *self, const struct auri_request *request,
                            struct auri_reply *ret_reply);

/* A question whose reply has no bytes.  Locks: the lock. */
aur_err auri_parent_ask(struct auri_worker_self *self, const struct auri_request *request,
                        uint64_t *ret_value);

/* What the parent said about a future. */
struct auri_news {
    bool done;
    aur_err err;
    void *bytes; /* malloc'ed; NULL if there are none */
    uint64_t size;
    aur_error *error; /* malloc'ed, or NULL */
};

/* Takes a reply to WAIT or POLL apart, with the lock held.  align: of the copy. */
struct auri_news auri_news_of(const struct auri_reply *reply, size_t align);

/* WAIT, or POLL if the deadline is 0, with the lock held; it is released while a task runs in place of
 * the wait.  AUR_EDEADLK without `done` also wakes the
 * wait of the calling thread up (sched/wait.h). */
struct auri_news auri_parent_ask_news(struct auri_worker_self *self, uint64_t id,
                                      aur_deadline deadline, size_t align);
void auri_news_drop(struct auri_news *news);

/* WAIT_ANY for the futures whose numbers are in `ids`, with the lock held.  AUR_OK: one is done, the reply says
 * which and how; AUR_EPENDING: the lock was released meanwhile, since a task ran in place of the wait: ask again;
 * else the wait is over without one, and aur_last_error() is filled for AUR_EDEADLK. */
aur_err auri_parent_ask_any(struct auri_worker_self *self, struct auri_extent ids,
                            aur_deadline deadline, struct auri_reply *ret_reply);

/* One call for the parent: the bytes in `args` are copied before the return.  limits NULL: those of
 * the pool.  Locks: the lock. */
aur_err auri_parent_submit(struct auri_worker_self *self, const aur_pool *pool, const aur_fn *fn,
                           const void *args, uint64_t size, const struct auri_limits *limits,
                           uint64_t *ret_id);

/* Runs a queued map task on the parent's pool, item by item, and finishes it.  Takes over the queue's
 * reference. */
void auri_remote_map(struct auri_worker_self *self, aur_pool *pool, auri_task *task);

#endif /* AURI_PROC_ASK_H */
