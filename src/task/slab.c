/* Tasks in type-stable slabs.
 *
 * A slab is a block of SLAB_TASKS tasks that belongs to one record, its home, for ever.  Their second
 * parts (struct auri_cold) are an array of its own.  The home's
 * thread takes tasks from a plain list.  A task freed by another thread is collected there in a chain
 * of up to CHAIN_MAX tasks of the same home, and the chain is handed back by one CAS: one contended
 * operation for 32 tasks.  The home takes the whole hand-back list by one exchange when its own list
 * is empty.  Nobody pops single nodes from a shared list, so there is no ABA.
 *
 * Up to CHAIN_MAX - 1 free tasks may sit in another thread's chain until it flushes (when it parks,
 * when it ends, when the home changes). */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "task/internal.h"
#include "task/record.h"

#define SLAB_TASKS 128u
#define SLABS_MAX (1u << 18)
/* A thread that has so many slabs gets the next ones in blocks with large pages: for then the first
 * touch of small ones costs as much as the calls (bench/futures).  Smaller users take no 2 MiB. */
#define SLABS_SMALL 32u
#define BLOCK_BYTES (UINT32_C(2) << 20)
/* Then the one contended CAS of a chain is a small part of its tasks: bench/submit. */
#define CHAIN_MAX 32u

/* Slab i holds the tasks with index [i * SLAB_TASKS, (i + 1) * SLAB_TASKS).  Written once each. */
static struct slab {
    _Atomic(auri_task *) tasks; /* A: written last */
    struct auri_cold *cold;     /* I: their second parts, in the same order */
    uint16_t home;              /* I: id of the record */
} slabs[SLABS_MAX];
static _Atomic(uint32_t) slab_count;

static struct slab *slab_of(const auri_task *task)
{
    return &slabs[task->index / SLAB_TASKS];
}

struct auri_cold *auri_task_cold(const auri_task *task)
{
    return &slab_of(task)->cold[task->index % SLAB_TASKS];
}

/* Memory for many slabs, if there is any. */
static void block_new(struct auri_record *self)
{
    const uint32_t n = BLOCK_BYTES / (SLAB_TASKS * sizeof(auri_task));

    /* So large that the pages come from the system as zero, and only when they are touched. */
    self->block_cold = calloc((size_t)n * SLAB_TASKS, sizeof(struct auri_cold));
    if (self->block_cold == NULL) {
        return;
    }
    self->block = aurp_block_alloc(BLOCK_BYTES);
    if (self->block == NULL) {
        free(self->block_cold);
        return;
    }
    self->block_slabs = n;
}

/* Memory for a slab.  False: there is none. */
static bool slab_memory(struct auri_record *self, auri_task **ret_tasks,
                        struct auri_cold **ret_cold)
{
    if (self->block_slabs == 0 && self->slabs_made >= SLABS_SMALL) {
        block_new(self);
    }
    if (self->block_slabs != 0) {
        *ret_tasks = self->block;
        *ret_cold = self->block_cold;
        self->block += SLAB_TASKS;
        self->block_cold += SLAB_TASKS;
        self->block_slabs--;
        return true;
    }
    *ret_cold = calloc(SLAB_TASKS, sizeof(struct auri_cold));
    *ret_tasks =
        *ret_cold != NULL ? aligned_alloc(AURI_CACHE_LINE, SLAB_TASKS * sizeof(auri_task)) : NULL;
    if (*ret_tasks == NULL) {
        free(*ret_cold);
    }
    return *ret_tasks != NULL;
}

static bool slab_new(struct auri_record *self)
{
    auri_task *tasks;
    struct auri_cold *cold;

    /* relaxed: the addition below decides. */
    if (auri_load_rlx(&slab_count) >= SLABS_MAX || !slab_memory(self, &tasks, &cold)) {
        return false;
    }
    /* relaxed: the counter only hands out distinct numbers. */
    uint32_t number = auri_add_rlx(&slab_count, 1u);
    if (number >= SLABS_MAX) {
        auri_add_rlx(&slab_count, UINT32_MAX); /* the slab's memory is lost, once for each thread */
        return false;
    }
    self->slabs_made++;
    memset(tasks, 0, SLAB_TASKS * sizeof(auri_task));
    for (uint32_t i = SLAB_TASKS; i-- > 0;) {
        tasks[i].index = number * SLAB_TASKS + i;
        tasks[i].next = self->slab_free;
        self->slab_free = &tasks[i];
    }
    slabs[number].cold = cold;
    slabs[number].home = (uint16_t)self->id;
    /* release; pairs with the acquire load in task_at(): the fields above are visible. */
    auri_store_rel(&slabs[number].tasks, tasks);
    return true;
}

