"""Reports: an outcome becomes one `Document`, and the document a page, terminal lines, or JSON."""

from refute.report.blocks import Document
from refute.report.document import document
from refute.report.html import render_html
from refute.report.listings import (
    catalogue_json,
    catalogue_markdown,
    catalogue_table,
    datasets_json,
    render_catalogue,
    render_datasets,
    render_definition,
)
from refute.report.live import watch
from refute.report.machine import as_json
from refute.report.terminal import plain_lines, render_terminal

__all__ = [
    "Document",
    "as_json",
    "catalogue_json",
    "catalogue_markdown",
    "catalogue_table",
    "datasets_json",
    "document",
    "plain_lines",
    "render_catalogue",
    "render_datasets",
    "render_definition",
    "render_html",
    "render_terminal",
    "watch",
]
