"""Student's t, for the half widths of intervals."""

from __future__ import annotations

# Student's t at 97.5 % for 1 .. 9 degrees of freedom.
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def t_975(degrees: int) -> float:
    """Return Student's t at 97.5 %; from 10 degrees of freedom on by Cornish and Fisher's expansion.

    Args:
        degrees: of freedom, at least 1.
    """
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
