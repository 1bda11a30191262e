/* Misuse: AUR_FN names fewer types than the function has parameters. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
#ifdef AURT_TWIN
AUR_FN(double, power, int, int);
#else
AUR_FN(double, power, int);
#endif
