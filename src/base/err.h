/* base/err.h: filling diagnoses and errors, and asserts that stay in release builds. */
#ifndef AURI_BASE_ERR_H
#define AURI_BASE_ERR_H

#include <auriga/base.h>

/* Fills *diag (NULL is allowed) and returns err, so that `return auri_diag(...)` ends a failing
 * step.  sys_errno 0: the step was not a system call; else its text is appended. */
aur_err auri_diag(aur_diag *diag, aur_err err, int sys_errno, const char *step, const char *format,
                  ...) AUR_PRINTF(5, 6);

/* The AUR_E* that an errno means for a caller: ENOMEM, EAGAIN/EMFILE/ENFILE -> EAGAIN, else ESYS. */
aur_err auri_err_of_errno(int sys_errno);

/* A programmer's error or a broken invariant: prints one line with the place and aborts.  Kept in
 * release builds where it is cheap. */
#define AURI_ASSERT(cond)                                                                          \
    ((cond) ? (void)0 : auri_assert_failed(#cond, __FILE__, __LINE__, __func__))
_Noreturn void auri_assert_failed(const char *cond, const char *file, int line, const char *func);

#endif /* AURI_BASE_ERR_H */
