/* core.h: what the files of the extension module auriga._core share.
 *
 * The module is a user of libauriga like any other: public headers only.  Rules of the whole folder:
 * the GIL is released around everything that may wait, and taken before any Python object is
 * touched in a thread of the library.  A struct is guarded by the GIL unless it says otherwise.
 * Memory that may be taken without the GIL, or under a lock, is malloc()'s: PyMem_RawMalloc() asks for
 * the GIL while tracemalloc traces. */
#ifndef AURIGA_PYTHON_CORE_H
#define AURIGA_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <auriga.h>
#include <pthread.h>
#include <stdlib.h>

/* The state of one module object. */
typedef struct core_state {
    PyTypeObject *pool_type;
    PyTypeObject *call_type;
    PyTypeObject *future_type;
    PyTypeObject *task_type;
    PyTypeObject *result_type;
    PyTypeObject *view_type;
    PyTypeObject *block_type;
    PyTypeObject *gauge_type;
    PyObject *helpers;     /* the module auriga._helpers: what is easier said in Python */
    PyObject *dumps;       /* helpers.dumps(obj, buffers, by_value) -> bytes */
    PyObject *loads;       /* pickle.loads */
    PyObject *make_error;  /* helpers.make_error(dict) -> exception */
    PyObject *pack_error;  /* helpers.pack_error(exception, flags) -> bytes */
    PyObject *load_error;  /* helpers.load_error(bytes) -> exception */
    PyObject *pack_result; /* helpers.pack_result_error(exception, value, flags) -> bytes */
    PyObject *names;       /* name of a function -> capsule with its aur_fn (threads) or label */
    PyObject *fns;         /* worker process: pickle of a function -> the function */
    PyObject *last_name;   /* the key of the last that was looked up there, and the function */
    PyObject *last_fn;
    unsigned waiting;    /* threads in a wait, without the GIL; atomic */
    unsigned depth;      /* worker processes between the program and this one */
    unsigned forks;      /* forks of any kind between them; see fork.c */
    aur_pool *deliverer; /* one thread that tells Python of finished process tasks, or NULL */
    struct kept_boot *kept_boots;
    char *kept; /* memory of the last block, or NULL; see block.c */
    size_t kept_bytes;
    pid_t kept_by;
} core_state;

/* Flags of a call or batch; they travel to the worker. */
enum {
    CALL_STAR = 1,         /* batch: an item is the tuple of all arguments */
    CALL_FN_CACHED = 2,    /* the function's pickle is a name: the worker may keep what it loads */
    CALL_BAD_ARGS_DIE = 4, /* arguments that cannot be loaded end the worker */
    CALL_POOL_ERRORS = 8,  /* as multiprocessing.Pool tells of results that cannot be pickled */
    CALL_CONTEXT = 32,     /* thread: in a copy of the caller's context; process: of the worker's */
    CALL_STOP = 16,        /* batch: the first exception ends it */
    CALL_BY_VALUE = 128, /* what pickle finds under no name travels by value, if that can be done */
    CALL_EACH = 64, /* batch: what has failed is a Failed of auriga._results among its results */
};

/* ---- encode.c, decode.c: values to bytes and back ------------------------------------------------------ */

/* A growing byte string.  Large payloads of a worker's results are only referred to (`parts`) and
 * copied once, to where they travel from; those of arguments go to shared buffers at once. */
typedef struct part {
    size_t at; /* offset in the whole */
    Py_buffer view;
} part;

typedef struct writer {
    core_state *state;
    aur_pool *pool; /* the pool whose shared buffers take large payloads; NULL: parts */
    uint32_t flags; /* of the call: CALL_BY_VALUE counts */
    char *data;
    bool owned;   /* data is a block of the heap; else `small`, or the place that was given */
    size_t size;  /* of the whole, parts included */
    size_t inner; /* bytes in data */
    size_t room;
    part *parts;
    size_t parts_n;
    aur_buf **bufs;
    size_t bufs_n;
    char small[256];
} writer;

void writer_init(writer *w, core_state *state, aur_pool *shared, uint32_t flags);
void writer_clear(writer *w);
/* Starts anew in a place of the caller's; what does not fit goes to the heap, `owned` tells. */
void writer_begin_at(writer *w, char *place, size_t room);
/* All return -1 with an exception set on failure. */
int writer_bytes(writer *w, const void *data, size_t size);
int writer_u8(writer *w, uint8_t value);
int writer_u32(writer *w, uint32_t value);
int writer_u64(writer *w, uint64_t value);
int writer_value(writer *w, PyObject *value);
/* Makes room for so many bytes more. */
int writer_reserve(writer *w, size_t more);
/* Writes the whole to `to`, which has w->size bytes. */
void writer_copy(const writer *w, char *to);

