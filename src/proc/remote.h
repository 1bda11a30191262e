/* proc/remote.h: the parent's pools and futures, as tasks in a worker process see them.
 *
 * Each stands for an object of the parent: a pool with a backend that asks the parent, a future whose
 * outcome is fetched when somebody waits for it.  Questions go through the mailbox of the control
 * segment, one at a time.  The waits of all threads of this process are one question, which any other one, and any
 * change here that one of them waits for, recalls (turns.c).
 *
 * What such a future cannot do: nobody tells this process when it is done.  So a wait for any of
 * several (aur_wait_any, aur_as_completed) names all of them to the parent, each time anew, and the parent
 * answers with the first that is done (sched/untold.c).  If futures of this process's own pools are among them, one
 * of those that is done recalls the question.
 * aur_future_on_done and aur_future_eventfd wait for the future before they return; if the parent
 * finds that this wait would never end, the future is left to a later wait.
 *
 * Maps on such a pool are sent item by item, and done when the call returns, also for the _async
 * forms.  aur_for bodies run here, since they share their context. */
#ifndef AURI_PROC_REMOTE_H
#define AURI_PROC_REMOTE_H

#include "task/pool.h"

struct auri_worker_self;

extern const struct auri_backend auri_backend_remote;

/* Makes the view of the worker's own pool.  Called by: auri_worker_main(), once. */
aur_err auri_remote_start(struct auri_worker_self *self);

/* The view of the pool that this process is a worker of; NULL: it is no worker.  Not a reference. */
aur_pool *auri_remote_pool(void);

/* The view of a pool that was inherited over fork(), by its address; made on first use and kept.  A
 * serial pool runs its calls in its caller, which is here: its view gets the backend `serial`, and is
 * open if the pool was open at the fork.
 * NULL: this process is no worker, or no memory.  Threads: any. */
aur_pool *auri_remote_pool_for(aur_pool *inherited, const struct auri_backend *serial);

/* A proxy for the parent's future with this number, with one reference.  The parent's future must be
 * kept by somebody else as long as the proxy is used.  Threads: any.  Blocks: for an answer of the parent.
 * Errors: AUR_EINVAL there is no such future, or this process is no worker; AUR_ENOMEM. */
aur_err auri_remote_future(uint64_t id, auri_task **ret_task);

/* The number that a future has everywhere: for a proxy that of the parent's future; UINT64_MAX for what was made
 * in this worker, and for what was done at the fork: those have none. */
uint64_t auri_remote_id(const auri_task *task);

/* In a worker process: the memory of the parent's shared buffer with this key (proc/buf.c).  AUR_EINVAL: no
 * such buffer in this worker's pool, or this process is no worker. */
aur_err auri_remote_buf(uint64_t key, void **ret_data, size_t *ret_size);

#endif /* AURI_PROC_REMOTE_H */
