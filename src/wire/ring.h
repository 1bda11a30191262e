/* wire/ring.h: the steps that a parent and a worker take on the control segment (wire/ctl.h).
 *
 * Each function is one step: it touches the words it names, and nothing private.  The tags mark both
 * ends of each pair of accesses:
 *
 *   [C1] the entry: put -> next                [C2] the right to run: claim against revoke
 *   [C3] the answer: answer -> take            [C4] the bell: answer against sleep
 *   [C5] items done: item_done -> progress     [C6] the entry: put + wake against park
 *   [C7] freed extents: free_put -> free_take  [C8] their room: free_take -> free_put
 *   [C9] a request: mail_send -> mail_take     [C10] its reply: mail_reply -> mail_wait
 *   [C11] its end: mail_recall -> mail_is_recalled
 *
 * What the parent gets from here is a copy that no longer changes; it may still be nonsense.
 *
 * Tests put faults in: AURI_RING_FAULT(n) is 0 everywhere else. */
#ifndef AURI_WIRE_RING_H
#define AURI_WIRE_RING_H

#include <string.h>

#include "plat/plat.h"
#include "wire/ctl.h"

enum {
    AURI_FAULT_PUBLISH_EARLY = 1, /* the answer is told before it is written */
    AURI_FAULT_CLAIM_STORE,       /* the claim is a load and a store */
    AURI_FAULT_BELL_EARLY,        /* wake_at is read before the answer is told */
    AURI_FAULT_PARK_BLIND,        /* no second look before parking */
    AURI_FAULT_ITEM_EARLY,        /* an item counts as done before it is */
};
#ifndef AURI_RING_FAULT
#define AURI_RING_FAULT(n) 0
#endif

/* The private copies: the shared structures without claim and seq. */
struct auri_sub_desc {
    uint64_t fn;
    uint8_t op;
    uint8_t form;
    uint16_t attempt;
    uint32_t fn_ref;
    struct auri_extent args;
    uint64_t task_id;
    unsigned char small[AURI_SUB_SMALL];
    unsigned char data[AURI_SUB_INLINE];
    uint64_t item;
    uint64_t count;
    uint64_t timeout_ns;
    uint64_t flags;
};
/* How much of it is in the first line, and what is in the second. */
#define AURI_SUB_FIRST offsetof(struct auri_sub_desc, data)
#define AURI_SUB_SECOND (sizeof(struct auri_sub_desc) - AURI_SUB_FIRST)
#define auri_sub_second(desc) ((void *)((uintptr_t)(desc) + AURI_SUB_FIRST))
_Static_assert(sizeof(struct auri_sub_desc) == sizeof(struct auri_sub) - 8, "all but the claim");
_Static_assert(offsetof(struct auri_sub, fn) == 8 &&
                   offsetof(struct auri_sub, flags) - 8 == offsetof(struct auri_sub_desc, flags),
               "in the same order");
_Static_assert(offsetof(struct auri_sub, data) == AURI_CACHE_LINE, "the second line");

struct auri_comp_desc {
    uint32_t op;
    int32_t err;
    struct auri_extent out;
    unsigned char data[AURI_COMP_INLINE];
};
_Static_assert(sizeof(struct auri_comp_desc) == offsetof(struct auri_comp, seq), "all but seq");

/* What mailbox requests and replies consist of. */
struct auri_request {
    uint32_t op;
    uint32_t bytes;
    uint32_t fn_ref;
    uint32_t limits;
    uint32_t room;
    uint32_t needs;
    uint32_t unsure;
    uint32_t formula;
    uint64_t pool;
    uint64_t id;
    uint64_t fn;
    uint64_t deadline;
    struct auri_extent in;
    uint64_t timeout_ns;
    uint32_t retries;
    uint32_t retry_on;
};

struct auri_reply {
    int32_t err;
    uint32_t task_failed;
    uint64_t value;
    struct auri_extent out;
};