typedef struct reader {
    core_state *state;
    const char *base;
    const char *at;
    const char *end;
    aur_future *views; /* whose result this is, if large buffers become views of it; else NULL */
} reader;

PyObject *reader_value(reader *r);
int reader_u32(reader *r, uint32_t *ret);
int reader_u64(reader *r, uint64_t *ret);

/* ---- view.c --------------------------------------------------------------------------------- */

extern PyType_Spec view_spec;
/* A memoryview of a part of the future's result; it holds the future. */
PyObject *view_new(core_state *state, aur_future *future, const char *data, size_t size);

/* ---- block.c -------------------------------------------------------------------------------- */

extern PyType_Spec block_spec;
/* A memoryview of writable memory that is its own, and where that is; it is to be filled. */
PyObject *block_new(core_state *state, size_t size, char **ret_data);
void block_drop_kept(core_state *state);

/* ---- task.c --------------------------------------------------------------------------------- */

enum { TASK_ALONE, TASK_PROCESS, TASK_THREAD, TASK_BATCH };
enum { TASK_PENDING, TASK_RUNNING, TASK_CANCELLED, TASK_FINISHED };

struct batch;

typedef struct task {
    PyObject_HEAD core_state *state;
    struct pool *pool;  /* NULL: TASK_ALONE */
    aur_future *future; /* PROCESS, THREAD */
    struct batch *batch;
    aur_buf **bufs; /* of the arguments; until the task is done */
    size_t bufs_n;
    uint8_t kind;
    uint8_t phase;
    uint8_t pushing; /* on_done was asked of the library */
    uint8_t owned;   /* THREAD: the record has a reference, until the library is through with it */
    uint8_t full;    /* the attributes of the standard Future exist (see auriga/_futures.py) */
    uint16_t forks;  /* state->forks of the process that made it */
    PyObject *value; /* FINISHED: one of these */
    PyObject *error;
    PyObject *context;            /* THREAD: what it runs in, or NULL */
    PyObject *fn, *args, *kwargs; /* THREAD, until it has run */
    PyObject *into;               /* BATCH, until it is done: the list for the results, or NULL */
    uint64_t submitted_ns;        /* THREAD */
    PyThreadState *settler;       /* of the thread that loads the outcome */
    PyObject *settled;            /* threading.Event of those that wait for it, or NULL */
    PyObject *callbacks;          /* list or NULL */
    struct task *prev, *next;     /* pool->tasks, those not known to be done */
    Py_ssize_t number;            /* among those of an iterator, which sets it */
} task;

extern PyType_Spec call_spec;   /* the object alone; the base of the types with methods */
extern PyType_Spec future_spec; /* with those of the standard Future */
extern PyType_Spec task_spec;   /* ... and what the package asks of the tasks of its maps */
task *task_new(PyTypeObject *type, struct pool *pool, int kind);
/* One whose outcome is known without the library: an error, or with NULL a value.  NULL: exception. */
task *task_settled(PyTypeObject *type, core_state *state, PyObject *value, PyObject *error);
/* Takes in the outcome of a task that the library has finished, or waits until another thread has.  -1:
 * exception. */
int task_settle(task *self);
/* value or error is stolen. */
void task_finish(task *self, PyObject *value, PyObject *error);
void task_fire(task *self);
void task_unlink(task *self);
bool task_is_done(task *self);
/* What the pool makes of a failure that is not the call's own; error is stolen. */
PyObject *task_pools_error(struct pool *owner, PyObject *error, bool bad_result);
/* Drops the record's reference, if it is still there. */
void task_disown(task *self);

bool task_withdraw(task *self);

/* Another process made it, of which this one is a fork. */
static inline bool task_is_inherited(const task *self)
{
    return self->forks != (uint16_t)self->state->forks;
}

/* Waits; 1: done and settled, 0: not in time, -1: exception. */
int task_await(task *self, aur_deadline deadline);
/* The value, or the error raised, of a task that is done. */
PyObject *task_get(task *self, PyObject *unused);
/* The arguments of a method (timeout=None). */
int task_parse_timeout(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject **ret);
PyObject *task_raise_timeout(task *self);
/* For types that are derived from call_spec. */
int task_traverse(task *self, visitproc visit, void *arg);
int task_clear(task *self);
void task_dealloc(task *self);

/* ---- told.c: being told that a task is done ---------------------------------------------------- */

/* Before callbacks are called. */
void told_settle(task *self);
/* Makes the library tell of the end of this task, unless the thread that runs it does. */
int task_push(task *self);
/* A thread's task that the library may end without a call: it is told then, and not by the call. */
void task_watch(task *self);
/* Calls fn(task) once it is done; here and now if it is. */
PyObject *task_on_done(task *self, PyObject *fn);
/* The same for a task whose callback must not run in this thread: the deliverer's calls it. */
int task_tell(task *self, PyObject *fn);
/* Has the deliverer's thread settle it and call its callbacks. */
int task_deliver(task *self);
/* Returns once the callbacks that are due by now have returned. */
PyObject *told_wait(PyObject *module, PyObject *unused);

