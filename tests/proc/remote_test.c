/* aurt: no-tsan */
/* A task in a worker process uses the parent's pools and futures; the parent is this test.
 * Guards: each request says what wire/ctl.h promises, outcomes arrive, references are given up, and a
 * wait that the parent refuses ends. */
#include "worker_rig.h"

#include "proc/remote.h"
#include "sched/run.h"
#include "sched/wait.h"

#define RESULT_BYTES (UINT64_C(16) << 20)

static int setup(void **state)
{
    rig *r = calloc(1, sizeof(*r));

    rig_init(r, RESULT_BYTES);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

/* These are only named here: the parent makes up what they return. */
static int add(int x, int y)
{
    return x + y;
}
AUR_FN(int, add, int, int);

static int failing(int code)
{
    return code;
}
AUR_FN(int, failing, int);

static int leave(int how)
{
    return how;
}
AUR_FN(int, leave, int);

static int64_t square(int64_t x)
{
    return x * x;
}
AUR_FN(int64_t, square, int64_t);

static int inline_int(const struct auri_comp_desc *comp)
{
    int value;

    assert_int_equal(AUR_OK, comp->err);
    assert_int_equal(sizeof(value), comp->out.size);
    memcpy(&value, comp->data, sizeof(value));
    return value;
}

/* ---- requests ----------------------------------------------------------------------------------- */

static aur_err submit(aur_pool *pool, const aur_fn *fn, const void *args, auri_task **ret_task)
{
    auri_task *task = auri_task_new(2);

    AURT_CHECK(task != NULL);
    task->pool = pool;
    AURT_CHECK(auri_task_fill(task, fn, args) == AUR_OK);
    auri_task_queue(task);
    aur_err err = pool->backend->submit(pool, task);
    if (err != AUR_OK) {
        auri_task_unref(task);
        auri_task_unref(task);
        return err;
    }
    *ret_task = task;
    return AUR_OK;
}

/* Two nested calls, a refused one, a wait that times out, a cancel, and a future by its number. */
static int nested(int x)
{
    aur_pool *pool = auri_remote_pool();
    auri_task *task = NULL;
    struct add_args args = { x, 1 };
    int result;

    AURT_CHECK(auri_worker_task_id() == 99);
    AURT_CHECK(pool != NULL && pool->workers == 2 && strcmp(pool->name, "rig") == 0);
    AURT_CHECK(submit(pool, &add_aur_fn, &args, &task) == AUR_OK);
    AURT_CHECK(!auri_task_is_done(task));
    AURT_CHECK(auri_wait_task(task, aur_deadline_in_ms(1)) == AUR_ETIMEDOUT);
    AURT_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(auri_task_is_done(task) && task->err == AUR_OK);
    memcpy(&result, auri_task_ret(task), sizeof(result));
    auri_task_unref(task);
    AURT_CHECK(submit(pool, &failing_aur_fn, &x, &task) == AUR_OK);
    AURT_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(task->err == AUR_ETASK && auri_task_error(task) != NULL);
    AURT_CHECK(auri_task_error(task)->code == 8);
    AURT_CHECK(strcmp(auri_task_error(task)->function, "failing") == 0);
    auri_task_unref(task);
    AURT_CHECK(submit(pool, &leave_aur_fn, &x, &task) == AUR_EBUSY);
    AURT_CHECK(submit(auri_remote_pool_for(
                          (aur_pool *)(uintptr_t)auri_worker_self()->ctl->setup.pool, NULL),
                      &square_aur_fn, &(int64_t){ 3 }, &task) == AUR_OK);
    AURT_CHECK(pool->backend->cancel(pool, task, true) == AUR_CANCEL_DROPPED);
    AURT_CHECK(auri_task_is_done(task) && task->err == AUR_ECANCELED);
    auri_task_unref(task);
    AURT_CHECK(auri_remote_future(4711, &task) == AUR_EINVAL);
    AURT_CHECK(auri_remote_future(42, &task) == AUR_OK);
    AURT_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_OK);
    AURT_CHECK(task->fn->ret_size == 5 && memcmp(auri_task_ret(task), "bytes", 5) == 0);
    auri_task_unref(task);
    return result;
}
AUR_FN(int, nested, int);

