/* Goal:    what is given back is used again: a stream of calls takes no more places in the result segment than
 *          are in use or on their way back, and these are few, and few bytes.
 * Method:  byte strings through one worker, some of them under way at a time; the places of their results are
 *          counted.  Small ones, large ones, and large ones of which little is used.  And what
 *          the parent has told a worker of that is in the middle of a call.
 * Guards:  remember() and auri_extents_flush() in src/proc/segment.c.
 */
/* aurt: no-tsan */
#include "engine_rig.h"

enum { WINDOW_MAX = 8, PLACES_MAX = 4096 };

struct order {
    uint64_t room;             /* bytes that the task asks for */
    uint64_t used;             /* and that it uses of them */
    unsigned char ballast[48]; /* more than an entry takes: the arguments lie in the arena */
};

static aur_err answer(const void *in, size_t size, aur_out *out)
{
    struct order order;

    AURT_CHECK(size == sizeof(order));
    memcpy(&order, in, size);
    void *to = aur_out_alloc(out, order.room);
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memset(to, (int)(order.used & 0xff), order.used);
    aur_out_truncate(out, order.used);
    return AUR_OK;
}
AUR_BYTES_FN(answer);

struct places {
    const void *at[PLACES_MAX];
    unsigned n;
};

static void note(struct places *places, const void *at)
{
    for (unsigned i = 0; i < places->n; i++) {
        if (places->at[i] == at) {
            return;
        }
    }
    assert_true(places->n < PLACES_MAX);
    places->at[places->n++] = at;
}

/* Looks at a result and gives it back. */
static void take(aur_future *future, const struct order *order, struct places *places)
{
    const unsigned char *data;
    size_t size;

    AURT_OK(aur_future_view(future, (const void **)&data, &size, AUR_NO_DEADLINE));
    assert_int_equal(order->used, size);
    assert_int_equal(order->used & 0xff, data[0]);
    assert_int_equal(order->used & 0xff, data[size - 1]);
    note(places, data);
    aur_future_unref(future);
}

/* How many places the results of n calls were in, `window` of them under way. */
static unsigned places_of(struct order order, unsigned n, unsigned window)
{
    aur_future *futures[WINDOW_MAX];
    static struct places places;
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);

    places.n = 0;
    for (unsigned i = 0; i < n + window; i++) {
        if (i >= window) {
            take(futures[i % window], &order, &places);
        }
        if (i < n) {
            AURT_OK(aur_apply_bytes(pool, &futures[i % window], answer, &order, sizeof(order)));
        }
    }
    aurt_pool_end(pool);
    return places.n;
}

static uint32_t told(aur_pool *pool)
{
    struct auri_proc *p = auri_proc_of(pool);

    pthread_mutex_lock(&p->lock);
    uint32_t n = p->slots[0].worker->free_tail;
    pthread_mutex_unlock(&p->lock);
    return n;
}

static aur_future *result_of(aur_pool *pool, const struct order *order)
{
    aur_future *future = NULL;

    AURT_OK(aur_apply_bytes(pool, &future, answer, order, sizeof(*order)));
    return future;
}

/* While the worker has something to do it is told of sixteen small places at once, not of fewer. */
static void test_told_at_once(void **state)
{
    enum { BACK = 16 };
    const struct order order = { 100, 100, { 0 } };
    aur_future *futures[BACK + 1], *behind[3], *gone;
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    struct words *words;
    aur_buf *buf = words_new(pool, &words);
    int seven = 0;

    (void)state;
    for (int i = 0; i < BACK + 1; i++) {
        futures[i] = result_of(pool, &order);
        AURT_OK(aur_future_wait(futures[i], AUR_NO_DEADLINE));
    }
    AURT_OK(aur_apply_async(pool, &gone, wait_go, aur_buf_id(buf)));
    aurt_event_wait(&words->begun);
    believe_short(pool, &answer_aur_fn);
    uint32_t before = told(pool);
    for (int i = 0; i < BACK - 1; i++) {
        aur_future_unref(futures[i]);
    }
    behind[0] = result_of(pool, &order);
    assert_int_equal(before, told(pool));
    aur_future_unref(futures[BACK - 1]);
    behind[1] = result_of(pool, &order);
    assert_int_equal(before + BACK, told(pool));
    aur_future_unref(futures[BACK]);
    behind[2] = result_of(pool, &order);
    assert_int_equal(before + BACK, told(pool));
    aurt_event_set(&words->go);
    AURT_OK(aur_future_result(gone, &seven, AUR_NO_DEADLINE));
    assert_int_equal(7, seven);
    aur_future_unref(gone);
    for (int i = 0; i < 3; i++) {
        AURT_OK(aur_future_wait(behind[i], AUR_NO_DEADLINE));
        aur_future_unref(behind[i]);
    }
    aur_buf_unref(buf);
    aurt_pool_end(pool);
}

/* Sixteen are on their way at most. */
static void test_small(void **state)
{
    (void)state;
    assert_in_range(places_of((struct order){ 100, 100, { 0 } }, 2000, 8), 1, 8 + 16);
}

/* Nothing else is in the ring: what there is goes back. */
static void test_one_at_a_time(void **state)
{
    (void)state;
    assert_in_range(places_of((struct order){ 100, 100, { 0 } }, 200, 1), 1, 2);
    assert_in_range(places_of((struct order){ 1 << 20, 1 << 20, { 0 } }, 20, 1), 1, 2);
}

/* So many bytes do not wait for others. */
static void test_large(void **state)
{
    (void)state;
    assert_in_range(places_of((struct order){ 1 << 20, 1 << 20, { 0 } }, 100, 4), 1, 4 + 1);
}

/* The parent does not know how large the place of a small result is: three are enough. */
static void test_large_place(void **state)
{
    (void)state;
    assert_in_range(places_of((struct order){ 1 << 20, 50, { 0 } }, 100, 4), 1, 4 + 3);
}

/* ---- results that are no views ---------------------------------------------------------------- */

struct record {
    unsigned char bytes[100];
};

static struct record filled(int with)
{
    struct record record;

    memset(&record, with, sizeof(record));
    return record;
}
AUR_FN(struct record, filled, int);

/* The answers of the last round of the ring say where their results were. */
static void test_records(void **state)
{
    static struct places places;
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    const struct auri_worker *w = auri_proc_of(pool)->slots[0].worker;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct record record;
        AURT_OK(aur_apply(pool, &record, filled, i & 0xff));
        assert_int_equal(i & 0xff, record.bytes[0]);
        assert_int_equal(i & 0xff, record.bytes[99]);
    }
    assert_true(w->tail > AURI_RING);
    places.n = 0;
    for (uint64_t seq = w->tail - AURI_RING; seq < w->tail; seq++) {
        const struct auri_extent *out = &w->ctl->comp[auri_ring_at(seq)].out;
        assert_int_equal(AURI_SEG_RESULT, auri_extent_seg(*out));
        note(&places, auri_window_at(w->segment->window, auri_extent_off(*out), 100));
    }
    assert_in_range(places.n, 1, 2);
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_told_at_once),  cmocka_unit_test(test_small),
        cmocka_unit_test(test_one_at_a_time), cmocka_unit_test(test_large),
        cmocka_unit_test(test_large_place),   cmocka_unit_test(test_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
