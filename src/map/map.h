/* map/map.h: maps and index loops on threads: chunks of items, their failures, retries, deadlines. */
#ifndef AURI_MAP_MAP_H
#define AURI_MAP_MAP_H

#include "task/pool.h"

/* Runs the map of root on the calling thread, with the help of the pool's workers if it is a thread pool.
 * The run function of root tasks: inside auri_run_claimed().  Fills root->err and root->error. */
void auri_map_run(auri_task *root);

/* Runs a map without a root that others know: in the calling thread, for a pool with runs_here, which has
 * counted it.  map: no limits but the pool's, no item_errs, and a place for results if there are any.
 * Returns the outcome, and notes failures for aur_last_error(). */
aur_err auri_map_here(aur_pool *pool, struct auri_map *map);

#endif /* AURI_MAP_MAP_H */
