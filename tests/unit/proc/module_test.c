/* Goal:    an address is found again by build-id and offset, and never a wrong one is.
 * Method:  addresses of every kind are encoded and decoded in this process; damaged refs stand for
 *          what another build would send.  A library that this program does not link is loaded by
 *          dlopen() to stand for a plugin.
 * Guards:  src/proc/module.c.
 */
/* aurt: no-tsan */
#include "aurt.h"

#include <dlfcn.h>
#include <pthread.h>

#include "proc/module.h"

static int callee(int x)
{
    return x * 3 + 1;
}

static int writable = 5;
static const int constant = 6;

typedef int int_fn(int);

static const void *code_addr(int_fn *fn)
{
    const void *addr;

    memcpy(&addr, &fn, sizeof(addr));
    return addr;
}

static int call(const void *addr, int x)
{
    int_fn *fn;

    memcpy(&fn, &addr, sizeof(fn));
    return fn(x);
}

static void own_function(void **state)
{
    (void)state;
    auri_module_ref ref;
    const void *found = NULL;

    AURT_OK(auri_module_encode(code_addr(callee), true, &ref));
    assert_int_equal(ref.flags & AURI_MODULE_CODE, AURI_MODULE_CODE);
    AURT_OK(auri_module_decode(&ref, NULL, &found));
    assert_ptr_equal(found, code_addr(callee));
    assert_int_equal(call(found, 4), 13);
}

static void libc_function(void **state)
{
    (void)state;
    auri_module_ref ref;
    auri_module_ref own;
    const void *found = NULL;
    const void *addr = dlsym(RTLD_DEFAULT, "abs");

    assert_non_null(addr);
    AURT_OK(auri_module_encode(addr, true, &ref));
    AURT_OK(auri_module_encode(code_addr(callee), true, &own));
    assert_memory_not_equal(ref.id, own.id, sizeof(ref.id));
    AURT_OK(auri_module_decode(&ref, NULL, &found));
    assert_int_equal(call(found, -4), 4);
}

static void data_is_not_code(void **state)
{
    (void)state;
    auri_module_ref ref;
    const void *found = NULL;

    AURT_ERR(AUR_ENOFUNC, auri_module_encode(&writable, true, &ref));
    AURT_ERR(AUR_ENOFUNC, auri_module_encode(&constant, true, &ref));
    AURT_OK(auri_module_encode(&writable, false, &ref));
    AURT_OK(auri_module_decode(&ref, NULL, &found));
    assert_ptr_equal(found, &writable);
    AURT_OK(auri_module_encode(&constant, false, &ref));
    AURT_OK(auri_module_decode(&ref, NULL, &found));
    assert_ptr_equal(found, &constant);
}

static void memory_is_in_no_module(void **state)
{
    (void)state;
    auri_module_ref ref = { .offset = 99 };
    int local = 0;
    void *heap = malloc(16);

    assert_non_null(heap);
    AURT_ERR(AUR_ENOFUNC, auri_module_encode(heap, false, &ref));
    AURT_ERR(AUR_ENOFUNC, auri_module_encode(&local, false, &ref));
    AURT_ERR(AUR_ENOFUNC, auri_module_encode(NULL, true, &ref));
    assert_int_equal(ref.offset, 99); /* no write on failure */
    free(heap);
}

static void another_build_is_stale(void **state)
{
    (void)state;
    auri_module_ref ref;
    auri_module_ref bad;
    const void *found = NULL;

    AURT_OK(auri_module_encode(code_addr(callee), true, &ref));
    bad = ref;
    bad.id[0] ^= 1;
    AURT_ERR(AUR_ESTALE, auri_module_decode(&bad, NULL, &found));
    AURT_ERR(AUR_ESTALE, auri_module_decode(&bad, "/nowhere/libnothing.so", &found));
    bad = ref;
    bad.flags ^= AURI_MODULE_HASHED;
    AURT_ERR(AUR_ESTALE, auri_module_decode(&bad, NULL, &found));
    bad = ref;
    bad.id_size--;
    AURT_ERR(AUR_ESTALE, auri_module_decode(&bad, NULL, &found));
    assert_null(found);
}

static void damage_is_found(void **state)
{
    (void)state;
    auri_module_ref ref;
    auri_module_ref bad;
    const void *found = NULL;

    AURT_OK(auri_module_encode(code_addr(callee), true, &ref));
    bad = ref;
    bad.offset = UINT64_C(1) << 40;
    AURT_ERR(AUR_ENOFUNC, auri_module_decode(&bad, NULL, &found));
    bad = ref;
    bad.flags &= (uint8_t)~AURI_MODULE_CODE;
    AURT_ERR(AUR_ENOFUNC, auri_module_decode(&bad, NULL, &found));
    bad = ref;
    bad.id_size = 0;
    AURT_ERR(AUR_ENOFUNC, auri_module_decode(&bad, NULL, &found));
    bad.id_size = 200;
    AURT_ERR(AUR_ENOFUNC, auri_module_decode(&bad, NULL, &found));
    assert_null(found);
}

static void paths(void **state)
{
    (void)state;
    char path[AURI_MODULE_PATH_MAX];
    int local = 0;
    const void *addr = dlsym(RTLD_DEFAULT, "abs");

    AURT_OK(auri_module_path(code_addr(callee), path, sizeof(path)));
    assert_string_equal(path, "");
    AURT_OK(auri_module_path(addr, path, sizeof(path)));
    assert_non_null(strstr(path, "libc"));
    AURT_ERR(AUR_ETOOBIG, auri_module_path(addr, path, 3));
    AURT_ERR(AUR_ETOOBIG, auri_module_path(addr, path, 0));
    AURT_ERR(AUR_ENOFUNC, auri_module_path(&local, path, sizeof(path)));
}

