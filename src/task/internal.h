/* task/internal.h: what the files of src/task share, and what a thread that parks, or runs a call the short way,
 * needs of them. */
#ifndef AURI_TASK_INTERNAL_H
#define AURI_TASK_INTERNAL_H

#include "task/record.h"

/* Puts a task whose references are gone back into its slab (next generation). */
void auri_slab_put(auri_task *task);

/* Hands collected foreign tasks back to their home now.  By a thread that parks or ends. */
void auri_slab_flush(struct auri_record *self);

/* Forget, in a fork child, that other threads existed. */
void auri_records_after_fork(void);
void auri_conts_after_fork(void);
void auri_pools_after_fork(void);

#endif /* AURI_TASK_INTERNAL_H */
