/* task/layout.h: what a task is made of, and where its arguments and its result are.
 *
 * Two lines are a task, and what an ordinary small call needs from submit to free is in the first one:
 * between two CPUs, the time of an empty call is that of its lines on their way.  What few calls need is in
 * a second part (struct auri_cold), which lies elsewhere; ordinary calls never touch it, so that its pages
 * are never made.
 *
 * Fields: I set before QUEUED, then constant; R written by the runner only (visible to others after
 * DONE); A atomic; L guarded by the task's stripe lock (task/cont.c). */
#ifndef AURI_TASK_LAYOUT_H
#define AURI_TASK_LAYOUT_H

#include <auriga.h>
#include <stddef.h>

#include "base/atomic.h"

#define AURI_INLINE_BYTES 72 /* the first 8 of them are in line 0: bench/submit */
#define AURI_LATE_BYTES 48

struct auri_cont;
struct auri_map;

/* What an item may do; the pool's defaults, or a heap copy for calls with their own options. */
struct auri_limits {
    uint64_t item_timeout_ns; /* 0: none */
    uint32_t retries;
    uint32_t retry_on; /* AUR_RETRY_*, never 0 */
};

/* Whether they make each item of a map an attempt of its own. */
static inline bool auri_limits_each(const struct auri_limits *limits)
{
    return limits->item_timeout_ns != 0 ||
           (limits->retries != 0 &&
            (limits->retry_on & (AUR_RETRY_ERROR | AUR_RETRY_DEADLINE)) != 0);
}

typedef struct aur_future auri_task;

/* Runs the body of a claimed task and fills err, error and result; not its state. */
typedef void auri_run_fn(auri_task *task);

/* The part of a task that ordinary calls never touch: auri_task_cold().  All zero in a free task. */
struct auri_cold {
    const struct auri_limits *limits; /* I: malloc'ed, with AURI_T_LIMITS */
    auri_run_fn *run;                 /* I: with AURI_T_RUN */
    const char *site;                 /* I: with AURI_T_SITE */
    aur_error *error;                 /* R: malloc'ed details, or NULL; NULL if err is AUR_OK */
    struct auri_cont *conts;          /* L: NULL if the word never had CONTS */
};

/* What is special about a task (`traits`): nothing, for an ordinary call. */
enum {
    AURI_T_ARGS_MASK = 3, /* where its arguments are: AURI_ARGS_* */
    AURI_T_RET_OUT = 4,   /* store.ret_out says where its result is */
    AURI_T_MAP = 8,       /* the root task of a map: store.map */
    AURI_T_LIMITS = 16,   /* it has limits of its own */
    AURI_T_RUN = 32,      /* it is run by a function of its own */
    AURI_T_SITE = 64,     /* its site is too far from its function to be told by `site` */
    AURI_T_STACK = 128,   /* it is no slab's: it lies on the stack of the thread that runs it */
};

/* Where the argument record is. */
enum {
    AURI_ARGS_FIRST = 0, /* from the first byte of the store */
    AURI_ARGS_LINE,      /* from line 1, aligned to 16 */
    AURI_ARGS_LATE,      /* behind store.ret_out, aligned to 16 */
    AURI_ARGS_OUT,       /* store.args_out says where */
};

struct aur_future {
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) word; /* A */
    _Atomic(uint32_t) refs;                          /* A */
    uint32_t index;                                  /* I for ever: place in the slabs */
    struct aur_pool *pool;                           /* I */
    const aur_fn *fn;                                /* I: NULL for the root task of a map */
    struct aur_future *next;                         /* inbox or free list link */
    union {
        void *priv; /* the backend's own */
        _Atomic(struct aur_future *)
            other; /* in threads.  A: in a list, see AURI_AHEAD; R: see run.c */
    };
    int32_t site;      /* I: how far behind fn "file:line" lies, or 0: auri_task_site() */
    uint16_t attempts; /* R: how often it was started */
    uint8_t traits;    /* I: AURI_T_* */
    uint8_t err;       /* R: the outcome; auri_task_set_err() */
    /* Argument record and result, where they fit, or what is known of them. */
    union {
        unsigned char bytes[AURI_INLINE_BYTES];
        struct { /* with AURI_T_MAP, all I */
            struct auri_map *map;
            const char *map_site;
            auri_run_fn *map_run; /* how a thread runs it; NULL: only the backend can */
        };
        const char *here_site; /* I: with AURI_T_STACK */
        struct {
            unsigned char data[AURI_INLINE_BYTES - 1];
            _Atomic(uint8_t) told; /* A: where auri_task_tells() */
        };
        struct {
            uint64_t in_size; /* I: byte strings: of the argument */
            void *ret_out; /* I or R: AURI_T_RET_OUT; malloc'ed, in the store, or the backend's */
            uint64_t out_size; /* R: byte strings: of the result */
            union {
                void *args_out; /* I: AURI_ARGS_OUT; malloc'ed, or the backend's; R: NULL, later */
                unsigned char late[AURI_LATE_BYTES]; /* AURI_ARGS_LATE */
            };
        };
    } store;
};
_Static_assert(sizeof(struct aur_future) == 128, "a pending call costs 128 bytes");
_Static_assert(offsetof(struct aur_future, store) == 56, "8 bytes of the store are in line 0");
_Static_assert(offsetof(struct aur_future, store.late) == 80, "aligned to 16");
_Static_assert(offsetof(struct aur_future, store.told) == 127, "the last byte");
_Static_assert(AUR_ERR_COUNT_ <= 256, "a code fits into `err`");

