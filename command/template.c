/* template.c: placeholders.
 *
 * A word that is nothing but a placeholder of all arguments becomes one word an argument; inside a longer
 * word they are joined by blanks.  With a shell, each argument is quoted where it is put in. */
#include "template.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum part_kind kind;
} names[] = {
    { "", PART_WHOLE },     { ".", PART_NO_EXT }, { "/", PART_BASE }, { "//", PART_FOLDER },
    { "/.", PART_BASE_NO }, { "#", PART_SEQ },    { "%", PART_SLOT },
};

/* Reads one placeholder at s ("{...}"); returns its length, or 0 if there is none. */
static size_t read_placeholder(const char *s, size_t n, struct part *part)
{
    size_t at = 1;
    unsigned which = 0;

    if (n < 2 || s[0] != '{') {
        return 0;
    }
    for (; at < n && s[at] >= '0' && s[at] <= '9' && which < 100000; at++) {
        which = which * 10 + (unsigned)(s[at] - '0');
    }
    if (at > 1 && which == 0) {
        return 0; /* {0} means nothing: it stays */
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length = strlen(names[i].name);
        if (at + length < n && s[at + length] == '}' &&
            strncmp(s + at, names[i].name, length) == 0) {
            if (names[i].kind >= PART_SEQ && which != 0) {
                return 0;
            }
            *part = (struct part){ .kind = names[i].kind, .which = which };
            return at + length + 1;
        }
    }
    return 0;
}

static void add_part(struct word *word, struct part part)
{
    word->parts = memory(word->parts, (word->n + 1) * sizeof(*word->parts));
    word->parts[word->n++] = part;
}

/* Returns whether there was a placeholder. */
static bool split_word(struct template *t, struct word *word, const char *s)
{
    size_t n = strlen(s), from = 0;
    bool found = false;

    for (size_t at = 0; at < n;) {
        struct part part;
        size_t length = read_placeholder(s + at, n - at, &part);
        if (length == 0) {
            at++;
            continue;
        }
        if (at > from) {
            add_part(word, (struct part){ .text = s + from, .n = at - from });
        }
        add_part(word, part);
        t->has_slot |= part.kind == PART_SLOT;
        found = true;
        at += length;
        from = at;
    }
    if (from < n || word->n == 0) {
        add_part(word, (struct part){ .text = s + from, .n = n - from });
    }
    return found;
}

static struct word *add_word(struct template *t)
{
    t->words = memory(t->words, (t->n + 1) * sizeof(*t->words));
    t->words[t->n] = (struct word){ 0 };
    return &t->words[t->n++];
}

void template_init(struct template *t, char *const *argv, unsigned n, bool shell)
{
    bool found = false;

    *t = (struct template){ .shell = shell };
    if (shell) {
        struct text joined = { 0 };
        for (unsigned i = 0; i < n; i++) {
            text_puts(&joined, i > 0 ? " " : "");
            text_puts(&joined, argv[i]);
        }
        text_add(&joined, "", 1);
        t->own_text = joined.bytes;
        found = split_word(t, add_word(t), t->own_text);
        if (!found) {
            add_part(&t->words[0], (struct part){ .text = " ", .n = 1 });
            add_part(&t->words[0], (struct part){ .kind = PART_WHOLE });
        }
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        found |= split_word(t, add_word(t), argv[i]);
    }
    if (!found) {
        add_part(add_word(t), (struct part){ .kind = PART_WHOLE });
    }
}

void template_free(struct template *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        free(t->words[i].parts);
    }
    free(t->words);
    free(t->own_text);
    *t = (struct template){ 0 };
}

/* The part of an argument that a placeholder stands for: what GNU parallel's stand for. */
static const char *pick(enum part_kind kind, const char *value, size_t *ret_n)
{
    size_t n = strlen(value);
    const char *slash = memrchr(value, '/', n);
    const char *base = slash != NULL ? slash + 1 : value;

    if (kind == PART_FOLDER) {
        *ret_n = slash == NULL || slash == value ? 1 : (size_t)(slash - value);
        return slash == NULL ? "." : value;
    }
    if (kind == PART_BASE || kind == PART_BASE_NO) {
        n -= (size_t)(base - value);
        value = base;
    }
    if (kind == PART_NO_EXT || kind == PART_BASE_NO) {
        const char *dot = strrchr(base, '.');
        if (dot != NULL) {
            n = (size_t)(dot - value);
        }
    }
    *ret_n = n;
    return value;
}

