/* Workers that block without telling anybody (a read, a sleep, a lock) are seen and stood in for.
 *
 * A thread of its own, started when it is first needed, looks every few milliseconds while tasks wait
 * and no worker is free to take them.  A worker that used little CPU time since the last look and
 * sleeps in the kernel now is blocked.  For each one the pool gets another worker, through the deficit
 * of the eventcount, the same way in which a wait does (sched/threads.c).  The threads of a process
 * that starves for CPUs are runnable and do not sleep: they are not taken for blocked ones.
 *
 * One number decides: `extra`, how many more workers the pool should have for this reason.  It is
 * reckoned anew at each look, from what is seen, and so it cannot drift: there are no marks on workers,
 * and a task pays nothing.
 *   - All that are active are blocked: extra doubles (slow start: a wrong guess costs few threads), so
 *     that 64 sleeping tasks on two workers have started after five looks.
 *   - Some are: extra is their number, so that as many workers run as the pool was made with.
 *   - The CPUs are busy: extra does not grow.
 *   - It shrinks to what is still seen to block, a quarter of the difference at a time: tasks that block
 *     often are caught running now and then.
 *   - Nothing waits: it stays, and is zero again when the monitor goes to sleep.
 * Too many workers cost a thread each and no more: when they run out of work they leave
 * (auri_team_lot_wait), and end after a second.
 *
 * Nobody is missed: whoever makes work visible while no worker looks reads `watch` after its fence
 * ([E1] in sync/eventcount.h) and arms the monitor; the monitor writes `watch`, fences, and looks for
 * work once more before it sleeps ([M1]). */
#include <stdlib.h>

#include "base/err.h"
#include "sched/team.h"

/* Chosen with bench/sleep.c (64 tasks of 50 ms on two workers: 88 ms; 50 is the least).  A task that blocks
 * for less than the first of them is over soon anyway. */
#define FIRST_LOOK_NS UINT64_C(10000000)
#define NEXT_LOOK_NS UINT64_C(5000000)
#define EXTRA_MAX 64  /* stand-ins for blocked workers that nobody announced */
#define CALM_LOOKS 4u /* looks without need before the monitor sleeps */
#define IDLE_FIFTH 5u /* a worker that used less than a fifth of the time may be blocked */
#define SHARE 100u    /* looks that change nothing take at most a hundredth of one CPU */

enum { WATCH_OFF = 0, WATCH_ON = 1 };

/* What was seen of the workers at one look. */
struct seen {
    int active;  /* workers inside tasks that the pool does not count as blocked */
    int blocked; /* of these */
};

struct watcher {
    struct auri_team *team;
    uint64_t at_ns;   /* the last look */
    uint64_t next_ns; /* the next one */
    uint64_t process_cpu_ns;
    uint64_t *member_cpu_ns; /* by place; AURP_NO_CLOCK: not known */
};

/* ---- looking ------------------------------------------------------------------------------- */

/* Is work waiting, with nobody who is free to take it? */
static bool is_pressed(struct auri_team *team)
{
    uint64_t word = auri_load_acq(&team->ec.word);

    return auri_ec_sleepers(word) + auri_ec_tokens(word) + auri_ec_searchers(word) == 0 &&
           auri_team_has_work(team);
}

/* Reads the clocks of all workers, and tells which of them are blocked if `states`. */
static struct seen look(struct watcher *w, uint64_t elapsed_ns, bool states)
{
    struct auri_team *team = w->team;
    uint32_t end = auri_load_acq(&team->member_end);
    struct seen seen = { 0, 0 };

    for (uint32_t i = 0; i < end; i++) {
        struct auri_member *member = &team->member[i];
        int tid = auri_load_rlx(&member->tid); /* relaxed: a number that may be out of date */
        /* Of one that has started since the last look all the time counts. */
        uint64_t before = w->member_cpu_ns[i] != AURP_NO_CLOCK ? w->member_cpu_ns[i] : 0;
        uint64_t now = tid != 0 ? aurp_thread_cpu_ns(tid) : AURP_NO_CLOCK;

        w->member_cpu_ns[i] = now;
        if (now == AURP_NO_CLOCK || auri_load_rlx(&member->away) != 0) { /* relaxed: as above */
            continue;
        }
        seen.active++;
        if (states && now >= before && (now - before) * IDLE_FIFTH < elapsed_ns &&
            aurp_thread_sleeps(tid)) {
            seen.blocked++;
        }
    }
    return seen;
}

static void look_first(struct watcher *w)
{
    w->at_ns = aurp_now_ns();
    w->process_cpu_ns = aurp_process_cpu_ns();
    for (uint32_t i = 0; i < w->team->member_max; i++) {
        w->member_cpu_ns[i] = AURP_NO_CLOCK;
    }
    (void)look(w, 0, false);
}

