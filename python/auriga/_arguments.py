"""What arguments may be, and what is said of others.

An error has the class that it has in the standard library, if that knows the argument.  In
``auriga.stdlib`` (strict) it has that text, too; here it says as well what was given.
"""

import itertools
import math
import operator
import sys

from . import _core

WORKERS_MAX, RETRIES_MAX, TASKS_MAX = 4096, 65534, 2**32 - 1  # of the library


def _not(value):
    import reprlib

    short = reprlib.Repr()
    short.maxother = short.maxstring = short.maxlong = 60
    return f", not {short.repr(value)}"


def refuse(kind, text, value, strict=False):
    """The error of an argument; text says what is accepted."""
    return kind(text if strict else text + _not(value))


def integer(name, value, accepted="an int"):
    """What is an int, or has ``__index__``."""
    if not hasattr(type(value), "__index__"):
        raise refuse(TypeError, f"{name} must be {accepted}", value)
    return operator.index(value)


def count(name, value, least=0, most=None, none=None, accepted="an int"):
    """A number of something; none: what None stands for, if it may be given."""
    if value is None and none is not None:
        return none
    number = integer(name, value, accepted if none is None else f"{accepted} or None")
    if number < least:
        raise refuse(ValueError, f"{name} must be at least {least}", value)
    if most is not None and number > most:
        raise refuse(ValueError, f"{name} must be at most {most}", value)
    return number


def nanoseconds(timeout):
    """The time limit of an item; 0: none."""
    seconds = _core.seconds(timeout)
    if seconds is None:
        return 0
    if seconds <= 0:
        raise refuse(ValueError, "timeout must be more than 0 seconds", timeout)
    return max(1, int(seconds * 1e9))


def retries(value):
    return count("retries", value, 0, RETRIES_MAX, none=0)


def memory_max(value):
    return count("memory_max", value, 0, 2**64 - 1, none=0, accepted="an int, in bytes,")


def callbacks(callback, error_callback):
    """Both, where they are not called by the thread that gives them."""
    for name, given in ("callback", callback), ("error_callback", error_callback):
        if given is not None and not callable(given):
            raise refuse(TypeError, f"{name} must be a callable or None", given)


def chunksize(value, strict):
    """That of a map or an iterator."""
    if not strict:
        value = min(integer("chunksize", value), sys.maxsize)
    if value < 1:
        raise ValueError(f"Chunksize must be 1+, not {value}")
    return value


def executors_chunksize(value, strict):
    """That of ``Executor.map()``, to processes."""
    if not strict:
        value = min(integer("chunksize", value), sys.maxsize)
    if value < 1:
        raise refuse(ValueError, "chunksize must be >= 1.", value, strict)
    # Its error is the one that comes of others there.
    (itertools.batched if sys.version_info >= (3, 13) else itertools.islice)((), value)
    return value


def buffersize(value, strict):
    if value is None:
        return None
    if not isinstance(value, int):
        raise refuse(TypeError, "buffersize must be an integer or None", value, strict)
    if value < 1:
        raise refuse(ValueError, "buffersize must be None or > 0", value, strict)
    return min(value, sys.maxsize)


def initializer(function, args, strict):
    if function is not None and not callable(function):
        raise refuse(TypeError, "initializer must be a callable", function, strict)
    if function is not None and not strict:
        try:
            iter(args)
        except TypeError:
            raise refuse(TypeError, "initargs must be an iterable of arguments", args) from None


def max_tasks(value, strict):
    """That of a Pool; 0: no limit."""
    if value is None:
        return 0
    if not isinstance(value, int) or value <= 0:
        raise refuse(ValueError, "maxtasksperchild must be a positive int or None", value, strict)
    return min(value, TASKS_MAX)  # nobody gets so far


def executors_max_tasks(value, strict):
    if not isinstance(value, int):
        raise refuse(TypeError, "max_tasks_per_child must be an integer", value, strict)
    if value <= 0:
        raise refuse(ValueError, "max_tasks_per_child must be >= 1", value, strict)


def context(value, name, strict):
    if strict:
        value.get_start_method  # the attribute's error is the one that comes of others there
    elif not hasattr(value, "get_start_method"):
        text = f"{name} must be what multiprocessing.get_context() returns, or None"
        raise refuse(AttributeError, text, value)


# ---- numbers of workers --------------------------------------------------------------------------


def processes(value, strict):
    """Those of a Pool."""
    if value is None:
        import os

        return getattr(os, "process_cpu_count", os.cpu_count)() or 1
    if not strict:
        value = integer("processes", value, "an int or None")
    if value < 1:
        if strict or value < 0:
            raise refuse(ValueError, "Number of processes must be at least 1", value, strict)
        _warn_of_none()
        return 1
    if value > WORKERS_MAX:
        raise refuse(ValueError, f"Number of processes must be at most {WORKERS_MAX}", value)
    return operator.index(value)


def _warn_of_none():
    import warnings

    level = 1
    while sys._getframe(level).f_globals["__name__"].startswith("auriga."):
        level += 1  # to who has made the pool
    text = "a pool of 0 workers was asked for; it gets 1"
    warnings.warn(text, RuntimeWarning, stacklevel=level + 1)


def max_workers(value, strict, threads):
    """Those of an executor.  Of threads there may be half a one, as of an odd number of CPUs: it counts."""
    if not strict and not (threads and hasattr(type(value), "__ceil__")):
        value = integer("max_workers", value, "an int or None")
    if value <= 0:
        raise refuse(ValueError, "max_workers must be greater than 0", value, strict)
    if not threads:
        operator.index(value)
    elif value != value:
        raise refuse(ValueError, "max_workers must be greater than 0", value)
    if value > WORKERS_MAX:
        raise refuse(ValueError, f"max_workers must be <= {WORKERS_MAX}", value)
    return value


def workers_of(max_workers):
    """As many as there are of max_workers that was accepted."""
    return math.ceil(max_workers)
