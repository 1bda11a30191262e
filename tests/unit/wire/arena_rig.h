/* arena_rig.h: an arena, and a range out of it, for tests. */
#ifndef AURT_ARENA_RIG_H
#define AURT_ARENA_RIG_H

#include "aurt.h"

#include "wire/arena.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static inline auri_arena *arena_new(uint64_t bytes)
{
    auri_arena *a = NULL;

    AURT_CHECK(auri_arena_new(bytes, "test", 0, &a, NULL) == AUR_OK);
    return a;
}

static inline uint64_t get(auri_arena *a, uint64_t size)
{
    uint64_t offset = UINT64_MAX;

    AURT_CHECK(auri_arena_alloc(a, size, &offset) == AUR_OK);
    return offset;
}

#endif /* AURT_ARENA_RIG_H */
