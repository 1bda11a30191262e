/* request.pml: worker processes that wait, by requests to their parent: the reply, the edge, the verdict.
 *
 * Mirrors  src/proc/ask.c: auri_parent_ask_news, run_first;  src/proc/request.c: auri_request_look, _serve,
 *          _abandon, auri_reply;  src/proc/waits.c: auri_serve_wait, auri_wait_begin, _settle, _end, _hide,
 *          _show, _refuse, _entry, awaited_done, disconnect, auri_request_deadlines;  src/proc/place.c:
 *          chain_end, run, auri_serve_ran;  src/proc/drain.c: call_answered;  src/task/cont.c: auri_cont_add, _remove, auri_conts_run;
 *          src/sched/detect.c: auri_detect, judge.
 * Calls    0 and 1 are run by the two workers, which each wait up to ROUNDS times for another call, 0 also
 *          for its own; Q is in the pool's queue: a spare runs it, somebody cancels it, or a worker runs it in
 *          place of its wait.  With THREAD there is X, which a thread runs, and which may wait for Q and then
 *          for a worker's call; then worker 1 waits for nothing.  With LOOP X waits for a helper of its loop,
 *          which waits for the call of worker 0, and that may wait for 1's, and that for X.  With BEFORE there is B,
 *          which worker 0 had answered before it began its call, and which is not done yet; X may wait for it.
 *          TIMED: a worker's wait may have a deadline, which may pass at any time.
 * Death    SIGKILL after any step of a worker, DEATHS times.
 * Memory   sequentially consistent: all is done under the pool's lock or with words that are accessed so; the
 *          mailbox's own orders are the explorer's (tests/model/wire_model.c).
 * Shows    each request has exactly one reply, and it is true; no verdict but on a cycle that could not move;
 *          nobody waits for ever; no reference is lost or dropped twice, and none is used after that; a
 *          continuation that is on its way is not added again.
 * Abstract who hears the bell (leader.pml): a mailbox is looked at whenever that is allowed; waits for several,
 *          chunks, other pools, dry pools, time limits of what runs in place. */

/* run: */
/* run: -DTHREAD */
/* deep: -DTHREAD -DBEFORE */
/* deep: -DDEATHS=1 */
/* deep: -DTIMED */
/* run: -DTHREAD -DLOOP -DDEATHS=1 */
/* fault: EDGE_OMITTED */
/* fault: DETECT_EARLY */
/* fault: HIDE_LATE */
/* fault: KEEPS_EDGE -DROUNDS=2 */
/* fault: SHOW_BLIND -DTHREAD */
/* fault: ADD_BLIND */
/* fault: FIRE_BLIND -DTIMED */
/* fault: LOOK_BLIND -DTIMED -DROUNDS=2 */
/* fault: STAYS_CONNECTED -DTIMED -DROUNDS=2 */
/* fault: ANSWERED_OWNED -DTHREAD -DBEFORE */
/* fault: TAKEN_OWNED -DTHREAD -DBEFORE */
/* fault: MARK_STAYS -DDEATHS=1 */
/* fault: MARK_STAYS -DTHREAD -DLOOP -DDEATHS=1 */

#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define CALLS 5
#define X 2
#define Q 3
#define B 4
#define RECORDS 3 /* two workers, and the thread that runs X */
#define NONE 15

#define QUEUED 0
#define RUNNING 1
#define DONE 2

/* the words of the calls */
byte state[CALLS];
byte owner[CALLS] = NONE;

/* the records */
byte wait_seq[RECORDS];
byte wait_call[RECORDS] = NONE;
bool victim[RECORDS];
#ifdef LOOP
bool job;             /* X waits for its helper */
byte marked[RECORDS]; /* the truth of victim: the wait that was on a cycle */
#endif
bool graph_lock;

#define WAIT 1
#define RAN 2

#define R_DONE 1
#define R_TIMEDOUT 2
#define R_EDEADLK 3
#define R_RUN 4
#define R_OK 5

/* the mailboxes */
bool req[2]; /* the lowest bits of the sequence numbers */
byte op[2];
byte req_call[2];
bool req_timed[2];
bool rep[2];
byte answer[2];

/* the workers, as the parent knows them */
bool ctl[2] = true; /* false: dead and judged */
bool killed[2];
bool answered[2]; /* its own call */
bool taken[2];    /* ... and that was seen */
#ifdef BEFORE
bool b_taken; /* the answer to B was seen */
#endif
bool serving[2];
bool blocked[2];
bool timed[2];
bool cont_armed[2];
bool edge[2];
bool inner[2]; /* it was told to run Q */
byte awaited[2] = NONE;
bool req_seen[2];
byte refs[2] = 1;

/* continuations: in the list of which call, or taken out to be fired */
byte cont_of[2] = NONE;
bool on_its_way[2];

bool p_lock;
byte task_refs[CALLS]; /* those that a wait takes */
byte q_runs;
byte deaths;

#define UNLOCK p_lock = false /* held for more than one step where something runs in place */
#define OVER (state[0] == DONE && state[1] == DONE && state[X] == DONE && state[Q] == DONE && state[B] == DONE)

