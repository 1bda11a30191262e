/* Goal:    a worker process may be killed before any step of the wire protocol, and all the same each
 *          entry is accounted for, at most one is lost, nothing runs twice, and nobody waits for ever.
 * Method:  parent and worker are two threads over one control segment, with the real steps of
 *          wire/ring.h; the worker can be killed anywhere.  The parent sleeps on an event that stands
 *          for its eventfd and the worker's pidfd.  What a task does is a plain write.
 * Guards:  [C1] [C2] [C3] [C4] [C6] [C7] [C9] [C10] in src/wire/ring.h. */
#include "model.h"
#include "wire/ring.h"

#define PARENT 0
#define WORKER 1
#define BELL 0
#define ENTRIES_MAX 3u

static struct auri_ctl ctl;
static unsigned entries = 2;
static uint64_t seq_of[ENTRIES_MAX] = { 1, 2, 3 };
static unsigned ran[ENTRIES_MAX];    /* by the worker */
static uint64_t result[ENTRIES_MAX]; /* stands for the result segment */
static bool revoked[ENTRIES_MAX];    /* by the parent */
enum fate { OPEN = 0, ANSWERED, AGAIN, DROPPED, LOST };
static enum fate fate[ENTRIES_MAX];

static void setup(void)
{
    model_name(&ctl.wake_at, "wake_at");
    model_name(&ctl.sleeping, "sleeping");
    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        static const char *const claims[] = { "sub[1].claim", "sub[2].claim", "sub[3].claim" };
        static const char *const seqs[] = { "comp[1].seq", "comp[2].seq", "comp[3].seq" };
        model_name(&ctl.sub[auri_ring_at(seq_of[i])].claim, claims[i]);
        model_name(&ctl.comp[auri_ring_at(seq_of[i])].seq, seqs[i]);
    }
}

static void setup_one(void)
{
    entries = 1;
    setup();
}

static void setup_three(void)
{
    entries = 3;
    setup();
}

/* The second entry reuses the first one's place. */
static void setup_reuse(void)
{
    seq_of[1] = 1 + AURI_RING;
    setup();
}

/* ---- the worker ---------------------------------------------------------------------------------- */

static void run_entry(unsigned i, struct auri_comp_desc *comp)
{
    ran[i]++;
    result[i] = 100 + i;
    *comp = (struct auri_comp_desc){ .op = AURI_COMP_DONE };
    comp->data[0] = (unsigned char)(1 + i);
}

static void worker(void)
{
    uint64_t rung = 0;

    for (unsigned i = 0; i < entries; i++) {
        struct auri_sub_desc desc;
        struct auri_comp_desc comp = { .op = AURI_COMP_SKIPPED };
        while (!auri_ring_next(&ctl, seq_of[i], &desc)) {
            auri_ring_park(&ctl, seq_of[i]);
        }
        MODEL_CHECK(desc.task_id == 10 + i);
        if (auri_ring_claim(&ctl, seq_of[i])) {
            run_entry(i, &comp);
        }
        if (auri_ring_answer(&ctl, seq_of[i], &comp, &rung)) {
            model_event_signal(BELL);
        }
    }
}

/* ---- the parent ---------------------------------------------------------------------------------- */

static void put(unsigned i)
{
    struct auri_sub_desc desc = { .op = AURI_OP_CALL, .task_id = 10 + i };

    auri_ring_put(&ctl, seq_of[i], &desc);
}

static bool take(unsigned i)
{
    struct auri_comp_desc comp;

    if (!auri_ring_take(&ctl, seq_of[i], &comp)) {
        return false;
    }
    MODEL_CHECK(auri_ring_plausible(&comp, revoked[i]));
    fate[i] = revoked[i] ? DROPPED : ANSWERED;
    if (!revoked[i]) {
        MODEL_CHECK(comp.data[0] == 1 + i && result[i] == 100 + i);
    }
    return true;
}

/* Takes answers from `from` up to `end`; the first that is missing. */
static unsigned drain(unsigned from, unsigned end)
{
    while (from < end && take(from)) {
        from++;
    }
    return from;
}

static void judge(unsigned from, unsigned end)
{
    for (unsigned i = drain(from, end); i < end; i++) {
        switch (auri_ring_judge(&ctl, seq_of[i], revoked[i])) {
        case AURI_VERDICT_REQUEUE:
            fate[i] = AGAIN;
            break;
        case AURI_VERDICT_DROPPED:
            fate[i] = DROPPED;
            break;
        case AURI_VERDICT_LOST:
            fate[i] = LOST;
            break;
        }
    }
}

