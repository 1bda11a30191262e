/* Goal:    an allocation that fails costs one call, never the pool, a future or a descriptor.
 * Method:  the program has its own malloc() over glibc's.  While armed, the n-th call of all
 *          threads and of all forked processes together fails, or that one and each later one; for
 *          n = 1, 2, ... until a run does not get so far.  Each run is a process of its own, so
 *          that no cache hides a call.
 * Guards:  the error paths of src/pool, src/task, src/map, src/sched and src/proc. */
/* The tools have a malloc() of their own, which this one would replace: */
/* aurt: no-asan */
/* aurt: no-tsan */
/* aurt: no-valgrind */
/* aurt: long */
#define _GNU_SOURCE
#include "fault.h"

/* ---- malloc() and its family ----------------------------------------------------------------- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

enum { CALL_NONE, CALL_MALLOC };

static bool refused(void)
{
    return fault_now(CALL_MALLOC);
}

void *malloc(size_t size)
{
    return refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return refused() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    return refused() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    return refused() ? NULL : __libc_memalign(align, size);
}

/* ---- what a call may answer ------------------------------------------------------------------ */

static bool run_lasting;

/* A worker process that has no memory left may die of it; and where none ever comes back, a pool
 * may lose all of them. */
static bool went_well(aur_err err, int line)
{
    if (err != AUR_OK && err != AUR_ENOMEM && err != AUR_EAGAIN &&
        !(run_processes && (err == AUR_EWORKER || (run_lasting && err == AUR_EBROKEN)))) {
        broken(__FILE__, line, "not a documented answer", err);
    }
    return err == AUR_OK;
}

#define WELL(...) went_well(__VA_ARGS__, __LINE__)

/* ---- the bodies ------------------------------------------------------------------------------ */

static int odd_fails(int x)
{
    return x % 2 == 0 ? x : aur_fail(x, "%d is odd", x);
}
AUR_FN(int, odd_fails, int);

static void steps(uint64_t lo, uint64_t hi, int *ctx)
{
    (void)ctx;
    HOLDS(lo < hi);
}
AUR_RANGE_FN(steps, int);

#define FEW 4
#define MANY 600
static int numbers[MANY];
static int results[MANY];

static void check_results(void)
{
    for (int i = 0; i < MANY; i++) {
        HOLDS(results[i] == i * i);
    }
}

/* Submits FEW calls; entries that were refused are NULL.  How many were accepted? */
static size_t submit_few(aur_pool *pool, aur_future *futures[FEW])
{
    size_t accepted = 0;

    for (int i = 0; i < FEW; i++) {
        futures[i] = NULL;
        accepted += WELL(aur_apply_async(pool, &futures[i], square, i));
    }
    return accepted;
}

/* What was accepted has an outcome. */
static void finish_few(aur_future *futures[FEW])
{
    for (int i = 0; i < FEW; i++) {
        int value = -1;
        if (futures[i] != NULL && WELL(aur_future_result(futures[i], &value, AUR_NO_DEADLINE))) {
            HOLDS(value == i * i);
        }
        futures[i] = aur_future_unref(futures[i]);
    }
}

static void body_apply(aur_pool *pool)
{
    int value = 0;

    if (WELL(aur_apply(pool, &value, square, 7))) {
        HOLDS(value == 49);
    }
}

static void body_submit(aur_pool *pool)
{
    aur_future *futures[FEW];

    submit_few(pool, futures);
    finish_few(futures);
}

static void body_map(aur_pool *pool)
{
    memset(results, 0, sizeof(results));
    if (WELL(aur_map(pool, square, numbers, MANY, results))) {
        check_results();
    }
}

static void body_map_async(aur_pool *pool)
{
    aur_future *future = NULL;

    memset(results, 0, sizeof(results));
    if (WELL(aur_map_async(pool, &future, square, numbers, MANY, results))) {
        if (WELL(aur_future_outcome(future, AUR_NO_DEADLINE))) {
            check_results();
        }
        aur_future_unref(future);
    }
}

static void body_for(aur_pool *pool)
{
    int ctx = 0;

    (void)WELL(aur_for(pool, 0, 1000, steps, &ctx));
}

