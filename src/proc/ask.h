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

struct auri_asker;

/* Keys: I constant, L guarded by lock, T by whoever has the turn, A atomic. */
struct auri_remote {
    pthread_mutex_t lock;       /* never held while the parent answers */
    struct auri_record *record; /* I: of the worker's own thread */
    bool asked;          /* L: somebody has the turn: from a request to the end of its reply */
    bool stands;         /* L: ... with a wait, which may be recalled */
    uint32_t stands_seq; /* L: the number of that request */
    unsigned hurried;    /* L: threads that want the turn for something else than a wait */
    struct auri_asker *askers; /* L: threads that wait, the last to come first */
    _Atomic(uint32_t) moves;   /* A: futex, written under the lock: any of these has changed */
    unsigned sleepers;         /* L: on it */
    uint32_t seq;              /* T: requests sent */
    struct auri_view *own;     /* I */
    struct auri_view *others;  /* L: of inherited pools */
};

uint64_t auri_view_number(const aur_pool *pool);

/* ---- turns (turns.c) ------------------------------------------------------------------------ */

/* The right to ask, for a question that is answered at once.  Without the lock.  Blocks: while another thread has
 * one; a wait that stands is recalled. */
void auri_turn_take(struct auri_worker_self *self);
void auri_turn_give(struct auri_worker_self *self);
/* A wait that stands is asked again: something that it depends on has changed here. */
void auri_turn_recall(struct auri_worker_self *self);

/* Asks, by whoever has the turn.  The bytes of the reply are valid until the next request. */
void auri_parent_ask_in_turn(struct auri_worker_self *self, const struct auri_request *request,
                             struct auri_reply *ret_reply);

/* A question whose reply has no bytes, with a turn of its own. */
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

/* Takes a reply to WAIT, WAIT_ANY or POLL apart, by whoever has the turn.  align: of the copy. */
struct auri_news auri_news_of(const struct auri_reply *reply, size_t align);
void auri_news_drop(struct auri_news *news);

/* Why the parent refuses a wait that would never end. */
void auri_deadlock_of(const struct auri_reply *reply, aur_error *ret_error);

/* WAIT for the future with that number, or POLL if the deadline is 0 or over.  AUR_EDEADLK without `done` also
 * wakes the wait of the calling thread up (sched/wait.h). */
struct auri_news auri_parent_ask_news(struct auri_worker_self *self, uint64_t id,
                                      aur_deadline deadline, size_t align);

/* A thread that waits for the first of some of the parent's futures; on its stack.  Keys: I set before the wait,
 * L guarded by the lock, and the thread's own again after the wait. */
struct auri_asker {
    struct auri_asker *next;    /* L */
    struct auri_record *record; /* I: by auri_parent_wait() */
    const uint64_t *ids;        /* I: their numbers */
    size_t n;                   /* I: > 0 */
    size_t align;               /* I: of the copy of a result */
    aur_deadline deadline;      /* I */
    _Atomic(uint32_t) *word;    /* I: or NULL: also over once it is not `value` any more ... */
    uint32_t value;             /* I: ... for which whoever changes it calls auri_turn_recall() */
    bool foreign;               /* I: by auri_parent_wait(): the thread is in no task of a pool */
    bool told;                  /* I: something in this process may change it */
    bool runs;   /* L: its thread runs something in place of the wait, and asks later */
    bool named;  /* L: it took part in the question that was asked last */
    bool needed; /* L: ... as one of those without whose answer the worker's own thread is stuck */
    uint32_t at; /* L: ... where its numbers begin there */
    bool looked; /* L: the parent has seen that none is done */
    bool over;   /* L: the rest is valid */
    aur_err err; /* L: AUR_OK: id and news; AUR_EDEADLK: why */
    uint64_t id; /* L: of the future that is done */
    struct auri_news news; /* L */
    aur_error why;         /* L */
};

/* AUR_OK: asker->news is the outcome of asker->id.  AUR_EAGAIN: the word has changed.  AUR_ETIMEDOUT; AUR_EDEADLK;
 * else the parent could not be asked. */
aur_err auri_parent_wait(struct auri_worker_self *self, struct auri_asker *asker);

/* One call for the parent: the bytes in `args` are copied before the return.  limits NULL: those of
 * the pool. */
aur_err auri_parent_submit(struct auri_worker_self *self, const aur_pool *pool, const aur_fn *fn,
                           const void *args, uint64_t size, const struct auri_limits *limits,
                           uint64_t *ret_id);

/* Runs a queued map task on the parent's pool, item by item, and finishes it.  Takes over the queue's
 * reference. */
void auri_remote_map(struct auri_worker_self *self, aur_pool *pool, auri_task *task);

#endif /* AURI_PROC_ASK_H */
