"""AutoPool: each function in the caller, in threads or in processes, as its calls turn out.

The first calls of a function are measured while they run, once each and for their results.  A map
begins with one item in a thread, watched from outside, so that a long call is judged before it ends;
then it is seen whether what computes holds the GIL.  ``_verdict`` chooses, and the rest of the map goes where it
belongs.
"""

import functools
import os
import sys
import threading
import time

from . import _arguments, _core, _gauges, _helpers, _progress
from ._pool import _CONTEXT, CLOSE, RUN, TERMINATE, Pool, ThreadPool, _chunks, _with
from ._reader import reader_of
from ._results import BYTES_AHEAD, AsyncResult, MapResult, _name_item
from ._verdict import GIL, HAND_OVER, HERE, PROCESSES, THREADS, UNDECIDED, Verdict, Where

_LOOK = 0.02  # seconds of calls beside which the GIL is asked for ...
_TRIES = 4  # ... and that times so many at most, if they were over too soon
_SLICE, _SLICE_ITEMS = 0.0005, 64  # a look at the clocks after so many seconds, at one of so many items
_LONG = 0.01  # seconds of work that go to a process at a time
_AGAIN_MAP, _AGAIN_CALL = 16, 64  # of so many, one is measured anew
_FUNCTIONS = 256  # that are remembered


class _Parts:
    """What is known and under way of a map, in the order of its items."""

    def __init__(self, progress):
        self.progress = progress
        self._parts = []
        self._n = 0

    def add(self, task, n):
        if self.progress is not None:
            for _ in range(n):
                task.on_done(self.progress.one)
        self._parts.append((task, self._n, n))
        self._n += n

    def results(self):
        """Of all, or the exception of the first item that failed."""
        results = []
        for task, first, n in self._parts:
            task.wait()
            try:
                results += task.get()
            except BaseException as error:
                _name_item(error, first, n == 1)
                raise
        if self.progress is not None:
            self.progress.wait()
        return results


# ---- the pool ----------------------------------------------------------------------------------


