/* The deadlock verdict.
 *
 * Question: can node `me` ever go on?  A node is *live* if it does not wait, or has a deadline, or
 *   waits for one task    which is not running (queued: its waiter, a worker or a spare will run it;
 *                         done) or runs on a live node; or it is a map in the hands of worker
 *                         processes, and those that wait inside an item of it are live
 *   waits for any         one of the tasks is such
 *   waits for what a      the formula is true of those tasks that are such: a worker process whose task needs
 *   formula says          several answers (sched/formula.h)
 *   waits for helpers     all of them are live
 * The live nodes are the least set closed under these rules; a node outside it waits, directly or not,
 * only for nodes outside it: it can never go on.  (Every change that could make a node live again is
 * made by a live node.)  So this covers cycles, and alternatives, in one rule.
 *
 * The graph is read while it changes.  A set of nodes outside the live set is accepted only if a second
 * look finds the same wait_seq for each and the same words of the tasks they wait for.  If nothing of
 * it changed between the looks, then at the moment between them all these waits existed together; and
 * a true deadlock cannot change, so a true one is always accepted.  No false alarm, none missed.
 *
 * A node outside the live set need not be on a cycle: it may wait for one that is.  It is given no
 * verdict; the last node to join that cycle gets one, and then this node can go on.  A node with a formula waits only
 * for those of its tasks that the formula lacks: the dead ones to which one comes from gate 0 over dead gates.  One
 * that is dead, but would not free it, is on no cycle with it.
 *
 * Dry pools: process pools all of whose workers wait, with no spare to be had (record.h).  A task in
 * the queue of one is run by a worker that gets on, or by one that waits, in place of its wait.  auri_detect()
 * does not tell these apart, since such a task can run.  auri_detect_dry() asks who has to do it: there a
 * task in the queue of a dry pool is live only if one of the pool's nodes is.  A dead node then depends on
 * every node of the pool, so that it depends on all that those wait for; and so it may run, in place of its
 * wait, whatever can be reached from it over dead nodes: the argument at the head of sched/wait.c.
 *
 * One mutex (edge.c) serialises verdicts, guards the edges of kind ANY and JOB (whose targets lie in the
 * waiter's own memory), and makes sure that one cycle has one victim: a victim counts as live. */
#include "sched/detect.h"

#include <stdlib.h>
#include <string.h>

#include "plat/plat.h"
#include "sched/survey.h"
#include "sched/wait.h"

#define LEAVE_SPINS 1000u /* looks at a victim's mark before whoever chose it sleeps between them */
#define LEAVE_NS UINT64_C(1000000)

/* ---- the verdict --------------------------------------------------------------------------- */

/* It is in a queue; or it is a map that was begun: if its pool is dry, what is left of it is in the queue, or in
 * the hands of its workers that wait (spare.c: nothing lands). */
static bool needs_pool(const auri_task *task, uint64_t word)
{
    return auri_word_state(word) == AURI_QUEUED ||
           (auri_word_state(word) == AURI_RUNNING && auri_word_owner(word) == 0 &&
            auri_task_map(task) != NULL);
}

