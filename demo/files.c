/* files.c: the input: real files, and what sha256sum says about each of them. */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <openssl/evp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- SHA-256 ------------------------------------------------------------------------------- */

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool digest_memory(const void *data, size_t size, struct digest *ret_digest)
{
    unsigned length = 0;

    return EVP_Digest(data, size, ret_digest->bytes, &length, EVP_sha256(), NULL) == 1 &&
           length == sizeof(ret_digest->bytes);
}

static bool digest_fd(int fd, EVP_MD_CTX *ctx, struct digest *ret_digest)
{
    unsigned char block[65536];
    ssize_t got;

    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        errno = ENOMEM;
        return false;
    }
    while ((got = read(fd, block, sizeof(block))) > 0) {
        EVP_DigestUpdate(ctx, block, (size_t)got);
    }
    return got == 0 && EVP_DigestFinal_ex(ctx, ret_digest->bytes, NULL) == 1;
}

bool digest_file(const char *path, struct digest *ret_digest)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool done = ctx != NULL && fd >= 0 && digest_fd(fd, ctx, ret_digest);
    int why = errno;

    if (fd >= 0) {
        close(fd);
    }
    EVP_MD_CTX_free(ctx);
    errno = why;
    return done;
}

/* ---- the list ------------------------------------------------------------------------------ */

static bool list_add(struct files *files, const char *path, off_t size)
{
    if ((files->n & (files->n - 1)) == 0) { /* full: the room is the next power of two */
        size_t room = files->n == 0 ? 1 : files->n * 2;
        const char **paths = realloc(files->path, room * sizeof(*paths));
        if (paths == NULL) {
            return false;
        }
        files->path = paths;
        uint64_t *sizes = realloc(files->size, room * sizeof(*sizes));
        if (sizes == NULL) {
            return false;
        }
        files->size = sizes;
    }
    const char *copy = strdup(path);
    if (copy == NULL) {
        return false;
    }
    files->path[files->n] = copy;
    files->size[files->n] = (uint64_t)size;
    files->n++;
    files->total += (uint64_t)size;
    return true;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static bool list(const char *root, size_t most, struct files *files)
{
    char *const roots[] = { (char *)root, NULL };
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    FTSENT *entry;
    bool whole = tree != NULL;

    while (whole && files->n < most && (entry = fts_read(tree)) != NULL) {
        if (entry->fts_info == FTS_F && access(entry->fts_accpath, R_OK) == 0) {
            whole = list_add(files, entry->fts_path, entry->fts_statp->st_size);
        }
    }
    if (tree != NULL) {
        fts_close(tree);
    }
    return whole && files->n != 0;
}

/* ---- sha256sum ----------------------------------------------------------------------------- */

bool run_program(const char *const argv[], FILE *const standard[3], int *ret_status)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;

    fflush(standard[0]);
    lseek(fileno(standard[0]), 0, SEEK_SET);
    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd < 3; fd++) {
        posix_spawn_file_actions_adddup2(&actions, fileno(standard[fd]), fd);
    }
    int failed = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    bool ended = failed == 0 && waitpid(pid, ret_status, 0) == pid;
    rewind(standard[1]);
    return ended;
}

/* One record: 64 hexadecimal digits, two characters, the name. */
static bool parse(const char *record, const char *path, struct digest *ret_digest)
{
    if (strlen(record) < 66 || strcmp(record + 66, path) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(ret_digest->bytes); i++) {
        unsigned byte;
        if (sscanf(record + 2 * i, "%2x", &byte) != 1) {
            return false;
        }
        ret_digest->bytes[i] = (unsigned char)byte;
    }
    return true;
}

bool ask_sha256sum(const char *const argv[], const struct files *files, struct digest *ret_digests)
{
    FILE *in = tmpfile(), *out = tmpfile();
    char *record = NULL;
    size_t room = 0;
    bool right = in != NULL && out != NULL;
    int status;

    for (size_t i = 0; right && i < files->n; i++) {
        fwrite(files->path[i], 1, strlen(files->path[i]) + 1, in);
    }
    right = right && run_program(argv, (FILE *const[]){ in, out, stderr }, &status) && status == 0;
    for (size_t i = 0; right && i < files->n; i++) {
        right =
            getdelim(&record, &room, 0, out) > 0 && parse(record, files->path[i], &ret_digests[i]);
    }
    right = right && getc(out) == EOF;
    free(record);
    if (in != NULL) {
        fclose(in);
    }
    if (out != NULL) {
        fclose(out);
    }
    return right;
}

bool files_find(const char *root, size_t most, struct files *ret_files)
{
    const char *const argv[] = { "xargs", "-0", "sha256sum", "-z", "--", NULL };

    memset(ret_files, 0, sizeof(*ret_files));
    if (!list(root, most, ret_files)) {
        fprintf(stderr, "no files under %s\n", root);
        return false;
    }
    ret_files->wanted = calloc(ret_files->n, sizeof(*ret_files->wanted));
    if (ret_files->wanted == NULL || !ask_sha256sum(argv, ret_files, ret_files->wanted)) {
        fprintf(stderr, "sha256sum (or xargs) did not answer as expected\n");
        return false;
    }
    return true;
}

void files_free(struct files *files)
{
    for (size_t i = 0; i < files->n; i++) {
        free((char *)files->path[i]);
    }
    free(files->path);
    free(files->size);
    free(files->wanted);
}
