/* turns.pml: the waits of all threads of a worker process as one question to the parent, which others recall.
 *
 * Mirrors  src/proc/turns.c: auri_turn_take, _give, _recall, recall, move, sleep_until_move, own_asker, note_parts,
 *          question_make, put_needs, was_named, take_outcome, take_refusal, refused, ask, end_of, leave, may_ask,
 *          auri_parent_wait;
 *          src/sched/detect.c: any_is_live, and the recall at the end of auri_detect;
 *          src/sched/answers.c: auri_detect_needs_answer;
 *          src/proc/waits.c: auri_serve_wait, show, auri_wait_settle, _refuse, refused_index, auri_request_deadlines,
 *          _abandon;
 *          src/proc/request.c: auri_request_look, _serve.
 * Threads  0 is the worker's own, and runs the call W; 1 runs L, a task of a pool of the worker process.  0 waits
 *          for a call of the parent, perhaps with a deadline, or for the first of that and L, or for L alone; 1 waits
 *          for the same call or another one, perhaps with a deadline; each does so ROUNDS times at most.  With
 *          CALLER there is 2, which calls the parent meanwhile.  TWO: the bell may be heard while somebody serves.
 *          LOOP: 0 is the owner of a loop, and waits for both its helpers; these are 1, and 2, which waits as 1 does.
 * Calls    0 and 1 belong to the parent; each may wait for W before it is done.  STAYS: 1 ends after W, by no wait that
 *          anybody knows of, only thread 1 waits for it, and its deadline comes then: that must hide no circle.  With
 *          LOOP it ends when thread 1 has, and only thread 2 waits for it.
 * Death    DEATHS: SIGKILL after any step of the worker.
 * Memory   sequentially consistent: all is done under one of two locks, or with words that are accessed so; the
 *          mailbox's own orders are the explorer's.  What is done under a lock without a break is one step.
 * Shows    each wait ends once, and truly; only a question that was recalled is refused as such; a verdict is
 *          given to a wait on a circle only, of a thread or of the parent's call, and each circle gets one, whatever
 *          the other thread waits for; nobody sleeps for ever, without the help of a tick; no question stands, no
 *          outcome and no list of numbers is left in the end.
 * Abstract continuations (any.pml, request.pml): a call that is done ends the wait at any time; what runs in place
 *          of a wait; threads that a task makes by itself; which of two threads that wait for the same call is
 *          first in the list. */

/* run: -DTWO */
/* run: -DTIMED */
/* run: -DCALLER */
/* run: -DDEATHS */
/* run: -DROUNDS=2 */
/* run: -DSTAYS */
/* run: -DSTAYS -DTIMED */
/* deep: -DLOOP */
/* run: -DLOOP -DSTAYS */
/* fault: RECALL_SILENT */
/* fault: RECALL_STALE */
/* fault: LOOK_BLIND */
/* fault: JOIN_SILENT */
/* fault: DETECT_SILENT */
/* fault: WORD_SILENT */
/* fault: GOES_ON_BLIND */
/* fault: NEVER_GOES_ON */
/* fault: REFUSE_OTHER */
/* fault: EDGE_ALL */
/* fault: EDGE_ALL -DSTAYS */
/* fault: ANY_FOR_ALL -DLOOP -DSTAYS */
/* fault: BLAME_FIRST -DLOOP */
/* fault: DETECT_SILENT -DLOOP -DSTAYS */
/* fault: TIME_HIDES -DSTAYS -DTIMED */
/* fault: ASK_SILENT -DTIMED */
/* fault: NEWS_ASKER */
/* fault: LOOKED_BLIND -DTIMED */
/* fault: GIVE_SILENT -DCALLER */
/* fault: MOVE_SILENT */
/* fault: MARK_STAYS -DTIMED */

#ifndef ROUNDS
#define ROUNDS 1
#endif
#define NONE 15

/* the two who ask */
#ifdef LOOP
#define THREADS 3
#define A 1
#define B 2
#else
#define THREADS 2
#define A 0
#define B 1
#endif
#define OTHER(t) (A + B - (t))

