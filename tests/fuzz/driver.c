/* A fuzz target without libFuzzer: each seed of a folder, and CHANGES changed copies of each.  The changes
 * come from a generator with a fixed start, so every run is the same.
 *
 *   NAME_fuzz FOLDER [CHANGES]   or   NAME_fuzz FILE...   (one run each: to repeat a finding) */
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

#define CASE_MAX ((size_t)1 << 16)
#define CHANGES_DEFAULT 200u

static uint64_t generator;

static uint64_t next_random(void)
{
    generator ^= generator << 13;
    generator ^= generator >> 7;
    generator ^= generator << 17;
    return generator;
}

static size_t read_case(const char *path, uint8_t *to)
{
    FILE *file = fopen(path, "rbe");

    FUZZ_CHECK(file != NULL);
    size_t size = fread(to, 1, CASE_MAX, file);
    fclose(file);
    return size;
}

/* From a copy of its own size, so that an address sanitizer sees reads beyond it. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size != 0 ? size : 1);

    FUZZ_CHECK(copy != NULL);
    if (size != 0) {
        memcpy(copy, data, size);
    }
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* A few bytes changed, a part doubled, or the end cut off. */
static size_t change(uint8_t *data, size_t size)
{
    static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff };

    for (uint64_t n = 1 + next_random() % 4; n > 0 && size > 0; n--) {
        size_t at = next_random() % size;
        size_t length = 1 + next_random() % 16;
        switch (next_random() % 5) {
        case 0:
            data[at] = (uint8_t)next_random();
            break;
        case 1:
            data[at] ^= (uint8_t)(1u << (next_random() % 8));
            break;
        case 2:
            data[at] = edges[next_random() % sizeof(edges)];
            break;
        case 3:
            if (length <= size - at && size + length <= CASE_MAX) {
                memmove(data + at + length, data + at, size - at);
                size += length;
            }
            break;
        default:
            size = at + 1;
        }
    }
    return size;
}

static unsigned run_folder(const char *path, unsigned changes)
{
    static uint8_t seed[CASE_MAX];
    static uint8_t changed[CASE_MAX];
    struct dirent **names;
    unsigned runs = 0;
    int n = scandir(path, &names, NULL, alphasort);

    FUZZ_CHECK(n >= 0);
    for (int i = 0; i < n; i++) {
        char file[4096];
        snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.') {
            size_t size = read_case(file, seed);
            generator = UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)i;
            run(seed, size);
            for (unsigned k = 0; k < changes; k++) {
                memcpy(changed, seed, size);
                run(changed, change(changed, size));
            }
            runs += changes + 1;
        }
        free(names[i]);
    }
    free(names);
    return runs;
}

int main(int argc, char **argv)
{
    static uint8_t seed[CASE_MAX];
    struct stat status;
    unsigned runs = 0;

    FUZZ_CHECK(argc >= 2 && stat(argv[1], &status) == 0);
    if (S_ISDIR(status.st_mode)) {
        runs = run_folder(argv[1], argc > 2 ? (unsigned)atoi(argv[2]) : CHANGES_DEFAULT);
    } else {
        for (int i = 1; i < argc; i++, runs++) {
            run(seed, read_case(argv[i], seed));
        }
    }
    printf("%u runs\n", runs);
    return runs != 0 ? 0 : 1;
}
