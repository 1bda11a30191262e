/* deadlock.pml: threads that wait for calls: chain help, spares, and the verdict by two equal looks.
 *
 * Mirrors  src/sched/wait.c: auri_wait_task, try_own, walk, follow, offer_help, sleep_until_done,
 *          auri_wait_word;  src/sched/edge.c: auri_edge_task, _any, _clear [E1];  detect.c: auri_detect,
 *          look_at [E2] [V2], judge [V1], close_live_set, still_holds;  src/sched/threads.c: threads_block,
 *          auri_team_add_worker (a thread more while one is missing).
 * Graphs   every graph of CALLS calls of which each waits for at most one other (or itself); with ANY, a
 *          call may wait for any of two.  -DNOHELP: calls may not be run by who waits for them.
 *          -DREUSE: the slot of a call that is done and unreferenced serves a stranger's call.
 *          -DMAPS: any of the calls may be items of one map, and calls may wait for that map; who waits for it
 *          runs its items too (src/proc/waits.c: publish_maps;  src/proc/place.c: chain_end, is_circle;
 *          src/sched/survey.h: auri_held_up_by, auri_survey_holder;  detect.c: mark_reaching).
 * Memory   sequentially consistent, as the accesses of these words are.
 * Shows    no verdict unless the thread is on a cycle that can never move, at the moment of the verdict;
 *          exactly one verdict for each cycle of the graph (without ANY; with MAPS none without a cycle,
 *          and one at least with some); every call ends, so none is missed and no thread sleeps for ever;
 *          only what a waiter depends on is run in its place.
 * Abstract a failed wait is followed by the end of the call, as of any task that returns its error; no
 *          deadlines (such nodes count as live), no loops, and stacks have room.  detect.inc has the graph. */

/* run: -DCALLS=3 -DTHREADS=2 */
/* run: -DCALLS=4 -DTHREADS=2 */
/* run: -DCALLS=3 -DTHREADS=2 -DWORKERS=1 */
/* run: -DCALLS=3 -DTHREADS=4 -DWORKERS=1 -DNOHELP */
/* run: -DCALLS=3 -DTHREADS=2 -DREUSE */
/* run: -DCALLS=2 -DTHREADS=2 -DMAPS */
/* run: -DCALLS=2 -DTHREADS=3 -DWORKERS=1 -DNOHELP -DMAPS */
/* deep: -DCALLS=3 -DTHREADS=2 -DMAPS */
/* deep: -DCALLS=3 -DTHREADS=3 */
/* deep: -DCALLS=3 -DTHREADS=3 -DWORKERS=2 -DANY */
/* fault: ONE_LOOK -DCALLS=4 */
/* fault: NO_LOCK -DCALLS=4 */
/* fault: EDGE_LATE -DCALLS=4 */
/* fault: HELPS_STRANGERS -DREUSE */
/* fault: NO_SPARE -DTHREADS=4 -DWORKERS=1 -DNOHELP */
/* fault: NO_VERDICT */
/* fault: MAP_OMITTED -DMAPS */
/* fault: MAP_KEPT -DMAPS */
/* fault: MAP_ANY_WAIT -DMAPS */
/* fault: RUNS_HELD_REST -DMAPS */

#ifndef CALLS
#define CALLS 3
#endif
#ifndef THREADS
#define THREADS 2
#endif
#ifndef WORKERS
#define WORKERS THREADS /* the others are spares */
#endif
#define MINE stack[depth - 1] /* the innermost call of a thread */
#include "detect.inc"

#ifdef REUSE
byte refs[CALLS] = 1;
bool stranger[CALLS];
#endif
byte done;
byte cycles;
short missing; /* the deficit: threads that sleep in a call and have no other in their place; below 0: too
                  many run */

#ifdef MAPS
inline begin_item(c)
{
    if
    :: item[c] -> items_queued--; state[MAP] = RUNNING
    :: else
    fi
}

inline end_item(c, t)
{
    if
    :: item[c] ->
        inside[t]--;
        items_open--;
        if
        :: items_open == 0 -> state[MAP] = DONE
        :: else
        fi
    :: else
    fi
}
#else
#define begin_item(c) skip
#define end_item(c, t) skip
#endif

inline claim(c, t)
{
    atomic {
        got = (state[c] == QUEUED);
        if
        :: got -> state[c] = RUNNING; owner[c] = t; begin_item(c)
        :: else
        fi
    }
}

/* Pushes the call; it is the innermost one of this thread now. */
inline enter(c)
{
    assert(depth < CALLS + 1);
    stack[depth] = c;
#ifdef MAPS
    inside[me] = inside[me] + item[c];
#endif
    depth++
}

#ifdef NOHELP
#define HELPABLE false
#else
#define HELPABLE true
#endif

#define W_DONE 0
#define W_AGAIN 1
#define W_HELP 2
#define W_PARK 3
#define W_CYCLE 4

