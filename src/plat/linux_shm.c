/* The Linux port of shm.h: memfd, mappings, memory limits. */
#include "plat/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

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

/* Longer names than these are not found, and set no limit: they do not occur, and the caller may
 * have a small stack. */
enum { LINE_BYTES = 1024, PATH_BYTES = 2560 };

static FILE *open_under(const char *root, const char *path)
{
    char whole[PATH_BYTES];

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    return fopen(whole, "re");
}

/* The number after `key` and blanks in the first line of the file that starts with it; an empty key
 * matches the first line.  False: no such line, or no number ("max"). */
static bool read_number(const char *dir, const char *name, const char *key, uint64_t *ret)
{
    char line[256];
    bool found = false;
    unsigned long long number;
    FILE *file = open_under(dir, name);

    if (file == NULL) {
        return false;
    }
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        size_t length = strlen(key);
        found = strncmp(line, key, length) == 0 && sscanf(line + length, " %llu", &number) == 1;
    }
    fclose(file);
    if (found) {
        *ret = number;
    }
    return found;
}

static uint64_t machine_room(const char *root)
{
    struct sysinfo info;
    uint64_t kib;

    if (read_number(root, "/proc/meminfo", "MemAvailable:", &kib)) {
        return kib * 1024;
    }
    return sysinfo(&info) == 0 ? (uint64_t)info.freeram * info.mem_unit : UINT64_MAX;
}

/* What one group leaves.  Page cache that nobody used lately counts as free: the kernel drops it
 * before it kills. */
static uint64_t group_room(const char *dir, bool v2)
{
    uint64_t limit;
    uint64_t usage;
    uint64_t cache = 0;

    if (!read_number(dir, v2 ? "/memory.max" : "/memory.limit_in_bytes", "", &limit) ||
        !read_number(dir, v2 ? "/memory.current" : "/memory.usage_in_bytes", "", &usage)) {
        return UINT64_MAX;
    }
    (void)read_number(dir, "/memory.stat", v2 ? "inactive_file " : "total_inactive_file ", &cache);
    usage -= cache < usage ? cache : usage;
    return usage < limit ? limit - usage : 0;
}

static uint64_t groups_room(const char *mount, const char *path, bool v2)
{
    char dir[PATH_BYTES];
    uint64_t room = UINT64_MAX;

    snprintf(dir, sizeof(dir), "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
    for (;;) {
        room = least(room, group_room(dir, v2));
        char *slash = strrchr(dir, '/');
        if (slash == NULL || strlen(dir) <= strlen(mount)) {
            return room;
        }
        *slash = '\0';
    }
}

/* Is `word` in the comma-separated list? */
static bool lists(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        size_t here = strcspn(at, ",\n");
        if (here == length && strncmp(at, word, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Finds where the hierarchy is mounted and rewrites `path`, which counts from the top of the
 * hierarchy, so that it counts from the mount: in a container the mount may show a part only.
 * Blanks in mount points are not decoded: such a group is not found, and sets no limit. */
static bool find_mount(const char *root, bool v2, char *path, char *ret_mount)
{
    char line[LINE_BYTES];
    char top[LINE_BYTES];
    char point[LINE_BYTES];
    char type[32];
    char options[256];
    bool found = false;
    FILE *mounts = open_under(root, "/proc/self/mountinfo");

    if (mounts == NULL) {
        return false;
    }
    while (fgets(line, sizeof(line), mounts) != NULL) {
        const char *tail = strstr(line, " - ");
        if (tail == NULL || sscanf(line, "%*s %*s %*s %1023s %1023s", top, point) != 2 ||
            sscanf(tail, " - %31s %*s %255s", type, options) != 2 ||
            strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 || (!v2 && !lists(options, "memory"))) {
            continue;
        }
        size_t shown = strcmp(top, "/") == 0 ? 0 : strlen(top);
        bool inside = strncmp(path, top, shown) == 0 &&
                      (path[shown] == '/' || path[shown] == '\0') && strstr(path, "/..") == NULL;
        if (found && !inside) {
            continue; /* an earlier mount is as good a guess */
        }
        snprintf(ret_mount, PATH_BYTES, "%s%s", root, point);
        found = true;
        if (inside) {
            memmove(path, path + shown, strlen(path + shown) + 1);
            fclose(mounts);
            return true;
        }
    }
    fclose(mounts);
    path[0] = '\0'; /* ours is not shown: the top of what is shown holds us, most likely */
    return found;
}

uint64_t aurp_memory_available(const char *root)
{
    char line[LINE_BYTES];
    char mount[PATH_BYTES];
    uint64_t room = machine_room(root);
    FILE *groups = open_under(root, "/proc/self/cgroup");

    if (groups == NULL) {
        return room;
    }
    while (fgets(line, sizeof(line), groups) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        bool v2 = *++controllers == '\0';
        if ((v2 || lists(controllers, "memory")) && find_mount(root, v2, path, mount)) {
            room = least(room, groups_room(mount, path, v2));
        }
    }
    fclose(groups);
    return room;
}
