/* Goal:    an entry has a second line only if there is something in it.
 * Method:  calls through one worker; then a look at the entries that they were.
 * Guards:  take_call() in src/proc/dispatch.c.
 */
/* aurt: no-tsan */
#include "engine_rig.h"

enum { LARGE = 4096 };

static aur_err count(const void *in, size_t size, aur_out *out)
{
    uint64_t *sum = aur_out_alloc(out, sizeof(*sum));

    if (sum == NULL) {
        return AUR_ENOMEM;
    }
    *sum = 0;
    for (size_t i = 0; i < size; i++) {
        *sum += ((const unsigned char *)in)[i];
    }
    return AUR_OK;
}
AUR_BYTES_FN(count);

/* Sends `size` bytes, checks what the worker made of them, and returns the form of the entry. */
static unsigned form_of(aur_pool *pool, const aur_call_options *opts, size_t size)
{
    AUR_SCOPED(aur_future) *future = NULL;
    const struct auri_worker *w = auri_proc_of(pool)->slots[0].worker;
    unsigned char bytes[LARGE];
    const void *view = NULL;
    size_t got = 0;
    uint64_t sum;

    memset(bytes, 3, sizeof(bytes));
    AURT_OK(aur_apply_bytes_with(pool, opts, &future, count, bytes, size));
    AURT_OK(aur_future_view(future, &view, &got, AUR_NO_DEADLINE));
    assert_int_equal(sizeof(sum), got);
    memcpy(&sum, view, sizeof(sum));
    assert_int_equal(3 * size, sum);
    return w->ctl->sub[auri_ring_at(w->tail - 1)].form;
}

static void test_form(void **state)
{
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);
    aur_call_options limited = AUR_CALL_OPTIONS_INIT;

    (void)state;
    limited.item_timeout_ns = UINT64_C(3600000000000); /* an hour */
    assert_int_equal(AURI_FORM_SHORT, form_of(pool, NULL, AURI_SUB_SMALL));
    assert_int_equal(AURI_FORM_LONG, form_of(pool, NULL, AURI_SUB_SMALL + 1));
    assert_int_equal(AURI_FORM_LONG, form_of(pool, NULL, AURI_SUB_INLINE));
    assert_int_equal(AURI_FORM_SHORT, form_of(pool, NULL, AURI_SUB_INLINE + 1));
    assert_int_equal(AURI_FORM_SHORT, form_of(pool, NULL, LARGE));
    assert_int_equal(AURI_FORM_LONG, form_of(pool, &limited, AURI_SUB_SMALL));
    assert_int_equal(AURI_FORM_LONG, form_of(pool, &limited, LARGE));
    aurt_pool_end(pool);
}

/* Each place of the ring is used for an entry of each form after one of each other form. */
static void test_used_place(void **state)
{
    static const size_t sizes[] = { AURI_SUB_SMALL, AURI_SUB_INLINE, AURI_SUB_INLINE + 1 };
    static const unsigned forms[] = { AURI_FORM_SHORT, AURI_FORM_LONG, AURI_FORM_SHORT };
    aur_pool *pool = aurt_pool_new(AUR_PROCESSES, 1, AUR_START_FORK, AUR_NO_SPARES);

    (void)state;
    for (unsigned i = 0; i < 4 * AURI_RING; i++) { /* 3 does not divide AURI_RING */
        assert_int_equal(forms[i % 3], form_of(pool, NULL, sizes[i % 3]));
    }
    aurt_pool_end(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_used_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
