"""Quantities as people read them, and texts of any origin that are safe to show."""

from __future__ import annotations

import math
import re
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
    ('1 trial', '1,200 steps')
    """
    return f"{count:,} {word}{'s' * (count != 1)}"


# Controls of a terminal (escapes begin with one), and what turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile("[\n\t\u2028\u2029]")
# //user:password@host: up to the last @, as a password may hold one that should have been encoded.
_LOGIN = re.compile(r"(//[^\s:/@]*:)\S*@")
_SECRET = re.compile(r"((?:pass|pwd|secret|token)[^=&;\s]*=)[^&;\s'\"]+", re.IGNORECASE)


def printable(text: str, *, line: bool = False) -> str:
    r"""Return text that a terminal shows as it is: what would steer it, or turn the writing around, as escapes.

    Args:
        text: of any origin.
        line: it is to stay one line, so that it cannot look like another.

    >>> print(printable("red \x1b[31m"), printable("one\ntwo", line=True))
    red \x1b[31m one\ntwo
    """
    shown = _CONTROLS.sub(_escaped, text)
    return _BREAKS.sub(_escaped, shown) if line else shown


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def without_passwords(text: str) -> str:
    """Return text with the passwords of the URLs and connection strings in it hidden.

    >>> without_passwords("no driver for postgresql://me:secret@host/db?sslpassword=secret")
    'no driver for postgresql://me:***@host/db?sslpassword=***'
    """
    return _SECRET.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


def percent(share: float) -> str:
    """Return a share in per cent, to two digits; "-" where it is not known.

    >>> percent(0.0372), percent(1 / 3), percent(0.0)
    ('3.7 %', '33 %', '0 %')
    """
    return f"{share * 100:.2g} %" if math.isfinite(share) and share < 0.995 else "100 %" if share >= 0.995 else "-"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number to so many digits; one far from 1 has a power of ten, written as one would type it; "-" for None.

    >>> number(0.00123), number(1e-4), number(3.14159e-05), number(123456.0), number(2.1535, 5)
    ('0.00123', '0.0001', '3.14e-5', '1.23e5', '2.1535')
    """
    if value is None:
        return "-"
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign.

    >>> signed(0.127), signed(-2e-5)
    ('+0.127', '-2e-5')
    """
    return f"{'-' if value < 0 else '+'}{number(abs(value), digits)}"
