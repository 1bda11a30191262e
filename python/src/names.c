/* Functions: what messages call them, and how they travel. */
#include "core.h"

#include <string.h>

/* ---- names of functions -------------------------------------------------------------------------- */

/* What the library's messages call a function; kept for good, since errors point to it. */
struct label {
    aur_fn thread_fn; /* core_thread_fn under the function's name */
    const char *site; /* threads: where it is defined */
    const char *call; /* processes: its name and that */
};

static void free_label(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, NULL));
    Py_XDECREF((PyObject *)PyCapsule_GetContext(capsule)); /* the texts */
}

#define WRAPPED_MAX 8

/* The function right behind a method, a functools.partial and the like; new, or NULL. */
static PyObject *inner_of(PyObject *fn)
{
    PyObject *inner = NULL;

    if (PyMethod_Check(fn)) {
        inner = PyMethod_GET_FUNCTION(fn);
        Py_INCREF(inner);
    } else if (!PyFunction_Check(fn) && !PyCFunction_Check(fn) && !PyType_Check(fn)) {
        inner = PyObject_GetAttrString(fn, "func");
        if (inner == NULL) {
            PyErr_Clear();
        }
    }
    return inner;
}

/* The innermost of them; new. */
static PyObject *unwrap(PyObject *fn)
{
    PyObject *inner;

    Py_INCREF(fn);
    for (int i = 0; i < WRAPPED_MAX && (inner = inner_of(fn)) != NULL; i++) {
        Py_DECREF(fn);
        fn = inner;
    }
    return fn;
}

/* What stands for all functions that get the same label: the code, the type; the label keeps it. */
static PyObject *identity_of(PyObject *fn)
{
    if (PyFunction_Check(fn)) {
        return PyFunction_GET_CODE(fn);
    }
    return PyCFunction_Check(fn) || PyType_Check(fn) ? fn : (PyObject *)Py_TYPE(fn);
}

static PyObject *make_label(core_state *state, PyObject *fn)
{
    PyObject *texts = PyObject_CallMethod(state->helpers, "label", "OO", fn, identity_of(fn));
    const char *name;
    const char *site;
    const char *call;
    PyObject *kept;

    if (texts == NULL || !PyArg_ParseTuple(texts, "sssO", &name, &site, &call, &kept)) {
        Py_XDECREF(texts);
        return NULL;
    }
    struct label *label = malloc(sizeof(*label));
    PyObject *capsule = label != NULL ? PyCapsule_New(label, NULL, free_label) : PyErr_NoMemory();
    if (capsule != NULL && PyCapsule_SetContext(capsule, texts) < 0) {
        Py_CLEAR(capsule);
    }
    if (capsule == NULL) {
        Py_DECREF(texts);
        return NULL;
    }
    label->thread_fn = core_thread_fn;
    label->thread_fn.name = name;
    label->site = site;
    label->call = call;
    return capsule;
}

static struct label *find_label(core_state *state, PyObject *fn)
{
    PyObject *key = PyLong_FromVoidPtr(identity_of(fn));
    PyObject *capsule = key != NULL ? PyDict_GetItemWithError(state->names, key) : NULL;

    if (capsule == NULL && key != NULL && PyDict_GET_SIZE(state->names) < 4096) {
        PyObject *made = make_label(state, fn);
        /* Another thread may have been faster, and its calls point to what it has put there. */
        capsule = made != NULL ? PyDict_SetDefault(state->names, key, made) : NULL;
        Py_XDECREF(made); /* the dictionary has one */
    }
    PyErr_Clear(); /* a message will be poorer, and that is all */
    Py_XDECREF(key);
    return capsule != NULL ? PyCapsule_GetPointer(capsule, NULL) : NULL;
}

const char *pool_label(core_state *state, PyObject *fn, const aur_fn **ret_thread_fn)
{
    PyObject *inner = unwrap(fn);
    struct label *label = find_label(state, inner);

    Py_DECREF(inner);
    if (ret_thread_fn != NULL) {
        *ret_thread_fn = label != NULL ? &label->thread_fn : &core_thread_fn;
    }
    if (label == NULL) {
        return "?";
    }
    return ret_thread_fn != NULL ? label->site : label->call;
}

