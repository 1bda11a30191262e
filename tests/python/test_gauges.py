"""How AutoPool measures: by gauges that say what they are told to, and by real ones."""

import multiprocessing
import threading
import time
import unittest
import unittest.mock

import auriga
import work
from auriga import _core, _gauges
from support import Case, run_program

MS = 1e-3


class Scripted:
    """A gauge that says what it is told to, something else at the end if that is given, and a probe that finds
    the GIL held or not."""

    def __init__(self, took, held, at_end=None):
        self.took = took
        self.held = held
        self.at_end = at_end or took
        self.probes = 0

    def gauge(self, func, call):
        return ScriptedGauge(_core.Gauge(func, call), self.took, self.at_end)

    def probe(self, task, gauge):
        task.wait()
        self.probes += 1
        return (3, 3) if self.held else (0, 3)

    def choice_for(self, case, fn, n):
        with (
            unittest.mock.patch.multiple(
                _gauges, Gauge=self.gauge, watch=lambda task, gauge, seconds: task.wait(), probe=self.probe
            ),
            auriga.AutoPool(2) as pool,
        ):
            case.assertEqual(pool.map(fn, range(n)), [x * x for x in range(n)])
            return pool.explain()


class ScriptedGauge:
    def __init__(self, gauge, took, at_end):
        self.func = gauge.func
        self.end = gauge.end
        self._gauge = gauge
        self._took = took
        self._at_end = at_end

    def took(self):
        return self._took

    def __call__(self, *args):
        try:
            return self._gauge(*args)
        finally:
            self._took = self._at_end


def wait_for(event, begun=None):
    if begun is not None:
        begun.set()
    event.wait()


class Told(Case):
    """By scripted gauges."""

    def test_a_busy_machine_makes_no_difference(self):
        for ready in (0, 100 * MS):
            computes = 10 * MS + ready, 10 * MS, ready, 0
            waits = 10 * MS + ready, 0.1 * MS, ready, 2
            held, free, other = Scripted(computes, True), Scripted(computes, False), Scripted(waits, 1)
            self.assertIn("runs in processes", held.choice_for(self, work.square, 40))
            self.assertIn("keep each other waiting", free.choice_for(self, work.square, 40))
            self.assertIn("waits most of the time", other.choice_for(self, work.square, 40))
            self.assertEqual((held.probes, free.probes, other.probes), (1, 1, 0))

    def test_who_waits_for_a_single_call_looks_at_it(self):
        for held, said in ((True, "runs in processes"), (False, "keep each other waiting")):
            script = Scripted((10 * MS, 10 * MS, 0, 0), held)
            event = threading.Event()
            self.addCleanup(event.set)

            def probe(result, gauge, gap):
                event.set()
                return script.probe(result, gauge)

            with (
                unittest.mock.patch.multiple(_gauges, Gauge=script.gauge, probe=probe),
                auriga.AutoPool(2) as pool,
            ):
                result = pool.apply_async(wait_for, (event,))
                result.wait(0)
                self.assertRaises(multiprocessing.TimeoutError, result.get, 0.001)
                self.assertEqual(script.probes, 0)  # that would take longer
                self.assertIsNone(result.get(60))
                self.assertIsNone(pool.apply_async(wait_for, (event,)).get(60))
                self.assertIn(said, pool.explain())
            self.assertEqual(script.probes, 1)


    def test_so_does_one_that_runs_in_the_caller(self):
        for ready in (0, 100 * MS):
            script = Scripted((11 * MS + ready, 10 * MS, ready, 1), True)
            with (
                unittest.mock.patch.multiple(_gauges, Gauge=script.gauge),
                auriga.AutoPool(2) as pool,
            ):
                self.assertEqual(pool.apply(work.square, (3,)), 9)
                self.assertIn("square: 11 ms a call, 91 in 100 of it busy", pool.explain())

    def test_a_call_is_told_by_its_whole_time(self):
        # It is judged while the others wait for that.
        for at_end, told in (
            ((80 * MS, 80 * MS, 0, 0), "80 ms a call, 100 in 100"),
            ((95 * MS, 80 * MS, 0, 9), "80 ms a call, 100 in 100"),  # it waited for who took results
        ):
            script = Scripted((5 * MS, 5 * MS, 0, 0), True, at_end)
            held_back.clear()

            def probe(task, gauge):
                held_back.set()
                return 3, 3

            with (
                unittest.mock.patch.multiple(
                    _gauges, Gauge=script.gauge, watch=lambda *_: None, probe=probe
                ),
                auriga.AutoPool(2) as pool,
            ):
                self.assertEqual(pool.map(first_is_held_back, range(9)), list(range(9)))
                self.assertIn("runs in processes", pool.explain())
                self.assertIn(told, pool.explain())

    def test_one_worker_runs_one_call_at_a_time(self):
        # The caller waits for the first, beside which it would only take turns.
        script = Scripted((5 * MS, 5 * MS, 0, 0), True, (40 * MS, 40 * MS, 0, 0))
        begun, again = threading.Event(), threading.Event()
        inside, beside, looks = [], [], []

        def call(x):
            beside.append(list(inside))
            inside.append(x)
            begun.set()
            if x == 0:
                again.wait()
            again.set()
            inside.remove(x)
            return x * x

        def watch(task, gauge, seconds):
            begun.wait()
            looks.append(seconds)
            if len(looks) > 1:
                again.set()
                task.wait()

        with (
            unittest.mock.patch.multiple(_gauges, Gauge=script.gauge, watch=watch),
            auriga.AutoPool(1) as pool,
        ):
            self.assertEqual(pool.map(call, range(5)), [0, 1, 4, 9, 16])
            self.assertIn("100 in 100 of it busy: it runs in the thread", pool.explain())
        self.assertEqual(beside, [[]] * 5)


