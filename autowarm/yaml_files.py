"""Reading and writing YAML as people write it: ``3e-4`` is a number, and errors name the file and the line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from autowarm.errors import AutowarmError


class _Loader(yaml.SafeLoader):
    """A safe loader with the floats of YAML 1.2, and no silent duplicate keys."""


# PyYAML follows YAML 1.1, where a float needs a dot and a signed exponent: 3e-4 would be a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)
            |[-+]?(?:[0-9][0-9_]*)\.[0-9_]*
            |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
            |[-+]?\.(?:inf|Inf|INF)
            |\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is not None and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_duplicates)


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
    except (OSError, UnicodeDecodeError) as e:
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
    return cast("str", yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=100))
