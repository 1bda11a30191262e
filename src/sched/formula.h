/* sched/formula.h: which of several tasks a wait needs, where it is not any one of them.
 *
 * A worker process asks its parent one question for all of its threads (proc/turns.c), and its own thread may need
 * the answers to several: as the owner of a loop whose helpers wait, each for another task.  So beside the tasks
 * there are gates.  A gate is live if so many of its inputs are as it needs: 1 of them, or all, or any number between;
 * an input is a task or a gate.  The wait can end if gate 0 is live: the least fixpoint, since gates may be
 * inputs of each other. */
#ifndef AURI_SCHED_FORMULA_H
#define AURI_SCHED_FORMULA_H

#include <auriga/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct auri_formula_gate {
    uint32_t need;    /* I: > 0 */
    uint32_t n;       /* I: inputs */
    size_t first;     /* I: ... of these the first */
    uint32_t missing; /* of the last solve: live inputs that it lacks; 0: it is live */
    bool blocks;      /* ... and gate 0 needs it */
};

/* Keys: I constant.  The rest is scratch: detect lock. */
struct auri_formula {
    uint32_t ids;                   /* I: tasks: inputs below this */
    uint32_t gates;                 /* I: > 0: the inputs from there on */
    struct auri_formula_gate *gate; /* I */
    uint32_t *input;                /* I: those of a gate lie together */
    size_t *first_user;             /* I: by input, and one more: where its users begin ... */
    uint32_t *user;                 /* I: ... gates, once for each time that they name it */
    uint32_t *todo;
    bool *live; /* by task: from the caller */
    bool *
        blocks; /* by task, if gate 0 was not live: it is not, and gate 0 lacks it, directly or by gates that are
                   * not live */
};

/* From words as a worker has written them (wire/ctl.h), which may be nonsense.  ids: so many tasks there are.
 * Errors: AUR_EINVAL they are no formula; AUR_ENOMEM. */
aur_err auri_formula_read(const uint32_t *words, size_t n, uint32_t ids,
                          struct auri_formula **ret_formula);
void auri_formula_free(struct auri_formula *formula);

/* Whether gate 0 is live, from `live`.  Looks at each input of a gate twice at most, whatever the words were. */
bool auri_formula_solve(struct auri_formula *formula);

#endif /* AURI_SCHED_FORMULA_H */
