/* sched/threads.h: the backend of AUR_THREADS. */
#ifndef AURI_SCHED_THREADS_H
#define AURI_SCHED_THREADS_H

#include "task/pool.h"

extern const struct auri_backend auri_backend_threads;

#endif /* AURI_SCHED_THREADS_H */
