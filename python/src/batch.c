/* A chunk of a map in a process pool: one call of the library that runs many items.
 *
 * The worker writes each result into a shared buffer and counts it there, so that a death costs the
 * one item that was running: what was counted is kept, the item is blamed, and what comes after it is
 * submitted again.  The same happens after a result that is too large for the buffer, which comes
 * back as the call's own answer.  All of that needs no GIL, and is done by whichever thread hears of
 * the call's end first. */
#include "batch.h"

#include <string.h>

#include "batch_state.h"
#include "codec.h"

#define REGION_MIN ((size_t)4096)
#define REGION_MAX ((size_t)8 << 20)
#define BYTES_PER_ITEM 24u /* of a result, until a batch of the pool has told */
#define SAMPLE 32          /* items that tell how large the record will be */

/* ---- memory ------------------------------------------------------------------------------------ */

void batch_unref(struct batch *b)
{
    if (__atomic_sub_fetch((int *)&b->refs, 1, __ATOMIC_ACQ_REL) != 0) {
        return;
    }
    for (size_t i = 0; i < b->pieces_n; i++) {
        aur_future_unref(b->pieces[i].answer);
        free(b->pieces[i].error);
    }
    for (size_t i = 0; i < b->regions_n; i++) {
        aur_buf_unref(b->regions[i]);
    }
    for (size_t i = 0; i < b->bufs_n; i++) {
        aur_buf_unref(b->bufs[i]);
    }
    aur_future_unref(b->current);
    if (b->inside) {
        gate_leave(b->gate);
    }
    gate_unref(b->gate);
    aur_pool_unref(b->core);
    pthread_mutex_destroy(&b->lock);
    free(b->pieces);
    free(b->regions);
    free(b->record);
    free(b->bufs);
    free(b);
}

static void batch_ref(struct batch *b)
{
    __atomic_add_fetch((int *)&b->refs, 1, __ATOMIC_RELAXED);
}

static struct piece *add_piece(struct batch *b, int kind)
{
    struct piece *pieces = realloc(b->pieces, (b->pieces_n + 1) * sizeof(*pieces));

    if (pieces == NULL) {
        return NULL;
    }
    b->pieces = pieces;
    memset(&pieces[b->pieces_n], 0, sizeof(*pieces));
    pieces[b->pieces_n].kind = kind;
    return &pieces[b->pieces_n++];
}

static char *region_at(const struct batch *b)
{
    return (char *)aur_buf_data(b->regions[b->regions_n - 1]) + b->from;
}

/* A place for the results of the next call: behind the last ones, or in a new region. */
static aur_err need_region(struct batch *b)
{
    if (b->regions_n != 0 && b->region_size - b->from >= REGION_MIN) {
        return AUR_OK;
    }
    aur_buf **regions = realloc(b->regions, (b->regions_n + 1) * sizeof(*regions));
    if (regions == NULL) {
        return AUR_ENOMEM;
    }
    b->regions = regions;
    aur_err err = aur_buf_new(b->core, b->next_size, AUR_BUF_INOUT, &regions[b->regions_n]);
    if (err == AUR_OK) {
        b->regions_n++;
        b->region_size = b->next_size;
        b->from = 0;
    }
    return err;
}

/* ---- submitting -------------------------------------------------------------------------------- */

static void put(char **at, const void *data, size_t size)
{
    memcpy(*at, data, size);
    *at += size;
}

static void put_head(const struct batch *b, char *at)
{
    uint64_t buf = aur_buf_id(b->regions[b->regions_n - 1]);
    uint64_t room = b->region_size - b->from;
    uint32_t count = b->count - b->first;

    memset(region_at(b), 0, sizeof(struct tally));
    put(&at, "M", 1);
    put(&at, &b->flags, sizeof(b->flags));
    put(&at, &buf, sizeof(buf));
    put(&at, &b->from, sizeof(b->from));
    put(&at, &room, sizeof(room));
    put(&at, &count, sizeof(count));
}

/* Goes on to item b->first. */
static bool pass_items(struct batch *b)
{
    while (b->passed < b->first && b->at != NULL) {
        b->at = codec_skip(b->at, b->record + b->record_size);
        b->passed++;
    }
    return b->at != NULL;
}

