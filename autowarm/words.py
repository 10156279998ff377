"""Quantities as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Return a duration in at most two units.

    >>> duration(7.4), duration(95), duration(7300)
    ('7 s', '1 min 35 s', '2 h 1 min')
    """
    s = round(seconds)
    if s < 60:
        return f"{s} s" if s or not seconds else f"{seconds:.1f} s"
    return f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def listed(parts: Sequence[str]) -> str:
    """Return words as a list in a sentence.

    >>> listed(["lr"]), listed(["lr", "warmup", "decay"])
    ('lr', 'lr, warmup and decay')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(count: int, word: str) -> str:
    """Return a count with its word.

    >>> counted(1, "trial"), counted(1200, "step")
    ('1 trial', '1200 steps')
    """
    return f"{count} {word}{'s' * (count != 1)}"