/* A result that is refused leaves the input where it was: the next try is that item. */
static void body_imap(aur_pool *pool)
{
    aur_imap_iter *iter = NULL;
    uint64_t expected = 0;
    aur_err err;

    if (!WELL(aur_imap(pool, &iter, square, numbers, 40))) {
        return;
    }
    for (;;) {
        int value = -1;
        uint64_t index = AUR_NO_ITEM;
        err = aur_imap_next_sized(iter, &value, sizeof(value), &index, AUR_NO_DEADLINE);
        if (err == AUR_END) {
            HOLDS(expected == 40);
            break;
        }
        if (!WELL(err) && index == AUR_NO_ITEM) {
            fault_disarm();
            continue;
        }
        HOLDS(index == expected && (err != AUR_OK || value == numbers[index] * numbers[index]));
        expected++;
    }
    aur_imap_free(iter);
}

static void body_as_completed(aur_pool *pool)
{
    aur_future *futures[FEW];
    aur_future *given[FEW];
    aur_completed *set = NULL;
    size_t index;
    size_t taken = 0;
    size_t n = 0;

    submit_few(pool, futures);
    for (size_t i = 0; i < FEW; i++) {
        if (futures[i] != NULL) {
            given[n++] = futures[i];
        }
    }
    if (WELL(aur_as_completed(given, n, &set))) {
        aur_err err;
        while ((err = aur_completed_next(set, &index, AUR_NO_DEADLINE)) == AUR_OK) {
            HOLDS(index < n && aur_future_done(given[index]));
            taken++;
        }
        HOLDS(err == AUR_END && taken == n);
        aur_completed_free(set);
    }
    finish_few(futures);
}

static void body_wait_any(aur_pool *pool)
{
    aur_future *futures[FEW];
    size_t index = FEW;

    if (submit_few(pool, futures) > 0) {
        if (WELL(aur_wait_any(futures, FEW, &index, AUR_NO_DEADLINE))) {
            HOLDS(index < FEW && aur_future_done(futures[index]));
        }
        (void)WELL(aur_wait_all(futures, FEW, AUR_NO_DEADLINE));
    }
    finish_few(futures);
}

static void note_done(void *ctx, aur_future *future)
{
    HOLDS(aur_future_done(future));
    aurt_event_set(ctx);
}

/* Called if and only if it was accepted. */
static void body_on_done(aur_pool *pool)
{
    aurt_event called = { 0 };
    aur_future *futures[FEW];

    submit_few(pool, futures);
    if (futures[0] != NULL) {
        if (WELL(aur_future_on_done(futures[0], note_done, &called))) {
            aurt_event_wait(&called);
        } else {
            HOLDS(WELL(aur_future_wait(futures[0], AUR_NO_DEADLINE)));
            HOLDS(!aurt_event_is_set(&called));
        }
    }
    finish_few(futures);
}

#define LARGE ((size_t)300 * 1024)
static char large[LARGE];

static void body_bytes(aur_pool *pool)
{
    aur_future *future = NULL;
    const void *data = NULL;
    size_t size = 0;

    if (WELL(aur_apply_bytes(pool, &future, twice, large, LARGE))) {
        if (WELL(aur_future_view(future, &data, &size, AUR_NO_DEADLINE))) {
            HOLDS(size == 2 * LARGE && memcmp(data, large, LARGE) == 0);
        }
        aur_future_unref(future);
    }
    aur_bytes in[FEW] = { { large, 1 }, { large, 100 }, { large, 5000 }, { large, LARGE } };
    aur_bytes out[FEW];
    if (WELL(aur_map_bytes(pool, twice, in, FEW, out))) {
        for (int i = 0; i < FEW; i++) {
            HOLDS(out[i].size == 2 * in[i].size);
        }
        aur_bytes_free(out, FEW);
    }
}

static void body_buf(aur_pool *pool)
{
    aur_buf *buf = NULL;
    uint64_t value = 0;

    if (!WELL(aur_buf_new(pool, 5000, 0, &buf))) {
        return;
    }
    *(uint64_t *)aur_buf_data(buf) = 4711;
    aur_err err = aur_apply(pool, &value, first_word, aur_buf_id(buf));
    /* The task fails if its process cannot map the buffer. */
    if (!(run_processes && err == AUR_ETASK) && WELL(err)) {
        HOLDS(value == 4711);
    }
    aur_buf_unref(buf);
}

/* A failure stays one where there is no memory to describe it. */
static void body_fail(aur_pool *pool)
{
    AUR_SCOPED(aur_future) *future = NULL;
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    aur_err errs[FEW];
    int value;

    if (WELL(aur_apply_async(pool, &future, odd_fails, 3))) {
        aur_err err = aur_future_result(future, &value, AUR_NO_DEADLINE);
        HOLDS(err == AUR_ETASK || !WELL(err));
    }
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    aur_err err = aur_map_with(pool, &opts, odd_fails, numbers, FEW, results);
    HOLDS(err == AUR_ETASK || !WELL(err));
    for (int i = 0; i < FEW && err == AUR_ETASK; i++) {
        HOLDS(i % 2 == 0 || errs[i] != AUR_OK);
    }
}

