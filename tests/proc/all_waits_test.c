/* Goal:    the worker's own thread may need the answers to several of its threads: a circle through one of them is
 *          found while the others still wait, hits that one and no other, and one that is none is not found.
 * Method:  threads of a pool that the task made wait for calls of the parent, and the task waits for all of them, or
 *          for the first of two that do, by the edge of a loop's owner.  This program looks into the engine for what the
 *          parent knows, so the order of waits is made.  What must not matter for the circle ends only when somebody
 *          was told of it.  One test has a loop of the library do the same.
 * Guards:  answers.c, formula.c, auri_waits_for_one() and blamed_by_queues() in src/sched; put_needs() and refused() in
 *          src/proc/turns.c; read_formula() in src/proc/any.c; show() and refused_index() in src/proc/waits.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "gates.h"

#include <sched.h>

#include "proc/internal.h"
#include "sched/detect.h"

enum { HELPERS = 4, OWNERS = 2, ITEMS = 4096, REFUSED = 77 };

/* What the workers share with this program. */
static struct shared {
    struct gates gates;
    uint64_t id[HELPERS][2];   /* what the helper waits for: that, or the first of two */
    uint64_t task_id;          /* what the calls of `third` wait for */
    aurt_event waits[HELPERS]; /* it may begin to */
    aurt_event owner;          /* the owners may wait for them */
    aurt_event back[2];        /* what waits for the task may begin to */
    aurt_event left[HELPERS];
    _Atomic(unsigned) record[HELPERS];
    _Atomic(int) outcome[HELPERS];
    _Atomic(int) claims; /* of items of a loop */
    _Atomic(int) told;   /* refusals */
} * shared;

static aur_pool *mine, *third;

/* The library's loops are not shared on one CPU. */
unsigned __wrap_aurp_cpu_count(void);
unsigned __wrap_aurp_cpu_count(void)
{
    return 4;
}

/* ---- in workers ----------------------------------------------------------------------------- */

/* Waits for the future with that number: its result, or an error, negative. */
static int waits_for(uint64_t id)
{
    aur_future *future = NULL;
    int v = 0;

    AURT_CHECK(aur_future_open(id, &future) == AUR_OK);
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_OK ? v : -err;
}

static int waits_for_any(const uint64_t *id)
{
    aur_future *futures[2] = { NULL, NULL };
    size_t index = 9;

    for (int i = 0; i < 2; i++) {
        AURT_CHECK(aur_future_open(id[i], &futures[i]) == AUR_OK);
    }
    aur_err err = aur_wait_any(futures, 2, &index, AUR_NO_DEADLINE);
    aur_future_unref(futures[0]);
    aur_future_unref(futures[1]);
    return err == AUR_OK ? (int)index : -err;
}

/* Whoever was refused lets all go that is held open. */
static void note_outcome(int outcome)
{
    if (outcome < 0) {
        atomic_fetch_add(&shared->told, 1);
        aurt_event_set(&gates->go);
    }
}

/* A call of the parent that waits for the task. */
static int waits_back(int which)
{
    aurt_event_wait(&shared->back[which]);
    int v = waits_for(shared->task_id);

    note_outcome(v);
    return v < 0 ? REFUSED : v;
}
AUR_FN(int, waits_back, int);

static int helps(int which)
{
    atomic_store(&shared->record[which], auri_self()->id);
    aurt_event_wait(&shared->waits[which]);
    int v = shared->id[which][1] != 0 ? waits_for_any(shared->id[which])
                                      : waits_for(shared->id[which][0]);

    atomic_store(&shared->outcome[which], v);
    note_outcome(v);
    aurt_event_set(&shared->left[which]);
    return v;
}
AUR_FN(int, helps, int);

/* As the owner of a loop: until all of so many helpers have left. */
static int owns(int first, int n)
{
    struct auri_record *self = auri_self();
    struct auri_helpers helpers = { 0 };

    aurt_event_wait(&shared->owner);
    for (int i = 0; i < n; i++) {
        auri_store_rlx(&helpers.id[i], atomic_load(&shared->record[first + i]));
    }
    auri_edge_job(self, &helpers);
    auri_detect_owner(self);
    for (int i = 0; i < n; i++) {
        aurt_event_wait(&shared->left[first + i]);
    }
    auri_edge_clear(self);
    return first;
}
AUR_FN(int, owns, int, int);

static aur_pool *helpers_new(void)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = HELPERS + OWNERS;
    opts.flags = AUR_POOL_FIXED;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

