/* The small sizes: slabs, which are extents cut into slots of one size. */
#include "wire/arena_internal.h"

#include <stdlib.h>

#include "base/atomic.h"
#include "base/err.h"

/* A slab: slots that were never handed out lie from `fresh` up, the others are in `taken` or on
 * the stack. */
struct block {
    struct extent *extent;
    struct block **link; /* what points here: the list of its class, while a slot is free and
                            another one used */
    struct block *next;
    uint64_t *taken; /* a bit per slot */
    uint32_t slot_bytes;
    uint32_t class;
    uint32_t slots;
    uint32_t fresh;
    uint32_t used;
    uint32_t stacked;
    uint16_t stack[];
};

/* ---- size classes -------------------------------------------------------------------------- */

static uint32_t class_of(uint64_t size)
{
    if (size <= 512) {
        return size == 0 ? 0 : (uint32_t)((size - 1) / SLOT_BYTES_MIN);
    }
    unsigned log = 63u - (unsigned)__builtin_clzll(size - 1); /* 2^log < size <= 2^(log+1) */
    return 8 + (log - 9) * 4 + (uint32_t)(((size - 1) >> (log - 2)) & 3);
}

static uint32_t class_bytes(uint32_t class)
{
    if (class < 8) {
        return (class + 1) * SLOT_BYTES_MIN;
    }
    unsigned log = 9 + (class - 8) / 4;
    return (1u << log) + ((class - 8) % 4 + 1) * (1u << (log - 2));
}

/* ---- blocks -------------------------------------------------------------------------------- */

static void partial_insert_locked(struct slot_class *class, struct block *b)
{
    b->link = &class->partial;
    b->next = class->partial;
    if (b->next != NULL) {
        b->next->link = &b->next;
    }
    class->partial = b;
}

static void partial_remove_locked(struct block *b)
{
    *b->link = b->next;
    if (b->next != NULL) {
        b->next->link = b->link;
    }
}

/* Most pools need a few slots of a size.  A page that is committed for nothing costs as much as one that is used:
 * 3 us, with its end. */
static uint32_t block_bytes(const struct slot_class *class, uint32_t slot_bytes)
{
    bool few = class->blocks == 0 && slot_bytes <= FIRST_BLOCK_BYTES / 8;

    return few ? FIRST_BLOCK_BYTES : BLOCK_BYTES;
}

static struct block *block_new(uint32_t class, uint32_t bytes)
{
    uint32_t slots = bytes / class_bytes(class);
    size_t bits = (slots + 63) / 64 * sizeof(uint64_t);
    size_t head = (sizeof(struct block) + slots * sizeof(uint16_t) + 7) / 8 * 8;
    struct block *b = calloc(1, head + bits);

    if (b != NULL) {
        b->class = class;
        b->slots = slots;
        b->slot_bytes = class_bytes(class);
        b->taken = (uint64_t *)(void *)((unsigned char *)b + head);
    }
    return b;
}

static void block_delete_locked(auri_arena *a, struct block *b)
{
    (void)auri_pages_set_locked(a, b->extent->offset, b->extent->bytes / a->page_bytes, NULL);
    a->classes[b->class].blocks--;
    auri_extent_release_locked(a, b->extent);
    free(b);
}

void auri_small_drop_empty_locked(auri_arena *a)
{
    for (int i = 0; i < CLASSES; i++) {
        if (a->classes[i].empty != NULL) {
            block_delete_locked(a, a->classes[i].empty);
            a->classes[i].empty = NULL;
        }
    }
}

/* ---- slots --------------------------------------------------------------------------------- */

static uint64_t slot_take_locked(auri_arena *a, struct block *b)
{
    uint32_t slot = b->stacked > 0 ? b->stack[--b->stacked] : b->fresh++;

    b->taken[slot / 64] |= UINT64_C(1) << slot % 64;
    auri_use_locked(a, b->slot_bytes);
    if (++b->used == b->slots) {
        partial_remove_locked(b);
    }
    return b->extent->offset + (uint64_t)slot * b->slot_bytes;
}

#define AHEAD_BYTES 1024u /* about as many lines as a CPU asks for at a time */

/* Where the next slot will be handed out, if it was used before; 0: nowhere. */
static uint64_t next_slot_locked(const struct block *b)
{
    return b->stacked == 0 ? 0
                           : b->extent->offset + (uint64_t)b->stack[b->stacked - 1] * b->slot_bytes;
}

/* Another process has read it since, and has its lines.  They come over while this slot is used; else the
 * next lock or fence behind the writes waits for all of them: bench/payload. */
static void fetch_ahead(auri_arena *a, uint64_t offset, uint64_t size)
{
    const unsigned char *at = auri_arena_at(a, offset);

    for (uint64_t i = 0; i < size && i < AHEAD_BYTES; i += AURI_CACHE_LINE) {
        auri_prefetch_write(at + i);
    }
}

aur_err auri_small_alloc(auri_arena *a, uint64_t size, uint64_t *ret_offset)
{
    uint32_t number = class_of(size);
    struct slot_class *class = &a->classes[number];
    struct extent *e = NULL;

    pthread_mutex_lock(&a->lock);
    if (class->partial == NULL && class->empty != NULL) {
        partial_insert_locked(class, class->empty);
        class->empty = NULL;
    }
    struct block *b = class->partial;
    if (b == NULL) {
        uint32_t bytes = block_bytes(class, class_bytes(number));
        pthread_mutex_unlock(&a->lock);
        b = block_new(number, bytes);
        aur_err err = b != NULL ? auri_extent_alloc(a, bytes, true, &e) : AUR_ENOMEM;
        if (err != AUR_OK) {
            free(b);
            return err;
        }
        pthread_mutex_lock(&a->lock);
        b->extent = e;
        e->block = b;
        class->blocks++;
        partial_insert_locked(class, b);
    }
    *ret_offset = slot_take_locked(a, b);
    uint64_t next = next_slot_locked(b);
    pthread_mutex_unlock(&a->lock);
    if (next != 0) {
        fetch_ahead(a, next, size);
    }
    return AUR_OK;
}

void auri_small_free_locked(auri_arena *a, struct block *b, uint64_t offset)
{
    uint64_t at = offset - b->extent->offset;
    uint32_t slot = (uint32_t)(at / b->slot_bytes);
    struct slot_class *class = &a->classes[b->class];

    AURI_ASSERT(at % b->slot_bytes == 0 && slot < b->slots);
    AURI_ASSERT((b->taken[slot / 64] >> slot % 64 & 1) != 0); /* else freed twice */
    b->taken[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    b->stack[b->stacked++] = (uint16_t)slot;
    a->used -= b->slot_bytes;
    if (b->used-- < b->slots) {
        if (class->partial == b && b->used > 0) {
            return;
        }
        partial_remove_locked(b);
    }
    if (b->used > 0) {
        partial_insert_locked(class, b); /* to the front: its last slot is the warmest */
    } else if (class->empty == NULL) {
        class->empty = b;
    } else {
        block_delete_locked(a, b);
    }
}
