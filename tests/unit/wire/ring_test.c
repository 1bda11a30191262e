/* The steps on the control segment: each alone, then parent and worker as two threads with revokes,
 * sleeps and wakes at random.  Guards: exactly one answer per entry, none lost, none run twice. */
#include "aurt.h"

#include <pthread.h>

#include "wire/ring.h"

static struct auri_ctl *ctl_new(void)
{
    struct auri_ctl *ctl = aligned_alloc(4096, AURI_CTL_BYTES);

    assert_non_null(ctl);
    memset(ctl, 0, AURI_CTL_BYTES);
    return ctl;
}

static struct auri_sub_desc desc_of(uint64_t n)
{
    struct auri_sub_desc desc = { .fn = n, .op = AURI_OP_CALL, .attempt = 1, .item = ~n };

    memset(desc.data, (int)(n & 0xff), sizeof(desc.data));
    return desc;
}

static void test_entry_travels_whole(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_sub_desc in = desc_of(42);
    struct auri_sub_desc out;

    (void)state;
    in.args = auri_extent_make(AURI_SEG_ARGS, 0x123456789abc, 99);
    in.task_id = 7;
    in.count = 8;
    in.timeout_ns = 9;
    in.fn_ref = 10;
    in.flags = 11;
    assert_false(auri_ring_next(ctl, 1, &out));
    auri_ring_put(ctl, 1, &in);
    assert_true(auri_ring_next(ctl, 1, &out));
    assert_memory_equal(&in, &out, sizeof(in));
    assert_false(auri_ring_next(ctl, 2, &out));
    assert_int_equal(AURI_SEG_ARGS, auri_extent_seg(out.args));
    assert_true(auri_extent_off(out.args) == 0x123456789abc);
    /* What struct auri_sub calls it is the same place. */
    const struct auri_sub *sub = &ctl->sub[auri_ring_at(1)];
    assert_true(sub->task_id == 7 && sub->flags == 11 && sub->item == ~42ull);
    free(ctl);
}

/* Each entry has a place of its own, and none is where a CPU that reads the one before it looks ahead: not in
 * the lines behind it, and not on its page. */
static void test_places(void **state)
{
    bool taken[AURI_RING] = { false };

    (void)state;
    for (uint64_t seq = 1; seq <= AURI_RING; seq++) {
        size_t at = auri_ring_at(seq), next = auri_ring_at(seq + 1);
        assert_true(at < AURI_RING && !taken[at]);
        taken[at] = true;
        assert_int_equal(at, auri_ring_at(seq + AURI_RING));
        assert_true(at * sizeof(struct auri_sub) / 4096 != next * sizeof(struct auri_sub) / 4096);
        assert_true(at * sizeof(struct auri_comp) / 4096 != next * sizeof(struct auri_comp) / 4096);
    }
}

/* The second line is not touched, whatever a long entry left there, and reads as zeros. */
static void test_short_entry_is_one_line(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_sub_desc in = desc_of(42);
    struct auri_sub_desc out;
    const unsigned char *second =
        (const unsigned char *)&ctl->sub[auri_ring_at(1)] + AURI_CACHE_LINE;
    unsigned char before[AURI_CACHE_LINE];

    (void)state;
    in.timeout_ns = 9;
    in.flags = 11;
    auri_ring_put(ctl, 1, &in);
    memcpy(before, second, sizeof(before));
    in.form = AURI_FORM_SHORT;
    in.fn_ref = 10;
    in.task_id = 7;
    in.args = auri_extent_make(AURI_SEG_INLINE, 0, AURI_SUB_SMALL);
    memset(in.small, 5, sizeof(in.small));
    memset(in.data, 6, sizeof(in.data));
    auri_ring_put(ctl, 1 + AURI_RING, &in); /* in the same place */
    assert_memory_equal(before, second, sizeof(before));
    memset(&out, 0xff, sizeof(out));
    assert_true(auri_ring_next(ctl, 1 + AURI_RING, &out));
    assert_memory_equal(&in, &out, AURI_SUB_FIRST);
    assert_true(out.item == 0 && out.count == 0 && out.timeout_ns == 0 && out.flags == 0);
    for (size_t i = 0; i < sizeof(out.data); i++) {
        assert_int_equal(0, out.data[i]);
    }
    free(ctl);
}

