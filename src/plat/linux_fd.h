/* plat/linux_fd.h: what linux_fd.c and linux_process.c share. */
#ifndef AURI_PLAT_LINUX_FD_H
#define AURI_PLAT_LINUX_FD_H

#include <sys/syscall.h>

/* Newer than some C library headers; the number is the same on every architecture. */
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

/* What a system call returned becomes a descriptor outside of stdio's, or a negative errno. */
int aurp_fd_own(long fd);

#endif /* AURI_PLAT_LINUX_FD_H */
