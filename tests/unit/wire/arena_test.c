/* Goal:    an arena hands out ranges that are committed, aligned and disjoint, takes them back, finds
 *          warm ones first, and refuses what does not fit.
 * Method:  random traffic against a shadow list; fixed sequences whose placement is known; budgets
 *          that the test makes up; threads.  Readers: window_test.c; a second process: commit_test.c.
 * Guards:  src/wire/arena.c, extent.c, small.c; src/plat/linux_shm.c. */
#include "arena_rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "plat/shm.h"

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Everything was given back: nothing may be left of the traffic. */
static void expect_whole(auri_arena *a)
{
    assert_int_equal(auri_arena_used(a), 0);
    auri_arena_trim(a, 0);
    assert_int_equal(auri_arena_committed(a), 0);
    assert_int_equal(aurp_shm_committed(auri_arena_fd(a)), 0);
    assert_int_equal(auri_arena_extents(a), 1);
}

/* ---- random traffic ------------------------------------------------------------------------ */

struct range {
    uint64_t offset;
    uint64_t size;
    uint64_t tag;
};

static uint64_t rounded_up(const struct range *r, uint64_t unit)
{
    return (r->size + unit - 1) / unit * unit;
}

/* Marks both ends of the range; a neighbour that overlaps spoils one of them. */
static void mark(auri_arena *a, const struct range *r)
{
    unsigned char *at = auri_arena_at(a, r->offset);

    at[0] = (unsigned char)r->tag;
    at[r->size / 2] = (unsigned char)(r->size == 1 ? r->tag : r->tag >> 8);
    at[r->size - 1] = (unsigned char)r->tag;
}

static bool is_marked(auri_arena *a, const struct range *r)
{
    const unsigned char *at = auri_arena_at(a, r->offset);

    return at[0] == (unsigned char)r->tag && at[r->size - 1] == (unsigned char)r->tag &&
           (r->size < 3 || at[r->size / 2] == (unsigned char)(r->tag >> 8));
}

static void check_disjoint(const struct range *live, size_t count, const struct range *fresh)
{
    for (size_t i = 0; i < count; i++) {
        if (live[i].offset < fresh->offset + fresh->size &&
            fresh->offset < live[i].offset + live[i].size) {
            fail_msg("[%llu, +%llu) overlaps [%llu, +%llu)", (unsigned long long)fresh->offset,
                     (unsigned long long)fresh->size, (unsigned long long)live[i].offset,
                     (unsigned long long)live[i].size);
        }
    }
}

/* Every order of magnitude is equally likely. */
static uint64_t random_size(uint64_t *random, unsigned log_max)
{
    unsigned log = (unsigned)(next_random(random) % (log_max + 1));
    uint64_t size = (UINT64_C(1) << log) + next_random(random) % (UINT64_C(1) << log);

    return size <= UINT64_C(1) << log_max ? size : UINT64_C(1) << log_max;
}

enum { LIVE_MAX = 700 };

static void drop(auri_arena *a, struct range *live, size_t *count, size_t i)
{
    assert_true(is_marked(a, &live[i]));
    auri_arena_free(a, live[i].offset);
    live[i] = live[--*count];
}

static void traffic(uint64_t seed, unsigned log_max, int rounds)
{
    static const uint64_t BYTES_MAX = 256 * MIB;
    auri_arena *a = arena_new(2 * GIB);
    struct range live[LIVE_MAX];
    size_t count = 0;
    uint64_t bytes = 0;
    uint64_t random = seed;

    for (int round = 0; round < rounds; round++) {
        struct range r = { .size = random_size(&random, log_max), .tag = next_random(&random) };
        while (count == LIVE_MAX || (count > 0 && bytes + r.size > BYTES_MAX) ||
               (count > 0 && next_random(&random) % 100 < 45)) {
            size_t i = next_random(&random) % count;
            bytes -= live[i].size;
            drop(a, live, &count, i);
        }
        AURT_OK(auri_arena_alloc(a, r.size, &r.offset));
        assert_int_equal(r.offset % 64, 0);
        assert_true(r.size < 64 * KIB || r.offset % aurp_page_bytes() == 0);
        assert_true(r.offset + r.size <= auri_arena_bytes(a));
        check_disjoint(live, count, &r);
        mark(a, &r);
        live[count++] = r;
        bytes += r.size;
        assert_true(auri_arena_used(a) >= bytes);
        assert_true(auri_arena_committed(a) >= auri_arena_used(a));
        if (next_random(&random) % 512 == 0) {
            auri_arena_trim(a, next_random(&random) % (64 * MIB));
        }
    }
    assert_int_equal(aurp_shm_committed(auri_arena_fd(a)), auri_arena_committed(a));
    while (count > 0) {
        drop(a, live, &count, next_random(&random) % count);
    }
    expect_whole(a);
    auri_arena_delete(a);
}

