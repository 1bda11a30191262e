/* Bytes to values; everything is checked, since another process wrote it. */
#include "codec.h"

#include <string.h>

#include "core.h"

static PyObject *bad_record(void)
{
    PyErr_SetString(PyExc_ValueError,
                    "what came from another process is damaged: it makes no sense");
    return NULL;
}

static const char *take(reader *r, size_t size)
{
    if ((size_t)(r->end - r->at) < size) {
        bad_record();
        return NULL;
    }
    const char *at = r->at;
    r->at += size;
    return at;
}

int reader_u32(reader *r, uint32_t *ret)
{
    const char *at = take(r, sizeof(*ret));

    if (at == NULL) {
        return -1;
    }
    memcpy(ret, at, sizeof(*ret));
    return 0;
}

int reader_u64(reader *r, uint64_t *ret)
{
    const char *at = take(r, sizeof(*ret));

    if (at == NULL) {
        return -1;
    }
    memcpy(ret, at, sizeof(*ret));
    return 0;
}

/* Where a payload is, and whether it has a place of its own in the record.  NULL: exception. */
static const char *take_payload(reader *r, size_t *ret_size, bool *ret_apart)
{
    uint64_t size;
    uint64_t where;
    void *data;
    size_t room;

    if (reader_u64(r, &size) < 0 || reader_u64(r, &where) < 0) {
        return NULL;
    }
    *ret_size = (size_t)size;
    *ret_apart = where == UINT64_MAX;
    if (where == 0) {
        return take(r, (size_t)size);
    }
    if (where == UINT64_MAX) {
        size_t at = (size_t)(r->at - r->base);
        return take(r, (ALIGN - at % ALIGN) % ALIGN) != NULL ? take(r, (size_t)size) : NULL;
    }
    aur_err err = aur_buf_open(where, &data, &room);
    if (err != AUR_OK || room < size) {
        bad_record();
        return NULL;
    }
    return data;
}

#define GIL_BYTES ((size_t)4 << 20) /* a copy of so many lets other threads run */

static void copy_payload(char *to, const char *from, size_t size)
{
    core_prefer_huge(to, size);
    if (size >= GIL_BYTES) {
        Py_BEGIN_ALLOW_THREADS core_copy(to, from, size);
        Py_END_ALLOW_THREADS
    } else {
        memcpy(to, from, size);
    }
}

#define COPY "the copy of an argument or a result" /* in messages */

static PyObject *take_bytes(reader *r)
{
    bool apart;
    size_t size;
    const char *data = take_payload(r, &size, &apart);
    PyObject *value = data != NULL && core_has_memory(COPY, size)
                          ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size)
                          : NULL;

    if (value != NULL) {
        copy_payload(PyBytes_AS_STRING(value), data, size);
    }
    return value;
}

#define BLOCK_BYTES ((size_t)32 << 20) /* what is smaller the C library keeps */

/* A buffer of a pickle, as an object of this process's own or as a view. */
static PyObject *take_buffer(reader *r)
{
    const char *kind = take(r, 1);
    bool apart = false;
    size_t size;
    const char *data = kind != NULL ? take_payload(r, &size, &apart) : NULL;
    char *to = NULL;
    PyObject *value;

    if (data == NULL) {
        return NULL;
    }
    if (apart && r->views != NULL) {
        return view_new(r->state, r->views, data, size);
    }
    if (*kind == BUFFER_MEMORY && size >= BLOCK_BYTES) {
        value = block_new(r->state, size, &to);
    } else if (!core_has_memory(COPY, size)) {
        return NULL;
    } else if (*kind == BUFFER_BYTES) {
        value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        to = value != NULL ? PyBytes_AS_STRING(value) : NULL;
    } else {
        value = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)size);
        to = value != NULL ? PyByteArray_AS_STRING(value) : NULL;
    }
    if (value != NULL) {
        copy_payload(to, data, size);
    }
    return value;
}

static PyObject *load(reader *r, const char *data, size_t size, PyObject *buffers)
{
    PyObject *view = PyMemoryView_FromMemory((char *)data, (Py_ssize_t)size, PyBUF_READ);
    PyObject *names = PyList_GET_SIZE(buffers) != 0 ? Py_BuildValue("(s)", "buffers") : NULL;
    PyObject *argv[2] = { view, buffers };
    PyObject *value = NULL;

    if (view != NULL && (names != NULL || PyList_GET_SIZE(buffers) == 0)) {
        value = PyObject_Vectorcall(r->state->loads, argv, 1, names);
    }
    Py_XDECREF(names);
    Py_XDECREF(view);
    return value;
}

static PyObject *take_pickle(reader *r)
{
    uint32_t n;
    size_t size;

    if (reader_u32(r, &n) < 0) {
        return NULL;
    }
    bool apart;
    const char *data = take_payload(r, &size, &apart);
    PyObject *buffers = data != NULL ? PyList_New(0) : NULL;
    PyObject *value = NULL;
    for (uint32_t i = 0; buffers != NULL && i < n; i++) {
        PyObject *buffer = take_buffer(r);
        if (buffer == NULL || PyList_Append(buffers, buffer) < 0) {
            Py_CLEAR(buffers);
        }
        Py_XDECREF(buffer);
    }
    if (buffers != NULL && core_has_memory(COPY, size)) {
        value = load(r, data, size, buffers);
    }
    Py_XDECREF(buffers);
    return value;
}

