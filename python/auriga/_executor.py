"""ThreadPoolExecutor and ProcessPoolExecutor: the interface of ``concurrent.futures``."""

import itertools
import os
import sys
import threading
import time
import weakref
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from contextvars import copy_context

from . import _arguments, _context, _core, _helpers
from ._errors import PoolClosed
from ._futures import Future
from ._pool import _BREAK_ON_DEATH, _THREADS, start_processes
from ._results import _name_item

_BAD_ARGS_DIE = 4
_CONTEXT = 32
_BY_VALUE = 128

# What the standard library says to those who wait, and then to those who submit.
_BROKE = (
    "A process in the process pool was terminated abruptly while the future was running or pending."
)
_BROKEN = "A child process terminated abruptly, the process pool is not usable anymore"

_exiting = False
_lock = threading.Lock()


def _at_exit():
    global _exiting
    with _lock:
        _exiting = True
        pools = {
            pool: strict
            for pool, (owner, strict) in [*_owners.items(), *_forgotten.items()]
            if owner == os.getpid()
        }
    if _ends_by_interrupt():
        _interrupt(pools)
    for pool in pools:
        pool.close()
    try:
        for pool in pools:
            pool.join(None)
        if pools:
            _core.delivered()
    except KeyboardInterrupt:
        _interrupt(pools)
        raise


def _ends_by_interrupt():
    """Whether the program ends because nobody has caught a KeyboardInterrupt."""
    last = getattr(sys, "last_type", None)  # a prompt goes on after it
    return isinstance(last, type) and issubclass(last, KeyboardInterrupt) and not hasattr(sys, "ps1")


def _interrupt(pools):
    """The user does not want to wait: what has not begun will not, and workers are ended, but for pools
    that behave like the standard library's."""
    for pool, strict in pools.items():
        if strict:
            continue
        if pool.kind == _THREADS:
            pool.cancel_pending()
        else:
            pool.terminate(False)


_owners = weakref.WeakKeyDictionary()  # core pool -> (the process that made it, strict)
threading._register_atexit(_at_exit)
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


# The same of executors that are gone, but perhaps not their work.  It ends by itself; only the end of
# the program waits for it.  (Threads need none of this: their tasks hold the pool.)
_forgotten = {}


def _close(core):
    core.close()
    owner = _owners.get(core, (0, False))
    if core.kind != _THREADS and owner[0] == os.getpid() and not core.has_ended():
        _forgotten[core.rest()] = owner
    _drop_ended()


def _drop_ended():
    for pool, (owner, _) in list(_forgotten.items()):
        if owner != os.getpid() or pool.has_ended():  # a fork has no hand in the pools of its parent
            _forgotten.pop(pool, None)


def _failed(error):
    future = Future()
    future.set_running_or_notify_cancel()
    future.set_exception(error)
    return future


def _exit_error():
    return RuntimeError("cannot schedule new futures after interpreter shutdown")


