/* aurt: no-tsan */
/* aurt: no-asan */
/* aurt: serial */
/* A real worker process, one machine instruction at a time.  A kill changes no memory: so whatever the
 * segment says after an instruction is what a parent would find, had the worker been killed there.
 *
 *   linear   after each instruction, judge all entries: each is done with the right bytes, dropped,
 *            queued again and never run, or lost; and at most one is lost
 *   revoke   at each instruction, the parent takes the entry back: it is run, or skipped, and both
 *            sides agree
 *   sleep    at each instruction, the parent goes to sleep for the answer: it sees the answer in its
 *            second look, or gets a bell
 *   park     at each instruction, the parent puts another entry: the worker does not sleep on it
 *   shrink   the same while the worker gives memory back
 *   again    at each instruction, the parent wants memory back: the worker answers that, after a second
 *            wake at the latest
 *
 * sweep_fault_test.c shows that each of them bites; sweep_kill.c kills for real, below a whole pool.
 *
 * The worker's place of rest between two rounds is the entry to the futex call in which it parks. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* CPU_SET */
#endif
#include "worker_rig.h"

#ifdef __x86_64__
#include "trace.h"

#define SWEEP_STEPS_MAX 20000u
#ifdef SWEEP_FAULTS
#define SWEEP_ENOUGH(result) ((result).violations != 0)
#else
#define SWEEP_ENOUGH(result) false
#endif
#define SWEEP_CHUNK 3u

/* Written by tasks. */
static struct sweep_board {
    _Atomic(uint32_t) runs[AURI_RING * 64];
} * sweep_board;

struct sweep_block {
    uint64_t word[8];
};
static struct sweep_block sweep_fill(uint64_t seq)
{
    struct sweep_block block;

    atomic_fetch_add_explicit(&sweep_board->runs[seq], 1, memory_order_relaxed);
    for (int i = 0; i < 8; i++) {
        block.word[i] = seq * 1000 + (uint64_t)i;
    }
    return block;
}
AUR_FN(struct sweep_block, sweep_fill, uint64_t);

static uint64_t sweep_triple(uint64_t seq)
{
    atomic_fetch_add_explicit(&sweep_board->runs[seq], 1, memory_order_relaxed);
    return seq * 3;
}
AUR_FN(uint64_t, sweep_triple, uint64_t);

/* ---- the traced worker ------------------------------------------------------------------------- */

/* A worker that is about to park, or false if tracing is not allowed here. */
static bool sweep_start(rig *r)
{
    rig_init(r, UINT64_C(16) << 20);
    memset(sweep_board, 0, sizeof(*sweep_board));
    fflush(NULL);
    r->pid = fork();
    AURT_CHECK(r->pid >= 0);
    if (r->pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(77);
        }
        raise(SIGSTOP);
        rig_live(r);
    }
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
    int status;
    AURT_CHECK(waitpid(r->pid, &status, 0) == r->pid);
    if (!WIFSTOPPED(status)) {
        r->pid = -1;
        return false;
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    AURT_CHECK(ptrace(PTRACE_SETOPTIONS, r->pid, NULL, (void *)options) == 0);
    do {
        trace_to_futex(r->pid);
        if (auri_load_acq(&r->ctl->sleeping) == 0) {
            trace_to_syscall(r->pid); /* another futex: of the C library */
        }
    } while (auri_load_acq(&r->ctl->sleeping) == 0);
    return true;
}

/* From rest: the parent has put something and wakes the worker, which leaves the futex call. */
static void sweep_wake(rig *r)
{
    AURT_CHECK(auri_ring_wake(r->ctl));
    trace_to_syscall(r->pid);
}

static uint64_t sweep_put(rig *r, const aur_fn *fn)
{
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, fn);

    rig_short(&desc, &r->tail, sizeof(r->tail)); /* as the parent does; the chunk is a long one */
    return rig_put(r, &desc);
}

static uint32_t sweep_runs(uint64_t seq)
{
    return atomic_load_explicit(&sweep_board->runs[seq], memory_order_relaxed);
}

/* The first calls bind symbols and make slabs; they are not swept. */
static void sweep_warm_up(rig *r)
{
    struct auri_comp_desc comp;
    struct auri_extent used[4];
    unsigned n = 0;

    for (int i = 0; i < 4; i++) {
        uint64_t seq = sweep_put(r, i % 2 ? &sweep_fill_aur_fn : &sweep_triple_aur_fn);
        sweep_wake(r);
        trace_to_futex(r->pid);
        AURT_CHECK(auri_ring_take(r->ctl, seq, &comp));
        used[n++] = comp.out;
    }
    while (n > 0) {
        rig_give_back(r, used[--n]);
    }
}

