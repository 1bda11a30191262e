/* How a process pool comes to life, and what is left to free at its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proc/engine.h"
#include "proc/image.h"
#include "proc/internal.h"
#include "proc/worker.h"
#include "proc/zygote.h"

#define BIG_PARENT_BYTES (UINT64_C(64) << 20)

/* ---- what speaks against a fork ------------------------------------------------------------------------- */

static aur_err check_threads(const aur_options *opts, aur_diag *diag)
{
    unsigned foreign = opts->start == AUR_START_DEFAULT ? auri_foreign_threads() : 0;

    if (foreign == 0) {
        return AUR_OK;
    }
    return auri_diag(
        diag, AUR_ETHREADS, 0, "threads",
        "%u thread%s that %s not Auriga's in this process: a fork could copy a lock that "
        "one of them holds. Make the pool before the threads, or set start to "
        "AUR_START_SPAWN, or to AUR_START_FORK if you know that it is safe",
        foreign, foreign == 1 ? "" : "s", foreign == 1 ? "is" : "are");
}

static void diagnose_size(aur_pool *pool)
{
    uint64_t bytes = auri_parent_anon_bytes();

    if (bytes > BIG_PARENT_BYTES) {
        auri_pool_log(
            pool, AUR_LOG_WARN,
            "pool \"%s\": this process has %llu MiB of memory of its own; each worker, and "
            "each replacement, takes about %llu ms to fork, and this process pays 7 to 14 us "
            "for its first write to each old page. AUR_START_SPAWN avoids both; so does "
            "making the pool earlier; huge pages make it 30 times less",
            pool->name, (unsigned long long)(bytes >> 20),
            (unsigned long long)(bytes >> 20) * 20 / 1024 + 1);
    }
}

/* ---- the parts -------------------------------------------------------------------------------------------- */

static aur_err start_committer(void *ctx, int socket_fd, int *ret_pid, int *ret_pidfd,
                               aur_diag *diag)
{
    (void)ctx;
    return auri_image_start("committer", socket_fd, ret_pid, ret_pidfd, diag);
}

static aur_err make_arenas(struct auri_proc *p, aur_diag *diag)
{
    aur_err err = auri_arena_new(0, "auriga-args", AURI_ARENA_DONTFORK, &p->args, diag);

    if (err == AUR_OK) {
        err = auri_arena_new(0, "auriga-shared", AURI_ARENA_DONTFORK, &p->shared, diag);
    }
    if (err == AUR_OK && auri_arena_fd_readonly(p->args) < 0) {
        err = auri_diag(diag, AUR_ESYS, 0, "open",
                        "the argument memory cannot be opened read-only: "
                        "is /proc mounted?");
    }
    if (err != AUR_OK) {
        return err;
    }
    p->args_base = auri_arena_at(p->args, 0);
    p->args_bytes = auri_arena_bytes(p->args);
    if (auri_committer_new(start_committer, NULL, &p->committer) == AUR_OK) {
        auri_commit_policy policy = { .committer = p->committer };
        auri_arena_set_policy(p->args, &policy);
        auri_arena_set_policy(p->shared, &policy);
    }
    if (p->spawn) {
        p->fn_table = calloc(AURI_FNS_MAX, sizeof(*p->fn_table));
        err = p->fn_table != NULL
                  ? auri_arena_alloc(p->args, AURI_FNS_MAX * sizeof(struct auri_fn_entry), &p->fns)
                  : AUR_ENOMEM;
        if (err != AUR_OK) {
            return auri_diag(diag, AUR_ENOMEM, 0, "functions",
                             "no memory for the table of functions");
        }
    }
    return AUR_OK;
}

