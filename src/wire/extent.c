/* Extents: the free ones by size, the list by address, and the table of pages; how a range is
 * chosen, committed and handed out, and how memory is given back to the system.
 *
 * Choice: warm before cold, since a cold page costs 4 to 7 us; the smallest that is enough; among
 * equals the one freed last.  A cold extent is taken together with the warm one below it, so that
 * a payload that grows a little each time commits the difference only. */
#include "wire/arena_internal.h"

#include <stdlib.h>
#include <string.h>

#include "plat/shm.h"

/* Commits below the size that auri_commit() checks are added up, and the budget is asked for each
 * time they reach this: a quarter of the margin that the budget keeps back. */
static const uint64_t UNCHECKED_BYTES_MAX = UINT64_C(16) << 20;
static const uint64_t CHECKED_BYTES_MIN = UINT64_C(1) << 20;

/* ---- free extents by size: a treap --------------------------------------------------------- */

static bool before(const struct extent *x, const struct extent *y)
{
    return x->bytes != y->bytes ? x->bytes < y->bytes : x->stamp > y->stamp;
}

static void tree_insert(struct extent **link, struct extent *e)
{
    while (*link != NULL && (*link)->priority >= e->priority) {
        link = before(e, *link) ? &(*link)->left : &(*link)->right;
    }
    /* What stood here is split around e. */
    struct extent *rest = *link;
    struct extent **below = &e->left;
    struct extent **above = &e->right;
    while (rest != NULL) {
        if (before(rest, e)) {
            *below = rest;
            below = &rest->right;
            rest = rest->right;
        } else {
            *above = rest;
            above = &rest->left;
            rest = rest->left;
        }
    }
    *below = NULL;
    *above = NULL;
    *link = e;
}

static void tree_remove(struct extent **link, struct extent *e)
{
    while (*link != e) {
        link = before(e, *link) ? &(*link)->left : &(*link)->right;
    }
    struct extent *below = e->left;
    struct extent *above = e->right;
    while (below != NULL && above != NULL) {
        if (below->priority > above->priority) {
            *link = below;
            link = &below->right;
            below = below->right;
        } else {
            *link = above;
            link = &above->left;
            above = above->left;
        }
    }
    *link = below != NULL ? below : above;
}

/* The smallest of at least that many bytes, the last freed of those; or NULL. */
static struct extent *tree_find(struct extent *root, uint64_t bytes)
{
    struct extent *best = NULL;

    while (root != NULL) {
        if (root->bytes >= bytes) {
            best = root;
            root = root->left;
        } else {
            root = root->right;
        }
    }
    return best;
}

/* The largest of all, the first freed of those; or NULL. */
static struct extent *tree_last(struct extent *root)
{
    while (root != NULL && root->right != NULL) {
        root = root->right;
    }
    return root;
}

/* ---- extents ------------------------------------------------------------------------------- */

static struct extent *extent_new(uint64_t offset, uint64_t bytes, bool warm)
{
    struct extent *e = malloc(sizeof(*e));

    if (e != NULL) {
        *e =
            (struct extent){ .offset = offset, .bytes = bytes, .warm = warm, .state = EXTENT_BUSY };
    }
    return e;
}

/* Puts e behind `prev`; NULL: first of all. */
static void list_insert_locked(auri_arena *a, struct extent *prev, struct extent *e)
{
    struct extent *next = prev != NULL ? prev->next : a->first;

    e->prev = prev;
    e->next = next;
    *(prev != NULL ? &prev->next : &a->first) = e;
    *(next != NULL ? &next->prev : &a->last) = e;
    a->extents++;
}

static void list_delete_locked(auri_arena *a, struct extent *e)
{
    *(e->prev != NULL ? &e->prev->next : &a->first) = e->next;
    *(e->next != NULL ? &e->next->prev : &a->last) = e->prev;
    a->extents--;
    free(e);
}

/* Takes a free extent out of its tree. */
static void take_locked(auri_arena *a, struct extent *e)
{
    tree_remove(&a->tree[e->warm], e);
    a->free_warm -= e->warm ? e->bytes : 0;
    e->state = EXTENT_BUSY;
}

/* Adds the pages of a free neighbour of the same temperature to e. */
static void absorb_locked(auri_arena *a, struct extent *e, struct extent *neighbour)
{
    if (neighbour != NULL && neighbour->state == EXTENT_FREE && neighbour->warm == e->warm) {
        take_locked(a, neighbour);
        e->offset = neighbour->offset < e->offset ? neighbour->offset : e->offset;
        e->bytes += neighbour->bytes;
        list_delete_locked(a, neighbour);
    }
}

