/* What is done with many tasks in one call from Python: submitted, waited for, taken.
 *
 * Calls of microseconds are worth it only if Python code does not run for each of them. */
#include "core.h"

#define RUN_MAX 256 /* tasks that are taken at a time: what is taken is no longer "under way" */
#define STRIDE 64   /* calls that one wait is for, where all are waited for */
#define AHEAD_NS UINT64_C(500000)

/* A task whose outcome the library decides; else it is a Failed of auriga._results, which is done. */
static task *as_call(core_state *state, PyObject *object)
{
    task *one = PyObject_TypeCheck(object, state->future_type) ? (task *)object : NULL;

    return one != NULL && one->kind != TASK_ALONE ? one : NULL;
}

/* Whether it can be settled without a wait: no other thread is at it. */
static bool is_done(core_state *state, PyObject *object)
{
    task *one = as_call(state, object);

    return one == NULL || one->phase >= TASK_CANCELLED ||
           (one->settler == NULL && task_is_done(one));
}

/* Lets a task that is done take in its outcome. */
static int settle(core_state *state, PyObject *object)
{
    task *one = as_call(state, object);

    return one != NULL ? task_settle(one) : 0;
}

static int await_object(core_state *state, PyObject *object, aur_deadline deadline)
{
    task *one = as_call(state, object);

    Py_INCREF(object);
    int done = one != NULL ? task_await(one, deadline) : 1;
    Py_DECREF(object);
    return done;
}

/* The same for single calls, and outside of tasks only: a wait inside may run what it waits for, and
 * should do so in order.  Whoever waits for each of many short calls is woken for each; a wait for a later
 * one, which those before it precede roughly, is one wake for all of them. */
static int await_call(core_state *state, PyObject *object, aur_deadline deadline)
{
    task *one = aur_pool_current() == NULL ? as_call(state, object) : NULL;

    return one != NULL && one->kind != TASK_BATCH ? await_object(state, object, deadline) : 1;
}

/* A wait of that kind in which nothing is lost if the later one needs what the caller does with the
 * earlier ones: it is short.  -1: exception. */
static int await_ahead(core_state *state, PyObject *object, aur_deadline deadline)
{
    aur_deadline soon = aur_deadline_in_ns(AHEAD_NS);

    return await_call(state, object, soon < deadline ? soon : deadline);
}

/* wait_all(list of tasks, timeout) -> whether all are done */
PyObject *many_wait(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *tasks;
    PyObject *timeout;
    aur_deadline deadline;

    if (!PyArg_ParseTuple(args, "O!O", &PyList_Type, &tasks, &timeout) ||
        wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tasks); i++) {
        Py_ssize_t far =
            i + STRIDE - 1 < PyList_GET_SIZE(tasks) ? i + STRIDE - 1 : PyList_GET_SIZE(tasks) - 1;
        int done = i % STRIDE == 0 ? await_call(state, PyList_GET_ITEM(tasks, far), deadline) : 1;
        done = done > 0 ? await_object(state, PyList_GET_ITEM(tasks, i), deadline) : done;
        if (done <= 0) {
            return done < 0 ? NULL : PyBool_FromLong(0);
        }
    }
    Py_RETURN_TRUE;
}

/* values(list of tasks that are done) -> the values of those before the first that has none */
PyObject *many_values(PyObject *module, PyObject *tasks)
{
    core_state *state = PyModule_GetState(module);
    PyObject *values = PyList_Check(tasks) ? PyList_New(PyList_GET_SIZE(tasks)) : NULL;
    Py_ssize_t n = 0;

    if (values == NULL) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "a list is needed");
    }
    for (; n < PyList_GET_SIZE(tasks); n++) {
        task *one = as_call(state, PyList_GET_ITEM(tasks, n));
        if (one == NULL || one->value == NULL) {
            break;
        }
        Py_INCREF(one->value);
        PyList_SET_ITEM(values, n, one->value);
    }
    if (PyList_SetSlice(values, n, PyList_GET_SIZE(values), NULL) < 0) {
        Py_CLEAR(values);
    }
    return values;
}

/* The first object of a deque; new. */
static PyObject *first_of(PyObject *deque)
{
    return PyObject_Size(deque) > 0 ? PySequence_GetItem(deque, 0) : NULL;
}

/* take_first(deque of tasks, timeout, ahead) -> the first, once it is done, and all behind it that are
 * done, taken from the deque; None: it is not there in time.  Waits a little for the one at `ahead`. */
PyObject *many_take_first(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *deque;
    PyObject *timeout;
    Py_ssize_t ahead;
    aur_deadline deadline;

    if (!PyArg_ParseTuple(args, "OOn", &deque, &timeout, &ahead) ||
        wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    PyObject *far =
        ahead > 1 && ahead <= PyObject_Size(deque) ? PySequence_GetItem(deque, ahead - 1) : NULL;
    int good = far != NULL ? await_ahead(state, far, deadline) : 1;
    Py_XDECREF(far);
    PyObject *first = good >= 0 ? first_of(deque) : NULL;
    if (first == NULL) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_IndexError, "no task");
    }
    int done = await_object(state, first, deadline);
    PyObject *popleft = done > 0 ? PyObject_GetAttrString(deque, "popleft") : NULL;
    PyObject *taken = popleft != NULL ? PyList_New(0) : NULL;
    while (taken != NULL && first != NULL && PyList_GET_SIZE(taken) < RUN_MAX &&
           is_done(state, first)) {
        PyObject *left = PyObject_CallNoArgs(popleft);
        if (left == NULL || settle(state, first) < 0 || PyList_Append(taken, first) < 0) {
            Py_CLEAR(taken);
        }
        Py_XDECREF(left);
        Py_DECREF(first);
        first = first_of(deque);
    }
    Py_XDECREF(first);
    Py_XDECREF(popleft);
    if (done == 0) {
        Py_RETURN_NONE;
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(taken);
    }
    return taken;
}

