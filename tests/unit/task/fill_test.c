/* Goal:   whatever a function takes and returns has its own aligned room, in the task as far as it fits; what
 *         few tasks have is found, and gone in the slot's next life.
 * Method: many sizes and alignments; each byte of both rooms is written, and the rest looked at after it.  One
 *         thread, so that the next task is the same slot.
 * Guards: src/task/task.c (auri_task_fill, sites, limits), the layout in src/task/task.h. */
#include "aurt.h"

#include <stdlib.h>
#include <string.h>

#include "task/pool.h"

static aur_pool pool = { .magic = AURI_POOL_MAGIC, .holds = 1, .refs = 1 };

static auri_task *task_made(void)
{
    auri_task *task = auri_task_new(1);

    AURT_CHECK(task != NULL);
    task->pool = &pool;
    return task;
}

static bool all_are(const unsigned char *at, size_t size, unsigned char value)
{
    size_t n = 0;

    while (n < size && at[n] == value) {
        n++;
    }
    return n == size;
}

static void check_fill(uint64_t args_size, uint32_t args_align, uint64_t ret_size,
                       uint32_t ret_align)
{
    aur_fn fn = { .args_size = args_size,
                  .args_align = args_align,
                  .ret_size = ret_size,
                  .ret_align = ret_align };
    auri_task *task = task_made();
    unsigned char args[256];
    const struct aur_future before = *task;

    memset(args, 'a', args_size);
    AURT_CHECK(auri_task_fill(task, &fn, args) == AUR_OK);
    unsigned char *at = auri_task_args(task);
    unsigned char *ret = auri_task_ret(task);
    AURT_CHECK((uintptr_t)at % args_align == 0 && (uintptr_t)ret % ret_align == 0);
    AURT_CHECK(all_are(at, args_size, 'a'));
    memset(ret, 'r', ret_size);
    AURT_CHECK(all_are(at, args_size, 'a'));
    memset(at, 'b', args_size);
    AURT_CHECK(all_are(ret, ret_size, 'r'));
    AURT_CHECK(at == auri_task_args(task) && ret == auri_task_ret(task));
    bool in_line_1 = auri_task_is_in_store(task, ret) &&
                     ret + ret_size > (unsigned char *)task + AURI_CACHE_LINE &&
                     ret + ret_size < (unsigned char *)task + sizeof(*task);
    AURT_CHECK(auri_task_tells(task) == (in_line_1 && (task->traits & AURI_T_RET_OUT) == 0));
    if (auri_task_tells(task)) {
        auri_store_rlx(&task->store.told, (uint8_t)0xee);
        AURT_CHECK(all_are(at, args_size, 'b') && all_are(ret, ret_size, 'r'));
        AURT_CHECK((task->traits & AURI_T_ARGS_MASK) != AURI_ARGS_OUT ||
                   task->store.args_out == (void *)at);
    }
    if (args_align <= 8 && ret_align <= 8 && args_size + ret_size <= AURI_INLINE_BYTES - 8) {
        AURT_CHECK(task->traits == 0 && auri_task_is_in_store(task, at));
        AURT_CHECK(ret_size == 0 || auri_task_is_in_store(task, ret + ret_size - 1));
    }
    AURT_CHECK(task->pool == before.pool && task->index == before.index && task->fn == &fn);
    AURT_CHECK(auri_load_rlx(&task->word) == auri_load_rlx(&before.word));
    AURT_CHECK(task->site == 0 && task->attempts == 0 && task->err == AUR_OK);
    task->fn = NULL; /* it ends before the task */
    auri_task_unref(task);
}

static void all_sizes_have_room(void **state)
{
    (void)state;
    for (uint32_t args_align = 1; args_align <= 64; args_align *= 2) {
        for (uint64_t args = args_align; args <= 96; args += args_align) {
            for (uint32_t ret_align = 1; ret_align <= 64; ret_align *= 2) {
                check_fill(args, args_align, 0, 1);
                for (uint64_t ret = ret_align; ret <= 96; ret += ret_align) {
                    check_fill(args, args_align, ret, ret_align);
                }
            }
        }
    }
}

/* The two that nearly every call has lie in the line that moves with it. */
static void small_ones_are_in_the_first_line(void **state)
{
    aur_fn fn = { .args_size = 4, .args_align = 4, .ret_size = 4, .ret_align = 4 };
    auri_task *task = task_made();

    (void)state;
    AURT_CHECK(auri_task_fill(task, &fn, &(int){ 7 }) == AUR_OK);
    assert_int_equal((uintptr_t)task % AURI_CACHE_LINE, 0);
    assert_true((char *)auri_task_args(task) + 4 <= (char *)task + AURI_CACHE_LINE);
    assert_true((char *)auri_task_ret(task) + 4 <= (char *)task + AURI_CACHE_LINE);
    auri_task_unref(task);
}

