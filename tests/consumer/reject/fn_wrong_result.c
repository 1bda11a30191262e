/* Misuse: AUR_FN names another result type than the function has. */
#include <auriga.h>

static double power(int x, int y)
{
    return x + y;
}
#ifdef AURT_TWIN
AUR_FN(double, power, int, int);
#else
AUR_FN(const char *, power, int, int);
#endif
