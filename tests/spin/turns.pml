/* turns.pml: the waits of all threads of a worker process as one question to the parent, which others recall.
 *
 * Mirrors  src/proc/turns.c: auri_turn_take, _give, _recall, recall, move, sleep_until_move, own_asker, note_parts,
 *          question_make, was_named, take_outcome, take_refusal, refused, ask, end_of, leave, may_ask,
 *          auri_parent_wait;
 *          src/sched/detect.c: auri_detect_needs_answer, note_needed, and the recall at the end of auri_detect;
 *          src/proc/waits.c: auri_serve_wait, show, auri_wait_settle, _refuse, refused_index, auri_request_deadlines,
 *          _abandon;
 *          src/proc/request.c: auri_request_look, _serve.
 * Threads  0 is the worker's own, and runs the call W; 1 runs L, a task of a pool of the worker process.  0 waits
 *          for a call of the parent, perhaps with a deadline, or for the first of that and L, or for L alone; 1 waits
 *          for the same call or another one, perhaps with a deadline; each does so ROUNDS times at most.  With
 *          CALLER there is 2, which calls the parent meanwhile.  TWO: the bell may be heard while somebody serves.
 * Calls    0 and 1 belong to the parent; each may wait for W before it is done.  STAYS: 1 ends after W, by no wait that
 *          anybody knows of, only thread 1 waits for it, and its deadline comes then: that must hide no circle.
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

/* ---- the worker process ------------------------------------------------------------------------ */

byte edge[2];
bool asks[2];
bool w_done, l_done;
bool killed;

/* askers */
bool linked[2];
byte ids[2] = NONE; /* the call */
bool told[2];
bool timed[2];
bool late[2]; /* its deadline has passed */
bool looked[2];
bool over[2];
byte err[2];
bool named[2];    /* it took part in the question that was asked last */
bool needed[2];   /* ... and 0 cannot go on without it */
bool was_done[2]; /* its call, before it began to wait */

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
#define DEAD_W                                                                                     \
    (blocked && !victim && !HIDDEN && (q_needs[0] || q_needs[1]) && (!q_needs[0] || HELD(0)) &&    \
     (!q_needs[1] || HELD(1)))

/* The truth, thread by thread.  Who waits for its call: */
#define CALLS(t) (linked[t] && !over[t] && !timed[t] && HELD(ids[t]))
#define L_DEAD (!l_done && CALLS(1))
#define OWN_DEAD                                                                                   \
    ((CALLS(0) && (!told[0] || L_DEAD)) || (!linked[0] && edge[0] == E_L && L_DEAD))
#define WAITS_FOR_L (told[0] || edge[0] == E_L)
#define ON_CIRCLE(t) (OWN_DEAD && ((t) == 0 || (L_DEAD && WAITS_FOR_L)))
/* ... and the parent's call, which waits for W: */
#define CALL_ON_CIRCLE(c)                                                                          \
    (OWN_DEAD && ((CALLS(0) && ids[0] == (c)) || (WAITS_FOR_L && L_DEAD && ids[1] == (c))))

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
#define DEAD_0                                                                                     \
    ((edge[0] == E_PROXY && asks[0]) || (edge[0] == E_NONE && asks[0]) ||                          \
     (edge[0] == E_ANY && asks[0] && !l_done && DEAD_1) || (edge[0] == E_L && !l_done && DEAD_1))

#define TAKES_PART(t) (linked[t] && !over[t])

/* note_parts() */
#define ALONE (TAKES_PART(0) && !told[0])
#ifdef FAULT_GOES_ON_BLIND
#define NEEDED(t) true
#elif defined(FAULT_NEVER_GOES_ON)
#define NEEDED(t) false
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
#define REFUSED (MAY_GIVE_UP(0) -> 0 : (MAY_GIVE_UP(1) -> 1 : NONE))
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
        named[0] = TAKES_PART(0);
        named[1] = TAKES_PART(1);
        q_has[0] = (named[0] && ids[0] == 0) || (named[1] && ids[1] == 0);
        q_has[1] = (named[0] && ids[0] == 1) || (named[1] && ids[1] == 1);
        needed[0] = named[0] && !timed[0] && NEEDED(0);
        needed[1] = named[1] && !timed[1] && NEEDED(1);
#ifdef FAULT_EDGE_ALL
        q_needs[0] = (needed[0] || needed[1]) && q_has[0];
        q_needs[1] = (needed[0] || needed[1]) && q_has[1];
#else
        q_needs[0] = (needed[0] && ids[0] == 0) || (needed[1] && ids[1] == 0);
        q_needs[1] = (needed[0] && ids[0] == 1) || (needed[1] && ids[1] == 1);
#endif
        q_timed = (named[0] && timed[0]) || (named[1] && timed[1]);
        q_late = (named[0] && late[0]) || (named[1] && late[1]);
        q_list = named[0] && named[1];
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
            :: TAKES_PART(1 - t) && ids[1 - t] == answer_id -> ends(1 - t, R_DONE)
            :: else -> news-- /* auri_news_drop() */
#endif
            fi
        :: answer == R_TIMEDOUT ->
            looked[0] = looked[0] || LOOKED_AT(0);
            looked[1] = looked[1] || LOOKED_AT(1)
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
        q_needs[0] = false; q_needs[1] = false; q_timed = false; q_late = false; q_recalled = false; sent = false;
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
    :: asks[0] || asks[1] -> d_step { recall(); move() } /* auri_turn_recall() */
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

proctype other()
{
    byte rounds, r;

    {
        do
        :: rounds < ROUNDS ->
            rounds++;
            if
            :: wait_for_call(1, 0)
            :: wait_for_call(1, 1)
            fi
        :: break
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
    :: d_step { timed[0] && !late[0] && linked[0] -> late[0] = true; q_late = q_late || named[0] }
    :: d_step { timed[1] && !late[1] && linked[1] && HURRIES -> late[1] = true; q_late = q_late || named[1] }
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
                        :: refuses && q_needs[0] -> which = 0
                        :: refuses && q_needs[1] -> which = 1
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
    :: c == 1 -> w_done
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
