/* auriga/join.h: fork and join: branches of one computation, without a future and without the heap.
 *
 *     static long fib(int n);
 *     AUR_FN(long, fib, int);
 *     static long fib(int n)
 *     {
 *         if (n < 2) return n;
 *         aur_fork(left, fib, n - 1);          declares `left`: another worker may take it
 *         long right = fib(n - 2);             meanwhile
 *         return aur_joined(left, fib) + right;
 *     }
 *
 * or, with plain functions and contexts,
 *
 *     aur_join(sort_range, &lower, sort_range, &upper);
 *
 * Both live on the caller's stack.  The branch is offered to the idle workers of the pool whose task
 * the calling thread runs; if none has taken it by the time of the join, the caller runs it itself.
 * So a fork costs a few nanoseconds, and recursion may go down to very small pieces.  Sleeping
 * workers are woken for work that is worth it: if the function is new here or took long the last
 * time, at once; else when the computation has run for a while.
 *
 * Where there is nobody to take a branch, the same code runs serially, the first branch first: outside
 * a task, in a serial pool, and in a worker process.
 *
 * What a branch may do
 *   It is a part of the task that forked it: aur_pool_current(), aur_checkpoint(), aur_item_index()
 *   answer as they do there, whichever thread runs it, and aur_fail() fails that task (the first
 *   failure of the branches counts; the others go on, and may ask aur_checkpoint() whether to).
 *   errno and thread-local data are those of the thread that runs it.
 *   It may fork, join, submit and wait.  Branches of one join must not wait for each other: they
 *   may run one after the other, in either order.
 *   A join that waits for a branch in another thread counts as a wait: it runs branches of that
 *   branch, or a spare worker takes its place, and it is an edge in the report of a deadlock.  It
 *   cannot be given up, so another wait of the cycle gets AUR_EDEADLK.
 *   It uses the caller's stack, as recursion does.
 *   It must not be left by longjmp().  If it ends its thread (pthread_exit()) the task fails with
 *   AUR_EEXITED, as any task does; for aur_fork() the caller must then be C++ or compiled with
 *   -fexceptions.  A C++ exception may pass aur_join() and aur_fork() in the thread that forked; in
 *   another thread one ends the program, but for functions of AUR_FN in C++, which fail with
 *   AUR_EEXITED.
 */
#ifndef AURIGA_JOIN_H
#define AURIGA_JOIN_H

#include <auriga/base.h>

AUR_BEGIN_DECLS

/* A branch. */
typedef void aur_join_fn(void *arg);

/* Runs a(arg_a) in the calling thread, and b(arg_b) in another worker meanwhile, or here afterwards.
 *
 * Threads: any.  Blocks: until both have returned.
 * Orders:  all writes before this call happen before both branches; all writes in both happen before
 *          it returns.
 * Errors:  AUR_EINVAL a or b is NULL; then neither is run.  A failure of a branch is one of the task. */
AUR_API aur_err aur_join(aur_join_fn *a, void *arg_a, aur_join_fn *b, void *arg_b);

/* C only warns of another function type; here it does not compile. */
#ifndef __cplusplus
#define aur_join(a, arg_a, b, arg_b) aur_join(AUR_BRANCH_(a), arg_a, AUR_BRANCH_(b), arg_b)
#define AUR_BRANCH_(fn) _Generic((fn), aur_join_fn * : (fn))
#endif

/* ---- the quick way of a fork and of its join; nothing here is meant to be used directly ------
 *
 * It is compiled into programs, since two calls into the library take longer than all that it does.  So these
 * structs are a part of the ABI.  Whoever changes them gives aur_self_2_ the next number: then a program that was
 * compiled with the old ones is told so when it is linked or loaded.  What the words mean, and why no
 * stronger order is needed: src/sync/split.h and src/sched/join.c. */

/* A branch on offer.  It lies on the stack of the thread that forks. */
typedef struct __attribute__((__may_alias__)) aur_fork_ {
    aur_join_fn *run_;
    void *arg_;
    void *frame_;
    uint32_t state_;
    uint32_t private_;
    uint64_t privates_[3];
} aur_fork_;

/* Where a thread's branches are.  The thread sets all three; thieves move the two bounds to where there is no
 * quick way. */
