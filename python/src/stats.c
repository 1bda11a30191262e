/* What a pool says about itself: counters, processes, sentences. */
#include "core.h"

#include <string.h>

PyObject *pool_stats(pool *self, PyObject *unused)
{
    aur_stats s = { .size = sizeof(s) };

    (void)unused;
    aur_err err = aur_pool_stats(self->core, &s);
    if (err != AUR_OK) {
        return core_raise(self->state, err, NULL);
    }
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "submitted", s.submitted, "done",
                         s.done, "failed", s.failed, "cancelled", s.cancelled, "retried", s.retried,
                         "deaths", s.deaths, "workers", s.workers, "deadlocks", s.deadlocks);
}

/* Whether each call that was accepted has ended.  The library's counters say so a moment after the calls do. */
PyObject *pool_is_idle(pool *self, PyObject *unused)
{
    aur_stats s = { .size = sizeof(s) };

    (void)unused;
    for (task *one = self->tasks.next; one != &self->tasks; one = one->next) {
        if (!task_is_done(one)) {
            Py_RETURN_FALSE;
        }
    }
    if (self->kind == AUR_PROCESSES) {
        return PyBool_FromLong(!orphans_run(self));
    }
    aur_err err = aur_pool_stats(self->core, &s); /* of threads nobody keeps what was given up */
    return PyBool_FromLong(err == AUR_OK && s.submitted == s.done + s.failed + s.cancelled);
}

#define PIDS_MAX 8192 /* workers and spares */

static PyObject *pids_list(const int32_t *pids, size_t n)
{
    PyObject *list = PyList_New((Py_ssize_t)n);

    for (size_t i = 0; list != NULL && i < n; i++) {
        PyObject *pid = pids[i] != 0 ? PyLong_FromLong(pids[i]) : Py_NewRef(Py_None);
        if (pid == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, pid);
        }
    }
    return list;
}

/* pids(timeout) -> of each worker the id of its process, or None; waits so long for those that are being started */
PyObject *pool_pids(pool *self, PyObject *timeout)
{
    int32_t *pids = PyMem_Malloc(PIDS_MAX * sizeof(*pids));
    PyObject *list = NULL;
    aur_deadline deadline;
    aur_deadline until;
    size_t n = 0;
    aur_err err;

    if (pids == NULL) {
        return PyErr_NoMemory();
    }
    if (wait_deadline(timeout, &deadline) < 0) {
        goto out;
    }
    do { /* in slices, for a signal to be served */
        until = aur_deadline_in_ms(100);
        until = deadline < until ? deadline : until;
        Py_BEGIN_ALLOW_THREADS err = aur_pool_pids(self->core, pids, PIDS_MAX, until, &n);
        Py_END_ALLOW_THREADS if (err != AUR_OK)
        {
            core_raise(self->state, err, NULL);
            goto out;
        }
        if (PyErr_CheckSignals() < 0) {
            goto out;
        }
    } while (aur_deadline_in_ns(0) >= until && until < deadline);
    list = pids_list(pids, n < PIDS_MAX ? n : PIDS_MAX);
out:
    PyMem_Free(pids);
    return list;
}

/* exit_status(pid, timeout) -> how a worker ended, as os.waitpid() has it; None: not in time, or nobody knows */
PyObject *pool_exit_status(pool *self, PyObject *args)
{
    PyObject *timeout;
    aur_deadline deadline;
    int32_t status = 0;
    int pid;
    aur_err err;

    if (!PyArg_ParseTuple(args, "iO", &pid, &timeout) || wait_deadline(timeout, &deadline) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS err = aur_pool_exit_status(self->core, pid, deadline, &status);
    Py_END_ALLOW_THREADS return err == AUR_OK ? PyLong_FromLong(status) : Py_NewRef(Py_None);
}

/* How many calls in threads have not begun. */
PyObject *pool_queued(pool *self, PyObject *unused)
{
    size_t n = 0;

    (void)unused;
    for (task *one = self->tasks.next; one != &self->tasks; one = one->next) {
        n += one->kind == TASK_THREAD && one->phase == TASK_PENDING &&
             !aur_future_running(one->future) && !aur_future_done(one->future);
    }
    return PyLong_FromSize_t(n);
}

PyObject *pool_explain(pool *self, PyObject *unused)
{
    char text[2048];

    (void)unused;
    (void)aur_pool_explain(self->core, text, sizeof(text));
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strnlen(text, sizeof(text)), "replace");
}
