/* Modules, build-ids and offsets, by dl_iterate_phdr(), which works alike for programs with and
 * without position-independent code, static ones and shared libraries. */
#include "proc/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

/* Weak: a static program has none of them, and must not be told by the linker that it should. */
#pragma weak dlopen
#pragma weak dlclose
#pragma weak dlinfo

_Static_assert(sizeof(auri_module_ref) == 48, "plain bytes, no hidden padding");

/* ---- one module ----------------------------------------------------------------------------- */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++) { /* FNV-1a */
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static size_t round_up(size_t size, size_t align)
{
    return (size + align - 1) & ~(align - 1);
}

/* Looks for the build-id in one note segment. */
static bool note_id(const struct dl_phdr_info *info, const ElfW(Phdr) * segment,
                    auri_module_ref *ret)
{
    /* The fields are 4 bytes in both classes; only the padding follows the segment's alignment. */
    size_t align = segment->p_align == 8 ? 8 : 4;
    const char *at = (const char *)(info->dlpi_addr + segment->p_vaddr);
    size_t left = segment->p_memsz;
    ElfW(Nhdr) note;

    while (left >= sizeof(note)) {
        memcpy(&note, at, sizeof(note));
        size_t name = sizeof(note);
        size_t desc = round_up(name + note.n_namesz, align);
        if (desc > left || note.n_descsz > left - desc) {
            return false;
        }
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz > 0 &&
            memcmp(at + name, "GNU", 4) == 0) {
            ret->id_size =
                note.n_descsz < AURI_MODULE_ID_MAX ? (uint8_t)note.n_descsz : AURI_MODULE_ID_MAX;
            memcpy(ret->id, at + desc, ret->id_size);
            return true;
        }
        size_t next = round_up(desc + note.n_descsz, align);
        if (next > left) {
            return false;
        }
        at += next;
        left -= next;
    }
    return false;
}

/* A substitute for a missing build-id: the layout of all segments and the start of the code. */
static void hashed_id(const struct dl_phdr_info *info, auri_module_ref *ret)
{
    uint64_t hash = 0xcbf29ce484222325u;
    bool text = false;

    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD) {
            continue;
        }
        uint64_t layout[4] = { segment->p_vaddr, segment->p_filesz, segment->p_memsz,
                               segment->p_flags };
        hash = hash_bytes(hash, layout, sizeof(layout));
        bool readable_code = (segment->p_flags & (PF_X | PF_R | PF_W)) == (PF_X | PF_R);
        if (readable_code && !text) {
            const void *start = (const void *)(info->dlpi_addr + segment->p_vaddr);
            hash = hash_bytes(hash, start, segment->p_filesz < 4096 ? segment->p_filesz : 4096);
            text = true;
        }
    }
    ret->flags |= AURI_MODULE_HASHED;
    ret->id_size = sizeof(hash);
    memcpy(ret->id, &hash, sizeof(hash));
}

/* Fills id, id_size and the kind of id in flags; leaves the rest alone. */
static void module_id(const struct dl_phdr_info *info, auri_module_ref *ret)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_NOTE && note_id(info, &info->dlpi_phdr[i], ret)) {
            return;
        }
    }
    hashed_id(info, ret);
}

static bool same_id(const auri_module_ref *a, const auri_module_ref *b)
{
    return a->id_size == b->id_size &&
           (a->flags & AURI_MODULE_HASHED) == (b->flags & AURI_MODULE_HASHED) &&
           memcmp(a->id, b->id, a->id_size) == 0;
}

/* The segment that holds the offset, or NULL: what lies between segments belongs to none. */
static const ElfW(Phdr) * segment_of(const struct dl_phdr_info *info, uint64_t offset)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && offset - segment->p_vaddr < segment->p_memsz) {
            return segment;
        }
    }
    return NULL;
}

/* ---- from an address to (build-id, offset) -------------------------------------------------- */

/* What is known about one address. */
typedef struct place {
    uintptr_t addr;
    bool found;
    uintptr_t base;
    const char *path; /* the loader's; valid inside the iteration only */
    size_t path_size; /* how much of path the caller wants, 0: nothing */
    char *ret_path;
    auri_module_ref ref;
} place;

