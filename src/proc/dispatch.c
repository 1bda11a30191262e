/* From the queue to the rings: which worker gets what, and taking it back.
 *
 * One worker is filled before a second one is woken, until it holds more work than two wakes cost;
 * then the others get their share, up to some 1.2 ms each.  Too much in one ring does no harm: what
 * a worker has not begun can be taken back at any time. */
#include <string.h>

#include "proc/internal.h"

/* ---- the queue ----------------------------------------------------------------------------------- */

static auri_task **prev_of(auri_task *task)
{
    struct auri_mapjob *job = auri_mapjob_of(task);

    return job != NULL ? &job->prev : (auri_task **)(void *)&task->priv;
}

static void link_between(struct auri_proc *p, auri_task *prev, auri_task *task, auri_task *next)
{
    *prev_of(task) = prev;
    task->next = next;
    *(prev != NULL ? &prev->next : &p->queue_first) = task;
    *(next != NULL ? prev_of(next) : &p->queue_last) = task;
    if (auri_task_map(task) != NULL) {
        auri_mapjob_of(task)->queued = true;
    }
    p->queued++;
}

void auri_queue_append(struct auri_proc *p, auri_task *task)
{
    link_between(p, p->queue_last, task, NULL);
}

void auri_queue_prepend(struct auri_proc *p, auri_task *task)
{
    link_between(p, NULL, task, p->queue_first);
}

void auri_queue_remove(struct auri_proc *p, auri_task *task)
{
    auri_task *prev = *prev_of(task);
    auri_task *next = task->next;

    *(prev != NULL ? &prev->next : &p->queue_first) = next;
    *(next != NULL ? prev_of(next) : &p->queue_last) = prev;
    if (auri_task_map(task) != NULL) {
        auri_mapjob_of(task)->queued = false;
    } else {
        task->priv = NULL;
    }
    task->next = NULL;
    p->queued--;
}

/* ---- what calls cost ------------------------------------------------------------------------------ */

static struct auri_cost *cost_slot(struct auri_proc *p, const aur_fn *fn)
{
    return &p->costs[((uintptr_t)fn >> 6) % AURI_COSTS];
}

uint64_t auri_cost_of(struct auri_proc *p, const aur_fn *fn)
{
    struct auri_cost *cost = cost_slot(p, fn);

    return cost->fn == fn ? cost->ns : AURI_UNKNOWN_NS;
}

/* Quick to believe that calls are short, since every error makes them look longer. */
uint64_t auri_cost_mix(uint64_t before, uint64_t now)
{
    return now < before ? (before + now) / 2 : (before * 3 + now) / 4;
}

/* Of answers that were taken together, at `now`, nobody knows more than how long they took in all.  If their worker
 * had been off its CPU they all look long, and a second worker that is woken for them takes somebody's CPU: then the
 * next ones look long, too, and so on (bench/payload).  So calls have become longer when two say so. */
void auri_cost_learn(struct auri_proc *p, const aur_fn *fn, uint64_t ns, uint64_t now)
{
    struct auri_cost *cost = cost_slot(p, fn);

    if (cost->fn != fn) {
        *cost =
            (struct auri_cost){ .fn = fn, .ns = ns, .said = ns, .said_before = ns, .said_at = now };
    } else {
        if (cost->said_at != now) {
            cost->said_before = cost->said;
            cost->said_at = now;
        }
        cost->said = ns;
        if (ns > cost->ns) {
            uint64_t both = ns < cost->said_before ? ns : cost->said_before;
            ns = both > cost->ns ? both : cost->ns;
        }
        cost->ns = auri_cost_mix(cost->ns, ns);
    }
    if (cost->ns == 0) {
        cost->ns = 1;
    }
}

/* ---- choosing a worker ---------------------------------------------------------------------------- */

static bool usable(const struct auri_worker *w)
{
    return w != NULL && w->state == AURI_W_LIVE && !w->blocked;
}

static bool has_room(const struct auri_proc *p, const struct auri_worker *w, uint64_t cost)
{
    uint64_t held = auri_unanswered(w);

    if (!usable(w)) {
        return false;
    }
    if (held == 0) {
        return true;
    }
    /* With a queue limit "in the ring" would be a second queue: one call at a time, then. */
    if (p->pool->opts.queue_max != 0 || held >= AURI_RING - 2) {
        return false; /* one place is kept for a QUIT */
    }
    return held - w->revoked < 2 || w->queued_ns + cost <= AURI_QUEUE_AHEAD_NS;
}

