"""Inputs of iterators that wait: for the caller, for a result, for ever."""

import contextvars
import gc
import multiprocessing
import os
import queue
import threading
import unittest
import weakref

import auriga
import auriga.stdlib
import work
from auriga import _reader
from support import Case

VERBS = "imap", "imap_unordered", "istarmap", "istarmap_unordered"
variable = contextvars.ContextVar("variable", default=0)


class Inputs:
    """For one kind of pool."""

    def items(self, verb, values):
        """The input whose results are these."""
        return (((value,) if "star" in verb else value) for value in values)

    def test_waits_for_what_the_caller_does_with_results(self):
        for verb in VERBS:
            for size in (1, 3):
                wanted = queue.Queue()
                with self.subTest(verb, size=size), self.make(2) as pool:
                    values = iter(wanted.get, None)
                    results = getattr(pool, verb)(work.same, self.items(verb, values), size)
                    for number in range(20):
                        for _ in range(size):
                            wanted.put(number)
                        for _ in range(size):
                            self.assertEqual(next(results), number)
                    wanted.put(None)
                    self.assertEqual(list(results), [])

    def test_what_comes_later_may_be_done_before(self):
        more = threading.Event()

        def values(gate):
            yield gate
            more.wait()
            yield 0

        with self.make(2) as pool, self.gate() as gate:
            results = pool.imap_unordered(work.open_or_wait, values(gate))
            self.await_begun(gate)
            self.assertRaises(multiprocessing.TimeoutError, results.next, 0.01)

            def go_on():
                while not results._waited_for:
                    os.sched_yield()
                more.set()

            threading.Thread(target=go_on).start()
            self.assertEqual(next(results), 0)
            self.open_gate(gate)
            self.assertEqual(list(results), [gate])

    def test_waits_for_a_result_that_needs_more_of_it(self):
        def values():
            yield 1
            yield next(results)
            yield next(results) + next(results)

        with self.make(2) as pool:
            results = pool.imap(work.same, values())
            with self.assertRaisesRegex(RuntimeError, "needs more of it"):
                while True:
                    next(results)

    def test_time_limit(self):
        never = threading.Event()
        self.addCleanup(never.set)
        with self.make(1) as pool:
            for verb in ("imap", "imap_unordered"):
                results = getattr(pool, verb)(work.same, (never.wait() for _ in range(1)))
                self.assertRaises(multiprocessing.TimeoutError, results.next, 0.01)

    def test_a_pool_that_ends_while_somebody_waits_for_the_input(self):
        never = threading.Event()
        self.addCleanup(never.set)
        for verb in ("imap", "imap_unordered"):
            reads = threading.Event()
            pool = self.make(1)

            def values():
                reads.set()
                never.wait()
                yield 1

            results = getattr(pool, verb)(work.same, values())
            reads.wait()
            end = threading.Thread(target=pool.terminate)
            end.start()
            self.assertRaises(auriga.CancelledError, next, results)
            self.assertRaises(StopIteration, next, results)
            end.join()
            pool.join()

    def test_join_reads_the_rest(self):
        pool = self.make(2)
        results = [pool.imap(work.same, (n for n in range(500))), pool.imap(work.same, (), 2)]
        pool.close()
        pool.join()
        self.assertEqual([list(one) for one in results], [list(range(500)), []])

    def test_an_exception_of_the_input(self):
        def values():
            yield 1
            raise KeyError("input")

        with self.make(2) as pool:
            for verb in ("imap", "imap_unordered"):
                results = getattr(pool, verb)(work.same, values())
                seen = []
                with self.assertRaises(KeyError):
                    seen.extend(results)
                self.assertEqual(list(results) or seen or [1], [1])

    def test_threads_that_share_an_iterator(self):
        with self.make(2) as pool:
            for verb in ("imap", "imap_unordered"):
                results = getattr(pool, verb)(work.same, (n for n in range(2000)))
                seen = []
                threads = [threading.Thread(target=lambda: seen.extend(results)) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(sorted(seen), list(range(2000)))

    def test_sees_the_variables_of_the_caller(self):
        token = variable.set(7)
        self.addCleanup(variable.reset, token)
        with self.make(1) as pool:
            self.assertEqual(list(pool.imap(work.same, (variable.get() for _ in range(3)))), [7] * 3)

    def test_the_thread_ends_with_the_iterator(self):
        with self.make(1) as pool:
            results = pool.imap(work.same, (n for n in range(10**6)))
            self.assertEqual(next(results), 0)
            reader = results._reader._thread
            gone = weakref.ref(results)
        del results
        gc.collect()
        reader.join()
        self.assertIsNone(gone())

    def test_no_thread_for_what_never_waits(self):
        with self.make(1) as pool:
            for plain in ([1], (1,), range(1), iter([1]), {1: 2}, iter({1})):
                self.assertIsNone(pool.imap(work.same, plain)._reader)


class Processes(Inputs, Case):
    make = staticmethod(auriga.Pool)


class Threads(Inputs, Case):
    make = staticmethod(auriga.ThreadPool)


class News(Case):
    """What the reader's thread tells those who wait for it."""

    def reader(self):
        class Iterator:
            def _feed(self, window):
                self._chunks = None

        iterator, reader = Iterator(), _reader.Reader()
        self.assertTrue(reader.start(iterator))
        self.addCleanup(lambda: reader.read_all() or iterator)
        return reader

    def wait(self, reader, news, looks):
        """A thread that takes one of the news."""

        def has_news():
            looks.release()
            return bool(news)

        def run():
            if reader.wait(lambda: has_news() and news.pop(), None):
                looks.release()

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)

    def test_once_for_all_that_came_meanwhile(self):
        reader, news, looks, told = self.reader(), [], threading.Semaphore(0), []
        notify_all = reader._news.notify_all
        reader._news.notify_all = lambda: told.append(None) or notify_all()
        reader.tell()
        self.assertEqual(told, [])  # nobody waits
        self.wait(reader, news, looks)
        looks.acquire()
        with reader._news:  # it sleeps, or will ask for this once more
            for number in range(3):
                news.append(number + 1)
                reader.tell()
            self.assertEqual(len(told), 1)

    def test_who_comes_too_late_is_told_again(self):
        reader, news, looks = self.reader(), [], threading.Semaphore(0)
        for _ in range(2):
            self.wait(reader, news, looks)
        for _ in range(2):
            looks.acquire()
        for number in range(2):  # both look at the first
            with reader._news:
                news.append(number + 1)
                reader.tell()
            for _ in range(3 - number):
                looks.acquire()
        self.assertEqual(news, [])


