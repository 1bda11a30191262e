/* wire/ctl.h: the control segment: all that a parent and one worker process say to each other.
 *
 * One 64 KiB memfd per worker and epoch, mapped by these two only, so a wild write damages only this
 * worker's own traffic.  It holds single-writer words and one CAS word per entry, each value of which
 * is a valid state.  Nothing in it is ever repaired: after a death the parent reads the words once
 * and drops the segment.  The parent believes nothing it reads here: it copies, then checks.
 *
 * Entries are taken in order, and entry i of comp[] answers entry i of sub[]:
 *
 *   parent, put             worker                                  parent, drain and judge
 *   sub[t] = ...            v = acquire(sub[i].claim)               while acquire(comp[h].seq) == h:
 *   release claim =         v.seq != head: spin, then park            take a copy; h++
 *     (t, DISPATCHED) [C1]  copy the entry                          judge (worker is dead): drain, then
 *                           CAS claim (h,DISP)->(h,RUNNING) [C2]      each claim left:
 *                           won: run, fill comp[i]                      DISPATCHED -> queue again
 *                           lost: comp[i].op = SKIPPED                  REVOKED by me -> drop
 *                           release comp[i].seq = h [C3]                anything else -> lost (attempt)
 *                           fence; t = wake_at;
 *                           if t != 0 and h >= t and t != rung:
 *                             rung = t; ring the bell [C4]
 *                           head = h + 1
 *
 * Sequence numbers start at 1 (0: never used) and index i = auri_ring_at(seq).  The parent keeps at most
 * AURI_RING entries unanswered, so neither ring can overflow.
 *
 * A worker is killed      the parent sees           and does
 *   before C2             DISPATCHED                queues it again, not an attempt
 *   C2 .. C3              RUNNING, no completion    the one lost item: retry or AUR_EWORKER
 *   after C3              a completion              the result counts
 *   between C3 and C4     no bell                   the pidfd wakes it; it drains first
 *
 * A chunk of a map is one entry with many items.  The worker stores progress.item after each item's
 * result bytes are written (release, [C5]); when it dies, items before progress.item are done,
 * that one is lost, the rest is queued again.
 *
 * The steps themselves are in wire/ring.h. */
#ifndef AURI_WIRE_CTL_H
#define AURI_WIRE_CTL_H

#include <auriga.h>

#include "base/atomic.h"

#define AURI_CTL_BYTES 65536u
#define AURI_CTL_MAGIC UINT64_C(0x324c544341525541)
#define AURI_RING 256u
#define AURI_FREE_RING 256u

/* ---- words --------------------------------------------------------------------------------- */

/* sub[i].claim: sequence in the upper 56 bits, state in the low 8. */
enum {
    AURI_CLAIM_EMPTY = 0,
    AURI_CLAIM_DISPATCHED = 1,
    AURI_CLAIM_RUNNING = 2,
    AURI_CLAIM_REVOKED = 3
};
#define auri_claim_word(seq, state) (((uint64_t)(seq) << 8) | (uint64_t)(state))
#define auri_claim_seq(word) ((word) >> 8)
#define auri_claim_state(word) ((unsigned)((word)&0xff))

/* Where payload bytes are: a segment number and an offset in it.  A zero length means none. */
enum {
    AURI_SEG_INLINE = 0, /* in the entry itself */
    AURI_SEG_ARGS = 1,   /* the pool's argument arena: the worker maps it read-only */
    AURI_SEG_RESULT = 2, /* the worker's own result segment: the parent maps it read-only */
    AURI_SEG_SHARED = 3, /* the pool's shared buffers: both map it read-write */
};
struct auri_extent {
    uint64_t where; /* segment:16 (high), offset:48 (low) */
    uint64_t size;
};
/* The parent gives an extent of the RESULT segment back by its offset (freed[]), also one of which
 * only a part is used. */
#define auri_extent_seg(e) ((unsigned)((e).where >> 48))
#define auri_extent_off(e) ((e).where & UINT64_C(0xffffffffffff))
#define auri_extent_make(seg, off, bytes)                                                          \
    ((struct auri_extent){ ((uint64_t)(seg) << 48) | (uint64_t)(off), (bytes) })

/* ---- entries ------------------------------------------------------------------------------- */