static void body_nested(aur_pool *pool)
{
    aur_future *future = NULL;
    int value = 0;

    if (WELL(aur_apply_async(pool, &future, nested, 9))) {
        if (WELL(aur_future_result(future, &value, AUR_NO_DEADLINE))) {
            HOLDS(value == 81 || value == -1);
        }
        aur_future_unref(future);
    }
}

/* More forks at once than a lane has room for at first: without memory the others run serially. */
#define FORKS 300

static int nested_forks(int depth);
AUR_FN(int, nested_forks, int);
static int nested_forks(int depth)
{
    if (depth == 0) {
        return 0;
    }
    aur_fork(one, square, 1);
    int below = nested_forks(depth - 1);
    return below + aur_joined(one, square);
}

static void body_forks(aur_pool *pool)
{
    int value = 0;

    if (WELL(aur_apply(pool, &value, nested_forks, FORKS))) {
        HOLDS(value == FORKS);
    }
}

/* ---- the runs -------------------------------------------------------------------------------- */

typedef struct plan {
    const aur_options *opts;
    void (*body)(aur_pool *); /* NULL: aur_pool_new() itself */
    uint32_t at;
} plan;

static void run_here(const void *ctx)
{
    const plan *p = ctx;
    held before = hold_now();
    aur_pool *pool = NULL;
    uint32_t times = run_lasting ? UINT32_MAX : 1;
    int value = 0;

    if (p->body == NULL) {
        fault_arm(CALL_MALLOC, ENOMEM, p->at, times);
        aur_err err = aur_pool_new(p->opts, &pool, NULL);
        fault_disarm();
        HOLDS((pool != NULL) == WELL(err));
    } else {
        HOLDS(aur_pool_new(p->opts, &pool, NULL) == AUR_OK);
        if (run_processes && run_lasting) { /* a worker that has not begun would try ten times */
            HOLDS(aur_map(pool, square, numbers, MANY, results) == AUR_OK);
        }
        fault_arm(CALL_MALLOC, ENOMEM, p->at, times);
        p->body(pool);
        fault_disarm();
    }
    if (pool != NULL) {
        aur_err err = aur_apply(pool, &value, square, 12);
        if (err != AUR_OK && !(run_processes && run_lasting && err == AUR_EBROKEN)) {
            BROKEN("the pool works no more", err);
        }
        HOLDS(err != AUR_OK || value == 144);
        end_pool(pool);
    }
    expect_held(&before);
}

static const struct {
    const char *name;
    void (*body)(aur_pool *);
    bool spawn;
} bodies[] = {
    { "new", NULL, true },
    { "apply", body_apply, false },
    { "submit", body_submit, true },
    { "map", body_map, false },
    { "map_async", body_map_async, false },
    { "for", body_for, false },
    { "imap", body_imap, false },
    { "as_completed", body_as_completed, false },
    { "wait_any", body_wait_any, false },
    { "on_done", body_on_done, false },
    { "bytes", body_bytes, false },
    { "buf", body_buf, false },
    { "fail", body_fail, false },
    { "nested", body_nested, true },
    { "forks", body_forks, false },
};

static void all_bodies(void **state)
{
    plan p = { .opts = *state };

    run_processes = p.opts->kind == AUR_PROCESSES;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        uint32_t reached[2];
        if (p.opts->start == AUR_START_SPAWN && !bodies[i].spawn) {
            continue; /* the parent does the same in both: the start and references to functions differ */
        }
        run_name = bodies[i].name;
        p.body = bodies[i].body;
        for (int lasting = 0; lasting < 2; lasting++) {
            run_lasting = lasting != 0;
            p.at = 0;
            do {
                p.at++;
                run_apart(run_here, &p);
            } while (fault_hits() > 0);
            reached[lasting] = p.at - 1;
        }
        print_message("%s: %u one by one, %u from there on\n", run_name, reached[0], reached[1]);
    }
}

/* ---- the calls that say AUR_ENOMEM, and nothing else ------------------------------------------ */

