/* Goal:   a wait is not refused for want of a worker while another worker is about to go on.
 * Method: two workers and the reserve, no spares.  The first waits for a task of the second, which holds it in a
 *         signal handler before it ends: so the first cannot tell its pool that it is back.  Then the second
 *         and the reserve wait as well, each for a task in the queue: nobody counts as active, but somebody is.
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
static _Atomic(int) first_tid;
static _Atomic(int) last_tid; /* the thread that waits last */
static _Atomic(int) last_err; /* of its wait */

static void hold(int number)
{
    (void)number;
    aurt_event_set(&held);
    aurt_event_wait(&go_on);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

typedef aur_pool *pool_ptr;

/* Ends once the one who waits for it is counted as one that waits, and held. */
static int worked_for(pool_ptr pool)
{
    aurt_event_set(&begun);
    while (auri_ec_deficit(auri_load_sc(&auri_team_of(pool)->ec.word)) < 1) {
        sched_yield();
    }
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
    AURT_CHECK(aur_future_wait(future, AUR_NO_DEADLINE) == AUR_OK);
    return 1;
}
AUR_FN(int, first, pool_ptr);

static int nothing(int x)
{
    return x;
}
AUR_FN(int, nothing, int);

static int third(pool_ptr pool)
{
    AUR_SCOPED(aur_future) *future = NULL;

    AURT_CHECK(aur_apply_async(pool, &future, nothing, 1) == AUR_OK);
    atomic_store(&last_tid, aurp_thread_self());
    aur_err err = aur_future_wait(future, AUR_NO_DEADLINE);
    atomic_store(&last_err, err);
    return 1;
}
AUR_FN(int, third, pool_ptr);

static int second(pool_ptr pool)
{
    AUR_SCOPED(aur_future) *future = NULL;

    AURT_CHECK(aur_apply_async(pool, &future, third, pool) == AUR_OK);
    return aur_future_wait(future, AUR_NO_DEADLINE) == AUR_OK;
}
AUR_FN(int, second, pool_ptr);

/* ---- the test -------------------------------------------------------------------------------- */

static void one_is_about_to_go_on(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_future) *one = NULL;
    AUR_SCOPED(aur_future) *two = NULL;
    int v = 0;

    (void)state;
    opts.workers = 2;
    opts.spares_max = AUR_NO_SPARES;
    opts.flags = AUR_POOL_NO_HELP; /* what is queued is for a worker */
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    struct sigaction action = { .sa_handler = hold, .sa_flags = SA_RESTART };
    AURT_CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_is_about_to_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
