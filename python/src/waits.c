/* Waiting without the GIL.
 *
 * Inside a task, and in every thread but the main one, a wait is the library's own: it knows who
 * waits for whom.  In the main thread a signal has to be served, and the library's waits do not end
 * for one; so after the first moments the thread sleeps in poll() on an eventfd, which does. */
#include "core.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FIRST_NS UINT64_C(50000000) /* most waits end sooner, and are cheaper so */

static bool serves_signals(void)
{
    return getpid() == (pid_t)syscall(SYS_gettid) && aur_pool_current() == NULL;
}

#define SECONDS_MAX 1.0e9 /* 30 years, and little enough for the clocks of Python and its locks */

/* An int that no float can hold. */
static int vast_seconds(PyObject *timeout, double *ret)
{
    PyErr_Clear();
    PyObject *zero = PyLong_FromLong(0);
    int below = zero != NULL ? PyObject_RichCompareBool(timeout, zero, Py_LT) : -1;

    Py_XDECREF(zero);
    *ret = below > 0 ? -SECONDS_MAX : INFINITY;
    return below < 0 ? -1 : 0;
}

static int not_seconds(PyObject *type, PyObject *timeout)
{
    PyErr_Format(type, "timeout must be a number of seconds or None, not %.80R", timeout);
    return -1;
}

/* INFINITY: no limit. */
static int to_seconds(PyObject *timeout, double *ret)
{
    if (timeout == Py_None || timeout == NULL) {
        *ret = INFINITY;
        return 0;
    }
    *ret = PyFloat_AsDouble(timeout);
    if (*ret == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            return vast_seconds(timeout, ret);
        }
        return PyErr_ExceptionMatches(PyExc_TypeError) ? not_seconds(PyExc_TypeError, timeout) : -1;
    }
    if (isnan(*ret)) {
        return not_seconds(PyExc_ValueError, timeout);
    }
    *ret = *ret > SECONDS_MAX ? INFINITY : *ret < -SECONDS_MAX ? -SECONDS_MAX : *ret;
    return 0;
}

int wait_deadline(PyObject *timeout, aur_deadline *ret)
{
    double seconds;

    if (to_seconds(timeout, &seconds) < 0) {
        return -1;
    }
    *ret = seconds <= 0     ? 0
           : isinf(seconds) ? AUR_NO_DEADLINE
                            : aur_deadline_in_ns((uint64_t)(seconds * 1e9));
    return 0;
}

/* seconds(timeout) -> float, or None if that is for ever */
PyObject *wait_seconds(PyObject *module, PyObject *timeout)
{
    double seconds;

    (void)module;
    if (to_seconds(timeout, &seconds) < 0) {
        return NULL;
    }
    return isinf(seconds) ? Py_NewRef(Py_None) : PyFloat_FromDouble(seconds);
}

static aur_deadline earlier(aur_deadline a, aur_deadline b)
{
    return a < b ? a : b;
}

/* Sleeps until fd is readable, a signal came or the deadline passed. */
static void poll_fd(int fd, aur_deadline deadline)
{
    struct pollfd poller = { .fd = fd, .events = POLLIN };
    struct timespec left;
    struct timespec now;
    struct timespec *limit = NULL;

    if (deadline != AUR_NO_DEADLINE) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t at = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
        uint64_t ns = deadline > at ? deadline - at : 0;
        left.tv_sec = (time_t)(ns / 1000000000);
        left.tv_nsec = (long)(ns % 1000000000);
        limit = &left;
    }
    (void)ppoll(&poller, 1, limit, NULL);
}

/* What the eventfd of a wait in poll() may outlive: closed by whoever is last. */
struct bell {
    _Atomic(int) refs;
    int fd;
};

static void bell_drop(struct bell *bell)
{
    if (__atomic_sub_fetch((int *)&bell->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        close(bell->fd);
        free(bell);
    }
}

static void bell_ring(void *ctx)
{
    struct bell *bell = ctx;
    uint64_t one = 1;

    (void)!write(bell->fd, &one, sizeof(one));
    bell_drop(bell);
}

static void bell_ring_future(void *ctx, aur_future *future)
{
    (void)future;
    bell_ring(ctx);
}

static struct bell *bell_new(void)
{
    struct bell *bell = malloc(sizeof(*bell));

    if (bell == NULL) {
        return NULL;
    }
    bell->refs = 2;
    bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell->fd < 0) {
        free(bell);
        return NULL;
    }
    return bell;
}