static void sites_are_found_near_and_far(void **state)
{
    static const aur_fn fn = { .args_size = 1, .args_align = 1, .ret_align = 1 };
    static const char near[] = "near.c:1";
    char far[] = "far.c:1"; /* the stack is far from any module */
    auri_task *task = task_made();

    (void)state;
    assert_null(auri_task_site(task));
    task->fn = &fn;
    auri_task_set_site(task, NULL);
    assert_null(auri_task_site(task));
    auri_task_set_site(task, near);
    assert_ptr_equal(auri_task_site(task), near);
    assert_int_equal(task->traits, 0);
    auri_task_unref(task);
    auri_task *again = task_made();
    assert_ptr_equal(again, task);
    assert_null(auri_task_site(again));
    again->fn = &fn;
    auri_task_set_site(again, far);
    assert_ptr_equal(auri_task_site(again), far);
    assert_int_equal(again->traits, AURI_T_SITE);
    auri_task_unref(again);
}

static void nothing_is_left_in_the_slot(void **state)
{
    struct auri_limits *limits = malloc(sizeof(*limits));
    struct auri_map map = { .n = 1 };
    auri_task *task = task_made();

    (void)state;
    assert_non_null(limits);
    limits->item_timeout_ns = 5;
    assert_ptr_equal(auri_task_limits(task), &pool.limits);
    auri_task_set_limits(task, limits);
    assert_ptr_equal(auri_task_limits(task), limits);
    assert_non_null(auri_task_fail(task, AUR_ETASK, "it failed"));
    assert_non_null(auri_task_error(task));
    auri_task_unref(task);
    auri_task *root = task_made();
    assert_ptr_equal(root, task);
    assert_ptr_equal(auri_task_limits(root), &pool.limits);
    assert_true(auri_task_error(root) == NULL && root->err == AUR_OK);
    static const struct auri_cold none;
    assert_memory_equal(auri_task_cold(root), &none, sizeof(none));
    assert_null(auri_task_map(root));
    auri_task_set_map(root, &map, "map.c:1", NULL);
    assert_ptr_equal(auri_task_map(root), &map);
    assert_string_equal(auri_task_site(root), "map.c:1");
    void *own = malloc(1);
    assert_non_null(own);
    auri_task_set_args_out(root, own); /* freed with it */
    assert_ptr_equal(auri_task_map(root), &map);
    auri_task_unref(root);
    task = task_made();
    assert_true(task == root && auri_task_map(task) == NULL);
    auri_task_unref(task);
}

static void byte_strings_lie_in_or_outside(void **state)
{
    char outside[] = "x";
    auri_task *task = task_made();

    (void)state;
    auri_task_set_bytes(task, NULL, AURI_LATE_BYTES);
    unsigned char *at = auri_task_args(task);
    assert_int_equal((uintptr_t)at % 16, 0);
    assert_true(auri_task_is_in_store(task, at + AURI_LATE_BYTES - 1));
    memset(at, 1, AURI_LATE_BYTES);
    assert_null(auri_task_ret(task));
    assert_int_equal(task->store.in_size, AURI_LATE_BYTES);
    auri_task_set_bytes(task, outside, 1000);
    assert_ptr_equal(auri_task_args(task), outside);
    assert_null(auri_task_ret(task));
    task->store.args_out = NULL;
    auri_task_unref(task);
}

static void codes_are_ours(void **state)
{
    static const aur_err foreign[] = { AUR_ERR_COUNT_, 256, 257, INT32_MAX, -1, INT32_MIN };
    auri_task *task = task_made();

    (void)state;
    for (aur_err err = AUR_OK; err < AUR_ERR_COUNT_; err++) {
        auri_task_set_err(task, err);
        assert_int_equal(task->err, err);
    }
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        auri_task_set_err(task, foreign[i]);
        assert_int_equal(task->err, AUR_ETASK);
    }
    auri_task_unref(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_sizes_have_room),
        cmocka_unit_test(small_ones_are_in_the_first_line),
        cmocka_unit_test(sites_are_found_near_and_far),
        cmocka_unit_test(nothing_is_left_in_the_slot),
        cmocka_unit_test(byte_strings_lie_in_or_outside),
        cmocka_unit_test(codes_are_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
