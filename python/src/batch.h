/* batch.h: what the two sides of a batch say to each other.
 *
 * A record: 'M', flags u32, buffer u64, from u64, room u64, count u32, then the function and the items.
 * At `from` lies a struct tally, then the results: status byte, then a value, or u32 size and error. */
#ifndef AURIGA_PYTHON_BATCH_H
#define AURIGA_PYTHON_BATCH_H

#include <stdint.h>

#define HEAD_BYTES (1 + 4 + 8 + 8 + 8 + 4)

struct tally {
    uint64_t done; /* results that are whole; the worker stores it last, with release order */
    uint64_t used; /* bytes of results */
};

#endif
