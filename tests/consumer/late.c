/* Goal:    AUR_ENOTSUP of aur_pool_new(): a program that has loaded the library late gets no fresh images, in which
 *          its main() would run again.
 * usage:   late LIBRARY */
#include <auriga.h>

#include <dlfcn.h>
#include <stdio.h>

typedef aur_err new_fn(const aur_options *opts, aur_pool **ret_pool, aur_diag *reterr_diag);

int main(int argc, char **argv)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    new_fn *make;

    if (library == NULL) {
        fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: late LIBRARY");
        return 1;
    }
    *(void **)&make = dlsym(library, "aur_pool_new");
    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.start = AUR_START_SPAWN;
    aur_err err = make != NULL ? make(&opts, &pool, &diag) : AUR_OK;
    printf("%d: %s\n", (int)err, diag.text);
    return err == AUR_ENOTSUP && pool == NULL ? 0 : 1;
}
