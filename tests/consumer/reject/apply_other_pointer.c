/* Misuse: a pointer to another type than the function takes. */
#include <auriga.h>

static int length(const char *text)
{
    return text[0];
}
AUR_FN(int, length, const char *);

aur_err misuse(aur_pool *pool, int *out, const long *text)
{
#ifdef AURT_TWIN
    return aur_apply(pool, out, length, (const char *)text);
#else
    return aur_apply(pool, out, length, text);
#endif
}
