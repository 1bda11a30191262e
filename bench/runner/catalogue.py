"""Which programs are run for which workload, and how."""

import os
import pathlib
import sys

from .model import Series, Workload

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "build" / "bench" / "bench"
PEERS = ROOT / "bench" / "peers"

# Debian's Python finds Debian's pools; without it the one that runs this file has to do.
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable

PACKAGES = {
    "glib": "libglib2.0-dev",
    "libuv": "libuv1-dev",
    "onetbb": "g++ and libtbb-dev",
    "openmp": "gcc",
    "openmp-clang": "clang and libomp-dev",
    "go": "golang-go (--all-peers)",
    "rayon": "librust-rayon-dev, rustc and cargo (--all-peers)",
    "pebble": "python3-pebble",
    "billiard": "python3-billiard",
    "loky": "python3-joblib",
    "joblib": "python3-joblib",
    "mpi4py": "python3-mpi4py and openmpi-bin (--all-peers)",
}
NAMES = {
    "plain": "no pool",
    "glib": "GLib GThreadPool",
    "libuv": "libuv",
    "onetbb": "oneTBB",
    "openmp": "OpenMP (gcc)",
    "openmp-clang": "OpenMP (clang)",
    "go": "Go",
    "rayon": "Rayon",
    "ThreadPoolExecutor": "Python ThreadPoolExecutor",
    "ThreadPool": "Python ThreadPool",
    "ProcessPoolExecutor": "Python ProcessPoolExecutor",
    "Pool": "Python multiprocessing.Pool",
    "pebble": "pebble",
    "billiard": "billiard",
    "loky": "loky",
    "joblib": "joblib",
    "mpi4py": "mpi4py.futures",
}
PROCESSES = ("Pool", "ProcessPoolExecutor", "pebble", "billiard", "loky", "mpi4py")


def ours(name: str, program: str, options: str = "", quick: str = "") -> Series:
    return Series(name, (str(PROGRAMS / program), *options.split()), f"bench/{program}.c",
                  tuple(quick.split()), ours=True)


def peer(key: str, workload: str, options: str = "", quick: str = "", note: str = "") -> Series:
    return Series(NAMES[key] + note, (str(PROGRAMS / f"peer-{key}"), workload, *options.split()),
                  PACKAGES.get(key, ""), tuple(quick.split()))


def python(kind: str, workload: str, options: str = "", quick: str = "") -> Series:
    command = [PYTHON, str(PEERS / "python.py"), workload, f"kind={kind}", *options.split()]
    if kind == "mpi4py":
        command = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "3", PYTHON, "-m",
                   "mpi4py.futures", *command[1:]]
    return Series(NAMES[kind], tuple(command), PACKAGES.get(kind, ""), tuple(quick.split()))


def peers(keys: str, workload: str, options: str = "", quick: str = "") -> tuple[Series, ...]:
    return tuple(peer(key, workload, options, quick) for key in keys.split())


def pythons(kinds: tuple[str, ...], workload: str, options: str = "",
            quick: str = "") -> tuple[Series, ...]:
    return tuple(python(kind, workload, options, quick) for kind in kinds)


MILLION = "n=200000"  # what --quick makes of a million
TRIPS = "trips=3000 idle_trips=60"
POINTERS = "form=pointer workers="
TYPED = "form=typed workers="

FLOORS = Workload(
    "floors", "What the machine itself takes",
    "Measured beside the others, since a wake alone differs by ten times between machines and "
    "hours.",
    (ours("floors", "floors"),), rounds=3)

