/* sched/team.h: the threads of one pool: shared by worker.c (what each does) and threads.c (how they
 * start and end). */
#ifndef AURI_SCHED_TEAM_H
#define AURI_SCHED_TEAM_H

#include <pthread.h>

#include "plat/plat.h"
#include "sched/place.h"
#include "sched/range.h"
#include "sched/ticks.h"
#include "sync/eventcount.h"
#include "task/pool.h"
#include "task/record.h"

#define AURI_TEAM_HARD_MAX 8192u /* threads, spares and the reserve included */

struct auri_lane;

/* Outside threads that fork at the same time, each with a lane of its own; more fork serially. */
#define AURI_GUESTS_MAX 16u

struct auri_member {
    /* A: NULL until the place is first used, then constant.  The deque belongs to the place, not to the
     * thread's record: so a thief that is late never meets the tasks of another pool. */
    _Atomic(struct auri_deque *) deque;
    _Atomic(struct auri_lane *) lane; /* A: the same, for its forks (sched/join.c) */
    aurp_thread thread;               /* lock */
    bool started;                     /* lock: `thread` is valid and not joined */
    /* For the monitor (sched/monitor.c), which may be late: */
    _Atomic(int) tid;       /* A: the thread's number; 0: none runs */
    _Atomic(uint32_t) away; /* A: it waits and the pool knows (a lot, a wait, a blocking section) */
    _Atomic(struct auri_record *) record; /* A: for statistics: its thread's, or NULL */
    struct auri_place place;
};

struct auri_team {
    aur_pool *pool;
    struct auri_ec ec;

    /* Tasks from outside.  Pushed by one CAS each, taken all at once; whoever takes them holds
     * fifo_lock, reverses them, and leaves in `fifo` what it does not need now. */
    alignas(AURI_CACHE_LINE) _Atomic(auri_task *) inbox; /* A */
    alignas(AURI_CACHE_LINE) pthread_mutex_t fifo_lock;
    auri_task *fifo;               /* fifo_lock: oldest first */
    _Atomic(uint32_t) fifo_filled; /* A: fifo is not empty */

    struct auri_range_board board; /* published loops */
    _Atomic(uint32_t) looping;     /* A: threads that take part in one now; a hint */
    struct auri_habit habit[AURI_HABITS];

    uint32_t member_max;                                /* I */
    struct auri_member *member;                         /* I: array */
    _Atomic(uint32_t) member_end;                       /* A: one past the highest slot ever used */
    _Atomic(struct auri_lane *) guest[AURI_GUESTS_MAX]; /* A: as member[].lane */
    _Atomic(uint32_t) guest_end; /* A: one past the highest guest lane ever used */
    uint32_t guests;             /* lock: which lanes are in use, one bit each */
    _Atomic(uint32_t) spinning;  /* A: searchers that spin now; at most one */

    /* One line, hardly ever written: what a loop looks at before it is shared. */
    alignas(AURI_CACHE_LINE) uint32_t cpus; /* I: that the process may use */
    /* Learned costs (sched/worker.c), nanoseconds. */
    _Atomic(uint32_t) wake_latency_ns; /* A: from the wake call until the woken thread runs */
    _Atomic(uint32_t) wake_cost_ns;    /* A: what the call takes its caller */
    uint64_t spin_ns;                  /* I: how long a searcher looks before it sleeps */
    struct auri_ticks ticks;
    /* A: 1 + the CPU where somebody waits for one short task after the other, for a worker that looks for work
     * there.  A hint; who has seen it puts 0. */
    _Atomic(uint32_t) waiter_cpu;

    /* Life.  The lock guards starts and ends of threads. */
    pthread_mutex_t lock;
    uint32_t live;                 /* lock: threads that have not ended */
    uint32_t spares_live;          /* lock: how many more than pool->workers */
    uint64_t spares_started;       /* lock: ever */
    uint32_t lot_idle;             /* lock: surplus threads that wait in the lot */
    uint32_t lot_tokens;           /* lock: of these, how many may go on */
    bool settled;                  /* lock: the start is over: threads that end are detached */
    bool abandoned;                /* lock: nobody will join: threads are detached */
    bool joined;                   /* lock: somebody has joined, or is joining */
    _Atomic(uint32_t) lot_word;    /* A: futex of the lot: +1 at each change */
    _Atomic(uint32_t) ended;       /* A: futex of join: +1 when a thread ends */
    _Atomic(uint32_t) stop;        /* A: workers end when they find nothing */
    _Atomic(uint32_t) started;     /* A: futex of start: threads past their init */
    _Atomic(uint32_t) init_failed; /* A: why a thread did not begin: an aur_err */