static void look_at(struct look *look, struct auri_record *record, const struct survey *survey)
{
    memset(look, 0, sizeof(*look));
    look->live = true;
    if (record == NULL) {
        return;
    }
    look->asks = survey->unanswered && auri_load_acq(&record->asks) != NULL;
    look->dry = auri_load_sc(&record->dry); /* of a node that goes on, too: then its pool is live */
    look->seq = auri_load_sc(&record->wait_seq); /* [E2] */
    bool waits = (look->seq & 1) != 0;
    /* relaxed [V2]: marks are set under the lock that we hold [V1].  They name a wait: one for an earlier wait
     * is none for this, and one for this stays until it is over, which the second look sees. */
    if ((!waits && !look->asks) || /* who asks need have no edge */
        (waits && auri_load_rlx(&record->victim) == look->seq)) {
        return;
    }
    look->kind = waits ? auri_load_sc(&record->wait_kind) : AURI_WAIT_NONE;
    if (look->kind == AURI_WAIT_PERHAPS) {
        look->kind = survey->dry ? AURI_WAIT_ANY : AURI_WAIT_TIMED;
    }
    look->live = look->kind == AURI_WAIT_TIMED || look->kind == AURI_WAIT_TIMED_ANY ||
                 (look->kind == AURI_WAIT_NONE && !look->asks);
    look->stood = !look->live;
    for (unsigned i = 0; i < AURI_WAIT_MAPS; i++) {
        look->maps[i] = auri_load_sc(&record->wait_maps[i]);
    }
    if (look->kind == AURI_WAIT_TASK) {
        look->task = auri_load_sc(&record->wait_task);
        look->word = auri_load_sc(&look->task->word); /* type-stable: readable even if stale */
        if (survey->dry && needs_pool(look->task, look->word)) {
            look->queued =
                look->task->pool; /* stale: then the second look finds another wait_seq */
        }
    }
}

/* Whether a node of the pool is live, or it is not dry. */
static bool pool_is_live(const struct survey *survey, const struct aur_pool *pool)
{
    bool dry = false;

    for (unsigned id = 1; id < survey->end; id++) {
        if (survey->node[id].dry == pool) {
            dry = true;
            if (survey->node[id].live) {
                return true;
            }
        }
    }
    return !dry;
}

/* queued: its pool, if it is queued and that counts. */
static bool task_is_live(const struct survey *survey, const auri_task *task, uint64_t word,
                         const struct aur_pool *queued)
{
    return auri_survey_holder(survey, task, word) == 0 &&
           (queued == NULL || pool_is_live(survey, queued));
}

/* For a task of an ANY edge. */
static struct aur_pool *queue_of(const struct survey *survey, const auri_task *task, uint64_t word)
{
    return survey->dry && needs_pool(task, word) ? task->pool : NULL;
}

/* ANY and JOB targets may be read because their edges change under detect_lock only.  (The edge may be
 * newer than the look; then the second look finds another wait_seq.) */
static bool any_is_live(const struct survey *survey, const struct auri_record *record, bool asks)
{
    struct auri_formula *formula = record->wait_formula;

    for (size_t i = 0; i < record->wait_any_n; i++) {
        auri_task *task = record->wait_any[i];
        uint64_t word = task != NULL ? auri_load_sc(&task->word) : 0;
        bool counts = task != NULL &&
                      !(asks && auri_task_is_untold(task) && auri_word_state(word) == AURI_RUNNING);
        bool live = counts && task_is_live(survey, task, word, queue_of(survey, task, word));
        if (formula != NULL) {
            formula->live[i] = live;
        } else if (live) {
            return true;
        }
    }
    return formula != NULL && auri_formula_solve(formula);
}

static bool helpers_are_live(const struct survey *survey, struct auri_record *record)
{
    for (unsigned i = 0; i < AURI_HELPERS_MAX; i++) {
        uint32_t id = auri_load_sc(&record->wait_job->id[i]);
        if (id != 0 && id < survey->end && !survey->node[id].live) {
            return false;
        }
    }
    return true;
}

static bool becomes_live(const struct survey *survey, unsigned id)
{
    const struct look *look = &survey->node[id];
    struct auri_record *record = auri_record_at(id);

    if (look->asks && look->kind != AURI_WAIT_ANY) {
        return false;
    }
    if (look->kind == AURI_WAIT_TASK) {
        return task_is_live(survey, look->task, look->word, look->queued);
    }
    if (auri_load_sc(&record->wait_seq) != look->seq) {
        return true; /* moved on: its targets may be gone */
    }
    return look->kind == AURI_WAIT_ANY ? any_is_live(survey, record, look->asks)
                                       : helpers_are_live(survey, record);
}

/* The least fixpoint. */
static void close_live_set(struct survey *survey)
{
    bool changed = true;

    while (changed) {
        changed = false;
        for (unsigned id = 1; id < survey->end; id++) {
            if (!survey->node[id].live && becomes_live(survey, id)) {
                survey->node[id].live = true;
                changed = true;
            }
        }
    }
}

