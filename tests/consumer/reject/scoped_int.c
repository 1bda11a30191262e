/* Misuse: AUR_SCOPED on a type that nothing releases. */
#include <auriga.h>

int misuse(void)
{
#ifdef AURT_TWIN
    int number = 0;
#else
    AUR_SCOPED(int) number = 0;
#endif
    return number;
}
