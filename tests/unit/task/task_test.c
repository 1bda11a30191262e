/* Goal:   the task word: one runner, whatever races for the claim; waiters and flags survive it.
 * Method: threads meet at a barrier and race for the same task, many rounds.
 * Guards: [Q1] [Q2] [D1] in src/task/task.c. */
#include "aurt.h"

#include <pthread.h>

#include "sched/wait.h"
#include "task/pool.h"
#include "task/record.h"

#define THREADS 4
#define ROUNDS 3000u

static const struct auri_backend backend = { .name = "test" };
static aur_pool pool = { .magic = AURI_POOL_MAGIC, .backend = &backend, .holds = 1, .refs = 1 };

static auri_task *task_queued(uint32_t refs)
{
    auri_task *task = auri_task_new(refs);

    AURT_CHECK(task != NULL);
    task->pool = &pool;
    auri_task_queue(task);
    return task;
}

/* Its second line says that it is about to be done. */
static const aur_fn telling = { .args_size = 8, .args_align = 8, .ret_size = 8, .ret_align = 8 };

static aurt_barrier barrier = { .parties = THREADS };
static auri_task *contended;
static _Atomic(uint32_t) claims;
static _Atomic(uint32_t) cancels;

/* Thread 0 makes the task, all claim it, or cancel it (odd threads, if `arg` says so). */
static void race(unsigned id, bool cancel)
{
    for (uint32_t round = 0; round < ROUNDS; round++) {
        if (id == 0) {
            contended = task_queued(1);
        }
        aurt_barrier_wait(&barrier);
        if (cancel && id % 2 == 1) {
            if (auri_task_cancel_queued(contended)) {
                auri_add_rlx(&cancels, 1u);
            }
        } else if (auri_task_claim(contended, id + 100)) {
            uint64_t word = auri_load_acq(&contended->word);
            AURT_CHECK(auri_word_owner(word) == id + 100);
            AURT_CHECK(auri_word_state(word) == AURI_RUNNING);
            auri_add_rlx(&claims, 1u);
            auri_task_finish(contended);
        }
        aurt_barrier_wait(&barrier);
        if (id == 0) {
            AURT_CHECK(auri_task_is_done(contended));
            AURT_CHECK(contended->err == AUR_OK || contended->err == AUR_ECANCELED);
            auri_task_unref(contended);
        }
    }
}

static void *claimer(void *id)
{
    race((unsigned)(uintptr_t)id, false);
    return NULL;
}

static void *claimer_or_canceller(void *id)
{
    race((unsigned)(uintptr_t)id, true);
    return NULL;
}

static void run_threads(void *(*fn)(void *))
{
    pthread_t threads[THREADS];

    auri_store_rlx(&claims, 0u);
    auri_store_rlx(&cancels, 0u);
    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, fn, (void *)i), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void one_claim_wins(void **state)
{
    (void)state;
    run_threads(claimer);
    assert_int_equal(auri_load_rlx(&claims), ROUNDS);
}

static void claim_or_cancel(void **state)
{
    uint64_t before = auri_load_rlx(&pool.cancelled);

    (void)state;
    run_threads(claimer_or_canceller);
    assert_int_equal(auri_load_rlx(&claims) + auri_load_rlx(&cancels), ROUNDS);
    assert_int_equal(auri_load_rlx(&pool.cancelled) - before, auri_load_rlx(&cancels));
}