class AutoPool(Pool):
    """A pool that finds out for each function where its calls had better run.

    The first calls are measured while they run.  What waits (network, files) goes to threads; Python
    code that computes goes to processes, since threads would take turns at it; what computes without
    the GIL goes to threads; and what takes less time than to hand it over runs in the thread that
    calls.  ``explain()`` tells what was chosen, and why.

    processes: int, worker processes, and threads; by default one process per CPU and four threads
        more, at most 32.
    initializer, initargs: run in each worker of both kinds; the caller then runs nothing itself.
    maxtasksperchild, context, memory_max, contextvars, views: of the worker processes.
    timeout, retries: limits of an item, here or at each verb; such calls go to processes.

    A call may run in any of the three places, and must not depend on what another one left behind in
    its process.  A function or an argument that cannot be pickled stays in threads.  With the start
    method *fork*, the worker processes start at the first call; else when they are needed.

    >>> with auriga.AutoPool(2) as pool:
    ...     pool.starmap(pow, [(2, 5), (3, 2), (10, 3)])
    [32, 9, 1000]
    """

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
        self._threads = self._inner = None
        self._asked = processes
        self._inner_kwargs = {
            "timeout": timeout,
            "retries": retries,
            "memory_max": memory_max,
            "contextvars": contextvars,
            "views": views,
        }
        super().__init__(
            processes, initializer, initargs, maxtasksperchild, context, **self._inner_kwargs
        )

    def _start(self, initializer, initargs, max_tasks, context):
        import multiprocessing

        context = context or multiprocessing.get_context()
        _arguments.context(context, "context", self._strict)
        self._fork = context.get_start_method() == "fork"
        self._inner_args = self._processes, initializer, initargs, max_tasks or None, context
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._verdicts = {}
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        self._where = Where(self._processes, gil, here=initializer is None, started=False)
        if initializer is not None:
            self._before_threads()
        n = self._processes if self._asked is not None else min(32, self._processes + 4)
        self._threads = ThreadPool(n, initializer, initargs)
        self._core = self._threads._core

    # -- places

    def _at_home(self):
        """False in a worker process that inherited this pool: there, calls run where they are."""
        return os.getpid() == self._owner

    def _pool_of_processes(self):
        if self._inner is None:
            with self._lock:
                if self._inner is None:
                    self._inner = Pool(*self._inner_args, **self._inner_kwargs)
                    self._where.started = True
        return self._inner

    def _before_threads(self):
        """A fork copies what locks other threads hold, so it comes before the first call in ours."""
        if self._inner is None and self._fork and self._where.gil and self._processes > 1:
            self._pool_of_processes()

    def _verdict_of(self, fn):
        while isinstance(fn, functools.partial):
            fn = fn.func
        fn = getattr(fn, "__func__", fn)
        key = getattr(fn, "__code__", None)
        if key is None:
            key = fn if isinstance(fn, (type, type(len))) else type(fn)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= _FUNCTIONS:
                self._verdicts.clear()
            name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
            verdict = self._verdicts.setdefault(key, Verdict(name))
        return verdict

    def _choose(self, verdict, fn, *left):
        choice = verdict.choose(self._where, *left)
        if choice in (GIL, PROCESSES) and verdict.bound is None:
            try:
                _helpers.dumps(_helpers.portable(fn), [])
                verdict.bound = ""
            except Exception as error:
                verdict.bound = f"{type(error).__name__}: {error}"
            choice = verdict.choose(self._where, *left)
        return choice

    def _choose_for_one(self, verdict, fn):
        return UNDECIDED if verdict.turn(_AGAIN_CALL) else self._choose(verdict, fn)

    def explain(self):
        """What was chosen and why: one sentence for each function.

        >>> with auriga.AutoPool(2) as pool:
        ...     lengths = pool.map(len, ["a", "bc"])
        ...     pool.explain().startswith("len: ")
        True
        """
        lines = [verdict.explain() for verdict in list(self._verdicts.values())]
        return "\n".join(lines) or "No function was called yet."

    # -- threads

    def _in_thread(self, call, args, kwargs=None, kind=_core.Task):
        try:
            return self._core.submit(kind, call, args, kwargs, _CONTEXT)
        except Exception as error:
            raise self._meant(error)

    # -- one call

    def apply(self, func, args=(), kwds={}, *, timeout=None, retries=None):
        """Calls ``func(*args, **kwds)`` and waits for the result: in the calling thread, unless
        func goes to processes, there are limits, or the pool has an initializer.

        >>> with auriga.AutoPool(2) as pool:
        ...     pool.apply(pow, (2, 5))
        32
        """
        self._check_running()
        if self._where.here and self._at_home() and not any(self._limits_of(timeout, retries)):
            verdict = self._verdict_of(func)
            if self._choose_for_one(verdict, func) != PROCESSES:
                return _gauges.measured_here(verdict, functools.partial(func, *args, **kwds))
        return self.apply_async(func, args, kwds, timeout=timeout, retries=retries).get()

    def _submit(self, fn, args, kwargs, limits):
        home = self._at_home()
        if home and any(limits):
            return self._pool_of_processes()._submit(fn, args, kwargs, limits)
        verdict = self._verdict_of(fn)
        if not home:
            return self._one_here(verdict, fn, args, kwargs)
        choice = self._choose_for_one(verdict, fn)
        if choice == HERE:
            return self._one_here(verdict, fn, args, kwargs)
        if choice == PROCESSES:
            try:
                return self._pool_of_processes()._submit(fn, args, kwargs, limits)
            except Exception:
                pass  # if it was not a pickle that failed, the thread fails as well
        self._before_threads()
        if choice != UNDECIDED:
            return self._in_thread(fn, args, kwargs, AsyncResult)
        gauge = _gauges.counted(fn, fn, verdict)
        result = self._in_thread(gauge, args, kwargs, _gauges.Judged)
        result._judge = functools.partial(_gauges.judge, verdict, gauge)
        return result

    def _one_here(self, verdict, fn, args, kwargs):
        call = functools.partial(fn, *args, **(kwargs or {}))
        try:
            return _core.settled(AsyncResult, _gauges.measured_here(verdict, call), None)
        except Exception as error:
            return _core.settled(AsyncResult, None, error)

    # -- maps

    def map(
        self, func, iterable, chunksize=None, *, kwds=None, timeout=None, retries=None,
        progress=None,
    ):
        func = _with(func, kwds)
        return self._map_now(func, iterable, False, chunksize, (timeout, retries), progress)

    def starmap(
        self, func, iterable, chunksize=None, *, kwds=None, timeout=None, retries=None,
        progress=None,
    ):
        func = _with(func, kwds)
        return self._map_now(func, iterable, True, chunksize, (timeout, retries), progress)

    map.__doc__ = Pool.map.__doc__
    starmap.__doc__ = Pool.starmap.__doc__

    def _map_now(self, func, iterable, star, chunksize, limits, progress):
        if any(self._limits_of(*limits)):
            return self._map(func, iterable, star, chunksize, limits, progress).get()
        return self._drive(*self._job(func, iterable, star, chunksize, progress))

    def _job(self, func, iterable, star, chunksize, progress):
        self._check_running()
        items = iterable if isinstance(iterable, (list, tuple, range)) else list(iterable)
        if items and chunksize is not None:
            chunksize = _arguments.chunksize(chunksize, self._strict)
        return func, items, star, chunksize, _progress.start(self, progress, len(items))

    def _map(
        self, func, iterable, star, chunksize, limits, progress=None, callback=None,
        error_callback=None,
    ):
        told = callback, error_callback
        _arguments.callbacks(*told)
        if any(self._limits_of(*limits)):
            self._check_running()
            inner = self._pool_of_processes()
            return inner._map(func, iterable, star, chunksize, limits, progress, *told)
        job = self._job(func, iterable, star, chunksize, progress)
        if self._at_home():
            self._before_threads()
            try:
                task = self._in_thread(_gauges.As(func, self._drive), job)
            except Exception:
                self._check_running()  # ended meanwhile: as if this had come later
                raise
        else:
            task = _gauges.settled(lambda: self._drive(*job))
        return MapResult(self, [task], 2, *told)

    def _drive(self, fn, items, star, chunksize, progress):
        """The results of a map."""
        run = _MapRun(self, fn, items, star, chunksize, progress)
        try:
            run.all()
            return run.parts.results()
        finally:
            run.end()

    # -- iterators

    def _imap(
        self, kind, func, iterable, star, chunksize, kwds, limits, progress=None,
        ahead_bytes=BYTES_AHEAD,
    ):
        if any(self._limits_of(*limits)):
            self._check_running()
            inner = self._pool_of_processes()
            return inner._imap(
                kind, func, iterable, star, chunksize, kwds, limits, progress, ahead_bytes
            )
        self._check_running()
        ahead_bytes = _arguments.count("ahead_bytes", ahead_bytes)
        chunksize = _arguments.chunksize(chunksize, self._strict)
        func = _with(func, kwds)
        progress = _progress.start(self, progress, _progress.length(iterable))
        if progress is not None:
            chunksize = 1  # it counts items, not chunks
        submit = functools.partial(self._submit_chunk, self._verdict_of(func), func, star)
        # All of the first window runs in threads; it widens if items are short.
        window = 2 * self._processes
        chunks = _chunks(iterable, chunksize)
        reader = reader_of(iterable)
        if reader is not None and self._at_home():
            self._before_threads()  # the reader is one
        return kind(self, submit, chunks, chunksize, window, progress, ahead_bytes, reader)

    def _large(self):
        return max(self._core.large, self._inner._core.large if self._inner is not None else 0)

    def _submit_chunk(self, verdict, fn, star, chunk):
        choice = self._choose_for_one(verdict, fn) if self._at_home() else HERE
        if choice == HERE:
            call = functools.partial(_helpers.run_each, fn, star, chunk)
            return _gauges.settled(lambda: _gauges.measured_here(verdict, call, chunk.__len__))
        if choice == UNDECIDED:
            self._before_threads()
            call = _gauges.many(fn, star, _helpers.run_each)
            return self._in_thread(_gauges.counted(fn, call, verdict, len(chunk)), (chunk,))
        return self._send(choice, fn, star, chunk, each=True)

    def _send(self, choice, fn, star, chunk, each=False):
        """A chunk to where it was found to belong; it stays here if it cannot be pickled."""
        if choice == PROCESSES:
            inner = self._pool_of_processes()
            try:
                return inner._chunk_submitter(fn, star, (0, 0), each)(chunk, 0, len(chunk))
            except Exception:
                pass  # if it was not a pickle that failed, the thread fails as well
        self._before_threads()
        run = _helpers.run_each if each else _gauges.run
        return self._in_thread(_gauges.many(fn, star, run), (chunk,))

    # -- the end

    def terminate(self):
        self._state = TERMINATE
        self._end_inputs()
        _progress.stop(self)
        self._threads.terminate()
        if self._inner is not None:
            self._inner.terminate()

    def join(self):
        super().join()  # the threads first: what runs there may still send to processes
        if self._inner is not None:
            if self._inner._state == RUN:
                self._inner.close()
            self._inner.join()

    terminate.__doc__ = Pool.terminate.__doc__
    join.__doc__ = Pool.join.__doc__

    def __del__(self, RUN=RUN, CLOSE=CLOSE):
        inner = [pool for pool in (self._threads, self._inner) if pool is not None]
        for pool in inner:
            if pool._state == RUN:
                pool._state = CLOSE  # its finalizer ends it, and it has nothing to warn of
        super().__del__()


