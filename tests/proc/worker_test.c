/* aurt: no-tsan */
/* A worker process, driven by hand: calls, byte strings, chunks, failures, deaths.
 * Guards: each kind of entry is answered as wire/ctl.h says, and what a death leaves behind is enough
 * to judge every item. */
#include "worker_rig.h"

#include <pthread.h>
#include <sys/mman.h>

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

static int setup(void **state)
{
    rig *r = calloc(1, sizeof(*r));

    memset(board, 0, sizeof(*board));
    rig_init(r, RESULT_BYTES);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

/* ---- tasks ------------------------------------------------------------------------------------- */

static int add(int x, int y)
{
    return x + y;
}
AUR_FN(int, add, int, int);

struct big {
    unsigned char byte[1000];
};
static struct big fill(struct big in, int with)
{
    for (size_t i = 0; i < sizeof(in.byte); i++) {
        in.byte[i] = (unsigned char)(in.byte[i] + with);
    }
    return in;
}
AUR_FN(struct big, fill, struct big, int);

static int failing(int code)
{
    aur_fail(code, "code %d is bad", code);
    aur_fail(code + 1, "too late");
    return 5;
}
AUR_FN(int, failing, int);

static int64_t square(int64_t x)
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
static void sum_up(uint64_t lo, uint64_t hi, struct sum *sum)
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

static aur_err echo(const void *in, size_t size, aur_out *out)
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

static int64_t stop_at(int64_t x)
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

static int leave(int how)
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
static int dawdle(int ms)
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
static int64_t slow_square(int64_t x)
{
    for (uint64_t end = aurp_now_ns() + 10000; aurp_now_ns() < end;) {
    }
    atomic_fetch_add_explicit(&board->ran[x], 1, memory_order_relaxed);
    return x * x;
}
AUR_FN(int64_t, slow_square, int64_t);

/* ---- calls -------------------------------------------------------------------------------------- */

static int64_t inline_i64(const struct auri_comp_desc *comp)
{
    int64_t value;

    assert_int_equal(AUR_OK, comp->err);
    assert_int_equal(AURI_SEG_INLINE, auri_extent_seg(comp->out));
    assert_int_equal(sizeof(value), comp->out.size);
    memcpy(&value, comp->data, sizeof(value));
    return value;
}

static int inline_int(const struct auri_comp_desc *comp)
{
    int value;

    assert_int_equal(AUR_OK, comp->err);
    assert_int_equal(sizeof(value), comp->out.size);
    memcpy(&value, comp->data, sizeof(value));
    return value;
}

static struct auri_comp_desc call_int(rig *r, const aur_fn *fn, int arg)
{
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, fn);

    rig_inline(&desc, &arg, sizeof(arg));
    return rig_do(r, &desc);
}

static void test_call_inline(void **state)
{
    rig *r = *state;
    int sum = 0;

    rig_start(r);
    assert_int_equal(1, rig_hello(r));
    for (int i = 0; i < 1000; i++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &add_aur_fn);
        struct add_args args = { i, 1 };
        rig_inline(&desc, &args, sizeof(args));
        struct auri_comp_desc comp = rig_do(r, &desc);
        sum += inline_int(&comp);
    }
    assert_int_equal(500500, sum);
    assert_int_equal(0, rig_quit(r));
}

static void test_call_pipelined_spinning(void **state)
{
    rig *r = *state;
    struct auri_comp_desc comp;
    uint64_t head = 1;

    r->ctl->setup.spin_ns = 50000;
    rig_start(r);
    while (head <= 20000) {
        while (r->tail - head < AURI_RING && r->tail <= 20000) {
            struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &add_aur_fn);
            struct add_args args = { (int)r->tail, -1 };
            rig_inline(&desc, &args, sizeof(args));
            rig_send(r, &desc);
        }
        assert_true(rig_answer(r, head, &comp));
        assert_int_equal((int)head - 1, inline_int(&comp));
        head++;
    }
    assert_int_equal(0, rig_quit(r));
}

/* Arguments in the arena (aligned or not), results in the segment, which are given back: the segment
 * holds 64 of them at a time, and 5000 calls fit. */
