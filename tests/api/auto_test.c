/* Goal:    AUR_AUTO: calls go where the verdict on their function says, that is explained, and all verbs
 *          and ends of the pool work wherever that is.
 * Method:  the verdicts are made up, since what a call costs depends on the machine; how they follow
 *          from costs is tested in tests/unit/pool/verdict_test.c.  Real calls are measured all the
 *          while, but too few to change a verdict: one in 64, and four are needed.
 * Guards:  src/pool/auto.c. */
#include "auto_rig.h"

#include <pthread.h>
#include <signal.h>

#define BURST 24

/* In the thread of the test. */
static _Thread_local bool in_main;
static aur_pool *outer;

static int cheap(int x)
{
    return in_main ? x : -1;
}
AUR_FN(int, cheap, int);

static aurt_barrier meeting;

static int meets(int x)
{
    aurt_barrier_wait(&meeting);
    return x;
}
AUR_FN(int, meets, int);

static int ends_thread(int x)
{
    if (x != 0) {
        pthread_exit(NULL);
    }
    return x;
}
AUR_FN(int, ends_thread, int);

enum { PID, DIE, CURRENT, INHERITED, BUFFER };

static int64_t nested(aur_pool *pool);

static int64_t where(int what, uint64_t buffer)
{
    void *data = NULL;
    size_t size = 0;

    if (what == DIE && aur_worker_index() >= 0 && buffer != (uint64_t)getpid()) {
        raise(SIGKILL);
    }
    if (what == CURRENT || what == INHERITED) {
        return nested(what == CURRENT ? aur_pool_current() : outer);
    }
    if (what == BUFFER) {
        aur_err err = aur_buf_open(buffer, &data, &size);
        if (err != AUR_OK) {
            return -(int64_t)err;
        }
        memset(data, 7, size);
    }
    return getpid();
}
AUR_FN(int64_t, where, int, uint64_t);

static int64_t nested(aur_pool *pool)
{
    int64_t pid = 0;
    aur_err err = aur_apply(pool, &pid, where, PID, 0);

    return err == AUR_OK ? pid : -(int64_t)err;
}

static aur_pool *auto_pool(uint32_t workers, uint32_t flags)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = AUR_AUTO;
    opts.workers = workers;
    opts.flags = flags;
    in_main = true;
    outer = aurt_pool_with(&opts);
    return outer;
}

static bool explains(aur_pool *pool, const char *part)
{
    char text[8192];
    size_t length = aur_pool_explain(pool, text, sizeof(text));

    assert_true(length < sizeof(text));
    assert_int_equal(length, strlen(text));
    return strstr(text, part) != NULL;
}

static void fill(uint64_t lo, uint64_t hi, int **out)
{
    for (uint64_t i = lo; i < hi; i++) {
        (*out)[i] = (int)i;
    }
}
AUR_RANGE_FN(fill, int *);

static void test_cheap(void **state)
{
    aur_pool *pool = auto_pool(2, 0);

    (void)state;
    decide(pool, &cheap_aur_fn, AURI_TO_LOOP);
    for (int i = 0; i < 100; i++) {
        AUR_SCOPED(aur_future) *future = NULL;
        int v = 0;
        AURT_OK(aur_apply_async(pool, &future, cheap, i));
        assert_true(aur_future_done(future)); /* without a wait, which might run it here as well */
        AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i);
    }
    assert_true(explains(pool, "cheap: "));
    assert_true(explains(pool, "it runs in the thread that submits it"));
    assert_true(explains(pool, "No worker processes were needed so far."));
    aurt_pool_end(pool);
}

/* Where waits do not run calls, submits do not either, whatever they cost. */
static void test_no_help(void **state)
{
    aur_pool *pool = auto_pool(2, AUR_POOL_NO_HELP);

    (void)state;
    for (int i = 0; i < 200; i++) {
        int v = 0;
        AURT_OK(aur_apply(pool, &v, cheap, 5));
        assert_int_equal(v, -1);
    }
    assert_false(explains(pool, "in the thread that submits it"));
    aurt_pool_end(pool);
}

