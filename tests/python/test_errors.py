"""What errors say: which item, of which function, where; also those that make it hard."""

import functools
import os
import pickle
import sys
import threading
import unittest

import auriga
import auriga.stdlib
import work
from auriga import _errors
from support import Case

NOTES = hasattr(Exception, "add_note")
VERBS = ("map", "map_async", "imap", "imap_unordered")


class Items(Case):
    def failure(self, pool, verb, fn, items, size):
        """The exception of the only item that fails."""
        try:
            results = getattr(pool, verb)(fn, items, chunksize=size)
            results = iter(results.get() if verb.endswith("async") else results)
        except BaseException as error:
            return error
        errors = []
        while True:
            try:
                next(results)
            except StopIteration as error:
                if not error.args:
                    break
                errors.append(error)
            except BaseException as error:
                errors.append(error)
        self.assertEqual(len(errors), 1)
        return errors[0]

    def check(self, pool, fn, kind, items=range(9), verbs=VERBS, sizes=(1, 3, 9)):
        for verb in verbs:
            for size in sizes:
                with self.subTest(pool=type(pool).__name__, verb=verb, size=size):
                    error = self.failure(pool, verb, fn, items, size)
                    self.assertIs(type(error), kind)
                    if NOTES:
                        self.assertEqual(error.__notes__[-1], "item 3 of the map")
                    self.assertNotIn("_auriga_item", error.__dict__)

    def outcomes(self, results):
        got = []
        while True:
            try:
                got.append(next(results))
            except StopIteration:
                return got
            except Exception as error:
                got.append((type(error), str(error).split(",")[0][:6]))
                if isinstance(error, auriga.WorkerDied):
                    got[-1] = auriga.WorkerDied, error.item
                elif NOTES:
                    self.assertRegex(error.__notes__[-1], "item [38] of the map")

    def test_each_item_of_a_chunk_has_an_outcome_of_its_own(self):
        want = [0, 1, 2, (ValueError, "no 3"), 4, 5, 6, 7, (ValueError, "no 8"), 9]
        fn = work.fail_on_three_and_eight
        for make in (auriga.Pool, auriga.ThreadPool, auriga.AutoPool):
            for size in (1, 2, 4, 10):
                with self.subTest(pool=make.__name__, size=size), make(2) as pool:
                    self.assertEqual(self.outcomes(pool.imap(fn, range(10), size)), want)
                    got = self.outcomes(pool.imap_unordered(fn, iter(range(10)), size))
                    self.assertEqual(sorted(got, key=str), sorted(want, key=str))
        with auriga.Pool(2) as pool:
            for size in (2, 5, 10):
                got = self.outcomes(pool.imap(work.die_on_three, range(10), size))
                self.assertEqual(got, [0, 1, 2, (auriga.WorkerDied, 3), 4, 5, 6, 7, 8, 9])
                large = [200_000] * 3 + [None] + [200_000] * 3  # results with a message of their own
                got = self.outcomes(pool.imap(work.big, large, size))
                self.assertEqual([len(one) for one in got], [200_000] * 3 + [2] + [200_000] * 3)

    def test_exceptions_that_forbid_attributes(self):
        for make in (auriga.Pool, auriga.ThreadPool, auriga.AutoPool):
            with make(2) as pool:
                self.check(pool, work.fail_frozen_on_three, work.FrozenError)

    def test_exceptions_that_are_no_errors(self):
        for make in (auriga.Pool, auriga.ThreadPool, auriga.AutoPool):
            with make(2) as pool:
                self.check(pool, work.exit_on_three, SystemExit)

    def test_exceptions_that_are_neither_true_nor_false(self):
        with auriga.Pool(2) as pool:
            self.check(pool, functools.partial(work.on_three, work.fail_doubtful), work.DoubtfulError)
            result = pool.apply_async(work.fail_doubtful, (1,))
            with self.assertRaises(work.DoubtfulError) as caught:
                result.get()
            self.assertIn("fail_doubtful", str(caught.exception.__cause__))

    def test_what_cannot_be_loaded(self):
        with auriga.Pool(2) as pool:
            self.check(pool, functools.partial(work.on_three, work.fail_lost), TypeError)
            self.check(pool, functools.partial(work.on_three, work.make_unloadable), RuntimeError)

    def test_what_cannot_be_pickled(self):
        from multiprocessing.pool import MaybeEncodingError

        with auriga.Pool(2) as pool:
            items = [*range(3), threading.Lock(), 4]
            self.check(pool, work.same, TypeError, items)
            for fn in (work.unpicklable, work.make_speechless, work.fail_speechless):
                self.check(pool, functools.partial(work.on_three, fn), MaybeEncodingError)

    def test_a_class_with_an_item_of_its_own(self):
        for make in (auriga.Pool, auriga.ThreadPool):
            with make(1) as pool:
                error = self.failure(pool, "map", work.fail_with_item, range(1, 4), 2)
                self.assertEqual(error.item, "mine")

    def test_maps_of_executors(self):
        for make in (auriga.ProcessPoolExecutor, auriga.ThreadPoolExecutor):
            with make(2) as pool:
                self.check(pool, work.fail_frozen_on_three, work.FrozenError, verbs=("map",))
                results = pool.map(work.fail_frozen_on_three, range(9), buffersize=2)
                with self.assertRaises(work.FrozenError) as caught:
                    list(results)
                if NOTES:
                    self.assertEqual(caught.exception.__notes__, ["item 3 of the map"])
        with auriga.ProcessPoolExecutor(2) as pool:
            for size in (1, 3):
                error = self.failure(pool, "map", work.die_on_three, range(9), size)
                self.assertEqual(error.item, 3)
        for make in (auriga.stdlib.ProcessPoolExecutor, auriga.stdlib.ThreadPoolExecutor):
            with make(2) as pool:
                for size in (1, 3):
                    error = self.failure(pool, "map", work.fail, range(9), size)
                    self.assertEqual(error.__dict__, {})

    def test_a_chunk_of_an_executor_that_cannot_be_sent(self):
        for package in (auriga, auriga.stdlib):
            with package.ProcessPoolExecutor(1) as pool:
                results = pool.map(work.same, [1, 2, threading.Lock(), 4], chunksize=2)
                self.assertEqual([next(results), next(results)], [1, 2])
                self.assertRaises(TypeError, next, results)


