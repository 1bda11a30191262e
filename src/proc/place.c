/* Running a task in place of a wait: what a worker waits for, when nobody else can run it.
 *
 * The parent answers the WAIT with the entry (wire/ctl.h); the worker runs it on top of the task that
 * waits, says RAN, and asks again.  Meanwhile it does not wait: its edge is gone, and the task is owned by
 * its record, so whoever waits for the task below closes a circle that the verdict sees.
 *
 * If the chain ends in the queue of another pool, and that pool has no free worker either, then what comes
 * next is whatever that pool's workers wait for; sched/detect.c finds it (auri_detect_dry).
 *
 * Only tasks that the wait comes down to are run so (see the head of sched/wait.c for why that is safe), and
 * only waits without a deadline are answered so.  Such a task shares the fate of its worker.  So it is not
 * cancelled once it runs, since that would hit the tasks below.  At its time limit the worker is killed, or
 * what never ends would hold all of them for ever; those below are then lost as by any death. */
#include <stdlib.h>

#include "proc/internal.h"
#include "sched/detect.h"

static bool is_queued(const void *proc, const auri_task *task)
{
    const struct auri_proc *p = proc;

    if (p->queue_first == task) {
        return true;
    }
    if (auri_task_map(task) != NULL) {
        const struct auri_mapjob *job = auri_mapjob_of(task);
        return job != NULL && job->queued;
    }
    /* As in auri_hurry().  relaxed: moves only under the lock, but for a cancellation. */
    return task->priv != NULL &&
           auri_word_state(auri_load_rlx(&((auri_task *)task)->word)) == AURI_QUEUED;
}

/* Whether that node waits inside an item of the map. */
static bool is_inside(struct auri_record *record, const auri_task *map)
{
    for (unsigned i = 0; i < AURI_WAIT_MAPS; i++) {
        if (auri_load_sc(&record->wait_maps[i]) == map) {
            return true;
        }
    }
    return false;
}

/* The chain of waits from w to the map comes through an item of that map: a circle, which a verdict ends.
 * Without that wait the chain does not need the rest of the map. */
static bool is_circle(const struct auri_worker *w, const auri_task *map)
{
    struct auri_record *record = w->record;
    const auri_task *task = auri_wait_needed(w);

    for (unsigned steps = auri_record_end() + 1; steps > 0 && task != NULL; steps--) {
        if (is_inside(record, map)) {
            return true;
        }
        unsigned owner = auri_word_owner(auri_load_sc(&task->word));
        if (task == map || owner == 0) {
            return false;
        }
        record = auri_record_at(owner);
        task = auri_load_sc(&record->wait_task);
    }
    return false;
}

/* The task of our queue at the end of the chain of waits that begins with w; NULL: the chain ends
 * elsewhere, or w waits for any of several.  Under the lock what is in our queue stays there. */
static auri_task *chain_end(struct auri_proc *p, const struct auri_worker *w)
{
    auri_task *task = auri_wait_needed(w);
    struct auri_record *waiter = NULL;
    uint64_t waiter_seq = 0;

    for (unsigned steps = auri_record_end() + 1; steps > 0 && task != NULL; steps--) {
        uint64_t word = auri_load_sc(&task->word);
        bool rest = auri_word_state(word) == AURI_RUNNING && auri_word_owner(word) == 0;
        if (auri_word_state(word) == AURI_QUEUED || rest) { /* ... of a map that was begun */
            /* The slot means the awaited call as long as its waiter waits for it. */
            bool still = waiter == NULL || auri_load_sc(&waiter->wait_seq) == waiter_seq;
            return still && task->pool == p->pool && is_queued(p, task) &&
                           !(rest && is_circle(w, task))
                       ? task
                       : NULL;
        }
        unsigned owner = auri_word_owner(word);
        if (auri_word_state(word) != AURI_RUNNING || owner == w->record->id) {
            return NULL;
        }
        waiter = auri_record_at(owner);
        waiter_seq = auri_load_sc(&waiter->wait_seq); /* pairs with [E1] in sched/edge.c */
        if ((waiter_seq & 1) == 0 || auri_load_sc(&waiter->wait_kind) != AURI_WAIT_TASK) {
            return NULL;
        }
        auri_task *next = auri_load_sc(&waiter->wait_task);
        if (auri_load_sc(&waiter->wait_seq) != waiter_seq || auri_load_sc(&task->word) != word) {
            return NULL; /* it moves; somebody looks again then */
        }
        task = next;
    }
    return NULL;
}

static bool make_room(struct auri_worker *w)
{
    if (w->inner_n < w->inner_room) {
        return true;
    }
    uint32_t room = w->inner_room == 0 ? 8 : w->inner_room * 2;
    struct auri_inner *inner = realloc(w->inner, room * sizeof(*inner));
    if (inner == NULL) {
        return false;
    }
    w->inner = inner;
    w->inner_room = room;
    return true;
}

/* It could not be told to the worker. */
static void put_back(struct auri_proc *p, const struct auri_flight *flight)
{
    if (flight->count != 0) {
        auri_mapjob_back(p, flight->task, flight->item, flight->count, flight->attempt);
        auri_mapjob_of(flight->task)->flying--;
    } else {
        auri_task_requeue(flight->task);
        auri_queue_prepend(p, flight->task);
    }
}

