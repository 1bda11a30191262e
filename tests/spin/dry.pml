/* dry.pml: pools without a free worker and without spares, whose workers wait for each other's queues.
 *
 * Mirrors  src/proc/spare.c: auri_relieve;  src/proc/place.c: auri_dry_mark, auri_run_dry, run;
 *          src/proc/waits.c: auri_wait_settle, tell_its_pool;  src/sched/edge.c: auri_dry_lock;
 *          src/sched/detect.c: auri_detect_dry, judge_dry, mark_task, pool_is_live.
 * Pools    POOLS, of one worker each.  Worker i runs W(i); Q(i) is in the queue of pool i.  A W waits for any Q or for
 *          none; a Q for a Q of a later pool or for none, so that nothing is a circle.  Without ROOM a worker cannot
 *          run anything in place of a wait, or can.
 * Memory   sequentially consistent: edges, marks and words are accessed so.  A pool's lock is held from the mark to
 *          the end, and the one lock of dry pools (turn) from the look to what is done about it; each look at the
 *          graph is one step (deadlock.pml takes these apart).
 * Shows    every call ends; a tick, TICKS for each pool, comes only if nothing else can; only what the wait depends
 *          on is run in its place; a wait is refused only if no worker that could run something for it has
 *          room.
 * Abstract chains that are found without the marks (auri_run_in_place), maps and answers that land, waits for any,
 *          workers that die; waits that end meanwhile by what others do, as a cancel (auri_run_dry looks at wait_seq). */

/* run: */
/* run: -DTICKS=0 */
/* run: -DNOROOM */
/* deep: -DPOOLS=3 */
/* fault: NO_MARK */
/* fault: MARK_LATE -DTICKS=0 */
/* fault: RUN_ANY */
/* fault: REFUSE_EARLY -DNOROOM */
/* fault: NEVER_REFUSED -DNOROOM */
/* fault: QUEUE_LIVE */
/* fault: NO_TURN -DPOOLS=3 */

#ifndef POOLS
#define POOLS 2
#endif
#ifndef TICKS
#define TICKS 3
#endif
#define NONE 15
#define W(i) (i)
#define Q(i) (POOLS + (i))
#define POOL(t) ((t) - POOLS) /* of a Q */
#define ALL (2 * POOLS)

#define QUEUED 0
#define RUNNING 1
#define DONE 2

byte needs[ALL] = NONE;
byte state[ALL];
byte owner[ALL];
byte below[ALL] = NONE; /* on the stack of its worker */
bool refused[ALL];      /* its wait */

byte top[POOLS]; /* what the worker runs, the innermost */
bool waits[POOLS];
bool lock[POOLS];
bool turn; /* auri_dry_lock() */
bool dry[POOLS];
bool room[POOLS];
bool kick[POOLS];
byte ticks[POOLS];

#define AWAITED(i) needs[top[i]]

/* ---- the truth: what the wait of worker i depends on ----------------------------------------- */

bool dep[ALL];
byte x, y, z;

/* dep[]: the calls that must end before the wait of worker i does, if no worker becomes free before. */
inline depends(i)
{
    x = 0;
    do
    :: x < ALL -> dep[x] = false; x++
    :: else -> break
    od;
    dep[AWAITED(i)] = true;
    z = 0;
    do
    :: z < ALL ->
        x = 0;
        do
        :: x < ALL ->
            if
            :: dep[x] && state[x] == RUNNING && waits[owner[x]] -> dep[AWAITED(owner[x])] = true
            :: dep[x] && state[x] == QUEUED && waits[POOL(x)] -> dep[AWAITED(POOL(x))] = true
            :: else
            fi;
            x++
        :: else -> break
        od;
        z++
    :: else -> break
    od
}

/* ---- auri_detect_dry() ------------------------------------------------------------------------ */

#define LIVE 0
#define RUN_IT 1
#define OTHERS 2
#define NOBODY 3

bool live[POOLS], reaches[POOLS], serves[POOLS];
bool queues, others, changed;

#ifdef FAULT_QUEUE_LIVE
#define POOL_LIVE(k) true
#else
#define POOL_LIVE(k) (!dry[k] || live[k])
#endif
#define TASK_LIVE(t)                                                                               \
    (state[t] == DONE || (state[t] == RUNNING && live[owner[t]]) ||                                \
     (state[t] == QUEUED && POOL_LIVE(POOL(t))))

inline mark_task(t, i)
{
    if
    :: state[t] == QUEUED && dry[POOL(t)] ->
        if
        :: POOL(t) == i && found == NONE -> found = t
        :: else
        fi;
        reaches[POOL(t)] = true;
        serves[POOL(t)] = true
    :: state[t] == RUNNING -> reaches[owner[t]] = true
    :: else
    fi
}

