/* deadlock.c: the two programs that hang in Python, on threads and on processes. */
#include "demo.h"

#include <auriga.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static double power(int x, int y)
{
    double result = 1;

    while (y-- > 0) {
        result *= x;
    }
    return result;
}
AUR_FN(double, power, int, int);

/* A task that waits for a task in the queue of its own pool, whose only worker runs it. */
static double wait_on_future(int x)
{
    AUR_SCOPED(aur_future) *f = NULL;
    double value;

    if (aur_apply_async(aur_pool_current(), &f, power, x, 2) != AUR_OK ||
        aur_future_result(f, &value, AUR_NO_DEADLINE) != AUR_OK) {
        return aur_fail(1, "%s", aur_last_error() != NULL ? aur_last_error()->message : "?");
    }
    return value;
}
AUR_FN(double, wait_on_future, int);

/* What the two tasks that wait for each other learn from main. */
struct board {
    pthread_barrier_t written;
    uint64_t ids[2];
};

static int wait_on_other(uint64_t board_id, int other_index)
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
    if (aur_future_open(board->ids[other_index], &other) != AUR_OK) {
        return aur_fail(AUR_EINVAL, "no future");
    }
    aur_err err = aur_future_result(other, &value, AUR_NO_DEADLINE);
    if (err == AUR_EDEADLK) {
        return aur_fail(AUR_EDEADLK, "%s", aur_last_error()->message);
    }
    return err == AUR_OK ? value : aur_fail(aur_future_error(other)->code, "the other one failed");
}

static int wait_on_b(uint64_t board_id)
{
    return wait_on_other(board_id, 1);
}
AUR_FN(int, wait_on_b, uint64_t);

static int wait_on_a(uint64_t board_id)
{
    return wait_on_other(board_id, 0);
}
AUR_FN(int, wait_on_a, uint64_t);

static void show_one_worker(aur_pool *pool, const char *kind)
{
    AUR_SCOPED(aur_future) *f = NULL;
    double value = 0;
    aur_err err = aur_apply_async(pool, &f, wait_on_future, 5);

    if (err == AUR_OK) {
        err = aur_future_result(f, &value, AUR_NO_DEADLINE);
    }
    check(err == AUR_OK && value == 25, "%s, one worker: a task waits for its own queue: %g", kind,
          value);
}

static bool init_board(struct board *board)
{
    pthread_barrierattr_t attr;

    return pthread_barrierattr_init(&attr) == 0 &&
           pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
           pthread_barrier_init(&board->written, &attr, 3) == 0;
}

static void print_lines(const char *text)
{
    while (text != NULL && *text != '\0') {
        const char *end = strchr(text, '\n');
        int length = end != NULL ? (int)(end - text) : (int)strlen(text);

        line("       %.*s", length, text);
        text = end != NULL ? end + 1 : NULL;
    }
}

static void show_mutual(aur_pool *pool, const char *kind)
{
    AUR_SCOPED(aur_buf) *buf = NULL;
    aur_future *f[2] = { NULL, NULL };
    int victims = 0, ended = 0;

    if (aur_buf_new(pool, sizeof(struct board), AUR_BUF_INOUT, &buf) != AUR_OK ||
        !init_board(aur_buf_data(buf))) {
        check(false, "%s: no board", kind);
        return;
    }
    struct board *board = aur_buf_data(buf);
    uint64_t id = aur_buf_id(buf);
    if (aur_apply_async(pool, &f[0], wait_on_b, id) != AUR_OK ||
        aur_apply_async(pool, &f[1], wait_on_a, id) != AUR_OK) {
        check(false, "%s: submit", kind);
        return;
    }
    board->ids[0] = aur_future_id(f[0]);
    board->ids[1] = aur_future_id(f[1]);
    pthread_barrier_wait(&board->written);
    for (int i = 0; i < 2; i++) {
        if (aur_future_outcome(f[i], AUR_NO_DEADLINE) == AUR_ETASK) {
            ended += aur_future_error(f[i])->code == AUR_EDEADLK;
            victims += strstr(aur_future_error(f[i])->message, "waits for") != NULL;
        }
    }
    check(ended == 2 && victims == 1, "%s, two tasks wait for each other: both end with %s", kind,
          aur_err_name(AUR_EDEADLK));
    for (int i = 0; i < 2; i++) {
        const aur_error *error = aur_future_error(f[i]);
        if (error != NULL && strstr(error->message, "waits for") != NULL) {
            print_lines(error->message);
        }
        aur_future_unref(f[i]);
    }
}

void show_deadlocks(void)
{
    static const struct {
        const char *name;
        int32_t kind;
    } kinds[] = { { "threads", AUR_THREADS }, { "processes", AUR_PROCESSES } };

    title("3. Two programs that hang elsewhere");
    for (size_t i = 0; i < 2; i++) {
        AUR_SCOPED(aur_pool) *one = NULL;
        AUR_SCOPED(aur_pool) *two = NULL;
        aur_options opts = AUR_OPTIONS_INIT;

        opts.kind = kinds[i].kind;
        opts.name = kinds[i].name;
        opts.workers = 1;
        aur_err err = aur_pool_new(&opts, &one, NULL);
        opts.workers = 2;
        if (err != AUR_OK || aur_pool_new(&opts, &two, NULL) != AUR_OK) {
            check(false, "%s: no pool", kinds[i].name);
            continue;
        }
        show_one_worker(one, kinds[i].name);
        show_mutual(two, kinds[i].name);
    }
}
