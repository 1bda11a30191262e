/* fuzz.h: what the fuzz targets share: reading a test case piece by piece, and checks that end the
 * program.
 *
 * A target is a file *_fuzz.c with LLVMFuzzerTestOneInput(); its seeds are in corpus/NAME.  Built with
 * AURIGA_FUZZ (clang's libFuzzer) it searches: ./dev check fuzz.  In every other build driver.c runs
 * it over its seeds and a fixed number of changes to them: that is part of ./dev test. */
#ifndef AURT_FUZZ_H
#define AURT_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(...)                                                                            \
    do {                                                                                           \
        if (!(__VA_ARGS__)) {                                                                      \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #__VA_ARGS__);       \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The rest of a test case.  At its end everything reads as zero. */
typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

static inline void fuzz_read(fuzz_input *in, void *to, size_t size)
{
    size_t n = size < in->left ? size : in->left;

    memset(to, 0, size);
    if (n != 0) {
        memcpy(to, in->at, n);
        in->at += n;
        in->left -= n;
    }
}

static inline uint8_t fuzz_u8(fuzz_input *in)
{
    uint8_t value;

    fuzz_read(in, &value, sizeof(value));
    return value;
}

static inline uint16_t fuzz_u16(fuzz_input *in)
{
    uint16_t value;

    fuzz_read(in, &value, sizeof(value));
    return value;
}

static inline uint64_t fuzz_u64(fuzz_input *in)
{
    uint64_t value;

    fuzz_read(in, &value, sizeof(value));
    return value;
}

#endif /* AURT_FUZZ_H */
