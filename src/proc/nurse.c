/* Workers come and go: asking the nursery for them, hearing of them, giving up.
 *
 * Called by: the guardian, and start() before there is one; the nursery object is theirs alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "plat/shm.h"
#include "proc/internal.h"
#include "proc/worker.h"

#define BACKOFF_MIN_NS UINT64_C(1000000)
#define BACKOFF_MAX_NS UINT64_C(1000000000)
/* The price of a wake, so that a worker that spins in vain has lost as much again at most.  Reckoned, not swept;
 * bench/roundtrip and bench/busy show what it brings. */
#define WORKER_SPIN_NS UINT64_C(50000)

/* ---- making one ------------------------------------------------------------------------------------------ */

static void setup_fn(struct auri_proc *p, uint64_t addr, struct auri_fn_entry *ret)
{
    auri_module_ref ref;

    if (p->spawn && addr != 0 &&
        auri_module_encode((const void *)(uintptr_t)addr, true, &ref) == AUR_OK) {
        memcpy(ret->ref, &ref, sizeof(ref));
    }
}
_Static_assert(sizeof(auri_module_ref) == AURI_REF_BYTES, "a reference fits");

static void set_spin(struct auri_proc *p, struct auri_worker *w)
{
    /* relaxed: a hint, which the worker reads before each wait. */
    auri_store_rlx(&w->ctl->setup.spin_ns, p->cpus > 1 ? WORKER_SPIN_NS : 0);
}

void auri_count_cpus(struct auri_proc *p)
{
    unsigned cpus = aurp_cpu_count();

    pthread_mutex_lock(&p->lock);
    p->cpus = cpus;
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (p->slots[i].worker != NULL && p->slots[i].worker->ctl != NULL) {
            set_spin(p, p->slots[i].worker);
        }
    }
    pthread_mutex_unlock(&p->lock);
}

static void fill_setup(struct auri_proc *p, struct auri_worker *w, bool warm)
{
    struct auri_setup *setup = &w->ctl->setup;
    const aur_options *opts = &p->pool->opts;

    *setup = (struct auri_setup){
        .pool = (uint64_t)(uintptr_t)p->pool,
        .args_bytes = auri_arena_bytes(p->args),
        .shared_bytes = auri_arena_bytes(p->shared),
        .result_bytes = w->segment->bytes,
        .result_warm = warm ? AURI_WARM_FIND : 0,
        .flags = (p->spawn ? AURI_SETUP_SPAWN : 0u) |
                 (opts->worker_init != NULL ? AURI_SETUP_INIT : 0u) |
                 (opts->worker_fini != NULL ? AURI_SETUP_FINI : 0u),
        .workers = p->pool->workers,
        .item_timeout_ns = p->pool->limits.item_timeout_ns,
        .retries = p->pool->limits.retries,
        .retry_on = p->pool->limits.retry_on,
        .worker_ctx = (uint64_t)(uintptr_t)opts->worker_ctx,
        .init = (uint64_t)(uintptr_t)opts->worker_init,
        .fini = (uint64_t)(uintptr_t)opts->worker_fini,
    };
    if (p->spawn) {
        setup_fn(p, setup->init, &setup->init_ref);
        setup_fn(p, setup->fini, &setup->fini_ref);
        setup->fns =
            auri_extent_make(AURI_SEG_ARGS, p->fns, AURI_FNS_MAX * sizeof(struct auri_fn_entry));
    }
    set_spin(p, w);
    memcpy(setup->name, p->pool->name, sizeof(setup->name));
    setup->name[sizeof(setup->name) - 1] = '\0';
}

static int make_ctl(struct auri_worker *w)
{
    void *base = NULL;
    int failed = aurp_shm_new("auriga-control", AURI_CTL_BYTES, &w->ctl_fd);

    if (failed != 0) {
        return failed;
    }
    failed = aurp_shm_commit(w->ctl_fd, 0, AURI_CTL_BYTES);
    if (failed == 0) {
        failed = aurp_shm_map(w->ctl_fd, AURI_CTL_BYTES, AURP_MAP_WRITE | AURP_MAP_DONTFORK, &base);
    }
    if (failed != 0) {
        aurp_close(&w->ctl_fd);
        return failed;
    }
    w->ctl = base;
    w->ctl->magic = AURI_CTL_MAGIC;
    w->ctl->epoch = w->epoch;
    w->ctl->abi_size = (uint32_t)sizeof(struct auri_ctl);
    w->ctl->slot = w->slot;
    return 0;
}

static void unmake(struct auri_worker *w)
{
    if (w->ctl != NULL) {
        aurp_shm_unmap(w->ctl, AURI_CTL_BYTES);
    }
    aurp_close(&w->ctl_fd);
    auri_segment_unref(w->segment);
    if (w->record != NULL) {
        auri_record_give(w->record);
    }
    free(w);
}

