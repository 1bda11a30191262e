/* Pool: the Python object around one pool of the library. */
#include "core.h"

#include <string.h>
#include <structmember.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Made in another process, of which this one is a worker. */
static bool is_inherited(const pool *self)
{
    return self->depth != self->state->depth;
}

/* ---- threads that outlive the object of their pool ------------------------------------------------- */

/* What each of them calls first, and one that starts just now has still to call. */
struct kept_boot {
    aur_pool *core;
    PyObject *boot;
    struct kept_boot *next;
};

void pool_drop_boots(core_state *state, bool all)
{
    struct kept_boot **at = &state->kept_boots;
    struct kept_boot *ended = NULL;

    while (*at != NULL) {
        struct kept_boot *one = *at;
        if (all || aur_pool_join(one->core, 0) == AUR_OK) {
            *at = one->next;
            one->next = ended;
            ended = one;
        } else {
            at = &one->next;
        }
    }
    /* Apart, since the end of a boot may run code that makes or ends pools. */
    while (ended != NULL) {
        struct kept_boot *next = ended->next;
        aur_pool_unref(ended->core);
        Py_DECREF(ended->boot);
        PyMem_Free(ended);
        ended = next;
    }
}

/* Takes the boot of a pool whose threads have not ended; the next pool that comes or goes looks again. */
static void keep_boot(core_state *state, pool *self)
{
    struct kept_boot *one = state != NULL ? PyMem_Malloc(sizeof(*one)) : NULL;

    if (one != NULL) {
        (void)aur_pool_close(self->core); /* it has no task: each would hold the object */
        *one = (struct kept_boot){ aur_pool_ref(self->core), self->boot, state->kept_boots };
        state->kept_boots = one;
    }
    self->boot = NULL; /* without memory it is never released */
}

/* ---- start --------------------------------------------------------------------------------------- */

struct ask {
    aur_options opts;
    PyObject *argv; /* tuple of str */
    PyObject *fds;  /* tuple of int */
    const char **argv_c;
    int *fds_c;
};

