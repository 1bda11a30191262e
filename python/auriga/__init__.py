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
        "PoolClosed",
        "TimeoutError",
        "TooDeepError",
        "WorkerDied",
    ),
    "_helpers": ("RemoteTraceback",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_STANDARD = {
    "ALL_COMPLETED": "concurrent.futures",
    "FIRST_COMPLETED": "concurrent.futures",
    "FIRST_EXCEPTION": "concurrent.futures",
    "Executor": "concurrent.futures",
    "InvalidStateError": "concurrent.futures",
    "get_context": "multiprocessing",
    "set_start_method": "multiprocessing",
    "get_start_method": "multiprocessing",
    "freeze_support": "multiprocessing",
    "current_process": "multiprocessing",
    "parent_process": "multiprocessing",
    "active_children": "multiprocessing",
    "Process": "multiprocessing",
    "Queue": "multiprocessing",
    "SimpleQueue": "multiprocessing",
    "Manager": "multiprocessing",
    "Lock": "multiprocessing",
    "RLock": "multiprocessing",
    "Event": "multiprocessing",
    "Semaphore": "multiprocessing",
    "Value": "multiprocessing",
    "Array": "multiprocessing",
    "Pipe": "multiprocessing",
}

__all__ = sorted(["cpu_count", "process_cpu_count", *_HOME_OF, *_STANDARD])


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
    elif name in _STANDARD:
        value = getattr(importlib.import_module(_STANDARD[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return [*globals(), *__all__]
