"""Pool and ThreadPool: verbs, order, exceptions, what is left of a death."""

import collections
import functools
import gc
import multiprocessing.pool
import os
import pathlib
import pickle
import random
import resource
import threading
import unittest
import weakref
from unittest import mock

import auriga
import auriga.stdlib
import work
from auriga import _results
from support import Case, run_program


class Window(unittest.TestCase):
    """How far ahead an iterator reads, with results of given sizes and a clock that stands still."""

    def setUp(self):
        patched = mock.patch.object(_results.time, "monotonic", lambda: 0.0)
        patched.start()
        self.addCleanup(patched.stop)
        self.large = 0
        self.read = 0
        self.terminated = False

    def _large(self):  # of a pool
        return self.large

    def _is_terminated(self):
        return self.terminated

    def inputs(self):
        for self.read in range(1, 100_001):
            yield [self.read]

    def iterator(self, **options):
        self._feeders = set()
        return _results.IMapIterator(
            self, lambda chunk: Taken(chunk[0]), self.inputs(), 0, 4, **options
        )

    def ahead(self, taken, **options):
        """The farthest, over so many results."""
        results = self.iterator(**options)
        farthest = self.read
        for n in range(1, taken + 1):
            self.assertEqual(next(results), n)
            farthest = max(farthest, self.read - n)
        return farthest

    def test_small_results(self):
        self.assertGreater(self.ahead(5000), 1000)

    def test_large_results(self):
        self.large = 1 << 20
        self.assertIn(self.ahead(5000), range(32, 64 + 1))

    def test_huge_results(self):
        self.large = 1 << 30
        self.assertLessEqual(self.ahead(100), 4)

    def test_a_bound_of_ones_own(self):
        self.large = 1 << 20
        self.assertIn(self.ahead(5000, ahead_bytes=16 << 20), range(8, 16 + 1))
        self.large = 1 << 30
        self.assertIn(self.ahead(5000, ahead_bytes=16 << 30), range(8, 16 + 1))
        self.assertLessEqual(self.ahead(100, ahead_bytes=0), 4)

    def test_one_item_is_read_for_a_terminated_pool(self):
        results = self.iterator()
        self.assertEqual(next(results), 1)
        self.terminated = True
        read = self.read
        self.assertEqual([next(results) for _ in range(read - 1)], list(range(2, read + 1)))
        self.assertRaises(auriga.CancelledError, next, results)
        self.assertRaises(StopIteration, next, results)
        self.assertEqual(self.read, read + 1)  # else it would not be known whether it is at its end


class Taken(_results.Failed):
    def get(self):
        return self.error


REFUSED = """
import errno, resource
import {module} as module
from auriga import OutOfResources

resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
try:
    module.Pool(100)
except OSError as error:
    print(error.errno == errno.EAGAIN, isinstance(error, OutOfResources), isinstance(error, RuntimeError))
"""

FAILING_INITIALIZER = """
import auriga

def connect():
    raise ValueError("no database")

with auriga.Pool(2, initializer=connect) as pool:
    try:
        pool.map(abs, [1, 2])
    except auriga.BrokenProcessPool as error:
        print(error)
"""


