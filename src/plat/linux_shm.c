/* The Linux port of shm.h: memfd, mappings, memory limits. */
#include "plat/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "plat/plat.h"
#include "plat/process.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* ---- the file ------------------------------------------------------------------------------ */

/* Keeps a new descriptor out of the numbers of stdio, which the host may have closed.  Negative:
 * none, and errno says why. */
static int own(int fd)
{
    if (fd < 0 || fd > 2) {
        return fd;
    }
    int lifted = aurp_fd_lift(fd, 3);
    if (lifted < 0) {
        close(fd);
        errno = -lifted;
    }
    return lifted;
}

static int memfd_new(const char *name)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) { /* a kernel that does not know the flag */
        fd = memfd_create(name, flags);
    }
    return own(fd);
}

int aurp_shm_new(const char *name, uint64_t bytes, int *ret_fd)
{
    AURP_UNCANCELLED;

    if (bytes > aurp_shm_bytes_max() || bytes > INT64_MAX) {
        return EFBIG; /* ftruncate() would raise SIGXFSZ */
    }
    int fd = memfd_new(name);
    if (fd < 0) {
        return errno;
    }
    if (ftruncate(fd, (off_t)bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int failed = errno;
        close(fd);
        return failed;
    }
    *ret_fd = fd;
    return 0;
}

int aurp_shm_readonly(int fd, int *ret_fd)
{
    AURP_UNCANCELLED;
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = own(open(path, O_RDONLY | O_CLOEXEC));
    if (again < 0) {
        return errno;
    }
    *ret_fd = again;
    return 0;
}

int aurp_shm_check(int fd, uint64_t bytes)
{
    struct stat file;

    if (fstat(fd, &file) != 0) {
        return errno;
    }
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0) {
        return errno;
    }
    return (seals & F_SEAL_SHRINK) != 0 && file.st_size >= 0 && (uint64_t)file.st_size >= bytes
               ? 0
               : EINVAL;
}

/* In older kernels a pending signal makes fallocate() undo all its work and fail, so a large range
 * would never be done in a process with a fast timer: hence steps, which get smaller until one fits
 * in between. */
int aurp_shm_commit(int fd, uint64_t offset, uint64_t bytes)
{
    AURP_UNCANCELLED;
    uint64_t step = UINT64_C(4) << 20;
    uint64_t done = 0;

    while (done < bytes) {
        uint64_t now = bytes - done < step ? bytes - done : step;
        if (fallocate(fd, 0, (off_t)(offset + done), (off_t)now) == 0) {
            done += now;
        } else if (errno == EINTR) {
            step = step / 2 < aurp_page_bytes() ? aurp_page_bytes() : step / 2;
        } else {
            int failed = errno;
            (void)aurp_shm_punch(fd, offset, bytes);
            return failed;
        }
    }
    return 0;
}

int aurp_shm_punch(int fd, uint64_t offset, uint64_t bytes)
{
    AURP_UNCANCELLED;

    while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) !=
           0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

bool aurp_shm_can_populate(void)
{
    /* Of no length: only whether the advice is known. */
    return madvise(NULL, 0, MADV_POPULATE_WRITE) == 0;
}

/* Unlike a plain touch, which would raise SIGBUS, this says when no page is to be had (EFAULT). */
int aurp_shm_populate(void *at, uint64_t bytes)
{
    while (madvise(at, (size_t)bytes, MADV_POPULATE_WRITE) != 0) {
        if (errno == EINTR) {
            continue; /* what is there stays */
        }
        int failed = errno == EFAULT ? ENOMEM : errno == EINVAL ? ENOSYS : errno;
        (void)aurp_shm_depopulate(at, bytes);
        return failed;
    }
    return 0;
}

int aurp_shm_depopulate(void *at, uint64_t bytes)
{
    while (madvise(at, (size_t)bytes, MADV_REMOVE) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

uint64_t aurp_shm_committed(int fd)
{
    struct stat file;

    return fstat(fd, &file) == 0 ? (uint64_t)file.st_blocks * 512 : 0;
}

uint64_t aurp_shm_written_prefix(int fd)
{
    off_t hole = lseek(fd, 0, SEEK_HOLE);

    return hole > 0 ? (uint64_t)hole : 0;
}

/* ---- mappings ------------------------------------------------------------------------------ */

int aurp_shm_map(int fd, uint64_t bytes, unsigned flags, void **ret_base)
{
    int protection = PROT_READ | ((flags & AURP_MAP_WRITE) != 0 ? PROT_WRITE : 0);

    if (bytes > SIZE_MAX) {
        return ENOMEM;
    }
    void *base = mmap(NULL, (size_t)bytes, protection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED) {
        return errno;
    }
    /* Without it a core dump would hold the arena: worth having, not worth failing for. */
    (void)madvise(base, (size_t)bytes, MADV_DONTDUMP);
    if ((flags & AURP_MAP_DONTFORK) != 0 && madvise(base, (size_t)bytes, MADV_DONTFORK) != 0) {
        int failed = errno;
        munmap(base, (size_t)bytes);
        return failed;
    }
    *ret_base = base;
    return 0;
}

void aurp_shm_unmap(void *base, uint64_t bytes)
{
    munmap(base, (size_t)bytes);
}

/* ---- limits -------------------------------------------------------------------------------- */

uint64_t aurp_page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t soft_limit(int resource)
{
    struct rlimit limit;

    return getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY
               ? UINT64_MAX
               : (uint64_t)limit.rlim_cur;
}

uint64_t aurp_shm_bytes_max(void)
{
    return soft_limit(RLIMIT_FSIZE);
}

uint64_t aurp_address_bytes_left(void)
{
    AURP_UNCANCELLED;
    uint64_t limit = soft_limit(RLIMIT_AS);
    unsigned long long pages = 0;

    if (limit == UINT64_MAX) {
        return limit;
    }
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL) {
        if (fscanf(statm, "%llu", &pages) != 1) {
            pages = 0;
        }
        fclose(statm);
    }
    uint64_t taken = (uint64_t)pages * aurp_page_bytes();
    return taken < limit ? limit - taken : 0;
}

uint64_t aurp_memory_total(void)
{
    struct sysinfo info;

    return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 0;
}

static uint64_t least(uint64_t x, uint64_t y)
{
    return x < y ? x : y;
}

uint64_t aurp_shm_reserve_default(void)
{
    uint64_t address_bytes = aurp_address_bytes_left();
    uint64_t bytes = least(UINT64_C(64) << 30, aurp_memory_total() * 2);

    bytes = least(bytes, address_bytes == UINT64_MAX ? address_bytes : address_bytes / 2);
    return least(bytes, aurp_shm_bytes_max());
}
