"""Arguments that make no sense: each is refused at once, and the error names the argument, what it accepts
and what was given.  auriga.stdlib says what the standard library says."""

import concurrent.futures
import inspect
import math
import multiprocessing.pool
import threading
import unittest
from decimal import Decimal
from fractions import Fraction

import auriga
import auriga.stdlib
import work
from support import Case


class Index:
    def __index__(self):
        return 2


DAYS = 10**6  # in seconds: longer than any test


class Days:
    def __index__(self):
        return DAYS


class Seconds:
    def __float__(self):
        return float(DAYS)


NO_NUMBERS = "a", "2", b"2", [], 2j, object
NO_INTS = (*NO_NUMBERS, 1.5, 2.0, math.inf, math.nan, Decimal("1.5"), Fraction(3, 2), Seconds())
LONG = None, DAYS, DAYS + 0.5, math.inf, 1e300, 10**400, Decimal(DAYS), Fraction(DAYS * 3, 2), Days(), Seconds()
OVER = 0, -1, -1e300, -math.inf, -(10**400), False

# What an argument takes, and what it does not: {class of the error: values}.
NATURAL = (None, 0, 1, True, Index()), {TypeError: NO_INTS, ValueError: (-1, -(10**30), 10**30)}
BYTES = (0, 1, 10**30, Index()), {TypeError: NO_INTS, ValueError: (-1, -(10**30))}
CHUNK = (1, 2, True, Index(), 10**30), {TypeError: NO_INTS, ValueError: (0, -1, -(10**30))}
LIMIT = LONG, {TypeError: NO_NUMBERS, ValueError: (math.nan, *OVER)}
WAIT = LONG, {TypeError: NO_NUMBERS, ValueError: (math.nan,)}
CALLBACK = (None, id), {TypeError: (5, "abs", [], False)}
NAMED = (None, {}), {TypeError: (5, "ab", [1], object)}
SHOWN = (None, False, True, print), {TypeError: (5, "yes", [], 1)}
INITIALIZER = (None, dict), {TypeError: (5, "abs", [], False)}
WORKERS = (None, 1, True, Index()), {TypeError: NO_INTS, ValueError: (-1, -(10**30), 5000, 10**30)}
CONTEXT = (None,), {AttributeError: ("fork", 5, object)}
VARIABLES = (True, False, [], ()), {TypeError: (5, None, object)}
THREADS = (1, 1.5, Fraction(3, 2), Index()), {
    TypeError: NO_NUMBERS, ValueError: (0, -1, math.nan, 5000, math.inf)
}
PROCESSES = (None, 1, True, Index()), {TypeError: NO_INTS, ValueError: (0, -1, 5000, 10**30)}


def call_of(pool, verb, **arguments):
    """The outcome of a verb with these arguments, whatever it returns."""
    items = [(1,), (2,)] if "star" in verb else [1, 2]
    made = getattr(pool, verb)
    made = made(work.same, (1,), **arguments) if "apply" in verb else made(work.same, items, **arguments)
    return made.get() if "async" in verb else made if "apply" in verb else list(made)


def told_by(gate):
    """A future of its own, done when the gate opens."""
    future = auriga.Future()
    threading.Thread(target=lambda: future.set_result(gate.wait())).start()
    return future


