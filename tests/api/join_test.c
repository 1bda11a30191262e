/* Goal:   a join runs both branches, each once, wherever it is called; a branch is a part of its task
 *         in whichever thread it runs: failures, cancelling, the item, the pool, deadlocks; and nothing
 *         points to a branch that its owner has left.
 * Method: where a branch must be in another thread, the first one blocks, and says so with
 *         aur_blocking_begin(), until the second has begun: then the pool has to provide a thread.
 * Guards: [J1] [J2] [J3] [B1] in src/sched/join.c. */
#define _GNU_SOURCE
#include "kinds.h"

#include <pthread.h>
#include <sys/wait.h>

/* ---- both branches, everywhere -------------------------------------------------------------- */

struct sum {
    int lo, hi;
    long value;
};

static void add_up(void *arg)
{
    struct sum *s = arg;

    if (s->hi - s->lo == 1) {
        s->value = s->lo;
        return;
    }
    struct sum left = { s->lo, (s->lo + s->hi) / 2, 0 };
    struct sum right = { left.hi, s->hi, 0 };
    AURT_CHECK(aur_join(add_up, &left, add_up, &right) == AUR_OK);
    s->value = left.value + right.value;
}

static long sum_to(int n)
{
    struct sum s = { 0, n, 0 };

    add_up(&s);
    return s.value;
}
AUR_FN(long, sum_to, int);

static long fib(int n);
AUR_FN(long, fib, int);
static long fib(int n)
{
    if (n < 2) {
        return n;
    }
    aur_fork(right, fib, n - 2);
    long left = fib(n - 1);
    return left + aur_joined(right, fib);
}

