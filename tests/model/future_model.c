/* Goal:    a callback on a future is called once, and an eventfd is rung once, however the end of the task
 *          and the request meet; whoever is told sees the result.
 * Method:  the real futures (pool/future.c) over real tasks; the result is plain memory.  The port's
 *          events stand for eventfds.  No future is another process's.
 * Guards:  [D1] in src/task/task.c and cont.c, and the references that src/pool/future.c holds. */
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

auri_task *auri_remote_future(uint64_t id)
{
    (void)id;
    return NULL;
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

static const struct model_client clients[] = {
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