static aur_err make_fds(struct auri_proc *p, aur_diag *diag)
{
    int bell[2];
    int failed = aurp_bell_new(bell);

    if (failed == 0) {
        p->bell = bell[0];
        p->rope = bell[1];
        p->kick = aurp_eventfd_new();
        p->epoll = aurp_epoll_new();
        failed = p->kick < 0 ? -p->kick : p->epoll < 0 ? -p->epoll : 0;
    }
    if (failed == 0) {
        failed = aurp_epoll_add(p->epoll, p->bell, AURI_TOKEN_BELL);
        p->bell_added = failed == 0;
    }
    if (failed == 0) {
        failed = aurp_epoll_add(p->epoll, p->kick, AURI_TOKEN_KICK);
    }
    if (failed == 0) {
        failed = aurp_epoll_add(p->epoll, auri_nursery_fd(p->nursery), AURI_TOKEN_NURSERY);
    }
    return failed == 0 ? AUR_OK
                       : auri_diag(diag, auri_err_of_errno(failed), failed, "descriptors",
                                   "the pool's own descriptors could not be made");
}

static aur_err make_nursery(struct auri_proc *p, aur_diag *diag)
{
    const aur_options *opts = &p->pool->opts;
    auri_nursery_options nursery = {
        .start = p->spawn ? opts->start : AUR_START_FORK,
        .worker_main = auri_worker_main,
        .keep_fds = (opts->flags & AUR_POOL_KEEP_FDS) != 0,
        .exec_argv = opts->exec_argv,
        .exec_fds = opts->exec_fds,
        .exec_fds_n = (unsigned)opts->exec_fds_n,
        .memory_max_bytes = opts->memory_max_bytes,
        .name = p->pool->name,
    };

    if (!p->spawn && auri_modules_new(&p->modules) != AUR_OK) {
        return auri_diag(diag, AUR_ENOMEM, 0, "modules", "no memory for the list of modules");
    }
    return auri_nursery_new(&nursery, &p->nursery, diag);
}

/* The workers whose state is this one. */
static unsigned count_workers(const struct auri_proc *p, int state)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->pool->workers; i++) {
        n += p->slots[i].worker != NULL && (int)p->slots[i].worker->state == state;
    }
    return n;
}

/* The first requests wait in the nursery's socket while it comes to life. */
static aur_err ask_first(struct auri_proc *p, aur_diag *diag)
{
    for (unsigned i = 0; i < p->pool->workers; i++) {
        auri_want(p, i, 0);
    }
    pthread_mutex_lock(&p->lock);
    (void)auri_nurse_ask(p, UINT64_MAX - 1);
    pthread_mutex_unlock(&p->lock);
    return auri_nursery_hello(p->nursery, diag);
}

/* Until each worker has a process.  One that cannot have one fails the start.  One that had one and has
 * died already, in its init for instance, is replaced like any other; 10 in a row break the pool. */
static aur_err make_workers(struct auri_proc *p, aur_diag *diag)
{
    struct auri_harvest h;
    unsigned live = 0;
    int failed = 0;

    AURI_HARVEST_INIT(&h);
    bool broken = false;
    while (live < p->pool->workers && !broken) {
        pthread_mutex_lock(&p->lock);
        (void)auri_nurse_ask(p, UINT64_MAX - 1);
        bool stuck = count_workers(p, AURI_W_ASKED) == 0; /* no answer will come */
        auri_nursery_events(p, &h, &failed);
        live = count_workers(p, AURI_W_LIVE);
        broken = p->broken && !p->nursery_dead;
        bool hopeless = failed != 0 || p->nursery_dead || p->refusals != 0 ||
                        (stuck && live < p->pool->workers);
        bool more = count_workers(p, AURI_W_ASKED) != 0; /* else one died: the next round asks */
        pthread_mutex_unlock(&p->lock);
        if (hopeless) {
            failed = failed != 0 ? failed : EAGAIN;
            return auri_diag(diag, failed == ENOMEM ? AUR_ENOMEM : AUR_EAGAIN, failed, "worker",
                             "worker %u of %u could not be started", live + 1, p->pool->workers);
        }
        if (more && !broken) {
            (void)auri_nursery_wait(p->nursery, AUR_NO_DEADLINE);
        }
    }
    return AUR_OK;
}

static aur_err start_guardian(struct auri_proc *p, aur_diag *diag)
{
    p->flew_ns = aurp_now_ns();
    p->guardian_wakes_ns = 0;
    auri_pool_hold(p->pool);
    auri_own_threads_add(1);
    int failed = aurp_thread_start(&p->guardian, auri_guardian, p, p->pool->name);
    if (failed == 0) {
        return AUR_OK;
    }
    auri_own_threads_add(-1);
    auri_store_rlx(&p->pool->holds,
                   auri_load_rlx(&p->pool->holds) - 1); /* relaxed: ours alone yet */
    return auri_diag(diag, auri_err_of_errno(failed), failed, "pthread_create",
                     "the guardian thread could not be started");
}