/* Two workers, and more where these wait. */
static void test_waits(void **state)
{
    aur_pool *pool = auto_pool(2, 0);
    aur_future *future[5];

    (void)state;
    decide(pool, &meets_aur_fn, AURI_WAITS);
    assert_true(explains(pool, "it runs in threads: it waits most of the time"));
    meeting.parties = 5;
    for (int i = 0; i < 5; i++) {
        AURT_OK(aur_apply_async(pool, &future[i], meets, i));
    }
    for (int i = 0; i < 5; i++) {
        int v = -1;
        AURT_OK(aur_future_result(future[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i);
        aur_future_unref(future[i]);
    }
    aurt_pool_end(pool);
}

/* Each call is measured while nothing is decided, and of those that end their thread the end is, too. */
static void test_measured(void **state)
{
    aur_pool *pool = auto_pool(2, AUR_POOL_NO_HELP);
    struct auri_verdict *verdict = auri_auto_verdict(pool, &ends_thread_aur_fn);
    int v = -1;

    (void)state;
    for (int i = 0; i < 7; i++) { /* too few for a decision */
        AURT_OK(aur_apply(pool, &v, ends_thread, 0));
        assert_int_equal(v, 0);
        AURT_ERR(AUR_EEXITED, aur_apply(pool, &v, ends_thread, 1));
    }
    assert_int_equal(atomic_load(&verdict->alone.n) + atomic_load(&verdict->together.n), 14);
    assert_int_equal((uint32_t)atomic_load(&verdict->running), 0);
    assert_false(explains(pool, "ends_thread: "));
    aurt_pool_end(pool);
}

/* The pieces of maps are measured as well, but not those of loops, which never go to processes. */
static void test_measured_map(void **state)
{
    aur_pool *pool = auto_pool(2, 0);
    int in[15] = { 0 }; /* so that its pieces are too few for a decision, which clears the sums */
    int out[15];
    int *at = out;
    struct auri_verdict *verdict = auri_auto_verdict(pool, &ends_thread_aur_fn);
    struct auri_verdict *loop = auri_auto_verdict(pool, &fill_aur_fn);

    (void)state;
    AURT_OK(aur_map(pool, ends_thread, in, 15, out));
    uint64_t n = atomic_load(&verdict->alone.n) + atomic_load(&verdict->together.n);
    assert_true(n >= 1 && n <= 15);
    assert_int_equal((uint32_t)atomic_load(&verdict->running), 0);
    AURT_OK(aur_for(pool, 0, 15, fill, &at));
    assert_int_equal(atomic_load(&loop->alone.n) + atomic_load(&loop->together.n), 0);
    assert_int_equal(out[14], 14);
    aurt_pool_end(pool);
}

static void test_bad_input(void **state)
{
    aur_pool *pool = auto_pool(1, 0);
    aur_fn broken = where_aur_fn;
    int64_t pid;

    (void)state;
    broken.range = NULL;
    AURT_ERR(AUR_EINVAL, aur_fn_call(pool, NULL, &broken, &(struct where_args){ 0 }, &pid, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_call(pool, NULL, NULL, &(struct where_args){ 0 }, &pid, NULL));
    AURT_ERR(AUR_EINVAL, aur_fn_call(pool, NULL, &where_aur_fn, NULL, &pid, NULL));
    assert_int_equal(aur_pool_explain(NULL, NULL, 0), 0);
    assert_true(aur_pool_explain(pool, NULL, 0) > 0);
    aurt_pool_end(pool);
}

#ifndef AURT_NO_PROCESSES

static void *foreign(void *go)
{
    aurt_event_wait(go);
    return NULL;
}

/* A call of a function that is for processes, with no other under way; the next after one in 64 that
 * stays in a thread to be measured. */
static int64_t call_calmly(aur_pool *pool)
{
    int64_t pid = 0;

    for (int i = 0; i < 2; i++) {
        wait_idle(pool);
        AURT_OK(aur_apply(pool, &pid, where, PID, 0));
        if (pid != getpid()) {
            break;
        }
    }
    return pid;
}

/* A thread that is not the library's speaks against a fork: all stay in threads, and that is said. */
static void test_refused(void **state)
{
    aur_pool *pool = auto_pool(3, 0);
    aurt_event go = { 0 };
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, foreign, &go), 0);
    decide(pool, &where_aur_fn, AURI_TO_PROCESSES);
    assert_int_equal(call_calmly(pool), getpid());
    assert_true(explains(pool, "could not be started (AUR_ETHREADS)"));
    assert_true(explains(pool, "All calls stay in threads."));
    assert_int_equal(call_calmly(pool), getpid());
    aurt_event_set(&go);
    pthread_join(thread, NULL);
    aurt_pool_end(pool);
}

/* A pool that runs where() in processes, with no call under way. */
static aur_pool *pool_with_processes(void)
{
    aur_pool *pool = auto_pool(3, 0);

    decide(pool, &where_aur_fn, AURI_TO_PROCESSES);
    assert_true(explains(pool, "as soon as no call is under way"));
    assert_int_not_equal(call_calmly(pool), getpid());
    assert_true(explains(pool, "Worker processes were started: 3."));
    assert_true(explains(pool, "where: "));
    assert_true(explains(pool, "it runs in processes"));
    return pool;
}

/* The result of a call that a process ran: one in 64 stays in a thread, to be measured. */
static int64_t elsewhere(aur_pool *pool, int what, uint64_t buffer)
{
    int64_t pid = getpid();

    for (int i = 0; i < 2 && pid == getpid(); i++) {
        AURT_OK(aur_apply(pool, &pid, where, what, buffer));
    }
    assert_int_not_equal(pid, getpid());
    assert_true(pid > 0);
    return pid;
}

/* It has become another kind of function: back to threads. */
static void test_revised(void **state)
{
    aur_pool *pool = pool_with_processes();
    int64_t pid;

    (void)state;
    decide(pool, &where_aur_fn,
           AURI_TO_LOOP); /* what is cheap contradicts, what computes does not */
    decide(pool, &where_aur_fn, AURI_WAITS);
    AURT_OK(aur_apply(pool, &pid, where, PID, 0));
    assert_int_equal(pid, getpid());
    assert_true(explains(pool, "it waits most of the time"));
    aurt_pool_end(pool);
}

static void range_body(uint64_t lo, uint64_t hi, int64_t **pids)
{
    for (uint64_t i = lo; i < hi; i++) {
        (*pids)[i] = getpid();
    }
}
AUR_RANGE_FN(range_body, int64_t *);

/* One call in 64 stays in a thread to be measured. */
static void test_sampled(void **state)
{
    aur_pool *pool = pool_with_processes();
    int here = 0;

    (void)state;
    for (int i = 0; i < 128; i++) {
        int64_t pid = 0;
        AURT_OK(aur_apply(pool, &pid, where, PID, 0));
        here += pid == getpid();
    }
    assert_int_equal(here, 2);
    aurt_pool_end(pool);
}

/* Cheap calls and maps go a shorter way, but for one in 64, which is measured. */
static void test_sampled_cheap(void **state)
{
    aur_pool *pool = auto_pool(2, 0);
    struct auri_verdict *verdict = auri_auto_verdict(pool, &cheap_aur_fn);
    int v = 5;

    (void)state;
    decide(pool, &cheap_aur_fn, AURI_TO_LOOP);
    for (int form = 0; form < 2; form++) {
        uint64_t n = atomic_load(&verdict->alone.n) + atomic_load(&verdict->together.n);
        for (int i = 0; i < 64; i++) {
            int out = 0;
            AURT_OK(form == 0 ? aur_apply(pool, &out, cheap, 5)
                              : aur_map(pool, cheap, &v, 1, &out));
            assert_int_equal(out, 5);
        }
        assert_int_equal(atomic_load(&verdict->alone.n) + atomic_load(&verdict->together.n), n + 1);
    }
    AURT_OK(aur_pool_close(pool));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &v, cheap, 5));
    AURT_ERR(AUR_ESHUTDOWN, aur_map(pool, cheap, &v, 1, &v));
    aurt_pool_end(pool);
}

