/* Goal:    what comes between two steps of a request is not lost: a wait that begins when the answer to others is
 *          there already, a request that comes while the one before is still being dealt with, a wait that is taken
 *          up again when another thread has asked.
 * Method:  functions of the engine are replaced by ones that stop a thread at that point until the other side has
 *          done its step.  The guardian of the pool has no ticks: what is left lying lies for ever.
 * Guards:  was_named() and run_first() in src/proc/turns.c; auri_wait_settle() in src/proc/waits.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "gates.h"

#include <pthread.h>
#include <sched.h>

#include "proc/ask.h"
#include "proc/internal.h"
#include "sched/detect.h"

enum { ROUNDS = 50 };

/* What the workers share with this program. */
static struct shared {
    struct gates gates;
    uint64_t id, other_id;
    aurt_event opened; /* what is waited for */
    aurt_event leads;  /* this program's thread sleeps on the bell */
    aurt_event again;  /* the next request may come */
    aurt_event left;   /* it was seen, and left to whoever serves */
    aurt_event told;
    aurt_event answered; /* the first thread has its answer */
    aurt_event joined;   /* the second one has come to wait */
    _Atomic(uint64_t) deadline;
    _Atomic(int) asked_again;
} * shared;

static aur_pool *mine;

/* In linked programs these stand before the real ones. */
void __real_auri_parent_ask_in_turn(struct auri_worker_self *self,
                                    const struct auri_request *request,
                                    struct auri_reply *ret_reply);
void __wrap_auri_parent_ask_in_turn(struct auri_worker_self *self,
                                    const struct auri_request *request,
                                    struct auri_reply *ret_reply);
void __real_auri_worker_ring(struct auri_worker_self *self);
void __wrap_auri_worker_ring(struct auri_worker_self *self);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
aur_err __real_auri_detect(struct auri_record *node, aur_error *reterr_error);
aur_err __wrap_auri_detect(struct auri_record *node, aur_error *reterr_error);
void __real_auri_request_look(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
void __wrap_auri_request_look(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h);
unsigned __real_aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned max,
                                aur_deadline deadline);
unsigned __wrap_aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned max,
                                aur_deadline deadline);
aur_err __real_aurp_fd_wait(int fd, aur_deadline deadline);
aur_err __wrap_aurp_fd_wait(int fd, aur_deadline deadline);

/* ---- in a worker --------------------------------------------------------------------------- */

static _Thread_local bool first_waiter, second_waiter, runner;
static _Thread_local int locks; /* of a thread that has said RAN; 0: it has not */

void __wrap_auri_parent_ask_in_turn(struct auri_worker_self *self,
                                    const struct auri_request *request,
                                    struct auri_reply *ret_reply)
{
    if (shared != NULL && request->op == AURI_REQ_WAIT && !runner) {
        atomic_fetch_add(&shared->asked_again, 1);
    }
    __real_auri_parent_ask_in_turn(self, request, ret_reply);
    if (runner && request->op == AURI_REQ_RAN) {
        locks = 1;
        atomic_store(&shared->asked_again, 0);
    }
    if (first_waiter && request->op == AURI_REQ_WAIT && ret_reply->err == AUR_ETIMEDOUT) {
        first_waiter = false;
        aurt_event_set(&shared->answered);
        aurt_event_wait(&shared->joined);
        while (aurp_now_ns() < atomic_load(&shared->deadline)) {
            sched_yield();
        }
    }
}

void __wrap_auri_worker_ring(struct auri_worker_self *self)
{
    __real_auri_worker_ring(self);
    if (second_waiter) { /* it recalls what stands */
        aurt_event_set(&shared->joined);
    }
}

