/* Pools and futures that live in the parent: proxies, the backend, views. */
#include "proc/remote.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc/ask.h"
#include "sched/wait.h"
#include "task/record.h"

/* A future that stands for one of the parent: task->priv. */
struct proxy {
    uint64_t id;  /* I */
    bool owned;   /* I: the parent holds a reference for us */
    bool settled; /* under auri_remote.lock: somebody has the outcome and finishes the task */
    aur_fn fn;    /* for a future that was opened: only the size of the result is known */
};

/* ---- outcomes ------------------------------------------------------------------------------- */

/* Fits a result of a typed call into the room that the task has. */
static aur_err take_record(auri_task *task, struct auri_news *news)
{
    const aur_fn *fn = task->fn;

    if (news->size != fn->ret_size) {
        return AUR_ESIZE;
    }
    if (news->size != 0) {
        memcpy(auri_task_ret(task), news->bytes, news->size);
    }
    return AUR_OK;
}

/* Writes the outcome into the task, which the caller has the right to finish. */
static void take_news(auri_task *task, struct auri_news *news)
{
    struct proxy *proxy = task->priv;

    auri_task_set_err(task, news->err);
    if (news->err != AUR_OK) {
        aur_error *error = news->error;
        auri_task_set_error(task, news->err, error);
        news->error = NULL;
        if (error == NULL) {
            auri_task_fail(task, news->err, "%s", aur_err_text(news->err));
        } else {
            /* Its pointers are the parent's; a forked worker could read some of them, not all. */
            error->function = task->fn != &proxy->fn ? task->fn->name : NULL;
            error->site = auri_task_site(task);
        }
    } else if (task->fn == &proxy->fn) {
        proxy->fn.ret_size = news->size;
        task->store.ret_out = news->bytes;
        news->bytes = NULL;
    } else if (auri_task_is_bytes(task)) {
        task->store.out_size = news->size;
        task->store.ret_out = news->bytes;
        news->bytes = NULL;
    } else {
        auri_task_set_err(task, take_record(task, news));
    }
    auri_news_drop(news);
}

/* Of the copy that take_news() takes over. */
static size_t align_of(const auri_task *task)
{
    const struct proxy *proxy = task->priv;

    return task->fn == &proxy->fn || auri_task_is_bytes(task) ? 64 : task->fn->ret_align;
}

/* The right to finish a proxy, by the outcome that the caller has. */
static bool settle(struct auri_worker_self *self, auri_task *task)
{
    struct proxy *proxy = task->priv;

    pthread_mutex_lock(&self->remote->lock);
    bool first = !proxy->settled;
    proxy->settled = true;
    pthread_mutex_unlock(&self->remote->lock);
    return first;
}

static void finish(struct auri_worker_self *self, auri_task *task, struct auri_news *news)
{
    if (settle(self, task)) {
        take_news(task, news);
        auri_task_finish(task);
    } else { /* another thread was first */
        auri_news_drop(news);
    }
}

/* Asks about a proxy, and finishes it if it is done. */
static void fetch(auri_task *task, aur_deadline deadline)
{
    struct auri_worker_self *self = auri_worker_self();
    const struct proxy *proxy = task->priv;

    if (self == NULL) {
        return;
    }
    struct auri_news news = auri_parent_ask_news(self, proxy->id, deadline, align_of(task));
    if (news.done) {
        finish(self, task, &news);
    }
}

/* With the lock held: a proxy that nobody has the outcome of. */
static bool is_open(const auri_task *task)
{
    const struct proxy *proxy = task->priv;

    return auri_task_is_untold(task) && !auri_task_is_done(task) && proxy != NULL &&
           !proxy->settled;
}

/* Notes the numbers of the open ones, and what else the wait has to know of them. */
static void note_open(struct auri_worker_self *self, auri_task *const *tasks, size_t n,
                      uint64_t *ids, struct auri_asker *asker)
{
    pthread_mutex_lock(&self->remote->lock);
    for (size_t i = 0; i < n; i++) {
        if (is_open(tasks[i])) {
            size_t align = align_of(tasks[i]);
            asker->align = align > asker->align ? align : asker->align;
            ids[asker->n++] = ((const struct proxy *)tasks[i]->priv)->id;
        } else {
            asker->told |= !auri_task_is_untold(tasks[i]);
        }
    }
    pthread_mutex_unlock(&self->remote->lock);
}

