/* See board.h. */
#include "sched/board.h"

#include "sched/pace.h"

bool auri_board_add(struct auri_range_board *board, struct auri_range_slot *slot)
{
    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        struct auri_range_slot *nobody = NULL;
        if (auri_load_rlx(&board->slot[i]) == NULL &&
            /* seq_cst; the caller's notify has the fence that pairs with a sleeper's last look. */
            auri_cas_sc(&board->slot[i], &nobody, slot)) {
            auri_add_sc(&board->filled, 1u);
            return true;
        }
    }
    return false;
}

void auri_board_remove(struct auri_range_board *board, struct auri_range_slot *slot)
{
    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        if (auri_load_rlx(&board->slot[i]) == slot) {
            auri_store_rel(&board->slot[i], NULL);
            auri_add_sc(&board->filled, UINT32_MAX);
            return;
        }
    }
}

bool auri_slot_is_worth(const struct auri_range_slot *slot, uint64_t word)
{
    if (auri_slot_lo(word) >= auri_slot_hi(word)) {
        return false;
    }
    /* relaxed: a hint; 0: unknown. */
    uint64_t item_ps = auri_load_rlx(&((struct auri_range_slot *)slot)->item_ps);
    return item_ps == 0 ||
           auri_pace_ns(auri_slot_hi(word) - auri_slot_lo(word), item_ps) > 2 * AURI_BITE_NS;
}

bool auri_board_looks_open_slow(struct auri_range_board *board)
{
    for (unsigned i = 0; i < AURI_BOARD_SLOTS; i++) {
        struct auri_range_slot *slot = auri_load_acq(&board->slot[i]);
        if (slot != NULL && auri_slot_is_worth(slot, auri_load_acq(&slot->word))) {
            return true;
        }
    }
    return false;
}

uint32_t auri_slot_cut(const struct auri_range_slot *slot, uint32_t lo, uint32_t hi)
{
    /* relaxed: a hint; one of another loop gives a cut that is as right. */
    uint32_t cut = auri_load_rlx(&((struct auri_range_slot *)slot)->cut);
    uint32_t quarter = (hi - lo) / 4;

    return cut > lo + quarter && cut < hi - quarter ? cut : lo + (hi - lo) / 2;
}

struct auri_range_slot *auri_slot_free(struct auri_record *self)
{
    for (unsigned i = 0; i < AURI_RANGE_DEPTH; i++) {
        struct auri_range_slot *slot = &self->range[i];
        /* acquire [F2]; pairs with [F1] in share.c: the reads come before our writes. */
        if (!slot->busy && auri_load_acq(&slot->fetched) == slot->given) {
            return slot;
        }
    }
    return NULL;
}