#include "request.inc"

/* ---- the worker -------------------------------------------------------------------------------- */

#if defined(THREAD) && !defined(LOOP)
#define WAITER(w) ((w) == 0)
#else
#define WAITER(w) true
#endif

proctype worker(byte w)
{
    byte rounds;

    {
        do
        :: rounds < ROUNDS && WAITER(w) ->
            rounds++;
            if
#ifdef LOOP
            :: w == 0 -> req_call[w] = 1
            :: w == 1 -> req_call[w] = X
#else
            :: req_call[w] = 0
            :: w == 0 -> req_call[w] = 1
            :: req_call[w] = Q
#ifdef THREAD
            :: req_call[w] = X
#endif
#endif
            fi;
#ifdef TIMED
            if
            :: req_timed[w] = false
            :: req_timed[w] = true
            fi;
#endif
            do
            :: true ->
                d_step { op[w] = WAIT; req[w] = !req[w] }; /* auri_mail_send() */
                rep[w] == req[w]; /* auri_mail_wait() */
                if
                :: answer[w] == R_RUN ->
                    /* run_first() */
                    assert(state[Q] == RUNNING && owner[Q] == w && q_runs == 0);
                    q_runs++;
                    d_step { op[w] = RAN; req[w] = !req[w] };
                    rep[w] == req[w];
                    assert(answer[w] == R_OK && state[Q] == DONE)
                :: else -> break
                fi
            od;
            assert(answer[w] != R_DONE || state[req_call[w]] == DONE);
            assert(answer[w] != R_TIMEDOUT || req_timed[w]);
            assert(answer[w] != R_EDEADLK || !req_timed[w]);
            assert(answer[w] == R_DONE || answer[w] == R_TIMEDOUT || answer[w] == R_EDEADLK)
        :: break
        od;
        skip;
        d_step { answered[w] = true; req_call[w] = 0; answer[w] = 0; op[w] = 0; req_timed[w] = false }
    } unless { killed[w] }
}

/* ---- who serves -------------------------------------------------------------------------------- */

#ifdef FAULT_LOOK_BLIND
#define SETTLED(w) true
#else
#define SETTLED(w) (!cont_armed[w])
#endif

proctype server(byte w)
{
    byte c, f;
    bool got, blocks, mine[2];
    DETECT_LOCALS

end:
    do
    :: d_step {
        !p_lock && !serving[w] && !blocked[w] && SETTLED(w) && ctl[w] && req[w] != req_seen[w] ->
        serving[w] = true;
        refs[w]++;
        req_seen[w] = req[w];
        c = req_call[w];
        task_refs[c]++
       }; /* auri_request_look(), and the first part of auri_request_serve() */
        if
        :: op[w] == RAN ->
            d_step { !p_lock -> got = (ctl[w] && inner[w]); inner[w] = false };
            if
            :: got -> finish(Q)
            :: else
            fi;
            d_step { !p_lock -> got = false; serving[w] = false; reply(w, R_OK) }
        :: op[w] == WAIT ->
#ifdef FAULT_DETECT_EARLY
            detect(w);
#endif
            d_step {
                !p_lock ->
                blocks = false;
                if
                :: !ctl[w] -> serving[w] = false
                :: ctl[w] && state[c] == DONE -> serving[w] = false; reply(w, R_DONE)
                :: else ->
                    blocks = true;
#if defined(BEFORE) && !defined(FAULT_ANSWERED_OWNED)
                    /* disown_answered() */
                    owner[B] = (w == 0 && !b_taken && state[B] == RUNNING -> NONE : owner[B]);
#endif
                    blocked[w] = true;
                    timed[w] = req_timed[w];
                    awaited[w] = c;
                    refs[w]++;
                    cont_armed[w] = true;
                    task_refs[c]++;
                    if
#ifndef FAULT_EDGE_OMITTED
                    :: !timed[w] -> publish(w, c); edge[w] = true
#endif
                    :: else
                    fi
                fi
            };
            if
            :: !blocks
            :: blocks ->
                cont_add(w, c);
                if
#ifndef FAULT_ADD_BLIND
                :: !got -> awaited_done(w, c)
#endif
#ifndef FAULT_DETECT_EARLY
                :: got && !req_timed[w] -> detect(w)
#endif
                :: else
                fi;
                d_step {
                    !p_lock ->
                    got = false;
                    blocks = false;
                    serving[w] = false;
                    if
                    :: !blocked[w] -> disconnect(w)
                    :: verdict && blocked[w] ->
                        assert(awaited[w] == c);
                        disconnect(w);
                        end_wait(w);
                        reply(w, R_EDEADLK)
                    :: else
                    fi;
                    verdict = false
                } /* then auri_relieve(): see the guardian */
            fi
        fi;
        d_step { task_refs[c]--; refs[w]--; c = 0 }
    od
}

/* ---- answers, deaths, deadlines, what may run now: whoever does it ------------------------------ */