/* walk() and follow(), from call g; ends in `end`, and for W_HELP in `link` */
inline walk(t, g)
{
    link = g;
    waiter = NONE;
#ifdef MAPS
    held = (inside[t] != 0);
#endif
    steps = THREADS + 2;
    do
    :: steps == 0 -> end = W_CYCLE; break
    :: steps > 0 ->
        steps--;
        atomic { word_state = state[link]; word_owner = owner[link] };
        if
        :: word_state == DONE && link == g -> end = W_DONE; break
        :: word_state == DONE && link != g ->
            /* Its waiter is on the way: the code looks again and again until it has gone on. */
            wait_seq[waiter] != link_seq;
            end = W_AGAIN;
            break
        :: word_state == QUEUED ->
            /* offer_help() */
            if
            :: !HELPABLE -> end = W_PARK
            :: else ->
                end = W_HELP;
#ifdef REUSE
                refs[link]++; /* a slot that is queued has a reference */
#ifndef FAULT_HELPS_STRANGERS
                if
                :: waiter != NONE ->
                    if
                    :: wait_seq[waiter] != link_seq -> refs[link]--; end = W_AGAIN
                    :: else
                    fi
                :: else
                fi
#endif
#endif
            fi;
            break
        :: word_state == RUNNING && word_owner == t -> end = W_CYCLE; break
#ifdef MAPS
        :: word_state == RUNNING && word_owner == NONE -> end = W_CYCLE; break /* the map */
#endif
        :: word_state == RUNNING && word_owner != t && word_owner != NONE ->
            link_seq = wait_seq[word_owner];
            if
            :: (link_seq & 1) == 0 -> end = W_PARK; break
            :: else
            fi;
#ifdef ANY
            if
            :: wait_other[word_owner] != NONE -> end = W_CYCLE; break
            :: else
            fi;
#endif
            next = wait_call[word_owner];
#ifdef REUSE
            /* what follow() finds next may be stale; the second look at wait_seq says so */
#endif
            if
            :: wait_seq[word_owner] != link_seq || state[link] != RUNNING ||
               owner[link] != word_owner ->
                end = (state[link] == RUNNING -> W_PARK : W_AGAIN);
                break
            :: else
            fi;
            waiter = word_owner;
#ifdef MAPS
            held = held || wait_map[waiter];
#endif
            link = next
        fi
    od;
    atomic { word_state = 0; word_owner = 0; next = 0; steps = 0; link_seq = 0; waiter = 0 }
}

proctype thread(byte me)
{
    byte stack[CALLS + 1];
    byte depth, g, end, link, next, waiter, link_seq, word_state, word_owner, steps;
#ifdef MAPS
    bool held;
#endif
    bool got;
    DETECT_LOCALS
    bool awake = (me < WORKERS);

    do
    :: depth == 0 ->
        /* An active thread takes from the queue; one in the lot does so while a worker is missing. */
        if
        :: done == CALLS -> break
        :: atomic {
            g < CALLS && state[g] == QUEUED && (awake || missing > 0) ->
            state[g] = RUNNING;
            owner[g] = me;
            begin_item(g);
#if WORKERS < THREADS
            if
            :: !awake -> awake = true; missing--
            :: else
            fi;
#endif
            enter(g);
            g = 0
           }
        :: atomic { g < CALLS && state[g] != QUEUED -> g++ }
        :: atomic { g == CALLS && done < CALLS -> g = 0; (state[0] == QUEUED || done == CALLS || state[1] == QUEUED
#if CALLS > 2
            || state[2] == QUEUED
#endif
#if CALLS > 3
            || state[3] == QUEUED
#endif
            ) }
        fi
    :: depth > 0 ->
        g = target[MINE];
        if
        :: g == NONE -> goto finish
        :: else
        fi;
        /* auri_wait_task() */
        if
        :: state[g] == DONE -> goto finish
#ifdef ANY
        :: other[MINE] != NONE && state[other[MINE]] == DONE -> goto finish
        :: other[MINE] != NONE && state[g] != DONE && state[other[MINE]] != DONE ->
            /* auri_wait_word() */
            publish(me, MINE);
            detect(me);
            if
            :: !verdict ->
                missing++;
                (state[g] == DONE || state[other[MINE]] == DONE || victim[me] == wait_seq[me]);
                missing--
            :: else
            fi;
            clear(me);
            verdict = false;
            goto finish
#endif
        :: else
        fi;
        /* try_own() */
        if
        :: HELPABLE && g < CALLS && state[g] == QUEUED ->
            claim(g, me);
            if
            :: got -> got = false; enter(g); goto next_call
            :: else
            fi
        :: else
        fi;
#ifndef FAULT_EDGE_LATE
        publish(me, MINE);
#endif
        walk(me, g);
#ifdef FAULT_EDGE_LATE
        publish(me, MINE);
#endif
        if
        :: end == W_CYCLE ->
#ifndef FAULT_NO_VERDICT
            detect(me);
#endif
            if
            :: verdict -> verdict = false; clear(me); goto finish
            :: else -> end = W_PARK
            fi
        :: else
        fi;
#ifdef MAPS
        /* chain_end() of src/proc/place.c: the rest of a map is run by who waits for it, unless the chain has
         * come through one of its items */
        if
#ifdef FAULT_RUNS_HELD_REST
        :: HELPABLE && end != W_DONE && link == MAP && items_queued > 0 ->
#else
        :: HELPABLE && end != W_DONE && link == MAP && items_queued > 0 && !held ->
#endif
            atomic {
                end = W_HELP;
                link = 0;
                do
                :: link < CALLS && !(item[link] && state[link] == QUEUED) -> link++
                :: else -> break
                od;
                if
                :: link == CALLS -> link = 0; end = W_AGAIN /* begun by somebody meanwhile */
                :: else
                fi
            }
        :: else
        fi;
#endif
        if
        :: end == W_PARK ->
            /* sleep_until_done(), with a spare in its place if there is work */
#ifndef FAULT_NO_SPARE
            missing++;
#endif
            (state[g] == DONE);
#ifndef FAULT_NO_SPARE
            missing--;
#endif
            clear(me);
            goto finish
        :: end == W_DONE -> clear(me); goto finish
        :: end == W_AGAIN -> clear(me)
        :: end == W_HELP ->
            clear(me);
            claim(link, me);
#ifdef REUSE
            refs[link]--;
            assert(!got || !stranger[link]);
#endif
            if
            :: got -> got = false; enter(link)
            :: else
            fi;
            link = 0
        fi;
        goto next_call;
finish:
        atomic {
#ifdef REUSE
            if
            :: g != NONE -> refs[g]--
            :: else
            fi;
            if
            :: stranger[MINE] -> stranger[MINE] = false
            :: else -> done++
            fi;
            refs[MINE]--;
#else
            done++;
#endif
            end_item(MINE, me);
            state[MINE] = DONE;
            depth--;
            stack[depth] = 0;
            g = 0;
            link = 0;
            end = 0;
#if WORKERS < THREADS
            if
            :: depth == 0 && missing < 0 -> awake = false; missing++ /* auri_team_lot_wait() */
            :: else
            fi
#endif
        };
next_call:
        skip
    od
}

