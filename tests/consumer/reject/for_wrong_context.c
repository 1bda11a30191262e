/* Misuse: the body of a loop takes another context. */
#include <auriga.h>

static void mark(uint64_t lo, uint64_t hi, double *values)
{
    values[lo] = (double)hi;
}
AUR_RANGE_FN(mark, double);

aur_err misuse(aur_pool *pool, float *single, double *values)
{
#ifdef AURT_TWIN
    return aur_for(pool, 0, single != NULL, mark, values);
#else
    return aur_for(pool, 0, values != NULL, mark, single);
#endif
}