static PyObject *take_text(reader *r, bool ascii)
{
    uint32_t size;

    if (reader_u32(r, &size) < 0) {
        return NULL;
    }
    const char *text = take(r, size);
    if (text == NULL || !ascii) {
        return text != NULL ? PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, NULL) : NULL;
    }
    PyObject *value = PyUnicode_New((Py_ssize_t)size, 127);
    if (value != NULL && size != 0) {
        memcpy(PyUnicode_DATA(value), text, size);
    }
    return value;
}

static PyObject *take_tuple(reader *r)
{
    const char *n = take(r, 1);
    PyObject *tuple = n != NULL ? PyTuple_New((unsigned char)*n) : NULL;

    for (Py_ssize_t i = 0; tuple != NULL && i < PyTuple_GET_SIZE(tuple); i++) {
        PyObject *item = reader_value(r);
        if (item == NULL) {
            Py_CLEAR(tuple);
        } else {
            PyTuple_SET_ITEM(tuple, i, item);
        }
    }
    return tuple;
}

PyObject *reader_value(reader *r)
{
    const char *tag = take(r, 1);
    const char *at;
    int64_t number;
    int32_t half;
    double real;

    switch (tag != NULL ? *tag : 0) {
    case TAG_NONE:
        Py_RETURN_NONE;
    case TAG_TRUE:
        Py_RETURN_TRUE;
    case TAG_FALSE:
        Py_RETURN_FALSE;
    case TAG_INT8:
        at = take(r, 1);
        return at != NULL ? PyLong_FromLong((signed char)*at) : NULL;
    case TAG_INT32:
        at = take(r, sizeof(half));
        if (at == NULL) {
            return NULL;
        }
        memcpy(&half, at, sizeof(half));
        return PyLong_FromLong(half);
    case TAG_INT:
        at = take(r, sizeof(number));
        if (at == NULL) {
            return NULL;
        }
        memcpy(&number, at, sizeof(number));
        return PyLong_FromLongLong(number);
    case TAG_FLOAT:
        at = take(r, sizeof(real));
        if (at == NULL) {
            return NULL;
        }
        memcpy(&real, at, sizeof(real));
        return PyFloat_FromDouble(real);
    case TAG_ASCII:
    case TAG_STR:
        return take_text(r, *tag == TAG_ASCII);
    case TAG_BYTES:
        return take_bytes(r);
    case TAG_TUPLE:
        return take_tuple(r);
    case TAG_PICKLE:
        return take_pickle(r);
    default:
        return tag != NULL ? bad_record() : NULL;
    }
}

/* ---- past a value ------------------------------------------------------------------------------ */

static const char *skip_payload(const char *at, const char *end)
{
    uint64_t size;
    uint64_t where;

    if (at == NULL || (size_t)(end - at) < sizeof(size) + sizeof(where)) {
        return NULL;
    }
    memcpy(&size, at, sizeof(size));
    memcpy(&where, at + sizeof(size), sizeof(where));
    at += sizeof(size) + sizeof(where);
    if (where == UINT64_MAX || (where == 0 && size > (size_t)(end - at))) {
        return NULL;
    }
    return where == 0 ? at + size : at;
}

/* Its payload, then a byte and a payload for each buffer. */
static const char *skip_pickle(const char *at, const char *end)
{
    uint32_t n;

    if ((size_t)(end - at) < sizeof(n)) {
        return NULL;
    }
    memcpy(&n, at, sizeof(n));
    at = skip_payload(at + sizeof(n), end);
    while (n-- > 0 && at != NULL) {
        at = at < end ? skip_payload(at + 1, end) : NULL;
    }
    return at;
}

static const char *skip_text(const char *at, const char *end)
{
    uint32_t size;

    if ((size_t)(end - at) < sizeof(size)) {
        return NULL;
    }
    memcpy(&size, at, sizeof(size));
    at += sizeof(size);
    return size <= (size_t)(end - at) ? at + size : NULL;
}

static const char *skip_fixed(const char *at, const char *end, size_t size)
{
    return size <= (size_t)(end - at) ? at + size : NULL;
}

const char *codec_skip(const char *at, const char *end)
{
    unsigned values = 1; /* to be passed; a tuple is as many more as it has */

    while (values-- > 0) {
        char tag = at != NULL && at < end ? *at++ : 0;
        switch (tag) {
        case TAG_NONE:
        case TAG_TRUE:
        case TAG_FALSE:
            break;
        case TAG_INT8:
            at = skip_fixed(at, end, sizeof(int8_t));
            break;
        case TAG_INT32:
            at = skip_fixed(at, end, sizeof(int32_t));
            break;
        case TAG_INT:
        case TAG_FLOAT:
            at = skip_fixed(at, end, sizeof(int64_t));
            break;
        case TAG_ASCII:
        case TAG_STR:
            at = skip_text(at, end);
            break;
        case TAG_BYTES:
            at = skip_payload(at, end);
            break;
        case TAG_TUPLE:
            if (at == end) {
                return NULL;
            }
            values += (unsigned char)*at++;
            break;
        case TAG_PICKLE:
            at = skip_pickle(at, end);
            break;
        default:
            return NULL;
        }
    }
    return at;
}
