/* Entries of any content in a worker: the worker's real code decodes and runs them.  What they say about
 * places, sizes and numbers is checked before it is used; each gets one answer that a parent believes,
 * and once the parent has given everything back, no byte of the result memory is in use.
 *
 * The function of an entry is a good one: under fork start its address is the parent's to know. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"

#include "proc/worker.c"

#include <sys/mman.h>

#define ARGS_BYTES 16384u
#define RESULT_BYTES (UINT64_C(1) << 26)

static uint64_t triple(uint64_t x)
{
    return x % 5 == 0 ? (uint64_t)aur_fail((int)x, "%llu", (unsigned long long)x) : x * 3;
}
AUR_FN(uint64_t, triple, uint64_t);

struct wide {
    alignas(32) uint64_t word[16];
};
static struct wide spread(struct wide x)
{
    x.word[15] = x.word[0];
    return x;
}
AUR_FN(struct wide, spread, struct wide);

static void nothing(unsigned char x)
{
    (void)x;
}
AUR_FN_VOID(nothing, unsigned char);

/* A result as long as the first byte says, of what the input is. */
static aur_err echo(const void *in, size_t size, aur_out *out)
{
    size_t length = size != 0 ? *(const unsigned char *)in : 0;

    if (length == 255) {
        return AUR_ETASK;
    }
    unsigned char *to = aur_out_alloc(out, length);
    if (to == NULL) {
        return AUR_ENOMEM;
    }
    memset(to, 7, length);
    for (size_t i = 0; i < length && i < size; i++) {
        to[i] = ((const unsigned char *)in)[i];
    }
    aur_out_truncate(out, length / 2);
    return AUR_OK;
}
AUR_BYTES_FN(echo);

static void count(uint64_t lo, uint64_t hi, uint64_t *ctx)
{
    *ctx += hi - lo;
}
AUR_RANGE_FN(count, uint64_t);

static struct auri_worker_self self;
static auri_window args;

