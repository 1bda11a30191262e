/* The command line of a client program. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"

struct options {
    bool full;
    bool plain; /* --plain: without reduction, to check the reduction */
    const char *only;
    const char *replay;
    uint64_t seed;
};

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void model_outcome(unsigned outcome)
{
    sim.outcomes |= UINT64_C(1) << (outcome & 63);
}

static const char *how(const struct model_bound *bound, const struct result *result)
{
    static char text[80];

    if (bound->search == MODEL_PCT) {
        snprintf(text, sizeof(text), "random, depth %u", bound->depth);
    } else if (!result->complete) {
        snprintf(text, sizeof(text), "not complete");
    } else if (bound->search == MODEL_DPOR || bound->preemptions >= MODEL_ANY_PREEMPTIONS) {
        snprintf(text, sizeof(text), "complete");
    } else {
        snprintf(text, sizeof(text), "complete up to %u preemptions", bound->preemptions);
    }
    return text;
}

static void tell_failure(const struct model_client *client, const struct model_bound *bound,
                         const char *program)
{
    char message[sizeof(sim.message)];
    char *choices = strdup(explore_choices());
    struct result again;

    memcpy(message, sim.message, sizeof(message));
    explore_client(client, bound, choices, 0, &again);
    printf("  %s\n", message);
    log_print();
    printf("  again: %s --client %s --replay %s%s\n", program, client->name, choices,
           bound == &client->full ? " --full" : "");
    free(choices);
}

/* Returns whether all is as it should be. */
static bool run_client(const struct model_client *client, const struct options *options,
                       const char *program)
{
    struct model_bound bound = options->full ? client->full : client->quick;
    const struct model_bound *used = options->full ? &client->full : &client->quick;
    struct result result;
    double start = seconds();

    if (options->plain && bound.search == MODEL_DPOR) {
        bound = (struct model_bound){ .search = MODEL_PLAIN, .preemptions = MODEL_ANY_PREEMPTIONS };
        used = &bound;
    }
    explore_client(client, used, options->replay, options->seed, &result);
    double took = seconds() - start;
    bool expected = client->must_fail != NULL && result.failed &&
                    strstr(sim.message, client->must_fail) != NULL;
    bool ok = client->must_fail != NULL ? expected : !result.failed;
    if (used->search != MODEL_PCT && used->runs == 0 && client->must_fail == NULL) {
        ok = ok && (result.complete || options->replay != NULL);
    }
    if (ok && client->outcomes != 0 && sim.outcomes != client->outcomes) {
        ok = false;
        printf("  outcomes %#" PRIx64 " instead of %#" PRIx64 "\n", sim.outcomes, client->outcomes);
    }
    printf("%-28s %s: %" PRIu64 " executions", client->name,
           expected ? "found, as it must"
           : ok     ? how(used, &result)
                    : "FAILED",
           result.executions);
    if (result.pruned != 0) {
        printf(" + %" PRIu64 " cut short as equal", result.pruned);
    }
    if (result.cut != 0) {
        printf(" + %" PRIu64 " TOO LONG", result.cut);
    }
    printf(", %.1f steps each, %.2f s\n",
           (double)result.steps / (double)(result.executions + result.pruned + result.cut + 0u),
           took);
    if (options->replay != NULL) {
        printf("  %s\n", sim.message[0] != '\0' ? sim.message : "no failure");
        log_print();
    } else if (!ok && result.failed) {
        tell_failure(client, used, program);
    }
    fflush(stdout);
    return ok;
}

int model_main(int argc, char **argv, const struct model_client *clients, size_t n)
{
    struct options options = { .seed = 1 };
    bool ok = true;
    unsigned ran = 0;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--full") == 0) {
            options.full = true;
        } else if (strcmp(argv[i], "--plain") == 0) {
            options.plain = true;
        } else if (strcmp(argv[i], "--long") == 0) {
            sim.cut_fails = true;
        } else if (strcmp(argv[i], "--client") == 0) {
            options.only = value, i++;
        } else if (strcmp(argv[i], "--replay") == 0) {
            options.replay = value, i++;
        } else if (strcmp(argv[i], "--seed") == 0) {
            options.seed = strtoull(value, NULL, 0), i++;
        } else {
            fprintf(stderr,
                    "usage: %s [--full] [--plain] [--long] [--client NAME] [--seed N] "
                    "[--replay CHOICES]\n",
                    argv[0]);
            return 2;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (options.only == NULL || strcmp(options.only, clients[i].name) == 0) {
            ok = run_client(&clients[i], &options, argv[0]) && ok;
            ran++;
        }
    }
    return ok && ran != 0 ? 0 : 1;
}
