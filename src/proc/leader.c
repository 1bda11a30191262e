/* Waiting: the waiting thread itself looks after the rings.  README.md has the argument why no wake is
 * lost; the letters in the comments refer to it. */
#include <string.h>

#include "proc/internal.h"

/* A worker may do so much more before it wakes a leader that collects, and if that takes longer than
 * expected, the leader wakes by itself.  Tuned with bench/busy: each wake of the leader costs two busy CPUs
 * 20 to 35 us.  A timer below the kernel's tick costs a virtual machine 15 us more. */
#define COLLECT_NS UINT64_C(500000)
#define COLLECT_MAX_NS UINT64_C(5000000)
#define LONG_SPIN_NS (4 * AURI_SPIN_NS) /* in which a worker can go elsewhere or wake */

/* ---- who rings when ------------------------------------------------------------------------------------ */

/* The entry of w whose answer brings `task` on, or 0. */
static uint64_t entry_of(struct auri_worker *w, const auri_task *task)
{
    if (task == NULL) {
        return 0;
    }
    if (auri_task_map(task) == NULL) {
        /* relaxed: under the lock, which whoever claims or finishes it holds. */
        uint64_t word = auri_load_rlx(&((auri_task *)task)->word);
        uint64_t seq = (uintptr_t)task->priv;
        bool flies = auri_word_state(word) == AURI_RUNNING && seq >= w->head && seq < w->tail;
        const struct auri_flight *flight = auri_flight_at(w, seq);
        return flies && flight->task == task && !flight->revoked ? seq : 0;
    }
    for (uint64_t seq = w->tail; seq-- > w->head;) { /* the last chunk of the map */
        if (auri_flight_at(w, seq)->task == task && !auri_flight_at(w, seq)->revoked) {
            return seq;
        }
    }
    return 0;
}

/* The leader waits for entry `seq`.  Where each CPU has its worker, to wake the leader takes a CPU from one of
 * them, and a thread that collects many results in turn would do that for each.  So the thread that led last,
 * and comes back for an entry that was in the ring when it left, is woken some entries later: half of those
 * that are left, as far as that is soon.  One that submits a call for each result is not: its entry is new.
 * If the entries take longer than expected, sleep_on_bell() ends the sleep. */
static uint64_t later(struct auri_proc *p, struct auri_worker *w, uint64_t seq)
{
    uint64_t last = seq + (w->tail - 1 - seq) / 2;
    uint64_t ns = 0;

    if (!p->collects || p->busy < p->cpus || seq >= w->left_tail) {
        return seq;
    }
    while (seq < last && (ns += auri_flight_at(w, seq + 1)->cost_ns) <= COLLECT_NS) {
        p->late = true;
        seq++;
    }
    return seq;
}

static uint64_t nearer(uint64_t a, uint64_t b)
{
    return a == 0 ? b : b == 0 ? a : a < b ? a : b;
}

/* After which answer of w somebody has to look at its ring; 0: no matter. */
static uint64_t target_of(struct auri_proc *p, struct auri_worker *w)
{
    uint64_t target = 0;

    if (p->attended) {
        return w->head;
    }
    if (p->leading) {
        target = entry_of(w, p->led);
        if (target != 0 && auri_task_map(p->led) == NULL) {
            target = later(p, w, target);
        }
    }
    for (const struct auri_parked *parked = p->parked; parked != NULL; parked = parked->next) {
        target = nearer(target, entry_of(w, parked->task));
    }
    if (p->queue_first != NULL) { /* to refill it in time */
        target = nearer(target, w->head + (auri_unanswered(w) - 1) / 2);
    }
    /* Idle workers may take over from busy ones; a closing pool waits for all. */
    if (p->flying > p->busy || w->state == AURI_W_QUITTING ||
        auri_load_rlx(&p->pool->state) !=
            AURI_OPEN) { /* relaxed: set before the guardian is kicked */
        target = nearer(target, w->tail - 1);
    }
    return target;
}

/* Tells each busy worker when to ring.  True: one of these answers is there already. */
static bool arm(struct auri_proc *p)
{
    bool missed = false;

    p->late = false;
    for (unsigned i = 0; i < p->slots_end && p->flying != 0; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w == NULL || w->ctl == NULL || w->wild || auri_unanswered(w) == 0) {
            continue;
        }
        uint64_t target = target_of(p, w);
        if (target == 0) {
            continue;
        }
        if (w->armed == 0 || target < w->armed) {
            p->armed_n += w->armed == 0;
            w->armed = target;
            auri_ring_wake_at(w->ctl, target); /* with the fence [C4] */
        }
        /* Also if it was told before: a leader that found the answer then may have left without it. */
        missed |= auri_answered(w, w->armed);
    }
    return missed;
}

static void disarm(struct auri_proc *p)
{
    for (unsigned i = 0; i < p->slots_end && p->armed_n != 0; i++) {
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && w->armed != 0) {
            w->armed = 0;
            p->armed_n--;
            auri_store_rlx(&w->ctl->wake_at,
                           UINT64_C(0)); /* relaxed: a ring too much does no harm */
        }
    }
}