static void random_traffic_matches_the_shadow(void **state)
{
    (void)state;
    traffic(0x1234567, 26, 3000);  /* 1 byte to 64 MiB */
    traffic(0xabcdef1, 16, 12000); /* mostly slabs */
    traffic(0x5eed5ee, 20, 6000);
}

static void frees_in_any_order_coalesce(void **state)
{
    (void)state;
    auri_arena *a = arena_new(256 * MIB);
    uint64_t offsets[64];
    uint64_t random = 77;

    for (int i = 0; i < 64; i++) {
        offsets[i] = get(a, 64 * KIB + (uint64_t)i * 8 * KIB);
    }
    for (int i = 63; i >= 0; i--) {
        int j = (int)(next_random(&random) % (uint64_t)(i + 1));
        auri_arena_free(a, offsets[j]);
        offsets[j] = offsets[i];
    }
    assert_int_equal(auri_arena_extents(a), 2); /* the warm part, and what was never touched */
    expect_whole(a);
    auri_arena_delete(a);
}

static void sizes_are_rounded_as_documented(void **state)
{
    (void)state;
    auri_arena *a = arena_new(256 * MIB);
    uint64_t page = aurp_page_bytes();

    for (uint64_t size = 0; size <= 80 * KIB; size += size < 2 * KIB ? 1 : 61) {
        struct range r = { .size = size > 0 ? size : 1 };
        uint64_t offset = get(a, size);
        uint64_t used = auri_arena_used(a);
        assert_int_equal(offset % (size >= 64 * KIB ? page : 64), 0);
        assert_true(used >= rounded_up(&r, 64));
        assert_true(used <=
                    (size <= 32 * KIB ? rounded_up(&r, 64) * 5 / 4 + 64 : rounded_up(&r, page)));
        auri_arena_free(a, offset);
    }
    expect_whole(a);
    auri_arena_delete(a);
}

static void a_few_small_ones_take_little(void **state)
{
    (void)state;
    auri_arena *a = arena_new(256 * MIB);
    uint64_t first = get(a, 8 * KIB);

    assert_int_equal(auri_arena_committed(a), 64 * KIB);
    for (int i = 1; i < 8; i++) {
        get(a, 8 * KIB);
    }
    assert_int_equal(auri_arena_committed(a), 64 * KIB);
    get(a, 8 * KIB); /* many, it seems */
    assert_int_equal(auri_arena_committed(a), 320 * KIB);
    auri_arena_free(a, first);
    assert_int_equal(get(a, 8 * KIB), first);
    get(a, 32 * KIB); /* 8 of these are more */
    assert_int_equal(auri_arena_committed(a), 576 * KIB);
    auri_arena_delete(a);
}

/* ---- placement ----------------------------------------------------------------------------- */

static void the_last_freed_is_reused_first(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 1, 64, 100, 1000, 32 * KIB, 40 * KIB, MIB };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        auri_arena *a = arena_new(256 * MIB);
        uint64_t offsets[5];
        for (int k = 0; k < 5; k++) { /* neighbours stay, or the freed ones would grow together */
            offsets[k] = get(a, sizes[i]);
        }
        uint64_t committed = auri_arena_committed(a);
        auri_arena_free(a, offsets[3]);
        auri_arena_free(a, offsets[1]);
        assert_int_equal(get(a, sizes[i]), offsets[1]);
        assert_int_equal(get(a, sizes[i]), offsets[3]);
        auri_arena_free(a, offsets[1]);
        auri_arena_free(a, offsets[3]);
        assert_int_equal(get(a, sizes[i]), offsets[3]);
        assert_int_equal(auri_arena_committed(a), committed);
        auri_arena_delete(a);
    }
}

