"""The template: a process that is ready to become the nursery of a pool, again and again.

There is at most one for each of spawn and forkserver.  It is a fresh interpreter with the imports
that workers need, and ends with the program.  For forkserver it also loads what
``multiprocessing.set_forkserver_preload()`` names, by default the main module.  For spawn it loads
modules of the standard library that the program has loaded and that start nothing (``_QUIET``): the
main module, which each worker imports for itself, most likely imports them.

A pool asks for its nursery first of all (``ask``).  That is forked while the program looks whether the
template fits and gathers what workers are told, and waits for the pool on a line of its own.  What workers
have in common the template does before it forks (``_Template.prepare``).

A worker by spawn has to be what a new interpreter would be.  So whatever a process hands to a program
that it executes is compared first (``_surroundings``): if it has changed, the template is replaced.
What the program hands over by itself, the working directory and ``sys.path``, goes with each pool.
"""

import functools
import os
import sys
import threading

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts")
_STATUS = (b"Umask", b"Uid", b"Gid", b"Groups", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_allowed:",
           b"Mems_allowed:")
_QUIET = frozenset(
    """argparse ast base64 bisect bz2 calendar cmath collections contextlib copy csv dataclasses
    datetime decimal difflib dis email enum fnmatch fractions functools glob gzip hashlib heapq hmac html
    http inspect itertools json logging lzma math numbers operator pathlib platform pprint queue random
    re secrets select selectors shutil socket ssl statistics string struct subprocess tarfile tempfile
    textwrap tokenize traceback typing urllib uuid xml zipfile zlib zoneinfo""".split()
)
_REQUEST_FDS = 8  # of AUR_START_EXEC without exec_argv, the line among them

_lock = threading.Lock()
_templates = {}  # start method: _Template
_unfit = set()  # modules that must not be loaded before a fork


def _reset():
    global _lock
    _lock = threading.Lock()
    for template in _templates.values():
        template.forget()
    _templates.clear()


@functools.cache
def _watch_forks():
    """With the first template, since templates load this module, too, and fork all the time."""
    os.register_at_fork(after_in_child=_reset)


# ---- the program's side ------------------------------------------------------------------------


def _read(name, folder):
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _inode(name, folder):
    try:
        return os.stat(name, dir_fd=folder).st_ino
    except OSError:
        return None


def _surroundings():
    """What a process that was executed now would get from this one."""
    from . import _core

    root = os.stat("/")
    me = os.open("/proc/thread-self", os.O_PATH | os.O_CLOEXEC)
    try:
        return (
            _core.environment(),
            [line for line in _read("status", me).split(b"\n") if line.startswith(_STATUS)],
            [_inode("ns/" + name, me) for name in _NAMESPACES],
            [_read(name, me) for name in ("limits", "cgroup", "oom_score_adj")],
            (root.st_dev, root.st_ino),
            (os.getpgrp(), os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0),
             os.sched_getscheduler(0)),
            (os.isatty(1), os.isatty(2)),
        )
    finally:
        os.close(me)


def _quiet_ones():
    """Those of _QUIET that are loaded here, and are what they seem."""
    folder = os.path.dirname(os.__file__) + os.sep
    names = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _QUIET:
            origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
            if origin in ("built-in", "frozen") or origin.startswith(folder):
                names.append(name)
    return names


def _to_preload(start_method, data):
    """(names of modules, preparation): what the template loads beyond what every worker needs."""
    if start_method != "forkserver":
        return (), {}
    from multiprocessing import forkserver

    names = tuple(forkserver._forkserver._preload_modules or ())
    wanted = {"sys_path", "sys_argv", "orig_dir", "dir", "init_main_from_name", "init_main_from_path"}
    return names, {key: data[key] for key in data.keys() & wanted}


