/* Questions to the parent, through the mailbox. */
#include "proc/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proc/entry.h"
#include "sched/run.h"
#include "task/record.h"

/* ---- questions ------------------------------------------------------------------------------ */

void auri_parent_ask_in_turn(struct auri_worker_self *self, const struct auri_request *request,
                             struct auri_reply *ret_reply)
{
    uint32_t seq = ++self->remote->seq;

    auri_mail_send(self->ctl, seq, request);
    auri_worker_ring(self);
    auri_mail_wait(self->ctl, seq, ret_reply);
}

aur_err auri_parent_ask(struct auri_worker_self *self, const struct auri_request *request,
                        uint64_t *ret_value)
{
    struct auri_reply reply;

    auri_turn_take(self);
    auri_parent_ask_in_turn(self, request, &reply);
    auri_turn_give(self);
    if (ret_value != NULL) {
        *ret_value = reply.value;
    }
    return reply.err;
}

uint64_t auri_view_number(const aur_pool *pool)
{
    return ((const struct auri_view *)(const void *)pool)->number;
}

/* ---- outcomes ------------------------------------------------------------------------------- */

static void *copy_of(const void *from, size_t size, size_t align)
{
    size_t to = align < 64 ? 64 : align;
    void *copy = aligned_alloc(to, (size + to - 1) & ~(to - 1));

    if (copy != NULL) {
        memcpy(copy, from, size);
    }
    return copy;
}

struct auri_news auri_news_of(const struct auri_reply *reply, size_t align)
{
    struct auri_news news = { .done = true, .err = reply->err };
    const void *at = auri_worker_at(reply->out);

    if (reply->err == AUR_OK) {
        news.size = reply->out.size;
        if (news.size != 0 &&
            (at == NULL || (news.bytes = copy_of(at, news.size, align)) == NULL)) {
            news.size = 0;
            news.err = AUR_ENOMEM;
        }
    } else if (reply->task_failed != 0) {
        if (at != NULL && reply->out.size >= sizeof(aur_error)) {
            news.error = malloc(sizeof(*news.error));
        }
        if (news.error != NULL) {
            memcpy(news.error, at, sizeof(*news.error));
        }
    } else {
        news.done = reply->err != AUR_ETIMEDOUT; /* the question failed, not the task */
    }
    return news;
}

void auri_deadlock_of(const struct auri_reply *reply, aur_error *ret_error)
{
    const void *at = auri_worker_at(reply->out);

    *ret_error = (aur_error){ .err = AUR_EDEADLK, .item = AUR_NO_ITEM, .worker = -1 };
    if (at != NULL && reply->out.size >= sizeof(aur_error)) {
        memcpy(ret_error, at, sizeof(aur_error));
        ret_error->function = NULL; /* addresses of the parent */
        ret_error->site = NULL;
    } else {
        snprintf(ret_error->message, sizeof(ret_error->message), "%s", aur_err_text(AUR_EDEADLK));
    }
}

/* The wait of the calling thread would never end, says the parent: wakes it up with that. */
static void note_deadlock(const aur_error *why)
{
    struct auri_record *record = auri_self();
    uint64_t seq = record != NULL ? auri_load_rlx(&record->wait_seq) : 0; /* relaxed: its own */

    if ((seq & 1) == 0) {
        return; /* it does not wait, but attends: see the head of remote.h */
    }
    record->victim_error = *why;
    /* release; pairs with the acquire load in auri_record_is_victim().  No other thread chooses a node that
     * waits for a task of the parent. */
    auri_store_rel(&record->victim, seq);
}

