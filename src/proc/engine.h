/* proc/engine.h: the backend of AUR_PROCESSES. */
#ifndef AURI_PROC_ENGINE_H
#define AURI_PROC_ENGINE_H

#include "task/pool.h"

extern const struct auri_backend auri_backend_processes;

/* aur_nursery_run() and aur_nursery_serve(), whose errors they have. */
aur_err auri_engine_nursery(void);
aur_err auri_engine_serve(int socket_fd);

/* Whether the workers of a process pool have this function, or could find it. */
bool auri_engine_knows(aur_pool *pool, const aur_fn *fn);

#endif /* AURI_PROC_ENGINE_H */