static void test_call_large(void **state)
{
    rig *r = *state;
    struct fill_args args = { { { 1 } }, 4 };
    struct auri_extent in[2];
    struct auri_extent seen = { 0, 0 };
    unsigned same = 0;

    args.a1.byte[999] = 7;
    in[0] = rig_bytes(r, &args, sizeof(args), 0);
    in[1] = rig_bytes(r, &args, sizeof(args), 1);
    rig_start(r);
    for (int i = 0; i < 5000; i++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &fill_aur_fn);
        desc.args = in[i % 2];
        struct auri_comp_desc comp = rig_do(r, &desc);
        assert_int_equal(AUR_OK, comp.err);
        assert_int_equal(AURI_SEG_RESULT, auri_extent_seg(comp.out));
        assert_int_equal(sizeof(struct big), comp.out.size);
        const struct big *out = rig_at(r, &comp.out, NULL);
        assert_true(out->byte[0] == 5 && out->byte[1] == 4 && out->byte[999] == 11);
        same += seen.where == comp.out.where;
        seen = comp.out;
        rig_give_back(r, comp.out);
    }
    assert_true(same > 4900);
    assert_int_equal(0, rig_quit(r));
}

/* What AUR_FN would make of a type that needs 256 bytes of alignment. */
static void aligned_range(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item)
{
    for (uint64_t i = lo; i < hi; i++) {
        *item = i;
        bool ok = ((uintptr_t)args & 255) == 0 && ((uintptr_t)ret & 255) == 0;
        memset((unsigned char *)ret + i * 256, ok ? 'a' : 'x', 256);
    }
}
static const aur_fn aligned_fn = { AUR_FN_ABI, 0, 256, 256, 256, 256, aligned_range, "aligned" };

static void test_alignment(void **state)
{
    rig *r = *state;
    unsigned char bytes[256 * 3] = { 0 };
    struct auri_extent filler = rig_bytes(r, bytes, 1, 0);
    struct auri_extent in = rig_bytes(r, bytes, sizeof(bytes), 0);

    (void)filler;
    rig_start(r);
    for (uint32_t op = AURI_OP_CALL; op <= AURI_OP_MAP; op += AURI_OP_MAP - AURI_OP_CALL) {
        struct auri_sub_desc desc = rig_desc(op, &aligned_fn);
        desc.args = in;
        desc.count = 3;
        struct auri_comp_desc comp = rig_do(r, &desc);
        assert_int_equal(AUR_OK, comp.err);
        const unsigned char *out = rig_at(r, &comp.out, NULL);
        assert_int_equal(op == AURI_OP_CALL ? 256 : 768, comp.out.size);
        for (uint64_t i = 0; i < comp.out.size; i++) {
            assert_int_equal('a', out[i]);
        }
    }
    assert_int_equal(0, rig_quit(r));
}

static const aur_error *error_of(rig *r, const struct auri_comp_desc *comp)
{
    assert_int_equal(sizeof(aur_error), comp->out.size);
    return rig_at(r, &comp->out, NULL);
}

static void test_call_fails(void **state)
{
    rig *r = *state;

    rig_start(r);
    for (int i = 0; i < 300; i++) {
        struct auri_comp_desc comp = call_int(r, &failing_aur_fn, 40 + i);
        char text[64];
        snprintf(text, sizeof(text), "code %d is bad", 40 + i);
        assert_int_equal(AUR_ETASK, comp.err);
        const aur_error *error = error_of(r, &comp);
        assert_int_equal(AUR_ETASK, error->err);
        assert_int_equal(40 + i, error->code);
        assert_string_equal(text, error->message);
        assert_int_equal(r->pid, error->pid);
        assert_int_equal(RIG_SLOT, error->worker);
        assert_true(error->item == AUR_NO_ITEM && error->attempts == 1);
        rig_give_back(r, comp.out);
    }
    assert_int_equal(0, rig_quit(r));
}

