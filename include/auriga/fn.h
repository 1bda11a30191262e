/* auriga/fn.h: AUR_FN makes a C function callable in every verb, by one line.
 *
 *     static double power(int x, int y) { return pow(x, y); }
 *     AUR_FN(double, power, int, int);
 *
 * It generates, in the caller's file:
 *     struct power_args { int a1; int a2; };   what starmap takes an array of
 *     a call trampoline and a range loop       static, so that the compiler can inline the
 *                                              function into the loop and vectorise it
 *     power_aur_fn                             the descriptor that the verbs use
 *     what aur_fork() declares                 auriga/join.h
 *
 * Use it at file scope, once per function and file, with 1 to 12 parameter types.  Each type must
 * be a type name that can stand before a variable ("const char *" can, "int (*)(int)" needs a
 * typedef) without a top-level const.  The other forms:
 *     AUR_FN_VOID(name, types...)      for functions that return nothing
 *     AUR_RANGE_FN(name, ctx_type)     for void name(uint64_t lo, uint64_t hi, ctx_type *ctx),
 *                                      the bodies of aur_for()
 */
#ifndef AURIGA_FN_H
#define AURIGA_FN_H

#include <auriga/base.h>
#include <auriga/join.h>

#if defined(__cplusplus) && defined(__cpp_exceptions)
#include <cxxabi.h>
#include <exception>
#endif

AUR_BEGIN_DECLS

/* Runs items [lo, hi): results go to ret[lo..hi).  Writes the index of the item it is about to
 * run to *item, so that a failure can be blamed on it; as an integer, or as a pointer of that value. */
typedef void aur_range_call(const void *args, void *ret, uint64_t lo, uint64_t hi, uint64_t *item);

/* Describes a callable function.  AUR_FN fills one; bindings may fill their own.  It must live,
 * unchanged, as long as any pool may still run it, or anybody waits for or asks a future of it: a
 * result's size and place are known by it.  For AUR_SPAWN workers it must lie in the static data of
 * a module (program or library). */
typedef struct aur_fn {
    uint32_t abi;          /* AUR_FN_ABI */
    uint32_t flags;        /* AUR_FN_* */
    uint64_t args_size;    /* bytes of one argument record; 0 is not allowed */
    uint64_t ret_size;     /* bytes of one result; 0: returns nothing */
    uint32_t args_align;   /* powers of two, at most 4096 */
    uint32_t ret_align;    /* 1 if ret_size is 0 */
    aur_range_call *range; /* one item is the range [i, i + 1) */
    const char *name;
} aur_fn;

#define AUR_FN_ABI 0x61757201u
#define AUR_FN_RANGE_BODY 1u /* range() takes one context and an index range: aur_for() only */
#define AUR_FN_BYTES 2u      /* a byte-string task: auriga/buf.h */

/* Inside a task: marks the current item as failed.  The first mark counts.  The value that the
 * task then returns is ignored.  Returns 0, so that `return aur_fail(...)` fits any function that
 * returns a number.
 *
 * code  the caller's own, any value; found again in aur_error.code.
 * Threads: any.  Blocks: never.  Outside a task it does nothing. */
AUR_API int aur_fail(int code, const char *format, ...) AUR_PRINTF(2, 3);

/* Used by the C++ form of AUR_FN: the item threw, `what` says what.  Fails it with AUR_EEXITED. */
AUR_API void aur_fail_thrown(const char *what);

/* Inside a task: AUR_OK, or AUR_ECANCELED / AUR_EDEADLINE once the task should end early because it
 * was cancelled, its pool is being terminated or its own deadline passed.  About 2 ns; meant for
 * loops.  Outside a task: AUR_OK.  Threads: any.  Blocks: never. */
AUR_API aur_err aur_checkpoint(void);

/* Inside a task of a map: the index of the item being run, else AUR_NO_ITEM.
 * Threads: any.  Blocks: never. */
AUR_API uint64_t aur_item_index(void);

AUR_END_DECLS

/* ---- what AUR_FN expands to; nothing below is meant to be used directly ------------------- */

#define AUR_CAT_(a, b) AUR_CAT2_(a, b)
#define AUR_CAT2_(a, b) a##b
#define AUR_STR_(x) AUR_STR2_(x)
#define AUR_STR2_(x) #x
#define AUR_SITE_ __FILE__ ":" AUR_STR_(__LINE__)
#define AUR_UNUSED_ __attribute__((unused))