/* Sleeps until entry end - 1 is answered, as proc/leader.c does.  False: the worker is dead. */
static bool await(unsigned from, unsigned end)
{
    for (;;) {
        from = drain(from, end);
        if (from == end) {
            auri_store_rlx(&ctl.wake_at, UINT64_C(0));
            return true;
        }
        auri_ring_wake_at(&ctl, seq_of[end - 1]);
        from = drain(from, end);
        if (from < end && !model_event_wait(BELL, WORKER)) {
            judge(from, end);
            return false;
        }
    }
}

static void parent_all_at_once(void)
{
    for (unsigned i = 0; i < entries; i++) {
        put(i);
    }
    (void)auri_ring_wake(&ctl);
    (void)await(0, entries);
    model_await_end(WORKER);
}

/* Never more than one entry unanswered. */
static void parent_one_by_one(void)
{
    for (unsigned i = 0; i < entries; i++) {
        put(i);
        (void)auri_ring_wake(&ctl);
        if (!await(i, i + 1)) {
            for (unsigned left = i + 1; left < entries; left++) {
                fate[left] = AGAIN; /* was never sent */
            }
            break;
        }
    }
    model_await_end(WORKER);
}

/* Sends two, and takes the second one back before it waits. */
static void parent_revokes(void)
{
    put(0);
    put(1);
    (void)auri_ring_wake(&ctl);
    revoked[1] = auri_ring_revoke(&ctl, seq_of[1]);
    (void)await(0, entries);
    model_await_end(WORKER);
}

/* Polls only: the answers are found without any bell. */
static void parent_judges_the_dead(void)
{
    for (unsigned i = 0; i < entries; i++) {
        put(i);
    }
    (void)auri_ring_wake(&ctl);
    model_await_end(WORKER);
    judge(0, entries);
}

static void check(void)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < entries; i++) {
        MODEL_CHECK(fate[i] != OPEN);
        MODEL_CHECK(ran[i] <= 1);
        MODEL_CHECK(fate[i] != ANSWERED || ran[i] == 1);
        MODEL_CHECK((fate[i] != AGAIN && fate[i] != DROPPED) || ran[i] == 0);
        lost += fate[i] == LOST;
    }
    MODEL_CHECK(lost <= model_was_killed(WORKER));
}

/* ---- extents given back ----------------------------------------------------------------------------- */

static uint32_t put_so_far, taken_so_far;

static void setup_free(void)
{
    model_name(&ctl.free_tail, "free_tail");
    model_name(&ctl.free_head, "free_head");
}

static void setup_free_full(void)
{
    setup_free();
    while (auri_free_put(&ctl, put_so_far, 64 * (put_so_far + 1))) {
        put_so_far++;
    }
}

static void give_back_two(void)
{
    for (unsigned tries = 0; tries < 3; tries++) {
        if (auri_free_put(&ctl, put_so_far, 64 * (put_so_far + 1))) {
            put_so_far++;
        }
    }
}

static void take_back(void)
{
    for (unsigned tries = 0; tries < 3; tries++) {
        uint64_t offset = 0;
        if (auri_free_take(&ctl, taken_so_far, &offset)) {
            taken_so_far++;
            MODEL_CHECK(offset == 64 * (uint64_t)taken_so_far);
        }
    }
}

static void check_free(void)
{
    uint64_t offset = 0;

    while (auri_free_take(&ctl, taken_so_far, &offset)) {
        taken_so_far++;
        MODEL_CHECK(offset == 64 * (uint64_t)taken_so_far);
    }
    MODEL_CHECK(taken_so_far == put_so_far);
}

/* ---- requests ---------------------------------------------------------------------------------------- */

static unsigned answered;

static void asking_worker(void)
{
    struct auri_reply reply;

    for (uint32_t seq = 1; seq <= 2; seq++) {
        struct auri_request request = { .op = AURI_REQ_POLL, .id = seq };
        auri_mail_send(&ctl, seq, &request);
        model_event_signal(BELL);
        auri_mail_wait(&ctl, seq, &reply);
        MODEL_CHECK(reply.value == 7 * seq);
    }
}

static void answering_parent(void)
{
    uint32_t seen = 0;

    while (model_event_wait(BELL, WORKER)) {
        struct auri_request request;
        while (auri_mail_take(&ctl, seen, &seen, &request)) {
            MODEL_CHECK(request.op == AURI_REQ_POLL && request.id == seen);
            answered++;
            auri_mail_reply(&ctl, seen, &(struct auri_reply){ .value = 7 * seen });
        }
    }
}

