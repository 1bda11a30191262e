/* Thread records: found by thread-local pointer, adopted and given back, never freed. */
#include "task/record.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "task/internal.h"

#define RECORDS_MAX 65536u

__thread struct auri_record *auri_self_;

/* The process-global tables that the design allows (docs/ARCHITECTURE.md, "what is global"). */
static struct {
    pthread_mutex_t lock;
    struct auri_record *free; /* L: given back, to be adopted */
    pthread_once_t once;
    pthread_key_t key; /* its destructor gives an ending thread's record back */
    bool has_key;
} records = { .lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT };
static _Atomic(struct auri_record *) table[RECORDS_MAX];
static _Atomic(uint32_t) record_end = 1;
_Atomic(uint32_t) auri_generation_;
static _Atomic(uint32_t) own_threads;
static _Atomic(uint64_t) own_left_ns; /* A: when one of them last said that it ends */

static void after_fork_in_child(void)
{
    /* relaxed: a fork child has one thread. */
    auri_add_rlx(&auri_generation_, 1u);
    auri_records_after_fork();
    auri_conts_after_fork();
    auri_pools_after_fork();
}

static void key_destroy(void *record)
{
    struct auri_record *self = record;

    auri_self_ = self;
    if (self->running != NULL && self->thread_end != NULL) {
        self->thread_end(self); /* a task called pthread_exit() */
    } else if (self->worker_end != NULL) {
        self->worker_end(self); /* a chunk of a map did, in a thread that helped */
    }
    auri_self_release();
}

static void init_once(void)
{
    records.has_key = pthread_key_create(&records.key, key_destroy) == 0;
    aurp_at_fork_child(after_fork_in_child);
}

uint32_t auri_process_generation(void)
{
    pthread_once(&records.once, init_once);
    return auri_process_generation_now();
}

void auri_records_after_fork(void)
{
    /* The lock may have been held by a thread that does not exist here. */
    records.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    if (auri_self_ != NULL) {
        auri_self_->pool = NULL; /* the forking thread is no worker here */
        auri_self_->worker = -1;
        auri_self_->deque = NULL;
        auri_record_set_lane(auri_self_, NULL);
        auri_self_->forked = auri_self_->frame != NULL;
        auri_self_->frame = NULL;
        auri_self_->running = NULL;
    }
    auri_store_rlx(&own_threads, 0u);
}

const aur_lane_ auri_no_lane = { .low_ = AUR_LANE_TOP_ };

static struct auri_record *record_new(void)
{
    struct auri_record *record = aligned_alloc(alignof(struct auri_record),
                                               (sizeof(*record) + alignof(struct auri_record) - 1) &
                                                   ~(alignof(struct auri_record) - 1));

    if (record == NULL) {
        return NULL;
    }
    memset(record, 0, sizeof(*record));
    uint32_t id = auri_load_rlx(&record_end); /* relaxed: under the lock */
    if (id >= RECORDS_MAX) {
        free(record);
        return NULL;
    }
    record->id = id;
    record->worker = -1;
    auri_record_set_lane(record, NULL);
    record->random = UINT64_C(0x9e3779b97f4a7c15) * (id + 1);
    /* release; pairs with the acquire in auri_record_at(). */
    auri_store_rel(&table[id], record);
    auri_store_rel(&record_end, id + 1);
    return record;
}

struct auri_record *auri_record_take(void)
{
    pthread_once(&records.once, init_once);
    pthread_mutex_lock(&records.lock);
    struct auri_record *record = records.free;
    if (record != NULL) {
        records.free = record->next_free;
    } else {
        record = record_new();
    }
    if (record != NULL) {
        record->in_use = true;
        record->next_free = NULL;
    }
    pthread_mutex_unlock(&records.lock);
    return record;
}

void auri_record_give(struct auri_record *record)
{
    record->pool = NULL;
    record->worker = -1;
    record->deque = NULL;
    auri_record_set_lane(record, NULL);
    record->frame = NULL;
    record->running = NULL;
    record->thread_end = NULL;
    record->worker_end = NULL;
    record->depth = 0;
    record->blocking = 0;
    record->blocking_counts = false;
    record->range_depth = 0;
    record->woke = false;
    record->spin_misses = 0;
    record->spin_rests = 0;
    record->sleeps = 0;
    record->sleeps_fails = 0;
    record->spins_long = false;
    record->apart = false;
    record->stack_low = 0;
    auri_store_rlx(&record->dry, NULL); /* relaxed: the node does not wait */
    free(record->last_error);
    record->last_error = NULL;
    pthread_mutex_lock(&records.lock);
    AURI_ASSERT(record->in_use);
    record->in_use = false;
    record->next_free = records.free;
    records.free = record;
    pthread_mutex_unlock(&records.lock);
}

struct auri_record *auri_self_slow_(void)
{
    struct auri_record *self = auri_record_take();

    if (self == NULL) {
        return NULL;
    }
    self->stack_low = aurp_stack_low();
    if (records.has_key) {
        pthread_setspecific(records.key, self);
    }
    auri_self_ = self;
    return self;
}

void auri_self_release(void)
{
    struct auri_record *self = auri_self_;

    if (self == NULL) {
        return;
    }
    auri_slab_flush(self);
    if (records.has_key) {
        pthread_setspecific(records.key, NULL);
    }
    auri_self_ = NULL;
    auri_record_give(self);
}

struct auri_record *auri_record_at(unsigned id)
{
    return id < RECORDS_MAX ? auri_load_acq(&table[id]) : NULL;
}

unsigned auri_record_end(void)
{
    return auri_load_acq(&record_end);
}

void auri_own_threads_add(int n)
{
    if (n < 0) {
        auri_store_rlx(&own_left_ns, aurp_now_ns()); /* relaxed: about when */
    }
    auri_add_rlx(&own_threads, (uint32_t)n); /* relaxed: a count */
}

bool auri_own_threads_leaving(uint64_t now_ns, uint64_t most_ns)
{
    return now_ns <
           auri_load_rlx(&own_left_ns) + most_ns; /* no difference: it may be after `now_ns` */
}

unsigned auri_own_threads(void)
{
    return auri_load_rlx(&own_threads);
}
