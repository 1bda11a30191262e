/* Misuse: a pointer where the function takes an int. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

aur_err misuse(aur_pool *pool, double *out)
{
#ifdef AURT_TWIN
    return aur_apply(pool, out, power, 5, 2);
#else
    return aur_apply(pool, out, power, 5, "2");
#endif
}
