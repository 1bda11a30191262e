/* auriga._core: the module object and its state. */
#include "core.h"

static int core_exec(PyObject *module);

static core_state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

PyObject *core_take_exception(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static PyObject *run_nursery(PyObject *module, PyObject *boot)
{
    return worker_run_nursery(module, boot);
}

static PyObject *fork_nursery(PyObject *module, PyObject *args)
{
    PyObject *boot;
    int fds[4];

    return PyArg_ParseTuple(args, "Oiiii", &boot, &fds[0], &fds[1], &fds[2], &fds[3])
               ? worker_fork_nursery(module, boot, fds)
               : NULL;
}

/* What a program that is executed now would get; os.environ does not see what C code has put there. */
static PyObject *environment(PyObject *module, PyObject *unused)
{
    PyObject *all = PyList_New(0);

    (void)module;
    (void)unused;
    for (char **at = environ; all != NULL && at != NULL && *at != NULL; at++) {
        PyObject *one = PyBytes_FromString(*at);
        if (one == NULL || PyList_Append(all, one) < 0) {
            Py_CLEAR(all);
        }
        Py_XDECREF(one);
    }
    return all;
}

static PyObject *cpu_count(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromUnsignedLong(aur_cpu_count());
}

static PyObject *blocking(PyObject *module, PyObject *begin)
{
    (void)module;
    if (PyObject_IsTrue(begin)) {
        aur_blocking_begin();
    } else {
        aur_blocking_end();
    }
    Py_RETURN_NONE;
}

static PyObject *in_task(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(aur_pool_current() != NULL);
}

static PyMethodDef methods[] = {
    { "run_nursery", run_nursery, METH_O,
      "run_nursery(boot): becomes the process that forks a pool's workers" },
    { "fork_nursery", fork_nursery, METH_VARARGS,
      "fork_nursery(boot, line, asked, host, tracker): forks one that waits for its pool" },
    { "forked", fork_noted, METH_NOARGS, "Called in each child of a fork" },
    { "forks", fork_count, METH_NOARGS,
      "How many forks there are between the first process and this" },
    { "refuse", fork_refused, METH_NOARGS, "Raises what is said of objects that are the parent's" },
    { "environment", environment, METH_NOARGS, "The strings of this process's environment" },
    { "cpu_count", cpu_count, METH_NOARGS, "CPUs this process may use; quotas count" },
    { "completed", wait_set, METH_O, "The set behind as_completed()" },
    { "completed_add", wait_add, METH_VARARGS, "One more task for the set" },
    { "completed_next", wait_next, METH_VARARGS, "The index of the next task that is done" },
    { "seconds", wait_seconds, METH_O, "seconds(timeout) -> float, or None if that is for ever" },
    { "wait_all", many_wait, METH_VARARGS, "wait_all(list, timeout) -> whether all are done" },
    { "values", many_values, METH_O, "Values of the first tasks, up to one that has none" },
    { "take_first", many_take_first, METH_VARARGS, "The first task and those done behind it" },
    { "take_values", many_take_values, METH_VARARGS, "The last one's value and those before it" },
    { "take_done", many_take_done, METH_VARARGS, "Those of a dict that are done, taken from it" },
    { "settled", result_settled, METH_VARARGS,
      "A result that is done: type, value, error or None" },
    { "deliver", result_deliver, METH_O, "deliver(fn): fn(_) in the thread of the callbacks" },
    { "delivered", told_wait, METH_NOARGS, "Waits for the callbacks that are due by now" },
    { "watch", gauge_watch, METH_VARARGS, "watch(task, gauge, seconds) -> whether it can be told" },
    { "probe", gauge_probe, METH_VARARGS,
      "probe(task, gauge[, gap]) -> (times it was held, looks)" },
    { "in_task", in_task, METH_NOARGS, "Whether the calling thread runs a task of a pool" },
    { "blocking", blocking, METH_O, "The calling task is about to block, or goes on" },
    { NULL, NULL, 0, NULL },
};

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    core_state *s = state_of(module);

    Py_VISIT(s->pool_type);
    Py_VISIT(s->call_type);
    Py_VISIT(s->future_type);
    Py_VISIT(s->task_type);
    Py_VISIT(s->result_type);
    Py_VISIT(s->view_type);
    Py_VISIT(s->block_type);
    Py_VISIT(s->gauge_type);
    Py_VISIT(s->helpers);
    Py_VISIT(s->dumps);
    Py_VISIT(s->loads);
    Py_VISIT(s->make_error);
    Py_VISIT(s->pack_error);
    Py_VISIT(s->load_error);
    Py_VISIT(s->pack_result);
    Py_VISIT(s->names);
    Py_VISIT(s->fns);
    Py_VISIT(s->last_name);
    Py_VISIT(s->last_fn);
    return 0;
}

