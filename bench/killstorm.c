/* killstorm: tasks of 5 ms, with retries, while a worker process is killed every 20 ms; how many of
 * them are answered with the right value, and how long it takes.
 *
 * Each task writes its process id where the killer finds it, in memory that forked workers share. */
#include "pools.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int *current; /* shared: the process that has started a task last */

static long doze(long x, unsigned us)
{
    atomic_store(current, (int)getpid());
    idle_us(us);
    return x + 1;
}
AUR_FN(long, doze, long, unsigned);

struct killer {
    atomic_bool stop;
    unsigned kills;
};

static void *kill_workers(void *arg)
{
    struct killer *killer = (struct killer *)arg;

    while (!atomic_load(&killer->stop)) {
        idle_us(20000);
        int pid = atomic_exchange(current, 0);
        if (pid > 0 && kill(pid, SIGKILL) == 0) {
            killer->kills++;
        }
    }
    return NULL;
}

static double answered(aur_future **futures, size_t tasks, aur_deadline limit)
{
    size_t right = 0;

    for (size_t i = 0; i < tasks; i++) {
        long value = 0;
        if (aur_future_result(futures[i], &value, limit) == AUR_OK && value == (long)i + 1) {
            right++;
        }
        aur_future_unref(futures[i]);
    }
    return 100.0 * (double)right / (double)tasks;
}

int main(int argc, char **argv)
{
    size_t tasks = option(argc, argv, "tasks", 2000);
    unsigned us = (unsigned)option(argc, argv, "us", 5000);
    aur_future **futures = (aur_future **)calloc(tasks, sizeof(aur_future *));
    struct killer killer = { false, 0 };
    pthread_t thread;

    current = (atomic_int *)mmap(NULL, sizeof(*current), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(current != MAP_FAILED && futures != NULL, "mmap");
    /* In a thread pool the killer would find this process. */
    check(strcmp(option_text(argc, argv, "kind", ""), "processes") == 0, "kind=processes");
    aur_pool *pool = pool_of(argc, argv);
    check(pthread_create(&thread, NULL, kill_workers, &killer) == 0, "thread");
    uint64_t start = now_ns();
    for (size_t i = 0; i < tasks; i++) {
        check_aur(aur_apply_async(pool, &futures[i], doze, (long)i, us), "submit");
    }
    double share =
        answered(futures, tasks, aur_deadline_in_ms(option(argc, argv, "limit", 20) * 1000));
    double seconds = (double)(now_ns() - start) / 1e9;
    atomic_store(&killer.stop, true);
    pthread_join(thread, NULL);
    aur_pool_terminate(pool);
    check_aur(aur_pool_join(pool, AUR_NO_DEADLINE), "join");
    aur_pool_unref(pool);
    figure("answered", "%", share);
    figure("time", "s", seconds);
    figure("kills", "", killer.kills);
    free(futures);
    return 0;
}
