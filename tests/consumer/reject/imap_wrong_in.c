/* Misuse: the input array of an iterator has another element type. */
#include <auriga.h>

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

aur_err misuse(aur_pool *pool, aur_imap_iter **ret, const int *narrow, const long *in)
{
#ifdef AURT_TWIN
    return aur_imap(pool, ret, square, in, narrow != NULL);
#else
    return aur_imap(pool, ret, square, narrow, in != NULL);
#endif
}
