"""What the extension module asks of Python: pickles, exceptions, names of functions.

Imported by ``auriga._core`` itself, so it imports nothing that takes long.  Whatever is rare is
imported where it happens.
"""

import importlib
import sys
import weakref
from _pickle import PickleBuffer, Pickler, PicklingError, loads as _loads
from functools import partial
from io import BytesIO
from os import getpid
from time import monotonic
from types import BuiltinFunctionType, FunctionType, MethodType

_APART = 1 << 16  # bytes; smaller buffers stay inside the pickle
_POOL_ERRORS, _BY_VALUE = 8, 128  # of core.h

# ---- pickles -----------------------------------------------------------------------------------

_table = None
_table_key = None


def _reducers():
    """The reducers of ``multiprocessing``, if it is loaded: only then its objects exist."""
    global _table, _table_key
    reduction = sys.modules.get("multiprocessing.reduction")
    if reduction is None:
        return None
    import copyreg

    pickler = reduction.ForkingPickler
    key = [*copyreg.dispatch_table.values(), *pickler._extra_reducers.values()]
    if _table_key != key:
        _table = {memoryview: _reduce_memory, **copyreg.dispatch_table, **pickler._extra_reducers}
        _table_key = key
    return _table


def _reduce_memory(view):
    item = memoryview(bytes(view.itemsize))
    try:
        item.cast(view.format)
    except ValueError:
        raise TypeError(f"cannot pickle a memoryview of format {view.format!r}") from None
    if view.nbytes == 0:
        if view.ndim != 1:
            raise TypeError(f"cannot pickle a memoryview of shape {view.shape}")
        return _no_memory, (item.tobytes(), view.format)
    buffer = view
    if not view.c_contiguous:
        buffer = view.tobytes() if view.readonly else bytearray(view.tobytes())
    return _memory, (PickleBuffer(buffer), view.format, view.shape)


def _memory(buffer, format, shape):
    return memoryview(buffer).cast("B").cast(format, shape)


def _no_memory(item, format):
    return memoryview(item).cast(format)[:0]


def _dump(obj, buffers, table, kind=Pickler):
    def apart(buffer):
        if buffers is None:
            return True
        with buffer.raw() as view:
            if view.nbytes < _APART:
                return True
        buffers.append(buffer)
        return False

    out = BytesIO()
    pickler = kind(out, protocol=5, buffer_callback=apart)
    if table is not None:
        pickler.dispatch_table = table
    pickler.dump(obj)
    return out.getvalue()


def dumps(obj, buffers, by_value=False):
    """A pickle of obj; its large buffers are appended to the list instead, if there is one.
    by_value: what pickle does not find by its name travels as cloudpickle writes it."""
    table = _reducers()
    try:
        return _dump(obj, buffers, table)
    except TypeError:
        if table is not None:
            raise
    except (AttributeError, PicklingError) as error:
        if not by_value or not str(error).startswith(("Can't pickle", "Can't get local object")):
            raise
        kind = _by_value_kind(error)
        if buffers is not None:
            del buffers[:]
        return _dump(obj, buffers, None, kind)
    # Sockets and the like: the reducers come with multiprocessing.
    import multiprocessing.reduction  # noqa: F401

    if buffers is not None:
        del buffers[:]
    return dumps(obj, buffers, by_value)


def _cloudpickle():
    """The module, or the copy of it that joblib has, if that is loaded."""
    try:
        return importlib.import_module("cloudpickle")
    except ImportError:
        if "joblib" not in sys.modules:
            raise
    return importlib.import_module("joblib.externals.cloudpickle")


def _by_value_kind(error):
    """cloudpickle's pickler, with our reducers; the error if there is none."""
    import multiprocessing.reduction  # noqa: F401

    try:
        CloudPickler = _cloudpickle().CloudPickler
    except ImportError:
        error.args = (f"{error}; if cloudpickle is installed, it travels by value",)
        raise error from None
    # A table of the class is the one that counts, whatever its objects have.
    table = {**CloudPickler.dispatch_table, **_reducers()}
    return type("CloudPickler", (CloudPickler,), {"dispatch_table": table})


class _ByValue:
    """A function that no module has under its name: it travels as its code."""

    __slots__ = ("func", "data")

    def __init__(self, func, data):
        self.func = func
        self.data = data

    def __reduce__(self):
        return _loads, (self.data,)


class _Stuck:
    """One that cannot travel; who pickles it is told why."""

    __slots__ = ("func", "name")

    def __init__(self, func, name):
        self.func = func
        self.name = name

    def __reduce__(self):
        raise PicklingError(
            f"{self.name} is not found in a module by its name, so that it cannot be pickled; if "
            "cloudpickle is installed, it travels by value"
        )


