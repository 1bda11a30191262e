/* Misuse: AUR_FN for a function that returns nothing. */
#include <auriga.h>

static void forget(int x)
{
    (void)x;
}
#ifdef AURT_TWIN
AUR_FN_VOID(forget, int);
#else
AUR_FN(void, forget, int);
#endif
