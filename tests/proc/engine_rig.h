/* engine_rig.h: what the tests of the process engine share: pools, words that tasks and tests meet on, and
 * tasks that end their process. */
#ifndef AURT_ENGINE_RIG_H
#define AURT_ENGINE_RIG_H

#include "aurt.h"
#include "pools.h"

#include <auriga.h>
#include <signal.h>

#include "proc/internal.h"

static inline int add(int a, int b)
{
    return a + b;
}
AUR_FN(int, add, int, int);

enum { DIE_KILL, DIE_SEGV, DIE_EXIT, DIE_ABORT, DIE_NOT };
static inline int die(int how)
{
    switch (how) {
    case DIE_KILL:
        kill(getpid(), SIGKILL);
        break;
    case DIE_SEGV:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case DIE_EXIT:
        _exit(3);
    case DIE_ABORT:
        signal(SIGABRT, SIG_DFL);
        abort();
    default:
        break;
    }
    return how;
}
AUR_FN(int, die, int);

/* What tests and tasks share. */
struct words {
    aurt_event go;
    aurt_event begun;
    _Atomic(int) runs;
    _Atomic(int) pid;
};

static inline struct words *words_of(uint64_t id)
{
    void *data = NULL;
    size_t size = 0;

    AURT_CHECK(aur_buf_open(id, &data, &size) == AUR_OK && size >= sizeof(struct words));
    return data;
}

static inline int wait_go(uint64_t id)
{
    struct words *words = words_of(id);

    atomic_store(&words->pid, getpid());
    atomic_fetch_add(&words->runs, 1);
    aurt_event_set(&words->begun);
    aurt_event_wait(&words->go);
    return 7;
}
AUR_FN(int, wait_go, uint64_t);

static inline aur_pool *pool_with(uint32_t workers, aur_options opts)
{
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };

    opts.kind = AUR_PROCESSES;
    opts.workers = workers;
    aur_err err = aur_pool_new(&opts, &pool, &diag);
    if (err != AUR_OK) {
        fail_msg("aur_pool_new: %s, %s: %s", aur_err_name(err), diag.step, diag.text);
    }
    return pool;
}

static inline aur_pool *pool_of(uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;

    return pool_with(workers, opts);
}

/* The ring takes as many calls of fn as there are places, however busy the machine is. */
static inline void believe_short(aur_pool *pool, const aur_fn *fn)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < 64; i++) {
        auri_cost_learn(p, fn, 1, (uint64_t)i);
    }
    pthread_mutex_unlock(&p->lock);
}

static inline aur_buf *words_new(aur_pool *pool, struct words **ret_words)
{
    aur_buf *buf = NULL;

    AURT_OK(aur_buf_new(pool, sizeof(struct words), AUR_BUF_INOUT, &buf));
    *ret_words = aur_buf_data(buf);
    memset(*ret_words, 0, sizeof(**ret_words));
    return buf;
}

#endif /* AURT_ENGINE_RIG_H */
