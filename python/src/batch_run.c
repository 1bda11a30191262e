/* A batch in its worker: item after item, each result counted when it is whole. */
#include "batch.h"

#include <string.h>

#include "codec.h"
#include "core.h"

#define ARGS_MAX 8 /* more of them make a tuple first */

/* What is called, and with what. */
struct calls {
    PyObject *fn;
    reader *items;
    uint32_t flags;
    PyObject *kept[ARGS_MAX]; /* the last int at each place of the arguments, or NULL */
};

/* The next value, an argument at a place of which `kept` is the last int.  Who is called mostly drops its
 * arguments, and then that int becomes this one: the allocator does half as much for each item. */
static PyObject *read_argument(reader *items, PyObject **kept)
{
#ifndef Py_GIL_DISABLED /* where a count says who else has it */
    const char *at = items->at;
    int32_t number = 0; /* none */

    if (items->end - at > (ptrdiff_t)sizeof(number) && *at == TAG_INT32) {
        memcpy(&number, at + 1, sizeof(number));
    }
    if (takes_a_digit(number)) {
        if (*kept != NULL && Py_REFCNT(*kept) == 1) {
            change_digit(*kept, number);
        } else {
            Py_XSETREF(*kept, PyLong_FromLong(number));
        }
        items->at = at + 1 + sizeof(number);
        Py_XINCREF(*kept);
        return *kept;
    }
#else
    (void)kept;
#endif
    return read_value(items);
}