def portable(fn):
    """fn, or what stands for it if it is a lambda, a local function or one typed at a prompt, and
    cloudpickle is there to write it."""
    home = fn if type(fn) is FunctionType else _home(fn)
    if "<" not in home.__qualname__:
        if home.__module__ != "__main__" or hasattr(sys.modules["__main__"], "__file__"):
            return fn
    try:
        cloudpickle = _cloudpickle()
    except ImportError:
        return _Stuck(fn, home.__qualname__) if "<" in home.__qualname__ else fn
    return _ByValue(fn, cloudpickle.dumps(fn, 5))


def frozen(fn):
    """fn as it is now, for calls that are submitted later."""
    if isinstance(fn, (FunctionType, BuiltinFunctionType, type)):
        if getattr(sys.modules.get(fn.__module__), fn.__qualname__, None) is fn:
            return fn  # it goes by its name
    try:
        return _ByValue(fn, dumps(fn, None, True))
    except Exception:
        return fn  # it cannot be sent, which is told of each call


def _home(fn):
    """The function or class that pickle has to find to write fn."""
    while type(fn) is partial:
        fn = fn.func
    if type(fn) is MethodType:
        fn = fn.__self__
    return fn if isinstance(fn, (FunctionType, type)) else type(fn)


# ---- exceptions that travel --------------------------------------------------------------------


def _pack(error, text, flags=0):
    # One by one: who cannot load the exception still has its text.
    return dumps((dumps(error, None, flags & _BY_VALUE), text), None)


def _traceback_of(error):
    import traceback

    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:  # of its __bool__(), say, which that asks
        return "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__


def pack_error(error, flags):
    """Bytes that load_error() makes the exception of again."""
    text = _traceback_of(error)
    try:
        return _pack(error, text, flags)
    except BaseException as why:
        if flags & _POOL_ERRORS:
            return pack_result_error(why, (False, error), flags)
        text = _traceback_of(why)
        try:
            return _pack(why, text)
        except BaseException:
            name = type(error).__name__
            return _pack(RuntimeError(f"{name} that cannot be pickled"), text)


def pack_result_error(error, value, flags):
    """The same for a result that cannot be pickled."""
    if not flags & _POOL_ERRORS:
        return pack_error(error, flags)
    from multiprocessing.pool import MaybeEncodingError

    try:
        told = MaybeEncodingError(error, value)
    except Exception:  # of its repr()
        told = MaybeEncodingError(type(error).__name__, f"{type(value).__name__} without a repr()")
    return pack_error(told, 0)


def load_error(data):
    from ._remote import RemoteTraceback

    packed, text = _loads(data)
    cause = RemoteTraceback('\n"""\n%s"""' % text)
    try:
        error = _loads(packed)
    except BaseException as why:
        if hasattr(why, "add_note"):
            why.add_note("the task's own exception cannot be loaded in this process")
        raise why from cause
    if not isinstance(error, BaseException):
        error = TypeError(f"an exception of the task arrived as {type(error).__name__}")
    _set_cause(error, cause)
    return error


# A class may forbid its attributes, as a frozen dataclass does.
_set_cause = BaseException.__cause__.__set__


def note_item(error, item):
    """Which item of its batch an exception is of; read by the result of the map."""
    error.__dict__["_auriga_item"] = item


def noted_item(error):
    """The same again, once; None: nobody has noted it."""
    return error.__dict__.pop("_auriga_item", None)


def failed_item(error, item):
    """What stands in its place among the results of a chunk of an iterator."""
    from ._results import Failed

    note_item(error, item)
    return Failed(error)


def add_note(error, note):
    """As the method, of which 3.10 knows nothing."""
    if hasattr(BaseException, "add_note"):
        notes = error.__dict__.setdefault("__notes__", [])
        if isinstance(notes, list) and note not in notes:
            notes.append(note)


# ---- failures that the library reports ---------------------------------------------------------


def make_error(report):
    from . import _errors

    return _errors.make(report)


_hooks = weakref.WeakKeyDictionary()


def pools_error(pool, error, bad_result):
    """What a task's outcome is when the library says that it failed, or when its result cannot be loaded
    in this process."""
    hook = _hooks.get(pool)
    return error if hook is None else hook(error, bad_result)


def on_error(pool, hook):
    _hooks[pool] = hook


def raise_timeout():
    from ._errors import TimeoutError

    raise TimeoutError()


def raise_cancelled():
    from concurrent.futures import CancelledError

    raise CancelledError()


def terminated():
    from concurrent.futures import CancelledError

    return CancelledError(
        "the pool was terminated before this call had ended; leaving its `with` block does that, too: "
        "get results inside"
    )


def raise_terminated():
    raise terminated()


# ---- waiting for another thread -----------------------------------------------------------------


def new_event():
    import threading

    return threading.Event()


