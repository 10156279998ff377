"""The report in a real browser: it draws every plot, in both themes, and nothing complains."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sample_contents import NASTY, sample_contents

from autowarm.report.html_page import html_page

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium"),
]


def opened(page: str, folder: Path, *options: str) -> tuple[str, str]:
    """Return the DOM of a page after its scripts have run, and what the console said, without any network."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [
        *(str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
        *("--enable-logging=stderr", "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000"),
        *("--window-size=1200,900", *options, "--dump-dom", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


def root_of(dom: str) -> dict[str, str]:
    """Return the attributes of the page's root, where the page says what it has drawn, and what went wrong."""
    found = re.search(r"<html([^>]*)>", dom)
    assert found is not None
    return dict(re.findall(r'([\w-]+)="([^"]*)"', found[1]))


def drawn(dom: str) -> dict[str, str]:
    """Return the part of the DOM that belongs to each plot."""
    parts = re.split(r'data-plot="(\w+)"', dom)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("options", "theme"),
    [((), "light"), (("--window-size=390,800", "--blink-settings=preferredColorScheme=0"), "dark")],
)
def test_every_plot_is_drawn_and_nothing_complains(tmp_path: Path, options: tuple[str, ...], theme: str) -> None:
    dom, console = opened(html_page(sample_contents()), tmp_path, *options)
    assert console == ""
    root = root_of(dom)
    assert (root.get("data-errors"), root.get("data-drawn")) == (None, "9")
    plots = drawn(dom)
    assert len(plots) == 9
    for name, part in plots.items():
        assert f'data-drawn="{theme}"' in part, name
        assert '<svg class="main-svg"' in part, name
    assert plots["warmup_map"].count('class="point"') >= 16, "the runs are there"
    assert plots["lr_curves"].count('class="js-line"') == 11 + 3, "the top ten, today's, and the legend"


def test_what_a_study_says_is_neither_run_nor_loaded(tmp_path: Path) -> None:
    dom, console = opened(html_page(sample_contents(NASTY)), tmp_path)
    assert console == ""
    assert root_of(dom).get("data-errors") is None
    assert "<script>alert" not in dom
    assert "<img" not in re.sub(r"<script\b.*?</script>", "", dom, flags=re.DOTALL)
    assert "alert(1)" in drawn(dom)["decays"], "as a text next to an axis"


def test_the_page_lets_no_other_script_run_and_says_so(tmp_path: Path) -> None:
    page = html_page(sample_contents()).replace(
        "</body>", "<script>document.title = 'run'</script><img src='http://localhost/x.png'></body>"
    )
    dom, console = opened(page, tmp_path)
    assert "<title>run" not in dom
    assert console.count("Content Security Policy") == 2


def test_a_plot_that_cannot_be_drawn_is_an_error_that_these_tests_would_see(tmp_path: Path) -> None:
    page = html_page(sample_contents()).replace('data-plot="cost"', 'data-plot="nothing"')
    dom, console = opened(page, tmp_path)
    assert "CONSOLE" in console
    assert "data-errors" in root_of(dom)