#define R_DONE 1
#define R_TIMEDOUT 2
#define R_EDEADLK 3
#define R_EAGAIN 4
#define R_OK 5

/* edges of the worker's threads */
#define E_NONE 0
#define E_PROXY 1 /* for one call of the parent */
#define E_ANY 2   /* for the first of one and L */
#define E_L 3
#define E_TIMED 4
#define E_JOB 5 /* for the helpers of a loop */

/* ---- the worker process ------------------------------------------------------------------------ */

byte edge[THREADS];
bool asks[THREADS];
bool w_done, l_done;
#ifdef LOOP
bool m_done; /* 2 has left the loop */
#endif
bool killed;

/* askers */
bool linked[THREADS];
byte ids[THREADS] = NONE; /* the call */
bool told[THREADS];
bool timed[THREADS];
bool late[THREADS]; /* its deadline has passed */
bool looked[THREADS];
bool over[THREADS];
byte err[THREADS];
bool named[THREADS];    /* it took part in the question that was asked last */
bool needed[THREADS];   /* ... and 0 cannot go on without it */
bool was_done[THREADS]; /* its call, before it began to wait */

/* struct auri_remote */
bool asked;
bool stands;
byte hurried;
bool woken[3];
byte lists; /* extents with numbers */
byte news;

/* the question */
bool q_has[2]; /* the calls that it names */
bool q_list;
bool q_needs[2]; /* ... and the edge; none: the process goes on */
bool q_all;      /* it needs all of them, and not any one */
bool q_timed, q_late; /* its deadline is the first of theirs, and has passed */
bool q_recalled; /* truth: whether it was */

/* ---- the mailbox ------------------------------------------------------------------------------- */

#define CURRENT 1 /* the number of the last request that was sent */
#define NEXT 2

bool req, rep;
bool req_waits;
byte answer;
byte answer_id;
byte recalled;
bool bell;

/* ---- the parent -------------------------------------------------------------------------------- */

bool ctl = true;
bool serving;
bool blocked;
bool victim; /* of its wait */
bool req_seen;
bool done[2];
bool needs[2]; /* it waits for W now */
bool gave_up[2];

#define DONE_Q ((q_has[0] && done[0]) || (q_has[1] && done[1]))
#define IS_RECALLED (recalled == CURRENT && req == req_seen)

/* What the verdict sees: calls that wait for W, and W's worker, which waits for all that the question names. */
#define HELD(c) (needs[c] && !gave_up[c] && !done[c])
#ifdef FAULT_TIME_HIDES
#define HIDDEN q_timed
#else
#define HIDDEN false
#endif
#define LACKS(c) (q_needs[c] && HELD(c))
#define DEAD_W                                                                                     \
    (blocked && !victim && !HIDDEN && (LACKS(0) || LACKS(1)) &&                                    \
     (q_all || ((!q_needs[0] || HELD(0)) && (!q_needs[1] || HELD(1)))))

/* The truth, thread by thread.  Who waits for its call: */
#define CALLS(t) (linked[t] && !over[t] && !timed[t] && HELD(ids[t]))
#define L_DEAD (!l_done && CALLS(1))
#ifdef LOOP
#define M_DEAD (!m_done && CALLS(2))
#define OWN_DEAD (edge[0] == E_JOB && (L_DEAD || M_DEAD))
#define ON_CIRCLE(t) (OWN_DEAD && ((t) == 1 -> L_DEAD : M_DEAD))
#define CALL_ON_CIRCLE(c)                                                                          \
    (OWN_DEAD && ((L_DEAD && ids[1] == (c)) || (M_DEAD && ids[2] == (c))))
#else
#define OWN_DEAD                                                                                   \
    ((CALLS(0) && (!told[0] || L_DEAD)) || (!linked[0] && edge[0] == E_L && L_DEAD))
