/* payload: byte strings to a worker process and back; in GB/s of what goes in and what comes out.
 *
 * The task changes each byte, so that both sides have to touch all of it, and the caller copies the
 * result out and checks it (the whole of it once, outside the clock).  Small payloads are pipelined: 64
 * are under way.  view: how long the caller waits for a result that is done, to read it in place. */
#include "pools.h"

#define WINDOW_MAX 64

static aur_err invert(const void *in, size_t size, aur_out *out)
{
    uint64_t *to = (uint64_t *)aur_out_alloc(out, size);
    const uint64_t *from = (const uint64_t *)in;

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    for (size_t i = 0; i < size / 8; i++) {
        to[i] = ~from[i];
    }
    return AUR_OK;
}
AUR_BYTES_FN(invert);

struct side {
    uint64_t *in, *out;
    size_t size;
};

static void take(aur_future *future, const struct side *side)
{
    const void *data;
    size_t size;

    check_aur(aur_future_view(future, &data, &size, AUR_NO_DEADLINE), "result");
    check(size == side->size, "size of the result");
    memcpy(side->out, data, size);
    check(side->out[0] == ~side->in[0] && side->out[size / 8 - 1] == ~side->in[size / 8 - 1],
          "result");
    aur_future_unref(future);
}

static uint64_t move(aur_pool *pool, const struct side *side, size_t n, size_t window)
{
    aur_future *futures[WINDOW_MAX];
    uint64_t start = now_ns();

    for (size_t i = 0; i < n + window; i++) {
        if (i >= window) {
            take(futures[i % window], side);
        }
        if (i < n) {
            check_aur(aur_apply_bytes(pool, &futures[i % window], invert, side->in, side->size),
                      "submit");
        }
    }
    return now_ns() - start;
}

static void measure_view(aur_pool *pool, const struct side *side)
{
    uint64_t ns[9];

    for (size_t i = 0; i < 9; i++) {
        AUR_SCOPED(aur_future) *future = NULL;
        const void *data;
        size_t size;

        check_aur(aur_apply_bytes(pool, &future, invert, side->in, side->size), "submit");
        check_aur(aur_future_wait(future, AUR_NO_DEADLINE), "wait");
        uint64_t start = now_ns();
        check_aur(aur_future_view(future, &data, &size, AUR_NO_DEADLINE), "view");
        uint64_t word = ((const volatile uint64_t *)data)[size / 16];
        ns[i] = now_ns() - start;
        /* Not before: the argument is as cold as the result. */
        check(word == ~side->in[size / 16], "result");
    }
    figure_at("view", "us", (double)percentile(ns, 9, 50) / 1e3, "size", side->size);
}

static void measure(aur_pool *pool, size_t size, size_t bytes)
{
    size_t n = bytes / size, window = size >= 1 << 26 ? 1 : size >= 1 << 20 ? 4 : WINDOW_MAX;
    struct side side = { (uint64_t *)malloc(size), (uint64_t *)malloc(size), size };

    check(side.in != NULL && side.out != NULL, "malloc");
    n = n < 2 * window ? 2 * window : n;
    for (size_t i = 0; i < size / 8; i++) {
        side.in[i] = i;
        side.out[i] = 0;
    }
    move(pool, &side, 2 * window, window); /* warms up */
    for (size_t i = 0; i < size / 8; i++) {
        check(side.out[i] == ~side.in[i], "result");
    }
    figure_at("payload", "GB/s",
              2.0 * (double)size * (double)n / (double)move(pool, &side, n, window), "size", size);
    measure_view(pool, &side);
    free(side.in);
    free(side.out);
}

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);
    size_t bytes = option(argc, argv, "mib", 512) << 20;

    measure(pool, 1 << 10, bytes / 8);
    measure(pool, 1 << 20, bytes);
    measure(pool, 1 << 26, bytes);
    return 0;
}
