/* Running claimed tasks: frames, failure marks, attempts, deadlines. */
#include "sched/run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hot.h"
#include "sched/wait.h"
#include "task/internal.h"

/* A worker tells its pool about finished tasks in batches: one contended addition per FLUSH_AT. */
#define FLUSH_AT 64u

/* ---- frames -------------------------------------------------------------------------------- */

void auri_frame_push(struct auri_record *self, struct auri_frame *frame)
{
    frame->up = self->frame;
    self->frame = frame;
}

void auri_child_end(void)
{
    _exit(0);
}

void auri_frame_pop(struct auri_record *self, struct auri_frame *frame)
{
    if (self->forked) {
        auri_child_end();
    }
    AURI_ASSERT(self->frame == frame);
    self->frame = frame->up;
}

static struct auri_frame *current_frame(void)
{
    struct auri_record *self = auri_self_;

    return self != NULL ? self->frame : NULL;
}

/* ---- errors -------------------------------------------------------------------------------- */

aur_error *auri_error_new(aur_err err, const char *function, const char *site)
{
    aur_error *error = calloc(1, sizeof(*error));

    if (error == NULL) {
        return NULL;
    }
    struct auri_record *self = auri_self_;
    struct auri_frame *frame = self != NULL ? self->frame : NULL;
    error->err = err;
    error->function = function;
    error->site = site;
    error->item = frame != NULL && frame->in_map ? frame->item_base + frame->item : AUR_NO_ITEM;
    error->worker = self != NULL ? self->worker : -1;
    error->pid = getpid();
    error->exit_status = -1;
    error->attempts = frame != NULL && frame->task != NULL ? frame->task->attempts : 1;
    return error;
}

void auri_frame_fail(struct auri_frame *frame, aur_err err, aur_error *error)
{
    if (auri_frame_err(frame) != AUR_OK) {
        free(error); /* the first mark counts */
    } else if (frame->failed != NULL) {
        frame->failed(frame, err, error); /* a map keeps its own books, one entry per item */
    } else {
        frame->error = error;
        frame->bare = error == NULL ? err : AUR_OK; /* a failure all the same */
    }
}

static void mark_failed(aur_err err, int code, const char *format, va_list args)
{
    struct auri_frame *frame = current_frame();

    if (frame == NULL || auri_frame_err(frame) != AUR_OK) {
        return; /* outside a task, or the first mark counts */
    }
    const aur_fn *fn = frame->task != NULL ? frame->task->fn : NULL;
    const char *site = frame->task != NULL ? auri_task_site(frame->task) : NULL;
    aur_error *error = auri_error_new(err, fn != NULL ? fn->name : NULL, site);
    if (error != NULL) {
        error->code = code;
        vsnprintf(error->message, sizeof(error->message), format, args);
    }
    auri_frame_fail(frame, err, error);
}

int aur_fail(int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    mark_failed(AUR_ETASK, code, format, args);
    va_end(args);
    return 0;
}

static void mark(aur_err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    mark_failed(err, 0, format, args);
    va_end(args);
}

void aur_fail_thrown(const char *what)
{
    mark(AUR_EEXITED, "the task threw: %s", what);
}

aur_err aur_checkpoint(void)
{
    struct auri_frame *frame = current_frame();

    if (frame == NULL) {
        return AUR_OK;
    }
    /* relaxed, all of them: late is allowed, and what follows does not depend on other data. */
    if (frame->stop != NULL && auri_load_rlx(frame->stop) != 0) {
        return AUR_ECANCELED;
    }
    if (frame->task != NULL && (auri_load_rlx(&frame->task->word) & AURI_F_CANCEL) != 0) {
        return AUR_ECANCELED;
    }
    if (frame->pool != NULL && auri_load_rlx(&frame->pool->state) == AURI_STOPPING) {
        return AUR_ECANCELED;
    }
    if (frame->deadline_ns != AUR_NO_DEADLINE && aurp_now_ns() >= frame->deadline_ns) {
        return AUR_EDEADLINE;
    }
    return AUR_OK;
}

uint64_t aur_item_index(void)
{
    struct auri_frame *frame = current_frame();

    return frame != NULL && frame->in_map ? frame->item_base + frame->item : AUR_NO_ITEM;
}

/* ---- one call ------------------------------------------------------------------------------ */

