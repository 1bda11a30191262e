/* The true step sweep: ./dev check sweep
 *
 * Goal:    SIGKILL of a worker process after any single instruction of its way from taking an entry to
 *          telling its answer costs at most the one call that it was running; nothing runs twice, nothing
 *          hangs.
 * Method:  a real pool with one worker.  The worker is stopped while it sleeps, a few calls of each kind
 *          are queued, and it goes k instructions on; then it is killed, and the pool, with its own
 *          guardian, nursery and the next worker, has to bring every call to an end.  For k = 0, 1, 2 ...
 *          until the worker comes to sleep again with everything answered.
 * Guards:  wire/ctl.h, src/proc: drain, judge, dispatch, nurse.
 *
 *   sweep_kill [STRIDE]   every STRIDE-th instruction only
 *
 * It takes minutes, and so is no part of ./dev test; sweep_test.c judges what a kill would leave behind
 * after each instruction of one run. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* CPU_SET */
#endif
#include "aurt.h"

#include <auriga.h>

#ifdef __x86_64__
#include "trace.h"

#define ITEMS 3
/* A sweep whose kills cost almost nothing did not stop the worker where it matters.  A kill after every
 * instruction loses six times as many calls as this; a stride divides it. */
#define LOST_MIN 1000u
enum { CALL, BLOCK, BYTES, MAP, LAST, CALLS };

struct block {
    uint64_t word[8];
};

/* How often each has run in this round. */
static _Atomic(uint32_t) *runs;

static void note(uint64_t id)
{
    atomic_fetch_add_explicit(&runs[id], 1, memory_order_relaxed);
}

static int who(uint64_t x)
{
    (void)x;
    return getpid();
}
AUR_FN(int, who, uint64_t);

static uint64_t triple(uint64_t id)
{
    note(id);
    return id * 3;
}
AUR_FN(uint64_t, triple, uint64_t);

static struct block fill(uint64_t id)
{
    struct block block;

    note(id);
    for (uint64_t i = 0; i < 8; i++) {
        block.word[i] = id * 1000 + i;
    }
    return block;
}
AUR_FN(struct block, fill, uint64_t);

