/* fetch.c: pages from a server, on five threads, reported as they complete; one host is dead. */
#include "demo.h"

#include <arpa/inet.h>
#include <auriga.h>
#include <ctype.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES 8
#define DEAD PAGES /* the last of the URLs */

struct page {
    char *data;
    size_t size;
};

static size_t append(char *data, size_t one, size_t size, void *page_arg)
{
    struct page *page = page_arg;
    char *larger = realloc(page->data, page->size + size);

    (void)one; /* is 1 */
    if (larger == NULL) {
        return 0;
    }
    page->data = larger;
    memcpy(page->data + page->size, data, size);
    page->size += size;
    return size;
}

static struct page load_url(const char *url, long timeout_s)
{
    struct page page = { NULL, 0 };
    CURL *conn = curl_easy_init();

    curl_easy_setopt(conn, CURLOPT_URL, url);
    curl_easy_setopt(conn, CURLOPT_TIMEOUT, timeout_s);
    curl_easy_setopt(conn, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(conn, CURLOPT_NOPROXY, "*"); /* loopback is not for a proxy */
    curl_easy_setopt(conn, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(conn, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(conn, CURLOPT_WRITEDATA, &page);
    CURLcode code = conn != NULL ? curl_easy_perform(conn) : CURLE_OUT_OF_MEMORY;
    curl_easy_cleanup(conn);
    if (code != CURLE_OK) {
        free(page.data);
        aur_fail((int)code, "%s", curl_easy_strerror(code));
    }
    return page;
}
AUR_FN(struct page, load_url, const char *, long);

/* A port that is taken, so that nobody else gets it, but where nobody listens. */
static int dead_port(unsigned *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &length) == 0) {
        *ret_port = ntohs(address.sin_port);
    }
    return fd;
}

/* The address of a file on the server.  Names may hold any character. */
static void make_url(char *url, size_t room, unsigned port, const char *path)
{
    size_t used = (size_t)snprintf(url, room, "http://127.0.0.1:%u", port);

    for (; *path != '\0' && used + 4 < room; path++) {
        bool plain = isalnum((unsigned char)*path) || strchr("/-._~", *path) != NULL;
        used += (size_t)snprintf(url + used, room - used, plain ? "%c" : "%%%02X",
                                 (unsigned char)*path);
    }
}

static void show_page(const struct files *files, size_t file, struct page *page)
{
    struct digest digest;

    check(page->size == files->size[file] && digest_memory(page->data, page->size, &digest) &&
              digest_equal(&digest, &files->wanted[file]),
          "%8zu bytes, digest as of the file: %s", page->size, files->path[file]);
    free(page->data);
}

/* Takes what completes: futures[i] is of urls[i], which is file[i]. */
static void collect(const struct files *files, const size_t *file, char (*urls)[4096],
                    aur_future **futures)
{
    AUR_SCOPED(aur_completed) *completed = NULL;
    size_t i, done = 0;

    if (aur_as_completed(futures, PAGES + 1, &completed) != AUR_OK) {
        check(false, "as_completed");
        return;
    }
    while (aur_completed_next(completed, &i, AUR_NO_DEADLINE) == AUR_OK) {
        struct page page;
        aur_err err = aur_future_result(futures[i], &page, AUR_NO_DEADLINE);

        progress("fetching", ++done, PAGES + 1);
        if (i == DEAD) {
            const aur_error *error = aur_future_error(futures[i]);
            check(err == AUR_ETASK && error->code == CURLE_COULDNT_CONNECT,
                  "%8s, %s: the error of its own future: %s", "dead", urls[i],
                  error != NULL ? error->message : "none");
        } else if (err != AUR_OK) {
            check(false, "%s: %s", urls[i], aur_err_name(err));
        } else {
            show_page(files, file[i], &page);
        }
    }
    check(done == PAGES + 1, "%zu of %d futures were handed out as they completed", done,
          PAGES + 1);
}

void show_fetch(const struct files *files, const struct server *server)
{
    static char urls[PAGES + 1][4096];
    aur_future *futures[PAGES + 1] = { NULL };
    size_t file[PAGES];
    unsigned port = 1;
    int dead = dead_port(&port);
    aur_pool *executor = NULL;
    aur_options opts = AUR_OPTIONS_INIT;

    title("2. %d pages from a web server (process %d), five threads, one dead host", PAGES,
          (int)server->pid);
    opts.workers = 5;
    if (aur_pool_new(&opts, &executor, NULL) != AUR_OK) {
        check(false, "no pool");
        return;
    }
    for (size_t i = 0; i < PAGES; i++) { /* files from all over the list */
        file[i] = i * (files->n - 1) / PAGES;
        make_url(urls[i], sizeof(urls[i]), server->port, files->path[file[i]]);
    }
    make_url(urls[DEAD], sizeof(urls[DEAD]), port, "/");
    size_t submitted = 0;
    for (size_t i = 0; i <= PAGES; i++) {
        submitted += aur_apply_async(executor, &futures[i], load_url, urls[i], 60) == AUR_OK;
    }
    check(submitted == PAGES + 1, "%zu of %d calls submitted", submitted, PAGES + 1);
    collect(files, file, urls, futures);
    for (size_t i = 0; i <= PAGES; i++) {
        aur_future_unref(futures[i]);
    }
    aur_pool_scoped_(&executor);
    close(dead);
}