#define WAITS_FOR_L (told[0] || edge[0] == E_L)
#define ON_CIRCLE(t) (OWN_DEAD && ((t) == 0 || (L_DEAD && WAITS_FOR_L)))
/* ... and the parent's call, which waits for W: */
#define CALL_ON_CIRCLE(c)                                                                          \
    (OWN_DEAD && ((CALLS(0) && ids[0] == (c)) || (WAITS_FOR_L && L_DEAD && ids[1] == (c))))
#endif

inline reply(what, id)
{
    if
    :: ctl ->
        assert(rep != req_seen);
        answer = what;
        answer_id = id;
        rep = req_seen
    :: else
    fi
}

/* ---- turns ------------------------------------------------------------------------------------- */

inline move()
{
#ifndef FAULT_MOVE_SILENT
    woken[0] = true;
    woken[1] = true;
    woken[2] = true
#else
    skip
#endif
}

#ifdef FAULT_RECALL_SILENT
#define RING skip
#else
#define RING bell = true
#endif

inline recall()
{
    if
    :: stands ->
        stands = false;
        q_recalled = true;
        recalled = (sent -> CURRENT : NEXT);
        RING
    :: else
    fi
}

bool sent; /* the request that stands */

inline send(waits)
{
    d_step {
        req_waits = waits;
        req = !req;
        sent = true;
#ifndef FAULT_RECALL_STALE
        recalled = (recalled == NEXT -> CURRENT : 0)
#endif
    };
    bell = true;
    rep == req /* auri_mail_wait() */
}

/* auri_detect_needs_answer() of thread 0: whether no edge of this process, but for an answer, can free it */
#define DEAD_1 (asks[1] && edge[1] != E_TIMED)
#ifdef LOOP
#define DEAD_2 (asks[2] && edge[2] != E_TIMED)
#define DEAD_0 (edge[0] == E_JOB && (DEAD_1 || DEAD_2))
#else
#define DEAD_0                                                                                     \
    ((edge[0] == E_PROXY && asks[0]) || (edge[0] == E_NONE && asks[0]) ||                          \
     (edge[0] == E_ANY && asks[0] && !l_done && DEAD_1) || (edge[0] == E_L && !l_done && DEAD_1))
#endif

#define TAKES_PART(t) (linked[t] && !over[t])

/* note_parts() */
#define ALONE (TAKES_PART(0) && !told[0])
#ifdef FAULT_GOES_ON_BLIND
#define NEEDED(t) true
#elif defined(FAULT_NEVER_GOES_ON)
#define NEEDED(t) false
#elif defined(LOOP)
#define NEEDED(t) (DEAD_0 && ((t) == 1 -> DEAD_1 : DEAD_2))
#else
#define NEEDED(t) (ALONE -> (t) == 0 : DEAD_0 && ((t) == 0 || edge[0] == E_ANY || edge[0] == E_L))
#endif

#define WAS_NAMED(t) (named[t] && TAKES_PART(t))
#ifdef FAULT_LOOKED_BLIND
#define LOOKED_AT(t) TAKES_PART(t)
#else
#define LOOKED_AT(t) WAS_NAMED(t)
#endif

/* refused(): who gives up. */
#define MAY_GIVE_UP(t) (WAS_NAMED(t) && needed[t] && ids[t] == answer_id)
#ifdef FAULT_REFUSE_OTHER
#define REFUSED (WAS_NAMED(1) -> 1 : 0)
#else
#define REFUSED (MAY_GIVE_UP(A) -> A : (MAY_GIVE_UP(B) -> B : NONE))
#endif

/* may_ask() */
#define MAY_ASK(t) (!asked && hurried == 0 && ((t) == 0 || !TAKES_PART(0)))

inline ends(t, e)
{
    over[t] = true;
    err[t] = e;
    asks[t] = false
}

#define ENDS(t) (over[t] || (told[t] && l_done) || (looked[t] && timed[t] && late[t]))

