"""What the rows of rows.py are, and what they must reach."""

from dataclasses import dataclass

from runner.stats import median



def p99(values):
    """The highest of the lowest 99 in 100."""
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


@dataclass(frozen=True)
class Goal:
    row: str  # of rows.py
    text: str
    unit: str
    peer: str  # of the standard library; "": the goal is for our figure
    bound: float | None  # how many times better, or the figure itself; None: no goal
    of: object = median
    bigger_is_better: bool = False

    @property
    def goal_text(self):
        if self.bound is None:
            return ""
        if self.peer:
            return f">= {self.bound:g} x"
        return f"{'>=' if self.bigger_is_better else '<='} {self.bound:g} {self.unit}"

    def ratio(self, ours, theirs):
        """How many times better ours is; None: there is no other side."""
        if not theirs:
            return None
        a, b = self.of(ours), self.of(theirs)
        return a / b if self.bigger_is_better else b / a

    def is_met(self, ours, theirs):
        """None: not measured, or there is no goal."""
        if self.bound is None or not ours or (self.peer and not theirs):
            return None
        if self.peer:
            return self.ratio(ours, theirs) >= self.bound
        value = self.of(ours)
        return value >= self.bound if self.bigger_is_better else value <= self.bound


GOALS = [
    Goal("map", "`map` of a function of one argument, 200,000 calls", "us", "Pool", 2),
    Goal("starmap", "`starmap` of `add(x, 2)`, 200,000 calls", "us", "Pool", 2),
    Goal("map 1", "`map(chunksize=1)`", "us", "Pool", 10),
    Goal("imap", "`imap`", "us", "Pool", 10),
    Goal("imap_unordered", "`imap_unordered`", "us", "Pool", 10),
    Goal("Executor.map", "`ProcessPoolExecutor.map`", "us", "Executor", 70),
    Goal("apply_async", "`apply_async` one by one", "us", "Pool", 15),
    Goal("submit", "`ProcessPoolExecutor.submit` one by one", "us", "Executor", 50),
    Goal("thread submit", "`ThreadPoolExecutor.submit` one by one", "us", "Executor", 5),
    Goal("thread hot", "threads: round trip, one after the other, p50", "us", "Executor", 3),
    Goal("thread idle", "threads: round trip after 1 ms, p50", "us", "Executor", None),
    Goal("apply hot", "`Pool.apply`, one after the other, p50", "us", "Pool", 8),
    Goal("apply hot", "`Pool.apply`, one after the other, p99", "us", "Pool", 50, p99),
    Goal("apply idle", "`Pool.apply` after 1 ms, p50", "us", "Pool", 1.5),
    Goal("apply idle", "`Pool.apply` after 1 ms, p99", "us", "Pool", None, p99),
    Goal("submit hot", "`submit().result()`, one after the other, p50", "us", "Executor", 8),
    Goal("submit hot", "`submit().result()`, one after the other, p99", "us", "Executor", None, p99),
    Goal("submit idle", "`submit().result()` after 1 ms, p50", "us", "Executor", 1.5),
    Goal("submit idle", "`submit().result()` after 1 ms, p99", "us", "Executor", None, p99),
    Goal("bytes", "64 MiB of `bytes` there and back", "GB/s", "", 1.0, bigger_is_better=True),
    Goal("numpy", "64 MiB of a numpy array there and back", "GB/s", "", 2.3, bigger_is_better=True),
    Goal("break-even", "cost of a task from which `ProcessPoolExecutor.map` pays", "us", "", 5),
    Goal("start fork", "start and stop of 2 workers, fork", "ms", "Pool", 2),
    Goal("start forkserver", "start and stop of 2 workers, forkserver", "ms", "Pool", 8),
    Goal("start spawn", "start and stop of 2 workers, spawn", "ms", "Pool", 5),
    Goal("start fork many", "start and stop of 16 workers, fork", "ms", "Pool", 2),
    Goal("start forkserver many", "start and stop of 16 workers, forkserver", "ms", "Pool", 8),
    Goal("import", "`import auriga` (`multiprocessing.pool`, `concurrent.futures.process`)", "ms", "",
         15),
]
