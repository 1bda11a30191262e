/* Misuse: an int where the function takes a pointer. */
#include <auriga.h>

static int length(const char *text)
{
    return text[0];
}
AUR_FN(int, length, const char *);

aur_err misuse(aur_pool *pool, int *out)
{
#ifdef AURT_TWIN
    return aur_apply(pool, out, length, "5");
#else
    return aur_apply(pool, out, length, 5);
#endif
}