static void results_are_right(void **state)
{
    aur_pool *pool = aurt_pool(state);
    AUR_SCOPED(aur_future) *f = NULL;
    int in[40];
    long out[40];
    long v = 0;

    AURT_OK(aur_apply(pool, &v, sum_to, 1000)); /* in the calling thread, but for processes */
    assert_int_equal(v, 499500);
    AURT_OK(aur_apply(pool, &v, fib, 15));
    assert_int_equal(v, 610);
    AURT_OK(aur_apply_async(pool, &f, fib, 16));
    AURT_OK(aur_future_result(f, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 987);
    for (int i = 0; i < 40; i++) {
        in[i] = i % 12;
    }
    AURT_OK(aur_map(pool, fib, in, 40, out));
    assert_int_equal(out[11], 89);
    aurt_pool_end(pool);
}

static void outside_a_task(void **state)
{
    (void)state;
    assert_int_equal(sum_to(100), 4950);
    assert_int_equal(fib(10), 55);
}

static void no_function(void **state)
{
    struct sum s = { 0, 1, -1 };
    aur_join_fn *none = NULL;

    (void)state;
    AURT_ERR(AUR_EINVAL, aur_join(none, NULL, add_up, &s));
    AURT_ERR(AUR_EINVAL, aur_join(add_up, &s, none, NULL));
    assert_int_equal(s.value, -1); /* neither was run */
}

/* More forks at once than the first array of a lane holds. */
static long nested(int depth);
AUR_FN(long, nested, int);
static long nested(int depth)
{
    if (depth == 0) {
        return 0;
    }
    aur_fork(one, sum_to, 2);
    long below = nested(depth - 1);
    return below + aur_joined(one, sum_to);
}

static void deep(void **state)
{
    aur_pool *pool = aurt_pool(state);
    long v = 0;

    AURT_OK(aur_apply(pool, &v, nested, 1000));
    assert_int_equal(v, 1000);
    aurt_pool_end(pool);
}

/* ---- in another thread ---------------------------------------------------------------------- */

/* Where the calling thread does not run tasks: a task that blocks gets a thread in its place. */
static aur_pool *workers_only(void **state)
{
    aur_options opts = aurt_options(state);

    opts.flags = AUR_POOL_NO_HELP;
    return aurt_pool_with(&opts);
}

/* Two branches that are in two threads at once. */
struct both {
    aurt_event begun; /* the second has */
    aurt_event go_on; /* it may end; unused by some */
    int how;          /* what the second does */
    pthread_t first;
    aur_pool *pool;
    uint64_t item;
    aur_future *_Atomic future;
    aur_err err;
};
typedef struct both *both_ptr;

static void first_waits(void *arg)
{
    struct both *b = arg;

    b->first = pthread_self();
    aur_blocking_begin();
    aurt_event_wait(&b->begun);
    aur_blocking_end();
}

static void second_looks(void *arg)
{
    struct both *b = arg;

    b->pool = aur_pool_current();
    b->item = aur_item_index();
    aurt_event_set(&b->begun);
}

static int look(both_ptr b)
{
    AURT_CHECK(aur_join(first_waits, b, second_looks, b) == AUR_OK);
    AURT_CHECK(b->pool == aur_pool_current() && b->item == aur_item_index());
    return 1;
}
AUR_FN(int, look, both_ptr);

static void part_of_its_task(void **state)
{
    aur_pool *pool = workers_only(state);
    AUR_SCOPED(aur_future) *f = NULL;
    struct both one = { .how = 0 };
    struct both item[3] = { { .how = 0 } };
    both_ptr in[3] = { &item[0], &item[1], &item[2] };
    int out[3];

    AURT_OK(aur_apply_async(pool, &f, look, &one));
    aurt_event_wait(&one.begun); /* in a worker */
    AURT_OK(aur_future_wait(f, AUR_NO_DEADLINE));
    assert_ptr_equal(one.pool, pool);
    assert_true(one.item == AUR_NO_ITEM);
    AURT_OK(aur_map(pool, look, in, 3, out)); /* in the caller, or with its help */
    for (uint64_t i = 0; i < 3; i++) {
        assert_ptr_equal(item[i].pool, pool);
        assert_int_equal(item[i].item, i);
    }
    aurt_pool_end(pool);
}

static void second_fails(void *arg)
{
    struct both *b = arg;

    aur_fail(40 + b->how, "branch %d failed", b->how);
    aurt_event_set(&b->begun);
}

static void first_fails_too(void *arg)
{
    first_waits(arg);
    aur_fail(7, "so did the first");
}

static int fail_there(both_ptr b)
{
    AURT_CHECK(aur_join(b->how == 1 ? first_waits : first_fails_too, b, second_fails, b) == AUR_OK);
    return 1;
}
AUR_FN(int, fail_there, both_ptr);

static void failures(void **state)
{
    aur_pool *pool = workers_only(state);
    struct both one = { .how = 1 };
    struct both two = { .how = 2 };
    both_ptr in[1] = { &one };
    int v;

    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fail_there, &one));
    assert_int_equal(aur_last_error()->code, 41);
    assert_string_equal(aur_last_error()->message, "branch 1 failed");
    AURT_ERR(AUR_ETASK, aur_apply(pool, &v, fail_there, &two));
    assert_int_equal(aur_last_error()->code, 7); /* the thread of the task had it first */
    one = (struct both){ .how = 1 };
    AURT_ERR(AUR_ETASK, aur_map(pool, fail_there, in, 1, &v));
    assert_int_equal(aur_last_error()->item, 0);
    assert_int_equal(aur_last_error()->code, 41);
    aurt_pool_end(pool);
}

static void second_until_told(void *arg)
{
    struct both *b = arg;

    aurt_event_set(&b->begun);
    do {
        b->err = aur_checkpoint();
    } while (b->err == AUR_OK);
}

static int until_told(both_ptr b)
{
    AURT_CHECK(aur_join(first_waits, b, second_until_told, b) == AUR_OK);
    return aur_fail(1, "stopped early");
}
AUR_FN(int, until_told, both_ptr);

static void cancelling(void **state)
{
    aur_pool *pool = workers_only(state);
    AUR_SCOPED(aur_future) *f = NULL;
    struct both b = { .how = 0 };
    int what = 0;

    AURT_OK(aur_apply_async(pool, &f, until_told, &b));
    aurt_event_wait(&b.begun);
    AURT_OK(aur_future_cancel(f, &what));
    assert_int_equal(what, AUR_CANCEL_SIGNALLED);
    AURT_ERR(AUR_ECANCELED, aur_future_outcome(f, AUR_NO_DEADLINE));
    AURT_ERR(AUR_ECANCELED, b.err);
    aurt_pool_end(pool);
}

/* ---- more than a lane shares ---------------------------------------------------------------- */

#define NESTED 20

struct nest {
    int depth;
    _Atomic(int) begun;
    aurt_event all;
};
typedef struct nest *nest_ptr;

static void counted(void *arg)
{
    struct nest *n = arg;

    if (atomic_fetch_add(&n->begun, 1) + 1 == NESTED) {
        aurt_event_set(&n->all);
    }
}

