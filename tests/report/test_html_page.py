from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from sample_contents import NASTY, sample_contents, sample_record, sample_records, sample_table

from autowarm.record import read_jsonl
from autowarm.report.contents import Contents, answers_of, contents_of
from autowarm.report.html_page import _unbroken, html_page, plotly_js
from autowarm.report.plots.curves import MAX_CURVES
from autowarm.report.plots.registry import PLOTS
from autowarm.report.sections import sections_of

STUDIES = Path(__file__).parents[2] / "studies"
# of plotly's elements that draw, or of what the network brings
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "formaction", "ping"}


class Page(HTMLParser):
    """What a browser would see: tags, their attributes, and the text of each, scripts apart."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "every tag is closed in its turn"

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[str]:
        return [text.strip() for name, text in self.texts if name == tag]

    @property
    def scripts(self) -> list[str]:
        return self.of("script")

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found

    @property
    def words(self) -> str:
        return " ".join(text for tag, text in self.texts if tag not in ("script", "style"))


def page_of(contents: Contents) -> Page:
    """Return a page without the 5 MB of plotly.js, which take a parser a while; numbers as part of their sentences."""
    page = html_page(contents).replace(plotly_js(), "")
    return Page(re.sub(r'<span class="number">([^<]*)</span>', r"\1", page))


def test_a_page_answers_first_and_has_a_section_for_each_question() -> None:
    page = page_of(sample_contents())
    assert page.of("strong") == ["Use lr 0.00794, warmup 15 %, cosine"]
    assert page.of("dt") == ["Expected val_loss", "Gain over today", "Cost to find"]
    assert [text for text in page.of("h2") if text] == [
        *("Best schedules", "How much warmup", "Which decay", "Length and cooldown", "What matters"),
        *(
            "Longer runs or more data",
            "Can I trust it?",
            "Trained again on fresh seeds",
            "Tuned against today's schedule",
        ),
        *("Curves", "What was spent", "What diverged", "What failed", "How to use the schedule"),
    ]
    drawn = [attrs["data-plot"] for tag, attrs in page.tags if "data-plot" in attrs]
    assert drawn == [*[*PLOTS][:8], "cost"], "all but that of a range test, in the order of the sections"
    assert set(page.data["plots"]) == set(drawn)
    assert "30 % of 20" in page.words, "the table of failures"


def test_the_plots_are_figures_that_plotly_knows() -> None:
    for contents in (sample_contents(), sample_table()):
        for name, plot in page_of(contents).data["plots"].items():
            # colours are names until the page is read in a theme
            text = json.dumps(plot).replace('"@scale_reversed"', '"viridis"').replace('"@scale"', '"viridis"')
            plain = json.loads(re.sub('"@[a-z_]+"', '"#123456"', text))
            figure = go.Figure(data=plain["data"], layout=plain["layout"])
            assert len(figure.data) > 0, name


def test_what_a_study_says_stays_text() -> None:
    for contents in (sample_contents(NASTY), sample_table(NASTY)):
        text = html_page(contents)
        ours = text.replace(plotly_js(), "")
        assert "<script>alert" not in ours
        assert "<img" not in ours
        page = Page(text)
        kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
        assert kinds == ["application/json", None, None]
        assert not [(tag, name) for tag, attrs in page.tags for name in attrs if name.startswith("on")]
        assert NASTY in page.words, "it can be read as it is"
        assert "<title>" not in page.of("title")
        assert NASTY in page.of("title")[0]


def test_what_a_study_says_stays_text_in_the_plots() -> None:
    page = page_of(sample_contents(NASTY))
    assert not set("<>&") & set(page.scripts[0]), "no HTML can be read into the data"
    plots = page.data["plots"]
    templates = [trace.get("hovertemplate", "") for plot in plots.values() for trace in plot["data"]]
    # what a plot reads as HTML holds the tags that we put there, and no more; and no template holds a study's text
    texts = [text for plot in plots.values() for text in strings_in(plot)]
    tags = {tag for text in texts for tag in re.findall("<[^>]*>", text)}
    assert tags <= {"<br>", "<i>", "</i>", "<extra>", "</extra>"}
    assert sum("&lt;script&gt;" in text for text in texts) > 50
    assert not [template for template in templates if "alert" in template]
    assert {re.sub(":.*", "", found) for t in templates for found in re.findall("%{([^}]*)}", t)} == {"meta", "x", "y"}


def strings_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in strings_in(item)]


def test_a_page_asks_nothing_of_the_network() -> None:
    page = page_of(sample_contents(NASTY))
    addresses = [(tag, attrs[name]) for tag, attrs in page.tags for name in LOADING & set(attrs)]
    assert addresses
    assert all(tag == "a" and str(address).startswith("#") for tag, address in addresses)
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe", "object", "embed", "base")]
    assert not re.findall(r"url\(|@import", " ".join(page.of("style")))
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    assert "unsafe" not in policy.split("style-src")[0]


@pytest.mark.parametrize("study", sorted(path.parent.name for path in STUDIES.glob("*/trials.jsonl")))
def test_the_committed_studies_make_a_page(study: str) -> None:
    records = read_jsonl(STUDIES / study / "trials.jsonl")
    page = page_of(contents_of(records, name=study))
    assert page.of("strong")[0].startswith(("Use lr", "Keep today's"))
    assert {"lr_curves", "loss_curves", "warmup_map", "cost"} <= set(page.data["plots"])


def test_little_or_nothing_makes_a_smaller_page() -> None:
    empty = page_of(contents_of([], name="empty"))
    assert empty.of("strong") == ["There is no answer yet:"]
    assert (empty.of("h2"), empty.scripts) == ([], [])
    one = page_of(answers_of([sample_record(0, 0.01)], name="one"))
    assert one.of("strong") == ["Use lr 0.01, no warmup, cosine"]
    assert "How much warmup" not in one.of("h2")
    lost = page_of(answers_of([sample_record(i, 1.0, outcome="DIVERGED") for i in range(3)], name="lost"))
    assert lost.of("strong") == ["There is no answer yet:"]
    assert "What diverged" in lost.of("h2")


def test_many_runs_are_thinned_and_it_is_said() -> None:
    records = [sample_record(i, 10 ** (-4 + i / 1500)) for i in range(3000)]
    page = page_of(answers_of(records, name="many"))
    # the warmup map belongs to a section of its own, which needs its analysis
    assert "58 of 3,000 trials are drawn" in page.words
    assert len(page.data["plots"]["loss_curves"]["data"]) <= MAX_CURVES
    points = [t for t in page.data["plots"]["warmup_map"]["data"] if t["mode"] == "markers"]
    assert sum(len(t["x"]) for t in points) == 2000 + 1, "and the answer"


def test_a_name_that_utf_8_cannot_hold_is_written() -> None:
    records = [replace(sample_record(0, 0.01), outcome="FAILED", error="FileNotFoundError: \udcff.csv")]
    assert "\\udcff.csv" in html_page(answers_of(records, name="x\udcff")).encode().decode()


def test_numbers_beside_the_answer_are_those_of_the_fresh_seeds() -> None:
    page = page_of(sample_contents())
    assert page.of("span")[0:3:2] == ["1.04 ± 0.01", "+0.48"]
    assert "Today: lr 0.001, no warmup, cosine" in page.words


def test_a_table_of_runs_has_what_to_expect_and_its_failures_at_the_top() -> None:
    page = page_of(sample_table())
    assert page.of("dt") == ["Expected loss", "Runs", "Failed"]
    runs = sample_table().runs
    assert f"{int(runs.failed.sum())} ({100 * runs.failed.mean():.2g} %)" in page.words
    assert f"{runs.value[runs.best() or 0]:.5g}" in page.words
    assert "What was spent" not in page.of("h2")
    assert "2 rows left out" in page.words


def test_a_power_of_what_the_runs_do_not_tell_is_no_number() -> None:
    whole = sample_contents()
    assert whole.scaling is not None
    power = replace(whole.scaling.powers[0], name="dataset_size", seen_low=math.nan, seen_high=math.nan)
    page = page_of(replace(whole, scaling=replace(whole.scaling, powers=(power,))))
    assert "not told" in page.of("td")
    assert not [cell for cell in page.of("td") if "nan" in cell]


def test_records_of_several_metrics_are_refused() -> None:
    records = sample_records()
    mixed = [records[0], replace(records[1], monitor="other")]
    with pytest.raises(ValueError, match="different metrics"):
        contents_of(mixed, name="x")


@pytest.mark.parametrize(
    ("field", "title"),
    [
        ("warmup", "How much warmup"),
        ("decays", "Which decay"),
        ("cooldowns", "Length and cooldown"),
        ("importance", "What matters"),
        ("scaling", "Longer runs or more data"),
    ],
)
def test_a_question_without_an_answer_is_left_out(field: str, title: str) -> None:
    whole = sample_contents()
    assert title in [section.title for section in sections_of(whole)]
    without = replace(whole, **{field: None})  # type: ignore[arg-type] # a field by name
    assert title not in [section.title for section in sections_of(without)]


def test_numbers_are_kept_on_one_line_and_all_else_is_escaped() -> None:
    whole = [*("1.15e-5", "8.5 %", "1,024", "3e-05 %"), "12"]
    page = str(_unbroken(f"<b>&#39; {', '.join(whole)}; x1e-5 v2 a-3"))
    assert re.findall(r'<span class="number">([^<]*)</span>', page) == ["1.15e-5", "8.5 %", "3e-05 %"]
    assert re.sub(r"</?span[^>]*>", "", page) == "&lt;b&gt;&amp;#39; 1.15e-5, 8.5 %, 1,024, 3e-05 %, 12; x1e-5 v2 a-3"