/* With the lock held. */
inline ask(t)
{
    d_step {
        !ENDS(t) && MAY_ASK(t) ->
        asked = true;
        stands = true;
        sent = false;
        q_recalled = false;
        named[A] = TAKES_PART(A);
        named[B] = TAKES_PART(B);
        q_has[0] = (named[A] && ids[A] == 0) || (named[B] && ids[B] == 0);
        q_has[1] = (named[A] && ids[A] == 1) || (named[B] && ids[B] == 1);
        needed[A] = named[A] && !timed[A] && NEEDED(A);
        needed[B] = named[B] && !timed[B] && NEEDED(B);
#ifdef FAULT_EDGE_ALL
        q_needs[0] = (needed[A] || needed[B]) && q_has[0];
        q_needs[1] = (needed[A] || needed[B]) && q_has[1];
#else
        q_needs[0] = (needed[A] && ids[A] == 0) || (needed[B] && ids[B] == 0);
        q_needs[1] = (needed[A] && ids[A] == 1) || (needed[B] && ids[B] == 1);
#endif
#ifndef FAULT_ANY_FOR_ALL
        q_all = edge[0] == E_JOB;
#endif
        q_timed = (named[A] && timed[A]) || (named[B] && timed[B]);
        q_late = (named[A] && late[A]) || (named[B] && late[B]);
        q_list = named[A] && named[B];
        lists = lists + q_list
    };
    send(true);
    d_step {
        stands = false;
        if
        :: answer == R_DONE -> news++
        :: else
        fi
    };
    d_step { /* the outcome was copied without the lock */
        if
        :: answer == R_DONE ->
            if
#ifdef FAULT_NEWS_ASKER
            :: true -> ends(t, R_DONE)
#else
            :: TAKES_PART(t) && ids[t] == answer_id -> ends(t, R_DONE)
            :: TAKES_PART(OTHER(t)) && ids[OTHER(t)] == answer_id -> ends(OTHER(t), R_DONE)
            :: else -> news-- /* auri_news_drop() */
#endif
            fi
        :: answer == R_TIMEDOUT ->
            looked[A] = looked[A] || LOOKED_AT(A);
            looked[B] = looked[B] || LOOKED_AT(B)
        :: answer == R_EDEADLK ->
            r = REFUSED;
            if
            :: r != NONE ->
                assert(TAKES_PART(r) && !timed[r]);
                assert(ON_CIRCLE(r));
                ends(r, R_EDEADLK)
            :: else
            fi;
            r = 0
        :: answer == R_EAGAIN -> assert(q_recalled)
        fi;
        lists = lists - q_list;
        q_list = false;
        q_has[0] = false; q_has[1] = false;
        q_needs[0] = false; q_needs[1] = false; q_all = false; q_timed = false; q_late = false; q_recalled = false; sent = false;
        answer = 0;
        answer_id = 0;
        asked = false;
        move()
    }
}

/* auri_parent_wait(); the asker is filled in. */
inline parent_wait(t)
{
    d_step {
        linked[t] = true;
        asks[t] = true;
        was_done[t] = done[ids[t]];
#ifndef FAULT_JOIN_SILENT
        recall()
#endif
    };
    do
    :: d_step {
        ENDS(t) -> /* end_of(), leave() */
        if
        :: over[t] && err[t] == R_DONE ->
            assert(done[ids[t]]);
            news--
        :: !over[t] && !(told[t] && l_done) -> assert(timed[t] && late[t] && !was_done[t])
        :: else
        fi;
        linked[t] = false;
        named[t] = false;
        needed[t] = false;
        was_done[t] = false;
#ifndef FAULT_MARK_STAYS
        asks[t] = false;
#endif
        over[t] = false; err[t] = 0; looked[t] = false; told[t] = false; timed[t] = false;
        late[t] = false;
        ids[t] = NONE;
#ifndef FAULT_ASK_SILENT
        if
        :: t == 0 -> move() /* the other one left it to us to ask */
        :: else
        fi
#endif
       };
        break
    :: atomic { !ENDS(t) && !MAY_ASK(t) -> woken[t] = false }; /* sleep_until_move() */
        woken[t] || (looked[t] && timed[t] && late[t])
    :: ask(t)
    od
}

