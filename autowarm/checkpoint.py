"""A file in which an interrupted training is kept: written in one move, read only where it is whole and of that one.

A line that says what the file is, a digest of all that follows, and plain data as `torch.save` writes it. It is read
with ``weights_only=True``: a file from elsewhere can run no code here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from autowarm.errors import CheckpointError
from autowarm.specs import JobSpec, TrainingSpec

_MAGIC = b"autowarm training 2\n"
_DIGEST_BYTES = 16
_CHUNK = 2**20
# Their versions decide on the bits of a training, and on the layout of its state.
_LIBRARIES = ("torch", "lightning", "pytorch-lightning", "numpy")


def identity_of(spec: TrainingSpec) -> dict[str, Any]:
    """Return what makes a training the one it is, as plain data: another training never goes on from its checkpoint.

    The code of the job is not in it, nor what its arguments hold that are no plain data: who edits a job removes its
    checkpoints.
    """
    job = spec.job
    return {
        "job": _name_of(job),
        "arguments": _named(job.args),
        "file": _digest_of(job.config) if job.config is not None else None,
        "classes": [job.model_class, job.data_class, job.cli_class],
        "schedule": _named(spec.schedule.to_dict()) if spec.schedule is not None else None,
        "seed": spec.seed,
        "total_steps": spec.total_steps,
        "dataset_size": [spec.dataset_size, job.dataset_size_arg],
        "monitor": spec.monitor,
        "rungs": [list(spec.rungs), list(spec.ema_rungs)],
        "threads": spec.threads,
        "keep_callbacks": _named(spec.keep_callbacks),
        "versions": {name: _version(name) for name in _LIBRARIES},
    }


def write_checkpoint(path: Path, data: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write a checkpoint, in the place of an earlier one in one move: a reader, or a crash, meets one of the two whole.

    Args:
        path: of the file; its folder is made.
        data: nested plain data and tensors.
        identity: what `identity_of` returned.

    Raises:
        OSError: it cannot be written; the earlier one is left as it was.
    """
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(_MAGIC + bytes(_DIGEST_BYTES))
            digesting = _Digesting(file)
            torch.save({"identity": dict(identity), "data": dict(data)}, cast("BinaryIO", digesting))
            file.seek(len(_MAGIC))
            file.write(digesting.digest.digest())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except RuntimeError as e:
        # what torch makes of an error while it writes
        part.unlink(missing_ok=True)
        raise OSError(str(e)) from e
    except OSError:
        part.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote for the same training.

    Raises:
        CheckpointError: it is damaged, no checkpoint of ours, or another training's; says which.
        OSError: it cannot be read; FileNotFoundError where there is none.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise CheckpointError("it is no checkpoint of this version of autowarm")
        told = file.read(_DIGEST_BYTES)
        digest = _new_digest()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        if told != digest.digest():
            raise CheckpointError("it is damaged: its contents do not fit their digest")
        file.seek(len(_MAGIC) + _DIGEST_BYTES)
        try:
            found = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as e:
            raise CheckpointError(f"it holds something else than plain data: {type(e).__name__}") from e
    if found["identity"] != dict(identity):
        theirs = found["identity"]
        differ = [name for name in identity if theirs.get(name) != identity[name]]
        raise CheckpointError(f"it is of another training, with another {', '.join(differ)}")
    data: dict[str, Any] = found["data"]
    return data


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, and what an interrupted writer has left of one."""
    path.unlink(missing_ok=True)
    _part(path).unlink(missing_ok=True)


class _Digesting:
    """A file to write to that digests what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = _new_digest()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def _digest_of(path: Path) -> str | None:
    # what is wrong with the file, building the job says
    with suppress(OSError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _name_of(job: JobSpec) -> Any:
    if isinstance(job.factory, partial):
        inner = replace(job, factory=job.factory.func)
        return [_name_of(inner), _named(job.factory.args), _named(job.factory.keywords)]
    return str(job)


def _named(value: Any) -> Any:
    """Return an argument as plain data that is the same in every process: of an object, its class."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        # of a number of numpy, Python's
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(key): _named(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return f"{type(value).__module__}.{type(value).__qualname__}"
