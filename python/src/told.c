/* Being told that a task is done: its callbacks, and the thread that they run in.
 *
 * The call of a thread's task tells itself (worker.c). All others are told of by the library, in whatever
 * thread it finishes them, without the GIL; from there they go to a pool of one thread, the deliverer. */
#include "core.h"

void told_settle(task *self)
{
    if (task_settle(self) < 0) {
        PyErr_WriteUnraisable(NULL); /* no memory to wait for a thread that is at it */
    }
}

/* In any thread, without the GIL, right after the library knows the outcome. */
static void submit_delivery(void *ctx)
{
    task *self = ctx;

    if (aur_fn_submit(self->state->deliverer, NULL, &core_deliver_fn, &ctx, NULL, NULL) != AUR_OK) {
        PyGILState_STATE gil = PyGILState_Ensure();
        told_settle(self);
        task_fire(self);
        task_disown(self);
        Py_DECREF(self);
        PyGILState_Release(gil);
    }
}

static void core_done(void *ctx, aur_future *future)
{
    (void)future;
    submit_delivery(ctx);
}

static int need_deliverer(core_state *state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *made = NULL;
    aur_diag diag;
    aur_err err;

    if (state->deliverer != NULL) {
        return 0;
    }
    opts.workers = 1;
    opts.flags = AUR_POOL_NO_HELP | AUR_POOL_FIXED;
    opts.name = "deliver";
    opts.worker_init = worker_thread_init;
    opts.worker_fini = worker_thread_fini;
    Py_BEGIN_ALLOW_THREADS err = aur_pool_new(&opts, &made, &diag);
    Py_END_ALLOW_THREADS if (err != AUR_OK)
    {
        core_raise(state, err, NULL);
        return -1;
    }
    if (state->deliverer == NULL) {
        state->deliverer = made;
    } else {
        aur_pool_unref(made); /* another thread came first */
    }
    return 0;
}

int task_deliver(task *self)
{
    if (need_deliverer(self->state) < 0) {
        return -1;
    }
    Py_INCREF(self);
    submit_delivery(self);
    return 0;
}

/* A call behind those that are due: the thread takes them in turn.  1: it is on its way. */
static int submit_last(core_state *state, aur_future **ret_future)
{
    task *last = task_settled(state->call_type, state, Py_None, NULL);

    if (last == NULL) {
        return -1;
    }
    aur_err err = aur_fn_submit(state->deliverer, NULL, &core_deliver_fn, &last, ret_future, NULL);
    if (err == AUR_OK) {
        return 1;
    }
    Py_DECREF(last);
    if (err == AUR_EFORKED) {
        return 0; /* the thread is the parent's */
    }
    core_raise(state, err, NULL);
    return -1;
}

PyObject *told_wait(PyObject *module, PyObject *unused)
{
    core_state *state = PyModule_GetState(module);
    aur_future *future = NULL;
    aur_err err = AUR_OK;
    int got = state->deliverer != NULL ? submit_last(state, &future) : 0;

    (void)unused;
    if (got > 0) {
        got = wait_future(state, future, AUR_NO_DEADLINE, &err);
        aur_future_unref(future);
    }
    if (got < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Makes the library tell of the end of this task. */
static int push(task *self)
{
    aur_err err = AUR_OK;

    if (self->pushing) {
        return 0;
    }
    if (need_deliverer(self->state) < 0) {
        return -1;
    }
    self->pushing = 1;
    Py_INCREF(self);
    if (self->kind == TASK_BATCH) {
        batch_on_done(self->batch, submit_delivery, self);
    } else {
        err = aur_future_on_done(self->future, core_done, self);
    }
    if (err != AUR_OK) {
        self->pushing = 0;
        Py_DECREF(self);
        core_raise(self->state, err, NULL);
        return -1;
    }
    return 0;
}

int task_push(task *self)
{
    if (self->kind != TASK_PROCESS && task_is_inherited(self)) { /* of others the library says so */
        (void)fork_refuse(self->state);
        return -1;
    }
    return self->kind == TASK_THREAD ? 0 : push(self); /* the thread that runs it tells */
}

void task_watch(task *self)
{
    if (push(self) < 0) {
        PyErr_Clear(); /* no memory: whoever asks for it, or joins, tells */
    }
}

/* A new list may mean a collection of garbage, which may let others run: the call may have ended after this. */
static int need_callbacks(task *self)
{
    PyObject *made = self->callbacks == NULL ? PyList_New(0) : NULL;

    if (self->callbacks == NULL) {
        self->callbacks = made;
    } else {
        Py_XDECREF(made);
    }
    return self->callbacks != NULL ? 0 : -1;
}

int task_tell(task *self, PyObject *fn)
{
    if (need_callbacks(self) < 0 || PyList_Append(self->callbacks, fn) < 0) {
        return -1;
    }
    if (self->phase < TASK_CANCELLED) {
        return task_push(self);
    }
    return task_deliver(self);
}

PyObject *task_on_done(task *self, PyObject *fn)
{
    for (;;) { /* until it has a list and is not done, with nothing between the looks */
        if (self->kind != TASK_ALONE && task_is_done(self)) {
            if (task_settle(self) < 0) {
                return NULL;
            }
        }
        if (self->phase >= TASK_CANCELLED) {
            return PyObject_CallOneArg(fn, (PyObject *)self);
        }
        if (self->callbacks != NULL) {
            break;
        }
        if (need_callbacks(self) < 0) {
            return NULL;
        }
    }
    if (PyList_Append(self->callbacks, fn) < 0 || task_push(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
