/* The operations of the soak test.  Each picks its sizes at random, and checks every answer: a value is
 * right or an error is one that the round can bring about. */
#include "soak.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "pool/auto.h"

#define FEW 8
#define MANY 400
#define WORDS_MAX 3000

/* ---- tasks --------------------------------------------------------------------------------------- */

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static long weigh(int x, long y, double z)
{
    return x + y * 2 + (long)z;
}
AUR_FN(long, weigh, int, long, double);

struct block {
    uint64_t word[100];
};
static struct block fill(uint64_t x)
{
    struct block block;

    for (uint64_t i = 0; i < 100; i++) {
        block.word[i] = x + i;
    }
    return block;
}
AUR_FN(struct block, fill, uint64_t);

static int odd_fails(int x)
{
    return x % 2 == 0 ? x : aur_fail(x, "%d is odd", x);
}
AUR_FN(int, odd_fails, int);

static int die(int x)
{
    if (x == 0) {
        raise(SIGKILL);
    }
    return x;
}
AUR_FN(int, die, int);

static int who(int x)
{
    (void)x;
    return getpid();
}
AUR_FN(int, who, int);

static aur_err twice(const void *in, size_t size, aur_out *out)
{
    unsigned char *to = aur_out_alloc(out, 2 * size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, in, size);
    memcpy(to + size, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(twice);

static uint64_t sum_of(uint64_t board)
{
    uint64_t *word = NULL;
    size_t size = 0;
    uint64_t sum = 0;

    if (aur_buf_open(board, (void **)&word, &size) != AUR_OK) {
        return 0;
    }
    for (size_t i = 0; i < size / sizeof(*word); i++) {
        sum += word[i];
    }
    return sum;
}
AUR_FN(uint64_t, sum_of, uint64_t);

static void nothing(uint64_t lo, uint64_t hi, uint64_t *ctx)
{
    (void)ctx;
    AURT_CHECK(lo < hi);
}
AUR_RANGE_FN(nothing, uint64_t);

/* ---- what may come out ----------------------------------------------------------------------------- */

bool soak_fine(const struct soak_round *r, aur_err err, const char *file, int line)
{
    bool known = err == AUR_OK || (r->bounded && err == AUR_EBUSY) ||
                 (r->kills && err == AUR_EWORKER) || (r->timeout != 0 && err == AUR_EDEADLINE) ||
                 (r->closes && (err == AUR_ESHUTDOWN || err == AUR_ECANCELED));

    if (!known) {
        const aur_error *last = aur_last_error();
        fprintf(stderr, "%s:%d: %s is not an answer here: %s\n", file, line, aur_err_name(err),
                last != NULL ? last->message : "");
        abort();
    }
    return err == AUR_OK;
}

/* ---- one by one --------------------------------------------------------------------------------------- */

static void step_apply(const struct soak_round *r, uint64_t *random)
{
    int x = (int)soak_below(random, 1000);
    int value = 0;
    long weight = 0;
    struct block block;

    if (FINE(aur_apply(r->pool, &value, square, x))) {
        AURT_CHECK(value == x * x);
    }
    if (FINE(aur_apply(r->pool, &weight, weigh, x, 3L, 2.5))) {
        AURT_CHECK(weight == x + 8);
    }
    if (FINE(aur_apply(r->pool, &block, fill, (uint64_t)x))) {
        AURT_CHECK(block.word[99] == (uint64_t)x + 99);
    }
}

/* Entries that were refused are NULL. */
static size_t submit(const struct soak_round *r, uint64_t *random, aur_future *futures[FEW])
{
    size_t n = 1 + soak_below(random, FEW);

    for (size_t i = 0; i < n; i++) {
        futures[i] = NULL;
        (void)FINE(aur_apply_async(r->pool, &futures[i], square, (int)i));
    }
    return n;
}

static void collect(const struct soak_round *r, aur_future *futures[FEW], size_t n, bool cancelled)
{
    for (size_t i = 0; i < n; i++) {
        int value = -1;
        aur_err err = futures[i] != NULL ? aur_future_result(futures[i], &value, AUR_NO_DEADLINE)
                                         : AUR_ECANCELED;
        if (futures[i] != NULL && !(cancelled && err == AUR_ECANCELED) && FINE(err)) {
            AURT_CHECK(value == (int)(i * i));
        }
        futures[i] = aur_future_unref(futures[i]);
    }
}

static void step_async(const struct soak_round *r, uint64_t *random)
{
    aur_future *futures[FEW];
    size_t n = submit(r, random, futures);
    size_t index = FEW;
    size_t there = 0;

    for (size_t i = 0; i < n; i++) {
        there += futures[i] != NULL;
    }
    switch (soak_below(random, 4)) {
    case 0:
        AURT_CHECK(aur_wait_all(futures, n, AUR_NO_DEADLINE) == AUR_OK);
        break;
    case 1:
        AURT_CHECK(there == 0 || aur_wait_any(futures, n, &index, AUR_NO_DEADLINE) == AUR_OK);
        AURT_CHECK(there == 0 || aur_future_done(futures[index]));
        break;
    case 2:
        AURT_CHECK(aur_wait_first_error(futures, n, &index, AUR_NO_DEADLINE) == AUR_OK);
        break;
    default:
        if (there != 0) { /* a poll, and a short wait: any answer but a wrong one */
            aur_err err = aur_wait_any(futures, n, &index, aur_deadline_in_ns(1000));
            AURT_CHECK(err == AUR_OK || err == AUR_ETIMEDOUT);
        }
    }
    collect(r, futures, n, false);
}

static void step_cancel(const struct soak_round *r, uint64_t *random)
{
    aur_future *futures[FEW];
    size_t n = submit(r, random, futures);

    for (size_t i = 0; i < n; i++) {
        int what = 0;
        if (futures[i] != NULL && soak_below(random, 2) == 0) {
            AURT_CHECK(aur_future_cancel(futures[i], &what) == AUR_OK && what != 0);
        }
    }
    collect(r, futures, n, true);
}

/* As a cancel, but only of what has not begun. */
static void step_withdraw(const struct soak_round *r, uint64_t *random)
{
    aur_future *futures[FEW];
    size_t n = submit(r, random, futures);

    for (size_t i = 0; i < n; i++) {
        (void)aur_future_running(futures[i]);
        if (soak_below(random, 2) == 0 && aur_future_withdraw(futures[i])) {
            AURT_CHECK(aur_future_outcome(futures[i], AUR_NO_DEADLINE) == AUR_ECANCELED);
            futures[i] = aur_future_unref(futures[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (futures[i] != NULL) {
            (void)FINE(aur_future_wait(futures[i], AUR_NO_DEADLINE));
            AURT_CHECK(!aur_future_running(futures[i]) && !aur_future_withdraw(futures[i]));
        }
    }
    collect(r, futures, n, false);
}

static void step_completed(const struct soak_round *r, uint64_t *random)
{
    aur_future *futures[FEW];
    aur_future *given[FEW];
    aur_completed *set = NULL;
    size_t n = submit(r, random, futures);
    size_t there = 0;
    size_t index;

    for (size_t i = 0; i < n; i++) {
        if (futures[i] != NULL) {
            given[there++] = futures[i];
        }
    }
    AURT_CHECK(aur_as_completed(given, there, &set) == AUR_OK);
    for (size_t i = 0; i < there; i++) {
        AURT_CHECK(aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_OK);
        AURT_CHECK(index < there && aur_future_done(given[index]));
    }
    AURT_CHECK(aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_END);
    aur_completed_free(set);
    collect(r, futures, n, false);
}

static void note_done(void *ctx, aur_future *future)
{
    AURT_CHECK(aur_future_done(future));
    aurt_event_set(ctx);
}

static void step_notices(const struct soak_round *r, uint64_t *random)
{
    aur_future *futures[FEW];
    aurt_event called = { 0 };
    size_t n = submit(r, random, futures);

    if (futures[0] != NULL) {
        struct pollfd end = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
        AURT_CHECK(end.fd >= 0);
        AURT_CHECK(aur_future_on_done(futures[0], note_done, &called) == AUR_OK);
        AURT_CHECK(aur_future_eventfd(futures[0], end.fd) == AUR_OK);
        while (poll(&end, 1, -1) != 1) {
        }
        aurt_event_wait(&called);
        close(end.fd);
    }
    collect(r, futures, n, false);
}

/* ---- many ------------------------------------------------------------------------------------------------ */

static void step_map(const struct soak_round *r, uint64_t *random)
{
    int in[MANY] = { 0 };
    int out[MANY];
    size_t n = soak_below(random, MANY + 1);

    for (size_t i = 0; i < n; i++) {
        in[i] = (int)i;
        out[i] = -1;
    }
    if (FINE(aur_map(r->pool, square, in, n, out))) {
        for (size_t i = 0; i < n; i++) {
            AURT_CHECK(out[i] == in[i] * in[i]);
        }
    }
}

static void step_map_errors(const struct soak_round *r, uint64_t *random)
{
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    int in[MANY] = { 0 };
    int out[MANY];
    aur_err errs[MANY];
    size_t n = 2 + soak_below(random, MANY - 1);

    for (size_t i = 0; i < n; i++) {
        in[i] = (int)i;
    }
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    aur_err err = aur_map_with(r->pool, &opts, odd_fails, in, n, out);
    if (err !=
        AUR_ETASK) { /* an item before the first odd one was lost, or all of it was refused */
        AURT_CHECK(!FINE(err));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        AURT_CHECK(errs[i] != AUR_OK || (i % 2 == 0 && out[i] == in[i]));
        AURT_CHECK(errs[i] == AUR_OK || errs[i] == AUR_ETASK || !FINE(errs[i]));
    }
}

static void step_map_async(const struct soak_round *r, uint64_t *random)
{
    struct weigh_args in[MANY] = { { 0 } };
    long out[MANY];
    aur_future *future = NULL;
    size_t n = soak_below(random, MANY + 1);
    bool cancels = soak_below(random, 4) == 0;

    for (size_t i = 0; i < n; i++) {
        in[i] = (struct weigh_args){ (int)i, 2, 1.0 };
    }
    if (!FINE(aur_starmap_async(r->pool, &future, weigh, in, n, out))) {
        return;
    }
    if (cancels) {
        AURT_CHECK(aur_future_cancel(future, NULL) == AUR_OK);
    }
    aur_err err = aur_future_outcome(future, AUR_NO_DEADLINE);
    if (!(cancels && err == AUR_ECANCELED) && FINE(err)) {
        for (size_t i = 0; i < n; i++) {
            AURT_CHECK(out[i] == (long)i + 5);
        }
    }
    aur_future_unref(future);
}

static void step_for(const struct soak_round *r, uint64_t *random)
{
    uint64_t ctx = 5;

    (void)FINE(aur_for(r->pool, 3, 3 + soak_below(random, 5000), nothing, &ctx));
}

static void step_imap(const struct soak_round *r, uint64_t *random)
{
    aur_imap_iter *iter = NULL;
    int in[MANY] = { 0 };
    size_t n = soak_below(random, MANY + 1);
    size_t stop = soak_below(random, 2) == 0 ? n : soak_below(random, n + 1);
    bool ordered = soak_below(random, 2) == 0;
    uint64_t index = 0;
    int value;

    for (size_t i = 0; i < n; i++) {
        in[i] = (int)i;
    }
    if (!FINE(ordered ? aur_imap(r->pool, &iter, square, in, n)
                      : aur_imap_unordered(r->pool, &iter, square, in, n))) {
        return;
    }
    for (size_t i = 0; i < stop; i++) {
        index = AUR_NO_ITEM;
        aur_err err = aur_imap_next_sized(iter, &value, sizeof(value), &index, AUR_NO_DEADLINE);
        if (FINE(err)) {
            AURT_CHECK(value == in[index] * in[index]);
        } else if (index == AUR_NO_ITEM) {
            break; /* the next one was refused */
        }
        AURT_CHECK(!ordered || index == i);
    }
    aur_imap_free(iter); /* what is left is cancelled */
}

/* ---- bytes --------------------------------------------------------------------------------------------------- */

static void step_bytes(const struct soak_round *r, uint64_t *random)
{
    static const size_t sizes[] = { 0, 1, 20, 33, 4000, 70000, 1500000 };
    size_t size = sizes[soak_below(random, sizeof(sizes) / sizeof(sizes[0]))];
    unsigned char *in = malloc(size + 1);
    aur_future *future = NULL;
    const void *data;
    size_t length;

    AURT_CHECK(in != NULL);
    memset(in, (int)(size % 251), size);
    if (FINE(aur_apply_bytes(r->pool, &future, twice, in, size))) {
        if (FINE(aur_future_view(future, &data, &length, AUR_NO_DEADLINE))) {
            AURT_CHECK(length == 2 * size && memcmp(data, in, size) == 0);
        }
        aur_future_unref(future);
    }
    aur_bytes strings[FEW];
    aur_bytes out[FEW];
    for (size_t i = 0; i < FEW; i++) {
        strings[i] = (aur_bytes){ in, i * size / FEW };
    }
    memset(out, 0, sizeof(out));
    if (FINE(aur_map_bytes(r->pool, twice, strings, FEW, out))) {
        for (size_t i = 0; i < FEW; i++) {
            AURT_CHECK(out[i].size == 2 * strings[i].size);
        }
    }
    aur_bytes_free(out, FEW);
    free(in);
}

static void step_buf(const struct soak_round *r, uint64_t *random)
{
    AUR_SCOPED(aur_buf) *buf = NULL;
    size_t words = 1 + soak_below(random, 20000);
    uint64_t sum = 0;
    uint64_t value = 0;

    if (!FINE(aur_buf_new(r->pool, words * 8, (unsigned)soak_below(random, 2), &buf))) {
        return;
    }
    uint64_t *word = aur_buf_data(buf);
    for (size_t i = 0; i < words; i++) {
        word[i] = i;
        sum += i;
    }
    if (FINE(aur_apply(r->pool, &value, sum_of, aur_buf_id(buf)))) {
        AURT_CHECK(value == sum);
    }
}

/* ---- what the pool says -------------------------------------------------------------------------------------- */

static void step_explain(const struct soak_round *r, uint64_t *random)
{
    static const char guard = 'x';
    char text[WORDS_MAX + 1];
    size_t size = soak_below(random, 3) == 0 ? soak_below(random, 200) : WORDS_MAX;

    memset(text, guard, sizeof(text));
    size_t length = aur_pool_explain(r->pool, text, size);
    AURT_CHECK(length != 0 && text[size] == guard);
    AURT_CHECK(size == 0 || strlen(text) == (length < size ? length : size - 1));
}

/* While the pool works the counters may lag, but what was counted stays counted. */
static void step_progress(const struct soak_round *r, uint64_t *random)
{
    aur_future *futures[FEW];
    aur_stats before = { .size = sizeof(before) };
    aur_stats after = before;

    AURT_CHECK(aur_pool_stats(r->pool, &before) == AUR_OK);
    size_t n = submit(r, random, futures);
    AURT_CHECK(aur_pool_stats(r->pool, &after) == AUR_OK);
    AURT_CHECK(after.failed >= before.failed && after.cancelled >= before.cancelled);
    AURT_CHECK(after.retried >= before.retried && after.deaths >= before.deaths);
    AURT_CHECK(after.deadlocks >= before.deadlocks && after.spares >= before.spares);
    collect(r, futures, n, false);
}

/* ---- AUR_AUTO ------------------------------------------------------------------------------------------------- */

/* Costs are made up, since real ones would choose the same on this machine each time. */
void soak_decide(const struct soak_round *r, uint64_t *random, bool first)
{
    static const struct auri_measure measure = { .cheap_ns = 1000,
                                                 .may_loop = true,
                                                 .side_by_side = true };
    static const aur_fn *const fns[] = { &square_aur_fn, &weigh_aur_fn, &fill_aur_fn,
                                         &odd_fails_aur_fn, &twice_aur_fn };
    static const uint32_t choices[] = { AURI_TO_PROCESSES, AURI_TO_PROCESSES, AURI_TO_THREADS,
                                        AURI_TO_LOOP };

    if (r->kind != AUR_AUTO) {
        return;
    }
    uint32_t choice = choices[soak_below(random, 4)];
    const aur_fn *fn = first ? &square_aur_fn : fns[soak_below(random, 5)];
    struct auri_verdict *verdict = auri_auto_verdict(r->pool, fn);
    uint64_t ns = choice == AURI_TO_LOOP ? 200 : 100000;
    struct auri_outcome alone = { .wall_ns = ns, .cpu_ns = ns };
    struct auri_outcome beside = { .wall_ns = ns, .cpu_ns = ns, .beside = 3 };

    AURT_CHECK(verdict != NULL);
    if (choice == AURI_TO_PROCESSES) {
        beside.wall_ns *= 3;
        beside.slept = true;
    }
    /* The real calls of other threads are counted meanwhile: it need not become just that. */
    for (int i = 0; i < 200 && atomic_load(&verdict->choice) != choice; i++) {
        auri_verdict_count(verdict, &measure, i % 16 < 4 ? &alone : &beside);
    }
    if (first) {
        int value = -1;
        if (FINE(aur_apply(r->pool, &value, square, 7))) {
            AURT_CHECK(value == 49);
        }
    }
}

static void step_decide(const struct soak_round *r, uint64_t *random)
{
    soak_decide(r, random, false);
}

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

/* A worker process ends in the middle of its task, or at any moment from outside. */
static void step_kill(const struct soak_round *r, uint64_t *random)
{
    char path[64];
    char name[16] = "";
    int pid = 0;

    if (!r->kills) {
        return;
    }
    if (soak_below(random, 2) == 0 && r->kind == AUR_PROCESSES) {
        aur_err err = aur_apply(r->pool, &pid, die, 0);
        AURT_CHECK(err != AUR_OK && !FINE(err));
        return;
    }
    if (!FINE(aur_apply(r->pool, &pid, who, 0))) {
        return;
    }
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        bool ours =
            fgets(name, sizeof(name), file) != NULL && strncmp(name, "soak-worker", 11) == 0;
        fclose(file);
        if (ours) { /* it may have been replaced since it answered */
            (void)kill(pid, SIGKILL);
        }
    }
}

void soak_step(const struct soak_round *round, uint64_t *random)
{
    static void (*const steps[])(const struct soak_round *, uint64_t *) = {
        step_apply,     step_apply,   step_async,    step_async,      step_cancel,
        step_withdraw,  step_notices, step_map,      step_map_errors, step_map_async,
        step_completed, step_for,     step_imap,     step_bytes,      step_buf,
        soak_tree,      soak_cycle,   soak_inside,   soak_inside,     soak_forks,
        soak_forks,     step_explain, step_progress, step_decide,     step_kill,
    };

    steps[soak_below(random, sizeof(steps) / sizeof(steps[0]))](round, random);
}
