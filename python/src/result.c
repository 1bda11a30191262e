/* Result: what Pool.apply_async() returns, a task with the methods of multiprocessing's AsyncResult.
 *
 * auriga.AsyncResult is a subclass in Python.  It adds what is rare: with a callback, the result
 * counts as ready only when that has returned. */
#include "core.h"

#include <structmember.h>

typedef struct result {
    task task;
    PyObject *told; /* threading.Event of the callbacks; NULL or None: there are none */
} result;

static bool has_event(const task *self)
{
    const result *one = (const result *)self;

    return one->told != NULL && one->told != Py_None;
}

/* The rest of a wait: for the callbacks.  As task_await(). */
static int await_callbacks(task *self, aur_deadline deadline)
{
    aur_deadline now = aur_deadline_in_ns(0);
    PyObject *left = NULL;

    if (deadline == AUR_NO_DEADLINE) {
        left = Py_None;
        Py_INCREF(left);
    } else {
        left = PyFloat_FromDouble(deadline > now ? (double)(deadline - now) / 1e9 : 0);
    }
    PyObject *done =
        left != NULL ? PyObject_CallMethod((PyObject *)self, "_wait_told", "N", left) : NULL;
    int got = done != NULL ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    return got;
}

static int await_ready(task *self, aur_deadline deadline)
{
    int done = task_await(self, deadline);

    return done > 0 && has_event(self) ? await_callbacks(self, deadline) : done;
}

static int is_ready(task *self)
{
    return !task_is_done(self) ? 0 : has_event(self) ? await_callbacks(self, 0) : 1;
}

static PyObject *result_get(task *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *timeout;
    aur_deadline deadline;

    if (task_parse_timeout(args, n, names, &timeout) < 0 || wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    int done = await_ready(self, deadline);
    return done < 0 ? NULL : done == 0 ? task_raise_timeout(self) : task_get(self, NULL);
}

static PyObject *result_wait(task *self, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *timeout;
    aur_deadline deadline;

    if (task_parse_timeout(args, n, names, &timeout) < 0 || wait_deadline(timeout, &deadline) < 0 ||
        await_ready(self, deadline) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *result_ready(task *self, PyObject *unused)
{
    int ready = is_ready(self);

    (void)unused;
    return ready < 0 ? NULL : PyBool_FromLong(ready);
}

static PyObject *result_successful(task *self, PyObject *unused)
{
    int ready = is_ready(self);

    (void)unused;
    if (ready == 0) {
        return PyErr_Format(PyExc_ValueError, "%R not ready", self);
    }
    if (ready < 0 || task_settle(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(self->value != NULL);
}

/* settled(type, value, error or None): a result that is done, of a call that the library never saw. */
PyObject *result_settled(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyTypeObject *type;
    PyObject *value;
    PyObject *error;

    if (!PyArg_ParseTuple(args, "O!OO", &PyType_Type, &type, &value, &error)) {
        return NULL;
    }
    if (!PyType_IsSubtype(type, state->result_type) ||
        !(error == Py_None || PyExceptionInstance_Check(error))) {
        return PyErr_Format(PyExc_TypeError, "a type of results, and an exception or None");
    }
    return (PyObject *)task_settled(type, state, value, error != Py_None ? error : NULL);
}

static PyObject *on_done(task *self, PyObject *fn)
{
    if (task_tell(self, fn) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* deliver(fn): fn(something) in the thread that callbacks run in. */
PyObject *result_deliver(PyObject *module, PyObject *fn)
{
    core_state *state = PyModule_GetState(module);
    task *done = task_settled(state->call_type, state, Py_None, NULL);
    int told = done != NULL ? task_tell(done, fn) : -1;

    Py_XDECREF(done);
    if (told < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    { "get", (PyCFunction)(void (*)(void))result_get, METH_FASTCALL | METH_KEYWORDS,
      "get($self, /, timeout=None)\n--\n\n"
      "The result, or the exception of the call.  ``multiprocessing.TimeoutError`` if it is not\n"
      "there in time." },
    { "wait", (PyCFunction)(void (*)(void))result_wait, METH_FASTCALL | METH_KEYWORDS,
      "wait($self, /, timeout=None)\n--\n\n"
      "Waits until it is done, or for timeout seconds." },
    { "ready", (PyCFunction)result_ready, METH_NOARGS,
      "ready($self, /)\n--\n\n"
      "Whether the call is done." },
    { "successful", (PyCFunction)result_successful, METH_NOARGS,
      "successful($self, /)\n--\n\n"
      "Whether it ended without an exception.  ValueError if it is not done." },
    { "_value", (PyCFunction)task_get, METH_NOARGS, NULL },
    { "_on_done", (PyCFunction)on_done, METH_O, NULL },
    { NULL, NULL, 0, NULL },
};

static PyMemberDef members[] = {
    { "_told", T_OBJECT, offsetof(result, told), 0, NULL },
    { NULL, 0, 0, 0, NULL },
};

static int traverse(result *self, visitproc visit, void *arg)
{
    Py_VISIT(self->told);
    return task_traverse(&self->task, visit, arg);
}

static int clear(result *self)
{
    Py_CLEAR(self->told);
    return task_clear(&self->task);
}

static void dealloc(result *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->told);
    task_dealloc(&self->task);
}

static PyType_Slot slots[] = {
    { Py_tp_dealloc, dealloc }, { Py_tp_traverse, traverse }, { Py_tp_clear, clear },
    { Py_tp_methods, methods }, { Py_tp_members, members },   { 0, NULL },
};

PyType_Spec result_spec = {
    .name = "auriga._core.Result",
    .basicsize = sizeof(result),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
