/*
 * Exit status 3 if the address sanitizer's stack for the detection of use after return breaks
 * alignas(): with gcc 13.2 a variable may lie 32 bytes off (fixed later: gcc's bug 110027).
 */
#include <stdalign.h>
#include <stdint.h>

struct line {
    alignas(64) volatile char bytes[64];
};

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_stack_use_after_return=1";
}

static __attribute__((noinline)) int is_off(struct line *line)
{
    line->bytes[0] = 1;
    return (uintptr_t)line % alignof(struct line) != 0;
}

int main(void)
{
    struct line line;

    return is_off(&line) ? 3 : 0;
}