/* An entry that makes no sense fails, and the worker goes on. */
static void test_nonsense(void **state)
{
    rig *r = *state;
    static const aur_fn stale = { .abi = 1, .args_size = 4 };
    int one = 1;

    rig_start(r);
    struct auri_comp_desc comp = call_int(r, NULL, 1);
    assert_int_equal(AUR_ESTALE, comp.err);
    comp = call_int(r, &stale, 1);
    assert_int_equal(AUR_ESTALE, comp.err);
    for (uint32_t op = 0; op <= 8; op++) {
        struct auri_sub_desc desc = rig_desc(op, &square_aur_fn);
        if (op == AURI_OP_QUIT || op == AURI_OP_FOR || op == AURI_OP_BYTES) {
            continue;
        }
        rig_inline(&desc, &one, sizeof(one)); /* too short for any of them, or no count */
        comp = rig_do(r, &desc);
        assert_int_equal(AURI_COMP_DONE, comp.op);
        assert_int_equal(AUR_EINVAL, comp.err);
        desc.args = auri_extent_make(AURI_SEG_ARGS, RIG_ARGS_BYTES - 4, 8);
        desc.count = 1;
        comp = rig_do(r, &desc);
        assert_int_equal(AUR_EINVAL, comp.err);
        desc.args = auri_extent_make(77, 0, 8);
        comp = rig_do(r, &desc);
        assert_int_equal(AUR_EINVAL, comp.err);
    }
    assert_int_equal(0, rig_quit(r));
}

/* ---- byte strings ------------------------------------------------------------------------------- */

static void test_bytes(void **state)
{
    rig *r = *state;
    static unsigned char big[70000];
    static const char *const small[] = { "x", "hello", "01234567890123456789012345678901" };

    memset(big, 'b', sizeof(big));
    rig_start(r);
    for (size_t i = 0; i < 3; i++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_BYTES, &echo_aur_fn);
        rig_inline(&desc, small[i], strlen(small[i]));
        struct auri_comp_desc comp = rig_do(r, &desc);
        assert_int_equal(AUR_OK, comp.err);
        assert_int_equal(AURI_SEG_INLINE, auri_extent_seg(comp.out));
        assert_int_equal(strlen(small[i]), comp.out.size);
        assert_memory_equal(small[i], comp.data, comp.out.size);
    }
    struct auri_sub_desc desc = rig_desc(AURI_OP_BYTES, &echo_aur_fn);
    struct auri_comp_desc comp = rig_do(r, &desc); /* an empty string */
    assert_true(comp.err == AUR_OK && comp.out.size == 0);
    desc.args = rig_bytes(r, big, sizeof(big), 0);
    comp = rig_do(r, &desc);
    assert_true(comp.err == AUR_OK && comp.out.size == sizeof(big));
    assert_memory_equal(big, rig_at(r, &comp.out, NULL), sizeof(big));
    rig_give_back(r, comp.out);
    big[0] = '/'; /* keeps half of it */
    desc.args = rig_bytes(r, big, sizeof(big), 0);
    comp = rig_do(r, &desc);
    assert_true(comp.err == AUR_OK && comp.out.size == sizeof(big) / 2);
    assert_memory_equal(big, rig_at(r, &comp.out, NULL), sizeof(big) / 2);
    rig_give_back(r, comp.out);
    rig_inline(&desc, "-", 1);
    comp = rig_do(r, &desc);
    assert_true(comp.err == AUR_OK && comp.out.size == 0);
    rig_inline(&desc, "!", 1);
    comp = rig_do(r, &desc);
    assert_int_equal(AUR_EBUSY, comp.err);
    assert_int_equal(AUR_EBUSY, error_of(r, &comp)->err);
    assert_int_equal(0, rig_quit(r));
}