enum {
    AURI_OP_CALL = 1,  /* one record: args, ret of fn */
    AURI_OP_BYTES = 2, /* one byte string */
    AURI_OP_MAP = 3,   /* count records, which are items [item, item + count); args is these only */
    AURI_OP_FOR = 4,   /* the range body on [item, item + count), one index at a time */
    AURI_OP_MAPB =
        5, /* byte strings: args is an array of count struct auri_extent (ARGS segment) */
    AURI_OP_QUIT = 6, /* run fini, answer, exit with 0 */
};

#define AURI_SUB_INLINE 32u
#define AURI_SUB_SMALL 16u
#define AURI_COMP_INLINE 32u

/* A SHORT entry is its first line.  The second one is neither written nor read, so it does not move between
 * two CPUs: bench/submit, bench/payload.  It is a call without limits whose arguments fit into small[] or lie
 * in a segment. */
enum { AURI_FORM_LONG = 0, AURI_FORM_SHORT = 1 };

/* Two lines.  The claim word shares the first with what a small call needs. */
struct auri_sub {
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) claim;
    /* Address of the descriptor in the worker (both starts: already decoded or the same image); see fn_ref for
     * spawn. */
    uint64_t fn;
    uint8_t op;
    uint8_t form;            /* AURI_FORM_* */
    uint16_t attempt;        /* 1: the first */
    uint32_t fn_ref;         /* spawn: index into the module reference table (message), else 0 */
    struct auri_extent args; /* AURI_SEG_INLINE: in data[]; SHORT: in small[] */
    uint64_t task_id;        /* the parent's name of the task: for aur_future_id inside it */
    unsigned char small[AURI_SUB_SMALL];
    /* second line; all zero if SHORT */
    unsigned char data[AURI_SUB_INLINE];
    uint64_t item;
    uint64_t count;
    uint64_t timeout_ns; /* of each item; 0: none */
    uint64_t flags;      /* AURI_SUB_* */
};
_Static_assert(sizeof(struct auri_sub) == 128, "two cache lines");
#define AURI_SUB_STOP_ON_ERROR                                                                     \
    1u /* a map without AUR_CALL_ALL_ERRORS: end the chunk at the first failure */

enum {
    AURI_COMP_DONE = 1,    /* ran to its end; err says how */
    AURI_COMP_SKIPPED = 2, /* was revoked */
};

/* One line; seq is last in it and stored last.
 *   single call, err AUR_OK   out: the result, INLINE in data[] if it fits
 *   single call that failed   out: an aur_error in the RESULT segment; size 0: no memory for it
 *   chunk                     out: the results (MAP: count results; MAPB: count struct auri_extent;
 *                             FOR: none); data: a struct auri_chunk_end; err: of the first failed
 *                             item, or why no item was run (then there is no errs)
 * The pointers in an aur_error that comes from a worker mean nothing to the parent. */
struct auri_comp {
    alignas(AURI_CACHE_LINE) uint32_t op;
    int32_t err;            /* aur_err of a single call; for chunks: of the first failed item */
    struct auri_extent out; /* result, or error details; AURI_SEG_INLINE: in data[] */
    unsigned char data[AURI_COMP_INLINE];
    _Atomic(uint64_t) seq;
};
_Static_assert(sizeof(struct auri_comp) == 64, "one cache line");

/* All in the RESULT segment. */
struct auri_chunk_end {
    struct auri_extent errs;  /* count aur_err; AUR_EPENDING: not run (AURI_SUB_STOP_ON_ERROR) */
    struct auri_extent error; /* the aur_error of the first failed item, or size 0 */
};
_Static_assert(sizeof(struct auri_chunk_end) == AURI_COMP_INLINE, "in data[] of a completion");

/* What the worker is at, for judging a death in the middle of a chunk and for item deadlines. */
struct auri_progress {
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) seq; /* entry being run, or the last */
    _Atomic(uint64_t) item;     /* items of it that are done, counted from 0 [C5] */
    _Atomic(uint64_t) start_ns; /* when the current item started; only kept if timeout_ns != 0, and
                                     0 while no item runs */
    struct auri_extent out;     /* result extent of the chunk, set before the first item */
    struct auri_extent errs;    /* per-item aur_err array of the chunk, likewise */
    struct auri_extent error;   /* aur_error of the first failed item; valid (zero: none failed) for
                                     items < item */
};