/* A copy from shared memory that the compiler cannot undo by reading the original again. */
static inline void auri_copy_once(void *to, const void *from, size_t size)
{
    memcpy(to, from, size);
    __asm__ __volatile__("" : : "r"(to) : "memory");
}

/* The place of an entry and of its answer.  Each has its own, since the factor is odd, and the next one is on another
 * page: a CPU that reads lines in turn asks for those behind them, too, and here these are the ones that the other
 * side is about to write (bench/submit). */
#define auri_ring_at(seq) ((size_t)((seq)*157u % AURI_RING))

/* ---- the parent: entries ------------------------------------------------------------------- */

#define AURI_RING_AHEAD 4u

/* Where entry `seq` is written, whose place must be answered (or never used).  For stores only: the worker may
 * write there, too.  What is behind AURI_SUB_FIRST is left alone if `form` is SHORT.
 *
 * The worker has changed the entry's line (its claim) and holds it.  So the line of an entry to come is asked
 * for in time, or the fence [C6] waits for it to come over. */
static inline struct auri_sub_desc *auri_ring_place(struct auri_ctl *ctl, uint64_t seq)
{
    auri_prefetch_write(&ctl->sub[auri_ring_at(seq + AURI_RING_AHEAD)]);
    return (void *)((unsigned char *)&ctl->sub[auri_ring_at(seq)] + offsetof(struct auri_sub, fn));
}

/* Hands entry `seq` to the worker, which was written to its place. */
static inline void auri_ring_publish(struct auri_ctl *ctl, uint64_t seq)
{
    /* release [C1]; pairs with the load in auri_ring_next(): the worker sees the whole entry. */
    auri_store_rel(&ctl->sub[auri_ring_at(seq)].claim, auri_claim_word(seq, AURI_CLAIM_DISPATCHED));
}

/* Both, of an entry that lies elsewhere. */
static inline void auri_ring_put(struct auri_ctl *ctl, uint64_t seq,
                                 const struct auri_sub_desc *desc)
{
    memcpy(auri_ring_place(ctl, seq), desc,
           desc->form != AURI_FORM_SHORT ? sizeof(*desc) : AURI_SUB_FIRST);
    auri_ring_publish(ctl, seq);
}

/* After one or several puts: wakes the worker if it parks.  True: it was (about to be) asleep. */
static inline bool auri_ring_wake(struct auri_ctl *ctl)
{
    /* fence [C6]; pairs with the one in auri_ring_park(): either this sees `sleeping`, or the worker's
     * second look sees the entry. */
    auri_fence_sc();
    if (auri_load_rlx(&ctl->sleeping) == 0) { /* relaxed: ordered by the fence */
        return false;
    }
    /* relaxed: the futex compares the word, and what the worker then reads is ordered by [C1].  The
     * worker may store 0 itself or, if this comes late, have set 1 again: then it looks once more. */
    auri_store_rlx(&ctl->sleeping, 0u);
    aurp_futex_wake(&ctl->sleeping, 1, AURP_SHARED);
    return true;
}

/* Takes entry `seq` back.  True: the worker will not run it, and answers SKIPPED; the caller notes
 * that in its own memory. */
static inline bool auri_ring_revoke(struct auri_ctl *ctl, uint64_t seq)
{
    uint64_t word = auri_claim_word(seq, AURI_CLAIM_DISPATCHED);

    /* acq_rel [C2]; pairs with the same in auri_ring_claim(): of the two exactly one wins. */
    return auri_cas_acqrel(&ctl->sub[auri_ring_at(seq)].claim, &word,
                           auri_claim_word(seq, AURI_CLAIM_REVOKED));
}

/* ---- the parent: answers ------------------------------------------------------------------- */

/* The answer to entry `seq`, if it is there.  Called for consecutive numbers. */
static inline bool auri_ring_take(const struct auri_ctl *ctl, uint64_t seq,
                                  struct auri_comp_desc *ret_comp)
{
    struct auri_comp *comp = (struct auri_comp *)&ctl->comp[auri_ring_at(seq)];

