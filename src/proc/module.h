/* proc/module.h: addresses that travel between processes of the same program.
 *
 * An address space of its own is all that a freshly started image has: the same function lies
 * elsewhere in it.  What stays the same is the distance from the start of its module (the program
 * or a library), and modules are told apart by their build-id.  So an address travels as (build-id,
 * offset), and a module that is not byte for byte the same is refused, never called.
 *
 * Forked workers need no translation, but see only the modules that were loaded when their nursery
 * was forked: auri_modules_check() tells. */
#ifndef AURI_PROC_MODULE_H
#define AURI_PROC_MODULE_H

#include <auriga/base.h>

#define AURI_MODULE_ID_MAX 32 /* usual build-ids have 8 to 20 bytes; longer ones are cut */
#define AURI_MODULE_PATH_MAX 4096

enum {
    AURI_MODULE_HASHED = 1, /* no build-id: id is a hash of the first text page and the segments */
    AURI_MODULE_CODE = 2,   /* the address lies in an executable segment */
};

/* The form in which an address travels; plain bytes. */
typedef struct auri_module_ref {
    uint64_t offset; /* from the module's load address */
    uint8_t id[AURI_MODULE_ID_MAX];
    uint8_t id_size;
    uint8_t flags; /* AURI_MODULE_* */
    uint8_t reserved[6];
} auri_module_ref;

/* Describes an address of this process.
 *
 * code  it is going to be called: it must lie in an executable segment.
 * Threads: any.  Blocks: never (takes the dynamic loader's lock).
 * Errors: AUR_ENOFUNC  in no module (heap, stack, made at run time), or code is wanted and it is
 *                      data */
aur_err auri_module_encode(const void *addr, bool code, auri_module_ref *ret_ref);

/* Finds the address here.
 *
 * path  where the module was loaded from (auri_module_path), or NULL.  If the module is not loaded,
 *       it is loaded from there, and kept only if it is the right one.  Its initialisers run before
 *       that can be known.
 * Errors: AUR_ESTALE  no module here has this build-id;
 *         AUR_ENOFUNC the ref does not fit the module: it was damaged on its way */
aur_err auri_module_decode(const auri_module_ref *ref, const char *path, const void **ret_addr);

/* The file of the module that holds addr, "" for the program itself.
 * Errors: AUR_ENOFUNC in no module; AUR_ETOOBIG the path does not fit. */
aur_err auri_module_path(const void *addr, char *ret_path, size_t size);

/* True if this program brings the module of addr along when it starts: it is the program itself, or
 * among the libraries that the program (or LD_PRELOAD) asks for, directly or not.  False for what
 * was loaded by dlopen(). */
bool auri_module_at_start(const void *addr);

/* How often this process has loaded a module so far: unchanged means that nothing new is there. */
uint64_t auri_module_generation(void);

/* The modules of this process at one moment, with a memory for addresses asked about before: the
 * first question about an address costs about a microsecond, the next a few nanoseconds.  The
 * memory relies on aur_fn's promise that a function which was submitted stays where it is as long
 * as the pool lives. */
typedef struct auri_modules auri_modules;

/* Errors: AUR_ENOMEM.  Owns: *ret_modules is released with auri_modules_free(). */
aur_err auri_modules_new(auri_modules **ret_modules);
auri_modules *auri_modules_free(auri_modules *modules); /* NULL allowed, returns NULL */

/* As auri_module_encode().  Threads: any. */
aur_err auri_modules_encode(auri_modules *modules, const void *addr, bool code,
                            auri_module_ref *ret_ref);

/* Whether addr was in a module already when `modules` was made: AUR_OK; AUR_ESTALE if its module
 * came later; AUR_ENOFUNC as auri_module_encode().  Threads: any. */
aur_err auri_modules_check(auri_modules *modules, const void *addr, bool code);

#endif /* AURI_PROC_MODULE_H */
