/* Logical threads: stacks, and a switch between them that makes no system call. */
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

#define STACK_BYTES (256u << 10)

static struct {
    void *stack;
    void *sp;
    void (*fn)(void);
} fibers[MODEL_THREADS + 1];

#if defined(__x86_64__)

void fiber_swap_(void **save, void *to);
/* Callee-saved registers and the control words, by the System V ABI. */
__asm__(".text\n"
        ".globl fiber_swap_\n"
        ".type fiber_swap_,@function\n"
        "fiber_swap_:\n"
        "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp,(%rdi)\n"
        "  mov %rsi,%rsp\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
        "  ret\n"
        ".size fiber_swap_,.-fiber_swap_\n");

static void enter(void)
{
    fibers[sim.self].fn();
    abort();
}

static void prepare(unsigned fiber)
{
    uintptr_t top = ((uintptr_t)fibers[fiber].stack + STACK_BYTES) & ~(uintptr_t)15;
    void **sp = (void **)top;

    *--sp = NULL; /* keeps the stack aligned as after a call */
    *--sp = (void *)(uintptr_t)enter;
    for (int i = 0; i < 6; i++) {
        *--sp = NULL;
    }
    fibers[fiber].sp = sp;
}

void fiber_switch(unsigned from, unsigned to)
{
    fiber_swap_(&fibers[from].sp, fibers[to].sp);
}

#else /* any other machine: slower, by the C library */

#include <ucontext.h>

static ucontext_t contexts[MODEL_THREADS + 1];

static void enter(void)
{
    fibers[sim.self].fn();
    abort();
}

static void prepare(unsigned fiber)
{
    getcontext(&contexts[fiber]);
    contexts[fiber].uc_stack.ss_sp = fibers[fiber].stack;
    contexts[fiber].uc_stack.ss_size = STACK_BYTES;
    contexts[fiber].uc_link = NULL;
    makecontext(&contexts[fiber], enter, 0);
}

void fiber_switch(unsigned from, unsigned to)
{
    swapcontext(&contexts[from], &contexts[to]);
}

#endif

void fiber_start(unsigned fiber, void (*fn)(void))
{
    if (fibers[fiber].stack == NULL) {
        fibers[fiber].stack =
            mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fibers[fiber].stack == MAP_FAILED) {
            abort();
        }
    }
    fibers[fiber].fn = fn;
    prepare(fiber);
}