/* ---- judging ------------------------------------------------------------------------------------ */

/* What the five entries of the linear sweep are. */
enum { SWEEP_TRIPLE, SWEEP_FILL, SWEEP_REVOKED, SWEEP_CHUNKED, SWEEP_LAST, SWEEP_ENTRIES };

struct sweep_result {
    unsigned steps;
    unsigned violations;
    unsigned lost; /* steps at which an entry was lost, and so on */
    unsigned done;
    unsigned bells;
    unsigned seen;
    unsigned revoked;
};

static bool sweep_items_right(rig *r, uint64_t seq, const struct auri_extent *out,
                              const struct auri_extent *errs, uint64_t items)
{
    const uint64_t *values = rig_at(r, out, NULL);
    const aur_err *codes = rig_at(r, errs, NULL);

    for (uint64_t i = 0; i < items; i++) {
        if (values[i] != (seq + 100 + i) * 3 || codes[i] != AUR_OK ||
            sweep_runs(seq + 100 + i) != 1) {
            return false;
        }
    }
    return true;
}

static bool sweep_answer_right(rig *r, uint64_t seq, int what, const struct auri_comp_desc *comp)
{
    uint64_t value;
    struct auri_chunk_end end;

    if (!auri_ring_plausible(comp, what == SWEEP_REVOKED)) {
        return false;
    }
    switch (what) {
    case SWEEP_REVOKED:
        return sweep_runs(seq) == 0;
    case SWEEP_FILL: {
        if (comp->err != AUR_OK || comp->out.size != sizeof(struct sweep_block)) {
            return false;
        }
        const struct sweep_block *block = rig_at(r, &comp->out, NULL);
        for (uint64_t i = 0; i < 8; i++) {
            if (block->word[i] != seq * 1000 + i) {
                return false;
            }
        }
        return sweep_runs(seq) == 1;
    }
    case SWEEP_CHUNKED:
        memcpy(&end, comp->data, sizeof(end));
        return comp->err == AUR_OK && comp->out.size == SWEEP_CHUNK * sizeof(value) &&
               end.errs.size == SWEEP_CHUNK * sizeof(aur_err) && end.error.size == 0 &&
               sweep_items_right(r, seq, &comp->out, &end.errs, SWEEP_CHUNK);
    default:
        memcpy(&value, comp->data, sizeof(value));
        return comp->err == AUR_OK && comp->out.size == sizeof(value) && value == seq * 3 &&
               sweep_runs(seq) == 1;
    }
}

/* A lost chunk: what it says is done must be done, and what follows the current item not begun. */
static bool sweep_progress_right(rig *r, uint64_t seq)
{
    struct auri_progress_copy progress;

    if (!auri_progress_read(r->ctl, seq, &progress)) {
        return sweep_runs(seq + 100) == 0;
    }
    for (uint64_t i = progress.item + 1; i < SWEEP_CHUNK; i++) {
        if (sweep_runs(seq + 100 + i) != 0) {
            return false;
        }
    }
    return progress.item <= SWEEP_CHUNK &&
           sweep_items_right(r, seq, &progress.out, &progress.errs, progress.item);
}

/* Judges entries [first, first + SWEEP_ENTRIES) as if the worker was dead; false: a violation. */
static bool sweep_judge(rig *r, uint64_t first, struct sweep_result *result)
{
    struct auri_comp_desc comp;
    int i = 0;
    bool right = true;
    bool lost = false;

    while (i < SWEEP_ENTRIES && auri_ring_take(r->ctl, first + (uint64_t)i, &comp)) {
        right = right && sweep_answer_right(r, first + (uint64_t)i, i, &comp);
        i++;
    }
    result->done += i == SWEEP_ENTRIES;
    for (int head = i; i < SWEEP_ENTRIES; i++) {
        uint64_t seq = first + (uint64_t)i;
        right = right && !auri_ring_take(r->ctl, seq, &comp);
        switch (auri_ring_judge(r->ctl, seq, i == SWEEP_REVOKED)) {
        case AURI_VERDICT_REQUEUE:
            right =
                right && sweep_runs(seq) == 0 && (i != SWEEP_CHUNKED || sweep_runs(seq + 100) == 0);
            break;
        case AURI_VERDICT_DROPPED:
            right = right && i == SWEEP_REVOKED && sweep_runs(seq) == 0;
            break;
        default:
            right = right && i == head && (i != SWEEP_CHUNKED || sweep_progress_right(r, seq));
            lost = true;
        }
    }
    result->lost += lost;
    return right;
}

