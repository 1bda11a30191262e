/* granularity: parallel loops against the plain loop; granularity.h says how.
 *
 * form=map: aur_map(), the function inlined into the range loop of AUR_FN.  form=pointer: the same with
 * one call an item through a pointer, against a loop that calls it so too.  form=for: aur_for(). */
#include "granularity.h"
#include "pools.h"

static void range(uint64_t lo, uint64_t hi, struct loop *loop)
{
    loop_range(loop, lo, hi);
}
AUR_RANGE_FN(range, struct loop);

static uint64_t steps_of_item; /* set between the runs only */

static uint64_t item(uint64_t x)
{
    return chain(x, steps_of_item);
}
AUR_FN(uint64_t, item, uint64_t);

static void by_for(void *pool, const struct loop *loop)
{
    struct loop copy = *loop;

    check_aur(aur_for((aur_pool *)pool, 0, loop->n, range, &copy), "for");
}

static void by_map(void *pool, const struct loop *loop)
{
    steps_of_item = loop->steps;
    check_aur(aur_map((aur_pool *)pool, item, loop->in, loop->n, loop->out), "map");
}

static uint64_t (*volatile pointer)(uint64_t) = item;

static uint64_t called(uint64_t x)
{
    return pointer(x);
}
AUR_FN(uint64_t, called, uint64_t);

static void by_pointer(void *pool, const struct loop *loop)
{
    steps_of_item = loop->steps;
    check_aur(aur_map((aur_pool *)pool, called, loop->in, loop->n, loop->out), "map");
}

static void plain_by_pointer(void *ctx, const struct loop *loop)
{
    (void)ctx;
    for (size_t i = 0; i < loop->n; i++) {
        loop->out[i] = pointer(loop->in[i]);
    }
}

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);
    const char *form = option_text(argc, argv, "form", "map");

    if (strcmp(form, "pointer") == 0) {
        return measure_granularity_of(argc, argv, plain_by_pointer, by_pointer, pool);
    }
    return measure_granularity(argc, argv, strcmp(form, "for") == 0 ? by_for : by_map, pool);
}
