/* Misuse: the result goes to a constant. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

aur_err misuse(aur_pool *pool, const double *fixed, double *out)
{
#ifdef AURT_TWIN
    return aur_apply(pool, out, power, fixed != NULL, 2);
#else
    return aur_apply(pool, fixed, power, out != NULL, 2);
#endif
}
