/* The port of src/plat for the model, and what is used of pthreads: all of it blocks and wakes
 * logical threads.  A futex is taken as the kernel has it: a waiter queues itself behind a full
 * barrier before it compares, a waker looks for waiters behind one; the compared value may be old. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "plat/plat.h"

#define HERE __builtin_return_address(0)

static void (*key_destroy)(void *);

void port_reset(void)
{
    key_destroy = NULL;
}

/* ---- clock ------------------------------------------------------------------------------------ */

/* Each thread has a time of its own, which moves when it looks and when it times out. */
uint64_t aurp_now_ns(void)
{
    struct thread *thread = &sim.thread[sim.self];
    uint64_t step = sim.client->clock_step_ns;

    thread->now_ns += step != 0 ? step : 1000;
    return UINT64_C(1000000000) + thread->now_ns;
}

uint64_t aurp_ticks(void)
{
    return 0;
}

/* ---- parking ---------------------------------------------------------------------------------- */

static struct location *futex_location(uintptr_t addr)
{
    struct cell *cell = shadow_cell(addr);

    for (struct location *loc = cell->locations; loc != NULL; loc = loc->next) {
        if (loc->addr <= addr && addr < loc->addr + loc->size) {
            return loc;
        }
    }
    return memory_location(addr, 4);
}

static aur_err futex_wait(_Atomic(uint32_t) *word, uint32_t expected, aur_deadline deadline,
                          uint32_t mark, const void *pc)
{
    uintptr_t addr = (uintptr_t)word;
    struct thread *self = &sim.thread[sim.self];

    if (!sim.parallel) {
        model_failed("the setup or the check would sleep");
    }
    struct location *loc = futex_location(addr);
    explore_step((struct op){ .object = loc->id, .write = 1, .sc = 1, .fence = 1, .pc = pc });
    memory_fence(sim.self, SEQ_CST);
    uint64_t value = memory_load(sim.self, loc, RELAXED);
    bool equal = (uint32_t)(value >> 8 * (addr - loc->addr)) == expected;
    log_event(pc, addr, "futex wait for a change of %#x: %s", expected,
              equal ? "sleeps" : "returns at once");
    if (!equal || pct_spurious()) {
        return AUR_OK;
    }
    self->futex_mark = mark;
    self->deadline_ns = deadline - UINT64_C(1000000000);
    if (explore_sleep(addr, deadline != AUR_NO_DEADLINE)) {
        return AUR_ETIMEDOUT;
    }
    memory_fence(sim.self, SEQ_CST);
    return AUR_OK;
}

aur_err aurp_futex_wait(_Atomic(uint32_t) *word, uint32_t expected, aur_deadline deadline,
                        aurp_scope scope)
{
    (void)scope;
    return futex_wait(word, expected, deadline, UINT32_MAX, HERE);
}

aur_err aurp_futex_wait_marked(_Atomic(uint32_t) *word, uint32_t expected, uint32_t mark,
                               aur_deadline deadline)
{
    return futex_wait(word, expected, deadline, mark, HERE);
}

static int futex_wake(_Atomic(uint32_t) *word, int n, uint32_t mark, const void *pc)
{
    uintptr_t addr = (uintptr_t)word;
    int woken = 0;

    if (!sim.parallel) {
        return 0;
    }
    struct location *loc = futex_location(addr);
    explore_step((struct op){ .object = loc->id, .write = 1, .sc = 1, .fence = 1, .pc = pc });
    memory_fence(sim.self, SEQ_CST);
    while (woken < n) {
        unsigned sleeper[MODEL_THREADS];
        unsigned sleepers = 0;
        for (unsigned t = 0; t < sim.threads; t++) {
            if (sim.thread[t].state == T_FUTEX && sim.thread[t].futex == addr &&
                (sim.thread[t].futex_mark & mark) != 0) {
                sleeper[sleepers++] = t;
            }
        }
        if (sleepers == 0) {
            break;
        }
        explore_wake(
            sleeper[sleepers > 1 && (unsigned)(n - woken) < sleepers ? explore_value(sleepers)
                                                                     : 0]);
        woken++;
    }
    log_event(pc, addr, "futex wake: %d", woken);
    return woken;
}

