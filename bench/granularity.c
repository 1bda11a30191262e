/* granularity: aur_map on threads against the plain loop; see granularity.h. */
#include "granularity.h"
#include "pools.h"

AUR_FN(uint64_t, item, uint64_t);

static void map(void *pool, const uint64_t *in, size_t n, uint64_t *out)
{
    if (aur_map((aur_pool *)pool, item, in, n, out) != AUR_OK) {
        exit(give_up("map"));
    }
}

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *pool = pool_of(argc, argv);

    return pool == NULL ? give_up("pool") : measure_granularity(map, pool);
}
