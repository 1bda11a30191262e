/* What a node needs of those who ask elsewhere: which of them, and how.
 *
 * The survey counts who asks as dead.  What is dead then, over dead edges from the node, is what it needs; each of
 * these nodes is a gate, with the rules of detect.c: it waits for a task: for all dead nodes that hold that; for any:
 * for one of its tasks; for helpers: for all that are dead.  Nodes that go on by themselves are left out, so are those
 * on a cycle of this process (spare_cycles() in detect.c): what is left out may come, and never makes a wait that
 * can end look dead. */
#include <stdlib.h>

#include "sched/detect.h"
#include "sched/survey.h"
#include "sched/wait.h"

struct arc {
    uint32_t gate;
    uint32_t input;
};

struct builder {
    const struct survey *survey;
    uint32_t *gate_of; /* by record id: 1 + its gate; 0: it is not needed so far */
    unsigned *todo;    /* records that have a gate, and whose inputs are not noted */
    size_t todo_n;
    struct auri_need *gate;
    size_t gates, gate_room;
    struct arc *arc; /* who is an input of whom, in any order */
    size_t arcs, arc_room;
    bool failed; /* no memory: the gates are not valid */
};

/* The array with room for one more of so many, or as it is. */
static void *grow(struct builder *b, void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room || b->failed) {
        return array;
    }
    size_t more = *room == 0 ? 16 : 2 * *room;
    void *grown = realloc(array, more * size);
    b->failed = grown == NULL;
    *room = grown != NULL ? more : *room;
    return grown != NULL ? grown : array;
}

/* need: 0: all inputs. */
static uint32_t gate_new(struct builder *b, uint32_t need)
{
    b->gate = grow(b, b->gate, b->gates, &b->gate_room, sizeof(*b->gate));
    if (b->failed) {
        return 0;
    }
    b->gate[b->gates] = (struct auri_need){ .need = need };
    return (uint32_t)b->gates++;
}

static void connect(struct builder *b, uint32_t gate, uint32_t input)
{
    b->arc = grow(b, b->arc, b->arcs, &b->arc_room, sizeof(*b->arc));
    if (!b->failed) {
        b->arc[b->arcs++] = (struct arc){ gate, input };
    }
}

static void set_need(struct builder *b, uint32_t gate, uint32_t need)
{
    if (!b->failed) {
        b->gate[gate].need = need;
    }
}

static uint32_t gate_of(struct builder *b, unsigned id)
{
    if (b->gate_of[id] == 0) {
        b->gate_of[id] = 1 + gate_new(b, 0);
        b->todo[b->todo_n++] = id;
    }
    return b->gate_of[id] - 1;
}

/* ---- from the survey ------------------------------------------------------------------------ */

/* The gate needs all dead nodes that keep the task from ending. */
static void note_holders(struct builder *b, uint32_t gate, const auri_task *task, uint64_t word)
{
    for (unsigned id = 1; id < b->survey->end; id++) {
        const struct look *look = &b->survey->node[id];
        if (!look->live && auri_held_up_by(look, id, task, word)) {
            connect(b, gate, gate_of(b, id));
        }
    }
}

/* ... or this one of the tasks that the node waits for. */
static void note_one(struct builder *b, uint32_t gate, const struct auri_record *record, size_t i)
{
    auri_task *task = record->wait_any[i];
    uint32_t holders = gate_new(b, 0);

    note_holders(b, holders, task, auri_load_sc(&task->word));
    connect(b, gate, holders);
}

static void note_any(struct builder *b, uint32_t gate, const struct auri_record *record, bool asks)
{
    for (size_t i = 0; i < record->wait_any_n; i++) {
        auri_task *task = record->wait_any[i];
        if (task != NULL && !(asks && auri_task_is_untold(task))) {
            note_one(b, gate, record, i);
        }
    }
    set_need(b, gate, 1);
}

/* Of a process in whose graph this one is the parent: its own gates, but for what is live. */
static void note_formula(struct builder *b, uint32_t gate, const struct auri_record *record)
{
    const struct auri_formula *f = record->wait_formula;
    uint32_t *known = calloc(f->gates, sizeof(*known)); /* what they are here */
    uint32_t none = 0;

    b->failed |= known == NULL;
    for (uint32_t i = 0; i < f->gates && !b->failed; i++) {
        if (f->gate[i].blocks) {
            known[i] = i == 0 ? gate : gate_new(b, 0);
            set_need(b, known[i], f->gate[i].missing);
        }
    }
    for (uint32_t i = 0; i < f->gates; i++) {
        const uint32_t *me = known != NULL ? &known[i] : &none;
        for (uint32_t k = 0; k < f->gate[i].n && f->gate[i].blocks; k++) {
            uint32_t input = f->input[f->gate[i].first + k];
            if (input < f->ids && f->blocks[input]) {
                note_one(b, *me, record, input);
            } else if (input >= f->ids && f->gate[input - f->ids].blocks && !b->failed) {
                connect(b, *me, known[input - f->ids]);
            }
        }
    }
    free(known);
}

