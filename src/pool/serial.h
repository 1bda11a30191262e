/* pool/serial.h: the backend of AUR_SERIAL: no workers, each call runs at once in its caller. */
#ifndef AURI_POOL_SERIAL_H
#define AURI_POOL_SERIAL_H

#include "task/pool.h"

extern const struct auri_backend auri_backend_serial;

/* The same for a worker process's view of a serial pool of its parent: the calls run in the worker, and
 * the pool is not its to end (proc/remote.h). */
extern const struct auri_backend auri_backend_serial_view;

#endif /* AURI_POOL_SERIAL_H */
