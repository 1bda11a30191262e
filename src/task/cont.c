/* Continuations: what runs when a task is done.  A cold path, so a mutex: one of STRIPES, chosen by the
 * task's address.
 *
 * No continuation is lost: the adder, under the lock, sets CONTS by a CAS that fails if the task is
 * DONE, then links the node.  The finisher exchanges the word to DONE first, and takes the lock if it
 * sees CONTS; so it comes after the adder's critical section, or the adder's CAS came after the
 * exchange and failed. */
#include <pthread.h>

#include "task/internal.h"
#include "task/pool.h"
#include "task/task.h"

#define STRIPES 64u

#define M PTHREAD_MUTEX_INITIALIZER
#define M8 M, M, M, M, M, M, M, M
static pthread_mutex_t stripes[STRIPES] = { M8, M8, M8, M8, M8, M8, M8, M8 };
#undef M8
#undef M

void auri_conts_after_fork(void)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        stripes[i] = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    }
}

static pthread_mutex_t *stripe_of(const auri_task *task)
{
    return &stripes[task->index % STRIPES];
}

bool auri_cont_add(auri_task *task, struct auri_cont *cont)
{
    pthread_mutex_t *stripe = stripe_of(task);
    struct auri_cold *cold = auri_task_cold(task);
    bool added = false;

    pthread_mutex_lock(stripe);
    uint64_t word = auri_load_acq(&task->word); /* acquire: as auri_task_is_done() */
    while (auri_word_state(word) != AURI_DONE) {
        /* acq_rel; pairs with the exchange [D1] in publish_done(). */
        if (auri_cas_acqrel(&task->word, &word, word | AURI_F_CONTS)) {
            cont->next = cold->conts;
            cold->conts = cont;
            added = true;
            break;
        }
    }
    pthread_mutex_unlock(stripe);
    if (added && (word & AURI_F_HOLDS) != 0 && task->pool->backend->attend != NULL) {
        task->pool->backend->attend(task->pool, task); /* nobody may be waiting to make progress */
    }
    return added;
}

bool auri_cont_remove(auri_task *task, struct auri_cont *cont)
{
    pthread_mutex_t *stripe = stripe_of(task);
    bool removed = false;

    pthread_mutex_lock(stripe);
    for (struct auri_cont **at = &auri_task_cold(task)->conts; *at != NULL; at = &(*at)->next) {
        if (*at == cont) {
            *at = cont->next;
            removed = true;
            break;
        }
    }
    pthread_mutex_unlock(stripe);
    return removed;
}

void auri_conts_run(auri_task *task)
{
    pthread_mutex_t *stripe = stripe_of(task);
    struct auri_cont *oldest = NULL;

    pthread_mutex_lock(stripe);
    struct auri_cold *cold = auri_task_cold(task);
    struct auri_cont *cont = cold->conts;
    cold->conts = NULL; /* as in every task that is free */
    pthread_mutex_unlock(stripe);
    while (cont != NULL) { /* reverse: in the order they were added */
        struct auri_cont *next = cont->next;
        cont->next = oldest;
        oldest = cont;
        cont = next;
    }
    while (oldest != NULL) {
        struct auri_cont *next = oldest->next;
        oldest->fire(oldest, task);
        oldest = next;
    }
}
