/* Misuse: the function has no AUR_FN line. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
#ifdef AURT_TWIN
AUR_FN(double, power, int, int);
#endif

aur_err misuse(aur_pool *pool, double *out)
{
#ifdef AURT_TWIN
    return aur_apply(pool, out, power, 5, 2);
#else
    return aur_apply(pool, out, power, 5, 2);
#endif
}
