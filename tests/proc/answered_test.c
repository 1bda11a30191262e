/* Goal:    a call that a worker process has answered is not held up by what the worker does next: no verdict
 *          takes the two for a circle while the answer is on its way to its caller.
 * Method:  the answer is taken, and then its call is not done before a verdict was asked for: that of the worker's
 *          next call, which waits for a task of a thread, which waits for the first one.
 * Guards:  src/proc/drain.c, waits.c; src/sched/detect.c.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "gates.h"

#include "sched/detect.h"

/* What the workers share with this program. */
static struct shared {
    struct gates gates;
    aurt_event asked;
    aurt_event taken;  /* the answer */
    aurt_event judged; /* the wait of the next call */
    uint64_t id;
} * shared;

static aur_pool *threads, *mine;
static _Atomic(aur_future *) held;

/* In the linked program these stand before the real ones. */
void __real_auri_task_finish_uncounted(auri_task *task);
void __wrap_auri_task_finish_uncounted(auri_task *task);
aur_err __real_auri_detect(struct auri_record *node, aur_error *reterr_error);
aur_err __wrap_auri_detect(struct auri_record *node, aur_error *reterr_error);

void __wrap_auri_task_finish_uncounted(auri_task *task)
{
    if ((void *)task == (void *)atomic_load(&held)) {
        aurt_event_set(&shared->taken);
        aurt_event_wait(&shared->judged);
    }
    __real_auri_task_finish_uncounted(task);
}

aur_err __wrap_auri_detect(struct auri_record *node, aur_error *reterr_error)
{
    aur_err err = __real_auri_detect(node, reterr_error);

    if (node != auri_self()) { /* a worker process's */
        aurt_event_set(&shared->judged);
    }
    return err;
}

static int when_ready(int x)
{
    aurt_event_wait(&gates->ready);
    return x;
}
AUR_FN(int, when_ready, int);

/* In a thread of the parent. */
static int calls(int x)
{
    aur_future *future;
    int v = 0;

    MUST(aur_apply_async(mine, &future, when_ready, x) == AUR_OK);
    atomic_store(&held, future);
    aurt_event_set(&shared->asked);
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_OK ? v : -err;
}
AUR_FN(int, calls, int);

static int waits_for(int x)
{
    aur_future *future = NULL;
    int v = 0;

    aurt_event_wait(&shared->taken);
    MUST(aur_future_open(shared->id, &future) == AUR_OK);
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);
    aur_future_unref(future);
    return err == AUR_OK ? v + x : -err;
}
AUR_FN(int, waits_for, int);

static void test_next_call_waits_for_caller(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        aur_future *task, *waits;
        gates_reset();
        AURT_OK(aur_apply_async(threads, &task, calls, 5));
        shared->id = aur_future_id(task);
        aurt_event_wait(&shared->asked);
        AURT_OK(aur_apply_async(mine, &waits, waits_for, 1));
        aurt_event_set(&gates->ready);
        assert_int_equal(result_of(waits), 6);
        assert_int_equal(result_of(task), 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_call_waits_for_caller),
    };

    shared = gates_new(sizeof(*shared));
    threads = aurt_pool_new(AUR_THREADS, 1, 0, 0);
    mine = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    aurt_pool_end(mine);
    aurt_pool_end(threads);
    return failed;
}