static aur_err twice(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, 2 * size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    note(BYTES);
    memcpy(to, in, size);
    memcpy(to + size, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(twice);

/* ---- one round ---------------------------------------------------------------------------------- */

struct round {
    aur_future *future[CALLS];
    uint64_t in[ITEMS];
    uint64_t out[ITEMS];
};

static const char text[40] = "forty bytes, more than fit into an entry";

static void submit(aur_pool *pool, struct round *r)
{
    AURT_CHECK(aur_apply_async(pool, &r->future[CALL], triple, (uint64_t)CALL) == AUR_OK);
    AURT_CHECK(aur_apply_async(pool, &r->future[BLOCK], fill, (uint64_t)BLOCK) == AUR_OK);
    AURT_CHECK(aur_apply_bytes(pool, &r->future[BYTES], twice, text, sizeof(text)) == AUR_OK);
    for (uint64_t i = 0; i < ITEMS; i++) {
        r->in[i] = CALLS + i;
        r->out[i] = 0;
    }
    AURT_CHECK(aur_map_async(pool, &r->future[MAP], triple, r->in, ITEMS, r->out) == AUR_OK);
    AURT_CHECK(aur_apply_async(pool, &r->future[LAST], triple, (uint64_t)LAST) == AUR_OK);
}

static bool all_done(const struct round *r)
{
    bool done = true;

    for (int i = 0; i < CALLS; i++) {
        done = done && aur_future_done(r->future[i]);
    }
    return done;
}

/* A call that succeeded has the right answer, and was run for it. */
static void check_answer(const struct round *r, int i)
{
    uint64_t value = 0;
    struct block block;
    const void *data;
    size_t size;

    if (i == BLOCK) {
        AURT_CHECK(aur_future_result(r->future[i], &block, 0) == AUR_OK);
        for (uint64_t k = 0; k < 8; k++) {
            AURT_CHECK(block.word[k] == BLOCK * 1000 + k);
        }
    } else if (i == BYTES) {
        AURT_CHECK(aur_future_view(r->future[i], &data, &size, 0) == AUR_OK);
        AURT_CHECK(size == 2 * sizeof(text) && memcmp(data, text, sizeof(text)) == 0 &&
                   memcmp((const char *)data + sizeof(text), text, sizeof(text)) == 0);
    } else if (i == MAP) {
        for (uint64_t k = 0; k < ITEMS; k++) {
            AURT_CHECK(r->out[k] == r->in[k] * 3 && runs[r->in[k]] == 1);
        }
        return;
    } else {
        AURT_CHECK(aur_future_result(r->future[i], &value, 0) == AUR_OK);
        AURT_CHECK(value == (uint64_t)i * 3);
    }
    AURT_CHECK(runs[i] == 1);
}

/* Waits for every call; how many were lost? */
static unsigned settle(struct round *r, bool killed)
{
    unsigned lost = 0;

    for (int i = 0; i < CALLS; i++) {
        aur_err err = aur_future_outcome(r->future[i], AUR_NO_DEADLINE);
        if (err == AUR_OK) {
            check_answer(r, i);
        } else {
            AURT_CHECK(killed && err == AUR_EWORKER &&
                       aur_future_error(r->future[i])->signal == SIGKILL);
            lost++;
        }
        r->future[i] = aur_future_unref(r->future[i]);
    }
    for (int i = 0; i < CALLS + ITEMS; i++) {
        AURT_CHECK(runs[i] <= 1);
    }
    AURT_CHECK(lost <= 1);
    memset((void *)runs, 0, 4096);
    return lost;
}

/* The worker, asleep and traced; 0: tracing is not allowed here. */
static pid_t catch_worker(aur_pool *pool)
{
    struct round warm = { 0 };
    int status;
    int pid = 0;

    submit(pool, &warm); /* its first calls bind symbols and make slabs */
    AURT_CHECK(settle(&warm, false) == 0);
    AURT_CHECK(aur_apply(pool, &pid, who, (uint64_t)0) == AUR_OK);
    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD) != 0) {
        return 0;
    }
    AURT_CHECK(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0);
    AURT_CHECK(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
    return pid;
}

/* Goes k instructions; false: the worker sleeps again, and all is answered, after fewer (*ret_steps). */
static bool go(pid_t pid, const struct round *r, unsigned k, unsigned *ret_steps)
{
    for (*ret_steps = 0; *ret_steps < k; ++*ret_steps) {
        if (trace_before_futex(pid) && all_done(r)) {
            return false;
        }
        trace_step(pid);
    }
    return true;
}

struct total {
    unsigned kills;
    unsigned lost;
    unsigned steps; /* of the whole way */
};

/* False: that was the whole way. */
static bool kill_after(aur_pool *pool, unsigned k, struct total *total)
{
    struct round r = { 0 };
    int status;
    pid_t pid = catch_worker(pool);

    if (pid == 0) {
        exit(77);
    }
    submit(pool, &r);
    bool more = go(pid, &r, k, &total->steps);
    AURT_CHECK(kill(pid, SIGKILL) == 0);
    AURT_CHECK(waitpid(pid, &status, __WALL) == pid && WIFSIGNALED(status));
    total->lost += settle(&r, true);
    total->kills++;
    return more;
}

int main(int argc, char **argv)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_stats stats = { .size = sizeof(stats) };
    aur_pool *pool = NULL;
    struct total total = { 0 };
    unsigned stride = argc > 1 ? (unsigned)atoi(argv[1]) : 1;

    AURT_CHECK(stride > 0);
    trace_on_one_cpu();
    runs = aurt_shared(4096);
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.spares_max = AUR_NO_SPARES;
    AURT_CHECK(aur_pool_new(&opts, &pool, NULL) == AUR_OK);
    for (unsigned k = 0; kill_after(pool, k, &total); k += stride) {
        if (total.kills % 500 == 0) {
            printf("%u kills, %u instructions\n", total.kills, k);
            fflush(stdout);
        }
    }
    AURT_CHECK(aur_pool_join(pool, AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(aur_pool_stats(pool, &stats) == AUR_OK);
    AURT_CHECK(stats.submitted == stats.done + stats.failed + stats.cancelled);
    AURT_CHECK(stats.deaths == total.kills && stats.failed == total.lost);
    AURT_CHECK(total.lost >= LOST_MIN / stride);
    aur_pool_unref(pool);
    printf("%u instructions, %u kills: %u calls lost, one at most each time, none run twice\n",
           total.steps, total.kills, total.lost);
    return 0;
}

#else

int main(void)
{
    return 77;
}

#endif
