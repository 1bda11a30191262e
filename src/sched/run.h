/* sched/run.h: running a claimed task in the calling thread, with its frame, attempts and deadline. */
#ifndef AURI_SCHED_RUN_H
#define AURI_SCHED_RUN_H

#include "task/pool.h"
#include "task/record.h"

/* Runs a task that the caller has claimed (any number of attempts), finishes it, and leaves the
 * references alone.  Saves errno around it.  Helped: it runs in place of a wait. */
void auri_run_claimed(auri_task *task, bool helped);

/* Claims, runs and finishes a task that a worker of its pool has out of a queue, and drops the queue's reference; for
 * ordinary calls.  Outside of all frames: in a worker's own loop, whose errno is nobody's. */
static inline bool auri_runs_plain(const auri_task *task)
{
    return task->traits <= AURI_ARGS_LINE && task->pool->takes_all;
}
void auri_run_plain(struct auri_record *self, auri_task *task);

/* A call or a map that its caller runs at once, and that nobody has a handle of.  Its task is there for whoever
 * looks at frames, and has a word, a function and a site, but no second part, no count and no end. */
struct auri_call_here {
    struct auri_record *self;
    unsigned blocking; /* self->blocking outside */
    struct auri_frame frame;
    auri_task task; /* its second line is the caller's: AURI_HERE_RET_BYTES */
};

/* Room for a result in the task, where nothing else of such a call is.  It has any alignment that so small a
 * result can have. */
#define AURI_HERE_RET_BYTES 64u
static inline void *auri_here_ret(struct auri_call_here *here)
{
    return (char *)&here->task + AURI_CACHE_LINE;
}

/* The pool has counted the call.  Between the two, the frame and the task are the innermost ones of the
 * thread.  If a body ends the thread and unwinds, the end comes in a cleanup; the outcome is its caller's. */
void auri_here_begin(struct auri_call_here *here, aur_pool *pool, const aur_fn *fn,
                     const char *site);
void auri_here_end(struct auri_call_here *here);

/* Before the end: the call failed, or was cancelled.  error: for aur_last_error(); NULL: the thread ends, and
 * nobody is told. */
void auri_here_fail(struct auri_call_here *here, aur_err err, const aur_error *error);

/* The run function of an ordinary call: fn->range over one record, or one byte string. */
void auri_run_call(auri_task *task);

/* Tells the calling worker's pool about the tasks it finished since the last time. */
void auri_finished_flush(struct auri_record *self);

/* Frames: what aur_fail(), aur_checkpoint(), aur_pool_current() look at. */
void auri_frame_push(struct auri_record *self, struct auri_frame *frame);
void auri_frame_pop(struct auri_record *self, struct auri_frame *frame);
/* A child that a task forked (auri_record.forked) has come back from the task: into a worker that it is not.  It
 * ends here, without the exit handlers of a host that it is not either. */
_Noreturn void auri_child_end(void);
/* Marks the frame as failed, unless it is already; takes over the error, which is NULL if no memory was
 * left for it. */
void auri_frame_fail(struct auri_frame *frame, aur_err err, aur_error *error);

/* Where a byte-string body puts its result (aur_out).  alloc/free are the place's own. */
struct aur_out {
    void *data;
    size_t size;
    bool failed;                                      /* an allocation failed */
    void *(*alloc)(struct aur_out *out, size_t size); /* NULL: malloc */
    void (*release)(struct aur_out *out);             /* drops data; NULL: free */
    void *ctx;
};

/* Fills a fresh error record with everything known about the calling frame. */
aur_error *auri_error_new(aur_err err, const char *function, const char *site);

/* Stores a copy of *error as the calling thread's aur_last_error(). */
void auri_last_error_set(const aur_error *error);
/* The same from a task's outcome or a bare code. */
aur_err auri_last_error_of(auri_task *task);
aur_err auri_last_error_code(aur_err err, const char *function, const char *site,
                             const char *format, ...) AUR_PRINTF(4, 5);

#endif /* AURI_SCHED_RUN_H */