/* At the bottom it waits until others have begun all that it has forked. */
static void nest(void *arg)
{
    struct nest *n = arg;

    if (n->depth++ == NESTED) {
        aur_blocking_begin();
        aurt_event_wait(&n->all);
        aur_blocking_end();
    } else {
        AURT_CHECK(aur_join(nest, n, counted, n) == AUR_OK);
    }
}

static int run_nest(nest_ptr n)
{
    nest(n);
    return atomic_load(&n->begun);
}
AUR_FN(int, run_nest, nest_ptr);

static void who_blocks_shares_all(void **state)
{
    aur_pool *pool = workers_only(state);
    aur_pool *helping = aurt_pool(state);
    struct nest n = { .depth = 0 };
    struct nest m = { .depth = 0 };
    int v = 0;

    AURT_OK(aur_apply(pool, &v, run_nest, &n)); /* a worker */
    assert_int_equal(v, NESTED);
    AURT_OK(aur_apply(helping, &v, run_nest, &m)); /* the caller, as a guest, or a worker */
    assert_int_equal(v, NESTED);
    aurt_pool_end(helping);
    aurt_pool_end(pool);
}

/* ---- ends that are not returns -------------------------------------------------------------- */

static void second_exits(void *arg)
{
    struct both *b = arg;

    aurt_event_set(&b->begun);
    pthread_exit(NULL);
}

static void second_stays(void *arg)
{
    struct both *b = arg;

    aurt_event_set(&b->begun);
    aurt_event_wait(&b->go_on);
    b->err = AUR_OK;
}

static void first_exits(void *arg)
{
    struct both *b = arg;

    first_waits(arg);
    aurt_event_set(&b->go_on);
    pthread_exit(NULL); /* the join waits for the second, whose memory is about to go */
}

static int exits(both_ptr b)
{
    if (b->how == 1) {
        AURT_CHECK(aur_join(first_waits, b, second_exits, b) == AUR_OK);
    } else {
        (void)aur_join(first_exits, b, second_stays, b);
    }
    return 1;
}
AUR_FN(int, exits, both_ptr);

static void ended_threads(void **state)
{
    aur_pool *pool = workers_only(state);

    for (int how = 1; how <= 2; how++) {
        struct both b = { .how = how, .err = AUR_EPENDING };
        int v;
        AURT_ERR(AUR_EEXITED, aur_apply(pool, &v, exits, &b));
        assert_int_equal(b.err, how == 1 ? AUR_EPENDING : AUR_OK);
    }
    aurt_pool_end(pool);
}

static _Atomic(int) dropped;

static long count_one(int unused)
{
    (void)unused;
    return atomic_fetch_add(&dropped, 1);
}
AUR_FN(long, count_one, int);

static int leave_early(int how)
{
    aur_fork(never, count_one, how);
    return how;
}
AUR_FN(int, leave_early, int);

/* Nobody else is there to begin it. */
static void dropped_branch(void **state)
{
    aur_pool *pool = aurt_pool(state);
    int v = 0;

    atomic_store(&dropped, 0);
    AURT_OK(aur_apply(pool, &v, leave_early, 5));
    assert_int_equal(v, 5);
    assert_int_equal(leave_early(6), 6);
    assert_int_equal(atomic_load(&dropped), 0);
    aurt_pool_end(pool);
}

static void second_typed(both_ptr b)
{
    second_stays(b);
}
AUR_FN_VOID(second_typed, both_ptr);

static int leave_running(both_ptr b)
{
    aur_fork(running, second_typed, b);
    first_waits(b);
    aurt_event_set(&b->go_on);
    return 1;
}
AUR_FN(int, leave_running, both_ptr);

static void dropped_while_it_runs(void **state)
{
    aur_pool *pool = workers_only(state);
    struct both b = { .err = AUR_EPENDING };
    int v;

    AURT_OK(aur_apply(pool, &v, leave_running, &b));
    assert_int_equal(b.err, AUR_OK); /* it was waited for */
    aurt_pool_end(pool);
}

static int out_of_order(int n)
{
    aur_fork(first, count_one, n);
    aur_fork(second, count_one, n);
    (void)aur_joined(first, count_one);
    return (int)aur_joined(second, count_one);
}
AUR_FN(int, out_of_order, int);

/* The same where both are private: more forks lie below than a lane shares. */
static int out_of_order_deep(int depth);
AUR_FN(int, out_of_order_deep, int);
static int out_of_order_deep(int depth)
{
    if (depth == 0) {
        return out_of_order(1);
    }
    aur_fork(one, count_one, depth);
    int v = out_of_order_deep(depth - 1);
    return v + (int)aur_joined(one, count_one);
}