/* A record of the items from b->first on; the batch's own while nothing is known. */
static char *make_record(struct batch *b, size_t *ret_size)
{
    if (b->first == 0) {
        *ret_size = b->record_size;
        return b->record;
    }
    if (!pass_items(b)) {
        return NULL;
    }
    size_t tail = (size_t)(b->record + b->record_size - b->at);
    char *record = malloc(b->head_size + tail);
    if (record != NULL) {
        memcpy(record, b->record, b->head_size);
        memcpy(record + b->head_size, b->at, tail);
        *ret_size = b->head_size + tail;
    }
    return record;
}

/* Submits the items from b->first on.  With the lock held, or alone. */
static aur_err submit_rest(struct batch *b)
{
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    size_t size = 0;
    aur_err err = need_region(b);
    char *record = err == AUR_OK ? make_record(b, &size) : NULL;

    if (record == NULL) {
        return err != AUR_OK ? err : AUR_ENOMEM;
    }
    put_head(b, record);
    opts.retries = UINT32_MAX; /* counted here, item by item */
    err =
        aur_fn_submit_bytes(b->core, &opts, &core_process_fn, record, size, &b->current, b->label);
    if (record != b->record) {
        free(record);
    }
    return err;
}

/* ---- what came of it --------------------------------------------------------------------------- */

static aur_err keep_results(struct batch *b, uint64_t done, uint64_t used)
{
    struct piece *piece = done != 0 ? add_piece(b, PIECE_RESULTS) : NULL;

    if (done == 0) {
        return AUR_OK;
    }
    if (piece == NULL) {
        return AUR_ENOMEM;
    }
    piece->n = done;
    piece->used = used;
    piece->results = region_at(b) + sizeof(struct tally);
    b->from += (sizeof(struct tally) + used + 63) & ~UINT64_C(63);
    b->first += (uint32_t)done;
    b->attempts = 0;
    return AUR_OK;
}

/* A result that found no room.  One of many that are larger than was thought: the next region is. */
static aur_err keep_large(struct batch *b, aur_future *answer, size_t size)
{
    struct piece *piece = add_piece(b, PIECE_LARGE);

    if (piece == NULL) {
        return AUR_ENOMEM;
    }
    piece->answer = aur_future_ref(answer);
    b->first++;
    b->attempts = 0;
    if (size < b->region_size) {
        size_t wanted = b->region_size * 2;
        b->next_size = wanted < REGION_MAX ? wanted : REGION_MAX;
        b->from = b->region_size;
    }
    return AUR_OK;
}

/* Item b->first took its worker along. */
static aur_err keep_lost(struct batch *b, aur_err err, aur_future *answer)
{
    const aur_error *error = aur_future_error(answer);

    if (b->attempts++ < b->retries) {
        return AUR_OK;
    }
    struct piece *piece = add_piece(b, PIECE_LOST);
    if (piece == NULL) {
        return AUR_ENOMEM;
    }
    piece->err = err;
    piece->error = error != NULL ? malloc(sizeof(*error)) : NULL;
    if (piece->error != NULL) {
        *piece->error = *error;
        piece->error->item = b->first;
        piece->error->attempts = b->attempts;
    }
    b->first++;
    b->attempts = 0;
    return AUR_OK;
}

/* Takes in the end of b->current; *ret_more: there are items left to submit. */
static aur_err take_in(struct batch *b, bool *ret_more)
{
    struct tally *tally = (struct tally *)(void *)region_at(b);
    uint64_t done = __atomic_load_n(&tally->done, __ATOMIC_ACQUIRE);
    uint64_t used = tally->used;
    const void *data;
    size_t size = 0;
    aur_err err = aur_future_view(b->current, &data, &size, 0);
    bool died = err == AUR_EWORKER || err == AUR_EDEADLINE;

    if (err != AUR_OK && !died) {
        return err;
    }
    if (done > b->count - b->first || used > b->region_size - b->from - sizeof(*tally)) {
        done = used = 0; /* a task wrote where it should not */
    }
    aur_err kept = keep_results(b, done, used);
    bool whole = b->first == b->count;
    if (kept == AUR_OK && died && !whole) {
        kept = keep_lost(b, err, b->current);
    } else if (kept == AUR_OK && size != 0 && !whole) {
        kept = keep_large(b, b->current, size);
    } else if (kept == AUR_OK && !died) {
        return AUR_OK; /* all, or it was to stop at an exception */
    }
    *ret_more = kept == AUR_OK && b->first < b->count;
    return kept;
}