class _MapRun:
    """One map on its way: first measured, then sent."""

    def __init__(self, pool, fn, items, star, chunksize, progress):
        self._pool = pool
        self._fn = fn
        self._items = items
        self._star = star
        self._chunksize = 1 if progress is not None else chunksize
        self._verdict = pool._verdict_of(fn)
        self._at = 0
        self._running = None  # the items that were last begun to be measured, if any
        self._begun = 0  # how many items there were with them
        self._tries = 1
        self.parts = _Parts(progress)

    def all(self):
        verdict, pool = self._verdict, self._pool
        again = verdict.turn(_AGAIN_MAP)
        while self._at < len(self._items):
            if self._running is not None and self._running.task.done():
                self.end()
            left = len(self._items) - self._at
            begun = self._running.n if self._running is not None else 0
            choice = UNDECIDED if again else pool._choose(verdict, self._fn, left, begun)
            again = False
            if not pool._at_home():
                self._run_here()
            elif choice == HERE:
                # Beside a call that computes the caller would only take turns with it; and it may still turn out
                # to be long enough for processes.
                if self._running is None or not self._running.look():
                    self._run_here()
            elif choice == UNDECIDED:
                self._watch_one()
            elif choice == GIL:
                self._look_for_gil(left)
            else:
                self._send_rest(choice, left)

    def end(self):
        """Nothing is measured any more."""
        if self._running is not None:
            self._running.end(self._at != self._begun)
            self._running = None

    def _take(self, n):
        items = self._items[self._at : self._at + n]
        self._at += len(items)
        return items

    def _run_here(self):
        """For a while: what follows may be longer than what was seen."""
        start = self._at

        def n():
            return self._at - start

        try:
            task = _gauges.settled(lambda: _gauges.measured_here(self._verdict, self._stretch, n))
        except BaseException as error:  # not of the kind that waits for the others
            _name_item(error, start, False)
            raise
        self.parts.add(task, n())

    def _stretch(self):
        end = time.perf_counter() + _SLICE
        seconds = self._verdict.seconds or _SLICE
        size = max(1, min(_SLICE_ITEMS, int(_SLICE / max(seconds, 1e-9))))
        results = []
        first = None
        while self._at < len(self._items):
            items = self._take(size if self.parts.progress is None else 1)
            try:
                results += _gauges.run(self._fn, self._star, items)
            except BaseException as error:
                if first is None:
                    first = error
                    _helpers.note_item(error, len(results) + (_helpers.noted_item(error) or 0))
                if not isinstance(error, Exception):
                    raise
                results += items  # their places
            if self.parts.progress is not None or time.perf_counter() > end:
                break
        if first is not None:
            raise first
        return results

    def _begin(self, n):
        """The next n items in a thread."""
        self.end()
        self._pool._before_threads()
        items = self._take(n)
        gauge = _gauges.Gauge(self._fn, _gauges.many(self._fn, self._star))
        task = self._pool._in_thread(gauge, (items,))
        self.parts.add(task, len(items))
        self._running = _gauges.Watched(self._verdict, task, gauge, len(items))
        self._begun = self._at

    def _watch_one(self):
        self._begin(1)
        self._running.look()

    def _look_for_gil(self, left):
        """Whether it is held by calls that compute: by one that still runs, or some more."""
        if self._running is None:
            seconds = max(self._verdict.seconds, 1e-9)
            self._begin(max(1, min(left // 2, int(self._tries * _LOOK / seconds))))
        task = self._running.task
        held, looks = _gauges.probe(task, self._running.gauge)
        if looks == 0 and not task.done():
            self._running.look()  # it may have stopped to compute
        self._tries *= 2
        if self._tries > _TRIES and looks == 0:
            held = looks = 1  # as most do
        self._verdict.count_gil(held, looks, last=self._tries > _TRIES)

    def _send_rest(self, choice, left):
        size = self._chunksize
        workers = self._pool._processes if choice == PROCESSES else self._pool._threads._processes
        seconds = self._verdict.seconds
        if size is None:
            size = -(-left // (4 * workers))
            if choice == THREADS and seconds >= HAND_OVER:
                size = 1
            elif choice == PROCESSES and (self._running is None or self._running.n > 1):
                size = max(1, min(size, int(_LONG / seconds)))
            elif choice == PROCESSES:
                size = 1  # nobody knows yet how long one takes
        send = self._pool._send
        for chunk in _chunks(self._take(left), size):
            self.parts.add(send(choice, self._fn, self._star, chunk), len(chunk))
