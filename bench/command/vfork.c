/* The least that has to be done to run N commands, two at a time: vfork() and execve() of a path that is known,
 * wait4().  usage: vfork N JOBS PROGRAM [ARG]; without ARG it is a number that counts down. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        return 2;
    }
    long left = atol(argv[1]), jobs = atol(argv[2]), running = 0;
    char number[32];
    char *words[] = { argv[3], argc == 5 ? argv[4] : number, NULL };

    while (left > 0 || running > 0) {
        if (left > 0 && running < jobs) {
            snprintf(number, sizeof(number), "%ld", left--);
            pid_t pid = vfork();
            if (pid == 0) {
                execve(words[0], words, environ);
                _exit(127);
            }
            if (pid < 0) {
                return 1;
            }
            running++;
            continue;
        }
        struct rusage usage;
        int status;
        if (wait4(-1, &status, 0, &usage) > 0) {
            running--;
        }
    }
    return 0;
}