void auri_extent_release_locked(auri_arena *a, struct extent *e)
{
    absorb_locked(a, e, e->prev);
    absorb_locked(a, e, e->next);
    a->random ^= a->random << 13;
    a->random ^= a->random >> 7;
    a->random ^= a->random << 17;
    e->priority = (uint32_t)(a->random >> 32);
    e->stamp = ++a->stamp;
    e->state = EXTENT_FREE;
    e->block = NULL;
    a->free_warm += e->warm ? e->bytes : 0;
    tree_insert(&a->tree[e->warm], e);
}

/* Cuts a busy extent to `bytes`; the rest becomes `rest`, and free. */
static void cut_locked(auri_arena *a, struct extent *e, uint64_t bytes, struct extent *rest)
{
    rest->offset = e->offset + bytes;
    rest->bytes = e->bytes - bytes;
    rest->warm = e->warm;
    e->bytes = bytes;
    list_insert_locked(a, e, rest);
    auri_extent_release_locked(a, rest);
}

/* The first of adjacent free extents that hold `bytes` together, or NULL. */
static struct extent *choose_locked(auri_arena *a, uint64_t bytes)
{
    struct extent *e = tree_find(a->tree[true], bytes);
    uint64_t run = 0;

    if (e != NULL) {
        return e;
    }
    e = tree_find(a->tree[false], bytes);
    if (e != NULL) {
        return e->prev != NULL && e->prev->state == EXTENT_FREE ? e->prev : e;
    }
    for (struct extent *at = a->first; at != NULL; at = at->next) {
        if (at->state != EXTENT_FREE) {
            run = 0;
            continue;
        }
        e = run == 0 ? at : e;
        run += at->bytes;
        if (run >= bytes) {
            return e;
        }
    }
    return NULL;
}

/* Takes `bytes` from the extent `first` on.  Returns the last extent of the run; *spare is used for
 * what is left of it, and then NULL. */
static struct extent *take_run_locked(auri_arena *a, struct extent *first, uint64_t bytes,
                                      struct extent **spare)
{
    struct extent *e = first;

    for (take_locked(a, e); e->bytes < bytes; take_locked(a, e)) {
        bytes -= e->bytes;
        e = e->next;
    }
    if (e->bytes > bytes) {
        cut_locked(a, e, bytes, *spare);
        *spare = NULL;
    }
    return e;
}

/* Counts what is to be committed; true: the budget must be asked here, as auri_commit() will not. */
static bool check_due_locked(auri_arena *a, uint64_t bytes)
{
    a->unchecked += bytes < CHECKED_BYTES_MIN ? bytes : 0;
    bool due = a->unchecked >= UNCHECKED_BYTES_MAX;
    a->unchecked = due ? 0 : a->unchecked;
    return due;
}

/* Puts pages behind a busy extent, or takes them away.  Never through a descriptor whose number means
 * another file by now: code of the host, or a task in a worker, may have closed it and opened one. */
static aur_err commit_extent(auri_arena *a, const struct extent *e)
{
    if (a->fd < 0) {
        return auri_commit_mapped(&a->policy, a->base + e->offset, e->bytes);
    }
    return aurp_file_is(a->fd, a->file) ? auri_commit(&a->policy, a->fd, e->offset, e->bytes)
                                        : AUR_ESYS;
}

static bool punch_extent(auri_arena *a, const struct extent *e)
{
    if (a->fd < 0) {
        return aurp_shm_depopulate(a->base + e->offset, e->bytes) == 0;
    }
    return aurp_file_is(a->fd, a->file) && aurp_shm_punch(a->fd, e->offset, e->bytes) == 0;
}

/* Commits the cold extents of a busy run.  Locks: none.  *committed counts also what was done
 * before a failure. */
static aur_err commit_run(auri_arena *a, struct extent *first, const struct extent *last,
                          uint64_t *committed)
{
    aur_err err = AUR_OK;
    struct extent *next; /* the link behind the last one is guarded by the lock */

    for (struct extent *e = first; e != NULL && err == AUR_OK; e = next) {
        next = e != last ? e->next : NULL;
        if (!e->warm) {
            err = commit_extent(a, e);
            e->warm = err == AUR_OK;
            *committed += e->warm ? e->bytes : 0;
        }
    }
    return err;
}

/* Makes one used extent of a committed run. */
static void join_run_locked(auri_arena *a, struct extent *first, uint64_t bytes)
{
    struct extent *next = first->next;

    while (first->bytes < bytes) {
        struct extent *e = next;
        next = e->next;
        first->bytes += e->bytes;
        list_delete_locked(a, e);
    }
    first->state = EXTENT_USED;
}