/* The segment is too small for the result: the task fails, the worker does not. */
static void test_no_memory_for_a_result(void **state)
{
    rig *r = *state;
    static unsigned char big[300000];
    struct auri_comp_desc comp;

    rig_fini(r);
    rig_init(r, UINT64_C(1) << 20);
    rig_start(r);
    struct auri_sub_desc desc = rig_desc(AURI_OP_BYTES, &echo_aur_fn);
    desc.args = rig_bytes(r, big, sizeof(big), 0);
    unsigned good = 0;
    for (unsigned i = 0; i < 6; i++) { /* none is given back */
        comp = rig_do(r, &desc);
        good += comp.err == AUR_OK;
        assert_true(comp.err == AUR_OK || comp.err == AUR_ENOMEM);
    }
    assert_true(good >= 2 && good <= 3);
    assert_int_equal(AUR_ENOMEM, comp.err);
    struct auri_sub_desc map = rig_desc(AURI_OP_MAP, &square_aur_fn);
    map.args = auri_extent_make(AURI_SEG_ARGS, 0, 800000);
    map.count = 100000;
    comp = rig_do(r, &map);
    assert_int_equal(AUR_ENOMEM, comp.err);
    struct auri_chunk_end end;
    memcpy(&end, comp.data, sizeof(end));
    assert_true(comp.out.size == 0 && end.errs.size == 0 && end.error.size == 0);
    comp = call_int(r, &leave_aur_fn, 12);
    assert_int_equal(12, inline_int(&comp));
    assert_int_equal(0, rig_quit(r));
}

/* ---- chunks ------------------------------------------------------------------------------------- */

static struct auri_chunk_end end_of(const struct auri_comp_desc *comp)
{
    struct auri_chunk_end end;

    assert_int_equal(AURI_COMP_DONE, comp->op);
    memcpy(&end, comp->data, sizeof(end));
    return end;
}

static void test_map(void **state)
{
    rig *r = *state;
    int64_t in[500];

    for (int i = 0; i < 500; i++) {
        in[i] = i;
    }
    struct auri_extent args = rig_bytes(r, in, sizeof(in), 0);
    struct auri_extent shifted = rig_bytes(r, in, sizeof(in), 3);
    rig_start(r);
    for (unsigned round = 0; round < 200; round++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_MAP, &square_aur_fn);
        desc.args = round % 2 ? args : shifted;
        desc.item = 1000;
        desc.count = 500;
        struct auri_comp_desc comp = rig_do(r, &desc);
        struct auri_chunk_end end = end_of(&comp);
        assert_int_equal(AUR_OK, comp.err);
        assert_int_equal(sizeof(in), comp.out.size);
        assert_int_equal(500 * sizeof(aur_err), end.errs.size);
        assert_int_equal(0, end.error.size);
        const int64_t *out = rig_at(r, &comp.out, NULL);
        const aur_err *errs = rig_at(r, &end.errs, NULL);
        for (int i = 0; i < 500; i++) {
            assert_true(out[i] == (int64_t)i * i && errs[i] == AUR_OK);
        }
        rig_give_back(r, comp.out);
        rig_give_back(r, end.errs);
    }
    assert_int_equal(0, rig_quit(r));
}

static void check_failures(rig *r, const struct auri_comp_desc *comp, bool stopped)
{
    struct auri_chunk_end end = end_of(comp);
    const int64_t *out = rig_at(r, &comp->out, NULL);
    const aur_err *errs = rig_at(r, &end.errs, NULL);

    assert_int_equal(AUR_ETASK, comp->err);
    for (int i = 0; i < 10; i++) {
        aur_err want = i == 4 || i == 7 ? AUR_ETASK : AUR_OK;
        want = stopped && i > 4 ? AUR_EPENDING : want;
        assert_int_equal(want, errs[i]);
        assert_true(want != AUR_OK || out[i] == (int64_t)i * i);
    }
    assert_int_equal(sizeof(aur_error), end.error.size);
    const aur_error *error = rig_at(r, &end.error, NULL);
    assert_true(error->code == 4 && error->item == 104);
    assert_string_equal("negative: -4 at 104", error->message);
}

static void test_map_with_failures(void **state)
{
    rig *r = *state;
    int64_t in[10] = { 0, 1, 2, 3, -4, 5, 6, -7, 8, 9 };

    rig_start(r);
    for (uint32_t flags = 0; flags <= AURI_SUB_STOP_ON_ERROR; flags++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_MAP, &square_aur_fn);
        desc.args = rig_bytes(r, in, sizeof(in), 0);
        desc.item = 100;
        desc.count = 10;
        desc.flags = flags;
        struct auri_comp_desc comp = rig_do(r, &desc);
        check_failures(r, &comp, flags != 0);
    }
    assert_int_equal(0, rig_quit(r));
}

