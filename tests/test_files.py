"""What lies in a folder may be anything, and may have been put there by anybody."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from autowarm.errors import AutowarmError, StudyError
from autowarm.files import replace, write
from autowarm.record import read_jsonl
from autowarm.run_tables import read_runs
from autowarm.schedule import Schedule, load_schedule
from autowarm.settings import StudySettings, load_study
from autowarm.specs import JobSpec
from autowarm.workspace import lay_out, owned

LOADERS: dict[str, Callable[[Path], object]] = {
    "a.yaml": load_schedule,
    "study.yaml": load_study,
    "trials.jsonl": read_jsonl,
    "runs.csv": lambda path: read_runs(path, {}, mode="min"),
    "runs.jsonl": lambda path: read_runs(path, {}, mode="min"),
    "runs.parquet": lambda path: read_runs(path, {}, mode="min"),
}


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("what", ["a pipe", "a device without an end", "a folder", "nothing"])
def test_what_is_no_regular_file_is_refused_at_once(name: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "a device without an end":
        path.symlink_to("/dev/zero")
    with pytest.raises(AutowarmError, match=name):
        LOADERS[name](path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", LOADERS)
def test_a_file_that_may_not_be_read_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch(mode=0)
    with pytest.raises(AutowarmError, match=f"{name}.*Permission denied"):
        LOADERS[name](tmp_path / name)


@pytest.mark.parametrize("name", ["a.yaml", "study.yaml", "trials.jsonl", "runs.jsonl"])
def test_a_file_of_a_gigabyte_does_not_fill_the_memory(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(AutowarmError, match=r"has more than [\d,]+ bytes: is it the file that was meant\?"):
            LOADERS[name](tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\xff\xfea\0", b"\xef\xbb\xbf", b"\r\n\r\n", b"\xed\xa0\x80", b"{", b'"']
)
def test_content_that_is_none_is_an_error_of_ours(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    try:
        assert LOADERS[name](tmp_path / name) == []
    except AutowarmError as e:
        assert name in str(e)  # noqa: PT017 - a file of no records is one


def test_a_link_that_was_planted_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    for name in ("report.md", "report.md.part"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    replace(tmp_path / "report.md", b"new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "report.md").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious", "report.md"]


def test_a_link_that_leads_nowhere_makes_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.yaml").symlink_to(tmp_path / "elsewhere")
    lay_out(tmp_path / "out", StudySettings(job=JobSpec(factory="a:b")), None)
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "out" / "study.yaml").is_symlink()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StudyError, match=r"\.lock is a link: remove it"), owned(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_file_that_the_user_names_is_written_through_a_link_and_into_a_device(tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    schedule = Schedule(initial_lr=0.1)
    schedule.save(tmp_path / "link.yaml")
    assert load_schedule(tmp_path / "real.yaml") == schedule
    assert (tmp_path / "link.yaml").is_symlink()
    write(Path(os.devnull), b"x")
    assert not Path(os.devnull).is_file()
    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), b"x")


_WRITE = """
import resource, sys
from pathlib import Path
from autowarm.files import replace
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
replace(Path(sys.argv[1]), b"x" * 5000)
"""


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    ran = subprocess.run(
        [sys.executable, "-c", _WRITE, str(tmp_path / "a")], capture_output=True, text=True, check=False
    )
    assert "File too large" in ran.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}
