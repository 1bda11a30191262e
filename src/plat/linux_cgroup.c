/* The Linux port of what control groups (v1 and v2) allow this process: memory of shm.h, CPUs of plat.h. */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "plat/plat.h"
#include "plat/shm.h"

static uint64_t least(uint64_t x, uint64_t y)
{
    return x < y ? x : y;
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

/* ---- the walk ------------------------------------------------------------------------------ */

/* Finds where the hierarchy is mounted and rewrites `path`, which counts from the top of the
 * hierarchy, so that it counts from the mount: in a container the mount may show a part only.
 * Blanks in mount points are not decoded: such a group is not found, and sets no limit. */
static bool find_mount(const char *root, const char *controller, bool v2, char *path,
                       char *ret_mount)
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
            strcmp(type, v2 ? "cgroup2" : "cgroup") != 0 || (!v2 && !lists(options, controller))) {
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

/* What one group directory allows; UINT64_MAX: everything. */
typedef uint64_t group_limit(const char *dir, bool v2);

/* From the group at mount+path up to the mount: a child cannot have more than its parents, but its own file
 * may say "max". */
static uint64_t least_up(const char *mount, const char *path, bool v2, group_limit *limit)
{
    char dir[PATH_BYTES];
    uint64_t most = UINT64_MAX;

    snprintf(dir, sizeof(dir), "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
    for (;;) {
        most = least(most, limit(dir, v2));
        char *slash = strrchr(dir, '/');
        if (slash == NULL || strlen(dir) <= strlen(mount)) {
            return most;
        }
        *slash = '\0';
    }
}

/* The least that our groups of this controller allow. */
static uint64_t groups_allow(const char *root, const char *controller, group_limit *limit)
{
    char line[LINE_BYTES];
    char mount[PATH_BYTES];
    uint64_t most = UINT64_MAX;
    FILE *groups = open_under(root, "/proc/self/cgroup");

    if (groups == NULL) {
        return most;
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
        if ((v2 || lists(controllers, controller)) &&
            find_mount(root, controller, v2, path, mount)) {
            most = least(most, least_up(mount, path, v2, limit));
        }
    }
    fclose(groups);
    return most;
}

/* ---- memory -------------------------------------------------------------------------------- */

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

uint64_t aurp_memory_available(const char *root)
{
    AURP_UNCANCELLED;

    return least(machine_room(root), groups_allow(root, "memory", group_room));
}

/* ---- CPUs ---------------------------------------------------------------------------------- */

/* quota / period rounded up. */
static uint64_t quota_cpus(int64_t quota, int64_t period)
{
    return quota <= 0 || period <= 0 ? UINT64_MAX : (uint64_t)(1 + (quota - 1) / period);
}

static uint64_t group_cpus(const char *dir, bool v2)
{
    uint64_t quota;
    uint64_t period;

    if (!v2) {
        return read_number(dir, "/cpu.cfs_quota_us", "", &quota) && /* -1: none */
                       read_number(dir, "/cpu.cfs_period_us", "", &period)
                   ? quota_cpus((int64_t)quota, (int64_t)period)
                   : UINT64_MAX;
    }
    long long both[2] = { -1, -1 };
    FILE *file = open_under(dir, "/cpu.max");
    if (file != NULL) {
        if (fscanf(file, "%lld %lld", &both[0], &both[1]) != 2) {
            both[0] = -1; /* "max" */
        }
        fclose(file);
    }
    return quota_cpus(both[0], both[1]);
}

unsigned aurp_cpu_quota(const char *root)
{
    AURP_UNCANCELLED;
    uint64_t cpus = groups_allow(root, "cpu", group_cpus);

    return cpus > 1 << 20 ? UINT32_MAX : (unsigned)cpus;
}