/* 1 to 12, or MANY for 13 to 16. */
#define AUR_COUNT_(...)                                                                            \
    AUR_COUNT2_(__VA_ARGS__, MANY, MANY, MANY, MANY, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define AUR_COUNT2_(a, b, c, d, e, f, g, h, i, j, k, l, m, o, p, q, n, ...) n
#define AUR_FN_MANY(...) AUR_ASSERT_(0, "a function has at most 12 parameters")
#define AUR_FNV_MANY(...) AUR_ASSERT_(0, "a function has at most 12 parameters")

#ifdef __cplusplus
#define AUR_ALIGNOF_(type) alignof(type)
#define AUR_ASSERT_(cond, text) static_assert(cond, text)
#define AUR_RESTRICT_ __restrict__
#ifdef __cpp_exceptions
#define AUR_TRY_ try {
#define AUR_CATCH_                                                                                 \
    }                                                                                              \
    catch (abi::__forced_unwind &)                                                                 \
    {                                                                                              \
        throw;                                                                                     \
    }                                                                                              \
    catch (const std::exception &e)                                                                \
    {                                                                                              \
        aur_fail_thrown(e.what());                                                                 \
    }                                                                                              \
    catch (...)                                                                                    \
    {                                                                                              \
        aur_fail_thrown("an exception that is no std::exception");                                 \
    }
#else
#define AUR_TRY_
#define AUR_CATCH_
#endif
#else
#define AUR_ALIGNOF_(type) _Alignof(type)
#define AUR_ASSERT_(cond, text) _Static_assert(cond, text)
#define AUR_RESTRICT_ restrict
#define AUR_TRY_
#define AUR_CATCH_
#endif

/* Notes which item is next.  By way of a pointer type of its own, which no argument or result can have:
 * so the compiler knows that this store changes none of them, and where it sees that the function
 * cannot fail, makes it once behind the loop, which it then may vectorise. */
#if UINTPTR_MAX == UINT64_MAX
#define AUR_NOTE_(i) (*(struct aur_item_note **)(void *)item_ = (struct aur_item_note *)(i))
#else
#define AUR_NOTE_(i) (*item_ = (i))
#endif

/* The types named in AUR_FN are those of the function: C would convert numbers silently. */
#ifdef __cplusplus
#define AUR_SAME_TYPE_(name, ret, ...)                                                             \
    AUR_ASSERT_(sizeof(static_cast<ret (*)(__VA_ARGS__)>(name)) > 0, "")
#else
#define AUR_SAME_TYPE_(name, ret, ...)                                                             \
    AUR_ASSERT_(_Generic(&(name), ret(*)(__VA_ARGS__) : 1, default : 0),                           \
                "AUR_FN must name the types of " #name "()")
#endif

#define AUR_FN(ret, name, ...)                                                                     \
    AUR_SAME_TYPE_(name, ret, __VA_ARGS__);                                                        \
    AUR_CAT_(AUR_FN_, AUR_COUNT_(__VA_ARGS__))(ret, name, __VA_ARGS__)
#define AUR_FN_VOID(name, ...)                                                                     \
    AUR_SAME_TYPE_(name, void, __VA_ARGS__);                                                       \
    AUR_CAT_(AUR_FNV_, AUR_COUNT_(__VA_ARGS__))(name, __VA_ARGS__)

/* The argument record, its constructor, and the checks that the verbs use in sizeof only. */
#define AUR_FN_TYPES_(name, fields, params, names)                                                 \
    struct name##_args {                                                                           \
        fields                                                                                     \
    };                                                                                             \
    AUR_UNUSED_ static inline struct name##_args name##_aur_pack(params)                           \
    {                                                                                              \
        struct name##_args packed_ = { names };                                                    \
        return packed_;                                                                            \
    }

