/* Goal:   a wait is not refused for want of a worker while another worker is about to go on, whatever that one waited
 *         for; and it is refused if none is, whatever the others wait for.
 * Method: no spares, but the reserve.  Of two workers the first waits for a task of the second, which holds it in a
 *         signal handler before it ends: so the first cannot tell its pool that it is back.  Then the second
 *         and the reserve wait as well, each for a task in the queue: nobody counts as active, but somebody is.
 *         Then one worker waits for what another pool does, and the reserve for a task in the queue.
 * Guards: nobody_left() in src/sched/threads.c. */
/* The thread sanitizer keeps signals back that come while a thread sleeps: */
/* aurt: no-tsan */
#define _GNU_SOURCE
#include "aurt.h"

#include <auriga.h>
#include <pthread.h>
#include <signal.h>

#include "sched/team.h"

static aurt_event begun; /* worked_for() */
static aurt_event held;  /* the first worker is */
static aurt_event go_on;
static aurt_event ended; /* the wait of the last thread that waits */
static _Atomic(int) first_how;
static _Atomic(int) first_tid;
static _Atomic(int) last_tid; /* that thread */
static _Atomic(int) last_err; /* of its wait */

static void begin_anew(int how)
{
    aurt_event *const events[] = { &begun, &held, &go_on, &ended };

    for (int i = 0; i < 4; i++) {
        atomic_store(&events[i]->set, 0);
    }
    atomic_store(&first_how, how);
    atomic_store(&last_tid, 0);
}

