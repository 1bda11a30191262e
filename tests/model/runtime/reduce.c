/* Which orders of steps are worth trying: dependence, and the reduction that follows from it, after
 * Flanagan and Godefroid, "Dynamic partial-order reduction for model checking software" (POPL 2005),
 * with sleep sets.  README.md has the argument. */
#include <string.h>

#include "explore.h"

/* ---- actors: threads, and what may befall them ------------------------------------------------ */

unsigned thread_of(unsigned actor)
{
    return actor % MODEL_THREADS;
}

static struct op op_of(unsigned actor)
{
    const struct thread *thread = &sim.thread[thread_of(actor)];

    if (actor < MODEL_THREADS) {
        return thread->op;
    }
    if (actor < 2 * MODEL_THREADS) {
        return (struct op){ .object = sim.end_object[thread_of(actor)],
                            .object2 = thread->state == T_FUTEX ? thread->op.object : 0,
                            .write = 1,
                            .kind = OP_KILL };
    }
    return (struct op){ .object = thread->op.object, .write = 1, .kind = OP_TIMEOUT };
}

static bool dependent(unsigned a, const struct op *x, unsigned b, const struct op *y)
{
    if (thread_of(a) == thread_of(b) || (x->kind == OP_KILL && y->kind == OP_KILL)) {
        return true;
    }
    if (x->object != 0 && x->object == y->object && (x->write || y->write || (x->sc && y->sc))) {
        return true;
    }
    if ((x->object2 != 0 && x->object2 == y->object && y->write) ||
        (y->object2 != 0 && y->object2 == x->object && x->write)) {
        return true;
    }
    return (x->fence && y->sc) || (y->fence && x->sc);
}

/* Two dependent steps of which the one makes the other possible are no race. */
static bool can_be_reversed(const struct op *earlier, const struct op *later)
{
    if (later->kind == OP_LOCK && earlier->kind == OP_UNLOCK) {
        return false;
    }
    return later->kind != OP_JOIN;
}

static bool is_possible(const struct thread *thread)
{
    const struct op *op = &thread->op;

    switch ((enum op_kind)op->kind) {
    case OP_LOCK:
        return ((struct mutex *)op->mutex)->owner < 0;
    case OP_JOIN:
        return sim.thread[op->target].state == T_OVER;
    case OP_EVENT:
        return sim.event[op->target].count != 0 ||
               (op->end_of < MODEL_THREADS && sim.thread[op->end_of].state == T_OVER);
    default:
        return true;
    }
}

static uint32_t possible_threads(bool yielded)
{
    uint32_t mask = 0;

    for (unsigned t = 0; t < sim.threads; t++) {
        const struct thread *thread = &sim.thread[t];
        if (thread->state == T_READY && thread->yielded == yielded && is_possible(thread)) {
            mask |= 1u << t;
        }
    }
    return mask;
}

uint32_t enabled_actors(void)
{
    uint32_t mask = possible_threads(false);

    if (mask == 0) {
        mask = possible_threads(true);
    }
    for (unsigned t = 0; t < sim.threads; t++) {
        const struct thread *thread = &sim.thread[t];
        if (thread->state == T_FUTEX && thread->timed) {
            mask |= ACTOR_TIMEOUT(t);
        }
        if (sim.kills_left > 0 && (sim.client->killable >> t & 1) != 0 && thread->state != T_OVER &&
            thread->state != T_NONE) {
            mask |= ACTOR_KILL(t);
        }
    }
    return mask;
}

/* ---- the reduction ---------------------------------------------------------------------------- */

static bool happens_before(const struct step *earlier, unsigned index, const uint16_t *clock)
{
    return index < clock[earlier->actor];
}

/* The step at `index` races with one that `actor` is about to make: the other order is to be tried. */
static void add_backtrack(unsigned index, unsigned actor, const uint16_t *clock)
{
    struct node *node = &search.node[search.step[index].node];
    uint32_t could = 0;

    if ((node->enabled >> actor & 1) != 0) {
        node->backtrack |= 1u << actor;
        return;
    }
    for (unsigned j = index + 1; j < search.steps; j++) {
        const struct step *step = &search.step[j];
        if ((node->enabled >> step->actor & 1) != 0 && happens_before(step, j, clock)) {
            could = 1u << step->actor;
            break;
        }
    }
    node->backtrack |= could != 0 ? could : node->enabled & ~ALL_KILLS;
}

void max_into(uint16_t *into, const uint16_t *from)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        into[i] = into[i] > from[i] ? into[i] : from[i];
    }
}

/* Takes the step of `actor` down, and what it races with. */
void record_step(unsigned actor)
{
    unsigned index = search.steps;
    struct step *step = &search.step[index];
    uint16_t *clock = search.clock[thread_of(actor)];

    if (index >= search.steps_kept && search.bound->search == MODEL_DPOR) {
        uint16_t before[ACTORS];
        bool raced = false;
        memcpy(before, clock, sizeof(before));
        step->op = op_of(actor);
        step->actor = (uint8_t)actor;
        step->node = search.depth - 1;
        memcpy(step->clock, clock, sizeof(step->clock));
        for (unsigned j = index; j-- > 0;) {
            const struct step *other = &search.step[j];
            if (!dependent(other->actor, &other->op, actor, &step->op)) {
                continue;
            }
            if (!raced && thread_of(other->actor) != thread_of(actor) &&
                !happens_before(other, j, before) && can_be_reversed(&other->op, &step->op)) {
                raced = true;
                add_backtrack(j, actor, before);
            }
            max_into(step->clock, other->clock);
        }
        step->clock[actor] = (uint16_t)(index + 1);
    }
    search.steps++;
    if (search.bound->search == MODEL_DPOR) {
        memcpy(clock, step->clock, sizeof(step->clock));
    }
}

/* What was explored from earlier nodes, and is not affected by the last step, need not come again. */
uint32_t inherited_sleep(void)
{
    const struct node *last = NULL;
    uint32_t sleep;

    for (unsigned i = search.depth; i-- > 0 && last == NULL;) {
        last = search.node[i].is_sched ? &search.node[i] : NULL;
    }
    if (last == NULL || search.bound->search != MODEL_DPOR) {
        return 0;
    }
    sleep = (last->sleep | last->done) & ~(1u << last->chosen);
    const struct step *step = &search.step[search.steps - 1];
    for (unsigned a = 0; a < ACTORS; a++) {
        if ((sleep >> a & 1) != 0) {
            struct op op = op_of(a);
            if (dependent(a, &op, step->actor, &step->op)) {
                sleep &= ~(1u << a);
            }
        }
    }
    return sleep;
}
