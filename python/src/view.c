/* View: a part of a result, where the worker has put it.
 *
 * The memory is the library's and stays as it is as long as the future lives.  It is mapped for reading,
 * and not in children that are forked: both would share it with the worker that gets it back. */
#include "core.h"

typedef struct view {
    PyObject_HEAD aur_future *future;
    char *data;
    Py_ssize_t size;
} view;

PyObject *view_new(core_state *state, aur_future *future, const char *data, size_t size)
{
    view *self = (view *)state->view_type->tp_alloc(state->view_type, 0);

    if (self == NULL) {
        return NULL;
    }
    self->future = aur_future_ref(future);
    self->data = (char *)data;
    self->size = (Py_ssize_t)size;
    PyObject *memory = PyMemoryView_FromObject((PyObject *)self);
    Py_DECREF(self);
    return memory;
}

static int get_buffer(view *self, Py_buffer *buffer, int flags)
{
    return PyBuffer_FillInfo(buffer, (PyObject *)self, self->data, self->size, /* readonly= */ 1,
                             flags);
}

static void dealloc(view *self)
{
    PyTypeObject *type = Py_TYPE(self);

    aur_future_unref(self->future);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    { Py_tp_doc, (void *)"A part of a result in shared memory; for memoryview()" },
    { Py_tp_dealloc, dealloc },
    { Py_bf_getbuffer, get_buffer },
    { 0, NULL },
};

PyType_Spec view_spec = {
    .name = "auriga._core.View",
    .basicsize = sizeof(view),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
