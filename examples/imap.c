/* imap.c: results one by one, with a bounded window of calls under way.
 *
 * map needs all arguments and all results in memory.  imap asks for the next argument when there is
 * room in its window, so the input may be endless, and a slow consumer slows the producer down.
 */
#include <auriga.h>

#include <stdio.h>

#define N 20
#define WINDOW 4

static long cube(long x)
{
    return x * x * x;
}
AUR_FN(long, cube, long);

struct source {
    long made;  /* arguments that were asked for */
    long taken; /* results that were taken */
    long ahead; /* the most by which the one was ahead of the other */
};

/* The next argument; false when there is none. */
static bool next_number(void *source_arg, void *args)
{
    struct source *source = source_arg;

    if (source->made == N) {
        return false;
    }
    *(struct cube_args *)args = (struct cube_args){ source->made++ };
    if (source->made - source->taken > source->ahead) {
        source->ahead = source->made - source->taken;
    }
    return true;
}

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_imap_iter) *ordered = NULL;
    AUR_SCOPED(aur_imap_iter) *unordered = NULL;
    aur_call_options opts = AUR_CALL_OPTIONS_INIT;
    struct source source = { 0, 0, 0 };
    long numbers[N];
    long value, sum = 0;
    aur_err err;

    if (aur_pool_new(NULL, &pool, NULL) != AUR_OK) {
        return 1;
    }

    opts.window_items = WINDOW;
    if (aur_imap_from(pool, &opts, &ordered, cube, next_number, &source, true) != AUR_OK) {
        return 1;
    }
    printf("in order:");
    while ((err = aur_imap_next(ordered, &value, AUR_NO_DEADLINE)) == AUR_OK) {
        printf(" %ld", value);
        source.taken++;
    }
    printf("\nnever more than %d ahead: %s\n", WINDOW, source.ahead <= WINDOW ? "yes" : "no");

    /* As they complete, from an array.  The order varies, the sum does not. */
    for (long i = 0; i < N; i++) {
        numbers[i] = i;
    }
    if (err != AUR_END || aur_imap_unordered(pool, &unordered, cube, numbers, N) != AUR_OK) {
        return 1;
    }
    while ((err = aur_imap_next(unordered, &value, AUR_NO_DEADLINE)) == AUR_OK) {
        sum += value;
    }
    printf("sum, in any order: %ld\n", sum);
    return err != AUR_END;
}
