"""Future, wait() and as_completed().

A Future of this package is a standard one to everybody who asks (asyncio, ``isinstance``), but as
long as nobody does, its state is the library's alone: no lock, no condition, nothing to notify.  The
attributes of the standard class come into being when somebody uses them (``__getattr__``); from
then on the library's outcome is put into them, too.
"""

import threading
import time
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from concurrent.futures import Future as _Standard
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, DoneAndNotDoneFutures
from concurrent.futures._base import LOGGER

from . import _core, _helpers
from ._errors import TimeoutError

_helpers.StandardFuture = _Standard
_PENDING, _RUNNING, _CANCELLED, _FINISHED = range(4)
_STATES = ("pending", "running", "cancelled", "finished")


def _complete(future):
    """The outcome of a call, as the standard class notes it."""
    phase, value, error = future._outcome()
    if phase == _CANCELLED:
        with future._condition:
            future._state = "PENDING"  # it may have counted as running, and come back
        _Standard.cancel(future)
        _Standard.set_running_or_notify_cancel(future)
    elif error is not None:
        _Standard.set_exception(future, error)
    else:
        _Standard.set_result(future, value)


class Future(_core.Future, _Standard):
    """The outcome of a call: a ``concurrent.futures.Future``.

    ``result(timeout)`` waits and returns it, or raises the exception of the call, CancelledError if
    it was cancelled, ``TimeoutError`` if it is not there in time, ``auriga.DeadlockError`` if the
    wait would never end.  ``exception(timeout)`` returns the exception instead, or None.

    >>> with auriga.ThreadPoolExecutor(2) as executor:
    ...     future = executor.submit(pow, 2, 5)
    ...     future.result(timeout=60), future.exception(), future.done(), future.cancel()
    (32, None, True, False)
    """

    def __getattr__(self, name):
        if self._full or self._alone or name not in (
            "_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"
        ):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._fill()
        return getattr(self, name)

    def _fill(self):
        if self._adopt(_Standard().__dict__):
            if self.running():
                self.__dict__["_state"] = "RUNNING"
            self._on_done(_complete)

    def add_done_callback(self, fn):
        """Calls fn(future) once it is done; at once if it is."""
        if not self._alone:
            if not self._full and self.done():
                self._wait()
                try:
                    fn(self)
                except Exception:
                    LOGGER.exception("exception calling callback for %r", self)
                return
            self._fill()
            if self._inherited and not self.done():
                _core.refuse()  # nobody completes it here
        _Standard.add_done_callback(self, fn)

    def __repr__(self):
        if self._alone:
            return _Standard.__repr__(self)
        if not self.done():
            state = "running" if self.running() else "pending"
            return f"<{type(self).__name__} at {id(self):#x} state={state}>"
        self._wait()
        phase, value, error = self._outcome()
        told = ""
        if phase == _FINISHED:
            what = f"raised {type(error).__name__}" if error is not None else (
                f"returned {type(value).__name__}"
            )
            told = " " + what
        return f"<{type(self).__name__} at {id(self):#x} state={_STATES[phase]}{told}>"

    __class_getitem__ = classmethod(type(list[int]))


def _is_ours(future):
    return isinstance(future, _core.Future) and not future._alone


def _failed(future):
    """Whether a future that is done ended with an exception."""
    return not future.cancelled() and future.exception() is not None


# ---- wait --------------------------------------------------------------------------------------


def wait(fs, timeout=None, return_when=ALL_COMPLETED):
    """Waits for futures, as ``concurrent.futures.wait()``: (done, not_done), two sets.

    fs: iterable of futures, of this package or standard ones.
    timeout: float, seconds; what is not done then is in the second set.
    return_when: ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION; else ValueError.

    >>> with auriga.ThreadPoolExecutor(2) as executor:
    ...     done, left = auriga.wait([executor.submit(pow, 2, n) for n in range(4)])
    ...     sorted(future.result() for future in done), left
    ([1, 2, 4, 8], set())
    """
    fs = set(fs)
    timeout = _core.seconds(timeout)
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        if not all(_is_done(f) for f in fs):
            raise ValueError(f"Invalid return condition: {return_when!r}")
    done = {f for f in fs if _is_done(f)}
    left = fs - done
    if return_when == FIRST_COMPLETED and done:
        return DoneAndNotDoneFutures(done, left)
    if return_when == FIRST_EXCEPTION and any(_failed(f) for f in done):
        return DoneAndNotDoneFutures(done, left)
    for future in _completions(left, timeout):
        if future is None:
            break
        done.add(future)
        if return_when == FIRST_COMPLETED:
            break
        if return_when == FIRST_EXCEPTION and _failed(future):
            break
    if return_when == FIRST_COMPLETED:  # all that are done by now
        done.update(f for f in fs - done if _is_done(f))
    return DoneAndNotDoneFutures(done, fs - done)