THREADS = (
    Workload(
        "submit", "Empty tasks from outside",
        "One thread that is no worker submits 1,000,000 empty tasks to 2 workers; nanoseconds per "
        "task until all are done (Python: 20,000). The second figure is the memory that one takes "
        "while it waits. OpenMP's submitting thread is one of its two workers.",
        (ours("Auriga", "submit", "", MILLION),
         *peers("plain go onetbb glib libuv rayon openmp openmp-clang", "submit", "", MILLION),
         python("ThreadPoolExecutor", "submit", "n=20000", "n=5000")),
        plotted=("empty task",)),
    Workload(
        "futures", "Empty tasks with a future each",
        "The same with one future for each task; all are waited for at the end and their values "
        "checked. GLib has no futures: a condition for each stands in.",
        (ours("Auriga", "futures", "", MILLION),
         *peers("plain go onetbb glib libuv rayon", "futures", "", MILLION),
         python("ThreadPoolExecutor", "futures", "n=20000", "n=5000"),
         python("ThreadPool", "futures", "n=20000", "n=5000"))),
    Workload(
        "inside", "Empty tasks from inside a task",
        "One task submits 1,000,000 empty ones to its own pool of 2 workers.",
        (ours("Auriga", "inside", "", MILLION),
         *peers("plain openmp openmp-clang onetbb rayon go glib", "inside", "", MILLION))),
    Workload(
        "roundtrip", "One task and its result, the waiter may run it",
        "Microseconds from the call until the result is there; hot: one after the other; idle: "
        "after 1 ms of sleep. Auriga and oneTBB may run the task in the waiting thread. For the "
        "others it is a hand-off (next table). OpenMP's is a parallel region with one task.",
        (ours("Auriga apply", "roundtrip", "workers=1 verb=apply", TRIPS),
         ours("Auriga submit + wait", "roundtrip", "workers=1 verb=submit", TRIPS),
         *peers("onetbb openmp openmp-clang", "roundtrip", "idle_trips=200", TRIPS)),
        rounds=5),
    Workload(
        "handoff", "One task handed to another thread and back",
        "The waiter may not run the task. Hot: one after the other; parked: after 1 ms of sleep, "
        "so that a worker has to be woken. Go's goroutines may all run in one thread.",
        (ours("Auriga", "handoff", "", TRIPS),
         *peers("go onetbb glib libuv rayon", "handoff", "trips=10000 idle_trips=200", TRIPS),
         python("ThreadPoolExecutor", "handoff", "", "trips=500 idle_trips=50"),
         python("ThreadPool", "handoff", "", "trips=500 idle_trips=50"))),
    Workload(
        "forkjoin", "Fork-join: fib(32) without cut-off",
        "Nanoseconds per spawn: time / number of spawns (3.5 million). OpenMP does fib(27), Go "
        "fib(25).",
        (ours("Auriga aur_join, 2 workers", "forkjoin", POINTERS + "2", "n=27"),
         ours("Auriga aur_join, 1 worker", "forkjoin", POINTERS + "1", "n=27"),
         ours("Auriga typed, 2 workers", "forkjoin", TYPED + "2", "n=27"),
         ours("Auriga typed, 1 worker", "forkjoin", TYPED + "1", "n=27"),
         peer("plain", "forkjoin"),
         peer("rayon", "forkjoin", "workers=2", "n=27", ", 2 workers"),
         peer("rayon", "forkjoin", "workers=1", "n=27", ", 1 worker"),
         peer("onetbb", "forkjoin", "workers=2", "n=27", ", 2 workers"),
         peer("onetbb", "forkjoin", "workers=1", "n=27", ", 1 worker"),
         peer("openmp", "forkjoin", "n=27", "n=22", ", 2 workers"),
         peer("openmp-clang", "forkjoin", "n=27", "n=22", ", 2 workers"),
         peer("go", "forkjoin", "n=25", "n=22", ", 2 workers"))),
    Workload(
        "granularity", "Loops of cheap and dear items",
        "Speed of a parallel loop against the plain loop over the same items in the same process, "
        "in turn, by what the plain loop takes in all; no chunk size is given. Above 1 the "
        "parallel loop is faster. Cold: nothing has run for 0.5 ms; hot: the same loop has just "
        "been run, again and again for 2 ms. gcc's OpenMP keeps its threads spinning, so for it "
        "nothing here is cold. \"Auriga pointer\" is aur_map with one call an item through a "
        "pointer, against a plain loop that calls so too.",
        (ours("Auriga map", "granularity", "workers=0 repeats=21 form=map", "repeats=7"),
         ours("Auriga for", "granularity", "workers=0 repeats=21 form=for", "repeats=7"),
         ours("Auriga pointer", "granularity", "workers=0 repeats=21 form=pointer", "repeats=7"),
         *peers("onetbb openmp openmp-clang rayon", "granularity", "repeats=21 workers=0",
                "repeats=7")),
        rounds=3, shown=("cold", "hot"), smaller_is_better=False),
    Workload(
        "skew", "Uneven loops",
        "2,000 items of 10 us, of which one takes 1,000 times as long, at the start, in the "
        "middle or at the end; and 20,000 items of log-normal cost (median 1 us, sigma 1.5). "
        "Percent of the ideal: max(longest, total / 2), at the end (total - longest) / 2 + "
        "longest.",
        (ours("Auriga", "skew", "", "repeats=3"),
         *peers("onetbb openmp openmp-clang rayon", "skew", "", "repeats=3")),
        rounds=3, smaller_is_better=False),
    Workload(
        "memory", "A loop that the memory limits",
        "x * x + 1 over 10,000,000 doubles: speed against the plain loop, in turn.",
        (ours("Auriga", "memory", "workers=0", "repeats=3"),
         *peers("onetbb openmp openmp-clang rayon", "memory", "workers=0", "repeats=3")),
        shown=("speed-up",), smaller_is_better=False),
    Workload(
        "sleep", "Tasks that block: 64 that sleep 50 ms on a pool of 2",
        "Milliseconds until all are done. \"No pool\" is one thread for each. Auriga told: the "
        "tasks call aur_blocking_begin().",
        (ours("Auriga", "sleep"), ours("Auriga, told", "sleep", "hint=1"),
         *peers("plain go glib libuv onetbb rayon openmp", "sleep"),
         python("ThreadPoolExecutor", "sleep")),
        rounds=3),
    Workload(
        "growth", "More tasks, more workers, more submitting threads",
        "Nanoseconds per empty task from outside; flat is ideal. Workers and submitting threads: "
        "with 300,000 tasks. libuv has one pool and one submitting thread.",
        (ours("Auriga", "growth", "n=300000", "n=100000 most=1000000"),
         *peers("go onetbb glib libuv rayon", "growth", "n=300000", "n=100000 most=1000000")),
        rounds=1),
)

