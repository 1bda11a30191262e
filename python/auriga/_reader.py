"""The thread that reads the input of an iterator, where that may wait for something."""

import threading
import weakref
from collections import deque
from contextvars import copy_context

from . import _core

_PLAIN = [], (), range(0), set(), frozenset(), {}, "", b"", bytearray(), deque()
_AT_ONCE = frozenset(map(type, _PLAIN)) | frozenset(type(iter(plain)) for plain in _PLAIN)


def reader_of(iterable):
    """One for an input that may wait, be it for results of the iterator that it is the input of; else None:
    whoever takes results reads it for less.  (In a task the library does not know whom the input waits for.  But a
    task that waits for its input tells that it is blocked, so another thread stands in for it.)"""
    return None if type(iterable) in _AT_ONCE else Reader()


class Reader:
    """Its thread has the iterator only while it reads for it, so that one that nobody has any more can go."""

    def start(self, iterator):
        """False: there are no threads to be had."""
        self._wanted = threading.Event()
        self._news = threading.Condition()
        self._told = True  # False: somebody waits for news and has not been told of any
        self._window = 0
        forks = _core.forks()  # in a fork there is no thread to be told, which may have had the lock of the event
        self._iterator = weakref.ref(
            iterator, lambda _: self._wanted.set() if forks == _core.forks() else None
        )
        run = copy_context().run  # the input sees the variables of who gave it
        self._thread = threading.Thread(target=run, args=(self._run,), daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            return False
        return True

    def _run(self):
        while True:
            self._wanted.wait()
            self._wanted.clear()
            iterator = self._iterator()
            if iterator is None:
                return
            iterator._feed(self._window)
            if iterator._chunks is None:
                return
            del iterator

    def ask(self, window):
        """Reads until so many tasks are under way."""
        if self._window != float("inf"):
            self._window = window
            self._wanted.set()

    def read_all(self):
        """Returns at the end of the input."""
        self.ask(float("inf"))
        self._thread.join()

    def tell(self):
        """There is something new."""
        # Who waits has said so before the look, and this comes behind the news.  Once is enough: whoever is told
        # may wait for the GIL for a while, in which much more may come.
        if not self._told:
            with self._news:
                self._told = True
                self._news.notify_all()

    def wait(self, has_news, timeout):
        """Until there is; whether it was in time."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("the input of an iterator waits for a result that needs more of it")

        def look():
            self._told = False
            return has_news()

        _core.blocking(True)
        try:
            with self._news:
                return bool(self._news.wait_for(look, timeout))
        finally:
            _core.blocking(False)