/* After RAN the thread gives the turn, and then goes back to its wait: another thread asks between the two. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (locks != 0 && mutex == &auri_worker_self()->remote->lock && locks++ == 2) {
        locks = 0;
        runner = false;
        while (atomic_load(&shared->asked_again) == 0) {
            sched_yield();
        }
    }
    return __real_pthread_mutex_lock(mutex);
}

static aur_future *open_one(uint64_t id)
{
    aur_future *future = NULL;

    AURT_CHECK(aur_future_open(id, &future) == AUR_OK);
    return future;
}

/* Another thread of the worker. */
static int waits_for_a_moment(int x)
{
    aur_future *future = open_one(shared->id);

    aurt_event_wait(&gates->begun);
    first_waiter = true;
    while (first_waiter) { /* a deadline that has passed is no wait */
        AURT_CHECK(aur_future_wait(future, aur_deadline_in_ms(1)) == AUR_ETIMEDOUT);
    }
    aur_future_unref(future);
    return x;
}
AUR_FN(int, waits_for_a_moment, int);

/* What it waits for is done, and that is asked when the answer to the other thread is there. */
static int comes_late(int x)
{
    aur_pool *own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aur_future *future, *late;
    int v = 0;

    aurt_event_wait(&gates->ready);
    late = open_one(shared->other_id);
    MUST(aur_apply_async(own, &future, waits_for_a_moment, 0) == AUR_OK);
    aurt_event_set(&shared->opened);
    aurt_event_wait(&shared->answered);
    second_waiter = true;
    atomic_store(&shared->deadline, aur_deadline_in_ms(100));
    MUST(aur_future_result(late, &v, atomic_load(&shared->deadline)) == AUR_OK && v == 6);
    aurt_event_set(&shared->joined);
    MUST(aur_future_wait(future, AUR_NO_DEADLINE) == AUR_OK);
    aur_future_unref(future);
    aur_future_unref(late);
    aurt_pool_end(own);
    return x;
}
AUR_FN(int, comes_late, int);

static int when_opened(int x)
{
    aurt_event_wait(&shared->opened);
    return x;
}
AUR_FN(int, when_opened, int);

static int waits_for_slow(int x)
{
    aur_future *future = open_one(shared->id);
    int v = 0;

    aurt_event_set(&shared->opened);
    AURT_CHECK(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK && v == 5);
    aur_future_unref(future);
    return x;
}
AUR_FN(int, waits_for_slow, int);

/* It runs what it waits for in place of the wait, while another thread waits. */
static int runs_in_place(int x)
{
    static aur_pool *own; /* not joined: its thread may end after this task */
    int v = 0;

    own = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    aurt_event_wait(&gates->ready);
    MUST(aur_apply_async(own, NULL, waits_for_slow, 0) == AUR_OK);
    aurt_event_wait(&shared->opened);
    aur_future *future = open_one(shared->other_id);
    runner = true;
    MUST(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK && v == 6);
    runner = false;
    aur_future_unref(future);
    return x;
}
AUR_FN(int, runs_in_place, int);

/* Waits, and asks for something else at once. */
static int asks_again(int x)
{
    aur_future *future = open_one(shared->id);
    int v = 0;

    aurt_event_set(&shared->opened);
    aurt_event_wait(&shared->leads);
    MUST(aur_future_result(future, &v, AUR_NO_DEADLINE) == AUR_OK && v == 5);
    aur_future_unref(future);
    aurt_event_wait(&shared->again);
    MUST(aur_apply(others, &v, fast, 7) == AUR_OK && v == 7);
    aurt_event_set(&shared->told);
    return x;
}
AUR_FN(int, asks_again, int);

/* ---- in this program ----------------------------------------------------------------------- */

static _Thread_local bool leader;
static _Atomic(bool) ticks_off, held;
static _Atomic(aur_future *) led;

/* The leader serves a wait.  That ends, what it leads for is done, and the worker asks again. */
aur_err __wrap_auri_detect(struct auri_record *node, aur_error *reterr_error)
{
    aur_err err = __real_auri_detect(node, reterr_error);

    if (leader && !held && node != auri_self()) {
        struct auri_proc *p = auri_proc_of(mine);
        held = true;
        aurt_event_set(&gates->go);
        while (!auri_task_is_done(
            (auri_task *)(void *)atomic_load(&led))) { /* the guardian takes it */
            pthread_mutex_lock(&p->lock);
            auri_kick(p);
            pthread_mutex_unlock(&p->lock);
            sched_yield();
        }
        aurt_event_set(&shared->again);
        aurt_event_wait(&shared->left);
    } else if (ticks_off) {
        aurt_event_set(&gates->go); /* the guardian served: another round */
    }
    return err;
}