/* The second look: every node outside the live set still waits as it did. */
static bool still_holds(const struct survey *survey)
{
    for (unsigned id = 1; id < survey->end; id++) {
        const struct look *look = &survey->node[id];
        if (look->live) {
            continue;
        }
        struct auri_record *record = auri_record_at(id);
        if (auri_load_sc(&record->wait_seq) != look->seq) {
            return false;
        }
        if (survey->dry && auri_load_sc(&record->dry) != look->dry) {
            return false;
        }
        uint64_t word = look->task != NULL ? auri_load_sc(&look->task->word) : look->word;
        if (auri_owner_of(word) != auri_owner_of(look->word) ||
            auri_word_state(word) != auri_word_state(look->word)) {
            return false;
        }
    }
    return true;
}

/* ---- who gives up -------------------------------------------------------------------------- */

/* Whether node `to` is dead, and `from` waits for it by one edge. */
static bool waits_for(const struct survey *survey, unsigned from, unsigned to)
{
    const struct look *look = &survey->node[from];
    const struct look *target = &survey->node[to];
    struct auri_record *record = auri_record_at(from);

    if (look->live || target->live) {
        return false;
    }
    if (look->kind == AURI_WAIT_TASK) {
        return auri_held_up_by(target, to, look->task, look->word);
    }
    if (look->kind == AURI_WAIT_ANY) {
        for (size_t i = 0; i < record->wait_any_n; i++) {
            auri_task *task = record->wait_any[i];
            if (auri_waits_for_one(record, i) &&
                auri_held_up_by(target, to, task, auri_load_sc(&task->word))) {
                return true;
            }
        }
        return false;
    }
    for (unsigned i = 0; look->kind == AURI_WAIT_JOB && i < AURI_HELPERS_MAX; i++) {
        if (auri_load_sc(&record->wait_job->id[i]) == to) {
            return true;
        }
    }
    return false;
}

/* Marks the nodes from which `to` can be reached over dead nodes, by one edge or more. */
static void mark_reaching(struct survey *survey, unsigned to)
{
    bool changed = true;

    for (unsigned id = 1; id < survey->end; id++) {
        survey->node[id].reaches = waits_for(survey, id, to);
    }
    while (changed) {
        changed = false;
        for (unsigned id = 1; id < survey->end; id++) {
            for (unsigned next = 1;
                 next < survey->end && !survey->node[id].reaches && !survey->node[id].live;
                 next++) {
                if (survey->node[next].reaches && waits_for(survey, id, next)) {
                    survey->node[id].reaches = true;
                    changed = true;
                }
            }
        }
    }
}

/* A node that can give up (it waits for a task or for any of several), on a cycle with `first`, the
 * nearest on the way that the report would take.  0: there is none. */
static unsigned choose_victim(const struct survey *survey, unsigned first)
{
    unsigned id = first;
    size_t at;

    for (unsigned steps = survey->end; steps > 0 && id != 0; steps--) {
        const struct look *look = &survey->node[id];
        if (look->reaches && (look->kind == AURI_WAIT_TASK || look->kind == AURI_WAIT_ANY)) {
            return id;
        }
        (void)auri_survey_edge(survey, id, &id, &at);
    }
    return 0;
}

static void note_blamed(const struct survey *survey, unsigned id)
{
    unsigned next;

    (void)auri_survey_edge(survey, id, &next, &auri_record_at(id)->victim_at);
}

/* Marks another node as the victim, and interrupts its sleep.  The mark comes first (release; pairs with
 * the acquire load in auri_record_is_victim()); then the word that the node sleeps on changes: if the node has
 * read the word before that, it does not fall asleep; if after, it sees the mark before it sleeps.  A wait
 * for a task may be over by now, if a worker process on the cycle has died since the second look: then the
 * mark is for nobody. */