class _PoolExecutor(Executor):
    """What both kinds share: a core pool that is made at the first submit."""

    _strict = False
    _flags = 0
    _timeout_ns = 0

    def _setup(self):
        self._core = None
        self._starting = None  # the process that is making the core pool
        self._shutdown_lock = threading.Lock()
        self._shutdown = False
        self._broken = False

    def _start_core(self):
        raise NotImplementedError

    def _begin(self):
        """The core pool; made now if this is the first call."""
        if self._broken:
            raise self._broken_error(self._broken)
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting and not _core.in_task():
            raise _exit_error()
        if self._core is None:
            if self._starting not in (None, os.getpid()):
                raise RuntimeError(
                    "an executor cannot be used from its own worker processes: they were forked "
                    "before it had started"
                )
            with self._shutdown_lock:
                if self._core is None:
                    self._make()
        return self._core

    def _make(self):
        _drop_ended()
        self._starting = os.getpid()
        try:
            core = self._start_core()
        except (BrokenThreadPool, BrokenProcessPool) as error:
            self._broken = str(error)
            raise
        finally:
            self._starting = None
        with _lock:
            _owners[core] = os.getpid(), self._strict
        self._core = core
        self._finalizer = weakref.finalize(self, _close, core)
        self._finalizer.atexit = False

    def submit(self, fn, /, *args, **kwargs):
        """Queues ``fn(*args, **kwargs)`` and returns at once: a ``Future``.

        Raises RuntimeError after shutdown(), and ``BrokenProcessPool`` or ``BrokenThreadPool`` if
        the executor is of no use any more.  What cannot be pickled is the error of its own future.

        >>> with auriga.ThreadPoolExecutor(2) as executor:
        ...     executor.submit(pow, 2, 5).result()
        32
        """
        core = self._core
        if core is None or self._shutdown or _exiting or self._broken:
            broken = self._broken
            try:
                core = self._begin()
            except BrokenThreadPool as error:
                if broken:
                    raise
                return _failed(error)  # its initializer has just raised
        try:
            return core.submit(Future, fn, args, kwargs or None, self._flags)
        except BaseException as error:
            return self._not_submitted(error)

    def _not_submitted(self, error):
        if isinstance(error, PoolClosed):
            if _exiting:
                raise _exit_error() from None
            raise RuntimeError("cannot schedule new futures after shutdown") from None
        if isinstance(error, (BrokenProcessPool, BrokenThreadPool)):
            self._broken = str(error)
            if self._strict and isinstance(error, BrokenProcessPool):
                self._broken = _BROKEN
                raise BrokenProcessPool(_BROKEN) from error
            raise error
        if not isinstance(error, (Exception, SystemExit)):
            raise error
        return _failed(error)  # it could not be pickled: its own failure alone

    def map(self, fn, *iterables, timeout=None, chunksize=1, buffersize=None):
        """``map(fn, *iterables)`` in parallel: an iterator over the results, in order.

        timeout: float, seconds from now for all of them; then ``TimeoutError``.
        chunksize: int, items that are sent together; to processes only.
        buffersize: int, calls that are submitted ahead of the results that were taken; by default
            all, at once.

        Raises ValueError or TypeError if a number makes no sense.  The iterator raises what fn
        raised for an item, with a note of its number where exceptions have notes, and is at its
        end then.

        >>> with auriga.ThreadPoolExecutor(2) as executor:
        ...     list(executor.map(pow, [2, 3, 10], [5, 2, 3]))
        [32, 9, 1000]
        """
        if self._broken_error is BrokenProcessPool:
            chunksize = _arguments.executors_chunksize(chunksize, self._strict)
        buffersize = _arguments.buffersize(buffersize, self._strict)
        seconds = _core.seconds(timeout)
        end = None if seconds is None else time.monotonic() + seconds
        return self._map(fn, zip(*iterables), end, chunksize, buffersize)

    def _map(self, fn, items, end, chunksize, buffersize):
        submit = self.submit
        if buffersize is None and getattr(submit, "__func__", None) in _own_submits:
            return _results(self, None, self._submit_all(fn, items), end, None)
        return _results(self, lambda args: submit(fn, *args), items, end, buffersize)

    def _submit_all(self, fn, items):
        """A future for each tuple of arguments."""
        fs = [self.submit(fn, *args) for args in itertools.islice(items, 1)]
        while fs:
            core = self._begin()
            error = core.submit_each(fs, items, True, Future, fn, self._flags)
            if error is None:
                break
            fs.append(self._not_submitted(error))
        return fs

    def __reduce__(self):
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def shutdown(self, wait=True, *, cancel_futures=False):
        """No more work; what was accepted still runs.  Leaving a ``with`` block does so.

        wait: whether to return only when all of it has ended.
        cancel_futures: whether calls that have not started are cancelled.

        If a KeyboardInterrupt ends this wait or the block, what has not started is cancelled, and
        worker processes are ended.

        >>> executor = auriga.ThreadPoolExecutor(2)
        >>> future = executor.submit(pow, 2, 5)
        >>> executor.shutdown()
        >>> future.result()
        32
        """
        if self._is_inherited():
            self._shutdown = True  # without the lock: a thread of the parent may have had it
            return
        with self._shutdown_lock:
            self._shutdown = True
            core = self._core
        if core is None:
            return
        if cancel_futures:
            core.cancel_pending()
        core.close()
        if wait:
            try:
                core.join(None)
            except KeyboardInterrupt:
                _interrupt({core: self._strict})
                raise

    def _is_inherited(self):
        """In a fork, which has no part in what is under way."""
        if self._core is None:
            return self._starting not in (None, os.getpid())
        return self._core.forked

    def __exit__(self, exc_type, exc_val, exc_tb):
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self._end_now()
        return super().__exit__(exc_type, exc_val, exc_tb)

    def _end_now(self):
        if self._core is not None and not self._is_inherited():
            _interrupt({self._core: self._strict})