/* not: a worker that must not be chosen, or NULL. */
static struct auri_worker *pick(struct auri_proc *p, uint64_t cost, const struct auri_worker * not )
{
    struct auri_worker *best = p->slots[p->cursor].worker;

    if (best != NULL && best != not &&has_room(p, best, cost) &&
        (auri_unanswered(best) == 0 || best->queued_ns + cost <= AURI_FILL_NS)) {
        return best;
    }
    best = NULL;
    for (unsigned i = 0; i < p->slots_end; i++) {
        unsigned at = (p->cursor + i) % p->slots_end;
        struct auri_worker *w = p->slots[at].worker;
        if (w == NULL || w == not || !has_room(p, w, cost)) {
            continue;
        }
        if (auri_unanswered(w) == 0) {
            p->cursor = at;
            return w;
        }
        if (best == NULL || w->queued_ns < best->queued_ns) {
            best = w;
        }
    }
    return best;
}

/* ---- putting an entry ----------------------------------------------------------------------------- */

/* A call, the only one in flight, is for w, which has had nothing to do for idle_ns.  If the last ones followed each
 * other as closely, and waited for wakes, both ends may be on one CPU: see spin_ns() in leader.c. */
static bool tell_place(struct auri_proc *p, struct auri_worker *w, uint64_t idle_ns)
{
    if (idle_ns > AURI_SPIN_NS) { /* how it is woken best is another matter then */
        p->sleeps = 0;
    }
    if (p->sleeps >> p->long_fails == 0) { /* less often each time that it did not help */
        return false;
    }
    /* relaxed: a hint. */
    auri_store_rlx(&w->ctl->leader_cpu, (uint32_t)(aurp_cpu_here() + 1));
    return true;
}

/* The next entry of w, and its flight, are written: hands it over. */
static void put(struct auri_proc *p, struct auri_worker *w)
{
    const struct auri_flight *flight = auri_flight_at(w, w->tail);
    uint64_t timeout_ns = auri_limits_of(flight->task)->item_timeout_ns;

    auri_extents_flush(w);
    if (auri_unanswered(w) == 0) {
        uint64_t now = aurp_now_ns();
        bool alone = p->busy++ == 0 && flight->count == 0;
        w->told =
            alone && auri_spin_pays(p, flight->cost_ns) && tell_place(p, w, now - w->busy_since_ns);
        w->busy_since_ns = now;
        w->rang = false;
    }
    if (flight->count == 0) {
        flight->task->priv = (void *)(uintptr_t)w->tail; /* so that a waiter finds it */
    }
    if (timeout_ns != 0 && aurp_now_ns() + timeout_ns < p->guardian_wakes_ns) {
        auri_kick(p);
    }
    auri_ring_publish(w->ctl, w->tail++);
    w->queued_ns += flight->cost_ns;
    w->items += flight->count == 0 ? 1 : flight->count;
    w->general += !flight->awaited;
    p->flying++;
    if (auri_ring_wake(w->ctl)) { /* a fence, which waits for the lines to come: last */
        w->rang = true;
        p->wakes++;
        p->sleeps++;
    }
    if (p->pool->opts.tasks_per_worker_max != 0 && w->items >= p->pool->opts.tasks_per_worker_max) {
        auri_quit(p, w);
    }
}

void auri_quit(struct auri_proc *p, struct auri_worker *w)
{
    struct auri_flight none = { 0 };
    struct auri_sub_desc entry = { .op = AURI_OP_QUIT };

    if (w->state != AURI_W_LIVE) {
        return;
    }
    w->state = AURI_W_QUITTING;
    w->asked_to_quit = true;
    *auri_flight_at(w, w->tail) = none;
    if (auri_unanswered(w) == 0) {
        p->busy++;
    }
    auri_ring_put(w->ctl, w->tail++, &entry);
    if (auri_ring_wake(w->ctl)) {
        p->wakes++;
    }
    p->flying++;
}

/* What is left of a call that was cancelled while it was in the queue. */
void auri_forget(struct auri_proc *p, auri_task *task)
{
    auri_args_free(p, task);
    if (auri_task_map(task) != NULL) {
        auri_mapjob_free(p, task);
    }
    auri_task_unref_queued(task, auri_task_is_sole(task));
}

