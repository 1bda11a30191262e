"""What the verbs of a pool return: results of one call, of a map, and iterators over them."""

import itertools
import threading
import time
from collections import deque
from operator import length_hint

from . import _core, _helpers


def _timeout_error():
    from ._errors import TimeoutError

    return TimeoutError


class AsyncResult(_core.Result):
    """The outcome of one ``apply_async()``.

    >>> with auriga.ThreadPool(1) as pool:
    ...     result = pool.apply_async(pow, (2, 5))
    ...     result.get(timeout=60), result.ready(), result.successful()
    (32, True, True)
    """

    # get(), wait(), ready() and successful() are those of the C type; what is here is rare.
    __class__ = _helpers.StandsFor("multiprocessing.pool", "ApplyResult")

    def _tell_later(self, callback, error_callback):
        """Tells the callbacks in a thread of the library, and counts as ready only then."""
        self._told = threading.Event()
        self._on_done(lambda self: self._tell(callback, error_callback))

    def _tell(self, callback, error_callback):
        try:
            try:
                value = self._value()
            except BaseException as error:
                if error_callback is not None:
                    error_callback(error)
            else:
                if callback is not None:
                    callback(value)
        finally:
            self._told.set()

    def _wait_told(self, timeout):
        """Whether the callbacks have returned, in time; in a fork nobody calls them."""
        if self._told.is_set() or self._inherited:
            return True
        _core.blocking(True)
        try:
            return self._told.wait(timeout)
        finally:
            _core.blocking(False)

    __class_getitem__ = classmethod(type(list[int]))


class Failed:
    """A task that came to nothing before the library saw it."""

    _number = None  # of an iterator: that of its item, if it was one that failed

    def __init__(self, error):
        self.error = error

    def wait(self, timeout=None):
        return True

    def done(self):
        return True

    def get(self):
        raise self.error

    def cancel(self):
        return False

    def on_done(self, fn):
        fn(self)


