/* ring.pml: the ring of one worker process: submit, claim, run, publish, bell, park, revoke, judge.
 *
 * Mirrors  src/wire/ring.h: auri_ring_publish, _wake, _revoke, _take, _judge, _wake_at [C1] [C2] [C4] [C6]
 *          and auri_ring_next, _claim, _answer, _park of the worker [C1] [C2] [C3] [C4] [C6];
 *          src/proc/worker.c: await_entry, serve;  src/proc/leader.c: arm, disarm, sleep_on_bell;
 *          src/proc/drain.c: auri_drain_worker;  src/proc/judge.c: auri_judge;
 *          src/proc/dispatch.c: put, auri_revoke_from, and the stuck case of auri_rebalance.
 * Memory   words of the control segment behind store buffers (tso.inc); the entries and answers that they
 *          guard are plain.
 * Death    SIGKILL after any step of the worker, DEATHS times, each time with a new segment and epoch.
 *          STOP: SIGSTOP after any step, once and for ever; then only the parent's tick is left.
 * Shows    each call has one outcome; without retries none is run twice, and each death costs at most
 *          one; what is told as done was done and is right; only revoked entries are skipped; nobody
 *          sleeps for ever while there is something for him (an invalid end state).
 * Abstract the parent is one process, since all its steps are made under the pool's lock; which thread
 *          leads is not modelled (README.md of src/proc argues it); one worker, so revoked calls go to
 *          the same ring again, or, after a stop, to "somebody else". */

/* run: -DDEATHS=2 */
/* run: -DDEATHS=2 -DCALLS=2 -DRETRIES=1 */
/* run: -DSTOP */
/* deep: -DDEATHS=2 -DCALLS=4 */
/* fault: PUBLISH_EARLY -DDEATHS=1 */
/* fault: CLAIM_STORE -DDEATHS=1 */
/* fault: BELL_EARLY -DDEATHS=1 */
/* fault: PARK_BLIND -DDEATHS=1 */
/* fault: FUTEX_BLIND -DDEATHS=1 */
/* fault: NO_FENCE_PARK -DDEATHS=1 */
/* fault: NO_FENCE_WAKE -DDEATHS=1 */
/* fault: NO_FENCE_ANSWER -DDEATHS=1 */
/* fault: NO_FENCE_WAKE_AT -DDEATHS=1 */
/* fault: NO_SECOND_LOOK -DDEATHS=1 */
/* fault: RUN_BEFORE_CLAIM -DDEATHS=1 */
/* fault: JUDGE_UNDRAINED -DDEATHS=1 */
/* fault: REQUEUE_RUNNING -DDEATHS=1 */
/* fault: NO_TICK -DSTOP */

#ifndef CALLS
#define CALLS 3
#endif
#ifndef RING
#define RING 2
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef REVOKES
#define REVOKES 1
#endif
#ifndef RETRIES
#define RETRIES 0
#endif

#define PARENT 0
#define WORKER 1
#define CPUS 2
#define CLAIM(seq) ((seq) % RING)
#define SEQ(seq) (RING + (seq) % RING)
#define WAKE_AT (2 * RING)
#define SLEEPING (2 * RING + 1)
#define MEM (2 * RING + 2)
#include "tso.inc"

#define DISPATCHED 1
#define RUNNING 2
#define REVOKED 3
#define WORD(seq, state) ((seq) * 4 + (state))
#define WORD_SEQ(word) ((word) / 4)

#define DONE 1
#define SKIPPED 2
#define LOST 3
#define ELSEWHERE 4
#define NOBODY 255

/* plain parts of the segment */
byte sub_call[RING];
byte comp_op[RING];
byte comp_value[RING];

/* the kernel's */
bool bell;       /* the eventfd */
bool in_futex;   /* the worker sleeps on SLEEPING */
bool alive;
bool killed;
bool stopped;
bool exited;     /* the pidfd is readable */