/* A closed pool accepts nothing, though its processes are still there for the call that runs. */
static void test_closed(void **state)
{
    aur_pool *pool = pool_with_processes();
    AUR_SCOPED(aur_future) *future = NULL;
    int64_t pid = 0;
    int v = -1;

    (void)state;
    decide(pool, &meets_aur_fn, AURI_WAITS);
    meeting.parties = 2;
    AURT_OK(aur_apply_async(pool, &future, meets, 7));
    AURT_OK(aur_pool_close(pool));
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &pid, where, PID, 0));
    aurt_barrier_wait(&meeting);
    AURT_OK(aur_future_result(future, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 7);
    aurt_pool_end(pool);
}

static void test_verbs(void **state)
{
    aur_pool *pool = pool_with_processes();
    struct where_args in[BURST] = { { 0 } };
    int64_t pids[BURST];
    int64_t *at = pids;
    int others = 0;

    (void)state;
    elsewhere(pool, PID, 0);
    for (int k = 0; k < 2 && others == 0; k++) { /* the map as a whole may be the one in 64 */
        AURT_OK(aur_starmap(pool, where, in, BURST, pids));
        for (int i = 0; i < BURST; i++) {
            others += pids[i] != getpid();
        }
    }
    assert_int_equal(others, BURST);
    AUR_SCOPED(aur_future) *future = NULL;
    AURT_OK(aur_starmap_async(pool, &future, where, in, BURST, pids));
    AURT_OK(aur_future_wait(future, AUR_NO_DEADLINE));
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    AURT_OK(aur_istarmap(pool, &iter, where, in, BURST));
    int n = 0;
    while (aur_imap_next(iter, &pids[0], AUR_NO_DEADLINE) == AUR_OK) {
        n++;
    }
    assert_int_equal(n, BURST);
    AURT_OK(aur_for(pool, 0, BURST, range_body, &at)); /* shares its context: never in processes */
    for (int i = 0; i < BURST; i++) {
        assert_int_equal(pids[i], getpid());
    }
    aurt_pool_end(pool);
}