static void flags_survive_claim_and_requeue(void **state)
{
    auri_task *task = task_queued(1);
    uint64_t gen = auri_load_rlx(&task->word) & AURI_GEN_MASK;

    (void)state;
    auri_or_rlx(&task->word, AURI_F_WAITERS | AURI_F_CONTS);
    assert_true(auri_task_claim(task, 7));
    assert_false(auri_task_claim(task, 8));
    assert_int_equal(auri_load_rlx(&task->word),
                     gen | AURI_F_WAITERS | AURI_F_CONTS | (7u << AURI_OWNER_SHIFT) | AURI_RUNNING);
    auri_task_requeue(task);
    assert_int_equal(auri_load_rlx(&task->word), gen | AURI_F_WAITERS | AURI_F_CONTS | AURI_QUEUED);
    assert_true(auri_task_claim(task, 8));
    auri_task_finish(task);
    assert_int_equal(auri_load_rlx(&task->word), gen | AURI_DONE);
    assert_false(auri_task_cancel_queued(task));
    auri_task_unref(task);
}

static void *waiter(void *unused)
{
    (void)unused;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        aurt_barrier_wait(&barrier);
        AURT_CHECK(auri_wait_task(contended, AUR_NO_DEADLINE) == AUR_OK);
        AURT_CHECK(contended->attempts == (uint16_t)round); /* plain data, published by DONE */
        aurt_barrier_wait(&barrier);
    }
    return NULL;
}

/* A waiter that sleeps, or is about to, is woken by finish: a lost wake hangs. */
static void finish_wakes_waiters(void **state)
{
    pthread_t threads[THREADS - 1];

    (void)state;
    for (int i = 0; i < THREADS - 1; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, waiter, NULL), 0);
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        contended = task_queued(1);
        AURT_CHECK(auri_task_claim(contended, auri_self()->id));
        contended->fn = round % 2 != 0 ? &telling : NULL;
        aurt_barrier_wait(&barrier);
        contended->attempts = (uint16_t)round;
        auri_task_finish(contended);
        aurt_barrier_wait(&barrier);
        auri_task_unref(contended);
    }
    for (int i = 0; i < THREADS - 1; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void the_end_is_told(void **state)
{
    auri_task *task = task_queued(1);
    uint8_t told = auri_word_told(auri_load_rlx(&task->word));

    (void)state;
    assert_false(auri_task_tells(task)); /* nothing is known of its second line */
    task->fn = &telling;
    assert_true(auri_task_tells(task));
    assert_int_not_equal(auri_load_rlx(&task->store.told), told);
    assert_true(auri_task_claim(task, 7));
    auri_task_finish(task);
    assert_int_equal(auri_load_rlx(&task->store.told), told);
    auri_task_unref(task);
    assert_ptr_equal(task_queued(1), task); /* the same place */
    task->fn = &telling;
    told = auri_word_told(auri_load_rlx(&task->word));
    assert_int_not_equal(auri_load_rlx(&task->store.told), told);
    assert_true(auri_task_claim(task, auri_self()->id + 1));
    auri_store_rlx(&task->store.told, told); /* as 256 calls before: it is not done for that */
    AURT_ERR(AUR_ETIMEDOUT, auri_wait_task(task, aur_deadline_in_ms(1)));
    auri_task_finish(task);
    AURT_OK(auri_wait_task(task, AUR_NO_DEADLINE));
    auri_task_unref(task);
}

static void failure_has_details(void **state)
{
    auri_task *task = task_queued(1);

    (void)state;
    assert_true(auri_task_claim(task, 7));
    assert_non_null(auri_task_fail(task, AUR_ETASK, "%0600d", 1));
    uint32_t holds = auri_load_rlx(&pool.holds);
    auri_task_finish(task);
    assert_int_equal(task->err, AUR_ETASK);
    assert_int_equal(strlen(auri_task_error(task)->message), 511);
    assert_int_equal(auri_load_rlx(&pool.holds), holds + 1);
    auri_task_unref(task);
    assert_int_equal(auri_load_rlx(&pool.holds), holds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            the_end_is_told), /* first: a thread that has waited in vain does not spin */
        cmocka_unit_test(flags_survive_claim_and_requeue),
        cmocka_unit_test(failure_has_details),
        cmocka_unit_test(one_claim_wins),
        cmocka_unit_test(claim_or_cancel),
        cmocka_unit_test(finish_wakes_waiters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