/* Waits until so many helpers wait, who begin to when they are told. */
static int begin_helpers(aur_pool *own, int n)
{
    for (int i = 0; i < n; i++) {
        MUST(aur_apply_async(own, NULL, helps, i) == AUR_OK);
    }
    for (int i = 0; i < n; i++) {
        while (atomic_load(&shared->record[i]) == 0) {
            sched_yield();
        }
    }
    return 0;
}

/* The task needs all. */
static int waits_for_all(int n)
{
    aur_pool *own = helpers_new();

    aurt_event_wait(&gates->ready);
    MUST(begin_helpers(own, n) == 0);
    MUST(owns(0, n) == 0);
    aurt_pool_end(own);
    return 3;
}
AUR_FN(int, waits_for_all, int);

/* The first of two, which need all of two. */
static int waits_for_one_owner(int x)
{
    static aur_pool *own; /* not joined: a helper may wait for what ends after this task */
    aur_future *owners[OWNERS];
    size_t index = 9;

    own = helpers_new();
    aurt_event_wait(&gates->ready);
    MUST(begin_helpers(own, HELPERS) == 0);
    for (int i = 0; i < OWNERS; i++) {
        MUST(aur_apply_async(own, &owners[i], owns, 2 * i, 2) == AUR_OK);
    }
    aur_err err = aur_wait_any(owners, OWNERS, &index, AUR_NO_DEADLINE);
    MUST(err == AUR_OK && index < OWNERS);
    for (int i = 0; i < OWNERS; i++) {
        aur_future_unref(owners[i]);
    }
    return x;
}
AUR_FN(int, waits_for_one_owner, int);

static int nothing(int x)
{
    return x;
}
AUR_FN(int, nothing, int);

static struct loop {
    aur_pool *pool;
    struct auri_record *owner;
} loop;

/* The first two items of other threads wait, for one call each; the owner goes on until both do. */
static int item(int x)
{
    if (auri_self() == loop.owner) {
        while (atomic_load(&shared->claims) == 1) { /* wakes another thread */
            AURT_CHECK(aur_apply_async(loop.pool, NULL, nothing, 0) == AUR_OK);
            sched_yield();
        }
        for (volatile int i = 0; i < 20000 && atomic_load(&shared->claims) == 0; i++) {
        }
        return 0;
    }
    int which = atomic_fetch_add(&shared->claims, 1);
    if (which >= 2) {
        return 0;
    }
    aurt_event_wait(&shared->waits[which]);
    int v = waits_for(shared->id[which][0]);
    atomic_store(&shared->outcome[which], v);
    note_outcome(v);
    return x >= 0;
}
AUR_FN(int, item, int);

/* Again if no other thread came. */
static int maps(int x)
{
    static int in[ITEMS], out[ITEMS];
    aur_pool *own = helpers_new();
    int sum = 0;

    aurt_event_wait(&gates->ready);
    loop = (struct loop){ own, auri_self() };
    while (atomic_load(&shared->claims) == 0) {
        MUST(aur_map(own, item, in, ITEMS, out) == AUR_OK);
    }
    for (int i = 0; i < ITEMS; i++) {
        sum += out[i];
    }
    MUST(sum == 2);
    aurt_pool_end(own);
    return x;
}
AUR_FN(int, maps, int);

/* A thread has a map of the parent's, which waits for the task; then the task waits for the thread. */
static int maps_there(int x)
{
    int out = 0;

    aur_err err = aur_map(third, waits_back, &x, 1, &out);
    note_outcome(err == AUR_OK ? out : -(int)err);
    return err == AUR_EDEADLK;
}
AUR_FN(int, maps_there, int);

static int waits_for_map(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aur_future *future;
    int v = 0;

    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, &future, maps_there, 0) == AUR_OK);
    aurt_event_wait(&shared->owner);
    MUST(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK && v == 1);
    aur_future_unref(future);
    aurt_pool_end(own);
    return x;
}
AUR_FN(int, waits_for_map, int);

/* ---- tests --------------------------------------------------------------------------------- */

static int setup(void **state)
{
    third = aurt_pool_new(AUR_PROCESSES, 2, AUR_START_FORK, 0);
    return gates_setup(state);
}

static int teardown(void **state)
{
    (void)gates_teardown(state);
    aurt_pool_end(third);
    return 0;
}

/* Until the pool's first worker is known to wait for so many, of which it needs so many. */
static void await_question(aur_pool *pool, size_t n, uint32_t needs)
{
    struct auri_proc *p = auri_proc_of(pool);
    bool stands = false;

    while (!stands) {
        size_t has = 0;
        pthread_mutex_lock(&p->lock);
        struct auri_worker *w = p->slots[0].worker;
        stands = w != NULL && w->blocked && !w->serving && w->needs == needs;
        if (stands) {
            (void)auri_wait_tasks(w, &has);
        }
        pthread_mutex_unlock(&p->lock);
        stands = stands && has == n;
        sched_yield();
    }
}