/* The open one with this number.  NULL: there is none. */
static auri_task *open_with(struct auri_worker_self *self, auri_task *const *tasks, size_t n,
                            uint64_t id)
{
    auri_task *found = NULL;

    pthread_mutex_lock(&self->remote->lock);
    for (size_t i = 0; i < n && found == NULL; i++) {
        if (is_open(tasks[i]) && ((const struct proxy *)tasks[i]->priv)->id == id) {
            found = tasks[i];
        }
    }
    pthread_mutex_unlock(&self->remote->lock);
    return found;
}

static aur_err remote_await_any(auri_task *const *tasks, size_t n, _Atomic(uint32_t) *word,
                                uint32_t value, aur_deadline deadline)
{
    struct auri_worker_self *self = auri_worker_self();
    struct auri_asker asker = { .deadline = deadline, .word = word, .value = value };

    if (self == NULL) {
        return AUR_EFORKED;
    }
    uint64_t *ids = malloc(n * sizeof(*ids));
    if (ids == NULL) {
        return AUR_ENOMEM;
    }
    note_open(self, tasks, n, ids, &asker);
    asker.ids = ids;
    aur_err err = asker.n == 0 ? AUR_END : auri_parent_wait(self, &asker);
    if (err == AUR_OK) {
        auri_task *done = open_with(self, tasks, n, asker.id);
        if (done != NULL) {
            finish(self, done, &asker.news);
        } else {
            auri_news_drop(&asker.news);
        }
    } else if (err == AUR_EDEADLK) {
        auri_last_error_set(&asker.why);
    }
    free(ids);
    return err == AUR_EAGAIN ? AUR_OK : err;
}

static void remote_recall(void)
{
    struct auri_worker_self *self = auri_worker_self();

    if (self != NULL) {
        auri_turn_recall(self);
    }
}

/* The last reference is gone. */
static void remote_drop(auri_task *task)
{
    struct auri_worker_self *self = auri_worker_self();
    struct proxy *proxy = task->priv;

    if (proxy != NULL && proxy->owned && self != NULL) {
        struct auri_request request = { .op = AURI_REQ_DROP, .id = proxy->id };
        (void)auri_parent_ask(self, &request, NULL);
    }
    free(proxy);
}

/* ---- the backend ---------------------------------------------------------------------------- */

static aur_err submit_call(struct auri_worker_self *self, aur_pool *pool, auri_task *task)
{
    bool bytes = auri_task_is_bytes(task);
    uint64_t size = bytes ? task->store.in_size : task->fn->args_size;
    struct proxy *proxy = calloc(1, sizeof(*proxy));

    if (proxy == NULL) {
        return AUR_ENOMEM;
    }
    proxy->owned = true;
    aur_err err = auri_parent_submit(self, pool, task->fn, auri_task_args(task), size,
                                     auri_task_limits(task), &proxy->id);
    if (err != AUR_OK) {
        free(proxy);
        return err; /* still QUEUED, as the caller wants it */
    }
    task->priv = proxy;
    (void)auri_task_claim(task, 0); /* nobody else knows it yet */
    auri_task_unref(task);
    return AUR_OK;
}

static aur_err remote_submit(aur_pool *pool, auri_task *task)
{
    struct auri_worker_self *self = auri_worker_self();

    if (self == NULL) {
        return AUR_EFORKED;
    }
    if (auri_task_map(task) == NULL) {
        return submit_call(self, pool, task);
    }
    auri_remote_map(self, pool, task);
    return AUR_OK;
}

static void remote_progress(aur_pool *pool, auri_task *task, aur_deadline deadline)
{
    (void)pool;
    if (task->priv != NULL && !auri_task_is_done(task)) {
        fetch(task, deadline);
    }
}