static void test_for(void **state)
{
    rig *r = *state;
    struct sum sum = { 0, 25 };

    rig_start(r);
    struct auri_sub_desc desc = rig_desc(AURI_OP_FOR, &sum_up_aur_fn);
    rig_inline(&desc, &sum, sizeof(sum));
    desc.item = 20;
    desc.count = 30;
    struct auri_comp_desc comp = rig_do(r, &desc);
    struct auri_chunk_end end = end_of(&comp);
    const aur_err *errs = rig_at(r, &end.errs, NULL);
    assert_int_equal(AUR_ETASK, comp.err);
    assert_int_equal(0, comp.out.size);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(i >= 20 && i < 50, board->runs[i]);
    }
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(i == 5 ? AUR_ETASK : AUR_OK, errs[i]);
    }
    const aur_error *error = rig_at(r, &end.error, NULL);
    assert_true(error->item == 25 && error->code == 9);
    assert_string_equal("index 25", error->message);
    assert_int_equal(0, rig_quit(r));
}

static void test_map_of_byte_strings(void **state)
{
    rig *r = *state;
    static const char *const in[] = { "one", "", "!three",
                                      "four four four four four four four four" };
    struct auri_extent extents[4];

    for (int i = 0; i < 4; i++) {
        extents[i] = rig_bytes(r, in[i], strlen(in[i]), 0);
    }
    rig_start(r);
    struct auri_sub_desc desc = rig_desc(AURI_OP_MAPB, &echo_aur_fn);
    desc.args = rig_bytes(r, extents, sizeof(extents), 0);
    desc.count = 4;
    struct auri_comp_desc comp = rig_do(r, &desc);
    struct auri_chunk_end end = end_of(&comp);
    assert_int_equal(AUR_EBUSY, comp.err);
    assert_int_equal(4 * sizeof(struct auri_extent), comp.out.size);
    const struct auri_extent *out = rig_at(r, &comp.out, NULL);
    const aur_err *errs = rig_at(r, &end.errs, NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(i == 2 ? AUR_EBUSY : AUR_OK, errs[i]);
        assert_int_equal(i == 2 ? 0 : strlen(in[i]), out[i].size);
        if (out[i].size != 0) {
            assert_int_equal(AURI_SEG_RESULT, auri_extent_seg(out[i]));
            assert_memory_equal(in[i], rig_at(r, &out[i], NULL), out[i].size);
        }
    }
    assert_int_equal(0, rig_quit(r));
}

/* ---- deaths ------------------------------------------------------------------------------------- */

/* Killed in item 5 of 10: 0 to 4 are done (3 failed), 5 is lost, the entry behind is untouched. */
static void test_kill_in_a_chunk(void **state)
{
    rig *r = *state;
    int64_t in[10] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    struct auri_progress_copy progress;
    struct auri_comp_desc comp;

    rig_start(r);
    struct auri_sub_desc desc = rig_desc(AURI_OP_MAP, &stop_at_aur_fn);
    desc.args = rig_bytes(r, in, sizeof(in), 0);
    desc.count = 10;
    uint64_t chunk = rig_put(r, &desc);
    uint64_t behind = rig_send(r, &desc);
    uint64_t revoked = rig_send(r, &desc);
    aurt_event_wait(&board->reached);
    assert_false(auri_ring_revoke(r->ctl, chunk));
    assert_true(auri_ring_revoke(r->ctl, revoked));
    kill(r->pid, SIGKILL);
    int status = rig_reap(r);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    assert_false(auri_ring_take(r->ctl, chunk, &comp));
    assert_int_equal(AURI_VERDICT_LOST, auri_ring_judge(r->ctl, chunk, false));
    assert_int_equal(AURI_VERDICT_REQUEUE, auri_ring_judge(r->ctl, behind, false));
    assert_int_equal(AURI_VERDICT_DROPPED, auri_ring_judge(r->ctl, revoked, true));
    assert_true(auri_progress_read(r->ctl, chunk, &progress));
    assert_false(auri_progress_read(r->ctl, behind, &progress));
    assert_true(auri_progress_read(r->ctl, chunk, &progress));
    assert_int_equal(5, progress.item);
    const int64_t *out = rig_at(r, &progress.out, NULL);
    const aur_err *errs = rig_at(r, &progress.errs, NULL);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(i >= 5 ? AUR_EPENDING : i == 3 ? AUR_ETASK : AUR_OK, errs[i]);
        assert_true(i >= 5 || i == 3 || out[i] == i * 10);
    }
    const aur_error *error = rig_at(r, &progress.error, NULL);
    assert_true(error->code == 33 && error->item == 3);
}

