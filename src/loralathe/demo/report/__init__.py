"""`report.html`: the whole story on one page that needs nothing else, in two languages."""

from loralathe.demo.report.build import report_page, write_report
from loralathe.demo.report.words import LANGUAGES, words_of

__all__ = ["LANGUAGES", "report_page", "words_of", "write_report"]
