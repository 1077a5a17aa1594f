"""The results of a run, read from its folder alone: a table, curves, an HTML page, its status, an export."""

from baldur.report.curves import write_curves
from baldur.report.export import export
from baldur.report.page import write_html
from baldur.report.quality import Quality, quality_of
from baldur.report.status import print_status, status
from baldur.report.summary import Row, Summary, ToTarget, summarise
from baldur.report.table import as_html, as_text, print_table

__all__ = [
    "Quality",
    "Row",
    "Summary",
    "ToTarget",
    "as_html",
    "as_text",
    "export",
    "print_status",
    "print_table",
    "quality_of",
    "status",
    "summarise",
    "write_curves",
    "write_html",
]
