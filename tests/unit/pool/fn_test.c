/* Goal:   the short question whether a descriptor is good has the answer that the long check gives.
 * Method: every field of good descriptors is set to each of a few values, two fields at a time.
 * Guards: auri_fn_is_good() and auri_fn_check() in src/pool/options. */
#include "aurt.h"

#include "pool/options.h"

static int twice(int x)
{
    return 2 * x;
}
AUR_FN(int, twice, int);

static void touch(uint64_t lo, uint64_t hi, int *ctx)
{
    *ctx += (int)(hi - lo);
}
AUR_RANGE_FN(touch, int);

enum { ABI, FLAGS, ARGS_SIZE, RET_SIZE, ARGS_ALIGN, RET_ALIGN, NAME, RANGE, FIELDS };

static const uint32_t values[] = { 0, 1, 2, 3, 4, 8, 12, 4096, 8192, 1u << 20, (1u << 20) + 4096 };
#define VALUES (sizeof(values) / sizeof(values[0]))

static void set(aur_fn *fn, int field, uint32_t value)
{
    switch (field) {
    case ABI:
        fn->abi = value != 0 ? fn->abi : value;
        break;
    case FLAGS:
        fn->flags = value;
        break;
    case ARGS_SIZE:
        fn->args_size = value;
        break;
    case RET_SIZE:
        fn->ret_size = value;
        break;
    case ARGS_ALIGN:
        fn->args_align = value;
        break;
    case RET_ALIGN:
        fn->ret_align = value;
        break;
    case NAME:
        fn->name = value != 0 ? fn->name : NULL;
        break;
    default:
        fn->range = value != 0 ? fn->range : NULL;
        break;
    }
}

static unsigned good, bad;

static void compare(const aur_fn *fn)
{
    static const uint32_t wanted[] = { 0, AUR_FN_RANGE_BODY };
    const char *why = NULL;

    for (size_t i = 0; i < 2; i++) {
        bool is_good = auri_fn_is_good(fn, wanted[i]);
        assert_int_equal(is_good, auri_fn_check(fn, wanted[i], &why) == AUR_OK);
        *(is_good ? &good : &bad) += 1;
    }
}

static void both_say_the_same(void **state)
{
    const aur_fn from[] = { twice_aur_fn, touch_aur_fn };

    (void)state;
    compare(NULL);
    for (size_t i = 0; i < sizeof(from) / sizeof(from[0]) * FIELDS * FIELDS * VALUES * VALUES;
         i++) {
        size_t n = i;
        aur_fn fn = from[n % 2];
        n /= 2;
        for (int k = 0; k < 2; k++) {
            int field = (int)(n % FIELDS);
            n /= FIELDS;
            set(&fn, field, values[n % VALUES]);
            n /= VALUES;
        }
        compare(&fn);
    }
    assert_true(good > 100 && bad > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_say_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
