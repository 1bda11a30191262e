"""Spawned workers: forks of a fresh interpreter that has seen nothing of the program.

The first pool that needs one starts a *template* (``auriga._template``): an interpreter that imports
what every worker needs, and then forks a nursery for each pool that asks it.  A nursery only forks
workers; each loads the program's main module by itself, as ``multiprocessing.spawn`` does, unless the
start method is forkserver and the template has loaded it.

Where the template cannot be used the nursery is an interpreter of its own: the host executes
``python -c "from auriga._nursery import main; main(...)"`` for that pool.
"""

import os
import sys

_inherited = ()  # in a worker: the descriptors that came with its pool
_prepared = None  # in the template: what _prepare() returned last


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


def tracker_fd():
    """What resource_tracker.getfd() returns, which wakes the tracker each time to see whether it is there."""
    import select
    from multiprocessing import resource_tracker

    fd = resource_tracker._resource_tracker._fd
    if fd is not None:
        poll = select.poll()
        poll.register(fd, 0)  # says so by itself if nobody can read it
        if not poll.poll(0):
            return fd
    return resource_tracker.getfd()


def _write(start_method, boot):
    """(file, descriptors that go with it, preparation) of a pool whose workers run boot.

    The file is the size of its head (8 bytes), the head, and pickles.  The head is plain values, so that a
    process which is not a worker may read it; what is in pickles is each worker's to load.
    """
    import marshal
    from multiprocessing import context, reduction, spawn

    popen = _Popen()
    data = spawn.get_preparation_data("auriga-worker")
    data["start_method"] = start_method
    fd = os.memfd_create("auriga-nursery", os.MFD_CLOEXEC)
    try:
        with os.fdopen(fd, "wb", closefd=False) as out:
            context.set_spawning_popen(popen)
            try:
                about = data, (boot.name, boot.daemon, boot.log, os.getpid())
                try:
                    head = marshal.dumps(about)
                except ValueError:  # sys.path holds objects, for instance
                    head = b""
                out.write(len(head).to_bytes(8, "little") + head)
                if not head:
                    reduction.dump(about, out)
                if boot.initializer is not None:
                    reduction.dump((boot.initializer, boot.initargs), out)
            finally:
                context.set_spawning_popen(None)
    except BaseException:
        os.close(fd)
        raise
    return fd, popen.fds, data


def start(start_method, boot, make):
    """make(argv=, fds=) or make(fds=): the pool, by the template or by a program of its own."""
    from . import _template

    fd, others, data = _write(start_method, boot)
    try:
        pool = _template.start(start_method, data, (fd, *others), make)
        if pool is not None:
            return pool
        tracker = tracker_fd()
        call = f"from auriga._nursery import main; main({fd}, {tracker}, {tuple(others)})"
        argv = [*interpreter(), "-c", program(call)]
        argv = tuple(os.fsencode(arg) for arg in argv)
        return make(argv=argv, fds=(fd, tracker, *others))
    finally:
        os.close(fd)


def _prepare(head):
    """(head, whether it names a main module, Boot) once this process is as a head wants it; or None."""
    import marshal
    from multiprocessing import spawn

    from . import _worker

    if not head:
        return None
    data, about = marshal.loads(head)
    if data["log_to_stderr"] or "log_level" in data:
        return None  # each time would add a handler
    ours = {key: value for key, value in data.items() if not key.startswith("init_main")}
    try:
        spawn.prepare(ours)
    except OSError:
        return None  # the working directory is gone: each worker will say so
    return head, len(ours) < len(data), _worker.Boot.fresh(*about, stdin=sys.stdin)


class _ExecBoot:
    """Called in each new worker: first its environment, then what the host sent."""

    boot = None  # with the environment, if that is as it should be before the fork

    def __init__(self, fd, others):
        self.fd = fd
        self.others = others

    def prepare(self, has_main):
        """Before the fork, in the template: what no worker has to do for itself.

        Two pools of a program mostly have this in common, so what the last one needed is kept.
        """
        global _prepared
        size = os.fstat(self.fd).st_size
        file = os.pread(self.fd, size, 0)
        end = 8 + int.from_bytes(file[:8], "little")
        if _prepared is None or _prepared[0] != file[8:end]:
            _prepared = _prepare(file[8:end])
        if _prepared is not None and end == size and (has_main or not _prepared[1]):
            self.boot = _prepared[2]

    def __call__(self, index):
        boot = self.boot
        if boot is None:
            boot = self._load()
        os.close(self.fd)
        boot(index)

    def _load(self):
        import io
        import marshal
        import pickle
        from multiprocessing import process, spawn

        from . import _worker

        global _inherited
        _inherited = self.others
        file = io.BytesIO(os.pread(self.fd, os.fstat(self.fd).st_size, 0))
        head = file.read(int.from_bytes(file.read(8), "little"))
        process.current_process()._inheriting = True
        try:
            data, about = marshal.loads(head) if head else pickle.load(file)
            spawn.prepare(data)
            more = pickle.load(file) if file.tell() < len(file.getbuffer()) else (None, ())
        finally:
            del process.current_process()._inheriting
        return _worker.Boot.fresh(*about, *more)


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
    from . import _core

    load(tracker)
    del sys.path[0]
    _core.run_nursery(_ExecBoot(fd, others))
