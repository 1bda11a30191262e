/* References to functions, as they travel to spawned workers, with any bytes changed: they are refused, or
 * name an address in a module of this process, and that address has the same reference again. */
#include "fuzz.h"

#include <dlfcn.h>

#include "proc/module.h"

static int known(int x)
{
    return x;
}

static const int data = 5;

/* A reference to start from: the program's code or data, the C library's, or all zero. */
static void start_from(uint8_t which, auri_module_ref *ret)
{
    int (*code)(int) = known;
    const void *addr = &data;

    memset(ret, 0, sizeof(*ret));
    switch (which % 4) {
    case 0:
        memcpy(&addr, &code, sizeof(addr));
        FUZZ_CHECK(auri_module_encode(addr, true, ret) == AUR_OK);
        break;
    case 1:
        FUZZ_CHECK(auri_module_encode(addr, false, ret) == AUR_OK);
        break;
    case 2:
        addr = dlsym(RTLD_DEFAULT, "qsort");
        FUZZ_CHECK(addr != NULL && auri_module_encode(addr, true, ret) == AUR_OK);
        break;
    default:
        break;
    }
}

static bool same(const auri_module_ref *a, const auri_module_ref *b)
{
    return a->offset == b->offset && a->id_size == b->id_size &&
           memcmp(a->id, b->id, a->id_size) == 0;
}

static void decode(const auri_module_ref *ref, const char *path)
{
    const void *addr = NULL;
    auri_module_ref again;
    bool code = (ref->flags & AURI_MODULE_CODE) != 0;

    aur_err err = auri_module_decode(ref, path, &addr);
    if (err != AUR_OK) {
        FUZZ_CHECK((err == AUR_ESTALE || err == AUR_ENOFUNC) && addr == NULL);
        return;
    }
    FUZZ_CHECK(addr != NULL && auri_module_encode(addr, code, &again) == AUR_OK);
    FUZZ_CHECK(same(ref, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    fuzz_input in = { input, size };
    auri_module_ref ref;
    auri_module_ref mask;
    uint8_t which = fuzz_u8(&in);

    start_from(which, &ref);
    fuzz_read(&in, &mask, sizeof(mask));
    for (size_t i = 0; i < sizeof(ref); i++) {
        ((unsigned char *)&ref)[i] ^= ((unsigned char *)&mask)[i];
    }
    decode(&ref, (which & 4) != 0 ? "/nonexistent/module.so" : NULL);

    /* And the way back: any address at all. */
    uint64_t number = fuzz_u64(&in);
    uintptr_t near =
        (which & 8) != 0 ? (uintptr_t)&data + (number & 0xffffff) - 0x800000 : (uintptr_t)number;
    if (auri_module_encode((const void *)near, (which & 16) != 0, &ref) == AUR_OK) {
        const void *addr = NULL;
        FUZZ_CHECK(auri_module_decode(&ref, NULL, &addr) == AUR_OK && (uintptr_t)addr == near);
    }
    return 0;
}