def _results(executor, submit, items, end, buffersize, chunksize=0):
    """Submits now, and hands out results as they are asked for."""
    limit = buffersize if buffersize is not None else None
    if submit is None:
        fs = items  # they are submitted
    else:
        items = iter(items)
        fs = [submit(args) for args in itertools.islice(items, limit)]
    fs.reverse()
    pace = _helpers.Pace()
    owner = weakref.ref(executor)
    strict = executor._strict
    del executor

    def results():
        nonlocal items
        n = 0  # results, or chunks of them, that were handed out
        try:
            while fs:
                if limit is not None and items is not None and owner() is not None:
                    args = next(items, None)
                    if args is None:
                        items = None
                    else:
                        fs.insert(0, submit(args))
                    yield _take(fs, end, n, chunksize, strict)
                    n += 1
                    continue
                left = None if end is None else end - time.monotonic()
                values = _core.take_values(fs, left, pace.next())
                if values is None:
                    yield _take(fs, end, n, chunksize, strict)
                    n += 1
                    continue
                n += len(values)
                values.reverse()
                while values:
                    yield values.pop()
        finally:
            for future in fs:
                future.cancel()

    return results()


def _take(fs, end, n, chunksize, strict):
    future = fs.pop()
    try:
        try:
            return future.result(None if end is None else end - time.monotonic())
        except BaseException as error:
            if future.done() and not future.cancelled():
                _name_item(error, n * (chunksize or 1), not chunksize, strict)
            raise
        finally:
            future.cancel()
    finally:
        del future


class ThreadPoolExecutor(_PoolExecutor):
    """Threads, as ``concurrent.futures.ThreadPoolExecutor``.

    max_workers: int, threads; by default four more than CPUs, at most 32.
    thread_name_prefix: str, what the names of threads begin with.
    initializer, initargs: callable and its arguments, run in each new thread.

    A task may wait for another one of the same executor: a thread that waits is stood in for, and
    tasks that wait for each other get ``auriga.DeadlockError``.

    >>> with auriga.ThreadPoolExecutor(1) as executor:
    ...     executor.submit(lambda: executor.submit(pow, 5, 2).result()).result()
    25
    """

    __class__ = _helpers.StandsFor("concurrent.futures.thread", "ThreadPoolExecutor")
    _counter = itertools.count().__next__

    def __init__(
        self, max_workers=None, thread_name_prefix="", initializer=None, initargs=()
    ):
        if max_workers is None:
            cpus = getattr(os, "process_cpu_count", os.cpu_count)() or 1
            max_workers = min(32, cpus + 4)
        self._max_workers = _arguments.max_workers(max_workers, self._strict, threads=True)
        _arguments.initializer(initializer, initargs, self._strict)
        self._thread_name_prefix = (
            thread_name_prefix or f"ThreadPoolExecutor-{self._counter()}"
        )
        self._initializer = initializer
        self._initargs = initargs
        self._setup()

    _broken_error = BrokenThreadPool
    _flags = _CONTEXT

    def _start_core(self):
        from . import _worker

        name = str(self._thread_name_prefix)
        boot = _worker.ThreadBoot(f"{name}_", self._initializer, self._initargs, daemon=False)
        self._boot = boot
        workers = _arguments.workers_of(self._max_workers)
        return _core.Pool(_THREADS, workers, boot, name=name[:10].replace("\0", "?"))

    @property
    def _threads(self):
        """Those that are there now, as the standard library's executor has them."""
        from . import _crew

        if self._core is None:
            return set()
        n = 0 if self._shutdown or self._broken else _arguments.workers_of(self._max_workers)
        return set(_crew.threads(self._core, self._boot, n))

    @property
    def _work_queue(self):
        from . import _crew

        return _crew.Queued(self._core)


