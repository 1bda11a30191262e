/* any.pml: a worker process that waits for any of several: the continuations of a set, and who drops it.
 *
 * Mirrors  src/proc/any.c: auri_serve_wait_any, answer, arm, fire, disarm, drop, auri_any_stop;
 *          src/proc/waits.c: auri_wait_begin, _settle, _end, auri_request_deadlines, auri_wait_abandon;
 *          src/proc/request.c: auri_request_look, auri_reply;  src/task/cont.c: auri_cont_add, _remove,
 *          auri_conts_run.
 * Calls    0, 1 and 2 are done at any time, each by a thread of its own.  The worker waits ROUNDS times for the
 *          first of 0 and 1, the second time perhaps for the first of 2 and 2; a wait may have a deadline, which may pass at any time; one without may be refused by
 *          the verdict while none is done (whether that is true is shown by request.pml and dry.pml).
 * Death    DEATHS: SIGKILL after any step of the worker.
 * Memory   sequentially consistent: all is done under the pool's lock, or by words that are accessed so.
 * Shows    each request has exactly one reply, and it is true; a set is freed once, by the last who has it, and
 *          not used after that; no continuation is added twice, and none is left in the list of a call; at the
 *          end nobody waits and nothing is held. */

/* run: */
/* run: -DDEATHS */
/* fault: ADD_BLIND */
/* fault: FIRE_BLIND */
/* fault: ONE_REFERENCE */
/* fault: SET_STAYS */
/* fault: REFUSE_BLIND */
/* fault: LOOK_BLIND */
/* fault: DISARM_BLIND */

#ifndef ROUNDS
#define ROUNDS 2
#endif
#define NONE 15

#define R_DONE 1
#define R_TIMEDOUT 2
#define R_EDEADLK 3

bool done[3];

/* the worker's mailbox */
bool req, rep;
bool req_timed;
bool req_twice;
byte answer;
byte answer_way;

/* the worker, as the parent knows it */
bool ctl = true;
bool killed;
bool over; /* the worker has sent its last request and has ended */
bool serving;
bool blocked;
bool timed;
bool req_seen;
byte any = NONE; /* the set that it waits for */
byte refs = 1;
byte firing;

/* the sets, one for each request */
byte sets;
byte set_refs[ROUNDS];
bool freed[ROUNDS];
bool twice[ROUNDS]; /* of call 2 */
bool armed0[ROUNDS], armed1[ROUNDS];
byte task_refs;

/* continuations: in the list of their call */
bool listed0[ROUNDS], listed1[ROUNDS];

bool lock;

#define CALL(s, i) (twice[s] -> 2 : (i))
#define ARMED(s, i) ((i) == 0 -> armed0[s] : armed1[s])

inline reply(what, way)
{
    if
    :: ctl ->
        assert(rep != req_seen);
        answer = what;
        answer_way = way;
        rep = req_seen
    :: else
    fi
}

/* With the lock held, as all of these. */
inline drop(s)
{
    assert(!freed[s] && set_refs[s] > 0);
    set_refs[s]--;
    if
    :: set_refs[s] == 0 ->
        assert(!listed0[s] && !listed1[s]);
        freed[s] = true;
        task_refs = task_refs - 2
    :: else
    fi
}

#ifdef FAULT_DISARM_BLIND
#define MAY_DISARM(is_listed) true /* also what is on its way */
#else
#define MAY_DISARM(is_listed) is_listed
#endif

inline disarm(s)
{
    assert(!freed[s]);
    if
    :: armed0[s] && MAY_DISARM(listed0[s]) ->
        listed0[s] = false; armed0[s] = false; set_refs[s]--; refs--; firing--
    :: else
    fi;
    if
    :: armed1[s] && MAY_DISARM(listed1[s]) ->
        listed1[s] = false; armed1[s] = false; set_refs[s]--; refs--; firing--
    :: else
    fi
}

/* auri_wait_end(), auri_any_stop() */
inline end_wait()
{
    assert(blocked);
    blocked = false;
    timed = false;
    old = any;
#ifndef FAULT_SET_STAYS
    any = NONE;
#endif
    disarm(old);
    drop(old);
    old = NONE
}

#ifdef FAULT_FIRE_BLIND
#define IS_THIS(s) blocked
#else
#define IS_THIS(s) (any == (s))
#endif

inline fire(s, i)
{
    d_step {
        !lock ->
        assert(!freed[s] && ARMED(s, i));
        if
        :: i == 0 -> armed0[s] = false
        :: else -> armed1[s] = false
        fi;
        if
        :: IS_THIS(s) -> end_wait(); reply(R_DONE, i)
        :: else
        fi;
        drop(s);
        refs--;
        firing--
    }
}

/* ---- the worker -------------------------------------------------------------------------------- */

proctype worker()
{
    byte rounds;

    {
        do
        :: rounds < ROUNDS ->
            rounds++;
            if
            :: req_timed = false
            :: req_timed = true
            fi;
            if
            :: req_twice = false
            :: rounds == 2 -> req_twice = true
            fi;
            req = !req; /* auri_mail_send() */
            rep == req; /* auri_mail_wait() */
            assert(answer == R_DONE || answer == R_TIMEDOUT || answer == R_EDEADLK);
            assert(answer != R_DONE || done[(req_twice -> 2 : answer_way)]);
            assert(answer != R_TIMEDOUT || req_timed);
            assert(answer != R_EDEADLK || !req_timed)
        :: break
        od;
        over = true
    } unless { killed }
}

