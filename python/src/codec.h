/* codec.h: the tags of values as bytes; written by encode.c, read by decode.c. */
#ifndef AURIGA_PYTHON_CODEC_H
#define AURIGA_PYTHON_CODEC_H

#include <stddef.h>

enum {
    TAG_NONE = 'N',
    TAG_TRUE = 'T',
    TAG_FALSE = 'F',
    TAG_INT8 = 'i',
    TAG_INT = 'I',
    TAG_FLOAT = 'D',
    TAG_ASCII = 'a',
    TAG_STR = 'S',
    TAG_BYTES = 'B',
    TAG_TUPLE = 't',
    TAG_PICKLE = 'P',
};

#define HUGE_BYTES ((size_t)4 << 20)
#define ALIGN 64

#endif
