"""What apply_async() returns: the methods, their arguments, callbacks, and what it keeps alive."""

import gc
import multiprocessing
import multiprocessing.pool
import threading
import unittest
import weakref

import auriga
import auriga.stdlib
import work
from auriga import _ends, _results
from support import Case


class Surface(unittest.TestCase):
    def test_names_are_those_of_the_standard_class(self):
        def public(cls):
            return {name for name in dir(cls) if not name.startswith("_")}

        self.assertEqual(public(auriga.AsyncResult), public(multiprocessing.pool.AsyncResult))
        self.assertEqual(public(auriga.MapResult), public(multiprocessing.pool.MapResult))


class Results:
    """For each kind of pool; make(n) makes one."""

    def test_arguments(self):
        with self.make(1) as pool:
            result = pool.apply_async(work.add, (1,), {"y": 5})
            self.assertEqual(result.get(None), 6)
            self.assertEqual(result.get(timeout=None), 6)
            self.assertIsNone(result.wait(0.5))
            self.assertIsNone(result.wait(timeout=0))
            self.assertRaisesRegex(TypeError, "2 were given", result.get, 1, 2)
            self.assertRaisesRegex(TypeError, "2 were given", result.wait, 1, timeout=2)
            self.assertRaisesRegex(TypeError, "'tiemout'", result.get, tiemout=1)
            self.assertRaises(TypeError, result.get, "soon")
            self.assertRaises(ValueError, result.get, float("nan"))

    def test_an_exception(self):
        with self.make(1) as pool:
            result = pool.apply_async(work.fail, (1,))
            for _ in range(2):
                self.assertRaisesRegex(ValueError, "no 1", result.get)
            self.assertFalse(result.successful())
            self.assertTrue(result.ready())

    def test_not_ready_while_its_callback_runs(self):
        entered, may_return = threading.Event(), threading.Event()
        seen = []

        def callback(value):
            seen.append(value)
            entered.set()
            may_return.wait()

        with self.make(1) as pool:
            result = pool.apply_async(work.add, (1,), callback=callback)
            entered.wait()
            self.assertFalse(result.ready())
            self.assertRaises(ValueError, result.successful)
            self.assertRaises(auriga.TimeoutError, result.get, 0)
            self.assertIsNone(result.wait(0))
            may_return.set()
            self.assertEqual(result.get(), 3)
            self.assertTrue(result.ready())
            self.assertTrue(result.successful())
        self.assertEqual(seen, [3])

    def test_a_callback_of_an_error(self):
        seen = []
        with self.make(1) as pool:
            bad = pool.apply_async(work.fail, (1,), {}, seen.append, seen.append)
            self.assertRaises(ValueError, bad.get)
            good = pool.apply_async(work.add, (1,), error_callback=seen.append)
            self.assertEqual(good.get(), 3)
        self.assertEqual(len(seen), 1)
        self.assertIsInstance(seen[0], ValueError)

    def test_callbacks_do_not_run_in_the_thread_that_submits(self):
        idents = []

        def callback(_):
            idents.append(threading.get_ident())

        with self.make(1) as pool:
            done = pool.apply_async(work.add, (1,))
            done.get()
            done._tell_later(callback, None)
            done.wait()
            done = auriga.MapResult(pool, [_results.Failed(ValueError())], 1, None, callback)
            self.assertRaises(ValueError, done.get)
            done = pool.map_async(work.same, [], callback=callback)
            self.assertEqual(done.get(), [])
        self.assertEqual(len(idents), 2 if pool._strict else 3)  # the standard library tells nothing of no items
        self.assertNotIn(threading.get_ident(), idents)

    def test_results_of_a_pool_that_is_gone(self):
        gone = []
        with self.gate() as gate, self.assertWarns(ResourceWarning):
            pool = self.make(2)
            result = pool.apply_async(work.wait_for_file, (gate,))
            chunks = pool.map_async(work.add, range(20), 5)
            told = pool.apply_async(work.add, (1,), callback=gone.append)
            pool.apply_async(work.wait_for_file, (gate,))
            del pool
            gc.collect()
            self.assertFalse(result.ready())
        self.assertEqual(result.get(), gate)
        self.assertEqual(chunks.get(), [n + 2 for n in range(20)])
        self.assertEqual((told.get(), gone), (3, [3]))
        while _ends._left:  # until all of it has ended
            with self.make(1) as pool:  # the next one looks at those that are left
                pool.apply(work.add, (1,))

    def test_a_pool_that_is_ended_under_a_call(self):
        def items(pool):
            yield 1
            pool.terminate()

        def outcome(call):
            pool = self.make(1)
            try:
                got = call(pool, items(pool))
                return list(got) if hasattr(got, "__next__") else got.get()
            except (Exception, auriga.CancelledError) as error:
                return type(error)
            finally:
                pool.join()

        either = auriga.CancelledError, ValueError, [3]  # begun before or after; or it was through
        for call in (
            lambda pool, items: pool.apply_async(work.add, items),
            lambda pool, items: pool.map_async(work.add, items),
            lambda pool, items: pool.map_async(work.add, items, 5),
            lambda pool, items: pool.starmap(work.add, ((item,) for item in items)),
            lambda pool, items: pool.imap(work.add, items),
            lambda pool, items: pool.imap_unordered(work.add, items, 2),
        ):
            self.assertIn(outcome(call), either)

    def test_a_cycle_is_collected(self):
        with self.make(1) as pool:
            result = pool.apply_async(work.add, (1,))
            result.get()
            result.itself = result
            gone = weakref.ref(result)
            del result
            gc.collect()
            self.assertIsNone(gone())

    def test_dropped_unasked(self):
        with self.make(2) as pool:
            for n in range(300):
                pool.apply_async(work.add, (n,))
            self.assertEqual(pool.apply(work.add, (1,)), 3)