class MapResult(AsyncResult):
    """The outcome of ``map_async()`` and ``starmap_async()``.

    >>> with auriga.ThreadPool(2) as pool:
    ...     result = pool.map_async(abs, [-1, 2, -3])
    ...     result.get(timeout=60), result.ready(), result.successful()
    ([1, 2, 3], True, True)
    """

    __class__ = _helpers.StandsFor("multiprocessing.pool", "MapResult")
    _list = None  # of all results, once somebody has asked for it

    def __init__(
        self, pool, tasks, chunksize, callback=None, error_callback=None, progress=None, into=None
    ):
        self._strict = pool._strict
        self._into = into  # the list that all tasks put their results to; None: each has its own
        self._tasks = tasks
        self._chunksize = chunksize  # 1: a task is a call, not a list of them
        self._told = None
        self._progress = progress
        if self._strict and not tasks:
            callback = None  # as there
        if callback is not None or error_callback is not None or progress is not None:
            self._told = threading.Event()
            self._left = len(tasks) + 1  # those that are not done, and this thread
            if progress is not None:
                progress.last(len(tasks))
            self._left_lock = threading.Lock()
            for task in tasks:
                task.on_done(lambda task: self._one_done(callback, error_callback))
            if self._is_last():  # a callback never runs in the thread that submits
                _core.deliver(lambda _: self._tell(callback, error_callback))

    def _is_last(self):
        with self._left_lock:
            self._left -= 1
            return self._left == 0

    def _one_done(self, callback, error_callback):
        try:
            if self._progress is not None:
                self._progress.one()
        finally:
            if self._is_last():
                self._tell(callback, error_callback)

    def _value(self):
        if self._list is None:
            tasks = self._tasks
            values = _core.values(tasks)
            for number in range(len(values), len(tasks)):
                values.append(self._one(tasks, number))
            if self._into is not None:
                values = self._into
            elif self._chunksize != 1:
                values = list(itertools.chain.from_iterable(values))
            # In one step, so that all threads have the same list.  A lock could be held in a fork for ever.
            self.__dict__.setdefault("_list", values)
            self._tasks = ()
        return self._list

    def _one(self, tasks, number):
        """What one task came to; its exception with the item's number."""
        try:
            return tasks[number].get()
        except BaseException as error:
            _name_item(error, number * self._chunksize, self._chunksize == 1, self._strict)
            raise

    def ready(self):
        """Whether all calls are done."""
        ended = all(task.done() for task in self._tasks)
        return ended and (self._told is None or self._told.is_set())

    def successful(self):
        """Whether all ended without an exception.  ValueError if one is not done."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        self.wait()
        try:
            self._value()
        except BaseException:
            return False
        return True

    def _wait(self, timeout):
        """Whether it is ready, callbacks included."""
        timeout = _core.seconds(timeout)
        end = None if timeout is None else time.monotonic() + timeout
        if not _core.wait_all(list(self._tasks), timeout):
            return False
        return self._told is None or self._wait_told(
            None if end is None else max(0, end - time.monotonic())
        )

    def wait(self, timeout=None):
        """Waits until all are done, or for timeout seconds."""
        self._wait(timeout)

    def get(self, timeout=None):
        """The list of results, or the exception of the first call that failed.
        ``multiprocessing.TimeoutError`` if it is not there in time."""
        if not self._wait(timeout):
            raise _timeout_error()
        return self._value()


def _name_item(error, first, single, strict=False):
    """Says in the exception which item of the map it is of, as far as that is known.
    strict: nothing, as in the standard library."""
    within = _helpers.noted_item(error)
    item = first if single else None if within is None else first + within
    if item is None or strict:
        return
    from ._errors import ItemTimeout, WorkerDied

    if isinstance(error, (ItemTimeout, WorkerDied)):
        error.item = item
    else:
        _helpers.add_note(error, f"item {item} of the map")


def _chunks(iterable, size):
    """Lists of so many items."""
    iterator = iter(iterable)
    while True:
        chunk = list(itertools.islice(iterator, size))
        if not chunk:
            return
        yield chunk


def _ranges(iterable, size):
    """The same as (list or tuple, from, to): nothing is copied that is one of these."""
    itertools.islice((), size)  # its error is the one that comes of no int in the standard library
    if type(iterable) in (list, tuple):
        end = len(iterable)
        for at in range(0, end, size):
            yield iterable, at, min(at + size, end)
        return
    for chunk in _chunks(iterable, size):
        yield chunk, 0, len(chunk)


_WINDOW_MAX = 1024
BYTES_AHEAD = 64 << 20  # of results that nobody has taken yet
_END = object()


class IMapIterator:
    """Results of ``imap()`` in order, taken one by one; the input is read a little ahead.

    >>> with auriga.ThreadPool(2) as pool:
    ...     results = pool.imap(abs, [-1, 2, -3])
    ...     next(results), results.next(timeout=60), list(results)
    (1, 2, [3])
    """

    __class__ = _helpers.StandsFor("multiprocessing.pool", "IMapIterator")
    _container = deque

    def __init__(
        self, pool, submit, chunks, chunksize, window, progress=None, ahead_bytes=BYTES_AHEAD,
        reader=None,
    ):
        self._reader = reader  # the thread that reads the input; None: whoever takes results
        self._ahead_bytes = ahead_bytes
        self._progress = progress
        self._submitted = 0
        self._pool = pool
        self._submit = submit
        self._chunks = chunks  # iterator of items, or of lists of them; may raise
        self._chunksize = chunksize  # 0: a task is a call, not a list of them
        self._window = window
        self._least = window
        self._tasks = self._container()  # under way
        self._ready = []  # done, to be handed out from the end
        self._ready_chunks = []
        self._pace = _helpers.Pace()
        self._items = iter(())  # of a chunk, and its task
        self._chunk = None
        self._ended = False  # by an exception
        self._forks = _core.forks()
        self._lock = threading.RLock()  # the input may ask for results
        self._fed = time.monotonic()
        pool._feeders.add(self)
        if reader is not None and not reader.start(self):
            self._reader = None
        self._ask(window)

    def _feed_ahead(self):
        """Refills the window when half of it is used up, and widens it while that half took less
        than 5 ms: as far ahead as keeps the workers busy, and no further.  If all results were as
        large as a large one of the last, those in the window would have to keep within a bound."""
        large = self._pool._large()
        fitting = max(self._least, self._ahead_bytes // large if large else _WINDOW_MAX)
        held = len(self._ready) if fitting < _WINDOW_MAX else 0
        if (len(self._tasks) + held) * 2 > min(self._window, fitting):
            return
        now = time.monotonic()
        if now - self._fed < 0.005 and self._window < min(fitting, _WINDOW_MAX):
            self._window *= 2
        self._ask(min(self._window, fitting) - held)
        self._fed = now

    def _ask(self, window):
        if self._reader is None:
            self._feed(window)
        else:
            self._reader.ask(window)

    def _feed_all(self):
        """Submits the rest of the input."""
        if self._is_inherited():
            return
        if self._reader is None:
            with self._lock:
                self._feed(float("inf"))
        else:
            self._reader.read_all()

    def _end_early(self):
        """Its pool is terminated: nobody has to wait for the input any more."""
        if self._reader is not None and not self._is_inherited():
            self._reader.tell()

    def _is_inherited(self):
        """In a fork: a thread of the parent reads the input, and may have the lock."""
        return self._forks != _core.forks()

    def _feed(self, window):
        """Submits until so many chunks are under way, or the input or the pool ends."""
        ended = self._pool._is_terminated()
        while self._chunks is not None and len(self._tasks) < window:
            number = None
            try:
                chunk = next(self._chunks, _END)
                if chunk is _END:
                    self._end()
                    return
                if ended:
                    raise _helpers.terminated()
                number = self._submitted
                self._submitted = number + 1
                try:
                    task = self._submit(chunk)
                except Exception as error:
                    self._pool._check_own(error)
                    task = Failed(error)
            except BaseException as error:
                if self._chunks is None:
                    return  # meanwhile its end was told, see _await_input()
                task = Failed(_helpers.terminated() if self._pool._is_terminated() else error)
                task._number = number
                self._add(task)
                self._end()
                return
            task._number = number
            self._add(task)
            if self._reader is not None:
                self._reader.tell()
            if self._progress is not None:
                task.on_done(self._progress.one)

    def _add(self, task):
        self._tasks.append(task)

    def _end(self):
        self._chunks = None
        self._pool._feeders.discard(self)
        if self._reader is not None:
            self._reader.tell()
        if self._progress is not None:
            self._progress.last(self._submitted)

    def _take(self, timeout):
        """The next tasks that are done, at least one; None if none is in time."""
        return _core.take_first(self._tasks, timeout, self._pace.next())

    def __iter__(self):
        return self

    def next(self, timeout=None):
        """The next result, or the exception of its call.  ``multiprocessing.TimeoutError`` if it is
        not there in time."""
        try:
            task = self._ready.pop()
        except IndexError:
            pass
        else:
            try:
                return task.get()
            except BaseException as error:
                self._name(error, task)
                raise
        if self._is_inherited():
            if not (self._chunks or self._tasks or self._ready_chunks or length_hint(self._items)):
                raise StopIteration
            _core.refuse()
        with self._lock:
            return self._next(timeout)

    __next__ = next

    def _await_input(self, timeout):
        """Until the reader has submitted something, or the input is at its end; False: not in time."""

        def has_news():
            return self._tasks or self._chunks is None or self._pool._is_terminated()

        self._lock.release()  # the input may ask for results, too
        try:
            in_time = self._reader.wait(has_news, timeout)
        finally:
            self._lock.acquire()
        if not in_time:
            return False
        if not self._tasks and self._chunks is not None and self._pool._is_terminated():
            self._add(Failed(_helpers.terminated()))  # the reader may wait for its input for ever
            self._end()
        return True

    def _next(self, timeout):
        if timeout is not None and (timeout := _core.seconds(timeout)) is not None:
            end = time.monotonic() + timeout
        while not self._ended:
            for item in self._items:
                if type(item) is Failed:
                    self._name(item.error, self._chunk)
                    raise item.error
                return item
            if self._ready_chunks:
                task = self._ready_chunks.pop()
                try:
                    self._items = iter(self._get(task))
                    self._chunk = task
                except BaseException:
                    self._ended = self._pool._strict  # of chunks there is a generator there
                    raise
                continue
            if self._ready:
                return self._get(self._ready.pop())
            more = self._chunks is not None  # before the look at the tasks: the reader adds to them first
            if more:
                self._feed_ahead()
            if not self._tasks:
                if more and self._reader is not None:
                    if not self._await_input(timeout):
                        raise _timeout_error()
                    if timeout is not None:
                        timeout = max(0, end - time.monotonic())
                    continue
                if self._progress is not None:
                    self._progress.wait()
                raise StopIteration
            taken = self._take(timeout)
            if taken is None:
                raise _timeout_error()
            taken.reverse()
            if self._chunksize:
                self._ready_chunks = taken
                continue
            task = taken.pop()
            self._ready = taken
            if self._chunks is not None:
                self._feed_ahead()  # the workers go on while these are used
            return self._get(task)
        raise StopIteration

    def _get(self, task):
        try:
            return task.get()
        except BaseException as error:
            self._name(error, task)
            raise

    def _name(self, error, task):
        if task._number is not None:
            first = task._number * (self._chunksize or 1)
            _name_item(error, first, not self._chunksize, self._pool._strict)


_LOOK = 8  # tasks that are not done, before a look at them ends
_SHORT = 50e-6  # seconds


class IMapUnorderedIterator(IMapIterator):
    """Results as they come."""

    __class__ = _helpers.StandsFor("multiprocessing.pool", "IMapUnorderedIterator")
    _container = dict  # by number, or by themselves

    def __init__(
        self, pool, submit, chunks, chunksize, window, progress=None, ahead_bytes=BYTES_AHEAD,
        reader=None,
    ):
        # A chunk may be several calls of the library, and tells; single calls are looked at.
        self._told = chunksize or progress is not None
        self._keys = itertools.count()
        self._slow = None  # the oldest task, if it was waited for in vain
        self._set = None  # of tasks that the library watches
        self._watched = {}  # index there: number
        self._last = -1  # the highest number there
        self._indexes = itertools.count()
        self._waited_for = False  # beside a reader: what it adds tells of its end, too
        self._done = deque()
        self._there = threading.Semaphore(0)
        super().__init__(pool, submit, chunks, chunksize, window, progress, ahead_bytes, reader)

    def _add(self, task):
        if self._told:
            self._tasks[task] = task
            task.on_done(self._one_done)
        else:
            number = next(self._keys)
            self._tasks[number] = task
            if self._waited_for:
                self._tell_of(number, task)

    def _one_done(self, key):
        self._done.append(key)
        self._there.release()

    def _tell_of(self, number, task):
        task.on_done(lambda _: self._one_done(number))

    def _take(self, timeout):
        if self._told:
            return self._take_told(timeout)
        taken = _core.take_done(self._tasks, _LOOK)
        if taken:
            return taken
        tasks = self._tasks if self._reader is None else self._tasks.copy()
        first = next(iter(tasks.values()))
        if first is not self._slow:
            # Tasks end roughly in order: a short wait for the oldest costs less than to be told.
            self._slow = first
            if first.wait(_SHORT if timeout is None else min(timeout, _SHORT)):
                return _core.take_done(self._tasks, _LOOK)
        if self._reader is not None:
            return self._take_announced(timeout)
        return self._take_watched(timeout)

    def _take_watched(self, timeout):
        """Whichever is done first."""
        if self._set is None:
            self._set = _core.completed(())
        for number, task in self._tasks.items():
            if isinstance(task, Failed):
                return [self._tasks.pop(number)]
            if number > self._last:
                _core.completed_add(self._set, task)
                self._watched[next(self._indexes)] = self._last = number
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(0, end - time.monotonic())
            index = _core.completed_next(self._set, left)
            if index is None:
                return None
            task = self._tasks.pop(self._watched.pop(index), None)
            if task is not None:  # else it was seen before
                task.wait()
                return [task]

    def _take_announced(self, timeout):
        """The same where a reader adds tasks meanwhile, which may be done before."""
        end = None if timeout is None else time.monotonic() + timeout
        self._waited_for = True  # before the look at what is there: nothing is between the two
        try:
            for number, task in self._tasks.copy().items():
                if number > self._last:
                    self._last = number
                    self._tell_of(number, task)
            while True:
                left = None if end is None else max(0, end - time.monotonic())
                task = self._take_told(left)
                if task is None or task[0] is not None:  # else it was seen before, or told of twice
                    return task
        finally:
            self._waited_for = False

    def _take_told(self, timeout):
        _core.blocking(True)
        try:
            if not self._there.acquire(timeout=timeout):
                return None
        finally:
            _core.blocking(False)
        return [self._tasks.pop(self._done.popleft(), None)]
