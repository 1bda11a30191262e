/* Values to bytes.
 *
 * What most calls pass (None, bool, int of 64 bits, float, str, bytes, and tuples of these) is
 * written by hand, tens of nanoseconds a value.  Everything else is one pickle of protocol 5, whose
 * large buffers travel apart from it.  A tuple that holds one such value is pickled as a whole, so
 * that an object that occurs twice in it stays one object. */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

#include "core.h"

#define APART_BYTES ((size_t)64 << 10) /* from here on a payload is worth a place of its own */
#define DEPTH_MAX 16

/* ---- writing -------------------------------------------------------------------------------- */

void writer_init(writer *w, core_state *state, aur_pool *shared, uint32_t flags)
{
    w->state = state;
    w->pool = shared;
    w->flags = flags;
    writer_begin_at(w, w->small, sizeof(w->small));
    w->parts = NULL;
    w->parts_n = 0;
    w->bufs = NULL;
    w->bufs_n = 0;
}

void writer_begin_at(writer *w, char *place, size_t room)
{
    w->data = place;
    w->owned = false;
    w->size = w->inner = 0;
    w->room = room;
}

void writer_clear(writer *w)
{
    for (size_t i = 0; i < w->parts_n; i++) {
        PyBuffer_Release(&w->parts[i].view);
    }
    for (size_t i = 0; i < w->bufs_n; i++) {
        aur_buf_unref(w->bufs[i]);
    }
    PyMem_Free(w->parts);
    PyMem_Free(w->bufs);
    if (w->owned) {
        free(w->data);
    }
    writer_init(w, w->state, w->pool, w->flags);
}

static int grow(writer *w, size_t more)
{
    size_t room = w->inner + more > w->room * 2 ? w->inner + more : w->room * 2;
    char *data = realloc(w->owned ? w->data : NULL, room);

    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (!w->owned) {
        memcpy(data, w->data, w->inner);
    }
    core_prefer_huge(data, room);
    w->data = data;
    w->owned = true;
    w->room = room;
    return 0;
}

int writer_reserve(writer *w, size_t more)
{
    return w->room - w->inner < more ? grow(w, more) : 0;
}

/* The next so many bytes, to be written by the caller; NULL: exception. */
static inline char *extend(writer *w, size_t size)
{
    if (w->room - w->inner < size && grow(w, size) < 0) {
        return NULL;
    }
    char *at = w->data + w->inner;
    w->inner += size;
    w->size += size;
    return at;
}

int writer_bytes(writer *w, const void *data, size_t size)
{
    char *at = extend(w, size);

    if (at == NULL) {
        return -1;
    }
    memcpy(at, data, size);
    return 0;
}

int writer_u8(writer *w, uint8_t value)
{
    char *at = extend(w, sizeof(value));

    if (at == NULL) {
        return -1;
    }
    *at = (char)value;
    return 0;
}

int writer_u32(writer *w, uint32_t value)
{
    return writer_bytes(w, &value, sizeof(value));
}

int writer_u64(writer *w, uint64_t value)
{
    return writer_bytes(w, &value, sizeof(value));
}

/* To the next multiple of ALIGN of the whole. */
static int pad(writer *w)
{
    static const char zeros[ALIGN];

    return writer_bytes(w, zeros, (ALIGN - w->size % ALIGN) % ALIGN);
}

/* A large payload of arguments: to a shared buffer of the pool, which the record then names. */
static int put_shared(writer *w, const void *data, size_t size)
{
    aur_buf *buf = NULL;
    aur_buf **bufs;

    bufs = PyMem_Realloc(w->bufs, (w->bufs_n + 1) * sizeof(*bufs));
    if (bufs == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    w->bufs = bufs;
    aur_err err = aur_buf_new(w->pool, size, 0, &buf);
    if (err == AUR_ENOMEM || err == AUR_ETOOBIG) {
        core_no_memory("an argument", size);
        return -1;
    }
    if (err != AUR_OK) {
        core_raise(w->state, err, NULL);
        return -1;
    }
    w->bufs[w->bufs_n++] = buf;
    Py_BEGIN_ALLOW_THREADS core_copy(aur_buf_data(buf), data, size);
    Py_END_ALLOW_THREADS return writer_u64(w, aur_buf_id(buf));
}

/* A large payload of a result: noted, and copied when the place of the result is known. */
static int put_part(writer *w, PyObject *owner)
{
    part *parts = PyMem_Realloc(w->parts, (w->parts_n + 1) * sizeof(*parts));

    if (parts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    w->parts = parts;
    if (writer_u64(w, UINT64_MAX) < 0 || pad(w) < 0 ||
        PyObject_GetBuffer(owner, &parts[w->parts_n].view, PyBUF_ANY_CONTIGUOUS) < 0) {
        return -1;
    }
    parts[w->parts_n].at = w->size;
    w->size += (size_t)parts[w->parts_n].view.len;
    w->parts_n++;
    return 0;
}

/* size, then where: 0 here; UINT64_MAX here, aligned; else a shared buffer. */
static int put_payload(writer *w, PyObject *owner, const void *data, size_t size)
{
    if (writer_u64(w, size) < 0) {
        return -1;
    }
    if (size < APART_BYTES) {
        return writer_u64(w, 0) < 0 ? -1 : writer_bytes(w, data, size);
    }
    return w->pool != NULL ? put_shared(w, data, size) : put_part(w, owner);
}

/* An int of at most 64 bits; 0: it has more. */
static int put_long(writer *w, PyObject *value)
{
    int overflow;
    int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);

    if (overflow != 0) {
        return 0;
    }
    if (writer_reserve(w, SHORT_BYTES) < 0) {
        return -1;
    }
    char *at = w->data + w->inner;
    size_t size = (size_t)(put_int(at, number) - at);
    w->inner += size;
    w->size += size;
    return 1;
}

static int put_text(writer *w, PyObject *value)
{
    Py_ssize_t size;
    const char *text;
    char record[5];
    uint32_t n;

    if (PyUnicode_IS_ASCII(value)) {
        record[0] = TAG_ASCII;
        text = PyUnicode_DATA(value);
        size = PyUnicode_GET_LENGTH(value);
    } else {
        record[0] = TAG_STR;
        text = PyUnicode_AsUTF8AndSize(value, &size);
        if (text == NULL) { /* lone surrogates: for pickle */
            PyErr_Clear();
            return 0;
        }
    }
    if ((size_t)size >= APART_BYTES) {
        return 0;
    }
    n = (uint32_t)size;
    memcpy(record + 1, &n, sizeof(n));
    return writer_bytes(w, record, 5) < 0 || writer_bytes(w, text, (size_t)size) < 0 ? -1 : 1;
}

/* 1: written; 0: not one of the simple values; -1: exception. */
static int put_simple(writer *w, PyObject *value, int depth)
{
    if (writer_reserve(w, SHORT_BYTES) < 0) {
        return -1;
    }
    char *at = w->data + w->inner;
    char *end = put_short(at, value);
    if (end != NULL) {
        w->inner += (size_t)(end - at);
        w->size += (size_t)(end - at);
        return 1;
    }
    if (PyLong_CheckExact(value)) {
        return put_long(w, value);
    }
    if (PyUnicode_CheckExact(value)) {
        return put_text(w, value);
    }
    if (PyBytes_CheckExact(value)) {
        return writer_u8(w, TAG_BYTES) < 0 || put_payload(w, value, PyBytes_AS_STRING(value),
                                                          (size_t)PyBytes_GET_SIZE(value)) < 0
                   ? -1
                   : 1;
    }
    if (PyTuple_CheckExact(value) && PyTuple_GET_SIZE(value) < 256 && depth < DEPTH_MAX) {
        char record[2] = { TAG_TUPLE, (char)PyTuple_GET_SIZE(value) };
        if (writer_bytes(w, record, 2) < 0) {
            return -1;
        }
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); i++) {
            int done = put_simple(w, PyTuple_GET_ITEM(value, i), depth + 1);
            if (done <= 0) {
                return done;
            }
        }
        return 1;
    }
    return 0;
}