/* A function or a descriptor by module, for AUR_START_SPAWN: a struct auri_module_ref (proc/module.h)
 * and the file of its module (no zero byte; size 0: the program, or loaded by everybody). */
#define AURI_REF_BYTES 48u
struct auri_fn_entry {
    unsigned char ref[AURI_REF_BYTES];
    struct auri_extent path; /* ARGS segment; in a request: RESULT segment */
};
_Static_assert(sizeof(struct auri_fn_entry) == 64, "one cache line");

/* What a worker has to know before it says hello.  Parent, once, before the worker is asked for. */
enum {
    AURI_SETUP_SPAWN = 1, /* init, fini, and fn of entries go by reference */
    AURI_SETUP_INIT = 2,  /* there is an init */
    AURI_SETUP_FINI = 4,
};
struct auri_setup {
    uint64_t pool; /* the parent's pool, as an address: what inherited pointers are compared
                              with, never followed */
    uint64_t
        args_bytes; /* sizes of the segments; 0: there is none, and its descriptor is not used */
    uint64_t shared_bytes;
    uint64_t result_bytes;
    uint64_t result_warm;      /* as auri_arena_attach(): committed prefix, or AURI_WARM_FIND */
    _Atomic(uint64_t) spin_ns; /* A: how long to look for work before parking; 0 on one CPU */
    uint32_t flags;            /* AURI_SETUP_* */
    uint32_t workers;          /* of the pool */
    uint64_t worker_ctx;       /* fork: addresses as they are in the parent */
    uint64_t init;
    uint64_t fini;
    struct auri_fn_entry init_ref; /* spawn */
    struct auri_fn_entry fini_ref;
    struct auri_extent
        fns; /* spawn: ARGS segment, array of struct auri_fn_entry that sub.fn_ref - 1
                               is an index of.  Entries are written before the first sub with them. */
    uint64_t item_timeout_ns; /* the pool's own limits, as in struct auri_limits */
    uint32_t retries;
    uint32_t retry_on;
    char name[32]; /* of the pool */
};

/* One request at a time from a task in the worker to the parent, and its answer: futures and submits
 * of nested calls.  The worker stores req_seq last; the parent stores rep_seq last and wakes its
 * futex.  Separate from the rings so that those answer each entry exactly once. */