static struct sweep_result sweep_linear(rig *r)
{
    struct sweep_result result = { 0 };
    struct auri_sub_desc chunk = rig_desc(AURI_OP_MAP, &sweep_triple_aur_fn);
    uint64_t items[SWEEP_CHUNK];
    uint64_t first = r->tail;

    sweep_put(r, &sweep_triple_aur_fn);
    sweep_put(r, &sweep_fill_aur_fn);
    uint64_t revoked = sweep_put(r, &sweep_triple_aur_fn);
    AURT_CHECK(auri_ring_revoke(r->ctl, revoked));
    for (uint64_t i = 0; i < SWEEP_CHUNK; i++) {
        items[i] = r->tail + 100 + i;
    }
    chunk.args = rig_bytes(r, items, sizeof(items), 0);
    chunk.count = SWEEP_CHUNK;
    rig_put(r, &chunk);
    sweep_put(r, &sweep_triple_aur_fn);
    auri_ring_wake_at(r->ctl, first + SWEEP_FILL); /* the bell is on the way, too */
    AURT_CHECK(sweep_judge(r, first, &result));
    sweep_wake(r);
    do {
        trace_step(r->pid);
        result.steps++;
        result.violations += !sweep_judge(r, first, &result);
    } while (!trace_before_futex(r->pid));
    auri_ring_wake_at(r->ctl, 0);
    return result;
}

/* ---- interleavings -------------------------------------------------------------------------------- */

/* Goes k instructions from the wake-up; false: the worker is about to park before that. */
static bool sweep_go(rig *r, unsigned k)
{
    for (; k > 0; k--) {
        if (trace_before_futex(r->pid)) {
            return false;
        }
        trace_step(r->pid);
    }
    return !trace_before_futex(r->pid);
}

static struct sweep_result sweep_revoke(rig *r)
{
    struct sweep_result result = { 0 };
    struct auri_comp_desc comp;
    bool more = true;

    for (unsigned k = 0; more && k < SWEEP_STEPS_MAX && !SWEEP_ENOUGH(result); k++) {
        uint64_t seq = sweep_put(r, &sweep_triple_aur_fn);
        sweep_wake(r);
        more = sweep_go(r, k) && !auri_ring_take(r->ctl, seq, &comp);
        bool revoked = auri_ring_revoke(r->ctl, seq);
        trace_to_futex(r->pid);
        result.violations +=
            !auri_ring_take(r->ctl, seq, &comp) ||
            !sweep_answer_right(r, seq, revoked ? SWEEP_REVOKED : SWEEP_TRIPLE, &comp);
        result.revoked += revoked;
        result.steps++;
    }
    return result;
}

static struct sweep_result sweep_sleep(rig *r)
{
    struct sweep_result result = { 0 };
    struct auri_comp_desc comp;
    bool more = true;

    for (unsigned k = 0; more && k < SWEEP_STEPS_MAX && !SWEEP_ENOUGH(result); k++) {
        aurp_bell_clear(r->bell);
        uint64_t seq = sweep_put(r, &sweep_triple_aur_fn);
        sweep_wake(r);
        more = sweep_go(r, k);
        auri_ring_wake_at(r->ctl, seq);
        bool seen = auri_ring_take(r->ctl, seq, &comp);
        trace_to_futex(r->pid);
        bool rang = aurp_fd_wait(r->bell, 0) == AUR_OK;
        auri_ring_wake_at(r->ctl, 0);
        result.violations += !seen && !rang;
        result.bells += rang;
        result.seen += seen;
        result.steps++;
    }
    return result;
}

/* The parent wants memory back: the next number of that. */
static uint32_t sweep_ask(rig *r)
{
    uint32_t number = auri_load_rlx(&r->ctl->shrink) + 1;

    auri_store_rlx(&r->ctl->shrink, number);
    return number;
}

/* What the worker is at when the entry comes: another one, or memory that is wanted back. */
static struct sweep_result sweep_park_after(rig *r, bool shrinks)
{
    struct sweep_result result = { 0 };
    struct auri_comp_desc comp;
    bool more = true;

