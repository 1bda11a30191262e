/* Goal:    an arena gives back what was not in use in two periods, a piece at a time, and nothing else.
 * Method:  sequences whose periods the test makes itself; what the file has behind it is counted.  A system
 *          that refuses; a file with pages that its new owner cannot know of; a request for a gap while a
 *          part of it is on its way to the system.
 * Guards:  auri_arena_turn(), auri_arena_shrink(), auri_arena_is_large(), await_gaps() in
 *          src/wire/extent.c; auri_arena_attach() in src/wire/arena.c. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, F_ADD_SEALS */
#endif
#include "arena_rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

#include "plat/shm.h"
#include "wire/arena_internal.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define SPARE AURI_ARENA_SPARE_BYTES
#define PIECE AURI_ARENA_PIECE_BYTES

static uint64_t pages_of(auri_arena *a)
{
    uint64_t bytes = auri_arena_committed(a);

    assert_int_equal(bytes, aurp_shm_committed(auri_arena_fd(a)));
    return bytes;
}

static void use_once(auri_arena *a, uint64_t bytes)
{
    auri_arena_free(a, get(a, bytes));
}

/* Gives back what there is.  Returns how many pieces that were, but for the last. */
static unsigned shrink_all(auri_arena *a)
{
    unsigned more = 0;

    while (auri_arena_shrink(a)) {
        more++;
    }
    return more;
}

static void a_peak_goes_after_two_periods(void **state)
{
    auri_arena *a = arena_new(GIB);

    (void)state;
    assert_false(auri_arena_is_large(a));
    use_once(a, SPARE + 10 * PIECE);
    for (int period = 0; period < 2; period++) {
        assert_true(auri_arena_is_large(a));
        assert_false(auri_arena_shrink(a));
        assert_int_equal(pages_of(a), SPARE + 10 * PIECE);
        auri_arena_turn(a);
    }
    assert_true(auri_arena_shrink(a));
    assert_int_equal(pages_of(a), SPARE + 9 * PIECE);
    assert_int_equal(shrink_all(a), 8);
    assert_int_equal(pages_of(a), SPARE);
    assert_false(auri_arena_is_large(a));
    auri_arena_turn(a);
    assert_false(auri_arena_shrink(a));
    assert_int_equal(pages_of(a), SPARE);
    auri_arena_delete(a);
}

static void what_comes_in_each_period_stays(void **state)
{
    auri_arena *a = arena_new(GIB);

    (void)state;
    use_once(a, 200 * MIB);
    for (int period = 0; period < 10; period++) {
        auri_arena_turn(a);
        assert_int_equal(shrink_all(a), period == 1 ? (200 - 64 - 16) / 4 - 1 : 0);
        use_once(a, 64 * MIB);
        assert_int_equal(pages_of(a), period == 0 ? 200 * MIB : 64 * MIB + SPARE);
        assert_false(auri_arena_shrink(a));
    }
    auri_arena_delete(a);
}

/* The peak of the period that goes on counts, also while pieces of an older one go back. */
static void what_is_needed_meanwhile_stays(void **state)
{
    auri_arena *a = arena_new(GIB);

    (void)state;
    use_once(a, 200 * MIB);
    auri_arena_turn(a);
    auri_arena_turn(a);
    assert_true(auri_arena_shrink(a));
    use_once(a, 100 * MIB);
    assert_int_equal(shrink_all(a), (196 - 100 - 16) / 4 - 1);
    assert_int_equal(pages_of(a), 100 * MIB + SPARE);
    auri_arena_delete(a);
}

static void what_is_in_use_is_left_alone(void **state)
{
    enum { N = 40 };
    auri_arena *a = arena_new(GIB);
    uint64_t at[N];
    uint64_t small[N];

    (void)state;
    for (int i = 0; i < N; i++) {
        at[i] = get(a, 3 * MIB);
        small[i] = get(a, 5000);
        memset(auri_arena_at(a, at[i]), i + 1, 3 * MIB);
        memset(auri_arena_at(a, small[i]), i + 1, 5000);
    }
    for (int i = 0; i < N; i += 2) {
        auri_arena_free(a, at[i]);
        auri_arena_free(a, small[i]);
    }
    uint64_t before = pages_of(a);
    auri_arena_turn(a);
    auri_arena_turn(a);
    assert_int_equal(shrink_all(a), (60 - 16) / 4 - 1);
    assert_int_equal(pages_of(a), before - (60 - 16) * MIB);
    assert_true(auri_arena_is_large(a)); /* 60 MiB are in use */
    for (int i = 1; i < N; i += 2) {
        const unsigned char *large = auri_arena_at(a, at[i]);
        const unsigned char *slot = auri_arena_at(a, small[i]);
        for (uint64_t j = 0; j < 3 * MIB; j += KIB) {
            assert_int_equal(large[j], i + 1);
        }
        assert_int_equal(large[3 * MIB - 1], i + 1);
        assert_int_equal(slot[0], i + 1);
        assert_int_equal(slot[4999], i + 1);
        auri_arena_free(a, at[i]);
        auri_arena_free(a, small[i]);
    }
    auri_arena_trim(a, 0);
    assert_int_equal(pages_of(a), 0);
    assert_int_equal(auri_arena_extents(a), 1);
    auri_arena_delete(a);
}

