"""What a call is made with is what it was at the submit, and a function is what its name stands for."""

import copyreg
import functools
import multiprocessing
import pickle
import threading
import unittest
from unittest import mock

import auriga
import auriga.stdlib
import work
from support import Case

try:
    import cloudpickle
except ImportError:
    cloudpickle = None

state = "first"


def counter(n):
    """A function whose name is that of no function of this module, with a value of its own."""

    def named():
        return n, state

    def add():
        nonlocal n
        n += 1

    named.__qualname__ = named.__name__ = "named"
    return named, add


class Functions(Case):
    @unittest.skipUnless(cloudpickle, "nothing travels by value without it")
    def test_by_value_as_they_are_now(self):
        global state
        cloudpickle.register_pickle_by_value(work)
        self.addCleanup(cloudpickle.unregister_pickle_by_value, work)
        self.addCleanup(globals().update, state=state)
        for nameless in False, True:
            fn, add = counter(1)
            if nameless:
                fn = functools.partial(lambda fn: fn(), fn)
            with auriga.Pool(1) as pool, auriga.ProcessPoolExecutor(1) as executor:
                calls = (
                    lambda: pool.apply(fn), lambda: pool.starmap(fn, [()] * 2)[1],
                    lambda: pool.starmap(fn, [()] * 2, 1)[1],
                    lambda: next(pool.istarmap(fn, [()])), lambda: next(pool.istarmap(fn, [()], 2)),
                    lambda: executor.submit(fn).result(), lambda: pool.apply(fn),
                )
                for n, call in enumerate(calls, 1):
                    self.assertEqual(call()[0], n)
                    add()

    def test_a_name_that_stands_for_another_one_now(self):
        for package in multiprocessing, auriga, auriga.stdlib:
            with self.subTest(package=package), package.Pool(1) as pool:
                fn = work.target
                self.assertEqual(pool.apply(fn, (1,)), ("before", 1))
                self.assertEqual(pool.apply(work.Holder.target, (1,)), ("held", 1))
                pool.apply(work.replace_target)
                self.assertEqual(pool.apply(fn, (2,)), ("after", 2))
                self.assertEqual(pool.map(fn, [3, 4], 2), [("after", 3), ("after", 4)])
                self.assertEqual(pool.apply(work.Holder.target, (2,)), ("held", 2))

    def test_one_that_is_no_longer_there(self):
        for package in multiprocessing, auriga.stdlib:
            with self.subTest(package=package), package.Pool(1) as pool:
                fn = work.target
                self.assertEqual(pool.apply(fn, (1,)), ("before", 1))
                with mock.patch.object(work, "target", work.replacement):
                    self.assertRaises(pickle.PicklingError, pool.apply, fn, (1,))
                self.assertEqual(pool.apply(fn, (1,)), ("before", 1))

    def test_a_reducer_that_replaces_another(self):
        self.addCleanup(copyreg.dispatch_table.pop, work.Keyed)
        for package in multiprocessing, auriga.stdlib, auriga:
            with package.Pool(1) as pool:
                for text in "one", "two":
                    copyreg.pickle(work.Keyed, lambda keyed: (work.Keyed, (text,)))
                    self.assertEqual(pool.apply(getattr, (work.Keyed("three"), "text")), text)


class Arguments(Case):
    def test_what_changes_after_the_submit(self):
        with auriga.Pool(1) as pool, self.gate() as gate:
            pool.apply_async(work.wait_for_file, (gate,))
            values, named, rows = [1], {"y": [2]}, [[3], [4]]
            large = bytearray(b"x" * 100_000)
            results = [
                pool.apply_async(work.same, (values,)), pool.apply_async(work.add, ([1],), named),
                pool.map_async(work.same, rows), pool.map_async(work.same, rows, 1),
                pool.map_async(work.add, [[1]], kwds=named), pool.apply_async(work.same, (large,)),
            ]
            values.append(0)
            named["y"].append(0)
            del named["y"], rows[1]
            rows[0].append(0)
            large[0] = 0
            self.open_gate(gate)
            self.assertEqual(
                [result.get() for result in results],
                [[1], [1, 2], [[3], [4]], [[3], [4]], [[1, 2]], b"x" * 100_000],
            )

    def test_the_function_of_an_iterator(self):
        for verb in "imap", "imap_unordered":
            for size in 1, 2:
                given, more = [1], threading.Event()

                def items():
                    yield from [[0]] * size
                    more.wait()
                    yield from [[0]] * size

                with self.subTest(verb, size=size), auriga.Pool(1) as pool:
                    results = getattr(pool, verb)(work.add, items(), size, kwds={"y": given})
                    got = [next(results)]
                    given.append(2)
                    more.set()
                    self.assertEqual([*got, *results], [[0, 1]] * 2 * size)
        given = [1]
        with auriga.ProcessPoolExecutor(1) as executor:
            add = functools.partial(work.add, y=given)
            results = executor.map(add, [[0]] * 4, buffersize=1)
            got = [next(results)]
            given.append(2)
            self.assertEqual([*got, *results], [[0, 1]] * 4)

    def test_initargs(self):
        given = [1]
        for make in auriga.Pool, auriga.stdlib.Pool:
            with make(1, work.store, (given,), maxtasksperchild=1) as pool:
                given.append(0)
                self.assertEqual(pool.map(work.stored_value, range(3), 1), [[1]] * 3)
                given.pop()


if __name__ == "__main__":
    unittest.main()
