/* Operations of the soak test on tasks that wait themselves: for calls of their own pool, one, any or all of
 * several; for calls of other pools of the program; for themselves.  A task that finds a wrong answer says
 * on which line, as the code of its failure: less than 0. */
#include "soak.h"

#define SOME 6

aur_pool *soak_serial;
aur_pool *soak_beside;

static int cube(int x)
{
    return x * x * x;
}
AUR_FN(int, cube, int);

/* ---- its own pool ------------------------------------------------------------------------------- */

/* As a tree: each level submits two of the next to its own pool and waits for them. */
static int tree(int depth);
AUR_FN(int, tree, int);
static int tree(int depth)
{
    AUR_SCOPED(aur_future) *left = NULL;
    AUR_SCOPED(aur_future) *right = NULL;
    int a = 0;
    int b = 0;

    if (depth == 0) {
        return 1;
    }
    aur_err err = aur_apply_async(aur_pool_current(), &left, tree, depth - 1);
    err = err != AUR_OK ? err : aur_apply_async(aur_pool_current(), &right, tree, depth - 1);
    err = err != AUR_OK ? err : aur_future_result(left, &a, AUR_NO_DEADLINE);
    err = err != AUR_OK ? err : aur_future_result(right, &b, AUR_NO_DEADLINE);
    return err == AUR_OK ? a + b : aur_fail(err, "%s", aur_err_name(err));
}

/* Waits for the future that a number names: perhaps for itself. */
static int wait_for(uint64_t board)
{
    AUR_SCOPED(aur_future) *future = NULL;
    uint64_t *id = NULL;
    size_t size;
    int value = 0;

    if (aur_buf_open(board, (void **)&id, &size) != AUR_OK ||
        aur_future_open(*id, &future) != AUR_OK) {
        return -1;
    }
    return (int)aur_future_result(future, &value, AUR_NO_DEADLINE);
}
AUR_FN(int, wait_for, uint64_t);

struct several {
    aur_future *future[SOME];
};

static void several_drop(struct several *s)
{
    for (size_t i = 0; i < SOME; i++) {
        s->future[i] = aur_future_unref(s->future[i]);
    }
}

static aur_err submit_cubes(aur_pool *pool, struct several *s, int n)
{
    aur_err err = AUR_OK;

    for (int i = 0; i < n && err == AUR_OK; i++) {
        err = aur_apply_async(pool, &s->future[i], cube, i);
    }
    return err;
}

/* Waits for any of the first n.  False: none is done, though the wait says so. */
static bool waits_for_any(const struct several *s, int n, aur_deadline deadline, aur_err *ret_err)
{
    size_t index = SOME;

    *ret_err = aur_wait_any(s->future, (size_t)n, &index, deadline);
    return *ret_err != AUR_OK || (index < (size_t)n && aur_future_done(s->future[index]));
}

/* What a task returns that has waited for all n: the sum of the results, or the failure. */
static int sum_of(const struct several *s, int n, aur_err err)
{
    int sum = 0;
    int value = 0;

    for (int i = 0; i < n && err == AUR_OK; i++) {
        err = aur_future_result(s->future[i], &value, AUR_NO_DEADLINE);
        MUST(err != AUR_OK || value == i * i * i);
        sum += value;
    }
    return err == AUR_OK ? sum : aur_fail(err, "%s", aur_err_name(err));
}

/* Submits some calls and waits for any of them, at first for a moment only; then for all. */
static int first_of(int n)
{
    __attribute__((cleanup(several_drop))) struct several s = { { NULL } };
    aur_err err = submit_cubes(aur_pool_current(), &s, n);

    if (err == AUR_OK && n % 2 == 0) {
        MUST(waits_for_any(&s, n, aur_deadline_in_ns(20000), &err));
        err = err == AUR_ETIMEDOUT ? AUR_OK : err;
    }
    if (err == AUR_OK) {
        MUST(waits_for_any(&s, n, AUR_NO_DEADLINE, &err));
    }
    return sum_of(&s, n, err);
}
AUR_FN(int, first_of, int);

/* Takes them as they complete. */
static int as_they_come(int n)
{
    __attribute__((cleanup(several_drop))) struct several s = { { NULL } };
    AUR_SCOPED(aur_completed) *set = NULL;
    size_t index = SOME;
    int sum = 0;
    int value = 0;
    aur_err err = submit_cubes(aur_pool_current(), &s, n);

    err = err == AUR_OK ? aur_as_completed(s.future, (size_t)n, &set) : err;
    for (int i = 0; i < n && err == AUR_OK; i++) {
        err = aur_completed_next(set, &index, AUR_NO_DEADLINE);
        MUST(err != AUR_OK || (index < (size_t)n && aur_future_done(s.future[index])));
        err = err == AUR_OK ? aur_future_result(s.future[index], &value, 0) : err;
        MUST(err != AUR_OK || value == (int)(index * index * index));
        sum += value;
    }
    MUST(err != AUR_OK || aur_completed_next(set, &index, AUR_NO_DEADLINE) == AUR_END);
    return err == AUR_OK ? sum : aur_fail(err, "%s", aur_err_name(err));
}
AUR_FN(int, as_they_come, int);

