/* Waiting for several futures: all, any, the first error, as they complete.
 *
 * The set (aur_completed) has one continuation per future.  It fires in the thread that completes the
 * future, appends its entry to the done list and bumps `word`; the reader takes entries off the list.
 * So each result costs O(1), however many are pending.  An entry that has not fired when the set is
 * freed is removed, or, if it is firing right now, keeps the set until it has. */
#include <pthread.h>
#include <stdlib.h>

#include "plat/plat.h"
#include "pool/face.h"
#include "sched/wait.h"

struct entry {
    struct auri_cont cont; /* first: found again from it */
    struct aur_completed *set;
    auri_task *task; /* one reference, dropped when it is handed out */
    size_t index;
    size_t place;       /* in set->pending */
    struct entry *next; /* lock: done list */
    bool fires;         /* its continuation was added */
};

struct aur_completed {
    _Atomic(uint32_t) refs; /* A: the owner, and each added continuation */
    _Atomic(uint32_t) word; /* A: futex: +1 for each entry that fires */
    pthread_mutex_t lock;
    struct entry *first_done; /* L: oldest */
    struct entry *last_done;  /* L */
    /* The rest is the owner's. */
    auri_task **pending;  /* tasks not handed out yet: what a wait of the owner waits for */
    struct entry **entry; /* entry[i] belongs to pending[i] */
    size_t n;             /* pending */
    size_t room;
    size_t added; /* so many indices were given out */
    /* L, written by the owner: who has to be asked for some of the tasks, or had; or NULL. */
    const struct auri_backend *untold;
    uint32_t generation; /* I: auri_process_generation(): in a forked child nothing fires */
};

static void set_drop(struct aur_completed *set)
{
    if (auri_sub_acqrel(&set->refs, 1u) == 1) { /* acq_rel: as auri_task_unref() */
        pthread_mutex_destroy(&set->lock);
        free(set->pending);
        free(set->entry);
        free(set);
    }
}

/* Returns whom to recall: see add_task(). */
static const struct auri_backend *push_done(struct aur_completed *set, struct entry *entry)
{
    pthread_mutex_lock(&set->lock);
    entry->next = NULL;
    if (set->last_done != NULL) {
        set->last_done->next = entry;
    } else {
        set->first_done = entry;
    }
    set->last_done = entry;
    /* release; pairs with the acquire loads in auri_wait_word(). */
    auri_store_rel(&set->word, auri_load_rlx(&set->word) + 1);
    const struct auri_backend *untold = set->untold;
    pthread_mutex_unlock(&set->lock);
    return untold;
}

static void fire(struct auri_cont *cont, auri_task *task)
{
    struct aur_completed *set = ((struct entry *)(void *)cont)->set;

    (void)task;
    const struct auri_backend *untold = push_done(set, (struct entry *)(void *)cont);
    aurp_futex_wake(&set->word, 1, AURP_PRIVATE); /* before the drop: the word is still there */
    if (untold != NULL) {
        untold->recall(); /* the owner may sleep there, and not on the word */
    }
    set_drop(set);
}

static bool grow(struct aur_completed *set, size_t room)
{
    auri_task **pending = realloc(set->pending, room * sizeof(*pending));
    if (pending == NULL) {
        return false;
    }
    set->pending = pending;
    struct entry **entry = realloc(set->entry, room * sizeof(struct entry *));
    if (entry == NULL) {
        return false;
    }
    set->entry = entry;
    set->room = room;
    return true;
}

