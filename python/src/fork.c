/* Forks of the program, by os.fork() or as worker processes: what they have of its pools and calls.
 *
 * A fork copies the objects and not the threads that were about to change them.  So what belongs to another
 * process is known by the number of forks between that and this one, and its locks are left alone: a thread of
 * the parent may have had them. */
#include "core.h"

/* forked(): called in each child, by PyOS_AfterFork_Child(). */
PyObject *fork_noted(PyObject *module, PyObject *unused)
{
    core_state *state = PyModule_GetState(module);

    (void)unused;
    state->forks++;
    state->deliverer =
        NULL; /* its thread, and those that wait and those of boots, are the parent's */
    state->waiting = 0;
    state->kept_boots = NULL;
    Py_RETURN_NONE;
}

/* forks() -> how many there are between the first process that had this module and this one */
PyObject *fork_count(PyObject *module, PyObject *unused)
{
    core_state *state = PyModule_GetState(module);

    (void)unused;
    return PyLong_FromUnsignedLong(state->forks);
}

PyObject *fork_refuse(core_state *state)
{
    return core_raise(state, AUR_EFORKED, NULL);
}

/* refuse(): raises what the library says of a pool of the parent's. */
PyObject *fork_refused(PyObject *module, PyObject *unused)
{
    (void)unused;
    return fork_refuse(PyModule_GetState(module));
}
