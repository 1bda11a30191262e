/* Misuse: the records are those of another function. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

static double ratio(int x, int y)
{
    return x / y;
}
AUR_FN(double, ratio, int, int);

aur_err misuse(aur_pool *pool, const struct ratio_args *in, double *out)
{
#ifdef AURT_TWIN
    return aur_starmap(pool, ratio, in, 3, out);
#else
    return aur_starmap(pool, power, in, 3, out);
#endif
}