int aurp_futex_wake(_Atomic(uint32_t) *word, int n, aurp_scope scope)
{
    (void)scope;
    return futex_wake(word, n, UINT32_MAX, HERE);
}

int aurp_futex_wake_marked(_Atomic(uint32_t) *word, uint32_t mark)
{
    return futex_wake(word, 1, mark, HERE);
}

/* ---- threads ---------------------------------------------------------------------------------- */

int aurp_thread_start(aurp_thread *ret_thread, void *(*fn)(void *), void *arg, const char *name)
{
    (void)name;
    if (sim.threads == MODEL_THREADS || !sim.parallel) {
        return EAGAIN;
    }
    unsigned t = explore_spawn(fn, arg);
    memory_fork(sim.self, t);
    memcpy(search.clock[t], search.clock[sim.self], sizeof(search.clock[t]));
    memset(ret_thread, 0, sizeof(*ret_thread));
    ret_thread->id = (pthread_t)t;
    log_event(HERE, 0, "starts thread %u", t);
    return 0;
}

void aurp_thread_join(aurp_thread thread)
{
    model_await_end((unsigned)thread.id);
}

void aurp_thread_detach(aurp_thread thread)
{
    (void)thread;
}

unsigned aurp_thread_count(void)
{
    return 0;
}

int aurp_thread_self(void)
{
    return (int)sim.self + 1;
}

/* Logical threads compute nothing that takes time. */
uint64_t aurp_thread_cpu_ns(int tid)
{
    (void)tid;
    return 0;
}

uint64_t aurp_process_cpu_ns(void)
{
    return 0;
}

bool aurp_thread_sleeps(int tid)
{
    const struct thread *thread = &sim.thread[tid - 1];

    return thread->state == T_FUTEX || (thread->state == T_READY && thread->op.kind == OP_EVENT &&
                                        sim.event[thread->op.target].count == 0);
}

uintptr_t aurp_stack_low(void)
{
    return 0;
}

unsigned aurp_cpu_count(void)
{
    return sim.client->cpus != 0 ? sim.client->cpus : 2;
}

void *aurp_block_alloc(size_t size)
{
    (void)size;
    return NULL; /* no client makes that many tasks; then small slabs do */
}

/* Others may run before each access anyway. */
void aurp_yield(void)
{
}

int aurp_cpu_here(void)
{
    return 0;
}

/* Either the change is made, or the system refuses it.  Of a thread's own set only is known whether it is
 * changed. */
bool aurp_cpus_keep_off(int tid, int cpu, struct aurp_cpus *ret_before)
{
    struct thread *thread = &sim.thread[tid - 1];

    (void)cpu;
    explore_step((struct op){ .object = sim.end_object[tid - 1], .pc = HERE });
    if (thread->state == T_OVER) {
        model_failed("the CPUs of a thread that has ended are changed");
    }
    if (explore_value(2) != 0) {
        log_event(HERE, 0, "thread %d may run nowhere else", tid - 1);
        return false;
    }
    if (thread->kept_off) {
        model_failed("the CPUs of a thread are changed twice");
    }
    thread->kept_off = true;
    ret_before->bits[0] = 3; /* a plain store, as the system's is */
    model_touch(ret_before, sizeof(*ret_before), true);
    log_event(HERE, 0, "keeps thread %d off a CPU", tid - 1);
    return true;
}

void aurp_cpus_allow(const struct aurp_cpus *cpus)
{
    model_touch(cpus, sizeof(*cpus), false);
    sim.thread[sim.self].kept_off = false;
    log_event(HERE, 0, "its CPUs are put back");
}