static void test_claim_or_revoke(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_sub_desc desc = desc_of(1);

    (void)state;
    auri_ring_put(ctl, 1, &desc);
    auri_ring_put(ctl, 2, &desc);
    assert_true(auri_ring_claim(ctl, 1));
    assert_false(auri_ring_revoke(ctl, 1));
    assert_false(auri_ring_claim(ctl, 1));
    assert_true(auri_ring_revoke(ctl, 2));
    assert_false(auri_ring_claim(ctl, 2));
    assert_false(auri_ring_revoke(ctl, 2));
    assert_false(auri_ring_revoke(ctl, 3)); /* nothing there */
    assert_false(auri_ring_claim(ctl, 3));
    assert_false(auri_ring_revoke(ctl, 1 + AURI_RING)); /* another round of the same place */
    free(ctl);
}

static void test_judge_answers_every_state(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_sub_desc desc = desc_of(1);

    (void)state;
    auri_ring_put(ctl, 1, &desc);
    assert_int_equal(AURI_VERDICT_REQUEUE, auri_ring_judge(ctl, 1, false));
    assert_true(auri_ring_claim(ctl, 1));
    assert_int_equal(AURI_VERDICT_LOST, auri_ring_judge(ctl, 1, false));
    auri_ring_put(ctl, 2, &desc);
    assert_true(auri_ring_revoke(ctl, 2));
    assert_int_equal(AURI_VERDICT_DROPPED, auri_ring_judge(ctl, 2, true));
    /* A damaged segment: only what the parent knows itself counts. */
    assert_int_equal(AURI_VERDICT_LOST, auri_ring_judge(ctl, 2, false));
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t word = i < 600 ? auri_claim_word(i / 200 + 2, i % 200)
                                : (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
        bool dispatched = word == auri_claim_word(3, AURI_CLAIM_DISPATCHED);
        auri_store_rlx(&ctl->sub[auri_ring_at(3)].claim, word);
        assert_int_equal(dispatched ? AURI_VERDICT_REQUEUE : AURI_VERDICT_LOST,
                         auri_ring_judge(ctl, 3, false));
        assert_int_equal(AURI_VERDICT_DROPPED, auri_ring_judge(ctl, 3, true));
    }
    free(ctl);
}

static void test_answers(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_comp_desc in = { .op = AURI_COMP_DONE, .err = AUR_ETASK };
    struct auri_comp_desc out;
    uint64_t rung = 0;

    (void)state;
    memset(in.data, 0x5a, sizeof(in.data));
    in.out = auri_extent_make(AURI_SEG_RESULT, 4096, 100);
    assert_false(auri_ring_take(ctl, 1, &out));
    assert_false(auri_ring_answer(ctl, 1, &in, &rung));
    assert_true(auri_ring_take(ctl, 1, &out));
    assert_memory_equal(&in, &out, sizeof(in));
    assert_false(auri_ring_take(ctl, 1 + AURI_RING, &out));
    assert_true(auri_ring_plausible(&out, false));
    assert_false(auri_ring_plausible(&out, true));
    out.op = AURI_COMP_SKIPPED;
    assert_true(auri_ring_plausible(&out, true));
    assert_false(auri_ring_plausible(&out, false));
    out.op = 77;
    assert_false(auri_ring_plausible(&out, true) || auri_ring_plausible(&out, false));
    free(ctl);
}

static void test_bell_rings_once_per_target(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_comp_desc comp = { .op = AURI_COMP_DONE };
    uint64_t rung = 0;

    (void)state;
    auri_ring_wake_at(ctl, 3);
    assert_false(auri_ring_answer(ctl, 1, &comp, &rung));
    assert_false(auri_ring_answer(ctl, 2, &comp, &rung));
    assert_true(auri_ring_answer(ctl, 3, &comp, &rung));
    assert_false(auri_ring_answer(ctl, 4, &comp, &rung));
    auri_ring_wake_at(ctl, 4); /* answered already: rings late at worst */
    assert_true(auri_ring_answer(ctl, 5, &comp, &rung));
    auri_ring_wake_at(ctl, 0);
    assert_false(auri_ring_answer(ctl, 6, &comp, &rung));
    free(ctl);
}

