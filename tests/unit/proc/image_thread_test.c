/* Goal:    a program that has a thread before main() gets spawned workers which have that thread, too.
 * Method:  a constructor of this program starts one, and notes its process; a worker tells whose it is.
 * Guards:  auri_nursery_image() in src/proc/zygote.c: no fork of an image with threads.
 */
/* aurt: no-tsan */
/* aurt: no-valgrind */
#include "aurt.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/plat.h"
#include "plat/process.h"
#include "proc/nursery.h"

static _Atomic(uint32_t) stop; /* never set: the thread is there for as long as its process */
static int maker;

static void *stay(void *arg)
{
    aurp_futex_wait(&stop, 0, AUR_NO_DEADLINE, AURP_PRIVATE);
    return arg;
}

__attribute__((constructor)) static void start_thread(void)
{
    pthread_t thread;

    maker = getpid();
    AURT_CHECK(pthread_create(&thread, NULL, stay, NULL) == 0);
    AURT_CHECK(pthread_detach(thread) == 0);
}

static int tell(void *ctx, unsigned slot, uint64_t epoch, const int *fds, unsigned nfds)
{
    (void)ctx;
    (void)slot;
    (void)epoch;
    (void)fds;
    (void)nfds;
    return maker == getpid() && aurp_thread_count() >= 2 ? 42 : 1;
}

static void workers_are_images(void **state)
{
    auri_nursery_options opts = { .start = AUR_START_SPAWN, .worker_main = tell };
    auri_nursery *n = NULL;
    auri_nursery_event event = { 0 };

    (void)state;
    AURT_OK(auri_nursery_new(&opts, &n, NULL));
    AURT_OK(auri_nursery_hello(n, NULL));
    for (unsigned slot = 0; slot < 2; slot++) {
        AURT_OK(auri_nursery_request(n, slot, slot + 1, NULL, 0));
    }
    for (unsigned ended = 0; ended < 2;) {
        aur_err err = auri_nursery_next(n, &event);
        if (err == AUR_EPENDING) {
            AURT_OK(auri_nursery_wait(n, AUR_NO_DEADLINE));
            continue;
        }
        AURT_OK(err);
        if (event.kind == AURI_NURSERY_STARTED) {
            aurp_close(&event.pidfd);
        } else {
            assert_int_equal(event.kind, AURI_NURSERY_EXITED);
            assert_true(WIFEXITED(event.status));
            assert_int_equal(WEXITSTATUS(event.status), 42);
            ended++;
        }
    }
    auri_nursery_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