bool aurp_cpus_leave(int tid, int cpu)
{
    struct aurp_cpus before;

    if (!aurp_cpus_keep_off(tid, cpu, &before)) {
        return false;
    }
    if (tid - 1 != (int)sim.self) {
        model_failed("a thread is sent away by another one");
    }
    aurp_cpus_allow(&before);
    return true;
}

int aurp_at_fork_child(void (*hook)(void))
{
    (void)hook;
    return 0;
}

unsigned model_self(void)
{
    return sim.self;
}

void model_await_end(unsigned t)
{
    explore_step(
        (struct op){ .object = sim.end_object[t], .kind = OP_JOIN, .target = (uint16_t)t });
    memory_join(sim.self, t);
    log_event(HERE, 0, "thread %u is over", t);
}

bool model_is_over(unsigned t)
{
    if (!sim.parallel) {
        return sim.thread[t].state == T_OVER;
    }
    explore_step((struct op){ .object = sim.end_object[t] });
    bool over = sim.thread[t].state == T_OVER;
    if (over) {
        memory_join(sim.self, t);
    }
    log_event(HERE, 0, "is thread %u over: %d", t, over);
    return over;
}

bool model_was_killed(unsigned t)
{
    return sim.thread[t].killed;
}

void model_forbid_kills(void)
{
    sim.kills_left = 0;
}

void model_yield(void);
void model_yield(void)
{
    if (!sim.parallel) {
        return;
    }
    if (search.bound->search == MODEL_DPOR) {
        return; /* a spin that time does not end is found by its length */
    }
    sim.thread[sim.self].yielded = true;
    explore_step((struct op){ .kind = OP_YIELD, .pc = HERE });
    sim.thread[sim.self].yielded = false;
    memory_catch_up(sim.self);
}

unsigned model_choose(unsigned n)
{
    unsigned value = n > 1 ? explore_value(n) : 0;

    log_event(HERE, 0, "choice %u of %u", value, n);
    return value;
}

/* ---- events ----------------------------------------------------------------------------------- */

static struct event *event_of(unsigned number)
{
    struct event *event = &sim.event[number];

    if (event->object == 0) {
        event->object = explore_object();
    }
    return event;
}

void model_event_signal(unsigned number)
{
    struct event *event = event_of(number);

    explore_step(
        (struct op){ .object = event->object, .write = 1, .sc = 1, .fence = 1, .pc = HERE });
    memory_fence(sim.self, SEQ_CST); /* a system call on both sides */
    memory_publish(sim.self, event->view);
    event->count++;
    log_event(HERE, 0, "signals event %u", number);
}

bool model_event_wait(unsigned number, unsigned or_end_of)
{
    struct event *event = event_of(number);

    explore_step((struct op){
        .object = event->object,
        .object2 = or_end_of < MODEL_THREADS ? sim.end_object[or_end_of] : 0,
        .write = 1,
        .sc = 1,
        .fence = 1,
        .kind = OP_EVENT,
        .target = (uint16_t)number,
        .end_of = (uint16_t)or_end_of,
        .pc = HERE,
    });
    memory_fence(sim.self, SEQ_CST);
    bool signalled = event->count != 0;
    if (signalled) {
        event->count = 0;
        memory_learn(sim.self, event->view);
    } else {
        memory_join(sim.self, or_end_of);
    }
    log_event(HERE, 0, "event %u: %s", number, signalled ? "signalled" : "the other is over");
    return signalled;
}

/* ---- pthreads --------------------------------------------------------------------------------- */

int model_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int model_mutex_destroy(pthread_mutex_t *mutex);
int model_mutex_lock(pthread_mutex_t *mutex);
int model_mutex_trylock(pthread_mutex_t *mutex);
int model_mutex_unlock(pthread_mutex_t *mutex);
int model_once(pthread_once_t *once, void (*fn)(void));
int model_key_create(pthread_key_t *key, void (*destroy)(void *));
int model_setspecific(pthread_key_t key, const void *value);