typedef struct __attribute__((__may_alias__)) aur_lane_ {
    void **head_; /* one past the newest branch */
    void **most_; /* a fork is quick while the head is below it; NULL: none is */
    void **low_;  /* a join is quick while the head is above it; AUR_LANE_TOP_: none is */
} aur_lane_;
#define AUR_LANE_TOP_ ((void **)UINTPTR_MAX)

/* Where a branch is. */
typedef struct aur_fork_spot_ {
    aur_lane_ *lane_; /* NULL: nowhere yet */
    void **head_;     /* the lane's, with the branch as its newest */
} aur_fork_spot_;

/* The beginning of what the library knows about a thread. */
struct __attribute__((__may_alias__)) aur_self_ {
    void *frame_;
    uint64_t private_[7];
    aur_lane_ *lane_; /* not NULL: else one that nothing is quick in */
};
struct auri_record;
#define AUR_TLS_ __attribute__((tls_model("initial-exec")))
extern AUR_API __thread struct auri_record *aur_self_2_ AUR_TLS_;

/* Nearly every fork of a deep recursion.  Nowhere: nothing has happened. */
static inline aur_fork_spot_ aur_fork_push_(aur_fork_ *fork, aur_join_fn *run, void *arg)
{
    const struct aur_self_ *self = (const struct aur_self_ *)(const void *)aur_self_2_;
    aur_fork_spot_ spot = { (aur_lane_ *)0, (void **)0 };

    if (__builtin_expect(!self, 0)) {
        return spot;
    }
    aur_lane_ *lane = self->lane_;
    void **head = lane->head_;
    /* relaxed: to see what a thief has done late costs time only. */
    if (__builtin_expect(head >= __atomic_load_n(&lane->most_, __ATOMIC_RELAXED), 0)) {
        return spot;
    }
    fork->run_ = run;
    fork->arg_ = arg;
    fork->frame_ = self->frame_;
    /* relaxed, and all others plain: published by [P4] when the branch is shared, or never. */
    __atomic_store_n(&fork->state_, 0u, __ATOMIC_RELAXED);
    *head = fork;
    lane->head_ = head + 1;
    spot.lane_ = lane;
    spot.head_ = head + 1;
    return spot;
}

/* Nearly every join: the branch is the newest, and nobody else knows it.  False: nothing has happened.
 *
 * The new head comes from the caller's copy.  From the lane's it would have to wait for the store of the fork or join
 * before, and that for the one before it: of a deep recursion this would be half of all its time (bench/forkjoin). */
static inline bool aur_fork_pop_(aur_fork_spot_ spot)
{
    aur_lane_ *lane = spot.lane_;

    /* relaxed: the bound says what only the owner changes, and once a thief has moved it the quick way is never
     * wrongly open. */
    if (__builtin_expect(lane->head_ != spot.head_ ||
                             spot.head_ <= __atomic_load_n(&lane->low_, __ATOMIC_RELAXED),
                         0)) {
        return false;
    }
    lane->head_ = spot.head_ - 1;
    return true;
}

/* All others. */
AUR_API aur_lane_ *aur_fork_begin_slow_(aur_fork_ *fork, aur_join_fn *run, void *arg);
AUR_API bool aur_fork_end_slow_(aur_fork_ *fork);

/* Offers run(arg).  *fork must stay where it is until aur_fork_end_().  Forks of one thread end in the
 * reverse order in which they began: the library aborts if it meets another one first. */
static inline aur_fork_spot_ aur_fork_begin_(aur_fork_ *fork, aur_join_fn *run, void *arg)
{
    aur_fork_spot_ spot = aur_fork_push_(fork, run, arg);

    if (!spot.lane_) {
        spot.lane_ = aur_fork_begin_slow_(fork, run, arg);
        spot.head_ = spot.lane_->head_;
    }
    return spot;
}

/* spot: from aur_fork_begin_().  True: nobody has taken it, and nobody will.  False: another thread has
 * run it. */
static inline bool aur_fork_end_(aur_fork_ *fork, aur_fork_spot_ spot)
{
    return aur_fork_pop_(spot) || aur_fork_end_slow_(fork);
}

AUR_END_DECLS

/* Declares `branch` in the current scope and offers the call name(...) to other workers.  `name` is a
 * function that AUR_FN or AUR_FN_VOID has seen.  If the scope ends without aur_joined(), a branch that
 * nobody has begun is dropped, and one that runs is waited for.
 * Threads: any.  Blocks: never.  Orders: as aur_join(). */
