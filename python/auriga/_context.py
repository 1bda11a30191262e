"""Context variables on their way to a worker process.

A ``ContextVar`` cannot be pickled; one that a module has as a global is found there again.  A task
carries the values as one pickle, which is made anew only if a variable has another value, or one that
may have changed within.
"""

import sys
from _pickle import loads
from contextvars import ContextVar, copy_context

from . import _arguments
from ._helpers import dumps

_FIXED = frozenset((bool, bytes, complex, float, int, str, type(None)))

_homes = {}  # variable -> (module, name), or how many modules were searched in vain
_made = ((), None)  # what the last pickle is of, if that cannot change within; and the pickle
_loaded = (None, ())  # worker: the last such pickle, and what was in it


def checked(wanted):
    """The argument ``contextvars=``: True, False, or a tuple of variables."""
    if wanted is True or wanted is False:
        return wanted
    text = "contextvars must be True, False or a list of context variables"
    try:
        wanted = tuple(wanted)
    except TypeError:
        raise _arguments.refuse(TypeError, text, wanted) from None
    for variable in wanted:
        if not isinstance(variable, ContextVar):
            raise _arguments.refuse(TypeError, text, variable)
        if _home(variable) is None:
            raise ValueError(f"{variable!r} is no global of a module: a process could not find it")
    return wanted


def carried(fn, wanted):
    """fn, or what calls it in a worker with the variables of this context."""
    if type(fn) is _InContext:
        return fn
    context = copy_context()
    if wanted is True:
        found = [(home, value) for variable, value in context.items() if (home := _home(variable))]
    else:
        found = [(_home(variable), context[variable]) for variable in wanted if variable in context]
    if not found:
        return fn
    fixed = all(type(value) in _FIXED for _, value in found)
    some = wanted is True
    data = _pickle(found, some, fixed)
    return _InContext(fn, data, some, fixed) if data is not None else fn


def _home(variable):
    """(module, name) of a variable, or None."""
    home = _homes.get(variable)
    if type(home) is tuple or home == len(sys.modules):
        return home if type(home) is tuple else None
    for module_name, module in list(sys.modules.items()):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is variable:
                _homes[variable] = module_name, name
                return module_name, name
    _homes[variable] = len(sys.modules)
    return None


def _pickle(found, some, fixed):
    global _made
    if fixed and _same(found, _made[0]):
        return _made[1]
    values = []
    for home, value in found:
        try:
            values.append((*home, dumps(value, None)))
        except Exception:
            if not some:
                raise
    data = dumps(values, None) if values else None
    if fixed:
        _made = found, data
    return data


def _same(some, others):
    return len(some) == len(others) and all(
        a[0] == b[0] and a[1] is b[1] for a, b in zip(some, others)
    )


class _InContext:
    """A function that is called in a copy of the worker's context with these values in it."""

    __slots__ = ("func", "_what")

    def __init__(self, func, *what):
        self.func = func
        self._what = what

    def __reduce__(self):
        return _InContext, (self.func, *self._what)

    def __call__(self, *args, **kwargs):
        return copy_context().run(self._call, args, kwargs)

    def _call(self, args, kwargs):
        for variable, value in _variables(*self._what):
            variable.set(value)
        return self.func(*args, **kwargs)


def _variables(data, some, fixed):
    global _loaded
    if fixed and _loaded[0] == data:
        return _loaded[1]
    import importlib

    variables = []
    for module, name, value in loads(data):
        try:
            variables.append((getattr(importlib.import_module(module), name), loads(value)))
        except Exception:
            if not some:
                raise
    if fixed:
        _loaded = data, variables
    return variables
