/* aurt: no-tsan */
/* Goal:    a pool's shared memory goes back to the system when it was not in use for two periods, in workers
 *          without an entry and with one after the other, and in the program; views and buffers that are held
 *          stay as they are, also while workers are killed; then nobody comes for it any more.
 * Method:  a worker driven by hand; pools whose periods are short.  What the files have behind them is counted.
 * Guards:  src/proc/shrink.c; shrink() in src/proc/worker.c.
 */
#include "engine_rig.h"
#include "worker_rig.h"

#include "plat/shm.h"

#define MIB (UINT64_C(1) << 20)
#define SPARE AURI_ARENA_SPARE_BYTES
#define PIECES 8u
#define LARGE (SPARE + PIECES * AURI_ARENA_PIECE_BYTES)

/* ---- tasks -------------------------------------------------------------------------------------- */

struct order {
    uint64_t bytes;
    uint64_t seed;
};

static uint64_t word_of(uint64_t seed, uint64_t i)
{
    return (seed + i) * UINT64_C(0x9e3779b97f4a7c15);
}

static aur_err make(const void *in, size_t size, aur_out *out)
{
    struct order order;

    AURT_CHECK(size == sizeof(order));
    memcpy(&order, in, size);
    uint64_t *to = aur_out_alloc(out, order.bytes);
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    for (uint64_t i = 0; i < order.bytes / 8; i++) {
        to[i] = word_of(order.seed, i);
    }
    return AUR_OK;
}
AUR_BYTES_FN(make);

static aur_err sum(const void *in, size_t size, aur_out *out)
{
    const unsigned char *bytes = in;
    uint64_t total = 0;

    for (size_t i = 0; i < size; i++) {
        total += bytes[i];
    }
    void *to = aur_out_alloc(out, sizeof(total));
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, &total, sizeof(total));
    return AUR_OK;
}
AUR_BYTES_FN(sum);

/* Meets the test; shared memory that is inherited. */
static struct gates {
    aurt_event begun[2];
    aurt_event go[2];
} * gates;

static int pass(int which)
{
    aurt_event_set(&gates->begun[which]);
    aurt_event_wait(&gates->go[which]);
    return which;
}
AUR_FN(int, pass, int);

/* ---- a worker driven by hand ----------------------------------------------------------------------- */

static uint64_t pages_of(const rig *r)
{
    return aurp_shm_committed(r->fds[AURI_WORKER_FD_RESULT]);
}

static struct auri_comp_desc call_make(rig *r, uint64_t bytes)
{
    struct auri_sub_desc desc = rig_desc(AURI_OP_BYTES, &make_aur_fn);
    struct order order = { bytes, 1 };

    rig_inline(&desc, &order, sizeof(order));
    return rig_do(r, &desc);
}

static struct auri_sub_desc call_of(const aur_fn *fn, const void *args, size_t size)
{
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, fn);

    rig_inline(&desc, args, size);
    return desc;
}

static void ask(rig *r, uint32_t number)
{
    auri_store_rlx(&r->ctl->shrink, number);
}

/* Asks a worker that has nothing to do; it may go to sleep at this moment, and is woken until it answers. */
static void ask_and_wait(rig *r, uint32_t number)
{
    ask(r, number);
    while (auri_load_rlx(&r->ctl->shrunk) != number) {
        (void)auri_ring_wake(r->ctl);
        sched_yield();
    }
}

static void test_idle_worker(void **state)
{
    rig r;

    (void)state;
    rig_init(&r, 256 * MIB);
    rig_start(&r);
    assert_int_equal(1, rig_hello(&r));
    struct auri_comp_desc comp = call_make(&r, LARGE);
    ask_and_wait(&r, 1);
    ask_and_wait(&r, 2);
    assert_true(pages_of(&r) >= LARGE); /* it is in use */
    const uint64_t *words = rig_at(&r, &comp.out, NULL);
    for (uint64_t i = 0; i < LARGE / 8; i++) {
        AURT_CHECK(words[i] == word_of(1, i));
    }
    rig_give_back(&r, comp.out);
    ask_and_wait(&r, 3);
    assert_true(pages_of(&r) >= LARGE); /* it was in use in this period and the one before */
    ask_and_wait(&r, 4);
    assert_int_equal(pages_of(&r), SPARE);
    while (auri_load_rlx(&r.ctl->sleeping) == 0) { /* it is through, and sleeps */
        sched_yield();
    }
    comp = call_make(&r, 1000);
    assert_int_equal(((const uint64_t *)rig_at(&r, &comp.out, NULL))[124], word_of(1, 124));
    assert_int_equal(0, rig_quit(&r));
    rig_fini(&r);
}

