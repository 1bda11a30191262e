/* leader.pml: who looks after the rings: a waiting thread that leads, threads that are parked, the guardian.
 *
 * Mirrors  src/proc/leader.c: auri_progress, lead, park, sleep_on_bell, arm, disarm, target_of, auri_listen,
 *          auri_attend;  src/proc/drain.c: auri_drain_worker;  src/proc/deliver.c: finish_all;
 *          src/proc/guardian.c: hear, look;  src/wire/ring.h: auri_ring_answer [C4].  The letters are those of
 *          src/proc/README.md.
 * Threads  TASKS of them; each submits one call and waits for it, without a limit; with HASTY the first one for
 *          a time that may be over at any moment, with TOLD the last one by a callback.  One worker runs the
 *          calls in order.
 * Death    SIGKILL after any step of the worker (DEATHS): what it has not answered is lost, which is an outcome.
 * Ticks    the leader and the guardian may wake for no reason, TICKS times in all: so a wake that is missing
 *          is not made up for by the next tick.
 * Memory   sequentially consistent: the fences of [C4] are ring.pml's, and that of (C) is the fault
 *          ASLEEP_LATE.
 * Shows    nobody who waits sleeps for ever, whoever else comes and goes; one thread leads at a time; each
 *          call gets its outcome once.
 * Abstract the other targets (room in the ring, idle workers) only add bells; a leader that collects several
 *          (later()) has a timer of its own, which is a tick here; no queue, no requests, no spins;
 *          what happens under the lock is one step, but for what the worker or a finisher may see of it. */

/* run: -DTICKS=1 */
/* run: -DDEATHS=1 -DHASTY */
/* run: -DDEATHS=1 -DTOLD */
/* deep: -DDEATHS=1 -DTICKS=1 */
/* deep: -DTASKS=3 */
/* fault: ARM_BLIND */
/* fault: ARMED_BLIND -DTICKS=1 */
/* fault: LISTEN_BLIND */
/* fault: ASLEEP_LATE -DTICKS=1 */
/* fault: FINISH_BLIND -DTICKS=1 */
/* fault: LEAVES_SILENT */
/* fault: PARKS_UNLISTED */
/* fault: PARKS_BLIND */
/* fault: BELL_NOT_HEARD */
/* fault: DEATH_NOT_HEARD -DDEATHS=1 */

#ifndef TASKS
#define TASKS 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef TICKS
#define TICKS 0
#endif
#define NONE 255

/* the worker's ring: entry e is call entry_call[e]; answers come in order */
byte head = 1;
byte tail = 1;
byte entry_call[TASKS + 1];
byte entry[TASKS]; /* of each call; 0: not submitted */
byte answered;     /* up to this entry */
byte wake_at;
bool killed;
bool exited; /* the pidfd is readable */
bool judged;

/* the kernel's */
bool bell;
bool bell_added = true; /* the guardian hears it */
bool in_futex[TASKS];

/* the pool */
bool p_lock;
bool leading;
byte led = NONE;
bool parked[TASKS];
bool attended;
byte armed;
bool asleep;
byte ticks;

bool done[TASKS];
byte gone; /* threads that have what they wanted */

#define TICK (ticks < TICKS)

/* ---- the worker -------------------------------------------------------------------------------- */

active proctype worker()
{
    byte at = 1;
    byte target, rung;

    {
end:
        do
        :: at < tail ->
            answered = at; /* [C3], then the fence [C4] */
            target = wake_at;
            if
            :: target != 0 && at >= target && target != rung -> rung = target; bell = true
            :: else
            fi;
            target = 0;
            at++
        od
    } unless { killed };
    exited = true
}

#if DEATHS > 0
active proctype killer()
{
    if
    :: killed = true
    :: true
    fi
}
#endif

/* ---- what all threads of the parent do ---------------------------------------------------------- */

#define ENTRY_OF(c) (entry[c] >= head && entry[c] < tail -> entry[c] : 0)

