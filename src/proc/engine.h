/* proc/engine.h: the backend of AUR_PROCESSES. */
#ifndef AURI_PROC_ENGINE_H
#define AURI_PROC_ENGINE_H

#include "task/pool.h"

extern const struct auri_backend auri_backend_processes;

/* aur_nursery_run(), whose errors it has. */
aur_err auri_engine_nursery(void);

/* Whether the workers of a process pool have this function, or could find it. */
bool auri_engine_knows(aur_pool *pool, const aur_fn *fn);

#endif /* AURI_PROC_ENGINE_H */