/* ---- who serves -------------------------------------------------------------------------------- */

inline add(s, i)
{
    d_step {
        got = !done[CALL(s, i)];
        assert(!freed[s] && !(i == 0 -> listed0[s] : listed1[s]));
        if
        :: got && i == 0 -> listed0[s] = true
        :: got && i == 1 -> listed1[s] = true
        :: else
        fi
    };
    if
#ifndef FAULT_ADD_BLIND
    :: !got -> fire(s, i)
#endif
    :: else
    fi;
    got = false
}

#ifdef FAULT_LOOK_BLIND
#define MAY_LOOK true
#else
#define MAY_LOOK !serving
#endif

/* There are two: who served a request may still be at its end when the next one is served. */
proctype server()
{
    byte s, old;
    bool got, waits, refuses;

    old = NONE;
end:
    do
    :: d_step {
        !lock && MAY_LOOK && !blocked && ctl && req != req_seen ->
        serving = true;
        refs++;
        req_seen = req;
        s = sets;
        sets++;
        twice[s] = req_twice;
        set_refs[s] = 1;
        task_refs = task_refs + 2
       }; /* any_new() */
        d_step {
            !lock ->
            waits = false;
            if
            :: !ctl -> serving = false; drop(s)
            :: ctl && done[CALL(s, 0)] -> reply(R_DONE, 0); serving = false; drop(s)
            :: ctl && !done[CALL(s, 0)] && done[CALL(s, 1)] -> reply(R_DONE, 1); serving = false; drop(s)
            :: else ->
                waits = true;
                armed0[s] = true;
                armed1[s] = true;
                set_refs[s] = set_refs[s] + 2;
                refs = refs + 2;
                firing = firing + 2;
#ifndef FAULT_ONE_REFERENCE
                set_refs[s]++;
#endif
                any = s;
                blocked = true;
                timed = req_timed
            fi
        };
        if
        :: waits ->
            add(s, 0);
            add(s, 1);
            if
            :: !req_timed && !done[CALL(s, 0)] && !done[CALL(s, 1)] -> refuses = true /* auri_detect() */
            :: true
            fi;
            d_step {
                !lock ->
                serving = false;
                if
#ifdef FAULT_REFUSE_BLIND
                :: refuses -> end_wait(); reply(R_EDEADLK, 0)
#else
                :: refuses && blocked -> assert(any == s); end_wait(); reply(R_EDEADLK, 0)
#endif
                :: else
                fi;
                refuses = false
            };
            d_step {
                !lock ->
                waits = false;
                if
                :: any != s -> disarm(s) /* those that came after the wait was over */
                :: else
                fi;
#ifndef FAULT_ONE_REFERENCE
                drop(s)
#endif
            }
        :: else
        fi;
        d_step { !lock -> refs--; s = 0 }
    od
}

/* ---- the calls --------------------------------------------------------------------------------- */

/* auri_task_finish(): the outcome is published, with that the list is taken, then each is told. */
proctype finisher(byte c)
{
    bool mine0[ROUNDS], mine1[ROUNDS];
    byte s, old;

    d_step {
        old = NONE;
        done[c] = true;
        do
        :: s < ROUNDS ->
            mine0[s] = listed0[s] && CALL(s, 0) == c;
            mine1[s] = listed1[s] && CALL(s, 1) == c;
            listed0[s] = listed0[s] && !mine0[s];
            listed1[s] = listed1[s] && !mine1[s];
            s++
        :: else -> break
        od;
        s = 0
    };
    do
    :: s < ROUNDS ->
        if
        :: mine0[s] -> fire(s, 0); mine0[s] = false
        :: else
        fi;
        if
        :: mine1[s] -> fire(s, 1); mine1[s] = false
        :: else
        fi;
        s++
    :: s == ROUNDS -> break
    od;
    s = 0
}

/* ---- deadlines and deaths ---------------------------------------------------------------------- */

#define LATE (blocked && !serving && timed)

proctype guardian()
{
    byte old;

    old = NONE;
end:
    do
    :: d_step { !lock && LATE -> end_wait(); reply(R_TIMEDOUT, 0) } /* auri_request_deadlines() */
    :: d_step {
        !lock && (killed || over) && ctl -> /* auri_judge(), auri_wait_abandon() */
        if
        :: blocked -> end_wait()
        :: else
        fi;
        ctl = false;
        refs--
       }
    od
}

#ifdef DEATHS
proctype killer()
{
    if
    :: killed = true
    :: true
    fi
}
#endif

init
{
    atomic {
        run worker();
        run server();
        run server();
        run guardian();
        run finisher(0);
        run finisher(1);
        run finisher(2);
#ifdef DEATHS
        run killer();
#endif
        skip
    }
    /* in the end */
    !ctl && !blocked && !serving && any == NONE && refs == 0 && firing == 0 && task_refs == 0
}
