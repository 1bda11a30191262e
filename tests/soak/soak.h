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

/* Two pools that outlive all rounds, for the tasks of the rounds; forked workers inherit them, spawned ones
 * find NULL. */
extern aur_pool *soak_serial;
extern aur_pool *soak_beside; /* two threads, which run nothing that waits */

/* True: success.  Else the round has to explain the error, or the program ends. */
bool soak_fine(const struct soak_round *r, aur_err err, const char *file, int line);
#define FINE(...) soak_fine(r, (__VA_ARGS__), __FILE__, __LINE__)

/* In a task that returns an int: what does not hold is its failure, by a code that soak_waited() knows. */
#define MUST(...)                                                                                  \
    if (!(__VA_ARGS__)) {                                                                          \
        return aur_fail(-__LINE__, "%s: %s", __FILE__, #__VA_ARGS__);                              \
    }
/* The outcome of a task that waits, and passes on what its calls get.  True: success. */
bool soak_waited(const struct soak_round *r, aur_err err, const aur_error *error);

/* One operation, with all its checks. */
void soak_step(const struct soak_round *round, uint64_t *random);

/* Operations of inside.c: tasks that wait, in the pool of the round and in the two above. */
void soak_tree(const struct soak_round *r, uint64_t *random);
void soak_cycle(const struct soak_round *r, uint64_t *random);
void soak_inside(const struct soak_round *r, uint64_t *random);

/* Of forks.c: tasks that fork and join. */
void soak_forks(const struct soak_round *r, uint64_t *random);

/* AUR_AUTO: its verdict on some function becomes another one.  first: no thread submits yet, so that worker
 * processes may be forked. */
void soak_decide(const struct soak_round *r, uint64_t *random, bool first);

#endif /* AURT_SOAK_H */
