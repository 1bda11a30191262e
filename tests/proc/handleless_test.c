/* Goal:    calls of which nobody keeps a handle are run, retried, given to others and ended like any, and what
 *          is answered makes room for the next without a waiter.
 * Method:  counters in memory that workers share with the parent; calls that kill their worker, that wait for
 *          those behind them, and that are in the way when the pool is terminated.
 * Guards:  SOLE tasks in src/proc (src/task/task.h), catch_up() in src/proc/engine.c.
 */
/* aurt: no-tsan */
#include "engine_rig.h"

enum { CALLS = 300, DEADLY = 25 };

static struct board {
    _Atomic(int) runs[CALLS];
    _Atomic(int) ended[CALLS];
    _Atomic(int) counted;
    aurt_event begun, go;
} * board;

static int setup(void **state)
{
    (void)state;
    board = aurt_shared(sizeof(*board));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(board, sizeof(*board));
}

static aur_stats stats_of(aur_pool *pool)
{
    aur_stats stats = { .size = sizeof(stats) };

    AURT_OK(aur_pool_stats(pool, &stats));
    return stats;
}

/* ---- deaths ------------------------------------------------------------------------------------- */

/* Every 25th kills its worker when it is run for the first time. */
static void count_or_die(int n)
{
    if (atomic_fetch_add(&board->runs[n], 1) == 0 && n % DEADLY == 0) {
        kill(getpid(), SIGKILL);
    }
    atomic_fetch_add(&board->ended[n], 1);
}
AUR_FN_VOID(count_or_die, int);

static void run_with_deaths(uint32_t retries)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.retries = retries;
    aur_pool *pool = pool_with(2, opts);
    for (int n = 0; n < CALLS; n++) {
        AURT_OK(aur_apply_async(pool, NULL, count_or_die, n));
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    aur_stats stats = stats_of(pool);
    int lost = retries == 0 ? CALLS / DEADLY : 0;
    assert_int_equal(CALLS - lost, stats.done);
    assert_int_equal(lost, stats.failed);
    assert_int_equal(lost, stats.unseen);
    assert_int_equal(CALLS / DEADLY, stats.deaths);
    for (int n = 0; n < CALLS; n++) {
        bool deadly = n % DEADLY == 0;
        assert_int_equal(deadly && retries != 0 ? 2 : 1, board->runs[n]);
        assert_int_equal(deadly && retries == 0 ? 0 : 1, board->ended[n]);
    }
    aur_pool_unref(pool);
}

static void test_retried(void **state)
{
    (void)state;
    run_with_deaths(3);
}

static void test_lost(void **state)
{
    (void)state;
    run_with_deaths(0);
}

/* ---- results of byte strings ------------------------------------------------------------------------ */

static aur_err grow(const void *in, size_t size, aur_out *out)
{
    uint64_t result_size;

    if (size != sizeof(result_size)) {
        return AUR_EINVAL;
    }
    memcpy(&result_size, in, sizeof(result_size));
    unsigned char *data = aur_out_alloc(out, result_size);
    if (data == NULL) {
        return AUR_ENOMEM;
    }
    memset(data, 7, result_size);
    atomic_fetch_add(&board->counted, 1);
    return AUR_OK;
}
AUR_BYTES_FN(grow);

/* Nobody can look at a result that lies in the worker's segment: its room is free again at once. */
static void test_bytes(void **state)
{
    const uint64_t sizes[] = { 0, 8, 4096, 1u << 20 };
    const int rounds = 20;
    aur_pool *pool = pool_of(1);

    (void)state;
    for (int n = 0; n < rounds; n++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
            AURT_OK(aur_apply_bytes(pool, NULL, grow, &sizes[i], sizeof(sizes[i])));
        }
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(rounds * 4, stats_of(pool).done);
    assert_int_equal(rounds * 4, board->counted);
    aur_pool_unref(pool);
}

/* ---- taken back ---------------------------------------------------------------------------------- */

/* Call 0 ends once all others have. */
static void count_or_wait(int n)
{
    if (n != 0) {
        atomic_fetch_add(&board->counted, 1);
        return;
    }
    while (atomic_load(&board->counted) < 2 * CALLS - 1) {
        aur_checkpoint();
    }
}
AUR_FN_VOID(count_or_wait, int);

static void test_given_to_another(void **state)
{
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int n = 0; n < CALLS; n++) { /* so that the calls are known to be short */
        AURT_OK(aur_apply(pool, NULL, count_or_wait, n + 1));
    }
    for (int n = 0; n < CALLS; n++) {
        AURT_OK(aur_apply_async(pool, NULL, count_or_wait, n));
    }
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(2 * CALLS, stats_of(pool).done);
    assert_int_equal(2 * CALLS - 1, board->counted);
    assert_true(stats_of(pool).stolen > 0);
    aur_pool_unref(pool);
}

/* ---- terminated ----------------------------------------------------------------------------------- */

static void block(int n)
{
    (void)n;
    aurt_event_set(&board->begun);
    aurt_event_wait(&board->go); /* never: the worker is killed */
}
AUR_FN_VOID(block, int);

static void test_terminated(void **state)
{
    aur_pool *pool = pool_of(1);

    (void)state;
    AURT_OK(aur_apply_async(pool, NULL, block, 0));
    aurt_event_wait(&board->begun);
    for (int n = 0; n < CALLS; n++) {
        AURT_OK(aur_apply_async(pool, NULL, count_or_wait, n + 1));
    }
    aur_pool_terminate(pool);
    AURT_OK(aur_pool_join(pool, AUR_NO_DEADLINE));
    assert_int_equal(CALLS + 1, stats_of(pool).cancelled);
    assert_int_equal(0, board->counted);
    aur_pool_unref(pool);
}

/* ---- room ------------------------------------------------------------------------------------------ */

static uint64_t unanswered(aur_pool *pool)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    uint64_t n = auri_unanswered(p->slots[0].worker);
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* One worker has answered all before the call that blocks, since it takes them in order.  The next submit takes
 * these answers, so that a worker that keeps up never seems to hold a full ring. */
static void test_submit_takes_answers(void **state)
{
    enum { MANY = 200 };
    aur_pool *pool = pool_of(1);

    (void)state;
    believe_short(pool, &count_or_wait_aur_fn);
    for (int n = 0; n < MANY; n++) {
        AURT_OK(aur_apply_async(pool, NULL, count_or_wait, n + 1));
    }
    AURT_OK(aur_apply_async(pool, NULL, block, 0));
    aurt_event_wait(&board->begun);
    AURT_OK(aur_apply_async(pool, NULL, count_or_wait, 1));
    assert_true(unanswered(pool) <= AURI_RING / 2 + 1);
    assert_true(board->counted >= MANY);
    aurt_event_set(&board->go);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_given_to_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_terminated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submit_takes_answers, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
