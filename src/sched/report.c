/* The words of a verdict: who waits for whom, around the cycle.
 *
 * A thread that helps runs tasks on top of tasks that wait, so one node may be several links of the
 * cycle.  Each call frame knows what its task waits for; the innermost one's wait is the node's edge.
 * The nodes are dead, so their stacks stand still, and may be read by another thread: what they hold
 * was written before the edge was published. */
#include <stdio.h>
#include <string.h>

#include "sched/survey.h"
#include "task/pool.h"

#define LINES_MAX 16u

/* Of the nodes that keep the task from ending, one on the cycle. */
static unsigned next_of(const struct survey *survey, const auri_task *task, uint64_t word)
{
    for (unsigned id = 1; id < survey->end; id++) {
        const struct look *look = &survey->node[id];
        if (!look->live && look->reaches && auri_held_up_by(look, id, task, word)) {
            return id;
        }
    }
    return 0;
}

auri_task *auri_survey_edge(const struct survey *survey, unsigned id, unsigned *ret_next,
                            size_t *ret_at)
{
    const struct look *look = &survey->node[id];
    struct auri_record *record = auri_record_at(id);

    *ret_next = 0;
    *ret_at = 0;
    if (look->kind == AURI_WAIT_TASK) {
        *ret_next = next_of(survey, look->task, look->word);
        return look->task;
    }
    for (size_t i = 0; look->kind == AURI_WAIT_ANY && i < record->wait_any_n; i++) {
        auri_task *task = record->wait_any[i];
        *ret_next =
            auri_waits_for_one(record, i) ? next_of(survey, task, auri_load_sc(&task->word)) : 0;
        if (*ret_next != 0) {
            *ret_at = i;
            return task;
        }
    }
    for (size_t i = 0; look->kind == AURI_WAIT_JOB && i < AURI_HELPERS_MAX; i++) {
        uint32_t helper = auri_load_sc(&record->wait_job->id[i]);
        if (helper != 0 && helper < survey->end && survey->node[helper].reaches) {
            *ret_next = helper;
            return NULL;
        }
    }
    return NULL;
}

static const char *name_of(const auri_task *task)
{
    if (task == NULL) {
        return "a wait";
    }
    const struct auri_map *map = auri_task_map(task);

    return map != NULL ? map->fn->name : task->fn != NULL ? task->fn->name : "a task";
}

struct text {
    char *at;
    size_t room;
};

/* One line: `waiting` waits for `task`. */
static void add_line(struct text *text, const auri_task *waiting, const auri_task *task, bool first)
{
    const char *site = task != NULL ? auri_task_site(task) : NULL;
    const char *pool = task != NULL && task->pool != NULL ? task->pool->name : "?";
    int wrote = snprintf(text->at, text->room, "%s%s waits for %s (submitted at %s, pool %s)",
                         first ? "" : "\n", waiting != NULL ? name_of(waiting) : "a waiting thread",
                         task != NULL ? name_of(task) : "a helper of its map",
                         site != NULL ? site : "?", pool);
    size_t used = wrote > 0 ? (size_t)wrote : 0;

    used = used < text->room ? used : text->room - 1;
    text->at += used;
    text->room -= used;
}

/* The innermost call of `task` (NULL: of any) in this node. */
static const struct auri_frame *frame_of(const struct auri_record *record, const auri_task *task)
{
    const struct auri_frame *frame = record->frame;

    while (frame != NULL && task != NULL && frame->task != task) {
        frame = frame->up;
    }
    return frame != NULL ? frame : record->frame;
}

/* What keeps `frame` from going on, and the node that runs that. */
static auri_task *awaited(const struct survey *survey, unsigned id, const struct auri_frame *frame,
                          unsigned *ret_next)
{
    const struct auri_frame *inner = auri_record_at(id)->frame;
    size_t at;

    if (frame == inner || frame == NULL) {
        return auri_survey_edge(survey, id, ret_next, &at);
    }
    if (frame->awaits != NULL) {
        *ret_next = auri_owner_of(auri_load_sc(&frame->awaits->word));
        return frame->awaits;
    }
    while (inner->up != frame) { /* it called the next one directly */
        inner = inner->up;
    }
    *ret_next = id;
    return inner->task;
}

/* The task through which the cycle comes back to `first`: what a worker process, whose frames are not
 * here, is running.  NULL: not found. */
static auri_task *closing_task(const struct survey *survey, unsigned first)
{
    unsigned id = first;
    size_t at;

    for (unsigned steps = survey->end; steps > 0 && id != 0; steps--) {
        auri_task *task = auri_survey_edge(survey, id, &id, &at);
        if (id == first) {
            return task;
        }
    }
    return NULL;
}

void auri_survey_report(const struct survey *survey, unsigned first, aur_error *error)
{
    struct text text = { error->message, sizeof(error->message) };
    const struct auri_record *record = auri_record_at(first);
    const struct auri_frame *frame = record->frame;
    const auri_task *start = frame != NULL ? frame->task : closing_task(survey, first);
    const auri_task *arrived =
        start; /* the last line's end; all that is known of a worker process */
    unsigned id = first;

    memset(error, 0, sizeof(*error));
    error->err = AUR_EDEADLK;
    error->item = AUR_NO_ITEM;
    error->worker = record->worker;
    error->exit_status = -1;
    error->function = start != NULL ? name_of(start) : NULL;
    error->site = start != NULL ? auri_task_site(start) : NULL;
    for (unsigned line = 0; line < LINES_MAX && id != 0; line++) {
        const auri_task *waiting = frame != NULL ? frame->task : arrived;
        auri_task *task = awaited(survey, id, frame, &id);
        if (task == NULL || task != waiting || id == first) {
            add_line(&text, waiting, task, line == 0);
        }
        if (id == 0 || (task != NULL && task == start) || (task == NULL && id == first)) {
            break;
        }
        arrived = task;
        frame = frame_of(auri_record_at(id), task);
    }
}