static void run_bytes(auri_task *task)
{
    struct aur_out out = { 0 };
    struct aur_bytes_call call = { auri_task_args(task), task->store.in_size, &out };
    aur_err err = AUR_OK;
    uint64_t item = 0;

    task->fn->range(&call, &err, 0, 1, &item);
    task->store.ret_out = out.data;
    task->store.out_size = out.size;
    if (err != AUR_OK) {
        mark(err, "%s", aur_err_text(err));
    } else if (out.failed && out.data == NULL) {
        mark(AUR_ENOMEM, "no memory for the result");
    }
}

void auri_run_call(auri_task *task)
{
    uint64_t item = 0;

    if (auri_task_is_bytes(task)) {
        run_bytes(task);
    } else {
        task->fn->range(auri_task_args(task), auri_task_ret(task), 0, 1, &item);
    }
}

/* Whether this outcome deserves another attempt. */
static bool wants_retry(const auri_task *task, aur_err err)
{
    const struct auri_limits *limits = auri_task_limits(task);
    uint32_t on = limits != NULL ? limits->retry_on : 0;
    bool counts =
        err == AUR_EDEADLINE ? (on & AUR_RETRY_DEADLINE) != 0 : (on & AUR_RETRY_ERROR) != 0;

    return counts && auri_task_map(task) == NULL && task->attempts <= limits->retries &&
           (auri_load_rlx(&((auri_task *)task)->word) & AURI_F_CANCEL) == 0;
}

/* Frees what a failed attempt of a byte-string task left. */
static void drop_result(auri_task *task)
{
    if (auri_task_is_bytes(task)) {
        free(task->store.ret_out);
        task->store.ret_out = NULL;
        task->store.out_size = 0;
    }
}

static void run_body(auri_task *task)
{
    if ((task->traits & (AURI_T_MAP | AURI_T_RUN)) == 0) {
        auri_run_call(task);
    } else if ((task->traits & AURI_T_MAP) != 0) {
        task->store.map_run(task);
    } else {
        auri_task_cold(task)->run(task);
    }
}

/* The frame of a task.  Field by field: gcc clears a whole struct of this size by `rep stos`, which took a
 * third of the time of auri_run_claimed() (bench/inside). */
static void frame_init(struct auri_frame *frame, auri_task *task, uint64_t deadline_ns)
{
    frame->task = task;
    frame->pool = task->pool;
    frame->item = AUR_NO_ITEM;
    frame->item_base = 0;
    frame->deadline_ns = deadline_ns;
    frame->error = NULL;
    frame->bare = AUR_OK;
    frame->stop = NULL;
    frame->failed = NULL;
    frame->failed_ctx = NULL;
    frame->in_map = false;
    frame->awaits = NULL; /* and `up` by auri_frame_push() */
}
_Static_assert(sizeof(struct auri_frame) == 13 * 8, "frame_init() knows each field");

/* One attempt: its outcome is in the task. */
static void attempt(struct auri_record *self, auri_task *task)
{
    const struct auri_limits *limits = auri_task_limits(task);
    uint64_t limit = limits != NULL ? limits->item_timeout_ns : 0;
    struct auri_frame frame;

    frame_init(&frame, task, limit != 0 ? aur_deadline_in_ns(limit) : AUR_NO_DEADLINE);
    auri_task_set_err(task, AUR_OK);
    task->attempts++;
    auri_frame_push(self, &frame);
    run_body(task);
    if (frame.deadline_ns != AUR_NO_DEADLINE && auri_task_map(task) == NULL &&
        aurp_now_ns() >= frame.deadline_ns) {
        free(frame.error);
        frame.error = NULL;
        frame.bare = AUR_OK;
        mark(AUR_EDEADLINE, "ran past its deadline of %llu ns", (unsigned long long)limit);
    }
    auri_frame_pop(self, &frame);
    if (auri_frame_err(&frame) != AUR_OK) {
        /* relaxed: the flag is a request; acting on it late or early is both right. */
        bool cancelled = (auri_load_rlx(&task->word) & AURI_F_CANCEL) != 0;
        auri_task_set_error(task, cancelled ? AUR_ECANCELED : auri_frame_err(&frame), frame.error);
    }
}

