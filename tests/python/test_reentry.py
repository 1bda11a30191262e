"""Code that runs in the midst of something: finalizers, pickling, inputs; and threads at the same place."""

import functools
import threading
import unittest
import weakref

import auriga
import work
from support import Case, run_program

SAME_FUNCTION = """
import sys, threading, auriga
sys.setswitchinterval(1e-6)
executor = auriga.ThreadPoolExecutor(2)
wrong = []

def submit(barrier, fn, value):
    barrier.wait()
    futures = [executor.submit(fn) for _ in range(20)]
    wrong.extend(f for f in futures if f.result() != value)

for number in range(100):
    space = {}
    exec(compile(f"def fn():\\n return {number}", "fn.py", "exec"), space)
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=submit, args=(barrier, space["fn"], number)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(len(wrong))
"""

TRACED = """
import tracemalloc
tracemalloc.start()
import auriga
with auriga.Pool(2) as pool:
    for _ in range(300):
        assert pool.map(abs, range(100)) == list(range(100))
"""

LETTERS = "数" * 160


def function_of(name):
    """A function of this module that returns its name."""

    def made():
        return name

    made.__qualname__ = made.__name__ = name
    made.__module__ = __name__
    globals()[name] = made
    return made


class AtItsEnd:
    """Calls a function when it goes away."""

    def __init__(self, call):
        self.call = call

    def __del__(self):
        self.call()


class Finalizers(Case):
    def test_a_function_that_submits_when_it_goes_away(self):
        for name in ("first", "second", "third"):
            self.addCleanup(globals().pop, name, None)
        functions = {name: function_of(name) for name in ("first", "second", "third")}
        results = []
        with auriga.Pool(1) as pool:
            functions["first"].own = AtItsEnd(
                lambda: results.append(pool.apply_async(functions["second"]))
            )
            self.assertEqual(pool.apply(functions.pop("first")), "first")
            del globals()["first"]  # the pool alone has it now
            for name in ("third", "second", "third"):
                results.append(pool.apply_async(functions[name]))
            found = [result.get() for result in results]
        self.assertEqual(found, ["second", "third", "second", "third"])

    def test_futures_whose_end_cancels_what_has_not_begun(self):
        for kind in (auriga.ThreadPoolExecutor, auriga.ProcessPoolExecutor):
            calls = []
            told = []
            with kind(1) as executor, self.gate() as gate:

                def cancel(_=None):
                    calls.append(executor._core.cancel_pending())

                held = executor.submit(work.wait_for_file, gate)
                for number in range(20):
                    future = executor.submit(abs, number)
                    if number % 2:
                        told.append(weakref.ref(future, cancel))
                    else:
                        future.own = AtItsEnd(cancel)
                    del future
            self.assertTrue(held.done())
            self.assertEqual(len(calls), 20)


class AtTheSamePlace(Case):
    def test_threads_that_submit_a_function_nobody_has_submitted(self):
        self.assertEqual(run_program(SAME_FUNCTION), (0, "0\n", ""))

    def test_maps_while_memory_is_traced(self):
        self.assertEqual(run_program(TRACED), (0, "", ""))


class Letters(Case):
    def test_a_message_that_is_cut_within_a_letter(self):
        """Of one length or another it is, in any encoding of several bytes."""
        with auriga.ThreadPoolExecutor(2) as executor:
            for more in range(3):
                name = "x" * more + LETTERS
                space = {}
                exec(f"def {name}(get): return get().result()", space)
                ready = threading.Event()
                futures = []

                def other(number):
                    ready.wait()
                    return futures[1 - number]

                for number in range(2):
                    futures.append(executor.submit(space[name], functools.partial(other, number)))
                ready.set()
                for future in futures:
                    self.assertIsInstance(future.exception(), auriga.DeadlockError)


if __name__ == "__main__":
    unittest.main()
