/* Goal:    a payload beyond 32 bits of length travels to a process worker and back, byte for byte.
 * Method:  3 GiB, each page marked with its number, through a task that copies them; skipped where
 *          three copies do not fit into the memory that may be used.
 * Guards:  64-bit lengths and offsets from aur_fn_submit_bytes() to aur_future_view().
 */
/* aurt: no-tsan */
/* aurt: no-asan */
/* aurt: no-valgrind */
/* aurt: serial */
/* aurt: once */
#include "aurt.h"

#include <auriga.h>

#include "wire/commit.h"

#define BYTES ((size_t)3 << 30)
#define PAGE 4096u

static aur_err copy(const void *in, size_t size, aur_out *out)
{
    void *to = aur_out_alloc(out, size);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memcpy(to, in, size);
    return AUR_OK;
}
AUR_BYTES_FN(copy);

static void mark(unsigned char *bytes, uint64_t page)
{
    memcpy(bytes + page * PAGE, &page, sizeof(page));
}

static void test_three_gib(void **state)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_future) *future = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    const void *view = NULL;
    size_t size = 0;

    (void)state;
    if (auri_memory_budget() < 4 * (uint64_t)BYTES) {
        print_message("skipped: less than 12 GiB of memory can be had\n");
        skip();
    }
    unsigned char *bytes = calloc(1, BYTES);
    assert_non_null(bytes);
    for (uint64_t page = 0; page < BYTES / PAGE; page++) {
        mark(bytes, page);
    }
    opts.kind = AUR_PROCESSES;
    opts.start = AUR_START_FORK;
    opts.workers = 1;
    AURT_OK(aur_pool_new(&opts, &pool, NULL));
    AURT_OK(aur_apply_bytes(pool, &future, copy, bytes, BYTES));
    AURT_OK(aur_future_view(future, &view, &size, AUR_NO_DEADLINE));
    assert_true(size == BYTES);
    assert_int_equal(memcmp(view, bytes, BYTES), 0);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_three_gib) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
