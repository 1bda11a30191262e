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
HEAD_MAX = 1 << 16  # in a message to the template


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


class State:
    """What a pool's workers are told: plain values, the head, and what is in pickles for each worker to load.

    In the file are the size of the head (8 bytes), the head, and pickles.
    """

    def __init__(self, start_method, boot):
        import marshal
        from multiprocessing import spawn

        data = spawn.get_preparation_data("auriga-worker")
        data["start_method"] = start_method
        self.data = data
        self.about = data, (boot.name, boot.daemon, boot.log, os.getpid())
        self.boot = boot
        self.file = self.fds = None
        try:
            self.head = marshal.dumps(self.about)
        except ValueError:  # sys.path holds objects, for instance
            self.head = b""

    def write(self):
        """The descriptors of the file and of what goes with it."""
        from multiprocessing import context, reduction

        if self.fds is not None:
            return self.fds
        popen = _Popen()
        fd = os.memfd_create("auriga-nursery", os.MFD_CLOEXEC)
        self.file = fd
        with os.fdopen(fd, "wb", closefd=False) as out:
            context.set_spawning_popen(popen)
            try:
                out.write(len(self.head).to_bytes(8, "little") + self.head)
                if not self.head:
                    reduction.dump(self.about, out)
                if self.boot.initializer is not None:
                    reduction.dump((self.boot.initializer, self.boot.initargs), out)
            finally:
                context.set_spawning_popen(None)
        self.fds = fd, *popen.fds
        return self.fds

    def common(self, has_main):
        """What the template can do for all workers: the head, or nothing of use."""
        if self.boot.initializer is not None or len(self.head) >= HEAD_MAX:
            return b""
        if self.data["log_to_stderr"] or "log_level" in self.data:
            return b""  # each time would add a handler
        has_main = has_main or not any(key.startswith("init_main") for key in self.data)
        return self.head if has_main else b""

    def close(self):
        if self.file is not None:
            os.close(self.file)
            self.file = None


def start(start_method, boot, make):
    """make(argv=, fds=) or make(fds=): the pool, by the template or by a program of its own."""
    from . import _template

    line = _template.ask(start_method)
    state = None
    try:
        state = State(start_method, boot)
        pool = _template.start(start_method, state, line, make)
        if pool is not None:
            return pool
        fds = state.write()
        tracker = tracker_fd()
        call = f"from auriga._nursery import main; main({tracker}, {fds})"
        argv = [*interpreter(), "-c", program(call)]
        argv = tuple(os.fsencode(arg) for arg in argv)
        return make(argv=argv, fds=(tracker, *fds))
    finally:
        if line is not None:
            line.close()
        if state is not None:
            state.close()


def prepare(head):
    """In the template: this process as the head wants it, and a Boot for workers like that; or None."""
    import marshal
    from multiprocessing import spawn

    from . import _worker

    data, about = marshal.loads(head)
    try:
        spawn.prepare({key: value for key, value in data.items() if not key.startswith("init_main")})
    except OSError:
        return None  # the working directory: each worker will say so
    return _worker.Boot.fresh(*about, stdin=sys.stdin)


class ExecBoot:
    """Called in each new worker: first its environment, then what the host sent.

    With the descriptors of a state's file, or without if it is what the template has been prepared for.
    """

    def __init__(self, *fds):
        self.fds = fds
        self.prepared = None

    def __call__(self, index, *fds):
        fds = fds or self.fds
        boot = self._load(*fds) if fds else self.prepared
        boot(index)

    def _load(self, fd, *others):
        import io
        import marshal
        import pickle
        from multiprocessing import process, spawn

        from . import _worker

        global _inherited
        _inherited = others
        file = io.BytesIO(os.pread(fd, os.fstat(fd).st_size, 0))
        os.close(fd)
        head = file.read(int.from_bytes(file.read(8), "little"))
        process.current_process()._inheriting = True
        try:
            data, about = marshal.loads(head) if head else pickle.load(file)
            spawn.prepare(data)
            more = pickle.load(file) if file.tell() < len(file.getbuffer()) else ()
        finally:
            del process.current_process()._inheriting
        return _worker.Boot.fresh(*about, *more)


def load(tracker):
    """Imports before the fork, once for all workers."""
    import atexit
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
    atexit._clear()  # what is registered from now on is the program's


def main(tracker, fds):
    """The program of a nursery of its own."""
    from . import _core

    load(tracker)
    del sys.path[0]
    _core.run_nursery(ExecBoot(*fds))