class InProcesses(Results):
    def test_what_cannot_be_pickled(self):
        seen = []

        def callback(error):
            seen.append((type(error), threading.get_ident() == threading.main_thread().ident))

        with self.make(1) as pool:
            bad = pool.apply_async(work.same, (threading.Lock(),), {}, None, callback)
            self.assertRaisesRegex(TypeError, "pickle", bad.get)
            self.assertIsNone(bad.wait())
            self.assertTrue(bad.ready())
            self.assertFalse(bad.successful())
            self.assertEqual(pool.apply_async(work.same, (5,)).get(), 5)
        self.assertEqual(seen, [(TypeError, False)])

    def test_limits_of_one_call(self):
        with auriga.Pool(1) as pool, self.gate() as gate:
            late = pool.apply_async(work.wait_for_file, (gate,), timeout=0.05)
            self.assertRaises(auriga.ItemTimeout, late.get)
            self.assertEqual(pool.apply_async(work.add, (1,), timeout=600).get(), 3)
            dead = pool.apply_async(work.die, (1,), retries=1)
            with self.assertRaises(auriga.WorkerDied) as caught:
                dead.get()
            self.assertEqual(caught.exception.attempts, 2)


class Processes(InProcesses, Case):
    make = auriga.Pool


class StandardProcesses(InProcesses, Case):
    make = auriga.stdlib.Pool


class Threads(Results, Case):
    make = auriga.ThreadPool


class StandardThreads(Results, Case):
    make = auriga.stdlib.ThreadPool


class Auto(Results, Case):
    make = auriga.AutoPool
    test_results_of_a_pool_that_is_gone = None  # it is not: a map that it measures keeps it

    def test_what_cannot_be_pickled_stays(self):
        lock = threading.Lock()
        with self.make(1) as pool:
            self.assertIs(pool.apply_async(work.same, (lock,)).get(), lock)


if __name__ == "__main__":
    unittest.main()
