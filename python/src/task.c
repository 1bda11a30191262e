/* Task: the Python object for one call, whose outcome the library decides.
 *
 * A task asks the library when somebody asks it; nothing runs in the background for a task that
 * nobody has a callback on.  auriga.Future is a subclass that is a standard Future as well; what
 * apply_async() returns is the same object with other methods (result.c). */
#include "core.h"

#include <structmember.h>

task *task_new(PyTypeObject *type, pool *owner, int kind)
{
    task *self = (task *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    self->state = owner->state;
    self->forks = (uint16_t)owner->state->forks;
    self->kind = (uint8_t)kind;
    Py_INCREF(owner);
    self->pool = owner;
    self->next = owner->tasks.next;
    self->prev = &owner->tasks;
    self->next->prev = self;
    owner->tasks.next = self;
    return self;
}

task *task_settled(PyTypeObject *type, core_state *state, PyObject *value, PyObject *error)
{
    task *self = (task *)type->tp_alloc(type, 0);

    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->forks = (uint16_t)state->forks;
    self->kind = TASK_PROCESS;
    self->phase = TASK_FINISHED;
    Py_XINCREF(error);
    self->error = error;
    if (error == NULL) {
        Py_INCREF(value);
        self->value = value;
    }
    return self;
}

void task_unlink(task *self)
{
    if (self->next != NULL) {
        self->next->prev = self->prev;
        self->prev->next = self->next;
        self->next = self->prev = NULL;
    }
}

static void drop_bufs(task *self)
{
    for (size_t i = 0; i < self->bufs_n; i++) {
        aur_buf_unref(self->bufs[i]);
    }
    PyMem_Free(self->bufs);
    self->bufs = NULL;
    self->bufs_n = 0;
}

/* ---- the outcome ---------------------------------------------------------------------------- */

void task_finish(task *self, PyObject *value, PyObject *error)
{
    if (self->phase >= TASK_CANCELLED) {
        Py_XDECREF(value);
        Py_XDECREF(error);
        return;
    }
    self->phase = value == NULL && error == NULL ? TASK_CANCELLED : TASK_FINISHED;
    self->value = value;
    self->error = error;
    task_unlink(self);
    drop_bufs(self);
    Py_CLEAR(self->context);
    Py_CLEAR(self->fn);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    Py_CLEAR(self->into);
}

void task_disown(task *self)
{
    if (self->owned) {
        self->owned = 0;
        Py_DECREF(self);
    }
}

void task_fire(task *self)
{
    PyObject *callbacks = self->callbacks;

    self->callbacks = NULL;
    for (Py_ssize_t i = 0; callbacks != NULL && i < PyList_GET_SIZE(callbacks); i++) {
        PyObject *done = PyObject_CallOneArg(PyList_GET_ITEM(callbacks, i), (PyObject *)self);
        if (done == NULL) {
            PyErr_WriteUnraisable(PyList_GET_ITEM(callbacks, i));
        }
        Py_XDECREF(done);
    }
    Py_XDECREF(callbacks);
}

PyObject *task_pools_error(pool *owner, PyObject *error, bool bad_result)
{
    PyObject *instead = PyObject_CallMethod(owner->state->helpers, "pools_error", "OOi", owner,
                                            error, (int)bad_result);

    Py_DECREF(error);
    return instead != NULL ? instead : core_take_exception();
}

/* The same of a result that cannot be loaded here. */
static PyObject *bad_result(task *self)
{
    return task_pools_error(self->pool, core_take_exception(), true);
}

static void settle_bytes(task *self, aur_future *future, const char *data, size_t size)
{
    reader r = { self->state, data, data + 1, data + size, self->pool->views ? future : NULL };
    PyObject *value = NULL;
    PyObject *error = NULL;

    pool_saw(self->pool, size);
    if (size == 0) {
        PyErr_SetString(PyExc_ValueError, "a result is damaged: it is empty");
    } else if (data[0] == 0) {
        value = reader_value(&r);
    } else {
        error =
            PyObject_CallFunction(self->state->load_error, "y#", data + 1, (Py_ssize_t)size - 1);
    }
    if (value == NULL && error == NULL) {
        error = bad_result(self);
    }
    task_finish(self, value, error);
}

static void settle_failure(task *self, aur_err err, const aur_error *details)
{
    if (err == AUR_ECANCELED && !self->pool->broken) {
        task_finish(self, NULL, NULL);
        return;
    }
    err = err == AUR_ECANCELED ? AUR_EBROKEN : err;
    PyObject *error = core_error(self->state, err, details);
    task_finish(self, NULL,
                error != NULL ? task_pools_error(self->pool, error, false) : core_take_exception());
}

static void settle_batch(task *self)
{
    PyObject *error = NULL;
    aur_err err = AUR_OK;

    if (task_is_inherited(self)) { /* its results are in shared memory, which forks do not have */
        settle_failure(self, AUR_EFORKED, NULL);
        return;
    }
    PyObject *value = batch_results(self->batch, self->pool, self->into, &error, &err);

    pool_saw(self->pool, batch_bytes(self->batch));
    if (err != AUR_OK) {
        settle_failure(self, err, NULL);
        return;
    }
    task_finish(self, value, value == NULL && error == NULL ? bad_result(self) : error);
}

/* The library is through with a thread's task that it has not called. */
static void settle_uncalled(task *self, aur_err err, const aur_error *details)
{
    settle_failure(self, err != AUR_OK ? err : AUR_ECANCELED, details);
    task_disown(self);
    if (self->callbacks == NULL || self->pushing) {
        return;
    }
    if (task_deliver(self) < 0) {
        PyErr_Clear(); /* late is better than never, and here better than late */
        task_fire(self);
    }
}

/* Until the thread that loads the outcome has done so.  What is loaded may be had only once, as a descriptor;
 * and who has a list of results may have changed it by the time that another thread puts its own into it. */
static int await_settler(task *self)
{
    PyObject *done = Py_None;

    Py_INCREF(self);
    Py_INCREF(done);
    while (done != NULL && self->phase < TASK_CANCELLED) {
        Py_DECREF(done);
        if (self->settled != NULL) {
            done = PyObject_CallMethod(self->state->helpers, "await_event", "O", self->settled);
            continue;
        }
        done = PyObject_CallMethod(self->state->helpers, "new_event", NULL);
        if (done != NULL && self->settled == NULL) { /* else another one has come meanwhile */
            Py_INCREF(done);
            self->settled = done;
        }
    }
    int good = done != NULL ? 0 : -1;
    Py_XDECREF(done);
    Py_DECREF(self);
    return good;
}

static void tell_settled(task *self)
{
    PyObject *settled = self->settled;
    PyObject *done;

    self->settled = NULL;
    if (settled != NULL) {
        done = PyObject_CallMethod(settled, "set", NULL);
        if (done == NULL) {
            PyErr_WriteUnraisable(settled);
        }
        Py_XDECREF(done);
        Py_DECREF(settled);
    }
}

int task_settle(task *self)
{
    PyThreadState *before = self->settler;
    const void *data = NULL;
    size_t size = 0;

    if (self->phase >= TASK_CANCELLED || self->kind == TASK_ALONE) {
        return 0;
    }
    /* In a fork there is no such thread, and if it is this one then what is loaded asks for itself. */
    if (before != NULL && before != PyThreadState_Get() && !task_is_inherited(self)) {
        return await_settler(self);
    }
    self->settler = PyThreadState_Get();
    Py_INCREF(self);
    if (self->kind == TASK_BATCH) {
        settle_batch(self);
    } else {
        aur_future *future = aur_future_ref(self->future); /* loading may let others in */
        aur_err err = aur_future_view(future, &data, &size, 0);
        if (self->kind == TASK_THREAD) {
            settle_uncalled(self, err, aur_future_error(future));
        } else if (err != AUR_OK) {
            settle_failure(self, err, aur_future_error(future));
        } else {
            settle_bytes(self, future, data, size);
        }
        aur_future_unref(future);
    }
    self->settler = before;
    tell_settled(self);
    Py_DECREF(self);
    return 0;
}

bool task_is_done(task *self)
{
    if (self->phase >= TASK_CANCELLED) {
        return true;
    }
    if (self->kind == TASK_BATCH) {
        return !task_is_inherited(self) && batch_done(self->batch);
    }
    /* A thread's task is done when Python has its outcome, a moment before the library. */
    return aur_future_done(self->future);
}

int task_await(task *self, aur_deadline deadline)
{
    aur_err err = AUR_OK;
    int got = 0;

    if (!task_is_done(self)) {
        if (self->kind == TASK_BATCH && task_is_inherited(self)) {
            (void)fork_refuse(self->state);
            return -1;
        }
        got = self->kind == TASK_BATCH ? wait_batch(self->state, self->batch, deadline, &err)
                                       : wait_future(self->state, self->future, deadline, &err);
    }
    if (got < 0) {
        return -1;
    }
    if (err == AUR_ETIMEDOUT && self->phase < TASK_CANCELLED) {
        return 0;
    }
    if (err != AUR_OK && err != AUR_ETIMEDOUT) {
        core_raise(self->state, err, aur_last_error());
        return -1;
    }
    return task_settle(self) < 0 ? -1 : 1;
}

/* ---- methods --------------------------------------------------------------------------------- */

/* A task without a call is a plain standard Future: its method does it. */
static PyObject *standard(task *self, const char *name, PyObject *arg)
{
    PyObject *std = PyObject_GetAttrString(self->state->helpers, "StandardFuture");
    PyObject *method = std != NULL ? PyObject_GetAttrString(std, name) : NULL;
    PyObject *done =
        method != NULL ? PyObject_CallFunctionObjArgs(method, (PyObject *)self, arg, NULL) : NULL;

    Py_XDECREF(method);
    Py_XDECREF(std);
    return done;
}

/* The same of one that waits: its clocks have no room for every timeout. */
static PyObject *standard_wait(task *self, const char *name, PyObject *timeout)
{
    PyObject *seconds = wait_seconds(NULL, timeout);
    PyObject *done = seconds != NULL ? standard(self, name, seconds) : NULL;

    Py_XDECREF(seconds);
    return done;
}

int task_parse_timeout(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject **ret)
{
    Py_ssize_t named = names != NULL ? PyTuple_GET_SIZE(names) : 0;

    *ret = n + named > 0 ? args[0] : Py_None;
    if (n + named > 1) {
        PyErr_Format(PyExc_TypeError, "at most 1 argument is taken (timeout), %zd were given",
                     n + named);
        return -1;
    }
    if (named != 0 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "timeout") != 0) {
        PyErr_Format(PyExc_TypeError, "an unexpected keyword argument: '%U'",
                     PyTuple_GET_ITEM(names, 0));
        return -1;
    }
    return 0;
}

