/* hash.c: the same work three ways: a plain loop, threads, processes. */
#include "demo.h"

#include <auriga.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 3

static struct digest hash(const char *path)
{
    struct digest digest = { { 0 } };

    if (!digest_file(path, &digest)) {
        aur_fail(errno, "%s: %s", path, strerror(errno));
    }
    return digest;
}
AUR_FN(struct digest, hash, const char *);

static const struct way {
    const char *name;
    int32_t kind;
} ways[] = {
    { "plain loop", AUR_SERIAL }, /* no pool at all, see run() */
    { "threads", AUR_THREADS },
    { "processes", AUR_PROCESSES },
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Hashes every file once; pool NULL: by a plain loop. */
static aur_err run(aur_pool *pool, const struct files *files, struct digest *out)
{
    if (pool != NULL) {
        return aur_map(pool, hash, files->path, files->n, out);
    }
    for (size_t i = 0; i < files->n; i++) {
        out[i] = hash(files->path[i]);
    }
    return AUR_OK;
}

static size_t count_equal(const struct files *files, const struct digest *out)
{
    size_t equal = 0;

    for (size_t i = 0; i < files->n; i++) {
        equal += digest_equal(&out[i], &files->wanted[i]);
    }
    return equal;
}

/* One untimed pass, which brings the files into the page cache. */
static void warm(aur_pool *pool, const struct files *files)
{
    AUR_SCOPED(aur_imap_iter) *iter = NULL;
    struct digest digest;
    size_t done = 0, equal = 0;
    uint64_t index;

    if (aur_imap_unordered(pool, &iter, hash, files->path, files->n) != AUR_OK) {
        return;
    }
    while (aur_imap_next_sized(iter, &digest, sizeof(digest), &index, AUR_NO_DEADLINE) == AUR_OK) {
        equal += digest_equal(&digest, &files->wanted[index]);
        progress("reading the files", ++done, files->n);
    }
    check(equal == files->n,
          "untimed pass (imap_unordered, threads): %zu of %zu digests as sha256sum", equal,
          files->n);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void measure(aur_pool *const pools[WAYS], const struct files *files, struct digest *out)
{
    uint64_t ns[WAYS][ROUNDS];
    size_t equal[WAYS] = { 0 };

    for (int round = 0; round < ROUNDS; round++) {
        for (size_t way = 0; way < WAYS; way++) {
            memset(out, 0, files->n * sizeof(*out));
            uint64_t start = now_ns();
            aur_err err = run(pools[way], files, out);
            ns[way][round] = now_ns() - start;
            equal[way] += err == AUR_OK ? count_equal(files, out) : 0;
        }
    }
    line("%-12s %12s %19s %10s", "way", "median ms", "range ms", "speed-up");
    for (size_t way = 0; way < WAYS; way++) {
        qsort(ns[way], ROUNDS, sizeof(ns[way][0]), by_value);
        line("%-12s %12.1f %8.1f - %8.1f %9.2fx", ways[way].name, (double)ns[way][ROUNDS / 2] / 1e6,
             (double)ns[way][0] / 1e6, (double)ns[way][ROUNDS - 1] / 1e6,
             (double)ns[0][ROUNDS / 2] / (double)ns[way][ROUNDS / 2]);
    }
    for (size_t way = 0; way < WAYS; way++) {
        check(equal[way] == ROUNDS * files->n, "%s: %zu of %zu digests as sha256sum, in %d runs",
              ways[way].name, equal[way], ROUNDS * files->n, ROUNDS);
    }
}

void show_hashes(const struct files *files)
{
    aur_pool *pools[WAYS] = { NULL };
    struct digest *out = calloc(files->n, sizeof(*out));
    bool started = out != NULL;

    title("1. SHA-256 of %zu files, %.1f MB: one loop, threads, processes", files->n,
          (double)files->total / 1e6);
    for (size_t way = 1; way < WAYS; way++) {
        aur_options opts = AUR_OPTIONS_INIT;
        aur_diag diag;

        opts.kind = ways[way].kind;
        opts.name = ways[way].name;
        if (aur_pool_new(&opts, &pools[way], &diag) != AUR_OK) {
            started = check(false, "%s: %s: %s", ways[way].name, diag.step, diag.text);
        }
    }
    if (started) {
        warm(pools[1], files);
        line(
            "Medians of %d runs each, taken in turn; pools started beforehand, one worker per CPU;",
            ROUNDS);
        line("every run hashes all files, from the page cache.");
        measure(pools, files, out);
    }
    for (size_t way = 1; way < WAYS; way++) {
        aur_pool_scoped_(&pools[way]);
    }
    free(out);
}
