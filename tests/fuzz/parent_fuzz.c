/* What a hostile worker can do to its parent: the parent's real code (drain, deliver, judge, requests) on
 * a control segment and a result segment that a test case writes.
 *
 * A test case is a list of steps: calls of the parent (submit, map, cancel, take back, pump), sound
 * answers, and nonsense in any word of the two segments.  In the end the worker is dead and everything
 * is judged.  Whatever it wrote: the parent reads nothing outside of the segments, every call has one
 * outcome, nothing of the argument memory is lost, and no call hangs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* F_DUPFD_CLOEXEC */
#endif
#include "fuzz.h"

#include <auriga.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plat/shm.h"
#include "pool/face.h"
#include "proc/internal.h"

#define RESULT_BYTES 65536u
#define PAGE 4096u
#define FUTURES_MAX 24u
#define ITEMS_MAX 8u

/* ---- functions --------------------------------------------------------------------------------- */

struct block {
    uint64_t word[8];
};
struct large {
    uint64_t word[80];
};

static uint64_t small(uint64_t x)
{
    return x;
}
AUR_FN(uint64_t, small, uint64_t);

static struct block medium(uint64_t x)
{
    return (struct block){ { x } };
}
AUR_FN(struct block, medium, uint64_t);

static struct large big(uint64_t x)
{
    return (struct large){ { x } };
}
AUR_FN(struct large, big, uint64_t);

static void nothing(uint64_t x)
{
    (void)x;
}
AUR_FN_VOID(nothing, uint64_t);

static aur_err bytes(const void *in, size_t size, aur_out *out)
{
    (void)in;
    (void)size;
    (void)out;
    return AUR_OK;
}
AUR_BYTES_FN(bytes);

static void body(uint64_t lo, uint64_t hi, uint64_t *ctx)
{
    (void)lo;
    (void)hi;
    (void)ctx;
}
AUR_RANGE_FN(body, uint64_t);

/* ---- the parent, made once ---------------------------------------------------------------------- */

static struct auri_face face;
static struct auri_proc proc;
static struct auri_slot slot;
static int result_fd = -1;
static unsigned char *result; /* the result segment as the worker has it */
static uint64_t used_before;  /* of the argument memory */

static void make_parent(void)
{
    aur_pool *pool = &face.pool;
    int bell[2];

    pool->magic = AURI_POOL_MAGIC;
    pool->generation = auri_process_generation();
    pool->backend = &auri_backend_processes;
    pool->impl = &proc;
    pool->kind = AUR_PROCESSES;
    pool->workers = 1;
    snprintf(pool->name, sizeof(pool->name), "fuzz");
    pool->opts.name = pool->name;
    atomic_store(&pool->refs, 1);
    atomic_store(&pool->holds, 1);
    pthread_mutex_init(&face.buf_lock, NULL);

    proc.pool = pool;
    proc.slots_max = 1;
    proc.slots_end = 1;
    proc.cpus = 1;
    proc.slots = &slot;
    proc.kick = proc.epoll = -1;
    FUZZ_CHECK(aurp_bell_new(bell) == 0);
    proc.bell = bell[0];
    proc.rope = bell[1];
    pthread_mutex_init(&proc.lock, NULL);
    FUZZ_CHECK(auri_modules_new(&proc.modules) == AUR_OK);
    FUZZ_CHECK(auri_arena_new(1 << 22, "fuzz", 0, &proc.args, NULL) == AUR_OK);
    proc.args_base = auri_arena_at(proc.args, 0);
    proc.args_bytes = auri_arena_bytes(proc.args);

    void *base = NULL;
    FUZZ_CHECK(aurp_shm_new("fuzz", RESULT_BYTES, &result_fd) == 0);
    FUZZ_CHECK(aurp_shm_map(result_fd, RESULT_BYTES, AURP_MAP_WRITE, &base) == 0);
    result = base;
    used_before = auri_arena_used(proc.args);
}

