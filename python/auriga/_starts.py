"""Start methods: what ``get_context()`` returns has pools of this package."""

import functools
import multiprocessing

from ._pool import Pool


@functools.cache
def with_pool(context, pool):
    """The context of ``multiprocessing``, but for its ``Pool``."""

    def make(self, processes=None, initializer=None, initargs=(), maxtasksperchild=None):
        return pool(processes, initializer, initargs, maxtasksperchild, context=self)

    make.__name__, make.__doc__ = "Pool", pool.__doc__
    kind = type(context)
    return type(kind.__name__, (kind,), {"Pool": make, "__module__": kind.__module__})()


def get_context(method=None):
    """``multiprocessing.get_context()``, with the pools of this package.

    method: "fork", "spawn" or "forkserver"; by default what ``get_start_method()`` says.

    >>> with auriga.get_context("spawn").Pool(2) as pool:
    ...     pool.map(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    return with_pool(multiprocessing.get_context(method), Pool)
