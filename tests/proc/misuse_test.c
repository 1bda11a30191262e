/* Goal:    what tasks and callers do wrong costs them a clear error, and the pool nothing.
 * Method:  tasks that fork, take memory without end, leave by pthread_exit;
 *          functions that workers do not have.  After each, an ordinary call must succeed.
 *          (Tasks that close every descriptor: descriptors_test.c.)
 * Guards:  src/proc/entry.c, judge.c, module.c, zygote.c.
 */
#define _GNU_SOURCE
/* aurt: no-tsan */
/* aurt: no-valgrind */
/* aurt: no-asan */
#include "still_works.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static aur_pool *pool_of(uint64_t memory_max_bytes)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;

    opts.kind = AUR_PROCESSES;
    opts.start = AUR_START_FORK;
    opts.workers = 2;
    opts.memory_max_bytes = memory_max_bytes;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    return pool;
}

/* ---- tasks that misbehave ------------------------------------------------------------------ */

/* The child of a task comes back from the task as well: into a worker that it is not. */
static int forks(int x)
{
    pid_t child = fork();

    if (child > 0) {
        return x + 1;
    }
    return child == 0 ? x + 1000 : -1;
}
AUR_FN(int, forks, int);

static void test_forks(void **state)
{
    aur_pool *pool = pool_of(0);
    int v = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        AURT_OK(aur_apply(pool, &v, forks, i));
        assert_int_equal(v, i + 1); /* the child's answer is never taken for the worker's */
    }
    aurt_pool_works_and_ends(pool);
}

/* Takes memory until there is none, and then uses what it was not given. */
static int devours(int x)
{
    for (;;) {
        volatile char *more = malloc((size_t)16 << 20);
        for (size_t i = 0; i < (size_t)16 << 20; i += 4096) {
            more[i] = (char)x;
        }
    }
    return x;
}
AUR_FN(int, devours, int);

static void test_memory_limit(void **state)
{
    /* Above what the arenas reserve of the address space: half of the limit at most. */
    aur_pool *pool = pool_of((uint64_t)1 << 48);
    int v = 0;

    (void)state;
    AURT_OK(aur_apply(pool, &v, twice, 4));
    aurt_pool_works_and_ends(pool);

    aur_options opts = AUR_OPTIONS_INIT;
    aur_diag diag;
    opts.kind = AUR_PROCESSES;
    opts.start = AUR_START_FORK;
    opts.workers = 1;
    opts.memory_max_bytes = (uint64_t)1 << 30;
    aur_err err = aur_pool_new(&opts, &pool, &diag);
    if (err != AUR_OK) {
        fail_msg("%s: %s", aur_err_name(err), diag.text);
    }
    AURT_ERR(AUR_EWORKER, aur_apply(pool, &v, devours, 1));
    const aur_error *error = aur_last_error();
    assert_non_null(error);
    assert_int_equal(error->signal, SIGSEGV);
    assert_string_equal(error->function, "devours");
    aurt_pool_works_and_ends(pool);
}

static int leaves(int x)
{
    if (x == 3) {
        pthread_exit(NULL);
    }
    return x;
}
AUR_FN(int, leaves, int);

static void test_pthread_exit(void **state)
{
    aur_pool *pool = pool_of(0);
    int in[6] = { 0, 1, 2, 3, 4, 5 };
    int out[6] = { 9, 9, 9, 9, 9, 9 };
    aur_err errs[6];
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;

    (void)state;
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    aur_err err = aur_map_with(pool, &opts, leaves, in, 6, out);
    assert_true(err == AUR_EWORKER || err == AUR_EEXITED);
    assert_int_equal(aur_last_error()->item, 3);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(errs[i], i == 3 ? err : AUR_OK);
        assert_true(i == 3 || out[i] == i);
    }
    aurt_pool_works_and_ends(pool);
}

/* ---- functions that workers do not have ---------------------------------------------------- */

static void test_no_module(void **state)
{
    aur_pool *pool = pool_of(0);
    aur_future *future = NULL;
    int arg = 1;
    aur_fn made = twice_aur_fn;
    aur_range_call *nowhere;
    void *heap = malloc(64);

    (void)state;
    memcpy(&nowhere, &heap, sizeof(nowhere));
    made.range = nowhere;
    AURT_ERR(AUR_ENOFUNC, aur_fn_submit(pool, NULL, &made, &arg, &future, NULL));
    assert_null(future);
    free(heap);
    aurt_pool_works_and_ends(pool);
}

static void test_later_module(void **state)
{
    aur_pool *pool = pool_of(0);
    aur_future *future = NULL;
    int arg = 1;
    /* A library of the C library's own package that this program has not loaded. */
    void *library = dlopen("libthread_db.so.1", RTLD_LAZY | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "td_init") : NULL;
    static aur_fn later;

    (void)state;
    if (symbol == NULL) {
        aur_pool_join(pool, AUR_NO_DEADLINE);
        aur_pool_unref(pool);
        skip();
    }
    later = twice_aur_fn;
    memcpy(&later.range, &symbol, sizeof(later.range));
    AURT_ERR(AUR_ESTALE, aur_fn_submit(pool, NULL, &later, &arg, &future, NULL));
    assert_null(future);
    aurt_pool_works_and_ends(pool);
    dlclose(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forks),        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_pthread_exit), cmocka_unit_test(test_no_module),
        cmocka_unit_test(test_later_module),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
