/* aurt: no-tsan */
/* A worker process, driven by hand: its start, end, death, time limits.
 * Guards: what a death leaves behind is enough to judge every item; starts that cannot be are refused. */
#include "worker_tasks.h"

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
        cmocka_unit_test_setup_teardown(test_kill_in_a_chunk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends_of_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_storm, setup, teardown),
        cmocka_unit_test_setup_teardown(test_init_and_fini, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_starts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_revoked_and_successor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_and_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spawn_references, setup, teardown),
    };

    return run_with_board(tests, sizeof(tests) / sizeof(tests[0]));
}
