/* aurt: no-tsan */
/* A worker process, driven by hand: calls, byte strings, chunks, failures.
 * Guards: each kind of entry is answered as wire/ctl.h says. */
#include "worker_tasks.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "plat/plat.h"

/* ---- calls -------------------------------------------------------------------------------------- */

static struct auri_comp_desc call_int(rig *r, const aur_fn *fn, int arg)
{
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, fn);

    rig_inline(&desc, &arg, sizeof(arg));
    return rig_do(r, &desc);
}

static int on_which_cpu(int unused)
{
    (void)unused;
    return aurp_cpu_here();
}
AUR_FN(int, on_which_cpu, int);

static bool may_run(const struct aurp_cpus *cpus, int cpu)
{
    return (cpus->bits[cpu / 64] >> (cpu % 64) & 1) != 0;
}

static void where_it_may_run(int pid, struct aurp_cpus *ret)
{
    memset(ret, 0, sizeof(*ret));
    assert_true(syscall(SYS_sched_getaffinity, pid, sizeof(*ret), ret) > 0);
}

static void run_anywhere(int pid, const struct aurp_cpus *cpus)
{
    assert_int_equal(0, syscall(SYS_sched_setaffinity, pid, sizeof(*cpus), cpus));
}

static void run_only_on(int pid, int cpu)
{
    struct aurp_cpus one = { { 0 } };

    one.bits[cpu / 64] = UINT64_C(1) << (cpu % 64);
    run_anywhere(pid, &one);
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

/* The leader says where it sleeps: a worker that runs there leaves, and may run afterwards where it could before. */
static void test_leaves_the_cpu_of_the_leader(void **state)
{
    rig *r = *state;
    struct aurp_cpus all;
    struct aurp_cpus now;
    int left = 0;
    bool can_leave = aurp_cpus_keep_off(0, aurp_cpu_here(), &all);

    if (can_leave) {
        aurp_cpus_allow(&all);
    }
    r->ctl->setup.spin_ns = 50000;
    rig_start(r);
    assert_int_equal(1, rig_hello(r));
    where_it_may_run(r->pid, &all);
    for (int cpu = 0; left < 100; cpu = (cpu + 1) % ((int)sizeof(all) * 8)) {
        if (!may_run(&all, cpu)) {
            continue;
        }
        if (can_leave) { /* it sleeps, or looks for work: it is there from here on, unless it is moved */
            run_only_on(r->pid, cpu);
            run_anywhere(r->pid, &all);
        }
        auri_store_rlx(&r->ctl->leader_cpu, (uint32_t)cpu + 1);
        struct auri_comp_desc comp = call_int(r, &on_which_cpu_aur_fn, 0);
        left += !can_leave || inline_int(&comp) != cpu;
        assert_int_equal(0, auri_load_rlx(&r->ctl->leader_cpu));
        where_it_may_run(r->pid, &now);
        assert_memory_equal(&all, &now, sizeof(all));
    }
    assert_int_equal(0, rig_quit(r));
}

/* One that may run on no other CPU does not look for the next entry, for which the leader would wait meanwhile: it
 * parks at once, though it has not rung.  Were it not so, it would look on for an hour. */
static void test_parks_where_it_cannot_leave(void **state)
{
    rig *r = *state;
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &on_which_cpu_aur_fn);
    struct auri_comp_desc comp;
    int unused = 0;

    rig_inline(&desc, &unused, sizeof(unused));
    r->ctl->setup.spin_ns = UINT64_C(3600000000000);
    rig_start(r);
    assert_int_equal(1, rig_hello(r));
    int cpu = aurp_cpu_here();
    run_only_on(r->pid, cpu);
    auri_store_rlx(&r->ctl->leader_cpu, (uint32_t)cpu + 1);
    uint64_t seq = rig_send(r, &desc);
    while (!auri_ring_take(r->ctl, seq, &comp) || auri_load_rlx(&r->ctl->sleeping) == 0) {
        aurp_yield();
    }
    assert_int_equal(cpu, inline_int(&comp));
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

/* Entries of one line in places where long ones were, with other arguments and a time limit. */
static void test_short_entries(void **state)
{
    rig *r = *state;

    rig_start(r);
    for (int64_t i = 0; i < 3 * (int64_t)AURI_RING; i++) {
        struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &square_aur_fn);
        int64_t wrong = -1;
        if (i / (int64_t)AURI_RING % 2 == 0) {
            rig_inline(&desc, &i, sizeof(i));
            desc.timeout_ns = UINT64_C(3600000000000);
        } else {
            rig_inline(&desc, &wrong, sizeof(wrong));
            rig_short(&desc, &i, sizeof(i));
        }
        struct auri_comp_desc comp = rig_do(r, &desc);
        int64_t squared;
        assert_int_equal(AUR_OK, comp.err);
        assert_int_equal(sizeof(squared), comp.out.size);
        memcpy(&squared, comp.data, sizeof(squared));
        assert_true(squared == i * i);
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
        desc.args = auri_extent_make(AURI_SEG_INLINE, 0, AURI_SUB_SMALL + 1);
        desc.form = AURI_FORM_SHORT; /* more than there is room for */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_call_inline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_pipelined_spinning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaves_the_cpu_of_the_leader, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parks_where_it_cannot_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(test_call_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory_for_a_result, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_with_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_map_of_byte_strings, setup, teardown),
    };

    return run_with_board(tests, sizeof(tests) / sizeof(tests[0]));
}
