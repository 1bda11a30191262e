/* Option structs of any bytes: refused with a reason, or taken, and then the pool that they make works.
 *
 * The bytes are a struct as some header, older, newer or broken, might have compiled it.  Pools of processes
 * are resolved but not started here: that takes too long for a fuzzer. */
#include "fuzz.h"

#include <auriga.h>

#include "pool/options.h"

#define STRUCT_MAX 4096u /* a struct says how long it is: so much of it is there */

static int square(int x)
{
    return x * x;
}
AUR_FN(int, square, int);

static int init(void *ctx, int worker)
{
    (void)ctx;
    (void)worker;
    return 0;
}

static void fini(void *ctx, int worker)
{
    (void)ctx;
    (void)worker;
}

static void quiet(void *ctx, int level, const char *text)
{
    (void)ctx;
    (void)level;
    FUZZ_CHECK(text != NULL);
}

static const char *const program[] = { "/bin/true", NULL };
static const int descriptors[] = { 0 };

/* Pointers that a caller passes are good ones, or NULL. */
static void mend_pointers(aur_options *opts)
{
    opts->worker_init = ((uintptr_t)opts->worker_init & 1) != 0 ? init : NULL;
    opts->worker_fini = ((uintptr_t)opts->worker_fini & 1) != 0 ? fini : NULL;
    opts->name = ((uintptr_t)opts->name & 1) != 0 ? "a name that is longer than a thread's" : NULL;
    opts->log = ((uintptr_t)opts->log & 1) != 0 ? quiet : NULL;
    opts->exec_argv = ((uintptr_t)opts->exec_argv & 1) != 0 ? program : NULL;
    opts->exec_fds = ((uintptr_t)opts->exec_fds & 1) != 0 ? descriptors : NULL;
}

static void try_call(aur_pool *pool, fuzz_input *in)
{
    unsigned char raw[STRUCT_MAX] = { 0 };
    aur_call_options opts;
    aur_err errs[3];
    int args[3] = { 1, 2, 3 };
    int out[3] = { 0 };

    fuzz_read(in, &opts, sizeof(opts));
    opts.item_errs = ((uintptr_t)opts.item_errs & 1) != 0 ? errs : NULL;
    opts.item_timeout_ns = 0; /* an item may take its time: what is checked is the answer */
    if ((opts.size & 3) != 0) {
        opts.size = sizeof(opts);
    }
    memcpy(raw, &opts, sizeof(opts));
    aur_err err = aur_map_with(pool, (aur_call_options *)(void *)raw, square, args, 3, out);
    FUZZ_CHECK(err == AUR_OK || err == AUR_EINVAL);
    FUZZ_CHECK(err != AUR_OK || (out[0] == 1 && out[1] == 4 && out[2] == 9));
}

static void try_pool(const aur_options *opts, fuzz_input *in)
{
    aur_pool *pool = NULL;
    aur_diag diag = { 0 };
    aur_stats stats = { .size = sizeof(stats) };
    int value = 0;

    FUZZ_CHECK(aur_pool_new(opts, &pool, &diag) == AUR_OK);
    FUZZ_CHECK(aur_apply(pool, &value, square, 7) == AUR_OK && value == 49);
    try_call(pool, in);
    FUZZ_CHECK(aur_pool_join(pool, AUR_NO_DEADLINE) == AUR_OK);
    FUZZ_CHECK(aur_pool_stats(pool, &stats) == AUR_OK &&
               stats.submitted == stats.done + stats.failed + stats.cancelled);
    aur_pool_unref(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char raw[STRUCT_MAX] = { 0 };
    aur_options opts;
    aur_options resolved;
    aur_diag diag = { 0 };
    fuzz_input in = { data, size };
    uint8_t mend = fuzz_u8(&in);

    fuzz_read(&in, &opts, sizeof(opts));
    mend_pointers(&opts);
    if ((mend & 1) != 0) {
        opts.size = sizeof(opts);
    }
    if ((mend & 2) != 0) {
        opts.workers %= 4;
        opts.spares_max %= 4;
        opts.retries %= 4;
        opts.kind %= 4;
        opts.start %= 4;
        opts.queue_policy %= 3;
        opts.retry_on %= 8;
        opts.flags %= 16;
    }
    memcpy(raw, &opts, sizeof(opts));
    raw[sizeof(opts) + fuzz_u8(&in)] = fuzz_u8(&in); /* what a newer header might have set */
    aur_err err = auri_options_resolve((aur_options *)(void *)raw, &resolved, &diag);
    FUZZ_CHECK(err == AUR_OK || err == AUR_EINVAL || err == AUR_ENOTSUP);
    if (err != AUR_OK) {
        FUZZ_CHECK(diag.err == err && diag.step[0] != '\0' && diag.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(resolved.size == sizeof(resolved) && resolved.name != NULL &&
               resolved.retry_on != 0 && resolved.workers <= AURI_WORKERS_MAX);
    if (resolved.kind != AUR_PROCESSES && resolved.workers <= 3 && resolved.item_timeout_ns == 0) {
        resolved.spares_max = resolved.spares_max > 2 ? 2 : resolved.spares_max;
        try_pool(&resolved, &in);
    }
    return 0;
}
