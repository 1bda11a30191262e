/* proc/entry.h: running one entry of the ring in a worker process. */
#ifndef AURI_PROC_ENTRY_H
#define AURI_PROC_ENTRY_H

#include "proc/worker.h"

/* Runs entry self->head, which the caller has claimed, and fills the answer; *comp comes zeroed but for
 * op.  Not for QUIT. */
void auri_entry_run(struct auri_worker_self *self, const struct auri_sub_desc *desc,
                    struct auri_comp_desc *comp);

#endif /* AURI_PROC_ENTRY_H */