static void test_park_sees_an_entry(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_sub_desc desc = desc_of(1);

    (void)state;
    assert_false(auri_ring_wake(ctl)); /* awake */
    auri_ring_put(ctl, 1, &desc);
    auri_ring_park(ctl, 1); /* returns at once */
    assert_int_equal(0, auri_load_rlx(&ctl->sleeping));
    auri_store_rlx(&ctl->sleeping, 1u);
    assert_true(auri_ring_wake(ctl));
    assert_int_equal(0, auri_load_rlx(&ctl->sleeping));
    free(ctl);
}

static void test_progress(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    struct auri_extent out = auri_extent_make(AURI_SEG_RESULT, 64, 640);
    struct auri_extent errs = auri_extent_make(AURI_SEG_RESULT, 1024, 40);
    struct auri_progress_copy copy;

    (void)state;
    assert_false(auri_progress_read(ctl, 5, &copy));
    auri_progress_begin(ctl, 5, out, errs);
    assert_false(auri_progress_read(ctl, 4, &copy));
    assert_true(auri_progress_read(ctl, 5, &copy));
    assert_true(copy.item == 0 && copy.start_ns == 0 && copy.error.size == 0);
    assert_memory_equal(&copy.out, &out, sizeof(out));
    assert_memory_equal(&copy.errs, &errs, sizeof(errs));
    auri_progress_start(ctl, 1234);
    auri_progress_item(ctl, 3);
    assert_true(auri_progress_read(ctl, 5, &copy));
    assert_true(copy.item == 3 && copy.start_ns == 1234);
    auri_progress_begin(ctl, 6, out, errs);
    assert_false(auri_progress_read(ctl, 5, &copy));
    assert_true(auri_progress_read(ctl, 6, &copy));
    assert_true(copy.item == 0);
    free(ctl);
}

static void test_free_ring(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    uint32_t tail = 0;
    uint32_t head = 0;
    uint64_t offset;

    (void)state;
    assert_false(auri_free_take(ctl, head, &offset));
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < AURI_FREE_RING; i++) {
            assert_true(auri_free_put(ctl, tail, (uint64_t)tail * 64));
            tail++;
        }
        assert_false(auri_free_put(ctl, tail, 1));
        for (unsigned i = 0; i < AURI_FREE_RING; i++) {
            assert_true(auri_free_take(ctl, head, &offset));
            assert_true(offset == (uint64_t)head * 64);
            head++;
        }
        assert_false(auri_free_take(ctl, head, &offset));
    }
    auri_store_rlx(&ctl->free_head, 0x80000000u); /* nonsense: no room, nothing else */
    assert_false(auri_free_put(ctl, tail, 1));
    free(ctl);
}

/* ---- a request -------------------------------------------------------------------------------- */

static void *parent_of_requests(void *arg)
{
    struct auri_ctl *ctl = arg;
    uint32_t seen = 0;

    while (seen < 2000) {
        struct auri_request request;
        uint32_t seq;
        if (!auri_mail_take(ctl, seen, &seq, &request)) {
            sched_yield();
            continue;
        }
        AURT_CHECK(seq == seen + 1 && request.id == seq * 3ull && request.retry_on == 13);
        AURT_CHECK(request.op == AURI_REQ_WAIT && request.in.size == 5 && request.deadline == 6);
        struct auri_reply reply = { .err = -(int32_t)seq,
                                    .task_failed = seq & 1,
                                    .value = request.id + 1,
                                    .out = auri_extent_make(AURI_SEG_ARGS, 64, seq) };
        auri_mail_reply(ctl, seq, &reply);
        seen = seq;
    }
    return NULL;
}

static void test_mail(void **state)
{
    struct auri_ctl *ctl = ctl_new();
    pthread_t parent;

    (void)state;
    assert_int_equal(0, pthread_create(&parent, NULL, parent_of_requests, ctl));
    for (uint32_t seq = 1; seq <= 2000; seq++) {
        struct auri_request request = { .op = AURI_REQ_WAIT,
                                        .id = seq * 3ull,
                                        .deadline = 6,
                                        .in = auri_extent_make(AURI_SEG_RESULT, 0, 5),
                                        .retry_on = 13 };
        struct auri_reply reply;
        auri_mail_send(ctl, seq, &request);
        auri_mail_wait(ctl, seq, &reply);
        assert_true(reply.err == -(int32_t)seq && reply.task_failed == (seq & 1));
        assert_true(reply.value == seq * 3ull + 1 && reply.out.size == seq);
    }
    pthread_join(parent, NULL);
    free(ctl);
}

/* ---- both sides at random ----------------------------------------------------------------------- */

