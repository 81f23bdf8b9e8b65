import io
from typing import Any

import pytest
from rich.console import Console

from refute.core import Progress
from refute.report import watch

from .synthetic import PHENOMENON, verdicts


def progress(done: int, **more: Any) -> Progress:
    known: dict[str, Any] = {
        "phenomenon": PHENOMENON,
        "scale": "small",
        "cohorts_done": done,
        "cohorts_total": 10,
        "trials_run": 8 * done,
        "trials_cached": 4,
        "trials_planned": 84,
        "diverged": 1,
        "seconds": 2.0 * done,
    }
    return Progress(**{**known, **more})


def test_plain_lines_are_rare_and_the_last_state_is_printed() -> None:
    file = io.StringIO()
    with watch(Console(file=file, width=80)) as tell:
        for done in range(11):
            tell(progress(done, verdicts=verdicts() if done == 10 else ()))
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("layers-made-up (small): 4 of 84 trials; cohort 0 of 10")
    assert "84 of 84 trials; cohort 10 of 10; 20 s so far, 4 trials/s, 1 diverged" in lines[1]
    assert "C1 supported, C2 limited" in lines[1]


def test_every_line_when_no_pause_is_asked_for() -> None:
    file = io.StringIO()
    with watch(Console(file=file, width=80), every=0.0) as tell:
        for done in range(4):
            tell(progress(done))
    assert len(file.getvalue().splitlines()) == 4
    assert "about 18 s left" in file.getvalue()


def test_messages_are_printed_at_once() -> None:
    file = io.StringIO()
    with watch(Console(file=file, width=80)) as tell:
        tell(progress(1))
        tell(progress(2, message="a worker died [again]; 1 cohort runs again"))
        assert "a worker died [again]" in file.getvalue()


def test_last_state_is_printed_when_the_run_breaks() -> None:
    file = io.StringIO()

    def broken_run() -> None:
        with watch(Console(file=file, width=80)) as tell:
            tell(progress(1))
            tell(progress(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_run()
    assert "cohort 2 of 10" in file.getvalue()


def test_terminal_gets_a_table_with_running_verdicts() -> None:
    file = io.StringIO()
    with watch(Console(file=file, width=80, force_terminal=True, color_system=None)) as tell:
        tell(progress(5, verdicts=verdicts(), message="one file was set aside"))
    text = file.getvalue()
    assert "one file was set aside" in text
    assert "44/84 trials, cohort 5/10" in text
    assert "29 [17, 42]" in text
    assert "✗ refuted" in text


def test_nothing_told_prints_nothing() -> None:
    file = io.StringIO()
    with watch(Console(file=file)):
        pass
    assert file.getvalue() == ""
