"""matplotlib's SVG made fit for a page: unique ids, the page's own colours and fonts, short numbers."""

import html
import re

INK = "#010203"
"""Stands for the page's text colour while matplotlib draws."""
GRID = "#040506"
"""Stands for the faint colour of grid lines while matplotlib draws."""
PREAMBLE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
METADATA = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
OPENING = re.compile(r"<svg\b[^>]*?viewBox=\"(?P<box>[^\"]*)\"[^>]*>", re.DOTALL)
ID = re.compile(r"\b(?P<before>id=\"|url\(#|href=\"#)(?P<id>[^\")]+)")
UNUSED_ID = re.compile(r"<g id=\"[^\"]*\">")
FONT = re.compile(r"font:\s*(?:[a-z]+\s+)*(?P<size>[\d.]+)px[^;\"]*")
ATTRIBUTE = re.compile(r"\b(?:d|x|y|x1|y1|x2|y2|width|height|transform|points)=\"[^\"]*\"")
NUMBER = re.compile(r"-?\d+\.\d{2,}")
SPACE = re.compile(r">\s+<")
LINE_SPACE = re.compile(r" ?\n ?")


def inline(text: str, prefix: str, alt: str) -> str:
    """An SVG file as an element of a page.

    Args:
        text: what matplotlib wrote.
        prefix: put before every id, so that pictures on one page do not use each other's clip paths.
        alt: the alternative text.
    """
    text = METADATA.sub("", PREAMBLE.sub("", text, count=1))
    text = text.replace("xlink:href", "href")
    opening = OPENING.search(text)
    box = opening["box"] if opening else "0 0 340 250"
    head = f'<svg viewBox="{box}" role="img" aria-label="{html.escape(alt, quote=True)}">'
    text = OPENING.sub(lambda _: head, text, count=1)
    text = UNUSED_ID.sub("<g>", text)
    text = ID.sub(lambda found: f"{found['before']}{prefix}{found['id']}", text)
    text = text.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    text = FONT.sub(lambda found: f"font-size: {found['size']}px", text)
    text = ATTRIBUTE.sub(lambda found: NUMBER.sub(_shorten, LINE_SPACE.sub(" ", found[0])), text)
    return SPACE.sub("><", text).strip()


def _shorten(found: "re.Match[str]") -> str:
    return f"{float(found[0]):.1f}".replace("-0.0", "0").removesuffix(".0")