#define ENTRIES 40000u

struct traffic {
    struct auri_ctl *ctl;
    _Atomic(uint32_t) bell;
    _Atomic(uint32_t) ran[ENTRIES + 1];
};

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void *worker_side(void *arg)
{
    struct traffic *t = arg;
    uint64_t rung = 0;

    for (uint64_t head = 1; head <= ENTRIES; head++) {
        struct auri_sub_desc desc;
        struct auri_comp_desc comp = { .op = AURI_COMP_SKIPPED };
        while (!auri_ring_next(t->ctl, head, &desc)) {
            auri_ring_park(t->ctl, head);
        }
        AURT_CHECK(desc.fn == head && desc.data[7] == (head & 0xff));
        if (auri_ring_claim(t->ctl, head)) {
            comp.op = AURI_COMP_DONE;
            memcpy(comp.data, &head, sizeof(head));
            atomic_fetch_add_explicit(&t->ran[head], 1, memory_order_relaxed);
        }
        if (auri_ring_answer(t->ctl, head, &comp, &rung)) {
            atomic_store_explicit(&t->bell, 1, memory_order_release);
            aurp_futex_wake(&t->bell, 1, AURP_SHARED);
        }
    }
    return NULL;
}

struct parent_side {
    struct traffic *t;
    uint64_t head;
    uint64_t tail;
    bool revoked[AURI_RING];
    uint64_t skipped;
};

static bool drain(struct parent_side *p)
{
    struct auri_comp_desc comp;
    bool any = false;

    while (p->head < p->tail && auri_ring_take(p->t->ctl, p->head, &comp)) {
        bool revoked = p->revoked[p->head % AURI_RING];
        uint64_t got;
        memcpy(&got, comp.data, sizeof(got));
        assert_true(auri_ring_plausible(&comp, revoked));
        assert_true(revoked || got == p->head);
        assert_int_equal(revoked ? 0 : 1,
                         atomic_load_explicit(&p->t->ran[p->head], memory_order_relaxed));
        p->skipped += revoked;
        p->head++;
        any = true;
    }
    return any;
}

/* Sleeps until entry `target` is answered; hangs if a bell is lost. */
static void sleep_for(struct parent_side *p, uint64_t target)
{
    atomic_store_explicit(&p->t->bell, 0, memory_order_relaxed);
    auri_ring_wake_at(p->t->ctl, target);
    drain(p);
    while (p->head <= target) {
        aurp_futex_wait(&p->t->bell, 0, AUR_NO_DEADLINE, AURP_SHARED);
        drain(p);
    }
    auri_ring_wake_at(p->t->ctl, 0);
}

static void test_two_sides(void **state)
{
    struct traffic *t = calloc(1, sizeof(*t));
    struct parent_side p = { .t = t, .head = 1, .tail = 1 };
    uint64_t x = 88172645463325252u;
    pthread_t worker;

    (void)state;
    assert_non_null(t);
    t->ctl = ctl_new();
    assert_int_equal(0, pthread_create(&worker, NULL, worker_side, t));
    while (p.head <= ENTRIES) {
        uint64_t burst = next_random(&x) % 9;
        while (burst-- > 0 && p.tail <= ENTRIES && p.tail - p.head < AURI_RING) {
            struct auri_sub_desc desc = desc_of(p.tail);
            p.revoked[p.tail % AURI_RING] = false;
            auri_ring_put(t->ctl, p.tail, &desc);
            p.tail++;
        }
        auri_ring_wake(t->ctl);
        if (p.head < p.tail && next_random(&x) % 3 == 0) {
            uint64_t victim = p.head + next_random(&x) % (p.tail - p.head);
            p.revoked[victim % AURI_RING] |= auri_ring_revoke(t->ctl, victim);
        }
        if (p.head < p.tail && next_random(&x) % 4 == 0) {
            sleep_for(&p, p.head + next_random(&x) % (p.tail - p.head));
        } else {
            drain(&p);
        }
    }
    pthread_join(worker, NULL);
    assert_true(p.skipped > 0);
    free(t->ctl);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entry_travels_whole),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_short_entry_is_one_line),
        cmocka_unit_test(test_claim_or_revoke),
        cmocka_unit_test(test_judge_answers_every_state),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_bell_rings_once_per_target),
        cmocka_unit_test(test_park_sees_an_entry),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_free_ring),
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_two_sides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
