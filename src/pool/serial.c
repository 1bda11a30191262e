/* AUR_SERIAL: the submit runs the call.  What a task submits runs inside it, so nesting is bounded
 * by the caller's stack: a call for which too little is left fails with AUR_E2DEEP.  A map is a
 * loop in the caller (auri_map_run). */
#include "pool/serial.h"

#include "pool/face.h"
#include "sched/run.h"

static aur_err serial_start(aur_pool *pool, const aur_options *opts, aur_diag *diag)
{
    (void)pool;
    (void)opts;
    (void)diag;
    return AUR_OK;
}

static aur_err serial_submit(aur_pool *pool, auri_task *task)
{
    struct auri_record *self = auri_self();

    (void)pool;
    if (!auri_task_claim(task, self->id)) {
        /* Somebody else took it, who drops no reference of the queue. */
    } else if (auri_stack_is_low(self)) {
        auri_task_fail(task, AUR_E2DEEP,
                       "less than %u KiB of the stack are left, and a serial pool "
                       "has no other",
                       (unsigned)(AURI_STACK_LEFT_MIN >> 10));
        auri_task_finish(task);
    } else {
        auri_run_claimed(task, false);
    }
    auri_task_unref(task);
    return AUR_OK;
}

/* It runs, further up this stack or in another thread. */
static int serial_cancel(aur_pool *pool, auri_task *task, bool kill)
{
    (void)pool;
    (void)task;
    return kill ? AUR_CANCEL_SIGNALLED : AUR_CANCEL_TOO_LATE;
}

static bool serial_may_help(aur_pool *pool, auri_task *task)
{
    (void)pool;
    (void)task;
    return true;
}

static void serial_nothing(aur_pool *pool)
{
    (void)pool;
}

/* Calls that other threads are running are waited for above the backends. */
static aur_err serial_join(aur_pool *pool, aur_deadline deadline)
{
    (void)pool;
    (void)deadline;
    return AUR_OK;
}

const struct auri_backend auri_backend_serial = {
    .name = "serial",
    .start = serial_start,
    .submit = serial_submit,
    .cancel = serial_cancel,
    .may_help = serial_may_help,
    .close = serial_nothing,
    .terminate = serial_nothing,
    .join = serial_join,
    .destroy = serial_nothing,
};

/* Another table, since what it serves is a bare pool without a face (auri_face_of). */
const struct auri_backend auri_backend_serial_view = {
    .name = "serial",
    .submit = serial_submit,
    .cancel = serial_cancel,
    .may_help = serial_may_help,
    .close = serial_nothing,
    .terminate = serial_nothing,
    .join = serial_join,
    .destroy = serial_nothing,
};