static void interrupt(const struct survey *survey, unsigned id)
{
    struct auri_record *record = auri_record_at(id);
    const struct look *look = &survey->node[id];
    _Atomic(uint32_t) *futex = record->wait_futex;

    auri_survey_report(survey, id, &record->victim_error);
    note_blamed(survey, id);
    auri_store_rel(&record->victim, look->seq); /* [V1] */
    if (look->kind == AURI_WAIT_TASK) {
        futex = auri_task_futex(look->task);
        uint64_t word = auri_load_rlx(&look->task->word); /* relaxed: the CAS decides */
        while (auri_word_state(word) == AURI_RUNNING &&
               !auri_cas_acqrel(&look->task->word, &word, word ^ AURI_F_POKE)) {
        }
    } else {
        auri_add_acqrel(futex, 1u); /* its users only compare it */
    }
    aurp_futex_wake(futex, INT32_MAX, AURP_PRIVATE);
}

/* A victim that sleeps on a task's word, and has to leave. */
struct leaver {
    struct auri_record *victim; /* NULL: there is none */
    uint64_t seq;
    _Atomic(uint32_t) *futex;
};

/* POKE is one bit.  If it changes twice between a victim's look at the word and its sleep (once for an
 * earlier wait of it, or for another victim that waits for the same task), the word is as it was, and the
 * victim sleeps with its mark.  So whoever chose it does not go before it has seen the mark: once it sleeps
 * in the kernel, each of these wakes reaches it.  Without the lock, which the victim takes on its way out; the
 * caller is about to wait for the victim anyway, and has nothing that it needs.  A worker process leaves when
 * its parent looks at the mark, at the next tick. */
void auri_await_leave(struct auri_record *victim, uint64_t seq, _Atomic(uint32_t) *futex)
{
    for (unsigned n = 0; auri_load_sc(&victim->wait_seq) == seq; n++) {
        aurp_futex_wake(futex, INT32_MAX, AURP_PRIVATE);
        if (n < LEAVE_SPINS) {
            auri_cpu_relax();
        } else {
            /* The low half; nobody wakes us. */
            (void)aurp_futex_wait((_Atomic(uint32_t) *)(void *)&victim->wait_seq, (uint32_t)seq,
                                  aurp_now_ns() + LEAVE_NS, AURP_PRIVATE);
        }
    }
}

/* The node cannot go on.  AUR_EDEADLK if it is to give up its wait.  *ret_victim: another node that is to,
 * or 0. */
static aur_err judge(struct survey *survey, struct auri_record *node, aur_error *reterr_error,
                     unsigned *ret_victim)
{
    mark_reaching(survey, node->id);
    if (!survey->node[node->id].reaches) {
        return AUR_OK; /* it waits for a cycle, whose last node gets the verdict */
    }
    if (survey->node[node->id].kind != AURI_WAIT_JOB) {
        if (reterr_error != NULL) {
            auri_survey_report(survey, node->id, reterr_error);
        }
        note_blamed(survey, node->id);
        /* release [V1]; pairs with the acquire load in auri_record_is_victim(). */
        auri_store_rel(&node->victim, survey->node[node->id].seq);
        return AUR_EDEADLK;
    }
    *ret_victim = choose_victim(survey, node->id);
    if (*ret_victim != 0) {
        interrupt(survey, *ret_victim);
    }
    return AUR_EDEADLK;
}

void auri_victim_error(struct auri_record *self, aur_error *ret_error)
{
    auri_graph_lock();
    *ret_error = self->victim_error;
    auri_graph_unlock();
}

size_t auri_victim_at(struct auri_record *node)
{
    auri_graph_lock();
    size_t at = node->victim_at;
    auri_graph_unlock();
    return at;
}

/* Nodes that no answer would free are on a cycle of this process, or wait for one, and its verdict is about to free
 * them: so they count as nodes that go on. */
static void spare_cycles(struct survey *survey)
{
    for (unsigned id = 1; id < survey->end; id++) {
        survey->node[id].live |= survey->node[id].asks;
    }
    close_live_set(survey);
    for (unsigned id = 1; id < survey->end; id++) {
        struct look *look = &survey->node[id];
        look->live = !look->live || !look->stood;
    }
}

