"""Draws regret against full-run equivalents, a panel for each job."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.tuner_race.entries import CHECKPOINTS
from studies.tuner_race.standings import Standings

# Okabe & Ito's colours, which the colour-blind can tell apart
COLOURS = {
    "random": "#999999",
    "tpe_median": "#E69F00",
    "tpe_hyperband": "#56B4E9",
    "gp": "#009E73",
    "asha": "#CC79A7",
    "autowarm": "#D55E00",
}
DASHES = {"schedulefree": (0, (5, 2)), "rule_of_thumb": (0, (1, 1.5)), "today": (0, (3, 1, 1, 1))}
# regrets below that are drawn there: the axis is logarithmic
FLOOR = 0.1


def draw(found: Standings, names: Mapping[str, str], path: Path) -> None:
    """Draw the mean regret over seeds of every contestant.

    Args:
        found: the race.
        names: contestant -> what it is called.
        path: of the picture.
    """
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flatten()
    for ax, job in zip(axes, found.best, strict=False):
        _panel(ax, found, job, names)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.supxlabel("full-run equivalents spent")
    figure.supylabel("regret, % above the best known (mean over seeds)")
    figure.savefig(path, dpi=110)


def _panel(ax: Axes, found: Standings, job: str, names: Mapping[str, str]) -> None:
    best = found.best[job]
    ax.axhspan(FLOOR, best.near, color="#009E73", alpha=0.12, linewidth=0, label="near-best")
    for contestant in found.contestants:
        results = found.of(contestant, job)
        shared = [c for c in CHECKPOINTS if results and all(c in r.regrets for r in results)]
        means = [max(FLOOR, statistics.fmean(r.regrets[c] for r in results)) for c in shared]
        ours = contestant == "autowarm"
        ax.plot(
            shared,
            means,
            color=COLOURS[contestant],
            marker="o",
            markersize=4 if ours else 3,
            linewidth=2.2 if ours else 1.4,
            label=names[contestant],
        )
    for contestant, dashes in DASHES.items():
        regret = max(FLOOR, found.untuned[contestant, job])
        ax.axhline(regret, color="#444444", linewidth=1, linestyle=dashes, label=names[contestant])
    ax.set_title(job, fontsize=10)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks([1, 2, 4, 8, 20, 32], ["1", "2", "4", "8", "20", "32"])
    ax.set_xticks([], minor=True)
    ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
    ax.set_ylim(bottom=FLOOR)
    ax.spines[["top", "right"]].set_visible(False)
