"""Context variables on their way to processes."""

import contextvars
import functools
import multiprocessing
import threading

import auriga
import auriga.stdlib
import work
from support import Case
from work import change_setting, get_setting, setting

other = contextvars.ContextVar("other")
unreachable = [contextvars.ContextVar("unreachable")]


def alone(test):
    """Each test in a context of its own, which is empty."""

    @functools.wraps(test)
    def run(self):
        contextvars.Context().run(test, self)

    return run


def get_both(_=None):
    return setting.get(), other.get(None)


class Context(Case):
    @alone
    def test_every_way(self):
        for method in ("fork", "spawn"):
            context = multiprocessing.get_context(method)
            with self.subTest(method=method), auriga.Pool(1, context=context) as pool, \
                    auriga.ProcessPoolExecutor(1, context) as executor:
                executor.submit(get_setting).result()  # its workers start now
                for value in ("one", "two", ["three"], 4):
                    setting.set(value)
                    self.assertEqual(pool.apply(get_setting), value)
                    self.assertEqual(pool.map(get_setting, range(5), 2), [value] * 5)
                    self.assertEqual(pool.starmap(get_setting, [()] * 3, 1), [value] * 3)
                    self.assertEqual(list(pool.imap_unordered(get_setting, range(3))), [value] * 3)
                    self.assertEqual(executor.submit(get_setting).result(), value)
                    self.assertEqual(list(executor.map(get_setting, range(3))), [value] * 3)
                    got = executor.map(get_setting, range(4), chunksize=2)
                    self.assertEqual(list(got), [value] * 4)

    @alone
    def test_the_call_of_an_iterator_counts(self):
        with auriga.Pool(1) as pool:
            setting.set("then")
            results = pool.imap(get_setting, range(2000))
            setting.set("later")
            self.assertEqual(set(results), {"then"})

    @alone
    def test_what_has_changed_within(self):
        value = ["a"]
        setting.set(value)
        with auriga.Pool(1) as pool:
            self.assertEqual(pool.apply(get_setting), ["a"])
            value.append("b")
            self.assertEqual(pool.apply(get_setting), ["a", "b"])

    @alone
    def test_equal_is_not_the_same(self):
        with auriga.Pool(1) as pool:
            for value in (1, True, 1.0, 0.0, -0.0):
                setting.set(value)
                self.assertEqual(repr(pool.apply(get_setting)), repr(value))

    @alone
    def test_what_a_task_sets_is_gone(self):
        with auriga.Pool(1) as pool, auriga.ProcessPoolExecutor(1) as executor:
            for carried in (False, True):
                if carried:
                    setting.set("outside")
                was = setting.get()
                self.assertEqual(pool.apply(change_setting, ("inside",)), was)
                self.assertEqual(pool.apply(get_setting), was)
                self.assertEqual(pool.map(change_setting, ["inside"] * 4, 4)[0], was)
                self.assertEqual(pool.map(get_setting, range(4), 4), [was] * 4)
                self.assertEqual(executor.submit(change_setting, "inside").result(), was)
                self.assertEqual(executor.submit(get_setting).result(), was)
                self.assertEqual(setting.get(), was)

    @alone
    def test_what_cannot_travel(self):
        other.set("there")
        unreachable[0].set("nowhere")
        for value in (threading.Lock(), work.Unloadable()):
            setting.set(value)
            with auriga.Pool(1, context=multiprocessing.get_context("spawn")) as pool:
                self.assertEqual(pool.apply(get_both), ("unset", "there"))
            with auriga.Pool(1, contextvars=[setting]) as pool:
                self.assertRaises(Exception, pool.apply, get_both)
                with self.assertRaises((TypeError, RuntimeError)):
                    pool.map(get_both, range(3), 2)

    @alone
    def test_which(self):
        unset = "unset", None
        with auriga.Pool(1, contextvars=False) as none, auriga.Pool(1, contextvars=[other]) as one:
            setting.set("a")
            other.set("b")
            self.assertEqual(none.apply(get_both), unset)
            self.assertEqual(one.apply(get_both), ("unset", "b"))
        for kind in (auriga.Pool, auriga.ProcessPoolExecutor, auriga.AutoPool):
            self.assertRaises(TypeError, kind, 1, contextvars=["setting"])
            self.assertRaises(ValueError, kind, 1, contextvars=unreachable)

    @alone
    def test_the_standard_library_copies_nothing(self):
        with auriga.stdlib.Pool(1) as pool, auriga.stdlib.ProcessPoolExecutor(1) as executor:
            executor.submit(get_setting).result()
            setting.set("outside")
            self.assertEqual(pool.apply(change_setting, ("inside",)), "unset")
            self.assertEqual(pool.map(get_setting, range(3), 2), ["inside"] * 3)
            self.assertEqual(executor.submit(change_setting, "inside").result(), "unset")
            self.assertEqual(executor.submit(get_setting).result(), "inside")

    @alone
    def test_a_death_is_told_of_the_function(self):
        setting.set("outside")
        with auriga.Pool(1) as pool:
            die = functools.partial(work.die_on_three)
            self.assertRaisesRegex(auriga.WorkerDied, "die_on_three", pool.map, die, range(6), 2)
