/* The log of one execution, kept while a failure is replayed, and printed with file and line. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explore.h"

#define LINES_MAX 20000u
#define NAMES_MAX 64u

static struct {
    unsigned thread;
    const void *pc;
    uintptr_t addr;
    char text[120];
    char place[80];
} line[LINES_MAX];
static unsigned lines;
static struct {
    uintptr_t addr;
    const char *name;
} name[NAMES_MAX];
static unsigned names;

void log_reset(void)
{
    lines = 0;
    names = 0;
}

void model_name(const volatile void *object, const char *text)
{
    if (names < NAMES_MAX) {
        name[names].addr = (uintptr_t)object;
        name[names++].name = text;
    }
}

void log_event(const void *pc, uintptr_t addr, const char *format, ...)
{
    va_list args;

    if (!sim.logging || lines == LINES_MAX) {
        return;
    }
    line[lines].thread = sim.self;
    line[lines].pc = pc;
    line[lines].addr = addr;
    line[lines].place[0] = '\0';
    va_start(args, format);
    vsnprintf(line[lines].text, sizeof(line[lines].text), format, args);
    va_end(args);
    lines++;
}

/* File and line of each access, by addr2line. */
static void find_places(void)
{
    char exe[256], command[400], list[] = "/tmp/model-XXXXXX";
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    int fd = mkstemp(list);
    FILE *to = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (n < 0 || to == NULL) {
        return;
    }
    exe[n] = '\0';
    for (unsigned i = 0; i < lines; i++) {
        fprintf(to, "%p\n",
                line[i].pc != NULL ? (const void *)((const char *)line[i].pc - 1) : NULL);
    }
    fclose(to);
    snprintf(command, sizeof(command), "addr2line -s -e '%s' <%s 2>/dev/null", exe, list);
    FILE *from = popen(command, "r");
    for (unsigned i = 0; from != NULL && i < lines; i++) {
        if (fgets(line[i].place, sizeof(line[i].place), from) == NULL) {
            break;
        }
        line[i].place[strcspn(line[i].place, " \n")] = '\0';
        if (line[i].place[0] == '?') {
            line[i].place[0] = '\0';
        }
    }
    if (from != NULL) {
        pclose(from);
    }
    unlink(list);
}

static void object_name(uintptr_t addr, char *text, size_t size)
{
    for (unsigned i = 0; i < names; i++) {
        if (name[i].addr == addr) {
            snprintf(text, size, "%s", name[i].name);
            return;
        }
    }
    snprintf(text, size, addr != 0 ? "%#lx" : "", (unsigned long)addr);
}

void log_print(void)
{
    find_places();
    for (unsigned i = 0; i < lines; i++) {
        char object[64];
        object_name(line[i].addr, object, sizeof(object));
        printf("    %u  %-18s %-14s %s\n", line[i].thread, line[i].place, object, line[i].text);
    }
}
