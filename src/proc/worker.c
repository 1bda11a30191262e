/* The life of a worker process: segments, init, entries one by one (proc/entry.c), fini.
 *
 * The claim comes first, and everything that can run foreign code (loading a module, the task) or
 * that looks at the entry's numbers comes after it: an entry that kills is then a lost one, and not
 * one that is queued again for ever. */
#include "proc/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plat/plat.h"
#include "plat/process.h"
#include "plat/shm.h"
#include "proc/entry.h"
#include "proc/remote.h"
#include "task/record.h"

#define SPINS_PER_LOOK 32 /* about a microsecond: reading the clock costs 30 ns */

_Static_assert(sizeof(auri_module_ref) == AURI_REF_BYTES, "what wire/ctl.h has room for");

/* Set once, before hello; NULL in every other process. */
static struct auri_worker_self *the_worker;

struct auri_worker_self *auri_worker_self(void)
{
    if (the_worker == NULL || the_worker->generation != auri_process_generation()) {
        return NULL;
    }
    return the_worker;
}

bool auri_worker_should_stop(void)
{
    struct auri_worker_self *self = auri_worker_self();

    /* relaxed, both: late is allowed, and nothing else depends on them. */
    return self != NULL && (auri_load_rlx(&self->ctl->stop) != 0 ||
                            auri_load_rlx(&self->ctl->cancel_seq) == self->head);
}

uint64_t auri_worker_task_id(void)
{
    struct auri_worker_self *self = auri_worker_self();

    return self != NULL ? self->ctl->sub[auri_ring_at(self->head)].task_id : UINT64_MAX;
}

void auri_worker_ring(struct auri_worker_self *self)
{
    if (aurp_file_is(self->bell, self->bell_file)) {
        aurp_bell_ring(self->bell);
    } else {
        auri_store_rlx(&self->maimed, 1u); /* relaxed: late is allowed */
    }
}

/* ---- segments ------------------------------------------------------------------------------- */

void *auri_worker_at(struct auri_extent extent)
{
    struct auri_worker_self *self = auri_worker_self();
    uint64_t offset = auri_extent_off(extent);

    if (self == NULL || extent.size == 0) {
        return NULL;
    }
    switch (auri_extent_seg(extent)) {
    case AURI_SEG_ARGS:
        return self->args != NULL ? auri_window_at(self->args, offset, extent.size) : NULL;
    case AURI_SEG_SHARED:
        return self->shared != NULL ? auri_window_at(self->shared, offset, extent.size) : NULL;
    case AURI_SEG_RESULT:
        if (offset > auri_arena_bytes(self->results) ||
            extent.size > auri_arena_bytes(self->results) - offset) {
            return NULL;
        }
        return auri_arena_at(self->results, offset);
    default:
        return NULL;
    }
}

static void take_freed(struct auri_worker_self *self)
{
    uint64_t offset;

    pthread_mutex_lock(&self->alloc_lock);
    while (auri_free_take(self->ctl, self->free_head, &offset)) {
        self->free_head++;
        auri_arena_free(self->results, offset);
    }
    pthread_mutex_unlock(&self->alloc_lock);
}

aur_err auri_worker_alloc(struct auri_worker_self *self, uint64_t size,
                          struct auri_extent *ret_extent)
{
    uint64_t offset;

    take_freed(self);
    aur_err err = auri_arena_alloc(self->results, size, &offset);
    if (err == AUR_ESYS) { /* its descriptor: what is run now cannot be answered */
        _exit(AURI_WORKER_EXIT_FDS);
    }
    if (err == AUR_OK) {
        *ret_extent = auri_extent_make(AURI_SEG_RESULT, offset, size);
    }
    return err;
}

void auri_worker_free(struct auri_worker_self *self, struct auri_extent extent)
{
    if (extent.size != 0) {
        auri_arena_free(self->results, auri_extent_off(extent));
    }
}