static bool may_run(const struct auri_worker *w)
{
    return w->blocked && !w->serving && w->room && w->ctl != NULL;
}

static bool run(struct auri_proc *p, struct auri_worker *w, auri_task *task)
{
    struct auri_flight flight;
    struct auri_sub_desc entry;

    if (task == NULL || !make_room(w)) {
        return false;
    }
    /* First its edge, then the task: a worker that owned what it seems to wait for, at the end of its chain,
     * would look like a cycle to others. */
    auri_wait_hide(w);
    if (!auri_queue_take(p, w, task, &flight, &entry)) { /* it was cancelled */
        auri_wait_show(w);
        return false;
    }
    flight.awaited = true;
    task->priv = flight.count == 0 ? NULL : task->priv; /* it has no entry */
    uint64_t limit = auri_limits_of(task)->item_timeout_ns;
    if (limit != 0 && flight.count > 1) { /* of a chunk it could not be told which item is late */
        auri_mapjob_back(p, task, flight.item + 1, flight.count - 1, 0);
        flight.count = entry.count = 1;
    }
    uint64_t late = limit != 0 ? aur_deadline_in_ns(limit) : UINT64_MAX;
    w->inner[w->inner_n++] = (struct auri_inner){ flight, late };
    w->items += flight.count == 0 ? 1 : flight.count;
    auri_add_rlx(&p->pool->helped, UINT64_C(1)); /* relaxed: statistics */
    if (!auri_wait_entry(w, &entry)) {           /* the reply says AUR_ENOMEM */
        w->inner_n--;
        put_back(p, &flight);
    }
    return true;
}

bool auri_run_in_place(struct auri_proc *p, struct auri_worker *w)
{
    return may_run(w) && run(p, w, chain_end(p, w));
}

void auri_dry_mark(struct auri_proc *p, bool dry)
{
    for (unsigned i = 0; (dry || p->dry) && i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL) {
            /* seq_cst: of pools that are marked at the same time, the last sees the others. */
            auri_store_sc(&w->record->dry_room, w->room ? 1u : 0u);
            auri_store_sc(&w->record->dry, dry ? p->pool : NULL);
        }
    }
    p->dry = dry;
}

/* A thread that an entry left behind waits for our queue.  Its worker takes none meanwhile. */
static bool is_left(struct auri_proc *p, struct auri_worker *w)
{
    return auri_unanswered(w) == 0 && w->wait_deadline == AUR_NO_DEADLINE && auri_wait_hurry(p, w);
}

/* Without a free worker in this pool, and in those whose queues its waits lead to. */
void auri_run_dry(struct auri_proc *p)
{
    struct auri_worker *refused = NULL;
    bool ran = false;

    auri_dry_lock();
    for (unsigned i = 0; i < p->slots_end && !ran; i++) {
        struct auri_worker *w = p->slots[i].worker;
        struct auri_stuck stuck = { .takes = is_queued, .pool = p };
        if (w == NULL || !w->blocked || w->serving) {
            continue; /* serving: whoever does looks again at the end */
        }
        enum auri_dry_verdict verdict = auri_detect_dry(w->record, &stuck);
        if (verdict == AURI_DRY_RUN && may_run(w) && stuck.task->pool == p->pool &&
            !is_circle(w, stuck.task) && auri_load_sc(&stuck.waiter->wait_seq) == stuck.seq) {
            ran = run(p, w, stuck.task);
        } else if (verdict == AURI_DRY_NOBODY || (verdict == AURI_DRY_LIVE && is_left(p, w))) {
            refused = w;
        }
    }
    if (!ran && refused != NULL) { /* nobody is left to run what it waits for */
        auri_wait_refuse(refused, AUR_E2DEEP);
    }
    auri_dry_unlock();
}

uint64_t auri_inner_deadlines(struct auri_worker *w, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < w->inner_n; i++) {
        if (w->inner[i].late_ns <= now) {
            auri_kill(w, AURI_KILL_DEADLINE, AURI_INNER_SEQ(i));
            return UINT64_MAX;
        }
        next = w->inner[i].late_ns < next ? w->inner[i].late_ns : next;
    }
    return next;
}

/* Without the lock. */
void auri_serve_ran(struct auri_proc *p, struct auri_worker *w, const struct auri_request *r)
{
    struct auri_comp_desc comp = { .op = AURI_COMP_DONE, .err = AUR_ENOMEM };
    struct auri_harvest h;
    aur_err err = AUR_OK;

    if (r->in.size == sizeof(comp)) {
        const void *at =
            auri_window_at(w->req_segment->window, auri_extent_off(r->in), sizeof(comp));
        if (at != NULL) {
            auri_copy_once(&comp, at, sizeof(comp));
        }
    }
    AURI_HARVEST_INIT(&h);
    pthread_mutex_lock(&p->lock);
    if (w->ctl == NULL || w->state == AURI_W_DEAD || w->inner_n == 0) {
        err = AUR_EINVAL; /* dead, or never told to run anything */
    } else if (auri_inner_answered(p, w, &w->inner[w->inner_n - 1].flight, &comp, &h)) {
        w->inner_n--;
    } else {
        w->wild = true;
        auri_kill(w, AURI_KILL_WILD, w->head);
    }
    pthread_mutex_unlock(&p->lock);
    (void)auri_deliver(p, &h);
    auri_request_finish(p, w, err, 0);
}
