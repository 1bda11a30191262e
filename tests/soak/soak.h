/* soak.h: one round of the soak test: a pool, and what its submitting threads may do with it. */
#ifndef AURT_SOAK_H
#define AURT_SOAK_H

#include "aurt.h"

#include <auriga.h>

/* xorshift, one state for each thread: the same seed makes the same calls. */
static inline uint64_t soak_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* [0, n) */
static inline uint64_t soak_below(uint64_t *state, uint64_t n)
{
    return (soak_random(state) >> 11) % n;
}

struct soak_round {
    aur_pool *pool;
    int32_t kind;
    bool kills;       /* worker processes are killed meanwhile */
    bool closes;      /* the pool is closed or terminated meanwhile */
    uint64_t timeout; /* of each item; 0: none */
    bool bounded;     /* the queue is: AUR_EBUSY may be an answer */
};

/* One operation, with all its checks. */
void soak_step(const struct soak_round *round, uint64_t *random);

#endif /* AURT_SOAK_H */
