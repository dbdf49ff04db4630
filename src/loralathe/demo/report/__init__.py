"""`report.html`: the whole story on one page that needs nothing else, in two languages."""

from loralathe.demo.report.build import LANGUAGES, report_page, words_of, write_report

__all__ = ["LANGUAGES", "report_page", "words_of", "write_report"]
