/* Error texts, diagnoses, asserts: the whole of what the library can say about itself. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#ifdef AURI_TSAN
_Atomic(uint32_t) auri_fence_word;
#endif

const char *aur_err_name(aur_err err)
{
#define NAME(name, value, text) [name] = #name,
    static const char *const names[] = { AUR_ERR_LIST(NAME) };
#undef NAME
    return err >= 0 && err < AUR_ERR_COUNT_ && names[err] != NULL ? names[err] : "AUR_E?";
}

const char *aur_err_text(aur_err err)
{
#define TEXT(name, value, text) [name] = text,
    static const char *const texts[] = { AUR_ERR_LIST(TEXT) };
#undef TEXT
    return err >= 0 && err < AUR_ERR_COUNT_ && texts[err] != NULL ? texts[err]
                                                                  : "an unknown error code";
}

#define VERSION_TEXT_(a, b, c) #a "." #b "." #c
#define VERSION_TEXT(a, b, c) VERSION_TEXT_(a, b, c)

const char *aur_version(void)
{
    return VERSION_TEXT(AUR_VERSION_MAJOR, AUR_VERSION_MINOR, AUR_VERSION_PATCH);
}

aur_err auri_diag(aur_diag *diag, aur_err err, int sys_errno, const char *step, const char *format,
                  ...)
{
    if (diag == NULL) {
        return err;
    }
    va_list args;
    memset(diag, 0, sizeof(*diag));
    diag->err = err;
    diag->sys_errno = sys_errno;
    snprintf(diag->step, sizeof(diag->step), "%s", step);
    va_start(args, format);
    int used = vsnprintf(diag->text, sizeof(diag->text), format, args);
    va_end(args);
    if (sys_errno != 0 && used >= 0 && (size_t)used < sizeof(diag->text)) {
        char reason[96];
        const char *text = strerror_r(sys_errno, reason, sizeof(reason));
        snprintf(diag->text + used, sizeof(diag->text) - (size_t)used, ": %s", text);
    }
    return err;
}

aur_err auri_err_of_errno(int sys_errno)
{
    switch (sys_errno) {
    case 0:
        return AUR_OK;
    case ENOMEM:
    case ENOSPC:
        return AUR_ENOMEM;
    case EAGAIN:
    case EMFILE:
    case ENFILE:
        return AUR_EAGAIN;
    default:
        return AUR_ESYS;
    }
}

_Noreturn void auri_assert_failed(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "auriga: %s:%d: %s: broken invariant: %s\n", file, line, func, cond);
    abort();
}