def await_event(event):
    from . import _core

    _core.blocking(True)
    try:
        event.wait()
    finally:
        _core.blocking(False)


# ---- names -------------------------------------------------------------------------------------


def label(fn, identity):
    """(name, place of the definition, both in one, what to keep) of a function, for messages."""
    name = getattr(fn, "__qualname__", None) or type(fn).__qualname__
    code = getattr(fn, "__code__", None)
    place = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"
    name, place = str(name).replace("\0", "?"), place.replace("\0", "?")
    return name, place, f"{name} ({place})" if code is not None else name, identity


# ---- calls in threads, and the end of a worker -----------------------------------------------------------------------


def call(fn, args, kwds):
    """The frame of a call in a thread of the library."""
    return fn(*args, **kwds) if kwds else fn(*args)


def thread_ends():
    import threading

    me = threading._active.pop(threading.get_ident(), None)
    ended = getattr(me, "_auriga_ended", None)
    if ended is not None:  # somebody has looked at it (auriga._crew)
        ended.set()


def process_ends():
    sys.modules["auriga._worker"].end()  # its boot is there


def limit_threads(variables):
    """Begins a worker whose libraries are to have only so many threads, as joblib's variables say."""
    import os

    os.environ.update(variables)
    if "numpy" in sys.modules:  # loaded before the fork: its libraries have read the variables
        try:
            from threadpoolctl import threadpool_limits
        except ImportError:
            return
        threadpool_limits(int(variables["OMP_NUM_THREADS"]))


def run_each(fn, star, items):
    """The items of a chunk of an iterator, whatever becomes of those before."""
    results = []
    for item in items:
        try:
            results.append(fn(*item) if star else fn(item))
        except Exception as error:
            results.append(failed_item(error, len(results)))
        except BaseException as error:
            note_item(error, len(results))
            raise
    return results


def run_chunk(fn, star, items, noted):
    """The items of a chunk, one after the other: what a thread runs of a map.  noted: an exception
    knows of which item it is."""
    results = []
    try:
        for item in items:  # not by map(): a StopIteration of fn would end that like the last item
            results.append(fn(*item) if star else fn(item))
    except BaseException as error:
        if noted:
            note_item(error, len(results))
        raise
    return results


class Pace:
    """How far ahead of the next result a consumer that takes all as they come is woken: as many
    results as come in about 0.3 ms, so that short calls do not cost a wake each."""

    __slots__ = ("ahead", "since")

    def __init__(self):
        self.ahead = 1
        self.since = monotonic()

    def next(self):
        """Called before each wait; the number of results that it should be for."""
        now = monotonic()
        took, self.since = now - self.since, now
        if took > 0.0006:
            self.ahead = 1
        elif took < 0.0003 and self.ahead < 64:
            self.ahead *= 2
        return self.ahead


def arguments(fn, args, kwds):
    """What ``fn(*args, **kwds)`` is called with, or the error that it raises for what cannot be unpacked."""

    def given(*args, **kwds):
        return args, kwds

    try:
        return given(*args, **kwds)
    except TypeError as error:
        told = f"{given.__module__}.{given.__qualname__}()"
        name = str(fn)
        if hasattr(fn, "__qualname__"):
            module = getattr(fn, "__module__", None)
            name = fn.__qualname__ + "()"
            name = name if module in (None, "builtins") else f"{module}.{name}"
        raise TypeError(str(error).replace(told, name)) from None


def warn_of_threads():
    """What ``os.fork()`` says from Python 3.12 on.  Only threads that run Python code are counted, not those of C as
    the library's own, whose locks it looks after."""
    threading = sys.modules.get("threading")
    if threading is None or sys.version_info < (3, 12):
        return
    if len(threading._active) + len(threading._limbo) > 1:
        import warnings

        warnings.warn(
            f"This process (pid={getpid()}) is multi-threaded, use of fork() may lead to deadlocks in "
            "the child.",
            DeprecationWarning,
        )


class StandsFor:
    """``__class__`` of a pool or result: a subclass of its own class and of the standard library's, which is what
    ``isinstance()`` asks for next to the type itself.  So a pool is one to whoever asks for the
    standard class, as asyncio does of its default executor, and has nothing of it in its bases."""

    def __init__(self, module, name):
        self.module = module
        self.name = name

    def __get__(self, pool, own):
        both = own.__dict__.get("_both")
        if both is None:
            standard = getattr(importlib.import_module(self.module), self.name)
            named = {"__module__": own.__module__, "__qualname__": own.__qualname__}
            if issubclass(own, standard):  # who has patched the module has put it there
                return own
            own._both = both = type(own)(own.__name__, (own, standard), named)
        return both


StandardFuture = None  # set by auriga._futures, without which no task is a Future