/* The task with this index, or NULL if there is none yet. */
static auri_task *task_at(uint32_t index)
{
    if (index / SLAB_TASKS >= SLABS_MAX) {
        return NULL;
    }
    auri_task *tasks = auri_load_acq(&slabs[index / SLAB_TASKS].tasks);
    return tasks == NULL ? NULL : &tasks[index % SLAB_TASKS];
}

auri_task *auri_task_new(uint32_t refs)
{
    struct auri_record *self = auri_self();

    if (self == NULL) {
        return NULL;
    }
    if (self->slab_free == NULL) {
        /* acquire [H2]; pairs with the release CAS [H1] in auri_slab_flush(). */
        self->slab_free = auri_xchg_acq(&self->handback, NULL);
        if (self->slab_free == NULL && !slab_new(self)) {
            return NULL;
        }
    }
    auri_task *task = self->slab_free;
    self->slab_free = task->next;
    if (self->slab_free != NULL) { /* it may come back from another thread, and so what follows */
        auri_task_prefetch(self->slab_free);
    }
    if (auri_ahead_of(task) != NULL) {
        auri_task_prefetch(auri_ahead_of(task));
    }

    uint64_t gen = auri_load_rlx(&task->word) & AURI_GEN_MASK; /* relaxed: free, so ours alone */
    task->pool = NULL;
    task->fn = NULL;
    task->next = NULL;
    auri_store_rlx(&task->other, NULL); /* relaxed, as the word below; priv, for a process pool */
    task->site = 0;
    task->attempts = 0;
    task->traits = 0;
    task->err = AUR_OK;
    /* relaxed: known to nobody else before auri_task_queue() or a release of the handle, except by
     * its address: a late auri_task_tryref() of an older call, see [N1]. */
    auri_store_rlx(&task->word, gen | AURI_NEW | (refs == 0 ? AURI_F_SOLE : 0));
    /* release [N1]; pairs with the acquire in auri_task_tryref(): whoever gets a reference to this call
     * sees at least its generation, and does not take it for the call before. */
    auri_store_rel(&task->refs, refs);
    return task;
}

void auri_slab_flush(struct auri_record *self)
{
    if (self->chain_first == NULL) {
        return;
    }
    struct auri_record *home = auri_record_at(self->chain_home);
    /* relaxed: the CAS publishes. */
    auri_task *head = auri_load_rlx(&home->handback);
    do {
        self->chain_last->next = head;
        /* release [H1]; pairs with [H2]: the home sees the links and the freed tasks' words. */
    } while (!auri_cas_rel(&home->handback, &head, self->chain_first));
    self->chain_first = NULL;
    self->chain_last = NULL;
    self->chain_length = 0;
}

/* Puts a task whose last reference is gone back on a free list. */
static void slab_put(auri_task *task)
{
    struct auri_record *self = auri_self_; /* NULL only in a thread that is ending */
    uint16_t home = slab_of(task)->home;

    if (self != NULL && home == self->id) {
        auri_store_rlx(&task->other, NULL); /* it is in this thread's cache */
        task->next = self->slab_free;
        self->slab_free = task;
        return;
    }
    if (self == NULL) {
        struct auri_record *owner = auri_record_at(home);
        auri_task *head = auri_load_rlx(&owner->handback);
        do {
            task->next = head;
        } while (!auri_cas_rel(&owner->handback, &head, task)); /* [H1] */
        return;
    }
    if (self->chain_first != NULL && self->chain_home != home) {
        auri_slab_flush(self);
    }
    if (self->chain_first == NULL) {
        self->chain_last = task;
        self->chain_home = home;
    }
    auri_ahead_note(&self->freed, task);
    task->next = self->chain_first;
    self->chain_first = task;
    if (++self->chain_length >= CHAIN_MAX) {
        auri_slab_flush(self);
    }
}

void auri_slab_put(auri_task *task)
{
    /* The generation moves on: every old pointer and id is now visibly stale.
     * relaxed: only the slot's new life needs to see it, and that starts with this thread or behind
     * [H1]; a reader of a stale id compares for inequality only after its own acquire. */
    uint64_t gen = (auri_load_rlx(&task->word) & AURI_GEN_MASK) + (UINT64_C(1) << AURI_GEN_SHIFT);
    auri_store_rel(&task->word, gen | AURI_FREE);
    slab_put(task);
}

auri_task *auri_task_from_id(uint64_t id)
{
    auri_task *task = task_at((uint32_t)id);

    if (task == NULL || !auri_task_tryref(task)) {
        return NULL;
    }
    if (auri_task_id(task) != id) {
        auri_task_unref(task);
        return NULL;
    }
    return task;
}