/* A worker that always finds its next entry gives a piece back before each. */
static void test_busy_worker(void **state)
{
    struct auri_sub_desc desc;
    struct auri_comp_desc comp;
    rig r;

    (void)state;
    memset(gates, 0, sizeof(*gates));
    rig_init(&r, 256 * MIB);
    rig_start(&r);
    assert_int_equal(1, rig_hello(&r));
    comp = call_make(&r, LARGE);
    rig_give_back(&r, comp.out);
    ask_and_wait(&r, 1);
    desc = call_of(&pass_aur_fn, &(int){ 0 }, sizeof(int));
    uint64_t first = rig_send(&r, &desc);
    aurt_event_wait(&gates->begun[0]);
    desc = call_of(&add_aur_fn, &(struct add_args){ 3, 4 }, sizeof(struct add_args));
    for (unsigned i = 0; i < PIECES - 1; i++) {
        (void)rig_put(&r, &desc);
    }
    desc = call_of(&pass_aur_fn, &(int){ 1 }, sizeof(int));
    uint64_t last = rig_put(&r, &desc);
    ask(&r, 2);
    assert_true(pages_of(&r) >= LARGE);
    aurt_event_set(&gates->go[0]);
    aurt_event_wait(&gates->begun[1]);
    assert_int_equal(pages_of(&r), SPARE);
    assert_int_equal(auri_load_rlx(&r.ctl->shrunk), 2);
    aurt_event_set(&gates->go[1]);
    for (uint64_t seq = first; seq <= last; seq++) {
        AURT_CHECK(rig_answer(&r, seq, &comp) && comp.err == AUR_OK);
    }
    assert_int_equal(0, rig_quit(&r));
    rig_fini(&r);
}

/* ---- pools --------------------------------------------------------------------------------------------- */

enum { N = 12 };
#define EACH (16 * MIB)

static aur_pool *quick_pool(uint32_t retries)
{
    aur_options opts = AUR_OPTIONS_INIT;

    opts.spares_max = AUR_NO_SPARES;
    opts.retries = retries;
    aur_pool *pool = pool_with(2, opts);
    auri_store_rlx(&auri_proc_of(pool)->shrink_period_ns, UINT64_C(1000000));
    return pool;
}

static uint64_t shared_of(aur_pool *pool)
{
    aur_stats stats = { .size = sizeof(stats) };

    AURT_OK(aur_pool_stats(pool, &stats));
    return stats.shared_bytes;
}

/* The arenas and two segments keep something each, and slabs of small sizes. */
static void settle(aur_pool *pool, uint64_t held)
{
    while (shared_of(pool) > held + 4 * (SPARE + MIB)) {
        sched_yield();
    }
}

static aur_future *order(aur_pool *pool, uint64_t bytes, uint64_t seed)
{
    struct order order = { bytes, seed };
    aur_future *future = NULL;

    AURT_OK(aur_apply_bytes(pool, &future, make, &order, sizeof(order)));
    return future;
}

static void look_at(aur_future *future, uint64_t bytes, uint64_t seed)
{
    const uint64_t *words = NULL;
    size_t size = 0;

    AURT_OK(aur_future_view(future, (const void **)&words, &size, AUR_NO_DEADLINE));
    assert_int_equal(bytes, size);
    for (uint64_t i = 0; i < size / 8; i++) {
        if (words[i] != word_of(seed, i)) {
            fail_msg("word %llu of result %llu", (unsigned long long)i, (unsigned long long)seed);
        }
    }
}

static void results_come_and_go(aur_pool *pool)
{
    aur_future *futures[N];

    for (unsigned i = 0; i < N; i++) {
        futures[i] = order(pool, EACH, i);
    }
    for (unsigned i = 0; i < N; i++) {
        look_at(futures[i], EACH, i);
    }
    assert_true(shared_of(pool) >= N * EACH);
    for (unsigned i = 0; i < N; i += 2) {
        aur_future_unref(futures[i]);
    }
    settle(pool, N / 2 * EACH);
    assert_true(shared_of(pool) >= N / 2 * EACH);
    for (unsigned i = 1; i < N; i += 2) {
        look_at(futures[i], EACH, i);
        aur_future_unref(futures[i]);
    }
    settle(pool, 0); /* nothing else happens: somebody comes for the views, too */
}

static void test_results(void **state)
{
    aur_pool *pool = quick_pool(0);

    (void)state;
    results_come_and_go(pool);
    results_come_and_go(pool); /* also of a worker that was asked, and is through */
    aurt_pool_end(pool);
}

