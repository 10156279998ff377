"""The part of a report on longer runs and more data."""

from __future__ import annotations

import math

from autowarm.analysis.scaling import HorizonBest, Power
from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Section, Text, bullets, table
from autowarm.report.plots.thinning import thinned
from autowarm.report.words import interval, lr_interval

_ROWS = 8


def longer(contents: Contents) -> Section | None:
    """Return how the best lr moves with total_steps, dataset_size and batch_size."""
    found = contents.scaling
    if found is None or not found.powers:
        return None
    blocks = bullets(found.sentences())
    blocks.append(Figure("scaling"))
    header = ("best lr grows with", "to the power of (90 % interval)", "known before", "runs had")
    blocks.append(table(header, [_power_row(power) for power in found.powers]))
    if len(found.horizons) > 1:
        names = ("total_steps", "dataset_size", "batch_size", "best lr there (90 % interval)", contents.runs.metric)
        shown = [found.horizons[i] for i in thinned(len(found.horizons), _ROWS)]
        blocks.append(table((*names, "runs"), [_horizon_row(h) for h in shown]))
        if len(shown) < len(found.horizons):
            blocks.append(Text(f"{len(shown)} of {len(found.horizons)} groups of like runs, from short to long."))
    return Section("Longer runs or more data", tuple(blocks))


def _power_row(power: Power) -> tuple[str, ...]:
    seen = f"{power.seen_low:,.0f}" if math.isfinite(power.seen_low) else "not told"
    if power.seen_high > power.seen_low:
        seen += f" to {power.seen_high:,.0f}"
    source = "" if power.from_data else ": these runs add nothing"
    return (power.name, interval(power.exponent, 2) + source, interval(power.prior, 2), seen)


def _horizon_row(horizon: HorizonBest) -> tuple[str, ...]:
    counts = (horizon.total_steps, horizon.dataset_size, horizon.batch_size)
    told = (f"{count:,.0f}" if math.isfinite(count) else "-" for count in counts)
    return (*told, lr_interval(horizon.lr), interval(horizon.value, 5), f"{horizon.runs:,}")