/* owner: may be NULL. */
static uint8_t buffer_kind(const Py_buffer *view, PyObject *owner)
{
    if (view->readonly != 0) {
        return BUFFER_BYTES;
    }
    while (owner != NULL && PyMemoryView_Check(owner)) {
        owner = PyMemoryView_GET_BUFFER(owner)->obj;
    }
    return owner != NULL && PyByteArray_Check(owner) ? BUFFER_BYTEARRAY : BUFFER_MEMORY;
}

static int put_buffer(writer *w, PyObject *item)
{
    PyObject *raw = PyObject_CallMethod(item, "raw", NULL);
    Py_buffer view;
    int done = -1;

    if (raw == NULL) {
        return -1;
    }
    if (PyObject_GetBuffer(raw, &view, PyBUF_ANY_CONTIGUOUS) == 0) {
        uint8_t kind = buffer_kind(&view, PyMemoryView_GET_BUFFER(raw)->obj);
        done = writer_u8(w, kind) < 0 ? -1 : put_payload(w, raw, view.buf, (size_t)view.len);
        PyBuffer_Release(&view);
    }
    Py_DECREF(raw);
    return done;
}

static int put_pickle(writer *w, PyObject *value)
{
    PyObject *by_value = (w->flags & CALL_BY_VALUE) != 0 ? Py_True : Py_False;
    PyObject *buffers = PyList_New(0);
    PyObject *data = buffers != NULL ? PyObject_CallFunctionObjArgs(w->state->dumps, value, buffers,
                                                                    by_value, NULL)
                                     : NULL;
    int done = -1;

    if (data != NULL && !PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "a pickle must be bytes");
    } else if (data != NULL && writer_u8(w, TAG_PICKLE) == 0 &&
               writer_u32(w, (uint32_t)PyList_GET_SIZE(buffers)) == 0 &&
               put_payload(w, data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data)) == 0) {
        done = 0;
        for (Py_ssize_t i = 0; done == 0 && i < PyList_GET_SIZE(buffers); i++) {
            done = put_buffer(w, PyList_GET_ITEM(buffers, i));
        }
    }
    Py_XDECREF(data);
    Py_XDECREF(buffers);
    return done;
}

int writer_value(writer *w, PyObject *value)
{
    size_t inner = w->inner;
    size_t size = w->size;
    size_t parts = w->parts_n;
    size_t bufs = w->bufs_n;
    int done = put_simple(w, value, 0);

    if (done != 0) {
        return done < 0 ? -1 : 0;
    }
    while (w->parts_n > parts) {
        PyBuffer_Release(&w->parts[--w->parts_n].view);
    }
    while (w->bufs_n > bufs) {
        aur_buf_unref(w->bufs[--w->bufs_n]);
    }
    w->inner = inner;
    w->size = size;
    return put_pickle(w, value);
}

void writer_copy(const writer *w, char *to)
{
    size_t from = 0;
    size_t at = 0;

    for (size_t i = 0; i < w->parts_n; i++) {
        size_t n = w->parts[i].at - at;
        memcpy(to + at, w->data + from, n);
        from += n;
        at += n;
        core_copy(to + at, w->parts[i].view.buf, (size_t)w->parts[i].view.len);
        at += (size_t)w->parts[i].view.len;
    }
    memcpy(to + at, w->data + from, w->inner - from);
}
