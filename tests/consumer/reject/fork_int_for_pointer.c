/* Misuse: an int where the forked function takes a pointer. */
#include <auriga.h>

static int length(const char *text)
{
    return text[0];
}
AUR_FN(int, length, const char *);

int misuse(void)
{
#ifdef AURT_TWIN
    aur_fork(branch, length, "5");
#else
    aur_fork(branch, length, 5);
#endif
    return aur_joined(branch, length);
}