/* Whether its value can be handed out now. */
static bool has_value(core_state *state, PyObject *object)
{
    task *one = as_call(state, object);

    return one != NULL && is_done(state, object) && task_settle(one) == 0 && one->value != NULL;
}

/* take_values(list of tasks, timeout, ahead): waits for the last of the list, and takes the values of it
 * and of those before it that are done.  None, and nothing taken: it has no value, or not in time.
 * Waits a little for the one at `ahead` from the end. */
PyObject *many_take_values(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *tasks;
    PyObject *timeout;
    Py_ssize_t ahead;
    aur_deadline deadline;

    if (!PyArg_ParseTuple(args, "O!On", &PyList_Type, &tasks, &timeout, &ahead) ||
        wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    Py_ssize_t n = PyList_GET_SIZE(tasks);
    if (ahead > 1 && ahead <= n &&
        await_ahead(state, PyList_GET_ITEM(tasks, n - ahead), deadline) < 0) {
        return NULL;
    }
    n = PyList_GET_SIZE(tasks);
    PyObject *last = n > 0 ? PyList_GET_ITEM(tasks, n - 1) : NULL;
    task *one = last != NULL ? as_call(state, last) : NULL;
    if (one == NULL) {
        Py_RETURN_NONE;
    }
    Py_INCREF(last);
    int done = task_await(one, deadline);
    PyObject *values = done > 0 && one->value != NULL ? PyList_New(0) : NULL;
    Py_DECREF(last);
    if (values == NULL) {
        return done < 0 || PyErr_Occurred() ? NULL : (Py_INCREF(Py_None), Py_None);
    }
    while ((n = PyList_GET_SIZE(tasks)) > 0 && PyList_GET_SIZE(values) < RUN_MAX &&
           has_value(state, PyList_GET_ITEM(tasks, n - 1))) {
        if (PyList_Append(values, ((task *)PyList_GET_ITEM(tasks, n - 1))->value) < 0 ||
            PyList_SetSlice(tasks, n - 1, n, NULL) < 0) {
            Py_CLEAR(values);
            return NULL;
        }
    }
    return values;
}

/* take_done(dict of tasks, misses) -> the values of the dict that are done, taken from it; the look ends
 * after so many that are not: each is a look at what has arrived, and they end roughly in order */
PyObject *many_take_done(PyObject *module, PyObject *args)
{
    core_state *state = PyModule_GetState(module);
    PyObject *tasks;
    int misses;
    PyObject *key;
    PyObject *object;
    Py_ssize_t at = 0;

    if (!PyArg_ParseTuple(args, "O!i", &PyDict_Type, &tasks, &misses)) {
        return NULL;
    }
    PyObject *taken = PyList_New(0);
    PyObject *keys = PyList_New(0);
    bool good = taken != NULL && keys != NULL;
    while (good && misses > 0 && PyList_GET_SIZE(taken) < RUN_MAX &&
           PyDict_Next(tasks, &at, &key, &object)) {
        if (is_done(state, object)) {
            good = PyList_Append(taken, object) == 0 && PyList_Append(keys, key) == 0;
        } else {
            misses--;
        }
    }
    for (Py_ssize_t i = 0; good && i < PyList_GET_SIZE(taken); i++) {
        good = PyDict_DelItem(tasks, PyList_GET_ITEM(keys, i)) == 0 &&
               settle(state, PyList_GET_ITEM(taken, i)) == 0; /* may run code, so not in the loop */
    }
    Py_XDECREF(keys);
    if (!good) {
        Py_CLEAR(taken);
    }
    return taken;
}

/* One task of pool.submit(), for one item; NULL: exception. */
static PyObject *submit_item(pool *self, PyObject **argv, Py_ssize_t n, PyObject *item, bool star)
{
    PyObject *args = star ? PySequence_Tuple(item) : PyTuple_Pack(1, item);
    PyObject *made = NULL;

    if (args != NULL) {
        argv[2] = args;
        made = pool_submit(self, argv, n);
        Py_DECREF(args);
    }
    return made;
}

/* submit_each(list, iterator, star, type, fn, flags[, limits]): a task for each item,
 * appended to the list.  Returns None at the end of the iterator, or the exception of a submit that
 * failed, with the items before it submitted; one of the iterator's is raised. */
PyObject *pool_submit_each(pool *self, PyObject *const *args, Py_ssize_t n)
{
    if (n < 6 || n > 7 || !PyList_Check(args[0]) || !PyIter_Check(args[1])) {
        return PyErr_Format(PyExc_TypeError, "submit_each(list, iterator, star, type, fn, flags)");
    }
    bool star = args[2] == Py_True;
    PyObject *argv[6] = { args[3], args[4], NULL, Py_None, args[5], n > 6 ? args[6] : NULL };
    PyObject *item;
    while ((item = PyIter_Next(args[1])) != NULL) {
        PyObject *made = submit_item(self, argv, n - 1, item, star);
        Py_DECREF(item);
        if (made == NULL) {
            return core_take_exception();
        }
        int done = PyList_Append(args[0], made);
        Py_DECREF(made);
        if (done < 0) {
            return NULL;
        }
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}