class Told(Case):
    """Of the package itself."""

    def check(self, name, rule, call, accepts=True):
        good, bad = rule
        for value in good if accepts else ():
            with self.subTest(argument=name, good=value):
                call(value)
        for kind, values in bad.items():
            for value in values:
                with self.subTest(argument=name, bad=value):
                    with self.assertRaises(kind) as caught:
                        call(value)
                    text = str(caught.exception)
                    self.assertIn(name, text.lower())
                    self.assertIn(f", not {value!r}"[:25], text)

    def check_verb(self, pool, verb):
        def check(name, rule, accepts=True):
            self.check(name, rule, lambda value: call_of(pool, verb, **{name: value}), accepts)

        if not isinstance(pool, auriga.ThreadPool):
            check("retries", NATURAL)
            check("timeout", LIMIT)
        if "apply" not in verb:
            check("chunksize", CHUNK)
            check("kwds", NAMED)
            check("progress", SHOWN, accepts=False)
        if verb.endswith("async"):
            check("callback", CALLBACK)
            check("error_callback", CALLBACK)
        if verb.startswith("i"):
            check("ahead_bytes", BYTES)

    def test_verbs(self):
        lazy = "imap", "imap_unordered", "istarmap", "istarmap_unordered"
        many = "map", "starmap", "map_async", "starmap_async", *lazy
        for make in (auriga.Pool, auriga.AutoPool, auriga.ThreadPool):
            with make(1) as pool:
                for verb in ("apply", "apply_async", *many):
                    with self.subTest(pool=make.__name__, verb=verb):
                        self.check_verb(pool, verb)
                self.assertEqual(pool.map(work.same, [1, 2]), [1, 2])

    def test_limits_of_threads(self):
        with auriga.ThreadPool(1) as pool:
            for no_limit in (None, math.inf):
                self.assertEqual(pool.map(work.same, [1], timeout=no_limit, retries=0), [1])
            for limit in ({"timeout": 5}, {"retries": 1}):
                with self.assertRaisesRegex(ValueError, "timeout and retries are for processes"):
                    pool.map(work.same, [1], **limit)

    def test_an_item_without_a_limit_may_have_one_of_its_pool(self):
        with auriga.Pool(1, timeout=1e-12) as pool, self.gate() as gate:
            self.assertRaises(auriga.ItemTimeout, pool.apply, work.wait_for_file, (gate,))
            self.assertEqual(pool.apply(work.same, (3,), timeout=math.inf), 3)

    def check_made(self, make, name, rule, *args):
        def call(value):
            with make(*args, **{name: value}):
                pass

        self.check(name, rule, call)

    def test_pools(self):
        for make in (auriga.Pool, auriga.AutoPool, auriga.ThreadPool):
            self.check_made(make, "processes", WORKERS)
            self.check_made(make, "initializer", INITIALIZER, 1)
        for make in (auriga.Pool, auriga.AutoPool):
            self.check_made(make, "retries", NATURAL, 1)
            self.check_made(make, "timeout", LIMIT, 1)
            self.check_made(make, "contextvars", VARIABLES, 1)
            self.check_made(make, "context", CONTEXT, 1)
            self.check_made(make, "memory_max", ((None, 0, 2**40), NATURAL[1]), 1)
            tasks = (None, 1, True, 10**30), {ValueError: (*NO_INTS, 0, -1, -(10**30))}
            self.check_made(make, "maxtasksperchild", tasks, 1)
            with self.assertRaisesRegex(TypeError, "contextvars must be .*, not 5"):
                make(1, contextvars=[5])
            with self.assertRaisesRegex(TypeError, "memory_max must be an int, in bytes, or None, not '1G'"):
                make(1, memory_max="1G")

    def test_executors(self):
        self.check_made(auriga.ThreadPoolExecutor, "max_workers", THREADS)
        self.check_made(auriga.ProcessPoolExecutor, "max_workers", PROCESSES)
        self.check_made(auriga.ThreadPoolExecutor, "initializer", INITIALIZER)
        make = auriga.ProcessPoolExecutor
        self.check_made(make, "initializer", INITIALIZER)
        self.check_made(make, "contextvars", VARIABLES)
        self.check_made(make, "mp_context", CONTEXT)
        tasks = (None, 1, True, 10**30), {TypeError: NO_INTS, ValueError: (0, -1, -(10**30))}
        self.check_made(make, "max_tasks_per_child", tasks)

    def test_initargs(self):
        for make in (auriga.Pool, auriga.ThreadPool, auriga.AutoPool, auriga.ThreadPoolExecutor,
                     auriga.ProcessPoolExecutor):
            for bad in (5, None, object):
                with self.assertRaisesRegex(TypeError, "initargs must be an iterable of arguments, not"):
                    make(1, initializer=work.same, initargs=bad)
            with make(1, initargs=None):  # nobody is called with it
                pass

    def test_maps_of_executors(self):
        for make in (auriga.ThreadPoolExecutor, auriga.ProcessPoolExecutor):
            with make(1) as executor:

                def check(name, rule):
                    call = executor.map
                    self.check(name, rule, lambda value: list(call(work.same, [1, 2], **{name: value})))

                check("timeout", WAIT)
                ahead = (None, 1, 10**30), {TypeError: (*NO_INTS, Index()), ValueError: (0, -1)}
                check("buffersize", ahead)
                if make is auriga.ProcessPoolExecutor:
                    check("chunksize", CHUNK)

    def test_waits(self):
        with auriga.ThreadPool(1) as pool, auriga.ThreadPoolExecutor(1) as executor:
            result, future = pool.apply_async(work.same, (1,)), executor.submit(work.same, 1)
            mapped = pool.map_async(work.same, [1])
            told = pool.map_async(work.same, [1], callback=id)
            alone = auriga.Future()
            alone.set_result(1)
            for call in (
                result.get, result.wait, mapped.get, mapped.wait, told.get, told.wait,
                future.result, future.exception, alone.result, alone.exception,
                lambda seconds: pool.imap(work.same, [1]).next(seconds),
                lambda seconds: pool.imap_unordered(work.same, iter([1])).next(seconds),
                lambda seconds: auriga.wait([future], seconds),
                lambda seconds: list(auriga.as_completed([future], seconds)),
            ):
                self.check("timeout", WAIT, call)

    def test_waits_that_are_over(self):
        gate = threading.Event()
        with auriga.ThreadPool(1) as pool, auriga.ThreadPoolExecutor(1) as executor:
            try:
                result, future = pool.apply_async(gate.wait), executor.submit(gate.wait)
                mapped, lazy = pool.map_async(work.same, [1]), pool.imap(work.same, iter([1]))
                for over in OVER:
                    for call in (result.get, mapped.get, lazy.next, future.result, future.exception):
                        self.assertRaises(auriga.TimeoutError, call, over)
                    self.assertIsNone(result.wait(over))
                    self.assertEqual(len(auriga.wait([future], over).done), 0)
                    self.assertRaises(auriga.TimeoutError, list, auriga.as_completed([future], over))
            finally:
                gate.set()

    def test_waits_without_an_end(self):
        for forever in (math.inf, 1e300, 10**400):
            with auriga.ThreadPool(1) as pool, auriga.ThreadPoolExecutor(1) as executor:
                for wait in (
                    lambda gate: pool.apply_async(gate.wait).get(forever),
                    lambda gate: pool.map_async(lambda _: gate.wait(), [1], callback=id).get(forever),
                    lambda gate: pool.imap(lambda _: gate.wait(), iter([1])).next(forever),
                    lambda gate: pool.imap_unordered(lambda _: gate.wait(), iter([1])).next(forever),
                    lambda gate: executor.submit(gate.wait).result(forever),
                    lambda gate: auriga.wait([executor.submit(gate.wait)], forever).done.pop().result(),
                    lambda gate: next(auriga.as_completed([executor.submit(gate.wait)], forever)).result(),
                    lambda gate: list(executor.map(lambda _: gate.wait(), [1], timeout=forever)),
                    lambda gate: told_by(gate).result(forever),
                ):
                    gate = threading.Event()
                    opener = threading.Thread(target=gate.set)
                    opener.start()  # mostly after the wait has begun
                    self.assertTrue(wait(gate))
                    opener.join()


