/* Misuse: a branch of aur_join() that takes no pointer. */
#include <auriga.h>

#ifdef AURT_TWIN
static void count(void *n)
{
    ++*(int *)n;
}
#else
static void count(int n)
{
    (void)n;
}
#endif

aur_err misuse(int *n, int *m)
{
    return aur_join(count, n, count, m);
}