    /* acquire [C3]; pairs with the store in auri_ring_answer(): the answer is complete, and so are the
     * bytes of the result. */
    if (auri_load_acq(&comp->seq) != seq) {
        return false;
    }
    auri_copy_once(ret_comp, comp, sizeof(*ret_comp));
    return true;
}

/* Whether an answer is one that an undamaged worker gives, as far as the entry's state tells.  If not,
 * the parent kills the worker and judges the entry by auri_ring_judge() as if there was no answer.
 *
 * revoked  auri_ring_revoke() was true for this entry */
static inline bool auri_ring_plausible(const struct auri_comp_desc *comp, bool revoked)
{
    return comp->op == (revoked ? AURI_COMP_SKIPPED : AURI_COMP_DONE);
}

enum auri_verdict {
    AURI_VERDICT_REQUEUE, /* never started: queue it again, not an attempt */
    AURI_VERDICT_DROPPED, /* was revoked: whoever revoked it has dealt with it */
    AURI_VERDICT_LOST,    /* was being run, or nobody can tell: counts as an attempt */
};

/* The worker is dead, and each answer up to here was taken: what becomes of unanswered entry `seq`.
 * Only the words DISPATCHED and what the parent knows itself speak for an entry: a damaged segment
 * may hold anything. */
static inline enum auri_verdict auri_ring_judge(const struct auri_ctl *ctl, uint64_t seq,
                                                bool revoked)
{
    /* acquire [C2]: as the CAS. */
    uint64_t word = auri_load_acq(&((struct auri_ctl *)ctl)->sub[auri_ring_at(seq)].claim);

    if (revoked) {
        return AURI_VERDICT_DROPPED;
    }
    return word == auri_claim_word(seq, AURI_CLAIM_DISPATCHED) ? AURI_VERDICT_REQUEUE
                                                               : AURI_VERDICT_LOST;
}

/* The parent is going to sleep: the worker rings once entry `seq` is answered (0: never mind).  After
 * this the parent drains once more; only if that brings nothing, it sleeps. */
static inline void auri_ring_wake_at(struct auri_ctl *ctl, uint64_t seq)
{
    /* relaxed: ordered by the fence [C4], which pairs with the one in auri_ring_answer(): either the
     * worker sees the target, or the drain sees the answer. */
    auri_store_rlx(&ctl->wake_at, seq);
    auri_fence_sc();
}

/* ---- the parent: progress ------------------------------------------------------------------ */

struct auri_progress_copy {
    uint64_t item;     /* items that are done */
    uint64_t start_ns; /* of the current one; 0: none runs */
    struct auri_extent out;
    struct auri_extent errs;
    struct auri_extent error;
};

/* What the worker says about entry `seq` that it runs.  False: it is not (yet) at it, no item is done
 * and nothing is kept for it.  Of a live worker the copy may mix two moments. */
static inline bool auri_progress_read(const struct auri_ctl *ctl, uint64_t seq,
                                      struct auri_progress_copy *ret_copy)
{
    struct auri_progress *progress = (struct auri_progress *)&ctl->progress;

    /* acquire; pairs with the release in auri_progress_begin(): the extents belong to seq. */
    if (auri_load_acq(&progress->seq) != seq) {
        return false;
    }
    /* acquire [C5]; pairs with auri_progress_item(): results, codes and error of items below. */
    ret_copy->item = auri_load_acq(&progress->item);
    ret_copy->start_ns = auri_load_rlx(&progress->start_ns); /* relaxed: a hint for deadlines */
    auri_copy_once(&ret_copy->out, &progress->out, sizeof(ret_copy->out));
    auri_copy_once(&ret_copy->errs, &progress->errs, sizeof(ret_copy->errs));
    auri_copy_once(&ret_copy->error, &progress->error, sizeof(ret_copy->error));
    return true;
}

