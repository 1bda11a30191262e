"""Where the calls of one Python function had better run: what was measured, and the choice.

The library's own AUR_AUTO decides for C functions.  It cannot for these: to it they are all one
function, whose argument means nothing in another process.  Here is the choice alone: it reads no
clock and starts nothing.

A call is *busy* while it has a CPU; the rest of its time it sleeps, for a peer, a disk or the GIL.  Time in
which it is ready and has none is the machine's, and is left out.  The kernel counts all three and the
sleeps, so a busy machine cannot make one that computes look like one that waits, or the reverse; as in
the library (src/pool/verdict.c), what never slept was busy.  What is busy nearly all the time computes.
What computes and has the GIL most of the time would take turns in threads.
A single call is looked at only if somebody waits for it, and it is not over too soon; else it counts how many
CPUs such calls keep busy beside each other.
"""

UNDECIDED = "undecided"
GIL = "gil"  # it is to be seen first whether it has that most of the time
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
SEVERAL = 1.55  # CPUs kept busy: one, as by calls that take turns, and half of another
ENOUGH_BESIDE = 8  # samples, of single calls: nobody makes those run beside each other
ENOUGH_ALONE, ENOUGH_ANYWAY = 4, 32
ENOUGH_LOOKS = 3  # of one outcome
MANY = 64  # samples after which the older ones count half


def outcome(wall, cpu, ready, sleeps):
    """(wall, busy) of a call, in seconds, that had a CPU for ``cpu`` and was ready for one for
    ``ready`` of them.  How long it had to wait for a CPU says nothing of it, so that is in neither; and
    what never slept was busy all the rest."""
    own = max(cpu, wall - ready) if sleeps else cpu
    return own, cpu


def _share(busy, wall):
    return min(busy / wall, 1.0) if wall > 0 else 1.0


class _Sum:
    def __init__(self):
        self.samples = self.items = self.wall = self.busy = self.cpus = 0.0

    def add(self, items, wall, busy, beside):
        self.samples += 1
        self.items += items
        self.wall += wall
        self.busy += busy
        self.cpus += _share(busy, wall) * beside

    def change(self, was, now, beside):
        """What was added as ``was`` (items, wall, busy) is known to be ``now``."""
        self.items += now[0] - was[0]
        self.wall += now[1] - was[1]
        self.busy += now[2] - was[2]
        self.cpus += (_share(now[2], now[1]) - _share(was[2], was[1])) * beside

    def halve(self):
        for name in vars(self):
            setattr(self, name, getattr(self, name) / 2)

    @property
    def share(self):
        return _share(self.busy, self.wall)


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
        self._held = self._looks = 0
        self._holds = None  # whether it has the GIL most of the time while it computes
        self._turns = 0
        self._choice = UNDECIDED

    def count(self, items, wall, busy, beside=1):
        """So many calls in a row took wall seconds, and were busy for some of them; ``beside`` calls
        were under way at a time, itself included."""
        total = self._alone if beside <= 1 else self._beside
        total.add(items, wall, busy, beside)
        if total.samples >= MANY:
            total.halve()

    def change(self, was, now, beside=1):
        """A call that was counted while it ran, as ``was`` (items, wall, busy), has gone on or ended."""
        total = self._alone if beside <= 1 else self._beside
        total.change(was, now, beside)

    def own(self, was, now):
        """``now`` (wall, busy) of a call that was ``was`` when others were sent after it.  If it computes it has
        waited for them at the GIL since, which says nothing of it."""
        if self._waits() or self._holds is False:
            return now
        return was[0] + now[1] - was[1], now[1]

    def count_gil(self, held, looks, last=False):
        """While the function computed, of so many looks so many found the GIL held.  ``last``: there is no
        more to come."""
        self._held += held
        self._looks += looks
        self._holds = None
        if last or max(self._held, self._looks - self._held) >= ENOUGH_LOOKS:
            self._holds = self._seems_to_hold()

    def is_open(self):
        """Whether it matters who has the GIL, and that is not known."""
        beside = self._beside
        computes = self._total().share >= WAITS or beside.cpus >= WAITS * beside.samples > 0
        return self._holds is None and computes

    def turn(self, every):
        """Whether it is time to measure again; asked once for each call or map."""
        self._turns += 1
        if self._turns < every:
            return False
        self._turns = 0
        self._alone.halve()
        self._beside.halve()
        self._held = self._looks = 0
        self._holds = None
        return True

    @property
    def seconds(self):
        """Of one call; None: none was measured."""
        total = self._total()
        return total.wall / total.items if total.items else None

    def _total(self):
        return self._alone if self._alone.items else self._beside

    def _is_enough(self):
        """Of single calls: the few that were alone may have met who submits, at the GIL."""
        return self._alone.samples >= ENOUGH_ALONE or self._beside.samples >= ENOUGH_BESIDE

    def _waits(self):
        if self._alone.samples < ENOUGH_ALONE and self._beside.samples >= ENOUGH_BESIDE:
            # Who waits for the GIL waits for one who has it: calls that take turns keep about one CPU busy.
            return self._beside.cpus < WAITS * self._beside.samples
        # Who was seen with the GIL sleeps for it, too.
        computes = WAITS if self._looks and self._seems_to_hold() else COMPUTES
        return self._alone.items > 0 and self._alone.share < computes

    def _seems_to_hold(self):
        return 2 * self._held >= self._looks

    def choose(self, where, left=None, begun=0):
        """The place for the ``left`` last calls of a map, of which ``begun`` more run in a thread; or for a
        single one."""
        if self.seconds is None:
            self._choice = UNDECIDED
        elif left is None:
            self._choice = self._for_one(where, self.seconds)
        else:
            self._choice = self._for_many(where, self.seconds, left, begun)
        return self._choice

    def _for_one(self, where, seconds):
        if where.here and seconds <= CHEAP and not self._waits():
            return HERE
        if self._waits() and not self._is_enough():
            return UNDECIDED
        if not self._may_leave(where) or seconds < DEAR:
            return THREADS
        if self._holds is not None:
            return PROCESSES if self._holds else THREADS
        if self._looks:
            if self._alone.samples + self._beside.samples < ENOUGH_ANYWAY:
                return UNDECIDED
            return PROCESSES if self._seems_to_hold() else THREADS
        if self._beside.samples >= ENOUGH_BESIDE:
            return self._beside_each_other()
        return THREADS if self._alone.samples >= ENOUGH_ANYWAY else UNDECIDED

    def _for_many(self, where, seconds, left, begun):
        if where.here and (left + begun <= 1 or left * seconds <= HAND_OVER):
            return HERE
        if self._waits():
            return THREADS
        if where.here and seconds < SHORT and self._alone.samples == 1:
            return HERE
        saved = (left + begun) * (seconds * (1 - 1 / where.workers) - ITEM)
        if where.here and saved <= HAND_OVER:
            return HERE
        if not self._may_leave(where) or left + begun < 2:
            return THREADS
        if self._holds is None:
            return GIL
        choice = PROCESSES if self._holds else THREADS
        if choice == PROCESSES and not where.started and saved <= START:
            return HERE if where.here else THREADS
        return choice

    def _may_leave(self, where):
        return where.gil and where.workers > 1 and not self.bound and not self._waits()

    def _beside_each_other(self):
        """Of calls that compute."""
        several = self._beside.cpus >= SEVERAL * self._beside.samples
        return THREADS if several or self._beside.share >= COMPUTES else PROCESSES

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
        if self._waits() and self._total().share < WAITS:
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