/* Takes over the reference to the task. */
static aur_err add_task(struct aur_completed *set, auri_task *task)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (entry == NULL || (set->n == set->room && !grow(set, set->room == 0 ? 16 : set->room * 2))) {
        free(entry);
        auri_task_unref(task);
        return AUR_ENOMEM;
    }
    *entry = (struct entry){
        .cont = { .fire = fire },
        .set = set,
        .task = task,
        .index = set->added++,
        .place = set->n,
        .fires = true,
    };
    if (set->untold == NULL && auri_task_is_untold(task)) {
        /* Under the lock: a task that was added before fires after this, and recalls, or the owner finds its
         * entry. */
        pthread_mutex_lock(&set->lock);
        set->untold = task->pool->backend;
        pthread_mutex_unlock(&set->lock);
    }
    set->entry[set->n] = entry;
    set->pending[set->n++] = task;
    auri_add_rlx(&set->refs, 1u); /* relaxed: the owner holds one */
    if (!auri_cont_add(task, &entry->cont)) {
        entry->fires = false;
        (void)push_done(set, entry);
        set_drop(set);
    }
    return AUR_OK;
}

aur_err aur_completed_add(aur_completed *c, aur_future *future)
{
    auri_task *task = NULL;

    if (c == NULL || future == NULL) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "the set or the future is NULL");
    }
    aur_err err = auri_future_here(future, &task);
    if (err != AUR_OK) {
        return auri_verb_failed(err, NULL, NULL, NULL);
    }
    return add_task(c, task);
}

aur_err aur_as_completed(aur_future *const *futures, size_t n, aur_completed **ret_c)
{
    if (ret_c == NULL || (futures == NULL && n != 0)) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "futures or ret_c is NULL");
    }
    struct aur_completed *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return AUR_ENOMEM;
    }
    auri_store_rlx(&set->refs, 1u);
    set->generation = auri_process_generation();
    pthread_mutex_init(&set->lock, NULL);
    aur_err err = n == 0 || grow(set, n) ? AUR_OK : AUR_ENOMEM;
    for (size_t i = 0; i < n && err == AUR_OK; i++) {
        if (futures[i] == NULL) {
            set->added++; /* keeps its index, is never handed out */
        } else {
            err = aur_completed_add(set, futures[i]);
        }
    }
    if (err != AUR_OK) {
        aur_completed_free(set);
        return err;
    }
    *ret_c = set;
    return AUR_OK;
}

static bool is_of_this_process(const struct aur_completed *set)
{
    return set->generation == auri_process_generation_now();
}

/* Takes the oldest finished entry out of the set; NULL: none is finished. */
static struct entry *take_done(struct aur_completed *set)
{
    if (is_of_this_process(set)) {
        pthread_mutex_lock(&set->lock);
    } else if (pthread_mutex_trylock(&set->lock) != 0) {
        return NULL; /* the thread that has it does not exist here */
    }
    struct entry *entry = set->first_done;
    if (entry != NULL) {
        set->first_done = entry->next;
        set->last_done = set->first_done == NULL ? NULL : set->last_done;
    }
    pthread_mutex_unlock(&set->lock);
    if (entry != NULL) {
        set->n--;
        set->entry[entry->place] = set->entry[set->n];
        set->entry[entry->place]->place = entry->place;
        set->pending[entry->place] = set->pending[set->n];
    }
    return entry;
}

static void entry_free(struct entry *entry)
{
    auri_task_unref(entry->task);
    free(entry);
}

aur_err aur_completed_next(aur_completed *c, size_t *ret_index, aur_deadline deadline)
{
    if (c == NULL) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "the set is NULL");
    }
    for (;;) {
        uint32_t seen = auri_load_acq(&c->word);
        struct entry *entry = take_done(c);
        if (entry != NULL) {
            if (ret_index != NULL) {
                *ret_index = entry->index;
            }
            entry_free(entry);
            return AUR_OK;
        }
        if (c->n == 0) {
            return AUR_END;
        }
        if (!is_of_this_process(c)) {
            return auri_verb_failed(AUR_EFORKED, NULL, NULL, NULL);
        }
        aur_err err = (c->untold != NULL ? auri_wait_word_asking : auri_wait_word)(
            &c->word, seen, c->pending, c->n, deadline);
        if (err != AUR_OK) {
            return err;
        }
    }
}

