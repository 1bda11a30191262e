"""The same pools with exactly the standard library's behaviour.

Swapping an import for this one changes nothing but speed::

    from auriga.stdlib import Pool, ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait

A worker process that dies breaks its executor, as it does there.  (A ``Pool`` whose worker dies
does not hang: the item raises ``auriga.WorkerDied``.)
"""

import multiprocessing
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    InvalidStateError,
    TimeoutError,
)
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from multiprocessing import cpu_count

from .. import _STANDARD_OF, _executor, _futures, _pool, _starts
from .._futures import Future as _Future
from .._remote import RemoteTraceback

__all__ = [
    "ALL_COMPLETED",
    "ApplyResult",
    "AsyncResult",
    "BrokenExecutor",
    "BrokenProcessPool",
    "BrokenThreadPool",
    "CancelledError",
    "Executor",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Future",
    "IMapIterator",
    "IMapUnorderedIterator",
    "InvalidStateError",
    "MapResult",
    "Pool",
    "ProcessPoolExecutor",
    "RemoteTraceback",
    "ThreadPool",
    "ThreadPoolExecutor",
    "TimeoutError",
    "as_completed",
    "cpu_count",
    "get_context",
    "wait",
]

Future = _Future
AsyncResult = ApplyResult = _pool.AsyncResult
MapResult = _pool.MapResult
IMapIterator = _pool.IMapIterator
IMapUnorderedIterator = _pool.IMapUnorderedIterator
wait = _futures.wait
as_completed = _futures.as_completed


class Pool(_pool.Pool):
    """``multiprocessing.pool.Pool``."""

    _strict = True
    _flags = _pool._POOL_ERRORS


class ThreadPool(_pool.ThreadPool, Pool):
    """``multiprocessing.pool.ThreadPool``."""

    _strict = True
    _flags = 0


class ThreadPoolExecutor(_executor.ThreadPoolExecutor):
    """``concurrent.futures.ThreadPoolExecutor``."""

    _strict = True
    _flags = 0


class ProcessPoolExecutor(_executor.ProcessPoolExecutor):
    """``concurrent.futures.ProcessPoolExecutor``: a worker that dies breaks it."""

    _strict = True
    _flags = _executor._BAD_ARGS_DIE


def get_context(method=None):
    """``multiprocessing.get_context()``, whose ``Pool`` is that of this module."""
    return _starts.with_pool(multiprocessing.get_context(method), Pool)


def __getattr__(name):
    """Whatever else ``multiprocessing`` has."""
    if name in _STANDARD_OF:
        return getattr(multiprocessing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
