/* The soak test: pools come and go, and everything public is done with them in random order.
 *
 * Goal:    no call is lost, answered wrongly or left hanging, and nothing grows.
 * Method:  rounds.  Each makes a pool of random kind, start and options, lets one to three threads
 *          do random steps (steps.c), perhaps closes or terminates it meanwhile, joins it, and checks
 *          submitted == done + failed + cancelled.  Two pools live all the while and are used by tasks of the
 *          others; their counters are checked at the end.  At checkpoints descriptors, threads and children
 *          are as in the beginning, and memory and mappings have not grown since the warm-up.
 *
 *   soak rounds N [SEED]     soak minutes N [SEED]
 *
 * The seed is printed first; the same seed makes the same calls.  A round is its own seed: when one
 * fails, it names it, and `soak rounds 1 SEED` is that round. */
#include "soak.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>

#define CHECK_EVERY 25
#define WARM_UP 50 /* rounds until allocators, slabs and records have their size */

static uint64_t the_seed; /* of the round that runs: for the message when it fails */

/* ---- what must not grow --------------------------------------------------------------------------------- */

struct held {
    size_t fds, threads, children, maps;
    size_t pss_kib;
};

static size_t pss_kib(void)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Pss: %zu kB", &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib;
}

static struct held held_now(void)
{
    (void)malloc_trim(
        0); /* what is free already is not held, though the C library keeps it for later */
    return (struct held){ aurt_fd_count(), aurt_thread_count(), aurt_child_count(),
                          aurt_map_count(), pss_kib() };
}

static void check_held(const struct held *first, const struct held *warm)
{
    aurt_threads_settle(first->threads);
    struct held now = held_now();

    AURT_CHECK(now.fds == first->fds && now.children == first->children);
    if (warm->maps == 0) {
        return;
    }
    /* The C library keeps up to 8 heaps for each CPU, sanitizers what they like. */
    AURT_CHECK(now.maps <= warm->maps + 100);
#if !defined(__SANITIZE_ADDRESS__)
    AURT_CHECK(now.pss_kib <= warm->pss_kib + warm->pss_kib / 2 + 8192);
#endif
}

/* ---- a round ----------------------------------------------------------------------------------------------- */

struct submitter {
    const struct soak_round *round;
    uint64_t random;
    unsigned steps;
};

static void *submit(void *arg)
{
    struct submitter *s = arg;

    for (unsigned i = 0; i < s->steps; i++) {
        soak_step(s->round, &s->random);
    }
    return NULL;
}

/* Options that go together. */
static aur_options choose(uint64_t *random, struct soak_round *round)
{
    static const int32_t kinds[] = { AUR_THREADS,   AUR_THREADS, AUR_PROCESSES, AUR_PROCESSES,
                                     AUR_PROCESSES, AUR_AUTO,    AUR_AUTO,      AUR_SERIAL };
    aur_options opts = AUR_OPTIONS_INIT;

    opts.name = "soak";
    opts.kind = round->kind = kinds[soak_below(random, 8)];
    if (opts.kind == AUR_SERIAL) {
        return opts;
    }
    opts.workers = 1 + (uint32_t)soak_below(random, 4);
    opts.spares_max = soak_below(random, 4) == 0 ? 2 : 0;
    if (soak_below(random, 3) == 0) {
        opts.queue_max = 1 + (uint32_t)soak_below(random, 8);
        opts.queue_policy = soak_below(random, 2) == 0 ? AUR_QUEUE_BLOCK : AUR_QUEUE_FAIL;
        round->bounded = opts.queue_policy == AUR_QUEUE_FAIL;
    }
    opts.retries = soak_below(random, 2) == 0 ? 0 : 3;
    if (opts.kind != AUR_THREADS) {
        opts.start = soak_below(random, 4) == 0 ? AUR_START_SPAWN : AUR_START_DEFAULT;
        round->kills = soak_below(random, 2) == 0;
        opts.tasks_per_worker_max = soak_below(random, 5) == 0 ? 20 : 0;
    }
    if (soak_below(random, 5) == 0) {
        opts.item_timeout_ns = round->timeout = UINT64_C(2000000000);
    }
    return opts;
}