static PyObject *task_wait(task *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *timeout;
    aur_deadline deadline;

    if (task_parse_timeout(args, n, names, &timeout) < 0 || wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    int done = task_await(self, deadline);
    return done < 0 ? NULL : PyBool_FromLong(done);
}

static PyObject *raise_helper(task *self, const char *name)
{
    PyObject *done = PyObject_CallMethod(self->state->helpers, name, NULL);

    Py_XDECREF(done);
    return NULL;
}

PyObject *task_raise_timeout(task *self)
{
    return raise_helper(self, "raise_timeout");
}

/* Nobody but terminate() cancels the calls of a Pool. */
static bool is_of_pool(task *self)
{
    return PyObject_TypeCheck(self, self->state->result_type) ||
           PyObject_TypeCheck(self, self->state->task_type);
}

PyObject *task_get(task *self, PyObject *unused)
{
    (void)unused;
    if (self->phase < TASK_CANCELLED) {
        PyErr_SetString(PyExc_RuntimeError, "the task is not done");
        return NULL;
    }
    if (self->phase == TASK_CANCELLED) {
        return raise_helper(self, is_of_pool(self) ? "raise_terminated" : "raise_cancelled");
    }
    if (self->error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->error), self->error);
        return NULL;
    }
    Py_INCREF(self->value);
    return self->value;
}