class _Template:
    """The program's end: a socket, and a pidfd."""

    told = b""  # what it was asked to prepare for
    fits = False  # and whether it could; None: it has not said so yet

    def __init__(self, names, data):
        import pickle
        import socket

        from . import _nursery

        tracker = _nursery.tracker_fd()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pidfd = -1
        self.has_main = "__main__" in names
        host = os.pidfd_open(os.getpid())
        fd = os.memfd_create("auriga-template", os.MFD_CLOEXEC)
        try:
            quiet = [] if "__main__" in names else _quiet_ones()
            os.write(fd, pickle.dumps((quiet, names, data)))
            call = (f"from auriga._template import main; "
                    f"main({theirs.fileno()}, {host}, {tracker}, {fd})")
            # The child between ends at once, so that the template is nobody's child for os.wait().
            call = f"import os; os.fork() and os._exit(0); {_nursery.program(call)}"
            _execute([*_nursery.interpreter(), "-c", call], (theirs.fileno(), host, tracker, fd))
        finally:
            theirs.close()
            os.close(host)
            os.close(fd)
        hello, fds, _, _ = socket.recv_fds(self.socket, 16, 1, socket.MSG_CMSG_CLOEXEC)
        self.fit = hello == b"ready"
        if fds:
            self.pidfd = fds[0]
        if not self.fit:
            self.stop()

    def prepare(self, head):
        """Tells it what the workers of the next pool will have in common, if that is new."""
        if not head or head == self.told or self.fits is None:
            return
        try:
            self.socket.send(b"p" + head)
        except OSError:
            return  # it has ended: the next pool will see
        self.told, self.fits = head, None

    def prepared(self):
        """What it is prepared for."""
        import socket

        if self.fits is None:
            try:
                self.fits = self.socket.recv(1, socket.MSG_DONTWAIT) == b"y"
            except OSError:
                pass  # not yet: the next pool will know
        return self.told if self.fits else b""

    def forget(self):
        """In a forked child: it is the parent's."""
        self.socket.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def stop(self):
        """It ends when the socket is of no use any more; nurseries that it forked live on."""
        import select
        import signal
        import socket

        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already
        if self.pidfd >= 0:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            if not poll.poll(5000):  # stopped, or stuck
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
                poll.poll()
        self.forget()


def _execute(argv, fds):
    """Runs a program that forks and ends."""
    import signal
    from multiprocessing import util

    # Nothing may interrupt it before it has set up its own handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = util.spawnv_passfds(os.fsencode(argv[0]), argv, fds)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # somebody else takes the statuses


def _stop_all():
    while _templates:
        _templates.popitem()[1].stop()


def _fitting(start_method, data):
    """The template for a pool, new if the last one does not fit; or None."""
    from multiprocessing import util

    from . import _nursery

    try:
        os.fstat(1), os.fstat(2)
    except OSError:
        return None  # it could not be told from one whose descriptors got these numbers
    names, main = _to_preload(start_method, data)
    names = tuple(name for name in names if name not in _unfit)
    key = (_nursery.interpreter(), names,
           [main.get(f"init_main_from_{how}") for how in ("name", "path")], _surroundings())
    template = _templates.get(start_method)
    if template is not None:
        if template.key == key:
            return template
        del _templates[start_method]
        template.stop()
    template = _Template(names, main)
    if not template.fit and names:
        _unfit.update(names)
        return _fitting(start_method, data)
    if not template.fit:
        return None
    if not _templates:
        util.Finalize(None, _stop_all, exitpriority=-10)
    template.key = key
    _templates[start_method] = template
    return template


class _Line:
    """To a nursery that the template forks now, and that waits for its pool."""

    def __init__(self, template):
        import socket

        self.template = template
        self.head = template.prepared()  # what the nursery is prepared for
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(template.socket, [b"n"], [theirs.fileno()])
        except OSError:
            self.socket.close()
            raise
        finally:
            theirs.close()

    def close(self):
        """If no pool came, the nursery ends, whoever has a copy of the socket."""
        import socket

        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


def ask(start_method):
    """A line by the template that there is, while what to say is made ready; None if there is none."""
    _watch_forks()
    with _lock:
        template = _templates.get(start_method)
        try:
            return _Line(template) if template is not None else None
        except OSError:
            return None