static struct mutex *mutex_of(const void *at)
{
    struct mutex *mutex = sim.mutexes;

    while (mutex != NULL && mutex->addr != (uintptr_t)at) {
        mutex = mutex->next;
    }
    if (mutex == NULL) {
        mutex = run_alloc(sizeof(*mutex));
        mutex->addr = (uintptr_t)at;
        mutex->object = explore_object();
        mutex->owner = -1;
        mutex->next = sim.mutexes;
        sim.mutexes = mutex;
    }
    return mutex;
}

int model_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
    (void)attr;
    mutex_of(mutex)->owner = -1;
    return 0;
}

int model_mutex_destroy(pthread_mutex_t *mutex)
{
    if (mutex_of(mutex)->owner >= 0) {
        model_failed("a locked mutex is destroyed");
    }
    return 0;
}

static void own(struct mutex *mutex)
{
    mutex->owner = (int)sim.self;
    memory_learn(sim.self, mutex->view);
}

int model_mutex_lock(pthread_mutex_t *at)
{
    struct mutex *mutex = mutex_of(at);

    if (sim.parallel) {
        if (mutex->owner == (int)sim.self) {
            model_failed("a mutex is locked twice by one thread");
        }
        explore_step((struct op){
            .object = mutex->object, .write = 1, .kind = OP_LOCK, .mutex = mutex, .pc = HERE });
        own(mutex);
        log_event(HERE, mutex->addr, "lock");
    }
    return 0;
}

int model_mutex_trylock(pthread_mutex_t *at)
{
    struct mutex *mutex = mutex_of(at);

    if (sim.parallel) {
        explore_step((struct op){ .object = mutex->object, .write = 1, .pc = HERE });
        if (mutex->owner >= 0) {
            log_event(HERE, mutex->addr, "trylock: taken");
            return EBUSY;
        }
        own(mutex);
        log_event(HERE, mutex->addr, "trylock: got it");
    }
    return 0;
}

int model_mutex_unlock(pthread_mutex_t *at)
{
    struct mutex *mutex = mutex_of(at);

    if (sim.parallel) {
        explore_step(
            (struct op){ .object = mutex->object, .write = 1, .kind = OP_UNLOCK, .pc = HERE });
        if (mutex->owner != (int)sim.self) {
            model_failed("a mutex is unlocked by another thread than its owner");
        }
        mutex->owner = -1;
        memory_publish(sim.self, mutex->view);
        log_event(HERE, mutex->addr, "unlock");
    }
    return 0;
}

int model_once(pthread_once_t *once, void (*fn)(void))
{
    struct mutex *mutex = mutex_of(once);

    if (sim.parallel && !mutex->once_done) {
        explore_step((struct op){
            .object = mutex->object, .write = 1, .kind = OP_LOCK, .mutex = mutex, .pc = HERE });
        own(mutex);
    }
    if (!mutex->once_done) {
        fn();
        mutex->once_done = true;
        if (sim.parallel) {
            memory_publish(sim.self, mutex->view);
        }
    }
    mutex->owner = -1;
    memory_learn(sim.self, mutex->view);
    return 0;
}

int model_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    *key = 0;
    key_destroy = destroy;
    return 0;
}

int model_setspecific(pthread_key_t key, const void *value)
{
    (void)key;
    sim.thread[sim.self].specific = (void *)(uintptr_t)value;
    return 0;
}

void port_thread_ends(void)
{
    struct thread *thread = &sim.thread[sim.self];
    void *value = thread->specific;

    if (thread->kept_off) {
        model_failed("a thread ends and its CPUs were not put back");
    }
    thread->specific = NULL;
    if (value != NULL && key_destroy != NULL) {
        aur_self_2_ = NULL; /* the C library has taken it away by now, or may have */
        key_destroy(value);
    }
}
