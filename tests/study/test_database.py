from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
from stored_records import fill

from autowarm.errors import StudyError
from autowarm.record import TrialRecord
from autowarm.settings import DATABASE
from autowarm.study.database import database, quiet_optuna, read_records, without_password

MakeRecord = Callable[..., TrialRecord]


def test_every_record_of_a_folder_is_read(make_record: MakeRecord, tmp_path: Path) -> None:
    records = [
        make_record(),
        make_record(role="confirm", trial=0, outcome="DIVERGED", rungs=((3, float("inf")),)),
        make_record(total_steps=200, outcome="PRUNED"),
    ]
    for record in records:
        fill(tmp_path, record)
    found = read_records(tmp_path)
    assert [(r.role, r.total_steps, r.outcome) for r in found] == [(r.role, r.total_steps, r.outcome) for r in records]
    assert [found[0], found[2]] == [records[0], records[2]]


def test_a_reader_leaves_a_database_alone_that_is_still_being_made(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("PRAGMA journal_mode=WAL")
    assert read_records(tmp_path) == []
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")  # made, and not yet filled
    connection.commit()
    assert read_records(tmp_path) == []
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("alembic_version",)]
    connection.close()


MAKER = """
import sys
from pathlib import Path
from autowarm.study.database import database
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / f"{name}.ready").touch()
while len(list(folder.glob("*.ready"))) < 4: pass
with database(None, folder) as storage:
    assert storage.get_all_studies() == []
"""


def test_many_may_make_one_database_at_once(tmp_path: Path) -> None:
    """Optuna's own making fails for all but one, in several ways."""
    command = [sys.executable, "-c", MAKER, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(i)], stderr=subprocess.PIPE, text=True) for i in range(4)]
    assert [process.communicate(timeout=120)[1] for process in processes] == [""] * 4


@pytest.mark.parametrize("name", ["a?b", "{x}", "50%20off", "#1", "with space", "ü", "a;b&c=d"])
def test_a_folder_may_have_any_name(name: str, make_record: MakeRecord, tmp_path: Path) -> None:
    out = tmp_path / name
    out.mkdir()
    fill(out, make_record())
    assert read_records(out) == [make_record()]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (out / DATABASE).is_file()


def test_a_folder_may_be_given_from_where_one_is(
    make_record: MakeRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(Path(), make_record())
    assert read_records(Path()) == read_records(tmp_path) == [make_record()]


def test_a_folder_without_a_database_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no study\.db in "):
        read_records(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"these are no tables\n" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_an_error_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(StudyError, match=r"the database .*study\.db cannot be opened: "):
        read_records(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == content


def test_a_database_that_is_damaged_is_an_error_in_a_sentence(make_record: MakeRecord, tmp_path: Path) -> None:
    fill(tmp_path, make_record())
    path = tmp_path / DATABASE
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(StudyError, match=r"the database .*study\.db (cannot be opened|failed): "):
        read_records(tmp_path)


def test_a_database_of_another_optuna_is_an_error_in_a_sentence(make_record: MakeRecord, tmp_path: Path) -> None:
    fill(tmp_path, make_record())
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("UPDATE alembic_version SET version_num = 'v99'")
    connection.execute("UPDATE version_info SET schema_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(StudyError, match=r"study\.db cannot be opened: .*compatible"):
        read_records(tmp_path)


def test_a_record_that_cannot_be_read_is_named_by_its_trial(make_record: MakeRecord, tmp_path: Path) -> None:
    fill(tmp_path, make_record())
    connection = sqlite3.connect(tmp_path / DATABASE)
    broken = json.dumps({**make_record().to_dict(), "outcome": "GREAT"})
    connection.execute("UPDATE trial_user_attributes SET value_json = ? WHERE key = 'record'", (broken,))
    connection.commit()
    connection.close()
    with pytest.raises(StudyError, match=r"study 'demo steps=100', trial 0: .*unknown outcome 'GREAT'"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nothere://me:hunter2@host/db",
        "nothere://me:hunter2@host/db",
        "nothere://host/db?user=me&password=hunter2",
        "postgresql://me:hunter2@host:port/db",
        "postgresql://me:hunt@er2:x/db/hunter2",
        "postgresql://me:{hunter2}@host/db",
        "postgresql://me:{hunter2@host/db",
        "://me:hunter2@",
    ],
)
def test_a_password_is_never_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError) as raised, database(url, tmp_path):
        pass
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in (without_password(url) or "")
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("secret", ["hunter2", "p@hunter2/:"])
@pytest.mark.parametrize("where", ["//me:{}@host/db", "//host/db?password={}", "//host/db?sslpassword={}&a=b"])
def test_what_a_driver_says_is_shown_without_the_password(
    secret: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql+x:{where.format(quote(secret, safe=''))}"

    class TalkativeError(Exception):
        pass

    def made(*_: object) -> None:
        raise TalkativeError(f"no connection for {secret} or {quote(secret, safe='')} at {url}")

    monkeypatch.setattr("autowarm.study.database._made", made)
    with pytest.raises(StudyError, match="cannot be opened: no connection for") as raised, database(url, tmp_path):
        pass
    assert "hunter2" not in str(raised.value)

    storage = optuna.storages.RDBStorage("sqlite://")
    monkeypatch.setattr("autowarm.study.database._made", lambda *_: storage)
    with pytest.raises(StudyError, match="failed: lost") as raised, database(url, tmp_path):
        raise optuna.exceptions.StorageInternalError(f"lost {secret}")
    assert "hunter2" not in str(raised.value)


def test_a_database_that_fails_later_is_an_error_in_a_sentence_without_its_password(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db?password=hunter2"
    assert "hunter2" not in (without_password(url) or "")
    with pytest.raises(StudyError, match=r"the database .*study\.db failed: disk full"), database(None, tmp_path):
        raise optuna.exceptions.StorageInternalError("disk full\nand more")


def test_other_errors_pass_through_an_open_database(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), database(None, tmp_path):
        raise ZeroDivisionError


def test_optuna_is_as_loud_afterwards_as_before() -> None:
    before = optuna.logging.get_verbosity()
    with quiet_optuna():
        assert optuna.logging.get_verbosity() == optuna.logging.WARNING
    assert optuna.logging.get_verbosity() == before