/* Back to the first day; what was learned too, so that a test case does the same each time. */
static void reset_parent(uint8_t config)
{
    aur_pool *pool = &face.pool;

    pool->limits = (struct auri_limits){ .retries = config & 1,
                                         .retry_on = AUR_RETRY_WORKER | AUR_RETRY_ERROR,
                                         .item_timeout_ns = (config & 2) != 0 ? 1 : 0 };
    pool->opts.tasks_per_worker_max = (config & 4) != 0 ? 3 : 0;
    memset(proc.costs, 0, sizeof(proc.costs));
    memset(proc.suspects, 0, sizeof(proc.suspects));
    memset(result, 0, RESULT_BYTES);
    proc.deaths_in_row = 0;
    proc.nests = proc.attended = false;
}

/* ---- the worker, one for each test case ---------------------------------------------------------- */

static unsigned char *ctl_pages; /* with an unreadable page on either side */

static struct auri_segment *make_segment(void)
{
    struct auri_segment *segment = calloc(1, sizeof(*segment));

    FUZZ_CHECK(segment != NULL);
    segment->bytes = RESULT_BYTES;
    segment->fd = fcntl(result_fd, F_DUPFD_CLOEXEC, 0);
    FUZZ_CHECK(auri_window_open(segment->fd, RESULT_BYTES, 0, &segment->window) == AUR_OK);
    pthread_mutex_init(&segment->lock, NULL);
    atomic_store(&segment->refs, 1);
    return segment;
}

static struct auri_worker *make_worker(void)
{
    struct auri_worker *w = calloc(1, sizeof(*w));