def _drop(start_method, template):
    if _templates.get(start_method) is template:
        del _templates[start_method]
        template.stop()


def start(start_method, state, line, make):
    """The pool that make(fds=) makes by the template, over a line that fits; None if it cannot be had."""
    from . import _nursery

    ours = None
    with _lock:
        try:
            template = _fitting(start_method, state.data)
            if template is not None and (line is None or line.template is not template):
                line = ours = _Line(template)
        except OSError:
            template = None
        if template is None:
            return None
        head = state.common(template.has_main)
        try:
            fds = state.write() if not head or line.head != head else ()
            fds = (line.socket.fileno(), _nursery.tracker_fd(), 1, 2, *fds)
            if len(fds) > _REQUEST_FDS:
                return None
            try:
                pool = make(fds=fds)
            except Exception:  # it has ended, or its fork failed: whatever it was, the other way will tell
                _drop(start_method, template)
                return None
        finally:
            if ours is not None:
                ours.close()
        template.prepare(head)
        return pool


# ---- the template ------------------------------------------------------------------------------


def _load_quietly(names):
    """Of the standard library, whatever lies in the working directory."""
    import importlib

    path = sys.path
    sys.path = [folder for folder in path if folder not in ("", os.getcwd())]
    try:
        for name in names:
            try:
                importlib.import_module(name)
            except Exception:
                pass
    finally:
        sys.path = path


def _preload(names, data):
    """Loads modules as the standard fork server does; whether a fork is safe then."""
    import gc
    from multiprocessing import process, spawn

    from . import _core

    process.current_process()._inheriting = True
    try:
        main = {key: value for key, value in data.items() if key.startswith("init_main")}
        spawn.prepare({key: value for key, value in data.items() if key not in main})
        for name in names:
            if name == "__main__":
                spawn.prepare(main)
            else:
                try:
                    __import__(name)
                except ImportError:
                    pass  # as there
    except BaseException:
        return False  # each worker will see for itself
    finally:
        del process.current_process()._inheriting
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    # A thread, or a pool that waits for one, would be missing in the workers.
    alone = len(sys._current_frames()) == 1
    return alone and not any(type(one) is _core.Pool for one in gc.get_objects())


def _serve(asked, host, tracker):
    """A fork for each request, until the program has ended or hangs up."""
    import select
    import socket

    from . import _core, _nursery

    boot = _nursery.ExecBoot()
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    poll.register(host, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if host in ready:
            return
        message, fds, _, _ = socket.recv_fds(asked, 1 + _nursery.HEAD_MAX, 1, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return
        if message[:1] == b"p":
            boot.prepared = _nursery.prepare(message[1:])
            asked.send(b"n" if boot.prepared is None else b"y")
            continue
        try:
            _core.fork_nursery(boot, *fds, asked.fileno(), host, tracker)
        finally:
            os.close(*fds)


def main(fd, host, tracker, data):
    """The program of the template."""
    import pickle
    import signal
    import socket
    from multiprocessing import util

    from . import _nursery

    for number in (signal.SIGINT, signal.SIGQUIT):  # what is typed is the program's to answer
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    util._close_stdin()  # for all workers
    _nursery.load(tracker)
    del sys.path[0]
    with os.fdopen(data, "rb") as file:
        file.seek(0)
        quiet, names, main = pickle.load(file)
    _load_quietly(quiet)
    fit = not names or _preload(names, main)
    os.dup2(nothing, tracker, inheritable=False)  # it is to end when the program closes its end
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)
    asked = socket.socket(fileno=fd)
    asked.set_inheritable(False)
    os.set_inheritable(host, False)
    pidfd = os.pidfd_open(os.getpid())
    socket.send_fds(asked, [b"ready" if fit else b"unfit"], [pidfd])
    os.close(pidfd)
    try:
        if fit:
            _serve(asked, host, tracker)
    finally:
        os._exit(0)
