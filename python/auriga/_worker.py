"""A worker from inside: what a process has to do before its first task and after its last.

A forked worker is a copy of the program at the moment its pool was made.  A spawned one is a fork
of a fresh interpreter (auriga._nursery), and prepares itself as ``multiprocessing.spawn`` does.
"""

import itertools
import os
import sys
import weakref


# As multiprocessing does: until then only who was spawned, and then last of all.
_ATEXIT_FIRST = runs_atexit = sys.version_info >= (3, 13)


class _Identity:
    """What ``multiprocessing`` notes about a process and its parent.

    A forked worker copies each page that it writes to, be it a count of references, and that is most of
    its start.  So what is known before the fork is made there, and ``take()`` touches little: it imports
    nothing, and calls no function that has nothing to do.
    """

    atexit = None  # the module, if its functions are the program's and not those of this process

    def __init__(self, name, daemon, me=None):
        from multiprocessing import process, util

        self.process = process
        self.util = util
        self.name = name
        self.me = me or unstarted(process.BaseProcess, daemon=daemon)
        self.parents = self.me._identity[:-1]
        self.counter = itertools.count(1)
        self.stdin = None  # what becomes sys.stdin

    def prepare(self, stdin):
        """In the program that will be forked."""
        parent = self.process.current_process()
        self.parent = self.process._ParentProcess(parent.name, os.getpid(), -1)
        self.stdin = stdin
        if runs_atexit:
            import atexit

            self.atexit = atexit

    def prepare_fresh(self, host, stdin):
        """In a process that is not a copy of the program, whose sys.stdin may be as it should be."""
        self.stdin = stdin
        self.parent = self.process._ParentProcess("MainProcess", host, -1)

    def take(self, index):
        process, util, me, parent = self.process, self.util, self.me, self.parent
        util._finalizer_registry.clear()
        if util._afterfork_registry.data:
            util._run_after_forkers()
        if self.atexit is not None:
            self.atexit._clear()
        me._name = f"{self.name}-{index + 1}"
        me._identity = *self.parents, index + 1
        main = sys.modules["threading"].main_thread()
        if hasattr(main, "_native_id"):
            main._set_native_id()
        process._process_counter = self.counter
        process._children = set()
        process._dangling.add(me)
        process._current_process = me
        me._parent_pid = parent._pid
        try:
            parent._sentinel = os.pidfd_open(parent._pid)
        except (AttributeError, OSError):
            pass
        process._parent_process = parent
        if self.stdin is None or sys.stdin is None:
            util._close_stdin()
            return
        if sys.stdin is self.stdin:
            return
        try:
            sys.stdin.close()
        except (OSError, ValueError):
            pass
        sys.stdin = self.stdin


def _log_failed_initializer():
    from concurrent.futures._base import LOGGER

    LOGGER.critical("Exception in initializer:", exc_info=True)


def unstarted(make, **kwds):
    """A process of a context, as which a worker is to see itself."""
    from multiprocessing import process

    me = make(**kwds)
    process._dangling.discard(me)  # it is none of this process
    return me


class Boot:
    """Called in each new worker process with its number."""

    identity = None  # made before the fork
    me = None  # a process of the context, as which a copy of this process sees itself

    def __init__(self, name, initializer, initargs, daemon, log):
        self.name = name
        self.initializer = initializer
        self.initargs = initargs
        self.daemon = daemon
        self.log = log

    @classmethod
    def fresh(cls, name, daemon, log, host, initializer=None, initargs=(), *, stdin=None):
        """For workers that are not copies of the program, in a process that is as they should begin."""
        global runs_atexit
        runs_atexit = runs_atexit or name.startswith("Spawn")
        boot = cls(name, initializer, initargs, daemon, log)
        boot.identity = _Identity(name, daemon)
        boot.identity.prepare_fresh(host, stdin)
        return boot

    def forked(self, make):
        """make() starts a pool whose workers are copies of this process; they inherit what is open."""
        self.identity = _Identity(self.name, self.daemon, self.me)
        fd = os.open(os.devnull, os.O_RDONLY)
        try:
            self.identity.prepare(open(fd, encoding="utf-8", closefd=False))
            return make()
        finally:
            os.close(fd)

    def __call__(self, index):
        self.identity.take(index)
        if self.initializer is None:
            return
        try:
            self.initializer(*self.initargs)
        except BaseException:
            if self.log:
                _log_failed_initializer()
                end()  # a handler may have a queue to write
                os._exit(1)
            raise


class ThreadBoot:
    """Called in each new thread with its number; False: it is of no use."""

    def __init__(self, name, initializer, initargs, daemon=True):
        import threading

        self.name = name
        self.initializer = initializer
        self.initargs = initargs
        self.daemon = daemon
        self.arrived = threading.Condition()  # guards what follows
        self.threads = weakref.WeakSet()
        self.number = 0  # of those that have come

    def __call__(self, index):
        import threading

        me = threading.current_thread()
        me.name = f"{self.name}{index}"
        me._daemonic = self.daemon  # what threads that a task starts take over
        me._auriga_index = index
        with self.arrived:
            self.threads.add(me)
            self.number += 1
            self.arrived.notify_all()
        for start, hook in (sys.setprofile, threading.getprofile()), (sys.settrace, threading.gettrace()):
            if hook is not None:  # as in each thread that threading starts
                start(hook)
        if self.initializer is None:
            return True
        try:
            self.initializer(*self.initargs)
        except BaseException:
            _log_failed_initializer()
            return False
        return True


def _finalize():
    modules = sys.modules
    util = modules.get("multiprocessing.util")
    if util is not None and (
        util._finalizer_registry or util._logger or modules["multiprocessing.process"]._children
    ):
        util._exit_function()


def end():
    """The last thing that a worker process does.  No imports: see ``_Identity``."""
    threading = sys.modules["threading"]
    try:
        if not _ATEXIT_FIRST:
            _finalize()
    finally:
        main = threading.main_thread()
        if getattr(main, "_tstate_lock", False) is None:
            main._set_tstate_lock()  # forked by a thread of C: before 3.13 _shutdown() misses this
        threading._shutdown()
        try:
            if runs_atexit:
                sys.modules["atexit"]._run_exitfuncs()
            if _ATEXIT_FIRST:
                _finalize()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (AttributeError, ValueError, OSError):
                    pass