static void test_ends_of_the_process(void **state)
{
    rig *r = *state;

    for (int how = 1; how <= 3; how++) {
        struct auri_comp_desc comp;
        struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &leave_aur_fn);
        rig_fini(r);
        rig_init(r, RESULT_BYTES);
        rig_inline(&desc, &how, sizeof(how));
        rig_start(r);
        uint64_t seq = rig_send(r, &desc);
        uint64_t next = rig_send(r, &desc);
        assert_false(rig_answer(r, seq, &comp));
        int status = rig_reap(r);
        assert_int_equal(AURI_VERDICT_LOST, auri_ring_judge(r->ctl, seq, false));
        assert_int_equal(AURI_VERDICT_REQUEUE, auri_ring_judge(r->ctl, next, false));
        if (how == 3) {
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        } else {
            assert_true(WIFEXITED(status));
            assert_int_equal(how == 1 ? 3 : AURI_WORKER_EXIT_THREAD, WEXITSTATUS(status));
        }
    }
}

/* Judges what a killed worker left of entries 1 to STORM_ENTRIES: every one is accounted for. */
static void judge_storm(rig *r, unsigned *done, unsigned *lost)
{
    struct auri_comp_desc comp;
    uint64_t head = 1;

    while (head <= STORM_ENTRIES && auri_ring_take(r->ctl, head, &comp)) {
        assert_true(inline_i64(&comp) == (int64_t)(head * head));
        assert_int_equal(1, board->ran[head]);
        head++;
    }
    *done += (unsigned)head - 1;
    for (uint64_t seq = head; seq <= STORM_ENTRIES; seq++) {
        enum auri_verdict verdict = auri_ring_judge(r->ctl, seq, false);
        assert_true(verdict == AURI_VERDICT_REQUEUE ||
                    (verdict == AURI_VERDICT_LOST && seq == head));
        assert_true(verdict == AURI_VERDICT_LOST || board->ran[seq] == 0);
        assert_false(auri_ring_take(r->ctl, seq, &comp));
        *lost += verdict == AURI_VERDICT_LOST;
    }
}

/* 200 workers are killed at a random moment, each with its ring full: at most one entry is lost with
 * each, and nothing has run that is queued again. */
static void test_kill_storm(void **state)
{
    rig *r = *state;
    uint64_t x = 0x9e3779b97f4a7c15u;
    unsigned lost = 0;
    unsigned done = 0;

    for (unsigned round = 0; round < 200; round++) {
        rig_fini(r);
        rig_init(r, RESULT_BYTES);
        memset(board, 0, sizeof(*board));
        for (unsigned i = 1; i <= STORM_ENTRIES; i++) {
            struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &slow_square_aur_fn);
            int64_t arg = i;
            rig_inline(&desc, &arg, sizeof(arg));
            rig_put(r, &desc);
        }
        rig_start(r);
        rig_hello(r);
        x = x * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t end = aurp_now_ns() + (x >> 33) % 2500000; aurp_now_ns() < end;) {
        }
        kill(r->pid, SIGKILL);
        rig_reap(r);
        judge_storm(r, &done, &lost);
    }
    print_message("%u done, %u lost, of %u\n", done, lost, 200 * STORM_ENTRIES);
    assert_true(lost <= 200 && done > 0);
}

/* ---- start and end ------------------------------------------------------------------------------ */

static int init_hook(void *ctx, int worker)
{
    atomic_store_explicit(&board->hook, 1, memory_order_relaxed);
    return ctx == board && worker == (int)RIG_SLOT ? 0 : 1;
}