/* What the parent of these tests knows: future n is the n-th submit. */
static struct auri_reply reply_to(rig *r, const struct auri_request *request, uint64_t *ids,
                                  const aur_fn **fns)
{
    struct auri_reply reply = { 0 };
    const void *in = rig_at(r, &request->in, NULL);
    aur_error error = { .err = AUR_ETASK, .code = 8, .function = "x" };

    switch (request->op) {
    case AURI_REQ_SUBMIT:
        assert_true(request->pool == 0 && request->limits == 0 && request->fn_ref == 0);
        fns[++*ids] = (const aur_fn *)(uintptr_t)request->fn;
        assert_int_equal(fns[*ids]->args_size, request->in.size);
        if (fns[*ids] == &leave_aur_fn) {
            reply.err = AUR_EBUSY;
        }
        if (fns[*ids] == &add_aur_fn) {
            const struct add_args *args = in;
            memcpy(r->shared, &(int){ args->a1 + args->a2 }, sizeof(int));
        }
        reply.value = *ids;
        return reply;
    case AURI_REQ_WAIT:
    case AURI_REQ_POLL:
        if (request->id == 42) {
            reply.err = request->op == AURI_REQ_POLL ? AUR_ETIMEDOUT : AUR_OK;
            reply.out = rig_bytes(r, "bytes", 5, 0);
        } else if (request->id > *ids) {
            reply.err = AUR_EINVAL;
        } else if (fns[request->id] == &add_aur_fn) {
            reply.err = request->deadline != AUR_NO_DEADLINE ? AUR_ETIMEDOUT : AUR_OK;
            reply.out = rig_bytes(r, r->shared, sizeof(int), 0);
            while (reply.err == AUR_ETIMEDOUT && aurp_now_ns() < request->deadline) {
            }
        } else {
            bool square = fns[request->id] == &square_aur_fn;
            reply.task_failed = 1;
            reply.err = square ? AUR_ECANCELED : AUR_ETASK;
            if (!square) {
                reply.out = rig_bytes(r, &error, sizeof(error), 0);
            }
        }
        return reply;
    case AURI_REQ_CANCEL:
        reply.value = AUR_CANCEL_DROPPED;
        return reply;
    default:
        assert_int_equal(AURI_REQ_DROP, request->op);
        fns[request->id] = NULL;
        return reply;
    }
}

static void test_requests(void **state)
{
    rig *r = *state;
    const aur_fn *fns[16] = { NULL };
    uint64_t ids = 0;
    unsigned requests = 0;
    struct auri_comp_desc comp;
    struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &nested_aur_fn);
    int arg = 7;

    rig_inline(&desc, &arg, sizeof(arg));
    rig_start(r);
    uint64_t seq = rig_send(r, &desc);
    auri_ring_wake_at(r->ctl, seq);
    while (!auri_ring_take(r->ctl, seq, &comp)) {
        struct auri_request request;
        uint32_t number;
        while (auri_mail_take(r->ctl, r->mail, &number, &request)) {
            struct auri_reply reply = reply_to(r, &request, &ids, fns);
            r->mail = number;
            requests++;
            auri_mail_reply(r->ctl, number, &reply);
        }
        assert_true(rig_listen(r));
    }
    assert_int_equal(8, inline_int(&comp));
    assert_int_equal(4, ids);
    assert_int_equal(15, requests);
    for (unsigned i = 1; i <= ids;
         i++) { /* each reference was given up, but that of the refused one */
        assert_true(fns[i] == NULL || fns[i] == &leave_aur_fn);
    }
    assert_int_equal(0, rig_quit(r));
}

/* ---- maps of the parent's pool, and waits that never end ------------------------------------- */

#define NESTED_ITEMS 150u