/* auri_drain(); mine: what this thread has to finish; any: there is something. */
inline drain()
{
    do
    :: head < tail && answered >= head -> mine[entry_call[head]] = true; any = true; head++
    :: else -> break
    od;
    if
    :: armed != 0 && head > armed -> armed = 0
    :: else
    fi
}

/* target_of() */
inline aim()
{
    target = 0;
    f = 0;
    do
    :: f < TASKS ->
        if
        :: ((leading && led == f) || parked[f]) && ENTRY_OF(f) != 0 && (target == 0 || ENTRY_OF(f) < target) ->
            target = ENTRY_OF(f)
        :: else
        fi;
        f++
    :: else -> break
    od;
    f = 0;
    if
    :: attended && head < tail -> target = head
    :: else
    fi
}

/* The rest of arm(): the target is told, then its answer looked for [C4].  missed: it is there already. */
inline arm()
{
    if
    :: target != 0 && (armed == 0 || target < armed) ->
        d_step { armed = target; wake_at = target };
#ifndef FAULT_ARM_BLIND
        missed = (answered >= armed)
#endif
    :: target != 0 && armed != 0 && target >= armed ->
#ifndef FAULT_ARMED_BLIND
        missed = (answered >= armed)
#endif
    :: target == 0
    fi;
    target = 0
}

inline disarm()
{
    if
    :: armed != 0 -> armed = 0; wake_at = 0
    :: else
    fi
}

/* auri_listen(): aim() first, unless an awake leader will (B); and ring for what was missed. */
#define LISTENS (!leading || asleep)
inline ring_if_missed()
{
    d_step {
#ifndef FAULT_LISTEN_BLIND
        if
        :: missed -> bell = true
        :: else
        fi;
#endif
        missed = false;
        p_lock = false
    }
}

/* finish_all() */
inline deliver()
{
    d_step {
        any = false;
        f = 0;
        do
        :: f < TASKS ->
            if
            :: mine[f] -> assert(!done[f]); mine[f] = false; done[f] = true; in_futex[f] = false; any = true
            :: else
            fi;
            f++
        :: else -> break
        od;
        f = 0
    };
    if
#ifndef FAULT_FINISH_BLIND
    :: any && asleep -> d_step { !p_lock -> bell = true; any = false } /* (C) */
#endif
    :: else -> any = false
    fi
}

/* ---- a thread that waits ------------------------------------------------------------------------- */

/* With the lock held, which it releases. */
inline sleep_on_bell()
{
#ifdef FAULT_ASLEEP_LATE
    heard = !done[me];
    asleep = heard;
#else
    asleep = true;
    heard = !done[me];
#endif
    if
    :: !heard -> d_step { asleep = false; p_lock = false }
    :: else ->
        d_step { bell_added = false; p_lock = false };
        if
        :: bell
        :: TICK -> ticks++
        :: hasty
        fi;
        d_step {
            !p_lock ->
            asleep = false;
            bell = false;
            heard = false;
#ifndef FAULT_BELL_NOT_HEARD
            bell_added = true;
#endif
            disarm()
        }
    fi
}

/* With the lock held; lead(), and what auri_progress() does behind it. */
inline lead()
{
    d_step {
        assert(!leading);
        leading = true;
        led = me;
        disarm();
        p_lock = false
    };
    do
    :: done[me] -> break
    :: !done[me] ->
        d_step { !p_lock -> p_lock = true; drain(); aim() };
        if
        :: any -> d_step { target = 0; p_lock = false }
        :: !any && hasty -> d_step { target = 0; p_lock = false }; break
        :: !any ->
            arm();
            if
            :: missed -> d_step { missed = false; p_lock = false }
            :: else -> sleep_on_bell()
            fi
        fi;
        deliver()
    od;
    skip;
    d_step { !p_lock -> p_lock = true; leading = false; led = NONE; aim() };
#ifndef FAULT_LEAVES_SILENT
    arm(); /* auri_listen() (D) */
#endif
    d_step {
        target = 0;
        if /* one parked thread can do it with a hop less */
        :: parked[0] -> in_futex[0] = false
        :: !parked[0] && parked[1] -> in_futex[1] = false
#if TASKS > 2
        :: !parked[0] && !parked[1] && parked[2] -> in_futex[2] = false
#endif
        :: else
        fi
    };
    ring_if_missed()
}

