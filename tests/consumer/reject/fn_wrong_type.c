/* Misuse: AUR_FN names an int where the function takes a pointer. */
#include <auriga.h>

static int length(const char *text)
{
    return text[0];
}
#ifdef AURT_TWIN
AUR_FN(int, length, const char *);
#else
AUR_FN(int, length, int);
#endif