class Verbs:
    """For each kind of pool; make(n) makes one."""

    def test_apply(self):
        with self.make(2) as pool:
            self.assertEqual(pool.apply(work.add, (1,), {"y": 5}), 6)
            self.assertEqual(pool.apply_async(work.add, (1, 2)).get(), 3)
            self.assertEqual(pool.apply_async(work.add, [1, 2]).get(timeout=None), 3)

    def test_maps_keep_order(self):
        want = [x * x for x in range(1000)]
        with self.make(3) as pool:
            for chunksize in (None, 1, 7, 1000, 5000):
                with self.subTest(chunksize=chunksize):
                    self.assertEqual(pool.map(work.square, range(1000), chunksize), want)
            self.assertEqual(pool.starmap(pow, [(2, 5), (3, 2), (10, 3)]), [32, 9, 1000])
            self.assertEqual(pool.starmap(pow, iter([[2, 5], (3, 2)]), 1), [32, 9])
            self.assertEqual(pool.map_async(work.square, iter(range(10))).get(), want[:10])
            self.assertEqual(pool.map(work.square, []), [])

    def test_iterators(self):
        want = [x * x for x in range(500)]
        with self.make(2) as pool:
            for chunksize in (1, 7):
                with self.subTest(chunksize=chunksize):
                    got = list(pool.imap(work.square, range(500), chunksize))
                    self.assertEqual(got, want)
                    got = pool.imap_unordered(work.square, iter(range(500)), chunksize)
                    self.assertEqual(sorted(got), want)

    def test_large_results_are_noticed(self):
        with self.make(2) as pool:
            for chunksize in (1, 3):
                self.assertEqual(len(list(pool.imap(work.big, [200_000] * 7, chunksize))), 7)
                if not isinstance(pool, auriga.AutoPool):  # it may have run them here
                    self.assertGreaterEqual(pool._large(), 190_000 * chunksize)

    def test_exceptions(self):
        with self.make(2) as pool:
            with self.assertRaisesRegex(ValueError, "no 7"):
                pool.apply(work.fail, (7,))
            for chunksize in (1, 3):
                with self.assertRaisesRegex(ValueError, "no 0"):
                    pool.map(work.fail, range(5), chunksize)
            results = pool.imap(work.fail, range(2))
            self.assertRaisesRegex(ValueError, "no 0", next, results)
            self.assertRaisesRegex(ValueError, "no 1", next, results)
            self.assertRaises(StopIteration, next, results)

    def test_a_call_that_raises_stop_iteration(self):
        with self.make(2) as pool:
            for n in (4, 10):
                for chunksize in (1, 10):
                    with self.subTest(n=n, chunksize=chunksize):
                        with self.assertRaises(StopIteration) as caught:
                            pool.map(work.stop_on_three, range(n), chunksize)
                        self.assertNotIn("_auriga_item", vars(caught.exception))

    def test_input_that_raises(self):
        def items():
            yield from range(5)
            raise KeyError("input")

        with self.make(2) as pool:
            results = pool.imap(work.square, items())
            self.assertEqual([next(results) for _ in range(5)], [0, 1, 4, 9, 16])
            self.assertRaises(KeyError, next, results)
            self.assertRaises(KeyError, pool.map, work.square, items())
            self.assertEqual(pool.apply(work.square, (3,)), 9)  # it goes on

    def test_callbacks(self):
        seen = []
        with self.make(2) as pool:
            good = pool.apply_async(work.add, (1,), callback=seen.append)
            good.wait()
            self.assertEqual(seen, [3])
            bad = pool.map_async(work.fail, [1, 2], error_callback=seen.append)
            bad.wait()
            self.assertIsInstance(seen[1], ValueError)
            self.assertFalse(bad.successful())
            pool.map_async(work.square, [1, 2], callback=seen.append).wait()
            self.assertEqual(seen[2], [1, 4])

    def test_close_finishes_everything(self):
        folder = self.folder()
        path = os.path.join(folder, "out")
        pool = self.make(2)
        pool.map_async(functools.partial(work.note, path), range(20), 4)
        results = pool.imap(functools.partial(work.note, path), iter(range(20, 400)))
        pool.close()
        self.assertRaises(ValueError, pool.apply_async, work.add, (1,))
        pool.join()
        lines = pathlib.Path(path).read_text().split()
        self.assertEqual(sorted(map(int, lines)), list(range(400)))
        self.assertEqual(list(results), list(range(20, 400)))

    def test_terminate(self):
        pool = self.make(2)
        with self.gate() as gate:  # threads cannot be killed
            held = [pool.apply_async(work.wait_for_file, (gate,)) for _ in range(100)]
            pool.terminate()
        pool.join()
        self.assertTrue(held)

    def test_iterators_of_a_terminated_pool(self):
        for verb in ("imap", "imap_unordered", "istarmap", "istarmap_unordered"):
            for size in (1, 3):
                with self.subTest(verb, chunksize=size), self.make(2) as pool:
                    items = iter([(1, 2)] * 1000 if "star" in verb else range(1000))
                    results = getattr(pool, verb)(work.add, items, size)
                    next(results)
                    pool.terminate()
                    last = [type(self.outcome(results)) for _ in range(1000)]
                    self.assertIn(auriga.CancelledError, last)
                    self.assertNotIn(auriga.PoolClosed, last)
                    self.assertIs(last[-1], StopIteration)
                    self.assertNotEqual(list(items), [])  # it was not read to its end

    def outcome(self, results):
        try:
            return next(results)
        except (Exception, auriga.CancelledError) as error:
            return error

    def test_bytes_ahead(self):
        with self.make(2) as pool:
            self.assertRaises(ValueError, pool.imap, work.square, [1], ahead_bytes=-1)
            for verb in ("imap", "imap_unordered"):
                results = getattr(pool, verb)(work.square, range(200), ahead_bytes=0)
                self.assertEqual(sorted(results), [x * x for x in range(200)])

    def test_states(self):
        pool = self.make(1)
        self.assertRaisesRegex(ValueError, "still running", pool.join)
        self.assertIn("state=RUN", repr(pool))
        with self.gate() as gate:
            result = pool.apply_async(work.wait_for_file, (gate,))
            self.assertFalse(result.ready())
            self.assertRaisesRegex(ValueError, "not ready", result.successful)
            self.assertRaises(multiprocessing.TimeoutError, result.get, 0.01)
            self.assertRaises(auriga.TimeoutError, result.get, 0.01)
        self.assertEqual(result.get(), gate)
        self.assertTrue(result.successful())
        pool.close()
        pool.join()

    def test_bad_input(self):
        self.assertRaises(ValueError, self.make, -1)
        for many in (4097, 100_000, 2**32 + 1):
            self.assertRaisesRegex(ValueError, "at most 4096", self.make, many)
        self.assertRaises(TypeError, self.make, 1, 5)
        with self.make(1) as pool:
            self.assertRaises(ValueError, pool.map, work.square, [1], 0)
            self.assertRaises(ValueError, pool.imap, work.square, [1], 0)
            self.assertRaises(TypeError, pool.apply, work.add)
            self.assertRaises(TypeError, pool.starmap, work.add, [5])

    def test_many_threads_submit(self):
        with self.make(2) as pool:
            sums = collections.Counter()

            def use(n):
                sums[n] = sum(pool.map(work.square, range(100), 9)) + pool.apply(work.add, (n,))

            threads = [threading.Thread(target=use, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(sums, {n: 328350 + n + 2 for n in range(8)})


class Processes(Verbs, Case):
    make = auriga.Pool

    def test_remote_traceback(self):
        with self.make(1) as pool:
            with self.assertRaises(ValueError) as caught:
                pool.apply(work.fail, (1,))
        self.assertIn("# the line of the traceback", str(caught.exception.__cause__))

    def test_an_exception_that_cannot_be_loaded_is_told(self):
        with self.make(1) as pool:
            calls = (
                lambda: pool.apply(work.fail_lost, (1,)),
                lambda: pool.map(work.fail_lost, [1, 2]),
                lambda: list(pool.imap(work.fail_lost, [1, 2], 2)),
            )
            for call in calls:
                with self.assertRaisesRegex(TypeError, "missing 1 required positional") as caught:
                    call()
                self.assertIn("LostError: 1 and more", str(caught.exception.__cause__))
            self.assertEqual(pool.apply(work.add, (1,)), 3)

    def test_values_of_all_kinds(self):
        values = [
            None, True, False, 0, -1, 127, 128, -129, 2**62, -(2**63), 2**63, 10**40, 0.5,
            float("inf"), "", "text", "größer \u4e2d\u6587 \U0001f600", "\ud800", b"", b"bytes", (),
            (1, ("two", (b"3", None))), [1, [2]], {"a": {1, 2}}, 1 + 2j, range(5), b"y" * 200_000,
            "z" * 200_000, bytearray(b"w" * 100_000), (b"v" * 70_000, "u"), ((((1,),),),),
            frozenset((1,)), work.add,
        ]
        with self.make(2) as pool:
            for value in values:
                with self.subTest(value=repr(value)[:40]):
                    got = pool.apply(work.same, (value,))
                    self.assertEqual(got, value)
                    self.assertIs(type(got), type(value))
            self.assertEqual(pool.map(work.same, values, 5), values)
            twice = [1]
            a, b = pool.apply(work.same, ((twice, twice),))
            self.assertIs(a, b)  # one object stays one

    def test_large_results_in_a_chunk(self):
        sizes = [10, 100_000, 3, 3_000_000, 0, 70_000, 1]
        with self.make(1) as pool:
            got = pool.map(work.big, sizes, len(sizes))
        self.assertEqual([len(x) for x in got], sizes)

    def test_results_that_fill_the_buffer(self):
        with self.make(1) as pool:
            got = pool.map(work.big, [60_000] * 300, 300)
        self.assertEqual({len(x) for x in got}, {60_000})
        self.assertEqual(len(got), 300)

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("there is no numpy for this interpreter")
        array = numpy.arange(100_000.0).reshape(100, 1000)
        with self.make(1) as pool:
            got = pool.apply(work.same, (array,))
            self.assertTrue((got == array).all())
            got[0, 0] = 5  # it is ours
            views = pool.map(work.same, [array[:, ::2], array.T], 2)
        self.assertTrue((views[0] == array[:, ::2]).all() and (views[1] == array.T).all())

    def test_what_cannot_be_pickled(self):
        with self.make(1) as pool:
            self.assertRaises(Exception, pool.apply, work.same, (threading.Lock(),))
            with self.assertRaises(multiprocessing.pool.MaybeEncodingError):
                pool.apply(work.unpicklable)
            with self.assertRaises(multiprocessing.pool.MaybeEncodingError):
                pool.map(work.unpicklable, [1, 2], 2)
            with self.assertRaisesRegex(RuntimeError, "not here"):
                pool.apply(work.same, (work.Unloadable(),))
            with self.assertRaisesRegex(RuntimeError, "not here"):
                pool.apply(work.make_unloadable)
            self.assertEqual(pool.apply(work.add, (1,)), 3)

    def test_exit_of_a_task_is_an_exception(self):
        with self.make(1) as pool:
            self.assertRaises(SystemExit, pool.apply, work.leave, (3,))
            self.assertEqual(pool.apply(work.add, (1,)), 3)

    def test_maxtasksperchild(self):
        with self.make(1, maxtasksperchild=2**32 + 1) as pool:  # it is not 1
            self.assertEqual(len({pool.apply(work.pid) for _ in range(5)}), 1)
        with self.make(2, maxtasksperchild=5) as pool:
            pids = collections.Counter(pool.map(work.pid, range(50), 1))
            self.assertEqual(sum(pids.values()), 50)
            self.assertLessEqual(max(pids.values()), 5)
        self.assertRaises(ValueError, self.make, 1, maxtasksperchild=0)

    def test_nothing_is_kept(self):
        with self.make(1) as pool:
            kept = [bytearray(10) for _ in range(3)]
            marked = [_Mark(x) for x in kept]
            marks = [weakref.ref(x) for x in marked]
            results = pool.map(work.same, marked)
            marks += [weakref.ref(x) for x in results]
            del marked, results
            gc.collect()
            self.assertEqual([mark() for mark in marks], [None] * len(marks))

    def test_an_iterator_that_was_left_does_not_keep_the_pool(self):
        for ends in ("close", "terminate"):
            with self.subTest(ends):
                pool = self.make(1)
                items = pool.imap(work.pid, iter(range(1000)))
                pid = next(items)
                del items
                getattr(pool, ends)()
                kept = weakref.ref(pool)
                del pool
                gc.collect()
                self.assertIsNone(kept())
                self.await_end(pid)

    def test_fork_keeps_state_and_descriptors(self):
        reader, writer = multiprocessing.Pipe()
        work.store(writer)
        self.addCleanup(work.store, None)
        with self.make(1, context=multiprocessing.get_context("fork")) as pool:
            pool.apply(_send_stored, ("hello",))
            self.assertEqual(reader.recv(), "hello")

    def test_worker_is_a_child_for_multiprocessing(self):
        with self.make(1) as pool:
            name, daemon, parent = pool.apply(_describe)
        self.assertIn("PoolWorker-1", name)
        self.assertTrue(daemon)
        self.assertEqual(parent, os.getpid())

    def test_long_copies(self):
        # From 8 MiB on a copy is one of two threads, which meet at an edge of a huge page.
        with self.make(1) as pool:
            for size in (8 << 20, (8 << 20) - 1, (10 << 20) + 4097, 21_000_001):
                data = random.Random(size).randbytes(size)
                with self.subTest(size=size):
                    self.assertEqual(pool.apply(hash, (data,)), hash(data))
                    self.assertTrue(pool.apply(work.same, (data,)) == data)
                    got = pool.apply(work.same, (pickle.PickleBuffer(bytearray(data)),))
                    self.assertTrue(got == data)

    # -- deaths

    def test_a_death_costs_one_item(self):
        with self.make(2) as pool:
            for chunksize in (1, 4, 10):
                with self.subTest(chunksize=chunksize):
                    path = os.path.join(self.folder(), "out")
                    result = pool.map_async(
                        functools.partial(_note_and_die_on_three, path), range(10), chunksize
                    )
                    with self.assertRaises(auriga.WorkerDied) as caught:
                        result.get()
                    error = caught.exception
                    self.assertEqual((error.item, error.signal), (3, 9))
                    self.assertIn("_note_and_die_on_three", str(error))
                    lines = pathlib.Path(path).read_text().split()
                    self.assertEqual(sorted(map(int, lines)), list(range(10)))  # once each
            self.assertEqual(pool.map(work.square, range(4)), [0, 1, 4, 9])

    def test_a_death_of_one_call(self):
        with self.make(2) as pool:
            bad = pool.apply_async(work.die, (1,))
            good = [pool.apply_async(work.square, (i,)) for i in range(50)]
            self.assertEqual([r.get() for r in good], [i * i for i in range(50)])
            self.assertRaises(auriga.WorkerDied, bad.get)
            results = pool.imap(work.die_on_three, range(6))
            got = []
            for _ in range(6):
                try:
                    got.append(next(results))
                except auriga.WorkerDied:
                    got.append("died")
            self.assertEqual(got, [0, 1, 2, "died", 4, 5])

    def test_zero_workers_become_one(self):
        with self.assertWarnsRegex(RuntimeWarning, "0 workers") as warned:
            with self.make(0) as pool:
                self.assertEqual(pool.apply(work.add, (1,)), 3)
        self.assertEqual(warned.filename, __file__)

    def test_an_initializer_that_fails(self):
        status, out, err = run_program(FAILING_INITIALIZER)
        self.assertEqual(status, 0)
        self.assertRegex(out, "terminated abruptly .*: no more workers can be started: .* initializer")
        self.assertIn("ValueError: no database", err)

    def test_what_the_system_refuses(self):
        for module in ("auriga", "auriga.stdlib"):
            status, out, err = run_program(REFUSED.format(module=module))
            self.assertEqual((status, out), (0, "True True True\n"), err)

    def test_functions_without_a_name(self):
        try:
            import cloudpickle  # noqa: F401
        except ImportError:
            self.skipTest("there is no cloudpickle for this interpreter")
        with self.make(2) as pool:
            self.assertEqual(pool.map(lambda x: x + 1, range(3)), [1, 2, 3])
            self.assertEqual(pool.map(work.fail_on(5), range(3)), [0, 1, 2])
            self.assertEqual(pool.apply(lambda: 4), 4)


class StandardProcesses(Verbs, Case):
    make = auriga.stdlib.Pool

    def test_zero_workers(self):
        self.assertRaises(ValueError, self.make, 0)

    def test_an_exception_ends_its_chunk(self):
        path = os.path.join(self.folder(), "out")
        with self.make(1) as pool:
            with self.assertRaises(ValueError):
                pool.map(functools.partial(_note_and_fail_on_three, path), range(10), 10)
        self.assertEqual(pathlib.Path(path).read_text().split(), ["0", "1", "2", "3"])

    def test_lambdas_are_refused(self):
        with self.make(1) as pool:
            self.assertRaises(Exception, pool.map, lambda x: x, [1])
            self.assertRaises(Exception, pool.map, work.same, [lambda x: x])


class Threads(Verbs, Case):
    make = auriga.ThreadPool

    def test_threads_are_shared_memory(self):
        seen = []
        with self.make(2, seen.append, (1,)) as pool:
            value = object()
            self.assertIs(pool.apply(work.same, (value,)), value)
        self.assertEqual(seen, [1, 1])

    def test_names(self):
        with self.make(2) as pool:
            self.assertRegex(pool.apply(lambda: threading.current_thread().name), "^ThreadPool-")

    def test_a_wait_without_a_descriptor_to_be_had(self):
        with auriga.ThreadPool(1) as pool:
            go = threading.Event()
            result = pool.apply_async(go.wait)
            free = os.dup(0)
            os.close(free)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                self.assertRaises(OSError, os.dup, 0)
                self.assertRaises(auriga.TimeoutError, result.get, 0.2)
                threading.Timer(0.2, go.set).start()  # later than the wait looks for descriptors
                self.assertTrue(result.get())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_what_a_worker_has_taken_is_told(self):
        """A call that waits behind the one that runs when the pool is terminated: nobody calls it any more,
        and nobody joins either.  All of it is told, and nothing is left over."""
        def step(begun, gate):
            begun.set()
            gate.wait()

        for _ in range(20):
            pool = self.make(1)
            first, second, told = threading.Event(), threading.Event(), threading.Semaphore(0)
            begun = [threading.Event(), threading.Event()]
            pool.apply_async(step, (begun[0], first))
            begun[0].wait()
            pool.apply_async(step, (begun[1], second))  # with those behind it, by one look of the worker
            items = pool.imap_unordered(work.square, range(30), 2)
            calls = [pool.apply_async(work.square, (i,), callback=lambda _: told.release(),
                                      error_callback=lambda _: told.release()) for i in range(30)]
            first.set()
            begun[1].wait()
            waiter = threading.Thread(target=calls[-1].wait)  # sees it before terminate() does
            waiter.start()
            pool.terminate()
            second.set()
            while type(self.outcome(items)) is not StopIteration:
                pass
            for _ in calls:
                told.acquire()
            waiter.join()
            kept = weakref.ref(calls[3])
            del calls
            pool.join()
            gc.collect()
            self.assertIsNone(kept())


class StandardThreads(Verbs, Case):
    make = auriga.stdlib.ThreadPool


class _Mark:
    def __init__(self, data):
        self.data = data


def _send_stored(text):
    work.stored.send(text)


def _describe():
    me = multiprocessing.current_process()
    return me.name, me.daemon, multiprocessing.parent_process().pid


def _note_and_die_on_three(path, x):
    work.note(path, x)
    return work.die_on_three(x)


def _note_and_fail_on_three(path, x):
    work.note(path, x)
    if x == 3:
        raise ValueError(x)


if __name__ == "__main__":
    unittest.main()