/* With the lock held, which it releases. */
inline park()
{
    d_step {
#ifndef FAULT_PARKS_UNLISTED
        parked[me] = true;
#endif
        if
        :: LISTENS -> aim()
        :: else
        fi
    };
    arm();
    ring_if_missed();
    /* the word with WAITERS in it, compared by the kernel: (E) */
#ifdef FAULT_PARKS_BLIND
    in_futex[me] = true;
#else
    d_step { in_futex[me] = !done[me] };
#endif
    if
    :: !in_futex[me]
    :: hasty -> in_futex[me] = false
    fi;
    d_step { !p_lock -> parked[me] = false }
}

proctype waiter(byte me)
{
    byte f, target;
    bool mine[TASKS];
    bool any, missed, hasty, heard;

    /* submit, and auri_dispatch(): into the ring; a dead worker gets nothing, and the call is lost at once */
    d_step {
        !p_lock ->
        p_lock = true;
        if
        :: !judged -> entry[me] = tail; entry_call[tail] = me; tail++
        :: judged -> done[me] = true
        fi;
        if
        :: LISTENS -> aim()
        :: else
        fi
    };
    arm();
    ring_if_missed();
#ifdef HASTY
    hasty = (me == 0);
#endif
#ifdef TOLD
    if
    :: me == TASKS - 1 -> /* auri_attend() */
        d_step {
            !p_lock ->
            p_lock = true;
            if
            :: !attended || armed == 0 ->
                attended = true;
                if
                :: LISTENS -> aim()
                :: else
                fi
            :: else
            fi
        };
        arm();
        ring_if_missed();
        done[me];
        goto over
    :: else
    fi;
#endif
    do
    :: done[me] -> break
    :: !done[me] ->
        atomic { !p_lock -> p_lock = true };
        if
        :: leading && !done[me] -> park()
        :: leading && done[me] -> p_lock = false
        :: !leading -> lead()
        fi;
        if
        :: hasty -> break /* its time is over */
        :: else
        fi
    od;
#ifdef TOLD
over:
#endif
    gone++
}

/* ---- the guardian -------------------------------------------------------------------------------- */

#ifdef FAULT_DEATH_NOT_HEARD
#define DEATH_HEARD false
#else
#define DEATH_HEARD (exited && !judged) /* the pidfd */
#endif

active proctype guardian()
{
    byte f, target;
    bool mine[TASKS];
    bool any, missed, heard;

end:
    do
    :: d_step {
        (bell && bell_added) || DEATH_HEARD || TICK ->
        heard = bell && bell_added; /* what epoll says */
        if
        :: !heard && !DEATH_HEARD -> ticks++
        :: else
        fi
       };
        /* hear(): by now the bell may be a leader's; auri_judge(); look() */
        d_step {
            !p_lock ->
            p_lock = true;
            if
            :: heard && !asleep -> bell = false
            :: else
            fi;
            heard = false;
            drain();
            if
            :: DEATH_HEARD ->
                judged = true;
                armed = 0;
                do
                :: head < tail -> mine[entry_call[head]] = true; head++
                :: else -> break
                od
            :: else
            fi;
            if
            :: LISTENS -> aim()
            :: else
            fi
        };
        arm();
        ring_if_missed();
        deliver()
    od
}

init
{
    byte c;

    atomic {
        do
        :: c < TASKS -> run waiter(c); c++
        :: else -> break
        od;
        c = 0
    }
    gone == TASKS
}