bool auri_survey_take(struct survey *survey, unsigned id)
{
    for (unsigned i = 0; i < survey->end; i++) {
        look_at(&survey->node[i], auri_record_at(i), survey);
    }
    if (survey->unanswered) {
        spare_cycles(survey);
    }
    close_live_set(survey);
    return survey->node[id].live || still_holds(survey);
}

/* One of those elsewhere who are asked.  NULL: nobody asks. */
static const struct auri_backend *asked_backend(unsigned end)
{
    const struct auri_backend *backend = NULL;

    for (unsigned id = 1; id < end && backend == NULL; id++) {
        const struct auri_record *record = auri_record_at(id);
        /* seq_cst; pairs with mark() in proc/turns.c: see there. */
        backend = record != NULL ? auri_load_sc(&((struct auri_record *)record)->asks) : NULL;
    }
    return backend;
}

static aur_err detect(struct auri_record *node, aur_error *reterr_error, struct leaver *ret_leaver)
{
    struct survey survey = { 0 };
    aur_err verdict = AUR_OK;
    unsigned victim = 0;

    auri_graph_lock();
    survey.end = auri_record_end();
    survey.node = calloc(survey.end, sizeof(*survey.node));
    if (survey.node != NULL) { /* else no verdict is given, and the wait goes on */
        while (!auri_survey_take(&survey, node->id)) {
            /* Somebody moved between the looks.  Each round is paid for by that progress. */
        }
        if (!survey.node[node->id].live) {
            verdict = judge(&survey, node, reterr_error, &victim);
        }
    }
    const struct auri_backend *asked = asked_backend(survey.end);
    auri_graph_unlock();
    if (asked != NULL) {
        asked->recall();
    }
    if (victim != 0 && survey.node[victim].kind == AURI_WAIT_TASK) {
        *ret_leaver = (struct leaver){ auri_record_at(victim), survey.node[victim].seq,
                                       auri_task_futex(survey.node[victim].task) };
    }
    free(survey.node);
    return verdict;
}

aur_err auri_detect(struct auri_record *node, aur_error *reterr_error)
{
    struct leaver leaver = { 0 };

    return detect(node, reterr_error, &leaver);
}

void auri_detect_owner(struct auri_record *self)
{
    struct leaver leaver = { 0 };

    (void)detect(self, NULL, &leaver);
    if (leaver.victim != NULL) {
        auri_await_leave(leaver.victim, leaver.seq, leaver.futex);
    }
}

/* ---- dry pools ----------------------------------------------------------------------------- */

/* Marks the nodes that a dead node waits for; of a task in the queue of a dry pool that is all of the pool's.
 * True: there is a new one.  Notes in *ret the task that `node` may run: one of its own pool. */
static bool mark_task(struct survey *survey, unsigned from, auri_task *task, uint64_t word,
                      const struct auri_record *node, struct auri_stuck *ret)
{
    const struct aur_pool *queued = queue_of(survey, task, word);
    bool news = false;

    if (queued != NULL && queued == survey->node[node->id].dry && ret->task == NULL &&
        ret->takes(ret->pool, task)) {
        ret->task = task;
        ret->waiter = auri_record_at(from);
        ret->seq = survey->node[from].seq;
    }
    for (unsigned id = 1; id < survey->end; id++) {
        struct look *look = &survey->node[id];
        if (auri_held_up_by(look, id, task, word) || (queued != NULL && look->dry == queued)) {
            news |= !look->reaches;
            look->reaches = true;
            /* Only now its pool is known to have something that it could run. */
            look->serves |= queued != NULL;
        }
    }
    return news;
}

static bool mark_from(struct survey *survey, unsigned from, const struct auri_record *node,
                      struct auri_stuck *ret)
{
    const struct look *look = &survey->node[from];
    struct auri_record *record = auri_record_at(from);
    bool news = false;