#define AUR_FN_RANGE_(ret, name, members)                                                          \
    AUR_UNUSED_ static void name##_aur_range(const void *args_, void *ret_, uint64_t lo_,          \
                                             uint64_t hi_, uint64_t *item_)                        \
    {                                                                                              \
        const struct name##_args *in_ = (const struct name##_args *)args_;                         \
        ret *AUR_RESTRICT_ out_ = (ret *)ret_;                                                     \
        for (uint64_t i_ = lo_; i_ < hi_; i_++) {                                                  \
            AUR_NOTE_(i_);                                                                         \
            AUR_TRY_ out_[i_] = name(members(in_[i_]));                                            \
            AUR_CATCH_                                                                             \
        }                                                                                          \
    }                                                                                              \
    AUR_UNUSED_ static inline ret *name##_aur_out(ret *out_)                                       \
    {                                                                                              \
        return out_;                                                                               \
    }                                                                                              \
    AUR_FORK_(ret, name, members)                                                                  \
    static const aur_fn name##_aur_fn AUR_UNUSED_ = {                                              \
        AUR_FN_ABI,                                                                                \
        0,                                                                                         \
        sizeof(struct name##_args),                                                                \
        sizeof(ret),                                                                               \
        AUR_ALIGNOF_(struct name##_args),                                                          \
        AUR_ALIGNOF_(ret),                                                                         \
        name##_aur_range,                                                                          \
        #name,                                                                                     \
    };                                                                                             \
    AUR_ASSERT_(sizeof(ret) > 0, "use AUR_FN_VOID for functions that return nothing")

#define AUR_FN_RANGE_VOID_(name, members)                                                          \
    AUR_UNUSED_ static void name##_aur_range(const void *args_, void *ret_, uint64_t lo_,          \
                                             uint64_t hi_, uint64_t *item_)                        \
    {                                                                                              \
        const struct name##_args *in_ = (const struct name##_args *)args_;                         \
        (void)ret_;                                                                                \
        for (uint64_t i_ = lo_; i_ < hi_; i_++) {                                                  \
            AUR_NOTE_(i_);                                                                         \
            AUR_TRY_ name(members(in_[i_]));                                                       \
            AUR_CATCH_                                                                             \
        }                                                                                          \
    }                                                                                              \
    AUR_UNUSED_ static inline void *name##_aur_out(void *out_)                                     \
    {                                                                                              \
        return out_;                                                                               \
    }                                                                                              \
    AUR_FORK_VOID_(name, members)                                                                  \
    static const aur_fn                                                                            \
        name##_aur_fn AUR_UNUSED_ = {                                                              \
            AUR_FN_ABI,                                                                            \
            0,                                                                                     \
            sizeof(struct name##_args),                                                            \
            0,                                                                                     \
            AUR_ALIGNOF_(struct name##_args),                                                      \
            1,                                                                                     \
            name##_aur_range,                                                                      \
            #name,                                                                                 \
        };                                                                                         \
    AUR_ASSERT_(sizeof(struct name##_args) > 0, "an argument record is never empty")

#define AUR_RANGE_FN(name, ctx_type)                                                               \
    AUR_UNUSED_ static void name##_aur_range(const void *args_, void *ret_, uint64_t lo_,          \
                                             uint64_t hi_, uint64_t *item_)                        \
    {                                                                                              \
        (void)ret_;                                                                                \
        AUR_NOTE_(lo_);                                                                            \
        AUR_TRY_ name(lo_, hi_, (ctx_type *)args_);                                                \
        AUR_CATCH_                                                                                 \
    }                                                                                              \
    AUR_UNUSED_ static inline ctx_type *name##_aur_ctx(ctx_type *ctx_)                             \
    {                                                                                              \
        return ctx_;                                                                               \
    }                                                                                              \
    static const aur_fn name##_aur_fn AUR_UNUSED_ = {                                              \
        AUR_FN_ABI,                                                                                \
        AUR_FN_RANGE_BODY,                                                                         \
        sizeof(ctx_type),                                                                          \
        0,                                                                                         \
        AUR_ALIGNOF_(ctx_type),                                                                    \
        1,                                                                                         \
        name##_aur_range,                                                                          \
        #name,                                                                                     \
    };                                                                                             \
    AUR_ASSERT_(sizeof(ctx_type) > 0, "the context of a range function has a size")

/* A call in sizeof is checked like any other call but not made.  The pragmas turn what C leaves
 * as a warning into an error: a wrong type must not compile. */
#ifdef __cplusplus
#define AUR_CHECKED_(expr) ((void)sizeof(expr))
#else
#ifdef __clang__ /* there the first pragma covers a lost const as well */
#define AUR_PRAGMA_QUALIFIERS_
#else
#define AUR_PRAGMA_QUALIFIERS_ _Pragma("GCC diagnostic error \"-Wdiscarded-qualifiers\"")
#endif
#define AUR_CHECKED_(expr)                                                                         \
    (__extension__({                                                                               \
        _Pragma("GCC diagnostic push")                                                             \
            _Pragma("GCC diagnostic error \"-Wincompatible-pointer-types\"")                       \
                _Pragma("GCC diagnostic error \"-Wint-conversion\"")                               \
                    AUR_PRAGMA_QUALIFIERS_(void) sizeof(expr);                                     \
        _Pragma("GCC diagnostic pop")(void) 0;                                                     \
    }))
#endif

#define AUR_MEMBERS_1_(p) (p).a1
#define AUR_MEMBERS_2_(p) (p).a1, (p).a2
#define AUR_MEMBERS_3_(p) (p).a1, (p).a2, (p).a3
#define AUR_MEMBERS_4_(p) (p).a1, (p).a2, (p).a3, (p).a4
#define AUR_MEMBERS_5_(p) (p).a1, (p).a2, (p).a3, (p).a4, (p).a5
#define AUR_MEMBERS_6_(p) (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6
#define AUR_MEMBERS_7_(p) (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6, (p).a7
#define AUR_MEMBERS_8_(p) (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6, (p).a7, (p).a8
#define AUR_MEMBERS_9_(p) (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6, (p).a7, (p).a8, (p).a9
#define AUR_MEMBERS_10_(p)                                                                         \
    (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6, (p).a7, (p).a8, (p).a9, (p).a10
#define AUR_MEMBERS_11_(p)                                                                         \
    (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6, (p).a7, (p).a8, (p).a9, (p).a10, (p).a11
#define AUR_MEMBERS_12_(p)                                                                         \
    (p).a1, (p).a2, (p).a3, (p).a4, (p).a5, (p).a6, (p).a7, (p).a8, (p).a9, (p).a10, (p).a11,      \
        (p).a12
#define AUR_FN_1(ret, name, t1)                                                                    \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1;), AUR_GROUP_(t1 a1), AUR_GROUP_(a1))                     \
    AUR_FN_ONE_(name, t1) AUR_FN_RANGE_(ret, name, AUR_MEMBERS_1_)
#define AUR_FNV_1(name, t1)                                                                        \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1;), AUR_GROUP_(t1 a1), AUR_GROUP_(a1))                     \
    AUR_FN_ONE_(name, t1) AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_1_)
#define AUR_FN_2(ret, name, t1, t2)                                                                \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2;), AUR_GROUP_(t1 a1, t2 a2), AUR_GROUP_(a1, a2))   \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_2_)
#define AUR_FNV_2(name, t1, t2)                                                                    \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2;), AUR_GROUP_(t1 a1, t2 a2), AUR_GROUP_(a1, a2))   \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_2_)
#define AUR_FN_3(ret, name, t1, t2, t3)                                                            \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3;), AUR_GROUP_(t1 a1, t2 a2, t3 a3),         \
                  AUR_GROUP_(a1, a2, a3))                                                          \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_3_)
