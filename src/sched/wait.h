/* sched/wait.h: waiting, for threads in and out of tasks: help, compensate, detect, park. */
#ifndef AURI_SCHED_WAIT_H
#define AURI_SCHED_WAIT_H

#include "sched/run.h"
#include "task/pool.h"

/* Waits until the task is done.  The errors of aur_future_wait() but AUR_EINVAL; AUR_EDEADLK fills
 * aur_last_error().  A wait without a deadline may run the task, or what it waits for, itself. */
aur_err auri_wait_task(auri_task *task, aur_deadline deadline);

/* Waits for a task whose wait has failed, where the caller cannot go on without it: who holds it up is refused his
 * wait. */
void auri_wait_out(auri_task *task);

/* Sleeps until *word != value, as a wait of kind ANY over `tasks` (may be NULL with n 0: a wait that
 * nothing is known about).  For composite waits that count completions in a word of their own. */
aur_err auri_wait_word(_Atomic(uint32_t) *word, uint32_t value, auri_task *const *tasks, size_t n,
                       aur_deadline deadline);
/* The same where some of the tasks are untold (task/pool.h): as long as one of those can be done, it asks for
 * these.  It looks at all of them, so only for sets that have such. */
aur_err auri_wait_word_asking(_Atomic(uint32_t) *word, uint32_t value, auri_task *const *tasks,
                              size_t n, aur_deadline deadline);

/* Only a task that holds its pool may be asked for it: the pool of another one may be gone once it is done. */
static inline bool auri_task_is_untold(const auri_task *task)
{
    /* relaxed: the flag is constant for who has a reference. */
    return (auri_load_rlx(&((auri_task *)task)->word) & AURI_F_HOLDS) != 0 &&
           task->pool->backend->await_any != NULL;
}

/* A submit of this thread to the pool has woken a worker, or a wait of it is going to sleep.  If that happens again
 * and again, its workers are told to keep off this CPU, and the next wait looks on for longer. */
void auri_note_sleep(struct auri_record *self, aur_pool *pool);

/* Room for one more task, or branch of a fork, on this stack. */
bool auri_stack_has_room(const struct auri_record *self);

/* The calling worker is about to sleep inside a task: its pool may need another one.  On AUR_OK
 * auri_unblock() must follow. */
bool auri_is_worker_in_task(const struct auri_record *self);
/* That, and its pool does not count it as blocked already (aur_blocking_begin). */
bool auri_needs_substitute(const struct auri_record *self);
aur_err auri_block(struct auri_record *self);
/* The same for one who cannot give up: if no worker can be had, another wait is refused in its place. */
void auri_block_owner(struct auri_record *self);
void auri_unblock(struct auri_record *self);
/* Back to `depth` nested aur_blocking_begin(), as at the start of a task that did not end them all. */
void auri_blocking_leave(struct auri_record *self, unsigned depth);

#endif /* AURI_SCHED_WAIT_H */
