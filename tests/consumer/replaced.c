/* Goal:    AUR_ESTALE of aur_pool_new(): fresh images are not made from another library than the program has.
 * Method:  an update, as a package manager does it: another file takes the place of the library.
 *
 * usage: replaced NEW LIBRARY: NEW is the file that takes the place of LIBRARY, which this program runs with. */
#include <auriga.h>

#include <stdio.h>
#include <string.h>

static long square(long x)
{
    return x * x;
}
AUR_FN(long, square, long);

static aur_err pool_of(int32_t start)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_diag diag;
    long result = 0;

    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.start = start;
    aur_err err = aur_pool_new(&opts, &pool, &diag);
    if (err == AUR_OK) {
        err = aur_apply(pool, &result, square, 7);
        if (err == AUR_OK && result != 49) {
            err = AUR_ETASK;
        }
        aur_pool_unref(pool);
    } else {
        printf("%s: %s\n", aur_err_name(err), diag.text);
    }
    return err;
}

int main(int argc, char **argv)
{
    if (argc != 3 || pool_of(AUR_START_SPAWN) != AUR_OK || rename(argv[1], argv[2]) != 0) {
        return 1;
    }
    /* What is forked has the library that is loaded. */
    return pool_of(AUR_START_SPAWN) == AUR_ESTALE && pool_of(AUR_START_FORK) == AUR_OK ? 0 : 1;
}
