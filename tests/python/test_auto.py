"""AutoPool: the choice from given outcomes, and that each place gives the same results."""

import contextvars
import functools
import gc
import multiprocessing
import os
import threading
import time
import unittest
import warnings

import auriga
import work
from auriga._verdict import (
    GIL, HERE, PROCESSES, THREADS, UNDECIDED, Verdict, Where, outcome
)
from support import Case
from test_pool import Verbs

MS = 1e-3


class Choice(unittest.TestCase):
    """No clock: the outcomes are given."""

    def setUp(self):
        self.v = Verdict("f")
        self.where = Where(4)

    def choose(self, left=1000, **where):
        for name, value in where.items():
            setattr(self.where, name, value)
        return self.v.choose(self.where, left)

    def test_nothing_is_known(self):
        self.assertEqual(self.choose(), UNDECIDED)
        self.assertEqual(self.choose(None), UNDECIDED)
        self.assertIn("no call was measured", self.v.explain())

    def test_what_waits(self):
        self.v.count(1, 10 * MS, 0.1 * MS)
        self.assertEqual(self.choose(), THREADS)
        self.assertEqual(self.choose(None), UNDECIDED)  # it may have met who submits, at the GIL
        for _ in range(3):
            self.v.count(1, 10 * MS, 0.1 * MS)
        self.assertEqual(self.choose(None), THREADS)
        self.assertIn("10 ms a call, 1 in 100 of it busy: it runs in threads: it waits most",
                      self.v.explain())

    def test_the_last_call_goes_nowhere(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.assertEqual(self.choose(1), HERE)
        self.assertEqual(self.choose(1, here=False), THREADS)

    def test_two_calls_of_which_one_is_under_way(self):
        self.v.count(1, 5 * MS, 5 * MS)
        self.assertEqual(self.v.choose(self.where, 1, 1), GIL)
        self.v.count_gil(3, 3)
        self.assertEqual(self.v.choose(self.where, 1, 1), PROCESSES)
        self.assertEqual(self.v.choose(Where(1), 1, 1), HERE)
        self.assertEqual(self.v.choose(self.where, 1, 0), HERE)

    def test_a_call_that_goes_on(self):
        self.where.started = False
        self.v.count(1, 5 * MS, 5 * MS)
        self.v.count_gil(3, 3)
        self.assertEqual(self.choose(3), HERE)
        self.v.change((1, 5 * MS, 5 * MS), (1, 500 * MS, 500 * MS))
        self.assertEqual(self.choose(3), PROCESSES)
        self.assertIn("500 ms a call, 100 in 100", self.v.explain())
        self.v.change((1, 500 * MS, 500 * MS), (1, 500 * MS, 5 * MS))
        self.assertEqual(self.choose(3), THREADS)

    def test_a_call_beside_which_others_were_sent(self):
        was, now = (5 * MS, 5 * MS), (200 * MS, 80 * MS)
        self.v.count(1, *was)
        for own in self.v.own(was, now):
            self.assertAlmostEqual(own, 80 * MS)
        self.v.count_gil(0, 3)
        self.assertEqual(self.v.own(was, now), now)  # it does not take turns
        self.v.count_gil(9, 9)
        self.v.count(1, 500 * MS, 0)
        self.assertEqual(self.v.own(was, now), now)  # it waits

    def test_what_is_cheap(self):
        self.v.count(1, 0.2e-6, 0.2e-6)
        for left in (None, 1, 10, 10_000_000):
            self.assertEqual(self.choose(left), HERE, left)
        self.assertIn("to hand it over would cost more", self.v.explain())
        self.assertEqual(self.choose(None, here=False), THREADS)

    def test_a_first_call_that_was_dear(self):
        self.v.count(1, 0.1 * MS, 0.1 * MS)
        self.assertEqual(self.choose(100_000), HERE)  # to see more of them
        self.v.count(2500, 0.5 * MS, 0.5 * MS)
        self.assertEqual(self.choose(100_000), HERE)
        self.v.count(640, 64 * MS, 64 * MS)  # and now they are
        self.assertEqual(self.choose(100_000), GIL)

    def test_what_takes_turns(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.assertEqual(self.choose(), GIL)
        self.v.count_gil(2, 2)
        self.assertEqual(self.choose(), GIL)  # two are no proof
        self.v.count_gil(1, 2)
        self.assertEqual(self.choose(), PROCESSES)
        self.assertIn("threads would take turns", self.v.explain())

    def test_what_runs_without_the_lock(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.v.count_gil(1, 4)
        self.assertEqual(self.choose(), THREADS)
        self.assertIn("not seen to keep each other waiting", self.v.explain())

    def test_without_a_lock_at_all(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.assertEqual(self.choose(gil=False), THREADS)

    def test_half_and_half(self):
        self.v.count(1, 10 * MS, 6 * MS)
        self.assertEqual(self.choose(), THREADS)
        self.assertIn("computes for a part", self.v.explain())

    def test_one_worker_gains_nothing(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.assertEqual(self.choose(workers=1), HERE)
        self.assertEqual(self.choose(workers=1, here=False), THREADS)

    def test_what_cannot_travel(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.v.bound = "PicklingError: f"
        self.assertEqual(self.choose(), THREADS)
        self.assertIn("cannot go to a process (PicklingError: f)", self.v.explain())

    def test_a_start_that_does_not_pay(self):
        self.v.count(1, 1 * MS, 1 * MS)
        self.v.count_gil(1, 1, last=True)
        self.assertEqual(self.choose(100, started=False), HERE)
        self.assertEqual(self.choose(100, started=True), PROCESSES)
        self.assertEqual(self.choose(10_000, started=False), PROCESSES)

    def test_single_calls_that_overlap(self):
        for _ in range(8):
            self.assertEqual(self.choose(None), UNDECIDED)
            self.v.count(1, 40 * MS, 10 * MS, 4)
        self.assertEqual(self.choose(None), PROCESSES)

    def test_single_calls_that_met_who_submits(self):
        self.v.count(1, 40 * MS, 10 * MS)
        self.assertEqual(self.choose(None), UNDECIDED)
        for _ in range(8):
            self.v.count(1, 40 * MS, 11 * MS, 4)
        self.assertEqual(self.choose(None), PROCESSES)

    def test_single_calls_that_keep_several_cpus_busy(self):
        # Each sleeps now and then, for a GIL whose holder has lost its CPU.
        for _ in range(8):
            self.v.count(1, 40 * MS, 25 * MS, 3)
        self.assertEqual(self.choose(None), THREADS)

    def test_single_calls_that_wait_beside_each_other(self):
        for _ in range(8):
            self.v.count(1, 40 * MS, 1 * MS, 4)
        self.assertEqual(self.choose(None), THREADS)

    def test_single_calls_one_by_one(self):
        for _ in range(32):
            self.assertEqual(self.choose(None), UNDECIDED)
            self.v.count(1, 1 * MS, 1 * MS)
        self.assertEqual(self.choose(None), THREADS)

    def test_single_calls_that_were_looked_at(self):
        for held, place in ((1, PROCESSES), (0, THREADS)):
            self.v = Verdict("f")
            self.v.count(1, 1 * MS, 1 * MS)
            for _ in range(9):
                self.v.count(1, 1 * MS, 1 * MS, 2)
            self.v.count_gil(held, 1)
            self.assertEqual((self.choose(None), self.v.is_open()), (UNDECIDED, True))  # once is not enough
            self.v.count_gil(2 * held, 2)
            self.assertEqual((self.choose(None), self.v.is_open()), (place, False))

    def test_single_calls_that_were_looked_at_once(self):
        for held, place in ((1, PROCESSES), (0, THREADS)):
            self.v = Verdict("f")
            self.v.count_gil(held, 1)
            for _ in range(32):
                self.v.count(1, 1 * MS, 1 * MS)
            self.assertEqual((self.choose(None), self.v.is_open()), (place, True))

    def test_who_was_seen_with_the_gil_sleeps_for_it(self):
        for _ in range(8):
            self.v.count(1, 1 * MS, 0.7 * MS)
        self.assertEqual(self.choose(None), THREADS)
        self.v.count_gil(3, 3)
        self.assertEqual(self.choose(None), PROCESSES)

    def test_what_is_worth_a_look(self):
        self.assertTrue(self.v.is_open())
        for _ in range(8):
            self.v.count(1, 40 * MS, 1 * MS, 4)
        self.assertFalse(self.v.is_open())  # it waits
        for _ in range(24):
            self.v.count(1, 40 * MS, 10 * MS, 4)
        self.assertTrue(self.v.is_open())  # they take turns

    def test_it_learns_anew(self):
        self.v.count(1, 10 * MS, 10 * MS)
        self.v.count_gil(3, 3)
        self.assertEqual(self.choose(), PROCESSES)
        turns = [self.v.turn(16) for _ in range(32)]
        self.assertEqual([i for i, turn in enumerate(turns) if turn], [15, 31])
        for _ in range(100):
            self.v.count(1, 10 * MS, 0)
        self.assertEqual(self.choose(), THREADS)


class BusyMachine(unittest.TestCase):
    """How long a call was without a CPU does not change what it is taken for."""

    def test_what_computes(self):
        for ready in (0, 5 * MS, 500 * MS):
            self.assertEqual(outcome(10 * MS + ready, 10 * MS, 0, 0), (10 * MS, 10 * MS))
            wall, busy = outcome(11 * MS + ready, 10 * MS, ready, 1)
            self.assertAlmostEqual(wall, 11 * MS)
            self.assertEqual(busy, 10 * MS)

    def test_what_waits(self):
        for ready in (0, 5 * MS, 500 * MS):
            wall, busy = outcome(10 * MS + ready, 0.1 * MS, ready, 1)
            self.assertAlmostEqual(wall, 10 * MS)
            self.assertEqual(busy, 0.1 * MS)

    def test_clocks_that_do_not_match(self):
        self.assertEqual(outcome(9 * MS, 10 * MS, 3 * MS, 1), (10 * MS, 10 * MS))


class Placed(auriga.AutoPool):
    """Where everything is known to belong."""

    place = None

    def _choose(self, verdict, fn, *left):
        verdict.count(1, 1 * MS, 1 * MS)
        return self.place

    def _choose_for_one(self, verdict, fn):
        return self._choose(verdict, fn)


class PlacedHere(Placed):
    place = HERE


class PlacedInThreads(Placed):
    place = THREADS


class PlacedInProcesses(Placed):
    place = PROCESSES


class Measured(Verbs, Case):
    make = auriga.AutoPool


class Here(Verbs, Case):
    make = PlacedHere
    test_terminate = test_states = None  # they wait for a gate that the caller opens


class Threads(Verbs, Case):
    make = PlacedInThreads


class Processes(Verbs, Case):
    make = PlacedInProcesses


variable = contextvars.ContextVar("variable", default="unset")


def met(barrier, _=None):
    barrier.wait()
    return os.getpid()


def meet(item):
    barrier, n = item
    pid = met(barrier, n)
    time.sleep(0.05)  # what it does is to wait: else it could look so cheap that the rest runs in the caller
    return pid


def nested(n):
    return sum(shared.map(work.square, range(n))), list(shared.imap(work.square, range(3)))


def set_variable(_):
    was = variable.get()
    variable.set("inside")
    return was


shared = None


class Auto(Case):
    def test_each_item_once(self):
        path = os.path.join(self.folder(), "out")
        note = functools.partial(work.note, path)
        with auriga.AutoPool(2) as pool:
            got = pool.map(note, range(300))
            got += pool.map_async(note, range(300, 400)).get()
            got += pool.imap(note, range(400, 500))
            got += sorted(pool.imap_unordered(note, range(500, 600), 7))
            got += [pool.apply(note, (600,)), pool.apply_async(note, (601,)).get()]
        self.assertEqual(got, list(range(602)))
        with open(path) as lines:
            self.assertEqual(sorted(int(line) for line in lines), got)

    def test_what_waits_meets_in_threads(self):
        # The barrier opens when four items are in their calls at one time, in one process.
        barrier = threading.Barrier(4)
        with auriga.AutoPool(4) as pool:
            self.assertEqual(set(pool.map(meet, [(barrier, n) for n in range(8)], 1)), {os.getpid()})
            self.assertIn("meet: ", pool.explain())
            self.assertIn("in threads", pool.explain())

    def test_where_it_runs(self):
        with PlacedInProcesses(2) as pool:
            self.assertNotIn(os.getpid(), pool.map(work.pid, range(8)))
            self.assertNotEqual(pool.apply(work.pid), os.getpid())
            self.assertNotEqual(pool.apply_async(work.pid).get(), os.getpid())
            self.assertNotIn(os.getpid(), list(pool.imap(work.pid, range(8))))
        with PlacedHere(2) as pool:
            here = threading.get_ident()
            idents = pool.map(lambda _: threading.get_ident(), range(8))
            idents.append(pool.apply_async(threading.get_ident).get())
            self.assertEqual(set(idents), {here})

    def test_what_cannot_be_pickled_stays(self):
        lock = threading.Lock()
        with PlacedInProcesses(2) as pool:
            self.assertIs(pool.apply_async(work.same, (lock,)).get(), lock)
            self.assertEqual(pool.map(work.same, [1, lock, 2], 1), [1, lock, 2])
            self.assertEqual(list(pool.imap(work.same, [lock])), [lock])
        with auriga.AutoPool(2) as pool:
            self.assertEqual(pool.map(lambda x: (x, lock), range(3)), [(x, lock) for x in range(3)])

    def test_the_first_failure_is_told(self):
        for kind in (PlacedHere, PlacedInThreads, PlacedInProcesses, auriga.AutoPool):
            path = os.path.join(self.folder(), "out")
            with self.subTest(kind=kind.__name__), kind(2) as pool:
                with self.assertRaisesRegex(ValueError, "no 3") as caught:
                    pool.map(functools.partial(note_and_fail_from_three, path), range(9))
                if hasattr(caught.exception, "add_note"):
                    self.assertEqual(caught.exception.__notes__, ["item 3 of the map"])
                pool.close()
                pool.join()
                with open(path) as lines:  # and the others have run
                    self.assertEqual(sorted(map(int, lines)), list(range(9)))

    def test_limits_go_to_processes(self):
        with auriga.AutoPool(2) as pool, self.gate() as gate:
            self.assertRaises(
                auriga.ItemTimeout, pool.apply, work.wait_for_file, (gate,), timeout=0.05
            )
            self.assertNotIn(os.getpid(), pool.map(work.pid, range(4), timeout=60))
            path = os.path.join(self.folder(), "out")
            self.assertEqual(
                pool.map(functools.partial(work.die_once, path), range(6), retries=2),
                list(range(6)),
            )
        with auriga.AutoPool(2, timeout=60) as pool:
            self.assertNotEqual(pool.apply(work.pid), os.getpid())
            self.assertNotIn(os.getpid(), list(pool.imap(work.pid, range(3))))

    def test_progress(self):
        for kind in (PlacedHere, PlacedInThreads, PlacedInProcesses, auriga.AutoPool):
            with self.subTest(kind=kind.__name__), kind(2) as pool:
                for verb in (pool.map, lambda *a, **k: list(pool.imap(*a, **k))):
                    seen = []
                    got = verb(work.square, range(30), progress=lambda *at: seen.append(at))
                    self.assertEqual(got, [x * x for x in range(30)])
                    self.assertEqual(seen, [(n, 30) for n in range(1, 31)])

    def test_a_task_does_not_change_the_callers_context(self):
        variable.set("outside")
        for kind in (PlacedHere, PlacedInThreads):
            with kind(2) as pool:
                self.assertEqual(pool.map(set_variable, [1], 1), ["outside"])
                self.assertEqual(pool.apply(set_variable, (1,)), "outside")
        self.assertEqual(variable.get(), "outside")

    def test_an_initializer_is_where_calls_are(self):
        with auriga.AutoPool(2, work.store, ("there",)) as pool:
            self.assertEqual(set(pool.map(work.stored_value, range(50))), {"there"})
            self.assertEqual(pool.apply(work.stored_value), "there")
        work.store(None)

    def test_inside_its_own_tasks(self):
        global shared
        want = (285, [0, 1, 4])
        for kind in (PlacedInThreads, PlacedInProcesses, auriga.AutoPool):
            with self.subTest(kind=kind.__name__), kind(2) as shared:
                self.assertEqual(shared.map(nested, [10] * 6), [want] * 6)

    def test_spawned_workers(self):
        with PlacedInProcesses(1, context=multiprocessing.get_context("spawn")) as pool:
            self.assertIsNone(pool._inner)  # nobody needed it yet
            self.assertEqual(pool.map(work.square, range(5)), [0, 1, 4, 9, 16])

    def test_it_goes_with_its_last_name(self):
        pool = PlacedInProcesses(1)
        pid = pool.apply(work.pid)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del pool
            gc.collect()
        self.assertEqual([w.category for w in caught], [ResourceWarning])
        caught.clear()  # a warning has the pool as its source
        self.await_end(pid)

    def test_closed(self):
        pool = PlacedInProcesses(1)
        result = pool.map_async(work.square, range(5))
        pool.close()
        self.assertRaises(ValueError, pool.map, work.square, [1])
        self.assertRaises(ValueError, pool.apply, work.square, (1,))
        pool.join()
        self.assertEqual(result.get(), [0, 1, 4, 9, 16])


def note_and_fail_from_three(path, x):
    work.note(path, x)
    return work.fail(x) if x >= 3 else x


if __name__ == "__main__":
    unittest.main()
