"""What a study has found, in the words and pictures of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from matplotlib.figure import Figure

from autowarm.record import TrialRecord

# arm of a study -> its records, in the order they were trained in
Records: TypeAlias = Mapping[str, Sequence[TrialRecord]]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the records of a study say; every number is computed from them.

    Attributes:
        title: of the page.
        claim: what is tested, a sentence.
        found: what came out, a sentence or two: the study's line in the table of all studies.
        body: the page in Markdown, with tables, pictures (``![what it shows](name.png)``) and a conclusion.
        afterwards: what was changed once first results were known, as that may flatter them.
        pictures: name, without its suffix -> what draws it; each is shown in the body.
    """

    title: str
    claim: str
    found: str
    body: str
    afterwards: str
    pictures: Mapping[str, Callable[[], Figure]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that each picture is shown, and that the line of the table is one."""
        for name in self.pictures:
            if f"]({name}.png)" not in self.body:
                raise ValueError(f"the picture {name} is not shown in the body: write ![what it shows]({name}.png)")
        for name in ("title", "claim", "found"):
            if "\n" in getattr(self, name) or "|" in getattr(self, name):
                raise ValueError(f"{name} must be one line without '|', got {getattr(self, name)!r}")