/* A reference of a spawned worker, into an address. */
aur_err auri_worker_find(const struct auri_fn_entry *entry, const void **ret_addr)
{
    char path[AURI_MODULE_PATH_MAX] = "";
    auri_module_ref ref;
    const void *text = auri_worker_at(entry->path);

    if (entry->path.size >= sizeof(path) || (entry->path.size != 0 && text == NULL)) {
        return AUR_ENOFUNC;
    }
    if (text != NULL) {
        memcpy(path, text, entry->path.size);
    }
    memcpy(&ref, entry->ref, sizeof(ref));
    return auri_module_decode(&ref, path[0] != '\0' ? path : NULL, ret_addr);
}

/* ---- giving memory back --------------------------------------------------------------------- */

/* Only what this process's own allocator knows as free goes back: no view is there, and a death at any point
 * leaves pages or none behind memory that nobody uses. */
static bool shall_shrink(const struct auri_worker_self *self)
{
    return auri_load_rlx(&self->ctl->shrink) != self->shrunk; /* relaxed: late is allowed */
}

/* One piece, since an entry may come meanwhile; that takes 0.4 ms. */
static void shrink(struct auri_worker_self *self)
{
    uint32_t asked = auri_load_rlx(&self->ctl->shrink); /* relaxed: as above */

    if (asked != self->turned) {
        self->turned = asked;
        take_freed(self);
        auri_arena_turn(self->results);
    }
    if (!auri_arena_shrink(self->results)) {
        self->shrunk = asked;
        auri_store_rlx(&self->ctl->shrunk, asked); /* relaxed: nothing is read behind it */
    }
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* Waits for entry self->head.  patient: look for a while before parking.  Not for longer than a fifth of what
 * the parent allows, unless entries follow each other one by one, as those of a caller that waits for each: the last
 * two were looked for and found, or the last one that was parked for came so soon that it would have been.  Where
 * calls are rare, looking on is in the way of whoever wakes on this CPU; where there are many, of who brings more. */
static void await_entry(struct auri_worker_self *self, struct auri_sub_desc *ret_desc, bool patient)
{
    uint64_t most_ns = auri_load_rlx(&self->ctl->setup.spin_ns); /* relaxed: late is allowed */
    uint64_t spin_ns = !patient ? 0 : self->follows ? most_ns : most_ns / 5;
    uint64_t since = 0;

    if (self->apart) {
        self->apart = false;
        spin_ns = 4 * most_ns; /* that a wake and the next call take, if it follows at once */
    }
    if (auri_ring_next(self->ctl, self->head, ret_desc)) {
        self->single = false;
        return;
    }
    if (spin_ns != 0) {
        since = aurp_now_ns();
        do {
            for (int i = 0; i < SPINS_PER_LOOK; i++) {
                if (auri_ring_next(self->ctl, self->head, ret_desc)) {
                    self->follows = self->follows || self->single;
                    self->single = true;
                    return;
                }
                auri_cpu_relax();
            }
        } while (aurp_now_ns() - since < spin_ns);
    }
    while (!auri_ring_next(self->ctl, self->head, ret_desc)) {
        if (shall_shrink(self)) {
            shrink(self);
        } else {
            auri_ring_park(self->ctl, self->head);
        }
    }
    if (spin_ns != 0) { /* twice: to wake takes as long again */
        self->follows = aurp_now_ns() - since < 2 * most_ns;
    }
    self->single = true;
}

/* The leader says where it is: calls come one by one, each at the price of wakes.  If that is our CPU we go to
 * another one.  Where we may run is as before afterwards.  False: both of us have to do with this CPU. */
static bool move_apart(struct auri_worker_self *self)
{
    int cpu = (int)auri_load_rlx(&self->ctl->leader_cpu) - 1; /* relaxed: late is allowed */

    auri_store_rlx(&self->ctl->leader_cpu, UINT32_C(0)); /* relaxed: as above */
    if (cpu != aurp_cpu_here()) {
        return true;
    }
    if (!aurp_cpus_leave(0, cpu)) {
        return false;
    }
    self->apart = true;
    return true;
}

static void end(const struct auri_worker_self *self, aur_worker_fini_fn *fini)
{
    if (fini != NULL) {
        fini((void *)(uintptr_t)self->ctl->setup.worker_ctx, (int)self->slot);
    }
}

/* Takes and answers entries until QUIT, or until the bell is gone.  Returns the exit status. */
static int serve(struct auri_worker_self *self, aur_worker_fini_fn *fini)
{
    /* Who rang the bell, or shares the leader's CPU, parks at once: a spinning CPU would keep the parent off it. */
    bool patient = true;
    bool quit = false;

    while (!quit && auri_load_rlx(&self->maimed) == 0) { /* relaxed: as where it is set */
        struct auri_sub_desc desc;
        struct auri_comp_desc comp;

        if (shall_shrink(self)) {
            shrink(self); /* it may never be without an entry */
        }
        await_entry(self, &desc, patient);
        patient = true;
        memset(&comp, 0, sizeof(comp));
        comp.op = AURI_COMP_SKIPPED;
        if (auri_ring_claim(self->ctl, self->head)) {
            comp.op = AURI_COMP_DONE;
            quit = desc.op == AURI_OP_QUIT;
            if (!quit) {
                if (auri_load_rlx(&self->ctl->leader_cpu) != 0) { /* relaxed: late is allowed */
                    patient = move_apart(self);
                }
                auri_entry_run(self, &desc, &comp);
            } else {
                end(self, fini);
            }
        }
        if (auri_ring_answer(self->ctl, self->head, &comp, &self->rung)) {
            auri_worker_ring(self);
            patient = false;
        }
        self->head++;
    }
    if (!quit) {
        end(self, fini);
        /* release: as for init. */
        auri_store_rel(&self->ctl->hello, (uint32_t)AURI_HELLO_LEAVES);
    }
    return quit ? 0 : AURI_WORKER_EXIT_FDS;
}

/* ---- start ---------------------------------------------------------------------------------- */

static struct auri_ctl *map_ctl(int fd, unsigned slot, uint64_t epoch)
{
    void *base = NULL;

    if (aurp_shm_check(fd, AURI_CTL_BYTES) != 0 ||
        aurp_shm_map(fd, AURI_CTL_BYTES, AURP_MAP_WRITE | AURP_MAP_DONTFORK, &base) != 0) {
        return NULL;
    }
    struct auri_ctl *ctl = base;
    if (ctl->magic != AURI_CTL_MAGIC || ctl->abi_size != sizeof(struct auri_ctl) ||
        ctl->epoch != epoch || ctl->slot != slot) {
        aurp_shm_unmap(base, AURI_CTL_BYTES);
        return NULL;
    }
    return ctl;
}

/* Takes over all descriptors but the bell: see the head of worker.h. */
static aur_err map_segments(struct auri_worker_self *self, int *fds)
{
    const struct auri_setup *setup = &self->ctl->setup;
    aur_err err = AUR_OK;

    if (setup->args_bytes != 0) {
        err = auri_window_open(fds[AURI_WORKER_FD_ARGS], setup->args_bytes, AURI_WINDOW_DONTFORK,
                               &self->args);
    }
    if (err == AUR_OK && setup->shared_bytes != 0) {
        err = auri_window_open(fds[AURI_WORKER_FD_SHARED], setup->shared_bytes,
                               AURI_WINDOW_WRITE | AURI_WINDOW_DONTFORK, &self->shared);
    }
    if (err == AUR_OK) {
        err = auri_arena_attach(fds[AURI_WORKER_FD_RESULT], setup->result_bytes, setup->result_warm,
                                &self->results);
    }
    if (err == AUR_OK) {
        fds[AURI_WORKER_FD_RESULT] = -1; /* the arena's now */
    }
    for (int i = 0; i < AURI_WORKER_FD_BELL; i++) {
        aurp_close(&fds[i]);
    }
    return err;
}
_Static_assert(AURI_WORKER_FD_BELL + 1 == AURI_WORKER_FDS, "the bell is the last");

/* A task ended the thread that it ran in. */
static void thread_ended(struct auri_record *record)
{
    (void)record;
    _exit(AURI_WORKER_EXIT_THREAD);
}

static aur_err become_worker(struct auri_worker_self *self)
{
    struct auri_record *record = auri_self();

    self->generation = auri_process_generation();
    self->task = auri_task_new(1);
    if (record == NULL || self->task == NULL) {
        return AUR_ENOMEM;
    }
    the_worker = self;
    aur_err err = auri_remote_start(self);
    if (err != AUR_OK) {
        return err;
    }
    self->task->pool = auri_remote_pool();
    auri_task_queue(self->task);
    (void)auri_task_claim(self->task, record->id);
    record->forked = false; /* if a task made the pool: what this process runs is its own */
    record->pool = self->task->pool;
    record->running = self->task;
    record->worker = (int)self->slot;
    record->thread_end = thread_ended;
    record->worker_end = thread_ended;
    return AUR_OK;
}

/* init or fini: by address, or by reference.  *ret_addr stays NULL if there is none. */
static aur_err find_hook(const struct auri_setup *setup, uint32_t flag, uint64_t addr,
                         const struct auri_fn_entry *entry, const void **ret_addr)
{
    *ret_addr = NULL;
    if ((setup->flags & flag) == 0) {
        return AUR_OK;
    }
    if ((setup->flags & AURI_SETUP_SPAWN) != 0) {
        return auri_worker_find(entry, ret_addr);
    }
    *ret_addr = (const void *)(uintptr_t)addr;
    return AUR_OK;
}

/* Up to the point where entries can be run. */
static bool start(struct auri_worker_self *self, int *fds, aur_worker_fini_fn **ret_fini)
{
    const struct auri_setup *setup = &self->ctl->setup;
    aur_worker_init_fn *init = NULL;
    const void *init_addr = NULL;
    const void *fini_addr = NULL;

    if (become_worker(self) != AUR_OK || map_segments(self, fds) != AUR_OK ||
        find_hook(setup, AURI_SETUP_INIT, setup->init, &setup->init_ref, &init_addr) != AUR_OK ||
        find_hook(setup, AURI_SETUP_FINI, setup->fini, &setup->fini_ref, &fini_addr) != AUR_OK) {
        return false;
    }
    memcpy(&init, &init_addr, sizeof(init));
    memcpy(ret_fini, &fini_addr, sizeof(*ret_fini));
    return init == NULL || init((void *)(uintptr_t)setup->worker_ctx, (int)self->slot) == 0;
}

int auri_worker_main(void *ctx, unsigned slot, uint64_t epoch, const int *fds, unsigned nfds)
{
    struct auri_worker_self *self = calloc(1, sizeof(*self));
    aur_worker_fini_fn *fini = NULL;
    int own[AURI_WORKER_FDS];

    (void)ctx;
    if (self == NULL || nfds < AURI_WORKER_FDS) {
        free(self);
        return AURI_WORKER_EXIT_BAD;
    }
    memcpy(own, fds, sizeof(own));
    pthread_mutex_init(&self->alloc_lock, NULL);
    self->slot = slot;
    self->bell = fds[AURI_WORKER_FD_BELL];
    self->bell_file = aurp_file_id_of(self->bell);
    self->head = 1;
    self->ctl = map_ctl(fds[AURI_WORKER_FD_CTL], slot, epoch);
    if (self->ctl == NULL) {
        free(self);
        return AURI_WORKER_EXIT_BAD;
    }
    bool good = start(self, own, &fini);
    /* release: whoever sees it sees what init left in shared buffers. */
    auri_store_rel(&self->ctl->hello, (uint32_t)(good ? AURI_HELLO_READY : AURI_HELLO_REFUSED));
    auri_worker_ring(self);
    return good ? serve(self, fini) : AURI_WORKER_EXIT_INIT;
}
