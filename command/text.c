/* text.c: bytes that grow, and words quoted for a shell or for a reader. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "map.h"

void *memory(void *old, size_t bytes)
{
    static const char message[] = "auriga: out of memory\n";
    void *got = realloc(old, bytes != 0 ? bytes : 1);

    if (got == NULL) {
        if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0) {
            /* Nobody reads it: the exit status says it, too. */
        }
        _exit(EXIT_BROKEN);
    }
    return got;
}

void text_reserve(struct text *text, size_t more)
{
    if (text->size - text->used >= more) {
        return;
    }
    size_t size = text->size != 0 ? text->size : 64;
    while (size - text->used < more) {
        size *= 2;
    }
    text->bytes = memory(text->bytes, size);
    text->size = size;
}

void text_add(struct text *text, const char *bytes, size_t n)
{
    text_reserve(text, n);
    if (n != 0) {
        memcpy(text->bytes + text->used, bytes, n);
        text->used += n;
    }
}

void text_puts(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_vprintf(struct text *text, const char *format, va_list args)
{
    va_list again;

    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n > 0) {
        text_reserve(text, (size_t)n + 1);
        vsnprintf(text->bytes + text->used, (size_t)n + 1, format, again);
        text->used += (size_t)n;
    }
    va_end(again);
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_vprintf(text, format, args);
    va_end(args);
}

void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){ 0 };
}

static int is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_./:@%+,-", c) != NULL);
}

static int all_plain(const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_plain((unsigned char)word[i])) {
            return 0;
        }
    }
    return n != 0;
}

void text_quote(struct text *text, const char *word, size_t n)
{
    if (all_plain(word, n)) {
        text_add(text, word, n);
        return;
    }
    text_add(text, "'", 1);
    for (size_t i = 0; i < n; i++) {
        if (word[i] == '\'') {
            text_puts(text, "'\\''");
        } else {
            text_add(text, word + i, 1);
        }
    }
    text_add(text, "'", 1);
}

static int is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* In $'': what would end the line or the word. */
static void add_escaped(struct text *text, unsigned char c)
{
    switch (c) {
    case '\n':
        text_puts(text, "\\n");
        break;
    case '\t':
        text_puts(text, "\\t");
        break;
    case '\'':
    case '\\':
        text_add(text, "\\", 1);
        text_add(text, (const char *)&c, 1);
        break;
    default:
        if (is_control(c)) {
            text_printf(text, "\\%03o", c);
        } else {
            text_add(text, (const char *)&c, 1);
        }
    }
}

void text_show(struct text *text, const char *word, size_t n, size_t max)
{
    size_t shown = n < max ? n : max;
    int control = 0;

    for (size_t i = 0; i < shown; i++) {
        control |= is_control((unsigned char)word[i]);
    }
    if (control) {
        text_puts(text, "$'");
        for (size_t i = 0; i < shown; i++) {
            add_escaped(text, (unsigned char)word[i]);
        }
        text_puts(text, "'");
    } else {
        text_quote(text, word, shown);
    }
    if (shown < n) {
        text_puts(text, "...");
    }
}