/* ---- the parent: extents given back --------------------------------------------------------- */

/* Gives an extent of the RESULT segment back.  tail: how many were put before; the caller adds 1 after
 * true.  False: no room, try again later. */
static inline bool auri_free_put(struct auri_ctl *ctl, uint32_t tail, uint64_t offset)
{
    /* acquire [C8]; pairs with the store in auri_free_take(): the place was read before it is written
     * again.  A damaged head costs the worker's own memory at worst. */
    if (tail - auri_load_acq(&ctl->free_head) >= AURI_FREE_RING) {
        return false;
    }
    auri_store_rlx(&ctl->freed[tail % AURI_FREE_RING], offset); /* relaxed: told by the next line */
    /* release [C7]; pairs with the load in auri_free_take(). */
    auri_store_rel(&ctl->free_tail, tail + 1);
    return true;
}

/* ---- the parent: requests ------------------------------------------------------------------- */

/* The request after number `seen`, if there is one: *ret_seq is its number.  Not before the reply to
 * the last one was given. */
static inline bool auri_mail_take(const struct auri_ctl *ctl, uint32_t seen, uint32_t *ret_seq,
                                  struct auri_request *ret_request)
{
    struct auri_mailbox *box = (struct auri_mailbox *)&ctl->mailbox;
    /* acquire [C9]; pairs with the store in auri_mail_send(): the request is complete. */
    uint32_t seq = auri_load_acq(&box->req_seq);

    if (seq == seen) {
        return false;
    }
    struct auri_mailbox copy;
    auri_copy_once(&copy, box, offsetof(struct auri_mailbox, rep_seq));
    *ret_seq = seq;
    *ret_request = (struct auri_request){
        .op = copy.req_op,
        .bytes = copy.req_bytes,
        .fn_ref = copy.req_fn_ref,
        .limits = copy.req_limits,
        .room = copy.req_room,
        .needs = copy.req_needs,
        .unsure = copy.req_unsure,
        .formula = copy.req_formula,
        .pool = copy.req_pool,
        .id = copy.req_id,
        .fn = copy.req_fn,
        .deadline = copy.req_deadline,
        .in = copy.req_in,
        .timeout_ns = copy.req_timeout_ns,
        .retries = copy.req_retries,
        .retry_on = copy.req_retry_on,
    };
    return true;
}

/* Answers request `seq` and wakes the worker. */
/* Whether the worker wants no more of its request `seq`, which was taken, than an answer. */
static inline bool auri_mail_is_recalled(const struct auri_ctl *ctl, uint32_t seq)
{
    /* acquire [C11]; pairs with the store in auri_mail_recall(): nothing is read behind it, but whoever hears the
     * bell must find it. */
    return auri_load_acq(&((struct auri_ctl *)ctl)->mailbox.recalled) == seq;
}

static inline void auri_mail_reply(struct auri_ctl *ctl, uint32_t seq,
                                   const struct auri_reply *reply)
{
    struct auri_mailbox *box = &ctl->mailbox;

    box->rep_err = reply->err;
    box->rep_task_failed = reply->task_failed;
    box->rep_value = reply->value;
    box->rep_out = reply->out;
    /* release [C10]; pairs with the load in auri_mail_wait(): the reply and its bytes. */
    auri_store_rel(&box->rep_seq, seq);
    aurp_futex_wake(&box->rep_seq, 1, AURP_SHARED);
}

/* ---- the worker: entries -------------------------------------------------------------------- */

/* Copies entry `head` if it is there. */
static inline bool auri_ring_next(struct auri_ctl *ctl, uint64_t head,
                                  struct auri_sub_desc *ret_desc)
{
    struct auri_sub *sub = &ctl->sub[auri_ring_at(head)];

