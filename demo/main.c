/* The demonstration: real files, a real web server, a real kill; each answer is compared with one
 * that was got without the library.  Exit status 1 if any of them differs. */
#include "demo.h"

#include <auriga.h>
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUICK_FILES 500

static int usage(FILE *to)
{
    fprintf(to,
            "usage: auriga-demo [--quick] [FOLDER]\n\n"
            "  --quick   the first %d files only\n"
            "  FOLDER    whose files are hashed and served (default: /usr/include)\n",
            QUICK_FILES);
    return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    const char *root = "/usr/include";
    size_t most = SIZE_MAX;
    struct files files;
    struct server server;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            most = QUICK_FILES;
        } else if (strcmp(argv[i], "--help") == 0 || argv[i][0] == '-') {
            return usage(strcmp(argv[i], "--help") == 0 ? stdout : stderr);
        } else {
            root = argv[i];
        }
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !files_find(root, most, &files)) {
        return 1;
    }
    if (!server_start(&files, &server)) { /* before any thread exists here */
        fprintf(stderr, "the web server did not start\n");
        return 1;
    }
    printf("Auriga %s; this machine: %u CPUs for this process of %ld\n", aur_version(),
           aur_cpu_count(), sysconf(_SC_NPROCESSORS_ONLN));
    show_hashes(&files);
    show_fetch(&files, &server);
    show_deadlocks();
    show_kill(&files);
    show_command(&files);
    title("6. Afterwards");
    check(server_stop(&server), "the web server is ended");
    files_free(&files);
    curl_global_cleanup();
    return report_end();
}
