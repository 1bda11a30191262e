/* Misuse: an argument is missing in a fork. */
#include <auriga.h>

static long times(long x, long y)
{
    return x * y;
}
AUR_FN(long, times, long, long);

long misuse(long x)
{
#ifdef AURT_TWIN
    aur_fork(branch, times, x, x);
#else
    aur_fork(branch, times, x);
#endif
    return aur_joined(branch, times);
}