static void what_comes_with_the_program(void **state)
{
    (void)state;
    int local = 0;

    assert_true(auri_module_at_start(code_addr(callee)));
    assert_true(auri_module_at_start(dlsym(RTLD_DEFAULT, "abs")));
    assert_true(auri_module_at_start(dlsym(RTLD_DEFAULT, "_cmocka_run_group_tests")));
    assert_false(auri_module_at_start(&local));
}

static void repeated_questions(void **state)
{
    (void)state;
    auri_modules *modules = NULL;
    auri_module_ref plain;
    auri_module_ref first;
    auri_module_ref second;
    int local = 0;

    AURT_OK(auri_modules_new(&modules));
    AURT_OK(auri_module_encode(code_addr(callee), true, &plain));
    AURT_OK(auri_modules_encode(modules, code_addr(callee), true, &first));
    AURT_OK(auri_modules_encode(modules, code_addr(callee), true, &second));
    assert_memory_equal(&plain, &first, sizeof(plain));
    assert_memory_equal(&plain, &second, sizeof(plain));
    AURT_OK(auri_modules_check(modules, code_addr(callee), true));
    for (int i = 0; i < 2; i++) { /* known as data, it is still no code */
        AURT_OK(auri_modules_encode(modules, &writable, false, &first));
        AURT_ERR(AUR_ENOFUNC, auri_modules_encode(modules, &writable, true, &first));
        AURT_ERR(AUR_ENOFUNC, auri_modules_check(modules, &writable, true));
        AURT_ERR(AUR_ENOFUNC, auri_modules_check(modules, &local, false));
        AURT_ERR(AUR_ENOFUNC, auri_modules_check(modules, NULL, false));
    }
    assert_null(auri_modules_free(modules));
    assert_null(auri_modules_free(NULL));
}

/* More addresses than places, so that some are looked up each time. */
static char many[1000 * 16];

static void *ask_for_all(void *arg)
{
    auri_modules *modules = arg;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof(many); i += 16) {
            auri_module_ref ref;
            const void *found;
            AURT_CHECK(auri_modules_encode(modules, &many[i], false, &ref) == AUR_OK);
            AURT_CHECK(auri_module_decode(&ref, NULL, &found) == AUR_OK);
            AURT_CHECK(found == &many[i]);
        }
    }
    return NULL;
}

static void many_questions_at_once(void **state)
{
    (void)state;
    auri_modules *modules = NULL;
    pthread_t threads[3];

    AURT_OK(auri_modules_new(&modules));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_for_all, modules), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    auri_modules_free(modules);
}

/* Part of the C library's package, and rarely loaded already. */
#define PLUGIN "libBrokenLocale.so.1"
#define PLUGIN_SYMBOL "__ctype_get_mb_cur_max"

static void a_plugin_that_came_later(void **state)
{
    (void)state;
    auri_modules *before = NULL;
    auri_modules *after = NULL;
    auri_module_ref ref;
    char path[AURI_MODULE_PATH_MAX];
    const void *found = NULL;
    uint64_t generation = auri_module_generation();

    if (dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD) != NULL) {
        skip();
    }
    AURT_OK(auri_modules_new(&before));
    void *plugin = dlopen(PLUGIN, RTLD_NOW | RTLD_LOCAL);
    const void *addr = plugin != NULL ? dlsym(plugin, PLUGIN_SYMBOL) : NULL;
    if (addr == NULL) {
        auri_modules_free(before);
        skip();
    }
    assert_true(auri_module_generation() > generation);
    AURT_OK(auri_modules_new(&after));
    for (int i = 0; i < 2; i++) { /* looked up, then remembered */
        AURT_ERR(AUR_ESTALE, auri_modules_check(before, addr, true));
        AURT_OK(auri_modules_check(after, addr, true));
        AURT_OK(auri_modules_check(before, code_addr(callee), true));
    }
    assert_false(auri_module_at_start(addr));

    /* As a worker sees it: not loaded, then loaded by its path. */
    AURT_OK(auri_module_encode(addr, true, &ref));
    AURT_OK(auri_module_path(addr, path, sizeof(path)));
    assert_int_equal(dlclose(plugin), 0);
    if (dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD) == NULL) {
        AURT_ERR(AUR_ESTALE, auri_module_decode(&ref, NULL, &found));
        ref.id[0] ^= 1;
        AURT_ERR(AUR_ESTALE, auri_module_decode(&ref, path, &found));
        assert_null(dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD)); /* the wrong one is not kept */
        ref.id[0] ^= 1;
    }
    AURT_OK(auri_module_decode(&ref, path, &found));
    assert_non_null(found);
    auri_modules_free(before);
    auri_modules_free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_function),
        cmocka_unit_test(libc_function),
        cmocka_unit_test(data_is_not_code),
        cmocka_unit_test(memory_is_in_no_module),
        cmocka_unit_test(another_build_is_stale),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(paths),
        cmocka_unit_test(what_comes_with_the_program),
        cmocka_unit_test(repeated_questions),
        cmocka_unit_test(many_questions_at_once),
        cmocka_unit_test(a_plugin_that_came_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