static void make_worker(void)
{
    void *base = mmap(NULL, ARGS_BYTES + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    FUZZ_CHECK(base != MAP_FAILED); /* an unreadable page on either side */
    args = (auri_window){ (unsigned char *)base + 4096, ARGS_BYTES };
    FUZZ_CHECK(mprotect(args.base, ARGS_BYTES, PROT_READ | PROT_WRITE) == 0);
    self.args = &args;
    self.ctl = aligned_alloc(64, sizeof(*self.ctl));
    FUZZ_CHECK(self.ctl != NULL);
    memset(self.ctl, 0, sizeof(*self.ctl));
    FUZZ_CHECK(auri_arena_new(RESULT_BYTES, "fuzz", 0, &self.results, NULL) == AUR_OK);
    pthread_mutex_init(&self.alloc_lock, NULL);
    self.bell = -1;
    self.head = 1;
    FUZZ_CHECK(become_worker(&self) == AUR_OK);
}

/* ---- the parent's side of an answer ------------------------------------------------------------- */

static void give_back(struct auri_extent extent)
{
    if (extent.size != 0 && auri_extent_seg(extent) == AURI_SEG_RESULT) {
        FUZZ_CHECK(extent.size <= RESULT_BYTES &&
                   auri_extent_off(extent) <= RESULT_BYTES - extent.size);
        auri_arena_free(self.results, auri_extent_off(extent));
    }
}

static void take_chunk(const struct auri_sub_desc *desc, const aur_fn *fn,
                       const struct auri_comp_desc *comp)
{
    struct auri_chunk_end end;

    memcpy(&end, comp->data, sizeof(end));
    if (end.errs.size != 0) {
        const aur_err *errs = auri_arena_at(self.results, auri_extent_off(end.errs));
        FUZZ_CHECK(end.errs.size == desc->count * sizeof(aur_err));
        for (uint64_t i = 0; i < desc->count; i++) {
            FUZZ_CHECK(errs[i] >= AUR_OK && errs[i] < AUR_ERR_COUNT_);
        }
    } else {
        FUZZ_CHECK(comp->err != AUR_OK);
    }
    if (desc->op == AURI_OP_MAPB && comp->out.size != 0) {
        const struct auri_extent *strings = auri_arena_at(self.results, auri_extent_off(comp->out));
        for (uint64_t i = 0; i < desc->count; i++) {
            give_back(strings[i]);
        }
    }
    FUZZ_CHECK(comp->out.size == 0 || desc->op != AURI_OP_MAP ||
               comp->out.size == desc->count * fn->ret_size);
    give_back(comp->out);
    give_back(end.errs);
    give_back(end.error);
}

/* ---- an entry ----------------------------------------------------------------------------------- */

static const struct {
    const aur_fn *fn;
    uint32_t ops[3];
} kinds[] = {
    { &triple_aur_fn, { AURI_OP_CALL, AURI_OP_MAP, AURI_OP_MAP } },
    { &spread_aur_fn, { AURI_OP_CALL, AURI_OP_MAP, AURI_OP_MAP } },
    { &nothing_aur_fn, { AURI_OP_CALL, AURI_OP_MAP, AURI_OP_MAP } },
    { &echo_aur_fn, { AURI_OP_BYTES, AURI_OP_MAPB, AURI_OP_MAPB } },
    { &count_aur_fn, { AURI_OP_FOR, AURI_OP_FOR, AURI_OP_FOR } },
};

static bool is_map(uint32_t op)
{
    return op == AURI_OP_MAP || op == AURI_OP_FOR || op == AURI_OP_MAPB;
}

static void entry(fuzz_input *in)
{
    struct auri_sub_desc desc;
    struct auri_comp_desc comp;
    uint8_t what = fuzz_u8(in);
    uint8_t shape = fuzz_u8(in);

    fuzz_read(in, &desc, sizeof(desc));
    desc.op = (shape & 1) != 0 ? kinds[what % 5].ops[what % 3] : desc.op % 8;
    desc.fn = (uint64_t)(uintptr_t)kinds[what % 5].fn;
    /* An operation of another kind of function is the parent's mistake, and not looked at here. */
    if (desc.op != 0 && desc.op < AURI_OP_QUIT && desc.op != kinds[what % 5].ops[0] &&
        desc.op != kinds[what % 5].ops[1]) {
        return;
    }
    if ((shape & 2) != 0) { /* nearly right */
        desc.fn_ref = 0;
        desc.count = desc.count % 64;
        desc.args = auri_extent_make(AURI_SEG_ARGS, auri_extent_off(desc.args) % (ARGS_BYTES + 64),
                                     desc.args.size % 8192);
    }
    if (desc.count > 100000 && desc.op == AURI_OP_FOR) {
        desc.count = 100000; /* a loop may be long; a test case may not */
    }
    if ((shape & 4) == 0) {
        desc.timeout_ns = 0;
    }
    memset(&comp, 0, sizeof(comp));
    comp.op = AURI_COMP_DONE;
    auri_entry_run(&self, &desc, &comp);
    FUZZ_CHECK(comp.err >= AUR_OK && comp.err < AUR_ERR_COUNT_);
    if (is_map(desc.op)) {
        take_chunk(&desc, kinds[what % 5].fn, &comp);
        return;
    }
    FUZZ_CHECK(comp.err != AUR_OK || desc.op == AURI_OP_BYTES ||
               comp.out.size == kinds[what % 5].fn->ret_size);
    FUZZ_CHECK(auri_extent_seg(comp.out) != AURI_SEG_INLINE || comp.out.size <= AURI_COMP_INLINE);
    give_back(comp.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };

    if (self.ctl == NULL) {
        make_worker();
    }
    memset(args.base, 0, ARGS_BYTES);
    for (uint8_t n = fuzz_u8(&in) % 8; n > 0 && in.left != 0; n--) {
        size_t at = fuzz_u16(&in) % ARGS_BYTES;
        size_t bytes = fuzz_u8(&in);
        fuzz_read(&in, args.base + at, bytes < ARGS_BYTES - at ? bytes : ARGS_BYTES - at);
    }
    for (int n = 0; n < 8 && in.left != 0; n++) {
        entry(&in);
    }
    FUZZ_CHECK(auri_arena_used(self.results) == 0);
    return 0;
}