static int remote_cancel(aur_pool *pool, auri_task *task, bool kill)
{
    struct auri_worker_self *self = auri_worker_self();
    struct proxy *proxy = task->priv;
    struct auri_request request = { .op = AURI_REQ_CANCEL };
    uint64_t what = 0;

    if (!kill || self == NULL || proxy == NULL || auri_task_is_done(task)) {
        return AUR_CANCEL_TOO_LATE;
    }
    request.id = proxy->id;
    aur_err err = auri_parent_ask(self, &request, &what);
    remote_progress(pool, task, 0); /* it may be done now */
    return err == AUR_OK && what >= AUR_CANCEL_DROPPED && what <= AUR_CANCEL_TOO_LATE
               ? (int)what
               : AUR_CANCEL_TOO_LATE;
}

static void remote_nothing(aur_pool *pool)
{
    (void)pool; /* the pool is the parent's to close */
}

static aur_err remote_join(aur_pool *pool, aur_deadline deadline)
{
    (void)pool;
    (void)deadline;
    return AUR_EDEADLK; /* this process is one of its workers, or serves one */
}

static size_t remote_explain(aur_pool *pool, char *text, size_t size)
{
    int length = snprintf(
        text, size, "The pool \"%s\" lives in the parent of this worker process.\n", pool->name);

    return length > 0 ? (size_t)length : 0;
}

static aur_err remote_buf_new(aur_pool *pool, size_t size, unsigned flags, void **ret_data,
                              uint64_t *ret_key)
{
    (void)pool;
    (void)size;
    (void)flags;
    (void)ret_data;
    (void)ret_key;
    return AUR_ENOTSUP; /* other workers could not see it */
}

static void remote_buf_free(aur_pool *pool, void *data, size_t size, uint64_t key)
{
    (void)pool;
    (void)data;
    (void)size;
    (void)key;
}

const struct auri_backend auri_backend_remote = {
    .name = "remote",
    .submit = remote_submit,
    .progress = remote_progress,
    .await_any = remote_await_any,
    .recall = remote_recall,
    .drop = remote_drop,
    .cancel = remote_cancel,
    .close = remote_nothing,
    .terminate = remote_nothing,
    .join = remote_join,
    .destroy = remote_nothing,
    .explain = remote_explain,
    .buf_new = remote_buf_new,
    .buf_free = remote_buf_free,
};

/* ---- views ---------------------------------------------------------------------------------- */

static struct auri_view *view_new(uint64_t number)
{
    size_t align = alignof(struct auri_view);
    struct auri_view *view = aligned_alloc(align, (sizeof(*view) + align - 1) & ~(align - 1));

    if (view == NULL) {
        return NULL;
    }
    memset(view, 0, sizeof(*view));
    view->number = number;
    view->pool.magic = AURI_POOL_MAGIC;
    view->pool.generation = auri_process_generation();
    view->pool.backend = &auri_backend_remote;
    view->pool.kind = AUR_PROCESSES;
    view->pool.opts.size = sizeof(view->pool.opts);
    view->pool.opts.kind = AUR_PROCESSES;
    view->pool.opts.name = view->pool.name;
    view->pool.limits.retry_on = AUR_RETRY_WORKER;
    /* relaxed: not shared yet.  One hold and one reference stay for good. */
    auri_store_rlx(&view->pool.refs, 1u);
    auri_store_rlx(&view->pool.holds, 2u);
    return view;
}

aur_err auri_remote_start(struct auri_worker_self *self)
{
    const struct auri_setup *setup = &self->ctl->setup;
    struct auri_remote *remote = calloc(1, sizeof(*remote));
    struct auri_view *view = view_new(0);

    if (remote == NULL || view == NULL || auri_self() == NULL) {
        free(remote);
        free(view);
        return AUR_ENOMEM;
    }
    view->pool.workers = setup->workers;
    view->pool.opts.workers = setup->workers;
    view->pool.limits.item_timeout_ns = setup->item_timeout_ns;
    view->pool.limits.retries = setup->retries;
    if (setup->retry_on != 0) {
        view->pool.limits.retry_on = setup->retry_on;
    }
    snprintf(view->pool.name, sizeof(view->pool.name), "%.*s", (int)sizeof(setup->name) - 1,
             setup->name);
    pthread_mutex_init(&remote->lock, NULL);
    remote->record = auri_self();
    remote->own = view;
    self->remote = remote;
    return AUR_OK;
}

aur_pool *auri_remote_pool(void)
{
    struct auri_worker_self *self = auri_worker_self();

    return self != NULL && self->remote != NULL ? &self->remote->own->pool : NULL;
}

