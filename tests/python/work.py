"""Functions that the tests run in workers; a module of its own, so that spawned ones find them."""

import contextvars
import os
import signal
import sys
import threading


def add(x, y=2):
    return x + y


def square(x):
    return x * x


def same(x):
    return x


def call_with(fn, x):
    return fn(x)


class Unsendable:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


def fail(x):
    raise ValueError(f"no {x}")  # the line of the traceback


def stop_on_three(x):
    if x == 3:
        raise StopIteration("three")
    return x


def fail_on(bad):
    def check(x):
        if x == bad:
            raise ValueError(f"no {x}")
        return x

    return check


def fail_on_three_and_eight(x):
    if x in (3, 8):
        raise ValueError(f"no {x}")
    return x


def pid(_=None):
    return os.getpid()


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def die_on_three(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def leave(code):
    sys.exit(code)


def big(size):
    return b"x" * size


def memory(size):
    return memoryview(b"x" * size)


def note(path, x):
    """Appends a line in one write."""
    with open(path, "ab", buffering=0) as out:
        out.write(b"%d\n" % x)
    return x


def die_once(path, x):
    """The first call for 3 kills its worker."""
    note(path, x)
    with open(path) as lines:
        times = lines.read().split().count("3")
    if x == 3 and times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def squares_in_own_pool(n):
    import auriga

    with auriga.Pool(2) as pool, auriga.ProcessPoolExecutor(1) as executor:
        return pool.map(square, range(n)) + [executor.submit(square, n).result()]


class Unloadable:
    """Cannot be loaded where it arrives."""

    def __reduce__(self):
        return explode, ()


def explode():
    raise RuntimeError("not here")


def make_unloadable(_=None):
    return Unloadable()


def unpicklable(_=None):
    return threading.Lock()


stored = None


def store(value):
    global stored
    stored = value


def stored_value(_=None):
    return stored


setting = contextvars.ContextVar("setting", default="unset")


class LostError(Exception):
    """Its pickle calls it with one argument."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_lost(x):
    raise LostError(x, "more")


class FrozenError(Exception):
    def __setattr__(self, name, value):
        raise AttributeError(f"cannot assign to field {name!r}")  # as a frozen dataclass


class DoubtfulError(Exception):
    """Neither true nor false, which the standard traceback module asks."""

    def __bool__(self):
        raise TypeError("no bool")


def fail_doubtful(x):
    raise DoubtfulError(x)


class ItemError(Exception):
    item = "mine"


class SpeechlessError(Exception):
    """Cannot be pickled, nor shown."""

    def __init__(self):
        self.lock = threading.Lock()

    def __repr__(self):
        raise RuntimeError("no words")


def on_three(fn, x):
    return fn(x) if x == 3 else x


def fail_frozen_on_three(x):
    if x == 3:
        raise FrozenError("three")
    return x


def exit_on_three(x):
    return leave(4) if x == 3 else x


def fail_with_item(x):
    raise ItemError(x)


def fail_speechless(x):
    raise SpeechlessError


def make_speechless(x):
    return SpeechlessError()


def get_setting(_=None):
    return setting.get()


def change_setting(value):
    was = setting.get()
    setting.set(value)
    return was


def wait_for_file(path):
    """Tells path.begun, then waits until the FIFO is open at its other end."""
    with open(path + ".begun", "w") as begun:
        begun.write(".")
    with open(path):
        return path


def hold_open(path):
    """Does not end."""
    with open(path, "w"):
        signal.pause()


def open_or_wait(path):
    """Waits for the file, if there is a name of one."""
    return wait_for_file(path) if path else path


def target(x):
    return "before", x


def replacement(x):
    return "after", x


def replace_target(_=None):
    """In this process, as a task may."""
    global target
    replacement.__qualname__ = replacement.__name__ = "target"
    target = replacement


class Holder:
    @staticmethod
    def target(x):
        return "held", x


class Keyed:
    """Its pickle is as copyreg says."""

    def __init__(self, text):
        self.text = text
