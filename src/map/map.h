/* map/map.h: maps and index loops on threads: chunks of items, their failures, retries, deadlines. */
#ifndef AURI_MAP_MAP_H
#define AURI_MAP_MAP_H

#include "task/pool.h"

/* Runs the map of root on the calling thread, with the help of the pool's workers if it is a thread pool.
 * The run function of root tasks: inside auri_run_claimed().  Fills root->err and root->error. */
void auri_map_run(auri_task *root);

#endif /* AURI_MAP_MAP_H */