void auri_listen(struct auri_proc *p)
{
    if (p->leading && auri_load_rlx(&p->asleep) == 0) {
        return; /* the leader is awake, and looks before it sleeps (B) */
    }
    if (p->flying != 0 && p->guardian_wakes_ns == UINT64_MAX) {
        auri_kick(p); /* it sleeps without a tick */
    }
    if (!p->attended && p->parked == NULL && p->queue_first == NULL && !p->leading &&
        auri_load_rlx(&p->pool->state) == AURI_OPEN) { /* relaxed: as in target_of() */
        return;                                        /* nobody waits for anything */
    }
    if (arm(p) && p->bell >= 0) {
        aurp_bell_ring(p->rope);
    }
}

void auri_attend(aur_pool *pool, auri_task *task)
{
    struct auri_proc *p = auri_proc_of(pool);

    if (auri_task_is_done(task)) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    if (!p->attended || p->armed_n < p->busy) {
        p->attended = true;
        auri_listen(p);
    }
    pthread_mutex_unlock(&p->lock);
}

/* ---- sleeping -------------------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Sleeps on the bell as the leader.  With the lock held, which it releases meanwhile. */
static void sleep_on_bell(struct auri_proc *p, auri_task *task, aur_deadline deadline)
{
    uint64_t tick_ns = p->late ? COLLECT_MAX_NS : AURI_TICK_NS;
    uint64_t until = earlier(deadline, aurp_now_ns() + tick_ns);
    int bell = p->bell;

    auri_store_rlx(&p->asleep, 1u); /* relaxed: ordered by the fence */
    /* fence; pairs with the one in finish_all() (deliver.c) (C). */
    auri_fence_sc();
    if (auri_task_is_done(task) || bell < 0) {
        auri_store_rlx(&p->asleep, 0u);
        return;
    }
    if (p->bell_added) {
        aurp_epoll_remove(p->epoll, bell);
        p->bell_added = false;
    }
    p->parks++;
    pthread_mutex_unlock(&p->lock);
    bool rang = aurp_fd_wait(bell, until) == AUR_OK;
    pthread_mutex_lock(&p->lock);
    auri_store_rlx(&p->asleep, 0u);
    p->collects = p->collects && rang; /* else it sleeps for its own entry from here on */
    if (p->bell >= 0) {                /* the pool may have ended since our task did */
        aurp_bell_clear(p->bell);
        if (!p->bell_added) {
            p->bell_added = aurp_epoll_add(p->epoll, p->bell, AURI_TOKEN_BELL) == 0;
        }
    }
    disarm(p);
}

/* Sleeps until the task is done or somebody wakes us to lead.  With the lock held, which it releases
 * meanwhile. */
static void park(struct auri_proc *p, auri_task *task, aur_deadline deadline)
{
    struct auri_parked node = { p->parked, task };
    uint64_t word = auri_load_acq(&task->word);

    p->parked = &node;
    auri_listen(p);
    pthread_mutex_unlock(&p->lock);
    while (auri_word_state(word) != AURI_DONE) {
        uint64_t with = word | AURI_F_WAITERS;
        /* acq_rel; pairs with the exchange [D1] in task/task.c: it sees the flag, or we see DONE. */
        if (word == with || auri_cas_acqrel(&task->word, &word, with)) {
            /* After the word was read: see interrupt() in sched/detect.c. */
            if (auri_record_is_victim(auri_self())) {
                break;
            }
            (void)aurp_futex_wait(auri_task_futex(task), (uint32_t)with, deadline, AURP_PRIVATE);
            break;
        }
    }
    pthread_mutex_lock(&p->lock);
    struct auri_parked **at = &p->parked;
    while (*at != &node) {
        at = &(*at)->next;
    }
    *at = node.next;
}

/* ---- leading --------------------------------------------------------------------------------------------- */

/* Whoever runs the task, as far as one knows. */
static struct auri_worker *worker_of(struct auri_proc *p, const auri_task *task)
{
    /* relaxed: a guess. */
    unsigned owner = auri_word_owner(auri_load_rlx(&((auri_task *)task)->word));

    return owner != 0 ? auri_runner_of(p, owner) : NULL;
}

/* Looking on for a while is worth it if the answer may come sooner than a sleep would take, and if
 * nobody needs the CPU.  Not after the bell of a sleeping worker was rung: it wakes sooner here,
 * on a CPU that is awake, if we leave it.  Returns for how long; 0: not at all.
 *
 * So a call that finds its worker asleep sleeps, too; the worker rings and parks, and if the next call follows
 * at once, it finds it asleep again: for ever, at the price of two wakes a call.  So that next call looks on in spite
 * of the bell, for as long as a worker can take to wake: then both are awake, and stay so.  But both may be on one
 * CPU, and stay there: a kernel that is a guest takes a halted CPU for one that its host has given away, and wakes
 * nobody on it.  So the worker was told where we are before it was woken (put() in dispatch.c), and goes elsewhere
 * before it runs the call: move_apart() in worker.c.  Here we let it have the CPU for that (lead()), and do not sleep:
 * whoever sleeps is woken on the CPU of the one who wakes him, and all was in vain. */
