/* base/hot.h: where code lies.
 *
 * A short call that comes after a pause costs what its lines and pages cost on their way from the
 * memory.  AURI_HOT puts the functions of such a call side by side in the library; what they call only if
 * something is wrong, or once in a while, is not inlined into them. */
#ifndef AURI_BASE_HOT_H
#define AURI_BASE_HOT_H

#define AURI_HOT __attribute__((hot))
#define AURI_APART __attribute__((noinline))

#endif /* AURI_BASE_HOT_H */