/* what is to be shown */
byte runs[CALLS];
byte outcome[CALLS];
byte attempts[CALLS];
byte deaths;
byte lost;

/* the parent's own */
bool queued[CALLS];
byte open_calls = CALLS;
byte head = 1;
byte tail = 1;
byte flight[RING];
bool revoked[RING];
byte armed;
byte revokes;
bool ticked;

active proctype buffers()
{
end:
    do
    :: drain_one(PARENT)
    :: drain_one(WORKER)
    od
}

/* ---- the worker ------------------------------------------------------------------------------- */

proctype worker()
{
    byte at, call, op, value, rung, target;

    do
    :: alive ->
        at = 1;
        rung = 0;
        {
            do
            :: true ->
                /* await_entry(): auri_ring_next() [C1], else auri_ring_park() [C6] */
                do
                :: WORD_SEQ(LOAD(WORKER, CLAIM(at))) == at -> break
                :: WORD_SEQ(LOAD(WORKER, CLAIM(at))) != at ->
                    store(WORKER, SLEEPING, 1);
#ifndef FAULT_NO_FENCE_PARK
                    FENCE(WORKER);
#endif
                    if
#ifdef FAULT_PARK_BLIND
                    :: true ->
#else
                    :: WORD_SEQ(LOAD(WORKER, CLAIM(at))) != at ->
#endif
                        /* the kernel compares and queues in one step */
                        atomic {
                            FENCE(WORKER);
#ifdef FAULT_FUTEX_BLIND
                            in_futex = true
#else
                            in_futex = (mem[SLEEPING] == 1)
#endif
                        }
                        !in_futex
#ifndef FAULT_PARK_BLIND
                    :: else
#endif
                    fi;
                    store(WORKER, SLEEPING, 0)
                od;
                call = sub_call[at % RING];
                assert(call == flight[at % RING]);
#ifdef FAULT_RUN_BEFORE_CLAIM
                runs[call]++;
#endif
                /* auri_ring_claim() [C2] */
#ifdef FAULT_CLAIM_STORE
                if
                :: LOAD(WORKER, CLAIM(at)) == WORD(at, DISPATCHED) ->
                    store(WORKER, CLAIM(at), WORD(at, RUNNING));
                    op = DONE
                :: LOAD(WORKER, CLAIM(at)) != WORD(at, DISPATCHED) -> op = SKIPPED
                fi;
#else
                d_step {
                    FENCE(WORKER);
                    if
                    :: mem[CLAIM(at)] == WORD(at, DISPATCHED) ->
                        mem[CLAIM(at)] = WORD(at, RUNNING);
                        op = DONE
                    :: else -> op = SKIPPED
                    fi
                };
#endif
                value = 0;
                if
                :: op == DONE ->
#ifndef FAULT_RUN_BEFORE_CLAIM
                    runs[call]++;
#endif
                    value = call + 1
                :: else
                fi;
                /* auri_ring_answer() [C3] [C4] */
#ifdef FAULT_BELL_EARLY
                target = LOAD(WORKER, WAKE_AT);
#endif
#ifdef FAULT_PUBLISH_EARLY
                store(WORKER, SEQ(at), at);
#endif
                comp_op[at % RING] = op;
                comp_value[at % RING] = value;
                store(WORKER, SEQ(at), at);
#ifndef FAULT_NO_FENCE_ANSWER
                FENCE(WORKER);
#endif
#ifndef FAULT_BELL_EARLY
                target = LOAD(WORKER, WAKE_AT);
#endif
                if
                :: target != 0 && at >= target && target != rung ->
                    rung = target;
                    bell = true
                :: else
                fi;
                target = 0;
                at++
            od
        } unless { killed || stopped };
end_stopped:
        killed;
        d_step { alive = false; in_futex = false; exited = true; call = 0; op = 0; value = 0; target = 0 }
    :: open_calls == 0 -> break
    od
}

