/* Misuse: a pointer where the function of an asynchronous call takes an int. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
AUR_FN(double, power, int, int);

aur_err misuse(aur_pool *pool, aur_future **ret)
{
#ifdef AURT_TWIN
    return aur_apply_async(pool, ret, power, 5, 2);
#else
    return aur_apply_async(pool, ret, power, 5, pool);
#endif
}
