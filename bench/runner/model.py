"""Implementations, workloads and figures."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Series:
    """One implementation in one workload: what is started, and what it is called in tables."""

    name: str
    command: tuple[str, ...]
    package: str = ""  # what to install where the command is missing
    quick: tuple[str, ...] = ()  # options that --quick adds
    ours: bool = False


@dataclass(frozen=True)
class Workload:
    key: str
    title: str
    text: str
    series: tuple[Series, ...]
    rounds: int = 5
    shown: tuple[str, ...] = ()  # names of the figures for the tables; (): all
    plotted: tuple[str, ...] = ()  # names of those for the plot; (): those of the tables
    smaller_is_better: bool = True


@dataclass
class Figure:
    """All rounds of one figure of one series."""

    name: str
    unit: str
    at: dict[str, float] = field(default_factory=dict)  # coordinates of a point of a sweep
    values: list[float] = field(default_factory=list)


# {workload: {series: figures}}
Results = dict[str, dict[str, list[Figure]]]


def find(figures: list[Figure], name: str, **at: float) -> Figure | None:
    for figure in figures:
        if figure.name == name and figure.at == at:
            return figure
    return None


def to_json(results: Results) -> dict:
    return {workload: {series: [vars(figure) for figure in figures]
                       for series, figures in by_series.items()}
            for workload, by_series in results.items()}


def from_json(data: dict) -> Results:
    return {workload: {series: [Figure(**figure) for figure in figures]
                       for series, figures in by_series.items()}
            for workload, by_series in data.items()}
