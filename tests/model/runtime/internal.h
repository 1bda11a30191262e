/* tests/model/runtime/internal.h: shared by the files of the explorer.  See README.md. */
#ifndef AURT_MODEL_INTERNAL_H
#define AURT_MODEL_INTERNAL_H

#include "model.h"

#define LOCATIONS_MAX 1016u
#define VIEW_MAX (MODEL_THREADS + LOCATIONS_MAX)
#define STEPS_MAX 20000u

/* ---- memory.c: what C11 lets a load return -------------------------------------------------- */

/* One array serves as vector clock and as view: entries below MODEL_THREADS are the clocks of the
 * threads (happens-before), the others are the oldest store of each location that may still be read
 * (coherence).  Joining two is one maximum over all entries. */
typedef uint16_t clk;

/* A store in the modification order of its location. */
struct store {
    uint64_t value;
    clk *view; /* what an acquire that reads it learns; NULL: nothing */
    uint16_t view_n;
};

struct location {
    uintptr_t addr;
    uint8_t size;
    bool overwritten;           /* by a plain store: the next access finds the value in memory */
    uint16_t id;                /* in views */
    uint16_t n;                 /* stores so far */
    uint16_t room;              /* of history */
    struct store *history;      /* in modification order, which is the order of execution */
    clk touched[MODEL_THREADS]; /* clock of each thread's last atomic access ... */
    clk wrote[MODEL_THREADS];   /* ... and atomic store, for races with plain accesses */
    uint16_t stale_at[MODEL_THREADS]; /* the old store that this thread read last ... */
    uint8_t stale_n[MODEL_THREADS];   /* ... and how often in a row */
    struct location *next;            /* in the same cell */
};

enum order { RELAXED = 0, CONSUME, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };

extern _Thread_local void *aur_self_2_; /* src/task/record.c has it, if it is linked */

void memory_reset(void);
void memory_fork(unsigned parent, unsigned child);     /* parent's past is the child's */
void memory_join(unsigned thread, unsigned ended);     /* ended's past is thread's */
void memory_publish(unsigned thread, clk *object);     /* into an object's clock: unlock */
void memory_learn(unsigned thread, const clk *object); /* and back: lock */

struct location *memory_location(uintptr_t addr, unsigned size);
uint64_t memory_load(unsigned thread, struct location *loc, enum order order);
void memory_store(unsigned thread, struct location *loc, uint64_t value, enum order order);
/* Reads the newest store, for a read-modify-write that will follow. */
uint64_t memory_newest(unsigned thread, struct location *loc);
void memory_rmw(unsigned thread, struct location *loc, uint64_t value, enum order order);
bool memory_cas(unsigned thread, struct location *loc, uint64_t *expected, uint64_t desired,
                enum order order, enum order order_failed);
void memory_fence(unsigned thread, enum order order);
void memory_catch_up(unsigned thread);
const clk *memory_clock(unsigned thread);

/* ---- shadow.c: plain accesses, the heap, and putting statics back ---------------------------- */

struct span;
struct cell {
    uintptr_t key;
    uint32_t run; /* valid in this execution only */
    struct location *locations;
    struct span *spans;
};
struct cell *shadow_cell(uintptr_t addr);
/* Plain access of a thread to size bytes; pc: where. */
void shadow_access(uintptr_t addr, size_t size, bool write, const void *pc);
/* The same check for an atomic access. */
void shadow_atomic(struct cell *cell, struct location *loc, bool write, const void *pc);
void shadow_reset(void);
void shadow_note_static(uintptr_t addr, size_t size); /* before a write */
void *shadow_alloc(size_t size, size_t align);
void shadow_free(void *p, const void *pc);
/* A plain access that the port makes in the system's place. */
void model_touch(const void *p, size_t size, bool write);
void *run_alloc(size_t size); /* until the end of this execution; zeroed */

/* ---- explore.c: who goes next ---------------------------------------------------------------- */