/* Writes no more of the entry than its form needs: it may be in the ring already, where nothing is read. */
static bool take_call(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                      struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry)
{
    uint64_t timeout_ns = auri_limits_of(task)->item_timeout_ns;
    bool bytes = auri_task_is_bytes(task);
    uint64_t size = bytes ? task->store.in_size : task->fn->args_size;

    auri_queue_remove(p, task);
    if (!auri_task_claim(task, w->record->id)) {
        auri_forget(p, task);
        return false;
    }
    const void *args = auri_task_args(task);
    bool placed = auri_in_arena(p, args);
    bool is_short = timeout_ns == 0 && (placed || size <= AURI_SUB_SMALL);
    auri_fn_encode(p, task->fn, ret_entry);
    ret_entry->op = bytes ? AURI_OP_BYTES : AURI_OP_CALL;
    ret_entry->form = is_short ? AURI_FORM_SHORT : AURI_FORM_LONG;
    ret_entry->attempt = (uint16_t)(task->attempts + 1u);
    ret_entry->args = placed ? auri_extent_make(AURI_SEG_ARGS, auri_arena_offset(p, args), size)
                             : auri_extent_make(AURI_SEG_INLINE, 0, size);
    ret_entry->task_id = auri_task_id(task);
    if (!is_short) {
        memset(auri_sub_second(ret_entry), 0, AURI_SUB_SECOND);
        ret_entry->timeout_ns = timeout_ns;
    }
    if (!placed && size != 0) {
        memcpy(is_short ? ret_entry->small : ret_entry->data, args, size);
    }
    *ret_flight = (struct auri_flight){ .task = task };
    return true;
}

static bool take_chunk(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                       struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry)
{
    struct auri_mapjob *job = auri_mapjob_of(task);

    if (!job->claimed) {
        if (!auri_task_claim(task, 0)) {
            auri_queue_remove(p, task);
            auri_forget(p, task);
            return false;
        }
        job->claimed = true;
    }
    uint64_t most = UINT64_MAX;
    if (p->pool->opts.tasks_per_worker_max != 0) {
        most = p->pool->opts.tasks_per_worker_max > w->items
                   ? p->pool->opts.tasks_per_worker_max - w->items
                   : 1;
    }
    memset(ret_entry, 0, sizeof(*ret_entry));
    if (!auri_mapjob_take(p, task, most, ret_flight, ret_entry)) {
        auri_queue_remove(p, task);
        return false;
    }
    if (!auri_mapjob_has_work(job, task->store.map)) {
        auri_queue_remove(p, task);
    }
    auri_fn_encode(p, task->store.map->fn, ret_entry);
    return true;
}

bool auri_queue_take(struct auri_proc *p, struct auri_worker *w, auri_task *task,
                     struct auri_flight *ret_flight, struct auri_sub_desc *ret_entry)
{
    memset(ret_entry, 0, sizeof(*ret_entry));
    return (auri_task_map(task) != NULL ? take_chunk : take_call)(p, w, task, ret_flight,
                                                                  ret_entry);
}

void auri_dispatch(struct auri_proc *p)
{
    while (p->queue_first != NULL && !p->stopping && !p->broken) {
        auri_task *task = p->queue_first;
        struct auri_mapjob *job = auri_mapjob_of(task);
        uint64_t cost = job != NULL ? auri_mapjob_chunk_ns(p, task) : auri_cost_of(p, task->fn);
        bool awaited = false;
        struct auri_worker *reserve = p->nests ? auri_reserve(p, &awaited) : NULL;
        if (awaited) {
            task = p->queue_first;
            job = auri_mapjob_of(task);
        }
        struct auri_worker *w = awaited && reserve != NULL && has_room(p, reserve, cost)
                                    ? reserve
                                    : pick(p, cost, awaited ? NULL : reserve);
        if (w == NULL) {
            break;
        }
        struct auri_flight *flight = auri_flight_at(w, w->tail);
        struct auri_sub_desc *entry = auri_ring_place(w->ctl, w->tail);
        if ((job != NULL ? take_chunk : take_call)(p, w, task, flight, entry)) {
            flight->awaited = awaited;
            if (job == NULL) {
                flight->cost_ns = (uint32_t)(cost < UINT32_MAX ? cost : UINT32_MAX);
            }
            put(p, w);
        }
    }
}