void auri_finished_flush(struct auri_record *self)
{
    uint64_t n = self->finished_unflushed;
    uint32_t credit = auri_load_rlx(&self->credit); /* relaxed: the thread's own */

    if (credit != 0) {
        /* relaxed, both: for statistics; before the addition in auri_pool_finished(), so that they are
         * exact for who sees that the pool is idle. */
        auri_store_rlx(&self->credit, 0u);
        auri_add_rlx(&self->pool->unused, (uint64_t)credit);
        n += credit;
    }
    if (n != 0) {
        self->finished_unflushed = 0;
        auri_pool_finished(self->pool, n);
    }
}

/* A worker has finished a task of its pool.  What is not told keeps nobody waiting: it tells the rest when it
 * finds nothing to do, and until then the pool is not idle.  Credit is kept, for the next task. */
static void count_own(struct auri_record *self)
{
    if (++self->finished_unflushed >= FLUSH_AT) {
        self->finished_unflushed = 0;
        auri_pool_finished(self->pool, FLUSH_AT);
    }
}

/* Finishes the task and settles the count with its pool. */
static void finish(struct auri_record *self, auri_task *task, bool helped)
{
    aur_pool *pool = task->pool;

    if (self->pool != pool) {
        auri_task_finish(task);
        return;
    }
    if (helped) {
        auri_add_rlx(&pool->helped, UINT64_C(1));
    }
    auri_task_finish_uncounted(task);
    count_own(self);
}

/* What ends a call of auri_here_begin() for its pool, which may be gone after it. */
static void count_here(struct auri_record *self, aur_pool *pool)
{
    if (self->pool == pool) {
        count_own(self);
        return;
    }
    auri_pool_finished(pool, 1);
    auri_pool_drop(pool);
}

/* The thread of `self` ends with tasks running: a body called pthread_exit(), and the C library does not
 * unwind the stack (else turn_end() has done this).  The tasks are found through self->running. */
static void thread_end(struct auri_record *self)
{
    auri_task *task = self->running;

    self->running = NULL;
    self->frame = NULL;
    while (task != NULL) {
        auri_task *older = auri_load_rlx(&task->other); /* relaxed: this thread wrote it */
        if ((task->traits & AURI_T_STACK) != 0) {
            auri_add_rlx(&task->pool->failed, UINT64_C(1)); /* relaxed: statistics */
            count_here(self, task->pool);
        } else {
            auri_task_fail(task, AUR_EEXITED, "the task ended its thread");
            auri_task_finish(task);
        }
        task = older;
    }
    if (self->worker_end != NULL) {
        self->worker_end(self);
    }
}

/* A task that this thread runs, until it is finished. */
struct turn {
    struct auri_record *self;
    auri_task *task;
    struct auri_frame *frame; /* the innermost call outside */
    unsigned blocking;        /* self->blocking outside */
    int saved_errno;
    bool helped;
    bool ended; /* the way it should; else the body ends its thread and unwinds */
};

/* Also the last act for a task whose body unwinds: then the frames further in are gone. */
static void turn_end(struct turn *turn)
{
    struct auri_record *self = turn->self;
    auri_task *task = turn->task;
    aur_pool *pool = task->pool;
    bool outsider = self->pool != pool;

    if (!turn->ended) {
        self->frame = turn->frame;
        if (auri_task_cold(task)->error == NULL) {
            auri_task_fail(task, AUR_EEXITED, "the task ended its thread");
        }
    }
    auri_blocking_leave(self, turn->blocking); /* a task that left some open */
    self->depth--;
    /* relaxed, both: this thread wrote it, and others take it for a hint.  A task that is done has none. */
    self->running = auri_load_rlx(&task->other);
    auri_store_rlx(&task->other, NULL);
    finish(self, task, turn->helped);
    if (outsider) {
        if (turn->helped) {
            auri_add_rlx(&pool->helped, UINT64_C(1)); /* relaxed: statistics */
        }
        auri_pool_drop(pool);
    }
    errno = turn->saved_errno;
}