static void release_run_locked(auri_arena *a, struct extent *first, const struct extent *last)
{
    struct extent *next;

    for (struct extent *e = first; e != NULL; e = next) {
        next = e != last ? e->next : NULL; /* busy, so it is not absorbed */
        auri_extent_release_locked(a, e);
    }
}

bool auri_extent_add_locked(auri_arena *a, uint64_t offset, uint64_t bytes, bool warm)
{
    struct extent *e = bytes > 0 ? extent_new(offset, bytes, warm) : NULL;

    if (e != NULL) {
        list_insert_locked(a, a->last, e);
        auri_extent_release_locked(a, e);
    }
    return e != NULL || bytes == 0;
}

/* ---- which extent a page belongs to -------------------------------------------------------- */

/* Makes room for leaf number `last`. */
static bool pages_grow_locked(auri_arena *a, uint64_t last)
{
    uint64_t room = a->leaves < 8 ? 8 : 2 * a->leaves;

    if (last < a->leaves) {
        return true;
    }
    room = room > last ? room : last + 1;
    struct leaf **pages = realloc(a->pages, room * sizeof(struct leaf *));
    if (pages == NULL) {
        return false;
    }
    memset(pages + a->leaves, 0, (room - a->leaves) * sizeof(struct leaf *));
    a->pages = pages;
    a->leaves = room;
    return true;
}

bool auri_pages_set_locked(auri_arena *a, uint64_t offset, uint64_t count, struct extent *e)
{
    uint64_t from = offset / a->page_bytes;
    uint64_t last = (from + count - 1) / LEAF_PAGES;

    if (!pages_grow_locked(a, last)) {
        return false;
    }
    for (uint64_t i = from / LEAF_PAGES; i <= last; i++) {
        if (a->pages[i] == NULL && (a->pages[i] = calloc(1, sizeof(struct leaf))) == NULL) {
            return false;
        }
    }
    for (uint64_t page = from; page < from + count; page++) {
        *auri_page_slot_locked(a, page) = e;
    }
    return true;
}

/* ---- allocation of extents ----------------------------------------------------------------- */

/* AUR_EAGAIN: no gap is large enough. */
static aur_err extent_try(auri_arena *a, uint64_t bytes, bool slab, struct extent **ret)
{
    struct extent *spare = extent_new(0, 0, false);
    uint64_t committed = 0;

    if (spare == NULL) {
        return AUR_ENOMEM;
    }
    pthread_mutex_lock(&a->lock);
    struct extent *first = choose_locked(a, bytes);
    if (first == NULL) {
        pthread_mutex_unlock(&a->lock);
        free(spare);
        return AUR_EAGAIN;
    }
    aur_err err = AUR_OK;
    uint64_t warm = a->free_warm;
    struct extent *last = take_run_locked(a, first, bytes, &spare);
    uint64_t cold = bytes - (warm - a->free_warm);
    if (cold > 0) {
        bool check = check_due_locked(a, cold);
        pthread_mutex_unlock(&a->lock);
        err = check && auri_commit_budget(&a->policy) < cold
                  ? AUR_ENOMEM
                  : commit_run(a, first, last, &committed);
        pthread_mutex_lock(&a->lock);
        a->committed += committed;
    }
    if (err == AUR_OK) {
        join_run_locked(a, first, bytes);
        last = first;
        uint64_t pages = slab ? bytes / a->page_bytes : 1;
        err = auri_pages_set_locked(a, first->offset, pages, first) ? AUR_OK : AUR_ENOMEM;
    }
    if (err == AUR_OK) {
        auri_use_locked(a, slab ? 0 : bytes);
        *ret = first;
    } else {
        release_run_locked(a, first, last);
    }
    pthread_mutex_unlock(&a->lock);
    free(spare);
    return err;
}

/* ---- giving memory back -------------------------------------------------------------------- */

/* Makes the upper `bytes` of a free warm extent cold.  Gives the lock up in between.  Returns the extent
 * below in the list, which is where a search goes on; NULL also if there is none.  *ret_done: it is cold. */
static struct extent *punch_locked(auri_arena *a, struct extent *e, uint64_t bytes, bool *ret_done)
{
    struct extent *kept = NULL;

