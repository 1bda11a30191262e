/* crash.c: a task that crashes its worker process costs one item, not the map.
 *
 * Python's ProcessPoolExecutor is broken from then on, and multiprocessing.Pool never answers.  Here
 * the error says which item it was and which signal, the worker is replaced, and all other items
 * have their results.  With retries the item gets another chance.
 */
#include <auriga.h>

#include <signal.h>
#include <stdio.h>

#define N 10
#define BAD 3

/* The second argument names a shared buffer: how often the bad item was started. */
static int fragile(int x, uint64_t starts_id)
{
    void *memory;
    size_t size;

    if (x == BAD && aur_buf_open(starts_id, &memory, &size) == AUR_OK) {
        int *starts = memory;

        if (++*starts <= 2) {
            raise(SIGSEGV); /* as a wild pointer would */
        }
    }
    return x * x;
}
AUR_FN(int, fragile, int, uint64_t);

static void print_results(const int *out)
{
    printf("  results:");
    for (int i = 0; i < N; i++) {
        printf(" %d", out[i]);
    }
    printf("\n");
}

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_buf) *starts = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    aur_call_options call = AUR_CALL_OPTIONS_INIT;
    struct fragile_args params[N];
    int out[N];

    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK ||
        aur_buf_new(pool, sizeof(int), AUR_BUF_INOUT, &starts) != AUR_OK) {
        return 1;
    }
    for (int i = 0; i < N; i++) {
        params[i] = (struct fragile_args){ i, aur_buf_id(starts) };
        out[i] = -1;
    }

    call.flags = AUR_CALL_ALL_ERRORS; /* one failure does not stop the others */
    if (aur_starmap_with(pool, &call, fragile, params, N, out) != AUR_EWORKER) {
        return 1;
    }
    const aur_error *error = aur_last_error();
    printf("%s: item %d of %s, signal %d (SIGSEGV is %d)\n", aur_err_name(error->err),
           (int)error->item, error->function, error->signal, SIGSEGV);
    print_results(out);

    call.retries = 3; /* the second attempt crashes too, the third succeeds */
    if (aur_starmap_with(pool, &call, fragile, params, N, out) != AUR_OK) {
        return 1;
    }
    printf("with retries, after %d starts of item %d:\n", *(int *)aur_buf_data(starts), BAD);
    print_results(out);
    return 0;
}
