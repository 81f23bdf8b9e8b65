"""Document -> one self-contained HTML file: no script, no request, light and dark, phone to print."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from refute.core import Outcome
from refute.report import words
from refute.report.blocks import Document
from refute.report.document import document
from refute.report.drawing import draw
from refute.report.forest import forest

ENVIRONMENT = Environment(
    loader=PackageLoader("refute.report"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def render_html(outcome: Outcome | Document) -> str:
    """The whole report as one HTML page.

    Args:
        outcome: an outcome, or the document already made from it.

    Returns:
        The text of a self-contained HTML file: styles and pictures are inside, nothing is fetched.
    """
    made = outcome if isinstance(outcome, Document) else document(outcome)
    pictures = [
        [Markup(draw(panel, f"f{number}p{place}-")) for place, panel in enumerate(figure.panels)]
        for number, figure in enumerate(made.figures)
    ]
    return ENVIRONMENT.get_template("page.html").render(
        document=made,
        pictures=pictures,
        forests={claim.id: forest(claim) for claim in made.claims},
        symbols=words.SYMBOLS,
        nothing=words.NOTHING,
    )
