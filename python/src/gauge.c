/* Gauge: what a call takes in the thread that runs it, and whether it holds the GIL meanwhile, told by what a
 * busy machine cannot fake.
 *
 * What is counted: time on a CPU, time ready for one (schedstat), and sleeps, which are voluntary switches.
 * Of these a busy machine adds to the second alone.  The kernel adds to that only when the thread has a CPU
 * again, so one that is ready at this moment cannot be told from one that sleeps, unless it never did.
 *
 * Who looks does so without the GIL: to ask for it is to make the thread sleep that is looked at. */
#include "core.h"

#include <fcntl.h>
#include <stdio.h>
#include <structmember.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { GAUGE_NEW, GAUGE_BEGUN, GAUGE_ENDED };

struct usage {
    uint64_t at_ns;
    uint64_t cpu_ns;
    uint64_t ready_ns; /* 0 for ever: the kernel does not count it */
    uint64_t sleeps;
};

typedef struct gauge {
    PyObject_HEAD PyObject *func; /* what messages call it by */
    PyObject *call;
    pthread_mutex_t lock; /* guards the rest */
    int phase;
    clockid_t clock;
    pid_t tid;
    struct usage start;
    struct usage last; /* as last seen, or at the end */
} gauge;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = { 0 };

    clock_gettime(clock, &now); /* fails for a thread that has ended: 0 */
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The file's text; "" if there is none. */
static void read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, size - 1) : 0;

    text[got > 0 ? got : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
}

static uint64_t ready_ns(pid_t tid)
{
    char path[64];
    char text[96];
    unsigned long long ready = 0;

    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)tid);
    read_file(path, text, sizeof(text));
    return sscanf(text, "%*s %llu", &ready) == 1 ? ready : 0;
}

#define AT_ONCE_NS 200000 /* readings that took longer do not belong together ... */
#define ATTEMPTS 8        /* ... and are repeated, which a reader without a CPU may have to do */

/* Of the calling thread. */
static struct usage usage_here(const gauge *self)
{
    struct usage now;
    uint64_t from;

    for (int i = 0; i < ATTEMPTS; i++) {
        struct rusage usage = { 0 };
        from = clock_ns(CLOCK_MONOTONIC);
        now.ready_ns = ready_ns(self->tid);
        getrusage(RUSAGE_THREAD, &usage);
        now.sleeps = (uint64_t)usage.ru_nvcsw;
        now.cpu_ns = clock_ns(self->clock);
        now.at_ns = clock_ns(CLOCK_MONOTONIC);
        if (now.at_ns - from < AT_ONCE_NS) {
            break;
        }
    }
    return now;
}

/* Of another thread; false: its last wait may be for a CPU or not. */
static bool read_there(const gauge *self, struct usage *now)
{
    char path[64];
    char text[4096];
    unsigned long long sleeps = 0;
    uint64_t from = clock_ns(CLOCK_MONOTONIC);
    uint64_t cpu = clock_ns(self->clock);

    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)self->tid);
    read_file(path, text, sizeof(text));
    const char *state = strstr(text, "\nState:\t");
    const char *switches = strstr(text, "\nvoluntary_ctxt_switches:");
    if (switches == NULL || sscanf(switches, "%*s %llu", &sleeps) != 1) {
        sleeps = self->start.sleeps + 1; /* for all that is known */
    }
    now->sleeps = sleeps;
    now->ready_ns = ready_ns(self->tid);
    now->cpu_ns = clock_ns(self->clock);
    now->at_ns = clock_ns(CLOCK_MONOTONIC);
    bool asleep = state != NULL && state[sizeof("\nState:\t") - 1] != 'R';
    bool slept = asleep || sleeps != self->start.sleeps;
    return !slept || ((asleep || now->cpu_ns != cpu) && now->at_ns - from < AT_ONCE_NS);
}

static void begin(gauge *self)
{
    pthread_mutex_lock(&self->lock);
    self->tid = (pid_t)syscall(SYS_gettid);
    (void)pthread_getcpuclockid(pthread_self(), &self->clock);
    self->start = self->last = usage_here(self);
    self->phase = GAUGE_BEGUN;
    pthread_mutex_unlock(&self->lock);
}

