"""What the forkserver imports once, so that a trial does not: torch, Lightning, and what the job's modules import.

The job's own modules are not imported here but read: a user who edits them between two studies of one Python session
gets the new ones, and code of theirs that must not run before a fork (CUDA, threads) does not.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import json
import logging
import os
import signal
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

# Carries the names of the modules to the forkserver, which takes no arguments of ours.
VARIABLE = "AUTOWARM_PRELOAD"
REHEARSAL = "autowarm.executors.rehearsal"
# Of Linux's prctl.h: the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1
# Lightning and torch import these at the first fit; found by comparing sys.modules around one.
ALWAYS = (
    "autowarm.inspection",
    "autowarm.trunk",
    "autowarm.branch_check",
    "autowarm.executors.child",
    "lightning.pytorch.cli",
    "torch._dynamo",
    "torchmetrics",
)


def installed_imports(modules: Iterable[str]) -> list[str]:
    """Return the installed (third-party) modules that the named modules import at their top, without running them.

    Args:
        modules: names of the job's modules; those that cannot be found are left out.
    """
    installed = tuple({os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    found: dict[str, None] = {}
    todo, seen = list(modules), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        origin = _origin(name)
        if origin is None:
            continue
        if origin.startswith(installed):
            found[name] = None
        elif origin.endswith(".py") and not origin.startswith(os.path.realpath(sysconfig.get_path("stdlib"))):
            todo += _imports(Path(origin), package=name.rpartition(".")[0])
    return sorted(found)


def _origin(name: str) -> str | None:
    """Find a module's file without importing its packages, as importlib would have to."""
    folders = [Path(entry or ".") for entry in sys.path]
    *packages, last = name.split(".")
    for package in packages:
        folders = [folder / package for folder in folders if (folder / package).is_dir()]
    endings = ["/__init__.py", ".py", *importlib.machinery.EXTENSION_SUFFIXES]
    found = (Path(f"{folder / last}{ending}") for folder in folders for ending in endings)
    return next((str(file.resolve()) for file in found if file.is_file()), None)


def _imports(file: Path, *, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            parent = ".".join([*base, *([node.module] if node.module else [])])
            if parent:
                yield parent
                yield from (f"{parent}.{alias.name}" for alias in node.names)


@contextlib.contextmanager
def ends_with_owner() -> Iterator[None]:
    """Have the system end this process if its owner ends, where it can (Linux).

    multiprocessing's forkserver notices only once it has loaded all, which takes seconds. Afterwards nothing of this is
    left: it is the end of the owner's thread that counts, which may end before the owner does.
    """
    if sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != json.loads(os.environ[VARIABLE])["owner"]:
        # gone already
        os._exit(1)
    try:
        yield
    finally:
        prctl(_PR_SET_PDEATHSIG, 0)


def preload() -> None:
    """Import and rehearse in the forkserver what its children would otherwise do themselves; see `VARIABLE`."""
    given = json.loads(os.environ[VARIABLE])
    sys.path[:] = given["path"]
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [*ALWAYS, *given["modules"]]:
            # An import that fails here fails again in the trial, where its error is kept.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        with contextlib.suppress(Exception):
            importlib.import_module(REHEARSAL).rehearse()
    logging.disable(logging.NOTSET)
    # what is here to stay is not for the children's garbage collectors to walk through, which would copy it
    gc.freeze()
