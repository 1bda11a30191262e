/* Waits for any of several where nobody tells when some of them are done (task/pool.h: await_any). */
#include "sched/detect.h"
#include "sched/wait.h"

/* AUR_END: it is no use to ask any more. */
static aur_err ask_for_any(const struct auri_backend *backend, _Atomic(uint32_t) *word,
                           uint32_t value, auri_task *const *tasks, size_t n, aur_deadline deadline)
{
    struct auri_record *self = auri_self();
    aur_err err = AUR_OK;

    if (self == NULL) {
        return AUR_EAGAIN;
    }
    /* What nobody here knows can be done as far as this process can tell, so no verdict comes of this edge.  Whoever
     * is asked has a graph of its own, and is told what this one says (auri_detect_needs_answer). */
    auri_edge_any(self, tasks, n, word, deadline != AUR_NO_DEADLINE);
    bool over = auri_load_acq(word) != value; /* as in auri_wait_word() */
    bool compensate = !over && auri_needs_substitute(self);
    if (compensate) {
        err = auri_block(self);
        compensate = err == AUR_OK;
    }
    /* What was done by the answer has counted the word up (its continuation did). */
    while (err == AUR_OK && auri_load_acq(word) == value) {
        err = backend->await_any(tasks, n, word, value, deadline);
    }
    if (compensate) {
        auri_unblock(self);
    }
    auri_edge_clear(self);
    return err;
}

aur_err auri_wait_word_asking(_Atomic(uint32_t) *word, uint32_t value, auri_task *const *tasks,
                              size_t n, aur_deadline deadline)
{
    const struct auri_backend *backend = NULL; /* a process has but one of this kind */
    aur_err err = AUR_END;

    for (size_t i = 0; i < n && backend == NULL; i++) {
        backend = auri_task_is_untold(tasks[i]) ? tasks[i]->pool->backend : NULL;
    }
    if (backend != NULL) {
        err = ask_for_any(backend, word, value, tasks, n, deadline);
    }
    if (auri_load_acq(word) != value) {
        return AUR_OK;
    }
    return err == AUR_END ? auri_wait_word(word, value, tasks, n, deadline) : err;
}