static void tell_all(struct told *told)
{
    while (told != NULL) {
        struct told *next = told->next;
        told->fn(told->ctx);
        free(told);
        told = next;
    }
}

static void on_answer(void *ctx, aur_future *future);

/* `answer` is done: takes it in if nobody has, and goes on. */
static void settle(struct batch *b, aur_future *answer)
{
    struct told *told = NULL;
    aur_future *next = NULL;
    bool more = false;
    bool leaves = false;

    pthread_mutex_lock(&b->lock);
    if (b->current == answer) {
        b->err = take_in(b, &more);
        b->current = NULL;
        if (more) {
            b->err = submit_rest(b);
        }
        if (b->current == NULL) {
            told = b->told;
            b->told = NULL;
            leaves = b->inside;
            b->inside = false;
        } else {
            next = aur_future_ref(b->current);
        }
        aur_future_unref(answer); /* the batch's own reference */
    }
    pthread_mutex_unlock(&b->lock);
    if (leaves) {
        gate_leave(b->gate);
    }
    tell_all(told);
    if (next != NULL) {
        batch_ref(b);
        if (aur_future_on_done(next, on_answer, b) != AUR_OK) {
            batch_unref(b); /* whoever waits for the batch goes on with it */
        }
        aur_future_unref(next);
    }
}

static void on_answer(void *ctx, aur_future *future)
{
    settle(ctx, future);
    batch_unref(ctx);
}

bool batch_done(struct batch *b)
{
    pthread_mutex_lock(&b->lock);
    aur_future *current = aur_future_ref(b->current);
    pthread_mutex_unlock(&b->lock);
    if (current == NULL) {
        return true;
    }
    if (aur_future_done(current)) {
        settle(b, current);
    }
    aur_future_unref(current);
    pthread_mutex_lock(&b->lock);
    bool done = b->current == NULL;
    pthread_mutex_unlock(&b->lock);
    return done;
}

aur_err batch_wait(struct batch *b, aur_deadline deadline)
{
    for (;;) {
        pthread_mutex_lock(&b->lock);
        aur_future *current = aur_future_ref(b->current);
        pthread_mutex_unlock(&b->lock);
        if (current == NULL) {
            return AUR_OK;
        }
        aur_err err = aur_future_wait(current, deadline);
        if (err == AUR_OK) {
            settle(b, current);
        }
        aur_future_unref(current);
        if (err != AUR_OK) {
            return err;
        }
    }
}

void batch_put_at(struct batch *b, Py_ssize_t at)
{
    b->into_at = at; /* with the GIL, as where it is read */
}

bool batch_withdraw(struct batch *b)
{
    pthread_mutex_lock(&b->lock);
    aur_future *current = b->pieces_n == 0 ? aur_future_ref(b->current) : NULL;
    pthread_mutex_unlock(&b->lock);
    bool withdrawn = current != NULL && aur_future_withdraw(current);
    if (withdrawn) {
        settle(b, current);
    }
    aur_future_unref(current);
    return withdrawn;
}

void batch_on_done(struct batch *b, void (*fn)(void *ctx), void *ctx)
{
    struct told *told = malloc(sizeof(*told));

    pthread_mutex_lock(&b->lock);
    bool done = b->current == NULL || told == NULL;
    if (!done) {
        *told = (struct told){ fn, ctx, b->told };
        b->told = told;
    }
    pthread_mutex_unlock(&b->lock);
    if (done) {
        free(told);
        fn(ctx);
    }
}

/* ---- making one -------------------------------------------------------------------------------- */

static int write_item(writer *w, PyObject *item, uint32_t flags)
{
    char *end = (flags & CALL_STAR) == 0 && w->room - w->inner >= SHORT_BYTES
                    ? put_short(w->data + w->inner, item)
                    : NULL;

    if (end != NULL) {
        size_t size = (size_t)(end - (w->data + w->inner));
        w->inner += size;
        w->size += size;
        return 0;
    }
    if ((flags & CALL_STAR) == 0 || PyTuple_CheckExact(item)) {
        return writer_value(w, item);
    }
    PyObject *tuple = PySequence_Tuple(item);
    int done = tuple != NULL ? writer_value(w, tuple) : -1;
    Py_XDECREF(tuple);
    return done;
}