class ProcessPoolExecutor(_PoolExecutor):
    """Worker processes, as ``concurrent.futures.ProcessPoolExecutor``.

    A worker that dies costs the call it was running, which raises ``auriga.WorkerDied``.

    max_workers: int, processes; by default one per CPU.
    mp_context: what ``multiprocessing.get_context()`` returns; decides how workers start.
    initializer, initargs: callable and its arguments, run in each new worker.
    max_tasks_per_child: int, calls after which a worker is replaced by a new one.
    contextvars, views: as of ``auriga.Pool``.

    >>> with auriga.ProcessPoolExecutor(2) as executor:
    ...     futures = [executor.submit(pow, 2, n) for n in range(4)]
    ...     [future.result() for future in futures]
    [1, 2, 4, 8]
    """

    __class__ = _helpers.StandsFor("concurrent.futures.process", "ProcessPoolExecutor")
    _broken_error = BrokenProcessPool
    _flags = _CONTEXT | _BY_VALUE

    def __init__(
        self,
        max_workers=None,
        mp_context=None,
        initializer=None,
        initargs=(),
        *,
        max_tasks_per_child=None,
        contextvars=True,
        views=False,
    ):
        import multiprocessing

        if max_workers is None:
            max_workers = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        self._max_workers = _arguments.max_workers(max_workers, self._strict, threads=False)
        if mp_context is None:
            if max_tasks_per_child is not None and self._strict:
                mp_context = multiprocessing.get_context("spawn")
            else:
                mp_context = multiprocessing.get_context()
        _arguments.context(mp_context, "mp_context", self._strict)
        _arguments.initializer(initializer, initargs, self._strict)
        if max_tasks_per_child is not None:
            _arguments.executors_max_tasks(max_tasks_per_child, self._strict)
            if self._strict and mp_context.get_start_method(allow_none=False) == "fork":
                raise ValueError(
                    "max_tasks_per_child is incompatible with the 'fork' multiprocessing start "
                    "method; supply a different mp_context."
                )
        self._mp_context = mp_context
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._views = bool(views)
        self._carried = contextvars if self._strict else _context.checked(contextvars)
        self._setup()

    def submit(self, fn, /, *args, **kwargs):
        if not self._strict:
            fn = _helpers.portable(fn)
            if self._carried and copy_context():  # most programs never set a variable
                fn = _context.carried(fn, self._carried)
        return super().submit(fn, *args, **kwargs)

    submit.__doc__ = _PoolExecutor.submit.__doc__

    @property
    def _processes(self):
        """{pid: worker} of those that are there now; None after shutdown(), as in the standard library."""
        from . import _crew

        if self._shutdown:
            return None
        if self._core is None:
            return {}
        known = self.__dict__.setdefault("_known", {})
        return {one.pid: one for one in _crew.processes(self._core, self._boot, known)}

    @property
    def _pending_work_items(self):
        from . import _crew

        return _crew.unfinished(self._core)

    def terminate_workers(self):
        """Ends the worker processes by SIGTERM, and with them what they run; the executor is of no use then.

        Calls that have not begun are cancelled; those that run raise ``BrokenProcessPool``.  Does not wait.

        >>> import signal
        >>> executor = auriga.ProcessPoolExecutor(1)
        >>> future = executor.submit(signal.pause)
        >>> executor.terminate_workers()
        >>> isinstance(future.exception(), auriga.BrokenProcessPool) or future.cancelled()
        True
        """
        self._force_shutdown("terminate")

    def kill_workers(self):
        """``terminate_workers()`` by SIGKILL."""
        self._force_shutdown("kill")

    def _force_shutdown(self, operation):
        workers = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            getattr(worker, operation)()
        if self._core is not None and not self._strict:  # or another worker would take what is left
            self._broken = self._broken or _BROKEN
            self._core.terminate(True)

    def _start_core(self):
        from . import _worker

        method = self._mp_context.get_start_method()
        name = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}.get(method, "")
        boot = _worker.Boot(
            f"{name}Process", self._initializer, self._initargs, False, True
        )
        if method == "fork":
            boot.me = _worker.unstarted(self._mp_context.Process, daemon=False)
        self._boot = boot
        core = start_processes(
            self._mp_context,
            self._max_workers,
            boot,
            flags=_BREAK_ON_DEATH if self._strict else 0,
            max_tasks=min(self._max_tasks_per_child or 0, _arguments.TASKS_MAX),
            name="executor",
        )
        core.views = self._views
        if self._strict:
            _helpers.on_error(core, _breaking(weakref.ref(self), weakref.ref(core)))
        return core

    def _map(self, fn, items, end, chunksize, buffersize):
        if not self._strict:
            fn = _helpers.portable(fn if buffersize is None else _helpers.frozen(fn))
            if self._carried and copy_context():
                fn = _context.carried(fn, self._carried)
        if chunksize == 1 or self._begin().inherited:
            return super()._map(fn, items, end, chunksize, buffersize)
        chunks = iter(lambda: list(itertools.islice(items, chunksize)), [])
        flags = self._flags | 1 | (16 if self._strict else 0)

        def submit(chunk):
            core = self._begin()
            try:
                return core.submit_batch(fn, chunk, 0, len(chunk), flags, 0)
            except BaseException as error:
                return self._not_submitted(error)

        if getattr(self.submit, "__func__", None) not in _own_submits:  # a subclass is to see it all

            def submit(chunk):
                return self.submit(_helpers.run_chunk, fn, True, chunk, False)

        return _flat(_results(self, submit, chunks, end, buffersize, chunksize))


_own_submits = (_PoolExecutor.submit, ProcessPoolExecutor.submit)


def _flat(lists):
    for results in lists:
        results.reverse()
        while results:
            yield results.pop()


def _breaking(owner, pool):
    """A dead worker, and a result that cannot be loaded in this process, break a strict executor."""

    def hook(error, bad_result):
        if not bad_result and not isinstance(error, BrokenProcessPool):
            return error
        executor, core = owner(), pool()
        if executor is not None:
            executor._broken = executor._broken or _BROKEN
        if bad_result and core is not None:
            core.terminate(True)
        broken = BrokenProcessPool(_BROKE)
        broken.__cause__ = error
        return broken

    return hook
