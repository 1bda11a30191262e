/* command.c: the shell command on the same files, and a job of it that is killed. */
#include "demo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static void hash_all(const struct files *files)
{
    const char *const argv[] = { DEMO_COMMAND, "map", "-0", "-k", "-n100",
                                 "sha256sum",  "-z",  "--", NULL };
    struct digest *digests = calloc(files->n, sizeof(*digests));
    size_t right = 0;
    uint64_t begin = now_ns();
    bool done = digests != NULL && ask_sha256sum(argv, files, digests);
    double seconds = (double)(now_ns() - begin) / 1e9;

    for (size_t i = 0; done && i < files->n; i++) {
        right += digest_equal(&digests[i], &files->wanted[i]);
    }
    check(done && right == files->n,
          "auriga map -0 -k -n100 sha256sum: %zu of %zu digests in order and right, in %.2f s",
          right, files->n, seconds);
    free(digests);
}

static void kill_one(void)
{
    const char *const argv[] = {
        DEMO_COMMAND, "map", "-k", "sh", "-c", "[ \"$1\" != b ] || kill -KILL $$; echo \"$1\"",
        "x",          ":::", "a",  "b",  "c",  NULL
    };
    FILE *files[3] = { tmpfile(), tmpfile(), tmpfile() };
    char out[64] = "", said[512] = "";
    int status = 0;

    if (files[0] == NULL || files[1] == NULL || files[2] == NULL ||
        !run_program(argv, files, &status)) {
        check(false, "the command does not run");
        return;
    }
    out[fread(out, 1, sizeof(out) - 1, files[1])] = '\0';
    rewind(files[2]);
    check(
        WIFEXITED(status) && WEXITSTATUS(status) == 1 && strcmp(out, "a\nc\n") == 0,
        "one job of three killed: the others are whole, the exit status is the number of failures");
    bool told = fgets(said, sizeof(said), files[2]) != NULL;
    check(told && strstr(said, "job 2 (b) was killed by SIGKILL") != NULL, "what it says: %.*s",
          (int)strcspn(said, "\n"), said);
    for (int i = 0; i < 3; i++) {
        fclose(files[i]);
    }
}

void show_command(const struct files *files)
{
    title("5. The shell command: %zu files, and a job that is killed", files->n);
    hash_all(files);
    kill_one();
}