class Words(Case):
    """What is said of the pool itself is said in Python's words."""

    def test_of_workers(self):
        with auriga.Pool(1) as pool:
            for call, text in (
                (lambda: pool.apply(work.die, (1,)), r"KILL\) while it ran die .*; it had \d+ MB of memory at most$"),
                (lambda: pool.apply(os._exit, (3,)), "exit status 3 while it ran _exit$"),
                (lambda: pool.apply(os._exit, (3,), retries=1), r"exit status 3 while it ran _exit \(attempt 2\)$"),
            ):
                with self.assertRaisesRegex(auriga.WorkerDied, f"^worker 0 .process [0-9]+. .*{text}"):
                    call()
            with self.gate() as gate, self.assertRaisesRegex(auriga.ItemTimeout, "^wait_for_file .*ran past its"):
                pool.apply(work.wait_for_file, (gate,), timeout=1e-9)

    def test_of_what_was_left_behind(self):
        for make in (auriga.Pool, auriga.ThreadPool):
            with self.gate() as gate:
                with make(1) as pool:
                    pool.apply_async(work.wait_for_file, (gate,))
                    self.await_begun(gate)
                    results = pool.apply_async(abs, (1,)), pool.map_async(abs, [1, 2, 3], 2)
                    lazy = pool.imap(abs, iter([1]))
                for get in (*(result.get for result in results), lazy.next):
                    with self.assertRaisesRegex(auriga.CancelledError, "leaving its `with` block.*get results inside"):
                        get()

    def test_in_a_fork(self):
        with auriga.Pool(1) as pool, auriga.ThreadPool(1) as threads:
            for each in (pool, threads):
                with os.fdopen(os.memfd_create("said"), "r+b", 0) as said:
                    pid = os.fork()
                    if pid == 0:
                        try:
                            each.apply(abs, (1,))
                        except auriga.AurigaError as error:
                            said.write(str(error).encode())
                        finally:
                            os._exit(0)
                    os.waitpid(pid, 0)
                    said.seek(0)
                    self.assertRegex(said.read().decode(), r"made before os.fork\(\), .*: make another one here$")

    def test_there_are_no_others(self):
        report = dict.fromkeys(("item", "pid", "worker"), None)
        report |= dict.fromkeys(("code", "signal", "attempts", "peak_rss"), 0) | {"site": "", "exit_status": -1}
        for name in ("EINVAL", "EAGAIN", "EBROKEN", "ENOMEM", "ETOOBIG", "ESHUTDOWN", "EFORKED", "E2DEEP", "EEXITED",
                     "ESYS"):
            for message in ("", "told"):
                made = _errors.make({**report, "name": f"AUR_{name}", "text": "text", "message": message})
                self.assertIsInstance(made, (auriga.AurigaError, auriga.BrokenProcessPool, MemoryError))
                self.assertNotIn("AUR_", str(made))
                self.assertGreaterEqual(len(str(made)), 4)


