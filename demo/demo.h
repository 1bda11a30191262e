/* demo.h: what the parts of the demonstration share. */
#ifndef DEMO_H
#define DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* ---- the input (files.c) ------------------------------------------------------------------- */

struct digest {
    unsigned char bytes[32];
};

struct files {
    size_t n;
    const char **path;     /* sorted */
    uint64_t *size;        /* bytes */
    uint64_t total;        /* bytes of all */
    struct digest *wanted; /* what sha256sum says */
};

/* Lists the regular files under root, the first `most` of them, and asks sha256sum about each. */
bool files_find(const char *root, size_t most, struct files *ret_files);
void files_free(struct files *files);

/* Runs a program and waits for its end; what it has printed can be read. */
bool run_program(const char *const argv[], FILE *const standard[3], int *ret_status);
/* The same for one that reads the names of the files and runs sha256sum -z on all in order. */
bool ask_sha256sum(const char *const argv[], const struct files *files, struct digest *ret_digests);

/* SHA-256 of a file or of memory.  False: errno says why. */
bool digest_file(const char *path, struct digest *ret_digest);
bool digest_memory(const void *data, size_t size, struct digest *ret_digest);
bool digest_equal(const struct digest *a, const struct digest *b);

/* ---- the web server (server.c) -------------------------------------------------------------- */

struct server {
    pid_t pid;
    int life; /* the child ends when this is closed, whatever happens to us */
    unsigned port;
};

/* Serves files->path on loopback, from a process of its own. */
bool server_start(const struct files *files, struct server *ret_server);
bool server_stop(struct server *server);

/* ---- the parts ------------------------------------------------------------------------------ */

void show_hashes(const struct files *files);
void show_fetch(const struct files *files, const struct server *server);
void show_deadlocks(void);
void show_kill(const struct files *files);
void show_command(const struct files *files);

/* ---- the report (report.c) ------------------------------------------------------------------ */

void title(const char *format, ...) __attribute__((format(printf, 1, 2)));
void line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Counts a check and prints how it ended; returns passed. */
bool check(bool passed, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A bar on stderr, if that is a terminal.  done == total removes it. */
void progress(const char *what, size_t done, size_t total);

/* Prints the last line; returns the exit status. */
int report_end(void);

uint64_t now_ns(void);

#endif /* DEMO_H */
