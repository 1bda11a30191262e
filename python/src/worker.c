/* What runs in workers: threads of this process, and processes.
 *
 * A record for a process: op, flags (u32), pickle of the function (u32 size, bytes), then
 *   'C' call:   args, kwargs or None                       answer: status, value or error
 *   'M' batch:  see batch.c
 * The answer's first byte is 0 for a value and 1 for an exception. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The interpreter of a worker process; set once before its first task, and in no other process.
 * A byte-string body has no argument of its own to find it by. */
static core_state *worker_state;
static PyObject *worker_boot; /* of a spawned one; its arguments after the worker's number: */
static int worker_fds[8];
static unsigned worker_fds_n;

/* ---- threads ----------------------------------------------------------------------------------- */

/* A thread of the library keeps one thread state from its first to its last task. */
static void enter(void)
{
    PyThreadState *mine = PyGILState_GetThisThreadState();

    if (mine != NULL) {
        PyEval_RestoreThread(mine);
    } else {
        (void)PyGILState_Ensure();
    }
}

static void leave(void)
{
    (void)PyEval_SaveThread();
}

int worker_thread_init(void *ctx, int index)
{
    PyObject *boot = ctx;
    int failed = 0;

    enter();
    if (boot != NULL) {
        PyObject *done = PyObject_CallFunction(boot, "i", index);
        failed = done == NULL || done == Py_False;
        if (done == NULL) {
            PyErr_WriteUnraisable(boot);
        }
        Py_XDECREF(done);
    }
    leave();
    return failed;
}

void worker_thread_fini(void *ctx, int index)
{
    PyThreadState *mine = PyGILState_GetThisThreadState();

    (void)ctx;
    (void)index;
    if (mine == NULL) {
        return;
    }
    PyEval_RestoreThread(mine);
    PyObject *helpers = PyImport_ImportModule("auriga._helpers"); /* the pool may be gone */
    PyObject *done = helpers != NULL ? PyObject_CallMethod(helpers, "thread_ends", NULL) : NULL;
    if (done == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(done);
    Py_XDECREF(helpers);
    PyThreadState_Clear(mine);
    PyThreadState_DeleteCurrent();
}

#define LOOKED_AT 64 /* items of a chunk */

/* What a result in this process takes, as far as that is easily told. */
static uint64_t bytes_of(PyObject *value)
{
    Py_buffer view;

    if (PyList_CheckExact(value)) { /* of a chunk */
        uint64_t sum = 0;
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value) && i < LOOKED_AT; i++) {
            PyObject *item = PyList_GET_ITEM(value, i);
            Py_INCREF(item); /* to ask for its buffer may run code */
            sum += PyList_CheckExact(item) ? 0 : bytes_of(item);
            Py_DECREF(item);
        }
        return sum;
    }
    if (!PyObject_CheckBuffer(value)) {
        return 0;
    }
    if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* not in one piece */
        return 0;
    }
    uint64_t bytes = (uint64_t)view.len;
    PyBuffer_Release(&view);
    return bytes;
}

#define SETTLE_NS 10000

/* Whoever has just submitted a task holds the GIL, and mostly gives it back a moment later, in a wait
 * for the task.  To ask for it meanwhile is to sleep and be woken, ten times that moment.  A thread
 * that waits is a hint that it is there; no more, so nothing is ordered by it. */
static void settle_down(const task *self)
{
    const unsigned *waiting = &self->state->waiting;

    while (__atomic_load_n(waiting, __ATOMIC_RELAXED) == 0 &&
           aur_deadline_in_ns(0) < self->submitted_ns + SETTLE_NS) {
    }
}

/* A thread of the library has no frame below the call.  What is no function of Python may ask for that of its caller, as
 * eval() does, so it is called by one. */
static PyObject *call_with_frame(const task *self, PyObject *fn, PyObject *positional,
                                 PyObject *named)
{
    if (PyFunction_Check(fn) || PyMethod_Check(fn)) {
        return PyObject_Call(fn, positional, named);
    }
    return PyObject_CallMethod(self->state->helpers, "call", "OOO", fn, positional,
                               named != NULL ? named : Py_None);
}