static int exec_lists(struct ask *ask)
{
    Py_ssize_t n = ask->argv != NULL ? PyTuple_GET_SIZE(ask->argv) : 0;
    Py_ssize_t fds = ask->fds != NULL ? PyTuple_GET_SIZE(ask->fds) : 0;

    ask->argv_c = PyMem_Calloc((size_t)n + 1, sizeof(*ask->argv_c));
    ask->fds_c = PyMem_Calloc((size_t)fds + 1, sizeof(*ask->fds_c));
    if (ask->argv_c == NULL || ask->fds_c == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        ask->argv_c[i] = PyBytes_AsString(PyTuple_GET_ITEM(ask->argv, i));
        if (ask->argv_c[i] == NULL) {
            return -1;
        }
    }
    for (Py_ssize_t i = 0; i < fds; i++) {
        ask->fds_c[i] = (int)PyLong_AsLong(PyTuple_GET_ITEM(ask->fds, i));
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    if (ask->opts.start == AUR_START_EXEC) {
        ask->opts.exec_argv = n > 0 ? ask->argv_c : NULL; /* NULL: it runs already */
        ask->opts.exec_fds = ask->fds_c;
        ask->opts.exec_fds_n = (uint64_t)fds;
    }
    return 0;
}

/* A fork start copies the calling thread, which must hold the GIL for its copies to have it. */
static aur_err start(core_state *state, const aur_options *opts, aur_pool **ret, aur_diag *diag)
{
    aur_err err;

    if (opts->start == AUR_START_FORK) {
        PyObject *warned = PyObject_CallMethod(state->helpers, "warn_of_threads", NULL);
        if (warned == NULL) {
            PyErr_WriteUnraisable(NULL); /* as os.fork() does, where warnings are errors */
        }
        Py_XDECREF(warned);
        PyOS_BeforeFork();
        err = aur_pool_new(opts, ret, diag);
        PyOS_AfterFork_Parent();
        return err;
    }
    Py_BEGIN_ALLOW_THREADS err = aur_pool_new(opts, ret, diag);
    Py_END_ALLOW_THREADS return err;
}

static void fill_hooks(pool *self, aur_options *opts)
{
    if (opts->kind == AUR_THREADS) {
        opts->worker_init = worker_thread_init;
        opts->worker_fini = worker_thread_fini;
        /* A task runs in a thread of its pool, always; one that waits for the GIL only seems to be
         * blocked; and tasks begin in the order of their submits, as those of Python's pools. */
        opts->flags |= AUR_POOL_NO_HELP | AUR_POOL_FIXED | AUR_POOL_FIFO;
    } else {
        opts->worker_init = worker_process_init;
        opts->worker_fini = worker_process_fini;
    }
    opts->worker_ctx = opts->start == AUR_START_EXEC ? NULL : self->boot;
}

static int init_core(pool *self, struct ask *ask)
{
    aur_diag diag = { .text = "" };

    if (exec_lists(ask) < 0) {
        return -1;
    }
    fill_hooks(self, &ask->opts);
    aur_err err = start(self->state, &ask->opts, &self->core, &diag);
    if (err != AUR_OK) {
        aur_error error = { .err = err, .item = AUR_NO_ITEM, .worker = -1, .exit_status = -1 };
        snprintf(error.message, sizeof(error.message), "%s", diag.text);
        core_raise(self->state, err, &error);
        return -1;
    }
    return 0;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = { "kind", "workers",   "boot",       "start",   "flags",
                             "name", "max_tasks", "timeout_ns", "retries", "memory_max",
                             "argv", "fds",       NULL };
    struct ask ask = { .opts = AUR_OPTIONS_INIT };
    unsigned long long timeout = 0;
    unsigned long long memory = 0;
    pool *self = (pool *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    self->state = core_state_of(type);
    self->tasks.next = self->tasks.prev = &self->tasks;
    self->depth = self->state != NULL ? self->state->depth : 0;
    self->forks = self->state != NULL ? self->state->forks : 0;
    ask.opts.name = "auriga";
    if (self->state == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "iIO|iIsIKIKO!O!", names, &ask.opts.kind,
                                     &ask.opts.workers, &self->boot, &ask.opts.start,
                                     &ask.opts.flags, &ask.opts.name,
                                     &ask.opts.tasks_per_worker_max, &timeout, &ask.opts.retries,
                                     &memory, &PyTuple_Type, &ask.argv, &PyTuple_Type, &ask.fds)) {
        self->boot = NULL;
        Py_DECREF(self);
        return NULL;
    }
    Py_INCREF(self->boot);
    pool_drop_boots(self->state, /* all= */ false);
    self->kind = ask.opts.kind;
    self->workers = ask.opts.workers;
    ask.opts.item_timeout_ns = timeout;
    ask.opts.memory_max_bytes = memory;
    int done = init_core(self, &ask);
    PyMem_Free(ask.argv_c);
    PyMem_Free(ask.fds_c);
    if (done == 0) {
        self->gate = gate_new(self->core);
        done = self->gate != NULL ? 0 : -1;
        if (done < 0) {
            PyErr_NoMemory();
        }
    }
    if (done < 0) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* ---- submit -------------------------------------------------------------------------------------- */

static PyObject *get_inherited(pool *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(is_inherited(self));
}

static PyObject *get_forked(pool *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->forks != self->state->forks);
}

static int submit_thread(task *self, PyObject *const *argv)
{
    PyObject *fn = argv[1], *args = argv[2], *kwargs = argv[3];
    unsigned long flags = PyLong_AsUnsignedLong(argv[4]);
    const aur_fn *named;
    const char *site = pool_label(self->state, fn, &named);

    if (is_inherited(self->pool)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a pool of threads cannot be used from a worker process "
                        "that inherited it: its threads are in the program");
        return -1;
    }
    if ((flags & CALL_CONTEXT) != 0 && (self->context = PyContext_CopyCurrent()) == NULL) {
        return -1;
    }
    Py_INCREF(fn);
    Py_INCREF(args);
    self->fn = fn;
    self->args = args;
    self->kwargs = kwargs != Py_None ? kwargs : NULL;
    Py_XINCREF(self->kwargs);
    self->submitted_ns = aur_deadline_in_ns(0);
    aur_err err = aur_fn_submit(self->pool->core, NULL, named, &self, &self->future, site);
    if (err != AUR_OK) {
        core_raise(self->state, err, NULL);
        return -1;
    }
    Py_INCREF(self); /* the record's, until it has run */
    self->owned = 1;
    return 0;
}

static int write_call(pool *self, writer *w, PyObject *fn, PyObject *args, PyObject *kwargs,
                      uint32_t flags)
{
    if (writer_u8(w, 'C') < 0 || writer_u32(w, 0) < 0 || pool_write_fn(self, w, fn, &flags) < 0 ||
        writer_value(w, args) < 0 || writer_value(w, kwargs) < 0) {
        return -1;
    }
    memcpy(w->data + 1, &flags, sizeof(flags));
    return 0;
}

