/* Operations of the soak test on tasks that fork and join, in both forms: branches that fork, fail, submit, wait,
 * are cancelled or dropped.  Each leaf adds its own number, so one that is lost or run twice shows in the sum. */
#include "soak.h"

#define NUMBERS 300
#define BAD 1000 /* what a leaf fails with, and its number */
#define FEW 5

/* ---- the typed form ---------------------------------------------------------------------------- */

/* What the leaves of a tree do, by their numbers. */
struct plan {
    int bad[2]; /* these fail; -1: none does */
    int submit; /* one in so many calls its own pool ... */
    int cancel; /* ... cancels what it has submitted ... */
    int drop;   /* ... or leaves a branch that it has forked */
};

static int negative(int x)
{
    return -x;
}
AUR_FN(int, negative, int);

typedef _Atomic(int) *counter;
static void count(counter n)
{
    atomic_fetch_add(n, 1);
}
AUR_FN_VOID(count, counter);

static int submits(int number)
{
    int v = 0;
    aur_err err = aur_apply(aur_pool_current(), &v, negative, number);

    MUST(err != AUR_OK || v == -number);
    return err == AUR_OK ? number : aur_fail(err, "%s", aur_err_name(err));
}

static int cancels(int number)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int v = 0;
    aur_err err = aur_apply_async(aur_pool_current(), &future, negative, number);

    err = err == AUR_OK ? aur_future_cancel(future, NULL) : err;
    err = err == AUR_OK ? aur_future_result(future, &v, AUR_NO_DEADLINE) : err;
    MUST(err != AUR_OK || v == -number);
    return err == AUR_OK || err == AUR_ECANCELED ? number : aur_fail(err, "%s", aur_err_name(err));
}

/* A branch whose scope ends has run, or never will. */
static int drops(int number)
{
    _Atomic(int) ran = 0;
    int seen;

    {
        aur_fork(branch, count, &ran);
    }
    seen = atomic_load(&ran);
    MUST(seen == 0 || seen == 1);
    {
        aur_fork(branch, negative, number);
        MUST(aur_joined(branch, negative) == -number);
    }
    MUST(atomic_load(&ran) == seen);
    return number;
}

static bool is_one_in(int number, int so_many)
{
    return so_many != 0 && number % so_many == 0;
}

static int leaf(struct plan plan, int number)
{
    if (number == plan.bad[0] || number == plan.bad[1]) {
        return aur_fail(BAD + number, "leaf %d", number);
    }
    if (is_one_in(number, plan.submit)) {
        return submits(number);
    }
    if (is_one_in(number, plan.cancel)) {
        return cancels(number);
    }
    return is_one_in(number, plan.drop) ? drops(number) : number;
}

/* The sum of the numbers of 1 << depth leaves. */
static int grow(struct plan plan, int depth, int first);
AUR_FN(int, grow, struct plan, int, int);
static int grow(struct plan plan, int depth, int first)
{
    if (depth == 0) {
        return leaf(plan, first);
    }
    aur_err err = aur_checkpoint();
    if (err != AUR_OK) {
        return aur_fail(err, "it was told to stop: %s", aur_err_name(err));
    }
    aur_fork(right, grow, plan, depth - 1, first + (1 << (depth - 1)));
    int left = grow(plan, depth - 1, first);
    return left + aur_joined(right, grow);
}

