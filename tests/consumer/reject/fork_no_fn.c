/* Misuse: the function that is forked has no AUR_FN line. */
#include <auriga.h>

static long square(long x)
{
    return x * x;
}
#ifdef AURT_TWIN
AUR_FN(long, square, long);
#endif

long misuse(long x)
{
    aur_fork(branch, square, x);
    return aur_joined(branch, square);
}
