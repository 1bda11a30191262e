"""Chunks of maps in processes: all kinds of values, and what is sent again."""

import functools
import math
import threading
import unittest

import auriga
import work
from support import Case


class Clears:
    """An item whose pickling empties the list that it is in."""

    def __init__(self, items):
        self.items = items

    def __reduce__(self):
        self.items.clear()
        return int, ()


class Misjudged:
    """Of another length than it says."""

    def __init__(self, said, n):
        self.said = said
        self.n = n

    def __len__(self):
        return self.said

    def __iter__(self):
        return iter(range(self.n))


def die_at_the_mark(path, x):
    """Kills its worker once, at the item that says so."""
    return work.die_once(path, 3) if x == "die" else x


_held = []


def hold(x, y=0):
    """Some of the arguments live on in the worker."""
    if x % 3:
        _held.append((x, y))
    return x + y


def take_held():
    return _held


def is_shared(x):
    return x is int(str(x))


class Batches(Case):
    def setUp(self):
        self.pool = auriga.Pool(2)
        self.addCleanup(self.pool.terminate)

    def test_ints_of_every_width(self):
        edges = [s * (2**bits + d) for bits in (0, 7, 8, 15, 30, 31, 32, 60, 63, 64, 100)
                 for d in (-1, 0, 1) for s in (1, -1)]
        self.assertEqual(self.pool.map(work.same, edges, len(edges)), edges)
        self.assertEqual(self.pool.starmap(work.add, [(x, 0) for x in edges], 7), edges)
        floats = [0.0, -1.5, math.inf, 1e-300]
        self.assertEqual(self.pool.map(work.same, floats, 4), floats)

    def test_arguments_that_a_function_keeps(self):
        # A worker makes the next int of one that nobody has any more, and of no other.
        numbers = [s * (2**bits + d) for bits in (8, 10, 11, 15, 30, 31) for d in range(-9, 10) for s in (1, -1)]
        pairs = [(x, x + d) for x in numbers for d in (0, 1)]
        held = [(x, 0) for x in numbers if x % 3] + [pair for pair in pairs if pair[0] % 3]
        with auriga.Pool(1) as pool:
            self.assertEqual(pool.map(hold, numbers, len(numbers)), numbers)
            self.assertEqual(pool.starmap(hold, pairs, len(pairs)), [x + y for x, y in pairs])
            self.assertEqual(pool.apply(take_held), held)
            self.assertEqual(pool.map(is_shared, [2000, 200, 3000, 256], 4), [False, True, False, True])

    def test_results_of_several_chunks_in_one_list(self):
        submit = functools.partial(self.pool._core.submit_batch, work.square, [1, 2, 3])
        into = [None] * 6
        for lo, hi, at in ((1, 3, 0), (0, 2, 3)):
            task = submit(lo, hi, 0, 0, into, at)
            self.assertTrue(task.wait())
            self.assertIs(task.get(), into)
        self.assertEqual(into, [4, 9, None, 1, 4, None])
        task = submit(0, 3, 0, 0, into, 4)  # it is too short
        self.assertTrue(task.wait())
        self.assertRaisesRegex(ValueError, "more than items", task.get)
        self.assertRaises(TypeError, submit, 0, 3, 0, 0, into, -1)
        self.assertRaises(TypeError, submit, 0, 3, 0, 0, (1, 2, 3), 0)

    def test_inputs_of_another_length_than_they_say(self):
        for said, n in ((9, 0), (3, 10), (10, 3), (10, 10)):
            self.assertEqual(self.pool.map(work.square, Misjudged(said, n), 2), [x * x for x in range(n)])
            self.assertEqual(self.pool.map(work.square, Misjudged(said, n)), [x * x for x in range(n)])
        self.assertEqual(self.pool.map(work.same, [True, False, None], 3), [True, False, None])

    def test_items_behind_a_death_are_found_again(self):
        # What is sent again begins behind values of each kind that there is.
        kinds = [None, True, 5, 200, 2**40, 2**80, 1.5, "text", "\xe9\u4e2d", b"bytes", b"x" * 100_000,
                 "y" * 100_000, (1, (2.0, ("z", None))), (1, {2}), {"a": [1]}, bytearray(200_000), ()]
        path = self.folder() + "/log"
        for n in range(len(kinds) + 1):
            items = [*kinds[:n], "die", *kinds[n:]]
            with self.subTest(n=n):
                open(path, "w").close()
                run = functools.partial(die_at_the_mark, path)
                got = self.pool.map(run, items, len(items), retries=1)
                self.assertEqual(got, [*kinds[:n], 3, *kinds[n:]])

    def test_results_larger_than_those_before(self):
        for sizes in ([1] * 100 + [3000] * 100, [3000] * 50 + [1] * 50, list(range(0, 60_000, 500))):
            got = self.pool.map(work.big, sizes, len(sizes))
            self.assertEqual(list(map(len, got)), sizes)

    def test_a_list_that_changes_while_it_is_sent(self):
        items = [1, 2, 3]
        items.insert(1, Clears(items))
        with self.assertRaisesRegex(RuntimeError, "changed"):
            self.pool.map(work.same, items, 4)
        self.assertEqual(self.pool.map(work.same, (4, 5), 2), [4, 5])  # the pool goes on

    def test_more_than_one_argument_in_a_tuple(self):
        rows = [tuple(range(n)) for n in range(12)]
        self.assertEqual(self.pool.starmap(max, [row for row in rows if len(row) > 1], 20),
                         [n - 1 for n in range(2, 12)])
        with self.assertRaises(TypeError):
            self.pool.starmap(work.same, [(1,), (1, 2)], 2)

    def test_results_of_a_map_for_two_threads(self):
        result = self.pool.map_async(work.square, range(20_000))
        got = []
        threads = [threading.Thread(target=lambda: got.append(result.get())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        want = [x * x for x in range(20_000)]
        self.assertEqual(got, [want] * 4)


if __name__ == "__main__":
    unittest.main()
