/* Goal:    a program that loads the library late, as a part of a plugin, and unloads it.
 *          AUR_ENOTSUP of aur_pool_new(): it gets no fresh images, in which its main() would run again.  A thread that
 *          has used the library, and the workers of a pool that was given up, may end after it was unloaded.
 * usage:   late LIBRARY */
#include <auriga.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

typedef aur_err new_fn(const aur_options *opts, aur_pool **ret_pool, aur_diag *reterr_diag);
typedef aur_pool *unref_fn(aur_pool *pool);
typedef aur_err wait_fn(aur_future *future, aur_deadline deadline);

static int no_image(new_fn *make)
{
    aur_options opts = AUR_OPTIONS_INIT;
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };

    opts.kind = AUR_PROCESSES;
    opts.workers = 1;
    opts.start = AUR_START_SPAWN;
    aur_err err = make(&opts, &pool, &diag);
    printf("%d: %s\n", (int)err, diag.text);
    return err == AUR_ENOTSUP && pool == NULL ? 0 : 1;
}

struct plugin {
    const char *path;
    int failed;
};

static void *use(void *arg)
{
    struct plugin *plugin = arg;
    void *library = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL);
    aur_pool *pool = NULL;
    new_fn *make;
    unref_fn *unref;
    wait_fn *wait;

    plugin->failed = 1;
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return NULL;
    }
    *(void **)&make = dlsym(library, "aur_pool_new");
    *(void **)&unref = dlsym(library, "aur_pool_unref");
    *(void **)&wait = dlsym(library, "aur_future_wait");
    if (make != NULL && unref != NULL && wait != NULL && no_image(make) == 0 &&
        make(NULL, &pool, NULL) == AUR_OK) {
        unref(pool);                                  /* it is not waited for */
        plugin->failed = wait(NULL, 0) != AUR_EINVAL; /* noted for this thread */
    }
    dlclose(library);
    return NULL;
}

int main(int argc, char **argv)
{
    struct plugin plugin = { argc == 2 ? argv[1] : "", 1 };
    pthread_t thread;

    if (argc != 2) {
        fprintf(stderr, "usage: late LIBRARY\n");
        return 1;
    }
    if (pthread_create(&thread, NULL, use, &plugin) != 0 || pthread_join(thread, NULL) != 0) {
        return 1;
    }
    return plugin.failed;
}
