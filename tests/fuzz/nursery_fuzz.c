/* Messages from something that is not the nursery one would hope for: any number of them, of any size, with
 * or without descriptors.  The host takes them as events or gives the nursery up; no descriptor stays open,
 * and what it counts stays in range. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"

#include "proc/nursery.c"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_MAX 24

static int lowest_free(void)
{
    int fd = fcntl(0, F_DUPFD_CLOEXEC, 3);

    FUZZ_CHECK(fd >= 0);
    close(fd);
    return fd;
}

static void send_one(int socket, fuzz_input *in)
{
    unsigned char bytes[sizeof(auri_zygote_message) + 16];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(3 * sizeof(int))];
    } control;
    uint8_t shape = fuzz_u8(in);
    size_t size = (shape & 0xc0) == 0 ? fuzz_u8(in) % sizeof(bytes) : sizeof(auri_zygote_message);
    unsigned fds = shape % 4;

    fuzz_read(in, bytes, sizeof(bytes));
    if ((shape & 0x20) != 0) { /* a kind that there is */
        auri_zygote_message message;
        memcpy(&message, bytes, sizeof(message));
        message.kind = 1 + message.kind % 3;
        memcpy(bytes, &message, sizeof(message));
    }
    struct iovec part = { bytes, size };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    if (fds != 0) {
        memset(&control, 0, sizeof(control));
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(fds * sizeof(int));
        for (unsigned i = 0; i < fds; i++) {
            memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &socket, sizeof(int));
        }
    }
    (void)sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = { data, size };
    int before = lowest_free();
    auri_nursery nursery = { .socket = -1, .pidfd = -1, .owner_pid = aurp_pid() };
    auri_nursery_event event;
    aur_err err;
    int pair[2];

    FUZZ_CHECK(aurp_socketpair(pair) == 0);
    nursery.socket = pair[0];
    uint8_t asked = fuzz_u8(&in) % (AURI_NURSERY_REQUESTS_MAX + 1);
    nursery.unanswered = asked;
    for (int i = 0; i < MESSAGES_MAX && in.left != 0; i++) {
        send_one(pair[1], &in);
    }
    while ((err = auri_nursery_next(&nursery, &event)) == AUR_OK) {
        FUZZ_CHECK(event.kind == AURI_NURSERY_STARTED || event.kind == AURI_NURSERY_FAILED ||
                   event.kind == AURI_NURSERY_EXITED);
        FUZZ_CHECK((event.pidfd >= 0) == (event.kind == AURI_NURSERY_STARTED));
        FUZZ_CHECK(nursery.unanswered <= asked);
        aurp_close(&event.pidfd);
    }
    FUZZ_CHECK(err == AUR_EPENDING || (err == AUR_EBROKEN && nursery.dead));
    aurp_close(&pair[1]);
    if (!nursery.dead) {
        FUZZ_CHECK(auri_nursery_next(&nursery, &event) == AUR_EBROKEN);
    }
    FUZZ_CHECK(auri_nursery_request(&nursery, 0, 1, NULL, 0) == AUR_EBROKEN);
    aurp_close(&nursery.socket);
    FUZZ_CHECK(lowest_free() == before);
    return 0;
}