/* The call of a task in this thread; it gives up what it was called with. */
static void call_here(task *self)
{
    PyObject *fn = self->fn, *positional = self->args, *named = self->kwargs;
    PyObject *context = self->context;
    PyObject *value = NULL;

    self->fn = self->args = self->kwargs = self->context = NULL;
    self->phase = TASK_RUNNING;
    if (context == NULL || PyContext_Enter(context) == 0) {
        value = call_with_frame(self, fn, positional, named);
        if (context != NULL && PyContext_Exit(context) < 0) {
            Py_CLEAR(value);
        }
    }
    PyObject *error = value == NULL ? core_take_exception() : NULL;
    pool_saw(self->pool, value != NULL ? bytes_of(value) : 0);
    Py_DECREF(fn);
    Py_DECREF(positional);
    Py_XDECREF(named);
    Py_XDECREF(context);
    task_finish(self, value, error);
    task_fire(self);
}

static void run_thread(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    task *self;

    (void)ret;
    (void)hi;
    *item = lo;
    memcpy(&self, (const char *)args + lo * sizeof(self), sizeof(self));
    settle_down(self);
    enter();
    if (self->phase == TASK_PENDING && self->fn != NULL) {
        call_here(self);
    }
    task_disown(self);
    leave();
}

static void run_delivery(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    task *self;

    (void)ret;
    (void)hi;
    *item = lo;
    memcpy(&self, (const char *)args + lo * sizeof(self), sizeof(self));
    enter();
    told_settle(self);
    task_fire(self);
    task_disown(self); /* the library is through with it */
    Py_DECREF(self);
    leave();
}

const aur_fn core_thread_fn = { AUR_FN_ABI,       0, sizeof(task *), 0,
                                _Alignof(task *), 1, run_thread,     "call" };
const aur_fn core_deliver_fn = { AUR_FN_ABI,       0, sizeof(task *), 0,
                                 _Alignof(task *), 1, run_delivery,   "callback" };

/* ---- processes --------------------------------------------------------------------------------- */

/* The extension's state in this process; a forked worker has the program's. */
static core_state *find_state(void)
{
    PyObject *name = PyUnicode_FromString("auriga._core");
    PyObject *module = name != NULL ? PyImport_GetModule(name) : NULL;
    core_state *state = module != NULL ? PyModule_GetState(module) : NULL;

    Py_XDECREF(module); /* sys.modules has it */
    Py_XDECREF(name);
    return state;
}

/* n: how many of worker_fds go with the number. */
static PyObject *call_boot(PyObject *boot, int index, unsigned n)
{
    PyObject *args = PyTuple_New(1 + (Py_ssize_t)n);
    PyObject *done = NULL;

    for (unsigned i = 0; args != NULL && i <= n; i++) {
        PyObject *number = PyLong_FromLong(i == 0 ? index : worker_fds[i - 1]);
        if (number == NULL) {
            Py_CLEAR(args);
        } else {
            PyTuple_SET_ITEM(args, i, number);
        }
    }
    if (args != NULL) {
        done = PyObject_Call(boot, args, NULL);
        Py_DECREF(args);
    }
    return done;
}

int worker_process_init(void *ctx, int index)
{
    PyObject *done = NULL;
    int failed;

    PyOS_AfterFork_Child(); /* the thread that was forked holds the GIL */
    worker_state = find_state();
    if (worker_state != NULL) {
        worker_state->depth++;
        done = ctx != NULL ? call_boot(ctx, index, 0) : call_boot(worker_boot, index, worker_fds_n);
    }
    failed = done == NULL;
    if (done == NULL) {
        PyErr_Print();
    }
    Py_XDECREF(done);
    leave();
    return failed;
}

void worker_process_fini(void *ctx, int index)
{
    (void)ctx;
    (void)index;
    PyGILState_STATE gil = PyGILState_Ensure();
    PyObject *done = PyObject_CallMethod(worker_state->helpers, "process_ends", NULL);
    if (done == NULL) {
        PyErr_Print();
    }
    Py_XDECREF(done);
    PyGILState_Release(gil);
}

PyObject *worker_run_nursery(PyObject *module, PyObject *boot)
{
    worker_state = PyModule_GetState(module);
    Py_INCREF(boot);
    worker_boot = boot;
    PyOS_BeforeFork();
    aur_err err = aur_nursery_run();
    PyOS_AfterFork_Parent();
    return core_raise(worker_state, err, NULL);
}

enum { ORDER_POOL, ORDER_TRACKER, ORDER_OUT, ORDER_ERR, ORDER_MORE, ORDER_FDS_MAX = 8 };

/* Waits for the descriptors that the program hands over, ORDER_MORE at least.  How many; 0: it does not want a
 * nursery any more, or has ended. */
