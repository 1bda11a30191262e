/* Misuse: more than 12 parameters. */
#include <auriga.h>

#ifdef AURT_TWIN
static int many(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l)
#else
static int many(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l,
                int m)
#endif
{
    return a + b + c + d + e + f + g + h + i + j + k + l;
}
#ifdef AURT_TWIN
AUR_FN(int, many, int, int, int, int, int, int, int, int, int, int, int, int);
#else
AUR_FN(int, many, int, int, int, int, int, int, int, int, int, int, int, int, int);
#endif
