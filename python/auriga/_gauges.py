"""Calls of AutoPool in this process, and how they are measured: in a thread, watched from outside, or in the
caller."""

import contextvars
import functools
import itertools
import resource
import time

from . import _core, _helpers
from ._results import AsyncResult, Failed
from ._verdict import WAITS, outcome

_WATCH = 0.005  # seconds after which a call that still runs is judged by what it did so far
_WATCH_MAX = 0.08  # the same, at most, after further looks; signals wait for so long
_DEAR = 0.0005  # seconds of a call in the caller that do not feel a look at the time without a CPU
_LOOKS = 0.1  # seconds at most, when a wait for a single call begins
_LOOKS_A_CALL = 8


def run(fn, star, items):
    """The results of all items; if some fail, the exception of the first, after the last."""
    results = []
    n = len(items)
    items = iter(items)
    calls = itertools.starmap(fn, items) if star else map(fn, items)
    first = None
    while len(results) < n:
        try:
            results.extend(calls)
            if len(results) < n:  # to extend() that was the end, and the exception is gone
                raise StopIteration("raised by the function")
        except BaseException as error:
            if first is None:
                first = error
                _helpers.note_item(error, len(results))
            if not isinstance(error, Exception):
                raise
            results.append(None)
    if first is not None:
        raise first
    return results


class As:
    """A call that messages know by the name of func."""

    def __init__(self, func, call):
        self.func = func
        self._call = call

    def __call__(self, *args, **kwargs):
        return self._call(*args, **kwargs)


def many(fn, star, run=run):
    return As(fn, functools.partial(run, fn, star))


Gauge = _core.Gauge
probe = _core.probe


def watch(task, gauge, seconds):
    """Waits a while, or until the task is done; longer while it has not begun, or is ready for a CPU, which
    looks like any other wait as long as it lasts."""
    while not _core.watch(task, gauge, seconds):
        pass


class Counted(As):
    """A call whose gauge the verdict hears of, as of n calls."""

    def __init__(self, func, call, verdict, n=1):
        super().__init__(func, call)
        self._verdict = verdict
        self._n = n
        self.gauge = None

    def __call__(self, *args, **kwargs):
        verdict = self._verdict
        verdict.running += 1
        beside = verdict.running
        try:
            return self._call(*args, **kwargs)
        finally:
            self.gauge.end()
            verdict.count(self._n, *outcome(*self.gauge.took()), max(beside, verdict.running))
            verdict.running -= 1


def counted(func, call, verdict, n=1):
    """The gauge of a call that counts itself."""
    call = Counted(func, call, verdict, n)
    call.gauge = Gauge(func, call)
    return call.gauge


class Watched:
    """Items of a map that run in a thread, one after the other, to be measured."""

    def __init__(self, verdict, task, gauge, n):
        self.task = task
        self.gauge = gauge
        self.n = n
        self._verdict = verdict
        self._seconds = _WATCH  # of the next look
        self._seen = None  # (items, wall, busy) as they were counted so far
        verdict.running += 1
        self._beside = verdict.running

    def look(self):
        """Waits a while, and counts what they took so far.  Returns whether they were busy meanwhile."""
        _, wall, busy = self._seen or (0, 0, 0)
        watch(self.task, self.gauge, self._seconds)
        self._seconds = min(2 * self._seconds, _WATCH_MAX)
        took = self.gauge.took()
        if took is None:  # it never began, and its task tells why
            return False
        self._count(*outcome(*took))
        _, wall_now, busy_now = self._seen
        return busy_now - busy >= WAITS * (wall_now - wall)

    def end(self, sent):
        """There will be no more looks.  ``sent``: others were, since these were begun."""
        self._verdict.running -= 1
        took = self.gauge.took()
        if took is not None and self.task.done():
            now = outcome(*took)
            self._count(*self._verdict.own(self._seen[1:] if self._seen else (0, 0), now) if sent else now)

    def _count(self, wall, busy):
        items = self.n
        if items > 1 and not self.task.done():  # how many of them it was cannot be told
            items = min(items, max(1, wall / max(self._verdict.seconds or wall, 1e-9)))
        now = items, wall, busy
        if self._seen is None:
            self._verdict.count(*now, self._beside)
        else:
            self._verdict.change(self._seen, now, self._beside)
        self._seen = now


def measured_here(verdict, call, n=lambda: 1):
    """call() in this thread; counts as n() calls when it has ended."""
    context = contextvars.copy_context()
    if verdict.seconds is None or verdict.seconds >= _DEAR:
        gauge = Gauge(call, call)
        try:
            return context.run(gauge)
        finally:
            verdict.count(n(), *outcome(*gauge.took()), 1 + verdict.running)
    sleeps = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    cpu = time.thread_time()
    start = time.perf_counter()
    try:
        return context.run(call)
    finally:
        wall = time.perf_counter() - start
        cpu = time.thread_time() - cpu
        sleeps = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - sleeps
        verdict.count(n(), *outcome(wall, cpu, 0, sleeps), 1 + verdict.running)


class Judged(AsyncResult):
    """Of a measured call: who waits for it sees meanwhile whether it holds the GIL."""

    _judge = None

    # The arguments are for the C type to check.

    def _look(self, *args, timeout=None, **_):
        timeout = args[0] if args else timeout
        if self._judge is not None and ((seconds := _core.seconds(timeout)) is None or seconds >= _LOOKS):
            judge, self._judge = self._judge, None
            judge(self)

    def get(self, *args, **kwargs):
        self._look(*args, **kwargs)
        return super().get(*args, **kwargs)

    def wait(self, *args, **kwargs):
        self._look(*args, **kwargs)
        return super().wait(*args, **kwargs)


def judge(verdict, gauge, result):
    if verdict.is_open() and not result.ready():
        verdict.count_gil(*probe(result, gauge, (verdict.seconds or 1) / _LOOKS_A_CALL))


class Done(Failed):
    """A task that ran at its submit."""

    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value


def settled(call):
    try:
        return Done(call())
    except Exception as error:
        return Failed(error)
