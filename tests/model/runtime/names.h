/* tests/model/runtime/names.h: put before each source under test (-include): what it calls of the C
 * library and must not, in the model.  The system calls of src/plat have fakes in port.c. */
#ifndef AURT_MODEL_NAMES_H
#define AURT_MODEL_NAMES_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void *model_malloc(size_t n);
void *model_calloc(size_t n, size_t size);
void *model_aligned_alloc(size_t align, size_t n);
void *model_realloc(void *p, size_t n);
void model_free(void *p);
void *model_memcpy(void *to, const void *from, size_t n);
void *model_memset(void *to, int c, size_t n);
_Noreturn void model_abort(void);
int model_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int model_mutex_destroy(pthread_mutex_t *mutex);
int model_mutex_lock(pthread_mutex_t *mutex);
int model_mutex_trylock(pthread_mutex_t *mutex);
int model_mutex_unlock(pthread_mutex_t *mutex);
int model_once(pthread_once_t *once, void (*fn)(void));
int model_key_create(pthread_key_t *key, void (*destroy)(void *));
int model_setspecific(pthread_key_t key, const void *value);

#define malloc(n) model_malloc(n)
#define calloc(n, size) model_calloc(n, size)
#define aligned_alloc(align, n) model_aligned_alloc(align, n)
#define realloc(p, n) model_realloc(p, n)
#define free(p) model_free(p)
#define memcpy(to, from, n) model_memcpy(to, from, n)
#define memset(to, c, n) model_memset(to, c, n)
#define abort() model_abort()
#define pthread_mutex_init(m, a) model_mutex_init(m, a)
#define pthread_mutex_destroy(m) model_mutex_destroy(m)
#define pthread_mutex_lock(m) model_mutex_lock(m)
#define pthread_mutex_trylock(m) model_mutex_trylock(m)
#define pthread_mutex_unlock(m) model_mutex_unlock(m)
#define pthread_once(o, f) model_once(o, f)
#define pthread_key_create(k, d) model_key_create(k, d)
#define pthread_setspecific(k, v) model_setspecific(k, v)

#endif /* AURT_MODEL_NAMES_H */