class Gauges(Case):
    def begin(self, call, *args):
        """(task, gauge) of a call in a thread."""
        pool = auriga.ThreadPool(1)
        self.addCleanup(pool.join)
        self.addCleanup(pool.close)
        gauge = _core.Gauge(call, call)
        return pool._core.submit(_core.Task, gauge, args, None, 0), gauge

    def test_one_that_has_not_begun(self):
        gauge = _core.Gauge(len, len)
        self.assertIsNone(gauge.took())
        self.assertIs(gauge.func, len)

    def test_the_result_and_the_error_are_the_calls(self):
        gauge = _core.Gauge(int, int)
        self.assertEqual(gauge("2", base=3), 2)
        wall, cpu, ready, sleeps = gauge.took()
        self.assertGreaterEqual(wall, 0)
        with self.assertRaises(ValueError):
            _core.Gauge(int, int)("no")

    def test_a_call_that_sleeps_is_told_while_it_does(self):
        begun, event = threading.Event(), threading.Event()
        task, gauge = self.begin(wait_for, event, begun)
        self.addCleanup(event.set)  # before its pool is joined
        begun.wait()
        sleeps = 0
        while sleeps == 0:  # it may not be in its wait yet
            _gauges.watch(task, gauge, 0.005)
            wall, cpu, ready, sleeps = gauge.took()
        self.assertFalse(task.done())
        self.assertLessEqual(cpu, wall)
        event.set()
        self.assertTrue(task.wait())
        self.assertGreaterEqual(gauge.took()[0], wall)

    def test_who_waits_does_not_hold_the_gil(self):
        begun, event = threading.Event(), threading.Event()
        task, gauge = self.begin(wait_for, event, begun)
        self.addCleanup(event.set)  # before its pool is joined
        begun.wait()
        self.assertEqual(_core.probe(task, gauge), (0, 0))  # it uses no CPU, and nobody waits for it
        self.assertFalse(task.done())

    def test_a_call_that_computes_first_and_then_waits(self):
        # It is judged anew when it has no CPU any more; until then the map would wait for it.
        event = threading.Event()
        self.addCleanup(event.set)
        with auriga.AutoPool(2) as pool:
            result = pool.map_async(compute_or_open, [None] + [event] * 3, 1)
            self.assertTrue(event.wait(60), "the others wait for the first")
            self.assertEqual(result.get(), [None, event, event, event])

    def test_who_computes_holds_the_gil(self):
        # In a process without other threads, whose wish for the GIL would count.
        status, out, err = run_program(HOLDS)
        self.assertEqual((status, out, err), (0, "0 True\n", ""))

    def test_wrong_arguments(self):
        gauge = _core.Gauge(len, len)
        self.assertRaises(TypeError, _core.Gauge, len)
        self.assertRaises(TypeError, _core.watch, None, gauge, 1)
        self.assertRaises(TypeError, _core.probe, auriga.Future(), gauge)
        self.assertRaises(TypeError, _core.probe, auriga.Future(), gauge, "soon")


held_back = threading.Event()


def first_is_held_back(x):
    if x == 0:
        held_back.wait()
    return x


def compute_or_open(event):
    """The first computes for a while, and waits for the others; they let it go on."""
    if event is not None:
        held_back.set()
        event.set()
        return event
    end = time.thread_time() + 0.008
    while time.thread_time() < end:
        pass
    held_back.wait()
    return None


HOLDS = """
import auriga
from auriga import _core

stop = False

def spin():
    while not stop:
        pass

alone = _core.Gauge(sum, sum)
alone(range(100_000))
with auriga.ThreadPool(1) as pool:
    gauge = _core.Gauge(spin, spin)
    task = pool._core.submit(_core.Task, gauge, (), None, 0)
    while not _core.watch(task, gauge, 0.001):
        pass
    held = looks = 0
    while looks == 0:  # the call may be without a CPU all the while
        held, looks = _core.probe(task, gauge)
    print(alone.took()[3], held == looks)  # the first has not slept
    stop = True
    task.wait()
"""


if __name__ == "__main__":
    unittest.main()
