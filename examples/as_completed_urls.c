/* as_completed_urls.c: fetches the URLs given as arguments on five threads, and reports each page as
 * soon as it is there.
 *
 * In Python:   future_to_url = {executor.submit(load_url, url, 60): url for url in URLS}
 *              for future in concurrent.futures.as_completed(future_to_url): ...
 *
 * A page that cannot be loaded is an error of its own future and of no other.
 */
#include <auriga.h>

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct page {
    char *data; /* malloc'ed: threads share memory, so the pointer is the result */
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

/* Retrieves a single page. */
static struct page load_url(const char *url, long timeout_s)
{
    struct page page = { NULL, 0 };
    CURL *conn = curl_easy_init();

    if (conn == NULL) {
        aur_fail(CURLE_OUT_OF_MEMORY, "no memory");
        return page;
    }
    curl_easy_setopt(conn, CURLOPT_URL, url);
    curl_easy_setopt(conn, CURLOPT_TIMEOUT, timeout_s);
    curl_easy_setopt(conn, CURLOPT_NOSIGNAL, 1L); /* signals and threads do not mix */
    curl_easy_setopt(conn, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(conn, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(conn, CURLOPT_WRITEDATA, &page);
    CURLcode code = curl_easy_perform(conn);
    curl_easy_cleanup(conn);
    if (code != CURLE_OK) {
        free(page.data);
        aur_fail((int)code, "%s", curl_easy_strerror(code));
    }
    return page;
}
AUR_FN(struct page, load_url, const char *, long);

int main(int argc, char **argv)
{
    AUR_SCOPED(aur_pool) *executor = NULL;
    AUR_SCOPED(aur_completed) *completed = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    size_t n = argc > 1 ? (size_t)(argc - 1) : 0;
    aur_future **futures = calloc(n + 1, sizeof(aur_future *));
    size_t i;

    opts.workers = 5;
    if (futures == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
        aur_pool_new(&opts, &executor, NULL) != AUR_OK) {
        return 1;
    }
    for (i = 0; i < n; i++) { /* future i belongs to URL i */
        if (aur_apply_async(executor, &futures[i], load_url, argv[i + 1], 60) != AUR_OK) {
            return 1;
        }
    }
    if (aur_as_completed(futures, n, &completed) != AUR_OK) {
        return 1;
    }
    while (aur_completed_next(completed, &i, AUR_NO_DEADLINE) == AUR_OK) {
        const char *url = argv[i + 1];
        struct page page;

        if (aur_future_result(futures[i], &page, AUR_NO_DEADLINE) != AUR_OK) {
            printf("'%s' generated an error: %s\n", url, aur_future_error(futures[i])->message);
        } else {
            printf("'%s' page is %zu bytes\n", url, page.size);
            free(page.data);
        }
        aur_future_unref(futures[i]);
    }
    free(futures);
    return 0;
}
