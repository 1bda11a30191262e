/* spill.c: unnamed files that take what jobs print until it is their turn. */
#include "spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

/* A file that was larger is not emptied for another job: parts of it may still lie in a pipe, and its
 * pages are worth giving back. */
#define REUSE_MAX 65536

void spills_init(struct spills *spills)
{
    const char *folder = getenv("TMPDIR");

    *spills = (struct spills){ .folder = folder != NULL && *folder != '\0' ? folder : "/tmp" };
}

void spills_free(struct spills *spills)
{
    while (spills->n_idle > 0) {
        close(spills->idle[--spills->n_idle]);
    }
    free(spills->idle);
}

/* File systems without O_TMPFILE get a name that is gone at once; without a place for files it is
 * memory. */
static int new_file(const char *folder)
{
    char name[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0) {
        return fd;
    }
    if ((size_t)snprintf(name, sizeof(name), "%s/auriga-XXXXXX", folder) < sizeof(name)) {
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0) {
            unlink(name);
            return fd;
        }
    }
    return memfd_create("auriga-output", MFD_CLOEXEC);
}

int spill_open(struct spills *spills, struct spill *ret_spill)
{
    char path[64];
    int fd = spills->n_idle > 0 ? spills->idle[--spills->n_idle] : new_file(spills->folder);

    if (fd < 0) {
        return errno;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int writer = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (writer < 0) { /* no /proc: then the lease will be refused, as it should */
        writer = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    if (writer < 0) {
        int failed = errno;
        close(fd);
        return failed;
    }
    *ret_spill = (struct spill){ fd, writer };
    spills->open++;
    return 0;
}

void spill_started(struct spill *spill)
{
    if (spill->writer > 0) {
        close(spill->writer);
        spill->writer = 0;
    }
}

uint64_t spill_bytes(const struct spill *spill)
{
    struct stat status;

    return spill->fd > 0 && fstat(spill->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

/* Whether nobody else can write to it; see fcntl(2), F_SETLEASE. */
static bool is_ours_alone(int fd)
{
    return fcntl(fd, F_SETLEASE, F_WRLCK) == 0 && fcntl(fd, F_SETLEASE, F_UNLCK) == 0;
}

static bool can_be_used_again(int fd, uint64_t bytes)
{
    return bytes <= REUSE_MAX && is_ours_alone(fd) && (bytes == 0 || ftruncate(fd, 0) == 0);
}

void spill_close(struct spills *spills, struct spill *spill)
{
    if (spill->fd <= 0) {
        return;
    }
    spill_started(spill);
    if (!can_be_used_again(spill->fd, spill_bytes(spill))) {
        close(spill->fd);
    } else {
        if (spills->n_idle == spills->room) {
            spills->room = spills->room != 0 ? spills->room * 2 : 16;
            spills->idle = memory(spills->idle, spills->room * sizeof(*spills->idle));
        }
        spills->idle[spills->n_idle++] = spill->fd;
    }
    *spill = (struct spill){ 0 };
    spills->open--;
}
