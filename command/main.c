/* main.c: the command `auriga`. */
#include <auriga.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "map.h"
#include "options.h"

static int print(const char *text)
{
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? 0 : EXIT_BROKEN;
}

static int print_version(void)
{
    printf("auriga %d.%d.%d\n", AUR_VERSION_MAJOR, AUR_VERSION_MINOR, AUR_VERSION_PATCH);
    return print("");
}

/* No file that is opened later may become 0, 1 or 2.  Opened so that the use fails as it would have: no
 * output goes to where nobody sees it. */
static void hold_standard_files(void)
{
    static const int modes[] = { O_WRONLY, O_RDONLY, O_RDONLY };

    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd) {
            _exit(EXIT_BROKEN);
        }
    }
}

/* So that a shell that runs a script knows that it was Ctrl-C, and stops, too. */
static int die_of(int signal_number)
{
    struct rlimit none = { 0, 0 };
    sigset_t one;

    setrlimit(RLIMIT_CORE, &none);
    signal(signal_number, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, signal_number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    raise(signal_number);
    return 128 + signal_number;
}

static int run_map(int argc, char **argv)
{
    struct options opts;
    char message[OPTIONS_MESSAGE_MAX];

    switch (options_parse(&opts, argc, argv, message)) {
    case OPTIONS_HELP:
        return print(help_text);
    case OPTIONS_VERSION:
        return print_version();
    case OPTIONS_BAD:
        fprintf(stderr, "auriga: %s\n", message);
        return EXIT_USAGE;
    default:
        break;
    }
    int status = map_run(&opts);
    return status >= 0 ? status : die_of(-status);
}

int main(int argc, char **argv)
{
    hold_standard_files();
    if (argc >= 2 && strcmp(argv[1], "map") == 0) {
        return run_map(argc - 1, argv + 1);
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        return print(help_text);
    }
    if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
        return print_version();
    }
    if (argc >= 2) {
        fprintf(stderr, "auriga: %s: there is no such command; there is map\n", argv[1]);
    } else {
        fputs("usage: auriga map [OPTIONS] COMMAND [ARG...] ::: ARG...; see auriga --help\n",
              stderr);
    }
    return EXIT_USAGE;
}
