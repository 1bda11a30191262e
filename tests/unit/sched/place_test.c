/* Goal:   a sleeper is kept off its waker's CPU and gets all its CPUs back, whoever woke it and when.
 * Method: one thread goes through its states while another changes its affinity; then both at once,
 *         again and again.
 * Guards: [P1] to [P3] in src/sched/place.c. */
#include "aurt.h"

#include <pthread.h>

#include "sched/place.h"

#define ROUNDS 3000u

static struct auri_place place;
static _Atomic(uint32_t) stop;

/* The CPUs of the calling thread, by taking none out. */
static unsigned cpus_here(void)
{
    struct aurp_cpus cpus;
    unsigned count = 0;
    int nowhere = (int)(sizeof(cpus) * 8 - 1); /* no machine that the test meets has it */

    (void)aurp_cpus_keep_off(aurp_thread_self(), nowhere, &cpus);
    for (size_t i = 0; i < sizeof(cpus.bits) / sizeof(cpus.bits[0]); i++) {
        count += (unsigned)__builtin_popcountll(cpus.bits[i]);
    }
    return count;
}

static void *keep_off(void *ret)
{
    *(bool *)ret = auri_place_elsewhere(&place);
    return NULL;
}

static bool kept_off(void)
{
    pthread_t waker;
    bool changed = false;

    assert_int_equal(pthread_create(&waker, NULL, keep_off, &changed), 0);
    pthread_join(waker, NULL);
    return changed;
}

static void a_sleeper_gets_its_cpus_back(void **state)
{
    unsigned before = cpus_here();

    (void)state;
    memset(&place, 0, sizeof(place));
    assert_false(kept_off()); /* awake */
    auri_place_asleep(&place);
    assert_int_equal(kept_off(), before > 1); /* with one CPU there is nowhere else */
    assert_int_equal(cpus_here(), before > 1 ? before - 1 : before);
    if (before > 1) {
        assert_false(kept_off()); /* once is enough */
    }
    auri_place_awake(&place);
    assert_int_equal(cpus_here(), before);
    assert_false(kept_off());
    auri_place_asleep(&place);
    auri_place_awake(&place); /* woken by somebody else */
    assert_int_equal(cpus_here(), before);
    auri_place_end(&place);
}

/* Until it was there when it looked and elsewhere afterwards: the kernel may move it at any time. */
static void one_awake_leaves(void **state)
{
    unsigned before = cpus_here();
    bool left = before == 1;

    (void)state;
    memset(&place, 0, sizeof(place));
    assert_false(auri_place_leave(&place, 1023)); /* no machine that the test meets has it */
    while (!left) {
        int cpu = aurp_cpu_here();
        left = auri_place_leave(&place, cpu) && aurp_cpu_here() != cpu;
        assert_int_equal(cpus_here(), before);
    }
    if (before == 1) {
        assert_false(auri_place_leave(&place, aurp_cpu_here()));
    }
    auri_place_asleep(&place);
    assert_false(auri_place_leave(&place, aurp_cpu_here())); /* others may change where it runs */
    auri_place_end(&place);
    assert_int_equal(cpus_here(), before);
}

static void *keep_off_always(void *unused)
{
    (void)unused;
    while (auri_load_acq(&stop) == 0) {
        (void)auri_place_elsewhere(&place);
    }
    return NULL;
}

static void wakers_and_sleeper_at_once(void **state)
{
    unsigned before = cpus_here();
    pthread_t wakers[2];

    (void)state;
    memset(&place, 0, sizeof(place));
    auri_store_sc(&stop, 0u);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&wakers[i], NULL, keep_off_always, NULL), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        auri_place_asleep(&place);
        if (i % 3 == 0) {
            sched_yield();
        }
        auri_place_awake(&place);
    }
    auri_place_end(&place);
    auri_store_sc(&stop, 1u);
    for (int i = 0; i < 2; i++) {
        pthread_join(wakers[i], NULL);
    }
    assert_int_equal(cpus_here(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sleeper_gets_its_cpus_back),
        cmocka_unit_test(one_awake_leaves),
        cmocka_unit_test(wakers_and_sleeper_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
