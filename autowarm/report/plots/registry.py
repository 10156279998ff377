"""The plots by name."""

from __future__ import annotations

from collections.abc import Callable

from autowarm.errors import SettingsError, unknown
from autowarm.report.contents import Analysis, Contents
from autowarm.report.plot import Plot
from autowarm.report.plots.cooldowns import cooldowns
from autowarm.report.plots.cost import cost
from autowarm.report.plots.curves import loss_curves, lr_curves, range_test
from autowarm.report.plots.effects import decays, importance, scaling
from autowarm.report.plots.maps import horizons, warmup_map

# name: (what it shows, what makes it: the plot, or why there is nothing to draw)
PLOTS: dict[str, tuple[str, Callable[[Contents], Plot | str]]] = {
    "horizons": ("best schedule by total_steps and dataset_size", horizons),
    "warmup_map": ("every run by its peak learning rate and its warmup, failures as crosses", warmup_map),
    "decays": ("each decay at its own best learning rate", decays),
    "cooldowns": ("final metric by total_steps and cooldown, from the trials of one trunk", cooldowns),
    "importance": ("what the differences between the runs come from", importance),
    "scaling": ("best learning rate by length of run, with a band", scaling),
    "lr_curves": ("learning rates of the top schedules and of today's", lr_curves),
    "loss_curves": ("validation curves by outcome", loss_curves),
    "range_test": ("training loss of the range test over the learning rate", range_test),
    "cost": ("what the study cost, by what it was spent on", cost),
}

# What a plot reads of the analyses, where it reads any.
READS: dict[str, tuple[Analysis, ...]] = {
    "horizons": ("grid",),
    "warmup_map": ("warmup",),
    "decays": ("decays",),
    "cooldowns": ("cooldowns",),
    "importance": ("importance",),
    "scaling": ("scaling",),
}


def check_name(name: str) -> None:
    """Refuse what is no plot.

    Raises:
        SettingsError: there is no such plot.
    """
    if name not in PLOTS:
        raise SettingsError(unknown("plot", name, PLOTS))


def plot_of(contents: Contents, name: str) -> Plot:
    """Return a plot by its name.

    Raises:
        SettingsError: there is no such plot, or nothing to draw in it.
    """
    check_name(name)
    plot = PLOTS[name][1](contents)
    if isinstance(plot, str):
        others = ", ".join(plots_of(contents)) or "none"
        raise SettingsError(f"there is nothing to draw in {name}: {plot}. Plots with something to draw: {others}")
    return plot


def plots_of(contents: Contents) -> dict[str, Plot]:
    """Return the plots that have something to draw, by name."""
    made = {name: make(contents) for name, (_, make) in PLOTS.items()}
    return {name: plot for name, plot in made.items() if isinstance(plot, Plot)}
