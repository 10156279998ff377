"""Provenance as comments and docstrings: whatever a study's name holds, it stays words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autowarm.yaml_files import to_yaml


def commented(provenance: Mapping[str, Any]) -> str:
    """Return the provenance as comment lines of YAML; nothing where there is none."""
    # splitlines knows more breaks than \n, and so do readers of YAML: no line of a name leaves the comment
    return "".join(f"# {line}\n" for line in _text(provenance).splitlines())


def docstring(lines: list[str], provenance: Mapping[str, Any]) -> str:
    """Return the docstring of a Python module: some lines, then the provenance."""
    text = "\n".join([*lines, "", _text(provenance).rstrip()] if provenance else lines)
    return '"""' + text.replace("\\", "\\\\").replace('"', '\\"' if '"""' in text else '"') + '\n"""\n'


def _text(provenance: Mapping[str, Any]) -> str:
    return to_yaml({"provenance": dict(provenance)}) if provenance else ""