class Functions(Case):
    """Those that pickle does not find."""

    def nameless(self):
        class Local:
            def __call__(self, x):
                return x + 1

            def method(self, x):
                return x + 2

        yield lambda x: x
        yield functools.partial(lambda x, y: x * y, y=3)
        yield Local()
        yield functools.partial(functools.partial(Local().method))

    def hide_cloudpickle(self):
        before = sys.modules.get("cloudpickle")
        if before is not None:
            self.addCleanup(sys.modules.__setitem__, "cloudpickle", before)
        self.addCleanup(sys.modules.pop, "cloudpickle")
        sys.modules["cloudpickle"] = None

    def test_are_refused_with_a_hint(self):
        self.hide_cloudpickle()
        with auriga.Pool(1) as pool, auriga.ProcessPoolExecutor(1) as executor:
            for fn in self.nameless():
                calls = (
                    lambda: pool.apply(fn, (1,)), lambda: pool.map(fn, [1, 2], 2),
                    lambda: list(pool.imap(fn, [1])), lambda: executor.submit(fn, 1).result(),
                    lambda: list(executor.map(fn, [1, 2], chunksize=2)),
                )
                for call in calls:
                    with self.assertRaisesRegex(pickle.PicklingError, "Functions.*cloudpickle"):
                        call()
        with auriga.AutoPool(1) as pool:  # threads pickle nothing
            self.assertEqual(pool.map(lambda x: x + 1, range(3)), [1, 2, 3])

    def test_are_refused_as_arguments_with_a_hint(self):
        self.hide_cloudpickle()
        with auriga.Pool(1) as pool:
            for call in (
                lambda: pool.apply(work.call_with, (lambda x: x, 1)),
                lambda: pool.starmap(work.call_with, [(lambda x: x, 1)], 2),
            ):
                with self.assertRaisesRegex((AttributeError, pickle.PicklingError), "cloudpickle"):
                    call()
            with self.assertRaisesRegex(AttributeError, "^no such thing$"):  # it has nothing to do with it
                pool.apply(id, (work.Unsendable(AttributeError("no such thing")),))

    def need_cloudpickle(self):
        try:
            import cloudpickle  # noqa: F401
        except ImportError:
            self.skipTest("there is no cloudpickle for this interpreter")

    def test_travel_by_value_as_arguments_and_results(self):
        self.need_cloudpickle()

        class Local:
            def __init__(self, data):
                self.data = data

        class LocalError(Exception):
            pass

        def fail(error):
            raise error

        large = bytearray(b"x" * 100_000)
        for method in ("fork", "spawn"):
            context = auriga.get_context(method)
            with context.Pool(1) as pool, auriga.ProcessPoolExecutor(1, context) as executor:
                self.assertEqual(pool.apply(work.call_with, (lambda x: x + 1, 5)), 6)
                self.assertEqual(pool.apply(work.call_with, (), {"fn": lambda x: x, "x": 7}), 7)
                items = [(lambda x, n=n: x * n, 2) for n in range(4)]
                for size in 1, 4:
                    self.assertEqual(pool.starmap(work.call_with, items, size), [0, 2, 4, 6])
                    self.assertEqual(list(pool.istarmap(work.call_with, items, size)), [0, 2, 4, 6])
                self.assertEqual(executor.submit(work.call_with, lambda x: -x, 3).result(), -3)
                got = list(executor.map(work.call_with, [abs, lambda x: x], [-1, -2], chunksize=2))
                self.assertEqual(got, [1, -2])
                for size in 1, 2:
                    one, two = pool.map(work.same, [Local(large), Local(memoryview(large))], size)
                    self.assertIs(type(one), Local)
                    self.assertEqual((one.data, two.data), (large, large))
                self.assertEqual(pool.apply(lambda: lambda x: x + 2)(3), 5)
                self.assertRaises(LocalError, pool.apply, fail, (LocalError("text"),))

    def test_travel_by_value(self):
        self.need_cloudpickle()
        for method in ("fork", "spawn"):
            context = auriga.get_context(method)
            with auriga.Pool(1, context=context) as pool:
                self.assertEqual([pool.apply(fn, (5,)) for fn in self.nameless()], [5, 15, 6, 7])
                self.assertEqual(pool.map(lambda x, y: x - y, [5, 6], kwds={"y": 2}), [3, 4])
                got = pool.istarmap_unordered(lambda x, y: x - y, [(5,)], kwds={"y": 2})
                self.assertEqual(list(got), [3])


if __name__ == "__main__":
    unittest.main()
