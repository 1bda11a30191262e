/* Misuse: AUR_FN names another number type than the parameter has. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
#ifdef AURT_TWIN
AUR_FN(double, power, int, int);
#else
AUR_FN(double, power, int, double);
#endif
