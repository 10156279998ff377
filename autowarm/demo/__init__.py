"""The training that comes with autowarm: a small character GPT on Shakespeare, behind ``autowarm demo``."""

from __future__ import annotations

from pathlib import Path

# What `autowarm demo` searches.
STUDY = Path(__file__).with_name("study.yaml")