/* Submits what w holds; parts, which only a worker's own submits have, are put in line first. */
static aur_err submit_record(task *self, writer *w, const aur_call_options *opts, const char *site)
{
    char *flat = w->parts_n != 0 ? malloc(w->size) : w->data;

    if (flat == NULL) {
        return AUR_ENOMEM;
    }
    if (flat != w->data) {
        writer_copy(w, flat);
    }
    aur_err err = aur_fn_submit_bytes(self->pool->core, opts, &core_process_fn, flat, w->size,
                                      &self->future, site);
    if (flat != w->data) {
        free(flat);
    }
    return err;
}

static int submit_process(task *self, PyObject *const *argv, const aur_call_options *opts)
{
    uint32_t flags = (uint32_t)PyLong_AsUnsignedLong(argv[4]);
    bool remote = aur_pool_current() != NULL && self->pool->kind == AUR_PROCESSES;
    writer w;
    int done = -1;

    writer_init(&w, self->state, remote ? NULL : self->pool->core, flags);
    if (write_call(self->pool, &w, argv[1], argv[2], argv[3], flags) == 0) {
        aur_err err = submit_record(self, &w, opts, pool_call_label(self->pool, argv[1]));
        if (err != AUR_OK) {
            core_raise(self->state, err, NULL);
        } else {
            self->bufs = w.bufs; /* read until the task is done */
            self->bufs_n = w.bufs_n;
            w.bufs = NULL;
            w.bufs_n = 0;
            done = 0;
        }
    }
    writer_clear(&w);
    return done;
}

/* Whether the call has limits; the library keeps a block for each that has.  -1: exception. */
static int call_options(PyObject *limits, aur_call_options *opts)
{
    if (!PyTuple_Check(limits)) {
        PyErr_SetString(PyExc_TypeError, "the limits of a call are a tuple");
        return -1;
    }
    if (PyTuple_GET_SIZE(limits) < 2) {
        return 0;
    }
    opts->item_timeout_ns = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(limits, 0));
    opts->retries = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(limits, 1));
    opts->retry_on = AUR_RETRY_WORKER | AUR_RETRY_DEADLINE;
    return PyErr_Occurred() ? -1 : opts->item_timeout_ns != 0 || opts->retries != 0;
}

/* submit(type, fn, args, kwargs or None, flags[, limits]) -> task; limits: () or (timeout_ns, retries) */
PyObject *pool_submit(pool *self, PyObject *const *argv, Py_ssize_t n)
{
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;

    if (n < 5 || !PyType_Check(argv[0]) || !PyTuple_Check(argv[2]) ||
        !PyType_IsSubtype((PyTypeObject *)argv[0], self->state->call_type)) {
        PyErr_SetString(PyExc_TypeError, "submit(type, fn, args, kwargs, flags) is needed");
        return NULL;
    }
    int limited = n > 5 ? call_options(argv[5], &opts) : 0;
    if (limited < 0) {
        return NULL;
    }
    bool threads = self->kind == AUR_THREADS;
    task *one = task_new((PyTypeObject *)argv[0], self, threads ? TASK_THREAD : TASK_PROCESS);
    if (one == NULL) {
        return NULL;
    }
    int done =
        threads ? submit_thread(one, argv) : submit_process(one, argv, limited > 0 ? &opts : NULL);
    if (done < 0) {
        Py_CLEAR(one);
    }
    return (PyObject *)one;
}

/* submit_batch(fn, items, lo, hi, flags, retries[, into, at]) -> task of a list; items: a list or tuple;
 * into: a list whose items from `at` on the results become; it has those before anybody waits */
static PyObject *pool_submit_batch(pool *self, PyObject *args)
{
    PyObject *fn;
    PyObject *items;
    Py_ssize_t lo;
    Py_ssize_t hi;
    unsigned flags;
    unsigned retries;
    PyObject *into = NULL;
    Py_ssize_t at = 0;

    if (!PyArg_ParseTuple(args, "OOnnII|O!n", &fn, &items, &lo, &hi, &flags, &retries, &PyList_Type,
                          &into, &at)) {
        return NULL;
    }
    if (!(PyList_Check(items) || PyTuple_Check(items)) || at < 0 || lo < 0 || hi < lo ||
        hi > PySequence_Fast_GET_SIZE(items) || hi - lo > UINT32_MAX) {
        PyErr_SetString(PyExc_TypeError, "a list or tuple and a range of it are needed");
        return NULL;
    }
    struct batch *batch = batch_start(self, fn, items, lo, hi, flags, retries);
    if (batch == NULL) {
        return NULL;
    }
    task *one = task_new(self->state->task_type, self, TASK_BATCH);
    if (one == NULL) {
        batch_unref(batch);
        return NULL;
    }
    one->batch = batch;
    batch_put_at(batch, at);
    Py_XINCREF(into);
    one->into = into;
    return (PyObject *)one;
}

