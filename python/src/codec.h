/* codec.h: the tags of values as bytes; written by encode.c, read by decode.c.
 *
 * The shortest values, which maps have many of, are written and read in line. */
#ifndef AURIGA_PYTHON_CODEC_H
#define AURIGA_PYTHON_CODEC_H

#include <stdint.h>
#include <string.h>

#include "core.h"

#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

enum {
    TAG_NONE = 'N',
    TAG_TRUE = 'T',
    TAG_FALSE = 'F',
    TAG_INT8 = 'i',
    TAG_INT32 = 'j',
    TAG_INT = 'I',
    TAG_FLOAT = 'D',
    TAG_ASCII = 'a',
    TAG_STR = 'S',
    TAG_BYTES = 'B',
    TAG_TUPLE = 't',
    TAG_PICKLE = 'P',
};

/* Where the value after the one at `at` begins; NULL: that is none, or one with parts.  Needs no
 * interpreter. */
const char *codec_skip(const char *at, const char *end);

/* What a buffer beside a pickle was; of what was none of Python's own nobody knows the type. */
enum { BUFFER_BYTEARRAY, BUFFER_BYTES, BUFFER_MEMORY };

#define ALIGN 64
#define SHORT_BYTES 9 /* of a short value, tag included */

/* An exact int of one digit. */
static inline bool int_of_a_digit(PyObject *value, int64_t *ret)
{
#if PY_VERSION_HEX >= 0x030C0000
    if (!PyUnstable_Long_IsCompact((PyLongObject *)value)) {
        return false;
    }
    *ret = PyUnstable_Long_CompactValue((PyLongObject *)value);
#else
    Py_ssize_t size = Py_SIZE(value); /* its sign is the number's */
    if (size < -1 || size > 1) {
        return false;
    }
    *ret = size == 0 ? 0 : size * (int64_t)((PyLongObject *)value)->ob_digit[0];
#endif
    return true;
}

#define SHARED_MAX 1024 /* of smaller ints the interpreter may have one each, for all */

/* Whether it is an int of one digit, and not a shared one. */
static inline bool takes_a_digit(int32_t number)
{
    return number > SHARED_MAX && number < (int64_t)1 << PyLong_SHIFT;
}

/* Makes another such int of one that nobody else has: what to free it and to make one anew would do. */
static inline void change_digit(PyObject *value, int32_t number)
{
#if PY_VERSION_HEX >= 0x030C0000
    ((PyLongObject *)value)->long_value.ob_digit[0] = (digit)number;
#else
    ((PyLongObject *)value)->ob_digit[0] = (digit)number;
#endif
}

static inline char *put_tagged(char *at, char tag, const void *value, size_t size)
{
    *at = tag;
    memcpy(at + 1, value, size);
    return at + 1 + size;
}

/* Writes an int to `at`, which has SHORT_BYTES; where it ends. */
static inline char *put_int(char *at, int64_t value)
{
    int32_t half = (int32_t)value;
    int8_t byte = (int8_t)value;

    return byte == value   ? put_tagged(at, TAG_INT8, &byte, sizeof(byte))
           : half == value ? put_tagged(at, TAG_INT32, &half, sizeof(half))
                           : put_tagged(at, TAG_INT, &value, sizeof(value));
}

/* The same for any short value; NULL: it is none, and nothing was written. */
static inline char *put_short(char *at, PyObject *value)
{
    int64_t number;
    double real;

    if (PyLong_CheckExact(value)) {
        return int_of_a_digit(value, &number) ? put_int(at, number) : NULL;
    }
    if (PyFloat_CheckExact(value)) {
        real = PyFloat_AS_DOUBLE(value);
        return put_tagged(at, TAG_FLOAT, &real, sizeof(real));
    }
    if (value == Py_None || value == Py_True || value == Py_False) {
        *at = value == Py_None ? TAG_NONE : value == Py_True ? TAG_TRUE : TAG_FALSE;
        return at + 1;
    }
    return NULL;
}

/* reader_value(), with the commonest case in line. */
static inline PyObject *read_value(reader *r)
{
    const char *at = r->at;
    int32_t half;

    if (r->end - at > (ptrdiff_t)sizeof(half) && *at == TAG_INT32) {
        memcpy(&half, at + 1, sizeof(half));
        r->at = at + 1 + sizeof(half);
        return PyLong_FromLong(half);
    }
    return reader_value(r);
}

#endif
