"""What auriga's own pools have beyond the standard library's."""

import contextvars
import doctest
import functools
import itertools
import os
import pathlib
import re
import threading
import unittest

import auriga
import auriga.stdlib
import work
from support import HERE, WATCHED, Case, run_program


variable = contextvars.ContextVar("variable", default=None)


def change(_=None):
    was = variable.get()
    variable.set("inside")
    return was


def fail_on_seven(x):
    return work.fail(x) if x == 7 else x


HELPED = (
    auriga.Pool, auriga.ThreadPool, auriga.AutoPool, auriga.AsyncResult, auriga.ThreadPoolExecutor,
    auriga.ProcessPoolExecutor, auriga.Future, auriga.wait, auriga.as_completed, auriga.MapResult,
    auriga.IMapIterator, auriga.WorkerDied, auriga.ItemTimeout, auriga.DeadlockError,
    auriga.get_context,
)
VERBS = (
    "apply", "apply_async", "map", "map_async", "starmap", "starmap_async", "imap",
    "imap_unordered", "istarmap", "istarmap_unordered", "close",
)


class Help(Case):
    def test_the_examples(self):
        finder = doctest.DocTestFinder()
        found = [
            examples
            for one in (*HELPED, auriga.ThreadPoolExecutor.__base__)
            for examples in finder.find(one, one.__name__, globs={"auriga": auriga})
        ]
        runner = doctest.DocTestRunner(verbose=False)
        for examples in found:
            out = []
            runner.run(examples, out=out.append)
            self.assertEqual(out, [], examples.name)
        self.assertGreaterEqual(runner.tries, 50)

    def test_the_manual(self):
        text = (HERE.parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
        first, second = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
        self.assertEqual(run_program(first), (0, "[32, 9, 1000]\n25\n", ""))
        sizes = [os.stat(path).st_size for path in ("/etc/passwd", "/etc/hosts")]
        self.assertEqual(run_program(second), (0, "".join(f"{n}\n" for n in sizes), ""))

    def test_every_verb(self):
        for one in HELPED:
            if not isinstance(one, type) or issubclass(one, BaseException):
                continue
            for name in dir(one):
                if not name.startswith("_"):
                    self.assertTrue(getattr(one, name).__doc__, f"{one.__name__}.{name}")

    def test_examples(self):
        verbs = [getattr(auriga.Pool, name) for name in VERBS]
        executor = auriga.ProcessPoolExecutor
        for one in (*HELPED, *verbs, executor.submit, executor.map):
            self.assertIn(">>> ", one.__doc__, one.__qualname__)


class Extras(Case):
    def test_star_iterators(self):
        with auriga.Pool(2) as pool:
            pairs = [(i, 2) for i in range(50)]
            for chunksize in (1, 8):
                got = list(pool.istarmap(pow, pairs, chunksize))
                self.assertEqual(got, [i * i for i in range(50)])
                got = pool.istarmap_unordered(pow, iter(pairs), chunksize)
                self.assertEqual(sorted(got), [i * i for i in range(50)])
        with auriga.ThreadPool(2) as pool:
            self.assertEqual(list(pool.istarmap(pow, pairs[:3], 2)), [0, 1, 4])

    def test_keyword_arguments(self):
        with auriga.Pool(1) as pool:
            self.assertEqual(pool.map(work.add, [1, 2], kwds={"y": 10}), [11, 12])
            self.assertEqual(pool.starmap_async(work.add, [(1,)], kwds={"y": 3}).get(), [4])
            self.assertEqual(list(pool.imap(work.add, [1], kwds={"y": 3})), [4])

    def test_timeout_of_an_item(self):
        with auriga.Pool(2) as pool, self.gate() as gate:
            items = [gate + ".begun", gate, gate + ".begun"]  # the first and the last are open
            for limit in (0.2, 2, 20, 200):  # a busy machine may keep the first as long
                result = pool.map_async(work.wait_for_file, items, timeout=limit)
                with self.assertRaises(auriga.ItemTimeout) as caught:
                    result.get()
                if caught.exception.item == 1:
                    break
            self.assertEqual(caught.exception.item, 1)
            self.assertIn("wait_for_file", str(caught.exception))
            self.assertIsInstance(caught.exception, TimeoutError)
            self.assertRaises(
                auriga.ItemTimeout, pool.apply, work.wait_for_file, (gate,), timeout=0.05
            )
            self.assertEqual(pool.apply(work.add, (1,), timeout=60), 3)

    def test_retries(self):
        for chunksize in (1, 6):
            with self.subTest(chunksize=chunksize), auriga.Pool(2, retries=2) as pool:
                path = os.path.join(self.folder(), "out")
                got = pool.map(functools.partial(work.die_once, path), range(6), chunksize)
                self.assertEqual(got, list(range(6)))
                lines = pathlib.Path(path).read_text().split()
                self.assertEqual(sorted(lines), ["0", "1", "2", "3", "3", "4", "5"])
                with self.assertRaises(auriga.WorkerDied) as caught:
                    pool.map(work.die_on_three, range(6), chunksize, retries=1)
                self.assertEqual((caught.exception.item, caught.exception.attempts), (3, 2))

    def test_context_variables(self):
        variable.set("outside")
        with auriga.ThreadPoolExecutor(1) as executor, auriga.ThreadPool(1) as pool:
            for call in (lambda: executor.submit(change).result(), lambda: pool.apply(change)):
                self.assertEqual([call(), call()], ["outside", "outside"])
            self.assertEqual(pool.map(change, [1, 2], 2), ["outside", "inside"])
        self.assertEqual(variable.get(), "outside")
        with auriga.stdlib.ThreadPoolExecutor(1) as executor:
            self.assertIsNone(executor.submit(variable.get).result())

    def test_errors_name_the_item(self):
        with auriga.Pool(2) as pool, auriga.ThreadPool(2) as threads:
            for one, chunksize in ((pool, 1), (pool, 4), (threads, 1), (threads, 4)):
                result = one.map_async(work.fail, range(9), chunksize)
                for _ in range(2):
                    with self.assertRaises(ValueError) as caught:
                        result.get()
                    if hasattr(caught.exception, "add_note"):
                        self.assertEqual(caught.exception.__notes__, ["item 0 of the map"])
            with self.assertRaises(ValueError) as caught:
                pool.map(fail_on_seven, range(9), 3)
            if hasattr(caught.exception, "add_note"):
                self.assertEqual(caught.exception.__notes__, ["item 7 of the map"])
        with auriga.stdlib.Pool(1) as pool:
            with self.assertRaises(ValueError) as caught:
                pool.map(work.fail, range(9), 3)
            self.assertFalse(hasattr(caught.exception, "__notes__"))

    def failures(self, results):
        """The exceptions of an iterator, and what notes each of them has."""
        while True:
            try:
                next(results)
            except StopIteration:
                return
            except Exception as error:
                yield error, getattr(error, "__notes__", [])

    def test_iterators_name_the_item(self):
        seven = ["item 7 of the map"] if hasattr(Exception, "add_note") else []
        for kind in (auriga.Pool, auriga.ThreadPool, auriga.AutoPool):
            with kind(2) as pool:
                for verb, chunksize, progress in itertools.product(
                    ("imap", "imap_unordered"), (1, 3), (None, lambda *at: None)
                ):
                    with self.subTest(kind=kind.__name__, verb=verb, chunksize=chunksize):
                        results = getattr(pool, verb)(
                            fail_on_seven, range(9), chunksize, progress=progress
                        )
                        ((error, notes),) = self.failures(results)
                        self.assertIsInstance(error, ValueError)
                        self.assertEqual(notes, seven)
        for kind in (auriga.stdlib.Pool, auriga.stdlib.ThreadPool):
            with kind(1) as pool:
                for chunksize in (1, 3):
                    results = pool.imap_unordered(fail_on_seven, range(9), chunksize)
                    ((_, notes),) = self.failures(results)
                    self.assertEqual(notes, [])

    def test_iterators_name_what_comes_to_nothing(self):
        def inputs():
            yield from range(8)
            raise ValueError("no more")

        with auriga.Pool(2) as pool:
            for verb in (pool.imap, pool.imap_unordered):
                for chunksize in (1, 4):
                    ((error, _),) = self.failures(verb(work.die_on_three, range(6), chunksize))
                    self.assertIsInstance(error, auriga.WorkerDied)
                    self.assertEqual(error.item, 3)
                items = [*range(7), threading.Lock()]  # which cannot be pickled
                ((_, notes),) = self.failures(verb(work.same, items))
                if hasattr(Exception, "add_note"):
                    self.assertEqual(notes, ["item 7 of the map"])
                ((error, notes),) = self.failures(verb(work.same, inputs()))
                self.assertEqual((str(error), notes), ("no more", []))  # this is no item

    def test_bad_limits(self):
        self.assertRaises(ValueError, auriga.Pool, 1, timeout=0)
        self.assertRaises(ValueError, auriga.Pool, 1, retries=-1)
        self.assertRaises(ValueError, auriga.Pool, 1, retries=65535)
        self.assertRaises(ValueError, auriga.Pool, 1, memory_max=2**64)
        with auriga.ThreadPool(1) as pool:
            self.assertRaises(ValueError, pool.map, work.add, [1], timeout=1)

    @unittest.skipIf(WATCHED, "its addresses count, too")
    def test_memory_limit(self):
        with auriga.Pool(1, memory_max=1 << 30) as pool:
            self.assertRaises(MemoryError, pool.apply, work.big, (2 << 30,))
            self.assertEqual(pool.apply(work.add, (1,)), 3)

    def test_counts(self):
        self.assertGreaterEqual(auriga.cpu_count(), 1)
        self.assertLessEqual(auriga.process_cpu_count(), auriga.cpu_count())

    def test_names_of_the_package(self):
        for module in (auriga, auriga.stdlib):
            for name in module.__all__:
                with self.subTest(name=name):
                    self.assertIsNotNone(getattr(module, name))
        self.assertRaises(AttributeError, getattr, auriga, "nothing")

    def test_pools_that_tasks_make(self):
        for kind in (auriga.Pool, auriga.ThreadPool):
            with self.subTest(kind=kind.__name__), kind(2) as pool:
                want = [[x * x for x in range(n + 1)] for n in range(4)]
                self.assertEqual(pool.map(work.squares_in_own_pool, range(4), 1), want)


if __name__ == "__main__":
    unittest.main()
