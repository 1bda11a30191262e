"""Many calls at a time: what is submitted, waited for and taken in runs."""

import functools
import threading
import unittest

import auriga
import work
from support import Case


class Runs:
    """For pools of both kinds."""

    def test_every_result_once(self):
        with self.pool(2) as pool:
            for n in (0, 1, 63, 64, 65, 1000):
                want = [x * x for x in range(n)]
                self.assertEqual(pool.map(work.square, range(n), 1), want)
                self.assertEqual(list(pool.imap(work.square, range(n))), want)
                self.assertEqual(sorted(pool.imap_unordered(work.square, range(n))), want)
        with self.executor(2) as executor:
            self.assertEqual(list(executor.map(work.square, range(1000))),
                             [x * x for x in range(1000)])
            self.assertEqual(list(executor.map(work.square, [])), [])

    def test_an_exception_is_raised_at_its_turn(self):
        check = functools.partial(fail_at, 70)
        with self.pool(2) as pool:
            results = pool.imap(check, range(80))
            self.assertEqual([next(results) for _ in range(70)], list(range(70)))
            self.assertRaisesRegex(ValueError, "no 70", next, results)
            self.assertEqual(list(results), list(range(71, 80)))
            with self.assertRaisesRegex(ValueError, "no 70"):
                pool.map(check, range(80), 1)
        with self.executor(2) as executor:
            results = executor.map(check, range(80))
            self.assertEqual([next(results) for _ in range(70)], list(range(70)))
            self.assertRaisesRegex(ValueError, "no 70", next, results)
            self.assertRaises(StopIteration, next, results)

    def test_the_first_that_is_done_comes_first(self):
        with self.pool(2) as pool, self.gate() as gate:
            items = [gate, *[""] * 200]
            results = pool.imap_unordered(work.open_or_wait, items)
            self.assertEqual([next(results) for _ in range(200)], [""] * 200)
            self.assertRaises(auriga.TimeoutError, results.next, 0)
            self.open_gate(gate)
            self.assertEqual(list(results), [gate])

    def test_input_that_raises_ends_the_iterators(self):
        def items():
            yield from range(5)
            raise KeyError("input")

        with self.pool(2) as pool:
            for verb in (pool.imap, pool.imap_unordered):
                results = verb(work.same, items())
                got = set()
                with self.assertRaisesRegex(KeyError, "input"):
                    for x in results:
                        got.add(x)
                self.assertEqual(got | set(results), set(range(5)))
        with self.executor(2) as executor:
            self.assertRaisesRegex(KeyError, "input", executor.map, work.same, items())

    def test_two_threads_take_from_one_iterator(self):
        with self.pool(2) as pool:
            for verb, chunksize in ((pool.imap, 1), (pool.imap, 7), (pool.imap_unordered, 1)):
                results = verb(work.same, range(3000), chunksize)
                got = [], []
                threads = [threading.Thread(target=lambda to=to: to.extend(results)) for to in got]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(sorted(got[0] + got[1]), list(range(3000)))


def fail_at(bad, x):
    if x == bad:
        raise ValueError(f"no {x}")
    return x


class Processes(Runs, Case):
    pool = auriga.Pool
    executor = auriga.ProcessPoolExecutor

    def test_what_cannot_be_sent_fails_alone(self):
        with self.executor(2) as executor:
            results = executor.map(work.same, [1, threading.Lock(), 3])
            self.assertEqual(next(results), 1)
            self.assertRaises(TypeError, next, results)
        with self.pool(2) as pool:
            with self.assertRaises(TypeError):
                pool.map(work.same, [1, threading.Lock(), 3], 1)

    def test_a_submit_of_a_subclass_is_used(self):
        class Counting(self.executor):
            n = 0

            def submit(self, *args):
                self.n += 1
                return super().submit(*args)

        with Counting(2) as executor:
            self.assertEqual(list(executor.map(work.same, range(5))), list(range(5)))
            self.assertEqual(executor.n, 5)


class Threads(Runs, Case):
    pool = auriga.ThreadPool
    executor = auriga.ThreadPoolExecutor

    def test_results_that_later_tasks_need(self):
        """A wait for several results hands out the first when the others wait for its consumer."""
        events = [threading.Event() for _ in range(200)]

        def task(i):
            if i >= 150:
                events[i - 1].wait()
            return i

        with self.executor(60) as executor:  # a thread for each that waits, and some more
            for i in executor.map(task, range(200)):
                events[i].set()
        events = [threading.Event() for _ in range(200)]
        with self.pool(60) as pool:
            for i in pool.imap(task, range(200)):
                events[i].set()


if __name__ == "__main__":
    unittest.main()