    for (unsigned k = 0; more && k < SWEEP_STEPS_MAX && !SWEEP_ENOUGH(result); k++) {
        if (shrinks) {
            (void)sweep_ask(r);
        } else {
            sweep_put(r, &sweep_triple_aur_fn);
        }
        sweep_wake(r);
        more = sweep_go(r, k);
        uint64_t seq = sweep_put(r, &sweep_triple_aur_fn);
        bool woken = auri_ring_wake(r->ctl);
        trace_to_futex(r->pid);
        while (!auri_ring_take(r->ctl, seq, &comp)) {
            if (auri_load_acq(&r->ctl->sleeping) != 0) {
                result.violations++; /* it would sleep on it for ever */
                auri_store_rlx(&r->ctl->sleeping, 0u);
            }
            trace_to_syscall(r->pid); /* the word has changed: out of the call again */
            trace_to_futex(r->pid);
        }
        result.violations += !sweep_answer_right(r, seq, SWEEP_TRIPLE, &comp);
        result.seen += !woken;
        result.steps++;
    }
    return result;
}

static struct sweep_result sweep_park(rig *r)
{
    return sweep_park_after(r, false);
}

static struct sweep_result sweep_run(struct sweep_result (*sweep)(rig *r), const char *name)
{
    struct sweep_result result = { 0 };
    rig r;

    if (!sweep_start(&r)) {
        rig_fini(&r);
        skip();
    }
    sweep_warm_up(&r);
    result = sweep(&r);
    rig_fini(&r);
    print_message("%s: %u steps, %u violations (lost %u, done %u, bells %u, seen %u, revoked %u)\n",
                  name, result.steps, result.violations, result.lost, result.done, result.bells,
                  result.seen, result.revoked);
    return result;
}

static void sweep_setup(void)
{
    trace_on_one_cpu();
    sweep_board = aurt_shared(sizeof(*sweep_board));
}

#ifndef SWEEP_FAULTS

static struct sweep_result sweep_shrink(rig *r)
{
    return sweep_park_after(r, true);
}

/* It may sleep on the word that wants memory back (counted as lost), but not if it is woken once more. */
static struct sweep_result sweep_ask_again(rig *r)
{
    struct sweep_result result = { 0 };
    struct auri_comp_desc comp;
    bool more = true;

    for (unsigned k = 0; more && k < SWEEP_STEPS_MAX && !SWEEP_ENOUGH(result); k++) {
        uint64_t seq = sweep_put(r, &sweep_triple_aur_fn);
        sweep_wake(r);
        more = sweep_go(r, k);
        uint32_t number = sweep_ask(r);
        (void)auri_ring_wake(r->ctl);
        trace_to_futex(r->pid);
        bool slept = auri_load_rlx(&r->ctl->shrunk) != number && auri_ring_wake(r->ctl);
        while (auri_load_acq(&r->ctl->sleeping) == 0) {
            trace_to_syscall(r->pid);
            trace_to_futex(r->pid);
        }
        result.violations += auri_load_rlx(&r->ctl->shrunk) != number ||
                             !auri_ring_take(r->ctl, seq, &comp) ||
                             !sweep_answer_right(r, seq, SWEEP_TRIPLE, &comp);
        result.lost += slept;
        result.steps++;
    }
    return result;
}

static void test_linear(void **state)
{
    struct sweep_result result = sweep_run(sweep_linear, "linear");

    (void)state;
    assert_int_equal(0, result.violations);
    /* Each of the four that run is lost for a while; in the end all are done. */
    assert_true(result.steps > 100 && result.lost > 50 && result.done > 0);
}

static void test_revoke(void **state)
{
    struct sweep_result result = sweep_run(sweep_revoke, "revoke");

    (void)state;
    assert_int_equal(0, result.violations);
    assert_true(result.revoked > 5 && result.revoked < result.steps - 5);
}

static void test_sleep(void **state)
{
    struct sweep_result result = sweep_run(sweep_sleep, "sleep");

    (void)state;
    assert_int_equal(0, result.violations);
    assert_true(result.bells > 5 && result.seen > 5);
}

static void test_park(void **state)
{
    struct sweep_result result = sweep_run(sweep_park, "park");

    (void)state;
    assert_int_equal(0, result.violations);
    assert_true(result.seen > 5 && result.seen < result.steps);
}

static void test_shrink(void **state)
{
    struct sweep_result result = sweep_run(sweep_shrink, "shrink");

    (void)state;
    assert_int_equal(0, result.violations);
    assert_true(result.seen > 5 && result.seen < result.steps);
}

static void test_ask_again(void **state)
{
    struct sweep_result result = sweep_run(sweep_ask_again, "ask again");

    (void)state;
    assert_int_equal(0, result.violations);
    assert_true(result.steps > 5 && result.lost < result.steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_sleep),  cmocka_unit_test(test_park),
        cmocka_unit_test(test_shrink), cmocka_unit_test(test_ask_again),
    };

    sweep_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif /* SWEEP_FAULTS */

#else

int main(void)
{
    return 77; /* the borders of system calls are found in x86-64 code only */
}

#endif
