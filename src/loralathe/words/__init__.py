"""Texts in other languages: one catalogue for the command line and the pages.

The code is written in English; what shows a text asks the catalogue of the person's language for it. A text
that the catalogue lacks is shown in English.
"""

from loralathe.words.catalogue import LANGUAGES, Catalogue, read_catalogue, read_page

__all__ = ["LANGUAGES", "Catalogue", "read_catalogue", "read_page"]
