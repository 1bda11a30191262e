/* Goal:    a task that closes every descriptor of its worker, and opens files that get their numbers,
 *          costs nobody a result, and its files nothing.
 * Method:  a task closes all from 3 on and puts a file of its own under each of these numbers; then the
 *          worker has to get memory for results, and to ring its bell.  The file must stay as it was,
 *          and ordinary calls must succeed.  Once more with a filter that makes the kernel as old as
 *          the library allows, since then a worker keeps one descriptor more.
 * Guards:  src/proc/worker.c, judge.c; src/wire/extent.c; src/plat/linux_fd.c.
 */
#define _GNU_SOURCE
/* aurt: no-tsan */
/* aurt: no-valgrind */
/* aurt: no-asan */
#include "still_works.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define TEXT "the user's own"
#define LARGE ((size_t)6 << 20)

static char path[64]; /* of the foreign file; workers inherit it */

static int closes_all(int x)
{
    for (int fd = 3; fd < 1024; fd++) {
        close(fd);
    }
    return x;
}
AUR_FN(int, closes_all, int);

/* Each descriptor from 3 on becomes the foreign file, and some more. */
static void take_over(void)
{
    int top = 3;
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    AURT_CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        int fd = atoi(entry->d_name);
        top = fd > top ? fd : top;
    }
    closedir(dir);
    int file = open(path, O_RDWR);
    AURT_CHECK(file >= 0);
    for (int fd = 3; fd < top + 8; fd++) {
        AURT_CHECK(dup2(file, fd) == fd);
    }
}

/* The result, and so the memory for it, comes after the descriptors went. */
static aur_err takes_over(const void *in, size_t size, aur_out *out)
{
    size_t bytes;
    int v = 0;

    AURT_CHECK(size == sizeof(bytes));
    memcpy(&bytes, in, size);
    /* The first one gets memory for small things, which it keeps. */
    AURT_CHECK(aur_apply(aur_pool_current(), &v, twice, 20) == AUR_OK && v == 40);
    take_over();
    /* A request always rings the bell. */
    AURT_CHECK(aur_apply(aur_pool_current(), &v, twice, 21) == AUR_OK && v == 42);
    unsigned char *to = aur_out_alloc(out, bytes);
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memset(to, 7, bytes);
    return AUR_OK;
}
AUR_BYTES_FN(takes_over);

/* ---- helpers ------------------------------------------------------------------------------- */

static aur_pool *pool_of(uint32_t workers)
{
    return aurt_pool_new(AUR_PROCESSES, workers, AUR_START_FORK, 0);
}

static int make_file(void **state)
{
    snprintf(path, sizeof(path), "/tmp/auriga-descriptors-XXXXXX");
    int fd = mkstemp(path);

    (void)state;
    AURT_CHECK(fd >= 0 && write(fd, TEXT, strlen(TEXT)) == (ssize_t)strlen(TEXT));
    close(fd);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void check_file(void)
{
    char text[64];
    struct stat is;
    int fd = open(path, O_RDONLY);

    assert_int_equal(fstat(fd, &is), 0);
    assert_int_equal(is.st_size, strlen(TEXT));
    assert_int_equal(read(fd, text, sizeof(text)), strlen(TEXT));
    assert_memory_equal(text, TEXT, strlen(TEXT));
    assert_true(is.st_blocks * 512 <= 65536); /* nothing was allocated behind its end */
    close(fd);
}

static aur_err take(aur_pool *pool, size_t bytes)
{
    aur_future *future = NULL;
    const void *data = NULL;
    size_t size = 0;

    AURT_OK(aur_apply_bytes(pool, &future, takes_over, &bytes, sizeof(bytes)));
    aur_err err = aur_future_view(future, &data, &size, AUR_NO_DEADLINE);
    if (err == AUR_OK) {
        assert_int_equal(size, bytes);
        for (size_t i = 0; i < bytes; i += 511) {
            assert_int_equal(((const unsigned char *)data)[i], 7);
        }
    }
    aur_future_unref(future);
    return err;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void test_closed(void **state)
{
    aur_pool *pool = pool_of(2);
    int v = 0;

    (void)state;
    for (int i = 0; i < 3; i++) {
        AURT_OK(aur_apply(pool, &v, closes_all, i));
        assert_int_equal(v, i);
    }
    aurt_pool_works_and_ends(pool);
}

/* Many of them queued behind each other: a worker that ends for want of its bell is no one's death. */
static void test_closed_by_many(void **state)
{
    enum { N = 300 };
    static aur_future *futures[N];
    aur_pool *pool = pool_of(2);

    (void)state;
    for (int i = 0; i < N; i++) {
        AURT_OK(aur_apply_async(pool, &futures[i], closes_all, i));
    }
    for (int i = 0; i < N; i++) {
        int v = -1;
        AURT_OK(aur_future_result(futures[i], &v, AUR_NO_DEADLINE));
        assert_int_equal(v, i);
        aur_future_unref(futures[i]);
    }
    aurt_pool_works_and_ends(pool);
}

static void test_taken_over(void **state)
{
    static const size_t sizes[] = { 8, 1000, 100000, LARGE, 2 * LARGE };
    aur_pool *pool = pool_of(1);

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        AURT_OK(take(pool, sizes[i]));
        check_file();
    }
    aurt_pool_works_and_ends(pool);
    check_file();
}

/* madvise() does not know how to populate, as before Linux 5.14. */
static bool age_kernel(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_POPULATE_WRITE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(*code), .filter = code };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* There the worker needs its descriptor.  What it cannot get memory for fails, and says why; whatever
 * fits into what it has succeeds.  The last test: the filter stays. */
static void test_older_kernel(void **state)
{
    int v = 0;

    (void)state;
    if (!age_kernel()) {
        skip();
    }
    assert_int_equal(madvise(NULL, 0, MADV_POPULATE_WRITE), -1);
    aur_pool *pool = pool_of(1);
    for (int i = 0; i < 3; i++) {
        AURT_ERR(AUR_EWORKER, take(pool, LARGE));
        assert_non_null(strstr(aur_last_error()->message, "had closed its descriptors"));
        check_file();
        AURT_OK(aur_apply(pool, &v, closes_all, i));
        AURT_OK(aur_apply(pool, &v, twice, i));
        assert_int_equal(v, 2 * i);
    }
    AURT_OK(take(pool, 8));
    check_file();
    aurt_pool_works_and_ends(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_closed_by_many),
        cmocka_unit_test_setup_teardown(test_taken_over, make_file, remove_file),
        cmocka_unit_test_setup_teardown(test_older_kernel, make_file, remove_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
