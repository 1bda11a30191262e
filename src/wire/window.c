/* Windows: the reader's side of an arena, and what is checked before somebody else's file is
 * mapped. */
#include "wire/arena_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "plat/shm.h"

aur_err auri_file_check(int fd, uint64_t bytes)
{
    int failed = aurp_shm_check(fd, bytes);

    return failed == EINVAL ? AUR_EINVAL : auri_err_of_errno(failed);
}

aur_err auri_window_open(int fd, uint64_t bytes, unsigned flags, auri_window **ret_window)
{
    void *base = NULL;

    if (bytes == 0 || (flags & ~(unsigned)(AURI_WINDOW_WRITE | AURI_WINDOW_DONTFORK)) != 0) {
        return AUR_EINVAL;
    }
    aur_err err = auri_file_check(fd, bytes);
    if (err != AUR_OK) {
        return err;
    }
    auri_window *w = malloc(sizeof(*w));
    err = w != NULL ? auri_err_of_errno(aurp_shm_map(fd, bytes, flags, &base)) : AUR_ENOMEM;
    if (err != AUR_OK) {
        free(w);
        return err;
    }
    *w = (auri_window){ .base = base, .bytes = bytes };
    *ret_window = w;
    return AUR_OK;
}

void auri_window_close(auri_window *w)
{
    if (w != NULL) {
        aurp_shm_unmap(w->base, w->bytes);
        free(w);
    }
}
