/* pool/text.h: a text that may be longer than the room for it. */
#ifndef AURI_POOL_TEXT_H
#define AURI_POOL_TEXT_H

#include <auriga/base.h>
#include <stddef.h>

struct auri_text {
    char *at; /* NULL if size is 0 */
    size_t size;
    size_t length; /* that the whole text has */
};

/* Appends. */
void auri_say(struct auri_text *text, const char *format, ...) AUR_PRINTF(2, 3);

#endif /* AURI_POOL_TEXT_H */
