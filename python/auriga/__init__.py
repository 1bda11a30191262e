"""Pools of threads and processes that cannot hang and cannot lose work.

The names are those of ``multiprocessing`` and ``concurrent.futures``::

    import auriga as mp

    with mp.Pool(mp.cpu_count()) as pool:
        print(pool.starmap(pow, [(2, 5), (3, 2), (10, 3)]))     # [32, 9, 1000]

What is different from the standard library here: a worker process that dies costs one item
(``WorkerDied``), and tasks that wait for each other get ``DeadlockError``.  ``auriga.stdlib`` has
the same classes without these differences.
"""

import importlib

__version__ = "0.1.0"

# Where each name lives; loaded when it is first used, so that the import itself takes no time.
_HOMES = {
    "_pool": ("Pool", "ThreadPool", "AsyncResult", "MapResult", "IMapIterator"),
    "_auto": ("AutoPool",),
    "_executor": ("ThreadPoolExecutor", "ProcessPoolExecutor"),
    "_futures": ("Future", "wait", "as_completed"),
    "_errors": (
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
    ),
    "_remote": ("RemoteTraceback",),
    "_starts": ("get_context",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_STANDARD = {
    "concurrent.futures": (
        "ALL_COMPLETED",
        "FIRST_COMPLETED",
        "FIRST_EXCEPTION",
        "Executor",
        "InvalidStateError",
    ),
    "multiprocessing": (
        "Array",
        "AuthenticationError",
        "Barrier",
        "BoundedSemaphore",
        "BufferTooShort",
        "Condition",
        "Event",
        "JoinableQueue",
        "Lock",
        "Manager",
        "Pipe",
        "Process",
        "ProcessError",
        "Queue",
        "RLock",
        "RawArray",
        "RawValue",
        "Semaphore",
        "SimpleQueue",
        "Value",
        "active_children",
        "allow_connection_pickling",
        "current_process",
        "freeze_support",
        "get_all_start_methods",
        "get_logger",
        "get_start_method",
        "log_to_stderr",
        "parent_process",
        "set_executable",
        "set_forkserver_preload",
        "set_start_method",
    ),
}
_STANDARD_OF = {name: module for module, names in _STANDARD.items() for name in names}

__all__ = sorted(["cpu_count", "process_cpu_count", *_HOME_OF, *_STANDARD_OF])


def cpu_count():
    """CPUs of the machine, as ``multiprocessing.cpu_count()``."""
    import os

    return os.cpu_count() or 1


def process_cpu_count():
    """CPUs that this process may use: its affinity and its control groups' quotas count."""
    from . import _core

    return _core.cpu_count()


def __getattr__(name):
    home = _HOME_OF.get(name)
    if home is not None:
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    elif name in _STANDARD_OF:
        value = getattr(importlib.import_module(_STANDARD_OF[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return [*globals(), *__all__]
