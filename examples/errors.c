/* errors.c: how a task reports a failure, and who gets to know about it.
 *
 * A task fails by `return aur_fail(code, "text", ...)`, whatever its return type.  Like an exception
 * in Python, the failure comes out where the result is asked for.
 */
#include <auriga.h>

#include <math.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { NEGATIVE = 7 }; /* our own code; Auriga only carries it */

static double root(double x)
{
    if (x < 0) {
        return aur_fail(NEGATIVE, "%g has no real root", x);
    }
    return sqrt(x);
}
AUR_FN(double, root, double);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_future) *f = NULL;
    const double in[] = { 4, -1, 9, -16, 25 };
    double out[COUNT(in)] = { 0 };
    double value = -1;

    if (aur_pool_new(NULL, &pool, NULL) != AUR_OK) {
        return 1;
    }

    /* One call: the future knows. */
    if (aur_apply_async(pool, &f, root, -4) != AUR_OK ||
        aur_future_result(f, &value, AUR_NO_DEADLINE) != AUR_ETASK) {
        return 1;
    }
    const aur_error *error = aur_future_error(f);
    printf("%s failed: %s, code %d, \"%s\"; the variable still holds %g\n", error->function,
           aur_err_name(error->err), error->code, error->message, value);

    /* A call that waits returns the code; the details are in aur_last_error(). */
    if (aur_apply(pool, &value, root, -9) != AUR_ETASK) {
        return 1;
    }
    printf("apply: \"%s\"\n", aur_last_error()->message);

    /* A map: by default the first failure stops what has not started.  With AUR_CALL_ALL_ERRORS
     * every item gets its chance, and item_errs has a code for each. */
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    aur_err errs[COUNT(in)];
    opts.flags = AUR_CALL_ALL_ERRORS;
    opts.item_errs = errs;
    if (aur_map_with(pool, &opts, root, in, COUNT(in), out) != AUR_ETASK) {
        return 1;
    }
    printf("map: item %d was the first to fail: \"%s\"\n", (int)aur_last_error()->item,
           aur_last_error()->message);
    for (size_t i = 0; i < COUNT(in); i++) {
        if (errs[i] == AUR_OK) {
            printf("  root of %3g: %g\n", in[i], out[i]);
        } else {
            printf("  root of %3g: %s\n", in[i], aur_err_name(errs[i]));
        }
    }
    return 0;
}
