/* Goal:   who waits for others, and cannot give up, never waits for ever because no worker is left for what these
 *         wait for: their wait is refused, or if it is about something else, another one's is.
 * Method: no spares but the reserve.  One of two workers is away, so a fork, loop or map of the reserve is left with the
 *         other worker, which waits for a task in the queue.  Nobody is left when the owner comes to his join.  (A map
 *         whose wait is refused, too, has to be waited for all the same.)  Then it waits for the owner, a circle.
 * Guards: src/sched/refuse.c; auri_team_block_owner() in src/sched/threads.c. */
#include "aurt.h"

#include <auriga.h>

#include "sched/team.h"

enum owner { OF_FORK, OF_LOOP, OF_MAP };
enum how { PLAIN, TIMED, ANY, TIMED_ANY, ELSEWHERE };

/* One round. */
static struct {
    aur_pool *pool;
    aur_pool *other;
    int owner;
    int how;           /* the helper waits */
    aurt_event end;    /* for which one worker waits */
    aurt_event begin;  /* and the other one */
    aurt_event late;   /* what a helper waits for elsewhere */
    aurt_event handed; /* the owner's future is here */
    aurt_event ended;  /* his task has */
    aur_future *owns;
    _Atomic(bool) is_helped;
    _Atomic(int) refused; /* waits */
} now;

static int deficit(void)
{
    return auri_ec_deficit(auri_load_sc(&auri_team_of(now.pool)->ec.word));
}

static void until_deficit_is(int wanted)
{
    while (deficit() != wanted) {
        sched_yield();
    }
}

static aur_err wait_for(aur_future *future, int how)
{
    aur_deadline until = how == TIMED || how == TIMED_ANY ? AUR_NO_DEADLINE - 1 : AUR_NO_DEADLINE;
    bool any = how == ANY || how == TIMED_ANY;
    aur_err err = any ? aur_wait_any(&future, 1, NULL, until) : aur_future_wait(future, until);

    AURT_CHECK(err == AUR_OK || err == AUR_EAGAIN);
    atomic_fetch_add(&now.refused, err != AUR_OK);
    return err;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static int nothing(int x)
{
    return x;
}
AUR_FN(int, nothing, int);

typedef aurt_event *event_ptr;

static int gate(event_ptr event)
{
    aurt_event_wait(event);
    return 1;
}
AUR_FN(int, gate, event_ptr);

static int opens(event_ptr event)
{
    aurt_event_set(event);
    return 1;
}
AUR_FN(int, opens, event_ptr);

/* A worker that is away until the event. */
static int goes_away(event_ptr event, int how)
{
    AUR_SCOPED(aur_future) *future = NULL;

    AURT_CHECK(aur_apply_async(now.other, &future, gate, event) == AUR_OK);
    (void)wait_for(future, how);
    return 1;
}
AUR_FN(int, goes_away, event_ptr, int);

static void helps(void)
{
    AUR_SCOPED(aur_future) *future = NULL;

    if (now.how == ELSEWHERE) { /* and what ends it is in the queue here */
        AURT_CHECK(aur_apply_async(now.pool, NULL, opens, &now.late) == AUR_OK);
        (void)goes_away(&now.late, ANY);
    } else {
        AURT_CHECK(aur_apply_async(now.pool, &future, nothing, 1) == AUR_OK);
        (void)wait_for(future, now.how);
    }
    /* And a wait for the owner himself is a circle, however he waits now. */
    aurt_event_wait(&now.handed);
    AURT_CHECK(aur_future_wait(now.owns, AUR_NO_DEADLINE) == AUR_EDEADLK);
}

static void first_branch(void *arg)
{
    (void)arg;
    until_deficit_is(1); /* the other one waits */
}

static void second_branch(void *arg)
{
    (void)arg;
    helps();
}

/* The first item that another thread runs is the helper's. */
static void items(uint64_t lo, uint64_t hi, struct auri_record *owner)
{
    for (uint64_t i = lo; i < hi; i++) {
        if (auri_self() != owner) {
            if (!atomic_exchange(&now.is_helped, true)) {
                helps();
            }
        } else if (atomic_load(&now.is_helped)) {
            until_deficit_is(1);
        } else {
            uint64_t until = aurt_now_ns() + 100000; /* so that the loop is worth a helper */
            while (aurt_now_ns() < until) {
            }
        }
    }
}
AUR_RANGE_FN(items, struct auri_record);

static int owns(int x)
{
    aurt_event_set(&now.begin);
    until_deficit_is(0);
    if (now.owner == OF_FORK) {
        AURT_CHECK(aur_join(first_branch, NULL, second_branch, NULL) == AUR_OK);
    }
    while (now.owner != OF_FORK && !atomic_load(&now.is_helped)) {
        aur_err err = aur_for(now.pool, 0, 200, items, auri_self());
        AURT_CHECK(err == AUR_OK || (err == AUR_EAGAIN && now.owner == OF_MAP));
    }
    aurt_event_set(&now.ended);
    return x;
}
AUR_FN(int, owns, int);

/* ---- the test -------------------------------------------------------------------------------- */

static aur_pool *pool_of(uint32_t workers, uint32_t flags)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    opts.spares_max = AUR_NO_SPARES;
    opts.flags = flags;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

static void an_owner_comes_last(int owner, int how)
{
    /* Its owner runs a loop where it may; else it is a map that a worker runs. */
    AUR_SCOPED(aur_pool) *pool = pool_of(2, owner == OF_LOOP ? 0 : AUR_POOL_NO_HELP);
    AUR_SCOPED(aur_pool) *other = pool_of(3, 0);

    memset(&now, 0, sizeof(now));
    now.pool = pool;
    now.other = other;
    now.owner = owner;
    now.how = how;
    if (owner == OF_LOOP && auri_team_of(pool)->cpus == 1) {
        return; /* no loop is shared */
    }
    AURT_OK(aur_apply_async(pool, NULL, goes_away, &now.end, ANY));
    AURT_OK(aur_apply_async(pool, NULL, goes_away, &now.begin, ANY));
    until_deficit_is(2);
    AURT_OK(aur_apply_async(pool, &now.owns, owns, 1));
    aurt_event_set(&now.handed);
    aurt_event_wait(&now.ended);
    aur_future_unref(now.owns);
    assert_int_equal(atomic_load(&now.refused), 1);
    aurt_event_set(&now.end);
    AURT_OK(aur_pool_close(pool));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(atomic_load(&now.refused), 1);
}

static void of_a_fork(void **state)
{
    (void)state;
    for (int how = PLAIN; how <= ELSEWHERE; how++) {
        an_owner_comes_last(OF_FORK, how);
    }
}

static void of_a_loop(void **state)
{
    (void)state;
    for (int how = TIMED; how <= ELSEWHERE; how++) { /* a plain wait runs the task itself */
        an_owner_comes_last(OF_LOOP, how);
    }
}

static void of_a_map(void **state)
{
    (void)state;
    for (int how = PLAIN; how <= ELSEWHERE; how++) {
        an_owner_comes_last(OF_MAP, how);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_a_fork),
        cmocka_unit_test(of_a_loop),
        cmocka_unit_test(of_a_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