def _is_done(future):
    """Done, and not merely cancelled with nobody told yet."""
    if _is_ours(future):
        return future.done()
    with future._condition:
        return future._state in (CANCELLED_AND_NOTIFIED, FINISHED)


def _completions(futures, timeout):
    """The futures as they complete; None at the end if time ran out.  Takes them out of the set:
    nothing here keeps what was handed out."""
    if not futures:
        return
    if all(_is_ours(f) and not f._full for f in futures):
        waiting = list(futures)
        futures.clear()
        yield from _library_completions(waiting, timeout)
    else:
        yield from _told_completions(futures, timeout)


def _library_completions(futures, timeout):
    end = None if timeout is None else time.monotonic() + timeout
    try:
        completed = _core.completed(futures)
    except TypeError:  # one was settled meanwhile
        yield from _told_completions(set(futures), timeout)
        return
    for _ in range(len(futures)):
        left = None if end is None else max(0, end - time.monotonic())
        index = _core.completed_next(completed, left)
        if index is None:
            yield None
            return
        future, futures[index] = futures[index], None
        yield future
        del future


class _Waiter:
    """Told by futures of their end, as the standard class tells its waiters."""

    def __init__(self):
        self.finished = []
        self.lock = threading.Lock()
        self.event = threading.Event()

    def add_result(self, future):
        with self.lock:
            self.finished.append(future)
            self.event.set()

    add_exception = add_cancelled = add_result

    def take(self):
        with self.lock:
            taken, self.finished = self.finished, []
            self.event.clear()
        return taken


def _told_completions(futures, timeout):
    end = None if timeout is None else time.monotonic() + timeout
    waiter = _Waiter()
    left = futures
    for future in left:
        if _is_ours(future) and future._inherited:
            _core.refuse()  # a thread of the parent may have its lock, and nobody completes it here
        with future._condition:
            if future._state in (CANCELLED_AND_NOTIFIED, FINISHED):
                waiter.add_result(future)
            else:
                future._waiters.append(waiter)
    future = None
    _core.blocking(True)
    try:
        while left:
            rest = None if end is None else max(0, end - time.monotonic())
            waiter.event.wait(rest)
            taken = waiter.take()
            if not taken:
                yield None
                return
            left.difference_update(taken)
            taken.reverse()
            while taken:
                yield taken.pop()
    finally:
        _core.blocking(False)
        for future in left:
            with future._condition:
                if waiter in future._waiters:
                    future._waiters.remove(waiter)


# ---- as_completed ------------------------------------------------------------------------------


def as_completed(fs, timeout=None):
    """The futures as they complete, as ``concurrent.futures.as_completed()``: an iterator.

    fs: iterable of futures, of this package or standard ones; one that occurs twice comes once.
    timeout: float, seconds for all of them; then ``TimeoutError``.

    >>> with auriga.ThreadPoolExecutor(2) as executor:
    ...     futures = {executor.submit(pow, 2, n): n for n in range(4)}
    ...     sorted((futures[f], f.result()) for f in auriga.as_completed(futures))
    [(0, 1), (1, 2), (2, 4), (3, 8)]
    """
    timeout = _core.seconds(timeout)
    end = None if timeout is None else time.monotonic() + timeout
    fs = set(fs)
    total = len(fs)
    done = [f for f in fs if _is_done(f)]
    fs.difference_update(done)
    while done:
        yield done.pop()
    left = None if end is None else max(0, end - time.monotonic())
    pending = len(fs)
    completions = _completions(fs, left)
    del fs
    try:
        for future in completions:
            if future is None:
                raise TimeoutError(f"{pending} (of {total}) futures unfinished")
            pending -= 1
            held = [future]
            del future
            yield held.pop()
    finally:
        completions.close()
