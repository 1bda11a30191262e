/* Goal:    the other side of an arena reads what is handed out, only as allowed, and whatever it is told.
 * Method:  windows and attached arenas in the process that has the arena; descriptors that do not fit.
 * Guards:  src/wire/window.c, arena.c; src/plat/linux_shm.c. */
#include "arena_rig.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "plat/shm.h"

static void a_readonly_descriptor_stays_readonly(void **state)
{
    (void)state;
    auri_arena *a = arena_new(16 * MIB);
    uint64_t offset = get(a, 100);
    strcpy(auri_arena_at(a, offset), "seen");

    int fd = auri_arena_fd_readonly(a);
    assert_true(fd >= 0);
    assert_int_equal(auri_arena_fd_readonly(a), fd);
    assert_true(mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    auri_window *w = NULL;
    AURT_ERR(AUR_ESYS, auri_window_open(fd, 16 * MIB, AURI_WINDOW_WRITE, &w));
    AURT_OK(auri_window_open(fd, 16 * MIB, AURI_WINDOW_DONTFORK, &w));
    char *at = auri_window_at(w, offset, 100);
    assert_string_equal(at, "seen");
    assert_int_equal(mprotect(auri_window_at(w, 0, 1), 4096, PROT_READ | PROT_WRITE), -1);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    auri_window_close(w);

    /* Nobody can take the ground away, not even with the writable descriptor. */
    assert_int_equal(ftruncate(auri_arena_fd(a), (off_t)MIB), -1);
    assert_int_equal(ftruncate(auri_arena_fd(a), (off_t)(32 * MIB)), -1);
    assert_int_equal(fcntl(auri_arena_fd(a), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);

    AURT_OK(auri_window_open(auri_arena_fd(a), 16 * MIB, AURI_WINDOW_WRITE, &w));
    strcpy(auri_window_at(w, offset, 100), "back");
    assert_string_equal(auri_arena_at(a, offset), "back");
    auri_window_close(w);
    AURT_ERR(AUR_EINVAL, auri_window_open(fd, 16 * MIB + 1, 0, &w));
    auri_arena_delete(a);
}

static void a_window_refuses_hostile_ranges(void **state)
{
    (void)state;
    auri_arena *a = arena_new(16 * MIB);
    auri_window *w = NULL;
    const uint64_t size = 16 * MIB;

    AURT_OK(auri_window_open(auri_arena_fd_readonly(a), size, 0, &w));
    auri_arena_delete(a); /* the window does not need it */
    char *base = auri_window_at(w, 0, size);
    assert_non_null(base);
    assert_ptr_equal(auri_window_at(w, size - 1, 1), base + size - 1);
    assert_ptr_equal(auri_window_at(w, 5, 0), base + 5);
    assert_non_null(auri_window_at(w, size, 0));
    assert_null(auri_window_at(w, size, 1));
    assert_null(auri_window_at(w, size - 1, 2));
    assert_null(auri_window_at(w, 0, size + 1));
    assert_null(auri_window_at(w, size + 1, 0));
    assert_null(auri_window_at(w, UINT64_MAX, 0));
    assert_null(auri_window_at(w, UINT64_MAX, UINT64_MAX));
    assert_null(auri_window_at(w, UINT64_MAX - 3, 4));
    assert_null(auri_window_at(w, 4, UINT64_MAX - 3));
    assert_null(auri_window_at(w, UINT64_C(1) << 63, UINT64_C(1) << 63));
    auri_window_close(w);
}

/* A file that already has contents: warm first, and only as far as it is true. */
static void attaching_uses_the_warm_prefix(void **state)
{
    (void)state;
    int fd;

    assert_int_equal(aurp_shm_new("test", 16 * MIB, &fd), 0);
    assert_int_equal(aurp_shm_commit(fd, 0, 4 * MIB), 0);
    auri_arena *a = NULL;
    AURT_ERR(AUR_EINVAL, auri_arena_attach(fd, 32 * MIB, 0, &a));
    AURT_OK(auri_arena_attach(dup(fd), 16 * MIB, 10 * MIB, &a));
    assert_int_equal(auri_arena_committed(a), 4 * MIB);
    uint64_t offset = get(a, 4 * MIB);
    assert_int_equal(offset, 0);
    assert_int_equal(auri_arena_committed(a), 4 * MIB);
    memset(auri_arena_at(a, offset), 1, 3 * MIB);
    auri_arena_delete(a);

    AURT_OK(auri_arena_attach(dup(fd), 16 * MIB, AURI_WARM_FIND, &a));
    assert_true(auri_arena_committed(a) >= 3 * MIB && auri_arena_committed(a) <= 4 * MIB);
    assert_int_equal(get(a, 3 * MIB), 0);
    auri_arena_delete(a);

    AURT_OK(auri_arena_attach(fd, 16 * MIB, 0, &a)); /* and this one takes the descriptor */
    assert_int_equal(auri_arena_committed(a), 0);
    assert_int_equal(auri_arena_fd(a), aurp_shm_can_populate() ? -1 : fd);
    auri_arena_delete(a);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

/* Where it can, an attached arena lives without a descriptor: it commits, gives back and joins through its
 * mapping. */
static void an_attached_arena_needs_no_descriptor(void **state)
{
    (void)state;
    auri_arena *a = NULL;
    int fd, kept;

    assert_int_equal(aurp_shm_new("test", 64 * MIB, &fd), 0);
    kept = dup(fd);
    AURT_OK(auri_arena_attach(fd, 64 * MIB, 0, &a));
    if (!aurp_shm_can_populate()) {
        assert_int_equal(auri_arena_fd(a), fd);
    }
    uint64_t low = get(a, 8 * MIB);
    uint64_t high = get(a, 3 * MIB);
    uint64_t small = get(a, 100);
    memset(auri_arena_at(a, low), 1, 8 * MIB);
    memset(auri_arena_at(a, high), 2, 3 * MIB);
    assert_int_equal(aurp_shm_committed(kept), auri_arena_committed(a));
    auri_arena_free(a, low);
    auri_arena_trim(a, 0);
    assert_int_equal(aurp_shm_committed(kept), auri_arena_committed(a));
    assert_int_equal(*(unsigned char *)auri_arena_at(a, high), 2);
    auri_arena_free(a, high);
    auri_arena_free(a, small);
    auri_arena_trim(a, 0);
    assert_int_equal(aurp_shm_committed(kept), 0);
    assert_int_equal(auri_arena_extents(a), 1);
    auri_arena_delete(a);
    close(kept);
}

/* The number of the arena's descriptor means another file by now. */
static void a_foreign_file_is_left_alone(void **state)
{
    (void)state;
    auri_arena *a = arena_new(64 * MIB);
    uint64_t before = get(a, MIB);
    uint64_t offset = UINT64_MAX;
    int own = dup(auri_arena_fd(a));
    FILE *file = tmpfile();
    int foreign = file != NULL ? fileno(file) : -1;
    struct stat is;

    assert_int_equal(write(foreign, "mine", 4), 4);
    assert_true(dup2(foreign, auri_arena_fd(a)) >= 0);
    AURT_ERR(AUR_ESYS, auri_arena_alloc(a, 2 * MIB, &offset));
    AURT_ERR(AUR_ESYS, auri_arena_alloc(a, 100, &offset));
    assert_int_equal(offset, UINT64_MAX);
    auri_arena_free(a, before);
    auri_arena_trim(a, 0); /* cannot, and does not */
    assert_int_equal(auri_arena_committed(a), MIB);
    assert_int_equal(fstat(foreign, &is), 0);
    assert_int_equal(is.st_size, 4);
    assert_true(dup2(own, auri_arena_fd(a)) >= 0); /* the arena itself is whole */
    assert_int_equal(get(a, MIB), before);
    (void)get(a, 2 * MIB);
    auri_arena_delete(a);
    close(own);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_readonly_descriptor_stays_readonly),
        cmocka_unit_test(a_window_refuses_hostile_ranges),
        cmocka_unit_test(attaching_uses_the_warm_prefix),
        cmocka_unit_test(an_attached_arena_needs_no_descriptor),
        cmocka_unit_test(a_foreign_file_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
