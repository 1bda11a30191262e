/* memory_group.h: a real memory control group below that of the test, of either version. */
#ifndef AURT_MEMORY_GROUP_H
#define AURT_MEMORY_GROUP_H

#include "aurt.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

static char group[1024]; /* a child of our own group; "" if none could be made */

static inline bool group_write(const char *name, const char *text)
{
    char path[1100];

    snprintf(path, sizeof(path), "%s/%s", group, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) {
        close(fd);
    }
    return written;
}

/* How often the kernel killed somebody in the group. */
static inline int group_kills(void)
{
    char path[1100];
    char line[128];
    int kills = -1;

    for (int v2 = 0; v2 < 2 && kills < 0; v2++) {
        snprintf(path, sizeof(path), "%s/memory.%s", group, v2 ? "events" : "oom_control");
        FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
            (void)sscanf(line, "oom_kill %d", &kills);
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    return kills;
}

static inline void group_remove(void)
{
    while (group[0] != '\0' && rmdir(group) != 0 && errno == EBUSY) {
        sched_yield(); /* the last process of it is still being taken down */
    }
    group[0] = '\0';
}

/* A group limited to so many bytes.  NULL, or why there is none. */
static inline const char *group_make(uint64_t bytes)
{
    static const char *const v1[] = { "/sys/fs/cgroup/memory" };
    static const char *const v2[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
    char line[512];
    char limit[32];
    FILE *groups = fopen("/proc/self/cgroup", "re");

    group[0] = '\0';
    if (groups == NULL) {
        return "no control groups here";
    }
    snprintf(limit, sizeof(limit), "%llu", (unsigned long long)bytes);
    while (group[0] == '\0' && fgets(line, sizeof(line), groups) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *old = strstr(line, ":memory:");
        bool unified = strncmp(line, "0::", 3) == 0;
        for (int i = 0; i < (unified ? 2 : old != NULL ? 1 : 0) && group[0] == '\0'; i++) {
            const char *path = unified ? line + 3 : old + 8;
            snprintf(group, sizeof(group), "%s%s/auriga-test-%d", unified ? v2[i] : v1[i],
                     strcmp(path, "/") == 0 ? "" : path, (int)getpid());
            if (mkdir(group, 0755) != 0) {
                group[0] = '\0';
            } else if (!group_write(unified ? "memory.max" : "memory.limit_in_bytes", limit)) {
                group_remove();
            }
        }
    }
    fclose(groups);
    return group[0] != '\0' ? NULL : "no memory control group can be made below our own";
}

#endif /* AURT_MEMORY_GROUP_H */