static PyObject *task_result(task *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *timeout;
    aur_deadline deadline;

    if (task_parse_timeout(args, n, names, &timeout) < 0) {
        return NULL;
    }
    if (self->kind == TASK_ALONE) {
        return standard_wait(self, "result", timeout);
    }
    if (wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    int done = task_await(self, deadline);
    return done < 0 ? NULL : done == 0 ? task_raise_timeout(self) : task_get(self, NULL);
}

static PyObject *task_exception(task *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *timeout;
    aur_deadline deadline;

    if (task_parse_timeout(args, n, names, &timeout) < 0) {
        return NULL;
    }
    if (self->kind == TASK_ALONE) {
        return standard_wait(self, "exception", timeout);
    }
    if (wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    int done = task_await(self, deadline);
    if (done <= 0) {
        return done < 0 ? NULL : task_raise_timeout(self);
    }
    if (self->phase == TASK_CANCELLED) {
        return raise_helper(self, "raise_cancelled");
    }
    PyObject *error = self->error != NULL ? self->error : Py_None;
    Py_INCREF(error);
    return error;
}

static PyObject *task_done(task *self, PyObject *unused)
{
    (void)unused;
    return self->kind == TASK_ALONE ? standard(self, "done", NULL)
                                    : PyBool_FromLong(task_is_done(self));
}

static PyObject *task_running(task *self, PyObject *unused)
{
    (void)unused;
    if (self->kind == TASK_ALONE) {
        return standard(self, "running", NULL);
    }
    bool running = self->phase == TASK_RUNNING;
    if (self->phase == TASK_PENDING && self->kind == TASK_PROCESS) {
        running = aur_future_running(self->future);
    }
    return PyBool_FromLong(running);
}

static PyObject *task_cancelled(task *self, PyObject *unused)
{
    (void)unused;
    if (self->kind == TASK_ALONE) {
        return standard(self, "cancelled", NULL);
    }
    if (self->phase < TASK_CANCELLED && task_is_done(self) && task_settle(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(self->phase == TASK_CANCELLED);
}

/* Takes it back from the library if it has not started. */
static bool withdraw(task *self)
{
    if (self->kind == TASK_BATCH) {
        return !task_is_inherited(self) && batch_withdraw(self->batch);
    }
    return self->phase == TASK_PENDING && aur_future_withdraw(self->future);
}

/* Cancels it unless it has started; whether it is cancelled. */
bool task_withdraw(task *self)
{
    if (self->phase < TASK_CANCELLED && withdraw(self)) {
        task_finish(self, NULL, NULL);
        task_fire(self);
        task_disown(self); /* it will not run */
    }
    return self->phase == TASK_CANCELLED;
}

static PyObject *task_cancel(task *self, PyObject *unused)
{
    (void)unused;
    return self->kind == TASK_ALONE ? standard(self, "cancel", NULL)
                                    : PyBool_FromLong(task_withdraw(self));
}

/* Takes over the attributes of a standard Future; False if it has them. */
static PyObject *task_adopt(task *self, PyObject *attributes)
{
    if (self->full) {
        Py_RETURN_FALSE;
    }
    PyObject *dict = PyObject_GenericGetDict((PyObject *)self, NULL);
    if (dict == NULL || PyDict_Update(dict, attributes) < 0) {
        Py_XDECREF(dict);
        return NULL;
    }
    Py_DECREF(dict);
    self->full = 1;
    Py_RETURN_TRUE;
}

/* (value, error) of a task that is done; both None if it was cancelled. */
static PyObject *task_outcome(task *self, PyObject *unused)
{
    (void)unused;
    return Py_BuildValue("(iOO)", self->phase, self->value != NULL ? self->value : Py_None,
                         self->error != NULL ? self->error : Py_None);
}

static PyObject *get_inherited(task *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(task_is_inherited(self));
}

static PyObject *get_alone(task *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->kind == TASK_ALONE);
}

/* ---- the types ------------------------------------------------------------------------------- */

static PyObject *alloc_alone(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    core_state *state = core_state_of(type);
    task *self = state != NULL ? (task *)type->tp_alloc(type, 0) : NULL;

    (void)args;
    (void)kwargs;
    if (self != NULL) {
        self->state = state;
        self->forks = (uint16_t)state->forks;
        self->kind = TASK_ALONE;
    }
    return (PyObject *)self;
}

int task_traverse(task *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->pool);
    Py_VISIT(self->value);
    Py_VISIT(self->error);
    Py_VISIT(self->callbacks);
    Py_VISIT(self->settled);
    Py_VISIT(self->context);
    Py_VISIT(self->fn);
    Py_VISIT(self->args);
    Py_VISIT(self->kwargs);
    Py_VISIT(self->into);
    return 0;
}

int task_clear(task *self)
{
    Py_CLEAR(self->value);
    Py_CLEAR(self->error);
    Py_CLEAR(self->callbacks);
    Py_CLEAR(self->settled);
    Py_CLEAR(self->context);
    Py_CLEAR(self->fn);
    Py_CLEAR(self->args);
    Py_CLEAR(self->kwargs);
    Py_CLEAR(self->into);
    return 0;
}

void task_dealloc(task *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    task_unlink(self);
    if (self->phase < TASK_CANCELLED && self->kind == TASK_PROCESS) {
        orphans_add(self); /* it still runs, and its arguments are still read */
    }
    aur_future_unref(self->future);
    if (self->batch != NULL &&
        !task_is_inherited(self)) { /* else it may be in the midst of a change */
        batch_unref(self->batch);
    }
    drop_bufs(self);
    (void)task_clear(self);
    Py_CLEAR(self->pool);
    type->tp_free(self);
    Py_DECREF(type);
}

/* No public ones but those of the standard Future, whose name a subclass may have for something else. */
static PyMethodDef future_methods[] = {
    { "_wait", (PyCFunction)(void (*)(void))task_wait, METH_FASTCALL | METH_KEYWORDS, NULL },
    { "_on_done", (PyCFunction)task_on_done, METH_O, NULL },
    { "result", (PyCFunction)(void (*)(void))task_result, METH_FASTCALL | METH_KEYWORDS,
      "result($self, /, timeout=None)\n--\n\n"
      "Waits; returns the value or raises the error." },
    { "exception", (PyCFunction)(void (*)(void))task_exception, METH_FASTCALL | METH_KEYWORDS,
      "exception($self, /, timeout=None)\n--\n\n"
      "Waits; returns the error or None." },
    { "done", (PyCFunction)task_done, METH_NOARGS,
      "done($self, /)\n--\n\n"
      "Whether it was cancelled or has ended." },
    { "running", (PyCFunction)task_running, METH_NOARGS,
      "running($self, /)\n--\n\n"
      "Whether a worker has it." },
    { "cancelled", (PyCFunction)task_cancelled, METH_NOARGS,
      "cancelled($self, /)\n--\n\n"
      "Whether it was cancelled." },
    { "cancel", (PyCFunction)task_cancel, METH_NOARGS,
      "cancel($self, /)\n--\n\n"
      "Cancels it unless it has started; whether it is cancelled." },
    { "_adopt", (PyCFunction)task_adopt, METH_O, NULL },
    { "_outcome", (PyCFunction)task_outcome, METH_NOARGS, NULL },
    { NULL, NULL, 0, NULL },
};

static PyMethodDef task_methods[] = {
    { "wait", (PyCFunction)(void (*)(void))task_wait, METH_FASTCALL | METH_KEYWORDS,
      "wait(timeout=None): whether it is done" },
    { "get", (PyCFunction)task_get, METH_NOARGS, "The value, or raises the error, of a done task" },
    { "on_done", (PyCFunction)task_on_done, METH_O, "on_done(fn): fn(task) once it is done" },
    { NULL, NULL, 0, NULL },
};

static PyGetSetDef call_getset[] = {
    { "_inherited", (getter)get_inherited, NULL, NULL, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyGetSetDef getset[] = {
    { "_alone", (getter)get_alone, NULL, NULL, NULL },
    { NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef members[] = {
    { "_phase", T_UBYTE, offsetof(task, phase), READONLY, NULL },
    { "_full", T_UBYTE, offsetof(task, full), READONLY, NULL },
    { "_number", T_PYSSIZET, offsetof(task, number), 0, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyType_Slot call_slots[] = {
    { Py_tp_new, alloc_alone },  { Py_tp_dealloc, task_dealloc }, { Py_tp_traverse, task_traverse },
    { Py_tp_clear, task_clear }, { Py_tp_getset, call_getset },   { 0, NULL },
};

PyType_Spec call_spec = {
    .name = "auriga._core.Call",
    .basicsize = sizeof(task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = call_slots,
};

static PyType_Slot future_slots[] = {
    { Py_tp_methods, future_methods },
    { Py_tp_getset, getset },
    { Py_tp_members, members },
    { 0, NULL },
};

PyType_Spec future_spec = {
    .name = "auriga._core.Future",
    .basicsize = sizeof(task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = future_slots,
};

static PyType_Slot task_slots[] = {
    { Py_tp_methods, task_methods },
    { 0, NULL },
};

PyType_Spec task_spec = {
    .name = "auriga._core.Task",
    .basicsize = sizeof(task),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = task_slots,
};