aur_completed *aur_completed_free(aur_completed *c)
{
    if (c == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct entry *entry = c->entry[i];
        if (entry->fires && auri_cont_remove(entry->task, &entry->cont)) {
            entry->fires = false;
            set_drop(c);
        }
    }
    /* Those that could not be removed fire now or have fired: wait until they are on the list, in
     * another thread's few instructions. */
    size_t left = is_of_this_process(c) ? c->n : 0; /* else whoever did does not exist here */
    while (left != 0) {
        uint32_t seen = auri_load_acq(&c->word);
        size_t quiet = 0;
        pthread_mutex_lock(&c->lock);
        size_t listed = 0;
        for (struct entry *entry = c->first_done; entry != NULL; entry = entry->next) {
            listed += entry->fires;
        }
        pthread_mutex_unlock(&c->lock);
        for (size_t i = 0; i < c->n; i++) {
            quiet += !c->entry[i]->fires;
        }
        left = c->n - quiet - listed;
        if (left != 0) {
            (void)aurp_futex_wait(&c->word, seen, AUR_NO_DEADLINE, AURP_PRIVATE);
        }
    }
    for (size_t i = 0; i < c->n; i++) {
        entry_free(c->entry[i]);
    }
    c->n = 0;
    if (!is_of_this_process(c)) {
        auri_store_rlx(&c->refs, 1u); /* relaxed: nobody else is left */
    }
    set_drop(c);
    return NULL;
}

void aur_completed_scoped_(aur_completed **c)
{
    *c = aur_completed_free(*c);
}

/* ---- all, any, first error ----------------------------------------------------------------- */

aur_err aur_wait_all(aur_future *const *futures, size_t n, aur_deadline deadline)
{
    if (futures == NULL && n != 0) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "futures is NULL");
    }
    /* One after the other: each single wait is necessary, so helping and detection are exact. */
    for (size_t i = 0; i < n; i++) {
        aur_err err = futures[i] == NULL ? AUR_OK : aur_future_wait(futures[i], deadline);
        if (err != AUR_OK) {
            return err;
        }
    }
    return AUR_OK;
}

/* The lowest index of a future that is done; n: none. */
static size_t lowest_done(aur_future *const *futures, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (futures[i] != NULL && aur_future_done(futures[i])) {
            return i;
        }
    }
    return n;
}

aur_err aur_wait_any(aur_future *const *futures, size_t n, size_t *ret_index, aur_deadline deadline)
{
    AUR_SCOPED(aur_completed) *set = NULL;
    size_t present = 0;

    for (size_t i = 0; futures != NULL && i < n; i++) {
        present += futures[i] != NULL;
    }
    if (present == 0) {
        return auri_verb_failed(AUR_EINVAL, NULL, NULL, "there is no future to wait for");
    }
    size_t index = lowest_done(futures, n);
    if (index == n) {
        aur_err err = aur_as_completed(futures, n, &set);
        err = err == AUR_OK ? aur_completed_next(set, &index, deadline) : err;
        if (err != AUR_OK) {
            return err;
        }
        size_t lowest = lowest_done(futures, index);
        index = lowest < index ? lowest : index;
    }
    if (ret_index != NULL) {
        *ret_index = index;
    }
    return AUR_OK;
}

aur_err aur_wait_first_error(aur_future *const *futures, size_t n, size_t *ret_index,
                             aur_deadline deadline)
{
    AUR_SCOPED(aur_completed) *set = NULL;
    size_t index = 0;
    aur_err err = aur_as_completed(futures, n, &set);

    while (err == AUR_OK) {
        err = aur_completed_next(set, &index, deadline);
        if (err == AUR_OK && aur_future_outcome(futures[index], 0) != AUR_OK) {
            break;
        }
    }
    if (err == AUR_END) {
        index = n;
        err = AUR_OK;
    }
    if (err == AUR_OK && ret_index != NULL) {
        *ret_index = index;
    }
    return err;
}
