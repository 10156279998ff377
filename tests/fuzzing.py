"""What fuzz tests draw from: odd values, documents with a few faults in them, bytes with a few faults in them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from autowarm.errors import AutowarmError

T = TypeVar("T")

# AUTOWARM_FUZZ=10 makes ten times as many examples as usual, others at each run.
LONG = float(os.environ.get("AUTOWARM_FUZZ", "0"))

WORDS = st.sampled_from(
    [
        *("", "0", "-1", "1e400", "nan", "3e-4", "1_000", "a\0b", "../../up", "/etc/passwd", "=1+1", "[bold]x[/bold]"),
        *("\x1b[31m", "\u202e", "\ud800", "<b>", "$x$", "cosine", "min", "max", "true", "null", "os.system", "\n"),
    ]
)
NUMBERS = st.sampled_from(
    [
        *(0, 1, -1, 2, 3, 2**31, 2**53 + 1, 2**63, -(2**63), 10**30, 10**400, True, False),
        *(0.0, -0.0, 0.5, 1.5, 1e-320, 1e-300, 1e300, 1.7e308, -1e308, float("nan"), float("inf"), -float("inf")),
    ]
)
SCALARS = st.none() | NUMBERS | WORDS | st.text(max_size=4) | st.floats() | st.integers()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
# what YAML can hold beside what JSON can
ODD = PLAIN | st.sampled_from(
    [date(2001, 1, 1), datetime(2001, 1, 1, tzinfo=UTC), b"\x00\xff", {1: 2}, {None: 1}, {True: []}, {1, 2}]
)


def fuzz(examples: int) -> settings:
    """Return the settings of a fuzz test: repeatable and short, or long and new each time."""
    return settings(
        max_examples=round(examples * LONG) if LONG else examples,
        derandomize=not LONG,
        deadline=None,
        database=None,
        # making a failure of many seconds small takes longer than finding others
        phases=[Phase.explicit, Phase.generate] if LONG else list(Phase),
        suppress_health_check=list(HealthCheck),
    )


def ours(call: Callable[[], T]) -> T | None:
    """Call, and let errors of ours pass as None; they must say something."""
    try:
        return call()
    except AutowarmError as e:
        assert str(e)  # noqa: PT017 - it need not be raised
        return None


def _children(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []


def _way(draw: st.DrawFn, node: Any) -> list[Any]:
    """Draw a path into a document: what lies at the top as likely as all that lies deeper."""
    way: list[Any] = []
    while steps := _children(node):
        way.append(draw(st.sampled_from(steps)))
        node = node[way[-1]]
        if not draw(st.booleans()):
            break
    return way


@st.composite
def mutated(draw: st.DrawFn, document: Any, values: st.SearchStrategy[Any] = ODD, keys: Any = WORDS) -> Any:
    """Draw a document with up to three faults: other values, keys that are gone, renamed or new, subtrees elsewhere."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        if not _children(changed):
            break
        *way, last = _way(draw, changed)
        parent = changed
        for step in way:
            parent = parent[step]
        kind = draw(st.sampled_from(["value", "value", "value", "drop", "rename", "add", "move"]))
        if kind == "value":
            parent[last] = copy.deepcopy(draw(values))
        elif kind == "drop":
            del parent[last]
        elif kind == "move":
            source = changed
            for step in _way(draw, changed):
                source = source[step]
            parent[last] = copy.deepcopy(source)
        elif isinstance(parent, dict):
            name = draw(keys)
            parent[name] = parent.pop(last) if kind == "rename" else copy.deepcopy(draw(values))
        else:
            parent.append(copy.deepcopy(draw(values)))
    return changed


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw bytes with up to three faults: cut off, overwritten, left out, doubled."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        length = draw(st.integers(1, 40))
        kind = draw(st.sampled_from(["cut", "write", "write", "leave out", "double"]))
        if kind == "cut":
            del changed[at:]
        elif kind == "write":
            changed[at : at + length] = draw(
                st.binary(max_size=length) | st.sampled_from([b"\0", b"\xff\xfe", b"\r", b'"'])
            )
        elif kind == "leave out":
            del changed[at : at + length]
        else:
            changed[at:at] = changed[at : at + length]
    return bytes(changed)
