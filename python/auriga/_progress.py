"""How far a map is: a line on the terminal, or calls of a function."""

import os
import sys
import threading
import time
import weakref

from . import _arguments, _core

_REDRAW = 0.1  # seconds


def start(pool, wanted, total):
    """What counts the items of a map, or None if nobody would see it.  total may be None."""
    if wanted is None or wanted is False:
        return None
    if wanted is not True:
        if not callable(wanted):
            raise _arguments.refuse(TypeError, "progress must be True or a callable", wanted)
        progress = Progress(wanted, total)
    else:
        try:
            terminal = sys.stderr.isatty()
        except (AttributeError, ValueError):  # none, or closed
            return None
        if not terminal:
            return None
        progress = Progress(Line(sys.stderr), total)
    if not pool._shown:
        pool._shown = weakref.WeakSet()
    pool._shown.add(progress)
    return progress


def stop(pool):
    """The pool ends what it has: no item will be finished any more."""
    for progress in list(pool._shown):
        progress.stop()


def length(iterable):
    """How many items it has, or None if that is not known before the end."""
    return len(iterable) if hasattr(iterable, "__len__") else None


class Progress:
    """Counts finished items, and tells of each, one after the other."""

    def __init__(self, tell, total):
        self._tell = tell
        self._lock = threading.Lock()
        self._all = threading.Event()
        self._done = 0
        self._total = total
        self._stopped = False
        self._last = None  # the total, once no item can be added
        if total is not None:
            self.last(total)

    def one(self, task=None):
        """An item is finished."""
        with self._lock:
            if self._all.is_set():
                return
            if self._stopped:
                self._end()
                return
            self._done += 1
            try:
                if self._tell is not None:
                    self._tell(self._done, self._total)
            except Exception as error:
                # It may run in whichever thread submits, whose items must not be lost to it.
                _report(error)
                self._tell = None
            finally:
                self._check()

    def last(self, total):
        """There will be so many items, and no more."""
        with self._lock:
            self._last = self._total = total
            self._check()

    def stop(self):
        """Nobody is told of what is cancelled now."""
        self._stopped = True
        if self._lock.acquire(blocking=False):  # else who has it will see, or the next item
            try:
                self._end()
            finally:
                self._lock.release()

    def _check(self):
        if self._stopped or self._done == self._last:
            self._end()

    def _end(self):
        if not self._all.is_set():
            try:
                if isinstance(self._tell, Line):
                    self._tell.end(self._done, self._total)
            finally:
                # Last: who waits may end the interpreter, where nobody may hold its streams.
                self._all.set()

    def wait(self):
        """Until the last was told of."""
        if self._all.is_set():
            return
        _core.blocking(True)
        try:
            self._all.wait()
        finally:
            _core.blocking(False)


def _report(error):
    thread = threading.current_thread()
    args = type(error), error, error.__traceback__, thread
    threading.excepthook(threading.ExceptHookArgs(args))


class Line:
    """Finished items, rate and time left, on one line that is written over."""

    def __init__(self, stream):
        self._stream = stream
        self._begin = time.monotonic()
        self._drawn = None
        self._text = ""

    def __call__(self, done, total):
        now = time.monotonic()
        self._text = describe(done, total, now - self._begin)
        if self._drawn is None or now - self._drawn >= _REDRAW:
            self._drawn = now
            self._write("")

    def end(self, done, total):
        """The last state, which stays."""
        if done:
            self._text = describe(done, total, time.monotonic() - self._begin)
            self._write("\n")

    def _write(self, end):
        try:
            self._stream.write(f"\r{self._text[:self._room()]}\x1b[K{end}")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # the terminal is gone; the work is not

    def _room(self):
        """Characters on a line: what is longer would begin a new one each time."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (AttributeError, ValueError, OSError):
            return None
        return columns - 1 if columns > 1 else None  # 0: it does not say


def describe(done, total, seconds):
    """``30/100 items, 12.5 a second, 0:05 left``"""
    rate = done / seconds if seconds > 0 else 0.0
    text = f"{done} items" if total is None else f"{done}/{total} items"
    text += f", {rate:.3g} a second" if rate < 1000 else f", {rate:.0f} a second"
    if total is None or done >= total or rate == 0:
        return f"{text}, {_clock(seconds)}"
    return f"{text}, {_clock((total - done) / rate)} left"


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
