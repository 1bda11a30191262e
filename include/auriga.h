/* auriga.h: the whole library.  Each header can also be included alone.
 *
 *   auriga/base.h     error codes, deadlines, diagnoses, versions
 *   auriga/fn.h       AUR_FN: makes a C function callable in every verb
 *   auriga/pool.h     pools of threads and of processes
 *   auriga/future.h   the outcome of one call; waiting for one, all, any
 *   auriga/call.h     apply, map, starmap, imap, for: the verbs
 *   auriga/join.h     fork and join: branches of one computation
 *   auriga/buf.h      shared buffers, byte-string tasks
 */
#ifndef AURIGA_H
#define AURIGA_H

#include <auriga/base.h>
#include <auriga/buf.h>
#include <auriga/call.h>
#include <auriga/fn.h>
#include <auriga/future.h>
#include <auriga/join.h>
#include <auriga/pool.h>

#endif /* AURIGA_H */