static unsigned take_order(int line, int host, int *ret_fds)
{
    char room[CMSG_SPACE(ORDER_FDS_MAX * sizeof(int))] = { 0 };
    char byte;
    struct iovec piece = { &byte, 1 };
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
    };
    struct pollfd polls[2] = { { .fd = line, .events = POLLIN }, { .fd = host, .events = POLLIN } };

    while (poll(polls, 2, -1) < 0 && errno == EINTR) {
    }
    if (polls[1].revents != 0 || recvmsg(line, &message, MSG_CMSG_CLOEXEC) != 1) {
        return 0;
    }
    struct cmsghdr *with = CMSG_FIRSTHDR(&message);
    if (with == NULL || with->cmsg_type != SCM_RIGHTS) {
        return 0;
    }
    unsigned n = (unsigned)((with->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(ret_fds, CMSG_DATA(with), n * sizeof(int));
    return n;
}

/* It has of the template's what the program hands over: stdout and stderr, the tracker's, nothing else. */
static _Noreturn void be_nursery(const int fds[4])
{
    int order[ORDER_FDS_MAX];

    close(fds[1]);
    unsigned n = take_order(fds[0], fds[2], order);
    if (n < ORDER_MORE) {
        _exit(0);
    }
    close(fds[0]);
    close(fds[2]);
    dup3(order[ORDER_TRACKER], fds[3], O_CLOEXEC);
    dup2(order[ORDER_OUT], 1);
    dup2(order[ORDER_ERR], 2);
    close(order[ORDER_TRACKER]);
    close(order[ORDER_OUT]);
    close(order[ORDER_ERR]);
    worker_fds_n = n - ORDER_MORE;
    memcpy(worker_fds, order + ORDER_MORE, worker_fds_n * sizeof(int));
    (void)aur_nursery_serve(order[ORDER_POOL]);
    _exit(1); /* the pool is gone */
}

/* What Python does after a fork is done in the workers, which the nursery forks: it runs no Python itself, and
 * would only copy some 300 pages for that.  Who ends is not waited for. */
PyObject *worker_fork_nursery(PyObject *module, PyObject *boot, const int fds[4])
{
    struct sigaction unheard = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };

    /* For Python and for workers it is as a process has it at its start. */
    sigaction(SIGCHLD, &unheard, NULL);
    worker_state = PyModule_GetState(module);
    worker_boot = boot;
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0) {
        be_nursery(fds);
    }
    int failed = errno;
    PyOS_AfterFork_Parent();
    worker_boot = NULL;
    if (pid < 0) {
        errno = failed;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

int worker_enter_context(uint32_t flags, PyObject **ret_context)
{
    *ret_context = NULL;
    if ((flags & CALL_CONTEXT) == 0) {
        return 0;
    }
    PyObject *context = PyContext_CopyCurrent();
    if (context == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        return -1;
    }
    *ret_context = context;
    return 0;
}

void worker_leave_context(PyObject *context)
{
    if (context != NULL) {
        (void)PyContext_Exit(context); /* fails only if the task has left it, which it cannot */
        Py_DECREF(context);
    }
}

/* The function under a name that may be kept: the last one, or one of the dictionary; new or NULL. */
static PyObject *kept_function(core_state *state, PyObject *name)
{
    PyObject *fn = PyDict_GetItemWithError(state->fns, name);

    if (fn != NULL) {
        Py_INCREF(name);
        Py_XSETREF(state->last_name, name);
        Py_INCREF(fn);
        Py_XSETREF(state->last_fn, fn);
        Py_INCREF(fn);
    }
    return fn;
}

static bool is_last(const core_state *state, const char *name, size_t size)
{
    return state->last_name != NULL && (size_t)PyBytes_GET_SIZE(state->last_name) == size &&
           memcmp(PyBytes_AS_STRING(state->last_name), name, size) == 0;
}

PyObject *worker_function(core_state *state, reader *r, uint32_t flags)
{
    uint32_t size;
    PyObject *fn = NULL;

    if (reader_u32(r, &size) < 0) {
        return NULL;
    }
    if ((size_t)(r->end - r->at) < size) {
        PyErr_SetString(PyExc_ValueError,
                        "what came from another process is damaged: it has no function");
        return NULL;
    }
    if ((flags & CALL_FN_CACHED) != 0 && is_last(state, r->at, size)) {
        fn = state->last_fn;
        Py_INCREF(fn); /* the look may run code */
        if (fn_goes_by_name(fn)) {
            r->at += size;
            return fn;
        }
        Py_CLEAR(fn);
    }
    PyObject *name = PyBytes_FromStringAndSize(r->at, size);
    r->at += size;
    if (name == NULL) {
        return NULL;
    }
    if ((flags & CALL_FN_CACHED) != 0) {
        fn = kept_function(state, name);
    }
    if (fn != NULL && !fn_goes_by_name(fn)) {
        Py_CLEAR(fn); /* a task has put another one into the module */
    }
    if (fn == NULL && !PyErr_Occurred()) {
        reader inner = { state, PyBytes_AS_STRING(name), PyBytes_AS_STRING(name),
                         PyBytes_AS_STRING(name) + size, NULL };
        fn = reader_value(&inner);
        if (fn != NULL && (flags & CALL_FN_CACHED) != 0) {
            if (PyDict_GET_SIZE(state->fns) >= 1024) {
                PyDict_Clear(state->fns);
            }
            if (PyDict_SetItem(state->fns, name, fn) < 0) {
                Py_CLEAR(fn);
            }
        }
    }
    Py_DECREF(name);
    return fn;
}

/* Status and bytes that Python made of an exception. */
static aur_err put_error(aur_out *out, PyObject *packed)
{
    if (packed == NULL || !PyBytes_Check(packed)) {
        PyErr_Print();
        Py_XDECREF(packed);
        aur_fail(1, "the exception of the task could not be told");
        return AUR_ETASK;
    }
    char *to = aur_out_alloc(out, (size_t)PyBytes_GET_SIZE(packed) + 1);
    if (to != NULL) {
        to[0] = 1;
        memcpy(to + 1, PyBytes_AS_STRING(packed), (size_t)PyBytes_GET_SIZE(packed));
    }
    Py_DECREF(packed);
    return to != NULL ? AUR_OK : AUR_ENOMEM;
}

/* The exception that is set becomes the answer. */
static aur_err answer_exception(core_state *state, uint32_t flags, aur_out *out)
{
    PyObject *error = core_take_exception();
    PyObject *packed = PyObject_CallFunction(state->pack_error, "OI", error, flags);

    Py_DECREF(error);
    return put_error(out, packed);
}

static aur_err answer_value(core_state *state, PyObject *value, uint32_t flags, aur_out *out)
{
    writer w;
    aur_err err = AUR_OK;

    writer_init(&w, state, NULL, flags);
    if (writer_u8(&w, 0) < 0 || writer_value(&w, value) < 0) {
        PyObject *error = core_take_exception();
        err = put_error(out, PyObject_CallFunction(state->pack_result, "OOI", error, value, flags));
        Py_DECREF(error);
    } else {
        char *to = aur_out_alloc(out, w.size);
        if (to != NULL) {
            writer_copy(&w, to);
        } else {
            core_no_memory("a result", w.size);
            err = answer_exception(state, flags, out);
        }
    }
    writer_clear(&w);
    return err;
}

static aur_err run_call(core_state *state, const char *in, size_t size, aur_out *out)
{
    reader r = { state, in, in + 1, in + size, NULL };
    uint32_t flags = 0;
    PyObject *args = NULL;
    PyObject *kwargs = NULL;
    PyObject *fn = reader_u32(&r, &flags) == 0 ? worker_function(state, &r, flags) : NULL;

    if (fn != NULL && (args = reader_value(&r)) != NULL) {
        kwargs = reader_value(&r);
    }
    if (kwargs == NULL) {
        if ((flags & CALL_BAD_ARGS_DIE) != 0) {
            PyErr_Print(); /* SystemExit ends the process here */
            fflush(stderr);
            _exit(1);
        }
        Py_XDECREF(fn);
        Py_XDECREF(args);
        return answer_exception(state, flags, out);
    }
    PyObject *context;
    PyObject *value = NULL;
    if (worker_enter_context(flags, &context) == 0) {
        value = PyObject_Call(fn, args, kwargs != Py_None ? kwargs : NULL);
        worker_leave_context(context);
    }
    Py_DECREF(fn);
    Py_DECREF(args);
    Py_DECREF(kwargs);
    if (value == NULL) {
        return answer_exception(state, flags, out);
    }
    aur_err err = answer_value(state, value, flags, out);
    Py_DECREF(value);
    return err;
}

static aur_err call(const void *in, size_t size, aur_out *out)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    const char *record = in;
    aur_err err = size != 0 && *record == 'M' ? batch_run(worker_state, in, size, out)
                                              : run_call(worker_state, in, size, out);

    PyGILState_Release(gil);
    return err;
}
AUR_BYTES_FN(call);

const aur_fn core_process_fn = { AUR_FN_ABI,
                                 AUR_FN_BYTES,
                                 sizeof(struct aur_bytes_call),
                                 sizeof(aur_err),
                                 _Alignof(struct aur_bytes_call),
                                 _Alignof(aur_err),
                                 call_aur_range,
                                 "call" };