static void end_pool(aur_pool *pool)
{
    aur_stats stats = { .size = sizeof(stats) };

    AURT_CHECK(aur_pool_join(pool, AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(aur_pool_stats(pool, &stats) == AUR_OK);
    AURT_CHECK(stats.submitted == stats.done + stats.failed + stats.cancelled);
    AURT_CHECK(stats.workers == 0);
    aur_pool_unref(pool);
}

/* How many steps it took. */
static unsigned run_round(uint64_t seed)
{
    struct soak_round round = { 0 };
    struct submitter submitters[3];
    pthread_t threads[3];
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    aur_diag diag = { 0 };
    unsigned total = 0;

    the_seed = seed;
    for (int i = 0; i < 8; i++) {
        (void)soak_random(&random);
    }
    aur_options opts = choose(&random, &round);
    unsigned n = 1 + (unsigned)soak_below(&random, 3);
    unsigned end =
        (unsigned)soak_below(&random, 6); /* 0: closed, 1: terminated, while they submit */
    round.closes = end < 2;
    if (aur_pool_new(&opts, &round.pool, &diag) != AUR_OK) {
        fprintf(stderr, "no pool: %s: %s\n", diag.step, diag.text);
        abort();
    }
    soak_decide(&round, &random, true);
    for (unsigned i = 0; i < n; i++) {
        submitters[i] = (struct submitter){ &round, soak_random(&random) | 1,
                                            5 + (unsigned)soak_below(&random, 25) };
        total += submitters[i].steps;
        AURT_CHECK(pthread_create(&threads[i], NULL, submit, &submitters[i]) == 0);
    }
    if (end == 0) {
        AURT_CHECK(aur_pool_close(round.pool) == AUR_OK);
    } else if (end == 1) {
        AURT_CHECK(aur_pool_terminate(round.pool) == AUR_OK);
    }
    for (unsigned i = 0; i < n; i++) {
        AURT_CHECK(pthread_join(threads[i], NULL) == 0);
    }
    if (end == 2) {
        AURT_CHECK(aur_pool_terminate(round.pool) == AUR_OK);
    }
    end_pool(round.pool);
    return total;
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

/* The pools that are there in all rounds. */
static aur_pool *lasting_pool(int32_t kind)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.kind = kind;
    opts.name = "lasting";
    if (kind == AUR_THREADS) {
        opts.workers = 2;
        opts.flags = AUR_POOL_FIXED; /* so that the number of threads stays the same */
    }
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    return pool;
}

static void name_the_round(int signal)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "failed in: soak rounds 1 %llu\n",
                     (unsigned long long)the_seed);

    (void)!write(STDERR_FILENO, text, (size_t)n);
    (void)signal;
}

int main(int argc, char **argv)
{
    bool minutes = argc > 2 && strcmp(argv[1], "minutes") == 0;
    uint64_t amount = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : aurt_now_ns() % 1000000000;
    uint64_t begin = aurt_now_ns();
    uint64_t steps = 0;
    uint64_t n = 0;
    struct held warm = { 0 };

    if (amount == 0 || (!minutes && strcmp(argv[1], "rounds") != 0)) {
        fprintf(stderr, "usage: soak rounds N [SEED] | soak minutes N [SEED]\n");
        return 2;
    }
    signal(SIGABRT, name_the_round);
    /* What is free is not held.  The C library gives it back: malloc_trim() what lies between blocks in use,
     * and this the ends of its heaps, of which it would keep as much as the largest block ever freed. */
    (void)mallopt(M_TRIM_THRESHOLD, 128 * 1024);
    (void)mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    soak_serial = lasting_pool(AUR_SERIAL);
    soak_beside = lasting_pool(AUR_THREADS);
    struct held first = held_now();
    for (; minutes ? aurt_now_ns() - begin < amount * 60000000000u : n < amount; n++) {
        steps += run_round(seed + n);
        if (n % CHECK_EVERY == 0) {
            check_held(&first, &warm);
        }
        if (n == WARM_UP) {
            warm = held_now();
        }
        if (n % 500 == 0 && n != 0) {
            struct held now = held_now();
            printf("%llu rounds, %llu steps, %zu KiB, %zu mappings, %zu descriptors\n",
                   (unsigned long long)n, (unsigned long long)steps, now.pss_kib, now.maps,
                   now.fds);
            fflush(stdout);
        }
    }
    check_held(&first, &warm);
    struct held now = held_now();
    printf("%llu rounds, %llu steps: %zu -> %zu KiB, %zu -> %zu mappings, %zu descriptors\n",
           (unsigned long long)n, (unsigned long long)steps, warm.pss_kib, now.pss_kib, warm.maps,
           now.maps, now.fds);
    end_pool(soak_serial);
    end_pool(soak_beside);
    return 0;
}
