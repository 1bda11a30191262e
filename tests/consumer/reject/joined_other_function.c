/* Misuse: a branch is joined as if another function had been forked. */
#include <auriga.h>

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

static long twice(long x)
{
    return x + x;
}
AUR_FN(long, twice, long);

long misuse(long x)
{
    aur_fork(branch, square, x);
#ifdef AURT_TWIN
    return aur_joined(branch, square) + twice(x);
#else
    return aur_joined(branch, twice) + square(x);
#endif
}
