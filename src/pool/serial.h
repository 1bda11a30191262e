/* pool/serial.h: the backend of AUR_SERIAL: no workers, each call runs at once in its caller. */
#ifndef AURI_POOL_SERIAL_H
#define AURI_POOL_SERIAL_H

#include "task/pool.h"

extern const struct auri_backend auri_backend_serial;

#endif /* AURI_POOL_SERIAL_H */