/* The items lo .. hi of a list or tuple; pickling one may run code that changes the list. */
static int write_items(writer *w, PyObject *items, Py_ssize_t lo, Py_ssize_t hi, uint32_t flags)
{
    size_t from = w->size;

    for (Py_ssize_t i = lo; i < hi; i++) {
        if (hi > PySequence_Fast_GET_SIZE(items)) {
            PyErr_SetString(PyExc_RuntimeError, "the list was changed while it was sent");
            return -1;
        }
        PyObject *item = PySequence_Fast_GET_ITEM(items, i);
        Py_INCREF(item);
        int done = write_item(w, item, flags);
        Py_DECREF(item);
        if (done < 0) {
            batch_note_item(w->state, NULL, i - lo);
            return -1;
        }
        if (i - lo == SAMPLE) {
            size_t mean = (w->size - from) / SAMPLE + 1;
            if (writer_reserve(w, mean * (size_t)(hi - i)) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

/* What the writer made becomes the batch's. */
static int take_record(struct batch *b, writer *w)
{
    b->record = w->owned ? w->data : malloc(w->inner);
    b->bufs = w->bufs_n != 0 ? malloc(w->bufs_n * sizeof(*b->bufs)) : NULL;
    if (b->record == NULL || (w->bufs_n != 0 && b->bufs == NULL)) {
        b->record = w->owned ? NULL : b->record;
        PyErr_NoMemory();
        return -1;
    }
    if (!w->owned) {
        memcpy(b->record, w->data, w->inner);
    }
    b->record_size = w->inner;
    b->at = b->record + b->head_size;
    w->owned = false;
    for (size_t i = 0; i < w->bufs_n; i++) {
        b->bufs[i] = w->bufs[i];
    }
    b->bufs_n = w->bufs_n;
    w->bufs_n = 0;
    return 0;
}

static int write_record(struct batch *b, pool *owner, PyObject *fn, PyObject *items, Py_ssize_t lo,
                        Py_ssize_t hi)
{
    static const char head[HEAD_BYTES];
    writer w;
    int done = -1;

    writer_init(&w, owner->state, owner->core, b->flags);
    if (writer_bytes(&w, head, sizeof(head)) == 0 && pool_write_fn(owner, &w, fn, &b->flags) == 0) {
        b->head_size = w.size;
        done = write_items(&w, items, lo, hi, b->flags);
    }
    if (done == 0) {
        done = take_record(b, &w);
    }
    writer_clear(&w);
    return done;
}

/* Room for the results of so many items, if they are like those of the last batch. */
static size_t region_bytes(const pool *owner, size_t count)
{
    size_t item = owner->result_bytes != 0 ? owner->result_bytes : BYTES_PER_ITEM;
    size_t bytes = REGION_MIN + count * (item + item / 4);

    return bytes < REGION_MAX ? bytes : REGION_MAX;
}

struct batch *batch_start(pool *owner, PyObject *fn, PyObject *items, Py_ssize_t lo, Py_ssize_t hi,
                          uint32_t flags, uint32_t retries)
{
    struct batch *b = calloc(1, sizeof(*b));

    if (b == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    b->refs = 1;
    pthread_mutex_init(&b->lock, NULL);
    b->core = aur_pool_ref(owner->core);
    b->gate = gate_ref(owner->gate);
    b->count = (uint32_t)(hi - lo);
    b->flags = flags;
    b->retries = retries;
    b->views = owner->views;
    b->label = pool_label(owner->state, fn, NULL);
    b->next_size = region_bytes(owner, b->count);
    int made = write_record(b, owner, fn, items, lo, hi);
    if (made == 0) {
        b->inside = gate_enter(b->gate);
        aur_err err = b->inside ? submit_rest(b) : AUR_ESHUTDOWN;
        if (err != AUR_OK) {
            core_raise(owner->state, err, NULL);
            made = -1;
        }
    }
    if (made < 0) {
        batch_unref(b);
        return NULL;
    }
    batch_ref(b);
    if (aur_future_on_done(b->current, on_answer, b) != AUR_OK) {
        batch_unref(b);
    }
    return b;
}
