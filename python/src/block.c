/* Block: memory for a large array that comes out of a pickle, which is its receiver's own.
 *
 * The dearest part of such an array is memory that is new: the kernel clears each page before it is written
 * to.  The C library keeps what was freed for the next time, but nothing from 32 MiB on.  So the last
 * block that was given back is kept here until a pool ends.  The kernel is told that nobody needs its
 * contents, and takes the pages as soon as it is short of memory; forks do not copy it; and where the
 * process has a limit of its own, which would count it, it is not kept. */
#include "core.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define KEPT_BYTES_MAX ((size_t)256 << 20)

typedef struct block {
    PyObject_HEAD char *data;
    size_t size;
    size_t room; /* bytes mapped */
} block;

void block_drop_kept(core_state *state)
{
    if (state->kept != NULL && state->kept_by == getpid()) { /* else a fork left it out */
        munmap(state->kept, state->kept_bytes);
    }
    state->kept = NULL;
}

static bool is_unlimited(int resource)
{
    struct rlimit limit;

    return getrlimit(resource, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

static bool is_worth_keeping(size_t room)
{
    return room <= KEPT_BYTES_MAX && is_unlimited(RLIMIT_DATA) && is_unlimited(RLIMIT_AS);
}

static void give_back(core_state *state, char *data, size_t room)
{
    if (state == NULL || !is_worth_keeping(room) || madvise(data, room, MADV_DONTFORK) != 0 ||
        madvise(data, room, MADV_FREE) != 0) { /* locked in memory */
        munmap(data, room);
        return;
    }
    block_drop_kept(state);
    state->kept = data;
    state->kept_bytes = room;
    state->kept_by = getpid();
}

/* The kept block, if it has room for so much and not more than twice of it. */
static char *take_kept(core_state *state, size_t room, size_t *ret_room)
{
    char *data = state->kept;

    if (data == NULL || state->kept_by != getpid() || state->kept_bytes < room ||
        state->kept_bytes / 2 > room || madvise(data, state->kept_bytes, MADV_DOFORK) != 0) {
        return NULL;
    }
    state->kept = NULL;
    *ret_room = state->kept_bytes;
    return data;
}

PyObject *block_new(core_state *state, size_t size, char **ret_data)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size + page - 1) / page * page;
    char *data = take_kept(state, room, &room);
    block *self;

    if (data == NULL && !core_has_memory("the copy of an array", room)) {
        return NULL;
    }
    if (data == NULL) {
        data = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (data == MAP_FAILED) {
        return PyErr_NoMemory();
    }
    core_prefer_huge(data, room);
    self = (block *)state->block_type->tp_alloc(state->block_type, 0);
    if (self == NULL) {
        munmap(data, room);
        return NULL;
    }
    self->data = data;
    self->size = size;
    self->room = room;
    PyObject *memory = PyMemoryView_FromObject((PyObject *)self);
    Py_DECREF(self);
    *ret_data = data;
    return memory;
}

static int get_buffer(block *self, Py_buffer *buffer, int flags)
{
    return PyBuffer_FillInfo(buffer, (PyObject *)self, self->data, (Py_ssize_t)self->size,
                             /* readonly= */ 0, flags);
}

static void dealloc(block *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module; /* NULL: the interpreter ends */

    give_back(module != NULL ? PyModule_GetState(module) : NULL, self->data, self->room);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    { Py_tp_doc, (void *)"Memory of its own for a large array; for memoryview()" },
    { Py_tp_dealloc, dealloc },
    { Py_bf_getbuffer, get_buffer },
    { 0, NULL },
};

PyType_Spec block_spec = {
    .name = "auriga._core.Block",
    .basicsize = sizeof(block),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
