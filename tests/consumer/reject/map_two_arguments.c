/* Misuse: map is for functions of one argument; starmap takes more. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

aur_err misuse(aur_pool *pool, const struct power_args *in, double *out)
{
#ifdef AURT_TWIN
    return aur_starmap(pool, power, in, 3, out);
#else
    return aur_map(pool, power, in, 3, out);
#endif
}