static uint64_t spin_ns(struct auri_proc *p, const auri_task *task)
{
    if (p->busy >= p->cpus || auri_task_map(task) != NULL ||
        !auri_spin_pays(p, auri_cost_of(p, task->fn))) {
        return 0;
    }
    struct auri_worker *w = worker_of(p, task);
    if (w == NULL || w->ctl == NULL) {
        return 0;
    }
    if (w->told) {
        return LONG_SPIN_NS;
    }
    if (p->spin_skip != 0) {
        p->spin_skip--;
        return 0;
    }
    return w->rang ? 0 : AURI_SPIN_NS;
}

static void relax(void)
{
    for (int i = 0; i < 4; i++) { /* the worker may live on the other half of this core */
        auri_cpu_relax();
    }
}

/* A spin that brings nothing most likely holds the CPU that the worker waits for.  Then the next calls
 * sleep at once, twice as many after each failure. */
static void spin_failed(struct auri_proc *p, uint64_t spun_for)
{
    if (spun_for == LONG_SPIN_NS) {
        p->sleeps = 0;
        p->long_fails += p->long_fails < 6;
    }
    p->spin_fails += p->spin_fails < 8;
    p->spin_skip = 1u << p->spin_fails;
}

static void spin_good(struct auri_proc *p)
{
    p->spin_fails = p->spin_skip = 0;
    p->sleeps = p->long_fails = 0;
}

/* True: we slept, and it did not help to look on; see spin_ns(). */
static bool lead(struct auri_proc *p, auri_task *task, aur_deadline deadline)
{
    bool slept = false;
    struct auri_harvest h;
    uint64_t spin_for = 0;
    uint64_t spin_until = 0;
    bool spins = true; /* until it was in vain, or a sleep */

    while (!auri_task_is_done(task)) {
        AURI_HARVEST_INIT(&h);
        pthread_mutex_lock(&p->lock);
        auri_drain(p, &h);
        auri_dispatch(p);
        spin_for = spins && spin_until == 0 ? spin_ns(p, task) : spin_for;
        spins = spins && spin_for != 0;
        bool spin = spins;
        if (h.n == 0 && h.parcel_n == 0 && h.asking_n == 0 && !spin) {
            uint64_t now = aurp_now_ns();
            if (now >= deadline) {
                pthread_mutex_unlock(&p->lock);
                return slept;
            }
            auri_rebalance(p, now);
            if (!arm(p)) {
                sleep_on_bell(p, task, deadline);
                slept = true;
                spins = false;
            }
        } else if (spin && spin_until != 0 && h.n != 0) {
            spin_good(p); /* seen while looking on */
            slept = false;
        }
        pthread_mutex_unlock(&p->lock);
        if (!auri_deliver(p, &h) && spin) {
            uint64_t now = aurp_now_ns();
            if (spin_until == 0) {
                spin_until = earlier(now + spin_for, deadline);
                if (spin_for == LONG_SPIN_NS) {
                    aurp_yield(); /* to a worker that is on this CPU, and about to leave it */
                }
            }
            if (now >= spin_until) {
                spins = false;
                pthread_mutex_lock(&p->lock);
                spin_failed(p, spin_for);
                pthread_mutex_unlock(&p->lock);
            }
            relax();
        }
    }
    return slept;
}

/* Gives the lead up, and notes who led and what was in the rings: see later().  rang: it counts as slow already. */
static void leave(struct auri_proc *p, bool rang, bool slept)
{
    p->leading = false;
    p->led = NULL;
    p->left_by = auri_self();
    if (!rang) {
        p->sleeps = slept ? p->sleeps + 1 : 0;
    }
    for (unsigned i = 0; i < p->slots_end && p->busy >= p->cpus; i++) {
        if (p->slots[i].worker != NULL) {
            p->slots[i].worker->left_tail = p->slots[i].worker->tail;
        }
    }
}

void auri_progress(aur_pool *pool, auri_task *task, aur_deadline deadline)
{
    struct auri_proc *p = auri_proc_of(pool);

    uint64_t now = aurp_now_ns();
    if (now >= deadline) {
        while (!auri_task_is_done(task) && auri_pump(p)) {
        }
        return;
    }
    pthread_mutex_lock(&p->lock);
    if (p->leading) {
        if (!auri_task_is_done(task)) {
            park(p, task, deadline);
        }
        pthread_mutex_unlock(&p->lock);
        return;
    }
    p->leading = true;
    p->led = task;
    p->collects = p->left_by == auri_self();
    p->leads++;
    disarm(p);
    struct auri_worker *w = worker_of(p, task);
    bool rang = w != NULL && w->rang;
    pthread_mutex_unlock(&p->lock);
    bool slept = lead(p, task, deadline);
    pthread_mutex_lock(&p->lock);
    leave(p, rang, slept);
    auri_listen(p);          /* the guardian hears the bell from here on (D) */
    if (p->parked != NULL) { /* one of them can do it with a hop less */
        aurp_futex_wake(auri_task_futex(p->parked->task), INT32_MAX, AURP_PRIVATE);
    }
    pthread_mutex_unlock(&p->lock);
}