/* ---- result.c: what Pool.apply_async() returns ------------------------------------------------ */

extern PyType_Spec result_spec;
PyObject *result_settled(PyObject *module, PyObject *args);
PyObject *result_deliver(PyObject *module, PyObject *fn);

/* ---- many.c: many tasks in one call from Python ---------------------------------------------- */

PyObject *many_wait(PyObject *module, PyObject *args);
PyObject *many_values(PyObject *module, PyObject *tasks);
PyObject *many_take_first(PyObject *module, PyObject *args);
PyObject *many_take_values(PyObject *module, PyObject *args);
PyObject *many_take_done(PyObject *module, PyObject *args);
PyObject *pool_submit_each(struct pool *self, PyObject *const *args, Py_ssize_t n);

/* ---- batch.c: a chunk of a map in a process pool -------------------------------------------- */

/* The items lo .. hi of a list or tuple. */
struct batch *batch_start(struct pool *pool, PyObject *fn, PyObject *items, Py_ssize_t lo,
                          Py_ssize_t hi, uint32_t flags, uint32_t retries);
/* Waits without the GIL; AUR_OK: all items are accounted for. */
aur_err batch_wait(struct batch *batch, aur_deadline deadline);
bool batch_done(struct batch *batch);
bool batch_withdraw(struct batch *batch);
/* fn(ctx) once it is done; at once if it is. */
void batch_on_done(struct batch *batch, void (*fn)(void *ctx), void *ctx);
/* Of all results. */
uint64_t batch_bytes(const struct batch *batch);
/* Where its results begin in the list that batch_results() is given. */
void batch_put_at(struct batch *batch, Py_ssize_t at);
/* A list of results, or NULL with *ret_error (new), *ret_err or an exception set.  into: the list that
 * they are put into, which is returned then; NULL: one of their own. */
PyObject *batch_results(struct batch *batch, struct pool *owner, PyObject *into,
                        PyObject **ret_error, aur_err *ret_err);
void batch_unref(struct batch *batch);
/* Runs in the worker. */
aur_err batch_run(core_state *state, const void *in, size_t size, aur_out *out);

/* ---- gate.c --------------------------------------------------------------------------------- */

/* Chunks that a pool still has to submit the rest of hold it open; no function blocks but gate_wait(). */
struct gate;
struct gate *gate_new(aur_pool *core);
struct gate *gate_ref(struct gate *gate);
void gate_unref(struct gate *gate);
bool gate_enter(struct gate *gate); /* false: it closes; else gate_leave() is due */
void gate_leave(struct gate *gate);
void gate_close(struct gate *gate);
/* Without the GIL, until the library's pool is closed if it is to be; false: not by the deadline. */
bool gate_wait(struct gate *gate, aur_deadline deadline);

/* ---- pool.c --------------------------------------------------------------------------------- */

typedef struct pool {
    PyObject_HEAD core_state *state;
    aur_pool *core;
    struct gate *gate;
    PyObject *boot; /* called in each new worker, and kept until the last has ended */
    bool joined;    /* they have */
    bool views;     /* large buffers of results are views of shared memory */
    uint64_t large; /* bytes of a large result among the last ones */
    PyObject *weakrefs;
    int kind; /* AUR_THREADS or AUR_PROCESSES */
    unsigned workers;
    unsigned depth;    /* of the process that made it */
    unsigned forks;    /* the same */
    bool broken;       /* its results cannot be trusted: what is cancelled has failed */
    PyObject *last_fn; /* the function whose pickle is last_pickle; one found by its name */
    PyObject *last_pickle;
    const char *last_label;
    size_t result_bytes;    /* of an item of the last batch; guides the room for the next */
    task tasks;             /* head of the list of tasks not known to be done */
    struct orphan *orphans; /* process tasks whose object is gone */
    size_t orphans_n, orphans_room;
} pool;

extern PyType_Spec pool_spec;
/* Of pools that are gone: those whose threads have ended by now, or all. */
void pool_drop_boots(core_state *state, bool all);
/* A result of so many bytes was taken in. */
void pool_saw(pool *self, uint64_t bytes);
PyObject *pool_submit(pool *self, PyObject *const *argv, Py_ssize_t n);

/* ---- stats.c: methods of the pool ----------------------------------------------------------------- */

PyObject *pool_stats(pool *self, PyObject *unused);
PyObject *pool_is_idle(pool *self, PyObject *unused);
PyObject *pool_pids(pool *self, PyObject *timeout);
PyObject *pool_exit_status(pool *self, PyObject *args);
PyObject *pool_queued(pool *self, PyObject *unused);
PyObject *pool_explain(pool *self, PyObject *unused);

