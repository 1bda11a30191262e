/* onetbb submit THREADS | roundtrip THREADS | granularity: the same work by oneTBB. */
#include "granularity.h"

#include <oneapi/tbb.h>

#define CALLS 1000000

static void trip(void *)
{
    oneapi::tbb::task_group group;

    group.run([] {});
    group.wait();
}

static void submit()
{
    uint64_t start = 0;

    for (int calls = CALLS / 100; calls <= CALLS; calls *= 100) { /* the first round warms up */
        oneapi::tbb::task_group group;
        start = now_ns();
        for (int i = 0; i < calls; i++) {
            group.run([] {});
        }
        group.wait();
    }
    figure("empty call", "ns", (double)(now_ns() - start) / CALLS);
}

static void map(void *, const uint64_t *in, size_t n, uint64_t *out)
{
    oneapi::tbb::parallel_for(oneapi::tbb::blocked_range<size_t>(0, n),
                              [=](const oneapi::tbb::blocked_range<size_t> &range) {
                                  for (size_t i = range.begin(); i != range.end(); i++) {
                                      out[i] = item(in[i]);
                                  }
                              });
}

int main(int argc, char **argv)
{
    size_t threads = argc > 2 ? static_cast<size_t>(atoi(argv[2])) : 0;
    oneapi::tbb::global_control limit(oneapi::tbb::global_control::max_allowed_parallelism,
                                      threads != 0 ? threads : 4096);

    if (argc > 1 && strcmp(argv[1], "submit") == 0) {
        submit();
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "roundtrip") == 0) {
        measure_round_trips("submit + result, hot", trip, nullptr, HOT_TRIPS, 0);
        measure_round_trips("submit + result, after 1 ms idle", trip, nullptr, IDLE_TRIPS, IDLE_US);
        return 0;
    }
    return measure_granularity(map, nullptr);
}
