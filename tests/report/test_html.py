import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from refute.core import Failure, Outcome, Verdict
from refute.report import render_html
from refute.report.blocks import Axis, LinePanel, MapPanel, Series
from refute.report.drawing import draw
from refute.report.palette import CATEGORIES, RAMP, luminance

from .synthetic import CLAIMS, UNDEFINED, cell, nothing_run

LARGEST_PAGE = 700_000
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, and checks that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_page_fetches_nothing(page: str) -> None:
    reader = read(page)
    assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        for name in ("src", "href", "xlink:href"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")) or (tag == "a" and address.startswith("https://"))
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page
    assert len(page.encode()) < LARGEST_PAGE


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = [attributes["id"] for _, attributes in read(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:url\(#|href="#|labelledby=")([^")]+)', page)
    assert set(references) <= set(ids)


def test_every_claim_and_cell_is_shown_in_words(page: str, run: Outcome) -> None:
    text = read(page).text
    for verdict in run.verdicts:
        assert verdict.claim.statement in text
        assert verdict.claim.holds.reason in text
        assert verdict.sentence in text
    assert page.count('role="listitem"') + page.count('<li><span class="cell-name"') == sum(
        len(verdict.cells) + (verdict.pooled is not None) for verdict in run.verdicts
    )
    for word in ("supported", "refuted", "limited", "inconclusive", "untested"):
        assert f'<span class="badge {word}">' in page
    assert CLAIMS[0].paper in text
    assert "No data augmentation" in text
    assert "refute run layers-made-up --scale small" in text


def test_strings_are_escaped(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(" in page


def test_figures_have_alternative_texts_and_follow_the_theme(page: str) -> None:
    pictures = [a for tag, a in read(page).tags if tag == "svg" and a.get("role") == "img"]
    assert len(pictures) == 6 + 6 + 3 + 2 + 1 + 3 + 3
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in pictures)
    assert "currentColor" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_tables_have_headers(page: str) -> None:
    reader = read(page)
    headers = [a for tag, a in reader.tags if tag == "th"]
    assert headers
    assert all(a.get("scope") in ("col", "row") for a in headers)


def test_nothing_run_says_so_and_how_to_run() -> None:
    text = read(render_html(nothing_run())).text
    assert "Nothing was run yet" in text
    assert "refute run layers-made-up --scale small" in text


def test_a_plan_without_trials_or_verdicts_renders() -> None:
    text = read(render_html(replace(nothing_run(), trials=(), verdicts=()))).text
    assert "No claim was judged" in text


def test_strange_cells_render(run: Outcome) -> None:
    name = "a-very-long-architecture-name-without-any-space-" * 4
    strange = (
        cell({"dataset": name, "architecture": "<b>&"}, "supported", 1e12, 1e9),
        replace(
            cell({"dataset": "digits", "architecture": "x"}, "inconclusive", 0.0, 1.0), low=-math.inf, high=math.inf
        ),
        replace(cell({"dataset": "mnist", "architecture": "x"}, "inconclusive", 0.0, 1.0), low=math.nan, high=math.nan),
        cell({"dataset": "digits", "architecture": "y"}, "refuted", math.inf, 1.0),
        cell({"dataset": "digits", "architecture": "z"}, "untested", math.nan, math.nan, failed=10, **UNDEFINED),
    )
    verdict = Verdict(claim=CLAIMS[5], verdict="limited", sentence="strange", cells=strange)
    page = render_html(replace(run, verdicts=(verdict,), results={}))
    read(page)
    assert not re.search(r"\bnan\b", page)
    assert "&lt;b&gt;&amp;" in page


@pytest.mark.parametrize("count", [1, 40])
def test_one_and_forty_cells_render(run: Outcome, count: int) -> None:
    cells = tuple(cell({"dataset": f"set-{i}", "architecture": "fc"}, "supported", 25.0 + i, 2.0) for i in range(count))
    verdict = Verdict(claim=CLAIMS[1], verdict="supported", sentence="in every cell", cells=cells)
    page = render_html(replace(run, verdicts=(verdict,), results={}))
    assert read(page).text.count("set-") >= 2 * count


def test_odd_panels_draw_without_a_warning() -> None:
    series = Series(label="$x_1$ 中", colour="", style="solid", marker="o", x=(1.0,), y=(1.0,))
    axis = Axis(label="a $label_{ " * 20, log=True)
    line = draw(LinePanel(title="", alt='an "alt" <text>', x=axis, y=axis, series=(series,), reference=-1.0), "a-")
    assert 'aria-label="an &quot;alt&quot; &lt;text&gt;"' in line
    values = tuple(tuple(float(i * j) for j in range(30)) for i in range(30))
    names = tuple(str(i) for i in range(30))
    many = MapPanel(title="", alt="map", x=Axis(label="x", names=names), y=Axis(label="y", names=names), values=values,
                    low=0.0, high=841.0)  # fmt: skip
    picture = draw(many, "b-")
    assert "data:image/png;base64" in picture
    same = MapPanel(title="", alt="map", x=Axis(label="x", names=("1",)), y=Axis(label="y", names=("1",)),
                    values=((math.nan,),), low=1.0, high=1.0)  # fmt: skip
    assert draw(same, "c-").startswith("<svg")


def test_colours_read_on_white_and_on_dark() -> None:
    dark = luminance("#14181d")
    for colour in (*CATEGORIES, *RAMP):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
        assert (luminance(colour) + 0.05) / (dark + 0.05) >= 3, colour


def test_trials_that_could_not_be_run_are_named(run: Outcome) -> None:
    broken = tuple(Failure(trial, "ZeroDivisionError: nothing to divide") for trial in run.trials[:7])
    page = render_html(replace(run, failures=broken))
    assert "7 trials could not be run (ZeroDivisionError: nothing to divide)" in page
    assert "and 2 more" in page
    assert "could not be run" not in render_html(run)