/* ---- taking back ----------------------------------------------------------------------------------- */

void auri_flight_taken(struct auri_worker *w, struct auri_flight *flight)
{
    flight->revoked = true;
    w->revoked++;
    w->general -= !flight->awaited;
    w->queued_ns -= flight->cost_ns < w->queued_ns ? flight->cost_ns : w->queued_ns;
}

static void take_back(struct auri_proc *p, struct auri_worker *w, struct auri_flight *flight)
{
    auri_task *task = flight->task;

    auri_flight_taken(w, flight);
    w->items -= flight->count == 0 ? 1 : flight->count;
    p->revoked++;
    if (flight->count != 0) {
        struct auri_mapjob *job = auri_mapjob_of(task);
        auri_mapjob_back(p, task, flight->item, flight->count, flight->attempt);
        if (--job->flying == 0 && job->stopped) { /* nothing will land any more */
            if (job->queued) {
                auri_queue_remove(p, task);
            }
            task->next = p->settled;
            p->settled = task;
            auri_kick(p);
        }
    } else {
        auri_task_requeue(task);
        auri_queue_prepend(p, task);
    }
}

unsigned auri_revoke_from(struct auri_proc *p, struct auri_worker *w, uint64_t from)
{
    unsigned n = 0;

    if (w->ctl == NULL) {
        return 0;
    }
    for (uint64_t seq = w->tail; seq-- > from && seq >= w->head;) {
        struct auri_flight *flight = auri_flight_at(w, seq);
        if (flight->task == NULL || flight->revoked) {
            continue;
        }
        if (!auri_ring_revoke(w->ctl, seq)) {
            break; /* it has begun this one, and so all before */
        }
        take_back(p, w, flight);
        n++;
    }
    return n;
}

/* How long the oldest entry has been that.  `now` may be older than it. */
static uint64_t since_ns(const struct auri_worker *w, uint64_t now)
{
    return now > w->busy_since_ns ? now - w->busy_since_ns : 0;
}

/* A worker that holds much while another holds nothing.  `stuck`: it may have been stopped. */
static struct auri_worker *richest(struct auri_proc *p, uint64_t now, bool *ret_stuck)
{
    struct auri_worker *best = NULL;

    *ret_stuck = false;
    for (unsigned i = 0; i < p->slots_end; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w == NULL || w->ctl == NULL || auri_unanswered(w) <= w->revoked) {
            continue;
        }
        uint64_t since = since_ns(w, now);
        uint64_t begun = auri_flight_at(w, w->head)->revoked ? 0 : 1;
        if (auri_unanswered(w) - w->revoked > begun &&
            (w->queued_ns > 2 * AURI_FILL_NS || since > AURI_FILL_NS) &&
            (best == NULL || w->queued_ns > best->queued_ns)) {
            best = w;
        }
        if (since > AURI_TICK_NS &&
            auri_ring_judge(w->ctl, w->head, false) == AURI_VERDICT_REQUEUE) {
            *ret_stuck = true;
            return w;
        }
    }
    return best;
}

static bool find_idle(const struct auri_proc *p, unsigned *ret_at)
{
    for (unsigned i = 0; i < p->slots_end; i++) {
        const struct auri_worker *w = p->slots[i].worker;
        if (usable(w) && auri_unanswered(w) == 0) {
            *ret_at = i;
            return true;
        }
    }
    return false;
}

void auri_rebalance(struct auri_proc *p, uint64_t now)
{
    for (unsigned rounds = 0; rounds < p->slots_end; rounds++) {
        bool stuck;
        unsigned idle;
        if (p->queue_first != NULL || p->stopping || !find_idle(p, &idle)) {
            return;
        }
        struct auri_worker *w = richest(p, now, &stuck);
        if (w == NULL) {
            return;
        }
        uint64_t open = auri_unanswered(w) - w->revoked;
        uint64_t from = stuck ? w->head : w->head + (open > 2 ? (open + 1) / 2 : 1);
        if (since_ns(w, now) > AURI_TICK_NS) {
            from = stuck ? w->head : w->head + 1;
        }
        if (auri_revoke_from(p, w, from) == 0) {
            return;
        }
        /* If that was w, what is short would be put behind the same entry again. */
        p->cursor = idle;
        auri_dispatch(p);
    }
}
