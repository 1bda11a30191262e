/* forks.c: a program that has the quick way of a fork in it, and may load others that have.
 * usage: forks            forks in a pool
 *        forks OBJECT     loads a shared object, or says why not
 * Compiled as a shared object, too, and with another number in the name of what it is linked by. */
#include <auriga.h>

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

#ifndef NO_FORK
/* The layout that the number 2 stands for.  Who has to change a line here changes the number in auriga/join.h. */
#define AT(offset, type, member)                                                                   \
    _Static_assert(offsetof(type, member) == (offset), "programs have it compiled in")
AT(0, aur_fork_, run_);
AT(8, aur_fork_, arg_);
AT(16, aur_fork_, frame_);
AT(24, aur_fork_, state_);
AT(28, aur_fork_, private_);
AT(32, aur_fork_, privates_);
_Static_assert(sizeof(aur_fork_) == 56, "it lies on their stacks");
AT(0, aur_lane_, head_);
AT(8, aur_lane_, most_);
AT(16, aur_lane_, low_);
AT(0, struct aur_self_, frame_);
AT(64, struct aur_self_, lane_);

static long fib(int n);
AUR_FN(long, fib, int);
static long fib(int n)
{
    if (n < 2) {
        return n;
    }
    aur_fork(left, fib, n - 1);
    long right = fib(n - 2);
    return aur_joined(left, fib) + right;
}
#else
static long fib(int n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
AUR_FN(long, fib, int);
#endif

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    long value = 0;

    fputs("begun\n", stderr); /* a program that is not started does not get here */
    if (argc > 1) {
        void *object = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
        puts(object != NULL ? "loaded" : dlerror());
        return object != NULL ? 0 : 1;
    }
    if (aur_pool_new(NULL, &pool, NULL) != AUR_OK || aur_apply(pool, &value, fib, 20) != AUR_OK) {
        return 1;
    }
    printf("%ld\n", value);
    return value == 6765 ? 0 : 1;
}
