/* worker_tasks.h: what the tests of a worker process let it do. */
#ifndef AURT_WORKER_TASKS_H
#define AURT_WORKER_TASKS_H

#include "worker_rig.h"

#include <pthread.h>

#include "sched/run.h"

#define RESULT_BYTES (UINT64_C(64) << 20)
#define STORM_ENTRIES 200u

/* What tests and tasks share. */
static struct board {
    aurt_event reached;
    aurt_event go;
    _Atomic(uint32_t) runs[64];
    _Atomic(uint32_t) hook;
    _Atomic(uint32_t) ran[STORM_ENTRIES + 1];
} * board;

static inline int setup(void **state)
{
    rig *r = calloc(1, sizeof(*r));

    memset(board, 0, sizeof(*board));
    rig_init(r, RESULT_BYTES);
    *state = r;
    return 0;
}

static inline int teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

/* ---- tasks ------------------------------------------------------------------------------------- */

static inline int add(int x, int y)
{
    return x + y;
}
AUR_FN(int, add, int, int);

struct big {
    unsigned char byte[1000];
};
static inline struct big fill(struct big in, int with)
{
    for (size_t i = 0; i < sizeof(in.byte); i++) {
        in.byte[i] = (unsigned char)(in.byte[i] + with);
    }
    return in;
}
AUR_FN(struct big, fill, struct big, int);

static inline int failing(int code)
{
    aur_fail(code, "code %d is bad", code);
    aur_fail(code + 1, "too late");
    return 5;
}
AUR_FN(int, failing, int);

static inline int64_t square(int64_t x)
{
    if (x < 0) {
        aur_fail((int)-x, "negative: %d at %d", (int)x, (int)aur_item_index());
    }
    return x * x;
}
AUR_FN(int64_t, square, int64_t);

struct sum {
    uint64_t total;
    uint64_t bad;
};
static inline void sum_up(uint64_t lo, uint64_t hi, struct sum *sum)
{
    for (uint64_t i = lo; i < hi; i++) {
        sum->total += i; /* private to this chunk */
        atomic_fetch_add_explicit(&board->runs[i % 64], 1, memory_order_relaxed);
        if (i == sum->bad) {
            aur_fail(9, "index %d", (int)aur_item_index());
        }
    }
}
AUR_RANGE_FN(sum_up, struct sum);

static inline aur_err echo(const void *in, size_t size, aur_out *out)
{
    const unsigned char *bytes = in;

    if (size > 0 && bytes[0] == '!') {
        out->data = out->alloc(out, 100);
        out->size = 100;
        return AUR_EBUSY;
    }
    if (size > 0 && bytes[0] == '-') {
        return AUR_OK; /* no result */
    }
    void *to = out->alloc(out, size);
    if (to == NULL) {
        out->failed = true;
        return AUR_OK;
    }
    memcpy(to, in, size);
    out->data = to;
    out->size = size > 0 && bytes[0] == '/' ? size / 2 : size;
    return AUR_OK;
}
AUR_BYTES_FN(echo);

static inline int64_t stop_at(int64_t x)
{
    if (x == 5) {
        aurt_event_set(&board->reached);
        aurt_event_wait(&board->go);
    }
    if (x == 3) {
        aur_fail(33, "third");
    }
    return x * 10;
}
AUR_FN(int64_t, stop_at, int64_t);

static inline int leave(int how)
{
    switch (how) {
    case 1:
        exit(3);
    case 2:
        pthread_exit(NULL);
    case 3:
        abort();
    default:
        return how;
    }
}
AUR_FN(int, leave, int);

/* 0: ran to its end; else what aur_checkpoint() said. */
static inline int dawdle(int ms)
{
    aur_deadline end = aur_deadline_in_ms((uint64_t)ms);

    aurt_event_set(&board->reached);
    while (aurp_now_ns() < end) {
        aur_err err = aur_checkpoint();
        if (err != AUR_OK) {
            return err;
        }
    }
    return 0;
}
AUR_FN(int, dawdle, int);

/* About 10 us. */
static inline int64_t slow_square(int64_t x)
{
    for (uint64_t end = aurp_now_ns() + 10000; aurp_now_ns() < end;) {
    }
    atomic_fetch_add_explicit(&board->ran[x], 1, memory_order_relaxed);
    return x * x;
}
AUR_FN(int64_t, slow_square, int64_t);

static inline int64_t inline_i64(const struct auri_comp_desc *comp)
{
    int64_t value;

    assert_int_equal(AUR_OK, comp->err);
    assert_int_equal(AURI_SEG_INLINE, auri_extent_seg(comp->out));
    assert_int_equal(sizeof(value), comp->out.size);
    memcpy(&value, comp->data, sizeof(value));
    return value;
}

static inline int inline_int(const struct auri_comp_desc *comp)
{
    int value;

    assert_int_equal(AUR_OK, comp->err);
    assert_int_equal(sizeof(value), comp->out.size);
    memcpy(&value, comp->data, sizeof(value));
    return value;
}

static inline const aur_error *error_of(rig *r, const struct auri_comp_desc *comp)
{
    assert_int_equal(sizeof(aur_error), comp->out.size);
    return rig_at(r, &comp->out, NULL);
}

static inline struct auri_chunk_end end_of(const struct auri_comp_desc *comp)
{
    struct auri_chunk_end end;

    assert_int_equal(AURI_COMP_DONE, comp->op);
    memcpy(&end, comp->data, sizeof(end));
    return end;
}

static inline int run_with_board(const struct CMUnitTest *tests, size_t n)
{
    board = aurt_shared(sizeof(*board));
    return _cmocka_run_group_tests("worker", tests, n, NULL, NULL);
}

#endif /* AURT_WORKER_TASKS_H */