PROCESS_POOLS = (
    Workload(
        "process-submit", "Worker processes: empty calls",
        "1,000,000 calls one by one to 2 worker processes, pipelined; nanoseconds per call until "
        "all are done. Python's pools: 2,000 to 20,000 calls, each with its result.",
        (ours("Auriga", "submit", "kind=processes", MILLION),
         python("Pool", "submit", "n=20000", "n=4000"),
         python("ProcessPoolExecutor", "submit", "n=10000", "n=2000"),
         python("pebble", "submit", "n=10000", "n=2000"),
         python("billiard", "submit", "n=10000", "n=2000"),
         python("loky", "submit", "n=4000", "n=1000"),
         python("joblib", "submit", "n=20000", "n=4000"),
         python("mpi4py", "submit", "n=2000", "n=1000")),
        rounds=3),
    Workload(
        "process-roundtrip", "Worker processes: one call and its result",
        "Microseconds; hot: one after the other; idle: after 1 ms of sleep. One worker.",
        (ours("Auriga apply", "roundtrip", "kind=processes workers=1 verb=apply", TRIPS),
         *pythons(PROCESSES, "roundtrip", "workers=1 trips=2000 idle_trips=200",
                  "trips=500 idle_trips=50")),
        rounds=3),
    Workload(
        "busy", "Worker processes: tasks of 10 and 100 us",
        "Time with 2 workers / half the time of the plain loop over the same work, in turn: 1 is "
        "a loop shared out without loss. Each task is a call with its own future.",
        (ours("Auriga", "busy", "kind=processes", "n=5000"),
         *pythons((*PROCESSES, "joblib"), "busy", "n=2000", "n=1000 repeats=1")),
        rounds=3),
    Workload(
        "payload", "Worker processes: bytes there and back",
        "GB/s of what goes in and what comes out; 1 KiB and 1 MiB pipelined. Auriga's worker "
        "changes each byte and its caller copies the result out; Python's return what they got.",
        (ours("Auriga", "payload", "kind=processes", "mib=256"),
         *pythons(PROCESSES, "payload", "mib=64 most=2000", "mib=16 most=500")),
        rounds=3, shown=("payload",), smaller_is_better=False),
    Workload(
        "start", "Worker processes: start, first result of each worker, stop",
        "Milliseconds until each worker has answered once and the pool is gone again.",
        (ours("Auriga, 2 workers", "start", "kind=processes", "repeats=5"),
         ours("Auriga, 16 workers", "start", "kind=processes workers=16 repeats=7", "repeats=3"),
         ours("Auriga spawn, 2 workers", "start", "kind=processes start=spawn", "repeats=5"),
         ours("Auriga, 2 workers, 1 GiB parent", "start",
              "kind=processes parent_mib=1024 repeats=3"),
         ours("Auriga spawn, 2 workers, 1 GiB parent", "start",
              "kind=processes start=spawn parent_mib=1024", "repeats=3"),
         ours("Auriga threads, 2 workers", "start", "kind=threads", "repeats=5"),
         peer("glib", "start", "workers=2", "repeats=5", ", 2 threads"),
         *pythons(PROCESSES[:4], "start", "workers=2 repeats=3")),
        rounds=3),
    Workload(
        "auto", "The measured kind against threads",
        "Batches of 64 calls of one function on 2 workers: the time in a pool of threads / the time "
        "in one of AUR_AUTO, after as many batches for making up its mind.",
        (ours("Auriga, single calls", "auto", "", "rounds=20"),
         ours("Auriga, maps", "auto", "form=map", "rounds=20")),
        rounds=3, smaller_is_better=False),
    Workload(
        "killstorm", "Worker processes: a worker is killed every 20 ms",
        "1,000 tasks of 5 ms on 2 workers (2.5 s of work without kills): how many are answered "
        "with the right value, and after how long. Auriga has retries; the others have none. Who "
        "has not answered after 6 s is cut off.",
        (ours("Auriga, retries", "killstorm", "kind=processes retries=100 tasks=1000 limit=6",
              "tasks=400"),
         *pythons(PROCESSES[:4], "killstorm", "tasks=1000 limit=6", "tasks=400 limit=3")),
        rounds=1, plotted=("answered",), smaller_is_better=False),
)

WORKLOADS = {w.key: w for w in (FLOORS, *THREADS, *PROCESS_POOLS)}