#define ANSWERED(w) (answered[w] && !taken[w] && ctl[w])
#define DIED(w) (killed[w] && ctl[w])
#define LATE(w) (blocked[w] && !serving[w] && timed[w])
#define MARKED(w) (blocked[w] && !serving[w] && victim[w])
#define TO_RUN(w) (MAY_RUN(w) && ENDS_AT_Q(w))
#define TENDS(w) (ANSWERED(w) || DIED(w) || LATE(w) || MARKED(w) || TO_RUN(w))

proctype guardian()
{
    byte w, f;
    bool got, mine[2], ends_call, ends_q, runs;
    DETECT_LOCALS

    do
    :: atomic {
        !p_lock && (TENDS(0) || TENDS(1)) ->
        if
        :: TENDS(0) -> w = 0
        :: TENDS(1) -> w = 1
        fi;
        if
        :: d_step { ANSWERED(w) -> taken[w] = true; ends_call = true }
        :: d_step {
            DIED(w) -> /* auri_judge(), auri_request_abandon(), auri_bury() */
            if
            :: blocked[w] -> disconnect(w); end_wait(w)
            :: else
            fi;
            ends_call = !taken[w];
            taken[w] = true;
            ends_q = inner[w];
            inner[w] = false;
            ctl[w] = false;
            refs[w]--
           }
        :: d_step {
            LATE(w) -> /* auri_request_deadlines() */
#ifndef FAULT_STAYS_CONNECTED
            disconnect(w);
#endif
            end_wait(w);
            reply(w, R_TIMEDOUT)
           }
        :: d_step {
            MARKED(w) -> /* auri_request_deadlines() */
#ifdef LOOP
            assert(marked[w] == wait_seq[w]);
            disconnect(w);
            end_wait(w);
            reply(w, R_EDEADLK)
#else
            assert(false) /* only waits for helpers mark others */
#endif
           }
        :: d_step { TO_RUN(w) -> p_lock = true; runs = true }
        fi
       };
        if
        :: runs -> runs = false; run_in_place(w)
        :: else
        fi;
        if
        :: ends_call -> ends_call = false; finish(w)
        :: else
        fi;
        if
        :: ends_q -> ends_q = false; finish(Q)
        :: else
        fi;
        w = 0
    :: OVER -> break
    od
}

proctype killer()
{
    do
    :: d_step { deaths < DEATHS && !killed[0] && !taken[0] -> killed[0] = true; deaths++ }
    :: d_step { deaths < DEATHS && !killed[1] && !taken[1] -> killed[1] = true; deaths++ }
    :: break
    od
}

/* ---- the other calls ---------------------------------------------------------------------------- */

inline thread_waits(ct)
{
    if
    :: state[ct] == DONE
    :: state[ct] != DONE ->
        d_step { publish(X, ct) };
        if
        :: ct != Q -> detect(X) /* the walk leads to a worker's edge, perhaps back */
        :: ct == Q
        fi;
        if
        :: !verdict -> state[ct] == DONE
        :: verdict -> verdict = false
        fi;
        d_step { clear(X) }
    fi
}

#ifdef THREAD
proctype thread_of_x()
{
    byte f;
    bool mine[2];
    DETECT_LOCALS

#ifdef LOOP
    d_step { job = true; publish(X, NONE) };
    detect(X);
    verdict = false;
    state[0] == DONE;
    d_step { clear(X); job = false };
#else
    if
    :: true
    :: thread_waits(Q);
        if
        :: thread_waits(0)
        :: thread_waits(1)
        fi
#ifdef BEFORE
    :: thread_waits(B)
#endif
    fi;
#endif
    finish(X)
}
#endif

#ifdef BEFORE
/* Whoever takes the answer to B, and has not told it yet. */
proctype deliverer()
{
    byte f, n;
    bool mine[2];

    d_step {
        !p_lock ->
        b_taken = true;
#ifndef FAULT_TAKEN_OWNED
        owner[B] = NONE /* call_answered() */
#endif
    };
    finish(B)
}
#endif

/* Q is run by a spare, or cancelled, unless a worker has it. */
proctype spare()
{
    byte f, n;
    bool mine[2];

    if
    :: d_step { state[Q] == QUEUED -> state[Q] = RUNNING }; finish(Q)
    :: state[Q] != QUEUED
    fi
}

#define SETTLED_REFS(w) (!cont_armed[w] && !blocked[w] && !victim[w] && refs[w] == ctl[w])

init
{
    atomic {
        state[0] = RUNNING;
        owner[0] = 0;
        state[1] = RUNNING;
        owner[1] = 1;
#ifdef THREAD
        state[X] = RUNNING;
        owner[X] = X;
        run thread_of_x();
#else
        state[X] = DONE;
#endif
        state[Q] = QUEUED;
#ifdef BEFORE
        state[B] = RUNNING;
        owner[B] = 0;
        run deliverer();
#else
        state[B] = DONE;
#endif
        run worker(0);
        run worker(1);
        run server(0);
        run server(1);
        run guardian();
        run killer();
        run spare()
    }
    OVER;
    /* nothing is held, nobody waits */
    SETTLED_REFS(0) && SETTLED_REFS(1) && task_refs[0] + task_refs[1] + task_refs[X] + task_refs[Q] == 0
}