/* ---- other pools --------------------------------------------------------------------------------- */

/* Calls to a serial pool: of the program, or, in a spawned worker, one of its own. */
static int in_serial(int n)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *own = NULL;
    int in[SOME] = { 0 };
    int out[SOME] = { 0 };
    int value = 0;
    int sum = 0;

    opts.kind = AUR_SERIAL;
    aur_err err = soak_serial != NULL ? AUR_OK : aur_pool_new(&opts, &own, NULL);
    aur_pool *pool = soak_serial != NULL ? soak_serial : own;
    err = err == AUR_OK ? aur_apply(pool, &value, cube, n) : err;
    bool right = err != AUR_OK || value == n * n * n;
    for (int i = 0; i < n; i++) {
        in[i] = i;
    }
    err = err == AUR_OK ? aur_map(pool, cube, in, (size_t)n, out) : err;
    for (int i = 0; i < n; i++) {
        right = right && (err != AUR_OK || out[i] == i * i * i);
        sum += out[i];
    }
    right = right && (own == NULL || aur_pool_join(own, AUR_NO_DEADLINE) == AUR_OK);
    aur_pool_unref(own);
    MUST(right);
    return err == AUR_OK ? sum : aur_fail(err, "%s", aur_err_name(err));
}
AUR_FN(int, in_serial, int);

/* Calls to threads that are not the pool's own: for any of them, then all. */
static int beside(int n)
{
    __attribute__((cleanup(several_drop))) struct several s = { { NULL } };
    aur_pool *pool = soak_beside != NULL ? soak_beside : aur_pool_current();
    aur_err err = submit_cubes(pool, &s, n);

    if (err == AUR_OK) {
        MUST(waits_for_any(&s, n, AUR_NO_DEADLINE, &err));
    }
    return sum_of(&s, n, err);
}
AUR_FN(int, beside, int);

/* ---- the steps ----------------------------------------------------------------------------------- */

bool soak_waited(const struct soak_round *r, aur_err err, const aur_error *error)
{
    if (err != AUR_ETASK) {
        return FINE(err);
    }
    if (error->code < 0) {
        fprintf(stderr, "line %d: does not hold: %s\n", -error->code, error->message);
        abort();
    }
    /* A call further down was refused, lost, or beyond the depth that workers and spares allow. */
    AURT_CHECK(error->code == AUR_ETASK || error->code == AUR_E2DEEP || error->code == AUR_EAGAIN ||
               !FINE(error->code));
    return false;
}

void soak_tree(const struct soak_round *r, uint64_t *random)
{
    int depth = (int)soak_below(random, 5);
    AUR_SCOPED(aur_future) *future = NULL;
    int value = 0;

    if (FINE(aur_apply_async(r->pool, &future, tree, depth))) {
        aur_err err = aur_future_result(future, &value, AUR_NO_DEADLINE);
        if (soak_waited(r, err, aur_future_error(future))) {
            AURT_CHECK(value == 1 << depth);
        }
    }
}

/* A call that waits for itself gets the verdict. */
void soak_cycle(const struct soak_round *r, uint64_t *random)
{
    AUR_SCOPED(aur_buf) *buf = NULL;
    AUR_SCOPED(aur_future) *future = NULL;
    int value = 0;

    (void)random;
    if (r->kind == AUR_SERIAL) {
        return; /* it runs in the submit: there is no number to wait for yet */
    }
    if (!FINE(aur_buf_new(r->pool, 8, AUR_BUF_INOUT, &buf))) {
        return;
    }
    *(uint64_t *)aur_buf_data(buf) = UINT64_MAX; /* no future: unless the number comes in time */
    if (!FINE(aur_apply_async(r->pool, &future, wait_for, aur_buf_id(buf)))) {
        return;
    }
    __atomic_store_n((uint64_t *)aur_buf_data(buf), aur_future_id(future), __ATOMIC_RELAXED);
    aur_err err = aur_future_result(future, &value, AUR_NO_DEADLINE);
    if (FINE(err)) {
        AURT_CHECK(value == -1 || value == AUR_EDEADLK || value == AUR_E2DEEP || !FINE(value));
    }
}

void soak_inside(const struct soak_round *r, uint64_t *random)
{
    AUR_SCOPED(aur_future) *future = NULL;
    int n = 1 + (int)soak_below(random, SOME);
    int value = 0;
    int sum = 0;
    aur_err err = AUR_OK;

    switch (soak_below(random, 4)) {
    case 0:
        err = aur_apply_async(r->pool, &future, first_of, n);
        break;
    case 1:
        err = aur_apply_async(r->pool, &future, as_they_come, n);
        break;
    case 2:
        err = aur_apply_async(r->pool, &future, in_serial, n);
        break;
    default:
        err = aur_apply_async(r->pool, &future, beside, n);
    }
    if (!FINE(err)) {
        return;
    }
    err = aur_future_result(future, &value, AUR_NO_DEADLINE);
    for (int i = 0; i < n; i++) {
        sum += i * i * i;
    }
    if (soak_waited(r, err, aur_future_error(future))) {
        AURT_CHECK(value == sum);
    }
}
