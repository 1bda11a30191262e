/* Goal:    the explorer itself: for small programs whose possible outcomes in C11 are known, it finds
 *          all that it claims to cover and nothing else.
 * Method:  each outcome is a number made of what the loads returned; the set must be exactly as given.
 *          Run with --plain the reduction is off, and the sets must be the same. */
#include "base/atomic.h"
#include "model.h"

static _Atomic(uint32_t) x, y;
static uint32_t plain;
static uint32_t r[4];

static void clear(void)
{
    auri_store_rlx(&x, 0u);
    auri_store_rlx(&y, 0u);
}

static void outcome2(void)
{
    model_outcome(r[0] * 2 + r[1]);
}

/* ---- store buffering --------------------------------------------------------------------------- */

static void sb_rel_0(void)
{
    auri_store_rel(&x, 1u);
    r[0] = auri_load_acq(&y);
}
static void sb_rel_1(void)
{
    auri_store_rel(&y, 1u);
    r[1] = auri_load_acq(&x);
}
static void sb_fence_0(void)
{
    auri_store_rlx(&x, 1u);
    auri_fence_sc();
    r[0] = auri_load_rlx(&y);
}
static void sb_fence_1(void)
{
    auri_store_rlx(&y, 1u);
    auri_fence_sc();
    r[1] = auri_load_rlx(&x);
}
static void sb_sc_0(void)
{
    auri_store_sc(&x, 1u);
    r[0] = auri_load_sc(&y);
}
static void sb_sc_1(void)
{
    auri_store_sc(&y, 1u);
    r[1] = auri_load_sc(&x);
}
/* A seq_cst store is no fence for a relaxed load behind it. */
static void sb_half_0(void)
{
    auri_store_sc(&x, 1u);
    r[0] = auri_load_rlx(&y);
}

/* ---- message passing --------------------------------------------------------------------------- */

static void mp_send(void)
{
    auri_store_rlx(&x, 1u);
    auri_store_rel(&y, 1u);
}
static void mp_send_rlx(void)
{
    auri_store_rlx(&x, 1u);
    auri_store_rlx(&y, 1u);
}
static void mp_receive(void)
{
    r[0] = auri_load_acq(&y);
    r[1] = auri_load_rlx(&x);
}
static void mp_receive_fence(void)
{
    r[0] = auri_load_rlx(&y);
    auri_fence_acq();
    r[1] = auri_load_rlx(&x);
}
static void mp_receive_rlx(void)
{
    r[0] = auri_load_rlx(&y);
    r[1] = auri_load_rlx(&x);
}
/* A read-modify-write of another thread continues the release sequence; a store does not. */
static void mp_pass_on(void)
{
    uint32_t one = 1;
    (void)auri_cas_rlx(&y, &one, 2u);
}
static void mp_receive_2(void)
{
    r[0] = auri_load_acq(&y);
    r[1] = auri_load_rlx(&x);
    r[0] = r[0] == 2;
}
static void mp_plain_send(void)
{
    plain = 1;
    auri_store_rel(&y, 1u);
}
static void mp_plain_receive(void)
{
    if (auri_load_acq(&y) == 1) {
        MODEL_CHECK(plain == 1);
    }
}
static void mp_plain_receive_rlx(void)
{
    if (auri_load_rlx(&y) == 1) {
        MODEL_CHECK(plain == 1);
    }
}
static void mp_plain_send_late(void)
{
    auri_store_rel(&y, 1u);
    plain = 1;
}

/* ---- coherence, and four threads ---------------------------------------------------------------- */