    FUZZ_CHECK(w != NULL);
    w->proc = &proc;
    w->epoch = ++proc.epochs;
    w->state = AURI_W_LIVE;
    w->refs = 1;
    w->pid = 12345;
    w->pidfd = w->ctl_fd = -1;
    w->head = w->tail = 1;
    w->reply_extent = AURI_NO_EXTENT;
    w->wait_deadline = AUR_NO_DEADLINE;
    w->record = auri_record_take();
    w->segment = make_segment();
    ctl_pages =
        mmap(NULL, AURI_CTL_BYTES + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FUZZ_CHECK(w->record != NULL && ctl_pages != MAP_FAILED &&
               mprotect(ctl_pages + PAGE, AURI_CTL_BYTES, PROT_READ | PROT_WRITE) == 0);
    w->ctl = (struct auri_ctl *)(void *)(ctl_pages + PAGE);
    w->record->pool = proc.pool;
    w->record->worker = 0;
    atomic_store(&w->ctl->hello, 1);
    slot.worker = w;
    return w;
}

/* The process is gone, and its status is known. */
static void end_worker(struct auri_worker *w)
{
    struct auri_harvest h;

    AURI_HARVEST_INIT(&h);
    pthread_mutex_lock(&proc.lock);
    w->exited = true;
    w->status = SIGKILL;
    auri_worker_died(&proc, w, &h);
    pthread_mutex_unlock(&proc.lock);
    (void)auri_deliver(&proc, &h);
    FUZZ_CHECK(slot.worker == NULL && proc.flying == 0 && proc.busy == 0 && proc.dead == NULL);
    FUZZ_CHECK(proc.blocked == 0 && proc.firing == 0 && proc.armed_n == 0);
    auri_segment_unref(slot.warm);
    slot.warm = NULL;
    munmap(ctl_pages, PAGE);
    munmap(ctl_pages + PAGE + AURI_CTL_BYTES, PAGE);
}

/* ---- calls --------------------------------------------------------------------------------------- */

/* What the calls of a test case leave behind; the arrays of maps live as long as they do. */
struct call {
    aur_future *future;
    uint64_t in[ITEMS_MAX];
    aur_bytes bytes_in[ITEMS_MAX];
    aur_bytes bytes_out[ITEMS_MAX];
    struct block out[ITEMS_MAX];
    aur_err errs[ITEMS_MAX];
    size_t strings; /* entries of bytes_out */
};

static struct call calls[FUTURES_MAX];
static unsigned calls_n;

static void submit(fuzz_input *in, uint8_t kind)
{
    static const unsigned char text[64];
    aur_pool *pool = &face.pool;
    struct call *c = &calls[calls_n];
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    uint8_t n = fuzz_u8(in);
    size_t items = n % (ITEMS_MAX + 1);
    aur_err err;

    if (calls_n == FUTURES_MAX) {
        return;
    }
    memset(c, 0, sizeof(*c));
    opts.item_errs = c->errs;
    opts.flags = (n & 0x80) != 0 ? AUR_CALL_ALL_ERRORS : 0;
    switch (kind) {
    case 0:
        err = aur_apply_async(pool, &c->future, small, (uint64_t)n);
        break;
    case 1:
        err = aur_apply_async(pool, &c->future, medium, (uint64_t)n);
        break;
    case 2:
        err = aur_apply_async(pool, &c->future, big, (uint64_t)n);
        break;
    case 3:
        err = aur_apply_bytes(pool, &c->future, bytes, text, n % sizeof(text));
        break;
    case 4:
        err = aur_map_async_with(pool, &opts, &c->future, medium, c->in, items, c->out);
        break;
    case 5:
        err = aur_map_async_with(pool, &opts, &c->future, nothing, c->in, items, NULL);
        break;
    default:
        err = aur_apply_async(pool, &c->future, nothing, (uint64_t)n);
    }
    FUZZ_CHECK(err == AUR_OK);
    calls_n++;
}

/* Maps without a future of their own in the interface: the root, as src/pool/map.c makes it. */
static struct auri_map roots[FUTURES_MAX];

static void submit_root(fuzz_input *in, bool loop)
{
    struct call *c = &calls[calls_n];
    uint8_t n = fuzz_u8(in);
    uint64_t items = 1 + n % ITEMS_MAX;

    if (calls_n == FUTURES_MAX) {
        return;
    }
    memset(c, 0, sizeof(*c));
    for (uint64_t i = 0; i < items; i++) {
        c->bytes_in[i] = (aur_bytes){ c->in, i };
    }
    struct auri_map *map = &roots[calls_n];
    *map = (struct auri_map){ .fn = loop ? &body_aur_fn : &bytes_aur_fn,
                              .args = loop ? (void *)c->in : (void *)c->bytes_in,
                              .out = loop ? NULL : c->bytes_out,
                              .item_errs = c->errs,
                              .n = items,
                              .limits = &face.pool.limits,
                              .all_errors = (n & 0x80) != 0 };
    c->strings = loop ? 0 : items;
    auri_task *root = auri_task_new(2);
    FUZZ_CHECK(root != NULL);
    root->pool = &face.pool;
    auri_task_set_map(root, map, NULL, NULL);
    atomic_fetch_add(&face.pool.submitted, 1);
    auri_task_queue(root);
    FUZZ_CHECK(auri_engine_submit(&face.pool, root) == AUR_OK);
    c->future = root;
    calls_n++;
}

/* Every call has its outcome; the last users of their results go. */
static void end_calls(void)
{
    for (unsigned i = 0; i < calls_n; i++) {
        const void *data;
        size_t size;
        FUZZ_CHECK(aur_future_done(calls[i].future));
        if (roots[i].fn == NULL && auri_task_map(calls[i].future) == NULL &&
            aur_future_view(calls[i].future, &data, &size, 0) == AUR_OK && size != 0) {
            volatile unsigned char sum = 0;
            for (size_t k = 0; k < size; k++) { /* all of it can be read */
                sum = (unsigned char)(sum + ((const unsigned char *)data)[k]);
            }
        }
        (void)aur_future_error(calls[i].future);
        aur_bytes_free(calls[i].bytes_out, calls[i].strings);
        aur_future_unref(calls[i].future);
    }
    memset(roots, 0, sizeof(roots));
    calls_n = 0;
}

/* ---- what the worker writes ----------------------------------------------------------------------- */

static uint64_t some_seq(struct auri_worker *w, uint8_t k)
{
    uint64_t open = auri_unanswered(w);

    return w->head + (open != 0 ? k % open : 0);
}

static void answer_raw(struct auri_worker *w, fuzz_input *in)
{
    uint64_t seq = some_seq(w, fuzz_u8(in));
    struct auri_comp *comp = &w->ctl->comp[auri_ring_at(seq)];

    fuzz_read(in, comp, offsetof(struct auri_comp, seq));
    atomic_store(&comp->seq, seq);
}

/* As a sound worker would: so that what comes later is reached. */
static void answer_sound(struct auri_worker *w)
{
    struct auri_flight *flight = auri_flight_at(w, w->head);
    struct auri_comp *comp = &w->ctl->comp[auri_ring_at(w->head)];

    if (auri_unanswered(w) == 0) {
        return;
    }
    comp->op = flight->revoked ? AURI_COMP_SKIPPED : AURI_COMP_DONE;
    comp->err = AUR_OK;
    comp->out = auri_extent_make(AURI_SEG_INLINE, 0, 0);
    if (flight->task != NULL && flight->count != 0) {
        struct auri_chunk_end end = { .errs = auri_extent_make(AURI_SEG_RESULT, 0, 4096) };
        memset(result, 0, 4096);
        memcpy(comp->data, &end, sizeof(end));
        comp->out = auri_extent_make(AURI_SEG_RESULT, 8192, 8192);
    } else if (flight->task != NULL && !auri_task_is_bytes(flight->task)) {
        uint64_t size = flight->task->fn->ret_size;
        comp->out = auri_extent_make(size <= 32 ? AURI_SEG_INLINE : AURI_SEG_RESULT, 0, size);
    }
    atomic_store(&comp->seq, w->head);
}

static void write_progress(struct auri_worker *w, fuzz_input *in)
{
    uint64_t seq = some_seq(w, fuzz_u8(in));
    struct auri_progress *progress = &w->ctl->progress;

    atomic_store(&progress->item, fuzz_u8(in));
    atomic_store(&progress->start_ns, fuzz_u8(in));
    fuzz_read(in, &progress->out, 3 * sizeof(progress->out));
    atomic_store(&progress->seq, seq);
}

/* What a WAIT_ANY for two needs of them: so many words behind their numbers, small ones. */
static void write_formula(struct auri_mailbox *box, fuzz_input *in, unsigned char *to)
{
    uint8_t n = fuzz_u8(in);

    box->req_needs = (n & 0x80) != 0 ? box->req_needs : 2;
    box->req_unsure = (n & 0x40) != 0 ? box->req_unsure : 0;
    box->req_formula = n & 0x1f;
    for (uint32_t i = 0; i < box->req_formula; i++) {
        uint32_t word = fuzz_u8(in);
        memcpy(to + i * sizeof(word), &word, sizeof(word));
    }
}

static void request(struct auri_worker *w, fuzz_input *in)
{
    struct auri_mailbox *box = &w->ctl->mailbox;
    static const aur_fn *const fns[] = { &small_aur_fn, &big_aur_fn, &bytes_aur_fn, &body_aur_fn };
    uint8_t what = fuzz_u8(in);

    fuzz_read(in, &box->req_op, offsetof(struct auri_mailbox, rep_seq) - sizeof(box->req_seq));
    static const uint32_t ops[] = { AURI_REQ_SUBMIT, AURI_REQ_WAIT, AURI_REQ_POLL,
                                    AURI_REQ_CANCEL, AURI_REQ_DROP, AURI_REQ_WAIT_ANY };
    box->req_op = (what & 0x80) != 0 ? box->req_op : ops[what % 6u];
    if ((what & 0x40) == 0) { /* else what the test case says */
        box->req_pool = 0;
        box->req_fn_ref = 0;
        box->req_fn = (uint64_t)(uintptr_t)fns[(what >> 3) % 4];
        box->req_bytes = box->req_fn == (uint64_t)(uintptr_t)&bytes_aur_fn;
        box->req_in = auri_extent_make(AURI_SEG_RESULT, 64, 8);
        if (calls_n != 0 && box->req_op != AURI_REQ_SUBMIT) {
            box->req_id = aur_future_id(calls[box->req_id % calls_n].future);
        }
        if (calls_n != 0 && box->req_op == AURI_REQ_WAIT_ANY) {
            uint64_t ids[2] = { box->req_id, aur_future_id(calls[what % calls_n].future) };
            box->req_in = auri_extent_make(AURI_SEG_RESULT, 64, sizeof(ids));
            memcpy(result + 64, ids, sizeof(ids));
            write_formula(box, in, result + 64 + sizeof(ids));
        }
    }
    atomic_store(&box->req_seq, w->req_seen + 1);
}

static void scribble(fuzz_input *in, unsigned char *base, size_t bytes)
{
    size_t at = fuzz_u16(in) % bytes;
    size_t n = fuzz_u8(in);

    n = n < bytes - at ? n : bytes - at;
    fuzz_read(in, base + at, n < in->left ? n : in->left);
}

/* ---- the steps ------------------------------------------------------------------------------------ */

static void pump(struct auri_worker *w)
{
    struct auri_harvest h;
    struct auri_worker *held = w;

    for (int rounds = 0; rounds < 64; rounds++) {
        AURI_HARVEST_INIT(&h);
        pthread_mutex_lock(&proc.lock);
        auri_drain(&proc, &h);
        auri_request_look(&proc, held, &h);
        (void)auri_request_deadlines(&proc, aurp_now_ns());
        auri_dispatch(&proc);
        auri_relieve(&proc);
        bool any = h.n != 0 || h.parcel_n != 0 || h.asking_n != 0 || h.more;
        pthread_mutex_unlock(&proc.lock);
        (void)auri_deliver(&proc, &h);
        if (!any) {
            return;
        }
    }
    FUZZ_CHECK(!"the parent goes round for ever");
}

static void take_back(struct auri_worker *w, uint8_t k)
{
    pthread_mutex_lock(&proc.lock);
    (void)auri_revoke_from(&proc, w, some_seq(w, k));
    auri_dispatch(&proc);
    auri_listen(&proc);
    pthread_mutex_unlock(&proc.lock);
}

static void step(struct auri_worker *w, fuzz_input *in)
{
    uint8_t op = fuzz_u8(in) % 20;

    if (op < 7) {
        submit(in, op);
        return;
    }
    switch (op) {
    case 7:
    case 8:
        submit_root(in, op == 7);
        break;
    case 9:
    case 10:
        answer_raw(w, in);
        break;
    case 11:
        scribble(in, (unsigned char *)w->ctl, sizeof(struct auri_ctl));
        break;
    case 12:
        scribble(in, result, RESULT_BYTES);
        break;
    case 13: {
        uint64_t seq = some_seq(w, fuzz_u8(in));
        atomic_store(&w->ctl->sub[auri_ring_at(seq)].claim, auri_claim_word(seq, fuzz_u8(in) % 5));
        break;
    }
    case 14:
        write_progress(w, in);
        break;
    case 15:
        request(w, in);
        pump(w);
        break;
    case 16:
        take_back(w, fuzz_u8(in));
        break;
    case 17:
        if (calls_n != 0) {
            (void)aur_future_cancel(calls[fuzz_u8(in) % calls_n].future, NULL);
        }
        break;
    case 18:
        answer_sound(w);
        break;
    default:
        pump(w);
    }
}

/* A sound worker does what is left. */
static void finish(void)
{
    struct auri_worker *w = make_worker();

    for (int rounds = 0; proc.queue_first != NULL || auri_unanswered(w) != 0; rounds++) {
        FUZZ_CHECK(rounds < 1000);
        answer_sound(w);
        pump(w);
        if (w->state != AURI_W_LIVE &&
            auri_unanswered(w) == 0) { /* it has done its number of calls */
            end_worker(w);
            w = make_worker();
        }
    }
    end_worker(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };

    if (result == NULL) {
        make_parent();
    }
    reset_parent(fuzz_u8(&in));
    struct auri_worker *w = make_worker();
    while (in.left != 0) {
        step(w, &in);
    }
    end_worker(w);
    finish();
    end_calls();
    FUZZ_CHECK(proc.queue_first == NULL && proc.settled == NULL);
    FUZZ_CHECK(atomic_load(&face.pool.submitted) == atomic_load(&face.pool.finished));
    FUZZ_CHECK(auri_arena_used(proc.args) == used_before);
    FUZZ_CHECK(atomic_load(&face.pool.holds) == 1);
    return 0;
}
