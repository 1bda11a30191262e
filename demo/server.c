/* server.c: a real web server (libmicrohttpd) in a process of its own, so that its threads are not
 * in the process that makes pools. */
#include "demo.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, status, response);

    MHD_destroy_response(response);
    return result;
}

/* Answers with one of the files of the list, and with nothing else. */
static enum MHD_Result answer(void *files_arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    const struct files *files = files_arg;
    struct stat info;

    (void)version, (void)upload, (void)upload_size, (void)state;
    for (size_t i = 0; i < files->n && strcmp(method, "GET") == 0; i++) {
        if (strcmp(files->path[i], url) != 0) {
            continue;
        }
        int fd = open(files->path[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &info) != 0) {
            break;
        }
        struct MHD_Response *response = MHD_create_response_from_fd((size_t)info.st_size, fd);
        enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
        MHD_destroy_response(response); /* closes fd when it is sent */
        return result;
    }
    return refuse(connection, MHD_HTTP_NOT_FOUND);
}

static void serve(const struct files *files, int port_out, int life)
{
    char byte;
    struct sockaddr_in address = { .sin_family = AF_INET };

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, 0, NULL, NULL, answer, (void *)files,
        MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_THREAD_POOL_SIZE, 2u, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        daemon != NULL ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    unsigned port = info != NULL ? info->port : 0;

    (void)!write(port_out, &port, sizeof(port));
    close(port_out);
    (void)!read(life, &byte, 1); /* returns when the parent is gone; else SIGTERM comes first */
    _exit(0);
}

bool server_start(const struct files *files, struct server *ret_server)
{
    int port_pipe[2], life_pipe[2];

    if (pipe2(port_pipe, O_CLOEXEC) != 0 || pipe2(life_pipe, O_CLOEXEC) != 0) {
        return false;
    }
    ret_server->pid = fork();
    if (ret_server->pid == 0) {
        close(port_pipe[0]);
        close(life_pipe[1]);
        serve(files, port_pipe[1], life_pipe[0]);
    }
    close(port_pipe[1]);
    close(life_pipe[0]);
    ret_server->life = life_pipe[1];
    bool started = ret_server->pid > 0 &&
                   read(port_pipe[0], &ret_server->port, sizeof(ret_server->port)) ==
                       (ssize_t)sizeof(ret_server->port) &&
                   ret_server->port != 0;
    close(port_pipe[0]);
    return started;
}

bool server_stop(struct server *server)
{
    int status;

    close(server->life);
    return kill(server->pid, SIGTERM) == 0 && waitpid(server->pid, &status, 0) == server->pid;
}
