/* tests/model/runtime/explore.h: the state of a search, shared by explore.c, reduce.c and pct.c. */
#ifndef AURT_MODEL_EXPLORE_H
#define AURT_MODEL_EXPLORE_H

#include "internal.h"

#define NODES_MAX 60000u

/* Actors: threads, then their kills, then their timeouts. */
#define ACTORS (3 * MODEL_THREADS)
#define ALL_THREADS 0xffu
#define ALL_KILLS 0xff00u
#define ALL_TIMEOUTS 0xff0000u
#define ACTOR_KILL(t) (1u << (MODEL_THREADS + (t)))
#define ACTOR_TIMEOUT(t) (1u << (2 * MODEL_THREADS + (t)))

/* A choice: who goes, or one of n values. */
struct node {
    bool is_sched;
    uint8_t chosen;
    uint8_t n;
    uint32_t enabled;
    uint32_t backtrack; /* to be tried here */
    uint32_t done;      /* tried */
    uint32_t sleep;     /* need not be tried */
};

struct step {
    struct op op;
    uint8_t actor;
    uint32_t node;
    uint16_t clock[ACTORS]; /* the steps before it that it depends on: for each actor, one past the
                               last of them */
};

struct search {
    const struct model_bound *bound;
    bool replays;
    struct node node[NODES_MAX];
    unsigned nodes; /* in use */
    unsigned fixed; /* of them, to be repeated */
    unsigned depth; /* so far in this execution */
    struct step step[STEPS_MAX];
    unsigned steps;
    unsigned steps_kept; /* of the execution before */
    unsigned steps_longest;
    uint16_t clock[MODEL_THREADS][ACTORS];
    unsigned last; /* the thread that went last */
    unsigned preemptions;
};
extern struct search search;

/* reduce.c */
unsigned thread_of(unsigned actor);
uint32_t enabled_actors(void);
void max_into(uint16_t *into, const uint16_t *from);
/* Takes the step of `actor` down, and what it races with. */
void record_step(unsigned actor);
/* What was explored from earlier nodes, and is not affected by the last step, need not come again. */
uint32_t inherited_sleep(void);

/* pct.c */
void pct_seed(uint64_t seed);
void pct_begin(void);
void pct_thread(unsigned t);
uint8_t pct_actor(uint32_t enabled);
uint8_t pct_value(unsigned n);
bool pct_spurious(void);

/* port.c */
void port_reset(void);
void port_thread_ends(void);

#endif /* AURT_MODEL_EXPLORE_H */
