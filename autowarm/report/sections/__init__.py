"""The sections of a report, one module each, in the order they are read."""

from __future__ import annotations

from collections.abc import Callable

from autowarm.report.contents import Contents
from autowarm.report.document import Section
from autowarm.report.sections.again import compared, trained_again
from autowarm.report.sections.best import best
from autowarm.report.sections.cooldowns import cooldowns
from autowarm.report.sections.cost import ladder, range_test, spent
from autowarm.report.sections.curves import curves
from autowarm.report.sections.decay import which_decay
from autowarm.report.sections.longer import longer
from autowarm.report.sections.matters import what_matters
from autowarm.report.sections.trust import audited, diverged, failed, trust
from autowarm.report.sections.use import use
from autowarm.report.sections.warmup import how_much_warmup

_SECTIONS: tuple[Callable[[Contents], Section | None], ...] = (
    *(best, how_much_warmup, which_decay, cooldowns, what_matters, longer, trust, trained_again, compared, audited),
    *(curves, ladder, range_test, spent, diverged, failed, use),
)


def sections_of(contents: Contents) -> list[Section]:
    """Return the sections that have something to say."""
    return [section for write in _SECTIONS if (section := write(contents)) is not None]
