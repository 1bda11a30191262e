/* tests/model/runtime/model.h: what a client of the model explorer writes.
 *
 * A client is a small closed program over the real sources: a setup, up to MODEL_THREADS bodies that
 * run as logical threads, and a check.  The explorer runs it again and again, and each time decides
 * differently who goes next and what a load returns, within the C11 memory model (README.md).
 * MODEL_CHECK may stand anywhere.  Everything that the client writes, static objects included, is
 * put back before the next run. */
#ifndef AURT_MODEL_H
#define AURT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_THREADS 8

typedef enum model_search {
    MODEL_DPOR = 0, /* all executions, one of each class that cannot be told apart */
    MODEL_PLAIN,    /* all executions with at most `preemptions` preemptions, no reduction */
    MODEL_PCT,      /* `runs` executions by random priorities with `depth` - 1 change points */
} model_search;

#define MODEL_ANY_PREEMPTIONS 1000

struct model_bound {
    model_search search;
    unsigned preemptions; /* MODEL_PLAIN */
    unsigned depth;       /* MODEL_PCT */
    uint64_t runs; /* MODEL_PCT: how many; else: give up (not complete) after so many; 0: never */
};

struct model_client {
    const char *name;
    void (*setup)(void); /* before the threads; alone */
    void (*body[MODEL_THREADS])(void);
    void (*check)(void); /* after the threads; alone */
    unsigned killable;   /* bit i: body i stands for a process, which may be killed at any step */
    unsigned cpus;       /* of the machine; 0: 2 */
    uint64_t clock_step_ns;   /* how far each look at the clock moves a thread's time; 0: 1 us */
    unsigned steps_max;       /* an execution with more steps is cut; 0: 5000 */
    bool must_end;            /* then it has failed; else so only in a complete search */
    unsigned stale_max;       /* so often in a row a load may return the same old value; 0: 3 */
    struct model_bound quick; /* ./dev test */
    struct model_bound full;  /* ./dev check model */
    /* The client is broken on purpose, and the explorer must say so: part of its message. */
    const char *must_fail;
    /* Not 0: a search that is complete must see exactly these outcomes (model_outcome). */
    uint64_t outcomes;
};

/* The main function of a client program. */
int model_main(int argc, char **argv, const struct model_client *clients, size_t n);

#define MODEL_CHECK(cond) ((cond) ? (void)0 : model_failed("%s:%d: %s", __FILE__, __LINE__, #cond))
void model_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A choice of the client's own: 0 .. n - 1, each explored. */
unsigned model_choose(unsigned n);

/* The calling body's number. */
unsigned model_self(void);

/* Blocks until body i has ended or was killed: like a wait for a child, all it did is visible then.
 * model_is_over: the same question, without blocking (and like a poll of a pidfd). */
void model_await_end(unsigned i);
bool model_is_over(unsigned i);
/* After model_await_end(i): it was killed. */
bool model_was_killed(unsigned i);
/* No more kills from here on. */
void model_forbid_kills(void);

/* A counter that a thread can wait on: stands for an eventfd.  model_event_wait takes all that was
 * signalled, and blocks while that is nothing, unless body `or_end_of` is over (MODEL_THREADS: no
 * such body).  False: it returned because of that. */
void model_event_signal(unsigned event);
bool model_event_wait(unsigned event, unsigned or_end_of);
#define MODEL_EVENTS 4

/* Restricts fairness: a loop that waits for others says so. */
void model_yield(void);

/* Names an object in the log of a failure. */
void model_name(const volatile void *object, const char *name);

/* Bytes handed out by malloc() and not freed. */
size_t model_heap_used(void);

/* A result of the execution, to be counted: for litmus tests.  Below 64. */
void model_outcome(unsigned outcome);

#endif /* AURT_MODEL_H */