/* A call inside a call, on the pool as the worker sees it and as main() knows it. */
static void test_nested(void **state)
{
    aur_pool *pool = pool_with_processes();
    aur_future *future[4];

    (void)state;
    elsewhere(pool, CURRENT, 0);
    elsewhere(pool, INHERITED, 0);
    for (int i = 0; i < 4; i++) {
        AURT_OK(aur_apply_async(pool, &future[i], where, i % 2 == 0 ? CURRENT : INHERITED, 0));
    }
    AURT_OK(aur_pool_close(pool)); /* what they call is still run */
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    for (int i = 0; i < 4; i++) {
        int64_t pid = 0;
        AURT_OK(aur_future_result(future[i], &pid, AUR_NO_DEADLINE));
        assert_true(pid > 0);
        aur_future_unref(future[i]);
    }
    int64_t pid;
    AURT_ERR(AUR_ESHUTDOWN, aur_apply(pool, &pid, where, PID, 0));
    aurt_pool_end(pool);
}

static void test_killed(void **state)
{
    aur_pool *pool = pool_with_processes();
    aur_stats stats = { .size = sizeof(stats) };
    int64_t pid = 0;
    aur_err err = AUR_OK;

    (void)state;
    for (int i = 0; i < 2 && err == AUR_OK; i++) { /* the first may be the one in 64 */
        err = aur_apply(pool, &pid, where, DIE, (uint64_t)getpid());
    }
    assert_int_equal(err, AUR_EWORKER);
    assert_int_equal(aur_last_error()->signal, SIGKILL);
    elsewhere(pool, PID, 0);
    AURT_OK(aur_pool_stats(pool, &stats));
    assert_int_equal(stats.deaths, 1);
    assert_int_equal(stats.failed, 1);
    aurt_pool_end(pool);
}

/* A buffer from before the processes keeps calls in threads while it lives; one from after serves in
 * both. */
static void test_buffers(void **state)
{
    aur_pool *pool = auto_pool(3, 0);
    aur_buf *buf = NULL;
    int64_t pid = 0;

    (void)state;
    AURT_OK(aur_buf_new(pool, 100, AUR_BUF_INOUT, &buf));
    decide(pool, &where_aur_fn, AURI_TO_PROCESSES);
    assert_true(explains(pool, "wait until the buffers made before are gone"));
    for (int i = 0; i < 70; i++) {
        AURT_OK(aur_apply(pool, &pid, where, BUFFER, aur_buf_id(buf)));
        assert_int_equal(pid, getpid());
    }
    assert_int_equal(((char *)aur_buf_data(buf))[99], 7);
    aur_buf_unref(buf);
    decide(pool, &where_aur_fn, AURI_TO_PROCESSES); /* all of these were measured */
    assert_int_not_equal(call_calmly(pool), getpid());
    AURT_OK(aur_buf_new(pool, 100, AUR_BUF_INOUT, &buf));
    elsewhere(pool, BUFFER, aur_buf_id(buf));
    assert_int_equal(((char *)aur_buf_data(buf))[99], 7);
    for (int i = 0; i < 70; i++) { /* one of them in a thread */
        AURT_OK(aur_apply(pool, &pid, where, BUFFER, aur_buf_id(buf)));
        assert_true(pid > 0);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

static void test_terminate(void **state)
{
    aur_pool *pool = pool_with_processes();
    aur_future *future[BURST];

    (void)state;
    for (int i = 0; i < BURST; i++) {
        AURT_OK(aur_apply_async(pool, &future[i], where, PID, 0));
    }
    AURT_OK(aur_pool_terminate(pool));
    for (int i = 0; i < BURST; i++) {
        aur_err err = aur_future_wait(future[i], AUR_NO_DEADLINE);
        assert_int_equal(err, AUR_OK);
        aur_future_unref(future[i]);
    }
    aurt_pool_end(pool);
}

/* Nobody joins: the futures get their answers all the same. */
static void test_dropped(void **state)
{
    aur_pool *pool = pool_with_processes();
    aur_future *future[BURST];

    (void)state;
    for (int i = 0; i < BURST; i++) {
        AURT_OK(aur_apply_async(pool, &future[i], where, PID, 0));
    }
    assert_null(aur_pool_unref(pool));
    for (int i = 0; i < BURST; i++) {
        int64_t pid = 0;
        AURT_OK(aur_future_result(future[i], &pid, AUR_NO_DEADLINE));
        assert_true(pid > 0);
        aur_future_unref(future[i]);
    }
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cheap),        cmocka_unit_test(test_no_help),
        cmocka_unit_test(test_waits),        cmocka_unit_test(test_measured),
        cmocka_unit_test(test_measured_map), cmocka_unit_test(test_bad_input),
#ifndef AURT_NO_PROCESSES
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_revised),
        cmocka_unit_test(test_verbs),        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_killed),       cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_terminate),    cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_sampled),      cmocka_unit_test(test_sampled_cheap),
        cmocka_unit_test(test_closed),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