    /* acquire [C1]; pairs with the store in auri_ring_publish(). */
    if (auri_claim_seq(auri_load_acq(&sub->claim)) != head) {
        return false;
    }
    auri_copy_once(ret_desc, (unsigned char *)sub + offsetof(struct auri_sub, fn), AURI_SUB_FIRST);
    if (ret_desc->form != AURI_FORM_SHORT) {
        auri_copy_once(auri_sub_second(ret_desc),
                       (unsigned char *)sub + offsetof(struct auri_sub, data), AURI_SUB_SECOND);
    } else {
        memset(auri_sub_second(ret_desc), 0, AURI_SUB_SECOND);
    }
    return true;
}

/* Takes the right to run entry `head`.  False: it was revoked, and is answered SKIPPED. */
static inline bool auri_ring_claim(struct auri_ctl *ctl, uint64_t head)
{
    _Atomic(uint64_t) *claim = &ctl->sub[auri_ring_at(head)].claim;
    uint64_t word = auri_claim_word(head, AURI_CLAIM_DISPATCHED);

    if (AURI_RING_FAULT(AURI_FAULT_CLAIM_STORE)) {
        if (auri_load_acq(claim) != word) {
            return false;
        }
        auri_store_rel(claim, auri_claim_word(head, AURI_CLAIM_RUNNING));
        return true;
    }
    /* acq_rel [C2]; pairs with the same in auri_ring_revoke().  Nothing of the task is done before. */
    return auri_cas_acqrel(claim, &word, auri_claim_word(head, AURI_CLAIM_RUNNING));
}

/* Answers entry `head`.  True: the caller must ring the bell.
 *
 * rung  the target that was rung for last; the worker's own */
static inline bool auri_ring_answer(struct auri_ctl *ctl, uint64_t head,
                                    const struct auri_comp_desc *desc, uint64_t *rung)
{
    struct auri_comp *comp = &ctl->comp[auri_ring_at(head)];
    uint64_t target = 0;

    if (AURI_RING_FAULT(AURI_FAULT_BELL_EARLY)) {
        target = auri_load_rlx(&ctl->wake_at);
    }
    if (AURI_RING_FAULT(AURI_FAULT_PUBLISH_EARLY)) {
        auri_store_rel(&comp->seq, head);
    }
    memcpy(comp, desc, sizeof(*desc));
    /* release [C3]; pairs with the load in auri_ring_take(). */
    auri_store_rel(&comp->seq, head);
    /* fence [C4]; pairs with the one in auri_ring_wake_at(). */
    auri_fence_sc();
    if (!AURI_RING_FAULT(AURI_FAULT_BELL_EARLY)) {
        target = auri_load_rlx(&ctl->wake_at); /* relaxed: ordered by the fence */
    }
    if (target == 0 || head < target || target == *rung) {
        return false;
    }
    *rung = target;
    return true;
}

/* Parks until somebody calls auri_ring_wake(), unless entry `head` is there; may return for no
 * reason. */
static inline void auri_ring_park(struct auri_ctl *ctl, uint64_t head)
{
    _Atomic(uint64_t) *claim = &ctl->sub[auri_ring_at(head)].claim;

    auri_store_rlx(&ctl->sleeping, 1u); /* relaxed: ordered by the fence */
    /* fence [C6]; pairs with the one in auri_ring_wake(). */
    auri_fence_sc();
    /* relaxed: only decides whether to sleep; auri_ring_next() reads it again. */
    if (AURI_RING_FAULT(AURI_FAULT_PARK_BLIND) || auri_claim_seq(auri_load_rlx(claim)) != head) {
        (void)aurp_futex_wait(&ctl->sleeping, 1u, AUR_NO_DEADLINE, AURP_SHARED);
    }
    auri_store_rlx(&ctl->sleeping,
                   0u); /* relaxed: in vain at worst, then the parent wakes nobody */
}

/* ---- the worker: progress ------------------------------------------------------------------- */

/* Entry `seq` is being run; out and errs are zero for a single call. */
static inline void auri_progress_begin(struct auri_ctl *ctl, uint64_t seq, struct auri_extent out,
                                       struct auri_extent errs)
{
    struct auri_progress *progress = &ctl->progress;