/* ---- a system that refuses --------------------------------------------------------------------- */

static void refused_it_goes_on_as_before(void **state)
{
    auri_arena *a = NULL;
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(0, ftruncate(fd, (off_t)(256 * MIB)));
    assert_int_equal(0, fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    AURT_OK(auri_arena_attach(fd, 256 * MIB, 0, &a));
    use_once(a, 64 * MIB);
    assert_int_equal(
        0, fcntl(other, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)); /* no hole can be made any more */
    auri_arena_turn(a);
    auri_arena_turn(a);
    assert_false(auri_arena_shrink(a));
    assert_int_equal(auri_arena_committed(a), 64 * MIB);
    assert_int_equal(aurp_shm_committed(other), 64 * MIB);
    uint64_t offset = get(a, 64 * MIB);
    memset(auri_arena_at(a, offset), 1, 64 * MIB);
    assert_int_equal(aurp_shm_committed(other), 64 * MIB);
    auri_arena_free(a, offset);
    auri_arena_delete(a);
    close(other);
}

/* ---- a new owner ------------------------------------------------------------------------------- */

static void pages_that_nobody_knows_of_go_back(void **state)
{
    auri_arena *a = NULL;
    unsigned char *base = NULL;
    int fd = -1;

    (void)state;
    assert_int_equal(0, aurp_shm_new("test", 64 * MIB, &fd));
    assert_int_equal(0, aurp_shm_map(fd, 64 * MIB, AURP_MAP_WRITE, (void **)&base));
    memset(base, 1, 2 * MIB);
    memset(base + 8 * MIB, 1, 30 * MIB);
    int other = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    AURT_OK(auri_arena_attach(fd, 64 * MIB, AURI_WARM_FIND, &a));
    assert_int_equal(auri_arena_committed(a), 2 * MIB);
    assert_int_equal(aurp_shm_committed(other), 2 * MIB);
    assert_int_equal(base[2 * MIB - 1], 1);
    auri_arena_delete(a);
    aurp_shm_unmap(base, 64 * MIB);
    close(other);
}

/* ---- a gap that is on its way ------------------------------------------------------------------- */

static struct {
    auri_arena *arena;
    bool armed;
    aurt_event begun; /* a piece of it is being given back */
    aurt_event go;
    pthread_t seeker;
    aur_err found;
} gap;

int __real_aurp_shm_punch(int fd, uint64_t offset, uint64_t bytes);
int __wrap_aurp_shm_punch(int fd, uint64_t offset, uint64_t bytes);
int __wrap_aurp_shm_punch(int fd, uint64_t offset, uint64_t bytes)
{
    if (gap.armed) {
        aurt_event_set(&gap.begun);
        aurt_event_wait(&gap.go);
    }
    return __real_aurp_shm_punch(fd, offset, bytes);
}

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
    if (gap.armed && lock == &gap.arena->back_lock && pthread_equal(gap.seeker, pthread_self())) {
        aurt_event_set(&gap.go); /* it found none, and waits */
    }
    return __real_pthread_mutex_lock(lock);
}

static void *seek(void *unused)
{
    uint64_t offset;

    (void)unused;
    aurt_event_wait(&gap.begun);
    gap.seeker = pthread_self();
    gap.found = auri_arena_alloc(gap.arena, 60 * MIB, &offset);
    aurt_event_set(&gap.go);
    return NULL;
}

static void who_finds_no_gap_waits_for_what_goes_back(void **state)
{
    pthread_t seeker;

    (void)state;
    gap.arena = arena_new(64 * MIB);
    use_once(gap.arena, 60 * MIB);
    auri_arena_turn(gap.arena);
    auri_arena_turn(gap.arena);
    gap.armed = true;
    assert_int_equal(0, pthread_create(&seeker, NULL, seek, NULL));
    (void)auri_arena_shrink(gap.arena);
    pthread_join(seeker, NULL);
    gap.armed = false;
    AURT_OK(gap.found);
    auri_arena_delete(gap.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peak_goes_after_two_periods),
        cmocka_unit_test(what_comes_in_each_period_stays),
        cmocka_unit_test(what_is_needed_meanwhile_stays),
        cmocka_unit_test(what_is_in_use_is_left_alone),
        cmocka_unit_test(refused_it_goes_on_as_before),
        cmocka_unit_test(pages_that_nobody_knows_of_go_back),
        cmocka_unit_test(who_finds_no_gap_waits_for_what_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
