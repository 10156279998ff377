from __future__ import annotations

import re
from pathlib import Path

import pytest
from sample_contents import sample_contents, sample_table

from autowarm.report.contents import Contents
from autowarm.report.html_page import html_page
from autowarm.report.markdown import markdown

ROOT = Path(__file__).parents[2]
# "7.6%" for "7.6 %", "6.9e-06" for "6.9e-6"
FORBIDDEN = re.compile(r"\d%|\de[-+]0\d|\de\+")
# what a page carries for machines: styles, scripts and data of plots
MACHINE = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL)


def written(text: str) -> list[str]:
    return [text[max(m.start() - 30, 0) : m.end() + 10] for m in FORBIDDEN.finditer(text)]


@pytest.mark.parametrize("contents", [sample_contents(), sample_table()], ids=["study", "table"])
def test_a_report_writes_shares_and_powers_of_ten_in_one_way(contents: Contents) -> None:
    assert written(markdown(contents)) == []
    assert written(MACHINE.sub(" ", html_page(contents))) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("studies/*/report.md")), ids=lambda path: path.parent.name)
def test_so_do_the_reports_of_the_studies(path: Path) -> None:
    assert written(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", ["7.6%", "lr 6.9e-06", "1.2e+05", "3e+5"])
def test_the_other_ways_would_be_found(text: str) -> None:
    assert written(text)
