import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from refute.core import Outcome, Verdict
from refute.report import document, plain_lines, render_terminal
from refute.report.words import SYMBOLS

from .synthetic import CLAIMS, cell, nothing_run


def printed(outcome: Outcome, *, width: int = 80, terminal: bool = False, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    render_terminal(outcome, Console(file=file, width=width, force_terminal=terminal))
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit(run: Outcome, width: int) -> None:
    lines = plain_lines(run, width=width)
    assert max(map(cell_len, lines)) <= width


def test_every_claim_has_symbol_and_word(run: Outcome) -> None:
    text = printed(run)
    for verdict in run.verdicts:
        assert f"{SYMBOLS[verdict.verdict]} {verdict.verdict.upper()}" in text
        assert verdict.claim.id in text
    assert "28.0 [24.5, 31.9]" in text
    assert "9 of 10 valid, 1 diverged" in text
    assert "about 40 seeds needed" in text
    assert "\x1b[" not in text


def test_colour_only_on_a_terminal_and_not_with_no_color(run: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1;36m" in printed(run, terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "36m" not in printed(run, terminal=True)


def test_ascii_terminal_gets_ascii_symbols(run: Outcome) -> None:
    assert "+ SUPPORTED" in printed(run, encoding="ascii")


def test_document_and_outcome_print_the_same(run: Outcome) -> None:
    assert plain_lines(run) == plain_lines(document(run))


def test_many_cells_are_counted_and_the_odd_ones_come_first(run: Outcome) -> None:
    cells = tuple(cell({"dataset": f"set-{i}", "architecture": "fc"}, "supported", 25.0, 2.0) for i in range(39))
    odd = cell({"dataset": "odd", "architecture": "fc"}, "refuted", 5.0, 2.0)
    verdict = Verdict(claim=CLAIMS[1], verdict="limited", sentence="in nearly every cell", cells=(*cells, odd))
    text = "\n".join(plain_lines(replace(run, verdicts=(verdict,))))
    assert "odd, fc" in text
    assert "and 28 more (40 cells: 39 supported and 1 refuted)" in text


def test_nothing_run_says_how_to_run() -> None:
    lines = plain_lines(nothing_run())
    assert (
        lines[lines.index("Nothing has been run yet. Run it with:") + 1] == "  refute run layers-made-up --scale small"
    )