static void many_blocks_reuse_the_last_freed_slot(void **state)
{
    (void)state;
    enum { COUNT = 100 }; /* of 32 KiB: 13 blocks */
    auri_arena *a = arena_new(256 * MIB);
    uint64_t offsets[COUNT];
    uint64_t random = 99;

    for (int i = 0; i < COUNT; i++) {
        offsets[i] = get(a, 32 * KIB);
    }
    for (int round = 0; round < 1000; round++) {
        int i = (int)(next_random(&random) % COUNT);
        int j = (int)(next_random(&random) % COUNT);
        auri_arena_free(a, offsets[i]);
        if (i != j) {
            auri_arena_free(a, offsets[j]);
            assert_int_equal(get(a, 32 * KIB), offsets[j]);
            offsets[i] = get(a, 32 * KIB);
        } else {
            assert_int_equal(get(a, 32 * KIB), offsets[i]);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        auri_arena_free(a, offsets[i]);
    }
    expect_whole(a);
    auri_arena_delete(a);
}

static void a_growing_payload_commits_the_difference(void **state)
{
    (void)state;
    auri_arena *a = arena_new(256 * MIB);
    uint64_t page = aurp_page_bytes();

    auri_arena_free(a, get(a, MIB));
    uint64_t offset = get(a, MIB + page);
    assert_int_equal(offset, 0);
    assert_int_equal(auri_arena_committed(a), MIB + page);
    assert_int_equal(aurp_shm_committed(auri_arena_fd(a)), MIB + page);
    auri_arena_delete(a);
}

static void a_small_warm_gap_is_preferred_to_a_large_one(void **state)
{
    (void)state;
    auri_arena *a = arena_new(256 * MIB);
    uint64_t large = get(a, 8 * MIB);
    uint64_t wall = get(a, MIB);
    uint64_t small = get(a, 2 * MIB);

    (void)get(a, MIB);
    auri_arena_free(a, small);
    auri_arena_free(a, large);
    assert_int_equal(get(a, 2 * MIB), small);
    assert_int_equal(get(a, 2 * MIB), large); /* a part of it, from the low end */
    auri_arena_free(a, wall);
    auri_arena_delete(a);
}

/* Where no single extent is large enough, warm and cold neighbours are joined. */
static void a_full_arena_joins_warm_and_cold(void **state)
{
    (void)state;
    auri_arena *a = arena_new(16 * MIB);
    uint64_t quarter[4];

    for (int i = 0; i < 4; i++) {
        quarter[i] = get(a, 4 * MIB);
    }
    uint64_t none = 7;
    AURT_ERR(AUR_ENOMEM, auri_arena_alloc(a, 4 * MIB, &none));
    assert_int_equal(none, 7);
    auri_arena_free(a, quarter[0]);
    auri_arena_trim(a, 0);
    assert_int_equal(auri_arena_committed(a), 12 * MIB);
    auri_arena_free(a, quarter[1]);
    assert_int_equal(auri_arena_extents(a), 4); /* cold, warm, and two in use */
    assert_int_equal(get(a, 8 * MIB), 0);
    assert_int_equal(auri_arena_committed(a), 16 * MIB);
    assert_int_equal(auri_arena_used(a), 16 * MIB);
    auri_arena_free(a, 0);
    auri_arena_free(a, quarter[2]);
    auri_arena_free(a, quarter[3]);
    expect_whole(a);
    AURT_OK(auri_arena_alloc(a, 16 * MIB, &none)); /* the whole of it */
    auri_arena_delete(a);
}

static void trimming_starts_at_the_high_end(void **state)
{
    (void)state;
    auri_arena *a = arena_new(256 * MIB);
    uint64_t low = get(a, 4 * MIB);
    uint64_t wall = get(a, MIB);
    uint64_t high = get(a, 4 * MIB);

    memset(auri_arena_at(a, low), 1, 4 * MIB);
    memset(auri_arena_at(a, high), 2, 4 * MIB);
    auri_arena_free(a, low);
    auri_arena_free(a, high);
    auri_arena_trim(a, 8 * MIB);
    assert_int_equal(auri_arena_committed(a), 9 * MIB);
    auri_arena_trim(a, 6 * MIB);
    assert_int_equal(auri_arena_committed(a), 7 * MIB);
    assert_int_equal(aurp_shm_committed(auri_arena_fd(a)), 7 * MIB);
    unsigned char cut[2]; /* read(), as a look through the mapping would bring a page back */
    assert_int_equal(pread(auri_arena_fd(a), cut, 2, (off_t)(high + 2 * MIB - 1)), 2);
    assert_int_equal(cut[0], 2);
    assert_int_equal(cut[1], 0);
    auri_arena_trim(a, 0);
    assert_int_equal(auri_arena_committed(a), MIB);
    auri_arena_free(a, wall);
    expect_whole(a);
    auri_arena_delete(a);
}

/* ---- refusals ------------------------------------------------------------------------------ */

struct pot {
    uint64_t bytes;    /* of memory in the made-up machine */
    auri_arena *arena; /* whose file takes some of it; NULL: the budget is what the pot holds */
    int asked;
};

static uint64_t pot_budget(void *ctx)
{
    struct pot *pot = ctx;
    uint64_t taken = pot->arena != NULL ? aurp_shm_committed(auri_arena_fd(pot->arena)) : 0;

    pot->asked++;
    return taken < pot->bytes ? pot->bytes - taken : 0;
}

static auri_arena *arena_with_budget(uint64_t bytes, struct pot *pot)
{
    auri_arena *a = arena_new(bytes);

    auri_arena_set_policy(a, &(auri_commit_policy){ .budget = pot_budget, .budget_ctx = pot });
    return a;
}

static void too_big_is_told_from_no_memory(void **state)
{
    (void)state;
    struct pot pot = { .bytes = 8 * MIB };
    auri_arena *a = arena_with_budget(64 * MIB, &pot);
    uint64_t offset = 7;

    AURT_ERR(AUR_ETOOBIG, auri_arena_alloc(a, 64 * MIB + 1, &offset));
    AURT_ERR(AUR_ETOOBIG, auri_arena_alloc(a, UINT64_MAX, &offset));
    AURT_ERR(AUR_ENOMEM, auri_arena_alloc(a, 9 * MIB, &offset));
    assert_int_equal(offset, 7);
    assert_int_equal(auri_arena_committed(a), 0);
    assert_int_equal(auri_arena_extents(a), 1);
    AURT_OK(auri_arena_alloc(a, 8 * MIB, &offset));
    auri_arena_free(a, offset);
    int asked = pot.asked;
    assert_int_equal(get(a, 8 * MIB), offset); /* warm: nobody is asked */
    assert_int_equal(pot.asked, asked);
    auri_arena_delete(a);
}

/* A refusal in the middle leaves the warm part warm. */
static void a_refused_run_falls_apart_as_it_was(void **state)
{
    (void)state;
    struct pot pot = { .bytes = 4 * MIB };
    auri_arena *a = arena_with_budget(64 * MIB, &pot);
    uint64_t offset = get(a, 4 * MIB);

    memset(auri_arena_at(a, offset), 3, 4 * MIB);
    auri_arena_free(a, offset);
    pot.bytes = 3 * MIB; /* even with the 4 MiB given back, 12 are not to be had */
    AURT_ERR(AUR_ENOMEM, auri_arena_alloc(a, 12 * MIB, &offset));
    assert_int_equal(auri_arena_committed(a), 4 * MIB);
    assert_int_equal(auri_arena_extents(a), 2);
    assert_int_equal(get(a, 4 * MIB), offset);
    assert_int_equal(*(unsigned char *)auri_arena_at(a, 4 * MIB - 1), 3);
    auri_arena_delete(a);
}

/* Warm memory that lies about in pieces makes room for one large range. */
static void free_warm_memory_is_given_back_when_short(void **state)
{
    (void)state;
    struct pot pot = { .bytes = 16 * MIB };
    auri_arena *a = arena_with_budget(64 * MIB, &pot);
    uint64_t offsets[8];

    pot.arena = a;
    for (int i = 0; i < 8; i++) {
        offsets[i] = get(a, 2 * MIB);
    }
    for (int i = 0; i < 8; i += 2) {
        auri_arena_free(a, offsets[i]);
    }
    uint64_t large = get(a, 8 * MIB); /* no budget is left, and no gap is large enough */
    assert_true(large >= 16 * MIB);
    assert_int_equal(auri_arena_committed(a), 16 * MIB);
    uint64_t none;
    AURT_ERR(AUR_ENOMEM, auri_arena_alloc(a, 2 * MIB, &none));
    auri_arena_delete(a);
}

/* Each of many small commits is below what is checked; their sum is not. */
static void small_commits_add_up(void **state)
{
    (void)state;
    struct pot pot = { .bytes = 0 };
    auri_arena *a = arena_with_budget(256 * MIB, &pot);
    uint64_t offset;
    uint64_t count = 0;

    while (auri_arena_alloc(a, 32 * KIB, &offset) == AUR_OK) {
        count++;
    }
    assert_true(count > 0 && count * 32 * KIB < 16 * MIB);
    assert_true(auri_arena_committed(a) < 16 * MIB);
    auri_arena_delete(a);
}

/* And so do the small commits by which a large payload grows. */
static void small_growth_adds_up(void **state)
{
    (void)state;
    struct pot pot = { .bytes = 0 };
    auri_arena *a = arena_with_budget(256 * MIB, &pot);
    uint64_t offset;
    uint64_t size = 512 * KIB;

    while (auri_arena_alloc(a, size, &offset) == AUR_OK) {
        assert_int_equal(offset, 0);
        auri_arena_free(a, offset);
        size += 512 * KIB;
    }
    assert_true(size > 4 * MIB && size <= 16 * MIB);
    auri_arena_delete(a);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    auri_arena *a = NULL;
    auri_window *w = NULL;
    aur_diag diag;

    AURT_ERR(AUR_EINVAL, auri_arena_new(MIB, "test", 64, &a, &diag));
    assert_int_equal(diag.err, AUR_EINVAL);
    AURT_ERR(AUR_EINVAL, auri_arena_new((UINT64_C(1) << 48) + 1, "test", 0, &a, &diag));
    AURT_ERR(AUR_ESYS, auri_arena_attach(-1, MIB, 0, &a));
    AURT_ERR(AUR_EINVAL, auri_arena_attach(0, MIB + 1, 0, &a));
    AURT_ERR(AUR_EINVAL, auri_window_open(0, 0, 0, &w));
    assert_null(a);
    assert_null(w);

    /* A file that can be truncated under the reader is no arena. */
    char path[AURT_PATH_SIZE];
    int fd = aurt_temp_file(path);
    assert_int_equal(ftruncate(fd, (off_t)MIB), 0);
    AURT_ERR(AUR_EINVAL, auri_window_open(fd, MIB, 0, &w));
    AURT_ERR(AUR_EINVAL, auri_arena_attach(fd, MIB, 0, &a));
    close(fd);
    unlink(path);
    auri_arena_delete(NULL);
    auri_window_close(NULL);
}

/* ---- sizes --------------------------------------------------------------------------------- */

static void the_default_reserve_is_large_and_free(void **state)
{
    (void)state;
    auri_arena *a = NULL;
    size_t fds = aurt_fd_count();

    AURT_OK(auri_arena_new(0, "test", AURI_ARENA_DONTFORK, &a, NULL));
    assert_true(auri_arena_bytes(a) <= 64 * GIB);
    assert_true(auri_arena_bytes(a) <= 2 * aurp_memory_total());
    assert_int_equal(aurp_shm_committed(auri_arena_fd(a)), 0);
    *(char *)auri_arena_at(a, get(a, 100)) = 1;
    auri_arena_delete(a);
    assert_int_equal(aurt_fd_count(), fds);
}

static void three_gibibytes_in_one_piece(void **state)
{
    (void)state;
    if (auri_memory_budget() < 4 * GIB) {
        print_message("skipped: less than 4 GiB of memory can be had\n");
        skip();
    }
    auri_arena *a = arena_new(8 * GIB);
    (void)get(a, 100);
    uint64_t offset = get(a, 3 * GIB);
    unsigned char *at = auri_arena_at(a, offset);
    at[0] = 1;
    at[3 * GIB - 1] = 2;
    assert_int_equal(aurp_shm_committed(auri_arena_fd(a)), auri_arena_committed(a));
    assert_true(auri_arena_committed(a) >= 3 * GIB);
    auri_arena_free(a, offset);
    auri_arena_trim(a, 0);
    assert_true(auri_arena_committed(a) < MIB);
    auri_arena_delete(a);
}

/* ---- threads ------------------------------------------------------------------------------- */

enum { THREADS = 4, HELD = 24 };

struct crowd {
    auri_arena *arena;
    aurt_barrier start;
    uint64_t seed;
};

static void *crowd_member(void *arg)
{
    struct crowd *crowd = arg;
    struct range held[HELD] = { { .size = 0 } };
    uint64_t random = crowd->seed;

    aurt_barrier_wait(&crowd->start);
    for (int round = 0; round < 3000; round++) {
        struct range *r = &held[next_random(&random) % HELD];
        if (r->size > 0) {
            AURT_CHECK(is_marked(crowd->arena, r));
            auri_arena_free(crowd->arena, r->offset);
        }
        r->size = random_size(&random, 20);
        r->tag = next_random(&random);
        r->offset = get(crowd->arena, r->size);
        mark(crowd->arena, r);
        if (round % 500 == 499) {
            auri_arena_trim(crowd->arena, 4 * MIB);
        } else if (round % 50 == 49) {
            auri_arena_turn(crowd->arena);
            (void)auri_arena_shrink(crowd->arena);
        }
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i].size > 0) {
            AURT_CHECK(is_marked(crowd->arena, &held[i]));
            auri_arena_free(crowd->arena, held[i].offset);
        }
    }
    return NULL;
}

