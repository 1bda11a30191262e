"""The workers of a pool as others see them: process ids, names, who is alive.

Programs read ``pool._pool``, ``executor._processes`` and ``executor._threads`` of the standard library's pools to
watch or end their workers.  Here these are made when somebody asks, and show who is there at that moment; to
change them changes nothing.
"""

import os
import signal
import threading
import weakref
from multiprocessing.connection import wait

_THREADS = 0
_START = 10  # seconds for workers that are being started, and for the word of one's end


class WorkerProcess:
    """A worker process, as far as ``multiprocessing.Process`` tells of one."""

    _code = None  # its exitcode, once it was asked for

    def __init__(self, name, pid, daemon, core):
        self.name = name
        self.pid = pid
        self.daemon = daemon
        self._core = weakref.ref(core)  # who has a worker does not keep its pool
        self._by = None  # the signal that it was sent here
        try:
            self.sentinel = os.pidfd_open(pid)
            weakref.finalize(self, os.close, self.sentinel).atexit = False
        except ProcessLookupError:
            self.sentinel = None  # it has ended

    @property
    def ident(self):
        return self.pid

    def is_alive(self):
        """Whether it has not ended."""
        return self.sentinel is not None and not wait([self.sentinel], 0)

    @property
    def exitcode(self):
        """None while it lives; then its exit status, or the negative number of the signal that ended it.

        If first asked for when the pool is gone, or another one has ended in its place, that is no longer known:
        then it is the signal that this object has sent, or 255, as ``multiprocessing`` says of such a process."""
        if self.is_alive():
            return None
        if self._code is None:
            core = self._core()
            status = None if core is None else core.exit_status(self.pid, _START)
            if status is not None:
                self._code = os.waitstatus_to_exitcode(status)
            else:
                self._code = 255 if self._by is None else -self._by
        return self._code

    def join(self, timeout=None):
        """Waits until it has ended, or for timeout seconds."""
        if self.sentinel is not None:
            wait([self.sentinel], timeout)

    def _send(self, number):
        if not self.is_alive():
            return
        self._by = number
        try:
            signal.pidfd_send_signal(self.sentinel, number)
        except ProcessLookupError:
            pass

    def terminate(self):
        """Sends SIGTERM.  What it ran is lost, as if it had died by itself."""
        self._send(signal.SIGTERM)

    def kill(self):
        """Sends SIGKILL."""
        self._send(signal.SIGKILL)

    def __repr__(self):
        state = "started" if self.is_alive() else f"stopped exitcode={self.exitcode}"
        daemon = " daemon" if self.daemon else ""
        return f"<{type(self).__name__} name={self.name!r} pid={self.pid} {state}{daemon}>"


def processes(core, boot, known):
    """Those of a pool.  known: {pid: WorkerProcess}, those that were seen before, and from now on."""
    if core is None or core.forked:
        return []
    pids = core.pids(_START)
    for number, pid in enumerate(pids, 1):
        if pid is not None and pid not in known:
            known[pid] = WorkerProcess(f"{boot.name}-{number}", pid, boot.daemon, core)
    for pid in set(known).difference(pids):
        known.pop(pid, None)
    return [known[pid] for pid in pids if pid is not None]


class WorkerThread:
    """A thread of a pool, as far as ``threading.Thread`` tells of one."""

    exitcode = None

    def __init__(self, thread):
        self.name = thread.name
        self.ident = thread.ident
        self.native_id = thread.native_id
        self.daemon = thread.daemon
        self._thread = thread
        self._ended = thread.__dict__.setdefault("_auriga_ended", threading.Event())
        self.is_alive()

    def is_alive(self):
        """Whether it has not ended."""
        if threading._active.get(self.ident) is not self._thread:
            self._ended.set()
        return not self._ended.is_set()

    def join(self, timeout=None):
        """Waits until it has ended, or for timeout seconds."""
        self._ended.wait(timeout)

    def __eq__(self, other):
        return isinstance(other, WorkerThread) and self._thread is other._thread

    def __hash__(self):
        return hash(self._thread)

    def __repr__(self):
        state = "started" if self.is_alive() else "stopped"
        return f"<{type(self).__name__}({self.name}, {state} {self.ident})>"


def threads(core, boot, n):
    """Those of a pool that have not ended.  n: so many are being started, which are waited for."""
    if core is None or core.forked:
        return []
    with boot.arrived:
        boot.arrived.wait_for(lambda: boot.number >= n, _START)
        found = sorted(boot.threads, key=lambda thread: thread._auriga_index)
    return [one for one in map(WorkerThread, found) if one.is_alive()]


def of_pool(pool):
    """The workers of a Pool, in their order."""
    if pool._core.kind == _THREADS:
        return threads(pool._core, pool._boot, pool._processes if pool._state == "RUN" else 0)
    return processes(pool._core, pool._boot, pool.__dict__.setdefault("_known", {}))


class Queued:
    """The calls of an executor of threads that have not begun: how many."""

    def __init__(self, core):
        self._core = core

    def qsize(self):
        return 0 if self._core is None else self._core.queued()

    def empty(self):
        return self.qsize() == 0


def unfinished(core):
    """{number: None} for each call that has not ended."""
    stats = core.stats() if core is not None and not core.forked else None
    if stats is None:
        return {}
    ended = stats["done"] + stats["failed"] + stats["cancelled"]
    return dict.fromkeys(range(max(0, stats["submitted"] - ended)))
