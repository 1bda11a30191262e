/* eventcount.pml: how the workers of a thread pool sleep without missing work, and end.
 *
 * Mirrors  src/sync/eventcount.h: auri_ec_notify [E1];  src/sync/eventcount.c: auri_ec_notify_slow,
 *          _search_start, _search_stop, _announce [E2], _retract (leave), _sleep, _wake_all;
 *          src/sched/worker.c: found, search_once, search_or_sleep, stop_searching, work.
 * Memory   a push is a store to one's own deque, behind the pusher's store buffer; taking is a
 *          compare-and-swap; the word changes by compare-and-swap or addition only, all fields at once.
 * Shows    no work is left while all workers sleep, though each push wakes one worker at most; after a
 *          stop every worker ends; the fields never run below zero.
 * Abstract each call is pushed once by its producer, or by the worker that runs its parent call (CHILD);
 *          the deficit and spares are left out (help.pml has them); searching looks at each place once,
 *          without spinning. */

/* run: -DPRODUCERS=1 */
/* run: -DPRODUCERS=2 */
/* deep: -DPRODUCERS=1 -DWORKERS=3 */
/* fault: NO_FENCE_NOTIFY -DPRODUCERS=2 */
/* fault: WAKE_BEFORE_TOKEN -DPRODUCERS=2 */
/* fault: NO_CHAIN -DPRODUCERS=2 */
/* fault: LOOK_EARLY -DPRODUCERS=2 */
/* fault: NO_LAST_LOOK -DPRODUCERS=2 */
/* fault: QUIET_LEAVE -DPRODUCERS=2 */
/* fault: FUTEX_BLIND -DPRODUCERS=2 */

#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#define ITEMS (PRODUCERS + 1)
#define CHILD PRODUCERS /* pushed by whoever runs call 0 */

/* one word */
byte tokens, sleepers, searchers;

/* the store buffers have room for one push each */
#define NONE 255
byte buffered[PRODUCERS + WORKERS] = NONE;
bool visible[ITEMS];
bool ran[ITEMS];
byte runs;
bool asleep[WORKERS];
bool stop;
byte ended;

#define FENCE(c) (buffered[c] == NONE)

inline drain_one(c)
{
    d_step { buffered[c] != NONE -> visible[buffered[c]] = true; buffered[c] = NONE }
}

/* One turn of a compare-and-swap loop: t, s, q are what was read. */
#define UNCHANGED (tokens == t && sleepers == s && searchers == q)

inline wake_one()
{
    if
    :: atomic { asleep[0] -> asleep[0] = false }
#if WORKERS > 1
    :: atomic { asleep[1] -> asleep[1] = false }
#endif
#if WORKERS > 2
    :: atomic { asleep[2] -> asleep[2] = false }
#endif
    :: atomic { else -> skip }
    fi
}

inline wake_everybody()
{
    d_step {
        asleep[0] = false;
#if WORKERS > 1
        asleep[1] = false;
#endif
#if WORKERS > 2
        asleep[2] = false;
#endif
    }
}

/* auri_ec_notify() and _slow(), by cpu c */
inline notify(c)
{
#ifndef FAULT_NO_FENCE_NOTIFY
    FENCE(c);
#endif
    atomic { t = tokens; s = sleepers; q = searchers };
    do
    :: q + t != 0 || s == 0 -> break
    :: else ->
#ifdef FAULT_WAKE_BEFORE_TOKEN
        wake_one();
#endif
        d_step {
            FENCE(c);
            if
            :: UNCHANGED -> sleepers--; tokens++; t = NONE
            :: else -> t = tokens; s = sleepers; q = searchers
            fi
        };
        if
        :: t == NONE ->
#ifndef FAULT_WAKE_BEFORE_TOKEN
            wake_one();
#endif
            break
        :: else
        fi
    od;
    atomic { t = 0; s = 0; q = 0 }
}

/* auri_ec_wake_all() */
inline wake_all(c)
{
    FENCE(c);
    atomic { t = tokens; s = sleepers; q = searchers };
    do
    :: s == 0 -> break
    :: else ->
        d_step {
            if
            :: UNCHANGED -> tokens = tokens + sleepers; sleepers = 0; t = NONE
            :: else -> t = tokens; s = sleepers; q = searchers
            fi
        };
        if
        :: t == NONE -> wake_everybody(); break
        :: else
        fi
    od;
    atomic { t = 0; s = 0; q = 0 }
}

/* leave(): withdraws an announcement */
inline retract(c)
{
    atomic { t = tokens; s = sleepers; q = searchers };
    do
    :: d_step {
        FENCE(c);
        if
        :: UNCHANGED ->
            assert(tokens + sleepers != 0);
            if
            :: tokens != 0 -> tokens--
            :: else -> sleepers--
            fi;
            searchers++;
            t = NONE
        :: else -> t = tokens; s = sleepers; q = searchers
        fi
       };
       if
       :: t == NONE -> break
       :: else
       fi
    od;
    atomic { t = 0; s = 0; q = 0 }
}