    *ret_done = false;
    if (bytes < e->bytes && (kept = extent_new(e->offset, e->bytes - bytes, true)) == NULL) {
        return e->prev;
    }
    take_locked(a, e);
    if (kept != NULL) {
        e->offset += kept->bytes;
        e->bytes = bytes;
        list_insert_locked(a, e->prev, kept);
        auri_extent_release_locked(a, kept);
    }
    pthread_mutex_unlock(&a->lock);
    bool done = punch_extent(a, e);
    pthread_mutex_lock(&a->lock);
    if (done) {
        e->warm = false;
        a->committed -= e->bytes;
    }
    auri_extent_release_locked(a, e);
    *ret_done = done;
    return e->prev;
}

/* With back_lock held. */
static void trim(auri_arena *a, uint64_t keep_bytes)
{
    bool done;

    pthread_mutex_lock(&a->lock);
    auri_small_drop_empty_locked(a);
    for (struct extent *e = a->last; e != NULL && a->free_warm > keep_bytes;) {
        if (e->state == EXTENT_FREE && e->warm) {
            uint64_t excess = a->free_warm - keep_bytes;
            excess = (excess + a->page_bytes - 1) / a->page_bytes * a->page_bytes;
            e = punch_locked(a, e, excess < e->bytes ? excess : e->bytes, &done);
        } else {
            e = e->prev;
        }
    }
    pthread_mutex_unlock(&a->lock);
}

void auri_arena_trim(auri_arena *a, uint64_t keep_bytes)
{
    pthread_mutex_lock(&a->back_lock);
    trim(a, keep_bytes);
    pthread_mutex_unlock(&a->back_lock);
}

void auri_arena_turn(auri_arena *a)
{
    pthread_mutex_lock(&a->lock);
    a->peak_before = a->peak;
    a->peak = a->used;
    pthread_mutex_unlock(&a->lock);
}

/* How much of the free warm memory was not in use lately, in whole pages. */
static uint64_t surplus_locked(const auri_arena *a)
{
    uint64_t peak = a->peak > a->peak_before ? a->peak : a->peak_before;
    uint64_t keep = peak - a->used + AURI_ARENA_SPARE_BYTES;

    return a->free_warm <= keep ? 0 : (a->free_warm - keep) / a->page_bytes * a->page_bytes;
}

bool auri_arena_shrink(auri_arena *a)
{
    uint64_t room = AURI_ARENA_PIECE_BYTES;
    uint64_t surplus;
    bool done = true;

    pthread_mutex_lock(&a->back_lock);
    pthread_mutex_lock(&a->lock);
    while ((surplus = surplus_locked(a)) != 0 && room != 0 && done) {
        struct extent *e = tree_last(a->tree[true]);
        uint64_t bytes = e->bytes < surplus ? e->bytes : surplus;
        bytes = bytes < room ? bytes : room;
        room -= bytes;
        (void)punch_locked(a, e, bytes, &done);
    }
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_unlock(&a->back_lock);
    return surplus != 0 && done;
}

bool auri_arena_is_large(auri_arena *a)
{
    pthread_mutex_lock(&a->lock);
    bool large = a->used > AURI_ARENA_SPARE_BYTES || a->free_warm > AURI_ARENA_SPARE_BYTES;
    pthread_mutex_unlock(&a->lock);
    return large;
}

/* ---- allocation, and a second try ------------------------------------------------------------ */

/* After the system refused: would it help to give back what lies about here, warm and unused? */
static bool reclaim(auri_arena *a, uint64_t bytes)
{
    pthread_mutex_lock(&a->lock);
    auri_small_drop_empty_locked(a);
    uint64_t warm = a->free_warm;
    pthread_mutex_unlock(&a->lock);

    uint64_t budget = auri_commit_budget(&a->policy);
    if (warm == 0 || (budget < bytes && bytes - budget > warm)) {
        return false;
    }
    auri_arena_trim(a, 0);
    return true;
}

/* No gap was large enough: what is being given back is one again afterwards, and what slabs keep. */
static void await_gaps(auri_arena *a)
{
    pthread_mutex_lock(&a->back_lock);
    pthread_mutex_lock(&a->lock);
    auri_small_drop_empty_locked(a);
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_unlock(&a->back_lock);
}

aur_err auri_extent_alloc(auri_arena *a, uint64_t bytes, bool slab, struct extent **ret)
{
    aur_err err = extent_try(a, bytes, slab, ret);

    if (err == AUR_EAGAIN) {
        await_gaps(a);
        err = extent_try(a, bytes, slab, ret);
    }
    if (err == AUR_ENOMEM && reclaim(a, bytes)) {
        err = extent_try(a, bytes, slab, ret);
    }
    return err == AUR_EAGAIN ? AUR_ENOMEM : err;
}