enum {
    AURI_REQ_SUBMIT = 1, /* call fn with args in `in`; answers the future's id */
    AURI_REQ_WAIT =
        2, /* wait for future `id` until deadline; answers its outcome, result in `out` */
    AURI_REQ_POLL = 3,   /* as WAIT with a deadline that has passed */
    AURI_REQ_CANCEL = 4, /* answers AUR_CANCEL_* in value */
    AURI_REQ_DROP = 5,   /* the worker's reference to future `id` is gone */
    AURI_REQ_RAN = 6,    /* the task that it ran in place of a wait has ended: `in` is a struct
                            auri_comp_desc; size 0: there was no memory for that */
    /* Wait for any of the futures that `in`, an array of u64, names: answers as WAIT for the first that is done,
     * for the lowest of those that are when it asks; its index in value, or with AUR_EINVAL that of one that
     * there is not. */
    AURI_REQ_WAIT_ANY = 7,
};
struct auri_mailbox {
    alignas(AURI_CACHE_LINE) _Atomic(uint32_t) req_seq; /* worker writes */
    uint32_t req_op;
    uint64_t req_pool; /* SUBMIT: the number (task/pool.h) of a pool of the parent, or 0: my own */
    uint64_t req_id;
    uint64_t req_fn;
    uint64_t req_deadline;
    struct auri_extent req_in; /* in the RESULT segment */
    uint32_t req_bytes;        /* 1: a byte-string task */
    uint32_t req_fn_ref;       /* 1 (spawn): req_fn is where in the RESULT segment a struct
                                  auri_fn_entry is; 0: the address of the descriptor */
    uint64_t req_timeout_ns;   /* SUBMIT: limits of the call, if req_limits is 1 */
    uint32_t req_retries;
    uint32_t req_retry_on;
    uint32_t req_limits; /* 0: the pool's own limits hold */
    uint32_t req_room; /* WAIT, WAIT_ANY: 1: the reply may be a task to run in place of the wait */
    /* WAIT, WAIT_ANY: of the numbers the first so many are those without any of which the task cannot go on; 0: it
     * can: no verdict is given */
    uint32_t req_needs;
    uint32_t req_unsure; /* WAIT, WAIT_ANY: 1: nobody knows whether it needs these */
    /* WAIT_ANY: 0: any one of these frees it; else what does is said by so many u32 behind `in`: the number of gates,
     * then of each gate how many of its inputs it needs, how many it has, and these: below req_needs one of the
     * numbers, from there on a gate.  Gate 0 frees the task (sched/formula.h). */
    uint32_t req_formula;
    /* Worker writes: the number of a WAIT or WAIT_ANY that is to be answered now, by AUR_EAGAIN if by nothing
     * else.  It may be of a request that is still to come, or was answered. */
    _Atomic(uint32_t) recalled;
    alignas(AURI_CACHE_LINE) _Atomic(uint32_t) rep_seq; /* parent writes; futex, shared */
    int32_t rep_err;
    uint64_t rep_value;
    struct auri_extent
        rep_out;              /* ARGS segment: result bytes, or an aur_error if rep_err is a failure
                                   of the task and not of the request; the parent keeps it until the
                                   next request (the worker copies it before that) */
    uint32_t rep_task_failed; /* 1: rep_err is the task's outcome; 0: WAIT, WAIT_ANY and POLL answer
                                   AUR_ETIMEDOUT for a future that is not done, AUR_EAGAIN for a request that was
                                   recalled, AUR_EPENDING for "run the struct
                                   auri_sub_desc in rep_out first, say RAN, and ask again" (only if
                                   req_room is 1), AUR_EDEADLK (rep_out may be an
                                   aur_error) for a wait that would never end, AUR_EINVAL for none */
};

enum {
    AURI_HELLO_READY = 1,   /* init succeeded */
    AURI_HELLO_REFUSED = 2, /* init failed */
    AURI_HELLO_LEAVES =
        3, /* ends by itself between two entries: that is no fault of the next one */
};

struct auri_ctl {
    uint64_t magic;    /* parent, once */
    uint64_t epoch;    /* parent, once */
    uint32_t abi_size; /* parent: sizeof(struct auri_ctl); the worker refuses another */
    uint32_t slot;     /* parent: worker index */
    /* words of the parent */
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t)
        wake_at;                  /* ring once an entry >= this is answered; 0: never */
    _Atomic(uint32_t) stop;       /* 1: aur_checkpoint() says cancelled */
    _Atomic(uint64_t) cancel_seq; /* the entry whose task should stop early */
    /* 1 + the CPU of a thread that calls again and again, and looks on: a worker that runs there had better go
     * elsewhere first.  A hint; the worker puts 0 once it has seen it. */
    _Atomic(uint32_t) leader_cpu;
    /* Counted up: memory of results that was not in use lately shall go back to the system. */
    _Atomic(uint32_t) shrink;
    alignas(
        AURI_CACHE_LINE) _Atomic(uint32_t) free_tail; /* parent: freed result extents put so far */
    /* words of the worker */
    alignas(AURI_CACHE_LINE) _Atomic(uint32_t)
        sleeping; /* 1: parks on this futex (shared); parent clears and wakes */
    alignas(AURI_CACHE_LINE) _Atomic(uint32_t)
        free_head;            /* worker: freed result extents taken so far */
    _Atomic(uint32_t) shrunk; /* worker: the last `shrink` that it has dealt with */
    alignas(AURI_CACHE_LINE) _Atomic(uint32_t) hello; /* worker: AURI_HELLO_*; 0: not yet */
    struct auri_progress progress;
    struct auri_mailbox mailbox;
    struct auri_setup setup;                 /* parent, once */
    _Atomic(uint64_t) freed[AURI_FREE_RING]; /* offsets in the RESULT segment */
    struct auri_sub sub[AURI_RING];
    struct auri_comp comp[AURI_RING];
};
_Static_assert(sizeof(struct auri_ctl) <= AURI_CTL_BYTES, "the segment holds it all");

#endif /* AURI_WIRE_CTL_H */