void auri_run_claimed(auri_task *task, bool helped)
{
    struct auri_record *self = auri_self();
    aur_pool *pool = task->pool;
    __attribute__((cleanup(turn_end))) struct turn turn = {
        .self = self,
        .task = task,
        .frame = self->frame,
        .blocking = self->blocking,
        .saved_errno = errno,
        .helped = helped,
    };

    if (self->pool != pool) {
        auri_pool_hold(pool); /* the task is not finished, so the pool is there now */
    }
    self->thread_end = thread_end;
    auri_store_rlx(&task->other, self->running); /* relaxed: others take it for a hint */
    self->running = task;
    self->depth++;
    /* relaxed: a task that starts just before the change is seen is asked to stop by checkpoint. */
    bool stopping = auri_load_rlx(&pool->state) == AURI_STOPPING;
    if (stopping) {
        auri_task_set_err(task, AUR_ECANCELED);
    }
    while (!stopping) {
        attempt(self, task);
        if (task->err == AUR_OK || !wants_retry(task, task->err)) {
            break;
        }
        free(auri_task_cold(task)->error);
        auri_task_cold(task)->error = NULL;
        drop_result(task);
        auri_add_rlx(&pool->retried, UINT64_C(1));
    }
    turn.ended = true;
}

/* ---- an ordinary call out of a queue --------------------------------------------------------- */

/* Most calls: no limits, no room of their own.  What is left of a turn is the frame, the outcome and the count; with
 * all of it such a call took twice as long (bench/submit). */
struct plain {
    struct auri_record *self;
    auri_task *task;
    unsigned blocking; /* self->blocking outside */
    bool sole;
    bool ended; /* the way it should */
    struct auri_frame frame;
};

/* The outcome is in the task. */
static void plain_finish(const struct plain *plain)
{
    auri_task_finish_uncounted(plain->task);
    auri_task_unref_queued(plain->task, plain->sole);
    count_own(plain->self);
}

static void plain_leave(const struct plain *plain)
{
    struct auri_record *self = plain->self;

    if (self->blocking != plain->blocking) {
        auri_blocking_leave(self, plain->blocking); /* a body that left some open */
    }
    self->depth--;
    self->running = NULL;
    auri_store_rlx(&plain->task->other, NULL); /* relaxed: as in turn_end() */
}

AURI_APART static void plain_failed(const struct plain *plain)
{
    /* relaxed: as in attempt(). */
    bool cancelled = (auri_load_rlx(&plain->task->word) & AURI_F_CANCEL) != 0;
    aur_err err = cancelled ? AUR_ECANCELED : auri_frame_err(&plain->frame);

    auri_task_set_error(plain->task, err, plain->frame.error);
    plain_finish(plain);
}

/* The body ends its thread, and unwinds. */
static void plain_unwind(struct plain *plain)
{
    if (plain->ended) {
        return;
    }
    plain->self->frame = NULL; /* the frames further in are gone */
    plain_leave(plain);
    free(plain->frame.error);
    auri_task_fail(plain->task, AUR_EEXITED, "the task ended its thread");
    plain_finish(plain);
}

/* The task is claimed. */
static void run_plain(struct auri_record *self, auri_task *task, bool sole)
{
    __attribute__((cleanup(plain_unwind))) struct plain plain;
    uint64_t item = 0;

    plain.self = self;
    plain.task = task;
    plain.blocking = self->blocking;
    plain.sole = sole;
    plain.ended = false;
    AURI_ASSERT(self->running == NULL);
    self->thread_end = thread_end;
    auri_store_rlx(&task->other,
                   NULL); /* relaxed: as in auri_run_claimed(), and nothing runs outside */
    self->running = task;
    self->depth++;
    frame_init(&plain.frame, task, AUR_NO_DEADLINE);
    auri_frame_push(self, &plain.frame);
    task->attempts = 1;
    /* relaxed: as in auri_run_claimed(). */
    if (auri_load_rlx(&task->pool->state) != AURI_STOPPING) {
        task->fn->range(auri_task_args(task), auri_task_ret(task), 0, 1, &item);
    } else {
        plain.frame.bare = AUR_ECANCELED;
    }
    auri_frame_pop(self, &plain.frame);
    plain.ended = true;
    plain_leave(&plain);
    if (auri_frame_err(&plain.frame) != AUR_OK) {
        plain_failed(&plain);
    } else if (sole) {
        auri_slab_put(task); /* nothing of it lies elsewhere, and nobody asks for its outcome */
        count_own(self);
    } else {
        plain_finish(&plain);
    }
}

void auri_run_plain(struct auri_record *self, auri_task *task)
{
    if (auri_task_is_sole(task)) {
        auri_task_claim_sole(task, self->id);
        run_plain(self, task, true);
    } else if (auri_task_claim(task, self->id)) {
        run_plain(self, task, false);
    } else {
        auri_task_unref(task); /* a waiter was first */
    }
}

