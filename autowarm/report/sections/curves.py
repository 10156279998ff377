"""The part of a report that shows learning rates and losses over the steps."""

from __future__ import annotations

from autowarm.report.contents import Contents
from autowarm.report.document import Figure, Section


def curves(contents: Contents) -> Section | None:
    """Return the curves of the top schedules and today's, and the validation curves of all trials."""
    if not contents.records:
        return None
    return Section("Curves", (Figure("lr_curves"), Figure("loss_curves")))