/* In the thread that began it. */
static void end(gauge *self)
{
    struct usage now = usage_here(self); /* first: who looks now must not count as its sleep */

    pthread_mutex_lock(&self->lock);
    if (self->phase == GAUGE_BEGUN) {
        self->last = now;
        self->phase = GAUGE_ENDED;
    }
    pthread_mutex_unlock(&self->lock);
}

/* Whether it is known what the call has taken so far. */
static bool look(gauge *self)
{
    bool clear = false;

    pthread_mutex_lock(&self->lock);
    for (int i = 0; self->phase == GAUGE_BEGUN && !clear && i < ATTEMPTS; i++) {
        clear = read_there(self, &self->last);
    }
    clear = clear || self->phase == GAUGE_ENDED;
    pthread_mutex_unlock(&self->lock);
    return clear;
}

static int parse(PyObject *module, PyObject *args, const char *format, aur_future **ret_future,
                 gauge **ret_gauge, double *ret_seconds)
{
    core_state *state = PyModule_GetState(module);
    task *one;

    if (!PyArg_ParseTuple(args, format, state->call_type, &one, state->gauge_type, ret_gauge,
                          ret_seconds)) {
        return -1;
    }
    if (one->future == NULL) {
        PyErr_SetString(PyExc_TypeError, "a task of a call is needed");
        return -1;
    }
    *ret_future = one->future; /* the arguments keep the task, and that keeps it */
    return 0;
}

/* watch(task, gauge, seconds) -> bool: waits for the task for so long at most, and takes down what it has
 * taken so far.  False: it has not begun, or that cannot be told yet. */
PyObject *gauge_watch(PyObject *module, PyObject *args)
{
    aur_future *future;
    gauge *self;
    double seconds;
    bool clear;

    if (parse(module, args, "O!O!d", &future, &self, &seconds) < 0) {
        return NULL;
    }
    aur_deadline deadline = aur_deadline_in_ns((uint64_t)(seconds * 1e9));
    Py_BEGIN_ALLOW_THREADS clear = aur_future_wait(future, deadline) == AUR_OK || look(self);
    Py_END_ALLOW_THREADS return PyBool_FromLong(clear);
}

#define PROBE_GAP 500e-6 /* seconds; of that at least a third on a CPU */
#define PROBES_MAX 3     /* that have the same outcome */
#define PROBE_NS                                                                                   \
    UINT64_C(100000000) /* in all: the call may have stopped to compute, and signals wait */

static uint64_t my_sleeps(void)
{
    struct rusage usage = { 0 };

    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_nvcsw;
}

/* Whether the call is under way and has had a CPU for so long since *cpu_ns, which is 0 at first: right
 * after this thread had the GIL, the other may still be about to take it. */
static bool has_moved(gauge *self, uint64_t *cpu_ns, uint64_t wanted_ns)
{
    bool moved = false;

    pthread_mutex_lock(&self->lock);
    if (self->phase == GAUGE_BEGUN) {
        uint64_t now = clock_ns(self->clock);
        *cpu_ns = *cpu_ns != 0 ? *cpu_ns : now;
        moved = now >= *cpu_ns + wanted_ns;
    }
    pthread_mutex_unlock(&self->lock);
    return moved;
}

/* probe(task, gauge[, gap]) -> (held, looks): asks for the GIL every `gap` seconds while the call is under
 * way.  Who has to sleep for it found it held: by a call that computes as well as by one that lost its CPU
 * at it, so that a busy machine makes little difference. */
