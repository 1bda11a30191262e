"""A worker from inside: what a process has to do before its first task and after its last.

A forked worker is a copy of the program at the moment its pool was made.  A spawned one is a fork
of a fresh interpreter (auriga._nursery), and prepares itself as ``multiprocessing.spawn`` does.
"""

import itertools
import os
import sys


def _become_child(name, daemon, host, fresh):
    """What ``multiprocessing`` notes about the process it runs in."""
    from multiprocessing import process, util

    parent = process.current_process()
    util._finalizer_registry.clear()
    util._run_after_forkers()
    me = process.BaseProcess(name=name, daemon=daemon)
    process._process_counter = itertools.count(1)
    process._children = set()
    process._current_process = me
    me._parent_pid = host
    try:
        sentinel = os.pidfd_open(host)
    except (AttributeError, OSError):
        sentinel = -1
    process._parent_process = process._ParentProcess(
        "MainProcess" if fresh else parent.name, host, sentinel
    )
    util._close_stdin()


def _log_failed_initializer():
    from concurrent.futures._base import LOGGER

    LOGGER.critical("Exception in initializer:", exc_info=True)


class Boot:
    """Called in each new worker process with its number."""

    def __init__(self, name, initializer, initargs, daemon, log):
        self.name = name
        self.initializer = initializer
        self.initargs = initargs
        self.daemon = daemon
        self.log = log
        self.host = os.getpid()
        self.fresh = False

    def __call__(self, index):
        _become_child(f"{self.name}-{index + 1}", self.daemon, self.host, self.fresh)
        if self.initializer is None:
            return
        try:
            self.initializer(*self.initargs)
        except BaseException:
            if self.log:
                _log_failed_initializer()
                os._exit(1)
            raise


class ThreadBoot:
    """Called in each new thread with its number; False: it is of no use."""

    def __init__(self, name, initializer, initargs):
        self.name = name
        self.initializer = initializer
        self.initargs = initargs

    def __call__(self, index):
        import threading

        threading.current_thread().name = f"{self.name}{index}"
        if self.initializer is None:
            return True
        try:
            self.initializer(*self.initargs)
        except BaseException:
            _log_failed_initializer()
            return False
        return True


def end():
    """The last thing that a worker process does."""
    import threading

    util = sys.modules.get("multiprocessing.util")
    try:
        if util is not None:
            util._exit_function()
    finally:
        main = threading.main_thread()
        if getattr(main, "_tstate_lock", False) is None:
            main._set_tstate_lock()  # forked by a thread of C: before 3.13 _shutdown() misses this
        threading._shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, ValueError, OSError):
                pass
