/* wire/arena_internal.h: what arena.c, extent.c, small.c and window.c share.
 *
 * Extents tile the file: each one is handed out, busy (taken by a thread that commits or punches
 * it without the lock), or free, and free ones are warm (committed) or cold.  They stand in one
 * list by address; the free ones also in two trees by size, warm and cold; what is handed out is
 * found through a table of pages.  No two free neighbours are of the same temperature.
 *
 * Cost: a warm allocation O(log n) in the number of free extents, a free the same; from a slab
 * both O(1).  Linear only when no single free extent is large enough but neighbours of both kinds
 * might be, and in trimming.
 *
 * Tags and constants carry no prefix: no other file includes this one. */
#ifndef AURI_WIRE_ARENA_INTERNAL_H
#define AURI_WIRE_ARENA_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "plat/process.h"
#include "wire/arena.h"

/* Slabs: 64 to 512 in steps of 64, then four sizes per doubling up to 32 KiB: at most a fifth of a
 * slot is wasted from 512 on.  Blocks are large enough for 8 slots of the largest size, and small
 * enough that a cold one is committed in well under a millisecond.  The first of a size is smaller, if 8 slots
 * are in it. */
enum { SLOT_BYTES_MIN = 64, SLOT_BYTES_MAX = 32 << 10, BLOCK_BYTES = 256 << 10, CLASSES = 32 };
enum { FIRST_BLOCK_BYTES = 64 << 10 };
enum { LEAF_PAGES = 512 };

enum extent_state { EXTENT_FREE, EXTENT_BUSY, EXTENT_USED };

/* All fields are guarded by the arena's lock, but `warm` of a busy extent and the links between the
 * extents of one busy run are its taker's. */
struct extent {
    struct extent *prev; /* by address */
    struct extent *next;
    struct extent *left; /* free: by size, see before() */
    struct extent *right;
    uint64_t offset;
    uint64_t bytes;
    uint64_t stamp; /* free: larger was freed later */
    uint32_t priority;
    uint8_t state;
    bool warm;
    struct block *block; /* used: the slab in it, or NULL */
};

struct block; /* a slab: see small.c */

struct slot_class {
    struct block *partial; /* the one with the last freed slot first */
    struct block *empty;   /* one is kept, so that a lone slot does not make and break blocks */
    uint32_t blocks;
};

struct leaf {
    struct extent *page[LEAF_PAGES];
};

/* Field keys: I constant, L guarded by lock. */
struct auri_arena {
    /* Held by whoever gives memory back, and taken before `lock`.  A range that is on its way is no gap: whoever
     * finds none waits for it here. */
    pthread_mutex_t back_lock;
    pthread_mutex_t lock;      /* nothing is locked under it; not held in commits and punches */
    unsigned char *base;       /* I */
    uint64_t bytes;            /* I */
    uint64_t page_bytes;       /* I */
    int fd;                    /* I: -1: the file is reached through the mapping only */
    aurp_file_id file;         /* I: what fd named when it was handed in */
    int readonly_fd;           /* L: -1 until asked for */
    auri_commit_policy policy; /* I after the first allocation */
    struct extent *first;      /* L */
    struct extent *last;       /* L */
    struct extent *tree[2];    /* L: [warm] */
    struct leaf **pages;       /* L: the extent or block that a page belongs to: the first page of
                                  an extent, all pages of a block; NULL where nothing is used */
    uint64_t leaves;           /* L: entries in `pages`, which grows with the offsets in use: all at
                                  once would be 200 KB to clear in each process of a pool */
    struct slot_class classes[CLASSES]; /* L */
    uint64_t extents;                   /* L: in the list */
    uint64_t used;                      /* L */
    uint64_t peak;                      /* L: the most of `used` in this period */
    uint64_t peak_before;               /* L: ... and in the one before */
    uint64_t committed;                 /* L: warm, busy or used */
    uint64_t free_warm;                 /* L: in the warm tree */
    uint64_t unchecked;                 /* L: committed since the budget was asked for */
    uint64_t stamp;                     /* L */
    uint64_t random;                    /* L: xorshift, for the priorities */
};

/* ---- extent.c ------------------------------------------------------------------------------ */

/* Hands out an extent: for a slab, or for the caller of the arena.  Locks: none.  Commits what is
 * cold without the lock; after a refusal it gives back what is unused, if that can help. */
aur_err auri_extent_alloc(auri_arena *a, uint64_t bytes, bool slab, struct extent **ret);

/* Makes an extent free.  Free neighbours become part of it, so pointers to them die. */
void auri_extent_release_locked(auri_arena *a, struct extent *e);

/* Adds a free extent at the high end; true also if there is nothing to add. */
bool auri_extent_add_locked(auri_arena *a, uint64_t offset, uint64_t bytes, bool warm);

/* Enters e, or NULL, for `count` pages from `offset` on; false: no memory, and nothing entered.
 * Cannot fail where something was entered before. */
bool auri_pages_set_locked(auri_arena *a, uint64_t offset, uint64_t count, struct extent *e);

/* The entry of a page, or NULL if none of its leaf was ever used. */
static inline struct extent **auri_page_slot_locked(const auri_arena *a, uint64_t page)
{
    uint64_t at = page / LEAF_PAGES;
    struct leaf *leaf = at < a->leaves ? a->pages[at] : NULL;

    return leaf != NULL ? &leaf->page[page % LEAF_PAGES] : NULL;
}

/* Counts bytes that are handed out. */
static inline void auri_use_locked(auri_arena *a, uint64_t bytes)
{
    a->used += bytes;
    a->peak = a->used > a->peak ? a->used : a->peak;
}

/* ---- small.c ------------------------------------------------------------------------------- */

/* A slot for size <= SLOT_BYTES_MAX.  Locks: none. */
aur_err auri_small_alloc(auri_arena *a, uint64_t size, uint64_t *ret_offset);

/* Takes back a slot of b, and the block with it if that is one empty block too many. */
void auri_small_free_locked(auri_arena *a, struct block *b, uint64_t offset);

/* Frees the empty blocks that are kept. */
void auri_small_drop_empty_locked(auri_arena *a);

/* ---- window.c ------------------------------------------------------------------------------ */

/* Is somebody else's file fit to be mapped?  AUR_EINVAL: it is smaller, or may shrink; AUR_ESYS */
aur_err auri_file_check(int fd, uint64_t bytes);

#endif /* AURI_WIRE_ARENA_INTERNAL_H */