/* The parent's struct as it was when this process was forked; constants only. */
static void view_fill(struct auri_view *view, aur_pool *inherited,
                      const struct auri_backend *serial)
{
    view->inherited = inherited;
    view->pool.workers = inherited->workers;
    view->pool.opts.workers = inherited->workers;
    view->pool.limits = inherited->limits;
    memcpy(view->pool.name, inherited->name, sizeof(view->pool.name));
    if (inherited->kind == AUR_SERIAL) {
        view->pool.backend = serial;
        view->pool.kind = AUR_SERIAL;
        view->pool.opts.kind = AUR_SERIAL;
        /* relaxed, both: nobody else changes this process's copy, or knows the view. */
        auri_store_rlx(&view->pool.state, auri_load_rlx(&inherited->state));
    }
}

aur_pool *auri_remote_pool_for(aur_pool *inherited, const struct auri_backend *serial)
{
    struct auri_worker_self *self = auri_worker_self();

    if (self == NULL || inherited == NULL) {
        return NULL;
    }
    if ((uint64_t)(uintptr_t)inherited == self->ctl->setup.pool ||
        inherited == &self->remote->own->pool) {
        return &self->remote->own->pool;
    }
    pthread_mutex_lock(&self->remote->lock);
    struct auri_view *view = self->remote->others;
    while (view != NULL && view->inherited != inherited && &view->pool != inherited) {
        view = view->next;
    }
    if (view == NULL && (view = view_new(inherited->number)) != NULL) {
        view_fill(view, inherited, serial);
        view->next = self->remote->others;
        self->remote->others = view;
    }
    pthread_mutex_unlock(&self->remote->lock);
    return view != NULL ? &view->pool : NULL;
}

uint64_t auri_remote_id(const auri_task *task)
{
    /* relaxed: the flag is constant.  With it the pool is there. */
    if ((auri_load_rlx(&((auri_task *)task)->word) & AURI_F_HOLDS) != 0 &&
        task->pool->backend == &auri_backend_remote && task->priv != NULL) {
        return ((const struct proxy *)task->priv)->id;
    }
    /* A number of this process could be that of another future where it is opened.  Whether one that is done
     * was made here cannot be told any more: its pool may be gone. */
    bool known = !auri_task_is_done(task) && task->pool->generation != auri_process_generation();
    return known ? auri_task_id(task) : UINT64_MAX;
}

/* ---- futures -------------------------------------------------------------------------------- */

aur_err auri_remote_future(uint64_t id, auri_task **ret_task)
{
    struct auri_worker_self *self = auri_worker_self();
    struct proxy *proxy = calloc(1, sizeof(*proxy));

    if (self == NULL || proxy == NULL) {
        free(proxy);
        return self == NULL ? AUR_EINVAL : AUR_ENOMEM;
    }
    struct auri_request request = { .op = AURI_REQ_POLL, .id = id };
    struct auri_reply reply;
    auri_turn_take(self);
    auri_parent_ask_in_turn(self, &request, &reply);
    struct auri_news news = auri_news_of(&reply, 64);
    auri_turn_give(self);
    bool unknown = news.done && news.err != AUR_OK && reply.task_failed == 0;
    auri_task *task = unknown ? NULL : auri_task_new(1);
    if (task == NULL) {
        auri_news_drop(&news);
        free(proxy);
        return unknown && news.err != AUR_ENOMEM ? AUR_EINVAL : AUR_ENOMEM;
    }
    proxy->id = id;
    proxy->fn = (aur_fn){ .abi = AUR_FN_ABI,
                          .args_size = 1,
                          .args_align = 1,
                          .ret_align = 1,
                          .name = "future of the parent" };
    proxy->settled = news.done;
    task->pool = &self->remote->own->pool;
    task->fn = &proxy->fn;
    auri_task_set_bytes(task, NULL, 0); /* its result lies outside */
    task->priv = proxy;
    auri_add_rlx(&task->pool->submitted, UINT64_C(1)); /* relaxed: statistics */
    auri_task_queue(task);
    (void)auri_task_claim(task, 0);
    if (news.done) {
        take_news(task, &news);
        auri_task_finish(task);
    }
    *ret_task = task;
    return AUR_OK;
}