/* auri_team_has_work(): place by place; leaves found >= ITEMS if there is none */
inline look(c)
{
    found = 0;
    do
    :: found < ITEMS && !(visible[found] || buffered[c] == found) -> found++
    :: found < ITEMS && (visible[found] || buffered[c] == found) -> break
    :: found == ITEMS -> break
    od
}

/* Looks, and takes what it sees; got: whether it did. */
inline take(c)
{
    got = false;
    found = 0;
    do
    :: found < ITEMS && (visible[found] || buffered[c] == found) ->
        d_step {
            FENCE(c);
            if
            :: visible[found] -> visible[found] = false; got = true
            :: else -> found++
            fi
        };
        if
        :: got -> break
        :: else
        fi
    :: found < ITEMS && !(visible[found] || buffered[c] == found) -> found++
    :: found == ITEMS -> break
    od
}

/* The call `found`.  The first pushes another one.  The last that a producer made lasts until all others
 * have run: so it is not enough that its worker looks again afterwards. */
inline run_call(c)
{
    assert(!ran[found]);
    ran[found] = true;
    if
    :: found == 0 -> buffered[c] = CHILD; notify(c)
    :: else
    fi;
    if
    :: found == PRODUCERS - 1 -> runs == ITEMS - 1
    :: else
    fi;
    runs++;
    found = 0
}

/* stop_searching() */
inline stop_searching(c)
{
    searchers--;
#ifndef FAULT_QUIET_LEAVE
    wake_all(c)
#endif
}

active proctype buffers()
{
end:
    do
    :: drain_one(0)
    :: drain_one(1)
    :: drain_one(2)
#if PRODUCERS + WORKERS > 3
    :: drain_one(3)
#endif
#if PRODUCERS + WORKERS > 4
    :: drain_one(4)
#endif
    od
}

proctype producer(byte me)
{
    byte t, s, q;

    buffered[me] = me;
    notify(me);
    me = 0
}

/* auri_team_stop(), once all is done.  What is asked before that: does everything get done? */
proctype stopper()
{
    byte t, s, q;

    runs == ITEMS;
    stop = true;
    wake_all(0)
}

proctype worker(byte me)
{
    byte t, s, q, found;
    bool got;
    byte c = PRODUCERS + me;

    do
    :: true ->
        take(c); /* find_near(): not yet a searcher */
        if
        :: got -> run_call(c)
        :: !got && stop -> break
        :: !got && !stop ->
            atomic { FENCE(c); searchers++ };
            do
            :: true ->
                take(c); /* search_once() */
                if
                :: got ->
                    /* found() */
#ifdef FAULT_LOOK_EARLY
                    t = found;
                    look(c);
                    q = found;
                    found = t;
#endif
                    atomic { FENCE(c); s = searchers; searchers-- };
                    if
                    :: s == 1 ->
#ifndef FAULT_LOOK_EARLY
                        t = found;
                        look(c);
                        q = found;
                        found = t;
#endif
                        s = found;
                        if
                        :: q < ITEMS ->
#ifndef FAULT_NO_CHAIN
                            notify(c)
#endif
                        :: else
                        fi
                    :: else
                    fi;
                    atomic { t = 0; s = 0; q = 0 };
                    run_call(c);
                    break
                :: else
                fi;
                /* auri_ec_announce() [E2], the last look */
                atomic { FENCE(c); searchers--; sleepers++ };
#ifdef FAULT_NO_LAST_LOOK
                found = ITEMS;
#else
                look(c);
#endif
                if
                :: found < ITEMS || stop ->
                    found = 0;
                    retract(c);
                    if
                    :: stop -> stop_searching(c); break
                    :: else
                    fi
                :: else ->
                    found = 0;
                    /* auri_ec_sleep() */
                    atomic { t = tokens; s = sleepers; q = searchers };
                    do
                    :: t != 0 ->
                        d_step {
                            FENCE(c);
                            if
                            :: UNCHANGED -> tokens--; searchers++; t = NONE
                            :: else -> t = tokens; s = sleepers; q = searchers
                            fi
                        };
                        if
                        :: t == NONE -> break
                        :: else
                        fi
                    :: t == 0 ->
                        atomic {
                            FENCE(c);
#ifdef FAULT_FUTEX_BLIND
                            asleep[me] = true
#else
                            asleep[me] = (tokens == t && sleepers == s)
#endif
                        }
                        !asleep[me];
                        atomic { t = tokens; s = sleepers; q = searchers }
                    od;
                    atomic { t = 0; s = 0; q = 0 };
                    if
                    :: stop -> stop_searching(c); break
                    :: else
                    fi
                fi
            od
        fi
    od;
    ended++
}

init
{
    byte i;

    atomic {
        do
        :: i < PRODUCERS -> run producer(i); i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < WORKERS -> run worker(i); i++
        :: else -> break
        od;
        run stopper();
        i = 0
    }
    ended == WORKERS;
    assert(tokens == 0 && sleepers == 0 && searchers == 0)
}