void pool_saw(pool *self, uint64_t bytes)
{
    /* It fades, so that one large result is not the measure for ever: to a half over 44 others. */
    self->large = bytes > self->large ? bytes : self->large - (self->large >> 6);
}

/* ---- the end ------------------------------------------------------------------------------------- */

static PyObject *pool_close(pool *self, PyObject *unused)
{
    (void)unused;
    gate_close(self->gate);
    Py_RETURN_NONE;
}

/* Tasks that the library has cancelled in bulk: those of threads still own themselves. */
static void reap(pool *self)
{
    task *one = self->tasks.next;

    while (one != &self->tasks) {
        if (one->kind == TASK_THREAD && one->phase == TASK_PENDING &&
            aur_future_done(one->future)) {
            Py_INCREF(one);
            task_finish(one, NULL, NULL);
            task_fire(one);
            task_disown(one);
            Py_DECREF(one);
            one = self->tasks.next; /* what ran meanwhile may have changed the list */
        } else {
            one = one->next;
        }
    }
}

/* A call that a worker has taken by now, but not begun, is cancelled by that worker a moment later: nothing
 * of ours runs then, and nobody has to join. */
static void watch(pool *self)
{
    task *one = self->tasks.next;

    while (one != &self->tasks) {
        if (one->kind == TASK_THREAD && one->phase == TASK_PENDING && !one->pushing) {
            Py_INCREF(one);
            task_watch(one);
            task *next = one->next; /* NULL: it is known to be done now */
            Py_DECREF(one);
            one = next != NULL ? next : self->tasks.next;
        } else {
            one = one->next;
        }
    }
}

static PyObject *pool_terminate(pool *self, PyObject *broken)
{
    self->broken = self->broken || PyObject_IsTrue(broken);
    Py_BEGIN_ALLOW_THREADS(void) aur_pool_terminate(self->core);
    Py_END_ALLOW_THREADS reap(self);
    watch(self);
    Py_RETURN_NONE;
}

static PyObject *pool_join(pool *self, PyObject *timeout)
{
    aur_deadline deadline;
    aur_err err;

    if (wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    gate_close(self->gate);
    do { /* in slices, for a signal to be served */
        aur_deadline until = aur_deadline_in_ms(100);
        until = deadline < until ? deadline : until;
        Py_BEGIN_ALLOW_THREADS err =
            gate_wait(self->gate, until) ? aur_pool_join(self->core, until) : AUR_ETIMEDOUT;
        Py_END_ALLOW_THREADS if (err == AUR_ETIMEDOUT && PyErr_CheckSignals() < 0)
        {
            return NULL;
        }
    } while (err == AUR_ETIMEDOUT && aur_deadline_in_ns(0) < deadline);
    reap(self);
    self->joined = self->joined || err == AUR_OK;
    if (self->joined) {
        block_drop_kept(self->state);
    }
    if (err != AUR_OK && err != AUR_ETIMEDOUT) {
        return core_raise(self->state, err, aur_last_error());
    }
    return PyBool_FromLong(err == AUR_OK);
}

static PyObject *pool_has_ended(pool *self, PyObject *unused)
{
    (void)unused;
    gate_close(self->gate); /* not by the library's join, which would close on chunks */
    bool shut = gate_wait(self->gate, 0);
    return PyBool_FromLong(self->joined || (shut && aur_pool_join(self->core, 0) == AUR_OK));
}

/* The same pool of the library in an object that has nothing else: no boot, no tasks. */
static PyObject *pool_rest(pool *self, PyObject *unused)
{
    pool *rest = (pool *)Py_TYPE(self)->tp_alloc(Py_TYPE(self), 0);

    (void)unused;
    if (rest != NULL) {
        rest->state = self->state;
        rest->core = aur_pool_ref(self->core);
        rest->gate = gate_ref(self->gate);
        rest->tasks.next = rest->tasks.prev = &rest->tasks;
        rest->kind = self->kind;
        rest->workers = self->workers;
        rest->depth = self->depth;
        rest->forks = self->forks;
    }
    return (PyObject *)rest;
}

/* Cancels every task that has not started.  The oldest ones, as many as there are workers, count as
 * started: a worker may be about to take them. */
static PyObject *pool_cancel_pending(pool *self, PyObject *unused)
{
    PyObject *all = PyList_New(0);
    unsigned started = 0;

    (void)unused;
    for (task *one = self->tasks.prev; all != NULL && one != &self->tasks; one = one->prev) {
        if (Py_REFCNT(one) == 0 || task_is_done(one)) {
            continue; /* who gives up a task may call this from what ends with it */
        }
        if (started < self->workers) {
            started++;
        } else if (PyList_Append(all, (PyObject *)one) < 0) {
            Py_CLEAR(all);
        }
    }
    for (Py_ssize_t i = 0; all != NULL && i < PyList_GET_SIZE(all); i++) {
        (void)task_withdraw((task *)PyList_GET_ITEM(all, i));
    }
    orphans_withdraw(self);
    if (all == NULL) {
        return NULL;
    }
    Py_DECREF(all);
    Py_RETURN_NONE;
}

/* ---- the type ------------------------------------------------------------------------------------ */

static int traverse(pool *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->boot);
    Py_VISIT(self->last_fn);
    return 0;
}

