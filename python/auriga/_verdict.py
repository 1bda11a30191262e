"""Where the calls of one Python function had better run: what was measured, and the choice.

The library's own AUR_AUTO decides for C functions.  It cannot for these: to it they are all one
function, whose argument means nothing in another process.  Here is the choice alone: it reads no
clock and starts nothing.

A call is *busy* while it has a CPU, or is ready for one; the rest of its time it sleeps: for a peer, a
disk, or the GIL.  What is busy nearly all the time when it is alone computes.  Beside others of its kind
it still is if they run without the GIL, and they take turns if it is not.  On a machine with too few
CPUs a thread that waits for the GIL often counts as ready, hence *nearly*.
"""

UNDECIDED = "undecided"
BESIDE = "beside"  # two are to run beside each other first
HERE = "here"
THREADS = "threads"
PROCESSES = "processes"

HAND_OVER = 50e-6  # seconds that others must save to be asked
START = 0.2  # the same, if a pool of processes has to be started for it
ITEM = 1e-6  # what each item of a map costs on its way
CHEAP = 5e-6  # a single call that takes less is not handed over
SHORT = 1e-3  # one call that takes less may have been dear for being the first
DEAR = 20e-6  # one that takes less does not go to a process
WAITS, COMPUTES = 0.5, 0.8  # busy shares: below, above
ENOUGH_BESIDE = 8  # samples, of single calls: nobody makes those run beside each other
ENOUGH_ALONE = 32
MANY = 64  # samples after which the older ones count half


class _Sum:
    def __init__(self):
        self.samples = self.items = self.wall = self.busy = self.cpus = 0.0

    def add(self, items, wall, busy, beside):
        self.samples += 1
        self.items += items
        self.wall += wall
        self.busy += busy
        self.cpus += min(busy / wall, 1.0) * beside if wall > 0 else beside

    def halve(self):
        for name in vars(self):
            setattr(self, name, getattr(self, name) / 2)

    @property
    def share(self):
        return min(self.busy / self.wall, 1.0) if self.wall > 0 else 1.0


class Where:
    """What a choice depends on besides the function."""

    def __init__(self, workers, gil=True, here=True, started=True):
        self.workers = workers
        self.gil = gil  # threads take turns
        self.here = here  # the caller may run calls itself
        self.started = started  # there are worker processes


class Verdict:
    """Of one function."""

    def __init__(self, name):
        self.name = name
        self.running = 0  # measured calls under way
        self.bound = None  # why it cannot leave this process; "": it can; None: unknown
        self._alone = _Sum()
        self._beside = _Sum()
        self._turns = 0
        self._choice = UNDECIDED

    def count(self, items, wall, busy, beside=1):
        """So many calls in a row took wall seconds, and were busy for some of them; ``beside`` calls
        were under way at a time, itself included."""
        total = self._alone if beside <= 1 else self._beside
        total.add(items, wall, busy, beside)
        if total.samples >= MANY:
            total.halve()

    def turn(self, every):
        """Whether it is time to measure again; asked once for each call or map."""
        self._turns += 1
        if self._turns < every:
            return False
        self._turns = 0
        self._alone.halve()
        self._beside.halve()
        return True

    @property
    def seconds(self):
        """Of one call; None: none was measured."""
        total = self._total()
        return total.wall / total.items if total.items else None

    def _total(self):
        return self._alone if self._alone.items else self._beside

    def _waits(self):
        return self._alone.items > 0 and self._alone.share < COMPUTES

    def choose(self, where, left=None):
        """The place for the ``left`` last calls of a map, or for a single one."""
        if self.seconds is None:
            self._choice = UNDECIDED
        elif left is None:
            self._choice = self._for_one(where, self.seconds)
        else:
            self._choice = self._for_many(where, self.seconds, left)
        return self._choice

    def _for_one(self, where, seconds):
        if where.here and seconds <= CHEAP and not self._waits():
            return HERE
        if not self._may_leave(where) or seconds < DEAR:
            return THREADS
        if self._beside.samples >= ENOUGH_BESIDE:
            return self._beside_each_other()
        return THREADS if self._alone.samples >= ENOUGH_ALONE else UNDECIDED

    def _for_many(self, where, seconds, left):
        if where.here and (left <= 1 or left * seconds <= HAND_OVER):
            return HERE
        if self._waits():
            return THREADS
        if where.here and seconds < SHORT and self._alone.samples == 1:
            return HERE
        saved = left * (seconds * (1 - 1 / where.workers) - ITEM)
        if where.here and saved <= HAND_OVER:
            return HERE
        if not self._may_leave(where) or left < 2:
            return THREADS
        if self._beside.samples == 0:
            return BESIDE
        choice = self._beside_each_other()
        if choice == PROCESSES and not where.started and saved <= START:
            return HERE if where.here else THREADS
        return choice

    def _may_leave(self, where):
        return where.gil and where.workers > 1 and not self.bound and not self._waits()

    def _beside_each_other(self):
        """Of calls that compute, or were never alone."""
        if self._beside.share >= COMPUTES:
            return THREADS
        # Who waits for the GIL waits for one who has it: together they keep about one CPU busy.
        waits = not self._alone.items and self._beside.cpus < COMPUTES * self._beside.samples
        return THREADS if waits else PROCESSES

    # -- words

    def _reason(self):
        if self._choice == HERE:
            return "runs in the thread that calls: to hand it over would cost more"
        if self._choice == PROCESSES:
            return "runs in processes: it computes, and threads would take turns at it"
        if self._choice != THREADS:
            return "is still being measured"
        if self.bound:
            return f"runs in threads: it cannot go to a process ({self.bound})"
        if self._alone.items and self._alone.share < WAITS:
            return "runs in threads: it waits most of the time"
        if self._waits():
            return "runs in threads: it computes for a part of the time and waits for another"
        return "runs in threads: its calls were not seen to keep each other waiting"

    def explain(self):
        """One sentence."""
        seconds = self.seconds
        if seconds is None:
            return f"{self.name}: no call was measured yet."
        took = f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
        busy = self._total().share * 100
        return f"{self.name}: {took} a call, {busy:.0f} in 100 of it busy: it {self._reason()}."