static void threads_share_an_arena(void **state)
{
    (void)state;
    struct crowd crowd = { .arena = arena_new(GIB), .start = { .parties = THREADS }, .seed = 4711 };
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        AURT_CHECK(pthread_create(&threads[i], NULL, crowd_member, &crowd) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    expect_whole(crowd.arena);
    auri_arena_delete(crowd.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_traffic_matches_the_shadow),
        cmocka_unit_test(frees_in_any_order_coalesce),
        cmocka_unit_test(sizes_are_rounded_as_documented),
        cmocka_unit_test(a_few_small_ones_take_little),
        cmocka_unit_test(the_last_freed_is_reused_first),
        cmocka_unit_test(many_blocks_reuse_the_last_freed_slot),
        cmocka_unit_test(a_growing_payload_commits_the_difference),
        cmocka_unit_test(a_small_warm_gap_is_preferred_to_a_large_one),
        cmocka_unit_test(a_full_arena_joins_warm_and_cold),
        cmocka_unit_test(trimming_starts_at_the_high_end),
        cmocka_unit_test(too_big_is_told_from_no_memory),
        cmocka_unit_test(a_refused_run_falls_apart_as_it_was),
        cmocka_unit_test(free_warm_memory_is_given_back_when_short),
        cmocka_unit_test(small_commits_add_up),
        cmocka_unit_test(small_growth_adds_up),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(the_default_reserve_is_large_and_free),
        cmocka_unit_test(three_gibibytes_in_one_piece),
        cmocka_unit_test(threads_share_an_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
