/* floors: what this machine can do at best: the bounds that other figures are held against.
 *
 * two threads   loops of 0.1 s cut in halves for two bare threads, each pinned to a CPU of its own: the
 *               speed-up that no pool on two CPUs can beat
 * spin          a word there and back between two CPUs, both spinning
 * wake          from the waker's futex call until a thread that sleeps on the other CPU runs
 * futex         there and back between two threads that the kernel places, both asleep in between and
 *               1 ms idle before
 * the rest      a system call, a thread, a process
 */
#include "loops.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOP_NS 100000000u
#define LOOP_REPEATS 3
#define SPINS 20000
#define WAKES 300
#define SAMPLES 300
#define OVER UINT32_MAX

static int
    cpu_of[2]; /* the first two that the process may use; the same one twice if it is alone */

static void find_cpus(void)
{
    cpu_set_t allowed;
    int found = 0;

    check(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) {
            cpu_of[found++] = cpu;
        }
    }
    if (found < 2) {
        fprintf(stderr, "bench: the floors need two CPUs\n");
        exit(CANNOT);
    }
}

static void pin(int which)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu_of[which], &set);
    check(sched_setaffinity(0, sizeof(set), &set) == 0, "sched_setaffinity");
}

static void distribution(const char *name, uint64_t *ns, size_t n)
{
    char full[48];

    snprintf(full, sizeof(full), "%s p50", name);
    figure(full, "us", (double)percentile(ns, n, 50) / 1e3);
    snprintf(full, sizeof(full), "%s p99", name);
    figure(full, "us", (double)percentile(ns, n, 99) / 1e3);
}

/* ---- there and back ------------------------------------------------------------------------ */

struct rig {
    _Alignas(64) _Atomic(uint32_t) ask;
    _Alignas(64) _Atomic(uint32_t) answer;
    int sleeps;
    int pinned;
};

static void await(struct rig *rig, _Atomic(uint32_t) *word, uint32_t old)
{
    while (atomic_load_explicit(word, memory_order_acquire) == old) {
        if (rig->sleeps) {
            syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
        }
    }
}

