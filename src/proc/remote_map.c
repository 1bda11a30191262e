/* Maps on a pool of the parent, sent item by item. */
#include <stdlib.h>
#include <string.h>

#include "proc/ask.h"
#include "sched/run.h"

#define MAP_WINDOW 64u /* items under way: enough for the workers, few for the parent */

/* A map that is being sent, item by item, in order. */
struct sending {
    struct auri_worker_self *self;
    aur_pool *pool;
    const struct auri_map *map;
    uint64_t id[MAP_WINDOW]; /* of item i at i % MAP_WINDOW; valid for taken <= i < sent */
    uint64_t sent;
    uint64_t taken;
    aur_err err; /* of the first failed item, or why sending ended */
    aur_error *error;
};

static void note(struct sending *s, uint64_t i, aur_err err, aur_error *error)
{
    if (s->map->item_errs != NULL) {
        s->map->item_errs[i] = err;
    }
    if (err == AUR_OK || s->err != AUR_OK) {
        free(error);
        return;
    }
    s->err = err;
    s->error = error;
    if (error != NULL) {
        error->item = s->map->first + i;
        error->function = s->map->fn->name;
        error->site = s->map->site;
    }
}

/* Keeps the result of item i.  Byte strings become the caller's, who frees them (aur_bytes_free). */
static aur_err keep(struct sending *s, uint64_t i, struct auri_news *news)
{
    const aur_fn *fn = s->map->fn;

    if ((fn->flags & AUR_FN_BYTES) == 0) {
        if (news->size != fn->ret_size) {
            return AUR_ESIZE;
        }
        if (s->map->out != NULL && news->size != 0) {
            memcpy((unsigned char *)s->map->out + i * fn->ret_size, news->bytes, news->size);
        }
        return AUR_OK;
    }
    if (s->map->out == NULL) {
        return AUR_OK;
    }
    aur_bytes *to = (aur_bytes *)s->map->out + i;
    to->data = news->size != 0 ? news->bytes : malloc(1); /* of no bytes, but there */
    to->size = news->size;
    news->bytes = NULL;
    return to->data != NULL ? AUR_OK : AUR_ENOMEM;
}

/* Waits for the oldest item under way and takes its result. */
static void take_oldest(struct sending *s)
{
    uint32_t align = (s->map->fn->flags & AUR_FN_BYTES) != 0 ? 1 : s->map->fn->ret_align;
    uint64_t i = s->taken++;
    uint64_t id = s->id[i % MAP_WINDOW];
    struct auri_news news;

    do {
        news = auri_parent_ask_news(s->self, id, AUR_NO_DEADLINE, align);
    } while (!news.done && news.err != AUR_EDEADLK);
    struct auri_request request = { .op = AURI_REQ_DROP, .id = id };
    (void)auri_parent_ask(s->self, &request, NULL);

    aur_err err = news.err == AUR_OK ? keep(s, i, &news) : news.err;
    note(s, i, err, news.error);
    news.error = NULL;
    auri_news_drop(&news);
}

/* Item i, on its way. */
static aur_err send_item(struct sending *s, uint64_t i)
{
    const struct auri_map *map = s->map;
    const void *args = (const unsigned char *)map->args + i * map->fn->args_size;
    uint64_t size = map->fn->args_size;

    if ((map->fn->flags & AUR_FN_BYTES) != 0) {
        const aur_bytes *in = (const aur_bytes *)map->args + i;
        args = in->data;
        size = in->size;
    }
    return auri_parent_submit(s->self, s->pool, map->fn, args, size, map->limits,
                              &s->id[i % MAP_WINDOW]);
}

static void send_items(struct sending *s)
{
    const struct auri_map *map = s->map;
    aur_err refused = AUR_OK;

    while (s->sent < map->n && refused == AUR_OK && (s->err == AUR_OK || map->all_errors)) {
        if (s->sent - s->taken == MAP_WINDOW) {
            take_oldest(s);
            continue;
        }
        refused = send_item(s, s->sent);
        s->sent += refused == AUR_OK;
    }
    while (s->taken < s->sent) {
        take_oldest(s);
    }
    if (refused != AUR_OK && s->err == AUR_OK) {
        s->err = refused;
    }
}

/* A range body: here and now, one index after the other. */
static void run_indexes(struct sending *s, auri_task *task)
{
    const struct auri_map *map = s->map;
    struct auri_record *record = auri_self();

    for (uint64_t i = 0; i < map->n && (s->err == AUR_OK || map->all_errors); i++) {
        struct auri_frame frame = { .task = task,
                                    .pool = s->pool,
                                    .item = map->first + i,
                                    .deadline_ns = AUR_NO_DEADLINE,
                                    .stop = &s->self->ctl->stop,
                                    .in_map = true };
        auri_frame_push(record, &frame);
        map->fn->range(map->args, NULL, map->first + i, map->first + i + 1, &frame.item);
        auri_frame_pop(record, &frame);
        note(s, i, auri_frame_err(&frame), frame.error);
    }
}

void auri_remote_map(struct auri_worker_self *self, aur_pool *pool, auri_task *task)
{
    struct sending sending = { .self = self, .pool = pool, .map = task->store.map };

    (void)auri_task_claim(task, 0);
    if ((sending.map->fn->flags & AUR_FN_RANGE_BODY) != 0) {
        run_indexes(&sending, task);
    } else {
        send_items(&sending);
    }
    auri_task_set_error(task, sending.err, sending.error);
    auri_task_finish(task);
    auri_task_unref(task);
}