static int find_place(struct dl_phdr_info *info, size_t size, void *ctx)
{
    place *p = ctx;
    uint64_t offset = p->addr - info->dlpi_addr;
    const ElfW(Phdr) *segment = segment_of(info, offset);

    (void)size;
    if (segment == NULL) {
        return 0;
    }
    p->found = true;
    p->base = info->dlpi_addr;
    p->ref.offset = offset;
    p->ref.flags = (segment->p_flags & PF_X) != 0 ? AURI_MODULE_CODE : 0;
    module_id(info, &p->ref);
    if (p->path_size > 0) {
        const char *path = info->dlpi_name != NULL ? info->dlpi_name : "";
        size_t length = strlen(path) + 1;
        p->path_size = length <= p->path_size ? length : 0;
        memcpy(p->ret_path, path, p->path_size);
    }
    return 1;
}

/* AUR_OK or AUR_ENOFUNC. */
static aur_err place_of(const void *addr, place *ret)
{
    ret->addr = (uintptr_t)addr;
    dl_iterate_phdr(find_place, ret);
    return ret->found ? AUR_OK : AUR_ENOFUNC;
}

static aur_err usable(const auri_module_ref *ref, bool code)
{
    return code && (ref->flags & AURI_MODULE_CODE) == 0 ? AUR_ENOFUNC : AUR_OK;
}

aur_err auri_module_encode(const void *addr, bool code, auri_module_ref *ret_ref)
{
    place p = { 0 };

    if (place_of(addr, &p) != AUR_OK || usable(&p.ref, code) != AUR_OK) {
        return AUR_ENOFUNC;
    }
    *ret_ref = p.ref;
    return AUR_OK;
}

aur_err auri_module_path(const void *addr, char *ret_path, size_t size)
{
    place p = { .ret_path = ret_path, .path_size = size };

    if (size == 0) {
        return AUR_ETOOBIG;
    }
    if (place_of(addr, &p) != AUR_OK) {
        return AUR_ENOFUNC;
    }
    return p.path_size > 0 ? AUR_OK : AUR_ETOOBIG;
}

/* ---- and back ------------------------------------------------------------------------------- */

typedef struct wanted {
    const auri_module_ref *ref;
    const void *addr;
    aur_err err; /* AUR_ESTALE until a module with this id is found */
} wanted;

/* An id that occurs twice (one file loaded twice) means the first: their code is the same. */
static int find_wanted(struct dl_phdr_info *info, size_t size, void *ctx)
{
    wanted *w = ctx;
    auri_module_ref here = { 0 };

    (void)size;
    module_id(info, &here);
    if (!same_id(&here, w->ref)) {
        return 0;
    }
    const ElfW(Phdr) *segment = segment_of(info, w->ref->offset);
    bool code = (w->ref->flags & AURI_MODULE_CODE) != 0;
    if (segment == NULL || code != ((segment->p_flags & PF_X) != 0)) {
        w->err = AUR_ENOFUNC;
        return 1;
    }
    w->addr = (const void *)(uintptr_t)(info->dlpi_addr + w->ref->offset);
    w->err = AUR_OK;
    return 1;
}

/* This library's own module alone: what is linked with it is asked for most, and to look at the ids of others
 * means to fetch a page of each. */
static int find_at_home(struct dl_phdr_info *info, size_t size, void *ctx)
{
    bool home = segment_of(info, (uintptr_t)find_at_home - info->dlpi_addr) != NULL;

    return home ? find_wanted(info, size, ctx) : 0;
}

aur_err auri_module_decode(const auri_module_ref *ref, const char *path, const void **ret_addr)
{
    wanted w = { .ref = ref, .err = AUR_ESTALE };

    if (ref->id_size == 0 || ref->id_size > AURI_MODULE_ID_MAX) {
        return AUR_ENOFUNC; /* never made by auri_module_encode() */
    }
    dl_iterate_phdr(find_at_home, &w);
    if (w.err == AUR_ESTALE) {
        dl_iterate_phdr(find_wanted, &w);
    }
    if (w.err == AUR_ESTALE && path != NULL && path[0] != '\0' && dlopen != NULL) {
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module != NULL) {
            dl_iterate_phdr(find_wanted, &w);
            if (w.err != AUR_OK) {
                dlclose(module); /* another version; else it stays loaded for good */
            }
        }
    }
    if (w.err == AUR_OK) {
        *ret_addr = w.addr;
    }
    return w.err;
}

/* ---- what comes along with the program ------------------------------------------------------ */

/* One module in the search for what the program asks for.  The search imitates the loader's: from
 * the program over the names in DT_NEEDED, to the modules that are loaded under these names. */
typedef struct needs {
    const struct link_map *map;
    const ElfW(Dyn) * dynamic;
    const char *strings;
    bool reached;
} needs;