static void say(struct rig *rig, _Atomic(uint32_t) *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    if (rig->sleeps) {
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void *partner(void *arg)
{
    struct rig *rig = (struct rig *)arg;
    uint32_t seen = 0;

    if (rig->pinned) {
        pin(1);
    }
    for (;;) {
        await(rig, &rig->ask, seen);
        seen = atomic_load_explicit(&rig->ask, memory_order_acquire);
        if (seen == OVER) {
            return NULL;
        }
        say(rig, &rig->answer, seen);
    }
}

static void measure_there_and_back(const char *name, int sleeps, size_t n, unsigned pause_us)
{
    struct rig rig = { .sleeps = sleeps, .pinned = !sleeps };
    uint64_t *ns = (uint64_t *)calloc(n, sizeof(*ns));
    pthread_t thread;

    check(ns != NULL && pthread_create(&thread, NULL, partner, &rig) == 0, "thread");
    for (uint32_t i = 0; i < n + n / 10; i++) { /* the first tenth warms up */
        if (pause_us != 0) {
            idle_us(pause_us);
        }
        uint64_t start = now_ns();
        say(&rig, &rig.ask, i + 1);
        await(&rig, &rig.answer, i);
        ns[i % n] = now_ns() - start;
    }
    say(&rig, &rig.ask, OVER);
    pthread_join(thread, NULL);
    distribution(name, ns, n);
    free(ns);
}

/* ---- a wake -------------------------------------------------------------------------------- */

static _Atomic(uint32_t) bell;
static _Atomic(uint64_t) awake_ns;

static void *sleeper(void *unused)
{
    (void)unused;
    pin(1);
    for (uint32_t seen = 0; seen < WAKES; seen++) {
        while (atomic_load(&bell) == seen) {
            syscall(SYS_futex, &bell, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        }
        atomic_store(&awake_ns, now_ns());
    }
    return NULL;
}

static void measure_wakes(void)
{
    uint64_t latency[WAKES];
    pthread_t thread;

    check(pthread_create(&thread, NULL, sleeper, NULL) == 0, "thread");
    for (int i = 0; i < WAKES; i++) {
        uint64_t start = now_ns();
        while (now_ns() - start <
               1000 * IDLE_US) { /* busy, as a caller is before it wakes anybody */
        }
        atomic_store(&awake_ns, 0);
        start = now_ns();
        atomic_fetch_add(&bell, 1);
        syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        while (atomic_load(&awake_ns) == 0) {
        }
        latency[i] = atomic_load(&awake_ns) - start;
    }
    pthread_join(thread, NULL);
    distribution("wake", latency, WAKES);
}

/* ---- two bare threads ---------------------------------------------------------------------- */

static const struct loop *shared_loop;

static void *second_halves(void *arg)
{
    struct rig *rig = (struct rig *)arg;
    uint32_t seen = 0;

    pin(1);
    for (;;) {
        await(rig, &rig->ask, seen);
        seen = atomic_load_explicit(&rig->ask, memory_order_acquire);
        if (seen == OVER) {
            return NULL;
        }
        loop_range(shared_loop, shared_loop->n / 2, shared_loop->n);
        say(rig, &rig->answer, seen);
    }
}

static void in_halves(void *ctx, const struct loop *loop)
{
    struct rig *rig = (struct rig *)ctx;
    uint32_t before = atomic_load(&rig->ask);

    shared_loop = loop;
    say(rig, &rig->ask, before + 1);
    loop_range(loop, 0, loop->n / 2);
    await(rig, &rig->answer, before);
}

static void measure_two_threads(void)
{
    const size_t most = 10000000; /* as in granularity.h */
    struct rig rig = { .sleeps = 0 };
    uint64_t *in = (uint64_t *)malloc(most * sizeof(*in));
    uint64_t *out = (uint64_t *)malloc(most * sizeof(*out));
    pthread_t thread;

    check(in != NULL && out != NULL, "malloc");
    for (size_t i = 0; i < most; i++) {
        in[i] = out[i] = i;
    }
    check(pthread_create(&thread, NULL, second_halves, &rig) == 0, "thread");
    for (uint64_t item_ns = 1; item_ns <= 100000; item_ns *= 10) {
        struct loop loop = { LOOP_EQUAL, 0, 1, NULL, in, out, NULL, NULL };
        uint64_t one[LOOP_REPEATS], two[LOOP_REPEATS];

        loop.steps = steps_of_items(item_ns, in, out, 100000 / item_ns + 1);
        loop.n = LOOP_NS / item_ns < most ? LOOP_NS / item_ns : most;
        for (int i = 0; i < LOOP_REPEATS; i++) {
            one[i] = time_of(plain_loop, NULL, &loop);
            two[i] = time_of(in_halves, &rig, &loop);
        }
        figure_at("two threads", "x",
                  (double)percentile(one, LOOP_REPEATS, 50) /
                      (double)percentile(two, LOOP_REPEATS, 50),
                  "item_ns", item_ns);
    }
    say(&rig, &rig.ask, OVER);
    pthread_join(thread, NULL);
    free(in);
    free(out);
}

/* ---- the kernel's own ---------------------------------------------------------------------- */

static void *nothing(void *unused)
{
    return unused;
}

static void make_thread(void)
{
    pthread_t thread;

    check(pthread_create(&thread, NULL, nothing, NULL) == 0, "thread");
    pthread_join(thread, NULL);
}

static void make_process(void)
{
    pid_t child = fork();

    if (child == 0) {
        _exit(0);
    }
    check(child > 0 && waitpid(child, NULL, 0) == child, "fork");
}

static void call_system(void)
{
    for (int i = 0; i < 1000; i++) {
        syscall(SYS_getppid);
    }
}

static double median_us(void (*fn)(void))
{
    uint64_t ns[SAMPLES];

    for (int i = 0; i < SAMPLES; i++) {
        uint64_t start = now_ns();
        fn();
        ns[i] = now_ns() - start;
    }
    return (double)percentile(ns, SAMPLES, 50) / 1e3;
}

int main(void)
{
    find_cpus();
    figure("system call", "us", median_us(call_system) / 1e3);
    figure("thread, made and joined", "us", median_us(make_thread));
    figure("process, forked and reaped", "us", median_us(make_process));
    measure_there_and_back("futex", 1, SAMPLES, IDLE_US);
    pin(0);
    measure_there_and_back("spin", 0, SPINS, 0);
    measure_wakes();
    measure_two_threads();
    return 0;
}