static int clear(pool *self)
{
    Py_CLEAR(self->boot);
    Py_CLEAR(self->last_fn);
    Py_CLEAR(self->last_pickle);
    return 0;
}

static void dealloc(pool *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module; /* NULL: the interpreter ends */
    core_state *state = module != NULL ? PyModule_GetState(module) : NULL;

    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    orphans_leave(self);
    /* Processes have a boot of their own: they are forks. */
    if (self->kind == AUR_THREADS && self->core != NULL && !self->joined &&
        !(state != NULL && is_inherited(self)) && aur_pool_join(self->core, 0) != AUR_OK) {
        keep_boot(state, self);
    }
    if (state != NULL) {
        pool_drop_boots(state, /* all= */ false);
    }
    (void)clear(self);
    gate_unref(self->gate);
    aur_pool_unref(self->core);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    { "submit", (PyCFunction)(void (*)(void))pool_submit, METH_FASTCALL,
      "submit(type, fn, args, kwargs, flags[, limits]) -> task" },
    { "submit_each", (PyCFunction)(void (*)(void))pool_submit_each, METH_FASTCALL,
      "submit_each(list, iterator, star, type, fn, flags[, limits])" },
    { "submit_batch", (PyCFunction)pool_submit_batch, METH_VARARGS,
      "submit_batch(fn, items, lo, hi, flags, retries[, into, at]) -> task of the list of "
      "results" },
    { "close", (PyCFunction)pool_close, METH_NOARGS, "No new tasks from now on" },
    { "terminate", (PyCFunction)pool_terminate, METH_O, "Ends everything; whether it is broken" },
    { "join", (PyCFunction)pool_join, METH_O, "join(timeout or None) -> whether all has ended" },
    { "has_ended", (PyCFunction)pool_has_ended, METH_NOARGS, "Closes it; whether all has ended" },
    { "rest", (PyCFunction)pool_rest, METH_NOARGS,
      "rest() -> the pool without what it was made with" },
    { "cancel_pending", (PyCFunction)pool_cancel_pending, METH_NOARGS,
      "Cancels what has not started" },
    { "is_idle", (PyCFunction)pool_is_idle, METH_NOARGS, "Whether all its calls have ended" },
    { "pids", (PyCFunction)pool_pids, METH_O,
      "pids(timeout or None) -> of each worker the id of its process, or None" },
    { "exit_status", (PyCFunction)pool_exit_status, METH_VARARGS,
      "exit_status(pid, timeout or None) -> how a worker ended, or None" },
    { "queued", (PyCFunction)pool_queued, METH_NOARGS, "How many calls in threads have not begun" },
    { "stats", (PyCFunction)pool_stats, METH_NOARGS, "Counters" },
    { "explain", (PyCFunction)pool_explain, METH_NOARGS, "Sentences about the pool" },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
    { "inherited", (getter)get_inherited, NULL,
      "Whether another process made it, of which this one is a worker", NULL },
    { "forked", (getter)get_forked, NULL,
      "Whether another process made it, of which this one is a fork of any kind", NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef members[] = {
    { "__weaklistoffset__", T_PYSSIZET, offsetof(pool, weakrefs), READONLY, NULL },
    { "kind", T_INT, offsetof(pool, kind), READONLY, NULL },
    { "large", T_ULONGLONG, offsetof(pool, large), READONLY, NULL },
    { "views", T_BOOL, offsetof(pool, views), 0, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyType_Slot slots[] = {
    { Py_tp_new, pool_new },      { Py_tp_dealloc, dealloc },
    { Py_tp_traverse, traverse }, { Py_tp_clear, clear },
    { Py_tp_methods, methods },   { Py_tp_members, members },
    { Py_tp_getset, getset },     { 0, NULL },
};

PyType_Spec pool_spec = {
    .name = "auriga._core.Pool",
    .basicsize = sizeof(pool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