    /* The monitor (sched/monitor.c). */
    _Atomic(uint32_t) watch;        /* A: it looks, or there is none to arm */
    _Atomic(uint32_t) monitor_bell; /* A: futex of the monitor: +1 when it should look up */
    aurp_thread monitor;            /* lock */
    bool monitor_started;           /* lock: `monitor` is valid and not joined */
    bool monitor_live;              /* lock: it has not ended */
    int extra; /* lock: how much of the deficit is for workers that were seen to block; written by the
                * monitor only */

    /* Statistics, relaxed. */
    alignas(AURI_CACHE_LINE) _Atomic(uint64_t) stolen;
    _Atomic(uint64_t) parks;
    _Atomic(uint64_t) parked_ns; /* A: a hint: when a worker last went to sleep */
    _Atomic(uint64_t) wakes;
};

static inline struct auri_team *auri_team_of(aur_pool *pool)
{
    return pool->impl;
}

/* A wake was given, and the last thread to park had done so before: it would not have found the work, had it
 * spun on.  parked_ns after given_ns: others ran out of work meanwhile, so there is some. */
static inline bool auri_work_is_rare(uint64_t parked_ns, uint64_t given_ns, uint64_t spin_ns)
{
    return given_ns > parked_ns && given_ns - parked_ns > spin_ns;
}

/* worker.c */
void *auri_worker_thread(void *member_arg);
void auri_team_notify(struct auri_team *team);        /* after work was made visible */
void auri_team_notify_pushed(struct auri_team *team); /* after auri_team_push(), with no fence */
/* The same for a thread that goes on working: whoever is woken should run on another CPU. */
void auri_team_notify_elsewhere(struct auri_team *team);
bool auri_team_has_work(struct auri_team *team); /* something is visible to a worker that looks */
void auri_team_push(struct auri_team *team, auri_task *task); /* one that nobody else knows yet */
/* Takes one queued task out, wherever it lies (for terminate).  NULL: none is left. */
auri_task *auri_team_drain(struct auri_team *team);

/* threads.c */
struct auri_member_arg {
    struct auri_team *team;
    uint32_t index;
};
/* A blocked worker is to be replaced: lets one from the lot go on, or starts a thread.  The
 * reserve is used if no worker is active, or if it `must` be.  False: none could be had. */
bool auri_team_add_worker(struct auri_team *team, bool must);
/* The calling worker, whose record is `self`, sleeps until its helpers are done, whether or not another worker can be
 * had: if not, another wait in this pool is refused (sched/refuse.c).  auri_unblock() must follow. */
void auri_team_block_owner(struct auri_team *team, const struct auri_record *self);
/* For that: refuses the wait of one worker other than `self`, if there is one that can be.  Without any lock. */
void auri_team_refuse_one(struct auri_team *team, const struct auri_record *self);
/* If one worker too many is running: the caller leaves, and waits to be needed.  False: it should end. */
bool auri_team_lot_wait(struct auri_team *team);
/* The last act of a worker thread: after it the team may be gone.  replace: a task ended it, and
 * another is to take its place if there is work. */
void auri_team_member_ended(struct auri_team *team, uint32_t index, bool replace);
/* Everything accepted is done and the pool is closing: workers may end. */
void auri_team_stop(struct auri_team *team);
/* Starts the monitor's thread if there is none yet.  False: there is one. */
bool auri_team_start_monitor(struct auri_team *team, void *(*thread)(void *));
/* The last act of the monitor. */
void auri_team_monitor_ended(struct auri_team *team);

/* monitor.c */
/* Work is visible and no worker looks: the monitor should.  Called when `watch` is off. */
void auri_monitor_arm(struct auri_team *team);
/* Ends the monitor's sleep. */
void auri_monitor_ring(struct auri_team *team);
/* The rule: how many stand-ins, if there were `extra` so far; active workers were looked at and so many
 * of them found blocked; grow: more may be had. */
int auri_monitor_extra(int extra, int active, int blocked, bool grow);

#endif /* AURI_SCHED_TEAM_H */