    if (look->kind == AURI_WAIT_TASK) {
        return mark_task(survey, from, look->task, look->word, node, ret);
    }
    for (size_t i = 0; look->kind == AURI_WAIT_ANY && i < record->wait_any_n; i++) {
        auri_task *task = record->wait_any[i];
        if (auri_waits_for_one(record, i)) {
            news |= mark_task(survey, from, task, auri_load_sc(&task->word), node, ret);
        }
    }
    for (unsigned i = 0; look->kind == AURI_WAIT_JOB && i < AURI_HELPERS_MAX; i++) {
        uint32_t id = auri_load_sc(&record->wait_job->id[i]);
        if (id != 0 && id < survey->end && !survey->node[id].reaches) {
            survey->node[id].reaches = news = true;
        }
    }
    return news;
}

/* ... and then all that these wait for; news: there are some. */
static void mark_on(struct survey *survey, const struct auri_record *node, struct auri_stuck *ret,
                    bool news)
{
    while (news) {
        news = false;
        for (unsigned id = 1; id < survey->end; id++) {
            if (survey->node[id].reaches) {
                news |= mark_from(survey, id, node, ret);
            }
        }
    }
}

/* Which of the tasks leads back to the node itself.  The others may come yet. */
static size_t blamed_by_queues(struct survey *survey, const struct auri_record *node,
                               struct auri_stuck *ret)
{
    size_t at = 0;

    for (; node->wait_formula != NULL && at + 1 < node->wait_any_n; at++) {
        auri_task *task = node->wait_any[at];
        for (unsigned id = 1; id < survey->end; id++) {
            survey->node[id].reaches = false;
        }
        if (auri_waits_for_one(node, at)) {
            mark_on(survey, node, ret,
                    mark_task(survey, node->id, task, auri_load_sc(&task->word), node, ret));
        }
        if (survey->node[node->id].reaches) {
            break;
        }
    }
    return at;
}

/* The node is dead: who can do something about it? */
static enum auri_dry_verdict judge_dry(struct survey *survey, struct auri_record *node,
                                       struct auri_stuck *ret)
{
    bool queues = false;
    bool others = false;

    mark_on(survey, node, ret, mark_from(survey, node->id, node, ret));
    if (ret->task != NULL && auri_load_sc(&node->dry_room) != 0) {
        return AURI_DRY_RUN;
    }
    for (unsigned id = 1; id < survey->end; id++) {
        const struct look *look = &survey->node[id];
        bool serves = look->reaches && look->serves;
        queues |= serves;
        others |= serves && id != node->id && auri_load_sc(&auri_record_at(id)->dry_room) != 0;
    }
    /* Without a queue it is a cycle as any other: its last node gets AUR_EDEADLK, and may not have asked yet. */
    if (others || !queues || !survey->node[node->id].reaches) {
        return AURI_DRY_OTHERS;
    }
    node->victim_at = blamed_by_queues(survey, node, ret);
    return AURI_DRY_NOBODY;
}

enum auri_dry_verdict auri_detect_dry(struct auri_record *node, struct auri_stuck *ret)
{
    struct survey survey = { .dry = true };
    enum auri_dry_verdict verdict = AURI_DRY_LIVE;

    ret->task = NULL;
    auri_graph_lock();
    survey.end = auri_record_end();
    survey.node = calloc(survey.end, sizeof(*survey.node));
    if (survey.node != NULL) { /* else somebody asks again */
        /* It reads the words of an any-wait's tasks once more: who takes one of these meanwhile has gone on, so
         * that the survey does not hold, and the task would be missed in it. */
        do {
            while (!auri_survey_take(&survey, node->id)) {
                /* As above. */
            }
            ret->task = NULL;
            verdict = survey.node[node->id].live ? AURI_DRY_LIVE : judge_dry(&survey, node, ret);
        } while (verdict == AURI_DRY_NOBODY && !still_holds(&survey));
    }
    auri_graph_unlock();
    free(survey.node);
    return verdict;
}
