"""SVG plots for docs/bench/: a dot and a range for each implementation, lines for sweeps.

A file carries two sets of colours and its own background, and follows the reader's light or dark
mode.
"""

import pathlib
import re

from .model import Figure, Results, Workload, find
from .catalogue import WORKLOADS
from .stats import count, duration, median, number
from .tables import columns, heading

try:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.ticker import FuncFormatter, NullFormatter
except ImportError:  # the runner says so
    plt = None

# Light, dark.  matplotlib draws the light ones; style_of() exchanges them.
PAPER = ("#fefefe", "#0d1117")
INK = ("#1f2328", "#e6edf3")
QUIET = ("#6e7781", "#8b949e")
GRID = ("#e4e7eb", "#262c36")
OURS = ("#d1242f", "#ff6b60")
OURS_2 = ("#8a1c24", "#ffab9f")
PEER = ("#4a6fa5", "#7fa7e0")
COLOURS = {
    "Auriga": OURS, "Auriga map": OURS, "Auriga for": OURS_2,
    "oneTBB": ("#2d6cdf", "#6ea8fe"), "OpenMP (gcc)": ("#1b7f4d", "#56d394"),
    "OpenMP (clang)": ("#8a6d00", "#d9b84a"), "Rayon": ("#8250df", "#c297ff"),
    "Go": ("#007d9c", "#4fc4dd"), "GLib GThreadPool": ("#b35900", "#f0a458"),
    "libuv": ("#57606b", "#aeb7c1"),
}
ROW_IN = 0.26  # inches for one row of a dot plot


def is_ours(series: str) -> bool:
    return series.startswith("Auriga")


def colour(series: str) -> str:
    return COLOURS.get(series, OURS if is_ours(series) else PEER)[0]


def style_of(svg: str) -> str:
    """Lets the colours follow the reader's mode: matplotlib writes them into style attributes."""
    pairs = dict([PAPER, INK, QUIET, GRID, OURS, OURS_2, PEER, *COLOURS.values()])
    rules = []
    for light, dark in pairs.items():
        for what in ("fill", "stroke"):
            rules.append(f'[style*="{what}: {light}"]{{{what}:{dark} !important}}')
    style = "<style>@media (prefers-color-scheme: dark){" + "".join(rules) + "}</style>"
    return re.sub(r"(<svg[^>]*>)", r"\1" + style, svg, count=1)


def set_up() -> None:
    plt.rcParams.update({
        "svg.hashsalt": "auriga", "font.family": "DejaVu Sans", "font.size": 9,
        "figure.facecolor": PAPER[0], "axes.facecolor": PAPER[0], "savefig.facecolor": PAPER[0],
        "text.color": INK[0], "axes.edgecolor": GRID[0], "axes.labelcolor": QUIET[0],
        "xtick.color": QUIET[0], "ytick.color": QUIET[0], "xtick.labelcolor": QUIET[0],
        "ytick.labelcolor": QUIET[0], "grid.color": GRID[0], "axes.axisbelow": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
        "axes.titleweight": "bold", "axes.titlelocation": "left",
    })


def save(figure, path: pathlib.Path) -> str:
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    path.write_text("\n".join(line.rstrip() for line in style_of(path.read_text()).split("\n")))
    return path.name


# ---- a dot and a range for each implementation -----------------------------------------------


