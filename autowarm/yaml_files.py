"""Reading and writing YAML as people write it: ``3e-4`` is a number; errors name the file and the line."""

from __future__ import annotations

import re
import reprlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from autowarm.errors import AutowarmError
from autowarm.files import read_text

# Of a file, and of what it would be with its aliases written out: a few lines can stand for gigabytes.
MOST_BYTES = 1 << 20
# Python itself shows no whole number of thousands of digits; beyond the floats there is nothing to say with one.
_MOST_BITS = sys.float_info.max_exp
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Loader(yaml.SafeLoader):
    """A safe loader with the floats of YAML 1.2, no silent duplicate keys, and a line for every error."""

    # The stubs have the anchor's type wrong: it is its name, or None.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a mapping and refuse keys that are given twice: here, before merge keys (<<) add theirs."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Read the document, and refuse what would grow beyond bounds, or has no end, or is no text."""
        node = super().get_single_node()
        if node is not None:
            _written_out(node, {})
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Turn a node into Python; PyYAML lets errors of Python out (2001-13-01, or ``!!bool word``)."""
        try:
            return _in_bounds(super().construct_object(node, deep))
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as e:
            raise yaml.constructor.ConstructorError(
                None, None, f"{reprlib.repr(node.value)} cannot be read: {e}", node.start_mark
            ) from None


def _in_bounds(found: Any) -> Any:
    if isinstance(found, int) and found.bit_length() > _MOST_BITS:
        raise ValueError("the number is too large")
    return found


def _written_out(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Return the characters that a node would have with its aliases written out; `known` are those of nodes seen."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.constructor.ConstructorError(None, None, "an alias within what it stands for", node.start_mark)
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.ScalarNode):
        if _SURROGATE.search(node.value):
            raise yaml.constructor.ConstructorError(None, None, "half a character (a surrogate)", node.start_mark)
        size += len(node.value)
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else [x for pair in node.value for x in pair]
        size += sum(_written_out(child, known) for child in children)
    if size > MOST_BYTES:
        raise yaml.constructor.ConstructorError(
            None, None, f"with its aliases written out, this has more than {MOST_BYTES:,} characters", node.start_mark
        )
    known[id(node)] = size
    return size


class _Dumper(yaml.SafeDumper):
    """A safe dumper that quotes the words which `_Loader` would take for numbers, as the commit 123e456."""


# PyYAML follows YAML 1.1, where a float needs a dot and a signed exponent: 3e-4 would be a string.
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)
        |[-+]?(?:[0-9][0-9_]*)\.[0-9_]*
        |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(path: Path, error: type[AutowarmError]) -> dict[str, Any]:
    """Read a YAML file whose top is a mapping.

    Args:
        path: the file.
        error: the class of the error to raise when it cannot be read.

    Raises:
        AutowarmError: of class `error`, naming the file and, for a syntax error, the line.
    """
    text = read_text(path, error, most=MOST_BYTES)
    return parse_yaml(text, source=str(path), error=error)


def parse_yaml(text: str, *, source: str, error: type[AutowarmError]) -> dict[str, Any]:
    """Parse YAML text whose top is a mapping with string keys; `source` names it in error messages."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise error(f"{source}{line}: invalid YAML: {e.problem or e.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise error(f"{source}: invalid YAML: {e}") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise error(f"{source}: expected 'key: value' lines at the top, found {found}")
    for key in data:
        if not isinstance(key, str):
            raise error(f"{source}: keys must be words, got {key!r}")
    return cast("dict[str, Any]", data)


def to_yaml(data: Mapping[str, Any]) -> str:
    """Format plain data as YAML, keys in the order given."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
