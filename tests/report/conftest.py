import pytest

from refute.core import Outcome
from refute.report import render_html

from .synthetic import outcome


@pytest.fixture(scope="session")
def run() -> Outcome:
    return outcome()


@pytest.fixture(scope="session")
def page(run: Outcome) -> str:
    return render_html(run)