static void fini_hook(void *ctx, int worker)
{
    if (ctx == board && worker == (int)RIG_SLOT) {
        atomic_store_explicit(&board->hook, 2, memory_order_relaxed);
    }
}

static void test_init_and_fini(void **state)
{
    rig *r = *state;
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &add_aur_fn);
    struct auri_comp_desc comp;

    r->ctl->setup.flags = AURI_SETUP_INIT | AURI_SETUP_FINI;
    r->ctl->setup.init = (uintptr_t)init_hook;
    r->ctl->setup.fini = (uintptr_t)fini_hook;
    r->ctl->setup.worker_ctx = (uintptr_t)board;
    rig_start(r);
    assert_int_equal(1, rig_hello(r));
    assert_int_equal(1, board->hook);
    rig_inline(&desc, &(struct add_args){ 1, 2 }, sizeof(struct add_args));
    comp = rig_do(r, &desc);
    assert_int_equal(3, inline_int(&comp));
    assert_int_equal(0, rig_quit(r));
    assert_int_equal(2, board->hook);
}

static void expect_exit(rig *r, int want)
{
    int status = rig_reap(r);

    assert_true(WIFEXITED(status));
    assert_int_equal(want, WEXITSTATUS(status));
}

static void test_bad_starts(void **state)
{
    rig *r = *state;

    r->ctl->setup.flags = AURI_SETUP_INIT;
    r->ctl->setup.init = (uintptr_t)init_hook;
    r->ctl->setup.worker_ctx = 0; /* which the hook refuses */
    rig_start(r);
    assert_int_equal(2, rig_hello(r));
    expect_exit(r, AURI_WORKER_EXIT_INIT);
    for (int what = 0; what < 5; what++) {
        rig_fini(r);
        rig_init(r, RESULT_BYTES);
        r->ctl->magic += what == 0;
        r->ctl->epoch += what == 1;
        r->ctl->abi_size += what == 2;
        r->ctl->slot += what == 3;
        r->ctl->setup.result_bytes *= what == 4 ? 2 : 1;
        rig_start(r);
        assert_int_equal(what == 4 ? 2 : 0, rig_hello(r));
        expect_exit(r, what == 4 ? AURI_WORKER_EXIT_INIT : AURI_WORKER_EXIT_BAD);
    }
}

/* A revoked entry is skipped, those around it are not; a successor uses the old result segment. */
static void test_revoked_and_successor(void **state)
{
    rig *r = *state;
    struct fill_args big = { { { 1 } }, 4 };
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &add_aur_fn);
    struct auri_comp_desc comp;

    rig_inline(&desc, &(struct add_args){ 1, 2 }, sizeof(struct add_args));
    for (int i = 0; i < 9; i++) {
        rig_put(r, &desc);
    }
    for (uint64_t seq = 3; seq <= 9; seq += 3) {
        assert_true(auri_ring_revoke(r->ctl, seq));
    }
    rig_start(r);
    for (uint64_t seq = 1; seq <= 9; seq++) {
        assert_true(rig_answer(r, seq, &comp));
        assert_true(auri_ring_plausible(&comp, seq % 3 == 0));
    }
    desc = rig_desc(AURI_OP_CALL, &fill_aur_fn);
    desc.args = rig_bytes(r, &big, sizeof(big), 0);
    comp = rig_do(r, &desc);
    uint64_t before = auri_extent_off(comp.out);
    assert_int_equal(0, rig_quit(r));

    memset((void *)&r->ctl->sub, 0, sizeof(r->ctl->sub)); /* a new control segment */
    memset((void *)&r->ctl->comp, 0, sizeof(r->ctl->comp));
    auri_store_rlx(&r->ctl->hello, 0u);
    r->tail = 1;
    r->ctl->setup.result_warm = AURI_WARM_FIND;
    rig_start(r);
    comp = rig_do(r, &desc);
    assert_true(comp.err == AUR_OK && auri_extent_off(comp.out) == before);
    assert_int_equal(0, rig_quit(r));
}

/* ---- time and cancellation ---------------------------------------------------------------------- */

