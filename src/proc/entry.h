/* proc/entry.h: running one entry of the ring in a worker process. */
#ifndef AURI_PROC_ENTRY_H
#define AURI_PROC_ENTRY_H

#include "proc/worker.h"

/* Runs entry self->head, which the caller has claimed, and fills the answer; *comp comes zeroed but for
 * op.  Not for QUIT. */
void auri_entry_run(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                    struct auri_comp_desc *comp);

/* Runs a task in place of a wait of the entry that is being run; fills the answer.  What the control
 * segment says of that entry (progress, its time limit) stays as it is.  Called by: the worker's own
 * thread, with room on its stack. */
void auri_entry_run_inner(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                          struct auri_comp_desc *comp);

#endif /* AURI_PROC_ENTRY_H */