def dot_scale(axes: "Axes", values: list[float], unit: str, smaller_is_better: bool) -> None:
    low, high = min(values), max(values)
    if unit != "%" and low > 0 and high / low > 20:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 12)  # room for the numbers
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(
            lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    else:
        axes.set_xlim(0, high * 1.32)
    better = "less is better" if smaller_is_better else "more is better"
    axes.set_xlabel(better, fontsize=7.5, loc="left")
    axes.tick_params(axis="x", labelsize=7, length=0, which="both")
    axes.grid(axis="x", linewidth=0.7)


def dot_row(axes: "Axes", y: int, series: str, figure: Figure) -> None:
    middle = median(figure.values)
    axes.plot([min(figure.values), max(figure.values)], [y, y], color=colour(series),
              linewidth=3, alpha=0.45, solid_capstyle="round")
    axes.plot([middle], [y], "o", color=colour(series), markersize=6)
    axes.annotate(number(middle), (max(figure.values), y), xytext=(7, 0),
                  textcoords="offset points", va="center", fontsize=8,
                  color=colour(series) if is_ours(series) else INK[0],
                  weight="bold" if is_ours(series) else "normal")


def dot_panel(axes: "Axes", wanted: Figure, rows: list[str], by_series: dict[str, list[Figure]],
              smaller_is_better: bool) -> None:
    values: list[float] = []
    for y, series in enumerate(rows):
        figure = find(by_series[series], wanted.name, **wanted.at)
        if figure:
            values += figure.values
            dot_row(axes, y, series, figure)
    axes.set_title(heading(wanted))
    dot_scale(axes, values, wanted.unit, smaller_is_better)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def best_first(wanted: Figure, by_series: dict[str, list[Figure]], smaller: bool) -> list[str]:
    def key(series: str) -> float:
        figure = find(by_series[series], wanted.name, **wanted.at)
        value = median(figure.values) if figure else float("inf")
        return value if smaller or not figure else -value
    return sorted(by_series, key=key)


def dot_plot(workload: Workload, by_series: dict[str, list[Figure]],
             folder: pathlib.Path) -> list[str]:
    wanted = columns(by_series, workload.plotted or workload.shown)
    rows = best_first(wanted[0], by_series, workload.smaller_is_better)
    across = min(2, len(wanted)) if len(wanted) > 3 else len(wanted)
    down = -(-len(wanted) // across)
    figure, grid = plt.subplots(down, across, sharey=True, squeeze=False, layout="constrained",
                                figsize=(9.2, (0.75 + ROW_IN * len(rows)) * down + 0.4))
    for axes, one in zip(grid.flat, wanted):
        dot_panel(axes, one, rows, by_series, workload.smaller_is_better)
    for axes in list(grid.flat)[len(wanted):]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_yticklabels(rows, fontsize=8.5)
        for label, series in zip(axes.get_yticklabels(), rows):
            label.set_color(colour(series) if is_ours(series) else INK[0])
            label.set_weight("bold" if is_ours(series) else "normal")
    figure.suptitle(workload.title, x=0.01, ha="left", fontsize=12, weight="bold")
    return [save(figure, folder / f"{workload.key}.svg")]


# ---- lines -----------------------------------------------------------------------------------


def spread_out(heights: list[float], gap: float) -> list[float]:
    """Moves labels apart until none is nearer to the next than gap; keeps their order."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = [heights[i] for i in order]
    for _ in range(200):
        for i in range(1, len(placed)):
            lack = gap - (placed[i] - placed[i - 1])
            if lack > 1e-9:
                placed[i] += lack / 2
                placed[i - 1] -= lack / 2
    result = [0.0] * len(heights)
    for i, height in zip(order, placed):
        result[i] = height
    return result


def label_ends(axes: "Axes", ends: list[tuple[str, float, float]], gap: float) -> None:
    """Writes the names beside the ends of the lines, in the fraction of the axes' height."""
    if not ends:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [to_axes.transform((x, y)) for _, x, y in ends]
    heights = spread_out([float(y) for _, y in points], gap)
    for (series, _, _), (x, y), height in zip(ends, points, heights):
        axes.annotate(series, (x, y), xytext=(1.06, height), xycoords="axes fraction",
                      textcoords="axes fraction", va="center", fontsize=8, color=colour(series),
                      weight="bold" if is_ours(series) else "normal", annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": colour(series), "linewidth": 0.6,
                                  "alpha": 0.6, "shrinkA": 1, "shrinkB": 2})


def line(axes: "Axes", series: str, points: list[tuple[float, Figure]]) -> tuple[str, float, float]:
    xs = [x for x, _ in points]
    middles = [median(f.values) for _, f in points]
    if is_ours(series):  # ranges of all of them would hide the lines
        axes.fill_between(xs, [min(f.values) for _, f in points],
                          [max(f.values) for _, f in points], color=colour(series), alpha=0.12,
                          linewidth=0)
    axes.plot(xs, middles, color=colour(series), linewidth=2.6 if is_ours(series) else 1.4,
              marker="o", markersize=3.6 if is_ours(series) else 2.4,
              zorder=3 if is_ours(series) else 2)
    return series, xs[-1], middles[-1]


def speed_panel(axes: "Axes", by_series: dict[str, list[Figure]], state: str,
                item_ns: float) -> list[tuple[str, float, float]]:
    ends = []
    for series, figures in by_series.items():
        points = sorted((f.at["total_us"], f) for f in figures
                        if f.name == state and f.at["item_ns"] == item_ns)
        if points:
            ends.append(line(axes, series, points))
    axes.set_xscale("log")
    axes.axhline(1, color=INK[0], linewidth=1, zorder=1)
    axes.set_ylim(0, 2.25)
    axes.set_yticks([0, 0.5, 1, 1.5, 2])
    axes.grid(linewidth=0.7)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda us, _: duration(us * 1e3)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7.5, length=0, which="both")
    return ends