/* Until so many workers of the pool are known to wait. */
static void await_blocked(aur_pool *pool, unsigned n)
{
    struct auri_proc *p = auri_proc_of(pool);
    unsigned blocked = 0;

    while (blocked != n) {
        pthread_mutex_lock(&p->lock);
        blocked = 0;
        for (unsigned i = 0; i < p->slots_end; i++) {
            struct auri_worker *w = p->slots[i].worker;
            blocked += w != NULL && w->blocked && !w->serving;
        }
        pthread_mutex_unlock(&p->lock);
        sched_yield();
    }
}

static void expect_refused(int which, aur_err err)
{
    for (int i = 0; i < HELPERS; i++) {
        aur_err want = i == which ? err : AUR_OK;
        assert_int_equal(atomic_load(&shared->outcome[i]) < 0 ? -atomic_load(&shared->outcome[i])
                                                              : AUR_OK,
                         want);
    }
}

/* A task; calls that wait for it, or for what `waited` says; one that ends when somebody was refused. */
struct calls {
    aur_future *task, *back[2], *beside;
};

static void calls_begin(struct calls *calls, aur_future *task, aur_future *waited)
{
    calls->task = task;
    shared->task_id = aur_future_id(waited);
    for (int i = 0; i < 2; i++) {
        AURT_OK(aur_apply_async(third, &calls->back[i], waits_back, i));
    }
    AURT_OK(aur_apply_async(others, &calls->beside, slow, 5));
    shared->id[0][0] = aur_future_id(calls->back[0]);
    shared->id[1][0] = aur_future_id(calls->beside);
    shared->id[2][0] = aur_future_id(calls->back[1]);
    shared->id[3][0] = aur_future_id(calls->beside);
}

static void calls_end(struct calls *calls, int back, int told)
{
    assert_int_equal(result_of(aur_future_ref(calls->task)), 3); /* or the line that did not hold */
    aurt_event_set(&shared->back[1]);                            /* it may not have been needed */
    assert_int_equal(result_of(calls->back[0]), back);
    (void)result_of(calls->back[1]);
    assert_int_equal(result_of(calls->beside), 5);
    assert_int_equal(atomic_load(&shared->told), told);
    aur_future_unref(calls->task);
}

/* One of two helpers closes the circle while the other one waits, or the call that it waits for does. */
static void test_all_of_two(void **state)
{
    (void)state;
    for (int last = 0; last < 2; last++) {
        struct calls calls;
        aur_future *task;

        gates_reset();
        mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        AURT_OK(aur_apply_async(mine, &task, waits_for_all, 2));
        calls_begin(&calls, task, task);
        aurt_event_set(&shared->waits[1]);
        aurt_event_set(&shared->owner);
        aurt_event_set(&gates->ready);
        await_question(mine, 1, 1);
        if (last == 0) {
            aurt_event_set(&shared->back[0]);
            await_blocked(third, 1);
            aurt_event_set(&shared->waits[0]);
        } else {
            aurt_event_set(&shared->waits[0]);
            await_question(mine, 2, 2);
            aurt_event_set(&shared->back[0]);
        }
        calls_end(&calls, last == 0 ? 3 : REFUSED, 1);
        expect_refused(last == 0 ? 0 : -1, AUR_EDEADLK);
        aurt_pool_end(mine);
    }
}

/* Another helper waits for the same call, or for one that comes: it is on no circle. */
static void test_named_twice(void **state)
{
    struct calls calls;
    aur_future *task;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    AURT_OK(aur_apply_async(mine, &task, waits_for_all, 2));
    calls_begin(&calls, task, task);
    shared->id[1][1] = shared->id[0][0];
    aurt_event_set(&shared->back[0]);
    aurt_event_set(&gates->ready);
    await_blocked(third, 1);
    aurt_event_set(&shared->waits[0]);
    await_question(mine, 1, 0);
    aurt_event_set(&shared->waits[1]);
    await_question(mine, 3, 0);
    aurt_event_set(&shared->owner);
    calls_end(&calls, 3, 1);
    expect_refused(0, AUR_EDEADLK);
    aurt_pool_end(mine);
}

/* A helper waits, in the end, for what nobody is left to run.  It is told, though it came first, and the other one's
 * number stands before its own. */
