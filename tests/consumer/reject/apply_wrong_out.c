/* Misuse: the result goes to a variable of another type. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

aur_err misuse(aur_pool *pool, float *single, double *out)
{
#ifdef AURT_TWIN
    return aur_apply(pool, out, power, single != NULL, 2);
#else
    return aur_apply(pool, single, power, out != NULL, 2);
#endif
}
