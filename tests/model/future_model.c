/* Goal:    a callback on a future is called once, and an eventfd is rung once, however the end of the task
 *          and the request meet; whoever is told sees the result.  A wait for any of several, and a set that
 *          hands them out, end with a future that is done, or at the deadline; nothing of a set is touched
 *          once it is freed, and nothing of it is left.
 * Method:  the real futures (pool/future.c, several.c) over real tasks; the result is plain memory.  The port's
 *          events stand for eventfds.  No future is another process's.
 * Guards:  [D1] in src/task/task.c and cont.c, and the references that src/pool/future.c and several.c hold. */
#include <stdint.h>

#include "model.h"
#include "plat/process.h"
#include "pool/auto.h"
#include "pool/face.h"
#include "pool/serial.h"
#include "proc/remote.h"
#include "task/internal.h"
#include "task/pool.h"
#include "task/record.h"

#define THREADS 3u

static const struct auri_backend backend = { .name = "model" };
static aur_pool pool = { .backend = &backend, .holds = 1 };
static struct auri_record *record[THREADS];
static auri_task *task;
static unsigned result;
static unsigned fired[THREADS]; /* by whose request */

static void setup(void)
{
    for (unsigned i = 0; i < THREADS; i++) {
        record[i] = auri_record_take();
    }
    auri_self_ = record[0];
    task = auri_task_new(3);
    task->pool = &pool;
    auri_task_queue(task);
    MODEL_CHECK(auri_task_claim(task, record[0]->id));
    model_name(&task->word, "word");
    model_name(&task->refs, "refs");
}

static void finish(void)
{
    auri_self_ = record[0];
    result = 9;
    auri_task_finish(task);
    auri_task_unref(task); /* the queue's */
}

static void be_told(void *ctx, aur_future *future)
{
    MODEL_CHECK(future == task && result == 9);
    ++*(unsigned *)ctx; /* plain: two calls would race */
}

static void ask(void)
{
    unsigned me = model_self();

    auri_self_ = record[me];
    MODEL_CHECK(aur_future_on_done(task, be_told, &fired[me]) == AUR_OK);
    auri_task_unref(task); /* the user's */
}

static void ask_twice(void)
{
    MODEL_CHECK(aur_future_on_done(task, be_told, &fired[0]) == AUR_OK);
    ask();
}

static void ask_by_event(void)
{
    auri_self_ = record[model_self()];
    MODEL_CHECK(aur_future_eventfd(task, 0) == AUR_OK);
    MODEL_CHECK(model_event_wait(0, MODEL_THREADS));
    MODEL_CHECK(result == 9 && auri_task_is_done(task));
    fired[model_self()]++;
    auri_task_unref(task);
}

/* Each request was answered once, and nothing is held any more. */
static void told_once(void)
{
    unsigned each = 0;

    for (unsigned i = 1; i < THREADS; i++) {
        MODEL_CHECK(fired[i] <= 1);
        each += fired[i];
    }
    MODEL_CHECK(each + auri_load_rlx(&task->refs) == 2);
}

static void told_both(void)
{
    MODEL_CHECK(fired[0] == 1 && fired[1] == 1);
}

/* ---- several ------------------------------------------------------------------------------------------------------ */

#define TWO 2u

static auri_task *both[TWO]; /* [i] is run by body i; body TWO waits */
static unsigned results[TWO];
static unsigned handed;
static size_t heap;

static void setup_several(void)
{
    for (unsigned i = 0; i < THREADS; i++) {
        record[i] = auri_record_take();
    }
    auri_self_ = record[0];
    for (unsigned i = 0; i < TWO; i++) {
        both[i] = auri_task_new(2);
        both[i]->pool = &pool;
        auri_task_queue(both[i]);
        model_name(&both[i]->word, i == 0 ? "word0" : "word1");
        model_name(&both[i]->refs, i == 0 ? "refs0" : "refs1");
    }
    heap = model_heap_used();
}

/* Runs its task, unless it was cancelled. */
static void run_own(void)
{
    unsigned me = model_self();

    auri_self_ = record[me];
    if (auri_task_claim(both[me], record[me]->id)) {
        results[me] = 5 + me;
        auri_task_finish(both[me]);
    }
    auri_task_unref(both[me]); /* the queue's */
}

static void run_own_at_last(void)
{
    model_await_end(TWO);
    run_own();
}

static void cancel_first(void)
{
    auri_self_ = record[1];
    (void)auri_task_cancel_queued(both[0]);
}

static void look(size_t index)
{
    MODEL_CHECK(index < TWO && aur_future_done(both[index]));
    MODEL_CHECK(results[index] == 5 + index || both[index]->err == AUR_ECANCELED);
    handed++;
}