/* A call by a tuple that is not made: its values go to the call as they are read. */
static PyObject *call_star(struct calls *calls)
{
    PyObject *fn = calls->fn;
    reader *items = calls->items;
    const char *at = items->at;
    PyObject *argv[ARGS_MAX + 1];
    PyObject *value = NULL;
    size_t n = 0;

    if (items->end - at < 2 || at[0] != TAG_TUPLE || (unsigned char)at[1] > ARGS_MAX) {
        PyObject *item = reader_value(items);
        value = item != NULL ? PyObject_Call(fn, item, NULL) : NULL;
        Py_XDECREF(item);
        return value;
    }
    size_t wanted = (unsigned char)at[1];
    items->at += 2;
    while (n < wanted && (argv[n + 1] = read_argument(items, &calls->kept[n])) != NULL) {
        n++;
    }
    if (n == wanted) {
        value = PyObject_Vectorcall(fn, argv + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    while (n > 0) {
        Py_DECREF(argv[n--]);
    }
    return value;
}

/* The call of the next item. */
static PyObject *call_item(struct calls *calls)
{
    PyObject *argv[2];

    if ((calls->flags & CALL_STAR) != 0) {
        return call_star(calls);
    }
    argv[1] = read_argument(calls->items, calls->kept);
    if (argv[1] == NULL) {
        return NULL;
    }
    PyObject *value =
        PyObject_Vectorcall(calls->fn, argv + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(argv[1]);
    return value;
}

static int write_error(writer *w, PyObject *packed)
{
    int done =
        packed == NULL || !PyBytes_Check(packed) || writer_u8(w, 1) < 0 ||
                writer_u32(w, (uint32_t)PyBytes_GET_SIZE(packed)) < 0 ||
                writer_bytes(w, PyBytes_AS_STRING(packed), (size_t)PyBytes_GET_SIZE(packed)) < 0
            ? -1
            : 0;

    Py_XDECREF(packed);
    return done;
}

/* Runs one item; its result or exception is in w.  *ret_raised. */
static int run_item(writer *w, struct calls *calls, bool *ret_raised)
{
    core_state *state = w->state;
    PyObject *value = call_item(calls);
    PyObject *error;
    int done = 0;

    if (value != NULL && w->room > SHORT_BYTES) { /* nothing is in it yet */
        char *end = put_short(w->data + 1, value);
        if (end != NULL) {
            w->data[0] = 0;
            w->inner = w->size = (size_t)(end - w->data);
            Py_DECREF(value);
            return 0;
        }
    }
    if (value != NULL && writer_u8(w, 0) == 0 && writer_value(w, value) == 0) {
        Py_DECREF(value);
        return 0;
    }
    *ret_raised = true;
    error = core_take_exception();
    writer_clear(w);
    done = write_error(
        w, value == NULL
               ? PyObject_CallFunction(state->pack_error, "OI", error, calls->flags)
               : PyObject_CallFunction(state->pack_result, "OOI", error, value, calls->flags));
    Py_XDECREF(value);
    Py_DECREF(error);
    return done;
}

/* The exception that is set, in place of what is in w. */
static int write_exception(writer *w, uint32_t flags)
{
    PyObject *error = core_take_exception();

    writer_clear(w);
    int done = write_error(w, PyObject_CallFunction(w->state->pack_error, "OI", error, flags));
    Py_DECREF(error);
    return done;
}

/* A result that does not fit: the answer of the call, with the item's number behind it.  An error is
 * sized there by the answer itself. */
static aur_err put_large(writer *w, uint32_t number, uint32_t flags, aur_out *out)
{
    bool error = w->data[0] == 1;
    size_t size = error ? w->size - 4 : w->size;
    char *to = aur_out_alloc(out, size + sizeof(number));

    if (to == NULL && !error) {
        core_no_memory("a result", size);
        return write_exception(w, flags) < 0 ? AUR_ENOMEM : put_large(w, number, flags, out);
    }
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    if (error) {
        to[0] = 1;
        memcpy(to + 1, w->data + 5, size - 1);
    } else {
        writer_copy(w, to);
    }
    memcpy(to + size, &number, sizeof(number));
    return AUR_OK;
}

struct place {
    struct tally *tally;
    char *results;
    uint64_t room;
};

static aur_err run_items(writer *w, struct calls *calls, struct place *place, aur_out *out)
{
    uint32_t count;
    uint64_t used = 0;

    memcpy(&count, calls->items->base + HEAD_BYTES - sizeof(count), sizeof(count));
    for (uint32_t i = 0; i < count; i++) {
        bool raised = false;
        char *to = place->results + used;
        writer_begin_at(w, to, place->room - used);
        if (run_item(w, calls, &raised) < 0) {
            PyErr_Print();
            aur_fail(1, "the result of an item could not be told");
            return AUR_ETASK;
        }
        if (w->parts_n != 0 || w->size > place->room - used) {
            aur_err err = put_large(w, i, calls->flags, out);
            writer_clear(w);
            return err;
        }
        if (w->data != to) {
            memcpy(to, w->data, w->size);
        }
        used += w->size;
        if (w->owned) {
            writer_clear(w);
        }
        place->tally->used = used;
        __atomic_store_n(&place->tally->done, (uint64_t)i + 1, __ATOMIC_RELEASE);
        if (raised && (calls->flags & CALL_STOP) != 0) {
            break;
        }
    }
    return AUR_OK;
}

aur_err batch_run(core_state *state, const void *in, size_t size, aur_out *out)
{
    const char *record = in;
    reader r = { state, record, record + HEAD_BYTES, record + size, NULL };
    uint32_t flags;
    uint64_t where[3]; /* buffer, from, room */
    void *data;
    size_t bytes;

    if (size < HEAD_BYTES) {
        return AUR_EINVAL;
    }
    memcpy(&flags, record + 1, sizeof(flags));
    memcpy(where, record + 5, sizeof(where));
    aur_err err = aur_buf_open(where[0], &data, &bytes);
    if (err != AUR_OK || where[1] > bytes || where[2] > bytes - where[1] ||
        where[2] < sizeof(struct tally)) {
        return err != AUR_OK ? err : AUR_EINVAL;
    }
    struct place place = { .tally = (struct tally *)(void *)((char *)data + where[1]),
                           .results = (char *)data + where[1] + sizeof(struct tally),
                           .room = where[2] - sizeof(struct tally) };
    writer w;
    writer_init(&w, state, NULL, flags);
    PyObject *context;
    PyObject *fn =
        worker_enter_context(flags, &context) == 0 ? worker_function(state, &r, flags) : NULL;
    if (fn == NULL) {
        if (write_exception(&w, flags) < 0) {
            PyErr_Print();
            err = AUR_ETASK;
        } else {
            err = put_large(&w, 0, flags, out);
        }
    } else {
        struct calls calls = { .fn = fn, .items = &r, .flags = flags };
        err = run_items(&w, &calls, &place, out);
        for (size_t i = 0; i < ARGS_MAX; i++) {
            Py_XDECREF(calls.kept[i]);
        }
        Py_DECREF(fn);
    }
    worker_leave_context(context);
    writer_clear(&w);
    return err;
}