/* What a thread is about to do, as far as others can notice. */
struct op {
    uint16_t object;  /* 0: none */
    uint8_t write;    /* else only reads */
    uint8_t sc;       /* touches the one order of sequentially consistent operations */
    uint8_t fence;    /* ... all of it */
    uint8_t kind;     /* enum op_kind */
    uint16_t target;  /* OP_JOIN: the thread; OP_EVENT: the event */
    uint16_t object2; /* also read; 0: none */
    uint16_t end_of;  /* OP_EVENT: or this body is over; MODEL_THREADS: none */
    void *mutex;      /* OP_LOCK */
    const void *pc;
};
enum op_kind {
    OP_ACCESS = 0, /* always possible */
    OP_LOCK,       /* possible when the mutex is free */
    OP_UNLOCK,
    OP_JOIN,  /* possible when the target is over */
    OP_EVENT, /* possible when the event is signalled or the target is over */
    OP_YIELD, /* not before another thread has gone, if one can */
    OP_LOCAL, /* nothing that others could notice */
    OP_END,   /* the thread is over */
    OP_KILL,  /* the thread is killed */
    OP_TIMEOUT,
};

enum thread_state { T_NONE = 0, T_READY, T_FUTEX, T_OVER };

struct thread {
    enum thread_state state;
    bool killed;
    bool timed; /* T_FUTEX: may time out */
    bool timed_out;
    bool yielded;  /* not before another thread has gone */
    bool daemon;   /* need not end */
    bool kept_off; /* its CPUs were changed, and not put back */
    struct op op;  /* pending */
    uintptr_t futex;
    uint32_t futex_mark;
    uint64_t now_ns;
    uint64_t deadline_ns;
    void *self_record; /* the thread's value of aur_self_2_ */
    void *specific;    /* of the one pthread key */
    void *(*fn)(void *);
    void *arg;
    void *ret;
    uint32_t priority; /* MODEL_PCT */
};

struct mutex {
    uintptr_t addr;
    uint16_t object;
    int owner; /* -1: free */
    bool once_done;
    clk view[VIEW_MAX];
    struct mutex *next;
};

struct event {
    uint16_t object;
    unsigned count;
    clk view[VIEW_MAX];
};

enum verdict { V_GOING = 0, V_DONE, V_PRUNED, V_CUT, V_FAILED };

struct sim {
    const struct model_client *client;
    const struct model_bound *bound;
    uint32_t run;  /* number of this execution: tells stale cells */
    bool parallel; /* bodies run: else setup and check, which are alone */
    bool logging;
    bool cut_fails; /* --long: an execution that is too long is a failure, to be shown */
    unsigned self;  /* the running thread */
    unsigned threads;
    struct thread thread[MODEL_THREADS];
    uint16_t objects; /* handed out so far */
    uint16_t end_object[MODEL_THREADS];
    struct mutex *mutexes;
    struct event event[MODEL_EVENTS];
    unsigned kills_left;
    enum verdict verdict;
    char message[512];
    uint64_t outcomes;
};
extern struct sim sim;

/* A visible step of the running thread: returns when it is its turn. */
void explore_step(struct op op);
/* The running thread blocks on a futex; returns true if it timed out. */
bool explore_sleep(uintptr_t futex, bool timed);
void explore_wake(unsigned thread);
/* The running thread is over. */
_Noreturn void explore_end(void);
/* A choice among n values, 0 is the usual one. */
unsigned explore_value(unsigned n);
unsigned explore_spawn(void *(*fn)(void *), void *arg);
uint16_t explore_object(void);
/* Ends this execution. */
void explore_stop(enum verdict verdict);

struct result {
    uint64_t executions; /* to their end */
    uint64_t pruned;     /* given up as equal to an earlier one */
    uint64_t cut;        /* too long */
    uint64_t steps;
    bool complete;
    bool failed;
};
/* Runs the client within the bound.  replay: the choices of one execution, or NULL. */
void explore_client(const struct model_client *client, const struct model_bound *bound,
                    const char *replay, uint64_t seed, struct result *ret_result);
/* The choices of the last execution, as text for --replay. */
const char *explore_choices(void);

/* ---- fiber.c --------------------------------------------------------------------------------- */

#define FIBER_MAIN MODEL_THREADS
void fiber_start(unsigned fiber, void (*fn)(void));
void fiber_switch(unsigned from, unsigned to);

/* ---- log.c ----------------------------------------------------------------------------------- */

void log_reset(void);
void log_event(const void *pc, uintptr_t addr, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void log_print(void);

#endif /* AURT_MODEL_INTERNAL_H */