#define AUR_FNV_3(name, t1, t2, t3)                                                                \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3;), AUR_GROUP_(t1 a1, t2 a2, t3 a3),         \
                  AUR_GROUP_(a1, a2, a3))                                                          \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_3_)
#define AUR_FN_4(ret, name, t1, t2, t3, t4)                                                        \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4;),                                   \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4), AUR_GROUP_(a1, a2, a3, a4))              \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_4_)
#define AUR_FNV_4(name, t1, t2, t3, t4)                                                            \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4;),                                   \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4), AUR_GROUP_(a1, a2, a3, a4))              \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_4_)
#define AUR_FN_5(ret, name, t1, t2, t3, t4, t5)                                                    \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5;),                            \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5), AUR_GROUP_(a1, a2, a3, a4, a5))   \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_5_)
#define AUR_FNV_5(name, t1, t2, t3, t4, t5)                                                        \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5;),                            \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5), AUR_GROUP_(a1, a2, a3, a4, a5))   \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_5_)
#define AUR_FN_6(ret, name, t1, t2, t3, t4, t5, t6)                                                \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6;),                     \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6),                            \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6))                                              \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_6_)
#define AUR_FNV_6(name, t1, t2, t3, t4, t5, t6)                                                    \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6;),                     \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6),                            \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6))                                              \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_6_)
#define AUR_FN_7(ret, name, t1, t2, t3, t4, t5, t6, t7)                                            \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7;),              \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7),                     \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7))                                          \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_7_)
#define AUR_FNV_7(name, t1, t2, t3, t4, t5, t6, t7)                                                \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7;),              \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7),                     \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7))                                          \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_7_)
#define AUR_FN_8(ret, name, t1, t2, t3, t4, t5, t6, t7, t8)                                        \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8;),       \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8),              \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8))                                      \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_8_)
#define AUR_FNV_8(name, t1, t2, t3, t4, t5, t6, t7, t8)                                            \
    AUR_FN_TYPES_(name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8;),       \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8),              \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8))                                      \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_8_)
