/* kill.c: a worker process is killed (SIGKILL) in the middle of a map. */
#include "demo.h"

#include <auriga.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ITEMS_MAX 400

/* How the item that is to be hit tells main that it runs. */
struct target {
    sem_t reached;
    int starts;
    pid_t pid;
};

static struct digest hash_or_wait(const char *path, uint64_t target_id)
{
    struct digest digest = { { 0 } };
    void *memory;
    size_t size;

    if (target_id != 0 && aur_buf_open(target_id, &memory, &size) == AUR_OK) {
        struct target *target = memory;
        if (target->starts++ == 0) {
            target->pid = getpid();
            sem_post(&target->reached);
            for (;;) {
                pause(); /* until the kill */
            }
        }
    }
    if (!digest_file(path, &digest)) {
        aur_fail(errno, "%s: %s", path, strerror(errno));
    }
    return digest;
}
AUR_FN(struct digest, hash_or_wait, const char *, uint64_t);

struct run {
    const struct files *files;
    size_t n;      /* items */
    size_t marked; /* the one during which the worker is killed */
    struct target *target;
    uint64_t target_id;
    aur_err *errs;
    struct digest *out;
};

/* Starts the map and kills the worker that runs the marked item.  NULL: it did not get that far. */
static aur_future *map_and_kill(aur_pool *pool, struct run *run, uint32_t retries)
{
    struct hash_or_wait_args *params = calloc(run->n, sizeof(*params));
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    aur_future *future = NULL;
    struct timespec limit;

    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = run->errs;
    opts.retries = retries;
    for (size_t i = 0; params != NULL && i < run->n; i++) {
        params[i] = (struct hash_or_wait_args){ run->files->path[i],
                                                i == run->marked ? run->target_id : 0 };
    }
    memset(run->out, 0, run->n * sizeof(*run->out));
    run->target->starts = 0;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    if (params != NULL && aur_starmap_async_with(pool, &opts, &future, hash_or_wait, params, run->n,
                                                 run->out) == AUR_OK) {
        if (sem_timedwait(&run->target->reached, &limit) == 0) {
            kill(run->target->pid, SIGKILL);
        }
        (void)!aur_future_wait(future, AUR_NO_DEADLINE);
    }
    free(params);
    return future;
}

static size_t count_right(const struct run *run)
{
    size_t right = 0;

    for (size_t i = 0; i < run->n; i++) {
        right += run->errs[i] == AUR_OK && digest_equal(&run->out[i], &run->files->wanted[i]);
    }
    return right;
}

static void show_without_retries(aur_pool *pool, struct run *run)
{
    AUR_SCOPED(aur_future) *future = map_and_kill(pool, run, 0);
    const aur_error *error = aur_future_error(future);

    check(count_right(run) == run->n - 1 && run->errs[run->marked] == AUR_EWORKER,
          "without retries: %zu of %zu items right, one lost: %s", count_right(run), run->n,
          aur_err_name(run->errs[run->marked]));
    check(error != NULL && error->err == AUR_EWORKER && error->item == run->marked &&
              error->signal == SIGKILL && error->pid == run->target->pid && error->attempts == 1,
          "the error has item, signal, process and attempts:");
    if (error != NULL) {
        line("       item %d, %s", (int)error->item, error->message);
    }
}

static void show_with_retries(aur_pool *pool, struct run *run)
{
    AUR_SCOPED(aur_future) *future = map_and_kill(pool, run, 2);

    check(aur_future_outcome(future, 0) == AUR_OK && count_right(run) == run->n &&
              run->target->starts == 2,
          "with retries: %zu of %zu items right, the one that was hit was started %d times",
          count_right(run), run->n, run->target->starts);
}

void show_kill(const struct files *files)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_buf) *buf = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    struct run run = { .files = files, .n = files->n < ITEMS_MAX ? files->n : ITEMS_MAX };
    aur_stats stats = { .size = sizeof(stats) };

    run.marked = run.n / 2;
    title("4. SIGKILL to a worker process in the middle of a map of %zu files", run.n);
    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    opts.name = "killed";
    run.errs = calloc(run.n, sizeof(*run.errs));
    run.out = calloc(run.n, sizeof(*run.out));
    if (run.errs == NULL || run.out == NULL || aur_pool_new(&opts, &pool, NULL) != AUR_OK ||
        aur_buf_new(pool, sizeof(struct target), AUR_BUF_INOUT, &buf) != AUR_OK) {
        check(false, "no pool");
    } else {
        run.target = aur_buf_data(buf);
        run.target_id = aur_buf_id(buf);
        sem_init(&run.target->reached, 1, 0);
        show_without_retries(pool, &run);
        show_with_retries(pool, &run);
        aur_err err = aur_pool_stats(pool, &stats);
        check(err == AUR_OK && stats.deaths == 2 && stats.retried == 1,
              "the pool counted %d deaths and %d retry, and goes on", (int)stats.deaths,
              (int)stats.retried);
    }
    free(run.errs);
    free(run.out);
}
