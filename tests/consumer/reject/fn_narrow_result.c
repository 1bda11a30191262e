/* Misuse: AUR_FN names a result type that loses digits of the function's own. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
#ifdef AURT_TWIN
AUR_FN(double, power, int, int);
#else
AUR_FN(int, power, int, int);
#endif
