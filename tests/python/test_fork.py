"""Pools, results, iterators and executors of the parent in a child of os.fork(): whatever is asked of them there
ends, with what was known at the fork or with an error, also if threads of the parent were in the midst of it."""

import gc
import os
import pickle
import sys
import threading
import unittest
import warnings

import auriga
import auriga.stdlib
import work
from support import Case

REFUSED = "AurigaError"


def outcome(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


class ForkCase(Case):
    def in_child(self, calls):
        """The outcome of each of these in a child of its own, as {name: value or name of the exception's type}."""
        return {name: self.run_child(lambda: outcome(call)) for name, call in calls.items()}

    def run_child(self, call):
        """What it returns in a child; or, if it does not return, how that ended."""
        ours, theirs = os.pipe()
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is what it is about
            pid = os.fork()
        if pid == 0:
            try:
                with open(theirs, "wb") as out:
                    pickle.dump(call(), out)
            finally:
                os._exit(0)
        os.close(theirs)
        with open(ours, "rb") as results:
            data = results.read()
        _, status = os.waitpid(pid, 0)
        self.assertEqual(status, 0)
        return pickle.loads(data) if data else "nothing"

    def begin(self, call):
        """A thread that runs this, whatever comes of it."""
        thread = threading.Thread(target=outcome, args=(call,))
        thread.start()
        self.addCleanup(thread.join)

    def await_holder(self, lock):
        while lock.acquire(blocking=False):
            lock.release()
            os.sched_yield()


class Pools:
    """make(n) makes a pool.  large: the outcome of a call that was done at the fork, if it was a large one."""

    def check(self, calls, expected):
        got = self.in_child(calls)
        self.assertEqual(got, dict.fromkeys(calls, expected) if isinstance(expected, str) else expected)

    def test_what_is_under_way(self):
        with self.make(1) as pool, self.gate() as gate:
            held = pool.apply_async(work.wait_for_file, (gate,))
            self.await_begun(gate)
            told = pool.apply_async(work.add, (1,), callback=lambda value: None)
            mapped = pool.map_async(work.add, range(9), 3)
            self.begin(held.get)
            self.begin(mapped.wait)
            self.check({
                "get": held.get, "get in time": lambda: held.get(3600), "wait": held.wait,
                "told": told.get, "map": mapped.get, "map in time": lambda: mapped.wait(3600),
            }, REFUSED)
            self.check({"ready": held.ready, "all": mapped.ready}, {"ready": False, "all": False})
            self.check({"value": held.successful, "values": mapped.successful}, "ValueError")

    def test_iterators(self):
        for verb in "imap", "imap_unordered":
            for size in 1, 3:
                for items in range(9), (number for number in range(9)):
                    with self.make(1) as pool, self.gate() as gate:
                        pool.apply_async(work.wait_for_file, (gate,))
                        self.await_begun(gate)
                        results = getattr(pool, verb)(work.add, items, size)
                        self.begin(results.__next__)
                        self.await_holder(results._lock)

                        def end():
                            pool.terminate()
                            return next(results)

                        def drop():
                            nonlocal results
                            del results
                            gc.collect()

                        self.check({
                            "next": results.__next__, "in time": lambda: results.next(3600), "end": end,
                        }, REFUSED)
                        self.assertIsNone(self.run_child(drop))

    def test_verbs(self):
        pool = self.make(1)
        calls = {
            "apply": lambda: pool.apply(abs, (-1,)),
            "told": lambda: pool.apply_async(abs, (-1,), callback=print).get(),
            "map": lambda: pool.map(abs, range(9)), "items": lambda: pool.starmap(pow, [(1, 2)], 1),
            "map told": lambda: pool.map_async(abs, range(9), callback=print).get(),
            "imap": lambda: list(pool.imap(abs, range(9))),
            "unordered": lambda: list(pool.istarmap_unordered(pow, [(1, 2)], 3)),
        }
        got = self.in_child(calls)
        self.assertLessEqual(set(got.values()), {REFUSED, "RuntimeError"}, got)
        self.check({"workers": lambda: pool._pool, "calls": lambda: pool._cache},
                   {"workers": [], "calls": {}})
        pool.terminate()

    def test_the_end(self):
        with self.make(1) as pool, self.gate() as gate:
            pool.apply_async(work.wait_for_file, (gate,))
            self.await_begun(gate)
            kept = pool.imap(work.add, (number for number in range(1000)))
            self.begin(lambda: (pool.close(), pool.join()))
            while pool._state == "RUN":
                os.sched_yield()

            def leave():
                with pool:
                    pass

            self.assertEqual(self.in_child({"join": pool.join}), {"join": REFUSED})
            self.assertIsNone(self.run_child(pool.terminate))
            self.assertEqual(outcome(leave), "ValueError")  # it is closed
            self.assertIsNone(self.run_child(lambda: pool.__exit__(None, None, None)))
            self.open_gate(gate)
            self.assertEqual(next(kept), 2)

    def test_what_was_done(self):
        with self.make(1) as pool:
            asked, unasked = (pool.apply_async(work.big, (300_000,)) for _ in range(2))
            mapped = pool.map_async(work.big, [300_000] * 2, 2)
            results = pool.imap(work.big, [300_000] * 2)
            self.assertEqual(len(asked.get()), 300_000)
            self.assertEqual([len(one) for one in results], [300_000] * 2)
            pool.close()
            pool.join()
            expected = {
                "asked": 300_000, "unasked": self.large or 300_000, "map": self.large or 2,
                "end": "StopIteration",
            }
            self.check({
                "asked": lambda: len(asked.get()), "unasked": lambda: len(unasked.get()),
                "map": lambda: len(mapped.get()), "end": results.__next__,
            }, expected)
            self.assertEqual(len(unasked.get()), 300_000)
            self.assertEqual(len(mapped.get()), 2)

    def test_a_callback_that_has_not_returned(self):
        entered, may_return = threading.Event(), threading.Event()

        def callback(value):
            entered.set()
            may_return.wait()

        with self.make(1) as pool:
            result = pool.apply_async(work.add, (1,), callback=callback)
            entered.wait()
            self.check({"get": result.get, "ready": result.ready}, {"get": 3, "ready": True})
            may_return.set()

    def test_a_pool_of_its_own(self):
        with self.make(1) as pool:
            pool.apply_async(work.add, (1,), callback=lambda value: None).get()

            def own():
                told = []
                with self.make(2) as pool:
                    results = pool.map(work.add, range(99)), list(pool.imap(work.add, iter(range(9))))
                    pool.apply_async(work.add, (5,), callback=told.append).get()
                    return *map(len, results), told

            self.assertEqual(self.run_child(own), (99, 9, [7]))


class ProcessPools(Pools, ForkCase):
    make = staticmethod(auriga.Pool)
    large = REFUSED


class ThreadPools(Pools, ForkCase):
    make = staticmethod(auriga.ThreadPool)
    large = None


class Executors(ForkCase):
    KINDS = (
        auriga.ThreadPoolExecutor, auriga.ProcessPoolExecutor, auriga.stdlib.ProcessPoolExecutor,
    )

    def test_what_is_under_way(self):
        for kind in self.KINDS:
            with self.subTest(kind=kind), kind(1) as executor, self.gate() as gate:
                held = executor.submit(work.wait_for_file, gate)
                self.await_begun(gate)
                full = executor.submit(work.add, 1)
                full.add_done_callback(lambda future: None)
                mapped = executor.map(work.add, range(9))
                self.begin(held.result)
                self.begin(lambda: auriga.wait([held, full]))
                got = self.in_child({
                    "result": held.result, "exception": lambda: full.exception(3600),
                    "told": lambda: held.add_done_callback(print),
                    "told too": lambda: full.add_done_callback(print),
                    "wait": lambda: auriga.wait([held]), "all": lambda: auriga.wait([held, full]),
                    "completed": lambda: list(auriga.as_completed([held])),
                    "completed too": lambda: list(auriga.as_completed([full, held], 3600)),
                    "next": lambda: next(mapped), "submit": lambda: executor.submit(abs, -1).result(),
                    "map": lambda: list(executor.map(abs, range(9), chunksize=3)),
                })
                self.assertEqual(got, dict.fromkeys(got, REFUSED))
                got = self.in_child({
                    "done": held.done, "cancel": held.cancel, "cancelled": full.cancelled,
                })
                self.assertEqual(got, dict.fromkeys(got, False))

    def test_what_was_done(self):
        for kind in self.KINDS:
            with self.subTest(kind=kind):
                with kind(1) as executor:
                    asked, unasked = (executor.submit(work.big, 300_000) for _ in range(2))
                    self.assertEqual(len(asked.result()), 300_000)
                got = self.in_child({
                    "asked": lambda: len(asked.result()), "unasked": lambda: len(unasked.result()),
                })
                lost = 300_000 if kind is auriga.ThreadPoolExecutor else REFUSED
                self.assertEqual(got, {"asked": 300_000, "unasked": lost})
                self.assertEqual(len(unasked.result()), 300_000)

    def test_the_end(self):
        for kind in self.KINDS:
            with self.subTest(kind=kind), kind(1) as executor, self.gate() as gate:
                held = executor.submit(work.wait_for_file, gate)
                self.await_begun(gate)

                def leave(error):
                    executor.__exit__(error, None, None)

                for call in (
                    executor.shutdown, lambda: executor.shutdown(cancel_futures=True),
                    lambda: leave(None), lambda: leave(KeyboardInterrupt),
                ):
                    self.assertIsNone(self.run_child(call))
                self.open_gate(gate)
                self.assertEqual(held.result(), gate)
                self.assertEqual(executor.submit(abs, -1).result(), 1)

    def test_one_that_was_being_started(self):
        """Its lock is held at the fork, as by a thread that starts it."""
        for kind in self.KINDS:
            executor = kind(1)
            start = executor._start_core

            def start_core():
                self.assertIsNone(self.run_child(executor.shutdown))
                self.assertEqual(self.in_child({"submit": lambda: executor.submit(abs, -1)}),
                                 {"submit": "RuntimeError"})
                return start()

            executor._start_core = start_core
            with executor:
                self.assertEqual(executor.submit(abs, -1).result(), 1)


if __name__ == "__main__":
    unittest.main()