/* ---- deciding ------------------------------------------------------------------------------ */

int auri_monitor_extra(int extra, int active, int blocked, bool grow)
{
    int want = blocked;

    if (grow && blocked == active && 2 * extra > blocked) {
        want = 2 * extra;
    }
    if (want >= extra) {
        extra = grow ? want : extra;
    } else {
        extra -= (extra - want + 3) / 4;
    }
    return extra < EXTRA_MAX ? extra : EXTRA_MAX;
}

/* Under the lock, so that nobody else takes the change for workers that wait (missing()). */
static void set_extra(struct auri_team *team, int extra)
{
    pthread_mutex_lock(&team->lock);
    int delta = extra - team->extra;
    team->extra = extra;
    if (delta != 0) {
        auri_ec_deficit_add(&team->ec, delta);
    }
    pthread_mutex_unlock(&team->lock);
    for (; delta > 0 && auri_team_has_work(team); delta--) {
        auri_team_notify(team);
    }
}

/* One look and what follows from it, if there is need; returns whether there is.  Then w->next_ns is the
 * time of the next look: soon while the number changes, else when this one has become a small cost. */
static bool tick(struct watcher *w)
{
    struct auri_team *team = w->team;
    bool pressed = is_pressed(team);
    uint64_t now = aurp_now_ns();
    uint64_t process_cpu = aurp_process_cpu_ns();
    uint64_t elapsed = now > w->at_ns ? now - w->at_ns : 1;
    /* A tenth is left for what the clocks do not say. */
    bool cpus_busy = (process_cpu - w->process_cpu_ns) / 9 * 10 >= elapsed * team->cpus;
    struct seen seen = look(w, elapsed, pressed);

    uint64_t cost = aurp_now_ns() - now;
    int before = team->extra;

    w->at_ns = now;
    w->process_cpu_ns = process_cpu;
    if (pressed) {
        bool grow = !cpus_busy && seen.blocked != 0;
        set_extra(team, auri_monitor_extra(before, seen.active, seen.blocked, grow));
    }
    bool soon = team->extra != before || cost * SHARE < NEXT_LOOK_NS;
    w->next_ns = now + (soon ? NEXT_LOOK_NS : cost * SHARE);
    return pressed;
}

/* ---- the thread ---------------------------------------------------------------------------- */

/* Looks until there was no need for a while, or the team stops. */
static void watch(struct watcher *w)
{
    struct auri_team *team = w->team;
    uint32_t calm = 0;

    look_first(w);
    w->next_ns = w->at_ns + FIRST_LOOK_NS;
    while (calm < CALM_LOOKS) {
        uint32_t bell = auri_load_acq(&team->monitor_bell);
        if (auri_load_acq(&team->stop) != 0) {
            return;
        }
        if (aurp_now_ns() < w->next_ns) {
            (void)aurp_futex_wait(&team->monitor_bell, bell, w->next_ns, AURP_PRIVATE);
            continue;
        }
        calm = tick(w) ? 0 : calm + 1;
    }
}

static void *monitor_thread(void *arg)
{
    struct auri_team *team = arg;
    struct watcher w = { .team = team };

    w.member_cpu_ns = malloc(team->member_max * sizeof(*w.member_cpu_ns));
    while (w.member_cpu_ns != NULL && auri_load_acq(&team->stop) == 0) {
        uint32_t bell = auri_load_acq(&team->monitor_bell);
        if (auri_load_sc(&team->watch) == WATCH_ON) {
            watch(&w);
            set_extra(team, 0);
            /* seq_cst, then a fence, then the look [M1]; pairs with the fence [E1] of whoever made work
             * visible and then read `watch`. */
            auri_store_sc(&team->watch, WATCH_OFF);
            auri_fence_sc();
            if (is_pressed(team)) {
                auri_store_sc(&team->watch, WATCH_ON);
            }
        } else if (auri_load_acq(&team->stop) == 0) {
            (void)aurp_futex_wait(&team->monitor_bell, bell, AUR_NO_DEADLINE, AURP_PRIVATE);
        }
    }
    free(w.member_cpu_ns);
    auri_own_threads_add(-1);
    auri_team_monitor_ended(team);
    return NULL;
}

void auri_monitor_ring(struct auri_team *team)
{
    auri_add_sc(&team->monitor_bell, 1u);
    aurp_futex_wake(&team->monitor_bell, 1, AURP_PRIVATE);
}

void auri_monitor_arm(struct auri_team *team)
{
    uint32_t off = WATCH_OFF;

    /* Somebody looks, and will come here itself if it leaves work lying. */
    if (auri_ec_is_searched(&team->ec) || !auri_cas_sc(&team->watch, &off, WATCH_ON)) {
        return;
    }
    if (!auri_team_start_monitor(team, monitor_thread)) {
        auri_monitor_ring(team);
    }
}
