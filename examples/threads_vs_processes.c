/* threads_vs_processes.c: work that waits goes to threads, work that computes may go to processes.
 *
 * Waiting work (network, disk) needs many calls under way at once and hardly any CPU: a thread
 * pool with more workers than CPUs.  Computing work needs CPUs.  C threads compute in parallel too,
 * so here the reason for processes is another one: a crash, a leak or a global variable of one
 * call cannot hurt the others.
 */
#include <auriga.h>

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 8
#define SLICES 16

static pthread_barrier_t all_sent; /* the imagined server answers once all requests are there */

static int request(int id)
{
    /* The wait for the answer.  The sleep stands for the work of a slow line; nothing depends on
     * its length. */
    const struct timespec line = { .tv_nsec = 2000000 };

    pthread_barrier_wait(&all_sent);
    nanosleep(&line, NULL);
    return 100 + id;
}
AUR_FN(int, request, int);

struct primes {
    int count;
    pid_t pid; /* who counted */
};

static struct primes count_primes(int lo, int hi)
{
    struct primes found = { .pid = getpid() };

    for (int n = lo < 2 ? 2 : lo; n < hi; n++) {
        int d = 2;

        while (d * d <= n && n % d != 0) {
            d++;
        }
        found.count += d * d > n;
    }
    return found;
}
AUR_FN(struct primes, count_primes, int, int);

static int wait_for_many(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    aur_future *futures[REQUESTS];
    int answers = 0;

    opts.workers = REQUESTS; /* as many as shall wait at once, whatever the number of CPUs */
    pthread_barrier_init(&all_sent, NULL, REQUESTS);
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK) {
        return 1;
    }
    for (int id = 0; id < REQUESTS; id++) {
        if (aur_apply_async(pool, &futures[id], request, id) != AUR_OK) {
            return 1;
        }
    }
    for (int id = 0; id < REQUESTS; id++) {
        int answer;

        answers += aur_future_result(futures[id], &answer, AUR_NO_DEADLINE) == AUR_OK;
        aur_future_unref(futures[id]);
    }
    printf("threads: %d requests were under way at once, %d answered\n", REQUESTS, answers);
    return 0;
}

static int compute(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    struct count_primes_args slices[SLICES];
    struct primes found[SLICES];
    int total = 0, elsewhere = 0;

    opts.kind = AUR_PROCESSES; /* workers = 0: as many as there are CPUs for us */
    for (int i = 0; i < SLICES; i++) {
        slices[i] = (struct count_primes_args){ i * 12500, (i + 1) * 12500 };
    }
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK ||
        aur_starmap(pool, count_primes, slices, SLICES, found) != AUR_OK) {
        return 1;
    }
    for (int i = 0; i < SLICES; i++) {
        total += found[i].count;
        elsewhere += found[i].pid != getpid();
    }
    printf("processes: %d primes below %d, %d of %d slices counted in another process\n", total,
           SLICES * 12500, elsewhere, SLICES);
    return 0;
}

int main(void)
{
    return wait_for_many() != 0 || compute() != 0;
}