static void test_deadline_and_stop(void **state)
{
    rig *r = *state;
    struct auri_progress_copy progress;
    struct auri_comp_desc comp;
    int ms = 60000;

    rig_start(r);
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &dawdle_aur_fn);
    rig_inline(&desc, &ms, sizeof(ms));
    desc.timeout_ns = 20000000;
    uint64_t since = aurp_now_ns();
    uint64_t seq = rig_send(r, &desc);
    aurt_event_wait(&board->reached);
    assert_true(auri_progress_read(r->ctl, seq, &progress));
    assert_true(progress.start_ns >= since && progress.start_ns <= aurp_now_ns());
    assert_true(rig_answer(r, seq, &comp));
    assert_int_equal(AUR_EDEADLINE, comp.err);
    assert_int_equal(AUR_EDEADLINE, error_of(r, &comp)->err);

    desc.timeout_ns = 0;
    memset(board, 0, sizeof(*board));
    seq = rig_send(r, &desc);
    aurt_event_wait(&board->reached);
    auri_store_rlx(&r->ctl->stop, 1u);
    assert_true(rig_answer(r, seq, &comp));
    assert_int_equal(AUR_ECANCELED, inline_int(&comp));
    auri_store_rlx(&r->ctl->stop, 0u);

    /* A chunk is left between two items when its entry is cancelled. */
    int64_t in[10] = { 4, 5, 6 };
    memset(board, 0, sizeof(*board));
    desc = rig_desc(AURI_OP_MAP, &stop_at_aur_fn);
    desc.args = rig_bytes(r, in, sizeof(in), 0);
    desc.count = 10;
    seq = rig_send(r, &desc);
    aurt_event_wait(&board->reached);
    auri_store_rlx(&r->ctl->cancel_seq, seq);
    aurt_event_set(&board->go);
    assert_true(rig_answer(r, seq, &comp));
    struct auri_chunk_end end = end_of(&comp);
    const aur_err *errs = rig_at(r, &end.errs, NULL);
    assert_true(errs[0] == AUR_OK && errs[1] == AUR_OK && errs[2] == AUR_EPENDING);
    assert_int_equal(0, rig_quit(r));
}

/* ---- functions by reference --------------------------------------------------------------------- */

static void test_spawn_references(void **state)
{
    rig *r = *state;
    struct auri_fn_entry table[3];
    auri_module_ref ref;
    struct auri_comp_desc comp;

    memset(table, 0, sizeof(table));
    AURT_OK(auri_module_encode(&add_aur_fn, false, &ref));
    memcpy(table[0].ref, &ref, sizeof(ref));
    ref.id[0] ^= 1; /* of another build */
    memcpy(table[1].ref, &ref, sizeof(ref));
    void *hook;
    aur_worker_fini_fn *fini = fini_hook;
    memcpy(&hook, &fini, sizeof(hook));
    AURT_OK(auri_module_encode(hook, true, &ref));
    memcpy(r->ctl->setup.fini_ref.ref, &ref, sizeof(ref));
    r->ctl->setup.flags = AURI_SETUP_SPAWN | AURI_SETUP_FINI;
    r->ctl->setup.worker_ctx = (uintptr_t)board;
    r->ctl->setup.fns = rig_bytes(r, table, sizeof(table), 0);
    rig_start(r);
    for (uint32_t n = 1; n <= 4; n++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, NULL);
        desc.fn_ref = n;
        rig_inline(&desc, &(struct add_args){ 4, 5 }, sizeof(struct add_args));
        for (int twice = 0; twice < 2; twice++) {
            comp = rig_do(r, &desc);
            if (n == 1) {
                assert_int_equal(9, inline_int(&comp));
            } else {
                assert_int_not_equal(AUR_OK, comp.err);
            }
        }
    }
    assert_int_equal(0, rig_quit(r));
    assert_int_equal(2, board->hook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_call_inline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_pipelined_spinning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_a_result, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_with_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_of_byte_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_in_a_chunk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends_of_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_init_and_fini, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_starts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revoked_and_successor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_and_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spawn_references, setup, teardown),
    };

    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    AURT_CHECK(board != MAP_FAILED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
