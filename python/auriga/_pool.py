"""Pool and ThreadPool: the interface of ``multiprocessing.pool``."""

import functools
import itertools
import warnings
from contextvars import copy_context

from . import _arguments, _context, _core, _ends, _helpers, _progress
from ._reader import reader_of
from ._results import (
    BYTES_AHEAD,
    AsyncResult,
    Failed,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
    _chunks,
    _ranges,
)

_THREADS, _PROCESSES = 0, 1
_FORK, _EXEC = 1, 3
_KEEP_FDS, _BREAK_ON_DEATH = 4, 8
_STAR, _POOL_ERRORS, _STOP, _CONTEXT, _EACH, _BY_VALUE = 1, 8, 16, 32, 64, 128

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"

_counter = itertools.count(1)


def flush_output():
    """Before a fork: what is in Python's buffers must not be written by every worker."""
    import sys

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass


def start_processes(context, workers, boot, **options):
    """A core pool of processes that start as the context's would."""
    method = context.get_start_method()
    if method == "fork":
        flush_output()
        flags = options.pop("flags", 0) | _KEEP_FDS
        return boot.forked(
            lambda: _core.Pool(_PROCESSES, workers, boot, start=_FORK, flags=flags, **options)
        )
    from . import _nursery

    return _nursery.start(
        method, boot,
        lambda **how: _core.Pool(_PROCESSES, workers, boot, start=_EXEC, **how, **options),
    )


# ---- pools -------------------------------------------------------------------------------------


