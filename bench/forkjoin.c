/* forkjoin: fib(n) without a cut-off: what a fork of almost nothing costs with its join.  form=pointer is
 * aur_join(), with a context for each branch; form=typed is aur_fork() and aur_joined().  The caller only
 * waits (AUR_POOL_NO_HELP), so that `workers` threads compute. */
#include "pools.h"

struct context {
    unsigned n;
    uint64_t value;
};

static void branch(void *arg)
{
    struct context *c = (struct context *)arg;

    if (c->n < 2) {
        c->value = c->n;
        return;
    }
    struct context left = { c->n - 1, 0 };
    struct context right = { c->n - 2, 0 };
    check_aur(aur_join(branch, &left, branch, &right), "join");
    c->value = left.value + right.value;
}

static uint64_t by_pointer(unsigned n)
{
    struct context c = { n, 0 };

    branch(&c);
    return c.value;
}
AUR_FN(uint64_t, by_pointer, unsigned);

static uint64_t typed(unsigned n);
AUR_FN(uint64_t, typed, unsigned);
static uint64_t typed(unsigned n)
{
    if (n < 2) {
        return n;
    }
    aur_fork(right, typed, n - 2);
    uint64_t left = typed(n - 1);
    return left + aur_joined(right, typed);
}

int main(int argc, char **argv)
{
    unsigned n = (unsigned)option(argc, argv, "n", 32);
    int is_typed = strcmp(option_text(argc, argv, "form", "pointer"), "typed") == 0;
    aur_options opts = AUR_OPTIONS_INIT;
    AUR_SCOPED(aur_pool) *pool = NULL;
    uint64_t value = 0, start = 0;

    opts.workers = (uint32_t)option(argc, argv, "workers", 2);
    opts.flags = AUR_POOL_NO_HELP;
    check_aur(aur_pool_new(&opts, &pool, NULL), "pool");
    for (unsigned k = n < 7 ? n : n - 7; k <= n; k += 7) { /* first: warm-up */
        start = now_ns();
        check_aur(is_typed ? aur_apply(pool, &value, typed, k)
                           : aur_apply(pool, &value, by_pointer, k),
                  "apply");
    }
    figure("spawn", "ns", (double)(now_ns() - start) / (double)fib_spawns(n));
    check(value == fib_plain(n), "fib");
    return 0;
}