#define AUR_FN_9(ret, name, t1, t2, t3, t4, t5, t6, t7, t8, t9)                                    \
    AUR_FN_TYPES_(name,                                                                            \
                  AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9;),      \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9),       \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9))                                  \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_9_)
#define AUR_FNV_9(name, t1, t2, t3, t4, t5, t6, t7, t8, t9)                                        \
    AUR_FN_TYPES_(name,                                                                            \
                  AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9;),      \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9),       \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9))                                  \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_9_)
#define AUR_FN_10(ret, name, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10)                              \
    AUR_FN_TYPES_(                                                                                 \
        name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9; t10 a10;), \
        AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9, t10 a10),        \
        AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10))                                       \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_10_)
#define AUR_FNV_10(name, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10)                                  \
    AUR_FN_TYPES_(                                                                                 \
        name, AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9; t10 a10;), \
        AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9, t10 a10),        \
        AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10))                                       \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_10_)
#define AUR_FN_11(ret, name, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11)                         \
    AUR_FN_TYPES_(name,                                                                            \
                  AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9;        \
                             t10 a10; t11 a11;),                                                   \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9,        \
                             t10 a10, t11 a11),                                                    \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11))                        \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_11_)
#define AUR_FNV_11(name, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11)                             \
    AUR_FN_TYPES_(name,                                                                            \
                  AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9;        \
                             t10 a10; t11 a11;),                                                   \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9,        \
                             t10 a10, t11 a11),                                                    \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11))                        \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_11_)
#define AUR_FN_12(ret, name, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12)                    \
    AUR_FN_TYPES_(name,                                                                            \
                  AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9;        \
                             t10 a10; t11 a11; t12 a12;),                                          \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9,        \
                             t10 a10, t11 a11, t12 a12),                                           \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12))                   \
    AUR_FN_RANGE_(ret, name, AUR_MEMBERS_12_)
#define AUR_FNV_12(name, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12)                        \
    AUR_FN_TYPES_(name,                                                                            \
                  AUR_GROUP_(t1 a1; t2 a2; t3 a3; t4 a4; t5 a5; t6 a6; t7 a7; t8 a8; t9 a9;        \
                             t10 a10; t11 a11; t12 a12;),                                          \
                  AUR_GROUP_(t1 a1, t2 a2, t3 a3, t4 a4, t5 a5, t6 a6, t7 a7, t8 a8, t9 a9,        \
                             t10 a10, t11 a11, t12 a12),                                           \
                  AUR_GROUP_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12))                   \
    AUR_FN_RANGE_VOID_(name, AUR_MEMBERS_12_)

#define AUR_GROUP_(...) __VA_ARGS__
/* For map: a plain array of the only argument has the layout of an array of records. */
#define AUR_FN_ONE_(name, type)                                                                    \
    typedef type name##_aur_arg1;                                                                  \
    AUR_ASSERT_(sizeof(struct name##_args) == sizeof(type), "a record of one has no padding");     \
    AUR_UNUSED_ static inline const void *name##_aur_in1(const name##_aur_arg1 *in_)               \
    {                                                                                              \
        return in_;                                                                                \
    }

#ifdef __cplusplus
template <typename T> static inline const T *aur_temporary_(const T &value)
{
    return &value;
}
#define AUR_ARGS_(name, ...) aur_temporary_(name##_aur_pack(__VA_ARGS__))
#define AUR_IN1_(name, in) name##_aur_in1(in)
#define AUR_IN_(name, in) static_cast<const struct name##_args *>(in)
#else
#define AUR_ARGS_(name, ...)                                                                       \
    (AUR_CHECKED_(name##_aur_pack(__VA_ARGS__)), &(struct name##_args){ __VA_ARGS__ })
#define AUR_IN1_(name, in)                                                                         \
    ((const void *)_Generic((in), name##_aur_arg1 * : (in), const name##_aur_arg1 * : (in)))
#define AUR_IN_(name, in)                                                                          \
    ((const void *)_Generic((in), struct name##_args * : (in), const struct name##_args * : (in)))
#endif
#define AUR_OUT_(name, out) (AUR_CHECKED_(name##_aur_out(out)), (void *)(out))

#endif /* AURIGA_FN_H */