#define NEEDS_MAX 1024 /* modules; more are taken for dlopen()ed ones */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static needs needs_of(const struct link_map *map)
{
    needs n = { .map = map, .dynamic = map->l_ld };

    for (const ElfW(Dyn) *d = map->l_ld; d != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB) {
            n.strings = (const char *)d->d_un.d_ptr;
        }
    }
    if (n.strings != NULL && (uintptr_t)n.strings < map->l_addr) {
        n.strings += map->l_addr; /* a read-only table, which the loader left as it was */
    }
    return n;
}

/* Whether the module answers to the name: by its file or by the name inside it. */
static bool is_called(const needs *n, const char *name)
{
    if (strcmp(base_name(n->map->l_name), base_name(name)) == 0) {
        return true;
    }
    for (const ElfW(Dyn) *d = n->dynamic; n->strings != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_SONAME && strcmp(n->strings + d->d_un.d_val, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Marks what module i asks for; the search ends when a whole round marks nothing new. */
static bool mark_needed(needs *all, unsigned count, unsigned i)
{
    bool news = false;

    for (const ElfW(Dyn) *d = all[i].dynamic; all[i].strings != NULL && d->d_tag != DT_NULL; d++) {
        for (unsigned k = 0; d->d_tag == DT_NEEDED && k < count; k++) {
            if (!all[k].reached && is_called(&all[k], all[i].strings + d->d_un.d_val)) {
                all[k].reached = true;
                news = true;
            }
        }
    }
    return news;
}

static bool is_preloaded(const needs *n)
{
    const char *list = getenv("LD_PRELOAD");

    return list != NULL && n->map->l_name[0] != '\0' &&
           strstr(list, base_name(n->map->l_name)) != NULL;
}

static bool reach(needs *all, unsigned count, uintptr_t base)
{
    bool news = true;

    for (unsigned i = 0; i < count; i++) {
        all[i].reached = i == 0 || is_preloaded(&all[i]);
    }
    while (news) {
        news = false;
        for (unsigned i = 0; i < count; i++) {
            news = (all[i].reached && mark_needed(all, count, i)) || news;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (all[i].map->l_addr == base) {
            return all[i].reached;
        }
    }
    return false;
}

bool auri_module_at_start(const void *addr)
{
    char path[2];
    place p = { .ret_path = path, .path_size = sizeof(path) };

    if (place_of(addr, &p) != AUR_OK) {
        return false;
    }
    if (p.path_size > 0 && path[0] == '\0') {
        return true; /* the program itself has no name: the only answer in a static program */
    }
    void *self = dlopen != NULL ? dlopen(NULL, RTLD_LAZY) : NULL;
    struct link_map *map = NULL;
    needs *all = self != NULL ? calloc(NEEDS_MAX, sizeof(*all)) : NULL;
    bool found = false;
    if (all != NULL && dlinfo(self, RTLD_DI_LINKMAP, &map) == 0) {
        unsigned count = 0;
        for (; map != NULL && count < NEEDS_MAX; map = map->l_next) {
            all[count++] = needs_of(map);
        }
        found = reach(all, count, p.base);
    }
    free(all);
    if (self != NULL) {
        dlclose(self);
    }
    return found;
}

/* ---- the modules at one moment -------------------------------------------------------------- */

static int read_generation(struct dl_phdr_info *info, size_t size, void *ctx)
{
    (void)size;
    *(uint64_t *)ctx = info->dlpi_adds;
    return 1; /* the same in each entry */
}

uint64_t auri_module_generation(void)
{
    uint64_t adds = 0;

    dl_iterate_phdr(read_generation, &adds);
    return adds;
}

/* Addresses asked about.  A place in the table is claimed once and for ever:
 *   key 0 free -> CLAIMED by the thread that fills it -> the address, published with release.
 * A reader that meets CLAIMED goes the slow way. */
#define CACHE_SIZE 256u /* addresses, a power of two: 16 KiB per pool; a full one is only slow */
#define CACHE_PROBES 8u
#define CLAIMED ((uintptr_t)1)

typedef struct cached {
    _Atomic(uintptr_t) key; /* A */
    auri_module_ref ref;    /* written by the claimer before key is published, then constant */
    aur_err known;          /* likewise: AUR_OK or AUR_ESTALE, see auri_modules_check() */
} cached;

typedef struct module {
    uintptr_t base;
    auri_module_ref id; /* without an offset */
} module;

struct auri_modules {
    cached cache[CACHE_SIZE];
    unsigned count; /* I */
    unsigned room;  /* I */
    module *list;   /* I: the modules of the moment */
};

static int add_module(struct dl_phdr_info *info, size_t size, void *ctx)
{
    auri_modules *modules = ctx;

    (void)size;
    if (modules->count == modules->room) {
        unsigned room = modules->room == 0 ? 32 : modules->room * 2;
        module *list = realloc(modules->list, room * sizeof(*list));
        if (list == NULL) {
            return 1;
        }
        modules->list = list;
        modules->room = room;
    }
    module *m = &modules->list[modules->count++];
    memset(m, 0, sizeof(*m));
    m->base = info->dlpi_addr;
    module_id(info, &m->id);
    return 0;
}

aur_err auri_modules_new(auri_modules **ret_modules)
{
    auri_modules *modules = calloc(1, sizeof(*modules));

    if (modules == NULL) {
        return AUR_ENOMEM;
    }
    if (dl_iterate_phdr(add_module, modules) != 0) {
        auri_modules_free(modules);
        return AUR_ENOMEM;
    }
    *ret_modules = modules;
    return AUR_OK;
}

auri_modules *auri_modules_free(auri_modules *modules)
{
    if (modules != NULL) {
        free(modules->list);
        free(modules);
    }
    return NULL;
}

/* A module that was unloaded and loaded again at the same place counts as the same only if it is
 * the same file, which is what a forked worker has there, too. */
static aur_err known_then(const auri_modules *modules, const place *p)
{
    for (unsigned i = 0; i < modules->count; i++) {
        if (modules->list[i].base == p->base && same_id(&modules->list[i].id, &p->ref)) {
            return AUR_OK;
        }
    }
    return AUR_ESTALE;
}

static unsigned cache_index(uintptr_t addr)
{
    return (unsigned)((addr >> 4) * 0x9e3779b97f4a7c15u >> 56) & (CACHE_SIZE - 1);
}

/* Puts what the slow way found where the next question finds it; no room: nothing happens. */
static void remember(auri_modules *modules, uintptr_t addr, const auri_module_ref *ref,
                     aur_err known)
{
    for (unsigned i = 0; i < CACHE_PROBES; i++) {
        cached *c = &modules->cache[(cache_index(addr) + i) & (CACHE_SIZE - 1)];
        uintptr_t key = 0;
        /* relaxed: the claim only keeps other writers away; [M1] publishes what is written here. */
        if (auri_cas_rlx(&c->key, &key, CLAIMED)) {
            c->ref = *ref;
            c->known = known;
            /* release [M1]; pairs with the acquire load [M2] in lookup(): whoever sees the address
             * sees ref and known, which never change again. */
            auri_store_rel(&c->key, addr);
            return;
        }
        if (key == addr) {
            return; /* another thread was faster */
        }
    }
}

/* What is known about addr: AUR_OK, or AUR_ENOFUNC.  Progress: wait-free when remembered. */
static aur_err lookup(auri_modules *modules, const void *addr, auri_module_ref *ret_ref,
                      aur_err *ret_known)
{
    uintptr_t key = (uintptr_t)addr;

    for (unsigned i = 0; i < CACHE_PROBES; i++) {
        const cached *c = &modules->cache[(cache_index(key) + i) & (CACHE_SIZE - 1)];
        /* acquire [M2]; pairs with the release store [M1] in remember(). */
        uintptr_t seen = auri_load_acq(&c->key);
        if (seen == key && key > CLAIMED) {
            *ret_ref = c->ref;
            *ret_known = c->known;
            return AUR_OK;
        }
        if (seen == 0) {
            break; /* it would be here: places are never given up */
        }
    }
    place p = { 0 };
    if (place_of(addr, &p) != AUR_OK) {
        return AUR_ENOFUNC;
    }
    *ret_ref = p.ref;
    *ret_known = known_then(modules, &p);
    remember(modules, key, ret_ref, *ret_known);
    return AUR_OK;
}

aur_err auri_modules_encode(auri_modules *modules, const void *addr, bool code,
                            auri_module_ref *ret_ref)
{
    auri_module_ref ref;
    aur_err known;

    if (lookup(modules, addr, &ref, &known) != AUR_OK || usable(&ref, code) != AUR_OK) {
        return AUR_ENOFUNC;
    }
    *ret_ref = ref;
    return AUR_OK;
}

aur_err auri_modules_check(auri_modules *modules, const void *addr, bool code)
{
    auri_module_ref ref;
    aur_err known;

    if (lookup(modules, addr, &ref, &known) != AUR_OK || usable(&ref, code) != AUR_OK) {
        return AUR_ENOFUNC;
    }
    return known;
}
