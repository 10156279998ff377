"""The folder of a study: owned by one run at a time, holding one study, losing nothing that was in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from autowarm.errors import StudyError
from autowarm.files import read_text, replace
from autowarm.report.files import RECORDS
from autowarm.settings import DATABASE, STUDY_FILE, WRITTEN, StudySettings, name_from, settings_yaml
from autowarm.yaml_files import MOST_BYTES, read_yaml

LOCK = ".lock"


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """Own a study's folder, making it where there is none; the operating system frees it if the process is killed.

    Raises:
        StudyError: another run owns it, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / LOCK).is_symlink():
            # some versions of filelock would empty what it leads to
            raise StudyError(f"{out / LOCK} is a link: remove it")
        lock = FileLock(out / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise StudyError(f"another autowarm is tuning in {out}: wait for it, or choose another --out") from None
    except OSError as e:
        raise StudyError(f"the folder {out} cannot be written: {e.strerror or e}: choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def lay_out(out: Path, settings: StudySettings, source: Path | None) -> str | None:
    """Put the study file into an owned folder, unless a person's is there, and results that have no database aside.

    Args:
        out: the folder.
        settings: of the study, as it runs.
        source: the file that the settings were read from; None for a study from Python.

    Returns:
        A sentence on what was put aside, if anything was.

    Raises:
        StudyError: the folder holds another study.
    """
    file = out / STUDY_FILE
    if file.exists() and not (source is not None and file.samefile(source)):
        name = read_yaml(file, StudyError).get("name", name_from(file))
        if name != settings.name:
            raise StudyError(f"{out} holds the study {name!r}, not {settings.name!r}: choose another --out")
    if not file.exists() or read_text(file, StudyError, most=MOST_BYTES).startswith(WRITTEN):
        replace(file, settings_yaml(settings, root=out).encode())
    results = out / RECORDS
    if settings.storage is None and results.exists() and not (out / DATABASE).exists():
        aside = _unused(results)
        results.rename(aside)
        return (
            f"{out} holds results without the database they came from: they are kept in {aside.name}, "
            "and this study starts anew"
        )
    return None


def _unused(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem}.earlier-{number}{path.suffix}")).exists():
        number += 1
    return aside