/* ---- orphans.c -------------------------------------------------------------------------------- */

/* Keeps what a process task whose object goes away still needs, and takes it from the task. */
void orphans_add(task *self);
/* Cancels those that have not started. */
void orphans_withdraw(pool *self);
/* Whether some have not ended. */
bool orphans_run(pool *self);
/* The pool's object goes away: from now on the library drops what they need. */
void orphans_leave(pool *self);

/* ---- names.c -------------------------------------------------------------------------------- */

/* Writes the function, and says in *flags whether the worker may keep it. */
int pool_write_fn(pool *self, writer *w, PyObject *fn, uint32_t *flags);
/* Whether its pickle is its name, now: then it can be kept on both sides.  What is not found by its name may travel
 * by value, and that may be another one each time. */
bool fn_goes_by_name(PyObject *fn);
/* What the library's messages call the function; a thread's call has the name in its descriptor. */
const char *pool_label(core_state *state, PyObject *fn, const aur_fn **ret_thread_fn);
/* The same for a process's call, faster for the function that was written last. */
const char *pool_call_label(pool *self, PyObject *fn);

/* ---- fork.c --------------------------------------------------------------------------------- */

PyObject *fork_noted(PyObject *module, PyObject *unused);
PyObject *fork_count(PyObject *module, PyObject *unused);
PyObject *fork_refused(PyObject *module, PyObject *unused);
/* Raises what the library says of objects that belong to the parent. */
PyObject *fork_refuse(core_state *state);

/* ---- worker.c: what runs in workers ---------------------------------------------------------- */

extern const aur_fn core_process_fn;
extern const aur_fn core_thread_fn;
extern const aur_fn core_deliver_fn;
int worker_thread_init(void *ctx, int index);
void worker_thread_fini(void *ctx, int index);
int worker_process_init(void *ctx, int index);
void worker_process_fini(void *ctx, int index);
PyObject *worker_run_nursery(PyObject *module, PyObject *boot);
/* A nursery that waits for its pool.  fds: where it will hear of it; two that are the caller's only, the latter the
 * host's pidfd; the number that the resource tracker's pipe shall have. */
PyObject *worker_fork_nursery(PyObject *module, PyObject *boot, const int fds[4]);
/* Enters a copy of the worker's context, if the call is to leave nothing behind there.  -1: exception. */
int worker_enter_context(uint32_t flags, PyObject **ret_context);
void worker_leave_context(PyObject *context);
/* The callable in a record, from the worker's cache if it may be. */
PyObject *worker_function(core_state *state, reader *r, uint32_t flags);

/* ---- gauge.c -------------------------------------------------------------------------------- */

extern PyType_Spec gauge_spec;
PyObject *gauge_watch(PyObject *module, PyObject *args);
PyObject *gauge_probe(PyObject *module, PyObject *args);

/* ---- waits.c -------------------------------------------------------------------------------- */

/* Waits without the GIL; signals are served in the main thread.  -1: exception set. */
int wait_future(core_state *state, aur_future *future, aur_deadline deadline, aur_err *ret);
int wait_batch(core_state *state, struct batch *batch, aur_deadline deadline, aur_err *ret);
/* Seconds or None to a deadline; -1: exception. */
int wait_deadline(PyObject *timeout, aur_deadline *ret);
PyObject *wait_seconds(PyObject *module, PyObject *timeout);
PyObject *wait_set(PyObject *module, PyObject *tasks);
PyObject *wait_add(PyObject *module, PyObject *args);
PyObject *wait_next(PyObject *module, PyObject *args);
/* The exception for a code of the library; details from `error` (may be NULL). */
PyObject *core_error(core_state *state, aur_err err, const aur_error *error);
PyObject *core_raise(core_state *state, aur_err err, const aur_error *error);

/* ---- module.c -------------------------------------------------------------------------------- */

core_state *core_state_of(PyTypeObject *type);
/* The exception that is set now, as an object (new), its traceback attached. */
PyObject *core_take_exception(void);

/* ---- copy.c ----------------------------------------------------------------------------------- */

/* Room in the memory of this process; large blocks come from huge pages where that is possible. */
void core_prefer_huge(const void *data, size_t size);
/* Raises MemoryError; what: "an argument". */
void core_no_memory(const char *what, size_t size);

/* Whether memory of this process's own for so much is to be had; false: exception.  The system promises more
 * than it has, and who fills what was promised is killed. */
bool core_has_memory(const char *what, size_t size);

/* memcpy(), by two threads if it is long.  Needs no interpreter. */
void core_copy(void *to, const void *from, size_t size);

#endif