static void check_mail(void)
{
    MODEL_CHECK(answered == 2 || model_was_killed(WORKER));
}

/* ---- a chunk ------------------------------------------------------------------------------------------ */

#define ITEMS 3u
static unsigned items[ITEMS];
static uint64_t items_done;

static void chunk_worker(void)
{
    struct auri_extent none = auri_extent_make(0, 0, 0);
    struct auri_extent out = auri_extent_make(AURI_SEG_RESULT, 64, 24);

    auri_progress_begin(&ctl, 1, out, none);
    for (unsigned i = 0; i < ITEMS; i++) {
        items[i] = 1 + i;
        auri_progress_item(&ctl, i + 1);
    }
}

/* What the dead worker says it has done is done. */
static void chunk_parent(void)
{
    struct auri_progress_copy copy = { 0 };

    model_await_end(WORKER);
    if (auri_progress_read(&ctl, 1, &copy)) {
        MODEL_CHECK(copy.out.size == 24);
        items_done = copy.item;
        for (uint64_t i = 0; i < copy.item; i++) {
            MODEL_CHECK(items[i] == 1 + i);
        }
        for (uint64_t i = copy.item + 1; i < ITEMS; i++) {
            MODEL_CHECK(items[i] == 0);
        }
    }
}

/* Of a live one too: item by item. */
static void chunk_watcher(void)
{
    if (auri_load_acq(&ctl.progress.seq) == 1) {
        uint64_t done = auri_load_acq(&ctl.progress.item);
        struct auri_extent out;
        auri_copy_once(&out, &ctl.progress.out, sizeof(out));
        MODEL_CHECK(out.size == 24);
        for (uint64_t i = 0; i < done; i++) {
            MODEL_CHECK(items[i] == 1 + i);
        }
    }
}

#define ALL                                                                                        \
    {                                                                                              \
        .search = MODEL_DPOR                                                                       \
    }
#define CLIENT(n, begin, end, kill, ...)                                                           \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end, .killable = (kill),      \
        .quick = ALL, .full = ALL                                                                  \
    }
#define BY_CHANCE(n, begin, end, kill, ...)                                                        \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end, .killable = (kill),      \
        .quick = { .search = MODEL_PCT, .depth = 4, .runs = 40000 }, .full = {                     \
            .search = MODEL_PCT,                                                                   \
            .depth = 5,                                                                            \
            .runs = 1000000                                                                        \
        }                                                                                          \
    }
#define LARGE(n, begin, end, kill, ...)                                                            \
    {                                                                                              \
        .name = n, .setup = begin, .body = { __VA_ARGS__ }, .check = end, .killable = (kill),      \
        .quick = { .search = MODEL_PCT, .depth = 4, .runs = 40000 }, .full = ALL                   \
    }
#define KILL (1u << WORKER)

static const struct model_client clients[] = {
    CLIENT("wire/one-entry", setup_one, check, 0, parent_all_at_once, worker),
    CLIENT("wire/one-entry-killed", setup_one, check, KILL, parent_all_at_once, worker),
    CLIENT("wire/judge-killed", setup, check, KILL, parent_judges_the_dead, worker),
    CLIENT("wire/free-ring", setup_free, check_free, 0, give_back_two, take_back),
    CLIENT("wire/free-ring-full", setup_free_full, check_free, 0, give_back_two, take_back),
    CLIENT("wire/mailbox", NULL, check_mail, 0, answering_parent, asking_worker),
    CLIENT("wire/mailbox-killed", NULL, check_mail, KILL, answering_parent, asking_worker),
    CLIENT("wire/chunk-killed", NULL, NULL, KILL, chunk_parent, chunk_worker),
    CLIENT("wire/chunk-watched", NULL, NULL, 0, chunk_watcher, chunk_worker),
    CLIENT("wire/two-entries", setup, check, 0, parent_all_at_once, worker),
    CLIENT("wire/two-entries-killed", setup, check, KILL, parent_all_at_once, worker),
    BY_CHANCE("wire/reuse", setup_reuse, check, 0, parent_one_by_one, worker),
    BY_CHANCE("wire/reuse-killed", setup_reuse, check, KILL, parent_one_by_one, worker),
    CLIENT("wire/revoke", setup, check, 0, parent_revokes, worker),
    LARGE("wire/revoke-killed", setup, check, KILL, parent_revokes, worker),
    BY_CHANCE("wire/three-entries-killed", setup_three, check, KILL, parent_all_at_once, worker),
};

int main(int argc, char **argv)
{
    return model_main(argc, argv, clients, sizeof(clients) / sizeof(clients[0]));
}
