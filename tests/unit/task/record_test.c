/* Goal:   a live thread's record is its own, an ended thread's is reused, ids stay what they are.
 * Method: rounds of threads that live at the same time, and one after the other.
 * Guards: src/task/record.c. */
#include "aurt.h"

#include <pthread.h>

#include "plat/plat.h"
#include "task/record.h"

#define THREADS 8

static aurt_barrier barrier = { .parties = THREADS };
static _Atomic(uint32_t) owner_of_id[1024];

static void *own_record(void *number)
{
    struct auri_record *self = auri_self();
    uint32_t mine = (uint32_t)(uintptr_t)number;
    uint32_t nobody = 0;

    AURT_CHECK(self != NULL && self->id != 0 && self->id < 1024);
    AURT_CHECK(auri_self() == self && auri_record_at(self->id) == self);
    AURT_CHECK(self->id < auri_record_end());
    AURT_CHECK(self->frame == NULL && self->pool == NULL && self->worker == -1 && self->in_use);
    AURT_CHECK((auri_load_rlx(&self->wait_seq) & 1) == 0);
    AURT_CHECK(auri_cas_acqrel(&owner_of_id[self->id], &nobody, mine));
    aurt_barrier_wait(&barrier); /* all alive: all different */
    auri_store_rel(&owner_of_id[self->id], 0u);
    return NULL;
}

static void alive_means_different(void **state)
{
    pthread_t threads[THREADS];
    unsigned end_after_first = 0;

    (void)state;
    for (int round = 0; round < 50; round++) {
        for (uintptr_t i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, own_record, (void *)(i + 1)), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], NULL);
        }
        end_after_first = round == 0 ? auri_record_end() : end_after_first;
    }
    assert_int_equal(auri_record_end(), end_after_first); /* reused, every time */
}

static void nodes_without_a_thread(void **state)
{
    struct auri_record *node = auri_record_take();

    (void)state;
    assert_non_null(node);
    assert_ptr_not_equal(node, auri_self());
    assert_ptr_equal(auri_record_at(node->id), node);
    auri_record_give(node);
    assert_ptr_equal(auri_record_take(), node);
    auri_record_give(node);
    assert_null(auri_record_at(0));
    assert_null(auri_record_at(65536));
    assert_null(auri_record_at(auri_record_end()));
}

static void release_and_adopt(void **state)
{
    struct auri_record *self = auri_self();

    (void)state;
    auri_self_release();
    assert_null(auri_self_);
    assert_ptr_equal(auri_self(), self);
    auri_self_release();
    auri_self_release(); /* twice is allowed */
}

/* A time that was read before the thread was counted off is no reason to think that it is long gone. */
static void leaving_while_one_looks(void **state)
{
    uint64_t before = aurp_now_ns();
    const uint64_t most = UINT64_C(3600000000000);

    (void)state;
    auri_own_threads_add(1);
    auri_own_threads_add(-1);
    assert_true(auri_own_threads_leaving(before, most));
    assert_true(auri_own_threads_leaving(aurp_now_ns(), most));
    assert_false(auri_own_threads_leaving(aurp_now_ns() + most, most));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_without_a_thread),
        cmocka_unit_test(release_and_adopt),
        cmocka_unit_test(alive_means_different),
        cmocka_unit_test(leaving_while_one_looks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