/* The end of auri_detect(): recalls if anybody asks. */
inline detect()
{
#ifndef FAULT_DETECT_SILENT
    if
    :: asks[A] || asks[B] -> d_step { recall(); move() } /* auri_turn_recall() */
    :: else
    fi
#else
    skip
#endif
}

/* For one call of the parent, without a deadline or with one. */
inline wait_for_call(t, c)
{
    ids[t] = c;
    if
    :: edge[t] = E_PROXY; detect() /* the walk ends at a call that names no runner */
#ifdef TIMED
    :: timed[t] = true; edge[t] = E_TIMED
#endif
    fi;
    parent_wait(t);
    edge[t] = E_NONE
}

proctype own()
{
#ifdef LOOP
    { /* await_thieves() */
        edge[0] = E_JOB;
        detect(); /* auri_detect_owner() */
        l_done && m_done;
        edge[0] = E_NONE;
        w_done = true
    } unless { killed }
}

proctype helper()
{
    byte r;

    {
        if
        :: wait_for_call(2, 1)
#ifndef STAYS
        :: wait_for_call(2, 0)
        :: true
#endif
        fi;
        m_done = true
    } unless { killed }
}
#else
    byte rounds, r;

    {
        do
        :: rounds < ROUNDS ->
            rounds++;
            if
            :: wait_for_call(0, 0)
#ifndef STAYS
            :: !l_done -> /* ask_for_any() */
                ids[0] = 0;
                told[0] = true;
                edge[0] = E_ANY;
                parent_wait(0);
                edge[0] = E_NONE
            :: !l_done -> /* auri_wait_task() */
                edge[0] = E_L;
                if
                :: edge[1] == E_PROXY -> detect()
                :: else
                fi;
                l_done;
                edge[0] = E_NONE
#endif
            fi
        :: break
        od;
        w_done = true
    } unless { killed }
}

#endif

proctype other()
{
    byte rounds, r;

    {
        do
        :: rounds < ROUNDS ->
            rounds++;
            if
            :: wait_for_call(1, 0)
#if !defined(LOOP) || !defined(STAYS)
            :: wait_for_call(1, 1)
#endif
            fi
#if !defined(LOOP) || !defined(STAYS)
        :: break
#else
        :: rounds == ROUNDS -> break
#endif
        od;
        l_done = true;
        skip;
#ifndef FAULT_WORD_SILENT
        d_step { recall(); move() } /* what waits for L and others has counted it: auri_turn_recall() */
#endif
    } unless { killed }
}

#ifdef CALLER
proctype caller()
{
    {
        /* auri_turn_take() */
        d_step { hurried++ };
        do
        :: atomic { asked -> recall(); woken[2] = false }; woken[2]
        :: d_step { !asked -> hurried--; asked = true } break
        od;
        send(false);
        assert(answer == R_OK);
        d_step { /* auri_turn_give() */
            answer = 0;
            asked = false;
#ifndef FAULT_GIVE_SILENT
            move()
#endif
        }
    } unless { killed }
}
#endif

#ifdef TIMED
/* Time. */
#ifdef STAYS
#define HURRIES w_done
#else
#define HURRIES true
#endif
proctype clock()
{
end:
    do
    :: d_step { timed[A] && !late[A] && linked[A] -> late[A] = true; q_late = q_late || named[A] }
    :: d_step { timed[B] && !late[B] && linked[B] && HURRIES -> late[B] = true; q_late = q_late || named[B] }
    od
}

#endif

/* ---- the parent -------------------------------------------------------------------------------- */

/* With the pool's lock held. */
inline end_wait()
{
    assert(blocked);
    blocked = false;
    victim = false
}