/* ---- one future ------------------------------------------------------------------------------ */

/* One wait of the library's kind, without the GIL. */
static aur_err wait_once(core_state *state, aur_future *future, struct batch *batch,
                         aur_deadline deadline)
{
    PyThreadState *saved = PyEval_SaveThread();

    /* relaxed: a hint for settle_down() in worker.c */
    __atomic_fetch_add(&state->waiting, 1, __ATOMIC_RELAXED);
    aur_err err = batch != NULL ? batch_wait(batch, deadline) : aur_future_wait(future, deadline);
    __atomic_fetch_sub(&state->waiting, 1, __ATOMIC_RELAXED);
    PyEval_RestoreThread(saved);
    return err;
}

/* The same, with a look at signals now and then: there is no descriptor to be had to sleep on. */
static int wait_in_turns(core_state *state, aur_future *future, struct batch *batch,
                         aur_deadline deadline, aur_err *ret)
{
    int got = 0;

    while (got == 0 && *ret == AUR_ETIMEDOUT && aur_deadline_in_ns(0) < deadline) {
        *ret = wait_once(state, future, batch, earlier(deadline, aur_deadline_in_ns(FIRST_NS)));
        got = PyErr_CheckSignals();
    }
    return got;
}

/* The rest of a wait in the main thread. */
static int wait_with_signals(core_state *state, aur_future *future, struct batch *batch,
                             aur_deadline deadline, aur_err *ret)
{
    struct bell *bell = bell_new();
    int got = 0;

    if (bell == NULL) {
        return wait_in_turns(state, future, batch, deadline, ret);
    }
    if (batch != NULL) {
        batch_on_done(batch, bell_ring, bell);
    } else if (aur_future_on_done(future, bell_ring_future, bell) != AUR_OK) {
        bell_drop(bell);
        bell_drop(bell);
        PyErr_NoMemory();
        return -1;
    }
    do {
        Py_BEGIN_ALLOW_THREADS poll_fd(bell->fd, deadline);
        Py_END_ALLOW_THREADS *ret = wait_once(state, future, batch, 0);
        got = PyErr_CheckSignals();
    } while (got == 0 && *ret == AUR_ETIMEDOUT && aur_deadline_in_ns(0) < deadline);
    bell_drop(bell);
    return got;
}

/* To ask which thread this is takes two system calls, a tenth of a round trip: so in the program each thread's first
 * moments are those of the main one.  Not in a task, whose waits without a time limit the library may have to end; nor
 * elsewhere in a worker process, which would have to ask the program twice. */
static bool waits_in_two_parts(core_state *state)
{
    return state->depth == 0 ? aur_pool_current() == NULL : serves_signals();
}

static int wait_any_kind(core_state *state, aur_future *future, struct batch *batch,
                         aur_deadline deadline, aur_err *ret)
{
    if (deadline == 0 || !waits_in_two_parts(state)) {
        *ret = wait_once(state, future, batch, deadline);
        return 0;
    }
    *ret = wait_once(state, future, batch, earlier(deadline, aur_deadline_in_ns(FIRST_NS)));
    if (*ret != AUR_ETIMEDOUT) {
        return 0;
    }
    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    if (aur_deadline_in_ns(0) >= deadline) {
        return 0;
    }
    if (serves_signals()) {
        return wait_with_signals(state, future, batch, deadline, ret);
    }
    *ret = wait_once(state, future, batch, deadline);
    return 0;
}

int wait_future(core_state *state, aur_future *future, aur_deadline deadline, aur_err *ret)
{
    (void)aur_future_ref(future); /* somebody else may settle the task meanwhile */
    int got = wait_any_kind(state, future, NULL, deadline, ret);
    (void)aur_future_unref(future);
    return got;
}

int wait_batch(core_state *state, struct batch *batch, aur_deadline deadline, aur_err *ret)
{
    return wait_any_kind(state, NULL, batch, deadline, ret);
}

/* ---- several ----------------------------------------------------------------------------------- */

/* The set behind as_completed(): indexes of tasks as they complete. */
static void free_set(PyObject *capsule)
{
    aur_completed_free(PyCapsule_GetPointer(capsule, "auriga.completed"));
}