/* ---- the other side --------------------------------------------------------------------------------------- */

aur_err auri_engine_serve(int socket_fd)
{
    if (socket_fd < 3) {
        return AUR_EINVAL;
    }
    aurp_close_on_exec(socket_fd);
    auri_zygote_hear(socket_fd, auri_worker_main);
    return AUR_ESYS;
}

aur_err auri_engine_nursery(void)
{
    const char *text = secure_getenv(AURI_NURSERY_VARIABLE);
    int socket_fd = text != NULL ? atoi(text) : -1;

    if (socket_fd >= 3) {
        unsetenv(AURI_NURSERY_VARIABLE);
    }
    return auri_engine_serve(socket_fd);
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

static struct auri_proc *proc_new(aur_pool *pool, const aur_options *opts)
{
    struct auri_proc *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return NULL;
    }
    p->pool = pool;
    p->spawn = opts->start == AUR_START_SPAWN || opts->start == AUR_START_EXEC;
    p->slots_max = pool->workers + opts->spares_max; /* resolved: 0 means none */
    p->cpus = aurp_cpu_count_allowed(); /* else it reads files, which takes longer than a fork */
    p->bell = p->rope = p->kick = p->epoll = -1;
    auri_store_rlx(&p->shrink_period_ns, AURI_SHRINK_NS); /* relaxed: not shared yet */
    p->slots = calloc(p->slots_max, sizeof(*p->slots));
    if (p->slots == NULL) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

aur_err auri_engine_start(aur_pool *pool, const aur_options *opts, aur_diag *diag)
{
    aur_err err = check_threads(opts, diag);

    if (err != AUR_OK) {
        return err;
    }
    struct auri_proc *p = proc_new(pool, opts);
    if (p == NULL) {
        return auri_diag(diag, AUR_ENOMEM, 0, "calloc", "no memory for the pool itself");
    }
    if (!p->spawn) {
        diagnose_size(pool);
    }
    pool->impl = p;
    err = make_nursery(p, diag); /* first: what is made after it, workers do not inherit */
    err = err != AUR_OK ? err : make_arenas(p, diag);
    err = err != AUR_OK ? err : make_fds(p, diag);
    err = err != AUR_OK ? err : ask_first(p, diag);
    err = err != AUR_OK ? err : make_workers(p, diag);
    err = err != AUR_OK ? err : start_guardian(p, diag);
    if (err != AUR_OK) {
        auri_engine_free(p);
        pool->impl = NULL;
    }
    return err;
}

void auri_arenas_close(struct auri_proc *p)
{
    if (p->bufs != 0) {
        return;
    }
    auri_arena_delete(p->args);
    auri_arena_delete(p->shared);
    auri_committer_delete(p->committer);
    p->args = p->shared = NULL;
    p->committer = NULL;
    p->args_bytes = 0;
}

static void drop_worker(struct auri_proc *p, struct auri_worker *w)
{
    struct auri_harvest h;

    AURI_HARVEST_INIT(&h);
    if (w->ctl != NULL) {
        auri_judge(p, w, &h);
    }
    auri_bury(p, w, &h);
}

void auri_engine_free(struct auri_proc *p)
{
    p->nursery = auri_nursery_free(p->nursery); /* kills what is left */
    for (unsigned i = 0; i < p->slots_end; i++) {
        if (p->slots[i].worker != NULL) {
            drop_worker(p, p->slots[i].worker);
        }
        auri_segment_unref(p->slots[i].warm);
    }
    aurp_close(&p->epoll);
    aurp_close(&p->kick);
    aurp_close(&p->bell);
    aurp_close(&p->rope);
    auri_arenas_close(p);
    p->modules = auri_modules_free(p->modules);
    pthread_mutex_destroy(&p->lock);
    free(p->fn_table);
    free(p->slots);
    free(p);
}
