/* huge.h: for tests that ask for more memory than there is.  Under the sanitizers, too, such a
 * request is to fail and not to end the program.  Included by one file of a program. */
#ifndef AURT_HUGE_H
#define AURT_HUGE_H

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

#endif /* AURT_HUGE_H */