/* A map, one with a failing item, a loop, and a wait that the parent calls a deadlock. */
static int nested_map(int all)
{
    aur_pool *pool = auri_remote_pool();
    int64_t in[NESTED_ITEMS];
    int64_t out[NESTED_ITEMS] = { 0 };
    aur_err errs[NESTED_ITEMS];
    struct auri_map map = { .fn = &square_aur_fn,
                            .args = in,
                            .out = out,
                            .item_errs = errs,
                            .n = NESTED_ITEMS,
                            .limits = &pool->limits,
                            .all_errors = all != 0 };

    for (unsigned i = 0; i < NESTED_ITEMS; i++) {
        in[i] = i == 100 ? -100 : (int)i;
        errs[i] = AUR_ECANCELED;
    }
    auri_task *task = auri_task_new(2);
    AURT_CHECK(task != NULL);
    task->pool = pool;
    auri_task_set_map(task, &map, NULL, NULL);
    auri_task_queue(task);
    AURT_CHECK(pool->backend->submit(pool, task) == AUR_OK);
    AURT_CHECK(auri_task_is_done(task) && task->err == AUR_ETASK);
    AURT_CHECK(auri_task_error(task)->item == 100);
    AURT_CHECK(auri_remote_id(task) == UINT64_MAX); /* it lives here only */
    auri_task_unref(task);
    for (unsigned i = 0; i < NESTED_ITEMS; i++) {
        bool ran = errs[i] == AUR_OK;
        AURT_CHECK(ran ? out[i] == (int64_t)i * i : out[i] == 0);
        AURT_CHECK(i == 100 ? errs[i] == AUR_ETASK : all || i < 100 ? ran : true);
    }
    AURT_CHECK(all || errs[NESTED_ITEMS - 1] == AUR_ECANCELED || errs[NESTED_ITEMS - 1] == AUR_OK);

    AURT_CHECK(auri_remote_future(4242, &task) == AUR_OK && auri_remote_id(task) == 4242);
    for (int twice = 0; twice < 2; twice++) {
        AURT_CHECK(auri_wait_task(task, AUR_NO_DEADLINE) == AUR_EDEADLK);
        AURT_CHECK(!auri_task_is_done(task));
        AURT_CHECK(strcmp(aur_last_error()->message, "in a circle") == 0);
    }
    auri_task_unref(task);
    return 1;
}
AUR_FN(int, nested_map, int);

static struct auri_reply map_reply(rig *r, const struct auri_request *request, int64_t *values,
                                   uint64_t *ids)
{
    struct auri_reply reply = { 0 };
    aur_error error = { .err = AUR_EDEADLK, .message = "in a circle" };

    r->args_used = 4096; /* each answer is good until the next request */
    if (request->op == AURI_REQ_SUBMIT) {
        assert_true(request->in.size == sizeof(int64_t));
        memcpy(&values[++*ids], rig_at(r, &request->in, NULL), sizeof(int64_t));
        reply.value = *ids;
    } else if (request->id == 4242) {
        reply.err = request->op == AURI_REQ_WAIT ? AUR_EDEADLK : AUR_ETIMEDOUT;
        if (request->op == AURI_REQ_WAIT) {
            reply.out = rig_bytes(r, &error, sizeof(error), 0);
        }
    } else if (request->op == AURI_REQ_WAIT) {
        int64_t value = values[request->id] * values[request->id];
        assert_true(request->id <= *ids && request->deadline == AUR_NO_DEADLINE);
        reply.out = rig_bytes(r, &value, sizeof(value), 0);
        if (values[request->id] < 0) {
            error = (aur_error){ .err = AUR_ETASK };
            reply.task_failed = 1;
            reply.err = AUR_ETASK;
            reply.out = rig_bytes(r, &error, sizeof(error), 0);
        }
    } else {
        assert_int_equal(AURI_REQ_DROP, request->op);
        values[0]++;
    }
    return reply;
}

static void test_nested_map(void **state)
{
    rig *r = *state;

    rig_start(r);
    for (int all = 0; all <= 1; all++) {
        int64_t values[NESTED_ITEMS + 1] = { 0 };
        uint64_t ids = 0;
        struct auri_comp_desc comp;
        struct auri_sub_desc desc = rig_desc(AURI_OP_CALL, &nested_map_aur_fn);
        rig_inline(&desc, &all, sizeof(all));
        uint64_t seq = rig_send(r, &desc);
        auri_ring_wake_at(r->ctl, seq);
        while (!auri_ring_take(r->ctl, seq, &comp)) {
            struct auri_request request;
            uint32_t number;
            while (auri_mail_take(r->ctl, r->mail, &number, &request)) {
                struct auri_reply reply = map_reply(r, &request, values, &ids);
                r->mail = number;
                auri_mail_reply(r->ctl, number, &reply);
            }
            assert_true(rig_listen(r));
        }
        assert_int_equal(1, inline_int(&comp));
        assert_true(all ? ids == NESTED_ITEMS : ids > 100);
        assert_int_equal(ids, values[0]); /* every reference was given up */
    }
    assert_int_equal(0, rig_quit(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nested_map, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
