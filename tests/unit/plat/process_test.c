/* Goal:    bells ring once and for whom they should; messages and their descriptors come whole.
 * Method:  one thread plays both ends; every wait is for something that has happened already, or
 *          has a deadline that has passed.
 * Guards:  src/plat/linux_fd.c; the tests of nurseries and images guard linux_process.c.
 */
#include "aurt.h"

#include <errno.h>
#include <sys/socket.h>

#include "plat/process.h"

static void bells_ring(void **state)
{
    aurp_ready ready[4];
    int line[2];
    int bell = aurp_eventfd_new();
    int epoll = aurp_epoll_new();

    (void)state;
    assert_true(bell > 2 && epoll > 2);
    assert_int_equal(aurp_pipe(line), 0);
    assert_int_equal(aurp_epoll_add(epoll, bell, UINT64_C(1) << 40), 0);
    assert_int_equal(aurp_epoll_add(epoll, bell, 1), EEXIST);
    assert_int_equal(aurp_epoll_add(epoll, line[0], 2), 0);
    assert_int_equal(aurp_epoll_wait(epoll, ready, 4, 0), 0);
    aurp_eventfd_clear(bell); /* does not block on an empty one */
    aurp_eventfd_ring(bell);
    aurp_eventfd_ring(bell);
    assert_int_equal(aurp_epoll_wait(epoll, ready, 4, AUR_NO_DEADLINE), 1);
    assert_true(ready[0].token == UINT64_C(1) << 40 && !ready[0].hung_up);
    aurp_eventfd_clear(bell);
    AURT_ERR(AUR_ETIMEDOUT, aurp_fd_wait(bell, 0));
    assert_int_equal(aurp_epoll_wait(epoll, ready, 4, aurt_now_ns() + 1000), 0);
    aurp_close(&line[1]);
    assert_int_equal(line[1], -1);
    assert_int_equal(aurp_epoll_wait(epoll, ready, 4, AUR_NO_DEADLINE), 1);
    assert_true(ready[0].token == 2 && ready[0].hung_up);
    assert_int_equal(aurp_epoll_remove(epoll, line[0]), 0);
    assert_int_equal(aurp_epoll_wait(epoll, ready, 4, 0), 0);
    aurp_close(&line[0]);
    aurp_close(&bell);
    aurp_close(&epoll);
}

static void a_bell_is_heard_at_its_other_end(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(aurp_bell_new(ends), 0);
    AURT_ERR(AUR_ETIMEDOUT, aurp_fd_wait(ends[0], 0));
    aurp_bell_clear(ends[0]); /* does not block */
    for (int i = 0; i < 2000; i++) {
        aurp_bell_ring(ends[1]); /* nor does this, however many are not heard */
    }
    AURT_OK(aurp_fd_wait(ends[0], AUR_NO_DEADLINE));
    aurp_bell_clear(ends[0]);
    AURT_ERR(AUR_ETIMEDOUT, aurp_fd_wait(ends[0], 0));
    aurp_bell_ring(ends[1]);
    AURT_OK(aurp_fd_wait(ends[0], AUR_NO_DEADLINE));
    aurp_close(&ends[0]);
    aurp_close(&ends[1]);
}

/* Ringing what is no bell: nothing is written, and nobody wakes. */
static void files_and_sockets_hear_no_bell(void **state)
{
    FILE *file = tmpfile();
    int stream[2];
    int event = aurp_eventfd_new();
    char byte;

    (void)state;
    assert_non_null(file);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, stream), 0);
    aurp_bell_ring(fileno(file));
    aurp_bell_ring(event);
    aurp_bell_ring(stream[1]);
    aurp_bell_ring(-1);
    assert_int_equal(lseek(fileno(file), 0, SEEK_END), 0);
    AURT_ERR(AUR_ETIMEDOUT, aurp_fd_wait(event, 0));
    assert_int_equal(recv(stream[0], &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    fclose(file);
    aurp_close(&event);
    aurp_close(&stream[0]);
    aurp_close(&stream[1]);
}

static void a_number_may_mean_another_file(void **state)
{
    int ends[2], others[2];

    (void)state;
    assert_int_equal(aurp_bell_new(ends), 0);
    assert_int_equal(aurp_bell_new(others), 0);
    aurp_file_id id = aurp_file_id_of(ends[1]);
    int again = dup(ends[1]);
    assert_true(aurp_file_is(ends[1], id) && aurp_file_is(again, id));
    assert_true(aurp_file_is(ends[0], id)); /* both ends are one file */
    assert_int_equal(dup2(others[1], ends[1]), ends[1]);
    assert_false(aurp_file_is(ends[1], id));
    close(ends[1]);
    assert_false(aurp_file_is(ends[1], id));
    assert_false(aurp_file_is(-1, aurp_file_id_of(-1)));
    close(again);
    close(ends[0]);
    aurp_close(&others[0]);
    aurp_close(&others[1]);
}

static void messages_keep_their_borders(void **state)
{
    size_t before = aurt_fd_count();
    int pair[2];
    int sent[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    int fds[8];
    unsigned n = 99;
    char byte = 'a';
    int word = 0;

    (void)state;
    assert_int_equal(aurp_socketpair(pair), 0);
    assert_int_equal(aurp_receive(pair[1], &byte, 1, fds, 8, &n), EAGAIN);
    assert_int_equal(aurp_send(pair[0], &word, sizeof(word), sent, 9), EINVAL);
    assert_int_equal(aurp_send(pair[0], &word, sizeof(word), sent, 8), 0);
    assert_int_equal(aurp_receive(pair[1], &byte, 1, fds, 8, &n), EPROTO); /* longer */
    assert_int_equal(aurp_send(pair[0], &byte, 1, sent, 2), 0);
    assert_int_equal(aurp_receive(pair[1], &word, sizeof(word), fds, 8, &n), EPROTO);
    assert_int_equal(aurp_send(pair[0], &byte, 1, sent, 3), 0);
    assert_int_equal(aurp_receive(pair[1], &byte, 1, fds, 1, &n), 0); /* two more are closed */
    assert_int_equal(n, 1);
    aurp_close(&fds[0]);
    aurp_close(&pair[0]);
    assert_int_equal(aurp_receive(pair[1], &byte, 1, fds, 8, &n), EPIPE);
    assert_int_equal(aurp_send(pair[1], &byte, 1, NULL, 0), EPIPE);
    aurp_close(&pair[1]);
    assert_int_equal(aurt_fd_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bells_ring),
        cmocka_unit_test(a_bell_is_heard_at_its_other_end),
        cmocka_unit_test(files_and_sockets_hear_no_bell),
        cmocka_unit_test(a_number_may_mean_another_file),
        cmocka_unit_test(messages_keep_their_borders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
