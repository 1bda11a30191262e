/* Monotone formulas of gates: reading and solving them. */
#include "sched/formula.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------- */

/* The number of inputs of all gates; 0: the words are no formula. */
static size_t inputs_of(const uint32_t *words, size_t n, uint32_t ids)
{
    uint64_t sources = n > 0 ? (uint64_t)ids + words[0] : 0;
    size_t inputs = 0;
    size_t at = 1;

    for (uint32_t gate = 0; n > 0 && gate < words[0]; gate++) {
        if (n - at < 2 || words[at] == 0 || words[at] > words[at + 1] ||
            words[at + 1] > n - at - 2) {
            return 0;
        }
        size_t end = at + 2 + words[at + 1];
        inputs += words[at + 1];
        for (at += 2; at < end; at++) {
            if (words[at] >= sources) {
                return 0;
            }
        }
    }
    return at == n ? inputs : 0;
}

static bool make_room(struct auri_formula *f, size_t inputs)
{
    size_t sources = (size_t)f->ids + f->gates;

    f->gate = calloc(f->gates, sizeof(*f->gate));
    f->input = calloc(inputs, sizeof(*f->input));
    f->first_user = calloc(sources + 1, sizeof(*f->first_user));
    f->user = calloc(inputs, sizeof(*f->user));
    f->todo = calloc(f->gates, sizeof(*f->todo));
    f->live = calloc((size_t)f->ids + 1, sizeof(*f->live));
    f->blocks = calloc((size_t)f->ids + 1, sizeof(*f->blocks));
    return f->gate != NULL && f->input != NULL && f->first_user != NULL && f->user != NULL &&
           f->todo != NULL && f->live != NULL && f->blocks != NULL;
}

static void note_gates(struct auri_formula *f, const uint32_t *words)
{
    size_t n = 0;

    words++;
    for (uint32_t gate = 0; gate < f->gates; gate++) {
        f->gate[gate] = (struct auri_formula_gate){ .need = words[0], .n = words[1], .first = n };
        memcpy(&f->input[n], &words[2], words[1] * sizeof(*words));
        n += words[1];
        words += 2 + words[1];
    }
}

/* Those of input i are user[first_user[i]] and on, up to where those of the next one begin. */
static void note_users(struct auri_formula *f)
{
    size_t sources = (size_t)f->ids + f->gates;
    size_t sum = 0;

    for (uint32_t gate = 0; gate < f->gates; gate++) {
        for (uint32_t k = 0; k < f->gate[gate].n; k++) {
            f->first_user[f->input[f->gate[gate].first + k]]++;
        }
    }
    for (size_t i = 0; i <= sources; i++) { /* where they end; moved to the front below */
        sum += f->first_user[i];
        f->first_user[i] = sum;
    }
    for (uint32_t gate = 0; gate < f->gates; gate++) {
        for (uint32_t k = 0; k < f->gate[gate].n; k++) {
            f->user[--f->first_user[f->input[f->gate[gate].first + k]]] = gate;
        }
    }
}

aur_err auri_formula_read(const uint32_t *words, size_t n, uint32_t ids,
                          struct auri_formula **ret_formula)
{
    size_t inputs = inputs_of(words, n, ids);

    if (inputs == 0) {
        return AUR_EINVAL;
    }
    struct auri_formula *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return AUR_ENOMEM;
    }
    f->ids = ids;
    f->gates = words[0];
    if (!make_room(f, inputs)) {
        auri_formula_free(f);
        return AUR_ENOMEM;
    }
    note_gates(f, words);
    note_users(f);
    *ret_formula = f;
    return AUR_OK;
}

void auri_formula_free(struct auri_formula *formula)
{
    if (formula == NULL) {
        return;
    }
    free(formula->gate);
    free(formula->input);
    free(formula->first_user);
    free(formula->user);
    free(formula->todo);
    free(formula->live);
    free(formula->blocks);
    free(formula);
}

/* ---- solving ------------------------------------------------------------------------------- */

/* An input has become live; n: gates to do.  Each gate is put there once, when it becomes live. */
static size_t tell_users(struct auri_formula *f, size_t input, size_t n)
{
    for (size_t i = f->first_user[input]; i < f->first_user[input + 1]; i++) {
        struct auri_formula_gate *gate = &f->gate[f->user[i]];
        if (gate->missing != 0 && --gate->missing == 0) {
            f->todo[n++] = f->user[i];
        }
    }
    return n;
}

/* From gate 0 down, over gates that are not live. */
static void note_blocking(struct auri_formula *f)
{
    size_t n = 0;

    f->gate[0].blocks = true;
    f->todo[n++] = 0;
    while (n > 0) {
        const struct auri_formula_gate *gate = &f->gate[f->todo[--n]];
        for (uint32_t k = 0; k < gate->n; k++) {
            uint32_t input = f->input[gate->first + k];
            if (input < f->ids) {
                f->blocks[input] = !f->live[input];
                continue;
            }
            struct auri_formula_gate *next = &f->gate[input - f->ids];
            if (next->missing != 0 && !next->blocks) {
                next->blocks = true;
                f->todo[n++] = input - f->ids;
            }
        }
    }
}

bool auri_formula_solve(struct auri_formula *formula)
{
    size_t n = 0;

    for (uint32_t gate = 0; gate < formula->gates; gate++) {
        formula->gate[gate].missing = formula->gate[gate].need;
        formula->gate[gate].blocks = false;
    }
    for (uint32_t i = 0; i < formula->ids; i++) {
        n = formula->live[i] ? tell_users(formula, i, n) : n;
    }
    while (n > 0) {
        n--;
        n = tell_users(formula, (size_t)formula->ids + formula->todo[n], n);
    }
    memset(formula->blocks, 0, formula->ids * sizeof(*formula->blocks));
    if (formula->gate[0].missing != 0) {
        note_blocking(formula);
    }
    return formula->gate[0].missing == 0;
}