/* completed(tasks) -> capsule.  The tasks are those of calls, not of batches, and not settled. */
PyObject *wait_set(PyObject *module, PyObject *tasks)
{
    core_state *state = PyModule_GetState(module);
    PyObject *list = PySequence_Fast(tasks, "a sequence of tasks is needed");
    aur_completed *set = NULL;
    aur_err err = list != NULL ? aur_as_completed(NULL, 0, &set) : AUR_OK;

    for (Py_ssize_t i = 0; list != NULL && err == AUR_OK && i < PySequence_Fast_GET_SIZE(list);
         i++) {
        task *one = (task *)PySequence_Fast_GET_ITEM(list, i);
        if (!PyObject_TypeCheck(one, state->future_type) || one->future == NULL) {
            PyErr_SetString(PyExc_TypeError, "a task of a call is needed");
            Py_CLEAR(list);
            break;
        }
        err = aur_completed_add(set, one->future);
    }
    if (list == NULL || err != AUR_OK) {
        aur_completed_free(set);
        Py_XDECREF(list);
        return list == NULL ? NULL : core_raise(state, err, NULL);
    }
    Py_DECREF(list);
    return PyCapsule_New(set, "auriga.completed", free_set);
}

/* completed_add(capsule, task): one more. */
PyObject *wait_add(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *capsule;
    task *one;
    aur_completed *set;

    if (!PyArg_ParseTuple(args, "OO!", &capsule, state->future_type, &one) ||
        (set = PyCapsule_GetPointer(capsule, "auriga.completed")) == NULL) {
        return NULL;
    }
    aur_err err = one->future != NULL ? aur_completed_add(set, one->future) : AUR_EINVAL;
    if (err != AUR_OK) {
        return core_raise(state, err, NULL);
    }
    Py_RETURN_NONE;
}

/* completed_next(capsule, timeout) -> index, or None if it did not happen in time. */
PyObject *wait_next(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *capsule;
    PyObject *timeout;
    aur_deadline deadline;
    aur_completed *set;
    size_t index = 0;
    aur_err err;

    if (!PyArg_ParseTuple(args, "OO", &capsule, &timeout) ||
        wait_deadline(timeout, &deadline) < 0 ||
        (set = PyCapsule_GetPointer(capsule, "auriga.completed")) == NULL) {
        return NULL;
    }
    bool signals = serves_signals();
    do {
        aur_deadline until =
            signals ? earlier(deadline, aur_deadline_in_ns(2 * FIRST_NS)) : deadline;
        Py_BEGIN_ALLOW_THREADS err = aur_completed_next(set, &index, until);
        Py_END_ALLOW_THREADS if (err == AUR_ETIMEDOUT && PyErr_CheckSignals() < 0)
        {
            return NULL;
        }
    } while (err == AUR_ETIMEDOUT && signals && aur_deadline_in_ns(0) < deadline);
    if (err == AUR_ETIMEDOUT) {
        Py_RETURN_NONE;
    }
    return err == AUR_OK ? PyLong_FromSize_t(index) : core_raise(state, err, aur_last_error());
}

/* ---- errors of the library ------------------------------------------------------------------- */

PyObject *core_error(core_state *state, aur_err err, const aur_error *error)
{
    aur_error none = { .item = AUR_NO_ITEM, .worker = -1, .exit_status = -1 };
    const aur_error *e = error != NULL && error->err == err ? error : &none;
    PyObject *item = e->item != AUR_NO_ITEM ? PyLong_FromUnsignedLongLong(e->item) : NULL;
    /* What did not fit into the message may have taken a part of a letter along. */
    PyObject *message = PyUnicode_DecodeUTF8(e->message, (Py_ssize_t)strlen(e->message), "replace");
    PyObject *made = PyObject_CallFunction(
        state->make_error, "{s:i,s:s,s:s,s:N,s:s,s:O,s:i,s:i,s:i,s:i,s:I,s:K}", "code", (int)err,
        "name", aur_err_name(err), "text", aur_err_text(err), "message", message, "site",
        e->site != NULL ? e->site : "", "item", item != NULL ? item : Py_None, "worker", e->worker,
        "pid", e->pid, "signal", e->signal, "exit_status", e->exit_status, "attempts", e->attempts,
        "peak_rss", (unsigned long long)e->peak_rss);

    Py_XDECREF(item);
    return made;
}

PyObject *core_raise(core_state *state, aur_err err, const aur_error *error)
{
    bool bare = err == AUR_ENOMEM && (error == NULL || error->message[0] == '\0');
    PyObject *made = bare ? NULL : core_error(state, err, error);

    if (bare) {
        PyErr_NoMemory();
    } else if (made != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(made), made);
        Py_DECREF(made);
    }
    return NULL;
}