/* Whoever hears the bell. */
proctype server()
{
    bool mine, refuses;
    byte which;

end:
    do
    :: d_step {
        bell -> /* auri_request_look() */
        bell = false;
        if
#ifndef FAULT_LOOK_BLIND
        :: blocked && !serving && ctl && IS_RECALLED -> end_wait(); reply(R_EAGAIN, 0)
#endif
        :: else
        fi;
        mine = !serving && !blocked && ctl && req != req_seen;
        serving = serving || mine
       };
        if
        :: mine ->
            mine = false;
            d_step { req_seen = req }; /* auri_request_serve() */
            if
            :: !req_waits -> d_step { serving = false; reply(R_OK, 0) }
            :: req_waits ->
                d_step {
                    if
                    :: !ctl -> serving = false
                    :: ctl && q_has[0] && done[0] -> serving = false; reply(R_DONE, 0)
                    :: ctl && q_has[1] && done[1] && !(q_has[0] && done[0]) ->
                        serving = false;
                        reply(R_DONE, 1)
                    :: ctl && !DONE_Q && q_late -> serving = false; reply(R_TIMEDOUT, 0)
                    :: else -> blocked = true; mine = true
                    fi
                };
                if
                :: mine ->
                    atomic { /* auri_detect() */
                        refuses = DEAD_W;
                        victim = refuses;
                        if
#ifdef FAULT_BLAME_FIRST
                        :: refuses && q_needs[0] -> which = 0
                        :: refuses && q_needs[1] && !q_needs[0] -> which = 1
#else
                        :: refuses && LACKS(0) -> which = 0
                        :: refuses && LACKS(1) -> which = 1
#endif
                        :: else
                        fi
                    };
                    d_step { /* auri_wait_settle() */
                        serving = false;
                        if
                        :: refuses && blocked -> end_wait(); reply(R_EDEADLK, which)
                        :: !refuses && blocked && ctl && IS_RECALLED -> end_wait(); reply(R_EAGAIN, 0)
                        :: else
                        fi;
                        mine = false;
                        refuses = false;
                        which = 0
                    }
                :: else
                fi
            fi;
            bell = true /* it looks again before it sleeps */
        :: else
        fi
    od
}

/* Continuations, deadlines, the worker's death. */
proctype guardian()
{
end:
    do
    :: d_step { blocked && q_has[0] && done[0] -> end_wait(); reply(R_DONE, 0) }
    :: d_step { blocked && q_has[1] && done[1] -> end_wait(); reply(R_DONE, 1) }
    :: d_step { blocked && !serving && q_late -> end_wait(); reply(R_TIMEDOUT, 0) }
    :: d_step {
        killed && ctl -> /* auri_judge(), auri_wait_abandon() */
        if
        :: blocked -> end_wait()
        :: else
        fi;
        ctl = false;
        w_done = true
       }
    od
}

proctype runner(byte c)
{
    bool refuses;

    if
#ifdef STAYS
#ifdef LOOP
    :: c == 1 -> l_done || w_done
#else
    :: c == 1 -> w_done
#endif
    :: c == 0 ->
        needs[c] = true;
#else
    :: needs[c] = true;
#endif
        d_step {
            refuses = DEAD_W && q_needs[c]; /* its own wait has closed the circle */
            assert(!refuses || CALL_ON_CIRCLE(c));
            gave_up[c] = refuses;
            refuses = false
        };
        gave_up[c] || w_done;
        needs[c] = false
#ifdef STAYS
    :: c == 0 -> true
#else
    :: true
#endif
    fi;
    d_step { done[c] = true }
}

#ifdef DEATHS
proctype killer()
{
    if
    :: d_step { !w_done -> killed = true }
    :: true
    fi
}
#endif

init
{
    atomic {
        run own();
        run other();
#ifdef LOOP
        run helper();
#endif
#ifdef CALLER
        run caller();
#endif
#ifdef TIMED
        run clock();
#endif
        run server();
#ifdef TWO
        run server();
#endif
        run guardian();
        run runner(0);
        run runner(1);
#ifdef DEATHS
        run killer();
#endif
        skip
    }
    w_done && done[0] && done[1] && !blocked && !serving;
    killed || (l_done && !asked && !stands && req == rep && lists == 0 && news == 0)
}
