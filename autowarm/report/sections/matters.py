"""The part of a report on what matters."""

from __future__ import annotations

from autowarm.analysis.estimate import Estimate
from autowarm.analysis.importance import Importance
from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Section, bullets, table
from autowarm.report.words import share_interval

_PAIRS = 5
# A pair with less than this share of the variance is not worth a line.
_LEAST = 0.005


def what_matters(contents: Contents) -> Section | None:
    """Return the shares of the variance of the metric that each choice, and pairs of them, account for."""
    found = contents.importance
    if found is None or not found.names:
        return None
    blocks = bullets(found.sentences())
    order = sorted(zip(found.names, found.main, strict=True), key=lambda pair: -pair[1].value)
    rows = [(name, share_interval(share)) for name, share in order]
    rows += [(f"{a} and {b} together", share_interval(share)) for a, b, share in told_pairs(found)]
    header = ("", f"share of the variance of {contents.runs.metric} (90 % interval)")
    blocks += [Figure("importance"), table(header, rows)]
    return Section("What matters", tuple(blocks))


def told_pairs(found: Importance) -> list[tuple[str, str, Estimate]]:
    """Return the pairs that have a share worth telling, the largest first."""
    return [pair for pair in found.pairs[:_PAIRS] if pair[2].value >= _LEAST]