struct auri_news auri_parent_ask_news(struct auri_worker_self *self, uint64_t id,
                                      aur_deadline deadline, size_t align)
{
    struct auri_news news = { .done = false };

    if (deadline == 0 || (deadline != AUR_NO_DEADLINE && aurp_now_ns() >= deadline)) {
        struct auri_request request = { .op = AURI_REQ_POLL, .id = id };
        struct auri_reply reply;
        auri_turn_take(self);
        auri_parent_ask_in_turn(self, &request, &reply);
        news = auri_news_of(&reply, align);
        auri_turn_give(self);
        return news;
    }
    struct auri_asker asker = { .ids = &id, .n = 1, .align = align, .deadline = deadline };
    aur_err err = auri_parent_wait(self, &asker);
    if (err == AUR_OK) {
        return asker.news;
    }
    if (err == AUR_EDEADLK) {
        note_deadlock(&asker.why);
    }
    /* The question failed, not the task.  But for a deadlock and a deadline that becomes the
     * outcome, since there is nothing that the waiter could sleep on. */
    news.done = err != AUR_ETIMEDOUT && err != AUR_EDEADLK;
    news.err = err;
    return news;
}

void auri_news_drop(struct auri_news *news)
{
    free(news->bytes);
    free(news->error);
}

/* ---- submits -------------------------------------------------------------------------------- */

static bool same_limits(const struct auri_limits *x, const struct auri_limits *y)
{
    return x == y || (x->item_timeout_ns == y->item_timeout_ns && x->retries == y->retries &&
                      x->retry_on == y->retry_on);
}

/* Names fn in a request.  A spawned worker has it elsewhere than the parent: by module then. */
static aur_err name_fn(struct auri_worker_self *self, const aur_fn *fn,
                       struct auri_request *request, struct auri_extent *ret_named)
{
    char path[AURI_MODULE_PATH_MAX];
    auri_module_ref ref;
    struct auri_fn_entry entry = { .path = { 0, 0 } };

    request->fn = (uint64_t)(uintptr_t)fn;
    if ((self->ctl->setup.flags & AURI_SETUP_SPAWN) == 0) {
        return AUR_OK;
    }
    aur_err err = auri_module_encode(fn, false, &ref);
    if (err == AUR_OK) {
        err = auri_module_path(fn, path, sizeof(path));
    }
    if (err != AUR_OK) {
        return err;
    }
    size_t length = strlen(path);
    err = auri_worker_alloc(self, sizeof(entry) + length, ret_named);
    if (err != AUR_OK) {
        return err;
    }
    uint64_t offset = auri_extent_off(*ret_named);
    memcpy(entry.ref, &ref, sizeof(ref));
    if (length != 0) {
        entry.path = auri_extent_make(AURI_SEG_RESULT, offset + sizeof(entry), length);
    }
    unsigned char *at = auri_arena_at(self->results, offset);
    memcpy(at, &entry, sizeof(entry));
    memcpy(at + sizeof(entry), path, length);
    request->fn = offset;
    request->fn_ref = 1;
    return AUR_OK;
}

/* One call for the parent.  The bytes in `args` are copied by the parent before it replies. */
aur_err auri_parent_submit(struct auri_worker_self *self, const aur_pool *pool, const aur_fn *fn,
                           const void *args, uint64_t size, const struct auri_limits *limits,
                           uint64_t *ret_id)
{
    struct auri_request request = { .op = AURI_REQ_SUBMIT, .pool = auri_view_number(pool) };
    struct auri_extent named = { 0, 0 };
    struct auri_reply reply = { 0 };
    aur_err err = AUR_OK;

    request.bytes = (fn->flags & AUR_FN_BYTES) != 0;
    if (limits != NULL && !same_limits(limits, &pool->limits)) {
        request.limits = 1;
        request.timeout_ns = limits->item_timeout_ns;
        request.retries = limits->retries;
        request.retry_on = limits->retry_on;
    }
    auri_turn_take(self);
    if (size != 0) {
        err = auri_worker_alloc(self, size, &request.in);
    }
    if (err == AUR_OK) {
        if (size != 0) {
            memcpy(auri_arena_at(self->results, auri_extent_off(request.in)), args, size);
        }
        err = name_fn(self, fn, &request, &named);
    }
    if (err == AUR_OK) {
        auri_parent_ask_in_turn(self, &request, &reply);
        err = reply.err;
    }
    auri_worker_free(self, request.in);
    auri_worker_free(self, named);
    auri_turn_give(self);
    *ret_id = reply.value;
    return err;
}
