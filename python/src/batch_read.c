/* The results of a batch, when all is known. */
#include "batch_state.h"
#include "codec.h"

/* One result; *ret_error is set instead if the item raised. */
static PyObject *read_one(reader *r, bool sized, PyObject **ret_error)
{
    const char *status = r->at++;
    uint32_t size;

    r->base = status;
    if (status >= r->end) {
        PyErr_SetString(PyExc_ValueError, "the results of a chunk are damaged: they end too early");
        return NULL;
    }
    if (*status == 0) {
        return read_value(r);
    }
    if (!sized) {
        size = (uint32_t)(r->end - r->at);
    } else if (reader_u32(r, &size) < 0) {
        return NULL;
    }
    if ((size_t)(r->end - r->at) < size) {
        PyErr_SetString(PyExc_ValueError, "the results of a chunk are damaged: they end too early");
        return NULL;
    }
    *ret_error = PyObject_CallFunction(r->state->load_error, "y#", r->at, (Py_ssize_t)size);
    r->at += size;
    return NULL;
}

/* A list that is being filled from `at` on: the first n results are there. */
struct filling {
    PyObject *list;
    Py_ssize_t at;
    Py_ssize_t n;
    Py_ssize_t wanted; /* results */
    bool each;         /* what has failed is a result, too */
    pool *owner;
};

static bool fill(struct filling *f, PyObject *value)
{
    Py_ssize_t at = f->at + f->n;

    if (value != NULL && (f->n == f->wanted || at >= PyList_GET_SIZE(f->list))) {
        PyErr_SetString(PyExc_ValueError,
                        "the results of a chunk are damaged: there are more than items");
        Py_CLEAR(value);
    }
    if (value != NULL) {
        PyObject *before = PyList_GET_ITEM(f->list, at);
        PyList_SET_ITEM(f->list, at, value);
        Py_XDECREF(before); /* None, or of a list of its own nothing */
        f->n++;
    }
    return value != NULL;
}

/* The same, if that is how this batch tells of an item that failed.  False: *ret_error or an exception is set. */
static bool fill_failed(struct filling *f, core_state *state, PyObject **ret_error)
{
    if (!f->each || *ret_error == NULL) {
        return false;
    }
    PyObject *failed = PyObject_CallMethod(state->helpers, "failed_item", "On", *ret_error, f->n);
    Py_CLEAR(*ret_error);
    return fill(f, failed);
}

/* Adds the piece's results.  False: *ret_error or an exception is set. */
static bool read_piece(const struct piece *piece, bool views, core_state *state, struct filling *f,
                       PyObject **ret_error)
{
    reader r = { state, piece->results, piece->results, piece->results + piece->used, NULL };
    uint64_t n = piece->n;
    const void *data;
    size_t size;

    if (piece->kind == PIECE_LOST) {
        *ret_error = core_error(state, piece->err, piece->error);
        if (*ret_error != NULL) {
            *ret_error = task_pools_error(f->owner, *ret_error, /* bad_result= */ false);
        }
        return fill_failed(f, state, ret_error);
    }
    if (piece->kind == PIECE_LARGE) {
        if (aur_future_view(piece->answer, &data, &size, 0) != AUR_OK || size < 4) {
            PyErr_SetString(PyExc_ValueError,
                            "the results of a chunk are damaged: a large one is not there");
            return false;
        }
        r = (reader){ state, data, data, (const char *)data + size - 4,
                      views ? piece->answer : NULL };
        n = 1;
    }
    while (n-- > 0) {
        if (!fill(f, read_one(&r, piece->kind == PIECE_RESULTS, ret_error)) &&
            !fill_failed(f, state, ret_error)) {
            return false;
        }
    }
    return true;
}

uint64_t batch_bytes(const struct batch *b)
{
    uint64_t bytes = 0;
    const void *data;
    size_t size;

    for (size_t i = 0; i < b->pieces_n; i++) {
        const struct piece *piece = &b->pieces[i];
        bytes += piece->used;
        if (piece->answer != NULL && aur_future_view(piece->answer, &data, &size, 0) == AUR_OK) {
            bytes += size;
        }
    }
    return bytes;
}

/* What results of the next batch may take. */
static void note_size(const struct batch *b, pool *owner)
{
    uint64_t used = 0;
    uint64_t n = 0;

    for (size_t i = 0; i < b->pieces_n; i++) {
        used += b->pieces[i].used;
        n += b->pieces[i].n;
    }
    if (n != 0) {
        owner->result_bytes = (size_t)(used / n) + 1;
    }
}

void batch_note_item(core_state *state, PyObject *error, Py_ssize_t item)
{
    PyObject *raised = error == NULL ? core_take_exception() : NULL;
    PyObject *noted = PyObject_CallMethod(state->helpers, "note_item", "On",
                                          raised != NULL ? raised : error, item);

    if (noted == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(noted);
    if (raised != NULL) {
        PyObject *type = (PyObject *)Py_TYPE(raised);
        Py_INCREF(type);
        PyErr_Restore(type, raised, PyException_GetTraceback(raised));
    }
}

PyObject *batch_results(struct batch *b, pool *owner, PyObject *into, PyObject **ret_error,
                        aur_err *ret_err)
{
    core_state *state = owner->state;
    Py_XINCREF(into);
    struct filling f = { .list = into != NULL ? into : PyList_New(b->count),
                         .at = into != NULL ? b->into_at : 0,
                         .wanted = b->count,
                         .owner = owner,
                         .each = (b->flags & CALL_EACH) != 0 };
    bool good = f.list != NULL;

    /* It is done: nothing changes any more. */
    note_size(b, owner);
    for (size_t i = 0; good && i < b->pieces_n; i++) {
        good = read_piece(&b->pieces[i], b->views, state, &f, ret_error);
        if (!good) {
            batch_note_item(state, *ret_error, f.n);
        }
    }
    if (good && b->err != AUR_OK) {
        *ret_err = b->err;
        good = false;
    } else if (good && f.n != (Py_ssize_t)b->count) {
        PyErr_SetString(PyExc_ValueError,
                        "the results of a chunk are damaged: there are fewer than items");
        good = false;
    }
    if (!good) {
        Py_CLEAR(f.list);
    }
    return f.list;
}