class Pool:
    """A pool of worker processes, as ``multiprocessing.Pool``.

    A worker that dies costs the one item it was running, which raises ``auriga.WorkerDied``.

    processes: int, workers; by default one per CPU.
    initializer, initargs: callable and its arguments, run in each new worker.
    maxtasksperchild: int, calls after which a worker is replaced by a new one.
    context: what ``multiprocessing.get_context()`` returns; decides how workers start.
    timeout: float, seconds that an item may run; then ``auriga.ItemTimeout``.
    retries: int, how often an item is run again after the death of its worker or a timeout.
    memory_max: int, bytes that a worker may have; more raises MemoryError there.
    contextvars: True: tasks see the caller's context variables that are globals of modules and can
        be pickled; False: none; or a list of variables, of which one that cannot be pickled
        is an error of the task.
    views: True: arrays and memoryviews of 64 KB and more that a task returns are not copied here,
        but read-only views of the memory they came in; see docs/python.md for what to heed.

    >>> with auriga.Pool(4) as pool:
    ...     pool.starmap(pow, [(2, 5), (3, 2), (10, 3)])
    [32, 9, 1000]
    """

    __class__ = _helpers.StandsFor("multiprocessing.pool", "Pool")
    _strict = False
    _flags = _POOL_ERRORS | _CONTEXT | _BY_VALUE
    _shown = ()  # the progress of its maps

    def __init__(
        self,
        processes=None,
        initializer=None,
        initargs=(),
        maxtasksperchild=None,
        context=None,
        *,
        timeout=None,
        retries=0,
        memory_max=0,
        contextvars=True,
        views=False,
    ):
        self._carried = contextvars if self._strict else _context.checked(contextvars)
        self._limits = _arguments.nanoseconds(timeout), _arguments.retries(retries)
        self._memory_max = _arguments.memory_max(memory_max)
        self._views = bool(views)
        self._core = None
        self._state = RUN
        tasks = _arguments.max_tasks(maxtasksperchild, self._strict)
        self._processes = _arguments.processes(processes, self._strict)
        _arguments.initializer(initializer, initargs, self._strict)
        self._feeders = set()
        self._start(initializer, initargs, tasks, context)

    def _start(self, initializer, initargs, max_tasks, context):
        import multiprocessing

        from . import _worker

        context = context or multiprocessing.get_context()
        _arguments.context(context, "context", self._strict)
        method = context.get_start_method()
        name = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}.get(method, "")
        me = _worker.unstarted(self.Process, ctx=context)
        me.daemon = True  # if it can be: a recipe for pools in pools has a class that ignores this
        boot = _worker.Boot(f"{name}PoolWorker", initializer, initargs, me.daemon, False)
        if method == "fork":
            boot.me = me
        self._boot = boot
        self._core = start_processes(
            context,
            self._processes,
            boot,
            max_tasks=max_tasks,
            name="pool",
            memory_max=self._memory_max,
        )
        self._core.views = self._views
        self._finalizer = _ends.watch(self, self._core)

    @staticmethod
    def Process(ctx, *args, **kwds):
        """As what a worker sees itself: a process of the context.  For subclasses that want another one;
        with *spawn* and *forkserver* only whether that is a daemon counts."""
        return ctx.Process(*args, **kwds)

    # -- one call

    def _check_running(self):
        if self._state != RUN:
            raise ValueError("Pool not running")

    def _limits_of(self, timeout, retries):
        """(nanoseconds, attempts) of a call: its own, or the pool's."""
        if timeout is None and retries is None:
            return self._limits
        default = self._limits
        return (
            default[0] if timeout is None else _arguments.nanoseconds(timeout),
            default[1] if retries is None else _arguments.retries(retries),
        )

    def _submit(self, fn, args, kwargs, limits):
        """The AsyncResult of one call; raises if it cannot be pickled."""
        if not self._strict:
            fn = self._portable(fn)
        return self._core.submit(AsyncResult, fn, args, kwargs, self._flags, limits)

    def _portable(self, fn):
        if self._strict:
            return fn
        fn = _helpers.portable(fn)
        if self._carried and copy_context():  # most programs never set a variable
            return _context.carried(fn, self._carried)
        return fn

    def apply(self, func, args=(), kwds={}, *, timeout=None, retries=None):
        """Calls ``func(*args, **kwds)`` in a worker and waits for the result.

        Arguments and errors are those of ``apply_async()``.  Called in a loop it runs one call at
        a time: submit all, then collect.

        >>> with auriga.Pool(2) as pool:
        ...     pool.apply(pow, (2, 5))
        32
        """
        return self.apply_async(func, args, kwds, timeout=timeout, retries=retries).get()

    def apply_async(
        self,
        func,
        args=(),
        kwds={},
        callback=None,
        error_callback=None,
        *,
        timeout=None,
        retries=None,
    ):
        """Queues ``func(*args, **kwds)`` and returns at once: an ``AsyncResult``.

        func: callable; of a pool of processes, one that can be pickled, as arguments and result.
        args: iterable of arguments; kwds: mapping of arguments by name.
        callback: called with the result, in a thread of the library, before it counts as ready.
        error_callback: called with the exception instead, if there is one.
        timeout: float, seconds that the call may run; in processes only.
        retries: int, how often it is run again after the death of its worker or a timeout.

        Raises ValueError if the pool is closed or a number is out of range.  ``get()`` of the
        result raises what func raises; ``auriga.WorkerDied`` if its worker died,
        ``auriga.ItemTimeout`` if it ran too long, ``auriga.DeadlockError`` if it waited for itself.

        >>> with auriga.Pool(2) as pool:
        ...     results = [pool.apply_async(pow, (2, n)) for n in range(4)]
        ...     [result.get() for result in results]
        [1, 2, 4, 8]
        """
        if self._state != RUN:
            raise ValueError("Pool not running")
        limits = self._limits
        if timeout is not None or retries is not None:
            limits = self._limits_of(timeout, retries)
        told = callback is not None or error_callback is not None
        if told and not self._strict:
            _arguments.callbacks(callback, error_callback)
        try:
            if type(args) is tuple and type(kwds) is dict:
                kwds = dict(kwds) if kwds else None
            else:
                kwds = {} if kwds is None and not self._strict else kwds
                args, kwds = _helpers.arguments(func, args, kwds)
            result = self._submit(func, args, kwds, limits)
        except Exception as error:  # its own failure, told by get()
            result = _core.settled(AsyncResult, None, self._meant(error))
        if told:
            result._tell_later(callback, error_callback)
        return result

    # -- many calls

    def map(
        self, func, iterable, chunksize=None, *, kwds=None, timeout=None, retries=None,
        progress=None,
    ):
        """``[func(x, **kwds) for x in iterable]``, in parallel.

        func: callable; of a pool of processes, one that can be pickled, as items and results.
        chunksize: int, items that are sent together; by default a quarter of each worker's share.
        kwds: dict of further arguments, the same for each item.
        timeout: float, seconds that an item may run; in processes only.
        retries: int, how often an item is run again after the death of its worker or a timeout.
        progress: True for a line on the terminal, or a function of ``(done, total)``.

        Raises what func raises for the first item that fails, with a note of its number where
        exceptions have notes; ``auriga.WorkerDied`` if its worker died, ``auriga.ItemTimeout`` if
        it ran too long; ValueError if the pool is closed or a number is out of range; TypeError
        if progress is no function.

        >>> with auriga.Pool(2) as pool:
        ...     pool.map(abs, [-1, 2, -3])
        [1, 2, 3]
        """
        func = _with(func, kwds)
        return self._map(func, iterable, False, chunksize, (timeout, retries), progress).get()

    def starmap(
        self, func, iterable, chunksize=None, *, kwds=None, timeout=None, retries=None,
        progress=None,
    ):
        """``[func(*args, **kwds) for args in iterable]``, in parallel.

        Arguments and errors are those of ``map()``; the items are tuples.

        >>> with auriga.Pool(2) as pool:
        ...     pool.starmap(pow, [(2, 5), (3, 2)])
        [32, 9]
        """
        func = _with(func, kwds)
        return self._map(func, iterable, True, chunksize, (timeout, retries), progress).get()

    def map_async(
        self,
        func,
        iterable,
        chunksize=None,
        callback=None,
        error_callback=None,
        *,
        kwds=None,
        timeout=None,
        retries=None,
        progress=None,
    ):
        """``map()`` without the wait.  The result: ``AsyncResult`` of a list.

        callback: called with the list, in a thread of the library, before the result is ready.
        error_callback: called with the exception instead, if there is one.

        >>> with auriga.Pool(2) as pool:
        ...     result = pool.map_async(abs, [-1, 2, -3])
        ...     result.get()
        [1, 2, 3]
        """
        func = _with(func, kwds)
        told = callback, error_callback
        return self._map(func, iterable, False, chunksize, (timeout, retries), progress, *told)

    def starmap_async(
        self,
        func,
        iterable,
        chunksize=None,
        callback=None,
        error_callback=None,
        *,
        kwds=None,
        timeout=None,
        retries=None,
        progress=None,
    ):
        """``starmap()`` without the wait.  Callbacks and result are those of ``map_async()``.

        >>> with auriga.Pool(2) as pool:
        ...     result = pool.starmap_async(pow, [(2, 5), (3, 2)])
        ...     result.get()
        [32, 9]
        """
        func = _with(func, kwds)
        told = callback, error_callback
        return self._map(func, iterable, True, chunksize, (timeout, retries), progress, *told)

    def _map(
        self, func, iterable, star, chunksize, limits, progress=None, callback=None,
        error_callback=None,
    ):
        self._check_running()
        if not self._strict:
            _arguments.callbacks(callback, error_callback)
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)
        if chunksize is None:
            chunksize, extra = divmod(len(iterable), self._processes * 4)
            chunksize += bool(extra)
        elif len(iterable) != 0:
            chunksize = _arguments.chunksize(chunksize, self._strict)
        limits = self._limits_of(*limits)
        if self._core.inherited or (limits and limits[0]):
            chunksize = 1  # the library times calls, and takes no batches from worker processes
        progress = _progress.start(self, progress, len(iterable))
        if progress is not None:
            chunksize = 1  # it counts items, not chunks
        tasks = []
        into = None if chunksize == 1 or self._core.kind == _THREADS else [None]  # all results
        n = 0
        try:
            if chunksize == 1:
                kind, flags = _core.Task, self._flags
                func = self._portable(func)
                submit, items = self._core.submit_each, iter(iterable)
                while error := submit(tasks, items, star, kind, func, flags, limits):
                    self._check_own(error)
                    tasks.append(Failed(error))
            else:
                submit = self._chunk_submitter(func, star, limits)
                for items, lo, hi in _ranges(iterable, max(1, chunksize)):
                    place = () if into is None else (into, n)
                    try:
                        tasks.append(submit(items, lo, hi, *place))
                    except Exception as error:
                        self._check_own(error)
                        tasks.append(Failed(error))
                    n += hi - lo
        except Exception as error:
            tasks.append(Failed(error))
        if into is not None:
            into *= n  # not before the workers are busy
        return MapResult(self, tasks, chunksize, callback, error_callback, progress, into)

    def _check_own(self, error):
        """Raises it, unless it is that of one item, which could not be sent; others can."""
        from ._errors import AurigaError, BrokenExecutor

        of_the_pool = AurigaError, BrokenExecutor, MemoryError
        if self._core.inherited or isinstance(error, of_the_pool) or not isinstance(error, Exception):
            raise self._meant(error)

    def _meant(self, error):
        """The error, or what it means that the pool was ended under the call."""
        from ._errors import PoolClosed

        if not isinstance(error, PoolClosed):
            return error
        return _helpers.terminated() if self._state == TERMINATE else ValueError("Pool not running")

    def _call_submitter(self, func, star, limits):
        """Submits one item."""
        submit = self._core.submit
        kind = _core.Task
        flags = self._flags
        func = self._portable(func)
        if star:
            return lambda item: submit(kind, func, tuple(item), None, flags, limits)
        return lambda item: submit(kind, func, (item,), None, flags, limits)

    def _chunk_submitter(self, func, star, limits, each=False):
        """Submits a chunk.  each: items that fail are Failed among the results."""
        flags = self._flags | _STAR * bool(star) | _STOP * bool(self._strict) | _EACH * bool(each)
        submit = self._core.submit_batch
        func = self._portable(func)
        return lambda items, lo, hi, *into: submit(func, items, lo, hi, flags, limits[1], *into)

    # -- iterators

    def imap(
        self, func, iterable, chunksize=1, *, kwds=None, timeout=None, retries=None,
        progress=None, ahead_bytes=BYTES_AHEAD,
    ):
        """An iterator over the results, in order.

        The input is read as far ahead as keeps the workers busy, but at least two items or chunks
        for each worker.

        ahead_bytes: int, what results may take that nobody has fetched yet; if they are large, the
            input is read less far ahead.

        Other arguments are those of ``map()``.  An item that failed raises its exception from
        ``next()``, with a note of its number as in ``map()``, and the iterator goes on with the
        next one; a chunk of several items fails as a whole.

        >>> with auriga.Pool(2) as pool:
        ...     list(pool.imap(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        limits = timeout, retries
        kind = IMapIterator
        return self._imap(
            kind, func, iterable, False, chunksize, kwds, limits, progress, ahead_bytes
        )

    def imap_unordered(
        self, func, iterable, chunksize=1, *, kwds=None, timeout=None, retries=None,
        progress=None, ahead_bytes=BYTES_AHEAD,
    ):
        """``imap()`` whose results come as soon as they are there, in any order.

        Arguments and errors are those of ``imap()``; a result does not say which item it is of,
        an exception does.

        >>> with auriga.Pool(2) as pool:
        ...     sorted(pool.imap_unordered(abs, [-1, 2, -3]))
        [1, 2, 3]
        """
        limits = timeout, retries
        kind = IMapUnorderedIterator
        return self._imap(
            kind, func, iterable, False, chunksize, kwds, limits, progress, ahead_bytes
        )

    def _imap(
        self, kind, func, iterable, star, chunksize, kwds, limits, progress=None,
        ahead_bytes=BYTES_AHEAD,
    ):
        self._check_running()
        ahead_bytes = _arguments.count("ahead_bytes", ahead_bytes)
        chunksize = _arguments.chunksize(chunksize, self._strict)
        func = _with(func, kwds)
        if not self._strict and self._core.kind == _PROCESSES:
            func = _helpers.frozen(func)
        limits = self._limits_of(*limits)
        progress = _progress.start(self, progress, _progress.length(iterable))
        timed = (limits and limits[0]) or progress is not None
        chunked = chunksize > 1 and not timed and not self._core.inherited
        if chunked:
            chunk_submit = self._chunk_submitter(func, star, limits, each=not self._strict)

            def submit(chunk):
                return chunk_submit(chunk, 0, len(chunk))

        else:
            chunksize = 0
            submit = self._call_submitter(func, star, limits)
        # Just enough at first, since nobody knows yet how large results are.
        window = 2 * self._processes
        if chunked:
            chunks = _chunks(iterable, chunksize)
        elif self._strict:  # what is no iterable is an error of the iterator, as there
            chunks = itertools.chain.from_iterable((iterable,))
        else:
            chunks = iter(iterable)
        reader = reader_of(iterable)
        return kind(self, submit, chunks, chunksize, window, progress, ahead_bytes, reader)

    def _is_terminated(self):
        return self._state == TERMINATE

    def _large(self):
        """Bytes of a large result, or of a chunk's, among the last ones."""
        return self._core.large

    def istarmap(
        self, func, iterable, chunksize=1, *, kwds=None, timeout=None, retries=None,
        progress=None, ahead_bytes=BYTES_AHEAD,
    ):
        """``imap()`` whose items are tuples of arguments: ``func(*item, **kwds)``.

        >>> with auriga.Pool(2) as pool:
        ...     list(pool.istarmap(pow, [(2, 5), (3, 2)]))
        [32, 9]
        """
        limits = timeout, retries
        kind = IMapIterator
        return self._imap(
            kind, func, iterable, True, chunksize, kwds, limits, progress, ahead_bytes
        )

    def istarmap_unordered(
        self, func, iterable, chunksize=1, *, kwds=None, timeout=None, retries=None,
        progress=None, ahead_bytes=BYTES_AHEAD,
    ):
        """``istarmap()`` whose results come as soon as they are there, in any order.

        >>> with auriga.Pool(2) as pool:
        ...     sorted(pool.istarmap_unordered(pow, [(2, 5), (3, 2)]))
        [9, 32]
        """
        limits = timeout, retries
        kind = IMapUnorderedIterator
        return self._imap(
            kind, func, iterable, True, chunksize, kwds, limits, progress, ahead_bytes
        )

    # -- the end

    def close(self):
        """No more work; what was accepted still runs.  Verbs raise ValueError from now on.

        >>> pool = auriga.Pool(2)
        >>> result = pool.map_async(abs, [-1, 2, -3])
        >>> pool.close()
        >>> pool.join()
        >>> result.get()
        [1, 2, 3]
        """
        if self._state == RUN:
            self._state = CLOSE

    def terminate(self):
        """Ends the workers at once; what has not run will not.  Leaving a ``with`` block does so.

        Who waits for a result that will not come gets an error: CancelledError, or what
        became of the worker.  So does an iterator for the first item that it had not submitted;
        then it ends.
        """
        self._state = TERMINATE
        self._end_inputs()
        _progress.stop(self)
        _ends.end_now(self._finalizer, self._core)

    def _end_inputs(self):
        for feeder in list(self._feeders):
            feeder._end_early()
        self._feeders.clear()

    def join(self):
        """Waits for the end of all work and all workers; ValueError before close() or terminate()."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state == CLOSE:
            for feeder in list(self._feeders):
                feeder._feed_all()
            self._core.close()
        self._core.join(None)

    def __enter__(self):
        self._check_running()
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.terminate()

    def __del__(self, _warn=warnings.warn, RUN=RUN):
        if getattr(self, "_core", None) is not None and self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    @property
    def _pool(self):
        """The workers that are there now, as the standard library's pools have them."""
        from . import _crew

        return _crew.of_pool(self)

    def _repopulate_pool(self):
        """Waits for workers that take the place of others; the library starts them."""
        self._pool

    @property
    def _cache(self):
        """{number: None} for each call that has not ended."""
        from . import _crew

        return _crew.unfinished(self._core)

    def __reduce__(self):
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self):
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{name} state={self._state} pool_size={self._processes}>"


