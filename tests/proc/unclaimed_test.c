/* Goal:    what kills worker after worker before it is begun is given up, and nothing else with it.
 * Method:  while the pool's lock is held, what a new worker was given before its hello is taken back, and the
 *          worker is stopped after it.  So it gets the entry again then, and dies with it at the head of its
 *          ring.
 * Guards:  is_deadly() in src/proc/judge.c: such an entry is queued again after the first deaths, an attempt
 *          for nobody, and lost with the third.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "pools.h"

#include <signal.h>

#include "proc/internal.h"

enum { LIVES = AURI_UNCLAIMED_MAX + 1 };

static struct shared {
    _Atomic(int) inits;
    _Atomic(int) pids[LIVES];
    aurt_event born[LIVES];
    aurt_event may_say_hello[LIVES];
    _Atomic(int) runs;
} * shared;

static int life(void *ctx, int worker)
{
    int at = atomic_fetch_add(&shared->inits, 1);

    (void)ctx;
    (void)worker;
    AURT_CHECK(at < LIVES);
    atomic_store(&shared->pids[at], (int)getpid());
    aurt_event_set(&shared->born[at]);
    aurt_event_wait(&shared->may_say_hello[at]);
    return 0;
}

static int plus_one(int x)
{
    atomic_fetch_add(&shared->runs, 1);
    return x + 1;
}
AUR_FN(int, plus_one, int);

/* Sends SIGSTOP, and returns when the process has stopped. */
static void stop(int pid)
{
    char path[32];
    char state = '?';

    AURT_CHECK(kill(pid, SIGSTOP) == 0);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    while (state != 'T') {
        FILE *stat = fopen(path, "re");
        AURT_CHECK(stat != NULL && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
        fclose(stat);
        sched_yield();
    }
}

/* The worker number `at` says hello, gets what is in the queue, and dies before it begins that. */
static void die_unclaimed(struct auri_proc *p, int at)
{
    int pid;
    bool told = false;

    aurt_event_wait(&shared->born[at]);
    pid = atomic_load(&shared->pids[at]);
    pthread_mutex_lock(&p->lock);
    struct auri_worker *w = p->slots[0].worker;
    AURT_CHECK(w != NULL && w->ctl != NULL);
    auri_revoke_from(p, w, w->head);
    aurt_event_set(&shared->may_say_hello[at]);
    while (auri_load_acq(&w->ctl->hello) != AURI_HELLO_READY ||
           (auri_unanswered(w) != 0 && !auri_answered(w, w->tail - 1))) {
        sched_yield();
    }
    stop(pid);
    pthread_mutex_unlock(&p->lock);
    while (!told) { /* the guardian dispatches at its next look */
        sched_yield();
        pthread_mutex_lock(&p->lock);
        told = auri_unanswered(w) > w->revoked;
        pthread_mutex_unlock(&p->lock);
    }
    AURT_CHECK(kill(pid, SIGKILL) == 0);
}

static aur_pool *pool_new(void)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    memset(shared, 0, sizeof(*shared));
    aurt_event_set(&shared->may_say_hello[LIVES - 1]);
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES;
    opts.retries = 2; /* no help: it was never begun */
    opts.worker_init = life;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

static void check_stats(aur_pool *pool, uint64_t done, uint64_t failed)
{
    aur_stats stats = { .size = sizeof(stats) };

    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.deaths, AURI_UNCLAIMED_MAX);
    assert_int_equal(stats.done, done);
    assert_int_equal(stats.failed, failed);
    assert_int_equal(stats.retried, 0);
    aur_pool_unref(pool);
}

static void test_call(void **state)
{
    aur_pool *pool = pool_new();
    aur_future *futures[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], plus_one, i));
    }
    for (int at = 0; at < AURI_UNCLAIMED_MAX; at++) {
        assert_false(aur_future_done(futures[0]));
        die_unclaimed(auri_proc_of(pool), at);
    }
    AURT_ERR(AUR_EWORKER, aur_future_outcome(futures[0], AUR_NO_DEADLINE));
    assert_int_equal(aur_future_error(futures[0])->signal, SIGKILL);
    assert_string_equal(aur_future_error(futures[0])->function, "plus_one");
    for (int i = 1; i < 3; i++) {
        int v = 0;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i + 1);
    }
    assert_int_equal(atomic_load(&shared->runs), 2);
    for (int i = 0; i < 3; i++) {
        aur_future_unref(futures[i]);
    }
    check_stats(pool, 2, 1);
}

static void test_map(void **state)
{
    enum { N = 5 };
    aur_pool *pool = pool_new();
    aur_call_options all = AUR_CALL_OPTIONS_INIT;
    aur_future *future;
    aur_err errs[N];
    int in[N] = { 0, 1, 2, 3, 4 };
    int out[N] = { 0 };

    (void)state;
    all.flags = AUR_CALL_ALL_ERRORS;
    all.item_errs = errs;
    AURT_OK(aur_map_async_with(pool, &all, &future, plus_one, in, N, out));
    for (int at = 0; at < AURI_UNCLAIMED_MAX; at++) {
        assert_false(aur_future_done(future));
        die_unclaimed(auri_proc_of(pool), at);
    }
    AURT_ERR(AUR_EWORKER, aur_future_outcome(future, AUR_NO_DEADLINE));
    assert_int_equal(aur_future_error(future)->item, 0);
    assert_int_equal(aur_future_error(future)->signal, SIGKILL);
    for (int i = 0; i < N; i++) {
        assert_int_equal(errs[i], i == 0 ? AUR_EWORKER : AUR_OK);
        assert_int_equal(out[i], i == 0 ? 0 : i + 1);
    }
    assert_int_equal(atomic_load(&shared->runs), N - 1);
    aur_future_unref(future);
    check_stats(pool, 0, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_map),
    };

    shared = aurt_shared(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