inline detect_dry(i)
{
    x = 0;
    do
    :: x < POOLS -> live[x] = !waits[x]; reaches[x] = false; serves[x] = false; x++
    :: else -> break
    od;
    z = 0;
    do
    :: z < POOLS ->
        x = 0;
        do
        :: x < POOLS ->
            if
            :: !live[x] -> live[x] = TASK_LIVE(AWAITED(x))
            :: else
            fi;
            x++
        :: else -> break
        od;
        z++
    :: else -> break
    od;
    found = NONE;
    queues = false;
    others = false;
    if
    :: live[i] -> verdict = LIVE
    :: else ->
        x = i;
        mark_task(AWAITED(i), i);
        z = 0;
        do
        :: z < POOLS ->
            x = 0;
            do
            :: x < POOLS ->
                if
                :: reaches[x] && !live[x] -> mark_task(AWAITED(x), i)
                :: else
                fi;
                x++
            :: else -> break
            od;
            z++
        :: else -> break
        od;
        x = 0;
        do
        :: x < POOLS ->
            queues = queues || (reaches[x] && serves[x]);
            others = others || (reaches[x] && serves[x] && x != i && room[x]);
            x++
        :: else -> break
        od;
#ifdef FAULT_RUN_ANY
        if
        :: found == NONE && state[Q(i)] == QUEUED -> found = Q(i)
        :: else
        fi;
#endif
        if
        :: found != NONE && room[i] -> verdict = RUN_IT
#ifndef FAULT_REFUSE_EARLY
        :: !(found != NONE && room[i]) && (others || !queues || !reaches[i]) -> verdict = OTHERS
        :: !(found != NONE && room[i]) && !others && queues && reaches[i] -> verdict = NOBODY
#else
        :: !(found != NONE && room[i]) -> verdict = NOBODY
#endif
        fi
    fi
}

/* ---- the worker -------------------------------------------------------------------------------- */

/* It ends, and whoever waits for it goes on; its pool looks. */
inline finish(i)
{
    state[top[i]] = DONE;
    y = top[i];
    top[i] = below[y];
    below[y] = NONE;
    owner[y] = 0;
    y = 0;
    kick[i] = true
}

proctype worker(byte i)
{
end:
    do
    :: d_step {
        top[i] != NONE && !waits[i] ->
        if
        :: needs[top[i]] == NONE || refused[top[i]] || state[needs[top[i]]] == DONE -> finish(i)
        :: else -> /* WAIT */
            waits[i] = true;
            kick[i] = true;
            kick[POOL(AWAITED(i))] = true /* tell_its_pool() */
        fi
       }
    :: d_step { /* the continuation of what it waits for; not while its pool's lock is held */
        waits[i] && !lock[i] && state[AWAITED(i)] == DONE ->
        waits[i] = false
       }
    od
}

/* ---- who looks after pool i --------------------------------------------------------------------- */

inline run_in_place(i, t)
{
    depends(i);
    assert(dep[t]);
    waits[i] = false; /* auri_wait_hide() */
    state[t] = RUNNING;
    owner[t] = i;
    below[t] = top[i];
    top[i] = t
}

proctype looker(byte i)
{
    byte verdict, found = NONE;

end:
    do
    :: d_step { kick[i] || (timeout && ticks[i] < TICKS) ->
        if
        :: kick[i] -> kick[i] = false
        :: else -> ticks[i]++
        fi;
        lock[i] = true;
        if
        :: top[i] == NONE && state[Q(i)] == QUEUED -> /* auri_dispatch() */
            dry[i] = false;
            top[i] = Q(i);
            state[Q(i)] = RUNNING;
            owner[Q(i)] = i
        :: else
        fi;
        if
        :: !waits[i] -> dry[i] = false
        :: else
        fi
       };
        if
        :: !waits[i] || state[Q(i)] != QUEUED
        :: else ->
            d_step { /* auri_dry_mark() */
#ifndef FAULT_NO_MARK
#ifndef FAULT_MARK_LATE
                dry[i] = true;
#endif
#endif
                skip
            };
#ifndef FAULT_NO_TURN
            d_step { !turn -> turn = true };
#endif
            d_step { detect_dry(i) };
#ifdef FAULT_MARK_LATE
            d_step { dry[i] = true };
#endif
            d_step {
                if
                :: verdict == RUN_IT && state[found] == QUEUED -> run_in_place(i, found)
#ifndef FAULT_NEVER_REFUSED
                :: verdict == NOBODY ->
                    refused[top[i]] = true;
                    assert(!room[i] || found == NONE);
                    depends(i);
                    x = 0;
                    do
                    :: x < POOLS -> assert(!(room[x] && waits[x] && dep[Q(x)] && state[Q(x)] == QUEUED)); x++
                    :: else -> break
                    od;
                    waits[i] = false
#endif
                :: else
                fi;
                turn = false
            }
        fi;
        d_step {
            lock[i] = false; verdict = 0; found = NONE }
    od
}

init
{
    byte i, j;

    atomic {
        i = 0;
        do
        :: i < POOLS ->
            if
            :: true -> needs[W(i)] = NONE
            :: true ->
                j = 0;
                do
                :: j < POOLS - 1 -> j++
                :: break
                od;
                needs[W(i)] = Q(j)
            fi;
            if
            :: true -> needs[Q(i)] = NONE
            :: i < POOLS - 1 ->
                j = i + 1;
                do
                :: j < POOLS - 1 -> j++
                :: break
                od;
                needs[Q(i)] = Q(j)
            fi;
#ifdef NOROOM
            if
            :: room[i] = true
            :: room[i] = false
            fi;
#else
            room[i] = true;
#endif
            state[W(i)] = RUNNING;
            owner[W(i)] = i;
            top[i] = W(i);
            i++
        :: else -> break
        od;
        i = 0;
        j = 0;
        do
        :: i < POOLS -> run worker(i); run looker(i); i++
        :: else -> break
        od
    }
    (state[Q(0)] == DONE && state[Q(1)] == DONE && state[W(0)] == DONE && state[W(1)] == DONE &&
     state[Q(POOLS - 1)] == DONE && state[W(POOLS - 1)] == DONE)
}
