/* sched/board.h: where a pool's threads find published loops, and the words that say what is left.
 *
 * range.h says who may touch a slot when; here is only what looks at one word or one place. */
#ifndef AURI_SCHED_BOARD_H
#define AURI_SCHED_BOARD_H

#include "task/record.h"

/* A slot's word: items [lo, hi), relative to the slot's base. */
static inline uint64_t auri_slot_word(uint32_t lo, uint32_t hi)
{
    return (uint64_t)lo << 32 | hi;
}
static inline uint32_t auri_slot_lo(uint64_t word)
{
    return (uint32_t)(word >> 32);
}
static inline uint32_t auri_slot_hi(uint64_t word)
{
    return (uint32_t)word;
}

/* Whether items with this word are there, and worth a thief's while. */
bool auri_slot_is_worth(const struct auri_range_slot *slot, uint64_t word);

/* Where to cut a rest in two: where the owner of the loop wished it (auri_pace_cut()), unless that leaves one
 * of the two less than half of what the other gets. */
uint32_t auri_slot_cut(const struct auri_range_slot *slot, uint32_t lo, uint32_t hi);

/* A slot that is not published, and whose job and base no thief is about to read. */
struct auri_range_slot *auri_slot_free(struct auri_record *self);

#ifndef AURI_BOARD_SLOTS /* a test makes it small */
#define AURI_BOARD_SLOTS 32u
#endif
/* The published slots of one pool. */
struct auri_range_board {
    _Atomic(uint32_t) filled; /* A: how many are not NULL, a hint */
    alignas(AURI_CACHE_LINE) _Atomic(struct auri_range_slot *) slot[AURI_BOARD_SLOTS];
};

/* False: there are more loops at once than places. */
bool auri_board_add(struct auri_range_board *board, struct auri_range_slot *slot);
/* Does nothing if the slot is not there. */
void auri_board_remove(struct auri_range_board *board, struct auri_range_slot *slot);

/* Whether a look is worth it. */
bool auri_board_looks_open_slow(struct auri_range_board *board);
static inline bool auri_board_looks_open(struct auri_range_board *board)
{
    return auri_load_acq(&board->filled) != 0 && auri_board_looks_open_slow(board);
}

#endif /* AURI_SCHED_BOARD_H */
