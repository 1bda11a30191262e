/* proc/steps.h: what the files of the process engine's parent side do for each other.  Included by
 * internal.h, which has the types. */
#ifndef AURI_PROC_STEPS_H
#define AURI_PROC_STEPS_H

/* ---- dispatch.c: with the lock held, but for the last ------------------------------------------ */

void auri_queue_append(struct auri_proc *p, auri_task *task);
void auri_queue_prepend(struct auri_proc *p, auri_task *task);
void auri_queue_remove(struct auri_proc *p, auri_task *task);
void auri_forget(struct auri_proc *p, auri_task *task);

/* Takes a queued task, or the next chunk of one, out of the queue for w, and writes its entry.  False: there
 * is nothing of it to run any more. */
bool auri_queue_take(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                     struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry);
/* Fills workers from the queue as far as they have room. */
void auri_dispatch(struct auri_proc *p);
/* Takes back what the worker has not begun, from entry `from` on, to the front of the queue. */
unsigned auri_revoke_from(struct auri_proc *p, struct auri_worker *w, uint64_t from);
/* Moves work from workers that hold much to workers that hold none. */
void auri_rebalance(struct auri_proc *p, uint64_t now);
/* Puts a QUIT; the worker ends after what it has. */
void auri_quit(struct auri_proc *p, struct auri_worker *w);
/* Its task has moved on; the answer will say SKIPPED. */
void auri_flight_taken(struct auri_worker *w, struct auri_flight *flight);

/* ---- cancel.c ---------------------------------------------------------------------------------- */

void auri_kill(struct auri_worker *w, int reason, uint64_t seq);
uint64_t auri_cost_of(struct auri_proc *p, const aur_fn *fn);
/* Whether to look on for the answer to a call that costs so much may be better than to sleep. */
static inline bool auri_spin_pays(const struct auri_proc *p, uint64_t cost_ns)
{
    return p->cpus > 1 && cost_ns <= 2 * AURI_SPIN_NS;
}
uint64_t auri_cost_mix(uint64_t before, uint64_t now);
void auri_cost_learn(struct auri_proc *p, const aur_fn *fn, uint64_t ns, uint64_t now);
struct auri_worker *auri_runner_of(struct auri_proc *p, unsigned owner);
int auri_cancel(aur_pool *pool, auri_task *task, bool kill); /* takes the lock */

/* ---- engine.c ---------------------------------------------------------------------------------- */

/* May workers be asked for fn?  AUR_ESTALE, AUR_ENOFUNC, AUR_ENOMEM.  Without the lock. */
aur_err auri_fn_known(struct auri_proc *p, const aur_fn *fn);
/* With the lock: how workers find fn. */
void auri_fn_encode(struct auri_proc *p, const aur_fn *fn, struct auri_sub_desc *entry);
/* Moves large arguments to the arena; and gives them back. */
aur_err auri_args_place(struct auri_proc *p, auri_task *task);
void auri_args_free(struct auri_proc *p, auri_task *task);
aur_err auri_engine_submit(aur_pool *pool, auri_task *task); /* takes the lock */

/* ---- start.c, buf.c ----------------------------------------------------------------------------- */

aur_err auri_engine_start(aur_pool *pool, const aur_options *opts, aur_diag *diag);
/* Everything that start() made and the guardian did not close yet. */
void auri_engine_free(struct auri_proc *p);
/* With the lock held: the arenas go, unless buffers are left in them. */
void auri_arenas_close(struct auri_proc *p);
aur_err auri_buf_new(aur_pool *pool, size_t size, unsigned flags, void **ret_data,
                     uint64_t *ret_key);
void auri_buf_free(aur_pool *pool, void *data, size_t size, uint64_t key);

/* ---- chunk.c ----------------------------------------------------------------------------------- */

aur_err auri_mapjob_new(struct auri_proc *p, auri_task *task); /* without the lock */
void auri_mapjob_free(struct auri_proc *p, auri_task *task);
bool auri_mapjob_has_work(const struct auri_mapjob *job, const struct auri_map *map);
uint64_t auri_mapjob_chunk_ns(const struct auri_proc *p, const auri_task *task);
bool auri_mapjob_take(struct auri_proc *p, auri_task *task, uint64_t most,
                      struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry);
void auri_mapjob_back(struct auri_proc *p, auri_task *task, uint64_t item, uint64_t count,
                      uint32_t attempt);
void auri_mapjob_fail_item(struct auri_mapjob *job, auri_task *task, uint64_t item, aur_err err,
                           aur_error *error);
void auri_mapjob_settle(struct auri_proc *p, auri_task *task, struct auri_harvest *h);
/* One chunk less is under way. */
void auri_mapjob_landed(struct auri_proc *p, auri_task *task, struct auri_harvest *h);
/* Without the lock: copies results of items whose code is AUR_OK. */
void auri_chunk_copy(const auri_task *task, struct auri_segment *segment,
                     const struct auri_flight *flight, struct auri_extent out, aur_err *errs);
