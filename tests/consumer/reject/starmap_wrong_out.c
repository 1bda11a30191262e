/* Misuse: the output array has another element type. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

aur_err misuse(aur_pool *pool, const struct power_args *in, int *narrow, double *out)
{
#ifdef AURT_TWIN
    return aur_starmap(pool, power, in, narrow != NULL, out);
#else
    return aur_starmap(pool, power, in, out != NULL, narrow);
#endif
}