proctype killer()
{
    do
#ifdef STOP
    :: alive && !stopped -> stopped = true; break
#else
    :: atomic { deaths < DEATHS && alive && !killed -> killed = true; deaths++ }
#endif
    :: open_calls == 0 -> break
    od
}

/* ---- the parent ------------------------------------------------------------------------------- */

inline settle(c, what)
{
    assert(outcome[c] == 0);
    outcome[c] = what;
    open_calls--
}

/* A new epoch: a fresh segment and a worker that starts with entry 1. */
inline start()
{
    d_step {
        i = 0;
        do
        :: i < MEM -> mem[i] = 0; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < RING -> sub_call[i] = NOBODY; flight[i] = NOBODY; revoked[i] = false; comp_op[i] = 0;
            comp_value[i] = 0; i++
        :: else -> break
        od;
        head = 1;
        tail = 1;
        armed = 0;
        exited = false;
        killed = false;
        alive = true;
        i = 0
    }
}

#define ANSWERED(seq) (LOAD(PARENT, SEQ(seq)) == (seq))

/* auri_drain_worker(): auri_ring_take() [C3], auri_ring_plausible() */
inline drain()
{
    do
    :: d_step {
        head < tail && ANSWERED(head) ->
        i = head % RING;
        if
        :: revoked[i] -> assert(comp_op[i] == SKIPPED)
        :: else ->
            assert(comp_op[i] == DONE && comp_value[i] == flight[i] + 1);
            assert(runs[flight[i]] >= 1);
            settle(flight[i], DONE)
        fi;
        head++;
        if
        :: armed != 0 && head > armed -> armed = 0
        :: else
        fi;
        i = 0
       }
    :: head == tail || !ANSWERED(head) -> break
    od
}

/* auri_dispatch(): auri_ring_publish() [C1], auri_ring_wake() [C6] */
inline dispatch()
{
    c = 0;
    do
    :: c < CALLS && queued[c] && tail - head < RING ->
        d_step {
            queued[c] = false;
            flight[tail % RING] = c;
            revoked[tail % RING] = false;
            sub_call[tail % RING] = c
        };
        store(PARENT, CLAIM(tail), WORD(tail, DISPATCHED));
        tail++;
#ifndef FAULT_NO_FENCE_WAKE
        FENCE(PARENT);
#endif
        if
        :: LOAD(PARENT, SLEEPING) != 0 ->
            store(PARENT, SLEEPING, 0);
            atomic { FENCE(PARENT); in_futex = false }
        :: LOAD(PARENT, SLEEPING) == 0
        fi
    :: c < CALLS && !(queued[c] && tail - head < RING) -> c++
    :: c == CALLS -> break
    od;
    c = 0
}

/* auri_revoke_from(): auri_ring_revoke() [C2], from the back; the first that was begun ends it. */
inline revoke_from(first, to_queue)
{
    seq = tail;
    do
    :: seq > first && !revoked[(seq - 1) % RING] ->
        seq--;
        atomic {
            FENCE(PARENT);
            if
            :: mem[CLAIM(seq)] == WORD(seq, DISPATCHED) ->
                mem[CLAIM(seq)] = WORD(seq, REVOKED);
                revoked[seq % RING] = true;
                if
                :: to_queue -> queued[flight[seq % RING]] = true
                :: else -> settle(flight[seq % RING], ELSEWHERE)
                fi
            :: else -> seq = first
            fi
        }
    :: seq > first && revoked[(seq - 1) % RING] -> seq--
    :: seq <= first -> break
    od;
    seq = 0
}

