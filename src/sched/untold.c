/* Waits for any of several where nobody tells when some of them are done (task/pool.h: await_any). */
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
    /* No edge: who waits for what nobody here knows can go on as far as this process can tell.  Whoever is
     * asked has a graph of its own. */
    bool compensate = auri_needs_substitute(self);
    if (compensate) {
        err = auri_block(self);
        compensate = err == AUR_OK;
    }
    /* What was done by the answer has counted the word up (its continuation did). */
    while (err == AUR_OK && auri_load_acq(word) == value) {
        err = backend->await_any(tasks, n, deadline);
    }
    if (compensate) {
        auri_unblock(self);
    }
    return err;
}

aur_err auri_wait_word_asking(_Atomic(uint32_t) *word, uint32_t value, auri_task *const *tasks,
                              size_t n, aur_deadline deadline)
{
    const struct auri_backend *backend = NULL; /* a process has but one of this kind */
    bool told = false;
    aur_err err = AUR_END;

    for (size_t i = 0; i < n; i++) {
        if (auri_task_is_untold(tasks[i])) {
            backend = tasks[i]->pool->backend;
        } else {
            told = true;
        }
    }
    if (backend != NULL) {
        err = ask_for_any(backend, word, value, tasks, n, deadline);
    }
    if (auri_load_acq(word) != value) {
        return AUR_OK;
    }
    return err == AUR_END || (err == AUR_EDEADLK && told)
               ? auri_wait_word(word, value, tasks, n, deadline)
               : err;
}