def granularity_main(by_series: dict[str, list[Figure]], folder: pathlib.Path) -> str:
    figure, panels = plt.subplots(2, 1, sharex=True, figsize=(9.2, 8.2))
    figure.subplots_adjust(left=0.06, right=0.8, top=0.88, bottom=0.07, hspace=0.22)
    for axes, state, text in zip(panels, ("cold", "hot"), (
            "Cold: nothing has run for 0.5 ms, the workers sleep",
            "Hot: the same loop has just been run, for 2 ms")):
        ends = speed_panel(axes, by_series, state, 10)
        axes.set_title(text)
        axes.text(0.005, 1.04, "the plain loop", fontsize=7.5, color=INK[0],
                  transform=axes.get_yaxis_transform())
        label_ends(axes, ends, 0.085)
    panels[1].set_xlabel("what the plain loop takes in all", fontsize=8.5)
    figure.suptitle("How short may a loop be? Speed against the plain loop, items of 10 ns",
                    x=0.02, y=0.97, ha="left", fontsize=12, weight="bold")
    return save(figure, folder / "granularity.svg")


def granularity_items(by_series: dict[str, list[Figure]], folder: pathlib.Path) -> str:
    items = sorted({f.at["item_ns"] for figures in by_series.values() for f in figures})
    figure, grid = plt.subplots(2, len(items), figsize=(13, 5.2), sharex=True, sharey=True,
                                squeeze=False)
    figure.subplots_adjust(left=0.04, right=0.87, top=0.84, bottom=0.09, wspace=0.08, hspace=0.16)
    for axes_row, state in zip(grid, ("cold", "hot")):
        for axes, item in zip(axes_row, items):
            ends = speed_panel(axes, by_series, state, item)
            axes.tick_params(labelsize=6.5)
            if state == "cold":
                axes.set_title(f"{duration(item)} an item", fontsize=9)
        axes_row[0].set_ylabel(state, fontsize=9)
        label_ends(axes_row[-1], ends, 0.1)
    figure.suptitle("Speed against the plain loop, by the cost of an item and the loop's time",
                    x=0.02, ha="left", fontsize=12, weight="bold")
    return save(figure, folder / "granularity-items.svg")


def granularity_plot(workload: Workload, by_series: dict[str, list[Figure]],
                     folder: pathlib.Path) -> list[str]:
    # By pointer is held against another plain loop, so it does not belong beside these.
    by_series = {s: figures for s, figures in by_series.items() if s != "Auriga pointer"}
    return [granularity_main(by_series, folder), granularity_items(by_series, folder)]


def growth_plot(workload: Workload, by_series: dict[str, list[Figure]],
                folder: pathlib.Path) -> list[str]:
    figure, panels = plt.subplots(1, 3, figsize=(11, 4), sharey=True)
    figure.subplots_adjust(left=0.06, right=0.86, top=0.82, bottom=0.13, wspace=0.08)
    for axes, what in zip(panels, ("tasks", "workers", "submitters")):
        ends = []
        for series, figures in by_series.items():
            points = sorted((f.at[what], f) for f in figures if f.name == f"by {what}")
            if points:
                ends.append(line(axes, series, points))
        axes.set_xscale("log", base=10 if what == "tasks" else 2)
        axes.set_yscale("log")
        axes.set_title("submitting threads" if what == "submitters" else what)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: count(x)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        axes.grid(linewidth=0.7)
        axes.tick_params(labelsize=7.5, length=0, which="both")
        axes.minorticks_off()
        figure.canvas.draw()
        if what == "submitters":
            label_ends(axes, ends, 0.075)
            continue
        for series, x, y in ends:  # who is in this panel only
            if not any(f.name == "by submitters" for f in by_series[series]):
                axes.annotate(series, (x, y), xytext=(0, 6), textcoords="offset points", ha="right",
                              fontsize=8, color=colour(series))
    panels[0].set_ylabel("ns per empty task", fontsize=8.5)
    figure.suptitle(workload.title, x=0.02, ha="left", fontsize=12, weight="bold")
    return [save(figure, folder / f"{workload.key}.svg")]


def draw(results: Results, folder: pathlib.Path) -> dict[str, list[str]]:
    """{workload: names of its files}"""
    if plt is None:
        return {}
    set_up()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"granularity": granularity_plot, "growth": growth_plot}
    return {key: kinds.get(key, dot_plot)(WORKLOADS[key], by_series, folder)
            for key, by_series in results.items() if key != "floors" and any(by_series.values())}