class Autos(Inputs, Case):
    make = staticmethod(auriga.AutoPool)
    test_what_comes_later_may_be_done_before = None  # its chunks tell of their end, nobody has to ask


def squares(pool, n):
    """In a task: the input of each iterator waits for calls, or for what is done with results."""
    wanted = queue.Queue()
    fed = pool.imap(work.square, iter(wanted.get, None))
    got = []
    for number in range(n):
        wanted.put(number)
        got.append(next(fed))
    wanted.put(None)
    got.extend(fed)
    calls = [pool.apply_async(work.square, (number,)) for number in range(n)]
    got.extend(pool.imap(work.square, (call.get() for call in calls)))
    for verb in (pool.imap, pool.imap_unordered):
        got.extend(sorted(verb(work.square, (x for x in verb(work.square, (y for y in range(n)))))))
    got.append(sum(pool.imap(work.same, (pool.apply(work.square, (y,)) for y in range(n)))))
    return got


outer = None


def squares_in_outer(n):
    return squares(outer, n)


def squares_in_own(n):
    with auriga.Pool(1) as pool:
        return squares(pool, n)


class InTasks(Case):
    EXPECTED = [x**2 for x in range(7)] + [x**4 for x in range(7)] * 3 + [sum(x * x for x in range(7))]

    def test_of_a_thread(self):
        for n in 1, 2:
            with auriga.ThreadPool(n) as pool:
                got = pool.starmap(squares, [(pool, 7)] * 4, 1)
            self.assertEqual(got, [self.EXPECTED] * 4)

    def test_of_a_process(self):
        global outer
        with auriga.Pool(2) as outer, auriga.Pool(2) as pool:
            for fn in squares_in_own, squares_in_outer:
                self.assertEqual(pool.map(fn, [7] * 2, 1), [self.EXPECTED] * 2)
        outer = None


class Same(Case):
    def test_as_the_standard_library(self):
        for module in (multiprocessing, auriga.stdlib):
            wanted = queue.Queue()
            with module.Pool(1) as pool:
                results = pool.imap(work.same, iter(wanted.get, None))
                wanted.put(1)
                self.assertEqual(next(results), 1)
                wanted.put(None)


if __name__ == "__main__":
    unittest.main()