static void add_argument(struct text *to, enum part_kind kind, const char *value, bool quoted)
{
    size_t n;
    const char *from = pick(kind, value, &n);

    if (quoted) {
        text_quote(to, from, n);
    } else {
        text_add(to, from, n);
    }
}

static void add_arguments(struct text *to, const struct part *part, const struct arguments *args,
                          bool quoted)
{
    unsigned from = part->which != 0 ? part->which - 1 : 0;
    unsigned to_end = part->which != 0 ? part->which : args->n;

    for (unsigned i = from; i < to_end && i < args->n; i++) {
        text_puts(to, i > from ? " " : "");
        add_argument(to, part->kind, args->values[i], quoted);
    }
}

static void begin_word(struct command_line *line)
{
    if (line->n == line->room) {
        line->room = line->room != 0 ? line->room * 2 : 16;
        line->starts = memory(line->starts, line->room * sizeof(*line->starts));
    }
    line->starts[line->n++] = line->bytes.used;
}

static bool is_all(const struct word *word)
{
    return word->n == 1 && word->parts[0].which == 0 && word->parts[0].kind >= PART_WHOLE &&
           word->parts[0].kind <= PART_BASE_NO;
}

static void expand_word(const struct template *t, const struct word *word,
                        const struct arguments *args, const unsigned long long numbers[2],
                        struct command_line *line)
{
    if (!t->shell && is_all(word)) {
        for (unsigned i = 0; i < args->n; i++) {
            begin_word(line);
            add_argument(&line->bytes, word->parts[0].kind, args->values[i], false);
            text_add(&line->bytes, "", 1);
        }
        return;
    }
    begin_word(line);
    for (unsigned i = 0; i < word->n; i++) {
        const struct part *part = &word->parts[i];
        switch (part->kind) {
        case PART_TEXT:
            text_add(&line->bytes, part->text, part->n);
            break;
        case PART_SEQ:
        case PART_SLOT:
            text_printf(&line->bytes, "%llu", numbers[part->kind == PART_SLOT]);
            break;
        default:
            add_arguments(&line->bytes, part, args, t->shell);
        }
    }
    text_add(&line->bytes, "", 1);
}

static void add_literal(struct command_line *line, const char *word)
{
    begin_word(line);
    text_add(&line->bytes, word, strlen(word) + 1);
}

void template_expand(const struct template *t, const struct arguments *args, uint64_t seq,
                     unsigned slot, struct command_line *line)
{
    const unsigned long long numbers[2] = { seq, slot };

    line->n = 0;
    line->bytes.used = 0;
    if (t->shell) {
        add_literal(line, "/bin/sh");
        add_literal(line, "-c");
    }
    for (unsigned i = 0; i < t->n; i++) {
        expand_word(t, &t->words[i], args, numbers, line);
    }
    line->block = memory(line->block, (line->n + 3) * sizeof(*line->block));
    line->argv = line->block + 2;
    for (unsigned i = 0; i < line->n; i++) {
        line->argv[i] = line->bytes.bytes + line->starts[i];
    }
    line->argv[line->n] = NULL;
}

void command_line_free(struct command_line *line)
{
    text_free(&line->bytes);
    free(line->starts);
    free(line->block);
    *line = (struct command_line){ 0 };
}

void command_line_show(const struct template *t, const struct command_line *line, struct text *text)
{
    if (t->shell) {
        const char *script = line->argv[2];
        if (strpbrk(script, "\n\t\r") == NULL) {
            text_puts(text, script);
        } else {
            text_show(text, script, strlen(script), SIZE_MAX);
        }
        return;
    }
    for (unsigned i = 0; i < line->n; i++) {
        text_puts(text, i > 0 ? " " : "");
        text_show(text, line->argv[i], strlen(line->argv[i]), SIZE_MAX);
    }
}