#define aur_fork(branch, name, ...)                                                                \
    struct name##_aur_forked branch##_aur_forked_;                                                 \
    __attribute__((cleanup(name##_aur_fork_drop))) struct name##_aur_fork branch;                  \
    AUR_CHECKED_(name(__VA_ARGS__));                                                               \
    branch.forked_ = 0; /* until the arguments are there */                                        \
    branch##_aur_forked_.args_ = name##_aur_pack(__VA_ARGS__);                                     \
    branch.spot_ =                                                                                 \
        aur_fork_begin_(&branch##_aur_forked_.fork_, name##_aur_fork_run, &branch##_aur_forked_);  \
    branch.forked_ = &branch##_aur_forked_

/* The result of the branch, which is run here if nobody has taken it.  Once for each aur_fork(), in
 * the reverse order of the forks (the library aborts if it meets another one first).  If the call
 * failed, the value has no meaning.  Blocks: until the branch has returned.  Orders: as aur_join(). */
#ifdef __cplusplus
#define aur_joined(branch, name) name##_aur_fork_join(&(branch))
#else /* another branch does not compile, instead of a warning */
#define aur_joined(branch, name)                                                                   \
    name##_aur_fork_join(_Generic((branch), struct name##_aur_fork : &(branch)))
#endif

/* ---- what AUR_FN adds for it; nothing below is meant to be used directly ------------------ */

/* Two parts: others see the first; nobody points to the second, so the compiler keeps it in registers. */
#define AUR_FORK_(ret, name, members)                                                              \
    struct name##_aur_forked {                                                                     \
        aur_fork_ fork_;                                                                           \
        struct name##_args args_;                                                                  \
        ret ret_;                                                                                  \
    };                                                                                             \
    AUR_UNUSED_ static void name##_aur_fork_run(void *forked_)                                     \
    {                                                                                              \
        struct name##_aur_forked *f_ = (struct name##_aur_forked *)forked_;                        \
        AUR_TRY_ f_->ret_ = name(members(f_->args_));                                              \
        AUR_CATCH_                                                                                 \
    }                                                                                              \
    AUR_FORK_OWNER_(name)                                                                          \
    AUR_UNUSED_ static inline ret name##_aur_fork_join(struct name##_aur_fork *b_)                 \
    {                                                                                              \
        struct name##_aur_forked *f_ = b_->forked_;                                                \
        b_->forked_ = 0;                                                                           \
        return aur_fork_end_(&f_->fork_, b_->spot_) ? name(members(f_->args_)) : f_->ret_;         \
    }

#define AUR_FORK_VOID_(name, members)                                                              \
    struct name##_aur_forked {                                                                     \
        aur_fork_ fork_;                                                                           \
        struct name##_args args_;                                                                  \
    };                                                                                             \
    AUR_UNUSED_ static void name##_aur_fork_run(void *forked_)                                     \
    {                                                                                              \
        struct name##_aur_forked *f_ = (struct name##_aur_forked *)forked_;                        \
        AUR_TRY_ name(members(f_->args_));                                                         \
        AUR_CATCH_                                                                                 \
    }                                                                                              \
    AUR_FORK_OWNER_(name)                                                                          \
    AUR_UNUSED_ static inline void name##_aur_fork_join(struct name##_aur_fork *b_)                \
    {                                                                                              \
        struct name##_aur_forked *f_ = b_->forked_;                                                \
        b_->forked_ = 0;                                                                           \
        if (aur_fork_end_(&f_->fork_, b_->spot_)) {                                                \
            name(members(f_->args_));                                                              \
        }                                                                                          \
    }

#define AUR_FORK_OWNER_(name)                                                                      \
    struct name##_aur_fork {                                                                       \
        struct name##_aur_forked *forked_; /* NULL: not begun, or ended */                         \
        aur_fork_spot_ spot_;                                                                      \
    };                                                                                             \
    AUR_UNUSED_ static inline void name##_aur_fork_drop(struct name##_aur_fork *b_)                \
    {                                                                                              \
        if (b_->forked_) {                                                                         \
            (void)aur_fork_end_(&b_->forked_->fork_, b_->spot_);                                   \
        }                                                                                          \
    }

#endif /* AURIGA_JOIN_H */