static void hold(int number)
{
    (void)number;
    aurt_event_set(&held);
    aurt_event_wait(&go_on);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

typedef aur_pool *pool_ptr;

enum how { PLAIN, TIMED, ANY, TIMED_ANY };

static aur_err wait_for(aur_future *future, int how)
{
    aur_deadline until = how == TIMED || how == TIMED_ANY ? AUR_NO_DEADLINE - 1 : AUR_NO_DEADLINE;

    return how == ANY || how == TIMED_ANY ? aur_wait_any(&future, 1, NULL, until)
                                          : aur_future_wait(future, until);
}

static void until_one_waits(aur_pool *pool)
{
    while (auri_ec_deficit(auri_load_sc(&auri_team_of(pool)->ec.word)) < 1) {
        sched_yield();
    }
}

/* Ends once the one who waits for it is counted as one that waits, and held. */
static int worked_for(pool_ptr pool)
{
    aurt_event_set(&begun);
    until_one_waits(pool);
    AURT_CHECK(tgkill(getpid(), atomic_load(&first_tid), SIGUSR1) == 0);
    aurt_event_wait(&held);
    return 1;
}
AUR_FN(int, worked_for, pool_ptr);

static int first(pool_ptr pool)
{
    AUR_SCOPED(aur_future) *future = NULL;
    sigset_t signals;

    AURT_CHECK(sigemptyset(&signals) == 0 && sigaddset(&signals, SIGUSR1) == 0);
    AURT_CHECK(pthread_sigmask(SIG_UNBLOCK, &signals, NULL) == 0); /* workers block all */
    AURT_CHECK(aur_apply_async(pool, &future, worked_for, pool) == AUR_OK);
    aurt_event_wait(&begun); /* the other one has it */
    atomic_store(&first_tid, aurp_thread_self());
    AURT_CHECK(wait_for(future, atomic_load(&first_how)) == AUR_OK);
    return 1;
}
AUR_FN(int, first, pool_ptr);

static int nothing(int x)
{
    return x;
}
AUR_FN(int, nothing, int);

static int last(pool_ptr pool)
{
    AUR_SCOPED(aur_future) *future = NULL;

    AURT_CHECK(aur_apply_async(pool, &future, nothing, 1) == AUR_OK);
    atomic_store(&last_tid, aurp_thread_self());
    aur_err err = aur_future_wait(future, AUR_NO_DEADLINE);
    atomic_store(&last_err, err);
    aurt_event_set(&ended);
    return 1;
}
AUR_FN(int, last, pool_ptr);

static int second(pool_ptr pool)
{
    AUR_SCOPED(aur_future) *future = NULL;

    AURT_CHECK(aur_apply_async(pool, &future, last, pool) == AUR_OK);
    return aur_future_wait(future, AUR_NO_DEADLINE) == AUR_OK;
}
AUR_FN(int, second, pool_ptr);

/* ---- one is about to go on ------------------------------------------------------------------- */

static aur_pool *pool_of(uint32_t workers, uint32_t queue_max)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.workers = workers;
    opts.queue_max = queue_max;
    opts.spares_max = AUR_NO_SPARES;
    opts.flags = AUR_POOL_NO_HELP; /* what is queued is for a worker */
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

static void one_that_waits_so_is_about_to_go_on(int how)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(2, 0);
    AUR_SCOPED(aur_future) *one = NULL;
    AUR_SCOPED(aur_future) *two = NULL;
    int v = 0;

    begin_anew(how);
    atomic_store(&last_err, AUR_EPENDING);
    AURT_OK(aur_apply_async(pool, &one, first, pool));
    aurt_event_wait(&held);
    AURT_OK(aur_apply_async(pool, &two, second, pool));
    /* It sleeps, or was refused. */
    while (atomic_load(&last_err) == AUR_EPENDING &&
           (atomic_load(&last_tid) == 0 || !aurp_thread_sleeps(atomic_load(&last_tid)))) {
        sched_yield();
    }
    aurt_event_set(&go_on);
    AURT_OK(aur_future_result(two, &v, AUR_NO_DEADLINE));
    assert_int_equal(v, 1);
    AURT_OK(atomic_load(&last_err));
    AURT_OK(aur_future_outcome(one, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
}

static void one_is_about_to_go_on(void **state)
{
    (void)state;
    struct sigaction action = { .sa_handler = hold, .sa_flags = SA_RESTART };
    AURT_CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int how = PLAIN; how <= TIMED_ANY; how++) {
        one_that_waits_so_is_about_to_go_on(how);
    }
}

/* ---- nobody is ------------------------------------------------------------------------------- */

struct away {
    aur_pool *pool;
    aur_pool *other;
    aur_future *gated; /* of the other pool; ends with go_on */
    bool waited;       /* before, for what is done by now */
    bool for_room;     /* in the other pool's queue, and not for that future */
};
typedef struct away *away_ptr;

static int gate(int x)
{
    aurt_event_set(&begun);
    aurt_event_wait(&go_on);
    return x;
}
AUR_FN(int, gate, int);

static int while_one_waits(pool_ptr pool)
{
    until_one_waits(pool);
    return 1;
}
AUR_FN(int, while_one_waits, pool_ptr);

static int goes_away(away_ptr away)
{
    AUR_SCOPED(aur_future) *before = NULL;
    AUR_SCOPED(aur_future) *queued = NULL;
    AUR_SCOPED(aur_future) *late = NULL;

    if (away->waited) {
        AURT_CHECK(aur_apply_async(away->other, &before, while_one_waits, away->pool) == AUR_OK);
        AURT_CHECK(aur_future_wait(before, AUR_NO_DEADLINE) == AUR_OK);
    }
    AURT_CHECK(aur_apply_async(away->other, &away->gated, gate, 1) == AUR_OK);
    aurt_event_wait(&begun);
    if (away->for_room) { /* the queue takes one */
        AURT_CHECK(aur_apply_async(away->other, &queued, nothing, 1) == AUR_OK);
    }
    aurt_event_set(&held);
    if (away->for_room) {
        AURT_CHECK(aur_apply_async(away->other, &late, nothing, 1) == AUR_OK);
    } else {
        AURT_CHECK(wait_for(away->gated, TIMED_ANY) == AUR_OK);
    }
    return 1;
}
AUR_FN(int, goes_away, away_ptr);

static void all_are_away(bool waited, bool for_room)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(1, 0);
    AUR_SCOPED(aur_pool) *other = pool_of(1, 1);
    struct away away = { .pool = pool, .other = other, .waited = waited, .for_room = for_room };
    AUR_SCOPED(aur_future) *one = NULL;
    AUR_SCOPED(aur_future) *two = NULL;

    begin_anew(PLAIN);
    AURT_OK(aur_apply_async(pool, &one, goes_away, &away));
    aurt_event_wait(&held);
    until_one_waits(pool);
    AURT_OK(aur_apply_async(pool, &two, last, pool));
    aurt_event_wait(&ended);
    AURT_ERR(AUR_EAGAIN, atomic_load(&last_err));
    aurt_event_set(&go_on);
    AURT_OK(aur_future_outcome(two, AUR_NO_DEADLINE));
    AURT_OK(aur_future_outcome(one, AUR_NO_DEADLINE));
    aur_future_unref(away.gated);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    AURT_OK(aur_pool_join(other, AUR_NO_DEADLINE));
}

/* Each of them in a thread of its own, that has not waited yet. */
static void nobody_is_about_to_go_on(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        all_are_away((i & 1) != 0, (i & 2) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_about_to_go_on),
        cmocka_unit_test(one_is_about_to_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
