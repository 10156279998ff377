from __future__ import annotations

import json
import os
import re
import threading
from datetime import datetime
from pathlib import Path

import pytest

from autowarm.events import EventLog


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_event_says_when_what_and_who(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    EventLog(log).write("ended", trial=3, value=0.25, reason=None, place=tmp_path)
    (event,) = _lines(log)
    assert datetime.fromisoformat(str(event.pop("time"))).utcoffset() is not None
    assert re.fullmatch(rf".+:{os.getpid()}", str(event.pop("by")))
    assert event == {"event": "ended", "trial": 3, "value": 0.25, "place": str(tmp_path)}


def test_a_later_run_writes_on(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    for name in ("began", "left"):
        EventLog(log).write(name)
    assert [event["event"] for event in _lines(log)] == ["began", "left"]


def test_the_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"

    def writes(number: int) -> None:
        mine = EventLog(log)
        for i in range(50):
            mine.write("ended", writer=number, i=i, padding="x" * 3000)

    writers = [threading.Thread(target=writes, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted((str(e["writer"]), int(str(e["i"]))) for e in _lines(log)) == [
        (str(n), i) for n in range(4) for i in range(50)
    ]


def test_what_cannot_be_written_is_lost_and_stops_nothing(tmp_path: Path) -> None:
    EventLog(tmp_path / "no" / "folder" / "events.jsonl").write("began")
    EventLog(tmp_path).write("began")
    EventLog().write("began")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("follow", [False, True])
def test_a_link_is_followed_where_a_user_has_named_it_alone(tmp_path: Path, follow: bool) -> None:
    log, elsewhere = tmp_path / "events.jsonl", tmp_path / "elsewhere"
    log.symlink_to(elsewhere)
    EventLog(log, follow=follow).write("began")
    assert elsewhere.exists() == follow
