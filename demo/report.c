/* report.c: plain text for people: colours and the bar only where a terminal shows them. */
#include "demo.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned passed_n, failed_n;

/* The text in a colour (a number of ECMA-48), if stdout is a terminal. */
static void coloured(int colour, const char *format, va_list args)
{
    bool terminal = isatty(STDOUT_FILENO);

    if (terminal) {
        printf("\033[%dm", colour);
    }
    vprintf(format, args);
    if (terminal) {
        printf("\033[0m");
    }
}

static void word(int colour, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    coloured(colour, format, args);
    va_end(args);
}

void title(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("\n");
    coloured(1, format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
}

void line(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("  ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
}

bool check(bool passed, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *(passed ? &passed_n : &failed_n) += 1;
    printf("  ");
    word(passed ? 32 : 31, "%-6s", passed ? "ok" : "FAILED");
    printf(" ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    return passed;
}

void progress(const char *what, size_t done, size_t total)
{
    enum { WIDTH = 40 };
    static const char full[] = "########################################";
    static size_t shown;

    if (!isatty(STDERR_FILENO) || total == 0) {
        return;
    }
    size_t filled = done * WIDTH / total;
    if (done == total) {
        fprintf(stderr, "\r%*s\r", WIDTH + 40, "");
        shown = 0;
    } else if (filled != shown || done <= 1) {
        shown = filled;
        fprintf(stderr, "\r  %-20s [%-*.*s] %zu/%zu", what, WIDTH, (int)filled, full, done, total);
    }
}

int report_end(void)
{
    printf("\n");
    if (failed_n != 0) {
        word(31, "%u of %u checks FAILED", failed_n, passed_n + failed_n);
    } else {
        word(32, "all %u checks passed", passed_n);
    }
    printf("\n");
    return failed_n != 0 || passed_n == 0;
}

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
