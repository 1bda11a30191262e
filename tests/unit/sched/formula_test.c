/* Goal:   a formula is read only if it is one, and solved as its definition says: the least fixpoint, and of what is
 *         not live, that which gate 0 lacks.
 * Method: small formulas by hand, each kind of nonsense; then random ones, gates that are inputs of each other among
 *         them, against a solver that goes round until nothing changes.
 * Guards: src/sched/formula.c. */
#include "aurt.h"

#include "sched/formula.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct auri_formula *formula_of(const uint32_t *words, size_t n, uint32_t ids)
{
    struct auri_formula *formula = NULL;

    AURT_OK(auri_formula_read(words, n, ids, &formula));
    return formula;
}

/* live, want: a bit for each task. */
static void solve(struct auri_formula *f, unsigned live, bool want, unsigned blocks)
{
    for (uint32_t i = 0; i < f->ids; i++) {
        f->live[i] = (live >> i & 1) != 0;
    }
    assert_int_equal(auri_formula_solve(f), want);
    for (uint32_t i = 0; i < f->ids; i++) {
        assert_int_equal(f->blocks[i], blocks >> i & 1);
    }
}

static void all_and_any(void **state)
{
    static const uint32_t all[] = { 1, 2, 2, 0, 1 };
    static const uint32_t any[] = { 1, 1, 2, 0, 1 };
    /* all of: 0; any of 1 and 2 */
    static const uint32_t both[] = { 2, 2, 2, 0, 4, 1, 2, 1, 2 };
    struct auri_formula *f = formula_of(all, N(all), 2);

    (void)state;
    solve(f, 0, false, 3);
    solve(f, 1, false, 2);
    solve(f, 3, true, 0);
    solve(f, 2, false, 1);
    auri_formula_free(f);
    f = formula_of(any, N(any), 2);
    solve(f, 0, false, 3);
    solve(f, 2, true, 0);
    auri_formula_free(f);
    f = formula_of(both, N(both), 3);
    solve(f, 1, false, 6);
    solve(f, 2, false, 1); /* 2 is dead, and nothing needs it */
    solve(f, 5, true, 0);
    auri_formula_free(f);
}

/* Two gates that wait for each other, or for something else, have no life of their own. */
static void least_fixpoint(void **state)
{
    static const uint32_t words[] = { 3, 1, 1, 3, 1, 2, 0, 4, 1, 2, 1, 3 };
    struct auri_formula *f = formula_of(words, N(words), 2);

    (void)state;
    solve(f, 0, false, 3);
    solve(f, 1, true, 0);
    solve(f, 2, true, 0);
    auri_formula_free(f);
}

static void nonsense(void **state)
{
    static const struct {
        size_t n;
        uint32_t words[8];
    } bad[] = {
        { 0, { 0 } },
        { 1, { 0 } },                   /* no gate */
        { 1, { 1 } },                   /* none of what there should be */
        { 2, { 1, 1 } },                /* half of it */
        { 3, { 1, 0, 0 } },             /* no input */
        { 4, { 1, 0, 1, 0 } },          /* needs none */
        { 4, { 1, 2, 1, 0 } },          /* needs more than there are */
        { 4, { 1, 1, 1, 3 } },          /* an input that there is not */
        { 4, { 1, 1, 2, 0 } },          /* cut off */
        { 5, { 1, 1, 1, 0, 0 } },       /* too long */
        { 4, { 2, 1, 1, 0 } },          /* too few gates */
        { 4, { UINT32_MAX, 1, 1, 0 } }, /* far too few */
        { 4, { 1, 1, UINT32_MAX, 0 } },
    };

    (void)state;
    for (size_t i = 0; i < N(bad); i++) {
        struct auri_formula *f = NULL;
        AURT_ERR(AUR_EINVAL, auri_formula_read(bad[i].words, bad[i].n, 2, &f));
        assert_null(f);
    }
}

/* ---- random ones ---------------------------------------------------------------------------- */

enum { IDS = 5, GATES = 6, INPUTS = 4 };

static uint32_t seed = 1;

static uint32_t below(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static bool is_live(const struct auri_formula *f, const bool *gate, uint32_t input)
{
    return input < f->ids ? f->live[input] : gate[input - f->ids];
}

/* The definition. */
static void expect(struct auri_formula *f)
{
    bool live[GATES] = { false };
    bool lacks[IDS + GATES] = { false };

    for (int round = 0; round < GATES; round++) {
        for (uint32_t g = 0; g < f->gates; g++) {
            uint32_t n = 0;
            for (uint32_t k = 0; k < f->gate[g].n; k++) {
                n += is_live(f, live, f->input[f->gate[g].first + k]);
            }
            live[g] = live[g] || n >= f->gate[g].need;
        }
    }
    lacks[IDS] = !live[0];
    for (int round = 0; round < GATES; round++) {
        for (uint32_t g = 0; g < f->gates; g++) {
            for (uint32_t k = 0; k < f->gate[g].n && lacks[IDS + g]; k++) {
                uint32_t input = f->input[f->gate[g].first + k];
                lacks[input] = lacks[input] || !is_live(f, live, input);
            }
        }
    }
    assert_int_equal(auri_formula_solve(f), live[0]);
    for (uint32_t i = 0; i < f->ids; i++) {
        assert_int_equal(f->blocks[i], lacks[i]);
    }
}

static void random_ones(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        uint32_t words[1 + GATES * (2 + INPUTS)] = { 1 + below(GATES) };
        size_t n = 1;
        for (uint32_t g = 0; g < words[0]; g++) {
            uint32_t inputs = 1 + below(INPUTS);
            words[n++] = 1 + below(inputs);
            words[n++] = inputs;
            for (uint32_t k = 0; k < inputs; k++) {
                words[n++] = below(IDS + words[0]);
            }
        }
        struct auri_formula *f = formula_of(words, n, IDS);
        for (int i = 0; i < 4; i++) {
            for (uint32_t k = 0; k < IDS; k++) {
                f->live[k] = below(2) != 0;
            }
            expect(f);
        }
        auri_formula_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_and_any),
        cmocka_unit_test(least_fixpoint),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(random_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
