/* batch_state.h: what is known of a batch, for the files that send it and read its results. */
#ifndef AURIGA_PYTHON_BATCH_STATE_H
#define AURIGA_PYTHON_BATCH_STATE_H

#include <pthread.h>

#include "core.h"

enum { PIECE_RESULTS, PIECE_LARGE, PIECE_LOST };

/* What is known of some items, in their order. */
struct piece {
    int kind;
    uint64_t n;          /* RESULTS: items */
    const char *results; /* RESULTS: in a region, which the batch keeps */
    uint64_t used;
    aur_future *answer; /* LARGE: whose view is the result and its number */
    aur_error *error;   /* LOST: why; NULL: no memory to say */
    aur_err err;
};

struct told {
    void (*fn)(void *ctx);
    void *ctx;
    struct told *next;
};

struct batch {
    _Atomic(int) refs;
    pthread_mutex_t lock; /* guards everything below */
    aur_pool *core;
    struct gate *gate;
    bool inside;         /* of the gate: there may be items left to submit */
    aur_future *current; /* the call that runs, or NULL once all is known */
    aur_err err;         /* why the rest was given up, or AUR_OK */
    char *record;        /* head, function, items: as first submitted */
    size_t record_size;
    size_t head_size; /* of head and function */
    const char *at;   /* item `passed` in the record */
    uint32_t passed;
    uint32_t count;
    Py_ssize_t into_at; /* where its results begin in a list that is not theirs alone */
    uint32_t first;     /* the item that `current` begins with */
    uint32_t flags;
    uint32_t retries;
    uint32_t attempts; /* of item `first` */
    aur_buf **regions;
    size_t regions_n;
    size_t region_size; /* of the last one */
    size_t next_size;   /* of one more */
    uint64_t from;      /* in the last region: where `current` writes */
    struct piece *pieces;
    size_t pieces_n;
    bool views;     /* large buffers of results are views of shared memory */
    aur_buf **bufs; /* of the arguments */
    size_t bufs_n;
    const char *label;
    struct told *told;
};

/* Notes for the result of the map which item of its batch an exception is of; NULL: the one that is
 * set, which stays. */
void batch_note_item(core_state *state, PyObject *error, Py_ssize_t item);

#endif