class Same(Case):
    """auriga.stdlib and the standard library."""

    def outcome(self, call):
        try:
            call()
        except Exception as error:
            kinds = [k for k in type(error).__mro__ if not k.__module__.startswith("auriga")]
            return kinds[0].__name__, str(error)

    def check(self, ours, theirs, values, name=None):
        """That both say the same of these values, be they the first argument or one by name."""
        for value in values:
            args, named = ((value,), {}) if name is None else ((1,), {name: value})
            with self.subTest(ours=ours, argument=name, value=value):
                want = self.outcome(lambda: theirs(*args, **named))
                self.assertIsNotNone(want)
                self.assertEqual(self.outcome(lambda: ours(*args, **named)), want)

    def test_pools(self):
        for ours, theirs in (
            (auriga.stdlib.Pool, multiprocessing.pool.Pool),
            (auriga.stdlib.ThreadPool, multiprocessing.pool.ThreadPool),
        ):
            self.check(ours, theirs, (0, -1, False, "a", [], 2j, -math.inf))
            self.check(ours, theirs, (5, "a", []), "initializer")
        ours, theirs = auriga.stdlib.Pool, multiprocessing.pool.Pool
        self.check(ours, theirs, (0, -1, 1.5, "a", math.nan), "maxtasksperchild")

    def test_executors(self):
        theirs = concurrent.futures
        for kind in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
            both = getattr(auriga.stdlib, kind), getattr(theirs, kind)
            self.check(*both, (0, -1, False, "a", [], 2j, -math.inf))
            self.check(*both, (5, "a", []), "initializer")
        self.check(*both, (1.5, 2.0, math.nan, Decimal("1.5")))
        if "max_tasks_per_child" in inspect.signature(both[1]).parameters:  # 3.11 and newer
            self.check(*both, (0, -1, 1.5, "a", math.nan), "max_tasks_per_child")
            self.check(*both, (5, "fork", []), "mp_context")

    def test_maps_of_executors(self):
        ours, theirs = auriga.stdlib.ProcessPoolExecutor, concurrent.futures.ProcessPoolExecutor
        with ours(1) as one, theirs(1) as other:
            maps = [
                lambda _, chunksize, pool=pool: list(pool.map(abs, [1, 2], chunksize=chunksize))
                for pool in (one, other)
            ]
            self.check(*maps, (0, -1, 1.5, "a", math.nan, 10**30), "chunksize")


if __name__ == "__main__":
    unittest.main()
