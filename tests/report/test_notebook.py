from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

from matplotlib.image import imread
from sample_contents import NASTY, sample_records

from autowarm.report.notebook import notebook_html
from autowarm.tuning import TuneResult


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def tags_of(text: str) -> list[str]:
    parser = Tags()
    parser.feed(text)
    return parser.found


def test_a_result_in_a_notebook_is_its_answer_and_a_small_picture() -> None:
    text = TuneResult(tuple(sample_records()), Path("studies") / "sample")._repr_html_()
    assert "<b>sample: Use lr 0.00794, warmup 15 %, cosine</b>: it reached val_loss 1.03, the best of 25" in text
    assert "1.04 ± 0.01" in text
    assert "studies/sample/report.html" in text
    (image,) = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    assert imread(io.BytesIO(base64.b64decode(image))).shape[1] == 780
    assert len(text) < 150_000


def test_what_a_study_says_stays_text_in_a_notebook() -> None:
    text = notebook_html(sample_records(NASTY), Path("<b>out"))
    assert set(tags_of(text)) == {"div", "p", "b", "br", "small", "img"}
    assert tags_of(text).count("img") == 1
    assert "<script" not in text


def test_a_study_without_trials_has_no_answer_in_a_notebook() -> None:
    assert "<b>empty: There is no answer yet:</b> no trial has run." in notebook_html([], Path("empty"))
