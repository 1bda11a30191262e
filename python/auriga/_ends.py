"""How pools end: by ``terminate()``, with the program, or because nobody has them any more."""

import os

from . import _core

_THREADS = 0
_GRACE = 0.5  # seconds in which idle workers end by themselves; what they hold up is cut off then


def terminate(core):
    """Ends the workers, and waits for that; a call that runs in a thread goes on."""
    if core.kind == _THREADS:
        core.terminate(False)
        return
    try:
        # An idle worker of the standard library's pool is told to end before it is made to, and so
        # mostly comes to write what tasks have put in queues, and to what runs at its exit.
        if core.is_idle():
            core.close()
            core.join(_GRACE)
    finally:
        core.terminate(False)
    core.join(None)


def end_now(finalizer, core):
    """What ``Pool.terminate()`` does, once; not in a fork of the process that made the pool."""
    if finalizer.still_active() and finalizer._pid == os.getpid():
        finalizer.cancel()
        terminate(core)


# Pools that are gone, but not their calls, which run to their ends: for each the finalizer that ends
# it with the program.
_left = {}


def _lose(core):
    """The object of the pool is gone, or the program ends."""
    from multiprocessing import util

    drop_ended()
    if util.is_exiting() or core.is_idle():
        terminate(core)
        return
    core.close()
    if core.kind != _THREADS:
        core = core.rest()  # tasks of threads need the whole
    _left[core] = util.Finalize(None, terminate, args=(core,), exitpriority=15)


def drop_ended():
    for core, finalizer in list(_left.items()):
        # a fork has no hand in the pools of its parent
        if finalizer._pid != os.getpid() or core.has_ended():
            finalizer.cancel()
            _left.pop(core, None)


def watch(pool, core):
    """The finalizer of a pool, which ends it when nobody has it, or with the program."""
    from multiprocessing import util

    drop_ended()
    # Not of the iterators: they hold the pool, which then would live as long as the program.
    return util.Finalize(pool, _lose, args=(core,), exitpriority=15)