/* The guardian has no tick any more when the period of a worker that was through ends. */
static void test_long_period(void **state)
{
    aur_pool *pool = quick_pool(0);

    (void)state;
    results_come_and_go(pool);
    auri_store_rlx(&auri_proc_of(pool)->shrink_period_ns, UINT64_C(1300000000));
    aur_future *future = order(pool, 6 * SPARE, 9);
    look_at(future, 6 * SPARE, 9);
    aur_future_unref(future);
    settle(pool, 0);
    aurt_pool_end(pool);
}

static void test_arguments(void **state)
{
    aur_pool *pool = quick_pool(0);
    aur_future *futures[N];
    unsigned char *bytes = malloc(EACH);

    (void)state;
    AURT_CHECK(bytes != NULL);
    memset(bytes, 3, EACH);
    for (unsigned i = 0; i < N; i++) {
        AURT_OK(aur_apply_bytes(pool, &futures[i], sum, bytes, EACH));
    }
    for (unsigned i = 0; i < N; i++) {
        const uint64_t *total;
        size_t size;
        AURT_OK(aur_future_view(futures[i], (const void **)&total, &size, AUR_NO_DEADLINE));
        assert_int_equal(*total, 3 * EACH);
        aur_future_unref(futures[i]);
    }
    settle(pool, 0);
    free(bytes);
    aurt_pool_end(pool);
}

static void test_buffers(void **state)
{
    aur_pool *pool = quick_pool(0);
    aur_buf *bufs[2];

    (void)state;
    AURT_OK(aur_buf_new(pool, 100 * MIB, AUR_BUF_INOUT, &bufs[0]));
    AURT_OK(aur_buf_new(pool, 100 * MIB, 0, &bufs[1]));
    memset(aur_buf_data(bufs[0]), 5, 100 * MIB);
    aur_buf_unref(bufs[1]);
    settle(pool, 100 * MIB);
    assert_true(shared_of(pool) >= 100 * MIB);
    const unsigned char *data = aur_buf_data(bufs[0]);
    for (uint64_t i = 0; i < 100 * MIB; i += 1024) {
        AURT_CHECK(data[i] == 5);
    }
    aur_buf_unref(bufs[0]);
    settle(pool, 0);
    aurt_pool_end(pool);
}

/* Killed while it gives memory back, or anything else: results are right, and what it left behind goes, too. */
static void test_kills(void **state)
{
    enum { ROUNDS = 60, HELD = 4 };
    aur_pool *pool = quick_pool(1000);
    aur_future *held[HELD] = { NULL };
    int32_t pids[2];
    size_t n;

    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        aur_future **at = &held[i % HELD];
        if (*at != NULL) {
            look_at(*at, i % 3 * 12 * MIB + 4096, i - HELD);
            aur_future_unref(*at);
        }
        *at = order(pool, (i + HELD) % 3 * 12 * MIB + 4096, i);
        if (i % 5 == 0) {
            AURT_OK(aur_pool_pids(pool, pids, 2, AUR_NO_DEADLINE, &n));
            if (pids[i / 5 % 2] != 0) {
                kill(pids[i / 5 % 2], SIGKILL);
            }
        }
    }
    for (unsigned i = ROUNDS; i < ROUNDS + HELD; i++) {
        look_at(held[i % HELD], i % 3 * 12 * MIB + 4096, i - HELD);
        aur_future_unref(held[i % HELD]);
    }
    settle(pool, 0);
    aurt_pool_end(pool);
}

/* ---- and then nobody comes any more ------------------------------------------------------------------------ */

static _Atomic(uint64_t) slept_until; /* what the guardian said last */

unsigned __real_aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned room, uint64_t until);
unsigned __wrap_aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned room, uint64_t until);
unsigned __wrap_aurp_epoll_wait(int epoll, aurp_ready *ret_ready, unsigned room, uint64_t until)
{
    atomic_store(&slept_until, until);
    return __real_aurp_epoll_wait(epoll, ret_ready, room, until);
}

static void test_rest(void **state)
{
    aur_pool *pool = quick_pool(0);

    (void)state;
    aur_future *future = order(pool, 4 * SPARE, 5);
    look_at(future, 4 * SPARE, 5);
    aur_buf *buf = NULL;
    AURT_OK(aur_buf_new(pool, 4 * SPARE, 0, &buf));
    aur_buf_unref(buf);
    aur_future_unref(future);
    settle(pool, 0);
    while (atomic_load(&slept_until) != UINT64_MAX) {
        sched_yield();
    }
    assert_true(shared_of(pool) <= 4 * (SPARE + MIB));
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_worker), cmocka_unit_test(test_busy_worker),
        cmocka_unit_test(test_results),     cmocka_unit_test(test_long_period),
        cmocka_unit_test(test_arguments),   cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_kills),       cmocka_unit_test(test_rest),
    };

    gates = aurt_shared(sizeof(*gates));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
