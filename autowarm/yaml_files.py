"""Reading and writing YAML as people write it: ``3e-4`` is a number; errors name the file and the line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from autowarm.errors import AutowarmError


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

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Turn a node into Python; PyYAML lets errors of Python out (2001-13-01, or ``!!bool word``)."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as e:
            raise yaml.constructor.ConstructorError(
                None, None, f"{reprlib.repr(node.value)} cannot be read: {e}", node.start_mark
            ) from None


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
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{path}: there is no such file") from None
    except (OSError, ValueError) as e:  # no text, or no path at all
        raise error(f"{path}: cannot be read: {e}") from None
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