static void step_grow(const struct soak_round *r, uint64_t *random)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int depth = (int)soak_below(random, 11);
    int leaves = 1 << depth;
    bool fails = soak_below(random, 4) == 0;
    bool cancelled = soak_below(random, 4) == 0;
    struct plan plan = { .bad = { -1, -1 } };
    int v = 0;

    for (int i = 0; fails && i < 2; i++) {
        plan.bad[i] = (int)soak_below(random, (uint64_t)leaves);
    }
    plan.submit = soak_below(random, 3) == 0 ? 1 + (int)soak_below(random, 100) : 0;
    plan.cancel = soak_below(random, 3) == 0 ? 1 + (int)soak_below(random, 100) : 0;
    plan.drop = soak_below(random, 3) == 0 ? 1 + (int)soak_below(random, 10) : 0;
    if (!FINE(aur_apply_async(r->pool, &future, grow, plan, depth, 0))) {
        return;
    }
    if (cancelled) {
        AURT_CHECK(aur_future_cancel(future, NULL) == AUR_OK);
    }
    aur_err err = aur_future_result(future, &v, AUR_NO_DEADLINE);
    const aur_error *error = aur_future_error(future);
    if (err == AUR_ETASK && error->code >= BAD) { /* the first of them counts, whichever that was */
        AURT_CHECK(fails && (error->code == BAD + plan.bad[0] || error->code == BAD + plan.bad[1]));
        AURT_CHECK(strncmp(error->message, "leaf ", 5) == 0 &&
                   atoi(error->message + 5) == error->code - BAD);
    } else if (!(cancelled && err == AUR_ECANCELED) && soak_waited(r, err, error)) {
        AURT_CHECK(!fails && v == leaves * (leaves - 1) / 2);
    }
}

/* ---- plain functions and contexts ---------------------------------------------------------------- */

struct part {
    int *at;
    int *room; /* for as many */
    int n;
    bool fails; /* all parts of one */
};

static void merge(const struct part *low, const struct part *high)
{
    int i = 0;
    int k = 0;

    for (int to = 0; to < low->n + high->n; to++) {
        bool from_low = k == high->n || (i < low->n && low->at[i] <= high->at[k]);
        low->room[to] = from_low ? low->at[i++] : high->at[k++];
    }
    memcpy(low->at, low->room, (size_t)(low->n + high->n) * sizeof(int));
}

static void sort(void *arg)
{
    struct part *part = arg;
    int half = part->n / 2;
    struct part low = { part->at, part->room, half, part->fails };
    struct part high = { part->at + half, part->room + half, part->n - half, part->fails };

    if (part->n < 2) {
        if (part->fails) {
            aur_fail(BAD, "leaf 0");
        }
        return;
    }
    if (aur_join(sort, &low, sort, &high) != AUR_OK) {
        aur_fail(-__LINE__, "forks.c: aur_join()");
    }
    merge(&low, &high);
}

/* Sorts numbers that follow from the seed; the sum of them. */
static int sorted(int seed)
{
    int numbers[NUMBERS];
    int room[NUMBERS];
    uint64_t random = (uint64_t)seed + 1;
    struct part all = { numbers, room, seed % (NUMBERS + 1), seed % 7 == 0 };
    int before = 0;
    int after = 0;

    for (int i = 0; i < all.n; i++) {
        numbers[i] = (int)soak_below(&random, 1000);
        before += numbers[i];
    }
    sort(&all);
    for (int i = 0; i < all.n; i++) {
        MUST(i == 0 || numbers[i - 1] <= numbers[i]);
        after += numbers[i];
    }
    MUST(before == after);
    return after;
}
AUR_FN(int, sorted, int);

static void step_sort(const struct soak_round *r, uint64_t *random)
{
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    aur_err errs[FEW];
    int in[FEW];
    int out[FEW];
    size_t n = 1 + soak_below(random, FEW);

    for (size_t i = 0; i < n; i++) {
        in[i] = (int)soak_below(random, 100000);
    }
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    aur_err err = aur_map_with(r->pool, &opts, sorted, in, n, out);
    if (err != AUR_OK && err != AUR_ETASK) {
        AURT_CHECK(!FINE(err));
        return;
    }
    AURT_CHECK(err == AUR_OK || aur_last_error()->code == BAD);
    for (size_t i = 0; i < n; i++) {
        if (errs[i] == AUR_ETASK || FINE(errs[i])) {
            AURT_CHECK((errs[i] == AUR_ETASK) == (in[i] % 7 == 0));
            AURT_CHECK(errs[i] != AUR_OK || out[i] == sorted(in[i])); /* here it is serial */
        }
    }
}

void soak_forks(const struct soak_round *r, uint64_t *random)
{
    (soak_below(random, 3) == 0 ? step_sort : step_grow)(r, random);
}