struct auri_cold *auri_task_cold(const auri_task *task);

/* ---- what a task is about -------------------------------------------------------------------- */

/* A code that is none becomes AUR_ETASK. */
static inline void auri_task_set_err(auri_task *task, aur_err err)
{
    task->err = (uint8_t)(err >= 0 && err < AUR_ERR_COUNT_ ? err : AUR_ETASK);
}

/* Both, details first made by others or NULL.  The code in them becomes that of the task. */
void auri_task_set_error(auri_task *task, aur_err err, aur_error *error);

/* Details of the failure, or NULL. */
static inline aur_error *auri_task_error(const auri_task *task)
{
    return task->err != AUR_OK ? auri_task_cold(task)->error : NULL;
}

/* The map whose root this task is, or NULL.  The map is gone once the root is done. */
static inline struct auri_map *auri_task_map(const auri_task *task)
{
    return (task->traits & AURI_T_MAP) != 0 ? task->store.map : NULL;
}

/* Makes the task the root of a map, whose caller stands at site; run: see store.map_run. */
void auri_task_set_map(auri_task *task, struct auri_map *map, const char *site, auri_run_fn *run);

/* Gives the task something malloc'ed to free at its end.  A root's; the arguments of others are that. */
static inline void auri_task_set_args_out(auri_task *task, void *args)
{
    task->store.args_out = args;
    task->traits |= AURI_ARGS_OUT;
}

/* Where the submitting call stands: "file:line", or NULL. */
const char *auri_task_site(const auri_task *task);
/* After fn.  A function's descriptor and the names of the files that call it are mostly in one module, and a
 * module is smaller than 2 GiB.  So ordinary calls have it in half a pointer. */
void auri_task_set_site_far_(auri_task *task, const char *site);
static inline void auri_task_set_site(auri_task *task, const char *site)
{
    int64_t distance = (int64_t)((uintptr_t)site - (uintptr_t)task->fn);

    if (site != NULL && distance != 0 && distance == (int32_t)distance) {
        task->site = (int32_t)distance;
    } else {
        auri_task_set_site_far_(task, site);
    }
}

/* Has a call run by `run` instead of auri_run_call() (sched/run.h). */
void auri_task_set_run(auri_task *task, auri_run_fn *run);

/* Takes over limits of its own, malloc'ed. */
void auri_task_set_limits(auri_task *task, const struct auri_limits *limits);

/* Whether that is a place in the task's own store. */
bool auri_task_is_in_store(const auri_task *task, const void *at);

static inline unsigned auri_task_args_kind(const auri_task *task)
{
    return task->traits & AURI_T_ARGS_MASK;
}

/* Where arguments of that kind, or the pointer to them, are in a task. */
static inline size_t auri_args_at(unsigned kind)
{
    return kind == AURI_ARGS_FIRST  ? offsetof(auri_task, store)
           : kind == AURI_ARGS_LINE ? AURI_CACHE_LINE
                                    : offsetof(auri_task, store.late);
}

/* Where a result of fn is in a task whose arguments are of that kind. */
static inline size_t auri_ret_at(const aur_fn *fn, unsigned kind)
{
    size_t end = auri_args_at(kind) + (kind == AURI_ARGS_OUT ? sizeof(void *) : fn->args_size);

    return (end + fn->ret_align - 1) & ~((size_t)fn->ret_align - 1);
}

static inline void *auri_task_args(const auri_task *task)
{
    unsigned kind = auri_task_args_kind(task);

    return kind == AURI_ARGS_OUT ? task->store.args_out : (char *)task + auri_args_at(kind);
}

/* The result of a call; NULL: a byte string that is not there yet.  Not of a map. */
static inline void *auri_task_ret(const auri_task *task)
{
    if ((task->traits & AURI_T_RET_OUT) != 0) {
        return task->store.ret_out;
    }
    return (char *)task + auri_ret_at(task->fn, auri_task_args_kind(task));
}

/* Whether line 1 moves with the call, for its arguments or its result, and the last byte of it is free.  Then that
 * byte, `told`, says that the outcome is about to be there: it becomes auri_word_told() just before the task is
 * done.
 *
 * It is a hint, for a wait that spins.  As long as that looks at line 1 only, the runner has line 0 to itself, whose
 * notes it writes at the start and at the end of the call; and what says that the result is there comes together
 * with the result (bench/handoff).  Whoever sees it looks at the word, since it may have been left there by a call
 * of 256 generations before. */
static inline bool auri_task_tells(const auri_task *task)
{
    if (task->fn == NULL || (task->traits & (AURI_T_MAP | AURI_T_RET_OUT)) != 0) {
        return false;
    }
    size_t end = auri_ret_at(task->fn, auri_task_args_kind(task)) + task->fn->ret_size;

    return end > AURI_CACHE_LINE && end < sizeof(auri_task);
}

/* A task with the room of a byte string.  args: NULL: behind its sizes, where AURI_LATE_BYTES fit. */
static inline void auri_task_set_bytes(auri_task *task, void *args, uint64_t size)
{
    task->traits = (uint8_t)((task->traits & ~AURI_T_ARGS_MASK) | AURI_T_RET_OUT |
                             (args != NULL ? AURI_ARGS_OUT : AURI_ARGS_LATE));
    task->store.in_size = size;
    task->store.ret_out = NULL;
    task->store.out_size = 0;
    if (args != NULL) {
        task->store.args_out = args;
    }
}

#endif /* AURI_TASK_LAYOUT_H */