#ifdef REUSE
/* Once: a slot that nobody refers to becomes the call of a stranger. */
proctype reuse()
{
    byte c;

    if
    :: true -> c = 0
    :: true -> c = 1
    :: true -> c = 2
    fi;
    if
    :: atomic {
        state[c] == DONE && refs[c] == 0 && done < CALLS ->
        stranger[c] = true;
        refs[c] = 1;
        target[c] = NONE;
        owner[c] = NONE;
        state[c] = QUEUED
       }
    :: done == CALLS
    fi
}
#endif

init
{
    byte c, g, n;
#ifdef MAPS
    byte k;
    bool seen[CALLS];
#endif

    atomic {
        /* every graph */
        do
        :: c < CALLS ->
            if
            :: target[c] = NONE
            :: target[c] = 0
            :: target[c] = 1
#if CALLS > 2
            :: target[c] = 2
#endif
#if CALLS > 3
            :: target[c] = 3
#endif
#ifdef MAPS
            :: target[c] = MAP
#endif
            fi;
#ifdef MAPS
            if
            :: item[c] = true; items_queued++; items_open++
            :: true
            fi;
#endif
#ifdef ANY
            if
            :: target[c] == NONE
            :: target[c] != NONE -> other[c] = (target[c] + 1) % CALLS
            :: true
            fi;
#endif
#ifdef REUSE
            if
            :: target[c] != NONE -> refs[target[c]]++
            :: else
            fi;
#endif
            c++
        :: c == CALLS -> break
        od;
#ifdef MAPS
        if
        :: items_open == 0 -> state[MAP] = DONE
        :: else
        fi;
        /* cycles: how many calls are on one */
        c = 0;
        do
        :: c < CALLS ->
            on_path(target[c]);
            cycles = cycles + seen[c];
            n = 0;
            do
            :: n < CALLS -> seen[n] = false; n++
            :: n == CALLS -> break
            od;
            c++
        :: c == CALLS -> break
        od;
#else
        /* its cycles: a call is counted if it comes back to itself before to a lower one */
        c = 0;
        do
        :: c < CALLS ->
            g = target[c];
            n = 0;
            do
            :: n < CALLS && g != NONE && g > c -> g = target[g]; n++
            :: else -> break
            od;
            if
            :: g == c -> cycles++
            :: else
            fi;
            c++
        :: c == CALLS -> break
        od;
#endif
        c = 0;
        g = 0;
        n = 0;
        do
        :: c < THREADS -> run thread(c); c++
        :: c == THREADS -> break
        od;
#ifdef REUSE
        run reuse();
#endif
        c = 0
    }
    done == CALLS;
#ifdef MAPS
    assert((verdicts != 0) == (cycles != 0))
#elif !defined(ANY)
    assert(verdicts == cycles)
#endif
}