const char *pool_call_label(pool *self, PyObject *fn)
{
    if (fn != self->last_fn) {
        return pool_label(self->state, fn, NULL);
    }
    const char *label = self->last_label;
    if (label == NULL) {
        label = pool_label(self->state, fn, NULL);
        self->last_label = fn == self->last_fn ? label : NULL; /* others may have run meanwhile */
    }
    return label;
}

/* ---- functions as bytes -------------------------------------------------------------------------- */

/* What a dotted name stands for in a module; new, or NULL. */
static PyObject *find_dotted(PyObject *names, PyObject *dotted)
{
    PyObject *dot = PyUnicode_FromString(".");
    PyObject *parts = dot != NULL ? PyUnicode_Split(dotted, dot, -1) : NULL;
    PyObject *at = NULL;

    for (Py_ssize_t i = 0; parts != NULL && i < PyList_GET_SIZE(parts); i++) {
        PyObject *name = PyList_GET_ITEM(parts, i);
        PyObject *next = i == 0 ? PyDict_GetItemWithError(names, name) : PyObject_GetAttr(at, name);
        if (i == 0) {
            Py_XINCREF(next);
        }
        Py_XDECREF(at);
        at = next;
        if (at == NULL) {
            break;
        }
    }
    PyErr_Clear();
    Py_XDECREF(parts);
    Py_XDECREF(dot);
    return at;
}

/* Whether its module has the function under its name. */
static bool is_found(const PyFunctionObject *fn)
{
    PyObject *name = fn->func_qualname;
    PyObject *module = fn->func_module != NULL && PyUnicode_CheckExact(fn->func_module)
                           ? PyDict_GetItemWithError(PyImport_GetModuleDict(), fn->func_module)
                           : NULL;
    PyObject *names = module != NULL && PyModule_Check(module) ? PyModule_GetDict(module) : NULL;

    if (names == NULL) {
        PyErr_Clear();
        return false;
    }
    PyObject *found = PyDict_GetItemWithError(names, name);
    if (found != NULL || PyUnicode_FindChar(name, '.', 0, PyUnicode_GET_LENGTH(name), 1) < 0) {
        PyErr_Clear();
        return found == (const PyObject *)fn;
    }
    Py_INCREF(names);
    found = find_dotted(names, name);
    bool same = found == (const PyObject *)fn;
    Py_XDECREF(found);
    Py_DECREF(names);
    return same;
}

bool fn_goes_by_name(PyObject *fn)
{
    if (PyFunction_Check(fn)) {
        return is_found((PyFunctionObject *)fn);
    }
    return PyCFunction_CheckExact(fn) &&
           (PyCFunction_GET_SELF(fn) == NULL || PyModule_Check(PyCFunction_GET_SELF(fn)));
}

static PyObject *pickle_fn(pool *self, PyObject *fn, uint32_t flags)
{
    writer w;
    PyObject *bytes = NULL;

    writer_init(&w, self->state, NULL, flags);
    if (writer_value(&w, fn) == 0) {
        bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)w.size);
    }
    if (bytes != NULL) {
        writer_copy(&w, PyBytes_AS_STRING(bytes));
    }
    writer_clear(&w);
    return bytes;
}

int pool_write_fn(pool *self, writer *w, PyObject *fn, uint32_t *flags)
{
    bool by_name = fn_goes_by_name(fn);
    PyObject *bytes = self->last_pickle;
    int done;

    if (by_name && fn == self->last_fn) {
        Py_INCREF(bytes);
    } else if ((bytes = pickle_fn(self, fn, *flags)) == NULL) {
        return -1;
    } else if (by_name) {
        PyObject *old_fn = self->last_fn;
        PyObject *old_pickle = self->last_pickle;
        Py_INCREF(fn);
        Py_INCREF(bytes);
        self->last_fn = fn;
        self->last_pickle = bytes;
        self->last_label = NULL;
        Py_XDECREF(old_fn); /* last, since its end may run code that submits */
        Py_XDECREF(old_pickle);
    }
    *flags |= by_name ? CALL_FN_CACHED : 0;
    done = writer_u32(w, (uint32_t)PyBytes_GET_SIZE(bytes)) < 0 ||
                   writer_bytes(w, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)) < 0
               ? -1
               : 0;
    Py_DECREF(bytes);
    return done;
}