void auri_chunk_strings_back(struct auri_worker *w, struct auri_segment *segment,
                             const struct auri_flight *flight, struct auri_extent out);

/* ---- drain.c, deliver.c, judge.c ---------------------------------------------------------------- */

/* With the lock held: takes all answers there is room for. */
void auri_drain(struct auri_proc *p, struct auri_harvest *h);
/* What w ran in place of a wait has ended so.  False: the answer makes no sense. */
bool auri_inner_answered(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight,
                         const struct auri_comp_desc *comp, struct auri_harvest *h);
void auri_drain_worker(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
/* Hands a task whose outcome is set to whoever delivers the harvest. */
void auri_done(struct auri_harvest *h, auri_task *task);
/* Another attempt after a failure of this kind (AUR_RETRY_*)? */
bool auri_may_retry(const auri_task *task, uint32_t kind, uint32_t attempts);
/* A private copy of the error details that a worker left, or NULL. */
aur_error *auri_error_copy(struct auri_segment *segment, struct auri_extent from);
/* Without the lock: copies, accounts, finishes, serves requests.  True: something was done. */
bool auri_deliver(struct auri_proc *p, struct auri_harvest *h);
/* drain + dispatch + deliver. */
bool auri_pump(struct auri_proc *p);
/* With the lock held: the worker is dead: judges its entries. */
void auri_judge(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
/* ... and its status is known, or never will be: finishes what was lost with it. */
void auri_bury(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
void auri_worker_unref(struct auri_proc *p, struct auri_worker *w);

/* ---- segment.c ---------------------------------------------------------------------------------- */

struct auri_segment *auri_segment_new(void);
void auri_segment_ref(struct auri_segment *segment);
void auri_segment_unref(struct auri_segment *segment);
/* Forgets what was given back: the worker is gone, and so are its views. */
void auri_segment_forget(struct auri_segment *segment);
/* With the lock held: the worker may use the extent again; and: tells it of those that wait to be told of, if
 * they are many or if it has nothing to do. */
void auri_extent_back(struct auri_worker *w, struct auri_extent extent);
void auri_extents_flush(struct auri_worker *w);
/* Makes the result of a byte-string task a view. */
void auri_view_set(auri_task *task, struct auri_segment *segment, void *data);
/* auri_backend.drop: the last reference to a task is gone, whose result may be a view. */
void auri_view_drop(auri_task *task);

/* ---- leader.c ------------------------------------------------------------------------------------ */

void auri_progress(aur_pool *pool, auri_task *task, aur_deadline deadline);
void auri_attend(aur_pool *pool, auri_task *task);
/* With the lock held, after anything new: whoever sleeps must hear of it. */
void auri_listen(struct auri_proc *p);

/* ---- guardian.c, nurse.c -------------------------------------------------------------------------- */

void *auri_guardian(void *proc);
void auri_kick(struct auri_proc *p); /* with the lock held */
void auri_break(struct auri_proc *p, struct auri_harvest *h, const char *why);
/* Slot i shall have a worker from start_ns on. */
void auri_want(struct auri_proc *p, unsigned slot, uint64_t start_ns);
/* Asks the nursery for the workers that are due; returns when the next one is. */
uint64_t auri_nurse_ask(struct auri_proc *p, uint64_t now);
/* Breaks the pool if no worker is left and none can be made. */
void auri_nurse_despair(struct auri_proc *p, struct auri_harvest *h);
/* Reads how many CPUs the pool may use, and tells the workers if that is one: 0.1 ms, which most short pools
 * end without.  Called without the lock. */
void auri_count_cpus(struct auri_proc *p);
/* Takes the nursery's events.  *ret_errno: of the last that FAILED. */
void auri_nursery_events(struct auri_proc *p, struct auri_harvest *h, int *ret_errno);
/* The worker's pidfd is readable. */
void auri_worker_died(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
struct auri_worker *auri_worker_by_epoch(struct auri_proc *p, uint64_t epoch);
#define AURI_TOKEN_KICK 0u
#define AURI_TOKEN_BELL 1u
#define AURI_TOKEN_NURSERY 2u
#define AURI_TOKEN_EPOCH 16u /* + epoch: a worker's pidfd */

/* ---- shrink.c ------------------------------------------------------------------------------------ */

/* The guardian, without the lock: gives memory back that was not in use lately, a piece of ours at a time.
 * Returns when to come again: 0: at once; else `until` at the latest, or UINT64_MAX. */
uint64_t auri_shrink(struct auri_proc *p, uint64_t until);

/* ---- request.c ------------------------------------------------------------------------------------ */

/* With the lock held: whether the worker has asked for something that nobody has looked at. */
bool auri_request_waits(const struct auri_worker *w);
/* With the lock held: notes requests in the harvest. */
void auri_request_look(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
void auri_request_serve(struct auri_proc *p, struct auri_worker *w); /* without the lock */
/* Without the lock: answers it. */
void auri_request_finish(struct auri_proc *p, struct auri_worker *w, aur_err err, uint64_t value);
/* With the lock held: the worker is dead. */
void auri_request_abandon(struct auri_proc *p, struct auri_worker *w);
/* With the lock held: the answer to the worker's request, and size bytes of data with it. */
void auri_reply(struct auri_worker *w, struct auri_reply *r, const void *data, uint64_t size);
void auri_reply_code(struct auri_worker *w, aur_err err, uint64_t value);
/* Of a task that is done; index: among those that were asked for. */
void auri_reply_outcome(struct auri_worker *w, auri_task *task, uint64_t index);
/* With the lock held: keeps the caller's reference for the worker.  False: no memory. */
bool auri_request_hold(struct auri_worker *w, auri_task *task);

/* ---- nested.c ------------------------------------------------------------------------------------- */

/* Without the lock. */
void auri_serve_submit(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r);

/* ---- waits.c -------------------------------------------------------------------------------------- */

/* Without the lock: WAIT and POLL. */
void auri_serve_wait(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r);
/* Only then may the task's pool be looked at without a look at whether it is done. */
bool auri_holds_pool(auri_task *task);
/* With the lock held: answers waits whose deadline has passed; returns the next one. */
uint64_t auri_request_deadlines(struct auri_proc *p, uint64_t now);
/* With the lock held, for a wait that has no answer yet: the worker sleeps from here on.  `awaited` or `any` is
 * set.  Then, without it, when the continuations are there: the verdict, and what follows from the wait. */
void auri_wait_begin(struct auri_worker *w, const struct auri_request *r);
void auri_wait_settle(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r,
                      auri_task *const *tasks, size_t n);
/* With the lock held: the wait is over, one way or another; the caller replies, and drops the reference to the
 * task that it was for; NULL: it was for any. */
auri_task *auri_wait_end(struct auri_worker *w);
/* With the lock held: what the worker waits for: one of these, of which the first w->needs are its edge. */
auri_task *const *auri_wait_tasks(const struct auri_worker *w, size_t *ret_n);
/* With the lock held: the one task that its edge leads to.  NULL: it is none, or leads to several. */
auri_task *auri_wait_needed(const struct auri_worker *w);
/* With the lock held: moves a task of our queue that it waits for to the front.  False: there is none. */
bool auri_wait_hurry(struct auri_proc *p, struct auri_worker *w);
/* With the lock held: moves an awaited task of this pool to the front of the queue. */
void auri_hurry(struct auri_proc *p, auri_task *task);
/* With the lock held: ends the wait of a worker with an error; or with a task that it runs first; or
 * without an answer, if it waits at all. */
void auri_wait_refuse(struct auri_worker *w, aur_err err);
bool auri_wait_entry(struct auri_worker *w, const struct auri_sub_desc *entry);
void auri_wait_abandon(struct auri_worker *w);
/* With the lock held: the worker, which waits without a deadline, has no edge for a moment; and has one
 * again, if its wait is not refused because of that. */
void auri_wait_hide(struct auri_worker *w);
void auri_wait_show(struct auri_worker *w);

/* ---- any.c ---------------------------------------------------------------------------------------- */

/* Without the lock: WAIT_ANY. */
void auri_serve_wait_any(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r);
/* With the lock held: a part of auri_wait_end(). */
void auri_any_stop(struct auri_worker *w);
auri_task *const *auri_any_tasks(const struct auri_any *any, size_t *ret_n);
/* What its edge needs of them; NULL: any one. */
struct auri_formula *auri_any_formula(const struct auri_any *any);

/* ---- place.c -------------------------------------------------------------------------------------- */

/* With the lock held: tells a worker that waits to run, in place of that, what its wait comes down to.
 * False: there is no such task in our queue. */
bool auri_run_in_place(struct auri_proc *p, struct auri_worker *w);
/* With the lock held: notes that nobody is left to take from our queue, or that there may be somebody. */
void auri_dry_mark(struct auri_proc *p, bool dry);
/* With the lock held, and the mark set: lets a worker run in place what its wait comes down to over other
 * pools that are dry; refuses a wait if nobody can run anything. */
void auri_run_dry(struct auri_proc *p);
/* With the lock held: kills w if what it runs in place is late; returns when it could be. */
uint64_t auri_inner_deadlines(struct auri_worker *w, uint64_t now);
void auri_serve_ran(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r);

/* ---- spare.c -------------------------------------------------------------------------------------- */

/* With the lock held: starts a spare in place of workers that wait, or lets them run what they wait for, or
 * refuses a wait. */
void auri_relieve(struct auri_proc *p);
/* With the lock held: the worker that must be kept for what others wait for, or NULL; *ret_awaited: the
 * front of the queue is that. */
struct auri_worker *auri_reserve(struct auri_proc *p, bool *ret_awaited);

#endif /* AURI_PROC_STEPS_H */