/* auri_judge(): what was answered counts; then each other entry by auri_ring_judge(). */
inline judge()
{
#ifndef FAULT_JUDGE_UNDRAINED
    drain();
#endif
    skip;
    d_step {
        lost = 0;
        seq = tail;
        do
        :: seq > head ->
            seq--;
            i = seq % RING;
            if
            :: revoked[i]
            :: !revoked[i] && mem[CLAIM(seq)] == WORD(seq, DISPATCHED) -> queued[flight[i]] = true
#ifdef FAULT_REQUEUE_RUNNING
            :: !revoked[i] && mem[CLAIM(seq)] == WORD(seq, RUNNING) -> queued[flight[i]] = true
#else
            :: !revoked[i] && mem[CLAIM(seq)] != WORD(seq, DISPATCHED) ->
                lost++;
                attempts[flight[i]]++;
                if
                :: attempts[flight[i]] <= RETRIES -> queued[flight[i]] = true
                :: else -> settle(flight[i], LOST)
                fi
#endif
            fi
        :: else -> break
        od;
        assert(lost <= 1);
        lost = 0;
        seq = 0;
        i = 0
    }
}

active proctype parent()
{
    byte i, c, seq, target;

    d_step {
        do
        :: c < CALLS -> queued[c] = true; c++
        :: else -> break
        od;
        c = 0
    };
    start();
    run worker();
    run killer();
    do
    :: open_calls == 0 -> break
    :: open_calls > 0 ->
        if
        :: exited && held[WORKER] == 0 ->
            judge();
            start()
        :: else
        fi;
        drain();
        dispatch();
        if
        :: revokes < REVOKES && head < tail ->
            revokes++;
            if
            :: true -> revoke_from(head, true)
            :: true -> revoke_from(head + 1, true)
            fi;
            dispatch()
        :: true
        fi;
        /* arm(): any of the targets that target_of() may choose */
        if
        :: head == tail
        :: head < tail ->
            if
            :: target = head
            :: target = head + (tail - head - 1) / 2
            :: target = tail - 1
            fi;
            if
            :: armed != 0 && armed <= target
            :: else ->
                armed = target;
                store(PARENT, WAKE_AT, target);
#ifndef FAULT_NO_FENCE_WAKE_AT
                FENCE(PARENT);
#endif
                if
#ifndef FAULT_NO_SECOND_LOOK
                :: ANSWERED(target) -> target = NOBODY
                :: !ANSWERED(target)
#else
                :: true
#endif
                fi
            fi
        fi;
        if
        :: target == NOBODY || open_calls == 0
        :: else ->
            /* asleep: the bell, a pidfd, or the tick */
            if
            :: bell
            :: exited && held[WORKER] == 0
#ifdef STOP
#ifndef FAULT_NO_TICK
            :: stopped && held[WORKER] == 0 && !ticked ->
                ticked = true;
                drain();
                /* auri_rebalance(): all if the oldest was not begun, else what comes after it */
                c = (mem[CLAIM(head)] == WORD(head, DISPATCHED) -> head : head + 1);
                revoke_from(c, false);
                c = 0;
                d_step {
                    do
                    :: c < CALLS && queued[c] -> queued[c] = false; settle(c, ELSEWHERE)
                    :: c < CALLS && !queued[c] -> c++
                    :: else -> break
                    od;
                    c = 0
                };
                /* what the stopped worker is in is all that is left */
                assert(open_calls <= 1);
                assert(open_calls == 0 || (!ANSWERED(head) && mem[CLAIM(head)] == WORD(head, RUNNING)));
                open_calls = 0
#endif
#endif
            fi;
            bell = false;
            /* disarm(), which the guardian leaves out */
            if
            :: armed != 0 -> armed = 0; store(PARENT, WAKE_AT, 0)
            :: true
            fi
        fi;
        target = 0
    od;
    /* the end: everything has its outcome */
    skip;
    d_step {
        c = 0;
        do
        :: c < CALLS ->
#ifdef STOP
            assert(runs[c] <= 1 + RETRIES);
#else
            assert(outcome[c] != 0);
            assert(outcome[c] != DONE || runs[c] >= 1);
            assert(runs[c] <= 1 + RETRIES);
            assert(runs[c] <= 1 + attempts[c]);
            if
            :: outcome[c] == LOST -> lost++
            :: else
            fi;
#endif
            c++
        :: else -> break
        od;
        assert(lost <= deaths);
        lost = 0;
        c = 0;
        killed = true
    }
}