static int clear(PyObject *module)
{
    core_state *s = state_of(module);

    Py_CLEAR(s->pool_type);
    Py_CLEAR(s->call_type);
    Py_CLEAR(s->future_type);
    Py_CLEAR(s->task_type);
    Py_CLEAR(s->result_type);
    Py_CLEAR(s->view_type);
    Py_CLEAR(s->block_type);
    Py_CLEAR(s->gauge_type);
    Py_CLEAR(s->helpers);
    Py_CLEAR(s->dumps);
    Py_CLEAR(s->loads);
    Py_CLEAR(s->make_error);
    Py_CLEAR(s->pack_error);
    Py_CLEAR(s->load_error);
    Py_CLEAR(s->pack_result);
    Py_CLEAR(s->names);
    Py_CLEAR(s->fns);
    Py_CLEAR(s->last_name);
    Py_CLEAR(s->last_fn);
    return 0;
}

static void free_state(void *module)
{
    (void)clear(module);
    pool_drop_boots(state_of(module), /* all= */ true); /* no thread gets the GIL any more */
    block_drop_kept(state_of(module));
}

static PyModuleDef_Slot slots[] = {
    { Py_mod_exec, core_exec },
#if PY_VERSION_HEX >= 0x030C0000
    { Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED },
#endif
    { 0, NULL },
};

static PyModuleDef core_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "auriga._core",
    .m_doc = "Auriga's pools and tasks; use the package auriga.",
    .m_size = sizeof(core_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_state,
};

core_state *core_state_of(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;

    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *module = (base->tp_flags & Py_TPFLAGS_HEAPTYPE) != 0
                               ? ((PyHeapTypeObject *)base)->ht_module
                               : NULL;
        if (module != NULL && PyModule_GetDef(module) == &core_def) {
            return state_of(module);
        }
    }
    PyErr_SetString(PyExc_TypeError, "this type is not one of auriga's");
    return NULL;
}

/* base: NULL for object. */
static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);

    if (type != NULL && PyModule_AddType(module, type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

static PyObject *from_module(const char *name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(name);
    PyObject *found = module != NULL ? PyObject_GetAttrString(module, attribute) : NULL;

    Py_XDECREF(module);
    return found;
}

/* Has forked() called in children. */
static int note_forks(PyObject *module)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *add = os != NULL ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *noted = PyObject_GetAttrString(module, "forked");
    PyObject *none = add != NULL && noted != NULL ? PyTuple_New(0) : NULL;
    PyObject *named = none != NULL ? Py_BuildValue("{s:O}", "after_in_child", noted) : NULL;
    PyObject *done = named != NULL ? PyObject_Call(add, none, named) : NULL;
    int added = done != NULL ? 0 : -1;

    Py_XDECREF(done);
    Py_XDECREF(named);
    Py_XDECREF(none);
    Py_XDECREF(noted);
    Py_XDECREF(add);
    Py_XDECREF(os);
    return added;
}

static int core_exec(PyObject *module)
{
    core_state *s = state_of(module);

    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "auriga works in the main interpreter only: its workers "
                                           "are threads and forks of that");
        return -1;
    }
    s->names = PyDict_New();
    s->fns = PyDict_New();
    s->pool_type = add_type(module, &pool_spec, NULL);
    s->view_type = add_type(module, &view_spec, NULL);
    s->block_type = add_type(module, &block_spec, NULL);
    s->gauge_type = add_type(module, &gauge_spec, NULL);
    s->call_type = add_type(module, &call_spec, NULL);
    if (s->call_type == NULL) {
        return -1;
    }
    s->future_type = add_type(module, &future_spec, s->call_type);
    if (s->future_type == NULL) {
        return -1;
    }
    s->task_type = add_type(module, &task_spec, s->future_type);
    s->result_type = add_type(module, &result_spec, s->call_type);
    s->helpers = PyImport_ImportModule("auriga._helpers");
    if (s->helpers == NULL) {
        return -1;
    }
    s->loads = from_module("_pickle", "loads");
    s->dumps = PyObject_GetAttrString(s->helpers, "dumps");
    s->make_error = PyObject_GetAttrString(s->helpers, "make_error");
    s->pack_error = PyObject_GetAttrString(s->helpers, "pack_error");
    s->load_error = PyObject_GetAttrString(s->helpers, "load_error");
    s->pack_result = PyObject_GetAttrString(s->helpers, "pack_result_error");
    if (note_forks(module) < 0) {
        return -1;
    }
    bool good = s->names && s->fns && s->pool_type && s->task_type && s->result_type &&
                s->view_type && s->block_type && s->gauge_type && s->loads && s->dumps &&
                s->make_error && s->pack_error && s->load_error && s->pack_result;
    return good ? 0 : -1;
}

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_def);
}