static struct auri_worker *make(struct auri_proc *p, unsigned slot, int *ret_errno)
{
    struct auri_worker *w = calloc(1, sizeof(*w));
    bool warm = p->slots[slot].warm != NULL;

    *ret_errno = ENOMEM;
    if (w == NULL) {
        return NULL;
    }
    w->proc = p;
    w->slot = slot;
    w->epoch = ++p->epochs;
    w->state = AURI_W_ASKED;
    w->refs = 1;
    w->pidfd = w->ctl_fd = -1;
    w->head = w->tail = 1;
    w->reply_extent = AURI_NO_EXTENT;
    w->wait_deadline = AUR_NO_DEADLINE;
    w->record = auri_record_take();
    w->segment = warm ? p->slots[slot].warm : auri_segment_new();
    p->slots[slot].warm = NULL;
    if (w->record == NULL || w->segment == NULL || (*ret_errno = make_ctl(w)) != 0) {
        unmake(w);
        return NULL;
    }
    w->record->pool = p->pool;
    w->record->worker = (int)slot;
    auri_segment_forget(w->segment);
    fill_setup(p, w, warm);
    return w;
}

static aur_err ask(struct auri_proc *p, struct auri_worker *w)
{
    int fds[AURI_WORKER_FDS];

    fds[AURI_WORKER_FD_CTL] = w->ctl_fd;
    fds[AURI_WORKER_FD_ARGS] = auri_arena_fd_readonly(p->args);
    fds[AURI_WORKER_FD_RESULT] = w->segment->fd;
    fds[AURI_WORKER_FD_SHARED] = auri_arena_fd(p->shared);
    fds[AURI_WORKER_FD_BELL] = p->rope;
    return auri_nursery_request(p->nursery, w->slot, w->epoch, fds, AURI_WORKER_FDS);
}

/* ---- wanting ---------------------------------------------------------------------------------------------- */

void auri_want(struct auri_proc *p, unsigned slot, uint64_t start_ns)
{
    auri_dry_mark(p, false);
    p->slots[slot].wanted = true;
    p->slots[slot].start_ns = start_ns;
    if (slot >= p->slots_end) {
        p->slots_end = slot + 1;
    }
}

/* After n failures in a row. */
static uint64_t backoff(unsigned n)
{
    if (n == 0) {
        return 0;
    }
    return n > 10 ? BACKOFF_MAX_NS : BACKOFF_MIN_NS << (n - 1);
}

static bool ended(const struct auri_proc *p)
{
    return p->stopping || p->broken || p->quitting || p->nursery_dead;
}

/* The system had no room for a worker.  The pool goes on with those that it has, if any, and tries again.  A spare is
 * not waited for: as long as none is to be had, what it was to run is run in place of a wait. */
static void refused(struct auri_proc *p, unsigned at, uint64_t now)
{
    struct auri_slot *slot = &p->slots[at];

    p->refusals++;
    slot->start_ns = now + backoff(p->refusals);
    if (at < p->pool->workers) {
        slot->refused = true;
    } else {
        slot->wanted = false;
        p->spares_ns = slot->start_ns;
    }
}

void auri_nurse_despair(struct auri_proc *p, struct auri_harvest *h)
{
    if (p->refusals < AURI_DEATHS_MAX) {
        return;
    }
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (p->slots[i].worker != NULL) {
            return;
        }
    }
    auri_break(p, h, "10 workers in a row could not be made");
}

uint64_t auri_nurse_ask(struct auri_proc *p, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < p->slots_end && !ended(p); i++) {
        struct auri_slot *slot = &p->slots[i];
        int failed;
        if (!slot->wanted || slot->worker != NULL) {
            continue;
        }
        if (slot->start_ns > now) {
            next = slot->start_ns < next ? slot->start_ns : next;
            continue;
        }
        struct auri_worker *w = make(p, i, &failed);
        aur_err err = w != NULL ? ask(p, w) : AUR_ENOMEM;
        if (err == AUR_OK) {
            aurp_close(&w->ctl_fd);
            slot->worker = w;
            continue;
        }
        if (w != NULL) {
            unmake(w);
        }
        /* EBROKEN: the nursery is dead, which its socket tells us, too; all that follows is done there. */
        if (err != AUR_EBROKEN && err != AUR_EAGAIN) {
            refused(p, i, now);
        } else {
            slot->start_ns = now + BACKOFF_MIN_NS;
        }
        next = slot->wanted && slot->start_ns < next ? slot->start_ns : next;
    }
    return next;
}

/* ---- hearing ---------------------------------------------------------------------------------------------- */

struct auri_worker *auri_worker_by_epoch(struct auri_proc *p, uint64_t epoch)
{
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (p->slots[i].worker != NULL && p->slots[i].worker->epoch == epoch) {
            return p->slots[i].worker;
        }
    }
    for (struct auri_worker *w = p->dead; w != NULL; w = w->next) {
        if (w->epoch == epoch) {
            return w;
        }
    }
    return NULL;
}