static void expect_abort(void **state, int depth)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        aur_options opts = aurt_options(state);
        opts.workers = 1; /* nobody takes the first one */
        opts.flags = AUR_POOL_NO_HELP;
        aur_pool *pool = aurt_pool_with(&opts);
        int v = 0;
        (void)!freopen("/dev/null", "w", stderr);
        _exit(aur_apply(pool, &v, out_of_order_deep, depth) == AUR_OK ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void in_the_wrong_order(void **state)
{
    expect_abort(state, 0);
    expect_abort(state, 50);
}

/* ---- waits ---------------------------------------------------------------------------------- */

static void second_awaits_its_task(void *arg)
{
    struct both *b = arg;

    aurt_event_set(&b->begun);
    aurt_event_wait(&b->go_on); /* the future is known */
    b->err = aur_future_wait(b->future, AUR_NO_DEADLINE);
}

static int await_itself(both_ptr b)
{
    AURT_CHECK(aur_join(first_waits, b, second_awaits_its_task, b) == AUR_OK);
    return 1;
}
AUR_FN(int, await_itself, both_ptr);

static void deadlock(void **state)
{
    aur_pool *pool = workers_only(state);
    aur_future *f = NULL;
    struct both b = { .how = 0 };
    int v = 0;

    AURT_OK(aur_apply_async(pool, &f, await_itself, &b));
    b.future = f;
    aurt_event_set(&b.go_on);
    AURT_OK(aur_future_result(f, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 1);
    AURT_ERR(AUR_EDEADLK, b.err);
    aur_future_unref(f);
    aurt_pool_end(pool);
}

static long wait_inside(int depth);
AUR_FN(long, wait_inside, int);
static long wait_inside(int depth)
{
    AUR_SCOPED(aur_future) *f = NULL;
    long v = 0;

    if (depth == 0) {
        return 1;
    }
    aur_fork(branch, wait_inside, depth - 1);
    AURT_CHECK(aur_apply_async(aur_pool_current(), &f, wait_inside, depth - 1) == AUR_OK);
    AURT_CHECK(aur_future_result(f, &v, AUR_NO_DEADLINE) == AUR_OK);
    return v + aur_joined(branch, wait_inside);
}

static void submits_and_waits_between(void **state)
{
    aur_pool *pool = aurt_pool(state);
    long v = 0;

    AURT_OK(aur_apply(pool, &v, wait_inside, 8));
    assert_int_equal(v, 256);
    aurt_pool_end(pool);
}

/* More outside threads than there are lanes for. */
#define GUESTS 20

struct crowd {
    aur_pool *pool;
    aurt_barrier barrier;
};
typedef struct crowd *crowd_ptr;

static long meet(crowd_ptr crowd)
{
    aur_fork(branch, fib, 12);
    aurt_barrier_wait(&crowd->barrier); /* each has forked, or could not */
    return aur_joined(branch, fib);
}
AUR_FN(long, meet, crowd_ptr);

static void *guest(void *arg)
{
    struct crowd *crowd = arg;
    long v = 0;

    AURT_CHECK(aur_apply(crowd->pool, &v, meet, crowd) == AUR_OK && v == 144);
    return NULL;
}

static void many_guests(void **state)
{
    struct crowd crowd = { aurt_pool(state), { .parties = GUESTS } };
    pthread_t threads[GUESTS];

    for (int i = 0; i < GUESTS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, guest, &crowd), 0);
    }
    for (int i = 0; i < GUESTS; i++) {
        pthread_join(threads[i], NULL);
    }
    aurt_pool_end(crowd.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AURT_EACH(results_are_right),
        cmocka_unit_test(outside_a_task),
        cmocka_unit_test(no_function),
        AURT_SHARED(deep),
        AURT_OF(part_of_its_task, threads),
        AURT_OF(failures, threads),
        AURT_OF(cancelling, threads),
        AURT_OF(ended_threads, threads),
        AURT_OF(dropped_branch, serial),
        AURT_OF(dropped_while_it_runs, threads),
        AURT_OF(in_the_wrong_order, threads),
        AURT_OF(deadlock, threads),
        AURT_SHARED(submits_and_waits_between),
        AURT_OF(many_guests, threads),
        AURT_OF(who_blocks_shares_all, threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