PyObject *gauge_probe(PyObject *module, PyObject *args)
{
    aur_future *future;
    gauge *self;
    double gap = PROBE_GAP;
    uint64_t cpu_ns = 0;
    int held = 0;
    int free = 0;

    if (parse(module, args, "O!O!|d", &future, &self, &gap) < 0) {
        return NULL;
    }
    aur_deadline deadline = aur_deadline_in_ns(PROBE_NS);
    uint64_t gap_ns =
        gap > 0 && gap < PROBE_GAP ? (uint64_t)(gap * 1e9) : (uint64_t)(PROBE_GAP * 1e9);
    PyThreadState *mine = PyEval_SaveThread();
    while (held < PROBES_MAX && free < PROBES_MAX && aur_deadline_in_ns(0) < deadline &&
           aur_future_wait(future, aur_deadline_in_ns(gap_ns)) == AUR_ETIMEDOUT) {
        if (has_moved(self, &cpu_ns, gap_ns / 3)) {
            uint64_t sleeps = my_sleeps();
            PyEval_RestoreThread(mine);
            *(my_sleeps() != sleeps ? &held : &free) += 1;
            cpu_ns = clock_ns(self->clock); /* it is not begun twice, so this is constant */
            mine = PyEval_SaveThread();
        }
    }
    PyEval_RestoreThread(mine);
    return Py_BuildValue("(ii)", held, held + free);
}

/* ---- the type ---------------------------------------------------------------------------------- */

static PyObject *gauge_call(gauge *self, PyObject *args, PyObject *kwargs)
{
    begin(self);
    PyObject *value = PyObject_Call(self->call, args, kwargs);
    end(self);
    return value;
}

static PyObject *gauge_end(gauge *self, PyObject *unused)
{
    (void)unused;
    end(self);
    Py_RETURN_NONE;
}

static PyObject *gauge_took(gauge *self, PyObject *unused)
{
    (void)unused;
    pthread_mutex_lock(&self->lock);
    int phase = self->phase;
    struct usage from = self->start;
    struct usage to = self->last;
    pthread_mutex_unlock(&self->lock);
    if (phase == GAUGE_NEW) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue(
        "(dddK)", (double)(to.at_ns - from.at_ns) / 1e9, (double)(to.cpu_ns - from.cpu_ns) / 1e9,
        (double)(to.ready_ns - from.ready_ns) / 1e9, (unsigned long long)(to.sleeps - from.sleeps));
}

static PyObject *gauge_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *func;
    PyObject *call;

    (void)kwargs;
    if (!PyArg_ParseTuple(args, "OO", &func, &call)) {
        return NULL;
    }
    gauge *self = (gauge *)type->tp_alloc(type, 0);
    if (self != NULL) {
        pthread_mutex_init(&self->lock, NULL);
        Py_INCREF(func);
        self->func = func;
        Py_INCREF(call);
        self->call = call;
    }
    return (PyObject *)self;
}

static int traverse(gauge *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->func);
    Py_VISIT(self->call);
    return 0;
}

static int clear(gauge *self)
{
    Py_CLEAR(self->func);
    Py_CLEAR(self->call);
    return 0;
}

static void dealloc(gauge *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)clear(self);
    pthread_mutex_destroy(&self->lock);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    { "end", (PyCFunction)gauge_end, METH_NOARGS,
      "In the thread that runs the call: what comes now is no part of it" },
    { "took", (PyCFunction)gauge_took, METH_NOARGS,
      "(wall, cpu, ready, sleeps): seconds, and a number; None: it has not begun" },
    { NULL, NULL, 0, NULL },
};

static PyMemberDef members[] = {
    { "func", T_OBJECT, offsetof(gauge, func), READONLY, NULL },
    { NULL, 0, 0, 0, NULL },
};

static PyType_Slot slots[] = {
    { Py_tp_doc, (void *)"Gauge(func, call): a call that is measured; messages know it as func" },
    { Py_tp_new, gauge_new },
    { Py_tp_dealloc, dealloc },
    { Py_tp_traverse, traverse },
    { Py_tp_clear, clear },
    { Py_tp_call, gauge_call },
    { Py_tp_methods, methods },
    { Py_tp_members, members },
    { 0, NULL },
};

PyType_Spec gauge_spec = {
    .name = "auriga._core.Gauge",
    .basicsize = sizeof(gauge),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