/* No memory from here on. */
#define WITHOUT_MEMORY(...)                                                                        \
    do {                                                                                           \
        fault_arm(CALL_MALLOC, ENOMEM, 1, UINT32_MAX);                                             \
        aur_err err_ = (__VA_ARGS__);                                                              \
        fault_disarm();                                                                            \
        if (err_ != AUR_ENOMEM) {                                                                  \
            BROKEN("not AUR_ENOMEM: " #__VA_ARGS__, err_);                                         \
        }                                                                                          \
    } while (0)

struct wide {
    char bytes[1000]; /* more than a task holds itself */
};

static int width(struct wide wide)
{
    return wide.bytes[0];
}
AUR_FN(int, width, struct wide);

static void exactly(const void *ctx)
{
    aurt_event called = { 0 };
    aur_future *futures[FEW];
    aur_future *future = NULL;
    aur_completed *set = NULL;
    aur_pool *pool = NULL;
    struct width_args wide = { { { 5 } } };
    aur_call_options opts = AUR_CALL_OPTIONS_INIT; /* without, a call needs no memory */
    int value = 0;

    WITHOUT_MEMORY(aur_pool_new(ctx, &pool, NULL));
    HOLDS(pool == NULL && aur_pool_new(ctx, &pool, NULL) == AUR_OK);
    HOLDS(aur_apply(pool, &value, square, 2) == AUR_OK); /* what a thread makes once is made */
    HOLDS(submit_few(pool, futures) == FEW);

    WITHOUT_MEMORY(aur_fn_submit(pool, NULL, &width_aur_fn, &wide, &future, NULL));
    HOLDS(future == NULL);
    WITHOUT_MEMORY(aur_fn_call(pool, &opts, &width_aur_fn, &wide, &value, NULL));
    WITHOUT_MEMORY(aur_future_on_done(futures[0], note_done, &called));
    HOLDS(!aurt_event_is_set(&called));
    WITHOUT_MEMORY(aur_as_completed(futures, FEW, &set));
    HOLDS(set == NULL && aur_as_completed(futures, 1, &set) == AUR_OK);
    WITHOUT_MEMORY(aur_completed_add(set, futures[1]));
    aur_completed_free(set);
    finish_few(futures);
    end_pool(pool);
}

static void no_memory(void **state)
{
    run_processes = ((const aur_options *)*state)->kind == AUR_PROCESSES;
    run_name = "exactly";
    run_apart(exactly, *state);
}

static aur_options serial = { .size = sizeof(serial), .kind = AUR_SERIAL };
static aur_options threads = { .size = sizeof(threads), .kind = AUR_THREADS, .workers = 2 };
static aur_options processes = { .size = sizeof(processes), .kind = AUR_PROCESSES, .workers = 2 };
/* Workers that are images have their own malloc() and no fault: these are the parent's allocations. */
static aur_options spawned = {
    .size = sizeof(spawned), .kind = AUR_PROCESSES, .start = AUR_START_SPAWN, .workers = 2
};

/* In a worker: each allocation of aur_future_open() fails in turn.  How often it said so; or, negative, at which it
 * said something else. */
static int opens(uint64_t id)
{
    int refusals = 0;

    for (int at = 1;; at++) {
        aur_future *future = NULL;
        int v = 0;
        fault_arm(CALL_MALLOC, ENOMEM, (uint32_t)at, 1);
        aur_err err = aur_future_open(id, &future);
        uint32_t hits = fault_hits();
        fault_disarm();
        if (err == AUR_OK) {
            if (aur_future_result(future, &v, AUR_NO_DEADLINE) != AUR_OK || v != 49) {
                return -at;
            }
            aur_future_unref(future);
        } else if (err != AUR_ENOMEM || future != NULL) {
            return -at;
        }
        refusals += err != AUR_OK;
        if (hits == 0) {
            return refusals;
        }
    }
}
AUR_FN(int, opens, uint64_t);

static void open_without_memory(void **state)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_future *future = NULL;
    int v = 0;

    (void)state;
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply_async(pool, &future, square, 7));
    AURT_OK(aur_future_wait(future, AUR_NO_DEADLINE));
    AURT_OK(aur_apply(pool, &v, opens, aur_future_id(future)));
    assert_true(v >= 2); /* the proxy, and the copy of the result */
    aur_future_unref(future);
    end_pool(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        { "serial", all_bodies, NULL, NULL, &serial },
        { "threads", all_bodies, NULL, NULL, &threads },
        { "processes", all_bodies, NULL, NULL, &processes },
        { "spawned", all_bodies, NULL, NULL, &spawned },
        { "AUR_ENOMEM, threads", no_memory, NULL, NULL, &threads },
        { "AUR_ENOMEM, processes", no_memory, NULL, NULL, &processes },
        { "AUR_ENOMEM, a future by its number", open_without_memory, NULL, NULL, NULL },
    };

    for (int i = 0; i < MANY; i++) {
        numbers[i] = i;
    }
    memset(large, 'x', sizeof(large));
    fault_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