    /* relaxed, and a release for the last: a reader that finds the number of this entry finds the
     * rest of it; while the rest is being written there is no number. */
    auri_store_rlx(&progress->seq, UINT64_C(0));
    auri_fence_sc();
    auri_store_rlx(&progress->item, UINT64_C(0));
    auri_store_rlx(&progress->start_ns, UINT64_C(0));
    progress->out = out;
    progress->errs = errs;
    progress->error = auri_extent_make(0, 0, 0);
    auri_store_rel(&progress->seq, seq);
}

/* The first `done` items, their results, codes and the error are written. */
static inline void auri_progress_item(struct auri_ctl *ctl, uint64_t done)
{
    /* release [C5]; pairs with the load in auri_progress_read(). */
    auri_store_rel(&ctl->progress.item, done);
}

/* The next item starts now; only if it has a time limit. */
static inline void auri_progress_start(struct auri_ctl *ctl, uint64_t now_ns)
{
    auri_store_rlx(&ctl->progress.start_ns, now_ns); /* relaxed: a hint for deadlines */
}

/* ---- the worker: extents given back --------------------------------------------------------- */

/* The next extent that the parent gave back, after `head` of them. */
static inline bool auri_free_take(struct auri_ctl *ctl, uint32_t head, uint64_t *ret_offset)
{
    /* acquire [C7]; pairs with the store in auri_free_put(). */
    if (auri_load_acq(&ctl->free_tail) == head) {
        return false;
    }
    *ret_offset = auri_load_rlx(&ctl->freed[head % AURI_FREE_RING]);
    /* release [C8]; pairs with the load in auri_free_put(). */
    auri_store_rel(&ctl->free_head, head + 1);
    return true;
}

/* ---- the worker: requests ------------------------------------------------------------------- */

/* Sends request `seq` (the last one plus 1).  The caller rings the bell, then waits. */
static inline void auri_mail_send(struct auri_ctl *ctl, uint32_t seq,
                                  const struct auri_request *request)
{
    struct auri_mailbox *box = &ctl->mailbox;

    box->req_op = request->op;
    box->req_bytes = request->bytes;
    box->req_fn_ref = request->fn_ref;
    box->req_limits = request->limits;
    box->req_room = request->room;
    box->req_needs = request->needs;
    box->req_unsure = request->unsure;
    box->req_formula = request->formula;
    box->req_pool = request->pool;
    box->req_id = request->id;
    box->req_fn = request->fn;
    box->req_deadline = request->deadline;
    box->req_in = request->in;
    box->req_timeout_ns = request->timeout_ns;
    box->req_retries = request->retries;
    box->req_retry_on = request->retry_on;
    /* release [C9]; pairs with the load in auri_mail_take(). */
    auri_store_rel(&box->req_seq, seq);
}

/* Blocks until request `seq` is answered. */
/* Before the bell. */
static inline void auri_mail_recall(struct auri_ctl *ctl, uint32_t seq)
{
    /* release [C11]; pairs with the load in auri_mail_is_recalled(). */
    auri_store_rel(&ctl->mailbox.recalled, seq);
}

static inline void auri_mail_wait(struct auri_ctl *ctl, uint32_t seq, struct auri_reply *ret_reply)
{
    struct auri_mailbox *box = &ctl->mailbox;
    uint32_t now;

    /* acquire [C10]; pairs with the store in auri_mail_reply(). */
    while ((now = auri_load_acq(&box->rep_seq)) != seq) {
        (void)aurp_futex_wait(&box->rep_seq, now, AUR_NO_DEADLINE, AURP_SHARED);
    }
    *ret_reply = (struct auri_reply){ .err = box->rep_err,
                                      .task_failed = box->rep_task_failed,
                                      .value = box->rep_value,
                                      .out = box->rep_out };
}

#endif /* AURI_WIRE_RING_H */