static void started(struct auri_proc *p, struct auri_worker *w, const auri_nursery_event *event)
{
    w->pid = event->pid;
    w->pidfd = event->pidfd;
    w->state = AURI_W_LIVE;
    p->refusals = 0;
    p->slots[w->slot].refused = false;
    if (p->epoll < 0 || aurp_epoll_add(p->epoll, w->pidfd, AURI_TOKEN_EPOCH + w->epoch) != 0) {
        auri_kill(w, AURI_KILL_NONE, 0);
    }
    if (p->stopping || p->broken) {
        auri_kill(w, AURI_KILL_STOP, 0);
    } else if (p->quitting) {
        auri_quit(p, w);
    }
}

/* A worker that never came to life has no entries. */
static void not_started(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    refused(p, w->slot, aurp_now_ns());
    auri_judge(p, w, h);
    auri_bury(p, w, h);
}

/* The lock is released while answers are delivered. */
void auri_worker_died(struct auri_proc *p, struct auri_worker *w, struct auri_harvest *h)
{
    if (w->ctl == NULL) {
        return; /* judged before */
    }
    for (;;) { /* what it answered counts, however much it is */
        if (!w->wild) {
            auri_drain_worker(p, w, h);
        }
        bool more = h->more;
        w->refs++;
        pthread_mutex_unlock(&p->lock);
        (void)auri_deliver(p, h);
        AURI_HARVEST_INIT(h);
        pthread_mutex_lock(&p->lock);
        auri_worker_unref(p, w);
        if (!more) {
            break;
        }
    }
    uint32_t hello = auri_load_rlx(&w->ctl->hello); /* relaxed: it is dead */
    bool greeted = hello == AURI_HELLO_READY || hello == AURI_HELLO_LEAVES;
    bool expected = w->asked_to_quit || w->kill_reason != AURI_KILL_NONE;
    p->deaths_in_row = greeted || expected ? 0 : p->deaths_in_row + 1;
    p->deaths += !expected || w->kill_reason == AURI_KILL_WILD;
    struct auri_slot *slot = &p->slots[w->slot];
    auri_judge(p, w, h);
    slot->start_ns = aurp_now_ns() + backoff(p->deaths_in_row);
    if (w->slot >= p->pool->workers) {
        slot->wanted = false; /* another spare is started when one is needed */
        if (slot->warm != NULL) {
            auri_segment_unref(slot->warm);
            slot->warm = NULL;
        }
    }
    aurp_epoll_remove(p->epoll, w->pidfd);
    if (w->exited || p->nursery_dead) {
        auri_bury(p, w, h);
    }
    if (!expected && (p->pool->flags & AUR_POOL_BREAK_ON_DEATH) != 0) {
        auri_break(p, h, "a worker died");
    } else if (p->deaths_in_row >= AURI_DEATHS_MAX) {
        auri_break(p, h, "10 workers in a row died before they were ready");
    }
}

static void exited(struct auri_proc *p, struct auri_worker *w, const auri_nursery_event *event,
                   struct auri_harvest *h)
{
    w->exited = true;
    w->status = event->status;
    w->maxrss_bytes = event->maxrss_bytes;
    p->slots[w->slot].ended_pid = w->pid;
    p->slots[w->slot].ended_status = w->status;
    if (w->ctl != NULL) {
        auri_worker_died(p, w, h);
    } else {
        auri_bury(p, w, h);
    }
}

void auri_nursery_events(struct auri_proc *p, struct auri_harvest *h, int *ret_errno)
{
    auri_nursery_event event;
    aur_err err;

    while ((err = auri_nursery_next(p->nursery, &event)) == AUR_OK) {
        struct auri_worker *w = auri_worker_by_epoch(p, event.epoch);
        if (w == NULL) {
            aurp_close(&event.pidfd);
        } else if (event.kind == AURI_NURSERY_STARTED) {
            started(p, w, &event);
        } else if (event.kind == AURI_NURSERY_EXITED) {
            exited(p, w, &event, h);
        } else {
            *ret_errno = event.sys_errno;
            not_started(p, w, h);
        }
    }
    if (err != AUR_EBROKEN || p->nursery_dead) {
        return;
    }
    p->nursery_dead = true;
    if (p->epoll >= 0) {
        aurp_epoll_remove(p->epoll, auri_nursery_fd(p->nursery));
    }
    for (unsigned i = 0; i < p->slots_end; i++) { /* the kernel kills what it made */
        struct auri_worker *w = p->slots[i].worker;
        if (w != NULL && w->state == AURI_W_ASKED) {
            not_started(p, w, h);
        }
    }
    while (p->dead != NULL) { /* no status will come any more */
        auri_bury(p, p->dead, h);
    }
    if (!p->quitting && !p->stopping) {
        auri_break(p, h, "the helper process that starts workers has died");
    }
}