def _with(func, kwds):
    if not kwds:
        return func
    try:
        return functools.partial(func, **kwds)
    except TypeError:
        if not callable(func):
            raise _arguments.refuse(TypeError, "func must be a callable", func) from None
        raise _arguments.refuse(TypeError, "kwds must be a dict of arguments by name", kwds) from None


class ThreadPool(Pool):
    """A pool of threads, as ``multiprocessing.pool.ThreadPool``; all verbs are those of ``Pool``.

    processes: int, threads; by default one per CPU.
    initializer, initargs: callable and its arguments, run in each new thread.

    Nothing is pickled, and a task runs in a copy of the caller's context.  A thread cannot be
    ended, so ``timeout=`` and ``retries=`` raise ValueError.

    >>> with auriga.ThreadPool(2) as pool:
    ...     pool.map(lambda x: x + 1, range(3))
    [1, 2, 3]
    """

    __class__ = _helpers.StandsFor("multiprocessing.pool", "ThreadPool")
    _flags = _CONTEXT

    def __init__(self, processes=None, initializer=None, initargs=()):
        super().__init__(processes, initializer, initargs)

    def _start(self, initializer, initargs, max_tasks, context):
        from . import _worker

        name = f"ThreadPool-{next(_counter)}_"
        self._boot = boot = _worker.ThreadBoot(name, initializer, initargs)
        self._core = _core.Pool(_THREADS, self._processes, boot, name="threads")
        self._finalizer = _ends.watch(self, self._core)

    def _portable(self, fn):
        return fn

    def _limits_of(self, timeout, retries):
        if retries or _arguments.nanoseconds(timeout):
            raise ValueError("a thread cannot be ended: timeout and retries are for processes")
        return ()

    def _chunk_submitter(self, func, star, limits, each=False):
        submit, kind, flags = self._core.submit, _core.Task, self._flags
        if each:
            run = _helpers.run_each
            return lambda items, lo, hi: submit(kind, run, (func, star, items[lo:hi]), None, flags)
        run = _helpers.run_chunk
        noted = not self._strict
        return lambda items, lo, hi: submit(
            kind, run, (func, star, items[lo:hi], noted), None, flags
        )

    def terminate(self):
        """What has not run will not; a call that runs goes on to its end, which join() awaits."""
        self._state = TERMINATE
        self._end_inputs()
        _progress.stop(self)
        self._core.terminate(False)
