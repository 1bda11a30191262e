/* deadlock_mutual_processes.c: two tasks that wait for each other, in two worker processes.
 *
 * Processes share no variables, so the tasks learn about each other's futures by their numbers:
 * main writes aur_future_id() into a shared buffer, and a task turns a number back into a future by
 * aur_future_open().  The buffer is AUR_BUF_INOUT, since the tasks write to it too: it holds the
 * barrier at which they wait until both numbers are there.
 */
#include <auriga.h>

#include <pthread.h>
#include <stdio.h>

enum { A, B };

struct board {
    pthread_barrier_t written; /* passed by both tasks, and main */
    uint64_t ids[2];
};

/* The task `me` waits for the other one. */
static int wait_on_other(uint64_t board_id, int me)
{
    void *memory;
    size_t size;
    int value;
    AUR_SCOPED(aur_future) *other = NULL;

    if (aur_buf_open(board_id, &memory, &size) != AUR_OK) {
        return aur_fail(AUR_EINVAL, "no board");
    }
    struct board *board = memory;
    pthread_barrier_wait(&board->written);
    if (aur_future_open(board->ids[me == A ? B : A], &other) != AUR_OK) {
        return aur_fail(AUR_EINVAL, "no such future");
    }
    aur_err err = aur_future_result(other, &value, AUR_NO_DEADLINE);
    if (err == AUR_EDEADLK) { /* this wait closed the cycle */
        return aur_fail(AUR_EDEADLK, "%s", aur_last_error()->message);
    }
    if (err != AUR_OK) { /* the other task failed: pass it on */
        return aur_fail(aur_future_error(other)->code, "the task it waited for failed");
    }
    return 5 + me;
}
AUR_FN(int, wait_on_other, uint64_t, int);

static void barrier_between_processes(pthread_barrier_t *barrier, unsigned parties)
{
    pthread_barrierattr_t attr;

    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(barrier, &attr, parties);
    pthread_barrierattr_destroy(&attr);
}

int main(void)
{
    AUR_SCOPED(aur_pool) *executor = NULL;
    AUR_SCOPED(aur_buf) *buf = NULL;
    AUR_SCOPED(aur_future) *a = NULL;
    AUR_SCOPED(aur_future) *b = NULL;
    aur_options opts = AUR_OPTIONS_INIT;

    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    if (aur_pool_new(&opts, &executor, NULL) != AUR_OK ||
        aur_buf_new(executor, sizeof(struct board), AUR_BUF_INOUT, &buf) != AUR_OK) {
        return 1;
    }
    struct board *board = aur_buf_data(buf);
    barrier_between_processes(&board->written, 3);
    if (aur_apply_async(executor, &a, wait_on_other, aur_buf_id(buf), A) != AUR_OK ||
        aur_apply_async(executor, &b, wait_on_other, aur_buf_id(buf), B) != AUR_OK) {
        return 1;
    }
    board->ids[A] = aur_future_id(a);
    board->ids[B] = aur_future_id(b);
    pthread_barrier_wait(&board->written);

    if (aur_future_outcome(a, AUR_NO_DEADLINE) != AUR_ETASK ||
        aur_future_outcome(b, AUR_NO_DEADLINE) != AUR_ETASK) {
        return 1;
    }
    printf("a: %s\n", aur_err_name(aur_future_error(a)->code));
    printf("b: %s\n", aur_err_name(aur_future_error(b)->code));
    return 0;
}
