/* roundtrip: from the call to its result, hot and after 1 ms in which nothing happened.
 *
 * verb=apply: the call that waits; the library may run it in the calling thread.  verb=submit: a
 * future and a wait for it. */
#include "pools.h"

static long add_one(long x)
{
    return x + 1;
}
AUR_FN(long, add_one, long);

static void apply(void *pool)
{
    long value = 0;

    check_aur(aur_apply((aur_pool *)pool, &value, add_one, 1), "apply");
    check(value == 2, "result");
}

static void submit(void *pool)
{
    AUR_SCOPED(aur_future) *f = NULL;
    long value = 0;

    check_aur(aur_apply_async((aur_pool *)pool, &f, add_one, 1), "submit");
    check_aur(aur_future_result(f, &value, AUR_NO_DEADLINE), "wait");
    check(value == 2, "result");
}

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);
    const char *verb = option_text(argc, argv, "verb", "apply");

    measure_hot_and_idle(argc, argv, "idle", strcmp(verb, "submit") == 0 ? submit : apply, pool);
    return 0;
}
