/* What a node waits for, and the lock of those edges that point into the waiter's own memory. */
#include <pthread.h>

#include "plat/plat.h"
#include "sched/detect.h"
#include "sched/formula.h"
#include "sched/survey.h"

static pthread_mutex_t detect_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t dry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t detect_once = PTHREAD_ONCE_INIT;

/* In a fork child a lock may belong to a thread that does not exist there. */
static void after_fork_in_child(void)
{
    detect_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    dry_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void register_once(void)
{
    (void)aurp_at_fork_child(after_fork_in_child);
}

void auri_graph_lock(void)
{
    pthread_once(&detect_once, register_once);
    pthread_mutex_lock(&detect_lock);
}

void auri_graph_unlock(void)
{
    pthread_mutex_unlock(&detect_lock);
}

void auri_dry_lock(void)
{
    pthread_once(&detect_once, register_once);
    pthread_mutex_lock(&dry_lock);
}

void auri_dry_unlock(void)
{
    pthread_mutex_unlock(&dry_lock);
}

/* wait_seq becomes odd with a seq_cst store [E1], after the edge is written.  Then the waiter looks at
 * the others' edges (seq_cst loads [E2] here and in sched/wait.c): of all nodes of a cycle, the last in
 * the total order of these stores sees every other edge. */
static void publish(struct auri_record *node, uint32_t kind)
{
    auri_store_sc(&node->wait_kind, kind);
    auri_store_sc(&node->wait_seq, auri_load_rlx(&node->wait_seq) + 1);
}

void auri_edge_task(struct auri_record *node, auri_task *task, bool timed)
{
    auri_store_sc(&node->wait_task, task);
    publish(node, timed ? AURI_WAIT_TIMED : AURI_WAIT_TASK);
}

/* With the lock held. */
static void point_at(struct auri_record *node, auri_task *const *tasks, size_t n,
                     struct auri_formula *formula)
{
    node->wait_any = tasks;
    node->wait_any_n = n;
    node->wait_formula = formula;
}

void auri_edge_any(struct auri_record *node, auri_task *const *tasks, size_t n,
                   _Atomic(uint32_t) *futex, bool timed)
{
    auri_graph_lock();
    point_at(node, tasks, n, NULL);
    node->wait_futex = futex;
    node->wait_value = auri_load_acq(futex);
    if (n == 0) { /* for room somewhere: another one may take it first, so the word does not tell */
        auri_store_sc(&node->wait_task, NULL);
        publish(node, AURI_WAIT_TIMED);
    } else {
        publish(node, timed ? AURI_WAIT_TIMED_ANY : AURI_WAIT_ANY);
    }
    auri_graph_unlock();
}

/* Whether it waits for any of several; of its own wait, or with the lock held. */
static bool waits_for_any(const struct auri_record *node)
{
    uint32_t kind = auri_load_rlx(&node->wait_kind); /* relaxed: the caller's, or under the lock */

    return kind == AURI_WAIT_ANY || kind == AURI_WAIT_TIMED_ANY;
}

bool auri_edge_any_is_over(struct auri_record *node)
{
    auri_graph_lock();
    /* Under the lock such an edge stays, and its word with it. */
    bool over = (auri_load_acq(&node->wait_seq) & 1) != 0 && waits_for_any(node) &&
                auri_load_acq(node->wait_futex) != node->wait_value;
    auri_graph_unlock();
    return over;
}

void auri_edge_needs(struct auri_record *node, auri_task *const *tasks,
                     struct auri_formula *formula, _Atomic(uint32_t) *futex)
{
    auri_graph_lock();
    point_at(node, tasks, formula->ids, formula);
    node->wait_futex = futex;
    publish(node, AURI_WAIT_ANY);
    auri_graph_unlock();
}

void auri_edge_perhaps(struct auri_record *node, auri_task *const *tasks, size_t n)
{
    auri_graph_lock();
    point_at(node, tasks, n, NULL);
    publish(node, AURI_WAIT_PERHAPS);
    auri_graph_unlock();
}

void auri_edge_job(struct auri_record *node, struct auri_helpers *helpers)
{
    auri_graph_lock();
    node->wait_job = helpers;
    publish(node, AURI_WAIT_JOB);
    auri_graph_unlock();
}

void auri_edge_maps(struct auri_record *node, auri_task *const *maps, size_t n)
{
    for (size_t i = 0; i < AURI_WAIT_MAPS; i++) {
        auri_store_sc(&node->wait_maps[i], i < n ? maps[i] : NULL);
    }
}

void auri_edge_clear(struct auri_record *node)
{
    /* relaxed: only the node's own side writes it. */
    uint32_t kind = auri_load_rlx(&node->wait_kind);
    bool locked = waits_for_any(node) || kind == AURI_WAIT_JOB || kind == AURI_WAIT_PERHAPS;

    if (locked) {
        auri_graph_lock();
    }
    /* release: a reader that sees the even number knows only that the edge is gone. */
    auri_store_rel(&node->wait_seq, auri_load_rlx(&node->wait_seq) + 1);
    auri_store_rel(&node->wait_kind, AURI_WAIT_NONE);
    if (locked) {
        auri_graph_unlock();
    }
}

struct auri_edge auri_edge_take(struct auri_record *self)
{
    /* relaxed, all: only this thread writes them. */
    struct auri_edge edge = { .kind = AURI_WAIT_NONE };

    if ((auri_load_rlx(&self->wait_seq) & 1) != 0) {
        edge = (struct auri_edge){ auri_load_rlx(&self->wait_kind), auri_load_rlx(&self->wait_task),
                                   self->wait_any, self->wait_any_n, self->wait_futex };
        auri_edge_clear(self);
    }
    return edge;
}

void auri_edge_put(struct auri_record *self, const struct auri_edge *edge)
{
    if (edge->kind == AURI_WAIT_TASK) {
        auri_edge_task(self, edge->task, false);
    } else if (edge->kind == AURI_WAIT_ANY) {
        auri_edge_any(self, edge->any, edge->any_n, edge->futex, false);
    }
}
