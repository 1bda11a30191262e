"""The exceptions of this package, and how a failure that the library reports becomes one."""

import errno
from _signal import SIGKILL
from concurrent.futures import BrokenExecutor, CancelledError
from concurrent.futures import TimeoutError as _FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from multiprocessing import TimeoutError as _PoolTimeout

__all__ = [
    "AurigaError",
    "BrokenExecutor",
    "BrokenProcessPool",
    "BrokenThreadPool",
    "CancelledError",
    "DeadlockError",
    "ItemTimeout",
    "OutOfResources",
    "PoolClosed",
    "TimeoutError",
    "TooDeepError",
    "WorkerDied",
]


# Builtin and of concurrent.futures: one class since 3.11.
_TIMEOUTS = (
    (_FutureTimeout,) if issubclass(_FutureTimeout, OSError) else (_FutureTimeout, TimeoutError)
)


class TimeoutError(_PoolTimeout, *_TIMEOUTS):
    """A wait was not over in time: what ``multiprocessing`` and ``concurrent.futures`` call so."""


class AurigaError(RuntimeError):
    """A failure of the pool itself.

    ``report`` is a dict with what the library knows: code, name, message, item, worker, pid,
    signal, exit_status, attempts, peak_rss.
    """

    report: dict = {}


class DeadlockError(AurigaError):
    """The wait would never end: the tasks named in the message wait for each other.

    >>> import queue
    >>> box = queue.SimpleQueue()
    >>> with auriga.ThreadPoolExecutor(1) as executor:
    ...     future = executor.submit(lambda: box.get().result())
    ...     box.put(future)
    ...     type(future.exception()).__name__
    'DeadlockError'
    """


class TooDeepError(AurigaError):
    """Tasks that wait for tasks are nested too deeply, and no worker is left to stand in."""


class OutOfResources(BlockingIOError, AurigaError):
    """The system refused a process, a thread or a descriptor: an OSError, as of ``os.fork()``."""


class PoolClosed(AurigaError):
    """The pool takes no more work: it was closed or terminated, or its program ends."""


class WorkerDied(BrokenProcessPool):
    """The worker process died while it ran this item.  Everything else goes on.

    Attributes: ``item`` (index in the map, or None), ``pid``, ``signal`` (number or None),
    ``exit_status`` (or None), ``attempts``, ``peak_rss`` (bytes), ``report`` (all of it).

    >>> import os
    >>> with auriga.Pool(2) as pool:
    ...     try:
    ...         pool.map(os._exit, [3])
    ...     except auriga.WorkerDied as error:
    ...         error.item, error.exit_status, error.signal
    (0, 3, None)
    """

    report: dict = {}
    item = None

    def __str__(self):
        return _with_item(super().__str__(), self.item)

    pid = property(lambda self: self.report.get("pid"), doc="Of the process that died.")
    signal = property(lambda self: self.report.get("signal") or None, doc="What ended it, or None.")
    attempts = property(lambda self: self.report.get("attempts"), doc="How often the item was run.")
    peak_rss = property(lambda self: self.report.get("peak_rss"), doc="Bytes that the process had.")

    @property
    def exit_status(self):
        """The status it ended with by itself, or None."""
        status = self.report.get("exit_status", -1)
        return None if status < 0 else status


class ItemTimeout(*_TIMEOUTS):
    """The item ran past its own ``timeout=``; its worker process was replaced.

    Attributes: ``item`` (index in the map, or None), ``report`` (as of ``AurigaError``).

    >>> import time
    >>> with auriga.Pool(1) as pool:
    ...     try:
    ...         pool.map(time.sleep, [60], timeout=0.1)
    ...     except auriga.ItemTimeout as error:
    ...         error.item, str(error).endswith("item 0 of its map")
    (0, True)
    """

    report: dict = {}
    item = None

    def __str__(self):
        return _with_item(super().__str__(), self.item)


def _with_item(text, item):
    return text if item is None else f"{text}, item {item} of its map"


def _function(report):
    return report["site"] or "a call"


_BROKEN = (
    "A process in the process pool was terminated abruptly while the future was running or pending"
)


def _say(report):
    return report["message"] or report["text"]


# The library knows the one C function that calls all of Python's, as "call".


def _died(report):
    text = _say(report).replace("ran call", f"ran {_function(report)}")
    if report["signal"] == SIGKILL and report["peak_rss"]:
        # So the kernel ends who takes too much memory, and nobody else says so.
        text += f"; it had {report['peak_rss'] / 1e6:.0f} MB of memory at most"
    if report["attempts"] > 1:
        text += f" (attempt {report['attempts']})"
    error = WorkerDied(text)
    error.item = report["item"]
    return error


def _timeout(report):
    error = ItemTimeout(_say(report).replace("call ran", f"{_function(report)} ran", 1))
    error.item = report["item"]
    return error


_OWN = "the pool was made before os.fork(), and its workers are those of the parent process: make another one here"
_NO_WORKERS = (
    "no more workers can be started: the last ten ended before they were ready, for their initializer, for lack of "
    "memory or in an import (stderr tells more), or the helper process that forks them was ended"
)
_LIMITS = "limits of processes and of open files are told by `ulimit -a`"

_MAKERS = {
    "AUR_ECANCELED": lambda r: CancelledError(),
    "AUR_ETIMEDOUT": lambda r: TimeoutError(),
    "AUR_EDEADLK": lambda r: DeadlockError(_say(r).replace("submitted at", "defined at")),
    "AUR_EWORKER": _died,
    "AUR_EDEADLINE": _timeout,
    "AUR_EBROKEN": lambda r: BrokenProcessPool(
        f"{_BROKEN}: {_NO_WORKERS if r['message'] else 'the workers were ended'}"
    ),
    "AUR_ESHUTDOWN": lambda r: PoolClosed("the pool takes no more work: it was closed or terminated"),
    "AUR_EAGAIN": lambda r: OutOfResources(errno.EAGAIN, f"{_say(r)}; {_LIMITS}"),
    "AUR_ENOMEM": lambda r: MemoryError(_say(r)),
    "AUR_ETOOBIG": lambda r: MemoryError("arguments or results of that size are more than there is memory for"),
    "AUR_E2DEEP": lambda r: TooDeepError(
        "tasks wait for tasks so many times within each other that the stack is used up, and no other worker "
        "may be started: wait for fewer of them within one, or use a larger pool"
    ),
    "AUR_EFORKED": lambda r: AurigaError(_OWN),
    "AUR_EEXITED": lambda r: AurigaError(f"{_function(r)} ended the thread that ran it"),
    "AUR_EINIT": lambda r: BrokenThreadPool(
        "A thread initializer failed, the thread pool is not usable anymore"
    ),
}


def make(report):
    error = _MAKERS.get(report["name"], lambda r: AurigaError(_say(r)))(report)
    try:
        error.report = report
    except AttributeError:
        pass
    return error
