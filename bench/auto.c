/* auto: what AUR_AUTO chooses for four kinds of functions, and what that gains over threads.
 *
 * only=NAME: of one kind.  explain=1 also prints, on stderr, what the pool says of itself. */
#include "pools.h"

#include <pthread.h>
#include <unistd.h>

#define BATCH 64
#define SPIN 300000 /* more than 100 us */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int spin(int x)
{
    for (volatile int i = 0; i < SPIN; i++) {
    }
    return x;
}

static int cheap(int x)
{
    return x;
}
AUR_FN(int, cheap, int);

static int computes(int x)
{
    return spin(x);
}
AUR_FN(int, computes, int);

static int waits(int x)
{
    idle_us(300);
    return x;
}
AUR_FN(int, waits, int);

static int locked(int x)
{
    pthread_mutex_lock(&lock);
    x = spin(x);
    pthread_mutex_unlock(&lock);
    return x;
}
AUR_FN(int, locked, int);

static const struct {
    const char *name;
    const aur_fn *fn;
} kinds[] = { { "cheap", &cheap_aur_fn },
              { "computes", &computes_aur_fn },
              { "waits", &waits_aur_fn },
              { "lock", &locked_aur_fn } };

/* Nanoseconds for a batch of single calls, or a map of them. */
static uint64_t batch(aur_pool *pool, const aur_fn *fn, int map)
{
    static int in[BATCH], out[BATCH];
    aur_future *futures[BATCH];
    uint64_t start = now_ns();

    if (map) {
        check_aur(aur_fn_map(pool, NULL, fn, in, BATCH, out, NULL), "map");
        return now_ns() - start;
    }
    for (int i = 0; i < BATCH; i++) {
        check_aur(aur_fn_submit(pool, NULL, fn, &in[i], &futures[i], NULL), "submit");
    }
    for (int i = 0; i < BATCH; i++) {
        check_aur(aur_future_outcome(futures[i], AUR_NO_DEADLINE), "wait");
        aur_future_unref(futures[i]);
    }
    return now_ns() - start;
}

static aur_pool *pool_new(int32_t kind, uint32_t workers)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_diag diag;

    opts.kind = kind;
    opts.workers = workers;
    if (aur_pool_new(&opts, &pool, &diag) != AUR_OK) {
        exit(give_up(diag.text));
    }
    return pool;
}

int main(int argc, char **argv)
{
    uint32_t workers = (uint32_t)option(argc, argv, "workers", 2);
    uint64_t rounds = option(argc, argv, "rounds", 40);
    int map = strcmp(option_text(argc, argv, "form", "calls"), "map") == 0;
    aur_pool *measured = pool_new(AUR_AUTO, workers);
    aur_pool *threads = pool_new(AUR_THREADS, workers);
    const char *only = option_text(argc, argv, "only", "");
    char text[4096];

    for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
        uint64_t with = 0, without = 0;
        if (*only != '\0' && strcmp(only, kinds[k].name) != 0) {
            continue;
        }
        for (uint64_t i = 0; i < 2 * rounds; i++) { /* the first half is for making up its mind */
            uint64_t a = batch(measured, kinds[k].fn, map);
            uint64_t b = batch(threads, kinds[k].fn, map);
            with += i >= rounds ? a : 0;
            without += i >= rounds ? b : 0;
        }
        figure(kinds[k].name, "x", (double)without / (double)with);
    }
    if (option(argc, argv, "explain", 0) != 0) {
        aur_pool_explain(measured, text, sizeof(text));
        fprintf(stderr, "%s\n", text);
    }
    aur_pool_unref(measured);
    aur_pool_unref(threads);
    return 0;
}
