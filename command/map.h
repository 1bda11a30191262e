/* map.h: runs one command for each argument. */
#ifndef COMMAND_MAP_H
#define COMMAND_MAP_H

#include "options.h"

/* How the program ends. */
enum {
    EXIT_FAILED_MAX = 100, /* 1 to 100: so many jobs failed */
    EXIT_FAILED_MORE = 101,
    EXIT_NOT_EXECUTABLE = 126, /* the command, before any job was started */
    EXIT_NOT_FOUND = 127,
    EXIT_BROKEN = 254, /* arguments could not be read, or results not be written */
    EXIT_USAGE = 255,
};

/* Returns one of these, or minus a signal that this program is to die of. */
int map_run(const struct options *opts);

#endif /* COMMAND_MAP_H */