void __wrap_auri_request_look(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    __real_auri_request_look(p, w, h);
    if (held && w->serving && !w->blocked && auri_request_waits(w)) {
        aurt_event_set(&shared->left);
    }
}

unsigned __wrap_aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned max,
                                aur_deadline deadline)
{
    bool never = ticks_off && epoll == auri_proc_of(mine)->epoll && deadline > aurp_now_ns();

    return __real_aurp_epoll_wait(epoll, ret_ready, max, never ? AUR_NO_DEADLINE : deadline);
}

aur_err __wrap_aurp_fd_wait(int fd, aur_deadline deadline)
{
    if (leader && fd == auri_proc_of(mine)->bell) {
        aurt_event_set(&shared->leads);
        return __real_aurp_fd_wait(fd, AUR_NO_DEADLINE);
    }
    return __real_aurp_fd_wait(fd, deadline);
}

static void name(aur_future *one, aur_future *other)
{
    shared->id = aur_future_id(one);
    shared->other_id = other != NULL ? aur_future_id(other) : 0;
    aurt_event_set(&gates->ready);
}

static void test_comes_after_answer(void **state)
{
    aur_future *never, *late, *task;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, 0);
    AURT_OK(aur_apply_async(others, &never, slow, 5));
    AURT_OK(aur_apply_async(others, &late, when_opened, 6));
    name(never, late);
    AURT_OK(aur_apply_async(mine, &task, comes_late, 3));
    assert_int_equal(result_of(aur_future_ref(late)), 6);
    aurt_event_set(&gates->begun);
    assert_int_equal(result_of(task), 3); /* or the line that did not hold */
    aurt_event_set(&gates->go);
    assert_int_equal(result_of(never), 5);
    aur_future_unref(late);
    aurt_pool_end(mine);
}

static void test_asks_between_two_locks(void **state)
{
    aur_future *never, *queued, *task;

    (void)state;
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    AURT_OK(aur_apply_async(others, &never, slow, 5));
    AURT_OK(aur_apply_async(mine, &task, runs_in_place, 3));
    AURT_OK(aur_apply_async(mine, &queued, fast, 6));
    name(never, queued);
    assert_int_equal(result_of(task), 3); /* or the line that did not hold */
    aurt_event_set(&gates->go);
    aurt_pool_end(mine);
    assert_int_equal(result_of(never), 5);
    aur_future_unref(queued);
}

/* Until the leader was the one that served. */
static void test_request_left(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS && !held; i++) {
        aur_future *awaited, *task, *own;

        gates_reset();
        AURT_OK(aur_apply_async(others, &awaited, slow, 5));
        name(awaited, NULL);
        mine = aurt_pool_new(AUR_PROCESSES, 2, AUR_START_FORK, 0);
        AURT_OK(aur_apply_async(mine, &own, slow, 4));
        AURT_OK(aur_apply_async(mine, &task, asks_again, 3));
        atomic_store(&led, own);
        aurt_event_wait(&shared->opened);
        ticks_off = true;
        leader = true;
        assert_int_equal(result_of(aur_future_ref(own)), 4);
        leader = false;
        aurt_event_set(&shared->again);
        aurt_event_wait(&shared->told);
        ticks_off = false;
        assert_int_equal(result_of(task), 3); /* or the line that did not hold */
        assert_int_equal(result_of(awaited), 5);
        aur_future_unref(own);
        aurt_pool_end(mine);
    }
    assert_true(held);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_after_answer, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_asks_between_two_locks, gates_setup, gates_teardown),
        cmocka_unit_test_setup_teardown(test_request_left, gates_setup, gates_teardown),
    };

    shared = gates_new(sizeof(*shared));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