static void note_inputs(struct builder *b, unsigned id)
{
    const struct look *look = &b->survey->node[id];
    struct auri_record *record = auri_record_at(id);
    uint32_t gate = b->gate_of[id] - 1;

    if (look->asks && !b->failed) {
        b->gate[gate].asks = record;
        set_need(b, gate, 1);
    }
    if (look->kind == AURI_WAIT_ANY && record->wait_formula != NULL) {
        note_formula(b, gate, record);
    } else if (look->kind == AURI_WAIT_ANY) {
        note_any(b, gate, record, look->asks);
    } else if (look->kind == AURI_WAIT_TASK && !look->asks) {
        note_holders(b, gate, look->task, look->word);
    }
    for (unsigned i = 0; look->kind == AURI_WAIT_JOB && i < AURI_HELPERS_MAX; i++) {
        uint32_t helper = auri_load_sc(&record->wait_job->id[i]);
        if (helper != 0 && helper < b->survey->end && !b->survey->node[helper].live) {
            connect(b, gate, gate_of(b, helper));
        }
    }
}

/* ---- the result ------------------------------------------------------------------------------ */

/* Those of a gate together. */
static bool group_inputs(const struct builder *b, struct auri_needs *needs)
{
    size_t first = 0;

    for (size_t i = 0; i < b->arcs; i++) {
        needs->gate[b->arc[i].gate].n++;
    }
    for (size_t i = 0; i < needs->gates; i++) {
        struct auri_need *gate = &needs->gate[i];
        gate->need = gate->need == 0 ? gate->n : gate->need;
        if (gate->need == 0 || gate->need > gate->n + (gate->asks != NULL)) {
            return false; /* a task has moved: then somebody looks again */
        }
        gate->first = first;
        first += gate->n;
        gate->n = 0;
    }
    for (size_t i = 0; i < b->arcs; i++) {
        struct auri_need *gate = &needs->gate[b->arc[i].gate];
        needs->input[gate->first + gate->n++] = b->arc[i].input;
    }
    return true;
}

/* Nothing, if any of the answers frees the node. */
static void say(struct builder *b, struct auri_needs *ret_needs)
{
    struct auri_needs needs = { b->gates, b->gate, b->arcs, NULL };
    bool several = false;

    needs.input = calloc(b->arcs + 1, sizeof(*needs.input));
    if (!b->failed && needs.input != NULL && group_inputs(b, &needs)) {
        for (size_t i = 0; i < needs.gates; i++) {
            several |= needs.gate[i].need > 1;
        }
    }
    if (several) {
        *ret_needs = needs;
        b->gate = NULL;
    } else {
        free(needs.input);
    }
}

void auri_needs_free(struct auri_needs *needs)
{
    free(needs->gate);
    free(needs->input);
}

/* With the lock held; the node is dead. */
static void note_needed(struct builder *b, unsigned from, struct auri_needs *ret_needs)
{
    (void)gate_of(b, from);
    while (b->todo_n > 0) {
        note_inputs(b, b->todo[--b->todo_n]);
    }
    for (unsigned id = 1; id < b->survey->end; id++) {
        struct auri_record *record = auri_record_at(id);
        if (record != NULL) {
            record->needed = b->gate_of[id] != 0;
        }
    }
    say(b, ret_needs);
}

bool auri_detect_needs_answer(struct auri_record *node, struct auri_needs *ret_needs)
{
    struct survey survey = { .unanswered = true };
    struct builder b = { .survey = &survey };
    bool needs = false; /* without memory, as in auri_detect() */

    *ret_needs = (struct auri_needs){ 0 };
    auri_graph_lock();
    survey.end = auri_record_end();
    survey.node = calloc(survey.end, sizeof(*survey.node));
    b.gate_of = calloc(survey.end, sizeof(*b.gate_of));
    b.todo = calloc(survey.end, sizeof(*b.todo));
    if (survey.node != NULL && b.gate_of != NULL && b.todo != NULL) {
        while (!auri_survey_take(&survey, node->id)) {
            /* Somebody moved between the looks.  Each round is paid for by that progress. */
        }
        needs = !survey.node[node->id].live;
        if (needs) {
            note_needed(&b, node->id, ret_needs);
        }
    }
    auri_graph_unlock();
    free(survey.node);
    free(b.gate_of);
    free(b.todo);
    free(b.gate);
    free(b.arc);
    return needs;
}