static void test_nobody_to_run(void **state)
{
    struct calls calls;
    aur_future *task, *queued;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    AURT_OK(aur_apply_async(mine, &task, waits_for_all, 2));
    AURT_OK(aur_apply_async(mine, &queued, fast, 6));
    calls_begin(&calls, task, queued);
    aurt_event_set(&shared->waits[0]);
    aurt_event_set(&shared->owner);
    aurt_event_set(&gates->ready);
    await_question(mine, 1, 1);
    aurt_event_set(&shared->waits[1]);
    await_question(mine, 2, 2);
    aurt_event_set(&shared->back[0]);
    calls_end(&calls, 6, 1);
    expect_refused(0, AUR_E2DEEP);
    assert_int_equal(result_of(queued), 6);
    aurt_pool_end(mine);
}

/* The first of two owners is enough: no circle as long as one of them can go on, whoever comes last. */
static void test_one_owner_goes_on(void **state)
{
    (void)state;
    for (int last = 0; last < 2; last++) {
        struct calls calls;
        aur_future *task;

        gates_reset();
        mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
        AURT_OK(aur_apply_async(mine, &task, waits_for_one_owner, 3));
        calls_begin(&calls, task, task);
        shared->id[2][0] = shared->id[3][0];
        for (int i = last; i < HELPERS; i++) {
            aurt_event_set(&shared->waits[i]);
        }
        aurt_event_set(&shared->owner);
        aurt_event_set(&gates->ready);
        await_question(mine, last == 0 ? 4 : 3, last == 0 ? 4 : 3);
        aurt_event_set(&shared->back[0]);
        await_blocked(third, 1);
        aurt_event_set(&shared->waits[0]);
        await_question(mine, 4, 4);
        await_blocked(third, 1);
        assert_int_equal(atomic_load(&shared->told), 0);
        aurt_event_set(&gates->go);
        calls_end(&calls, 3, 0);
        aurt_pool_end(mine);
    }
}

/* ... and one as soon as neither can, though each waits for something that comes, too. */
static void test_no_owner_goes_on(void **state)
{
    struct calls calls;
    aur_future *task;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    AURT_OK(aur_apply_async(mine, &task, waits_for_one_owner, 3));
    calls_begin(&calls, task, task);
    for (int i = 0; i < 2; i++) {
        aurt_event_set(&shared->back[i]);
        aurt_event_set(&shared->waits[2 * i + 1]);
    }
    aurt_event_set(&shared->owner);
    aurt_event_set(&gates->ready);
    await_blocked(third, 2);
    await_question(mine, 2, 2);
    aurt_event_set(&shared->waits[0]);
    await_question(mine, 3, 3);
    assert_int_equal(atomic_load(&shared->told), 0);
    aurt_event_set(&shared->waits[2]);
    calls_end(&calls, 3, 1);
    assert_true((atomic_load(&shared->outcome[0]) < 0) + (atomic_load(&shared->outcome[2]) < 0) ==
                1);
    assert_true(atomic_load(&shared->outcome[1]) >= 0 && atomic_load(&shared->outcome[3]) >= 0);
    aurt_pool_end(mine);
}

/* The owner of a real loop. */
static void test_map(void **state)
{
    struct calls calls;
    aur_future *task;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    AURT_OK(aur_apply_async(mine, &task, maps, 3));
    calls_begin(&calls, task, task);
    aurt_event_set(&shared->waits[1]);
    aurt_event_set(&gates->ready);
    await_question(mine, 1, 1);
    aurt_event_set(&shared->back[0]);
    await_blocked(third, 1);
    aurt_event_set(&shared->waits[0]);
    calls_end(&calls, 3, 1);
    expect_refused(0, AUR_EDEADLK);
    aurt_pool_end(mine);
}

/* The wait that closes the circle is for a thread that waits for the parent without an edge. */
static void test_map_of_the_parent(void **state)
{
    aur_future *task;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    AURT_OK(aur_apply_async(mine, &task, waits_for_map, 3));
    shared->task_id = aur_future_id(task);
    aurt_event_set(&gates->ready);
    await_question(mine, 1, 0);
    aurt_event_set(&shared->back[0]);
    await_blocked(third, 1);
    aurt_event_set(&shared->owner);
    assert_int_equal(result_of(aur_future_ref(task)), 3); /* or the line that did not hold */
    assert_int_equal(atomic_load(&shared->told), 1);
    aurt_pool_end(mine);
    aur_future_unref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_to_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_owner_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_owner_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_of_the_parent, setup, teardown),
    };

    shared = gates_new(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
