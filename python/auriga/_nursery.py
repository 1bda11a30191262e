"""Spawned workers: forks of a fresh interpreter that has seen nothing of the program.

The first pool that needs one starts a *template* (``auriga._template``): an interpreter that imports
what every worker needs, and then forks a nursery for each pool that asks it.  A nursery only forks
workers; each loads the program's main module by itself, as ``multiprocessing.spawn`` does, unless the
start method is forkserver and the template has loaded it.

Where the template cannot be used the nursery is an interpreter of its own: the host executes
``python -c "from auriga._nursery import main; main(...)"`` for that pool.
"""

import os

_inherited = ()  # in a worker: the descriptors that came with its pool


class _DupFd:
    """A descriptor in what the host sends: which one of those that go with it."""

    def __init__(self, index):
        self.index = index

    def detach(self):
        return _inherited[self.index]


class _Popen:
    """Stands for the process that is being spawned, while objects for it are pickled."""

    DupFd = _DupFd

    def __init__(self):
        self.fds = []

    def duplicate_for_child(self, fd):
        self.fds.append(fd)
        return len(self.fds) - 1


def program(call):
    """What an interpreter has to be given with -c to run a call of this package."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return f"import sys; sys.path.insert(0, {package!r}); {call}"


def interpreter():
    """The interpreter of this program, and its options."""
    from multiprocessing import spawn, util

    return [spawn.get_executable(), *util._args_from_interpreter_flags()]


def _write(start_method, boot):
    """(file, descriptors that go with it, preparation) of a pool whose workers run boot."""
    from multiprocessing import context, reduction, spawn

    popen = _Popen()
    data = spawn.get_preparation_data("auriga-worker")
    data["start_method"] = start_method
    fd = os.memfd_create("auriga-nursery", os.MFD_CLOEXEC)
    try:
        with os.fdopen(fd, "wb", closefd=False) as out:
            context.set_spawning_popen(popen)
            try:
                reduction.dump(data, out)
                reduction.dump(boot, out)
            finally:
                context.set_spawning_popen(None)
    except BaseException:
        os.close(fd)
        raise
    return fd, popen.fds, data


def start(start_method, boot, make):
    """make(argv=, fds=) or make(fds=): the pool, by the template or by a program of its own."""
    from multiprocessing import resource_tracker

    from . import _template

    fd, others, data = _write(start_method, boot)
    try:
        pool = _template.start(start_method, data, (fd, *others), make)
        if pool is not None:
            return pool
        tracker = resource_tracker.getfd()
        call = f"from auriga._nursery import main; main({fd}, {tracker}, {tuple(others)})"
        argv = [*interpreter(), "-c", program(call)]
        argv = tuple(os.fsencode(arg) for arg in argv)
        return make(argv=argv, fds=(fd, tracker, *others))
    finally:
        os.close(fd)


class _ExecBoot:
    """Called in each new worker: first its environment, then what the host sent."""

    def __init__(self, fd, others):
        self.fd = fd
        self.others = others

    def __call__(self, index):
        import io
        import pickle
        from multiprocessing import process, spawn

        global _inherited
        _inherited = self.others
        data = io.BytesIO(os.pread(self.fd, os.fstat(self.fd).st_size, 0))
        os.close(self.fd)
        process.current_process()._inheriting = True
        try:
            spawn.prepare(pickle.load(data))
            boot = pickle.load(data)
        finally:
            del process.current_process()._inheriting
        boot.fresh = True
        authkey = process.current_process().authkey
        boot(index)
        process.current_process().authkey = authkey


def load(tracker):
    """Imports before the fork, once for all workers."""
    import io  # noqa: F401
    import multiprocessing.reduction  # noqa: F401
    import multiprocessing.spawn  # noqa: F401
    import multiprocessing.util  # noqa: F401
    import pickle  # noqa: F401
    import pkgutil  # noqa: F401  runpy asks for it when it loads the main module
    import traceback  # noqa: F401
    from multiprocessing import resource_tracker

    from . import _core, _worker  # noqa: F401

    resource_tracker._resource_tracker._fd = tracker


def main(fd, tracker, others):
    """The program of a nursery of its own."""
    import sys

    from . import _core

    load(tracker)
    del sys.path[0]
    _core.run_nursery(_ExecBoot(fd, others))