static void wait_any_of(size_t n, aur_deadline deadline)
{
    size_t index = TWO;

    auri_self_ = record[TWO];
    aur_err err = aur_wait_any(both, n, &index, deadline);
    MODEL_CHECK(err == AUR_OK || (deadline != AUR_NO_DEADLINE && err == AUR_ETIMEDOUT));
    if (err == AUR_OK) {
        look(index);
    } else {
        handed++;
    }
}

static void wait_any(void)
{
    wait_any_of(TWO, AUR_NO_DEADLINE);
}

static void wait_any_of_one(void)
{
    wait_any_of(1, AUR_NO_DEADLINE);
}

static void wait_any_for_a_while(void)
{
    wait_any_of(1, UINT64_C(1000000000) + 5000000);
}

static void take_of(size_t n, size_t take)
{
    aur_completed *set = NULL;
    size_t index = TWO;

    auri_self_ = record[TWO];
    MODEL_CHECK(aur_as_completed(both, n, &set) == AUR_OK);
    for (size_t i = 0; i < take; i++) {
        MODEL_CHECK(aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_OK);
        look(index);
    }
    MODEL_CHECK(take < n || aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_END);
    aur_completed_free(set);
}

static void take_both(void)
{
    take_of(TWO, TWO);
}

static void take_none(void)
{
    take_of(1, 0);
    handed++;
}

/* The set is gone, and holds nothing: only the user's references are left, and the queue's of what none took. */
static void nothing_is_left(void)
{
    MODEL_CHECK(handed != 0 && model_heap_used() == heap);
    for (unsigned i = 0; i < TWO; i++) {
        MODEL_CHECK(auri_load_rlx(&both[i]->refs) == 1 || !auri_task_is_done(both[i]));
    }
}

/* ---- what these files need of other parts, and the system ---------------------------------------------------- */

aur_pool *auri_remote_pool(void)
{
    return NULL;
}

const struct auri_backend auri_backend_serial_view = { .name = "never used" };

aur_pool *auri_remote_pool_for(aur_pool *inherited, const struct auri_backend *serial)
{
    (void)inherited;
    (void)serial;
    return NULL;
}

bool auri_auto_forks(const aur_pool *inherited)
{
    (void)inherited;
    return false;
}

aur_err auri_remote_future(uint64_t id, auri_task **ret_task)
{
    (void)id;
    (void)ret_task;
    return AUR_EINVAL;
}

uint64_t auri_remote_id(const auri_task *of)
{
    (void)of;
    return UINT64_MAX;
}

aur_err auri_verb_failed(aur_err err, const aur_fn *fn, const char *site, const char *why)
{
    (void)fn;
    (void)site;
    (void)why;
    return err;
}

void auri_task_seen(auri_task *of)
{
    (void)of;
}

void aurp_eventfd_ring(int fd)
{
    model_event_signal((unsigned)fd);
}

#define CLIENT(n, end, ...)                                                                        \
    {                                                                                              \
        .name = n, .setup = setup, .body = { __VA_ARGS__ }, .check = end,                          \
        .quick = { .search = MODEL_DPOR }, .full = {                                               \
            .search = MODEL_DPOR                                                                   \
        }                                                                                          \
    }

#define SEVERAL_BY(search_full, n, ...)                                                            \
    {                                                                                              \
        .name = n, .setup = setup_several, .body = { __VA_ARGS__ }, .check = nothing_is_left,      \
        .clock_step_ns = 1000000, .quick = { .search = MODEL_PCT, .depth = 4, .runs = 5000 },      \
        .full = search_full                                                                        \
    }
#define EVERY_SCHEDULE                                                                             \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define FEW_SWITCHES                                                                               \
    {                                                                                              \
        .search = MODEL_PLAIN, .preemptions = 2                                                    \
    }

static void idle(void)
{
}

static const struct model_client clients[] = {
    SEVERAL_BY(FEW_SWITCHES, "several/any", run_own, run_own, wait_any),
    SEVERAL_BY(EVERY_SCHEDULE, "several/any-of-one", run_own, idle, wait_any_of_one),
    SEVERAL_BY(EVERY_SCHEDULE, "several/any-deadline", run_own, idle, wait_any_for_a_while),
    SEVERAL_BY(FEW_SWITCHES, "several/any-cancel", run_own, cancel_first, wait_any_of_one),
    SEVERAL_BY(FEW_SWITCHES, "several/taken", run_own, run_own, take_both),
    SEVERAL_BY(EVERY_SCHEDULE, "several/freed", run_own, idle, take_none),
    SEVERAL_BY(EVERY_SCHEDULE, "several/freed-early", run_own_at_last, idle, take_none),
    CLIENT("future/on-done", told_once, finish, ask),
    CLIENT("future/on-done-twice", told_both, finish, ask_twice),
    CLIENT("future/eventfd", told_once, finish, ask_by_event),
    { .name = "future/two",
      .setup = setup,
      .body = { finish, ask, ask },
      .check = told_once,
      .quick = { .search = MODEL_PCT, .depth = 4, .runs = 20000 },
      .full = { .search = MODEL_DPOR } },
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