/* ---- a call without a task of the slabs ------------------------------------------------------ */

AURI_HOT void auri_here_begin(struct auri_call_here *here, aur_pool *pool, const aur_fn *fn,
                              const char *site)
{
    struct auri_record *self = auri_self_;
    auri_task *task = &here->task;

    if (self->pool != pool) {
        auri_pool_hold(pool); /* the call is counted and not finished, so the pool is there now */
    }
    /* relaxed, as `other`: who looks at frames holds the lock of the wait graph while this thread waits.  No
     * owner: nobody can wait for the task. */
    auri_store_rlx(&task->word, AURI_RUNNING);
    auri_store_rlx(&task->other, self->running);
    task->pool = pool;
    task->fn = fn;
    task->site = 0;
    task->attempts = 1;
    task->traits = AURI_T_STACK;
    task->err = AUR_OK;
    task->store.here_site = site;
    here->self = self;
    here->blocking = self->blocking;
    self->thread_end = thread_end;
    self->running = task;
    self->depth++;
    frame_init(&here->frame, task, AUR_NO_DEADLINE);
    auri_frame_push(self, &here->frame);
}

AURI_HOT void auri_here_end(struct auri_call_here *here)
{
    struct auri_record *self = here->self;

    auri_frame_pop(self, &here->frame);
    if (self->blocking != here->blocking) {
        auri_blocking_leave(self, here->blocking); /* a body that left some open */
    }
    self->depth--;
    self->running = auri_load_rlx(&here->task.other);
    count_here(self, here->task.pool);
}

AURI_APART void auri_here_fail(struct auri_call_here *here, aur_err err, const aur_error *error)
{
    aur_pool *pool = here->task.pool;

    /* relaxed, all of them: statistics.  Before the call is counted as finished, as for an ordinary one. */
    if (err == AUR_ECANCELED) {
        auri_add_rlx(&pool->cancelled, UINT64_C(1));
    } else {
        auri_add_rlx(&pool->failed, UINT64_C(1));
    }
    if (error != NULL) {
        if (err != AUR_ECANCELED) {
            auri_add_rlx(&pool->seen, UINT64_C(1));
        }
        auri_last_error_set(error);
    }
}

/* ---- aur_last_error ------------------------------------------------------------------------ */

void auri_last_error_set(const aur_error *error)
{
    struct auri_record *self = auri_self();

    if (self == NULL) {
        return;
    }
    if (self->last_error == NULL) {
        self->last_error = malloc(sizeof(*self->last_error));
    }
    if (self->last_error != NULL) {
        *self->last_error = *error;
    }
}

aur_err auri_last_error_code(aur_err err, const char *function, const char *site,
                             const char *format, ...)
{
    aur_error error = { .err = err, .item = AUR_NO_ITEM, .worker = -1, .exit_status = -1 };
    va_list args;

    error.function = function;
    error.site = site;
    va_start(args, format);
    vsnprintf(error.message, sizeof(error.message), format, args);
    va_end(args);
    auri_last_error_set(&error);
    return err;
}

aur_err auri_last_error_of(auri_task *task)
{
    if (task->err == AUR_OK) {
        return AUR_OK;
    }
    const aur_error *error = auri_task_error(task);
    if (error != NULL) {
        auri_last_error_set(error);
        return task->err;
    }
    return auri_last_error_code(task->err, task->fn != NULL ? task->fn->name : NULL,
                                auri_task_site(task), "%s", aur_err_text(task->err));
}

const aur_error *aur_last_error(void)
{
    struct auri_record *self = auri_self_;

    return self != NULL ? self->last_error : NULL;
}

/* ---- deadlines ----------------------------------------------------------------------------- */

aur_deadline aur_deadline_in_ns(uint64_t ns)
{
    uint64_t now = aurp_now_ns();

    return ns >= AUR_NO_DEADLINE - now ? AUR_NO_DEADLINE : now + ns;
}

aur_deadline aur_deadline_in_ms(uint64_t ms)
{
    return ms > UINT64_MAX / 1000000u ? AUR_NO_DEADLINE : aur_deadline_in_ns(ms * 1000000u);
}

unsigned aur_cpu_count(void)
{
    return aurp_cpu_count();
}
