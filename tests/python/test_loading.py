"""A result that several threads ask for at once is loaded once: it may be one that can be had only once, as a descriptor,
and who has it may have changed it by the time that another thread is through."""

import threading
import unittest
from unittest import mock

import auriga
from auriga import _helpers
from support import Case

loads = []
entered = go = None


def load(n):
    """In this process: the first waits until another thread waits for it, or loads as well."""
    loads.append(n)
    if len(loads) > 1:
        go.set()
    entered.set()
    go.wait()
    return [n]


class Gated:
    def __init__(self, n):
        self.n = n

    def __reduce__(self):
        return load, (self.n,)


def make_gated(n):
    return Gated(n)


class Loading(Case):
    def check(self, submit, expected):
        """Two threads ask for a result at once."""
        global entered, go
        entered, go = threading.Event(), threading.Event()
        loads.clear()
        got = []
        wait = _helpers.await_event

        def wait_and_tell(event):
            go.set()
            wait(event)

        def ask(get):
            value = get()
            got.append(value)
            if type(value[0]) is list:
                value[0] = "mine"

        get = submit()
        with mock.patch.object(_helpers, "await_event", wait_and_tell):
            threads = [threading.Thread(target=ask, args=(get,)) for _ in range(2)]
            threads[0].start()
            entered.wait()
            threads[1].start()
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(loads), expected)
        self.assertIs(got[0], got[1])
        if len(expected) > 1:
            self.assertEqual(got[0], ["mine", *([n] for n in expected[1:])])

    def test_once(self):
        with auriga.Pool(1) as pool, auriga.ProcessPoolExecutor(1) as executor:
            self.check(lambda: pool.apply_async(make_gated, (0,)).get, [0])
            self.check(lambda: executor.submit(make_gated, 0).result, [0])
            for size in 1, 3:
                self.check(lambda: pool.map_async(make_gated, range(3), size).get, [0, 1, 2])

    def test_what_asks_for_itself(self):
        """As pickle does with what contains itself without end."""
        with auriga.Pool(1) as pool:
            result = pool.apply_async(make_gated, (0,))
            with mock.patch(f"{__name__}.load", lambda n: result.get()):
                self.assertRaises(RecursionError, result.get)


if __name__ == "__main__":
    unittest.main()
