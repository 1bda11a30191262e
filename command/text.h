/* text.h: bytes that grow, and words quoted for a shell or for a reader. */
#ifndef COMMAND_TEXT_H
#define COMMAND_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/* Zero bytes are an empty text.  bytes need not end in NUL. */
struct text {
    char *bytes;
    size_t used, size;
};

/* All memory of the command comes from here: without it there is nothing left to do, so the program ends
 * with a message.  (Its jobs end with it: they are killed when their parent dies.) */
void *memory(void *old, size_t bytes);

void text_reserve(struct text *text, size_t more);
void text_add(struct text *text, const char *bytes, size_t n);
void text_puts(struct text *text, const char *string);
void text_vprintf(struct text *text, const char *format, va_list args);
__attribute__((format(printf, 2, 3))) void text_printf(struct text *text, const char *format, ...);
void text_free(struct text *text);

/* As one word of any POSIX shell: 'it'\''s'.  Every byte but NUL survives. */
void text_quote(struct text *text, const char *word, size_t n);

/* The same word on one line, for logs and messages: control characters as in $'\n', which bash, ksh and
 * zsh read.  At most max bytes of the word are shown. */
void text_show(struct text *text, const char *word, size_t n, size_t max);

#endif /* COMMAND_TEXT_H */
