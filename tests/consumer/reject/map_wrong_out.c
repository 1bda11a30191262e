/* Misuse: the output array has another element type. */
#include <auriga.h>

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

aur_err misuse(aur_pool *pool, const long *in, int *narrow, long *out)
{
#ifdef AURT_TWIN
    return aur_map(pool, square, in, narrow != NULL, out);
#else
    return aur_map(pool, square, in, out != NULL, narrow);
#endif
}
