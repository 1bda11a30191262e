/* bytes.c: tasks that take and give byte strings of any length, in worker processes.
 *
 * The arguments are copied once, into memory that the workers see.  A result is written where it
 * travels from, and read there by the caller: no copy at all.
 */
#include <auriga.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static aur_err shout(const void *in, size_t size, aur_out *out)
{
    const char *from = in;
    char *to = aur_out_alloc(out, size + 1);

    if (to == NULL) {
        return AUR_ENOMEM;
    }
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)toupper((unsigned char)from[i]);
    }
    to[size] = '!';
    return AUR_OK;
}
AUR_BYTES_FN(shout);

int main(void)
{
    AUR_SCOPED(aur_pool) *pool = NULL;
    AUR_SCOPED(aur_future) *f = NULL;
    aur_options opts = AUR_OPTIONS_INIT;
    const char *words[] = { "charioteer", "star", "map" };
    aur_bytes in[COUNT(words)], out[COUNT(words)];
    const void *data;
    size_t size;

    opts.kind = AUR_PROCESSES;
    opts.workers = 2;
    if (aur_pool_new(&opts, &pool, NULL) != AUR_OK ||
        aur_apply_bytes(pool, &f, shout, "hello", 5) != AUR_OK ||
        aur_future_view(f, &data, &size, AUR_NO_DEADLINE) != AUR_OK) {
        return 1;
    }
    printf("%.*s\n", (int)size, (const char *)data); /* valid as long as f */

    for (size_t i = 0; i < COUNT(words); i++) {
        in[i] = (aur_bytes){ words[i], strlen(words[i]) };
    }
    if (aur_map_bytes(pool, shout, in, COUNT(in), out) != AUR_OK) {
        return 1;
    }
    for (size_t i = 0; i < COUNT(out); i++) {
        printf("%.*s\n", (int)out[i].size, (const char *)out[i].data);
    }
    aur_bytes_free(out, COUNT(out));
    return 0;
}
