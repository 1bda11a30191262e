/* sched/survey.h: one look at the whole wait graph, as the verdict (detect.c) and its words (report.c)
 * share it; the lock that it takes. */
#ifndef AURI_SCHED_SURVEY_H
#define AURI_SCHED_SURVEY_H

#include "sched/formula.h"
#include "task/record.h"

/* What one look saw of a node. */
struct look {
    uint64_t seq; /* wait_seq; even: does not wait */
    uint32_t kind;
    auri_task *task;                 /* AURI_WAIT_TASK */
    uint64_t word;                   /* of that task */
    auri_task *maps[AURI_WAIT_MAPS]; /* that cannot end before this wait has; NULL: no more */
    struct aur_pool *dry;            /* whose queue it serves, or NULL; see struct auri_record */
    struct aur_pool
        *queued; /* the pool of that task, if it is queued and `dry` counts; only compared */
    bool live;
    bool stood; /* with `unanswered`: it waits, so it is not live by itself */
    bool
        reaches; /* the node that asks for a verdict can be reached over dead nodes; in the verdict on dry
                     pools, and with `unanswered`: it can be reached from that node */
    bool serves; /* ... because a task is in its pool's queue */
    bool asks;   /* it waits for an answer from elsewhere, and `unanswered` counts */
};

struct survey {
    unsigned end;      /* one past the highest record id */
    bool dry;          /* pools that are dry count */
    bool unanswered;   /* who asks elsewhere gets no answer */
    struct look *node; /* by record id */
};

/* The node that runs the task with this word; 0: none. */
static inline unsigned auri_owner_of(uint64_t word)
{
    return auri_word_state(word) == AURI_RUNNING ? auri_word_owner(word) : 0;
}

/* Whether the task with this word cannot end before that wait has, or one in its runner. */
static inline bool auri_held_up_by(const struct look *look, unsigned id, const auri_task *task,
                                   uint64_t word)
{
    if (auri_word_state(word) != AURI_RUNNING || auri_word_owner(word) != 0) {
        return auri_owner_of(word) == id;
    }
    for (unsigned i = 0; i < AURI_WAIT_MAPS && look->maps[i] != NULL; i++) {
        if (look->maps[i] == task) {
            return true;
        }
    }
    return false;
}

/* A dead node that keeps the task with this word from ending; 0: there is none. */
static inline unsigned auri_survey_holder(const struct survey *survey, const auri_task *task,
                                          uint64_t word)
{
    unsigned owner = auri_owner_of(word);

    if (owner != 0 || auri_word_state(word) != AURI_RUNNING) {
        return owner != 0 && owner < survey->end && !survey->node[owner].live ? owner : 0;
    }
    for (unsigned id = 1; id < survey->end; id++) { /* a map, which names no runner */
        if (!survey->node[id].live && auri_held_up_by(&survey->node[id], id, task, word)) {
            return id;
        }
    }
    return 0;
}

/* Whether the dead node, whose edge is of kind ANY, waits for this one of its tasks: that is dead, or another one that
 * is live does not do instead. */
static inline bool auri_waits_for_one(const struct auri_record *record, size_t i)
{
    return record->wait_any[i] != NULL &&
           (record->wait_formula == NULL || record->wait_formula->blocks[i]);
}

/* One look at everything, with the lock held.  False: what node `id` depends on has changed meanwhile. */
bool auri_survey_take(struct survey *survey, unsigned id);

/* The edge by which a dead node is on a cycle with the node that asked: the task that it waits for
 * (NULL: a helper of its map), which of several that is, and the node at the other end. */
auri_task *auri_survey_edge(const struct survey *survey, unsigned id, unsigned *ret_next,
                            size_t *ret_at);

/* Guards edges of kind ANY and JOB, and serialises verdicts (edge.c). */
void auri_graph_lock(void);
void auri_graph_unlock(void);

/* Blocks: until a victim that sleeps on the futex of a task has left that wait.  Without the lock. */
void auri_await_leave(struct auri_record *victim, uint64_t seq, _Atomic(uint32_t) *futex);

/* Fills *error: the cycle from node `first` back to it, one line per wait. */
void auri_survey_report(const struct survey *survey, unsigned first, aur_error *error);

#endif /* AURI_SCHED_SURVEY_H */
