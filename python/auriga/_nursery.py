"""Spawned workers: forks of a fresh interpreter that has seen nothing of the program.

The host executes ``python -c "from auriga._nursery import main; main(...)"`` once for each pool.
That process imports what every worker needs, and then only forks; each worker loads the program's
main module by itself, as ``multiprocessing.spawn`` does.
"""

import os
import sys


class _Popen:
    """Stands for the process that is being spawned, while objects for it are pickled."""

    def __init__(self):
        from multiprocessing.popen_spawn_posix import _DupFd

        self.DupFd = _DupFd
        self.fds = []

    def duplicate_for_child(self, fd):
        self.fds.append(fd)
        return fd


def command(start_method, boot):
    """(argv, descriptors, descriptor to close afterwards) of a nursery whose workers run boot."""
    from multiprocessing import context, reduction, resource_tracker, spawn, util

    popen = _Popen()
    data = spawn.get_preparation_data("auriga-worker")
    data["start_method"] = start_method
    tracker = resource_tracker.getfd()
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
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = (
        f"import sys; sys.path.insert(0, {package!r}); "
        f"from auriga._nursery import main; main({fd}, {tracker})"
    )
    argv = [spawn.get_executable(), *util._args_from_interpreter_flags(), "-c", program]
    return tuple(os.fsencode(arg) for arg in argv), (fd, tracker, *popen.fds), fd


class _ExecBoot:
    """Called in each new worker: first its environment, then what the host sent."""

    def __init__(self, fd):
        self.fd = fd

    def __call__(self, index):
        import io
        import pickle
        from multiprocessing import process, spawn

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


def main(fd, tracker):
    """Becomes the nursery; does not return."""
    import multiprocessing.reduction  # noqa: F401  before the fork: once for all workers
    import multiprocessing.spawn  # noqa: F401
    import multiprocessing.util  # noqa: F401
    import traceback  # noqa: F401
    from multiprocessing import resource_tracker

    from . import _core, _worker  # noqa: F401

    del sys.path[0]
    resource_tracker._resource_tracker._fd = tracker
    _core.run_nursery(_ExecBoot(fd))
