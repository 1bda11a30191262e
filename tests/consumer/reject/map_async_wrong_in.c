/* Misuse: the input array of an asynchronous map has another element type. */
#include <auriga.h>

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

aur_err misuse(aur_pool *pool, aur_future **ret, const int *narrow, const long *in, long *out)
{
#ifdef AURT_TWIN
    return aur_map_async(pool, ret, square, in, narrow != NULL, out);
#else
    return aur_map_async(pool, ret, square, narrow, in != NULL, out);
#endif
}