static void write_x12(void)
{
    auri_store_rlx(&x, 1u);
    auri_store_rlx(&x, 2u);
}
static void read_xx(void)
{
    r[0] = auri_load_rlx(&x);
    r[1] = auri_load_rlx(&x);
}
static void outcome3(void)
{
    model_outcome(r[0] * 3 + r[1]);
}
static void write_x(void)
{
    auri_store_rel(&x, 1u);
}
static void write_y(void)
{
    auri_store_rel(&y, 1u);
}
static void write_x_sc(void)
{
    auri_store_sc(&x, 1u);
}
static void write_y_sc(void)
{
    auri_store_sc(&y, 1u);
}
static void iriw_xy(void)
{
    r[0] = auri_load_acq(&x);
    r[1] = auri_load_acq(&y);
}
static void iriw_yx(void)
{
    r[2] = auri_load_acq(&y);
    r[3] = auri_load_acq(&x);
}
static void iriw_xy_sc(void)
{
    r[0] = auri_load_sc(&x);
    r[1] = auri_load_sc(&y);
}
static void iriw_yx_sc(void)
{
    r[2] = auri_load_sc(&y);
    r[3] = auri_load_sc(&x);
}
static void iriw_xy_fence(void)
{
    r[0] = auri_load_rlx(&x);
    auri_fence_sc();
    r[1] = auri_load_rlx(&y);
}
static void iriw_yx_fence(void)
{
    r[2] = auri_load_rlx(&y);
    auri_fence_sc();
    r[3] = auri_load_rlx(&x);
}
static void outcome4(void)
{
    model_outcome(r[0] * 8 + r[1] * 4 + r[2] * 2 + r[3]);
}
/* Load buffering is not covered: README.md. */
static void lb_0(void)
{
    r[0] = auri_load_rlx(&x);
    auri_store_rlx(&y, 1u);
}
static void lb_1(void)
{
    r[1] = auri_load_rlx(&y);
    auri_store_rlx(&x, 1u);
}
static void add_one(void)
{
    r[model_self()] = auri_add_rlx(&x, 1u);
}
static void write_once(void)
{
    plain++;
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define TWO(n, a, b, end, set)                                                                     \
    {                                                                                              \
        .name = n, .setup = clear, .body = { a, b }, .check = end, .quick = ALL, .full = ALL,      \
        .outcomes = set                                                                            \
    }
#define THREE(n, a, b, c, end, set)                                                                \
    {                                                                                              \
        .name = n, .setup = clear, .body = { a, b, c }, .check = end, .quick = ALL, .full = ALL,   \
        .outcomes = set                                                                            \
    }
#define FOUR(n, a, b, c, d, end, set)                                                              \
    {                                                                                              \
        .name = n, .setup = clear, .body = { a, b, c, d }, .check = end, .quick = ALL,             \
        .full = ALL, .outcomes = set                                                               \
    }
#define RACE(n, a, b)                                                                              \
    {                                                                                              \
        .name = n, .setup = clear, .body = { a, b }, .quick = ALL, .full = ALL,                    \
        .must_fail = "data race"                                                                   \
    }

static const struct model_client clients[] = {
    TWO("sb/release-acquire", sb_rel_0, sb_rel_1, outcome2, 0xf),
    TWO("sb/fences", sb_fence_0, sb_fence_1, outcome2, 0xe),
    TWO("sb/one-fence", sb_fence_0, sb_rel_1, outcome2, 0xf),
    TWO("sb/seq_cst", sb_sc_0, sb_sc_1, outcome2, 0xe),
    TWO("sb/seq_cst-and-fence", sb_sc_0, sb_fence_1, outcome2, 0xe),
    TWO("sb/seq_cst-store-only", sb_half_0, sb_fence_1, outcome2, 0xf),
    TWO("mp/release-acquire", mp_send, mp_receive, outcome2, 0xb),
    TWO("mp/release-fence", mp_send, mp_receive_fence, outcome2, 0xb),
    TWO("mp/release-relaxed", mp_send, mp_receive_rlx, outcome2, 0xf),
    TWO("mp/relaxed-acquire", mp_send_rlx, mp_receive, outcome2, 0xf),
    THREE("mp/release-sequence", mp_send, mp_pass_on, mp_receive_2, outcome2, 0xb),
    TWO("mp/plain", mp_plain_send, mp_plain_receive, NULL, 0),
    RACE("mp/plain-relaxed", mp_plain_send, mp_plain_receive_rlx),
    RACE("mp/plain-late", mp_plain_send_late, mp_plain_receive),
    RACE("race/write-write", write_once, write_once),
    TWO("coherence/read-read", write_x12, read_xx, outcome3, 0x137),
    FOUR("iriw/release-acquire", write_x, write_y, iriw_xy, iriw_yx, outcome4, 0xffff),
    FOUR("iriw/seq_cst", write_x_sc, write_y_sc, iriw_xy_sc, iriw_yx_sc, outcome4, 0xfbff),
    FOUR("iriw/fences", write_x, write_y, iriw_xy_fence, iriw_yx_fence, outcome4, 0xfbff),
    TWO("lb/relaxed", lb_0, lb_1, outcome2, 0x7),
    TWO("rmw/two-adds", add_one, add_one, outcome2, 0x6),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
